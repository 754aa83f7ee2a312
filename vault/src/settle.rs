//! Writing merged documents to the working files, by exchange, never over anything that is not in the log (I2).

use std::collections::{BTreeMap, BTreeSet};

use aios_core::id::{ContentHash, DocId};
use aios_core::item::{Content, Kind, Mode};
use aios_core::planted::{Bug, planted};

use crate::disk::{self, Displaced, Expect, Found, Moved, Put, ReadError, Removed, Source, read::LARGE};
use crate::error::Error;
use crate::file::FileRow;
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
    /// Documents that were seen to have a file where they lay before as well.
    doubled: Vec<DocId>,
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
        self.fetch_back()?;
        let dirty = self.dirty()?;
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
                    if rows.iter().any(|row| is_settled(&placement, row)) {
                        // Another file of it goes, unless what belongs there is to come.
                        match rows.len() {
                            1 => done.push(*doc),
                            _ => out.doubled.push(*doc),
                        }
                        continue;
                    }
                    if rows.is_empty() && self.leaves(&placement)? {
                        self.put_away(doc)?;
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
        self.leave_what_is_to_come(&mut targets, &mut leave, &mut out)?;
        let total = (targets.len() + leave.len()) as u64;
        self.clear_the_way(&targets, &mut leave, &mut out)?;
        self.move_files(&mut targets, &mut leave, &mut out)?;
        for path in leave.iter().filter(|path| !targets.contains_key(*path)) {
            self.remove_file(path, &mut out)?;
        }
        for path in targets.keys() {
            self.make_way(path)?;
        }
        let mut moved = BTreeMap::new();
        for (path, target) in std::mem::take(&mut targets) {
            let to = if self.stands_elsewhere(&target)?.is_some() { &mut moved } else { &mut targets };
            to.insert(path, target);
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
        self.put_moved(moved, &mut out)?;
        for doc in std::mem::take(&mut out.doubled) {
            if let [row] = &self.files_of(&doc)?[..]
                && self.placement(&doc)?.is_some_and(|placement| is_settled(&placement, row))
            {
                self.clean(&[doc])?;
            }
        }
        Ok(out)
    }

    /// The documents whose files may be otherwise than they are.
    fn dirty(&self) -> Result<Vec<DocId>, Error> {
        let mut get = self.db.prepare_cached("SELECT doc FROM dirty")?;
        let rows = get.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
        rows.map(|bytes| crate::db::id(bytes?, DocId::from_slice)).collect()
    }

    /// Leaves out what is as it should be: what was just saved here needs no writing, and no transaction of its own that says so.
    pub(crate) fn pass_over(&mut self) -> Result<(), Error> {
        for doc in self.dirty()? {
            if let [row] = &self.files_of(&doc)?[..]
                && self.placement(&doc)?.is_some_and(|placement| is_settled(&placement, row))
            {
                self.clean(&[doc])?;
            }
        }
        Ok(())
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

    /// What has no bytes here yet keeps nobody from moving away from its place, and stays where it is until they come.
    fn leave_what_is_to_come(
        &mut self,
        targets: &mut BTreeMap<String, Target>,
        leave: &mut BTreeSet<String>,
        out: &mut Settled,
    ) -> Result<(), Error> {
        for (path, target) in std::mem::take(targets) {
            let taken = self.file(&path)?.is_some_and(|row| row.doc != target.doc);
            match taken && self.bytes_of(&target)?.is_none() {
                true => {
                    out.problems.push(to_come(&path));
                    for row in self.files_of(&target.doc)? {
                        leave.remove(&row.path);
                    }
                }
                false => _ = targets.insert(path, target),
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

    /// Removes what goes for good and stands where a moved file needs a folder, or in a folder of its name. All else that goes is
    /// removed after the moves, so that no folder goes with its last file and is made again for the next.
    fn clear_the_way(
        &mut self,
        targets: &BTreeMap<String, Target>,
        leave: &mut BTreeSet<String>,
        out: &mut Settled,
    ) -> Result<(), Error> {
        let stay: BTreeSet<DocId> = targets.values().map(|target| target.doc).collect();
        let coming: BTreeSet<String> = targets.keys().cloned().collect();
        let blocking: Vec<String> = leave.iter().filter(|path| clashes(path, &coming)).cloned().collect();
        for path in blocking {
            if self.file(&path)?.is_some_and(|row| stay.contains(&row.doc)) {
                continue;
            }
            self.remove_file(&path, out)?;
            leave.remove(&path);
        }
        Ok(())
    }

    /// Renames where nothing is in the way: an editor that has the file open goes on with it. What waits for another to leave
    /// is tried again once something has moved; what then still waits, as two that change places, is removed and written.
    fn move_files(
        &mut self,
        targets: &mut BTreeMap<String, Target>,
        leave: &mut BTreeSet<String>,
        out: &mut Settled,
    ) -> Result<(), Error> {
        let mut waiting: Vec<String> = targets.keys().cloned().collect();
        loop {
            let tried = waiting.len();
            let mut still = Vec::new();
            for path in waiting {
                match clashes(&path, leave) {
                    true => still.push(path),
                    false => self.move_file(path, targets, leave, out)?,
                }
            }
            if still.is_empty() || still.len() == tried {
                return Ok(());
            }
            waiting = still;
        }
    }

    fn move_file(
        &mut self,
        path: String,
        targets: &mut BTreeMap<String, Target>,
        leave: &mut BTreeSet<String>,
        out: &mut Settled,
    ) -> Result<(), Error> {
        let Some(target) = targets.get(&path) else { return Ok(()) };
        let rows = self.files_of(&target.doc)?;
        let [row] = &rows[..] else { return Ok(()) };
        if row.path == path || targets.contains_key(&row.path) || self.file(&path)?.is_some() {
            return Ok(());
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
        let stood = self.file(path)?.map(|row| row.doc);
        let expect = self.expect(path)?;
        let Some(bytes) = self.bytes_of(target)? else {
            out.problems.push(to_come(path));
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
        self.landed(path, target, stood, put, out)
    }

    /// Where a document has a file that is not where it belongs.
    fn stands_elsewhere(&self, target: &Target) -> Result<Option<String>, Error> {
        let rows = self.files_of(&target.doc)?;
        Ok(rows.into_iter().map(|row| row.path).find(|path| *path != target.placement.path))
    }

    /// Writes documents that lie elsewhere, each once another has taken that place: one that stood in two files could be saved in
    /// both (I2). Of those that change places one goes before it is written anew; what cannot go stays where it is.
    fn put_moved(&mut self, mut moved: BTreeMap<String, Target>, out: &mut Settled) -> Result<(), Error> {
        while !moved.is_empty() {
            let waiting = moved.len();
            for (path, target) in std::mem::take(&mut moved) {
                match self.stands_elsewhere(&target)? {
                    None => self.put_file(&path, &target, out)?,
                    Some(_) => _ = moved.insert(path, target),
                }
            }
            if moved.len() < waiting {
                continue;
            }
            let Some((path, target)) = moved.pop_first() else { return Ok(()) };
            let Some(from) = self.stands_elsewhere(&target)?.filter(|from| moved.contains_key(from)) else {
                continue;
            };
            self.remove_file(&from, out)?;
            if self.stands_elsewhere(&target)?.is_none() {
                self.put_file(&path, &target, out)?;
            }
        }
        Ok(())
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
                out.problems.push(to_come(path));
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
                let stood = self.file(&path)?.map(|row| row.doc);
                self.landed(&path, target, stood, put.map_err(|e| e.to_string()), out)?;
            }
        }
        Ok(())
    }

    /// Notes what became of writing `target`, where a file of `stood` was.
    fn landed(
        &mut self,
        path: &str,
        target: &Target,
        stood: Option<DocId>,
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
                return self.note_in_doubt(path, target);
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
        match self.files_of(doc)?.len() {
            0 | 1 => self.clean(&[*doc])?,
            _ => out.doubled.push(*doc),
        }
        // What was displaced was saved before this was written: nobody had it in front of them.
        if let Some(displaced) = displaced {
            out.absorb = true;
            match planted(Bug::DisplacedDropped) {
                true => self.writer.discard(&displaced.name)?,
                // It is a save of what stood there (I5).
                false => self.absorb_displaced(&stood.unwrap_or(*doc), &displaced)?,
            }
        }
        self.aios_wrote(doc, &content.hash, &content.git, &view)
    }

    /// A failing disk may answer with an error once the new file stands in its place: whoever edits that edits what was written (I6).
    fn note_in_doubt(&mut self, path: &str, target: &Target) -> Result<(), Error> {
        let Target { doc, placement } = target;
        let content = placement.content;
        let Ok(read) = disk::read::read(self.writer.root(), path, 0) else { return Ok(()) };
        if *read.hash.as_bytes() != content.hash.0 || content.size == 0 {
            return Ok(());
        }
        self.set_file(doc, &read.found, &content.hash, &content.git)?;
        let view = self.shown.clone();
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

/// Whether `path` cannot be there together with one of `others`: it lies below it or above.
fn clashes(path: &str, others: &BTreeSet<String>) -> bool {
    let folder = format!("{path}/");
    aios_core::path::ancestors(path).any(|above| others.contains(above))
        || others.range(folder.clone()..).next().is_some_and(|next| next.starts_with(&folder))
}

/// Whether a file stands for its document as it is, where it belongs.
fn is_settled(placement: &Placement, row: &FileRow) -> bool {
    row.path == placement.path && same(placement, &row.hash, &row.found)
}

fn same(placement: &Placement, hash: &ContentHash, found: &Found) -> bool {
    let exec = placement.mode == Mode::Executable;
    let link = placement.kind == Kind::Link;
    placement.content.hash == *hash
        && link == (found.kind == disk::Kind::Link)
        && (link || found.exec == exec)
}

fn to_come(path: &str) -> Problem {
    problem(path, "its bytes are not on this device yet")
}

fn problem(path: &str, what: &str) -> Problem {
    Problem {
        path: path.to_owned(),
        problem: what.to_owned(),
        hint: "the rest went on; run `aios sync` again when it is mended".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use crate::absorb::{AbsorbOptions, Absorbed};
    use crate::world::{World, quiet};

    fn text(name: &str) -> String {
        format!("what is in {name}\nand some more of it\n")
    }

    /// Two replicas with these files, each of a content of its own.
    fn world(files: &[&str]) -> World {
        let mut world = World::new(2);
        for name in files {
            let path = world.root(0).join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text(name)).unwrap();
        }
        world.sync();
        world
    }

    /// What was done on one device is written on the other, which did nothing, at once and with nothing in the way.
    fn follows(world: &mut World, moves: &[(&str, &str)]) {
        let options = AbsorbOptions { deletions: true, ..AbsorbOptions::default() };
        let round = world.replicas[0].commit(&options, &mut quiet()).unwrap();
        assert!(round.problems().next().is_none(), "{moves:?}: {round:?}");
        while world.deliver(0, 1, 1 << 20) > 0 {}
        let round = world.replicas[1].finish(Absorbed::default(), &mut quiet()).unwrap();
        assert!(round.problems().next().is_none(), "{moves:?}: {:#?}", round.settled);
        world.assert_equal();
    }

    /// Moves in order, each with the folder it needs; a file that `to` names nothing for is removed.
    fn change(root: &Path, moves: &[(&str, &str)]) {
        for (from, to) in moves {
            match *to {
                "" => std::fs::remove_file(root.join(from)).unwrap(),
                to => {
                    std::fs::create_dir_all(root.join(to).parent().unwrap()).unwrap();
                    std::fs::rename(root.join(from), root.join(to)).unwrap();
                }
            }
            let above = root.join(from);
            let _ = std::fs::remove_dir(above.parent().unwrap());
        }
    }

    fn inodes(world: &World, names: &[&str]) -> BTreeMap<String, u64> {
        let inode = |name: &&str| world.root(1).join(name).metadata().unwrap().ino();
        names.iter().map(|name| ((*name).to_owned(), inode(name))).collect()
    }

    #[test]
    fn a_file_gives_way_to_a_folder_and_a_folder_to_a_file() {
        type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);
        let cases: &[Case<'_>] = &[
            // A file becomes a folder that another moves into.
            (&["a/f.md", "b/g.md"], &[("a/f.md", ""), ("b/g.md", "a/f.md/in.md")]),
            (&["f", "g", "h"], &[("f", ""), ("g", "f/deep/in"), ("h", "f/also")]),
            // A folder becomes a file that comes from elsewhere, or from in it.
            (&["a/x.md", "a/y.md", "b.md"], &[("a/x.md", ""), ("a/y.md", ""), ("b.md", "a")]),
            (&["a/b/x.md", "a/y.md", "c.md"], &[("a/b/x.md", ""), ("a/y.md", "y.md"), ("c.md", "a")]),
            (&["a/x.md", "b.md"], &[("a/x.md", "t"), ("t", "a")]),
            (&["a.md", "b.md"], &[("a.md", "t"), ("t", "a.md/a.md")]),
            // Chains: what is in the way of one has something in its own way.
            (&["p", "q", "r"], &[("p", "s"), ("q", "p/in"), ("r", "q/in")]),
            (&["p", "q", "r"], &[("p", ""), ("q", "p/in"), ("r", "q/in")]),
            (&["a/x", "b/y", "c"], &[("a/x", "z"), ("b/y", "a"), ("c", "b")]),
            (&["a/x", "b"], &[("a/x", "m/x"), ("b", "a")]),
            // A file and a folder change places.
            (&["a", "b/x"], &[("a", "t"), ("b/x", "a/x"), ("t", "b")]),
            (&["a", "b/x", "b/y"], &[("a", "t"), ("b/x", "a/x"), ("b/y", "a/y"), ("t", "b")]),
        ];
        for (files, moves) in cases {
            let mut world = world(files);
            change(&world.root(0), moves);
            follows(&mut world, moves);
        }
    }

    #[test]
    fn what_waits_for_another_to_leave_is_still_moved_and_not_written_anew() {
        let mut world = world(&["p", "q", "a/x", "b"]);
        let before = inodes(&world, &["p", "q", "a/x", "b"]);
        let moves = [("p", "s"), ("q", "p/in"), ("a/x", "z"), ("b", "a")];
        change(&world.root(0), &moves);
        follows(&mut world, &moves);
        let after = inodes(&world, &["s", "p/in", "z", "a"]);
        assert!(moves.iter().all(|(from, to)| before[*from] == after[*to]), "{before:?} {after:?}");
    }
}
