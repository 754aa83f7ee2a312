//! Packs: many objects in one file, written as fast as they compress. Format: `gitformat-pack(5)`, versions 2 and 2.

use super::objects::{header, oid};
use super::{Error, durable, object_id};
use flate2::{Compress, Compression, FlushCompress, Status};
use git2::{ObjectType, Oid};
use sha1::{Digest, Sha1};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// What the name of an unfinished pack starts with; git's own housekeeping removes such files too.
pub(super) const TEMPORARY: &str = "tmp_pack_aios_";

/// How many bytes of objects go to the compressing thread at once.
const BATCH: usize = 256 << 10;

/// How many batches may wait for the compressing thread.
const WAITING: usize = 8;

/// A finished pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pack {
    /// `pack-HEX.pack`; its index lies beside it as `.idx`.
    pub path: PathBuf,
    /// How many objects it holds.
    pub objects: usize,
    /// The size of the pack in bytes.
    pub bytes: u64,
}

/// Where an object lies in a pack, and the CRC-32 of its entry.
type Places = HashMap<Oid, (u64, u32)>;

/// Objects on their way to the compressing thread.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    items: Vec<(Oid, ObjectType, usize)>,
}

enum Job {
    Batch(Batch),
    /// Begins an object of this type and size whose id is not known yet.
    Begin(ObjectType, u64),
    Chunk(Vec<u8>),
    /// Ends the object: keeps it under this id, or drops it.
    End(Option<Oid>),
    /// Makes everything so far readable from the file.
    Flush(SyncSender<()>),
}

/// Writes a pack without deltas. Compression runs on a thread of its own. Dropped unfinished it leaves nothing behind.
pub struct PackWriter {
    folder: PathBuf,
    temporary: PathBuf,
    known: HashSet<Oid>,
    batch: Batch,
    places: Arc<Mutex<Places>>,
    jobs: Option<SyncSender<Job>>,
    worker: Option<JoinHandle<Result<Spool, std::io::Error>>>,
    renamed: bool,
}

impl PackWriter {
    /// Begins a pack in `objects/pack` at zlib `level` 0 to 9, `objects` being git's `objects` folder.
    ///
    /// # Errors
    /// [`Error::Io`] when the temporary file cannot be made or no thread started.
    pub fn new(objects: &Path, level: u32) -> Result<Self, Error> {
        let folder = objects.join("pack");
        durable::create_folder(&folder)?;
        let (file, temporary) = durable::create_temporary(&folder, TEMPORARY)?;
        let places = Arc::new(Mutex::new(Places::new()));
        let spool = Spool {
            file: BufWriter::with_capacity(1 << 18, file),
            at: 0,
            crc: crc32fast::Hasher::new(),
            level: Compression::new(level.min(9)),
            zlib: Compress::new(Compression::new(level.min(9)), true),
            out: Vec::with_capacity(1 << 16),
            places: Arc::clone(&places),
        };
        let (jobs, inbox) = sync_channel(WAITING);
        let mut writer = PackWriter {
            folder,
            temporary,
            known: HashSet::new(),
            batch: Batch::default(),
            places,
            jobs: Some(jobs),
            worker: None,
            renamed: false,
        };
        let worker = std::thread::Builder::new().name("pack".into()).spawn(move || spool.run(&inbox));
        writer.worker = Some(worker.map_err(Error::io("start a thread to write", &writer.temporary))?);
        Ok(writer)
    }

    /// Whether this pack holds the object.
    pub fn contains(&self, oid: Oid) -> bool {
        self.known.contains(&oid)
    }

    /// Adds an object unless the pack has it.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk fails, maybe for an object added earlier.
    pub fn add(&mut self, kind: ObjectType, bytes: &[u8]) -> Result<Oid, Error> {
        let oid = object_id(kind, bytes)?;
        self.add_as(oid, kind, bytes)?;
        Ok(oid)
    }

    /// As [`PackWriter::add`], for a caller that has the id already.
    pub(super) fn add_as(&mut self, oid: Oid, kind: ObjectType, bytes: &[u8]) -> Result<(), Error> {
        if self.known.insert(oid) {
            self.batch.bytes.extend_from_slice(bytes);
            self.batch.items.push((oid, kind, bytes.len()));
            if self.batch.bytes.len() >= BATCH {
                self.send_batch()?;
            }
        }
        Ok(())
    }

