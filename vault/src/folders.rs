//! Folders that moved whole, found among files that moved, and the order in which saying so brings each file where it lies.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use aios_core::path;

use crate::disk::folder::{Folder, FolderError};

/// A folder's old and new path.
type Pair = (String, String);

/// What moved, as folders.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Folders {
    /// Folders that moved whole.
    pub moved: Vec<Pair>,
    /// The same one after the other: what gives way comes first, and of folders that changed places one goes aside.
    pub steps: Vec<Pair>,
    /// Old paths of the files that these steps bring where they lie.
    pub along: HashSet<String>,
}

/// Files before and after.
pub(crate) struct Look<'a> {
    /// Old and new path of each that moved.
    pub moved: HashMap<&'a str, &'a str>,
    /// Old paths of those that are gone.
    pub gone: HashSet<&'a str>,
    /// Where something new was made, or another content saved.
    pub fresh: Vec<&'a str>,
    /// The known files below a folder, given folded: their old paths.
    pub below: &'a dyn Fn(&str) -> Vec<String>,
    /// Whether there is no such folder on disk any more.
    pub left: &'a dyn Fn(&str) -> bool,
}

/// Whether there is no folder at `path` on disk.
pub(crate) fn is_left(root: &Folder, path: &str) -> bool {
    matches!(root.beneath(path), Err(FolderError::Missing(_) | FolderError::File(_) | FolderError::Link(_)))
}

impl Folders {
    /// Finds them. None at all where that would bring a file elsewhere that lies where it lay.
    pub fn find(look: &Look<'_>) -> Folders {
        let moved = whole(look);
        if moved.is_empty() {
            return Folders::default();
        }
        let Some(steps) = ordered(&moved, |name| is_free(look, name)) else {
            return Folders::default();
        };
        let mut known: BTreeSet<String> = BTreeSet::new();
        for (from, _) in &moved {
            known.extend((look.below)(&path::fold(from)));
        }
        let mut along = HashSet::new();
        for (old, new) in walk(known, &steps) {
            match look.moved.get(old.as_str()) {
                Some(lies) if *lies == new => _ = along.insert(old),
                // Said of the file itself, after the folders.
                Some(_) => {}
                None if old == new || look.gone.contains(old.as_str()) => {}
                None => return Folders::default(),
            }
        }
        Folders { moved, steps, along }
    }
}

/// The folders of which no file is left at its place, and most went to one other place.
fn whole(look: &Look<'_>) -> Vec<Pair> {
    let mut found: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for (from, to) in &look.moved {
        for (from, to) in folders_of(from, to) {
            *found.entry(from).or_default().entry(to).or_default() += 1;
        }
    }
    let mut found: Vec<(String, BTreeMap<String, usize>)> = found.into_iter().collect();
    found.sort_by_key(|(from, _)| std::cmp::Reverse(depth(from)));
    let fresh: BTreeSet<String> = look.fresh.iter().map(|at| path::fold(at)).collect();
    let came: BTreeMap<String, &str> = look.moved.iter().map(|(old, new)| (path::fold(new), *old)).collect();
    let mut out: BTreeMap<String, String> = BTreeMap::new();
    // The files that go with a folder below the one that is looked at.
    let mut explained: HashSet<String> = HashSet::new();
    // Of these, those whose folder is no more: it was moved, and not the one around it, if that is still there.
    let mut settled: HashSet<String> = HashSet::new();
    for (from, places) in found {
        let most = places.into_iter().max_by_key(|(to, went)| (*went, std::cmp::Reverse(to.clone())));
        let Some((to, _)) = most else { continue };
        let folded = path::fold(&from);
        let below = (look.below)(&folded);
        let remains = |at: &String| !look.moved.contains_key(at.as_str()) && !look.gone.contains(at.as_str());
        if below.iter().any(remains) {
            continue;
        }
        let fits = |at: &str| {
            path::rebase(at, &from, &to).is_some_and(|new| look.moved.get(at) == Some(&new.as_str()))
        };
        let (along, others): (Vec<&String>, Vec<&String>) = below.iter().partition(|at| fits(at));
        let others = others.into_iter().filter(|at| !explained.contains(*at)).count();
        // A folder of one file is one only where it is no more, and the other holds nothing else.
        let is_new = || {
            let to = path::fold(&to);
            !(look.below)(&to).iter().any(remains) && came.range(span(&to)).all(|(_, old)| fits(old))
        };
        let left = (look.left)(&from);
        if !left && along.iter().all(|at| settled.contains(*at)) {
            continue;
        }
        if along.len() > others && (along.len() > 1 || left && is_new()) {
            if left {
                settled.extend(along.iter().map(|at| (*at).clone()));
            }
            explained.extend(along.into_iter().cloned());
            out.insert(from, to);
        }
    }
    // Where something new is, the folder still is: unless another took its place.
    loop {
        let taken = |from: &str| out.values().any(|to| path::fold(to) == path::fold(from));
        let is_used = |from: &&String| fresh.range(span(&path::fold(from))).next().is_some() && !taken(from);
        let Some(used) = out.keys().find(is_used).cloned() else { break };
        out.remove(&used);
    }
    // What goes along with a larger one is no move of its own.
    let goes_along = |from: &str, to: &str| {
        path::ancestors(from).any(|above| {
            out.get(above).and_then(|place| path::rebase(from, above, place)).as_deref() == Some(to)
        })
    };
    out.iter()
        .filter(|(from, to)| !goes_along(from, to))
        .map(|(from, to)| (from.clone(), to.clone()))
        .collect()
}

