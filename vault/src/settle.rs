//! Writing merged documents to the working files, by exchange, never over anything that is not in the log (I2).

use std::collections::{BTreeMap, BTreeSet};

use aios_core::id::{ContentHash, DocId};
use aios_core::item::{Content, Kind, Mode};
use aios_core::planted::{Bug, planted};

use crate::disk::{self, Displaced, Expect, Found, Moved, Put, ReadError, Removed, Source, read::LARGE};
use crate::error::Error;
use crate::show::Placement;
use crate::survey::{Problem, Saved};
use crate::vault::{Progress, Vault};

/// From this many files on they are synced together.
const BATCH: usize = 24;

/// What came of writing.
#[derive(Debug, Clone, Default)]
pub struct Settled {
    /// How many files were written, moved or removed.
    pub written: usize,
    /// Whether the user saved something meanwhile, which must be absorbed first.
    pub absorb: bool,
    /// What could not be written.
    pub problems: Vec<Problem>,
}

/// What a path must become.
struct Target {
    doc: DocId,
    placement: Placement,
}

impl Vault {
    /// Brings the working files in line with the documents.
    pub(crate) fn settle(&mut self, progress: Progress<'_>) -> Result<Settled, Error> {
        let mut out = Settled::default();
        if self.paused()?.is_some() || self.check_writes().is_err() {
            return Ok(out);
        }
        let dirty: Vec<DocId> = {
            let mut get = self.db.prepare_cached("SELECT doc FROM dirty")?;
            let rows = get.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
            rows.map(|bytes| crate::db::id(bytes?, DocId::from_slice)).collect::<Result<_, Error>>()?
        };
        if dirty.is_empty() {
            return Ok(out);
        }
        let mut targets: BTreeMap<String, Target> = BTreeMap::new();
        let mut leave: BTreeSet<String> = BTreeSet::new();
        let mut done: Vec<DocId> = Vec::new();
        for doc in &dirty {
            let placement = self.placement(doc)?;
            let rows = self.files_of(doc)?;
            let path = placement.as_ref().map(|placement| placement.path.clone());
            leave.extend(rows.iter().map(|row| row.path.clone()).filter(|at| Some(at) != path.as_ref()));
            match placement {
                Some(placement) => {
                    let settled = rows
                        .iter()
                        .any(|row| row.path == placement.path && same(&placement, &row.hash, &row.found));
                    if settled && rows.len() == 1 {
                        done.push(*doc);
                        continue;
                    }
                    targets.insert(placement.path.clone(), Target { doc: *doc, placement });
                }
                None if rows.is_empty() => done.push(*doc),
                None => done.push(*doc),
            }
        }
        self.clean(&done)?;
        self.leave_nested(&mut targets, &mut leave, &mut out)?;
        let total = (targets.len() + leave.len()) as u64;
        self.move_files(&mut targets, &mut leave, &mut out)?;
        for path in leave.iter().filter(|path| !targets.contains_key(*path)) {
            self.remove_file(path, &mut out)?;
        }
        for path in targets.keys() {
            self.make_way(path)?;
        }
        match targets.len() >= BATCH {
            true => self.put_many(targets, &mut out, progress)?,
            false => {
                for (n, (path, target)) in targets.into_iter().enumerate() {
                    progress("files", n as u64, total);
                    self.put_file(&path, &target, &mut out)?;
                }
            }
        }
        Ok(out)
    }

    /// What lies in a vault of its own is that vault's: neither written nor removed.
    fn leave_nested(
        &self,
        targets: &mut BTreeMap<String, Target>,
        leave: &mut BTreeSet<String>,
        out: &mut Settled,
    ) -> Result<(), Error> {
        for path in leave.iter().filter(|path| self.nested_at(path).is_some()).cloned().collect::<Vec<_>>() {
            self.drop_file(&path)?;
            leave.remove(&path);
        }
        for path in targets.keys().cloned().collect::<Vec<_>>() {
            if let Some(folder) = self.nested_at(&path) {
                targets.remove(&path);
                let what = format!("not written: {folder} is a vault of its own on this device");
                out.problems.push(problem(&path, &what));
            }
        }
        Ok(())
    }

    fn clean(&self, docs: &[DocId]) -> Result<(), Error> {
        for doc in docs {
            self.db.prepare_cached("DELETE FROM dirty WHERE doc = ?")?.execute([doc.as_bytes()])?;
        }
        Ok(())
    }

