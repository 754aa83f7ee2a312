//! Edits: the change that turns the text of a version into another.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use automerge::transaction::{Transactable as _, Transaction};
use automerge::{ActorId, AutomergeError, ChangeHash, ObjId, PatchLog, ROOT};

use super::read::{Element, State, TAKEN, Values};
use super::twin::{Body, Splice};
use super::{Document, DocumentError, Edit, MAX_OP, Objects, Rank, change, engine, guarded};
use crate::align::{align, split_lines};
use crate::ends::Ends;
use crate::markdown::{Entry, Parts, Value};
use crate::patch::{self, Hunk, Patch};

/// The most characters an edit of an old version deletes in place. Each costs a walk over the whole body;
/// beyond this the past of that version alone is built and edited, which costs about as much.
const ISOLATED_DELETES: usize = 64;

impl Document {
    /// Makes the edit that turns the text read at `heads` into `new`, and applies it; `None` if they are
    /// equal. It rests on `heads` alone (I6). `actor` is this incarnation of this device; the document must
    /// hold every change it ever made here.
    ///
    /// # Errors
    ///
    /// As [`Document::read`]; and [`DocumentError::Unfaithful`] when the version after the edit would not
    /// read as `new`. The document is then unchanged.
    pub fn edit(
        &mut self,
        heads: &[ChangeHash],
        rank: Rank<'_>,
        new: &str,
        actor: &[u8; 16],
    ) -> Result<Option<Edit>, DocumentError> {
        let version = self.version(heads)?;
        let view = guarded("read the document", || self.view(&version, rank))??;
        let old = view.parts.render();
        let old_ends = view.state.line_ends();
        let file = old_ends.turn(&old);
        if file == new {
            return Ok(None);
        }
        let ends = old_ends.after(&file, new);
        let held = ends.turn(new);
        let target = target(&view.parts, &old, self.origin.split(&held), &held);
        let edit = Work { objects: &self.objects, state: &view.state, ends, target: &target };
        let mut next = self.clone();
        let hash = guarded("edit the document", || next.write(&version.heads, &edit, actor))??;
        let mut change = change(&next.engine, &hash)?;
        if change.max_op() > MAX_OP || next.read(&[hash], rank)?.text != new {
            return Err(DocumentError::Unfaithful);
        }
        *self = next;
        Ok(Some(Edit { change: change.bytes().into_owned(), hash }))
    }

    /// Commits `edit` at `heads`.
    fn write(
        &mut self,
        heads: &[ChangeHash],
        edit: &Work<'_>,
        actor: &[u8; 16],
    ) -> Result<ChangeHash, DocumentError> {
        let body = patch::diff(&edit.state.body.shown, &edit.target.body);
        let failed = |error: AutomergeError| engine("edit the document")(error);
        let is_newest = heads == self.engine.get_heads();
        self.forked |= !is_newest;
        let actor = if is_newest { ActorId::from(actor.as_slice()) } else { self.branch_actor(heads, actor) };
        self.engine.set_actor(actor.clone());
        let deleted: usize = body.0.iter().map(|hunk| hunk.delete + 1).sum();
        let deleted = deleted + edit.state.body.hidden();
        let hash = if is_newest {
            let mut tx = self.engine.transaction();
            edit.write(&mut tx, &body).map_err(failed)?;
            tx.commit().0
        } else if deleted <= ISOLATED_DELETES {
            let tx = self.engine.transaction_at(PatchLog::inactive(), heads);
            let mut tx = tx.map_err(|error| failed(error.into()))?;
            edit.write(&mut tx, &body).map_err(failed)?;
            tx.commit().0
        } else {
            let mut fork = self.engine.fork_at(heads).map_err(failed)?;
            fork.set_actor(actor);
            let mut tx = fork.transaction();
            edit.write(&mut tx, &body).map_err(failed)?;
            let hash = tx.commit().0;
            if let Some(hash) = &hash {
                self.admit(vec![change(&fork, hash)?])?;
            }
            hash
        };
        hash.ok_or(DocumentError::Unfaithful)
    }

