//! Twins: text that two wrote at one place at the same time. It is shown once.
//!
//! `docs/formats.md`, Automerge, is normative. A *stretch* is as many neighbouring characters of the body as one change made; it
//! is whole when they are all that the change put in there. Of two whole ones that were put in behind the same character by
//! changes neither of which rests on the other, one is hidden: the second of equals, and what is the first lines of the other. It stays
//! in the document until somebody changes what it is shown as: who knows of the one alone may write in it meanwhile, and then
//! both are shown.

use std::collections::{HashMap, HashSet};
use std::ops::{Range, RangeInclusive};

use automerge::legacy::{ElementId, Key, Op, OpId};
use automerge::transaction::{Transactable as _, Transaction};
use automerge::{ActorId, AutomergeError, ChangeHash, ExpandedChange, ObjId, ReadDoc as _};

use super::read::{Lineage, text};
use super::{Document, Version};

/// The body of a version.
pub(super) struct Body {
    /// What is shown of it.
    pub(super) shown: String,
    /// What is not, in order.
    hidden: Vec<Hidden>,
}

/// A stretch that is not shown. Positions are in characters.
struct Hidden {
    /// Where the stretch shown in its place is in what is shown.
    by: Range<usize>,
    /// Where it is in the whole body.
    at: Range<usize>,
    /// How much is shown before it.
    behind: usize,
}

/// A change of the shown text: from where, how many characters go, and what comes behind those before.
pub(super) type Splice<'a> = (usize, usize, &'a str);

impl Body {
    /// What is shown of `whole`, the text of the body at a version.
    pub(super) fn of(document: &Document, version: &Version, whole: String) -> Self {
        let mut body = Body { shown: whole, hidden: Vec::new() };
        if !document.forked {
            return body;
        }
        let stretches = Makers::of(document).stretches(document, version);
        let hiders = Twins::of(document).hiders(&stretches);
        if hiders.iter().all(Option::is_none) {
            return body;
        }
        let mut starts = Vec::with_capacity(stretches.len());
        let (mut text, mut end) = (String::with_capacity(body.shown.len()), 0);
        for (stretch, hider) in stretches.iter().zip(&hiders) {
            starts.push(end);
            if hider.is_none() {
                text.push_str(&stretch.text);
                end += stretch.at.len();
            }
        }
        body.shown = text;
        for ((stretch, hider), behind) in stretches.iter().zip(&hiders).zip(&starts) {
            let Some(hider) = *hider else { continue };
            let by = starts[hider]..starts[hider] + stretches[hider].at.len();
            body.hidden.push(Hidden { by, at: stretch.at.clone(), behind: *behind });
        }
        body
    }

    /// Whether some of it is not shown.
    pub(super) fn hides(&self) -> bool {
        !self.hidden.is_empty()
    }

    /// How many characters are not shown.
    pub(super) fn hidden(&self) -> usize {
        self.hidden.iter().map(|hidden| hidden.at.len()).sum()
    }

    /// Makes changes of what is shown, which are ascending and apart. What stands for a stretch that is changed goes with it.
    pub(super) fn splice(
        &self,
        tx: &mut Transaction<'_>,
        body: &ObjId,
        splices: &[Splice<'_>],
    ) -> Result<(), AutomergeError> {
        let changed = |by: &Range<usize>| {
            splices.iter().any(|&(at, gone, _)| match gone {
                0 => by.start < at && at < by.end,
                _ => at < by.end && by.start < at + gone,
            })
        };
        let going = self.hidden.iter().filter(|hidden| changed(&hidden.by));
        let mut steps: Vec<Splice<'_>> = going.map(|hidden| (hidden.at.start, hidden.at.len(), "")).collect();
        for &(at, gone, text) in splices {
            let within = self
                .hidden
                .iter()
                .map(|hidden| hidden.behind)
                .filter(|&behind| at < behind && behind < at + gone);
            let mut from = at;
            for to in within.chain([at + gone]) {
                // Behind what is hidden there.
                let hidden = self.hidden.iter().take_while(|hidden| hidden.behind <= from);
                let hidden: usize = hidden.map(|hidden| hidden.at.len()).sum();
                steps.push((from + hidden, to - from, if from == at { text } else { "" }));
                from = to;
            }
        }
        steps.sort_by_key(|step| std::cmp::Reverse(step.0));
        steps.into_iter().try_for_each(|(at, gone, text)| tx.splice_text(body, at, gone as isize, text))
    }

    /// Deletes what is not shown.
    pub(super) fn settle(&self, tx: &mut Transaction<'_>, body: &ObjId) -> Result<(), AutomergeError> {
        let mut hidden = self.hidden.iter().rev();
        hidden.try_for_each(|hidden| tx.splice_text(body, hidden.at.start, hidden.at.len() as isize, ""))
    }
}

/// Neighbouring characters that one change made.
struct Stretch {
    /// `None` for a content: the joins have dropped what two contents share.
    maker: Option<ChangeHash>,
    /// The operation that made the first, as its number in its change.
    first: usize,
    /// The least number of an operation that made one.
    oldest: u64,
    /// How many elements they are.
    count: usize,
    text: String,
    at: Range<usize>,
}

impl Stretch {
    /// Whether `other` is this, or its first lines; lines that are all empty are none.
    fn covers(&self, other: &Self) -> bool {
        let Some(rest) = self.text.strip_prefix(&other.text) else { return false };
        let lines = other.text.ends_with('\n') || rest.starts_with('\n');
        rest.is_empty() || lines && !other.first_line().is_empty()
    }