    /// Renames where nothing is in the way: an editor that has the file open goes on with it.
    fn move_files(
        &mut self,
        targets: &mut BTreeMap<String, Target>,
        leave: &mut BTreeSet<String>,
        out: &mut Settled,
    ) -> Result<(), Error> {
        let paths: Vec<String> = targets.keys().cloned().collect();
        for path in paths {
            let Some(target) = targets.get(&path) else { continue };
            let rows = self.files_of(&target.doc)?;
            let [row] = &rows[..] else { continue };
            if row.path == path || targets.contains_key(&row.path) || self.file(&path)?.is_some() {
                continue;
            }
            // Below its own old path: the file must go before there can be a folder of its name.
            if aios_core::path::below(&path, &row.path).is_some() {
                continue;
            }
            self.make_way(&path)?;
            match self.writer.rename(&row.path, &path) {
                Ok(Moved::Done { found: Some(found) }) => {
                    out.written += 1;
                    self.drop_file(&row.path)?;
                    leave.remove(&row.path);
                    self.set_file(&target.doc, &found, &row.hash, &row.git)?;
                    if same(&target.placement, &row.hash, &found) {
                        self.clean(&[target.doc])?;
                        targets.remove(&path);
                    }
                }
                Ok(_) => out.absorb = true,
                Err(e) => out.problems.push(problem(&path, &e.to_string())),
            }
        }
        Ok(())
    }

