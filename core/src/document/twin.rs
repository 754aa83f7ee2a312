//! Twins: equal text that two wrote at one place at the same time. It is shown once.
//!
//! `docs/formats.md`, Automerge, is normative. The *sides* of a change are the tips (heads that no other rests on) that have it
//! in their past. Neighbouring stretches of the body that are equal and share no side are twins: who wrote the one had not seen
//! the other. A version with one tip has none: it is the text that its writer saved.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::{Range, RangeInclusive};

use automerge::transaction::{Transactable as _, Transaction};
use automerge::{ActorId, AutomergeError, ChangeHash, ObjId, ReadDoc as _};

use super::read::text;
use super::{Document, Past, Version};

/// The body of a version.
pub(super) struct Body {
    /// Without the twins.
    pub(super) shown: String,
    /// The twins left out: positions in the whole body, in characters, ascending and apart.
    pub(super) hidden: Vec<Range<usize>>,
}

impl Body {
    /// What is shown of `whole`, the text of the body at a version.
    pub(super) fn of(document: &Document, version: &Version, whole: String) -> Self {
        let mut body = Body { shown: whole, hidden: Vec::new() };
        if version.tips.len() < 2 {
            return body;
        }
        let makers = Makers::of(document, version);
        let stretches = makers.stretches(document, version);
        let lengths: usize = stretches.iter().map(|stretch| stretch.text.len()).sum();
        if lengths != body.shown.len() {
            return body;
        }
        let mut shown: Vec<&Stretch<'_>> = Vec::new();
        for stretch in &stretches {
            match shown.last() {
                Some(before) if before.twin(stretch) => body.hidden.push(stretch.chars.clone()),
                _ => shown.push(stretch),
            }
        }
        if !body.hidden.is_empty() {
            body.shown = shown.iter().map(|stretch| stretch.text.as_str()).collect();
        }
        body
    }

    /// Deletes the twins left out.
    pub(super) fn settle(&self, tx: &mut Transaction<'_>, body: &ObjId) -> Result<(), AutomergeError> {
        let mut twins = self.hidden.iter().rev();
        twins.try_for_each(|twin| tx.splice_text(body, twin.start, twin.len() as isize, ""))
    }
}

/// Neighbouring characters whose changes have the same sides.
struct Stretch<'a> {
    /// None for what belongs to a content: the joins have dropped what two contents share.
    sides: &'a [usize],
    text: String,
    chars: Range<usize>,
}

impl Stretch<'_> {
    fn twin(&self, other: &Self) -> bool {
        let apart = self.sides.iter().all(|side| !other.sides.contains(side));
        apart && !self.sides.is_empty() && !other.sides.is_empty() && self.text == other.text
    }
}

/// A change: the numbers of its operations, and its sides as positions among the tips.
struct Made {
    operations: RangeInclusive<u64>,
    sides: Vec<usize>,
}

/// The changes of each actor.
struct Makers(HashMap<ActorId, Vec<Made>>);

impl Makers {
    fn of(document: &Document, version: &Version) -> Self {
        let past = Past::of(&document.engine);
        let pasts: Vec<HashSet<ChangeHash>> = version
            .tips
            .iter()
            .map(|tip| {
                let mut below = past.below(&BTreeSet::from([*tip]));
                below.insert(*tip);
                below
            })
            .collect();
        let contents: HashSet<&ChangeHash> = document.contents.values().collect();
        let mut makers: HashMap<ActorId, Vec<Made>> = HashMap::new();
        for change in document.engine.get_changes_meta(&[]) {
            let has = |side: &usize| pasts[*side].contains(&change.hash);
            let sides = match contents.contains(&change.hash) {
                true => Vec::new(),
                false => (0..pasts.len()).filter(has).collect(),
            };
            let made = Made { operations: change.start_op..=change.max_op, sides };
            makers.entry(change.actor.into_owned()).or_default().push(made);
        }
        Makers(makers)
    }

    /// The stretches of the body, in their order.
    fn stretches(&self, document: &Document, version: &Version) -> Vec<Stretch<'_>> {
        let mut stretches: Vec<Stretch<'_>> = Vec::new();
        let mut last: Option<(ActorId, &Made)> = None;
        let mut at = 0;
        for item in document.engine.list_range_at(&document.objects.body, .., &version.heads) {
            let ObjId::Id(operation, actor, _) = item.id() else { continue };
            let same = last.take().filter(|(by, made)| *by == actor && made.operations.contains(&operation));
            let Some((by, made)) = same.or_else(|| Some((actor.clone(), self.by(&actor, operation)?))) else {
                continue;
            };
            // What is no text reads as U+FFFC.
            let held = text(&item.value).unwrap_or_else(|| '\u{fffc}'.into());
            let end = at + held.chars().count();
            match stretches.last_mut() {
                Some(stretch) if stretch.sides == made.sides => {
                    stretch.text.push_str(&held);
                    stretch.chars.end = end;
                }
                _ => stretches.push(Stretch { sides: &made.sides, text: held, chars: at..end }),
            }
            at = end;
            last = Some((by, made));
        }
        stretches
    }

    fn by(&self, actor: &ActorId, operation: u64) -> Option<&Made> {
        self.0.get(actor)?.iter().find(|made| made.operations.contains(&operation))
    }
}
