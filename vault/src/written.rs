//! What a document is to hold: described, and put into git where its bytes do not enter the log.

use std::io::Read;

use aios_core::id::GitId;
use aios_core::item::{Content, Kind};
use aios_core::path;
use git2::Oid;

use crate::disk;
use crate::error::Error;
use crate::git::{self, Objects};
use crate::show::Placement;
use crate::survey::{Saved, Survey};
use crate::vault::{Vault, git_error};

/// Text above this is merged by line.
const LINES_ABOVE: usize = 1 << 20;

/// From so many blobs at once on, they go into a pack.
const MANY: usize = 8;

/// What a document is to hold.
pub(crate) struct Written {
    pub content: Content,
    /// The bytes; absent where [`Saved`] has none.
    pub bytes: Option<Vec<u8>>,
    /// Whether it is the target of a symbolic link.
    pub link: bool,
}

impl Written {
    /// The content of a file.
    pub fn file(bytes: Vec<u8>) -> Self {
        Written { content: Content::of(&bytes), bytes: Some(bytes), link: false }
    }

    /// How a document at `path` holds it.
    pub fn kind(&self, path: &str) -> Kind {
        match &self.bytes {
            _ if self.link => Kind::Link,
            Some(bytes) => kind_of_bytes(path, bytes),
            None => Kind::Blob,
        }
    }

    /// Whether a document holds just this.
    pub fn stands(&self, placement: &Placement) -> bool {
        placement.content.hash == self.content.hash && (placement.kind == Kind::Link) == self.link
    }
}

/// A file while it passes to git.
struct Passed {
    file: std::fs::File,
    hasher: blake3::Hasher,
    size: u64,
}

impl Read for Passed {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read(into)?;
        self.hasher.update(&into[..n]);
        self.size += n as u64;
        Ok(n)
    }
}

impl Vault {
    /// Describes a saved file; a large one goes to git at once, since only its id enters the log. `None` for a large one that is
    /// not what was read any more.
    pub(crate) fn take_content(&mut self, saved: Saved) -> Result<Option<Written>, Error> {
        let link = saved.found.kind == disk::Kind::Link;
        if let Some(git) = saved.git {
            let content = Content { hash: saved.hash, size: saved.found.size, git };
            return Ok(Some(Written { content, bytes: None, link: false }));
        }
        let Some(bytes) = saved.bytes else { return self.take_large(&saved) };
        let written = Written { content: Content::of(&bytes), bytes: Some(bytes), link };
        if let (Kind::Blob, Some(bytes)) = (written.kind(&saved.found.path), &written.bytes) {
            let oid = self.store_blob(written.content.size, &mut bytes.as_slice())?;
            debug_assert_eq!(crate::project::git_id(&oid), written.content.git);
        }
        Ok(Some(written))
    }

    fn take_large(&mut self, saved: &Saved) -> Result<Option<Written>, Error> {
        let stored = self.pass(saved, |size, from| self.store_blob(size, from))?;
        Ok(stored.map(|git| {
            let content = Content { hash: saved.hash, size: saved.found.size, git };
            Written { content, bytes: None, link: false }
        }))
    }

    /// Passes a file to git with `store`; `None` if it is not what was read any more.
    fn pass(
        &self,
        saved: &Saved,
        store: impl FnOnce(u64, &mut dyn Read) -> Result<Oid, Error>,
    ) -> Result<Option<GitId>, Error> {
        let Some(file) = self.writer.open_found(&saved.found.path, saved.aside)? else { return Ok(None) };
        let mut passed = Passed { file, hasher: blake3::Hasher::new(), size: 0 };
        let stored = store(saved.found.size, &mut passed);
        if passed.size != saved.found.size || passed.hasher.finalize().as_bytes() != saved.hash.as_bytes() {
            return Ok(None);
        }
        Ok(Some(crate::project::git_id(&stored?)))
    }