    /// An actor none of whose changes lies outside the past of `heads`: `actor`, or one derived from it. An
    /// actor's changes must follow each other.
    fn branch_actor(&self, heads: &[ChangeHash], actor: &[u8; 16]) -> ActorId {
        let beside: HashSet<ActorId> =
            self.engine.get_changes_meta(heads).into_iter().map(|change| change.actor.into_owned()).collect();
        let mut branch = ActorId::from(actor.as_slice());
        let mut number = 0u64;
        while beside.contains(&branch) {
            number += 1;
            let mut hasher = blake3::Hasher::new();
            hasher.update(b"aios-branch-v1\n").update(actor).update(&number.to_be_bytes());
            branch = ActorId::from(&hasher.finalize().as_bytes()[..16]);
        }
        branch
    }
}

/// The parts the document is to have after the edit from `old`, held in the parts `base`, to `new`, whose
/// own parts are `fresh`.
///
/// Where the frontmatter is the old one edited, or all new, it is edited by key. Otherwise each object keeps
/// what the edit left of its range, so that text does not move between objects.
fn target(base: &Parts, old: &str, fresh: Parts, new: &str) -> Parts {
    let has_block = old.len() > base.body.len();
    match fresh.has_front() {
        true if is_same_block(base, old, &fresh, new) => keep_lists(base, fresh),
        false if !has_block => fresh,
        _ => by_range(base, old, new),
    }
}

/// `fresh`, with each list of `base` whose text is the same as `base` holds it: one that a merge emptied reads as a scalar, and
/// an edit beside it must not make it one.
fn keep_lists(base: &Parts, mut fresh: Parts) -> Parts {
    let lists = base.entries.iter().filter(|entry| matches!(entry.value, Value::List { .. }));
    let held: BTreeMap<&str, &Value> = lists.map(|entry| (entry.name.as_str(), &entry.value)).collect();
    for Entry { name, value } in &mut fresh.entries {
        if let Some(held) = held.get(name.as_str()).filter(|held| held.raw() == value.raw()) {
            *value = (*held).clone();
        }
    }
    fresh
}

/// Whether the frontmatter of `fresh` is that of `base` edited, or put in front of a text without any.
///
/// The closing fence tells: it is matched by the line alignment, or no line is matched with either fence.
fn is_same_block(base: &Parts, old: &str, fresh: &Parts, new: &str) -> bool {
    let front_lines = |parts: &Parts, text: &str| split_lines(&text[..text.len() - parts.body.len()]).len();
    let (old_front, new_front) = (front_lines(base, old), front_lines(fresh, new));
    let pairs = align(&split_lines(old), &split_lines(new));
    if old_front == 0 {
        return pairs.iter().all(|&(_, line)| line >= new_front);
    }
    let fences = (old_front - 1, new_front.saturating_sub(1));
    let fence_pairs: Vec<_> = pairs.iter().filter(|(i, j)| *i == fences.0 || *j == fences.1).collect();
    !base.open.is_empty() && !base.close.is_empty() && fence_pairs.iter().all(|pair| **pair == fences)
}

/// Gives each object what the edit from `old` to `new` left of its range. A list that is touched becomes a scalar.
///
/// From the entry on of which, and of all after it in the frontmatter, nothing but spaces is left, all is body: there no
/// text gives way to another's. So it is from the first entry on that is touched, where no fence is left: what stands
/// there is no frontmatter any more.
fn by_range(base: &Parts, old: &str, new: &str) -> Parts {
    let patch = patch::diff(old, new);
    let pieces = Pieces::of(base);
    let left = pieces.left(old, &patch);
    let body = pieces.texts.len() - 1;
    let front = left[..body].iter().rposition(|left| !left.trim().is_empty()).map_or(0, |last| last + 1);
    let touched = patch.0.first().map_or(body, |hunk| pieces.owner(hunk));
    let split = match base.open.is_empty() && base.close.is_empty() {
        true if touched < body => pieces.starts[touched],
        false if front + 1 < body => pieces.starts[front],
        _ => usize::MAX,
    };

    let mut texts = vec![String::new(); pieces.texts.len()];
    let (mut done, mut written) = (0, 0);
    for hunk in patch.0.iter().take_while(|hunk| hunk.at < split) {
        pieces.copy(done, hunk.at, &mut texts);
        texts[pieces.owner(hunk)].push_str(&hunk.insert);
        written += hunk.at - done + hunk.insert.len();
        done = hunk.at + hunk.delete;
    }
    pieces.copy(done, split, &mut texts);
    if split < usize::MAX {
        written += split.saturating_sub(done);
        texts[body].push_str(new.get(written..).unwrap_or_default());
    }

    let body = texts.pop().unwrap_or_default();
    let close = texts.pop().unwrap_or_default();
    let mut texts = texts.into_iter();
    let open = texts.next().unwrap_or_default();
    let entries =
        base.entries.iter().zip(texts).zip(&pieces.texts[1..]).filter_map(|((entry, text), old)| {
            let value = if text == *old { entry.value.clone() } else { Value::Scalar(text) };
            (!value.raw().is_empty()).then(|| Entry { name: entry.name.clone(), value })
        });
    Parts { open, entries: entries.collect(), close, body }
}

