//! The derived changes a document starts from: skeleton, contents, joins.
//!
//! Never sent: every device computes the same bytes from the same inputs (`docs/formats.md`, Automerge).

use std::collections::HashSet;

use automerge::transaction::{CommitOptions, Transactable as _, Transaction};
use automerge::{
    ActorId, Automerge, AutomergeError, Change, ChangeHash, Cursor, ObjId, ObjType, ROOT, ReadDoc as _,
    TextEncoding,
};

use super::read::State;
use super::{DocumentError, Objects, Origin, change, engine};
use crate::align;
use crate::ends::Ends;
use crate::id::ContentHash;
use crate::item::Kind;
use crate::markdown::{self, Parts, Value};

impl Origin {
    /// An Automerge document that holds the skeleton alone.
    pub(super) fn skeleton(&self) -> Result<Automerge, DocumentError> {
        let mut skeleton = Automerge::new_with_encoding(TextEncoding::UnicodeCodePoint);
        skeleton.set_actor(self.skeleton_actor());
        derive(&mut skeleton, |tx| {
            tx.put_object(ROOT, "body", ObjType::Text)?;
            tx.put_object(ROOT, "front", ObjType::Map)?;
            tx.put_object(ROOT, "items", ObjType::List)?;
            tx.put_object(ROOT, "order", ObjType::List)?;
            Ok(())
        })?;
        Ok(skeleton)
    }

    /// The objects the skeleton makes: its operations are numbered from 1.
    pub(super) fn objects(&self) -> Objects {
        let object = |number| ObjId::Id(number, self.skeleton_actor(), 0);
        Objects { body: object(1), front: object(2), items: object(3), order: object(4) }
    }

    /// A document that holds the skeleton and the content change of `text`, and that change's hash.
    pub(super) fn content(
        &self,
        objects: &Objects,
        text: &str,
    ) -> Result<(Automerge, ChangeHash), DocumentError> {
        let mut scratch = self.skeleton()?;
        let hash = ContentHash::of(text.as_bytes());
        let name = format!("aios-content-v1\n{}\n{}\n{hash}", self.doc, self.epoch);
        scratch.set_actor(actor(&name));
        let ends = Ends::of(text);
        let parts = self.split(&ends.turn(text));
        let change = derive(&mut scratch, |tx| {
            if ends == Ends::Crlf {
                tx.put(ROOT, "ends", ends.register())?;
            }
            if !parts.open.is_empty() {
                tx.put(ROOT, "open", parts.open.as_str())?;
                tx.put(ROOT, "close", parts.close.as_str())?;
            }
            let (mut order, mut items) = (0, 0);
            for entry in &parts.entries {
                tx.put(&objects.front, entry.name.as_str(), entry.value.register())?;
                tx.insert(&objects.order, order, entry.name.as_str())?;
                order += 1;
                if let Value::List { items: texts, .. } = &entry.value {
                    for text in texts {
                        tx.insert(&objects.items, items, format!("{}\0{text}", entry.name))?;
                        items += 1;
                    }
                }
            }
            if !parts.body.is_empty() {
                tx.splice_text(&objects.body, 0, 0, &parts.body)?;
            }
            Ok(())
        })?;
        Ok((scratch, change))
    }

    /// The join of the contents `changes`, whose hashes are `pair`, the lesser first. `None` where no line of
    /// the one body is matched in the other.
    pub(super) fn join(
        &self,
        objects: &Objects,
        pair: (ContentHash, ContentHash),
        changes: [&Change; 2],
    ) -> Result<Option<Change>, DocumentError> {
        let mut scratch = self.skeleton()?;
        scratch.apply_changes(changes.map(Clone::clone)).map_err(engine("join two contents"))?;
        let failed = engine("read a content");
        let [x, y] = changes.map(|change| scratch.text_at(&objects.body, &[change.hash()]));
        let (x, y) = (x.map_err(&failed)?, y.map_err(&failed)?);
        if x.is_empty() || y.is_empty() {
            return Ok(None);
        }
        // The two runs lie one after the other; which is first only a run's own characters tell. The second loses
        // what both have, so that a heading of both stays above what either has under it.
        let begin: Cursor =
            scratch.get_cursor(&objects.body, 0, Some(&[changes[1].hash()])).map_err(&failed)?;
        let begin = scratch.get_cursor_position(&objects.body, &begin, None).map_err(&failed)?;
        let (first, second) = if begin == 0 { (y, x) } else { (x, y) };
        let lines = align::split_lines(&second);
        let pairs = align::align(&align::split_lines(&first), &lines);
        let matched: HashSet<usize> = pairs.into_iter().map(|(_, line)| line).collect();
        if matched.is_empty() {
            return Ok(None);
        }

        let mut runs: Vec<(usize, usize)> = Vec::new();
        let mut at = first.chars().count();
        for (number, line) in lines.iter().enumerate() {
            let end = at + line.chars().count();
            match runs.last_mut() {
                _ if !matched.contains(&number) => {}
                Some(run) if run.1 == at => run.1 = end,
                _ => runs.push((at, end)),
            }
            at = end;
        }
        scratch.set_actor(actor(&format!("aios-join-v1\n{}\n{}\n{}", self.doc, pair.0, pair.1)));
        let join = derive(&mut scratch, |tx| {
            runs.iter().rev().try_for_each(|&(start, end)| {
                tx.splice_text(&objects.body, start, (end - start) as isize, "")
            })
        })?;
        change(&scratch, &join).map(Some)
    }

    /// Drops what `document` shows once of what it holds twice, `state` being all of it.
    pub(super) fn settle(
        &self,
        objects: &Objects,
        document: &mut Automerge,
        state: &State,
    ) -> Result<ChangeHash, DocumentError> {
        document.set_actor(actor(&format!("aios-export-v1\n{}\n{}", self.doc, self.epoch)));
        derive(document, |tx| {
            for item in state.items.iter().rev().filter(|item| !item.shown()) {
                tx.delete(&objects.items, item.at)?;
            }
            state.body.settle(tx, &objects.body)
        })
    }

    /// The parts of a text of this kind, its line ends turned as the document holds them.
    pub(super) fn split(&self, text: &str) -> Parts {
        match self.kind {
            Kind::Md => markdown::split(text),
            _ => Parts { body: text.to_owned(), ..Parts::default() },
        }
    }

    fn skeleton_actor(&self) -> ActorId {
        actor(&format!("aios-skeleton-v1\n{}\n{}", self.doc, self.epoch))
    }
}

/// The actor of a derived change: the first 16 bytes of the hash of its name.
fn actor(name: &str) -> ActorId {
    ActorId::from(&blake3::hash(name.as_bytes()).as_bytes()[..16])
}

/// Makes one change of `document`, at all it holds, with time 0 and no message; also if it has no operation.
fn derive(
    document: &mut Automerge,
    operations: impl FnOnce(&mut Transaction<'_>) -> Result<(), AutomergeError>,
) -> Result<ChangeHash, DocumentError> {
    let failed = engine("make a derived change");
    let mut tx = document.transaction();
    operations(&mut tx).map_err(&failed)?;
    Ok(tx.commit().0.unwrap_or_else(|| document.empty_commit(CommitOptions::default())))
}
