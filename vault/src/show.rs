//! Bringing the document tables from one set of records to a larger one: what lives where, reads as what,
//! and which files must be written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aios_core::fold::Text;
use aios_core::frontier::{Place, View};
use aios_core::history::{Act, FolderMove, History, Touch};
use aios_core::id::{ContentHash, DocId, GitId};
use aios_core::item::{Content, Kind, Mode};
use aios_core::ledger::Ledger;
use aios_core::namespace::{Namespace, Placed, affected};
use aios_core::state::State;
use rusqlite::{OptionalExtension, params};

use crate::conflict::{Conflict, ConflictKind, Value};
use crate::db;
use crate::error::Error;
use crate::index;
use crate::named::is_made;
use crate::open::AHEAD;
use crate::vault::Vault;

/// From this many documents at once on, the whole index is read into memory first, if it is not much larger.
const BULK: usize = 500;

/// A document in a view: where it lies and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placement {
    pub path: String,
    pub claim: String,
    pub kind: Kind,
    pub mode: Mode,
    pub content: Content,
}

impl Placement {
    /// Whether a file of this mode is another than it, for something else than being a link.
    pub fn differs(&self, mode: Mode) -> bool {
        let plain = |mode| if mode == Mode::Link { Mode::File } else { mode };
        mode != Mode::Link && plain(self.mode) != mode
    }
}

/// What becomes of a document between two views.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub doc: DocId,
    /// Its path in the first view.
    pub old: Option<String>,
    /// What it is in the second.
    pub new: Option<Placement>,
    pub conflicts: Vec<Conflict>,
    /// Whether it reads there as what several edits make.
    pub made: bool,
}

/// A document folded in two views.
struct Folded {
    doc: DocId,
    old: Option<String>,
    new: Option<Placed>,
    touches: Arc<Vec<Touch>>,
}

impl Vault {
    /// What differs between two views, the second of which covers the first.
    pub(crate) fn changes(&mut self, from: &View, to: &View) -> Result<Vec<Change>, Error> {
        if let Some((a, b, known)) = &self.compared
            && a == from
            && b == to
        {
            return Ok(known.clone());
        }
        let (touched, moved) = self.history().between(from, to)?;
        if touched.is_empty() && moved.is_empty() {
            return Ok(Vec::new());
        }
        let items: i64 = match touched.len() >= BULK {
            true => self.db.query_row("SELECT count(*) FROM item", [], |row| row.get(0))?,
            false => i64::MAX,
        };
        let folded = match items < touched.len() as i64 * 20 {
            true => folded(&self.ledger()?, from, to, &touched, &moved)?,
            false => folded(&self.history(), from, to, &touched, &moved)?,
        };
        let mut out = Vec::with_capacity(folded.len());
        let mut folded = folded.into_iter().peekable();
        while folded.peek().is_some() {
            let some: Vec<Folded> = folded.by_ref().take(AHEAD).collect();
            let merged =
                some.iter().filter_map(|Folded { doc, new, touches, .. }| match &new.as_ref()?.doc.text {
                    Text::Characters { kind, epoch, .. } => Some((*doc, *epoch, *kind, touches.as_slice())),
                    _ => None,
                });
            self.load_ahead(&merged.collect::<Vec<_>>());
            for Folded { doc, old, new, touches } in some {
                let made = new.as_ref().is_some_and(|placed| is_made(&placed.doc.text));
                let (new, conflicts) = match new {
                    None => (None, Vec::new()),
                    Some(placed) => {
                        let (new, conflicts) = self.read_placed(&doc, &touches, to, placed)?;
                        (Some(new), conflicts)
                    }
                };
                out.push(Change { doc, old, new, conflicts, made });
            }
        }
        if out.len() >= BULK {
            self.compared = Some((from.clone(), to.clone(), out.clone()));
        }
        Ok(out)
    }

    fn ledger(&self) -> Result<Ledger, Error> {
        let history = self.history();
        let mut ledger = Ledger::new();
        for (doc, touch) in history.all()? {
            ledger.push(doc, touch);
        }
        for step in history.folder_moves()? {
            ledger.push_move(step);
        }
        Ok(ledger)
    }