/// The texts of a document's objects in the order of the file: opening, entries, closing, body.
struct Pieces {
    texts: Vec<String>,
    /// Where each begins in the file, in bytes.
    starts: Vec<usize>,
}

impl Pieces {
    fn of(parts: &Parts) -> Self {
        let entries = parts.entries.iter().map(|entry| entry.value.raw());
        let texts: Vec<String> = [parts.open.clone()]
            .into_iter()
            .chain(entries)
            .chain([parts.close.clone(), parts.body.clone()])
            .collect();
        let starts = texts.iter().scan(0, |at, text| {
            *at += text.len();
            Some(*at - text.len())
        });
        Pieces { starts: starts.collect(), texts }
    }

    /// Appends to each of `texts` what it holds of the bytes from `from` to `to` of the file.
    fn copy(&self, from: usize, to: usize, texts: &mut [String]) {
        for ((old, start), text) in self.texts.iter().zip(&self.starts).zip(texts) {
            let (from, to) = (from.max(*start) - start, to.min(start + old.len()).saturating_sub(*start));
            text.push_str(old.get(from..to).unwrap_or_default());
        }
    }

    /// What `patch` leaves of each.
    fn left(&self, old: &str, patch: &Patch) -> Vec<String> {
        let mut texts = vec![String::new(); self.texts.len()];
        let mut done = 0;
        for hunk in &patch.0 {
            self.copy(done, hunk.at, &mut texts);
            done = hunk.at + hunk.delete;
        }
        self.copy(done, old.len(), &mut texts);
        texts
    }

    /// Which piece takes the inserted text of `hunk`: the one that held the first byte deleted, or the one
    /// before the place of a pure insertion; the body from its first byte on.
    fn owner(&self, hunk: &Hunk) -> usize {
        let body = self.texts.len() - 1;
        let close = body - 1;
        let end = hunk.at + hunk.delete;
        if end > self.starts[body] {
            return body;
        }
        if hunk.delete == 0 && hunk.at == self.starts[body] {
            let closes = self.texts[close].is_empty() && !self.texts[0].is_empty() && is_fence(&hunk.insert);
            return if closes { close } else { body };
        }
        let held = if hunk.delete == 0 { hunk.at.saturating_sub(1) } else { hunk.at };
        (0..body).find(|&piece| held < self.starts[piece] + self.texts[piece].len()).unwrap_or(body)
    }
}

fn is_fence(text: &str) -> bool {
    let line = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    matches!(line, "---" | "...")
}

/// What an edit has to do.
struct Work<'a> {
    objects: &'a Objects,
    /// What the document holds.
    state: &'a State,
    /// What the lines of the file are to end with.
    ends: Ends,
    /// What it is to hold.
    target: &'a Parts,
}

