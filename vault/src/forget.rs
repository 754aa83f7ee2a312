//! Forgetting: the operator has what a document ever held dropped, on every device that hears of it. Records, chain, `state`
//! and every commit stay what they are: a body says which document was edited, and names what the edit did by hash alone.
//! See `docs/decisions/0040-forgetting.md`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use aios_core::event::Event;
use aios_core::fold::fold;
use aios_core::frontier::{Place, View};
use aios_core::history::{Act, History};
use aios_core::id::{DeviceId, DocId, GitId, RecordId};
use aios_core::item::{Bytes, Item};
use aios_core::key::ForgettingStatement;
use aios_core::path;
use aios_core::record::Record;
use git2::Oid;
use rusqlite::{Connection, params};
use serde::Serialize;

use crate::anew;
use crate::author::Draft;
use crate::db;
use crate::disk::{durable, fault};
use crate::error::Error;
use crate::git;
use crate::project::oid;
use crate::vault::{Vault, git_error};

/// Which forgettings this device has obeyed in full.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS obeyed(doc BLOB NOT NULL, n INTEGER NOT NULL, PRIMARY KEY(doc, n)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS item_forget ON item(doc) WHERE act = 6;
CREATE INDEX IF NOT EXISTS item_part ON item(part);
";
/// Blobs that are to leave git: what the mirrors of logs held before.
const LEAVING: &str = "forget leaving";

/// Sees to it that the tables are there.
pub(crate) fn prepare(db: &Connection) -> Result<(), Error> {
    Ok(db.execute_batch(TABLES)?)
}

/// A document that can be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Forgettable {
    /// The document.
    pub doc: DocId,
    /// Where it lies, or claimed to lie last.
    pub path: String,
    /// Whether it lies there now.
    pub lives: bool,
    /// How many versions of it records hold.
    pub versions: u64,
    /// How many bytes they have here.
    pub bytes: u64,
}

/// A document that was forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    /// The document.
    pub doc: DocId,
    /// Where it claimed to lie last.
    pub path: String,
    /// How many versions of it are kept all the same: saved on a device that had not heard of it.
    pub kept: u64,
    /// How many of its blobs git has all the same: in a pack that somebody marked to be kept, or of another repository.
    pub in_git: u64,
}

/// A forgetting that counts.
pub(crate) struct Word {
    pub doc: DocId,
    pub n: i64,
    pub view: View,
}

impl Vault {
    /// What is to be forgotten with the file, or all files of the folder, at `path`: what lies there, what was deleted there, and what
    /// others saved to what was forgotten there.
    ///
    /// # Errors
    /// [`Error::Unknown`] where nothing ever lay there or all is forgotten, [`Error::Untold`] while what came cannot be shown.
    pub fn forgettable(&mut self, path: &str) -> Result<Vec<Forgettable>, Error> {
        if self.shown != self.view {
            // What came since may lie elsewhere than the tables say, and would be forgotten for good.
            return Err(Error::Untold);
        }
        let folded = path::fold(path);
        let mut docs: BTreeSet<DocId> = BTreeSet::new();
        for at in std::iter::once(path.to_owned()).chain(self.documents_in(path)?) {
            docs.extend(self.doc_at(&at)?);
        }
        let history = self.history();
        let mut once: BTreeSet<DocId> = history.claimants(&folded)?.into_iter().collect();
        once.extend(history.claimants_below(&folded)?);
        for doc in once {
            // One that lies elsewhere by now is not meant.
            if self.placement(&doc)?.is_none() {
                docs.insert(doc);
            }
        }
        let words = self.words()?;
        let mut out = Vec::new();
        for doc in docs {
            let found = self.as_forgettable(doc, path)?;
            let known = words.iter().any(|word| word.doc == doc);
            if found.versions == 0 && known && self.in_git(&doc)? == 0 {
                continue;
            }
            out.push(found);
        }
        out.sort_by(|a, b| (&a.path, a.doc).cmp(&(&b.path, b.doc)));
        match out.is_empty() {
            true => Err(Error::Unknown { what: "file", name: path.to_owned() }),
            false => Ok(out),
        }
    }

    /// A document as one to be forgotten; `path`: where it lies as far as nothing else is known.
    pub(crate) fn as_forgettable(&self, doc: DocId, path: &str) -> Result<Forgettable, Error> {
        let (versions, bytes) = self.held_versions(&doc)?;
        let placed = self.placement(&doc)?;
        let lives = placed.is_some();
        let path = match placed {
            Some(placed) => placed.path,
            None => self.last_claim(&doc)?.unwrap_or_else(|| path.to_owned()),
        };
        Ok(Forgettable { doc, path, lives, versions, bytes })
    }

