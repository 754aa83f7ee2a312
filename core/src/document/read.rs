//! Reading a document at a version.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use automerge::{ChangeHash, ObjId, ROOT, ReadDoc as _, ScalarValueRef, Value as Held, ValueRef};

use super::twin::Body;
use super::{Document, DocumentError, Past, Rank, Version, engine, guarded};
use crate::ends::Ends;
use crate::item::Kind;
use crate::markdown::{self, Entry, Parts, Value};

/// What a document reads as at a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The file's text.
    pub text: String,
    /// Registers with several values, fences first, then keys in the order of their names. Where the block of one head
    /// stands, those of that head: the others' values are in their own blocks, and those of the merge are nobody's.
    pub conflicts: Vec<RegisterConflict>,
    /// Whether a merge broke the frontmatter, so that the block of the head of greatest rank stands.
    pub front_conflict: bool,
}

/// A register of a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Register {
    /// What opens the frontmatter.
    Open,
    /// What closes it.
    Close,
    /// The frontmatter entry of this name.
    Key(String),
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Register::Open => "opening fence",
            Register::Close => "closing fence",
            Register::Key(name) => name,
        })
    }
}

/// A register to which concurrent changes gave different values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterConflict {
    /// Which register.
    pub register: Register,
    /// The source of the value that stands.
    pub winner: String,
    /// The values that lost and differ from it, by falling rank: their source, and the change that wrote
    /// them.
    pub losers: Vec<(String, ChangeHash)>,
}

/// The values of one register, the one that stands first, the others by falling rank. Never empty.
pub(super) struct Values(Vec<(String, ChangeHash)>);

impl Values {
    /// The value that stands.
    pub(super) fn winner(&self) -> &str {
        self.0.first().map_or("", |(value, _)| value)
    }

    /// Whether there are several.
    pub(super) fn contested(&self) -> bool {
        self.0.len() > 1
    }

    /// What is to be settled of them; `alike` says of two values that they differ in nothing that anybody would choose by.
    fn conflict(
        &self,
        register: Register,
        source: impl Fn(&str) -> String,
        alike: impl Fn(&str, &str) -> bool,
    ) -> Option<RegisterConflict> {
        let winner = self.winner();
        let losers: Vec<_> =
            self.0.iter().filter(|(value, _)| value != winner && !alike(value, winner)).collect();
        (!losers.is_empty()).then(|| RegisterConflict {
            register,
            winner: source(winner),
            losers: losers.iter().map(|(value, change)| (source(value), *change)).collect(),
        })
    }
}

/// An element of `items`.
#[derive(Clone)]
pub(super) struct Element {
    /// The name of its entry; empty where the element is malformed.
    pub(super) name: String,
    /// The item's source.
    pub(super) text: String,
    /// Its position in the version.
    pub(super) at: usize,
    /// The position of the same item of the same entry that a concurrent change made: it was added twice at once, and this one
    /// is hidden by the other.
    pub(super) hider: Option<usize>,
}

impl Element {
    /// Whether it is shown.
    pub(super) fn shown(&self) -> bool {
        self.hider.is_none()
    }
}

/// The registers of the fences that were taken away with all entries: the first one and the last one.
pub(super) const TAKEN: [&str; 2] = ["opened", "closed"];

/// What the objects of a document hold at a version.
pub(super) struct State {
    pub(super) ends: Option<Values>,
    pub(super) open: Option<Values>,
    pub(super) close: Option<Values>,
    /// The fences that were taken away with all entries. They stand where an entry outlives that, because somebody changed it
    /// at the same time.
    pub(super) taken: [Option<Values>; 2],
    pub(super) front: BTreeMap<String, Values>,
    /// The names in `order`, `None` for an element that is no name.
    pub(super) order: Vec<Option<String>>,
    pub(super) items: Vec<Element>,
    pub(super) body: Body,
}

impl State {
    /// What the lines of the file end with.
    pub(super) fn line_ends(&self) -> Ends {
        self.ends.as_ref().map_or(Ends::Lf, |values| Ends::from_register(values.winner()))
    }

    /// Whether some of what the objects hold is not shown, because two wrote it.
    pub(super) fn doubled(&self) -> bool {
        self.body.hides() || self.items.iter().any(|item| !item.shown())
    }

