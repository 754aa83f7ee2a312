//! Twins: equal text that two wrote at one place at the same time. It is shown once.
//!
//! `docs/formats.md`, Automerge, is normative. A *stretch* is as many neighbouring characters of the body as one change made. One
//! is hidden by the equal one shown before it, where the two were written behind the same character by changes neither of which
//! rests on the other. It stays in the document until somebody changes what it is shown as: who knows of the one alone may
//! write in it meanwhile, and then both are shown.

use std::collections::{HashMap, HashSet};
use std::ops::{Range, RangeInclusive};

use automerge::legacy::Key;
use automerge::transaction::{Transactable as _, Transaction};
use automerge::{ActorId, AutomergeError, ChangeHash, ObjId, ReadDoc as _};

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
    /// Where the stretch shown in its place is in what is shown: it would stand right behind.
    by: Range<usize>,
    /// Where it is in the whole body.
    at: Range<usize>,
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
        let mut twins = Twins { document, lineage: Lineage::of(document), origins: HashMap::new() };
        let stretches = Makers::of(document).stretches(document, version);
        let mut shown: Vec<&Stretch> = Vec::new();
        let (mut text, mut end) = (String::with_capacity(body.shown.len()), 0);
        for stretch in &stretches {
            match shown.last() {
                Some(before) if twins.are(before, stretch) => {
                    body.hidden.push(Hidden { by: end - before.at.len()..end, at: stretch.at.clone() });
                }
                _ => {
                    text.push_str(&stretch.text);
                    end += stretch.at.len();
                    shown.push(stretch);
                }
            }
        }
        if !body.hidden.is_empty() {
            body.shown = text;
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
            // Behind what is hidden there.
            let hidden = self.hidden.iter().take_while(|hidden| hidden.by.end <= at);
            steps.push((at + hidden.map(|hidden| hidden.at.len()).sum::<usize>(), gone, text));
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
    text: String,
    at: Range<usize>,
}

/// Tells twins.
struct Twins<'a> {
    document: &'a Document,
    lineage: Lineage<'a>,
    /// What the operations of a change stand behind, by their numbers.
    origins: HashMap<ChangeHash, Vec<Key>>,
}

impl Twins<'_> {
    fn are(&mut self, one: &Stretch, other: &Stretch) -> bool {
        let (Some(maker), Some(rival)) = (one.maker, other.maker) else { return false };
        if one.text != other.text || !self.lineage.concurrent(&maker, &rival) {
            return false;
        }
        let behind = self.origin(&maker, one.first);
        behind.is_some() && behind == self.origin(&rival, other.first)
    }

    fn origin(&mut self, change: &ChangeHash, operation: usize) -> Option<Key> {
        if !self.origins.contains_key(change) {
            let made = self.document.engine.get_change_by_hash(change)?.decode();
            self.origins.insert(*change, made.operations.into_iter().map(|made| made.key).collect());
        }
        self.origins.get(change)?.get(operation).cloned()
    }
}

/// The changes of each actor: the numbers of their operations, and which they are; `None` for a content.
struct Makers(HashMap<ActorId, Vec<(RangeInclusive<u64>, Option<ChangeHash>)>>);

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
                    stretch.at.end = end;
                }
                _ => {
                    let mut made = self.0.get(&actor).into_iter().flatten();
                    let Some((operations, maker)) = made.find(|(made, _)| made.contains(&operation)) else {
                        continue;
                    };
                    let first = operation.saturating_sub(*operations.start()) as usize;
                    stretches.push(Stretch { maker: *maker, first, text: held, at: start..end });
                    last = Some((actor, operations));
                }
            }
        }
        stretches
    }
}
