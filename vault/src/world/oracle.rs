//! What must come out, worked out from the definitions (`docs/formats.md`, Documents and Content) and from what users
//! meant, without the code under test: no folding, no namespace, no Automerge.

use std::collections::{BTreeMap, BTreeSet};

use aios_core::clock::Stamp;
use aios_core::frontier::{Place, View};
use aios_core::id::{ContentHash, DocId};

/// A frontmatter entry: what stands around its items, or all of it; and the items, if it is a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Field {
    pub frame: String,
    pub items: Option<BTreeSet<String>>,
}

/// The line ends of a file as a key of it.
const ENDS: &str = "\n";

/// A file as the tests write it: frontmatter by key, and how often each token stands in the body. Line ends are told apart from all
/// that.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Content {
    pub fences: Option<(String, String)>,
    pub fields: BTreeMap<String, Field>,
    /// The items of each list in their order.
    pub lists: BTreeMap<String, Vec<String>>,
    pub tokens: BTreeMap<String, usize>,
    /// What its lines end with; an empty one where there is a text without any line end.
    pub ends: BTreeSet<&'static str>,
    /// Whether nothing is left of a frontmatter.
    pub bare: bool,
}

/// The body line that holds token `n`.
pub(crate) fn line(n: usize) -> String {
    format!("k{n}x lorem{n}x ipsum{n}x")
}

/// Reads a file. Frontmatter is what the tests write: plain keys, `tags: [a, b]`, `labels:` with `  - ` items.
pub(crate) fn read(bytes: &[u8]) -> Content {
    let raw = String::from_utf8_lossy(bytes);
    let text = raw.replace("\r\n", "\n");
    let ends = raw.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let ends: BTreeSet<_> = ends.map(|line| if line.ends_with("\r\n") { "\r\n" } else { "\n" }).collect();
    let ends = if ends.is_empty() { BTreeSet::from([""]) } else { ends };
    let mut out = Content { ends, bare: !text.contains([':', '-']), ..Content::default() };
    let mut body = &text[..];
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let close = lines.iter().skip(1).position(|line| line.trim_end() == "---").map(|at| at + 1);
    if let (Some(first), Some(close)) = (lines.first(), close)
        && first.trim_end() == "---"
    {
        out.fences = Some(((*first).to_owned(), lines[close].to_owned()));
        let mut last = String::new();
        for raw in &lines[1..close] {
            if let Some(item) = raw.starts_with("  - ").then(|| out.fields.get_mut(&last)).flatten() {
                item.items.get_or_insert_default().insert((*raw).to_owned());
                out.lists.entry(last.clone()).or_default().push((*raw).to_owned());
                continue;
            }
            let (key, value) = raw.split_once(':').unwrap_or((raw, ""));
            last = key.to_owned();
            let field = match value.trim().strip_prefix('[').and_then(|value| value.strip_suffix(']')) {
                Some(list) => {
                    let items = list.split(',').map(|item| item.trim().to_owned());
                    let items: Vec<String> = items.filter(|item| !item.is_empty()).collect();
                    out.lists.insert(last.clone(), items.clone());
                    let end = raw.trim_end().len();
                    let items = items.into_iter().collect();
                    Field { frame: format!("{key}: []{}", &raw[end..]), items: Some(items) }
                }
                None => Field { frame: (*raw).to_owned(), items: (key == "labels").then(BTreeSet::new) },
            };
            out.fields.insert(last.clone(), field);
        }
        body = &text[lines[..=close].iter().map(|line| line.len()).sum()..];
    }
    for word in body.split(|c: char| !c.is_alphanumeric()) {
        // Lines may have been joined: a token is found inside a run of letters too.
        for (at, _) in word.match_indices('k') {
            let digits: String = word[at + 1..].chars().take_while(char::is_ascii_digit).collect();
            if !digits.is_empty() && word[at + 1 + digits.len()..].starts_with('x') {
                *out.tokens.entry(digits).or_default() += 1;
            }
        }
    }
    out
}

/// What an item was seen by, and what it saw.
#[derive(Debug, Clone)]
pub(crate) struct At {
    pub place: Place,
    pub index: u32,
    pub seen: View,
    pub rank: Stamp,
}

impl At {
    fn covers(&self, other: &At) -> bool {
        match self.place == other.place {
            true => other.index < self.index,
            false => self.seen.has(&other.place),
        }
    }
}

