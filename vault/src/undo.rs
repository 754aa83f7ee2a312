//! Reversing what was done, by doing the opposite now: nothing is ever rewritten. What others did since stays.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use aios_core::fold::fold;
use aios_core::frontier::{Place, View};
use aios_core::history::{FolderMove, History, Touch};
use aios_core::id::{DocId, RecordId};
use aios_core::item::{Base, Content, Item, Kind, Mode};
use aios_core::moves::standing;
use aios_core::patch;
use aios_core::path;
use serde::Serialize;

use crate::audit::{Revision, Version, is_content};
use crate::author::Draft;
use crate::change::PathChange;
use crate::error::Error;
use crate::vault::{RecordRow, Vault};
use crate::written::Written;

/// What undoing or restoring did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Undone {
    /// What was reversed, newest first.
    pub reversed: Vec<Reversed>,
    /// The new records, in order; none if everything was so already.
    pub records: Vec<RecordId>,
    /// What changed.
    pub changed: Vec<PathChange>,
    /// What was left as it is, and why.
    pub left: Vec<String>,
}

/// A record that was reversed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reversed {
    /// The record.
    pub record: RecordId,
    /// The name of the device that wrote it.
    pub device: String,
    /// The first line of its message.
    pub message: String,
}

impl Reversed {
    fn undo_message(&self) -> String {
        format!("Undo {}: {}", self.record.short(12), self.message)
    }
}

/// A reversal in the making.
#[derive(Default)]
struct Reversal {
    draft: Draft,
    changed: Vec<PathChange>,
    left: Vec<String>,
}

impl Reversal {
    fn push(&mut self, path: &str, change: impl Into<String>, item: Item, payload: Vec<u8>) {
        self.draft.items.push((item, payload));
        self.changed.push(PathChange { path: path.to_owned(), change: change.into() });
    }

    fn leave(&mut self, path: &str, why: &str) {
        self.left.push(format!("{path}: {why}"));
    }
}

impl Vault {
    /// Reverses one record with a new one. What was changed since stays changed.
    pub fn undo(&mut self, revision: &Revision) -> Result<Undone, Error> {
        let Some(n) = revision.n else {
            return Err(Error::Usage(
                "a merge, or a commit from before aios, did nothing of its own that could be undone".into(),
            ));
        };
        let mut out = Undone::default();
        self.undo_number(n, &mut out)?;
        Ok(out)
    }

