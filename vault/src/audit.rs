//! The audit trail: which record did what, what differs between two points of it, and who wrote a line.

mod blame;
mod diff;
mod revision;

pub use blame::Line;
pub use diff::{FileDiff, text_diff};
pub use revision::Revision;

use std::collections::BTreeSet;

use aios_core::frontier::{Place, View};
use aios_core::history::{History, Touch};
use aios_core::id::{DeviceId, DocId, RecordId};
use aios_core::item::Item;
use aios_core::namespace::Namespace;
use aios_core::path;
use rusqlite::{OptionalExtension, params};
use serde::Serialize;

use crate::change::PathChange;
use crate::error::Error;
use crate::vault::{RecordRow, Vault};

/// One transaction, as the audit trail shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// The record that ends it.
    pub record: RecordId,
    /// Its commit, if it changed files and is projected already.
    pub commit: Option<String>,
    /// When, by its device's clock (RFC 3339).
    pub time: String,
    /// The name of its device.
    pub device: String,
    /// The id of its device.
    pub device_id: DeviceId,
    /// Its number in the log of its device.
    pub seq: u64,
    /// Who acted.
    pub actor: String,
    /// The run it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The task it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The approval it rests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// What was done, for people.
    pub message: String,
    /// What it changed.
    pub changed: Vec<PathChange>,
    /// What else happened in it.
    pub events: Vec<serde_json::Value>,
    /// Whether all it does is to name blobs for what others did.
    #[serde(skip)]
    names: bool,
}

/// Which part of the trail is asked for.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only what touched the file, or the folder, at this path, through renames.
    pub path: Option<String>,
    /// At most so many.
    pub limit: Option<usize>,
    /// Only since this time, ms since the Unix epoch.
    pub since: Option<u64>,
    /// Only of this actor.
    pub actor: Option<String>,
    /// Only what is not in this set of records.
    pub after: Option<View>,
}

/// A time for people and programs: RFC 3339, in UTC, to the millisecond, so that texts sort as times do.
pub fn time(ms: u64) -> String {
    jiff::Timestamp::from_millisecond(i64::try_from(ms).unwrap_or(i64::MAX))
        .map_or_else(|_| ms.to_string(), |at| format!("{at:.3}"))
}