/// What an item does to its document, but for its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Create { path: String, exec: bool, hash: ContentHash },
    Edit,
    Replace,
    Move(String),
    Mode(bool),
    Delete,
}

/// What a user meant to change in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    Insert(String),
    Remove(String),
    Put {
        key: String,
        frame: String,
    },
    Clear(String),
    Add {
        key: String,
        item: String,
    },
    Drop {
        key: String,
        item: String,
    },
    /// Items that stay in another order: which of them are written anew for that is not told here.
    Reorder(String),
    /// A list made where there was none: nothing of an earlier one stays.
    Anew(String),
    /// The whole frontmatter taken away.
    Take,
    /// Line ends of several kinds, or the first ones.
    Odd,
}

/// What a save meant: the difference between what its writer had in front of them and what they saved.
pub(crate) fn deeds(old: &Content, new: &Content) -> Vec<Deed> {
    let mut out = Vec::new();
    let fresh = |a: &Content, b: &Content| -> Vec<String> {
        a.tokens.keys().filter(|token| !b.tokens.contains_key(*token)).cloned().collect()
    };
    out.extend(fresh(new, old).into_iter().map(Deed::Insert));
    out.extend(fresh(old, new).into_iter().map(Deed::Remove));
    if old.fences != new.fences {
        out.push(match &new.fences {
            Some((open, close)) => Deed::Put { key: "---".into(), frame: format!("{open}{close}") },
            None if new.bare => Deed::Take,
            None => Deed::Clear("---".into()),
        });
    }
    let one = |ends: &BTreeSet<&'static str>| (ends.len() == 1).then(|| ends.first().copied()).flatten();
    match (one(&old.ends), one(&new.ends)) {
        (was, is) if was == is && is.is_some() => {}
        (_, Some("")) => {}
        (None, Some("\n")) if old.ends.is_empty() => {}
        (None, Some(_)) if !old.ends.is_empty() => out.push(Deed::Odd),
        (Some(""), _) | (_, None) => out.push(Deed::Odd),
        (_, Some(ends)) => out.push(Deed::Put { key: ENDS.into(), frame: ends.into() }),
    }
    let none = Field::default();
    for key in old.fields.keys().chain(new.fields.keys()).collect::<BTreeSet<_>>() {
        let (was, is) = (old.fields.get(key), new.fields.get(key));
        let items = |field: Option<&Field>| field.unwrap_or(&none).items.clone().unwrap_or_default();
        let (before, after) = (items(was), items(is));
        out.extend(after.difference(&before).map(|item| Deed::Add { key: key.clone(), item: item.clone() }));
        if is.is_some() {
            out.extend(
                before.difference(&after).map(|item| Deed::Drop { key: key.clone(), item: item.clone() }),
            );
        }
        if was.is_none() && is.is_some_and(|field| field.items.is_some()) {
            out.push(Deed::Anew(key.clone()));
        }
        let list = |content: &Content| content.lists.get(key).cloned().unwrap_or_default();
        let (list, other) = (list(old), list(new));
        let of = |list: &[String], other: &[String]| -> Vec<String> {
            list.iter().filter(|item| other.contains(item)).cloned().collect()
        };
        let reorders = of(&list, &other) != of(&other, &list);
        if reorders {
            out.push(Deed::Reorder(key.clone()));
        }
        match (was, is) {
            (_, None) => out.push(Deed::Clear(key.clone())),
            (was, Some(is)) if was != Some(is) || reorders => {
                out.push(Deed::Put { key: key.clone(), frame: is.frame.clone() })
            }
            _ => {}
        }
    }
    out
}

#[derive(Debug, Clone)]
struct Fact {
    at: At,
    what: What,
    deeds: Vec<Deed>,
}

/// A move of a folder.
#[derive(Debug, Clone)]
struct Step {
    at: At,
    from: String,
    to: String,
}

impl Step {
    /// Whether another moved the same folder, neither having seen the other.
    fn is_rival(&self, other: &Step) -> bool {
        let apart = !self.at.covers(&other.at) && !other.at.covers(&self.at);
        self.at.place != other.at.place && apart && fold(&self.from) == fold(&other.from)
    }
}