    /// Removes an empty folder, with the empty ones in it, where a file must go: the log knows no empty folders, so one
    /// that a user's deletes left must not keep this device from what all others have (I1).
    fn make_way(&self, path: &str) -> Result<(), Error> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Ok(parent) = self.writer.root().beneath(above) else { return Ok(()) };
        let Ok(folder) = self.writer.root().beneath(path) else { return Ok(()) };
        let entries = std::fs::read_dir(folder.path()).map_err(|e| Error::io("read", folder.path(), e))?;
        for entry in entries {
            let entry = entry.map_err(|e| Error::io("read", folder.path(), e))?;
            match entry.file_name().to_str() {
                Some(name) => self.make_way(&format!("{path}/{name}"))?,
                None => return Ok(()),
            }
        }
        Ok(parent.remove_folder(name).map(|_| ())?)
    }

    fn remove_file(&mut self, path: &str, out: &mut Settled) -> Result<(), Error> {
        let Some(row) = self.file(path)? else { return Ok(()) };
        match self.writer.remove(path, blake3::Hash::from_bytes(row.hash.0)) {
            Ok(Removed::Done | Removed::Missing) => {
                out.written += 1;
                self.drop_file(path)
            }
            Ok(Removed::Changed) => {
                out.absorb = true;
                Ok(())
            }
            Ok(Removed::Displaced(displaced)) => {
                out.absorb = true;
                self.absorb_displaced(&row.doc, &displaced)
            }
            Err(e) => {
                out.problems.push(problem(path, &e.to_string()));
                Ok(())
            }
        }
    }

    /// The bytes of a placed document; `None` for those that travel apart and are not here yet.
    fn bytes_of(&mut self, target: &Target) -> Result<Option<std::rc::Rc<Vec<u8>>>, Error> {
        match self.document_bytes(&target.doc, &target.placement.content) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::Apart(_)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The bytes of a document as the tables show it.
    pub(crate) fn document_bytes(
        &mut self,
        doc: &DocId,
        content: &Content,
    ) -> Result<std::rc::Rc<Vec<u8>>, Error> {
        use aios_core::history::History;
        if let Some(bytes) = self.blob(&content.git)? {
            return Ok(bytes);
        }
        let touches = self.history().touches(doc)?;
        let view = self.shown.clone();
        match aios_core::fold::fold(&touches, &[], &view) {
            Some(found) => self.bytes_of_text(doc, &touches, &view, &found.text),
            None => Err(Error::Document { doc: *doc, why: "it has no content".into() }),
        }
    }

    fn expect(&self, path: &str) -> Result<Expect, Error> {
        Ok(match self.file(path)? {
            Some(row) => Expect::Content(blake3::Hash::from_bytes(row.hash.0)),
            None => Expect::Absent,
        })
    }

    fn put_file(&mut self, path: &str, target: &Target, out: &mut Settled) -> Result<(), Error> {
        let expect = self.expect(path)?;
        let Some(bytes) = self.bytes_of(target)? else {
            out.problems.push(problem(path, "its bytes are not on this device yet"));
            return Ok(());
        };
        let exec = target.placement.mode == Mode::Executable;
        let link = String::from_utf8_lossy(&bytes).into_owned();
        let source = match target.placement.kind {
            Kind::Link => Source::Link(&link),
            _ => Source::Bytes(&bytes),
        };
        self.note_flaw(path, &target.placement.content.hash, &bytes)?;
        let put = self.writer.put(path, source, exec, expect).map_err(|e| e.to_string());
        self.landed(path, target, put, out)
    }

    fn put_many(
        &mut self,
        targets: BTreeMap<String, Target>,
        out: &mut Settled,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let total = targets.len() as u64;
        let mut expects = BTreeMap::new();
        for path in targets.keys() {
            expects.insert(path.clone(), self.expect(path)?);
        }
        // The batch borrows the writer, and reading content needs the vault: the writer is opened once more for it.
        let writer = crate::disk::Writer::open(self.root())?;
        let mut batch = writer.batch();
        for (n, (path, target)) in targets.iter().enumerate() {
            if n % 64 == 0 {
                progress("files", n as u64, total);
            }
            let Some(bytes) = self.bytes_of(target)? else {
                out.problems.push(problem(path, "its bytes are not on this device yet"));
                continue;
            };
            let exec = target.placement.mode == Mode::Executable;
            let link = String::from_utf8_lossy(&bytes).into_owned();
            let source = match target.placement.kind {
                Kind::Link => Source::Link(&link),
                _ => Source::Bytes(&bytes),
            };
            self.note_flaw(path, &target.placement.content.hash, &bytes)?;
            if let Err(e) =
                batch.put(path, source, exec, expects.get(path).copied().unwrap_or(Expect::Absent))
            {
                out.problems.push(problem(path, &e.to_string()));
            }
        }
        for (path, put) in batch.commit()? {
            if let Some(target) = targets.get(&path) {
                self.landed(&path, target, put.map_err(|e| e.to_string()), out)?;
            }
        }
        Ok(())
    }

    fn landed(
        &mut self,
        path: &str,
        target: &Target,
        put: Result<Put, String>,
        out: &mut Settled,
    ) -> Result<(), Error> {
        let Target { doc, placement } = target;
        let (found, displaced) = match put {
            Ok(Put::Done { found, .. }) => (found, None),
            Ok(Put::Displaced { found, displaced, .. }) => (found, Some(displaced)),
            Ok(Put::Exists | Put::Changed | Put::Missing) => {
                out.absorb = true;
                return Ok(());
            }
            Err(e) => {
                out.problems.push(problem(path, &e));
                return Ok(());
            }
        };
        out.written += 1;
        let content = placement.content;
        match found {
            Some(found) => {
                self.set_file(doc, &found, &content.hash, &content.git)?;
            }
            None => out.absorb = true,
        }
        let view = self.shown.clone();
        self.clean(&[*doc])?;
        // What was displaced was saved before this was written: nobody had it in front of them.
        if let Some(displaced) = displaced {
            out.absorb = true;
            match planted(Bug::DisplacedDropped) {
                true => self.writer.discard(&displaced.name)?,
                false => self.absorb_displaced(doc, &displaced)?,
            }
        }
        self.aios_wrote(doc, &content.hash, &content.git, &view)
    }

    /// Takes in what a write displaced, as a save of that document, then lets go of it.
    /// What is still being written stays there, for [`Vault::recover`].
    pub(crate) fn absorb_displaced(&mut self, doc: &DocId, displaced: &Displaced) -> Result<(), Error> {
        let read = match displaced.read(&self.writer, LARGE) {
            Ok(read) => read,
            Err(ReadError::Changing(_)) => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        let Some(aside) = self.absorb_aside(doc, &displaced.path, Saved::aside(read))? else { return Ok(()) };
        self.spent.push(displaced.name.clone());
        self.note_aside(doc, aside)
    }
}

fn same(placement: &Placement, hash: &ContentHash, found: &Found) -> bool {
    let exec = placement.mode == Mode::Executable;
    let link = placement.kind == Kind::Link;
    placement.content.hash == *hash
        && link == (found.kind == disk::Kind::Link)
        && (link || found.exec == exec)
}

fn problem(path: &str, what: &str) -> Problem {
    Problem {
        path: path.to_owned(),
        problem: what.to_owned(),
        hint: "the rest went on; run `aios sync` again when it is mended".into(),
    }
}