    /// The names of the entries in the order they are written.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        let ordered = self.order.iter().flatten().filter(|name| self.front.contains_key(*name));
        let mut names: Vec<&str> =
            ordered.map(String::as_str).filter(|name| seen.insert(name.to_owned())).collect();
        names.extend(self.front.keys().map(String::as_str).filter(|name| !seen.contains(name)));
        names
    }

    /// The value of a register of `front`, with the items of its list.
    pub(super) fn value(&self, name: &str, register: &str) -> Value {
        let items = self.items.iter().filter(|item| item.shown() && item.name == name);
        Value::from_register(register, items.map(|item| item.text.clone()).collect())
    }

    pub(super) fn parts(&self) -> Parts {
        let entry = |name: &str| {
            let value = self.value(name, self.front.get(name)?.winner());
            Some(Entry { name: name.to_owned(), value })
        };
        let entries: Vec<Entry> = self.names().into_iter().filter_map(entry).collect();
        let [opened, closed] = &self.taken;
        let (open, close) = match self.open.is_none() && self.close.is_none() && !entries.is_empty() {
            true => (opened, closed),
            false => (&self.open, &self.close),
        };
        let fence = |values: &Option<Values>| values.as_ref().map_or("", Values::winner).to_owned();
        Parts { open: fence(open), close: fence(close), body: self.body.shown.clone(), entries }
    }

    fn conflicts(&self) -> Vec<RegisterConflict> {
        let ends = self.line_ends();
        let fence = |values: &Option<Values>, register| {
            values.as_ref()?.conflict(register, |fence| ends.turn(fence).into_owned(), |_, _| false)
        };
        let fences = [fence(&self.open, Register::Open), fence(&self.close, Register::Close)];
        let keys = self.front.iter().map(|(name, values)| {
            let source = |register: &str| ends.turn(&self.value(name, register).raw()).into_owned();
            let frame = |register: &str| Value::from_register(register, Vec::new()).frame();
            let alike = |a: &str, b: &str| frame(a).is_some() && frame(a) == frame(b);
            values.conflict(Register::Key(name.clone()), source, alike)
        });
        fences.into_iter().chain(keys).flatten().collect()
    }
}

/// A document at a version: what its objects hold, and what the file shows of it.
pub(super) struct View {
    pub(super) state: State,
    /// The file in the parts that the document keeps apart, which may differ from those a fresh split gives, its line ends as
    /// the document holds them.
    pub(super) parts: Parts,
    /// The tip whose frontmatter stands, where the merge broke it.
    standing: Option<State>,
}

impl Document {
    /// The document at the version that `heads` name: changes that must be in it. Joins of the contents
    /// below them need not be named. `rank` decides between concurrent values of a register.
    ///
    /// # Errors
    ///
    /// When there is no head, one is not in the document, or Automerge fails.
    pub fn read(&self, heads: &[ChangeHash], rank: Rank<'_>) -> Result<Reading, DocumentError> {
        let version = self.version(heads)?;
        let view = guarded("read the document", || self.view(&version, rank))??;
        Ok(Reading {
            text: view.state.line_ends().turn(&view.parts.render()).into_owned(),
            conflicts: view.standing.as_ref().unwrap_or(&view.state).conflicts(),
            front_conflict: view.standing.is_some(),
        })
    }

    pub(super) fn view(&self, version: &Version, rank: Rank<'_>) -> Result<View, DocumentError> {
        let state = self.state(version, rank)?;
        let mut parts = state.parts();
        let standing = match version.tips.as_slice() {
            [_, _, ..] if !parts.open.is_empty() && !markdown::split(&parts.render()).has_front() => {
                self.standing(&version.tips, rank)?
            }
            _ => None,
        };
        let Some(tip) = standing else { return Ok(View { state, parts, standing: None }) };
        // One took the line end behind the last fence away, while another wrote below it.
        parts.close.push('\n');
        if markdown::split(&parts.render()).has_front() {
            return Ok(View { state, parts, standing: None });
        }
        parts = Parts { body: parts.body, ..tip.parts() };
        Ok(View { state, parts, standing: Some(tip) })
    }

    /// The tip of greatest rank, if every tip alone has frontmatter: then it was the merge that
    /// broke it, and no author.
    fn standing(&self, tips: &[ChangeHash], rank: Rank<'_>) -> Result<Option<State>, DocumentError> {
        let mut standing = None;
        for tip in tips {
            let state = self.state(&self.version(&[*tip])?, rank)?;
            if !markdown::split(&state.parts().render()).has_front() {
                return Ok(None);
            }
            let place = (rank(tip), *tip);
            if standing.as_ref().is_none_or(|(greatest, _)| place > *greatest) {
                standing = Some((place, state));
            }
        }
        Ok(standing.map(|(_, state)| state))
    }

