//! What travels apart from the records that name it: the bytes of blobs, and git history from before aios.
//!
//! Only what the asker can name by its hash, or what a record has as history, is given; and only what has the hash or the
//! objects that the record names is taken.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use aios_core::id::{ContentHash, DeviceId, GitId};
use aios_core::item::Content;
use git2::{ObjectType, Oid};
use rusqlite::{OptionalExtension, params};

use crate::away::Apart;
use crate::disk::durable;
use crate::error::Error;
use crate::git::{self, Objects};
use crate::project::{git_id, oid};
use crate::survey::Problem;
use crate::vault::{Vault, git_error};

/// A blob up to this size is read whole to be given; a larger one from a file.
const IN_MEMORY: u64 = 32 << 20;
/// Of what is missing, so many are named.
const MOST_NAMED: usize = 5;

/// Bytes that records name and that travel apart from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// The bytes of a blob.
    Blob(Content),
    /// All git objects that this commit reaches.
    History(GitId),
}

impl Named {
    /// The git object that must be here.
    pub fn git(&self) -> GitId {
        match self {
            Named::Blob(content) => content.git,
            Named::History(tip) => *tip,
        }
    }
}

/// Bytes to be given to a peer, readable at any offset.
#[derive(Debug)]
pub enum Given {
    /// In memory.
    Bytes(Vec<u8>),
    /// In an open file of this many bytes.
    File(File, u64),
}

impl Given {
    /// How many bytes there are.
    pub fn size(&self) -> u64 {
        match self {
            Given::Bytes(bytes) => bytes.len() as u64,
            Given::File(_, size) => *size,
        }
    }

    /// Up to `most` bytes from `offset` on; none at the end.
    ///
    /// # Errors
    /// What the system answers.
    pub fn read(&self, offset: u64, most: usize) -> std::io::Result<Vec<u8>> {
        let left = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(most).min(most);
        match self {
            Given::Bytes(bytes) => {
                let from = bytes.len().min(usize::try_from(offset).unwrap_or(bytes.len()));
                Ok(bytes[from..from + left].to_vec())
            }
            Given::File(file, _) => {
                let mut out = vec![0; left];
                file.read_exact_at(&mut out, offset)?;
                Ok(out)
            }
        }
    }
}

impl Vault {
    /// What records name and is not here.
    pub fn apart_wanted(&self) -> Result<Vec<Named>, Error> {
        let missing = self.missing_apart()?;
        missing
            .into_iter()
            .map(|(oid, blob)| match blob {
                None => Ok(Named::History(git_id(&oid))),
                Some((hash, size)) => {
                    let hash = crate::db::id(hash, ContentHash::from_slice)?;
                    Ok(Named::Blob(self.outside(Content { hash, size, git: git_id(&oid) })?))
                }
            })
            .collect()
    }

    /// What waits for bytes that nobody met so far has: git cannot show a tree without them.
    ///
    /// # Errors
    /// What the database and git answer.
    pub fn not_come(&self) -> Result<Vec<Problem>, Error> {
        let wanted = self.apart_wanted()?;
        let mut out = Vec::new();
        for named in wanted.iter().take(MOST_NAMED) {
            let git = match named {
                Named::Blob(content) => self.inside(content)?.first().unwrap_or(content).git,
                Named::History(tip) => *tip,
            };
            let mut get = self.db.prepare_cached(
                "SELECT r.device FROM apart a JOIN record r ON r.n = a.n WHERE a.git = ? ORDER BY r.n LIMIT 1",
            )?;
            let device: Option<Vec<u8>> = get.query_row([git.as_bytes()], |row| row.get(0)).optional()?;
            let device = device.map(|device| crate::db::id(device, DeviceId::from_slice)).transpose()?;
            let by = device.map_or_else(|| "another device".into(), |device| self.members().name(&device));
            let own = device == Some(self.device());
            let mut get =
                self.db.prepare_cached("SELECT path FROM doc WHERE git = ? ORDER BY path LIMIT 1")?;
            let path: Option<String> = get.query_row([git.as_bytes()], |row| row.get(0)).optional()?;
            let (what, or) = match (named, &path) {
                (Named::History(_), _) => ("commits that were made with git", String::new()),
                (Named::Blob(_), Some(_)) => ("its bytes", ", or save the same file under any name".into()),
                (Named::Blob(content), None) => {
                    let size = content.size;
                    (
                        "the bytes of an earlier version",
                        format!(", or save the same file, of {size} bytes, under any name"),
                    )
                }
            };
            // What this device saved itself was here.
            let (why, ask) = match own {
                true => (
                    "are lost here, and no device met since has them".into(),
                    "run `aios sync` while a device that has them is reachable".into(),
                ),
                false => (
                    format!("have not come: {by} saved them, and no device met since has them"),
                    format!("let {by} sync"),
                ),
            };
            out.push(Problem {
                path: path.unwrap_or_default(),
                problem: format!("{what} {why}; git's `main` waits for them"),
                hint: format!("{ask}{or}"),
            });
        }
        if let Some(more @ 1..) = wanted.len().checked_sub(MOST_NAMED) {
            out.push(Problem {
                path: String::new(),
                problem: format!("the bytes of {more} more have not come"),
                hint: "run `aios sync` while a device that has them is reachable".into(),
            });
        }
        Ok(out)
    }

