//! Trees: editing along the touched paths and comparing along the differing ones.

use super::{Error, Objects};
use aios_core::item::Mode;
use git2::{ObjectType, Oid};
use std::borrow::Cow;
use std::cmp::Ordering;

/// The mode of a folder.
pub const TREE: u32 = 0o040_000;

/// What a document is whose entry in a tree has this mode; `None` for a folder, a commit or what git never wrote.
pub fn file_mode(mode: u32) -> Option<Mode> {
    match mode {
        0o100_755 => Some(Mode::Executable),
        0o120_000 => Some(Mode::Link),
        0o100_644 | 0o100_664 => Some(Mode::File),
        _ => None,
    }
}

/// Deeper folders than this are refused, so that a hostile tree cannot exhaust the stack.
const DEEPEST: usize = 512;

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The mode: [`TREE`], `0o100644`, `0o100755`, `0o120000` (link), `0o160000` (commit), or a historic one.
    pub mode: u32,
    /// The object.
    pub oid: Oid,
    /// The name, any bytes but NUL.
    pub name: Cow<'a, [u8]>,
}

impl Entry<'_> {
    /// Git's order: by bytes, a folder's name as if it ended in `/`.
    fn order(&self, other: &Entry<'_>) -> Ordering {
        let common = self.name.len().min(other.name.len());
        let next = |e: &Entry<'_>| e.name.get(common).copied().or((e.mode == TREE).then_some(b'/'));
        self.name[..common].cmp(&other.name[..common]).then_with(|| next(self).cmp(&next(other)))
    }
}

/// What becomes of a path: a mode and object, or None to remove it. The path's folders are separated by `/`.
pub type Change = (Vec<u8>, Option<(u32, Oid)>);

/// A [`Change`] whose path is borrowed.
type Borrowed<'a> = (&'a [u8], Option<(u32, Oid)>);

/// A path that two trees hold differently. Folders do not appear, only what is in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    /// The path, its folders separated by `/`.
    pub path: Vec<u8>,
    /// Mode and object in the first tree.
    pub old: Option<(u32, Oid)>,
    /// Mode and object in the second tree.
    pub new: Option<(u32, Oid)>,
}

/// Reads a raw tree, `oid` being its id, in git's order whatever its own.
///
/// # Errors
/// [`Error::Malformed`].
pub fn entries(oid: Oid, raw: &[u8]) -> Result<Vec<Entry<'_>>, Error> {
    let bad = |why| Error::Malformed { kind: ObjectType::Tree, oid, why };
    let mut out: Vec<Entry<'_>> = Vec::with_capacity(raw.len() / 32);
    let mut rest = raw;
    while !rest.is_empty() {
        let space =
            rest.iter().take(8).position(|&b| b == b' ').ok_or_else(|| bad("an entry has no mode"))?;
        let mode = rest[..space].iter().try_fold(0_u32, |mode, digit| match digit {
            b'0'..=b'7' => Ok(mode * 8 + u32::from(digit - b'0')),
            _ => Err(bad("a mode is not octal")),
        })?;
        rest = &rest[space + 1..];
        let nul = rest.iter().position(|&b| b == 0).ok_or_else(|| bad("a name does not end"))?;
        let name = &rest[..nul];
        let id = rest.get(nul + 1..nul + 21).ok_or_else(|| bad("an id is cut short"))?;
        if name.is_empty() || name.contains(&b'/') {
            return Err(bad("a name is empty or has a slash"));
        }
        rest = &rest[nul + 21..];
        out.push(Entry { mode, oid: super::objects::oid(id)?, name: name.into() });
    }
    if !out.is_sorted_by(|a, b| a.order(b) != Ordering::Greater) {
        out.sort_by(Entry::order);
    }
    Ok(out)
}

fn to_bytes(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * 40);
    for entry in entries {
        out.extend_from_slice(format!("{:o} ", entry.mode).as_bytes());
        out.extend_from_slice(&entry.name);
        out.push(0);
        out.extend_from_slice(entry.oid.as_bytes());
    }
    out
}

fn read(objects: &mut dyn Objects, oid: Oid) -> Result<Vec<u8>, Error> {
    match objects.read(oid)? {
        (ObjectType::Tree, raw) => Ok(raw),
        _ => Err(Error::Malformed { kind: ObjectType::Tree, oid, why: "it is of another type" }),
    }
}

