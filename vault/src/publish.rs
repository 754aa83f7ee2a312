//! Showing the projection in the repository: `main`, the index, and the mirror of the log.

use std::collections::HashMap;
use std::io::Read as _;

use aios_core::fold;
use aios_core::frontier::Place;
use aios_core::history::History;
use aios_core::id::{DeviceId, DocId};
use git2::{ObjectType, Oid};
use rusqlite::OptionalExtension;

use crate::db;
use crate::error::Error;
use crate::git::{self, Objects};
use crate::project::Point;
use crate::survey::Problem;
use crate::unseen::{self, UNSEEN};
use crate::vault::{RecordRow, Vault, git_error};

/// Runs of this many chunks of like size in the mirror become one.
const RUN: usize = 8;
/// A blob up to this size becomes a git object of its own; a larger one a pack.
const LOOSE: u64 = 32 << 20;
/// A chunk of so many bytes is written at once and not held in memory.
const AT_ONCE: usize = 1 << 20;
/// A mirrored chunk grows no larger than this.
const CHUNK: usize = 8 << 20;

impl Vault {
    /// Moves `main` to `point` and brings the index along, unless the user's own git work is in the way. Gives what it waits for
    /// where nobody sees that in the folder.
    pub(crate) fn publish(&mut self, point: &Point) -> Result<Option<Problem>, Error> {
        let waits = git::state(&self.repo)? != git::State::Normal || self.check_writes().is_err();
        if waits || self.apart_missing()? {
            return Ok(None);
        }
        let main = git::read_ref(&self.repo, git::MAIN)?;
        let ours = db::meta(&self.db, "main")?;
        let ours = ours.map(|bytes| Oid::from_bytes(&bytes)).transpose().map_err(git_error)?;
        if main == Some(point.commit) && main == ours {
            return Ok(None);
        }
        if main != Some(point.commit) && main.is_some() && main != ours {
            // Somebody committed since we looked: absorbed first, moved then.
            return Ok(None);
        }
        match self.move_main(point, main, ours) {
            Ok(()) => Ok(None),
            Err(Error::Git(e)) if e.is_standing() => Ok(Some(behind(&e))),
            Err(e) => Err(e),
        }
    }

    fn move_main(&mut self, point: &Point, main: Option<Oid>, ours: Option<Oid>) -> Result<(), Error> {
        // Before `main` moves: else git would show the way back as staged for as long as somebody holds the index.
        let index = git::Held::take(&self.repo)?;
        if main != Some(point.commit) {
            let by = git::Signature::new("aios", "aios@localhost", (crate::chance::now_ms() / 1000) as i64);
            git::set_ref(&self.repo, git::MAIN, point.commit, main, &by, "aios")?;
        }
        // Also where `main` is there already: a crash may have come between it and the index (I9).
        let old = ours.map(|ours| self.root_of(ours)).transpose()?;
        let updates = self.index_updates(old, point.root)?;
        index.update(&updates, &self.left_out()?)?;
        db::set_meta(&self.db, "main", point.commit.as_bytes())
    }

    /// The tree that git's index should show and that has files, where the index is gone: git takes each of them for deleted then,
    /// and a commit would say so.
    pub(crate) fn lacks_index(&self) -> Option<Oid> {
        let tree = || self.repo.head().and_then(|head| head.peel_to_tree());
        match git::Index::is_absent(&self.repo) {
            true => tree().ok().filter(|tree| !tree.is_empty()).map(|tree| tree.id()),
            false => None,
        }
    }