    /// Has these documents forgotten, by the operator's word: here with the next [`Vault::finish`], elsewhere once they hear of it.
    ///
    /// # Errors
    /// [`Error::NoOperator`] where no operator key is kept here, [`Error::Usage`] in a sealed vault.
    pub fn forget(&mut self, docs: &[DocId]) -> Result<RecordId, Error> {
        self.go_on()?;
        // What is to go may stand where it cannot be seen from here.
        self.check_past()?;
        if self.is_sealed_vault()? {
            return Err(Error::Usage(
                "a sealed vault cannot forget a file by itself: its records are encrypted whole; delete the file instead, or make \
                 the vault anew without it"
                    .into(),
            ));
        }
        self.check_beside(docs)?;
        let Some(operator) = self.operator()? else { return Err(Error::NoOperator("forget")) };
        let mut draft = Draft::operator(match docs.len() {
            1 => "Forget a file".to_owned(),
            n => format!("Forget {n} files"),
        });
        for doc in docs {
            let place = draft.next_place(self.next_place()?);
            let statement = ForgettingStatement { vault: &self.replica.vault, doc, place };
            let sig = Bytes(operator.sign_statement(&statement).to_vec());
            draft.push(Item::Event(Event::DocumentForgotten { doc: *doc, sig, by: operator.public() }));
        }
        self.transaction(|vault| {
            let id = vault.author_records(draft)?;
            vault.refresh(&mut |_, _, _| {})?;
            Ok(id)
        })
    }