impl Work<'_> {
    /// Writes what differs; `body` is the patch of the body.
    fn write(&self, tx: &mut Transaction<'_>, body: &Patch) -> Result<(), AutomergeError> {
        let Work { objects, state, ends, target } = *self;
        if ends != state.line_ends() {
            put(tx, &ROOT, "ends", state.ends.as_ref(), ends.register())?;
        }
        write_taken(tx, state, target)?;
        write_fence(tx, "open", state.open.as_ref(), &target.open)?;
        write_fence(tx, "close", state.close.as_ref(), &target.close)?;

        let mut items = state.items.clone();
        for name in state.front.keys().filter(|name| target.entries.iter().all(|entry| entry.name != **name))
        {
            tx.delete(&objects.front, name.as_str())?;
        }
        for Entry { name, value } in &target.entries {
            let values = state.front.get(name);
            let held = values.map(Values::winner);
            if held.is_some_and(|held| state.value(name, held) == *value) {
                continue;
            }
            let items_changed = match value {
                Value::List { items: wanted, .. } => {
                    let was_list = held.is_some_and(|held| held.starts_with('['));
                    write_items(tx, &objects.items, &mut items, name, wanted, was_list)?
                }
                // The items stay, as those of a key that goes do: whoever adds one at the same time has the list whole.
                Value::Scalar(_) => false,
            };
            let register = value.register();
            if items_changed || held != Some(register.as_str()) {
                put(tx, &objects.front, name, values, &register)?;
            }
        }
        write_order(tx, &objects.order, state, target)?;
        write_body(tx, &objects.body, &state.body, body)
    }
}

/// Keeps the fences that go with all entries, and drops such where entries are to stand without.
fn write_taken(tx: &mut Transaction<'_>, state: &State, target: &Parts) -> Result<(), AutomergeError> {
    if !target.open.is_empty() || !target.close.is_empty() {
        return Ok(());
    }
    let fences = [&state.open, &state.close];
    let stood = fences.iter().any(|fence| fence.is_some());
    for ((key, fence), held) in TAKEN.into_iter().zip(fences).zip(&state.taken) {
        match fence {
            Some(fence) if target.entries.is_empty() => put(tx, &ROOT, key, held.as_ref(), fence.winner())?,
            _ if held.is_some() && (stood || !target.entries.is_empty()) => tx.delete(ROOT, key)?,
            _ => {}
        }
    }
    Ok(())
}

fn write_fence(
    tx: &mut Transaction<'_>,
    key: &str,
    held: Option<&Values>,
    wanted: &str,
) -> Result<(), AutomergeError> {
    match held {
        Some(_) if wanted.is_empty() => tx.delete(ROOT, key),
        Some(held) if held.winner() == wanted => Ok(()),
        None if wanted.is_empty() => Ok(()),
        _ => put(tx, &ROOT, key, held, wanted),
    }
}

/// Writes a register that holds `held`.
///
/// Automerge takes no second put of an equal value, and of one that is among several it only drops the others: then the
/// register is written anew. So a list outlives a removal of its key made at the same time, and a value that was chosen
/// has the rank of the choice.
fn put(
    tx: &mut Transaction<'_>,
    map: &ObjId,
    key: &str,
    held: Option<&Values>,
    value: &str,
) -> Result<(), AutomergeError> {
    if held.is_some_and(|held| held.contested() || held.winner() == value) {
        tx.delete(map, key)?;
    }
    tx.put(map, key, value)
}

/// Where the item stands that is shown in place of the one at `at`.
fn shown_by(items: &[Element], mut at: usize) -> usize {
    while let Some(hider) = items[at].hider
        && let Some(next) = items.iter().position(|item| item.at == hider)
    {
        at = next;
    }
    at
}

/// Makes `wanted` the items shown of the entry `name`; tells whether anything changed. Where it was no list before, none that is
/// left of an earlier one is kept: who writes another list at the same time may not lose it to this one.
fn write_items(
    tx: &mut Transaction<'_>,
    list: &ObjId,
    items: &mut Vec<Element>,
    name: &str,
    wanted: &[String],
    was_list: bool,
) -> Result<bool, AutomergeError> {
    let mine: Vec<usize> = (0..items.len()).filter(|&at| items[at].name == name).collect();
    let shown: Vec<usize> = mine.iter().copied().filter(|&at| was_list && items[at].shown()).collect();
    let shown_texts: Vec<&str> = shown.iter().map(|&at| items[at].text.as_str()).collect();
    let wanted_texts: Vec<&str> = wanted.iter().map(String::as_str).collect();
    if shown_texts == wanted_texts && (was_list || mine.is_empty()) {
        return Ok(false);
    }
    let pairs = align(&shown_texts, &wanted_texts);
    let kept: BTreeMap<usize, usize> = pairs.iter().map(|&(from, to)| (to, shown[from])).collect();

    // An item goes with what it hides. Items made here hide nothing: their change rests on all others.
    let staying: BTreeSet<usize> = kept.values().copied().collect();
    let gone: BTreeSet<usize> =
        mine.iter().copied().filter(|&at| !staying.contains(&shown_by(items, at))).collect();

    let wanted = wanted.iter().map(|text| {
        let element = Element { name: name.to_owned(), text: text.clone(), at: usize::MAX, hider: None };
        (format!("{name}\0{text}"), element)
    });
    write_list(tx, list, items, &gone, &kept, wanted.collect())?;
    Ok(true)
}