    fn state(&self, version: &Version, rank: Rank<'_>) -> Result<State, DocumentError> {
        let heads = version.heads.as_slice();
        let body = self.engine.text_at(&self.objects.body, heads).map_err(engine("read the body"))?;
        let body = Body::of(self, version, body);
        let ends = self.values(&ROOT, "ends", heads, rank)?;
        let mut state = State {
            ends,
            open: None,
            close: None,
            taken: [None, None],
            front: BTreeMap::new(),
            order: vec![],
            items: vec![],
            body,
        };
        if self.origin.kind != Kind::Md {
            return Ok(state);
        }
        state.open = self.values(&ROOT, "open", heads, rank)?;
        state.close = self.values(&ROOT, "close", heads, rank)?;
        for (values, key) in state.taken.iter_mut().zip(TAKEN) {
            *values = self.values(&ROOT, key, heads, rank)?;
        }
        for name in self.engine.keys_at(&self.objects.front, heads) {
            if let Some(values) = self.values(&self.objects.front, &name, heads, rank)? {
                state.front.insert(name, values);
            }
        }
        state.order =
            self.engine.list_range_at(&self.objects.order, .., heads).map(|item| text(&item.value)).collect();
        let listed = self.engine.list_range_at(&self.objects.items, .., heads);
        let makers: Vec<_> = listed
            .enumerate()
            .map(|(at, item)| {
                // What is no item belongs to no entry.
                let source = text(&item.value).unwrap_or_default();
                let (name, text) = source.split_once('\0').unwrap_or_default();
                let element = Element { name: name.to_owned(), text: text.to_owned(), at, hider: None };
                state.items.push(element);
                self.engine.hash_for_opid(&item.id()).filter(|_| !source.is_empty())
            })
            .collect();
        self.hide(&mut state, &makers);
        Ok(state)
    }

    /// Hides each item that concurrent changes made twice, but once. `makers`: the change that made each.
    fn hide(&self, state: &mut State, makers: &[Option<ChangeHash>]) {
        let mut lineage = Lineage::of(self);
        // Of each item the changes that made it, each with the first element of it.
        let mut made: HashMap<(String, String), Vec<(ChangeHash, usize)>> = HashMap::new();
        for (at, (item, maker)) in state.items.iter_mut().zip(makers).enumerate() {
            let Some(maker) = *maker else { continue };
            let before = made.entry((item.name.clone(), item.text.clone())).or_default();
            item.hider =
                before.iter().find(|(other, _)| lineage.concurrent(other, &maker)).map(|(_, at)| *at);
            if before.iter().all(|(other, _)| *other != maker) {
                before.push((maker, at));
            }
        }
    }

    /// The strings that a register holds; `None` for none.
    fn values(
        &self,
        object: &ObjId,
        key: &str,
        heads: &[ChangeHash],
        rank: Rank<'_>,
    ) -> Result<Option<Values>, DocumentError> {
        let held = self.engine.get_all_at(object, key, heads).map_err(engine("read a register"))?;
        // Automerge gives them in the order of their ids, which decides only inside one change.
        let mut values: Vec<(String, ChangeHash)> = held
            .iter()
            .rev()
            .filter_map(|(value, id)| match value {
                Held::Scalar(scalar) => Some((scalar.as_str()?.to_owned(), self.engine.hash_for_opid(id)?)),
                Held::Object(_) => None,
            })
            .collect();
        if values.len() > 1 {
            values.sort_by_cached_key(|(_, change)| Reverse((rank(change), *change)));
        }
        Ok((!values.is_empty()).then_some(Values(values)))
    }
}

/// What the changes of a document rest on, looked up when first needed.
pub(super) struct Lineage<'a> {
    document: &'a Document,
    past: Option<Past>,
    below: HashMap<ChangeHash, HashSet<ChangeHash>>,
}

impl<'a> Lineage<'a> {
    pub(super) fn of(document: &'a Document) -> Self {
        Lineage { document, past: None, below: HashMap::new() }
    }

    /// Whether neither change rests on the other.
    pub(super) fn concurrent(&mut self, a: &ChangeHash, b: &ChangeHash) -> bool {
        a != b && !self.rests_on(a, b) && !self.rests_on(b, a)
    }

    fn rests_on(&mut self, change: &ChangeHash, other: &ChangeHash) -> bool {
        let past = self.past.get_or_insert_with(|| Past::of(&self.document.engine));
        let below = self.below.entry(*change).or_insert_with(|| past.below(&BTreeSet::from([*change])));
        below.contains(other)
    }
}

/// The string that a list element holds.
pub(super) fn text(value: &ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Scalar(ScalarValueRef::Str(text)) => Some(text.to_string()),
        _ => None,
    }
}