/// The paths below a folder, among folded ones in order.
fn span(folded: &str) -> std::ops::Range<String> {
    format!("{folded}/")..format!("{folded}0")
}

/// The folders that may have moved, where a file did: each in which the two paths end alike.
fn folders_of(from: &str, to: &str) -> Vec<Pair> {
    let (a, b): (Vec<&str>, Vec<&str>) = (from.split('/').collect(), to.split('/').collect());
    let same = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    let longest = same.min(a.len() - 1).min(b.len() - 1);
    let pairs = (1..=longest).map(|cut| (a[..a.len() - cut].join("/"), b[..b.len() - cut].join("/")));
    // A folder whose files went into one below it is still there.
    pairs.filter(|(from, to)| from != to && !is_below(&path::fold(to), &path::fold(from))).collect()
}

/// The pairs in an order in which each moves what lay in its folder before all of them, by way of free names where they go round.
fn ordered(pairs: &[Pair], mut is_free: impl FnMut(&str) -> bool) -> Option<Vec<Pair>> {
    let mut left: Vec<Turn> = pairs.iter().map(|pair| Turn::new(pair.clone())).collect();
    let mut out = Vec::new();
    while !left.is_empty() {
        let waits =
            |(n, one): (usize, &Turn)| left.iter().enumerate().any(|(m, other)| n != m && one.waits(other));
        let next = match (0..left.len()).find(|n| !waits((*n, &left[*n]))) {
            Some(at) => left.remove(at).pair,
            None => {
                // The deepest: no other that is left lies in it.
                let at = (0..left.len()).max_by_key(|n| (depth(&left[*n].from), std::cmp::Reverse(*n)))?;
                let (from, to) = left[at].pair.clone();
                let aside = (0..16).map(|n| aside(&from, &to, n)).find(|name| is_free(name))?;
                left[at] = Turn::new((aside.clone(), to));
                (from, aside)
            }
        };
        out.push(next);
    }
    Some(out)
}

/// A pair that is to have its turn, with its paths folded.
struct Turn {
    pair: Pair,
    from: String,
    to: String,
}

impl Turn {
    fn new(pair: Pair) -> Turn {
        let (from, to) = (path::fold(&pair.0), path::fold(&pair.1));
        Turn { pair, from, to }
    }

    /// Whether it would move what the other has still to take away, or bring something there.
    fn waits(&self, other: &Turn) -> bool {
        let (to, place) = (&self.to, &other.from);
        let overlap = to == place || is_below(to, place) || is_below(place, to);
        is_below(place, &self.from) || (overlap && *place != self.from)
    }
}

/// A name beside a folder, to be had for a moment.
fn aside(from: &str, to: &str, n: u32) -> String {
    let hash = blake3::hash(format!("{from}\n{to}\n{n}").as_bytes()).to_hex();
    let name = format!("aside-{}", &hash[..12]);
    match from.rsplit_once('/') {
        Some((parent, _)) => format!("{parent}/{name}"),
        None => name,
    }
}

fn is_free(look: &Look<'_>, name: &str) -> bool {
    let taken = |at: &&str| *at == name || path::rebase(at, name, "").is_some();
    path::check(name).is_ok()
        && (look.below)(&path::fold(name)).is_empty()
        && !look.fresh.iter().any(taken)
        && !look.moved.values().any(taken)
}