/// What is known of one document in a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub exec: bool,
    /// Whether every deletion must show too: not where it was replaced whole.
    pub exact: bool,
    /// Tokens that must stand there, with the most times each may.
    pub present: BTreeMap<String, usize>,
    /// Tokens somebody who saw them deleted.
    pub absent: BTreeSet<String>,
    /// Fields that must be there; `None` where the frontmatter cannot be told.
    pub fields: Option<BTreeMap<String, Field>>,
    /// Keys whose greatest values have one rank, as two stale saves from one version do: which of them stands is not
    /// the rank's to say.
    pub ties: BTreeSet<String>,
    /// Lists some of whose items were moved: which of them there are cannot be told.
    pub loose: BTreeSet<String>,
    /// What all lines end with; `None` where it cannot be told.
    pub ends: Option<String>,
    /// Losing values of keys, which must be listed.
    pub losers: BTreeMap<String, BTreeSet<String>>,
}

/// All that happened.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    docs: BTreeMap<DocId, Vec<Fact>>,
    steps: Vec<Step>,
    /// Hashes of every content in a record.
    pub hashes: BTreeSet<ContentHash>,
}

fn fold(path: &str) -> String {
    path.to_lowercase()
}

impl Oracle {
    pub fn note(&mut self, doc: DocId, at: At, what: What, deeds: Vec<Deed>) {
        self.docs.entry(doc).or_default().push(Fact { at, what, deeds });
    }

    pub fn note_folder(&mut self, at: At, from: String, to: String) {
        self.steps.push(Step { at, from, to });
        self.steps.sort_by_key(|step| (step.at.rank, step.at.index));
    }