    fn read_placed(
        &mut self,
        doc: &DocId,
        touches: &[Touch],
        view: &View,
        placed: Placed,
    ) -> Result<(Placement, Vec<Conflict>), Error> {
        let Placed { doc: found, path } = placed;
        let reading = self.read_text(doc, touches, view, &found.text)?;
        let mut conflicts = reading.conflicts;
        if !found.lost_claims.is_empty() {
            let lost = found.lost_claims.iter().map(|(path, place)| Value::of_record(path.clone(), *place));
            let values =
                std::iter::once(Value { value: found.claim.clone(), place: None }).chain(lost).collect();
            conflicts.push(Conflict::new(*doc, ConflictKind::Path, None, values));
        }
        if path != found.claim {
            let values = [&path, &found.claim].map(|path| Value { value: path.clone(), place: None });
            conflicts.push(Conflict::new(*doc, ConflictKind::Name, None, values.to_vec()));
        }
        if let Some(place) = found.survived
            && survives_unseen(touches, view, &place)
        {
            let values =
                vec![Value { value: "kept".into(), place: None }, Value::of_record("deleted".into(), place)];
            conflicts.push(Conflict::new(*doc, ConflictKind::Delete, None, values));
        }
        for (place, git) in self.stale(doc, view)? {
            conflicts.push(Conflict::new(
                *doc,
                ConflictKind::Stale,
                None,
                vec![Value::of_record(git.to_string(), place)],
            ));
        }
        let placement = Placement {
            path,
            claim: found.claim.clone(),
            kind: found.text.kind(),
            mode: found.mode,
            content: reading.content,
        };
        Ok((placement, conflicts))
    }

