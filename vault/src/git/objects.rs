//! Where objects are read from and written to: one by one, or in bulk into a pack.

use super::{Commit, Error, PackWriter, durable};
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use git2::{ObjectType, Odb, OdbLookupFlags, Oid, Repository};
use sha1::{Digest, Sha1};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// A store of git objects that can be written.
pub trait Objects {
    /// Reads an object that is in the repository or was written through this store.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is none.
    fn read(&mut self, oid: Oid) -> Result<(ObjectType, Vec<u8>), Error>;

    /// Writes an object unless the store has it and gives its id.
    ///
    /// # Errors
    /// When the disk fails.
    fn write(&mut self, kind: ObjectType, bytes: &[u8]) -> Result<Oid, Error>;

    /// Whether an object is there whole, so that it need not be written.
    fn has(&mut self, oid: Oid) -> bool;
}

/// Git's header of an object: type, space, size in bytes, NUL.
pub(super) fn header(kind: ObjectType, size: u64) -> Vec<u8> {
    format!("{} {size}\0", kind.str()).into_bytes()
}

/// A SHA-1 digest as an object id.
pub(super) fn oid(bytes: &[u8]) -> Result<Oid, Error> {
    Oid::from_bytes(bytes).map_err(Error::git("reading an object id"))
}

/// The id git gives an object of this type and content.
///
/// # Errors
/// None in practice: a SHA-1 digest is a valid id.
pub fn object_id(kind: ObjectType, bytes: &[u8]) -> Result<Oid, Error> {
    let mut hash = Sha1::new();
    hash.update(header(kind, bytes.len() as u64));
    hash.update(bytes);
    oid(&hash.finalize())
}

/// Reads an object of the repository, proven to be what its id says.
///
/// # Errors
/// [`Error::Missing`] when there is none, [`Error::BadObject`] when it is damaged.
pub fn read(repo: &Repository, oid: Oid) -> Result<(ObjectType, Vec<u8>), Error> {
    let odb = repo.odb().map_err(Error::git("opening the object database"))?;
    read_from(&odb, &repo.commondir().join("objects"), oid)
}

/// Reads a commit of the repository.
///
/// # Errors
/// As [`read`]; [`Error::Malformed`] when the object is no commit.
pub fn commit(repo: &Repository, oid: Oid) -> Result<Commit, Error> {
    match read(repo, oid)? {
        (ObjectType::Commit, raw) => Commit::parse(oid, &raw),
        (kind, _) => Err(Error::Malformed { kind, oid, why: "it is no commit" }),
    }
}

fn read_from(odb: &Odb<'_>, objects: &Path, oid: Oid) -> Result<(ObjectType, Vec<u8>), Error> {
    let found = match read_loose(&loose_path(objects, oid), oid)? {
        Some(found) => found,
        None => match odb.read(oid) {
            Ok(object) => (object.kind(), object.data().to_vec()),
            Err(e) if e.code() == git2::ErrorCode::NotFound => return Err(Error::Missing(oid)),
            Err(e) => return Err(Error::git(format!("reading object {oid}"))(e)),
        },
    };
    match object_id(found.0, &found.1)? == oid {
        true => Ok(found),
        false => Err(Error::BadObject { oid, why: "its bytes are not what its id says" }),
    }
}

/// Reads the file of a loose object. libgit2 (1.9) never returns from one whose compressed stream does not end where its
/// header says, as a power cut leaves it; so aios reads these files itself.
fn read_loose(path: &Path, oid: Oid) -> Result<Option<(ObjectType, Vec<u8>)>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", path)(e)),
    };
    let bad = |why| Error::BadObject { oid, why };
    let broken = |_| bad("its compressed stream is broken");
    let mut stream = BufReader::new(ZlibDecoder::new(file));
    let mut header = Vec::new();
    stream.by_ref().take(32).read_until(0, &mut header).map_err(broken)?;
    let parsed = (|| {
        let (kind, size) = std::str::from_utf8(header.strip_suffix(b"\0")?).ok()?.split_once(' ')?;
        Some((ObjectType::from_str(kind)?, size.parse::<usize>().ok()?))
    })();
    let (kind, size) = parsed.ok_or_else(|| bad("its header cannot be read"))?;
    let mut bytes = Vec::with_capacity(size.min(1 << 20));
    stream.take(size as u64 + 1).read_to_end(&mut bytes).map_err(broken)?;
    match bytes.len() == size {
        true => Ok(Some((kind, bytes))),
        false => Err(bad("its length is not what its header says")),
    }
}

fn known(odb: &Odb<'_>, oid: Oid) -> bool {
    odb.exists_ext(oid, OdbLookupFlags::NO_REFRESH)
}