/// Where the files come by the steps.
fn walk(files: BTreeSet<String>, steps: &[Pair]) -> Vec<Pair> {
    let old: Vec<String> = files.into_iter().collect();
    let mut new = old.clone();
    let mut at: BTreeSet<(String, usize)> =
        new.iter().enumerate().map(|(n, at)| (path::fold(at), n)).collect();
    for (from, to) in steps {
        let folded = path::fold(from);
        let span = span(&folded);
        let some: Vec<(String, usize)> = at.range((span.start, 0)..(span.end, 0)).cloned().collect();
        for key in some {
            at.remove(&key);
            let n = key.1;
            if let Some(path) = path::rebase(&new[n], from, to) {
                new[n] = path;
            }
            at.insert((path::fold(&new[n]), n));
        }
    }
    old.into_iter().zip(new).collect()
}

fn depth(path: &str) -> usize {
    path.split('/').count()
}

fn is_below(path: &str, folder: &str) -> bool {
    path::below(path, folder).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds folders among files that moved, are gone, stay and are new; folders that no file is left in are gone from disk.
    fn found(moved: &[(&str, &str)], stay: &[&str], gone: &[&str], fresh: &[&str]) -> Folders {
        let known: Vec<String> = moved
            .iter()
            .map(|(from, _)| *from)
            .chain(stay.iter().copied())
            .chain(gone.iter().copied())
            .map(str::to_owned)
            .collect();
        let now: Vec<&str> = moved
            .iter()
            .map(|(_, to)| *to)
            .chain(stay.iter().copied())
            .chain(fresh.iter().copied())
            .collect();
        Folders::find(&Look {
            moved: moved.iter().copied().collect(),
            gone: gone.iter().copied().collect(),
            fresh: fresh.to_vec(),
            below: &|folder| known.iter().filter(|at| is_below(&path::fold(at), folder)).cloned().collect(),
            left: &|folder| !now.iter().any(|at| is_below(at, folder)),
        })
    }

    fn pairs(of: &[Pair]) -> Vec<(&str, &str)> {
        of.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect()
    }

    /// The steps found for these moves, each of which must be brought where it lies.
    fn steps(moved: &[(&str, &str)]) -> Vec<Pair> {
        let found = found(moved, &[], &[], &[]);
        assert_eq!(found.along.len(), moved.len(), "{found:?}");
        found.steps
    }

    #[test]
    fn a_folder_moves() {
        assert_eq!(pairs(&steps(&[("a/x", "b/x"), ("a/y", "b/y")])), [("a", "b")]);
        assert_eq!(pairs(&steps(&[("p/a/x", "q/x"), ("p/a/s/y", "q/s/y")])), [("p/a", "q")]);
        assert_eq!(pairs(&steps(&[("p/q/s/x", "p/r/s/x"), ("p/q/y", "p/r/y")])), [("p/q", "p/r")]);
        // Of one file, where the folder is no more and the other is new.
        assert_eq!(pairs(&steps(&[("a/x", "b/x")])), [("a", "b")]);
        assert_eq!(found(&[("a/x", "b/x")], &["b/z"], &[], &[]), Folders::default());
        // One that keeps its name, downwards and upwards.
        assert_eq!(
            pairs(&steps(&[("acme/a", "old/acme/a"), ("acme/b", "old/acme/b")])),
            [("acme", "old/acme")]
        );
        assert_eq!(pairs(&steps(&[("c/p/a", "p/a"), ("c/p/b", "p/b")])), [("c/p", "p")]);
        // One of which a file was deleted, and one renamed, on the way.
        let some = [("a/u", "b/u"), ("a/x", "b/x"), ("a/y", "b/y"), ("a/v", "b/w")];
        let some = found(&some, &[], &["a/z"], &[]);
        assert_eq!((pairs(&some.steps), some.along.len()), (vec![("a", "b")], 3));
    }

    #[test]
    fn no_folder_moves() {
        for (moved, stay, fresh) in [
            (&[("a/x", "a/y")][..], &[][..], &[][..]),
            (&[("x", "b/x")], &[], &[]),
            (&[("a/x", "x"), ("a/y", "y")], &[], &[]),
            (&[("a/x", "a/b/x"), ("a/y", "a/b/y")], &[], &[]),
            (&[("a/x", "b/x"), ("a/y", "b/y")], &["a/z"], &[]),
            (&[("a/x", "b/x"), ("a/y", "b/y")], &["A/z"], &[]),
            (&[("a/x", "b/x"), ("a/y", "b/y")], &[], &["a/z"]),
            (&[("a/x", "b/x"), ("a/y", "c/y")], &[], &[]),
        ] {
            assert_eq!(found(moved, stay, &[], fresh), Folders::default(), "{moved:?}");
        }
    }

    #[test]
    fn a_folder_that_is_left_empty_has_not_moved() {
        let known = ["clients/acme/a", "clients/acme/b"].map(str::to_owned);
        let find = |left: &dyn Fn(&str) -> bool| {
            let moved = known.iter().map(|at| at.as_str()).zip(["old/acme/a", "old/acme/b"]).collect();
            let below = |folder: &str| known.iter().filter(|at| is_below(at, folder)).cloned().collect();
            Folders::find(&Look { moved, gone: HashSet::new(), fresh: Vec::new(), below: &below, left })
        };
        assert_eq!(pairs(&find(&|folder| folder == "clients/acme").steps), [("clients/acme", "old/acme")]);
        assert_eq!(pairs(&find(&|_| true).steps), [("clients", "old")]);
    }

    #[test]
    fn what_gives_way_comes_first() {
        let chain = steps(&[("a/1", "b/1"), ("a/2", "b/2"), ("b/1", "c/1"), ("b/2", "c/2")]);
        assert_eq!(pairs(&chain), [("b", "c"), ("a", "b")]);
        let out = steps(&[("a/1", "x/a/1"), ("a/2", "x/a/2"), ("a/s/1", "x/1"), ("a/s/2", "x/2")]);
        assert_eq!(pairs(&out), [("a/s", "x"), ("a", "x/a")]);
        let turned = steps(&[("a/1", "b/a/1"), ("a/2", "b/a/2"), ("a/b/1", "b/1"), ("a/b/2", "b/2")]);
        assert_eq!(pairs(&turned), [("a/b", "b"), ("a", "b/a")]);
    }

    #[test]
    fn something_new_in_a_folder_that_took_the_place_of_one_is_in_that() {
        let swap = [("p/a", "q/a"), ("p/b", "q/b"), ("q/a", "p/a"), ("q/b", "p/b")];
        assert_eq!(found(&swap, &[], &[], &["p/new"]).along.len(), 4);
        let chain = [("p/a", "q/a"), ("p/b", "q/b"), ("q/a", "r/a"), ("q/b", "r/b")];
        assert_eq!(pairs(&found(&chain, &[], &[], &["q/new"]).steps), [("q", "r"), ("p", "q")]);
        // In the last of a row it is the old folder, and then in the others too.
        assert_eq!(found(&chain, &[], &[], &["p/new"]).steps.len(), 1);
    }

    #[test]
    fn folders_that_go_round_go_by_a_free_name() {
        let swap = steps(&[("p/a", "q/a"), ("p/b", "q/b"), ("q/a", "p/a"), ("q/b", "p/b")]);
        let [(first, aside), second, (last, to)] = &swap[..] else { panic!("{swap:?}") };
        assert_eq!((first.as_str(), to.as_str(), aside), ("p", "q", last));
        assert_eq!(second, &("q".to_owned(), "p".to_owned()));
        let three = ["a", "b", "c"].into_iter().zip(["b", "c", "a"]);
        let round: Vec<(String, String)> =
            three.flat_map(|(a, b)| [1, 2].map(|n| (format!("{a}/{n}"), format!("{b}/{n}")))).collect();
        assert_eq!(steps(&pairs(&round)).len(), 4);
        let within = steps(&[("p/x/1", "q/x/1"), ("p/x/2", "q/x/2"), ("q/x/1", "p/x/1"), ("q/x/2", "p/x/2")]);
        assert_eq!(within.len(), 3);
        // One that goes into itself is still there.
        let inner = [("a/b/1", "a/1"), ("a/b/2", "a/2"), ("a/1", "a/b/1"), ("a/2", "a/b/2")];
        let inner = found(&inner, &[], &[], &[]);
        assert_eq!((pairs(&inner.steps), inner.along.len()), (vec![("a/b", "a")], 2));
    }
}