    /// Adds an object of exactly `size` bytes, holding a few hundred KB of it at a time.
    ///
    /// # Errors
    /// [`Error::Length`] when the reader gives another number of bytes, [`Error::Io`] when it or the disk fails; the pack
    /// stays usable without the object.
    pub fn add_stream(&mut self, kind: ObjectType, size: u64, from: &mut dyn Read) -> Result<Oid, Error> {
        self.send_batch()?;
        self.send(Job::Begin(kind, size))?;
        let hashed = self.stream(kind, size, from);
        let kept = match &hashed {
            Ok(oid) if self.known.insert(*oid) => Some(*oid),
            _ => None,
        };
        self.send(Job::End(kept))?;
        hashed
    }

    fn stream(&mut self, kind: ObjectType, size: u64, from: &mut dyn Read) -> Result<Oid, Error> {
        let mut hash = Sha1::new();
        hash.update(header(kind, size));
        // One byte more than announced tells a reader that goes on.
        let mut from = from.take(size.saturating_add(1));
        let mut found = 0_u64;
        loop {
            let mut chunk = Vec::with_capacity(BATCH);
            let read = (&mut from)
                .take(BATCH as u64)
                .read_to_end(&mut chunk)
                .map_err(Error::io("read the object for", &self.temporary))?;
            found += read as u64;
            if found > size || (read == 0 && found < size) {
                return Err(Error::Length { expected: size, found });
            }
            if read == 0 {
                return oid(&hash.finalize());
            }
            hash.update(&chunk);
            self.send(Job::Chunk(chunk))?;
        }
    }

    /// Reads an object that was added to this unfinished pack.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk fails.
    pub fn read(&mut self, oid: Oid) -> Result<Option<(ObjectType, Vec<u8>)>, Error> {
        if !self.known.contains(&oid) {
            return Ok(None);
        }
        self.send_batch()?;
        let (done, wait) = sync_channel(1);
        self.send(Job::Flush(done))?;
        if wait.recv().is_err() {
            return Err(self.failure());
        }
        let place = self.places.lock().unwrap_or_else(PoisonError::into_inner).get(&oid).copied();
        let Some((offset, _)) = place else { return Ok(None) };
        read_entry(&self.temporary, offset).map(Some).map_err(Error::io("read back", &self.temporary))
    }

    fn send_batch(&mut self) -> Result<(), Error> {
        if self.batch.items.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        self.send(Job::Batch(batch))
    }

    fn send(&mut self, job: Job) -> Result<(), Error> {
        match &self.jobs {
            Some(jobs) if jobs.send(job).is_ok() => Ok(()),
            _ => Err(self.failure()),
        }
    }

    /// Ends the compressing thread and gives back the file.
    fn join(&mut self) -> Result<Spool, std::io::Error> {
        self.jobs = None;
        match self.worker.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(std::io::Error::other("the compressing thread panicked")),
            None => Err(std::io::Error::other("an earlier write to it failed")),
        }
    }

    fn failure(&mut self) -> Error {
        let source = match self.join() {
            Ok(_) => std::io::Error::other("the compressing thread ended early"),
            Err(e) => e,
        };
        Error::Io { what: "write", path: self.temporary.clone(), source }
    }

    /// Completes the pack and its index and gives them their names, the index last, so that git sees both or none. With
    /// `sync` both are durable before. None, and no file, when nothing was added. A repository handle opened before sees
    /// the pack after `odb.refresh()`.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk fails.
    pub fn finish(mut self, sync: bool) -> Result<Option<Pack>, Error> {
        if self.known.is_empty() {
            return Ok(None);
        }
        self.send_batch()?;
        let path = self.temporary.clone();
        let written = |e| Error::io("write", &path)(e);
        let spool = self.join().map_err(written)?;
        let mut file = spool.file.into_inner().map_err(|e| written(e.into_error()))?;
        let mut entries: Vec<(Oid, u64, u32)> = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            places.drain().map(|(oid, (offset, crc))| (oid, offset, crc)).collect()
        };
        entries.sort_unstable();
        let count = u32::try_from(entries.len()).map_err(|_| Error::BadPack {
            path: path.clone(),
            why: "it has over four thousand million objects",
        })?;

        file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&pack_header(count))).map_err(written)?;
        let trailer = hash_file(&mut file).map_err(written)?;
        file.write_all(&trailer).map_err(written)?;
        durable::make_read_only(&file, &path)?;
        if sync {
            durable::sync_file(&file, &path)?;
        }

        let stem = self.folder.join(format!("pack-{}", oid(&trailer)?));
        let (mut index, index_path) = durable::create_temporary(&self.folder, "tmp_idx_aios_")?;
        let named = (|| {
            index.write_all(&index_bytes(&entries, &trailer)).map_err(Error::io("write", &index_path))?;
            durable::make_read_only(&index, &index_path)?;
            if sync {
                durable::sync_file(&index, &index_path)?;
            }
            durable::rename(&path, &stem.with_extension("pack"))?;
            self.renamed = true;
            durable::rename(&index_path, &stem.with_extension("idx"))
        })();
        if named.is_err() {
            // The first error is the one to tell.
            let _ = std::fs::remove_file(&index_path);
        }
        named?;
        if sync {
            durable::sync_folder(&self.folder)?;
        }
        Ok(Some(Pack { path: stem.with_extension("pack"), objects: entries.len(), bytes: spool.at + 20 }))
    }
}