    fn facts<'a>(&'a self, doc: &DocId, view: &View) -> Vec<&'a Fact> {
        self.docs.get(doc).into_iter().flatten().filter(|fact| view.has(&fact.at.place)).collect()
    }

    pub fn lives(&self, doc: &DocId, view: &View) -> bool {
        let facts = self.facts(doc, view);
        let deletes: Vec<&&Fact> = facts.iter().filter(|fact| fact.what == What::Delete).collect();
        let kept = |fact: &&&Fact| {
            fact.what != What::Delete && !deletes.iter().any(|delete| delete.at.covers(&fact.at))
        };
        facts.iter().any(|fact| kept(&fact))
    }

    /// Whether something happened to a document in `view` that `known` lacks.
    pub fn news(&self, doc: &DocId, known: &View, view: &View) -> bool {
        self.facts(doc, view).iter().any(|fact| !known.has(&fact.at.place))
    }

    fn greatest<'a>(&self, facts: &[&'a Fact], of: impl Fn(&What) -> bool) -> Option<&'a Fact> {
        let those: Vec<&&Fact> = facts.iter().filter(|fact| of(&fact.what)).collect();
        let free = those.iter().filter(|fact| !those.iter().any(|other| other.at.covers(&fact.at)));
        free.max_by_key(|fact| (fact.at.rank, fact.at.place, fact.at.index)).map(|fact| **fact)
    }

    fn claim(&self, doc: &DocId, view: &View) -> Option<String> {
        if !self.lives(doc, view) {
            return None;
        }
        let facts = self.facts(doc, view);
        let chosen = self.greatest(&facts, |what| matches!(what, What::Create { .. } | What::Move(_)))?;
        let (What::Create { path, .. } | What::Move(path)) = &chosen.what else { return None };
        let mut path = path.clone();
        let mut by = &chosen.at;
        let steps: Vec<&Step> = self.steps.iter().filter(|step| view.has(&step.at.place)).collect();
        for (n, step) in steps.iter().enumerate().filter(|(_, step)| !chosen.at.covers(&step.at)) {
            let rivals: Vec<(usize, &&Step)> =
                steps.iter().enumerate().filter(|(_, other)| step.is_rival(other)).collect();
            // The later of two new names of one folder is the one.
            if rivals.iter().any(|(other, _)| *other > n) {
                continue;
            }
            let knew: Vec<String> = rivals
                .iter()
                .filter(|(_, rival)| by.covers(&rival.at))
                .map(|(_, rival)| {
                    let same =
                        |other: &&&Step| other.at.place == rival.at.place && other.at.index > rival.at.index;
                    let later = steps.iter().filter(same);
                    later.fold(rival.to.clone(), |at, other| {
                        let rest = format!("{at}/");
                        let rest = fold(&rest).strip_prefix(&format!("{}/", fold(&other.from))).map(str::len);
                        match rest {
                            Some(rest) => {
                                let end = format!("{at}/");
                                format!("{}/{}", other.to, &end[end.len() - rest..])
                                    .trim_end_matches('/')
                                    .to_owned()
                            }
                            None => at,
                        }
                    })
                })
                .collect();
            let from = if knew.is_empty() { vec![step.from.clone()] } else { knew };
            let below = |from: &String| fold(&path).strip_prefix(&format!("{}/", fold(from))).map(str::len);
            if let Some(rest) = from.iter().find_map(below) {
                path = format!("{}/{}", step.to, &path[path.len() - rest..]);
                by = &step.at;
            }
        }
        Some(path)
    }

    pub fn exec(&self, doc: &DocId, view: &View) -> bool {
        let facts = self.facts(doc, view);
        if let Some(Fact { what: What::Mode(exec), .. }) =
            self.greatest(&facts, |what| matches!(what, What::Mode(_)))
        {
            return *exec;
        }
        let creates = facts.iter().filter_map(|fact| match fact.what {
            What::Create { exec, .. } => Some(((fact.at.rank, fact.at.index), exec)),
            _ => None,
        });
        creates.min_by_key(|(rank, _)| *rank).is_some_and(|(_, exec)| exec)
    }

    /// Where every living document lies.
    pub fn places(&self, view: &View) -> BTreeMap<String, DocId> {
        let claims: BTreeMap<DocId, String> =
            self.docs.keys().filter_map(|doc| Some((*doc, self.claim(doc, view)?))).collect();
        let taken: BTreeSet<String> = claims.values().map(|claim| fold(claim)).collect();
        let mut first: BTreeMap<String, DocId> = BTreeMap::new();
        for (doc, claim) in &claims {
            first.entry(fold(claim)).or_insert(*doc);
        }
        let mut out = BTreeMap::new();
        for (doc, claim) in &claims {
            let folder = taken.iter().any(|other| other.starts_with(&format!("{}/", fold(claim))));
            let mut path = claim.clone();
            if folder || first.get(&fold(claim)) != Some(doc) {
                let name = claim.rfind('/').map_or(0, |at| at + 1);
                let dot = claim[name..].rfind('.').filter(|at| *at > 0).map_or(claim.len(), |at| name + at);
                let suffixed = |n: usize| format!("{}-{}{}", &claim[..dot], &doc.hex()[..n], &claim[dot..]);
                path = [6, 12, 24]
                    .map(suffixed)
                    .into_iter()
                    .find(|path| !taken.contains(&fold(path)))
                    .unwrap_or_else(|| suffixed(64));
            }
            out.insert(path, *doc);
        }
        out
    }

    /// Where a document lies, if it lives.
    pub fn path(&self, doc: &DocId, view: &View) -> Option<String> {
        self.places(view).into_iter().find(|(_, of)| of == doc).map(|(path, _)| path)
    }

    /// What a document holds in a view.
    pub fn expected<'a>(&'a self, doc: &DocId, view: &View) -> Expected {
        let facts = self.facts(doc, view);
        let twins = |fact: &'a Fact| -> Vec<&'a At> {
            match &fact.what {
                What::Create { hash, .. } => {
                    let equal =
                        |other: &&&Fact| matches!(&other.what, What::Create { hash: of, .. } if of == hash);
                    facts.iter().filter(equal).map(|other| &other.at).collect()
                }
                _ => vec![&fact.at],
            }
        };
        let rank = |fact: &'a Fact| twins(fact).iter().map(|at| at.rank).min();
        // Whether some item that does `what` has seen the fact.
        let undone = |fact: &'a Fact, what: &dyn Fn(&Deed) -> bool| {
            let twins = twins(fact);
            facts
                .iter()
                .any(|other| other.deeds.iter().any(what) && twins.iter().any(|at| other.at.covers(at)))
        };
        let (mut present, mut absent) = (BTreeMap::new(), BTreeSet::new());
        let mut written: BTreeMap<String, Vec<(Option<Stamp>, String)>> = BTreeMap::new();
        let mut items: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut loose = BTreeSet::new();
        let mut inserted: BTreeSet<(String, Option<ContentHash>)> = BTreeSet::new();
        for fact in facts.iter().copied() {
            for deed in &fact.deeds {
                match deed {
                    Deed::Insert(token) => {
                        let equal = match &fact.what {
                            What::Create { hash, .. } => Some(*hash),
                            _ => None,
                        };
                        if equal.is_some() && !inserted.insert((token.clone(), equal)) {
                            continue;
                        }
                        match undone(fact, &|deed| *deed == Deed::Remove(token.clone())) {
                            true => _ = absent.insert(token.clone()),
                            false => *present.entry(token.clone()).or_default() += 1,
                        }
                    }
                    Deed::Put { key, frame } => {
                        let over = |deed: &Deed| matches!(deed, Deed::Put { key: of, .. } | Deed::Clear(of) if of == key);
                        if !undone(fact, &over) {
                            written.entry(key.clone()).or_default().push((rank(fact), frame.clone()));
                        }
                    }
                    Deed::Add { key, item } => {
                        let drop = Deed::Drop { key: key.clone(), item: item.clone() };
                        if !undone(fact, &|deed| *deed == drop || *deed == Deed::Anew(key.clone())) {
                            items.entry(key.clone()).or_default().insert(item.clone());
                        }
                    }
                    Deed::Remove(_) | Deed::Clear(_) | Deed::Drop { .. } => {}
                    Deed::Reorder(key) => _ = loose.insert(key.clone()),
                    Deed::Anew(_) | Deed::Take | Deed::Odd => {}
                }
            }
        }
        absent.retain(|token| !present.contains_key(token));
        let mut losers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let (mut fields, mut ties) = (BTreeMap::new(), BTreeSet::new());
        for (key, mut values) in written {
            values.sort();
            let Some((greatest, frame)) = values.pop() else { continue };
            if values.iter().any(|(rank, value)| *rank == greatest && *value != frame) {
                ties.insert(key.clone());
            }
            let lost: BTreeSet<String> =
                values.into_iter().map(|(_, value)| value).filter(|value| *value != frame).collect();
            let is_list = matches!(key.as_str(), "tags" | "labels");
            if !lost.is_empty() && !is_list {
                losers.insert(key.clone(), lost);
            }
            let items = is_list.then(|| items.remove(&key).unwrap_or_default());
            fields.insert(key, Field { frame, items });
        }
        let did = |deed: &Deed| facts.iter().any(|fact| fact.deeds.contains(deed));
        let (torn, taken) = (did(&Deed::Clear("---".into())), did(&Deed::Take));
        let open = fields.remove("---").is_some() || taken;
        let ends = fields.remove(ENDS).map_or_else(|| "\n".to_owned(), |field| field.frame);
        for key in ["---", ENDS] {
            losers.remove(key);
        }
        let exact = !facts.iter().any(|fact| fact.what == What::Replace);
        // A value whose line end alone was changed is another one, and which that is with ends of both kinds is not told here.
        let fields = (exact && !torn && !did(&Deed::Odd) && (open || fields.is_empty())).then_some(fields);
        if fields.is_none() {
            losers.clear();
        }
        // Of an empty file nobody sees them.
        let empty = present.is_empty() && fields.as_ref().is_none_or(BTreeMap::is_empty);
        let told = exact && !empty && !did(&Deed::Odd) && !ties.contains(ENDS);
        let ends = told.then_some(ends);
        Expected { exec: self.exec(doc, view), exact, present, absent, fields, ties, loose, ends, losers }
    }

    /// Tokens that nobody ever deleted in this document: they are there however it was merged.
    pub fn untouched(&self, doc: &DocId, view: &View) -> BTreeSet<String> {
        let facts = self.facts(doc, view);
        let all = facts.iter().flat_map(|fact| &fact.deeds);
        let removed: BTreeSet<&String> = all
            .clone()
            .filter_map(|deed| if let Deed::Remove(token) = deed { Some(token) } else { None })
            .collect();
        let inserted = all.filter_map(|deed| if let Deed::Insert(token) = deed { Some(token) } else { None });
        inserted.filter(|token| !removed.contains(token)).cloned().collect()
    }

    /// Everything about a document, for a failure's report.
    pub fn story(&self, doc: &DocId) -> String {
        let show = |view: &View| {
            view.iter()
                .map(|place| format!("{}:{}", place.device.short(4), place.seq))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let facts = self.docs.get(doc).into_iter().flatten();
        let lines = facts.map(|fact| {
            let at = &fact.at;
            format!(
                "  {}:{}#{} saw [{}] rank {}.{} {:?} {:?}\n",
                at.place.device.short(4),
                at.place.seq,
                at.index,
                show(&at.seen),
                at.rank.0,
                at.rank.1,
                fact.what,
                fact.deeds
            )
        });
        lines.collect()
    }
}