    /// Puts the blobs among what was saved into git, where they are many: all into one pack, synced once.
    pub(crate) fn pass_blobs(&mut self, survey: &mut Survey) -> Result<(), Error> {
        let moved = survey.moved.iter_mut().filter(|moved| moved.row.hash != moved.to.hash);
        let saved = survey.added.iter_mut().chain(survey.modified.iter_mut().map(|(_, saved)| saved));
        let blobs: Vec<&mut Saved> =
            saved.chain(moved.map(|moved| &mut moved.to)).filter(|saved| saved.is_blob()).collect();
        if blobs.len() < MANY {
            return Ok(());
        }
        let repo = git2::Repository::open(self.root()).map_err(git_error)?;
        let mut bulk = git::Bulk::new(&repo, 1)?;
        for saved in blobs {
            let stored = match saved.bytes.take() {
                Some(bytes) => Some(crate::project::git_id(&bulk.write(git2::ObjectType::Blob, &bytes)?)),
                None => self.pass(saved, |size, from| Ok(bulk.write_stream(size, from)?))?,
            };
            saved.git = stored;
        }
        bulk.finish(true)?;
        self.repo.odb().and_then(|odb| odb.refresh()).map_err(git_error)
    }
}

/// Whether bytes are no text.
pub(crate) fn is_binary(bytes: &[u8]) -> bool {
    bytes.contains(&0) || std::str::from_utf8(bytes).is_err()
}

/// How a file's content is held: follows from its path and bytes alone.
pub(crate) fn kind_of_bytes(claim: &str, bytes: &[u8]) -> Kind {
    if bytes.len() as u64 > disk::read::LARGE || is_binary(bytes) {
        return Kind::Blob;
    }
    match path::extension(claim).as_str() {
        _ if bytes.len() > LINES_ABOVE => Kind::Lines,
        "md" | "markdown" | "mdown" | "mkd" => Kind::Md,
        _ => Kind::Text,
    }
}

#[cfg(test)]
mod tests {
    use crate::disk::read;
    use crate::survey::Saved;
    use crate::world::World;

    /// A folder of pictures is one pack, synced once, and none of them is held in memory while the others are read.
    #[test]
    fn many_blobs_at_once_are_one_pack() {
        let mut world = World::new(1);
        for n in 0..40_u8 {
            let size = if n % 4 == 0 { 300_000 } else { 10 };
            std::fs::write(world.root(0).join(format!("{n}.png")), [0, n].repeat(size)).unwrap();
        }
        world.commit(0);
        let packs = |world: &World| {
            let names = std::fs::read_dir(world.root(0).join(".git/objects/pack")).unwrap();
            names
                .filter(|name| name.as_ref().unwrap().path().extension().is_some_and(|e| e == "pack"))
                .count()
        };
        let before = packs(&world);
        assert!(before <= 2, "{before} packs");
        // One more is no pack of its own.
        std::fs::write(world.root(0).join("one.png"), [0, 200]).unwrap();
        std::fs::write(world.root(0).join("3.png"), [0, 201].repeat(300_000)).unwrap();
        world.commit(0);
        assert_eq!(packs(&world), before);
        assert!(!world.replicas[0].apart_missing().unwrap());
    }

    #[test]
    fn a_large_file_that_was_written_after_it_was_read_is_not_described_by_both() {
        let mut world = World::new(1);
        let path = world.root(0).join("big.bin");
        let large = |byte: u8| vec![byte; read::LARGE as usize + 1];
        for (now, same) in [(large(1), true), (large(2), false), (vec![1; 9], false)] {
            std::fs::write(&path, large(1)).unwrap();
            let root = crate::disk::Folder::open(&world.root(0)).unwrap();
            let saved = Saved::of(read::read(&root, "big.bin", read::LARGE).unwrap());
            std::fs::write(&path, now).unwrap();
            assert_eq!(world.replicas[0].take_content(saved).unwrap().is_some(), same);
        }
        std::fs::remove_file(&path).unwrap();
        world.commit(0);
    }
}