    /// Reverses every record of a run, newest first, each with a new one.
    pub fn undo_run(&mut self, run: &str) -> Result<Undone, Error> {
        let numbers: Vec<i64> = {
            let mut get = self.db.prepare_cached(
                "SELECT n FROM record WHERE tree = 1 AND ends = n AND held = 0 ORDER BY ms DESC, count DESC, device DESC, seq DESC",
            )?;
            let rows = get.query_map([], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        let mut of_run = Vec::new();
        for n in numbers {
            let row = self.row(n)?;
            let body = self.log.record(&row.place.device, row.spot)?.body()?;
            if body.run.as_deref() == Some(run) {
                of_run.push(n);
            }
        }
        if of_run.is_empty() {
            return Err(Error::Unknown { what: "run", name: run.to_owned() });
        }
        let mut out = Undone::default();
        for n in of_run {
            self.undo_number(n, &mut out)?;
        }
        Ok(out)
    }

    /// Brings the file, or every file of the folder, at `path` back as it was at a revision.
    pub fn restore(&mut self, path: &str, at: &Revision) -> Result<Undone, Error> {
        let Some(view) = at.view.clone() else {
            return Err(Error::Usage(
                "only records made with aios can be restored from: for an older commit use `git restore`"
                    .into(),
            ));
        };
        if let Some(folder) = self.nested_at(path) {
            return Err(Error::Usage(format!(
                "{folder} is a vault of its own: restore it there, with `aios -C {folder} restore`"
            )));
        }
        let mut reversal = Reversal::default();
        let mut found = false;
        // The file that lies there now, under whatever name it had; else the one that lay there.
        let now = self.doc_at(path)?;
        let now = match now {
            Some(doc) => self.version(&doc, &view)?.map(|old| (doc, old)),
            None => None,
        };
        let targets: Vec<(DocId, Version, String)> = match now {
            Some((doc, old)) => vec![(doc, old, path.to_owned())],
            None => {
                let mut targets = Vec::new();
                for doc in self.docs_once(path, &view)? {
                    if let Some(old) = self.version(&doc, &view)?
                        && (path.is_empty()
                            || old.path == path
                            || path::below(&path::fold(&old.path), &path::fold(path)).is_some())
                    {
                        let to = old.path.clone();
                        targets.push((doc, old, to));
                    }
                }
                targets
            }
        };
        let chosen: BTreeSet<DocId> = targets.iter().map(|(doc, ..)| *doc).collect();
        // What lies in a vault of its own is that one's to restore.
        for (doc, old, to) in
            targets.into_iter().filter(|(_, _, to)| self.nested_at(to).is_none()).collect::<Vec<_>>()
        {
            found = true;
            // Deleted, and another made in its place since: the path is to read as it did, and only one can have it.
            let instead = match self.placement(&doc)? {
                None => self.doc_at(&to)?.filter(|other| !chosen.contains(other)),
                Some(_) => None,
            };
            self.restore_doc(&instead.unwrap_or(doc), &old, &to, &mut reversal)?;
        }
        if !found {
            return Err(Error::Unknown { what: "path in that version", name: path.to_owned() });
        }
        let name = match (&at.record, &at.commit) {
            (Some(record), _) => record.short(12),
            (None, Some(commit)) => commit.to_string()[..12].to_owned(),
            (None, None) => "an earlier point".into(),
        };
        let what = if path.is_empty() { "everything" } else { path };
        reversal.draft.message = format!("Restore {what} as at {name}");
        let mut out = Undone::default();
        self.write_reversal(reversal, &mut out)?;
        Ok(out)
    }

    /// Writes the files at or below `path` again that are gone from disk, as the vault has them; gives how many.
    /// For when most are gone by accident, so that taking that in was refused.
    pub fn put_back(&mut self, path: &str) -> Result<usize, Error> {
        let docs: Vec<(DocId, String)> =
            self.placements()?.into_iter().map(|(doc, placement)| (doc, placement.path)).collect();
        let wanted = |at: &str| path.is_empty() || at == path || path::below(at, path).is_some();
        let mut count = 0;
        self.transaction(|vault| {
            for (doc, at) in docs.iter().filter(|(_, at)| wanted(at)) {
                if matches!(crate::disk::scan::look(vault.writer.root(), at), Ok(None)) {
                    vault.drop_file(at)?;
                    vault
                        .db
                        .prepare_cached("INSERT OR IGNORE INTO dirty VALUES(?)")?
                        .execute([doc.as_bytes()])?;
                    count += 1;
                }
            }
            Ok(())
        })?;
        Ok(count)
    }

    fn docs_once(&self, path: &str, view: &View) -> Result<BTreeSet<DocId>, Error> {
        let history = self.history();
        let mut space = aios_core::namespace::Namespace::new(&history, view.clone())?;
        let folded = path::fold(path);
        if path.is_empty() {
            return Ok(history.all()?.into_iter().map(|(doc, _)| doc).collect());
        }
        let mut out: BTreeSet<DocId> = space.claiming(&folded)?.into_iter().collect();
        out.extend(space.below(&folded)?);
        if let Some(claim) = path::unsuffixed(&folded) {
            out.extend(space.claiming(&claim)?);
        }
        Ok(out)
    }

    fn restore_doc(&mut self, doc: &DocId, old: &Version, to: &str, out: &mut Reversal) -> Result<(), Error> {
        let now = self.version(doc, &self.view.clone())?;
        self.put_content(doc, old, now.as_ref(), out)?;
        if now.as_ref().map_or(&old.path, |now| &now.path) != to {
            let from = now.as_ref().map(|now| now.path.clone()).unwrap_or_default();
            out.push(
                to,
                format!("renamed from {from}"),
                Item::Move { doc: *doc, path: to.to_owned() },
                Vec::new(),
            );
        } else if now.is_none() {
            self.reclaim(doc, &old.claim, out)?;
        }
        if old.mode != Mode::Link
            && now.as_ref().is_some_and(|now| now.mode != Mode::Link && now.mode != old.mode)
        {
            out.push(to, "mode", Item::Mode { doc: *doc, mode: old.mode }, Vec::new());
        }
        Ok(())
    }

    /// A document that is brought back claims the path it had.
    fn reclaim(&mut self, doc: &DocId, claim: &str, out: &mut Reversal) -> Result<(), Error> {
        let history = self.history();
        let kept: Vec<_> = history
            .touches(doc)?
            .iter()
            .filter(|touch| touch.act != aios_core::history::Act::Delete)
            .cloned()
            .collect();
        let moves = standing(history.folder_moves()?, &self.view);
        let now = fold(&kept, &moves, &self.view).map(|found| found.claim);
        if now.as_deref() != Some(claim) {
            out.draft.push(Item::Move { doc: *doc, path: claim.to_owned() });
        }
        Ok(())
    }

    /// Gives a document a content.
    fn put_content(
        &mut self,
        doc: &DocId,
        old: &Version,
        now: Option<&Version>,
        out: &mut Reversal,
    ) -> Result<(), Error> {
        if self.is_forgotten(doc)? {
            out.leave(&old.path, "it was forgotten, and nothing of it is kept");
            return Ok(());
        }
        let link = old.kind == Kind::Link;
        if now.is_some_and(|now| now.content.hash == old.content.hash && (now.kind == Kind::Link) == link) {
            return Ok(());
        }
        let bytes = old.bytes.as_ref().map(|bytes| bytes.to_vec());
        if bytes.is_none() && old.kind != Kind::Blob {
            return Err(Error::Apart(old.content.git));
        }
        let path = now.map_or(old.path.as_str(), |now| now.path.as_str()).to_owned();
        let edited = match now {
            Some(_) => {
                let written = Written { content: old.content, bytes: bytes.clone(), link };
                self.edit_at(doc, &path, written, None)?
            }
            None => None,
        };
        match (edited, now) {
            (Some(edited), Some(_)) => out.push(&path, "modified", edited.item, edited.payload),
            (None, Some(_)) => {}
            // The same document lives again (I5).
            (_, None) => {
                let payload = if old.kind.inline() { bytes.unwrap_or_default() } else { Vec::new() };
                let item =
                    Item::Replace { doc: *doc, kind: old.kind, content: old.content, base: Base::default() };
                out.push(&old.path, "added", item, payload);
            }
        }
        Ok(())
    }

    fn undo_number(&mut self, n: i64, out: &mut Undone) -> Result<(), Error> {
        let row = self.row(n)?;
        let after = row.view.clone();
        let before = self.past(&row)?;
        let mut reversal = Reversal::default();
        let moves: Vec<FolderMove> = {
            let mut moves = self.history().folder_moves()?;
            moves.retain(|step| step.place == row.place);
            moves
        };
        let mut docs = self.docs_of(n)?;
        let carried = self.carried(&moves, &before, &after)?;
        docs.extend(carried.keys().copied());
        if docs.is_empty() {
            return Err(Error::Usage(format!(
                "record {} changed no file, so there is nothing to undo",
                row.id.short(12)
            )));
        }
        let back = self.move_folders_back(&moves, &carried, &mut reversal)?;
        for doc in &docs {
            self.reverse(doc, row.place, &before, &after, back.contains(doc), &mut reversal)?;
        }
        let reversed = self.reversed(&row)?;
        reversal.draft.message = reversed.undo_message();
        out.reversed.push(reversed);
        self.write_reversal(reversal, out)
    }

    /// Reverses what a record did to one document, wholly or not at all.
    pub(crate) fn undo_of(&mut self, n: i64, doc: &DocId) -> Result<Undone, Error> {
        let row = self.row(n)?;
        let before = self.past(&row)?;
        let mut reversal = Reversal::default();
        self.reverse(doc, row.place, &before, &row.view, false, &mut reversal)?;
        if let Some(left) = reversal.left.first() {
            return Err(Error::Usage(format!("{left}; edit the file as it should be, then keep value 0")));
        }
        let reversed = self.reversed(&row)?;
        reversal.draft.message = reversed.undo_message();
        let mut out = Undone { reversed: vec![reversed], ..Undone::default() };
        self.write_reversal(reversal, &mut out)?;
        Ok(out)
    }

    fn reversed(&mut self, row: &RecordRow) -> Result<Reversed, Error> {
        let message = self.log.record(&row.place.device, row.spot)?.body()?.message;
        let name = self.members().0.get(&row.place.device).map(|member| member.name.clone());
        Ok(Reversed {
            record: row.id,
            device: name.unwrap_or_else(|| row.place.device.short(8)),
            message: message.lines().next().unwrap_or_default().to_owned(),
        })
    }

    /// The documents that moves of folders carried, with their claim after them.
    fn carried(
        &self,
        moves: &[FolderMove],
        before: &View,
        after: &View,
    ) -> Result<BTreeMap<DocId, String>, Error> {
        let history = self.history();
        let mut old = aios_core::namespace::Namespace::new(&history, before.clone())?;
        let mut new = aios_core::namespace::Namespace::new(&history, after.clone())?;
        let mut out = BTreeMap::new();
        for step in moves {
            for doc in old.below(&path::fold(&step.from))? {
                let was = old.doc(&doc)?.map(|found| found.claim.clone());
                let is = new.doc(&doc)?.map(|found| found.claim.clone());
                if let Some(claim) = is
                    && was.as_ref() != Some(&claim)
                {
                    out.insert(doc, claim);
                }
            }
        }
        Ok(out)
    }

    /// Moves folders back whole where they hold what they held; gives the documents that go along.
    fn move_folders_back(
        &mut self,
        moves: &[FolderMove],
        carried: &BTreeMap<DocId, String>,
        out: &mut Reversal,
    ) -> Result<BTreeSet<DocId>, Error> {
        let mut back = BTreeSet::new();
        if moves.len() > 1
            && let Some(inside) = self.all_as_carried(moves, carried)?
        {
            for step in moves.iter().rev() {
                let item = Item::MoveDir { from: step.to.clone(), to: step.from.clone() };
                out.push(&step.from, format!("folder renamed from {}", step.to), item, Vec::new());
            }
            return Ok(inside);
        }
        for step in moves.iter().rev() {
            let inside: Vec<DocId> = {
                let history = self.history();
                let mut space = aios_core::namespace::Namespace::new(&history, self.view.clone())?;
                if !space.below(&path::fold(&step.from))?.is_empty()
                    || !space.claiming(&path::fold(&step.from))?.is_empty()
                {
                    continue;
                }
                let mut inside = Vec::new();
                let mut whole = true;
                for doc in space.below(&path::fold(&step.to))? {
                    let claim = space.doc(&doc)?.map(|found| found.claim.clone());
                    whole &= claim.is_some() && carried.get(&doc) == claim.as_ref();
                    inside.push(doc);
                }
                if !whole || inside.is_empty() {
                    continue;
                }
                inside
            };
            back.extend(inside);
            let item = Item::MoveDir { from: step.to.clone(), to: step.from.clone() };
            out.push(&step.from, format!("folder renamed from {}", step.to), item, Vec::new());
        }
        Ok(back)
    }

    /// The documents in the folders that were moved together, as one took the place of another: if these are the ones carried, each
    /// where it was brought.
    fn all_as_carried(
        &self,
        moves: &[FolderMove],
        carried: &BTreeMap<DocId, String>,
    ) -> Result<Option<BTreeSet<DocId>>, Error> {
        let history = self.history();
        let mut space = aios_core::namespace::Namespace::new(&history, self.view.clone())?;
        let mut inside = BTreeSet::new();
        for step in moves {
            for folder in [&step.from, &step.to] {
                let folded = path::fold(folder);
                if !space.claiming(&folded)?.is_empty() {
                    return Ok(None);
                }
                inside.extend(space.below(&folded)?);
            }
        }
        for doc in &inside {
            let claim = space.doc(doc)?.map(|found| found.claim.clone());
            if claim.is_none() || carried.get(doc) != claim.as_ref() {
                return Ok(None);
            }
        }
        Ok(Some(inside).filter(|inside| !inside.is_empty()))
    }

    /// Adds what reverses a transaction's effect on one document.
    fn reverse(
        &mut self,
        doc: &DocId,
        place: Place,
        before: &View,
        after: &View,
        moved: bool,
        out: &mut Reversal,
    ) -> Result<(), Error> {
        let old = self.version(doc, before)?;
        let new = self.version(doc, after)?;
        let now = self.version(doc, &self.view.clone())?;
        let touches = self.history().touches(doc)?;
        match (old, new, now) {
            // It did nothing here, or that is reversed already.
            (None, None, _) | (None, Some(_), None) | (Some(_), None, Some(_)) => Ok(()),
            (None, Some(new), Some(now)) => {
                let since = touches
                    .iter()
                    .any(|touch| touch.place != place && !after.has(&touch.place) && is_content(touch));
                if !since || now.content.hash == new.content.hash {
                    out.push(&now.path, "deleted", Item::Delete { doc: *doc }, Vec::new());
                } else {
                    out.leave(
                        &now.path,
                        "was edited since, so it is not removed; delete it yourself if that is meant",
                    );
                }
                Ok(())
            }
            (Some(old), None, None) => {
                self.put_content(doc, &old, None, out)?;
                self.reclaim(doc, &old.claim, out)
            }
            (Some(old), Some(_), None) => {
                out.leave(&old.path, "is gone since");
                Ok(())
            }
            (Some(old), Some(new), Some(now)) => {
                match self.without(doc, place, &touches, &now)? {
                    Some(rest) => self.put_content(doc, &rest, Some(&now), out)?,
                    None => self.reverse_content(doc, &old, &new, &now, out)?,
                }
                if old.claim != now.claim && old.claim != new.claim && !moved {
                    match now.claim == new.claim {
                        true => out.push(
                            &old.claim,
                            format!("renamed from {}", now.path),
                            Item::Move { doc: *doc, path: old.claim.clone() },
                            Vec::new(),
                        ),
                        false => out.leave(&now.path, "was renamed again since"),
                    }
                }
                if old.mode != now.mode
                    && old.mode != new.mode
                    && old.mode != Mode::Link
                    && new.mode != Mode::Link
                {
                    match now.mode == new.mode {
                        true => {
                            out.push(&now.path, "mode", Item::Mode { doc: *doc, mode: old.mode }, Vec::new())
                        }
                        false => out.leave(&now.path, "has another mode since"),
                    }
                }
                Ok(())
            }
        }
    }

    /// What a document reads as without the edit of one transaction, where nobody built on that and somebody edited at the
    /// same time: the value that lost to it stands then, and of two words at one place the other.
    fn without(
        &mut self,
        doc: &DocId,
        place: Place,
        touches: &[Touch],
        now: &Version,
    ) -> Result<Option<Version>, Error> {
        let view = self.view.clone();
        let (own, rest): (Vec<&Touch>, Vec<&Touch>) =
            touches.iter().partition(|touch| touch.place == place && is_content(touch));
        let later = rest.iter().filter(|touch| is_content(touch) && view.has(&touch.place));
        let built_on = later.clone().any(|touch| own.iter().any(|own| touch.covers(own)));
        let beside = later.clone().any(|touch| own.iter().all(|own| !own.covers(touch)));
        if own.is_empty() || built_on || !beside {
            return Ok(None);
        }
        let rest: Vec<Touch> = rest.into_iter().cloned().collect();
        match fold(&rest, &[], &view) {
            Some(found) if found.text.kind().is_text() && now.kind.is_text() => {
                let bytes = self.bytes_of_text(doc, &rest, &view, &found.text)?;
                Ok(Some(Version { content: Content::of(&bytes), bytes: Some(bytes), ..now.clone() }))
            }
            _ => Ok(None),
        }
    }

    /// Reverses an edit where nothing was written over it since; what was edited elsewhere stays.
    ///
    /// As an edit of what is there now, not of the version it made (I6): what of that version was written anew since, as
    /// by the undo of a later record or of this one, would stand beside what this brings back.
    fn reverse_content(
        &mut self,
        doc: &DocId,
        old: &Version,
        new: &Version,
        now: &Version,
        out: &mut Reversal,
    ) -> Result<(), Error> {
        if old.content.hash == new.content.hash {
            return Ok(());
        }
        if now.content.hash == new.content.hash {
            return self.put_content(doc, old, Some(now), out);
        }
        let texts = (old.text()?, new.text()?, now.text()?);
        let (Some(before), Some(after), Some(here)) = texts else {
            if now.content.hash != old.content.hash {
                out.leave(&now.path, "is no text and was replaced since");
            }
            return Ok(());
        };
        let (patch, left) = patch::diff(after, here).join(&patch::diff(after, before));
        if left {
            out.leave(&now.path, "was edited again since at the same place");
        }
        let bytes = patch
            .apply(after)
            .map_err(|e| Error::Document { doc: *doc, why: format!("its edit cannot be reversed: {e}") })?
            .into_bytes();
        let reversed = Version { content: Content::of(&bytes), bytes: Some(Rc::new(bytes)), ..now.clone() };
        self.put_content(doc, &reversed, Some(now), out)
    }

    fn write_reversal(&mut self, mut reversal: Reversal, out: &mut Undone) -> Result<(), Error> {
        out.changed.append(&mut reversal.changed);
        out.left.append(&mut reversal.left);
        if reversal.draft.items.is_empty() {
            return Ok(());
        }
        let mut draft = reversal.draft;
        draft.actor = "operator".into();
        let record = self.transaction(|vault| {
            let record = vault.author_records(draft)?;
            vault.refresh(&mut |_, _, _| {})?;
            Ok(record)
        })?;
        out.records.push(record);
        Ok(())
    }
}