/// Whether an object is here whole. A file of its own may be what a crash left: one that does not read is none, and one that another
/// process wrote is made durable together with what this one writes (I9).
fn whole(odb: &Odb<'_>, objects: &Path, oid: Oid) -> bool {
    if !known(odb, oid) {
        return false;
    }
    let path = loose_path(objects, oid);
    if durable::is_unsynced(&path) {
        return true;
    }
    match read_loose(&path, oid) {
        Ok(None) => true,
        Ok(Some((kind, bytes))) if object_id(kind, &bytes).is_ok_and(|found| found == oid) => {
            durable::doubt(path);
            true
        }
        _ => false,
    }
}

/// Writes each object as a file of its own: right for a handful of objects.
pub struct Loose<'r> {
    odb: Odb<'r>,
    folder: PathBuf,
    sync: bool,
}

impl<'r> Loose<'r> {
    /// A store on a repository. With `sync` every object is durable when its write returns.
    ///
    /// # Errors
    /// When the object database cannot be opened.
    pub fn new(repo: &'r Repository, sync: bool) -> Result<Self, Error> {
        let odb = repo.odb().map_err(Error::git("opening the object database"))?;
        Ok(Loose { odb, folder: repo.commondir().join("objects"), sync })
    }

    /// Whether the object has a file of its own.
    pub fn has_file(&self, oid: Oid) -> bool {
        loose_path(&self.folder, oid).exists()
    }

    /// Writes an object that a pack seems to have.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write_anyway(&self, oid: Oid, kind: ObjectType, bytes: &[u8]) -> Result<(), Error> {
        self.store(&loose_path(&self.folder, oid), kind, bytes)
    }

    fn store(&self, path: &Path, kind: ObjectType, bytes: &[u8]) -> Result<(), Error> {
        let (file, temporary) = durable::create_temporary(&self.folder, "tmp_obj_aios_")?;
        let written = (|| {
            let mut zlib = ZlibEncoder::new(file, Compression::fast());
            let file = zlib
                .write_all(&header(kind, bytes.len() as u64))
                .and_then(|()| zlib.write_all(bytes))
                .and_then(|()| zlib.finish())
                .map_err(Error::io("write", &temporary))?;
            durable::make_read_only(&file, &temporary)?;
            if self.sync {
                durable::sync_file(&file, &temporary)?;
            }
            if let Some(folder) = path.parent() {
                durable::create_folder(folder)?;
            }
            durable::rename(&temporary, path)
        })();
        if written.is_err() {
            // The first error is the one to tell.
            let _ = std::fs::remove_file(&temporary);
        }
        written?;
        match path.parent() {
            Some(folder) if self.sync => durable::sync_folder(folder),
            _ => Ok(()),
        }
    }
}

/// The place of a loose object.
pub(super) fn loose_path(objects: &Path, oid: Oid) -> PathBuf {
    let hex = oid.to_string();
    objects.join(&hex[..2]).join(&hex[2..])
}

impl Objects for Loose<'_> {
    fn read(&mut self, oid: Oid) -> Result<(ObjectType, Vec<u8>), Error> {
        read_from(&self.odb, &self.folder, oid)
    }

    fn write(&mut self, kind: ObjectType, bytes: &[u8]) -> Result<Oid, Error> {
        let oid = object_id(kind, bytes)?;
        if !self.has(oid) {
            self.store(&loose_path(&self.folder, oid), kind, bytes)?;
        }
        Ok(oid)
    }

    fn has(&mut self, oid: Oid) -> bool {
        whole(&self.odb, &self.folder, oid)
    }
}

/// How many bytes of trees and commits [`Bulk`] keeps at hand, so that a chain of commits need not read back what it just wrote.
const RECENT: usize = 16 << 20;

/// Writes objects into one pack: right for many. Nothing is visible to others before [`Bulk::finish`].
pub struct Bulk<'r> {
    odb: Odb<'r>,
    folder: PathBuf,
    pack: PackWriter,
    recent: HashMap<Oid, (ObjectType, Vec<u8>)>,
    recent_bytes: usize,
}

impl<'r> Bulk<'r> {
    /// A store on a repository with a fresh pack at zlib `level` (0 to 9).
    ///
    /// # Errors
    /// When the pack's temporary file cannot be made.
    pub fn new(repo: &'r Repository, level: u32) -> Result<Self, Error> {
        let odb = repo.odb().map_err(Error::git("opening the object database"))?;
        let folder = repo.commondir().join("objects");
        let pack = PackWriter::new(&folder, level)?;
        Ok(Bulk { odb, folder, pack, recent: HashMap::new(), recent_bytes: 0 })
    }

    /// Writes a blob of `size` bytes without holding it in memory. See [`PackWriter::add_stream`].
    ///
    /// # Errors
    /// As [`PackWriter::add_stream`].
    pub fn write_stream(&mut self, size: u64, from: &mut dyn std::io::Read) -> Result<Oid, Error> {
        self.pack.add_stream(ObjectType::Blob, size, from)
    }