impl Drop for PackWriter {
    fn drop(&mut self) {
        // Nothing can be told from a drop; git's housekeeping removes a file that could not be removed.
        let _ = self.join();
        if !self.renamed && !crate::disk::fault::crashed() {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// The compressing thread's side: the file and what is in it.
struct Spool {
    file: BufWriter<File>,
    at: u64,
    crc: crc32fast::Hasher,
    level: Compression,
    zlib: Compress,
    out: Vec<u8>,
    places: Arc<Mutex<Places>>,
}

impl Spool {
    fn run(mut self, inbox: &Receiver<Job>) -> Result<Spool, std::io::Error> {
        self.put(&pack_header(0))?;
        let mut start = self.at;
        while let Ok(job) = inbox.recv() {
            match job {
                Job::Batch(batch) => {
                    let mut rest = &batch.bytes[..];
                    for (oid, kind, size) in batch.items {
                        let (bytes, after) = rest.split_at(size);
                        rest = after;
                        start = self.begin(kind, size as u64)?;
                        self.deflate(bytes, FlushCompress::Finish)?;
                        self.keep(oid, start);
                    }
                }
                Job::Begin(kind, size) => start = self.begin(kind, size)?,
                Job::Chunk(bytes) => self.deflate(&bytes, FlushCompress::None)?,
                Job::End(Some(oid)) => {
                    self.deflate(&[], FlushCompress::Finish)?;
                    self.keep(oid, start);
                }
                Job::End(None) => {
                    self.file.seek(SeekFrom::Start(start))?;
                    self.file.get_ref().set_len(start)?;
                    self.at = start;
                    // A reset forgets to close the block of a stream that was not finished (zlib-rs 0.6, level 1).
                    self.zlib = Compress::new(self.level, true);
                }
                Job::Flush(done) => {
                    self.file.flush()?;
                    // A caller that has gone needs no answer.
                    let _ = done.send(());
                }
            }
        }
        self.file.flush()?;
        Ok(self)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), std::io::Error> {
        self.crc.update(bytes);
        self.at += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    /// Writes an entry's header and gives the entry's offset.
    fn begin(&mut self, kind: ObjectType, size: u64) -> Result<u64, std::io::Error> {
        let start = self.at;
        self.crc = crc32fast::Hasher::new();
        self.zlib.reset();
        let (head, length) = entry_header(kind, size);
        self.put(&head[..length])?;
        Ok(start)
    }

    fn deflate(&mut self, mut bytes: &[u8], flush: FlushCompress) -> Result<(), std::io::Error> {
        loop {
            let mut out = std::mem::take(&mut self.out);
            out.clear();
            let before = self.zlib.total_in();
            let status = self.zlib.compress_vec(bytes, &mut out, flush).map_err(std::io::Error::other)?;
            let taken = usize::try_from(self.zlib.total_in() - before).unwrap_or(bytes.len());
            bytes = &bytes[taken..];
            let written = self.put(&out);
            let full = out.len() == out.capacity();
            self.out = out;
            written?;
            let done = match flush {
                FlushCompress::Finish => status == Status::StreamEnd,
                _ => bytes.is_empty() && !full,
            };
            if done {
                return Ok(());
            }
        }
    }

    fn keep(&mut self, oid: Oid, start: u64) {
        let crc = self.crc.clone().finalize();
        self.places.lock().unwrap_or_else(PoisonError::into_inner).insert(oid, (start, crc));
    }
}

fn pack_header(count: u32) -> [u8; 12] {
    let mut head = *b"PACK\0\0\0\x02\0\0\0\0";
    head[8..].copy_from_slice(&count.to_be_bytes());
    head
}

/// Type and size as git's variable-length number: four bits, then seven a byte.
fn entry_header(kind: ObjectType, size: u64) -> ([u8; 10], usize) {
    let kind = match kind {
        ObjectType::Commit => 1,
        ObjectType::Tree => 2,
        ObjectType::Tag => 4,
        _ => 3,
    };
    let mut head = [0_u8; 10];
    let mut length = 1;
    head[0] = (kind << 4) | (size & 15) as u8;
    let mut rest = size >> 4;
    while rest > 0 {
        head[length - 1] |= 0x80;
        head[length] = (rest & 0x7f) as u8;
        rest >>= 7;
        length += 1;
    }
    (head, length)
}

/// Reads one undeltified entry of a pack.
fn read_entry(path: &Path, offset: u64) -> Result<(ObjectType, Vec<u8>), std::io::Error> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut file = BufReader::new(file);
    let mut byte = [0_u8];
    file.read_exact(&mut byte)?;
    let kind = match (byte[0] >> 4) & 7 {
        1 => ObjectType::Commit,
        2 => ObjectType::Tree,
        4 => ObjectType::Tag,
        _ => ObjectType::Blob,
    };
    while byte[0] & 0x80 != 0 {
        file.read_exact(&mut byte)?;
    }
    let mut bytes = Vec::new();
    flate2::bufread::ZlibDecoder::new(file).read_to_end(&mut bytes)?;
    Ok((kind, bytes))
}

/// The SHA-1 of a whole file, which is left at its end.
fn hash_file(file: &mut File) -> Result<[u8; 20], std::io::Error> {
    file.seek(SeekFrom::Start(0))?;
    let mut hash = Sha1::new();
    let mut buffer = vec![0_u8; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// A version 2 index of entries sorted by id.
fn index_bytes(entries: &[(Oid, u64, u32)], trailer: &[u8; 20]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1072 + entries.len() * 28);
    out.extend_from_slice(b"\xfftOc\0\0\0\x02");
    let mut below = 0_usize;
    for first in 0..=255_u8 {
        while entries.get(below).is_some_and(|(oid, ..)| oid.as_bytes()[0] <= first) {
            below += 1;
        }
        out.extend_from_slice(&(below as u32).to_be_bytes());
    }
    for (oid, ..) in entries {
        out.extend_from_slice(oid.as_bytes());
    }
    for (.., crc) in entries {
        out.extend_from_slice(&crc.to_be_bytes());
    }
    let mut far: Vec<u64> = Vec::new();
    for &(_, offset, _) in entries {
        // An offset of 31 bits stands here; a longer one stands in a table of its own.
        let word = match u32::try_from(offset) {
            Ok(near) if near < 1 << 31 => near,
            _ => {
                far.push(offset);
                (1 << 31) | (far.len() as u32 - 1)
            }
        };
        out.extend_from_slice(&word.to_be_bytes());
    }
    for offset in far {
        out.extend_from_slice(&offset.to_be_bytes());
    }
    out.extend_from_slice(trailer);
    let hash = Sha1::digest(&out);
    out.extend_from_slice(&hash);
    out
}

/// The ids in a pack, from its version 2 index.
pub(super) struct PackIndex {
    bytes: Vec<u8>,
    count: usize,
}

impl PackIndex {
    /// Reads an index and checks its own checksum.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let bad = |why| Error::BadPack { path: path.into(), why };
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        if !bytes.starts_with(b"\xfftOc\0\0\0\x02") || bytes.len() < 1072 {
            return Err(bad("its index is not of version 2"));
        }
        let (body, sum) = bytes.split_at(bytes.len() - 20);
        if Sha1::digest(body).as_slice() != sum {
            return Err(bad("the checksum of its index does not match"));
        }
        let count = u32::from_be_bytes([bytes[1028], bytes[1029], bytes[1030], bytes[1031]]) as usize;
        if bytes.len() < 1072 + count * 28 {
            return Err(bad("its index is too short"));
        }
        Ok(PackIndex { bytes, count })
    }

    fn names(&self) -> &[[u8; 20]] {
        self.bytes[1032..1032 + self.count * 20].as_chunks().0
    }

    /// The ids, sorted.
    pub(super) fn ids(&self) -> impl Iterator<Item = Oid> {
        self.names().iter().filter_map(|name| Oid::from_bytes(name).ok())
    }

    /// Whether the pack has an object.
    pub(super) fn contains(&self, oid: Oid) -> bool {
        self.names().binary_search_by(|name| name.as_slice().cmp(oid.as_bytes())).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::testing::{git, repository};

    #[test]
    fn a_pack_passes_fsck_and_verify_pack_and_reads_back() {
        let (dir, repo) = repository();
        let mut pack = PackWriter::new(&repo.path().join("objects"), 1).unwrap();
        let mut ids = Vec::new();
        for i in 0..300_usize {
            let bytes = format!("{i} ").repeat(i * 7);
            ids.push((pack.add(ObjectType::Blob, bytes.as_bytes()).unwrap(), bytes.into_bytes()));
        }
        assert_eq!(pack.add(ObjectType::Blob, &ids[5].1).unwrap(), ids[5].0);
        let big: Vec<u8> =
            (0..3_000_000_u32).flat_map(|i| (i.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
        let big_id = pack.add_stream(ObjectType::Blob, big.len() as u64, &mut &big[..]).unwrap();
        assert_eq!(pack.add_stream(ObjectType::Blob, big.len() as u64, &mut &big[..]).unwrap(), big_id);
        for wrong in [big.len() as u64 - 1, big.len() as u64 + 1] {
            let result = pack.add_stream(ObjectType::Blob, wrong, &mut &big[..]);
            assert!(matches!(result, Err(Error::Length { .. })));
        }
        assert_eq!(pack.read(ids[200].0).unwrap().unwrap(), (ObjectType::Blob, ids[200].1.clone()));
        assert_eq!(pack.read(Oid::ZERO_SHA1).unwrap(), None);
        ids.push((pack.add(ObjectType::Blob, b"last").unwrap(), b"last".to_vec()));
        ids.push((big_id, big));
        let done = pack.finish(true).unwrap().unwrap();
        assert_eq!(done.objects, 302);
        assert_eq!(done.bytes, done.path.metadata().unwrap().len());
        let odb = repo.odb().unwrap();
        odb.refresh().unwrap();
        for (id, bytes) in &ids {
            assert_eq!(odb.read(*id).unwrap().data(), bytes);
        }
        let index = PackIndex::open(&done.path.with_extension("idx")).unwrap();
        assert_eq!(index.ids().count(), 302);
        assert!(index.contains(big_id) && !index.contains(Oid::ZERO_SHA1));
        git(dir.path(), &["fsck", "--strict"]);
        git(dir.path(), &["verify-pack", done.path.to_str().unwrap()]);
    }

    #[test]
    fn dropped_or_empty_it_leaves_nothing() {
        let (_dir, repo) = repository();
        let objects = repo.path().join("objects");
        let mut pack = PackWriter::new(&objects, 1).unwrap();
        pack.add(ObjectType::Blob, b"x").unwrap();
        drop(pack);
        assert!(PackWriter::new(&objects, 1).unwrap().finish(true).unwrap().is_none());
        assert_eq!(std::fs::read_dir(objects.join("pack")).unwrap().count(), 0);
    }

    #[test]
    fn offsets_past_31_bits_go_to_their_own_table() {
        let ids: Vec<Oid> = (1..4_u8).map(|i| Oid::from_bytes(&[i; 20]).unwrap()).collect();
        let bytes = index_bytes(&[(ids[0], 12, 0), (ids[1], 1 << 31, 0), (ids[2], 1 << 40, 0)], &[0; 20]);
        let words = &bytes[1032 + 3 * 24..];
        assert_eq!(words[..12], [0, 0, 0, 12, 0x80, 0, 0, 0, 0x80, 0, 0, 1]);
        assert_eq!(words[12..20], (1_u64 << 31).to_be_bytes());
        assert_eq!(words[20..28], (1_u64 << 40).to_be_bytes());
        assert_eq!(entry_header(ObjectType::Blob, u64::MAX).1, 10);
    }

    #[test]
    fn ten_thousand_files_timed() {
        let (_dir, repo) = repository();
        let text: String = (0..400).map(|i| format!("w{} ", i * 7919 % 1000)).collect();
        let start = std::time::Instant::now();
        let mut pack = PackWriter::new(&repo.path().join("objects"), 1).unwrap();
        for i in 0..10_000 {
            pack.add(ObjectType::Blob, format!("# note {i}\n{text}{i}").as_bytes()).unwrap();
        }
        pack.finish(true).unwrap();
        println!("10,000 blobs of {} bytes: {:?}", text.len(), start.elapsed());
    }
}