    /// Makes git's index again if it is gone. Whether it was.
    pub(crate) fn restore_index(&mut self) -> Result<bool, Error> {
        let Some(root) = self.lacks_index() else { return Ok(false) };
        match self.update_index(None, root) {
            Ok(()) => Ok(true),
            Err(Error::Git(e)) if e.is_standing() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// What keeps `main` behind the log although nothing has to come, and the next round is to mend.
    pub(crate) fn lagging(&self) -> Result<Option<Problem>, Error> {
        let (main, head) = (git::read_ref(&self.repo, git::MAIN)?, self.projected_head()?);
        let ours = db::meta(&self.db, "main")?.and_then(|bytes| Oid::from_bytes(&bytes).ok());
        if head.is_none() || main == head || main != ours || self.apart_missing()? {
            return Ok(None);
        }
        Ok(match git::Held::take(&self.repo) {
            Err(e) if e.is_standing() => Some(behind(&e)),
            _ => git::busy(&self.repo, git::MAIN).map(|e| behind(&e)),
        })
    }

    /// Where `main` cannot follow, as while the user works on another branch, git would drop after some weeks what it does not reach.
    pub(crate) fn keep_projected(&self, point: &Point) -> Result<(), Error> {
        let kept = readable(git::read_ref(&self.repo, git::PROJECTED))?;
        if git::read_ref(&self.repo, git::MAIN)? == Some(point.commit) || kept == Some(point.commit) {
            return Ok(());
        }
        // No ref names what is not whole here, but for what git knows to be elsewhere: `git gc` would stop at it.
        if self.apart_missing()? {
            return Ok(());
        }
        let by = git::Signature::new("aios", "aios@localhost", (crate::chance::now_ms() / 1000) as i64);
        Ok(git::set_ref(&self.repo, git::PROJECTED, point.commit, kept, &by, "aios")?)
    }

    /// The tree of a commit.
    pub(crate) fn root_of(&self, commit: Oid) -> Result<Oid, Error> {
        Ok(git::commit(&self.repo, commit)?.tree)
    }

    /// Brings git's index from one tree to another, but for what the user has staged.
    pub(crate) fn update_index(&mut self, old: Option<Oid>, new: Oid) -> Result<(), Error> {
        let updates = self.index_updates(old, new)?;
        if !updates.is_empty() {
            git::update_index(&self.repo, &updates, &self.left_out()?)?;
            self.indexed = git::Mark::of(&self.repo).index();
        }
        Ok(())
    }

    fn index_updates(&self, old: Option<Oid>, new: Oid) -> Result<Vec<git::Update>, Error> {
        let mut objects = git::Loose::new(&self.repo, false)?;
        let mut updates = Vec::new();
        for diff in git::diff_trees(&mut objects, old, Some(new))? {
            let new = match diff.new {
                None => None,
                Some((mode, oid)) => Some((mode, oid, self.stat(&diff.path, oid)?)),
            };
            updates.push(git::Update { path: diff.path, old: diff.old, new });
        }
        Ok(updates)
    }

    /// The state of the working file for the index: only if it is known to hold this blob, else git looks itself.
    fn stat(&self, path: &[u8], blob: Oid) -> Result<git::Stat, Error> {
        let Ok(text) = std::str::from_utf8(path) else { return Ok(git::Stat::default()) };
        let mut get = self.db.prepare_cached("SELECT git, mtime, size FROM file WHERE path = ?")?;
        let row: Option<(Vec<u8>, i64, i64)> =
            get.query_row([text], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
        let Some((known, mtime, size)) = row else { return Ok(git::Stat::default()) };
        if known != blob.as_bytes() {
            return Ok(git::Stat::default());
        }
        match self.root().join(text).symlink_metadata() {
            Ok(file) => {
                use std::os::unix::fs::MetadataExt;
                let same =
                    file.size() as i64 == size && file.mtime() * 1_000_000_000 + file.mtime_nsec() == mtime;
                Ok(if same { git::Stat::of(&file) } else { git::Stat::default() })
            }
            Err(_) => Ok(git::Stat::default()),
        }
    }

    /// Mirrors what is new in the logs to `refs/aios/log/DEVICE`.
    pub(crate) fn mirror(&mut self) -> Result<(), Error> {
        // A mirror is whole, or none: git remotes and a rebuild take it for all there is.
        if self.lacks_past() {
            return Ok(());
        }
        let came = self.unseen_awaited()?;
        // Payloads of held records are in no tree, so that the mirror could not give them back.
        for Place { device, seq } in self.view.clone().iter() {
            let key = format!("mirror:{device}");
            let done = db::meta(&self.db, &key)?
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, u64::from_le_bytes);
            if done < seq || came.contains(&device) {
                self.mirror_device(&device, done, seq)?;
                db::set_meta(&self.db, &key, &seq.to_le_bytes())?;
            }
        }
        Ok(())
    }

    fn mirror_device(&mut self, device: &DeviceId, done: u64, seq: u64) -> Result<(), Error> {
        let name = format!("{}{device}", git::LOG_PREFIX);
        let repo = git2::Repository::open(self.root()).map_err(git_error)?;
        let mut objects = git::Loose::new(&repo, false)?;
        let old = readable(git::read_ref(&repo, &name))?;
        let (mut chunks, mut unseen) = match old {
            Some(commit) => {
                (chunks(&repo, &mut objects, commit)?, unseen::mirrored(&repo, &mut objects, commit)?)
            }
            None => Default::default(),
        };
        // A mirror that does not end where we think is made again from the log.
        let mut from = done + 1;
        if chunks.last().map_or(0, |chunk| chunk.last) != done {
            chunks.clear();
            from = 1;
        }
        // What leaves a sealed vault is closed, and the mirror is what git carries elsewhere.
        let sealed = self.is_sealed_vault()?;
        unseen.extend(match sealed {
            true => self.sealed_blobs(device, from, seq)?,
            false => self.unseen_blobs(device, from, seq)?,
        });
        let forgotten = self.forgotten_blobs()?;
        unseen.retain(|id| !forgotten.contains(id));
        let awaited = self.keep_awaited(device, &mut unseen)?;
        let (mut wall, mut fresh) = (0, Fresh::default());
        while from <= seq {
            let mut bytes = Vec::new();
            let first = from;
            while from <= seq && bytes.len() < CHUNK {
                let n = self.number(&Place { device: *device, seq: from })?;
                let Some(n) = n else {
                    return Err(Error::Damaged(format!("record {device}:{from} has no row")));
                };
                let row = self.row(n)?;
                wall = row.wall;
                let record = self.log.record(device, row.spot)?;
                bytes.extend(match sealed {
                    true => self.closed(record)?.entry(),
                    false if self.stands_whole(&row)? => record.entry(),
                    // Git has these as blobs of the files.
                    false => {
                        let body = record.body()?;
                        record.mirrored(&body)?.entry()
                    }
                });
                from += 1;
            }
            chunks.push(fresh.add(first, from - 1, bytes, &mut objects)?);
        }
        fresh.merge_runs(&mut chunks, &mut objects)?;
        fresh.write(&chunks, &mut objects)?;
        let file = |name: String, oid| (name.into_bytes(), Some((0o100_644, oid)));
        let entries: Vec<git::Change> = chunks
            .iter()
            .map(|chunk| file(chunk.name(), chunk.oid))
            .chain(unseen.iter().map(|oid| file(format!("{UNSEEN}/{oid}"), *oid)))
            .collect();
        let tree = git::edit_tree(&mut objects, None, &entries)?;
        let by = git::Signature::new("aios", "aios@localhost", (wall / 1000) as i64);
        let message = format!("{}{device} up to record {seq}\n", git::LOG_MESSAGE).into_bytes();
        let commit = git::Commit {
            tree,
            parents: Vec::new(),
            author: by.clone(),
            committer: by.clone(),
            encoding: None,
            message,
        };
        let commit = objects.write(ObjectType::Commit, &commit.to_bytes())?;
        git::set_ref(&repo, &name, commit, old, &by, "aios")?;
        self.await_unseen(&awaited)
    }

    /// Whether a record stands in the mirror with all its payloads: it holds no file, or one that is not in the tree of its
    /// transaction's commit, where a reader of the mirror would look for it: the transaction is open or aborted, or what it
    /// saved was merged with something else at once.
    fn stands_whole(&self, row: &RecordRow) -> Result<bool, Error> {
        let files = "payload IS NOT NULL AND act <> 1";
        let has_any = format!("SELECT EXISTS(SELECT 1 FROM item WHERE part = ? AND {files})");
        let Some(end) = row.ends else {
            // Rows of aborted parts are gone: such entries stand whole always.
            return Ok(true);
        };
        if !self.db.prepare_cached(&has_any)?.query_row([row.n], |found| found.get(0))? {
            return Ok(true);
        }
        // A document that nothing else touches shows what it was made with.
        let touched: Vec<(Vec<u8>, Vec<u8>)> = {
            let mut get = self.db.prepare_cached(&format!(
                "SELECT i.doc, i.git FROM item i WHERE i.record = ? AND i.part = ? AND {files} AND EXISTS
                 (SELECT 1 FROM item o WHERE o.doc = i.doc AND (o.record <> i.record OR o.idx <> i.idx))"
            ))?;
            let rows = get.query_map([end, row.n], |found| Ok((found.get(0)?, found.get(1)?)))?;
            rows.collect::<Result<_, _>>()?
        };
        let view = self.row(end)?.view;
        for (doc, git) in touched {
            let doc = db::id(doc, DocId::from_slice)?;
            // Git has no version of what was forgotten, also of one saved by who had not heard of it.
            if self.is_forgotten(&doc)? {
                return Ok(true);
            }
            let touches = self.history().touches(&doc)?;
            let shown = fold::fold(&touches, &[], &view).and_then(|doc| doc.text.settled());
            if shown.is_none_or(|content| content.git.as_bytes() != git.as_slice()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Names a commit from before or beside aios, so that git keeps all it reaches.
    pub(crate) fn keep_history(&self, tip: Oid) -> Result<(), Error> {
        let name = history_ref(tip);
        let kept = readable(git::read_ref(&self.repo, &name))?;
        if kept == Some(tip) {
            return Ok(());
        }
        let by = git::Signature::new("aios", "aios@localhost", 0);
        Ok(git::set_ref(&self.repo, &name, tip, kept, &by, "aios")?)
    }

    /// Whether a commit from before or beside aios was named, which is done once all it reaches is here. A name that
    /// cannot be read any more tells so too: it was written then.
    pub(crate) fn keeps_history(&self, tip: Oid) -> Result<bool, Error> {
        match git::read_ref(&self.repo, &history_ref(tip)) {
            Err(git::Error::BadRef { .. }) => Ok(true),
            kept => Ok(kept? == Some(tip)),
        }
    }

    /// Puts a blob that travels apart into git, durably, from a reader of known size.
    pub(crate) fn store_blob(&self, size: u64, from: &mut dyn std::io::Read) -> Result<Oid, Error> {
        if size <= LOOSE {
            let mut bytes = Vec::with_capacity(size as usize);
            let read = from.take(size + 1).read_to_end(&mut bytes);
            read.map_err(|e| Error::io("read", self.root(), e))?;
            return Ok(git::Loose::new(&self.repo, true)?.write(ObjectType::Blob, &bytes)?);
        }
        let mut bulk = git::Bulk::new(&self.repo, 1)?;
        let oid = bulk.write_stream(size, from)?;
        bulk.finish(true)?;
        Ok(oid)
    }
}

/// That `main` waits for somebody's git.
fn behind(why: &git::Error) -> Problem {
    Problem {
        path: String::new(),
        problem: format!("taken in, but git's `main` does not show it yet: {why}"),
        hint: "then `aios commit` brings it along".into(),
    }
}

/// Where a ref is that aios can make again: one that cannot be read names nothing.
fn readable(found: Result<Option<Oid>, git::Error>) -> Result<Option<Oid>, git::Error> {
    match found {
        Err(git::Error::BadRef { .. }) => Ok(None),
        found => found,
    }
}

/// The ref that keeps a history tip.
pub(crate) fn history_ref(tip: Oid) -> String {
    format!("{}{tip}", git::HISTORY_PREFIX)
}

/// A run of entries in the mirror.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub first: u64,
    pub last: u64,
    pub size: usize,
    pub oid: Oid,
}

impl Chunk {
    fn name(&self) -> String {
        format!("{:010}-{:010}", self.first, self.last)
    }

    fn level(&self) -> u32 {
        (self.size.max(1) / 256).checked_ilog(RUN).unwrap_or(0)
    }
}

/// The chunks of a mirror, in order.
pub(crate) fn chunks(
    repo: &git2::Repository,
    objects: &mut dyn Objects,
    commit: Oid,
) -> Result<Vec<Chunk>, Error> {
    let tree = git::commit(repo, commit)?.tree;
    let (_, raw) = objects.read(tree)?;
    let mut out = Vec::new();
    for entry in git::entries(tree, &raw)? {
        let name = String::from_utf8_lossy(&entry.name).into_owned();
        let range =
            name.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        if let Some((first, last)) = range {
            let size = repo.odb().and_then(|odb| odb.read_header(entry.oid)).map_or(0, |(size, _)| size);
            out.push(Chunk { first, last, size, oid: entry.oid });
        }
    }
    out.sort_by_key(|chunk| chunk.first);
    Ok(out)
}

/// Chunks that are not in git yet: most become part of a longer one before a tree names them, and git would keep each for weeks.
#[derive(Default)]
struct Fresh(HashMap<Oid, Vec<u8>>);

impl Fresh {
    fn add(
        &mut self,
        first: u64,
        last: u64,
        bytes: Vec<u8>,
        objects: &mut dyn Objects,
    ) -> Result<Chunk, Error> {
        let size = bytes.len();
        if size >= AT_ONCE {
            return Ok(Chunk { first, last, size, oid: objects.write(ObjectType::Blob, &bytes)? });
        }
        let oid = git::object_id(ObjectType::Blob, &bytes)?;
        self.0.insert(oid, bytes);
        Ok(Chunk { first, last, size, oid })
    }

    /// Joins runs of small chunks at the end, so that a log of n records has about log n chunks.
    fn merge_runs(&mut self, chunks: &mut Vec<Chunk>, objects: &mut dyn Objects) -> Result<(), Error> {
        while let Some(last) = chunks.last() {
            let level = last.level();
            let run = chunks.iter().rev().take_while(|chunk| chunk.level() <= level).count();
            let at = chunks.len() - run.min(RUN);
            let size: usize = chunks[at..].iter().map(|chunk| chunk.size).sum();
            if run < RUN || size > CHUNK {
                return Ok(());
            }
            let mut bytes = Vec::with_capacity(size);
            for chunk in &chunks[at..] {
                match self.0.get(&chunk.oid) {
                    Some(part) => bytes.extend(part),
                    None => bytes.extend(objects.read(chunk.oid)?.1),
                }
            }
            let (first, last) = (chunks[at].first, chunks[chunks.len() - 1].last);
            chunks.truncate(at);
            chunks.push(self.add(first, last, bytes, objects)?);
        }
        Ok(())
    }

    /// Writes those that are to stay.
    fn write(&self, chunks: &[Chunk], objects: &mut dyn Objects) -> Result<(), Error> {
        for bytes in chunks.iter().filter_map(|chunk| self.0.get(&chunk.oid)) {
            objects.write(ObjectType::Blob, bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use aios_core::item::{Base, Content, Item, Kind};

    use crate::author::Draft;
    use crate::mirror;
    use crate::world::{World, quiet};

    #[test]
    fn only_chunks_that_a_mirror_names_are_written() {
        let mut world = World::new(1);
        let blobs = |world: &World| {
            let repo = git2::Repository::open(world.root(0)).unwrap();
            let (odb, mut found) = (repo.odb().unwrap(), std::collections::BTreeSet::new());
            odb.foreach(|id| {
                let blob = odb.read_header(*id).is_ok_and(|(_, kind)| kind == git2::ObjectType::Blob);
                _ = blob && found.insert(*id);
                true
            })
            .unwrap();
            found
        };
        let mut named = std::collections::BTreeSet::new();
        for n in 0..20 {
            std::fs::write(world.root(0).join("a.md"), format!("{n}\n")).unwrap();
            world.commit(0);
            let vault = &world.replicas[0];
            let mut objects = crate::git::Loose::new(&vault.repo, false).unwrap();
            let name = format!("{}{}", crate::git::LOG_PREFIX, vault.device());
            let tip = crate::git::read_ref(&vault.repo, &name).unwrap().unwrap();
            named
                .extend(super::chunks(&vault.repo, &mut objects, tip).unwrap().iter().map(|chunk| chunk.oid));
            named.insert(vault.repo.head().unwrap().peel_to_tree().unwrap().get_name("a.md").unwrap().id());
        }
        let others: Vec<_> = blobs(&world).difference(&named).copied().collect();
        assert!(others.len() <= 1, "{others:?}");
    }

    #[test]
    fn a_payload_that_no_tree_holds_stands_in_the_mirror() {
        let mut world = World::new(1);
        let path = world.root(0).join("a.md");
        std::fs::write(&path, "one\n").unwrap();
        world.commit(0);
        let vault = &mut world.replicas[0];
        let (doc, base) = (vault.doc_at("a.md").unwrap().unwrap(), vault.view().clone());
        std::fs::write(&path, "one\ntwo\n").unwrap();
        vault.commit(&Default::default(), &mut quiet()).unwrap();
        // Saved from the older version: what it saved is merged at once, and no tree holds it.
        let saved = b"zero\none\n".to_vec();
        let content = Content::of(&saved);
        let base = Base { base: Some(base), rank: None };
        let mut draft = Draft::operator("a stale save");
        draft.items.push((Item::Replace { doc, kind: Kind::Md, content, base }, saved.clone()));
        vault
            .transaction(|vault| {
                vault.author_records(draft)?;
                vault.refresh(&mut quiet())
            })
            .unwrap();
        vault.finish(Default::default(), &mut quiet()).unwrap();
        let (found, wrong) = mirror::read(&vault.repo, &vault.id(), &vault.device()).unwrap();
        assert!(wrong.is_empty());
        let stand_whole: Vec<&[u8]> = found
            .iter()
            .filter(|mirrored| {
                mirrored.record.body().unwrap().items.iter().any(|item| matches!(item, Item::Replace { .. }))
            })
            .map(|mirrored| mirrored.record.payloads.as_slice())
            .collect();
        assert_eq!(stand_whole, [saved.as_slice()]);
        for mirrored in found {
            mirror::whole(&vault.repo, mirrored.record).unwrap();
        }
    }
}