    /// Puts the pack in place, durable when `sync`, and shows it to this repository handle. None when nothing was written.
    ///
    /// # Errors
    /// As [`PackWriter::finish`].
    pub fn finish(self, sync: bool) -> Result<Option<super::Pack>, Error> {
        let pack = self.pack.finish(sync)?;
        if pack.is_some() {
            self.odb.refresh().map_err(Error::git("refreshing the object database"))?;
        }
        Ok(pack)
    }
}

impl Objects for Bulk<'_> {
    fn read(&mut self, oid: Oid) -> Result<(ObjectType, Vec<u8>), Error> {
        if let Some(found) = self.recent.get(&oid) {
            return Ok(found.clone());
        }
        match self.pack.read(oid)? {
            Some(found) => Ok(found),
            None => read_from(&self.odb, &self.folder, oid),
        }
    }

    fn has(&mut self, oid: Oid) -> bool {
        self.pack.contains(oid) || whole(&self.odb, &self.folder, oid)
    }

    fn write(&mut self, kind: ObjectType, bytes: &[u8]) -> Result<Oid, Error> {
        let oid = object_id(kind, bytes)?;
        if self.has(oid) {
            return Ok(oid);
        }
        self.pack.add_as(oid, kind, bytes)?;
        if kind != ObjectType::Blob {
            if self.recent_bytes + bytes.len() > RECENT {
                self.recent.clear();
                self.recent_bytes = 0;
            }
            self.recent_bytes += bytes.len();
            self.recent.insert(oid, (kind, bytes.to_vec()));
        }
        Ok(oid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{fault, journal};

    #[test]
    fn an_object_that_a_crash_tore_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let repo = crate::git::open_or_init(dir.path()).unwrap();
        let body = b"some text, and more of it\n".repeat(20);
        let oid = Loose::new(&repo, false).unwrap().write(ObjectType::Blob, &body).unwrap();
        let path = loose_path(&repo.commondir().join("objects"), oid);
        crate::git::sync(&repo).unwrap();
        let half = std::fs::read(&path).unwrap().len() / 2;
        let torn = std::fs::read(&path).unwrap()[..half].to_vec();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, torn).unwrap();
        let repo = crate::git::open_or_init(dir.path()).unwrap();
        assert!(!Loose::new(&repo, false).unwrap().has(oid));
        assert_eq!(Loose::new(&repo, false).unwrap().write(ObjectType::Blob, &body).unwrap(), oid);
        assert_eq!(read(&repo, oid).unwrap(), (ObjectType::Blob, body));
        // What another process left is synced with what this one writes.
        crate::git::sync(&repo).unwrap();
        assert!(Loose::new(&repo, false).unwrap().has(oid) && durable::is_unsynced(&path));
    }

    #[test]
    fn an_object_outlives_a_power_cut_that_took_the_name_of_one_that_could_not_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let repo = crate::git::open_or_init(dir.path()).unwrap();
        let held = journal::hold(journal::Journal::default());
        let armed = fault::arm("git.mode=eio@1").unwrap();
        Loose::new(&repo, false).unwrap().write(ObjectType::Blob, b"one").unwrap_err();
        let oid = Loose::new(&repo, false).unwrap().write(ObjectType::Blob, b"two").unwrap();
        drop(armed);
        crate::git::sync(&repo).unwrap();
        held.release().lose(true);
        assert_eq!(read(&repo, oid).unwrap(), (ObjectType::Blob, b"two".to_vec()));
    }

    #[test]
    fn an_object_that_does_not_end_where_it_says_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let repo = crate::git::open_or_init(dir.path()).unwrap();
        let body = b"some text, and more of it\n".repeat(20);
        let oid = Loose::new(&repo, false).unwrap().write(ObjectType::Blob, &body).unwrap();
        assert_eq!(read(&repo, oid).unwrap(), (ObjectType::Blob, body.clone()));
        let path = loose_path(&repo.commondir().join("objects"), oid);
        let whole = std::fs::read(&path).unwrap();
        let pack = |bytes: &[u8]| {
            let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
            zlib.write_all(bytes).unwrap();
            zlib.finish().unwrap()
        };
        let said = |size: usize| [header(ObjectType::Blob, size as u64), body.clone()].concat();
        let mut bad: Vec<Vec<u8>> = (0..whole.len()).map(|end| whole[..end].to_vec()).collect();
        bad.extend((0..whole.len() * 8).map(|bit| {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        }));
        bad.push(pack(&said(body.len() + 1)));
        bad.push(pack(&said(body.len() - 1)));
        bad.push(pack(&said(1 << 40)));
        bad.push(pack(b"blob"));
        for bytes in bad {
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, &bytes).unwrap();
            match read(&repo, oid) {
                Err(Error::BadObject { .. }) => {}
                // The compression level in the header, or the padding after the last bit, changes nothing.
                Ok(found) => assert_eq!(found, (ObjectType::Blob, body.clone())),
                other => panic!("{other:?}"),
            }
        }
    }
}