/// Makes the entries of `target` stand in their order.
fn write_order(
    tx: &mut Transaction<'_>,
    list: &ObjId,
    state: &State,
    target: &Parts,
) -> Result<(), AutomergeError> {
    let names = state.names();
    let wanted: Vec<&str> = target.entries.iter().map(|entry| entry.name.as_str()).collect();
    if names == wanted {
        return Ok(());
    }
    let first = |name: &str| state.order.iter().position(|held| held.as_deref() == Some(name));
    let kept: BTreeMap<usize, usize> = align(&names, &wanted)
        .into_iter()
        .filter_map(|(from, to)| Some((to, first(names.get(from)?)?)))
        .collect();
    let stays = |name: &str| kept.keys().any(|&at| wanted[at] == name);
    // The name of an entry that goes stays in the order: a change of it made at the same time keeps its place.
    let moves = |name: &str| !stays(name) && wanted.contains(&name);
    let gone = (0..state.order.len()).filter(|&at| state.order[at].as_deref().is_some_and(moves)).collect();
    let mut order = state.order.clone();
    let wanted = wanted.iter().map(|name| ((*name).to_owned(), Some((*name).to_owned()))).collect();
    write_list(tx, list, &mut order, &gone, &kept, wanted)
}

/// Deletes the elements `gone` of a list and inserts those of `wanted` that are not `kept` (position in
/// `wanted` to position in the list, both ascending), each after the one before it. `held` mirrors the list.
fn write_list<T>(
    tx: &mut Transaction<'_>,
    list: &ObjId,
    held: &mut Vec<T>,
    gone: &BTreeSet<usize>,
    kept: &BTreeMap<usize, usize>,
    wanted: Vec<(String, T)>,
) -> Result<(), AutomergeError> {
    for &at in gone.iter().rev() {
        tx.delete(list, at)?;
        held.remove(at);
    }
    let shifted = |at: usize| at - gone.range(..at).count();
    let mut at = kept.values().next().map_or(held.len(), |&at| shifted(at));
    let mut inserted = 0;
    for (number, (text, element)) in wanted.into_iter().enumerate() {
        if let Some(&place) = kept.get(&number) {
            at = shifted(place) + inserted + 1;
            continue;
        }
        tx.insert(list, at, text)?;
        held.insert(at, element);
        inserted += 1;
        at += 1;
    }
    Ok(())
}

/// Applies `patch` to what is shown of the body.
fn write_body(
    tx: &mut Transaction<'_>,
    body: &ObjId,
    held: &Body,
    patch: &Patch,
) -> Result<(), AutomergeError> {
    let shown = held.shown.as_str();
    let chars = |from: usize, to: usize| shown.get(from..to).map_or(0, |text| text.chars().count());
    let mut splices: Vec<Splice<'_>> = Vec::with_capacity(patch.0.len());
    let (mut byte, mut at) = (0, 0);
    for hunk in &patch.0 {
        let deleted = chars(hunk.at, hunk.at + hunk.delete);
        at += chars(byte, hunk.at);
        let ends_line = shown.get(hunk.at..).is_some_and(|rest| rest.starts_with(['\n', '\r']));
        if deleted == 0 || hunk.insert.is_empty() || ends_line {
            splices.push((at, deleted, &hunk.insert));
        } else {
            // Behind the first character that goes: a line that somebody puts above this one at once stays above, and is not torn.
            splices.extend([(at, 1, ""), (at + 1, deleted - 1, &*hunk.insert)]);
        }
        at += deleted;
        byte = hunk.at + hunk.delete;
    }
    held.splice(tx, body, &splices)
}