    /// The saves of a document that were taken as made from an older version.
    fn stale(&self, doc: &DocId, view: &View) -> Result<Vec<(Place, GitId)>, Error> {
        let mut get = self.db.prepare_cached(
            "SELECT r.device, r.seq, i.git FROM item i JOIN record r ON r.n = i.record WHERE i.doc = ? AND i.base IS NOT NULL",
        )?;
        let mut rows = get.query([doc.as_bytes()])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            let place = Place {
                device: db::id(row.get(0)?, aios_core::id::DeviceId::from_slice)?,
                seq: row.get::<_, i64>(1)? as u64,
            };
            if view.has(&place) {
                out.push((place, db::id(row.get(2)?, GitId::from_slice)?));
            }
        }
        out.sort();
        Ok(out)
    }

    /// Brings the document tables up to all integrated records, marking what must be written to disk.
    pub(crate) fn refresh(&mut self, progress: crate::vault::Progress<'_>) -> Result<(), Error> {
        let to = self.view.clone();
        self.show_to(to, progress)
    }

    /// As [`Vault::refresh`], up to the records in `to` only.
    pub(crate) fn show_to(&mut self, to: View, progress: crate::vault::Progress<'_>) -> Result<(), Error> {
        if self.shown == to || self.check_understood(&to).is_err() {
            return Ok(());
        }
        let from = self.shown.clone();
        let changes = match self.changes(&from, &to) {
            // A text that others forgot before this device knows of it: their word is to come.
            Err(Error::Apart(git)) => {
                tracing::warn!(%git, "a text is not here, and nothing is shown beyond it");
                return Ok(());
            }
            // Who saved an older version built on it: what that was is to be fetched.
            Err(Error::Past) => {
                tracing::warn!("older history is not here, and nothing is shown beyond it");
                return Ok(());
            }
            changes => changes?,
        };
        let mut state = self.state_sum()?;
        let total = changes.len() as u64;
        for (n, change) in changes.iter().enumerate() {
            if n % 256 == 0 {
                progress("documents", n as u64, total);
            }
            self.show(change, &mut state)?;
        }
        self.hide_settled(&mut state)?;
        db::set_meta(&self.db, "state", &state.to_bytes())?;
        db::set_meta(&self.db, "shown", &db::view_bytes(&to))?;
        self.shown = to;
        Ok(())
    }

    pub(crate) fn state_sum(&self) -> Result<State, Error> {
        match db::meta(&self.db, "state")? {
            Some(bytes) => {
                State::from_bytes(&bytes).ok_or_else(|| Error::Damaged("the state sum is malformed".into()))
            }
            None => Ok(State::default()),
        }
    }

    fn show(&mut self, change: &Change, state: &mut State) -> Result<(), Error> {
        let doc = change.doc;
        let old: Option<(String, String)> = {
            let mut get = self.db.prepare_cached("SELECT row, path FROM doc WHERE id = ?")?;
            get.query_row([doc.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?
        };
        if change.made || old.is_some() {
            self.note_made(&doc, change.made)?;
        }
        let row = change.new.as_ref().map(|new| doc_row(&doc, new));
        let same = old.as_ref().map(|(row, _)| row) == row.as_ref();
        if !same {
            if let Some((row, _)) = &old {
                state.remove(row);
            }
            match (&change.new, &row) {
                (Some(new), Some(row)) => {
                    state.add(row);
                    self.db
                        .prepare_cached("INSERT OR REPLACE INTO doc VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)")?
                        .execute(params![
                        doc.as_bytes(),
                        new.path,
                        new.claim,
                        index::kind_number(new.kind),
                        index::mode_number(new.mode),
                        new.content.hash.as_bytes(),
                        new.content.git.as_bytes(),
                        new.content.size as i64,
                        row
                    ])?;
                }
                _ => {
                    self.db.prepare_cached("DELETE FROM doc WHERE id = ?")?.execute([doc.as_bytes()])?;
                }
            }
            let gated = change.new.as_ref().is_some_and(|new| crate::accept::is_gated(&new.path));
            if gated {
                self.db.prepare_cached("INSERT OR IGNORE INTO gated VALUES(?)")?.execute([doc.as_bytes()])?;
            } else if old.as_ref().is_some_and(|(_, path)| crate::accept::is_gated(path)) {
                self.db.prepare_cached("DELETE FROM gated WHERE doc = ?")?.execute([doc.as_bytes()])?;
            }
            self.db.prepare_cached("INSERT OR IGNORE INTO dirty VALUES(?)")?.execute([doc.as_bytes()])?;
        }
        if old.is_some() {
            let gone: Vec<String> = {
                let mut get = self.db.prepare_cached("SELECT row FROM conflict WHERE doc = ?")?;
                let rows = get.query_map([doc.as_bytes()], |row| row.get(0))?;
                rows.collect::<Result<_, _>>()?
            };
            gone.iter().for_each(|row| state.remove(row));
            if !gone.is_empty() {
                self.db.prepare_cached("DELETE FROM conflict WHERE doc = ?")?.execute([doc.as_bytes()])?;
            }
        }
        for conflict in &change.conflicts {
            let row = conflict.row();
            let new = self.db.prepare_cached("INSERT OR IGNORE INTO conflict VALUES(?, ?, ?, ?)")?.execute(
                params![
                    conflict.id,
                    doc.as_bytes(),
                    serde_json::to_string(conflict).unwrap_or_default(),
                    row
                ],
            )?;
            if new > 0 {
                state.add(&row);
            }
        }
        Ok(())
    }

    fn hide_settled(&self, state: &mut State) -> Result<(), Error> {
        let rows: Vec<String> = {
            let mut get = self.db.prepare_cached(
                "SELECT DISTINCT c.row FROM settled s CROSS JOIN conflict c ON s.id = c.id
                 CROSS JOIN record r ON r.n = s.n WHERE r.held = 0",
            )?;
            let rows = get.query_map([], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        if !rows.is_empty() {
            rows.iter().for_each(|row| state.remove(row));
            self.db.execute("DELETE FROM conflict WHERE id IN (SELECT s.id FROM settled s JOIN record r ON r.n = s.n WHERE r.held = 0)", [])?;
        }
        Ok(())
    }

    /// The `state` hash of all projected rows (I1).
    pub fn state(&self) -> Result<String, Error> {
        let mut state = self.state_sum()?;
        for (device, member) in &self.members().0 {
            let end = member.revoked.map(|revoked| format!(" revoked {}", revoked.last)).unwrap_or_default();
            state.add(&format!("member {device} {} {}{end}", member.name, member.roles.join(",")));
        }
        Ok(state.hex())
    }

    /// A document as the tables show it.
    pub(crate) fn placement(&self, doc: &DocId) -> Result<Option<Placement>, Error> {
        let mut get = self
            .db
            .prepare_cached("SELECT path, claim, kind, mode, hash, git, size FROM doc WHERE id = ?")?;
        let mut rows = get.query([doc.as_bytes()])?;
        rows.next()?.map(placement).transpose()
    }

    /// The document at a path.
    pub(crate) fn doc_at(&self, path: &str) -> Result<Option<DocId>, Error> {
        let mut get = self.db.prepare_cached("SELECT id FROM doc WHERE path = ?")?;
        let id: Option<Vec<u8>> = get.query_row([path], |row| row.get(0)).optional()?;
        id.map(|bytes| db::id(bytes, DocId::from_slice)).transpose()
    }

    /// Every document, in order of path.
    pub(crate) fn placements(&self) -> Result<Vec<(DocId, Placement)>, Error> {
        let mut get = self
            .db
            .prepare_cached("SELECT path, claim, kind, mode, hash, git, size, id FROM doc ORDER BY path")?;
        let mut rows = get.query([])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            out.push((db::id(row.get(7)?, DocId::from_slice)?, placement(row)?));
        }
        Ok(out)
    }

    /// Every conflict, in order of id.
    pub(crate) fn conflict_rows(&self) -> Result<Vec<Conflict>, Error> {
        let mut get = self.db.prepare_cached("SELECT detail FROM conflict ORDER BY id")?;
        let rows = get.query_map([], |row| row.get::<_, String>(0))?;
        let mut out = Vec::new();
        for text in rows {
            out.push(serde_json::from_str(&text?).map_err(|e| Error::Damaged(e.to_string()))?);
        }
        Ok(out)
    }
}

/// The row of a document in the `state` hash.
pub(crate) fn doc_row(doc: &DocId, placement: &Placement) -> String {
    let Placement { path, claim, kind, mode, content } = placement;
    serde_json::to_string(&("doc", doc, path, claim, kind, mode, content.hash)).unwrap_or_default()
}

fn placement(row: &rusqlite::Row<'_>) -> Result<Placement, Error> {
    Ok(Placement {
        path: row.get(0)?,
        claim: row.get(1)?,
        kind: index::kind(row.get(2)?)?,
        mode: index::mode(row.get(3)?)?,
        content: Content {
            hash: db::id(row.get(4)?, ContentHash::from_slice)?,
            git: db::id(row.get(5)?, GitId::from_slice)?,
            size: row.get::<_, i64>(6)? as u64,
        },
    })
}

/// Whether the delete at `place` met an item its author had not seen, so that the document lives on against it.
/// An item made later by someone who knew of the delete is a revival, no conflict.
fn survives_unseen(touches: &[Touch], view: &View, place: &Place) -> bool {
    let here = || touches.iter().filter(|touch| view.has(&touch.place));
    let Some(delete) = here().find(|touch| touch.place == *place && touch.act == Act::Delete) else {
        return false;
    };
    !here().any(|touch| touch.act != Act::Delete && touch.covers(delete))
}

fn folded<H>(
    history: &H,
    from: &View,
    to: &View,
    touched: &BTreeSet<DocId>,
    moved: &[FolderMove],
) -> Result<Vec<Folded>, Error>
where
    H: History,
    Error: From<H::Error>,
{
    let mut old = Namespace::new(history, from.clone())?;
    let mut new = Namespace::new(history, to.clone())?;
    let docs = affected(&mut old, &mut new, touched, moved)?;
    let mut out = BTreeMap::new();
    for doc in docs {
        let before = match from.is_empty() {
            true => None,
            false => old.place(&doc)?.map(|placed| placed.path),
        };
        let after = new.place(&doc)?;
        if before.is_some() || after.is_some() {
            out.insert(doc, Folded { doc, old: before, new: after, touches: history.touches(&doc)? });
        }
    }
    Ok(out.into_values().collect())
}