    /// All that records name and that is here.
    ///
    /// # Errors
    /// What the database answers.
    pub fn apart_held(&self) -> Result<Vec<Named>, Error> {
        let mut get = self.db.prepare_cached("SELECT git, kind, hash, size FROM apart ORDER BY git")?;
        let mut rows = get.query([])?;
        let (mut out, mut seen) = (Vec::new(), HashSet::new());
        while let Some(row) = rows.next()? {
            let git = crate::db::id(row.get(0)?, GitId::from_slice)?;
            let all = match row.get::<_, i64>(1)? {
                0 => {
                    let hash = crate::db::id(row.get(2)?, ContentHash::from_slice)?;
                    let plain = Content { hash, size: row.get::<_, i64>(3)? as u64, git };
                    self.all_outside(plain)?.into_iter().map(Named::Blob).collect()
                }
                // Histories of a sealed vault go from reader to reader alone.
                _ if self.is_sealed_vault()? => Vec::new(),
                _ => vec![Named::History(git)],
            };
            for named in all {
                let given = match &named {
                    Named::Blob(content) => self.may_give(content)?,
                    Named::History(_) => true,
                };
                if given && seen.insert(named.git()) && self.apart_here(&named)? {
                    out.push(named);
                }
            }
        }
        Ok(out)
    }

    /// Takes up histories and encrypted blobs whose objects have come by another way, such as a fetch; gives the tips of the
    /// histories.
    ///
    /// # Errors
    /// What git answers.
    pub fn adopt_fetched(&mut self) -> Result<Vec<GitId>, Error> {
        let mut out = Vec::new();
        for named in self.apart_wanted()? {
            let named = match named {
                Named::History(tip) => tip,
                Named::Blob(content) => {
                    // One that lies is missing, and nothing else is.
                    if let Ok((ObjectType::Blob, sealed)) = git::read(&self.repo, oid(&content.git)?)
                        && let Err(error) = self.unveil(&content, &sealed)
                    {
                        tracing::warn!(blob = %content.git, %error, "not opened");
                    }
                    continue;
                }
            };
            let tip = oid(&named)?;
            if self.unreachable(tip)?.is_none() {
                self.keep_history(tip)?;
                out.push(named);
            }
        }
        Ok(out)
    }

    /// Whether it is wholly here.
    pub fn apart_here(&self, named: &Named) -> Result<bool, Error> {
        let id = oid(&named.git())?;
        let odb = self.repo.odb().map_err(git_error)?;
        let inside = match named {
            Named::Blob(content) => self.inside(content)?,
            Named::History(_) => Vec::new(),
        };
        let here = match inside.is_empty() {
            true => odb.exists(id),
            false => {
                let here = |plain: &Content| Ok::<_, Error>(odb.exists(oid(&plain.git)?));
                inside.iter().try_fold(true, |all, plain| Ok::<_, Error>(all && here(plain)?))?
            }
        };
        Ok(match named {
            Named::Blob(_) => here,
            Named::History(_) => here && self.keeps_history(id)?,
        })
    }

    /// The bytes to send for it; `None` when it is not wholly here. For history this makes a pack.
    pub fn give(&mut self, named: &Named) -> Result<Option<Given>, Error> {
        match named {
            Named::Blob(content) => self.give_blob(content),
            Named::History(_) if !self.apart_here(named)? => Ok(None),
            Named::History(tip) => self.pack_history(tip),
        }
    }