    /// Refuses where git history from before or beside aios holds a version of these documents that no record names: it would stay, for
    /// nobody can tell what else there is to be dropped.
    fn check_beside(&mut self, docs: &[DocId]) -> Result<(), Error> {
        let tips: Vec<Vec<u8>> = {
            let mut get = self.db.prepare_cached("SELECT DISTINCT git FROM apart WHERE kind = 1")?;
            let rows = get.query_map([], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        if tips.is_empty() {
            return Ok(());
        }
        let (mut known, mut paths) = (HashSet::new(), BTreeSet::new());
        for doc in docs {
            known.extend(self.made_blobs(doc)?);
            for touch in self.history().touches(doc)?.iter() {
                known.extend(touch.act.content().map(|content| oid(&content.git)).transpose()?);
                paths.extend(touch.act.claim().map(str::to_owned));
            }
        }
        let own: HashSet<Vec<u8>> = {
            let sql = "SELECT git FROM record WHERE git IS NOT NULL UNION SELECT git FROM merge";
            let mut get = self.db.prepare(sql)?;
            let rows = get.query_map([], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        let walking = || git::Error::git("going through history from beside aios");
        let mut walk = self.repo.revwalk().map_err(walking())?;
        for tip in tips {
            let tip = Oid::from_bytes(&tip).map_err(git_error)?;
            if !self.keeps_history(tip)? {
                return Err(Error::Usage(format!(
                    "git history from beside aios, up to commit {}, has not come yet, and may hold a version: run `aios sync` first",
                    &tip.to_string()[..12]
                )));
            }
            walk.push(tip).map_err(walking())?;
        }
        let mut seen = HashSet::new();
        for commit in walk {
            let commit = commit.map_err(walking())?;
            // What aios made of records is made the same of what is left.
            if own.contains(commit.as_bytes()) {
                continue;
            }
            let tree = git::commit(&self.repo, commit)?.tree;
            if let Some(path) = self.other_version(tree, "", &paths, &known, &mut seen)? {
                return Err(Error::Usage(format!(
                    "git history from beside aios holds a version of {path} that aios never had, in commit {}, and cannot lose it: \
                     make the vault anew without that history",
                    &commit.to_string()[..12]
                )));
            }
        }
        Ok(())
    }

    /// The first of these paths at which a tree, which lies at `folder`, has another blob than a known one, in what was not `seen`.
    fn other_version(
        &self,
        tree: Oid,
        folder: &str,
        paths: &BTreeSet<String>,
        known: &HashSet<Oid>,
        seen: &mut HashSet<(Oid, String)>,
    ) -> Result<Option<String>, Error> {
        if !seen.insert((tree, folder.to_owned())) {
            return Ok(None);
        }
        for entry in git::entries(tree, &git::read(&self.repo, tree)?.1)? {
            let path = format!("{folder}{}", String::from_utf8_lossy(&entry.name));
            let below = format!("{path}/");
            match entry.mode {
                git::TREE
                    if paths.range(below.clone()..).next().is_some_and(|next| next.starts_with(&below)) =>
                {
                    if let Some(found) = self.other_version(entry.oid, &below, paths, known, seen)? {
                        return Ok(Some(found));
                    }
                }
                git::TREE => {}
                _ if paths.contains(&path) && !known.contains(&entry.oid) => return Ok(Some(path)),
                _ => {}
            }
        }
        Ok(None)
    }

    /// What was forgotten, in order of path.
    ///
    /// # Errors
    /// What the database answers.
    pub fn forgotten(&self) -> Result<Vec<Forgotten>, Error> {
        let mut out: BTreeMap<DocId, Forgotten> = BTreeMap::new();
        for word in self.words()? {
            let path = self.last_claim(&word.doc)?.unwrap_or_default();
            let kept = self.held_versions(&word.doc)?.0;
            let in_git = self.in_git(&word.doc)?;
            out.insert(word.doc, Forgotten { doc: word.doc, path, kept, in_git });
        }
        let mut out: Vec<Forgotten> = out.into_values().collect();
        out.sort_by(|a, b| (&a.path, a.doc).cmp(&(&b.path, b.doc)));
        Ok(out)
    }

    /// How many blobs of a document that are to be nowhere git has all the same.
    fn in_git(&self, doc: &DocId) -> Result<u64, Error> {
        let dropped = self.forgotten_blobs()?;
        let odb = self.repo.odb().map_err(git_error)?;
        let mut there: BTreeSet<Oid> = BTreeSet::new();
        for touch in self.history().touches(doc)?.iter() {
            there.extend(touch.act.content().map(|content| oid(&content.git)).transpose()?);
        }
        Ok(there.into_iter().filter(|id| dropped.contains(id) && odb.exists(*id)).count() as u64)
    }

    /// What was set aside here in earlier mending, in which nothing is looked for.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn kept_aside(&self) -> Result<Vec<PathBuf>, Error> {
        let folder = self.layout.own().join("aside");
        let wrap = |e| Error::io("list", &folder, e);
        match std::fs::read_dir(&folder) {
            Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path()).map_err(wrap)).collect(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(wrap(e)),
        }
    }

    /// Whether a word that counts has a document forgotten.
    pub(crate) fn is_forgotten(&self, doc: &DocId) -> Result<bool, Error> {
        let mut get = self.db.prepare_cached(
            "SELECT EXISTS(SELECT 1 FROM item i JOIN record r ON r.n = i.record WHERE i.doc = ? AND i.act = 6 AND r.held = 0)",
        )?;
        Ok(get.query_row([doc.as_bytes()], |row| row.get(0))?)
    }

    /// Every forgetting that counts.
    pub(crate) fn words(&self) -> Result<Vec<Word>, Error> {
        let mut get = self.db.prepare_cached(
            "SELECT i.doc, i.record, r.view FROM item i INDEXED BY item_forget CROSS JOIN record r ON r.n = i.record
             WHERE i.act = 6 AND r.held = 0 ORDER BY i.record",
        )?;
        let mut rows = get.query([])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            let doc = db::id(row.get(0)?, DocId::from_slice)?;
            out.push(Word { doc, n: row.get(1)?, view: db::read_view(&row.get::<_, Vec<u8>>(2)?)? });
        }
        Ok(out)
    }

    /// The forgettings that count and are not obeyed in full; none in a sealed vault, whose records are encrypted whole.
    fn waiting_words(&self) -> Result<Vec<Word>, Error> {
        let mut out = self.words()?;
        if out.is_empty() || self.is_sealed_vault()? {
            return Ok(Vec::new());
        }
        let mut get = self.db.prepare_cached("SELECT doc, n FROM obeyed")?;
        let rows = get.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let obeyed: HashSet<(Vec<u8>, i64)> = rows.collect::<Result<_, _>>()?;
        out.retain(|word| !obeyed.contains(&(word.doc.as_bytes().to_vec(), word.n)));
        Ok(out)
    }

    /// How many versions of a document records here hold, and their bytes.
    fn held_versions(&self, doc: &DocId) -> Result<(u64, u64), Error> {
        let mut get = self.db.prepare_cached(
            "SELECT count(*), coalesce(sum(i.size), 0) FROM item i
             WHERE i.doc = ? AND (i.payload IS NOT NULL OR i.kind = 3 AND i.git IS NOT NULL
             AND NOT EXISTS(SELECT 1 FROM item f JOIN record r ON r.n = f.record WHERE f.doc = i.doc AND f.act = 6 AND r.held = 0))",
        )?;
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64));
        Ok(get.query_row([doc.as_bytes()], row)?)
    }

    fn last_claim(&self, doc: &DocId) -> Result<Option<String>, Error> {
        let touches = self.history().touches(doc)?;
        let claims =
            touches.iter().filter(|touch| self.view.has(&touch.place) && touch.act.claim().is_some());
        let last = claims.max_by_key(|touch| (touch.rank, touch.place, touch.index));
        Ok(last.and_then(|touch| touch.act.claim()).map(str::to_owned))
    }

    /// Drops from the log, and from the database, what was forgotten and is not dropped yet. What git holds of it goes in
    /// [`Vault::drop_forgotten`].
    ///
    /// # Errors
    /// What the disk answers; the next round goes on.
    pub(crate) fn obey(&mut self) -> Result<(), Error> {
        // Done once all of the log is here, and can be gone through.
        if self.lacks_past() {
            return Ok(());
        }
        let words = self.waiting_words()?;
        if words.is_empty() {
            return Ok(());
        }
        let mut views: BTreeMap<DocId, View> = BTreeMap::new();
        let mut leaving = self.leaving()?;
        for word in &words {
            leaving.extend(self.made_blobs(&word.doc)?);
            let view = views.entry(word.doc).or_default();
            *view = view.union(&word.view);
        }
        let mut segments = BTreeSet::new();
        for doc in views.keys() {
            let mut get = self.db.prepare_cached(
                "SELECT DISTINCT p.device, p.segment FROM item i JOIN record p ON p.n = i.part
                 WHERE i.doc = ? AND i.payload IS NOT NULL",
            )?;
            let mut rows = get.query([doc.as_bytes()])?;
            while let Some(row) = rows.next()? {
                segments.insert((db::id(row.get(0)?, DeviceId::from_slice)?, row.get::<_, i64>(1)? as u64));
            }
        }
        // Before the first byte goes: what git has of it is known, and a log that is not as the database says is read anew.
        self.transaction(|vault| {
            // What was saved later is left to git in no mirror either.
            for doc in views.keys() {
                for device in vault.writers_of(doc)? {
                    db::set_meta(&vault.db, &format!("mirror:{device}"), &0u64.to_le_bytes())?;
                }
            }
            vault.set_leaving(&leaving)
        })?;
        for (device, segment) in segments {
            self.strip(&device, segment, &views)?;
        }
        self.transaction(|vault| {
            vault.db.execute_batch("PRAGMA secure_delete = ON")?;
            for doc in views.keys() {
                for table in ["automerge", "shown"] {
                    vault
                        .db
                        .prepare_cached(&format!("DELETE FROM {table} WHERE doc = ?"))?
                        .execute([doc.as_bytes()])?;
                }
            }
            Ok(())
        })?;
        self.recent = Default::default();
        self.forget_documents();
        Ok(())
    }

    /// The devices whose records have items on a document.
    fn writers_of(&self, doc: &DocId) -> Result<BTreeSet<DeviceId>, Error> {
        let mut get = self.db.prepare_cached(
            "SELECT DISTINCT p.device FROM item i JOIN record p ON p.n = i.part WHERE i.doc = ?",
        )?;
        let rows = get.query_map([doc.as_bytes()], |row| row.get::<_, Vec<u8>>(0))?;
        rows.map(|row| db::id(row?, DeviceId::from_slice)).collect()
    }

    /// Writes a segment anew without what was forgotten.
    fn strip(&mut self, device: &DeviceId, segment: u64, views: &BTreeMap<DocId, View>) -> Result<(), Error> {
        let mut records = Vec::new();
        let mut changed = false;
        for record in self.log.records_of(device, segment)? {
            let place = record.header.place();
            let goes =
                |item: &Item| item.doc().and_then(|doc| views.get(&doc)).is_some_and(|view| view.has(&place));
            let body = record.body()?;
            let before = record.gone.clone();
            let record = record.without(&body, goes)?;
            changed |= record.gone != before;
            records.push(record);
        }
        if !changed {
            return Ok(());
        }
        self.transaction(|vault| anew::begin(&vault.db))?;
        fault::point("forget.log").map_err(|e| Error::io("forget in", self.root(), e))?;
        self.log.rewrite(device, segment, records.iter())?;
        fault::point("forget.database").map_err(|e| Error::io("forget in", self.root(), e))?;
        self.transaction(|vault| {
            vault.respot(device, segment, &records)?;
            anew::end(&vault.db)
        })
    }

    /// Has the database know where the records of a segment lie now.
    fn respot(&self, device: &DeviceId, segment: u64, records: &[Record]) -> Result<(), Error> {
        let mut at = 0;
        for record in records {
            let Some(n) = self.number(&record.header.place())? else { continue };
            let len = record.entry_len() as u64;
            let mut put = self.db.prepare_cached("UPDATE record SET at = ?, len = ? WHERE n = ?")?;
            put.execute(params![at as i64, len as i64, n])?;
            self.respot_items(n, record, at)?;
            at += len;
        }
        let mut put = self.db.prepare_cached("UPDATE tip SET at = ? WHERE device = ? AND segment = ?")?;
        put.execute(params![at as i64, device.as_bytes(), segment as i64])?;
        Ok(())
    }

    /// The blobs that trees name for a document and no item does: what several edits made.
    fn made_blobs(&mut self, doc: &DocId) -> Result<BTreeSet<Oid>, Error> {
        let touches = self.history().touches(doc)?;
        let mut out = BTreeSet::new();
        {
            let mut get = self.db.prepare_cached("SELECT git FROM named WHERE doc = ?")?;
            let rows = get.query_map([doc.as_bytes()], |row| row.get::<_, Vec<u8>>(0))?;
            for row in rows {
                out.insert(Oid::from_bytes(&row?).map_err(git_error)?);
            }
        }
        if touches.iter().filter(|touch| touch.act.content().is_some()).count() < 2 {
            return Ok(out);
        }
        let mut views: Vec<View> = Vec::new();
        {
            let mut get =
                self.db.prepare_cached("SELECT view, device, seq FROM record WHERE parents LIKE '%,%'")?;
            let mut rows = get.query([])?;
            while let Some(row) = rows.next()? {
                let device = db::id(row.get(1)?, DeviceId::from_slice)?;
                let place = Place { device, seq: row.get::<_, i64>(2)? as u64 };
                views.push(crate::text::without(&db::read_view(&row.get::<_, Vec<u8>>(0)?)?, &place));
            }
            let mut get = self.db.prepare_cached("SELECT heads FROM merge")?;
            let rows = get.query_map([], |row| row.get::<_, String>(0))?;
            for row in rows {
                let mut view = View::new();
                for id in row?.split(' ').filter_map(|hex| hex.parse::<RecordId>().ok()) {
                    let mut get = self.db.prepare_cached("SELECT view FROM record WHERE id = ?")?;
                    let mut found = get.query([id.as_bytes()])?;
                    if let Some(found) = found.next()? {
                        view = view.union(&db::read_view(&found.get::<_, Vec<u8>>(0)?)?);
                    }
                }
                views.push(view);
            }
        }
        // As it was before anybody had it forgotten.
        let living: Vec<_> =
            touches.iter().filter(|touch| !matches!(touch.act, Act::Delete | Act::Forget)).cloned().collect();
        let mut seen = HashSet::new();
        views.push(self.view.clone());
        for view in views {
            let Some(found) = fold(&living, &[], &view) else { continue };
            let heads: Vec<(Place, u32)> =
                found.text.heads().iter().map(|head| (head.place, head.index)).collect();
            if heads.len() < 2 || !seen.insert(heads) {
                continue;
            }
            match self.read_text(doc, &living, &view, &found.text) {
                Ok(reading) => _ = out.insert(oid(&reading.content.git)?),
                // Gone already, and what trees name is named above.
                Err(Error::Apart(_)) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(out)
    }

    /// Whether all that a repository at `there` lacks of the history of `head` is here: versions of a file that were forgotten before they
    /// were published are not, and git publishes no history without them.
    ///
    /// # Errors
    /// What git answers.
    pub fn is_publishable(&self, head: &GitId, there: Option<&GitId>) -> Result<bool, Error> {
        let odb = self.repo.odb().map_err(git_error)?;
        let absent: HashSet<Oid> =
            self.forgotten_blobs()?.into_iter().filter(|id| !odb.exists(*id)).collect();
        if absent.is_empty() {
            return Ok(true);
        }
        let walking = || git::Error::git(format!("going through the history of {head}"));
        let mut walk = self.repo.revwalk().map_err(walking())?;
        walk.push(oid(head)?).map_err(walking())?;
        let mut seen = HashSet::new();
        if let Some(there) = there.map(oid).transpose()? {
            walk.hide(there).map_err(walking())?;
            self.meets(git::commit(&self.repo, there)?.tree, &HashSet::new(), &mut seen)?;
        }
        for commit in walk {
            let tree = git::commit(&self.repo, commit.map_err(walking())?)?.tree;
            if self.meets(tree, &absent, &mut seen)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a tree names one of these blobs, in what was not `seen`.
    fn meets(&self, tree: Oid, blobs: &HashSet<Oid>, seen: &mut HashSet<Oid>) -> Result<bool, Error> {
        let mut met = false;
        self.walk_tree(tree, seen, &mut |id, is_tree| {
            met |= !is_tree && blobs.contains(&id);
            Ok(())
        })?;
        Ok(met)
    }

    /// Shows `see` each tree and blob of a tree that was not `seen`, and whether it is a tree.
    pub(crate) fn walk_tree(
        &self,
        tree: Oid,
        seen: &mut HashSet<Oid>,
        see: &mut dyn FnMut(Oid, bool) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !seen.insert(tree) {
            return Ok(());
        }
        see(tree, true)?;
        for entry in git::entries(tree, &git::read(&self.repo, tree)?.1)? {
            match entry.mode {
                git::TREE => self.walk_tree(entry.oid, seen, see)?,
                // A submodule's commit lies in another repository.
                0o160_000 => {}
                _ if seen.insert(entry.oid) => see(entry.oid, false)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether any of these records, read elsewhere, has a text that was dropped here.
    ///
    /// # Errors
    /// What the database answers.
    pub fn tells_what_was_forgotten(&self, records: &[Record]) -> Result<bool, Error> {
        let words = self.words()?;
        for record in records.iter().filter(|_| !words.is_empty()) {
            let place = record.header.place();
            let Ok(body) = record.body() else { continue };
            let here = record.split(&body.items)?;
            let told = body.items.iter().zip(here).filter(|(_, bytes)| bytes.is_some()).any(|(item, _)| {
                words.iter().any(|word| item.doc() == Some(word.doc) && word.view.has(&place))
            });
            if told {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn leaving(&self) -> Result<BTreeSet<Oid>, Error> {
        let known = db::meta(&self.db, LEAVING)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&known).lines().filter_map(|line| line.parse().ok()).collect())
    }

    fn set_leaving(&self, ids: &BTreeSet<Oid>) -> Result<(), Error> {
        let lines: String = ids.iter().map(|id| format!("{id}\n")).collect();
        db::set_meta(&self.db, LEAVING, lines.as_bytes())
    }

    /// Drops from git what came back of it from elsewhere.
    ///
    /// # Errors
    /// What git answers.
    pub fn drop_again(&mut self) -> Result<(), Error> {
        let blobs = self.forgotten_blobs()?;
        git::expunge(&self.repo, &blobs)?;
        // A file whose removal was not synced, now or by an earlier packing, is there again after a power cut.
        durable::sync_filesystem(&self.repo.commondir().join("objects"), [])?;
        self.repo = git::open_or_init(self.root())?;
        self.promise_absent()
    }

    /// Drops from git what was forgotten: the blobs, and what mirrors of the log held of them. After the mirrors were made anew.
    ///
    /// # Errors
    /// What git answers; the next round goes on.
    pub(crate) fn drop_forgotten(&mut self) -> Result<(), Error> {
        if self.lacks_past() {
            return Ok(());
        }
        let words = self.waiting_words()?;
        if words.is_empty() {
            return Ok(());
        }
        fault::point("forget.git").map_err(|e| Error::io("forget in", self.root(), e))?;
        // What git remotes had when last seen is fetched again.
        for name in
            self.repo.references_glob(&format!("{}*/log/*", git::REMOTE_PREFIX)).map_err(git_error)?.names()
        {
            let name = name.map_err(git_error)?.to_owned();
            self.repo.find_reference(&name).and_then(|mut found| found.delete()).map_err(git_error)?;
        }
        self.drop_again()?;
        // What was deleted from the database stands in its free pages.
        self.vacuum()?;
        self.transaction(|vault| {
            for word in &words {
                let mut put = vault.db.prepare_cached("INSERT OR IGNORE INTO obeyed VALUES(?, ?)")?;
                put.execute(params![word.doc.as_bytes(), word.n])?;
            }
            Ok(())
        })
    }
}