    /// The first line that is not empty.
    fn first_line(&self) -> &str {
        self.text.trim_start_matches('\n').split('\n').next().unwrap_or_default()
    }
}

/// Tells twins.
struct Twins<'a> {
    document: &'a Document,
    lineage: Lineage<'a>,
    /// The operations of a change.
    changes: HashMap<ChangeHash, Option<ExpandedChange>>,
}

impl<'a> Twins<'a> {
    fn of(document: &'a Document) -> Self {
        Twins { document, lineage: Lineage::of(document), changes: HashMap::new() }
    }

    /// For each stretch the one that is shown in its place, if it is hidden.
    fn hiders(&mut self, stretches: &[Stretch]) -> Vec<Option<usize>> {
        let mut hiders: Vec<Option<usize>> = vec![None; stretches.len()];
        for (number, stretch) in stretches.iter().enumerate() {
            // Of what is put in behind one character the newer stands first: between twins is nothing older than the second.
            let newer = |&at: &usize| stretches[at].oldest >= stretch.oldest;
            let before: Vec<usize> = (0..number).rev().take_while(newer).collect();
            let shown: Vec<usize> = before.iter().rev().copied().filter(|&at| hiders[at].is_none()).collect();
            hiders[number] = shown.iter().copied().find(|&at| self.hides(&stretches[at], stretch));
            if hiders[number].is_some() {
                continue;
            }
            for at in shown {
                let own = before.iter().copied().filter(|&own| own == at || hiders[own] == Some(at));
                let own: Vec<usize> = own.collect();
                if own.iter().all(|&own| self.hides(stretch, &stretches[own])) {
                    own.iter().for_each(|&own| hiders[own] = Some(number));
                }
            }
        }
        hiders
    }

    /// Whether `one` stands for `other`.
    fn hides(&mut self, one: &Stretch, other: &Stretch) -> bool {
        let (Some(maker), Some(rival)) = (one.maker, other.maker) else { return false };
        if !one.covers(other) || !self.lineage.concurrent(&maker, &rival) {
            return false;
        }
        let behind = self.behind(&maker, one);
        behind.is_some() && behind == self.behind(&rival, other)
    }

    /// What a whole stretch was put in behind.
    fn behind(&mut self, maker: &ChangeHash, stretch: &Stretch) -> Option<Key> {
        let document = self.document;
        let made = self.changes.entry(*maker);
        let change =
            made.or_insert_with(|| Some(document.engine.get_change_by_hash(maker)?.decode())).as_ref()?;
        let mut operations = change.operations.iter().enumerate().skip(stretch.first);
        let (_, first) = operations.next().filter(|(_, first)| first.insert)?;
        let follows = |(number, next): (usize, &Op)| {
            let before = OpId(change.start_op.get() + number as u64 - 1, change.actor_id.clone());
            next.insert && next.key == Key::Seq(ElementId::Id(before))
        };
        let whole = 1 + operations.take_while(|next| follows(*next)).count();
        (whole == stretch.count).then(|| first.key.clone())
    }
}

/// A change by the numbers of its operations; no hash of a content.
type Maker = (RangeInclusive<u64>, Option<ChangeHash>);

/// The changes of each actor.
struct Makers(HashMap<ActorId, Vec<Maker>>);

impl Makers {
    fn of(document: &Document) -> Self {
        let contents: HashSet<&ChangeHash> = document.contents.values().collect();
        let mut makers: HashMap<ActorId, Vec<_>> = HashMap::new();
        for change in document.engine.get_changes_meta(&[]) {
            let maker = (!contents.contains(&change.hash)).then_some(change.hash);
            let operations = change.start_op..=change.max_op;
            makers.entry(change.actor.into_owned()).or_default().push((operations, maker));
        }
        Makers(makers)
    }

    /// The stretches of the body at a version, in their order.
    fn stretches(&self, document: &Document, version: &Version) -> Vec<Stretch> {
        let mut stretches: Vec<Stretch> = Vec::new();
        let mut last: Option<(ActorId, &RangeInclusive<u64>)> = None;
        let mut end = 0;
        for item in document.engine.list_range_at(&document.objects.body, .., &version.heads) {
            // What is no text reads as U+FFFC.
            let held = text(&item.value).unwrap_or_else(|| '\u{fffc}'.into());
            let start = end;
            end += held.chars().count();
            let ObjId::Id(operation, actor, _) = item.id() else { continue };
            let same = last.as_ref().is_some_and(|(by, made)| *by == actor && made.contains(&operation));
            match stretches.last_mut() {
                Some(stretch) if same => {
                    stretch.text.push_str(&held);
                    stretch.count += 1;
                    stretch.oldest = stretch.oldest.min(operation);
                    stretch.at.end = end;
                }
                _ => {
                    let mut made = self.0.get(&actor).into_iter().flatten();
                    let Some((operations, maker)) = made.find(|(made, _)| made.contains(&operation)) else {
                        continue;
                    };
                    let first = operation.saturating_sub(*operations.start()) as usize;
                    stretches.push(Stretch {
                        maker: *maker,
                        first,
                        oldest: operation,
                        count: 1,
                        text: held,
                        at: start..end,
                    });
                    last = Some((actor, operations));
                }
            }
        }
        stretches
    }
}