    fn give_blob(&mut self, content: &Content) -> Result<Option<Given>, Error> {
        // In a sealed vault only the encrypted form is given; who asks for the other gets none.
        if !self.may_give(content)? {
            return Ok(None);
        }
        self.ensure_sealed(&content.git)?;
        if content.size > IN_MEMORY
            && let Some(file) = self.working_copy(content)?
        {
            return Ok(Some(Given::File(file, content.size)));
        }
        let Ok((kind, bytes)) = git::read(&self.repo, oid(&content.git)?) else { return Ok(None) };
        // The repository may hold more than the vault: who asks must know the hash of what it asks for.
        if kind != ObjectType::Blob
            || ContentHash::of(&bytes) != content.hash
            || bytes.len() as u64 != content.size
        {
            return Ok(None);
        }
        if content.size <= IN_MEMORY {
            return Ok(Some(Given::Bytes(bytes)));
        }
        let (mut file, path) = self.spool()?;
        file.write_all(&bytes).map_err(|e| Error::io("write", &path, e))?;
        Ok(Some(Given::File(file, content.size)))
    }

    /// A working file that holds these very bytes: reading a large blob from git takes its size in memory.
    fn working_copy(&self, content: &Content) -> Result<Option<File>, Error> {
        let mut get = self.db.prepare_cached("SELECT path FROM file WHERE git = ? AND link = 0")?;
        let paths = get.query_map([content.git.as_bytes()], |row| row.get::<_, String>(0))?;
        for path in paths {
            let path = self.root().join(path?);
            let Ok(file) = File::open(&path) else { continue };
            let mut hasher = blake3::Hasher::new();
            if hasher.update_reader(&file).is_ok() && hasher.finalize() == content.hash.0 {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    /// A file that is gone once it is closed, however this process ends.
    fn spool(&self) -> Result<(File, PathBuf), Error> {
        let folder = self.layout.partial();
        std::fs::create_dir_all(&folder).map_err(|e| Error::io("make", &folder, e))?;
        let noise = data_encoding::HEXLOWER.encode(&crate::chance::random()?[..8]);
        let path = folder.join(format!("give-{noise}"));
        let wrap = |e| Error::io("write", &path, e);
        let file = File::options().read(true).write(true).create_new(true).open(&path).map_err(wrap)?;
        std::fs::remove_file(&path).map_err(wrap)?;
        Ok((file, path))
    }

    /// `None` where some of it is to be written yet.
    fn pack_history(&self, tip: &GitId) -> Result<Option<Given>, Error> {
        let packing = || git::Error::git(format!("packing the history of {tip}"));
        let mut walk = self.repo.revwalk().map_err(packing())?;
        walk.push(oid(tip)?).map_err(packing())?;
        let mut builder = self.repo.packbuilder().map_err(packing())?;
        builder.set_threads(0);
        let mut left = self.forgotten_blobs()?;
        // Whoever asks has records that name these, too, and gets them by themselves or does without.
        left.extend(blobs(self.absent_apart()?));
        match left.is_empty() {
            true => builder.insert_walk(&mut walk).map_err(packing())?,
            false => {
                let odb = self.repo.odb().map_err(git_error)?;
                let (mut seen, mut whole) = (HashSet::new(), true);
                for commit in walk {
                    let commit = commit.map_err(packing())?;
                    builder.insert_object(commit, None).map_err(packing())?;
                    self.walk_tree(git::commit(&self.repo, commit)?.tree, &mut seen, &mut |id, is_tree| {
                        if !is_tree && left.contains(&id) {
                            return Ok(());
                        }
                        whole &= odb.exists(id);
                        if whole {
                            builder.insert_object(id, None).map_err(packing())?
                        }
                        Ok(())
                    })?;
                }
                if !whole {
                    return Ok(None);
                }
            }
        }
        let (mut file, path) = self.spool()?;
        let mut failed = None;
        let done = builder.foreach(|bytes| match file.write_all(bytes) {
            Ok(()) => true,
            Err(e) => {
                failed = Some(e);
                false
            }
        });
        if let Some(e) = failed {
            return Err(Error::io("write", &path, e));
        }
        done.map_err(packing())?;
        let size = file.metadata().map_err(|e| Error::io("write", &path, e))?.len();
        Ok(Some(Given::File(file, size)))
    }

    /// Takes what was received for it into git, from the file `from`, durably.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it is not what the records name.
    pub fn take_apart(&mut self, named: &Named, from: &Path) -> Result<(), Error> {
        if !from.exists() {
            // A collection has dropped it while it came, as nothing that this device wants any more; what it wants is asked for again.
            return Ok(());
        }
        match named {
            Named::Blob(content) => self.take_blob(content, from),
            Named::History(tip) => self.take_history(tip, from),
        }
    }

    fn take_blob(&mut self, content: &Content, from: &Path) -> Result<(), Error> {
        let wrap = |e| Error::io("read", from, e);
        let corrupt = |why: &str| Err(Error::Corrupt { git: content.git, why: why.to_owned() });
        let mut file = File::open(from).map_err(wrap)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&file).map_err(wrap)?;
        if hasher.count() != content.size || hasher.finalize() != content.hash.0 {
            return corrupt("their hash is another");
        }
        std::io::Seek::rewind(&mut file).map_err(wrap)?;
        if !self.inside(content)?.is_empty() {
            let mut sealed = Vec::with_capacity(content.size as usize);
            std::io::Read::read_to_end(&mut file, &mut sealed).map_err(wrap)?;
            self.unveil(content, &sealed)?;
            std::io::Seek::rewind(&mut file).map_err(wrap)?;
        }
        let stored = self.store_blob(content.size, &mut file)?;
        // The record's author chose both ids: a lie shows here, and would never be reported by those with the bytes.
        match git_id(&stored) == content.git {
            true => Ok(()),
            false => corrupt("the record names another git object for them"),
        }
    }

    /// Puts the blob that travels as `sealed` into git, durably.
    fn unveil(&mut self, content: &Content, sealed: &[u8]) -> Result<(), Error> {
        let corrupt = |why: &str| Err(Error::Corrupt { git: content.git, why: why.to_owned() });
        let Some((plain, bytes)) = self.unveiled(content, sealed)? else {
            return corrupt("this device has no key for them");
        };
        if ContentHash::of(&bytes) != plain.hash || GitId::blob(&bytes) != plain.git {
            return corrupt("what they hold is not what the record names");
        }
        self.store_blob(plain.size, &mut bytes.as_slice()).map(drop)
    }

    fn take_history(&mut self, tip: &GitId, from: &Path) -> Result<(), Error> {
        let corrupt = |why: String| Error::Corrupt { git: *tip, why };
        let folder = self.repo.commondir().join("objects/pack");
        std::fs::create_dir_all(&folder).map_err(|e| Error::io("make", &folder, e))?;
        {
            let odb = self.repo.odb().map_err(git_error)?;
            let refuse = |e: git2::Error| corrupt(e.message().to_owned());
            let mut indexer = git2::Indexer::new(Some(&odb), &folder, 0o444, false).map_err(refuse)?;
            let mut file = File::open(from).map_err(|e| Error::io("read", from, e))?;
            std::io::copy(&mut file, &mut indexer).map_err(|e| corrupt(e.to_string()))?;
            indexer.commit().map_err(refuse)?;
            odb.refresh().map_err(git_error)?;
        }
        let tip = oid(tip)?;
        if let Some(missing) = self.unreachable(tip)? {
            if self.is_unexplained(&git_id(&missing))? {
                tracing::warn!(%tip, %missing, "a history without a version that was forgotten came before the word that says so");
                return Ok(());
            }
            if blobs(self.missing_apart()?).any(|id| id == missing) {
                tracing::debug!(%tip, %missing, "a history came before bytes that travel by themselves");
                return Ok(());
            }
            return Err(corrupt(format!("object {missing} is missing")));
        }
        durable::sync_filesystem(&folder, [])?;
        self.keep_history(tip)?;
        // Whoever gave it had not heard that some of it is forgotten.
        let forgotten = self.forgotten_blobs()?;
        let came = {
            let odb = self.repo.odb().map_err(git_error)?;
            forgotten.into_iter().any(|id| odb.exists(id))
        };
        if came { self.drop_again() } else { Ok(()) }
    }

    /// An object that `tip` reaches and that is not here, although it is neither forgotten nor left away on purpose, and no record has.
    fn unreachable(&mut self, tip: Oid) -> Result<Option<Oid>, Error> {
        let wanted: HashSet<Oid> = blobs(self.missing_apart()?).collect();
        let mut left = self.forgotten_blobs()?;
        left.extend(blobs(self.absent_apart()?).filter(|id| !wanted.contains(id)));
        let odb = self.repo.odb().map_err(git_error)?;
        let mut seen: HashSet<Oid> = HashSet::from([tip]);
        let (mut waiting, mut lacking) = (vec![(tip, ObjectType::Commit)], Vec::new());
        while let Some((id, kind)) = waiting.pop() {
            let mut reach = |id: Oid, kind: ObjectType| {
                if seen.insert(id) {
                    waiting.push((id, kind));
                }
            };
            match kind {
                ObjectType::Commit => {
                    let Ok(commit) = git::commit(&self.repo, id) else { return Ok(Some(id)) };
                    reach(commit.tree, ObjectType::Tree);
                    commit.parents.into_iter().for_each(|parent| reach(parent, ObjectType::Commit));
                }
                ObjectType::Tree => {
                    let Ok(tree) = self.repo.find_tree(id) else { return Ok(Some(id)) };
                    for entry in tree.iter() {
                        // A submodule's commit lies in another repository.
                        if let Some(kind @ (ObjectType::Tree | ObjectType::Blob)) = entry.kind() {
                            reach(entry.id(), kind);
                        }
                    }
                }
                _ if !left.contains(&id) && !odb.exists(id) => lacking.push(id),
                _ => {}
            }
        }
        drop(odb);
        for id in lacking {
            // Whoever gave it has had a file with these bytes forgotten, and does not know of the other that has them here.
            if !self.write_again(&git_id(&id))? {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Writes a blob to git whose text some record has.
    fn write_again(&mut self, git: &GitId) -> Result<bool, Error> {
        let Some(bytes) = self.text_of_blob(git)? else { return Ok(false) };
        let written = git::Loose::new(&self.repo, true)?.write(ObjectType::Blob, &bytes)?;
        Ok(git_id(&written) == *git)
    }

    /// How many documents there are, for people.
    pub fn document_count(&self) -> Result<u64, Error> {
        Ok(self.db.query_row("SELECT count(*) FROM doc", params![], |row| row.get::<_, i64>(0))? as u64)
    }
}

/// The blobs among what travels apart.
fn blobs(apart: Vec<Apart>) -> impl Iterator<Item = Oid> {
    apart.into_iter().filter(|(_, blob)| blob.is_some()).map(|(id, _)| id)
}

#[cfg(test)]
mod tests {
    use crate::world::World;

    #[test]
    fn bytes_that_only_another_device_has_are_said_to_be_missing() {
        let mut world = World::new(2);
        world.sync();
        let picture = [0, 159, 146, 150];
        std::fs::write(world.root(0).join("logo.png"), picture).unwrap();
        std::fs::write(world.root(0).join("a.md"), "text\n").unwrap();
        world.commit(0);
        let status = |world: &mut World| world.replicas[1].status(&mut crate::world::quiet()).unwrap();
        assert!(status(&mut world).problems.is_empty());
        while world.deliver(0, 1, 1 << 20) > 0 {}
        world.commit(1);
        let said = status(&mut world).problems;
        assert_eq!((said.len(), said[0].path.as_str()), (1, "logo.png"), "{said:?}");
        // No ref names a tree that is not whole: `git fsck` and `git gc` would stumble.
        let repo = git2::Repository::open(world.root(1)).unwrap();
        for name in repo.references().unwrap().names() {
            let name = name.unwrap();
            let at = repo.find_reference(name).unwrap().peel_to_commit().unwrap();
            let logo = at.tree().unwrap().get_name("logo.png").map(|entry| entry.id());
            assert!(logo.is_none_or(|logo| repo.odb().unwrap().exists(logo)), "{name}");
        }
        // The same bytes from anywhere.
        std::fs::write(world.root(1).join("from the stick.png"), picture).unwrap();
        world.commit(1);
        assert!(status(&mut world).problems.is_empty());
        assert_eq!(std::fs::read(world.root(1).join("logo.png")).unwrap(), picture);
    }
}