/// The mode and object at a path, None when there is none. The empty path has none.
///
/// # Errors
/// [`Error::Missing`] or [`Error::Malformed`] for a tree on the way.
pub fn lookup(objects: &mut dyn Objects, root: Oid, path: &[u8]) -> Result<Option<(u32, Oid)>, Error> {
    let mut at = (TREE, root);
    for name in path.split(|&b| b == b'/') {
        if at.0 != TREE {
            return Ok(None);
        }
        let raw = read(objects, at.1)?;
        match entries(at.1, &raw)?.into_iter().find(|entry| *entry.name == *name) {
            Some(entry) => at = (entry.mode, entry.oid),
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// Applies changes in any order to the tree `base` (None: the empty tree), reading and writing only trees on the touched
/// paths, and gives the new root, which may be the empty tree. Folders that become empty go. Of several changes to one path
/// the last counts. A file put where a folder was takes the place of the whole folder, and the other way round; removing
/// what is not there, or a folder, changes nothing. Costs O(n log n) of the changes and the entries of touched folders.
///
/// # Errors
/// [`Error::BadPath`] for a path git cannot hold, [`Error::Clash`] when the changes want one name as file and folder,
/// [`Error::Missing`] or [`Error::Malformed`] for a tree of the base.
pub fn edit_tree(objects: &mut dyn Objects, base: Option<Oid>, changes: &[Change]) -> Result<Oid, Error> {
    let mut sorted: Vec<Borrowed<'_>> = Vec::with_capacity(changes.len());
    for (path, to) in changes {
        if let Err(why) = check(path) {
            return Err(Error::BadPath { path: String::from_utf8_lossy(path).into_owned(), why });
        }
        sorted.push((path, *to));
    }
    // With `/` below every other byte what lies in a folder stands together, right after the folder's own name.
    let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    sorted.sort_by(|(a, _), (b, _)| a.iter().map(key).cmp(b.iter().map(key)));
    match edit_level(objects, base, &sorted, 0)? {
        Some(oid) => Ok(oid),
        None => objects.write(ObjectType::Tree, &[]),
    }
}

fn check(path: &[u8]) -> Result<(), &'static str> {
    let mut depth = 0;
    for name in path.split(|&b| b == b'/') {
        depth += 1;
        if name.is_empty() {
            return Err("it has an empty name");
        }
        if name == b"." || name == b".." || name.eq_ignore_ascii_case(b".git") {
            return Err("`.`, `..` and `.git` are git's own names");
        }
        if name.contains(&0) {
            return Err("it has a NUL byte");
        }
    }
    if depth > DEEPEST { Err("it is more than 512 folders deep") } else { Ok(()) }
}

/// Edits one folder; `from` is where its names begin in the changes' paths. None when it ends empty.
fn edit_level(
    objects: &mut dyn Objects,
    base: Option<Oid>,
    changes: &[Borrowed<'_>],
    from: usize,
) -> Result<Option<Oid>, Error> {
    let raw = match base {
        Some(oid) => read(objects, oid)?,
        None => Vec::new(),
    };
    let old = entries(base.unwrap_or(Oid::ZERO_SHA1), &raw)?;

    // The changes of each name, in the order of the names.
    let name = |path: &[u8]| path[from..].iter().position(|&b| b == b'/').map_or(path.len(), |i| from + i);
    let groups: Vec<_> = changes.chunk_by(|(a, _), (b, _)| a[from..name(a)] == b[from..name(b)]).collect();
    let group_name = |group: &[Borrowed<'_>]| name(group[0].0);

    let mut before: Vec<Option<(u32, Oid)>> = vec![None; groups.len()];
    let mut kept: Vec<Entry<'_>> = Vec::with_capacity(old.len() + groups.len());
    for entry in old {
        let found = groups.binary_search_by(|group| group[0].0[from..group_name(group)].cmp(&entry.name));
        match found {
            Ok(i) => before[i] = Some((entry.mode, entry.oid)),
            Err(_) => kept.push(entry),
        }
    }
    for (group, before) in groups.iter().zip(before) {
        let end = group_name(group);
        let deeper_from = group.partition_point(|(path, _)| path.len() == end);
        let (own, deeper) = group.split_at(deeper_from);
        let own = own.last().map(|(_, to)| *to);
        let folder = before.filter(|(mode, _)| *mode == TREE).map(|(_, oid)| oid);
        let after = match own {
            Some(Some(file)) => {
                if deeper.iter().any(|(_, to)| to.is_some()) {
                    return Err(Error::Clash(String::from_utf8_lossy(&group[0].0[..end]).into_owned()));
                }
                Some(file)
            }
            // The entry is a file, to be removed or not, and nothing below it is more than wished away.
            _ if folder.is_none() && deeper.iter().all(|(_, to)| to.is_none()) => {
                if own.is_some() {
                    None
                } else {
                    before
                }
            }
            _ if deeper.is_empty() => before,
            _ => edit_level(objects, folder, deeper, end + 1)?.map(|oid| (TREE, oid)),
        };
        if let Some((mode, oid)) = after {
            kept.push(Entry { mode, oid, name: group[0].0[from..end].into() });
        }
    }
    if kept.is_empty() {
        return Ok(None);
    }
    kept.sort_by(Entry::order);
    let new = to_bytes(&kept);
    match base {
        Some(oid) if new == raw => Ok(Some(oid)),
        _ => objects.write(ObjectType::Tree, &new).map(Some),
    }
}

/// The paths that differ between two trees (None: the empty tree), in git's order, reading only subtrees that differ.
///
/// # Errors
/// [`Error::Missing`] or [`Error::Malformed`] for a tree; [`Error::BadPath`] for one over 512 folders deep.
pub fn diff_trees(objects: &mut dyn Objects, a: Option<Oid>, b: Option<Oid>) -> Result<Vec<Diff>, Error> {
    let mut out = Vec::new();
    if a != b {
        diff_level(objects, a, b, &mut Vec::new(), 0, &mut out)?;
    }
    Ok(out)
}

fn diff_level(
    objects: &mut dyn Objects,
    a: Option<Oid>,
    b: Option<Oid>,
    path: &mut Vec<u8>,
    depth: usize,
    out: &mut Vec<Diff>,
) -> Result<(), Error> {
    if depth == DEEPEST {
        let path = String::from_utf8_lossy(path).into_owned();
        return Err(Error::BadPath { path, why: "it is more than 512 folders deep" });
    }
    let mut raw = |oid: Option<Oid>| oid.map_or(Ok(Vec::new()), |oid| read(objects, oid));
    let (raw_a, raw_b) = (raw(a)?, raw(b)?);
    let (mut a, mut b) = (
        entries(a.unwrap_or(Oid::ZERO_SHA1), &raw_a)?.into_iter().peekable(),
        entries(b.unwrap_or(Oid::ZERO_SHA1), &raw_b)?.into_iter().peekable(),
    );
    loop {
        let order = match (a.peek(), b.peek()) {
            (Some(a), Some(b)) => a.order(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return Ok(()),
        };
        let old = if order.is_le() { a.next() } else { None };
        let new = if order.is_ge() { b.next() } else { None };
        let Some(name) = old.as_ref().or(new.as_ref()).map(|entry| &entry.name) else { return Ok(()) };
        let [old_to, new_to] = [&old, &new].map(|entry| entry.as_ref().map(|e| (e.mode, e.oid)));
        if old_to == new_to {
            continue;
        }
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let folder = |to: Option<(u32, Oid)>| to.filter(|(mode, _)| *mode == TREE).map(|(_, oid)| oid);
        let (old_folder, new_folder) = (folder(old_to), folder(new_to));
        if old_folder.is_some() || new_folder.is_some() {
            diff_level(objects, old_folder, new_folder, path, depth + 1, out)?;
        } else {
            out.push(Diff { path: path.clone(), old: old_to, new: new_to });
        }
        path.truncate(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::testing::{git, repository};
    use crate::git::{Bulk, Loose};
    use std::collections::BTreeMap;

    const FILE: u32 = 0o100_644;

    fn paths(objects: &mut dyn Objects, root: Oid) -> BTreeMap<Vec<u8>, (u32, Oid)> {
        let all = diff_trees(objects, None, Some(root)).unwrap();
        all.into_iter().map(|diff| (diff.path, diff.new.unwrap())).collect()
    }

    #[test]
    fn edits_agree_with_a_map_and_with_git() {
        let (dir, repo) = repository();
        let mut objects = Loose::new(&repo, false).unwrap();
        let blobs: Vec<Oid> =
            (0..5).map(|i| objects.write(ObjectType::Blob, format!("{i}").as_bytes()).unwrap()).collect();
        let names = ["a", "a.b", "a-b", "ab", "a/b", "a/b/c", "a/d", "z/z/z", "\u{e9}", "a0/x"];
        let mut model: BTreeMap<Vec<u8>, (u32, Oid)> = BTreeMap::new();
        let mut root = None;
        let mut seed = 7_u64;
        let mut next = |n: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % n
        };
        for _ in 0..300 {
            let mut changes: Vec<Change> = Vec::new();
            let mut after = model.clone();
            for _ in 0..=next(4) {
                let path = names[next(names.len())].as_bytes().to_vec();
                if next(3) == 0 {
                    changes.push((path.clone(), None));
                    after.remove(&path);
                } else {
                    let to = (FILE, blobs[next(blobs.len())]);
                    // What stands in the way goes: as `edit_tree` does unless the same changes put it there.
                    let inside = |a: &[u8], b: &[u8]| a.starts_with(&[b, b"/"].concat());
                    after.retain(|old, _| !inside(old, &path) && !inside(&path, old));
                    if changes.iter().any(|(p, to)| to.is_some() && (inside(p, &path) || inside(&path, p))) {
                        continue;
                    }
                    after.insert(path.clone(), to);
                    changes.push((path, Some(to)));
                }
            }
            // A clash inside one batch is tested on its own; the retain above may have dropped its first half.
            if changes.iter().any(|(path, to)| to.is_some() && !after.contains_key(path)) {
                continue;
            }
            let new = edit_tree(&mut objects, root, &changes).unwrap();
            let expected = paths(&mut objects, new);
            assert_eq!(expected, after, "{changes:?}");
            let fresh: Vec<Change> = after.iter().map(|(path, to)| (path.clone(), Some(*to))).collect();
            assert_eq!(edit_tree(&mut objects, None, &fresh).unwrap(), new);
            let mut applied = model.clone();
            for diff in diff_trees(&mut objects, root, Some(new)).unwrap() {
                assert_eq!(applied.get(&diff.path).copied(), diff.old);
                match diff.new {
                    Some(to) => _ = applied.insert(diff.path, to),
                    None => _ = applied.remove(&diff.path),
                }
            }
            assert_eq!(applied, after);
            for name in names {
                let found = lookup(&mut objects, new, name.as_bytes()).unwrap();
                assert_eq!(found.filter(|(mode, _)| *mode != TREE), after.get(name.as_bytes()).copied());
            }
            (root, model) = (Some(new), after);
        }
        git(dir.path(), &["fsck", "--strict"]);
    }

    #[test]
    fn clashes_and_bad_paths_are_refused_and_empty_is_the_empty_tree() {
        let (_dir, repo) = repository();
        let mut objects = Loose::new(&repo, false).unwrap();
        let to = Some((FILE, objects.write(ObjectType::Blob, b"x").unwrap()));
        let both = [(b"a/b".to_vec(), to), (b"a".to_vec(), to)];
        assert!(matches!(edit_tree(&mut objects, None, &both), Err(Error::Clash(path)) if path == "a"));
        for path in ["", "/a", "a//b", "a/", "a/../b", ".GIT/x", "a\0b"] {
            let result = edit_tree(&mut objects, None, &[(path.into(), to)]);
            assert!(matches!(result, Err(Error::BadPath { .. })), "{path:?}");
        }
        let root = edit_tree(&mut objects, None, &[(b"a/b/c".to_vec(), to)]).unwrap();
        let empty = edit_tree(&mut objects, Some(root), &[(b"a/b/c".to_vec(), None)]).unwrap();
        assert_eq!(empty.to_string(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
        let swapped = [(b"a/b/c".to_vec(), None), (b"a".to_vec(), to)];
        let root = edit_tree(&mut objects, Some(root), &swapped).unwrap();
        assert_eq!(paths(&mut objects, root).len(), 1);
    }

    #[test]
    fn raw_names_and_damage_are_survived() {
        let raw = [b"100644 \xff\xfe\0".as_slice(), &[1; 20], b"40000 a\0", &[2; 20]].concat();
        let list = entries(Oid::ZERO_SHA1, &raw).unwrap();
        assert_eq!(*list[0].name, *b"a");
        assert_eq!(*list[1].name, *b"\xff\xfe");
        for cut in 1..raw.len() {
            let whole = cut == 30;
            assert_eq!(entries(Oid::ZERO_SHA1, &raw[..cut]).is_ok(), whole, "{cut}");
        }
    }

    #[test]
    fn a_hundred_thousand_paths_timed() {
        let (_dir, repo) = repository();
        let mut objects = Bulk::new(&repo, 1).unwrap();
        let blob = objects.write(ObjectType::Blob, b"x").unwrap();
        let changes: Vec<Change> = (0..100_000_u32)
            .map(|i| {
                (format!("{}/{:08x}.md", i % 100, i.wrapping_mul(2_654_435_761)).into(), Some((FILE, blob)))
            })
            .collect();
        let start = std::time::Instant::now();
        let root = edit_tree(&mut objects, None, &changes).unwrap();
        println!("tree of 100,000: {:?}", start.elapsed());
        let start = std::time::Instant::now();
        let one = [(changes[5].0.clone(), None)];
        let edited = edit_tree(&mut objects, Some(root), &one).unwrap();
        assert_eq!(diff_trees(&mut objects, Some(root), Some(edited)).unwrap().len(), 1);
        println!("one change and its diff: {:?}", start.elapsed());
        objects.finish(false).unwrap();
        assert_eq!(paths(&mut Loose::new(&repo, false).unwrap(), edited).len(), 99_999);
    }
}