impl Vault {
    /// The audit trail, newest first in the total order.
    pub fn log(&mut self, query: &Query) -> Result<Vec<Entry>, Error> {
        let wanted = query.path.as_deref().map(|path| self.records_of_path(path)).transpose()?;
        let since = query.since.unwrap_or(0) as i64;
        let numbers: Vec<i64> = {
            let mut get = self.db.prepare_cached(
                "SELECT n FROM record WHERE ends = n AND wall >= ? AND held = 0 ORDER BY ms DESC, count DESC, device DESC, seq DESC",
            )?;
            let rows = get.query_map([since], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        let mut out = Vec::new();
        for n in numbers {
            if query.limit.is_some_and(|limit| out.len() >= limit) {
                break;
            }
            if wanted.as_ref().is_some_and(|wanted| !wanted.contains(&n)) {
                continue;
            }
            let row = self.row(n)?;
            if query.after.as_ref().is_some_and(|after| after.has(&row.place)) {
                continue;
            }
            let entry =
                self.entry(&row, |actor| query.actor.as_deref().is_none_or(|wanted| wanted == actor))?;
            // What only names what others did is nothing that anybody did.
            out.extend(entry.filter(|entry| !entry.names));
        }
        Ok(out)
    }

    /// The trail's entry of one record.
    pub fn entry_of(&mut self, record: &RecordId) -> Result<Entry, Error> {
        let unknown = || Error::Unknown { what: "record", name: record.short(12) };
        let n: Option<i64> = {
            let mut get = self.db.prepare_cached("SELECT n FROM record WHERE id = ?")?;
            get.query_row([record.as_bytes()], |row| row.get(0)).optional()?
        };
        let row = self.row(n.ok_or_else(unknown)?)?;
        self.entry(&row, |_| true)?.ok_or_else(unknown)
    }

    fn entry(&mut self, row: &RecordRow, wanted: impl Fn(&str) -> bool) -> Result<Option<Entry>, Error> {
        let record = self.log.record(&row.place.device, row.spot)?;
        if !wanted(&record.header.actor) {
            return Ok(None);
        }
        let mut body = record.body()?;
        if record.is_closed() {
            body.message = "(sealed)".into();
        }
        let mut items = Vec::new();
        for part in self.earlier_parts(row)? {
            let part = self.row(part)?;
            items.extend(self.log.record(&part.place.device, part.spot)?.body()?.items);
        }
        items.extend(body.items);
        let events = items.iter().filter_map(event).collect();
        Ok(Some(Entry {
            record: row.id,
            commit: row.commit.map(|oid| oid.to_string()),
            time: time(row.wall),
            device: self.members().name(&row.place.device),
            device_id: row.place.device,
            seq: row.place.seq,
            actor: record.header.actor,
            run: body.run,
            task: body.task,
            approved_by: body.approved_by,
            message: body.message,
            changed: self.changed_by(row, &items)?,
            names: items.is_empty() && !body.merged.is_empty(),
            events,
        }))
    }

    /// What the items of a transaction did to paths, as its author saw them.
    fn changed_by(&self, row: &RecordRow, items: &[Item]) -> Result<Vec<PathChange>, Error> {
        let history = self.history();
        let mut before = Namespace::new(&history, self.past(row)?)?;
        let mut after = Namespace::new(&history, row.view.clone())?;
        let mut out = Vec::new();
        let mut folders: Vec<(&str, &str)> = Vec::new();
        for item in items {
            let Item::MoveDir { from, to } = item else { continue };
            // One that went aside for another to take its place went on.
            match folders.iter_mut().find(|(_, place)| place == from) {
                Some((_, place)) => *place = to,
                None => folders.push((from, to)),
            }
        }
        out.extend(
            folders.iter().map(|(from, to)| PathChange::new(to, format!("folder renamed from {from}"))),
        );
        for item in items {
            let Some(doc) = item.doc() else { continue };
            let new = after.place(&doc)?.map(|placed| placed.path);
            // A path of its own costs look-ups; a create needs none, it had no other.
            let old = match item {
                Item::Create { .. } => None,
                _ => before.place(&doc)?.map(|placed| placed.path),
            };
            let path = new.or_else(|| old.clone()).unwrap_or_else(|| doc.short(12));
            let change = match item {
                Item::Create { .. } => "added".to_owned(),
                Item::Edit { .. } | Item::Replace { .. } if old.is_none() => "added".to_owned(),
                Item::Edit { .. } | Item::Replace { .. } => "modified".to_owned(),
                Item::Move { .. } => format!("renamed from {}", old.unwrap_or_default()),
                Item::Mode { .. } => "mode".to_owned(),
                _ => "deleted".to_owned(),
            };
            out.push(PathChange { path, change });
        }
        out.dedup();
        Ok(out)
    }

    /// What the author of a transaction had integrated before it.
    pub(crate) fn past(&self, row: &RecordRow) -> Result<View, Error> {
        let first = match self.earlier_parts(row)?.first() {
            Some(first) => self.row(*first)?.parents,
            None => row.parents.clone(),
        };
        let mut view = View::new();
        for n in first {
            view = view.union(&self.row(n)?.view);
        }
        Ok(view)
    }

    /// The documents that are, or if none is were, at a path or below it.
    pub(crate) fn docs_at(&self, path: &str) -> Result<BTreeSet<DocId>, Error> {
        let folded = path::fold(path);
        let history = self.history();
        let mut space = Namespace::new(&history, self.view.clone())?;
        let mut out: BTreeSet<DocId> = self.doc_at(path)?.into_iter().collect();
        out.extend(space.below(&folded)?);
        let mut gone = BTreeSet::new();
        let mut once = history.claimants(&folded)?;
        once.extend(history.claimants_below(&folded)?);
        for doc in once {
            if space.doc(&doc)?.is_none() || out.is_empty() {
                gone.insert(doc);
            }
        }
        out.extend(gone);
        Ok(out)
    }

    fn records_of_path(&self, path: &str) -> Result<BTreeSet<i64>, Error> {
        let docs = self.docs_at(path)?;
        if docs.is_empty() {
            return Err(Error::Unknown { what: "path", name: path.to_owned() });
        }
        let history = self.history();
        let moves = history.folder_moves()?;
        let mut places: BTreeSet<Place> = BTreeSet::new();
        for doc in docs {
            let touches = history.touches(&doc)?;
            places.extend(touches.iter().map(|touch| touch.place));
            let claims: Vec<String> =
                touches.iter().filter_map(|touch: &Touch| touch.act.claim().map(path::fold)).collect();
            let mut claims: BTreeSet<String> = claims.into_iter().collect();
            for step in &moves {
                let to: Vec<String> =
                    claims.iter().filter_map(|claim| path::rebase(claim, &step.from, &step.to)).collect();
                if !to.is_empty() {
                    places.insert(step.place);
                    claims.extend(to.iter().map(|claim| path::fold(claim)));
                }
            }
        }
        let mut out = BTreeSet::new();
        for place in places {
            out.extend(self.number(&place)?);
        }
        Ok(out)
    }

    /// A document as it was in a set of records; `None` if it did not live there.
    pub(crate) fn version(&mut self, doc: &DocId, view: &View) -> Result<Option<Version>, Error> {
        let history = self.history();
        let placed = Namespace::new(&history, view.clone())?.place(doc)?;
        let touches = history.touches(doc)?;
        let Some(placed) = placed else { return Ok(None) };
        let content = match placed.doc.text.settled() {
            Some(content) => content,
            None => self.read_text(doc, &touches, view, &placed.doc.text)?.content,
        };
        let (kind, mode, claim) = (placed.doc.text.kind(), placed.doc.mode, placed.doc.claim.clone());
        let bytes = match self.bytes_of_text(doc, &touches, view, &placed.doc.text) {
            Ok(bytes) => Some(bytes),
            Err(Error::Apart(_)) => None,
            Err(e) => return Err(e),
        };
        Ok(Some(Version { path: placed.path, claim, kind, mode, content, bytes }))
    }

    /// The touches of a document made by one transaction, in order.
    pub(crate) fn touches_of(&self, doc: &DocId, place: &Place) -> Result<Vec<Touch>, Error> {
        let touches = self.history().touches(doc)?;
        let mut out: Vec<Touch> = touches.iter().filter(|touch| touch.place == *place).cloned().collect();
        out.sort_by_key(|touch| touch.index);
        Ok(out)
    }

    /// The documents a transaction touches.
    pub(crate) fn docs_of(&self, n: i64) -> Result<BTreeSet<DocId>, Error> {
        let mut get = self.db.prepare_cached("SELECT DISTINCT doc FROM item WHERE record = ?")?;
        let rows = get.query_map(params![n], |row| row.get::<_, Vec<u8>>(0))?;
        rows.map(|bytes| crate::db::id(bytes?, DocId::from_slice)).collect()
    }
}

/// A document as it was.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub path: String,
    pub claim: String,
    pub kind: aios_core::item::Kind,
    pub mode: aios_core::item::Mode,
    pub content: aios_core::item::Content,
    /// Its bytes; absent if they travel apart and are not here.
    pub bytes: Option<std::rc::Rc<Vec<u8>>>,
}

impl Version {
    /// Its text; `None` if it is none.
    pub(crate) fn text(&self) -> Result<Option<&str>, Error> {
        match &self.bytes {
            _ if !self.kind.is_text() => Ok(None),
            Some(bytes) => Ok(std::str::from_utf8(bytes).ok()),
            None => Err(Error::Apart(self.content.git)),
        }
    }
}

/// Whether an act changes content.
pub(crate) fn is_content(touch: &Touch) -> bool {
    touch.act.content().is_some()
}

/// What of a transaction is no change to a document.
fn event(item: &Item) -> Option<serde_json::Value> {
    match item {
        Item::Event(event) => serde_json::to_value(event).ok(),
        Item::History { tip } => Some(serde_json::json!({"type": "git.history", "tip": tip})),
        Item::Commit { git, .. } => Some(serde_json::json!({"type": "git.commit", "commit": git})),
        Item::Unknown(value) => Some(value.clone()),
        _ => None,
    }
}
