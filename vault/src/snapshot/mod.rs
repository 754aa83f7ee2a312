//! Snapshots: a state of the vault that a member signs, so that a new device can begin from it and need not check all that ever
//! was. See `docs/decisions/0063-a-snapshot-is-a-members-word.md`.

mod image;
mod past;
mod statement;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::sync::Arc;

use aios_core::history::{Act, History, Touch};
use aios_core::id::{DeviceId, DocId};
use aios_core::item::{Epoch, Kind};
use aios_core::state::State;
use git2::{ObjectType, Oid};
use rusqlite::params_from_iter;
use rusqlite::types::ValueRef;

pub use past::Past;
pub(crate) use past::{is_whole, take_up};
pub use statement::{Signed, Snapshot};

use crate::db;
use crate::disk::durable;
use crate::error::Error;
use crate::git::{self, Objects as _};
use crate::layout::Layout;
use crate::project::git_id;
use crate::vault::Vault;
use image::{ImageError, Part, Reader, Table, Writer};

/// zlib's fastest: history is packed again later.
const LEVEL: u32 = 1;

/// Takes back that a device begins from a snapshot of which nothing was taken in, as a crash leaves it.
///
/// # Errors
/// [`Error::Disk`].
pub(crate) fn forget_begun(layout: &Layout) -> Result<(), Error> {
    match layout.snapshot().exists() {
        true => Ok(durable::remove(&layout.snapshot())?),
        false => Ok(()),
    }
}

impl Vault {
    /// Whether this device began from a snapshot and lacks what lies before.
    pub(crate) fn lacks_past(&self) -> bool {
        self.layout.snapshot().exists()
    }

    /// Sees that what is done can be done for all there ever was.
    ///
    /// # Errors
    /// [`Error::Past`] where it lacks some.
    pub(crate) fn check_past(&self) -> Result<(), Error> {
        match self.lacks_past() {
            true => Err(Error::Past),
            false => Ok(()),
        }
    }

    /// The snapshot that this device began from, for as long as it lacks what lies before.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Damaged`] where the file is no snapshot.
    pub fn began_from(&self) -> Result<Option<Signed>, Error> {
        let path = self.layout.snapshot();
        match std::fs::read(&path) {
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(signed) => Ok(Some(signed)),
                Err(e) => Err(Error::Damaged(format!("{}: {e}", path.display()))),
            },
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read", &path, e)),
        }
    }

    /// Writes an image of the vault as it is to `out`, and signs what it is. All that is on disk is taken in before, and in git.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`] for what no image can hold yet.
    pub fn snapshot(&mut self, out: &mut dyn Write) -> Result<Signed, Error> {
        let wrap = |e| Error::Io { action: "write", path: "the image".into(), source: e };
        let (head, commits) = self.still()?;
        let tables = Table::all(&self.db)?;
        let mut image = Writer::new(out, &tables).map_err(wrap)?;
        for (number, table) in tables.iter().enumerate() {
            if table.is("automerge") {
                self.write_documents(number, &mut image)?;
                continue;
            }
            let mut get = self.db.prepare(&table.select())?;
            let width = get.column_count();
            let mut rows = get.query([])?;
            while let Some(row) = rows.next()? {
                let values = (0..width).map(|n| row.get_ref(n)).collect::<Result<Vec<_>, _>>()?;
                image.row(number, values).map_err(wrap)?;
            }
        }
        let mut known = BTreeSet::new();
        for commit in commits {
            let (kind, raw) = git::read(&self.repo, commit)?;
            image.object(kind, &raw).map_err(wrap)?;
            self.write_tree(self.root_of(commit)?, &mut known, &mut image)?;
        }
        let (hash, size) = image.end().map_err(wrap)?;
        let snapshot = Snapshot {
            vault: self.id(),
            frontier: self.frontier()?,
            state: self.state()?,
            head: git_id(&head),
            image: hash,
            size,
        };
        Ok(Signed::new(snapshot, &self.keys.device))
    }

    /// Sees that all is shown and in git, and nothing here that an image cannot hold. Gives the head, and all commits that the next
    /// record may have for parents.
    fn still(&self) -> Result<(Oid, BTreeSet<Oid>), Error> {
        let refuse = |why| Err(Error::NoSnapshot(why));
        if self.lacks_past() {
            return refuse("this device began from one itself, and lacks what lies before");
        }
        if self.is_sealed_vault()? {
            return refuse("it is sealed");
        }
        let any = |sql: &str| -> Result<bool, Error> {
            Ok(self.db.query_row(&format!("SELECT EXISTS({sql})"), [], |row| row.get(0))?)
        };
        if any("SELECT 1 FROM apart")? {
            return refuse("pictures, other blobs or commits made with git travel apart in it");
        }
        if any("SELECT 1 FROM item WHERE act = 6 OR payload IS NULL AND (act = 1 OR act IN (0, 2))")? {
            return refuse("texts of it were forgotten");
        }
        if any("SELECT 1 FROM record WHERE held = 1")? {
            return refuse("records are held in it");
        }
        if any("SELECT 1 FROM meta WHERE key = 'newer' OR key LIKE 'open:%' AND CAST(value AS TEXT) <> '[]'")?
        {
            return refuse("a transaction in it is open, or of a newer aios");
        }
        let heads = self.commit_heads(&self.heads()?)?;
        let waits = any("SELECT 1 FROM record WHERE tree = 1 AND git IS NULL")?;
        let Some(head) = self.projected_head()?.filter(|_| !waits && self.shown == self.view) else {
            return refuse("what came last is not in git yet; run `aios commit`");
        };
        let mut commits = BTreeSet::from([head]);
        for n in heads {
            commits.extend(self.row(n)?.commit);
        }
        Ok((head, commits))
    }

    /// Writes the Automerge documents that the index and git's head alone do not give: of all that were edited, and of all that
    /// are not shown as they were made.
    fn write_documents(&mut self, number: usize, image: &mut Writer<&mut dyn Write>) -> Result<(), Error> {
        let docs: Vec<Vec<u8>> = {
            let mut get = self.db.prepare("SELECT DISTINCT doc FROM item")?;
            let rows = get.query_map([], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        for doc in docs {
            let doc = db::id(doc, DocId::from_slice)?;
            let touches = self.history().touches(&doc)?;
            let shown = self.placement(&doc)?.map(|placement| placement.content);
            let written: Vec<_> = touches.iter().filter_map(|touch| touch.act.content()).collect();
            if written.len() == 1 && written.first() == shown.as_ref() {
                continue;
            }
            for (epoch, kind) in epochs(&touches) {
                for (part, bytes) in self.saved_parts(&doc, epoch, kind, &touches)? {
                    let name = epoch.to_string();
                    let values = [
                        ValueRef::Blob(doc.as_bytes()),
                        ValueRef::Text(name.as_bytes()),
                        ValueRef::Integer(part),
                        ValueRef::Blob(&bytes),
                    ];
                    image.row(number, values).map_err(|e| Error::io("write", self.root(), e))?;
                }
            }
            self.open.rest();
        }
        Ok(())
    }

    fn write_tree(
        &self,
        root: Oid,
        known: &mut BTreeSet<Oid>,
        image: &mut Writer<&mut dyn Write>,
    ) -> Result<(), Error> {
        let mut waiting = vec![root];
        while let Some(id) = waiting.pop() {
            if !known.insert(id) {
                continue;
            }
            let (kind, raw) = git::read(&self.repo, id)?;
            image.object(kind, &raw).map_err(|e| Error::io("write", self.root(), e))?;
            if kind == ObjectType::Tree {
                waiting.extend(git::entries(id, &raw)?.into_iter().map(|entry| entry.oid));
            }
        }
        Ok(())
    }

    /// Begins from a snapshot of `by`, whose word is trusted as it is about who is a member. Its image comes from `from`. The vault is
    /// a replica in which nothing is yet; afterwards its files are to be written by [`Vault::finish`].
    ///
    /// # Errors
    /// [`Error::Snapshot`] when it is not signed by `by`, or the image is not what is signed: nothing is taken in then.
    pub fn begin_from(&mut self, signed: &Signed, by: &DeviceId, from: &mut dyn Read) -> Result<(), Error> {
        signed.check(&self.id(), by)?;
        if !db::is_empty(&self.db) {
            return Err(Error::Usage("a device begins from a snapshot before it has any record".into()));
        }
        let place = self.layout.snapshot();
        let text = serde_json::to_vec_pretty(signed).map_err(|e| Error::Damaged(e.to_string()))?;
        // First: a folder with half a history is never taken for one with all of it.
        durable::replace(&place, &text)?;
        let done = self.transaction(|vault| vault.load_image(signed, from));
        if done.is_err() {
            durable::remove(&place)?;
        }
        done
    }

    fn load_image(&mut self, signed: &Signed, from: &mut dyn Read) -> Result<(), Error> {
        let Signed { snapshot, by, .. } = signed;
        let bad = |why: &str| Error::Snapshot { by: *by, why: why.to_owned() };
        let wrong = |e: ImageError| Error::Snapshot { by: *by, why: e.to_string() };
        let tables = Table::all(&self.db)?;
        let mut reader = Reader::new(from.take(snapshot.size), &tables).map_err(wrong)?;
        let mut commits = BTreeSet::new();
        {
            let inserts: Vec<String> = tables.iter().map(Table::insert).collect();
            let mut objects = git::Bulk::new(&self.repo, LEVEL)?;
            while let Some(part) = reader.next().map_err(wrong)? {
                match part {
                    Part::Row(table, row) => {
                        let mut put = self.db.prepare_cached(&inserts[table])?;
                        put.execute(params_from_iter(row))?;
                    }
                    Part::Object(kind, bytes) => {
                        let id = objects.write(kind, &bytes)?;
                        if kind == ObjectType::Commit {
                            commits.insert(id);
                        }
                    }
                }
            }
            objects.finish(true)?;
        }
        if reader.sum() != (snapshot.image, snapshot.size) {
            return Err(bad("the image is not the one that is signed"));
        }
        self.take_stock()?;
        if self.frontier()? != snapshot.frontier {
            return Err(bad("its records are not those that are signed"));
        }
        if self.state()? != snapshot.state {
            return Err(bad("its state is not the one that is signed"));
        }
        let head = self.projected_head()?.filter(|head| git_id(head) == snapshot.head);
        let head = head.ok_or_else(|| bad("its head is not the one that is signed"))?;
        if !self.is_tree(self.root_of(head)?)? {
            return Err(bad("its documents are not those of its commit"));
        }
        self.end_history_at(&commits)
    }

    /// Learns what follows from the rows of an image.
    fn take_stock(&mut self) -> Result<(), Error> {
        let vault = self.id();
        self.authority = Arc::new(crate::judge::read(&self.db, &vault)?);
        self.view = self.counting()?;
        let mut state = State::default();
        for table in ["doc", "conflict"] {
            let mut get = self.db.prepare(&format!("SELECT row FROM {table}"))?;
            let mut rows = get.query([])?;
            while let Some(row) = rows.next()? {
                state.add(&row.get::<_, String>(0)?);
            }
        }
        self.shown = self.view.clone();
        db::set_meta(&self.db, "state", &state.to_bytes())?;
        db::set_meta(&self.db, "shown", &db::view_bytes(&self.shown))?;
        self.db.execute("INSERT OR IGNORE INTO dirty SELECT id FROM doc", [])?;
        self.forget_documents();
        Ok(())
    }

    /// Whether a tree holds the documents of the index, and no others.
    fn is_tree(&self, root: Oid) -> Result<bool, Error> {
        let mut objects = git::Loose::new(&self.repo, false)?;
        let mut tree = BTreeSet::new();
        for diff in git::diff_trees(&mut objects, None, Some(root))? {
            if let Some((mode, oid)) = diff.new {
                tree.insert((diff.path, mode, oid));
            }
        }
        let mut docs = BTreeSet::new();
        for (_, placement) in self.placements()? {
            let blob = crate::project::oid(&placement.content.git)?;
            docs.insert((placement.path.into_bytes(), placement.mode.bits(), blob));
        }
        Ok(tree == docs)
    }

    /// Has git know that history ends at these commits here, as in a shallow clone.
    fn end_history_at(&self, commits: &BTreeSet<Oid>) -> Result<(), Error> {
        let mut text = String::new();
        for id in commits {
            let found = git::commit(&self.repo, *id)?;
            if found.parents.iter().any(|parent| !commits.contains(parent)) {
                text.push_str(&format!("{id}\n"));
            }
        }
        Ok(durable::replace(&self.repo.commondir().join("shallow"), text.as_bytes())?)
    }
}

/// The epochs of a document that are Automerge documents, and how they are held.
fn epochs(touches: &[Touch]) -> Vec<(Epoch, Kind)> {
    let mut out: Vec<(Epoch, Kind)> = Vec::new();
    for touch in touches {
        let found = match touch.act {
            Act::Create { kind, .. } => (Epoch(None), kind),
            Act::Replace { kind, .. } => (Epoch(Some(touch.place)), kind),
            _ => continue,
        };
        if found.1.by_character() && !out.iter().any(|(epoch, _)| *epoch == found.0) {
            out.push(found);
        }
    }
    out
}
