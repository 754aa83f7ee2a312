//! Commits made with git in the vault: taken in as records that carry them, at the version they were made from.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use aios_core::id::DocId;
use aios_core::item::{Base, Bytes, Item, Kind, Mode};
use aios_core::namespace::Namespace;
use aios_core::path;
use aios_core::record::Author;
use git2::Oid;

use crate::absorb::{Absorbed, After, Aside, SavedFile};
use crate::author::Draft;
use crate::base::Over;
use crate::change::PathChange;
use crate::create::keep_aside;
use crate::db;
use crate::disk;
use crate::error::Error;
use crate::folders::{Folders, Look, is_left};
use crate::git;
use crate::survey::Problem;
use crate::vault::{Progress, Vault, git_error};
use crate::written::Written;

/// What is to be noted of the working files once a commit's record is written.
#[derive(Default)]
struct Came {
    /// Files that hold what was committed.
    saved: Vec<After>,
    /// Documents of which something else was committed than their file holds.
    staged: Vec<(DocId, Aside)>,
}

/// What wrote the files that a difference is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hand {
    /// Somebody, who committed them upon what was here and may not have seen what had come (I6).
    Saved,
    /// Git, which merged `main` or wrote it anew: it was told to.
    Git,
}

/// Where the difference that is taken in comes from, and what of it goes to the other devices.
enum Source {
    /// A commit upon what was here, and its bytes.
    Chained(Oid, Vec<u8>),
    /// A `main` that was merged or written anew: its tip stays an ancestor.
    Leap,
    /// Commits that no other device may have.
    Unsent(Hand),
}

impl Source {
    fn hand(&self) -> Hand {
        match self {
            Source::Chained(..) => Hand::Saved,
            Source::Leap => Hand::Git,
            Source::Unsent(hand) => *hand,
        }
    }
}

impl Vault {
    /// Takes in what was committed with git since `main` was last ours.
    pub(crate) fn absorb_commits(&mut self, out: &mut Absorbed, progress: Progress<'_>) -> Result<(), Error> {
        let Some(main) = git::read_ref(&self.repo, git::MAIN)? else { return Ok(()) };
        // None of a vault that has had no file yet.
        let ours = db::meta(&self.db, "main")?;
        let ours = ours.map(|bytes| Oid::from_bytes(&bytes)).transpose().map_err(git_error)?;
        if ours == Some(main) {
            return Ok(());
        }
        // A write of ours that a crash kept from being noted.
        if let Some(point) = self.transaction(|vault| vault.project(&mut |_, _, _| {}))?
            && point.commit == main
        {
            let old = ours.map(|ours| self.root_of(ours)).transpose()?;
            self.update_index(old, point.root)?;
            return db::set_meta(&self.db, "main", main.as_bytes());
        }
        let travels = match self.first_with_nested(ours, main)? {
            None => true,
            Some(path) => {
                let kept = keep_aside(&self.repo, main)?;
                out.notes.push(Problem {
                    path,
                    problem: "is of a vault of its own, and was committed to this one's git: left out here, and no other device gets the commit".into(),
                    hint: format!("it is kept as {kept}"),
                });
                false
            }
        };
        match ours.map_or(Ok(None), |ours| self.chain(ours, main))? {
            Some(commits) => {
                for commit in commits {
                    self.absorb_commit(commit, travels, out, progress)?;
                }
            }
            None => self.absorb_leap(ours, main, travels, out, progress)?,
        }
        db::set_meta(&self.db, "main", main.as_bytes())
    }

    /// The commits from `ours` to `main`, oldest first, if each has the one before as its only parent.
    pub(crate) fn chain(&self, ours: Oid, main: Oid) -> Result<Option<Vec<Oid>>, Error> {
        let mut out = Vec::new();
        let mut at = main;
        while at != ours {
            let Ok(commit) = git::commit(&self.repo, at) else { return Ok(None) };
            let &[parent] = &commit.parents[..] else { return Ok(None) };
            if out.len() > 10_000 {
                return Ok(None);
            }
            out.push(at);
            at = parent;
        }
        out.reverse();
        Ok(Some(out))
    }

    fn absorb_commit(
        &mut self,
        commit: Oid,
        travels: bool,
        out: &mut Absorbed,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let (_, raw) = git::read(&self.repo, commit)?;
        let parsed = git::Commit::parse(commit, &raw)?;
        let parent = parsed.parents.first().map(|parent| self.root_of(*parent)).transpose()?;
        let source = if travels { Source::Chained(commit, raw) } else { Source::Unsent(Hand::Saved) };
        self.absorb_tree(parent, parsed.tree, &parsed, source, out, progress)
    }

    /// The first path in a vault of its own that a commit after `ours` up to `main` holds a new file for: that vault's members alone may
    /// have its bytes.
    fn first_with_nested(&self, ours: Option<Oid>, main: Oid) -> Result<Option<String>, Error> {
        if self.nested_folders()?.is_empty() {
            return Ok(None);
        }
        let mut walk = self.repo.revwalk().map_err(git_error)?;
        walk.push(main).map_err(git_error)?;
        for known in ours.into_iter().chain(self.projected_head()?) {
            walk.hide(known).map_err(git_error)?;
        }
        let mut objects = git::Loose::new(&self.repo, false)?;
        for commit in walk {
            let commit = git::commit(&self.repo, commit.map_err(git_error)?)?;
            let parent = commit.parents.first().map(|parent| self.root_of(*parent)).transpose()?;
            for diff in git::diff_trees(&mut objects, parent, Some(commit.tree))? {
                let path = String::from_utf8_lossy(&diff.path);
                if diff.new.is_some() && self.nested_at(&path).is_some() {
                    return Ok(Some(path.into_owned()));
                }
            }
        }
        Ok(None)
    }

    /// Takes in a rewritten or merged `main` as one difference from where it was; the old tip stays an ancestor.
    fn absorb_leap(
        &mut self,
        ours: Option<Oid>,
        main: Oid,
        travels: bool,
        out: &mut Absorbed,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let mut parsed = git::commit(&self.repo, main)?;
        let from = ours.map(|ours| self.root_of(ours)).transpose()?;
        let back = ours.is_some_and(|ours| self.repo.graph_descendant_of(ours, main).unwrap_or(false));
        if back {
            // What is done now, not what was done then.
            let short = &main.to_string()[..12];
            parsed.message = [format!("Go back to {short} with git: ").as_bytes(), &parsed.message].concat();
        }
        let source = if travels { Source::Leap } else { Source::Unsent(Hand::Git) };
        self.absorb_tree(from, parsed.tree, &parsed, source, out, progress)?;
        Ok(())
    }

    fn absorb_tree(
        &mut self,
        from: Option<Oid>,
        to: Oid,
        commit: &git::Commit,
        source: Source,
        out: &mut Absorbed,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let diffs = {
            let mut objects = git::Loose::new(&self.repo, false)?;
            git::diff_trees(&mut objects, from, Some(to))?
        };
        let name = String::from_utf8_lossy(&commit.author.name).into_owned();
        let mut draft = Draft {
            actor: format!("git:{name}"),
            message: String::from_utf8_lossy(&commit.message).into_owned(),
            author: Some(Author { name, email: String::from_utf8_lossy(&commit.author.email).into_owned() }),
            ..Draft::default()
        };
        self.transaction(|vault| {
            let head = vault.project(progress)?.map(|point| point.commit);
            // Made from exactly what is here, the record's commit is theirs; else its objects must travel with it.
            let own = commit.parents.iter().copied().eq(head);
            let mut came = Came::default();
            let whole = vault.items_of_diffs(&diffs, source.hand(), &mut draft, &mut came, out)?;
            let tip = git::read_ref(&vault.repo, git::MAIN)?;
            match source {
                Source::Chained(oid, raw) if own && whole => {
                    draft.push(Item::Commit { raw: Bytes(raw), git: crate::project::git_id(&oid) })
                }
                Source::Chained(oid, _) => vault.push_history(oid, &mut draft)?,
                Source::Leap => {
                    if let Some(tip) = tip {
                        vault.push_history(tip, &mut draft)?;
                    }
                }
                Source::Unsent(_) if draft.items.is_empty() => return Ok(()),
                Source::Unsent(_) => {}
            }
            out.record = Some(vault.author_records(draft)?);
            vault.note(came.saved)?;
            for (doc, aside) in came.staged {
                vault.note_aside(&doc, aside)?;
            }
            vault.refresh(progress)
        })
    }

    pub(crate) fn push_history(&self, tip: Oid, draft: &mut Draft) -> Result<(), Error> {
        let head = self.projected_head()?;
        let known =
            head.is_some_and(|head| head == tip || self.repo.graph_descendant_of(head, tip).unwrap_or(false));
        if !known {
            self.keep_history(tip)?;
            draft.push(Item::History { tip: crate::project::git_id(&tip) });
        }
        Ok(())
    }

    /// The items that make the documents follow a difference of trees. Says whether all of it could be followed.
    fn items_of_diffs(
        &mut self,
        diffs: &[git::Diff],
        hand: Hand,
        draft: &mut Draft,
        came: &mut Came,
        out: &mut Absorbed,
    ) -> Result<bool, Error> {
        let mut whole = true;
        let mut gone: Vec<(Oid, DocId, String)> = Vec::new();
        let mut new = Vec::new();
        let forgotten = self.forgotten_blobs()?;
        for diff in diffs {
            let Ok(at) = String::from_utf8(diff.path.clone()) else {
                whole = false;
                continue;
            };
            // Committed before the word came that had it forgotten; what is in the file is taken in as what it is.
            let gone_for_good = diff.new.is_some_and(|(_, blob)| forgotten.contains(&blob));
            if gone_for_good || diff.new.is_some() && self.nested_at(&at).is_some() {
                whole = false;
                continue;
            }
            let doc = self.doc_at(&at)?;
            match (doc, diff.old, diff.new) {
                (Some(doc), Some((_, old)), None) => gone.push((old, doc, at)),
                (_, _, None) => {}
                (doc, _, Some((mode, oid))) => new.push((doc, at, mode, oid)),
            }
        }
        let added: Vec<&str> =
            new.iter().filter(|(doc, ..)| doc.is_none()).map(|(_, at, ..)| at.as_str()).collect();
        whole &= !self.any_collides(&added)?;
        let mut files = Vec::with_capacity(new.len());
        for (doc, at, mode, oid) in new {
            match git::file_mode(mode).filter(|_| path::check(&at).is_ok()) {
                Some(mode) => {
                    let n = if doc.is_none() { self.renamed(&gone, &at, mode, oid)? } else { None };
                    files.push((doc, at, mode, oid, n.map(|n| gone.remove(n))));
                }
                None => whole = false,
            }
        }
        let renamed =
            files.iter().filter_map(|(_, at, _, _, was)| Some((was.as_ref()?.2.as_str(), at.as_str())));
        let fresh = files.iter().filter(|(.., was)| was.is_none()).map(|(_, at, ..)| at.as_str());
        let lost = gone.iter().map(|(_, _, at)| at.as_str());
        let folders = self.folders_renamed(renamed.collect(), lost.collect(), fresh.collect())?;
        for (from, to) in folders.steps {
            draft.push(Item::MoveDir { from, to });
        }
        for (from, to) in &folders.moved {
            out.changed.push(PathChange::new(to, format!("folder renamed from {from}")));
        }
        for (doc, at, mode, oid, was) in files {
            if let Some((_, moved, from)) = was {
                self.note_renamed(&moved, &from, &at, came)?;
                if !folders.along.contains(&from) {
                    out.changed.push(PathChange::new(&at, format!("renamed from {from}")));
                    draft.push(Item::Move { doc: moved, path: at });
                }
                if let Some(now) = self.placement(&moved)?.filter(|now| now.differs(mode)) {
                    out.changed.push(PathChange::new(&now.path, "mode"));
                    draft.push(Item::Mode { doc: moved, mode });
                }
                continue;
            }
            let bytes = git::read(&self.repo, oid)?.1;
            let written = Written { link: mode == Mode::Link, ..Written::file(bytes) };
            match doc {
                Some(doc) => {
                    let current = self.placement(&doc)?;
                    if current.as_ref().is_some_and(|current| current.differs(mode)) {
                        draft.push(Item::Mode { doc, mode });
                    }
                    if current.is_none_or(|current| !written.stands(&current)) {
                        whole &= self.committed_edit(&doc, &at, (oid, written), hand, draft, came)?;
                    }
                    out.changed.push(PathChange::new(&at, "modified"));
                }
                None => {
                    let kind = written.kind(&at);
                    let Written { content, bytes, .. } = written;
                    let author =
                        aios_core::frontier::Place { device: self.replica.device, seq: self.next_seq()? };
                    let history = self.history();
                    let after =
                        Namespace::new(&history, self.view.clone())?.after(&at, author, draft.items.len())?;
                    let doc = DocId::of(&self.replica.vault, &path::fold(&at), &after);
                    let payload = if kind.inline() { bytes.unwrap_or_default() } else { Vec::new() };
                    out.changed.push(PathChange::new(&at, "added"));
                    let base = Base::default();
                    draft
                        .items
                        .push((Item::Create { doc, path: at, after, kind, mode, content, base }, payload));
                }
            }
        }
        for (_, doc, at) in gone {
            // Git follows it no more, and its user keeps it; or they had not seen what came meanwhile, which is kept (I5).
            let kept = disk::scan::look(self.writer.root(), &at)?.is_some();
            let seen = match (self.file(&at)?, self.placement(&doc)?) {
                (Some(row), Some(placement)) => row.doc == doc && row.shows(&placement),
                _ => false,
            };
            if kept || !seen {
                whole = false;
                continue;
            }
            out.changed.push(PathChange::new(&at, "deleted"));
            draft.push(Item::Delete { doc });
        }
        Ok(whole && self.changes_as(diffs, draft.items.iter().map(|(item, _)| item))?)
    }

    /// The folders that a commit renamed whole, by the files that it renamed, lost and holds anew.
    fn folders_renamed(
        &self,
        moved: HashMap<&str, &str>,
        gone: HashSet<&str>,
        fresh: Vec<&str>,
    ) -> Result<Folders, Error> {
        if moved.is_empty() {
            return Ok(Folders::default());
        }
        let history = self.history();
        let space = RefCell::new(Namespace::new(&history, self.view.clone())?);
        let failed = RefCell::new(None);
        let paths_below = |folder: &str| -> Result<Vec<String>, Error> {
            let mut space = space.borrow_mut();
            let mut out = Vec::new();
            for doc in space.below(folder)? {
                out.extend(self.placement(&doc)?.map(|now| now.path));
            }
            Ok(out)
        };
        let below = |folder: &str| {
            paths_below(folder).unwrap_or_else(|e| {
                *failed.borrow_mut() = Some(e);
                Vec::new()
            })
        };
        let root = self.writer.root();
        let found =
            Folders::find(&Look { moved, gone, fresh, below: &below, left: &|folder| is_left(root, folder) });
        match failed.into_inner() {
            Some(e) => Err(e),
            None => Ok(found),
        }
    }

    /// Notes that a file is where the commit renamed it to, where it is: else the look at all files would find it renamed once more.
    fn note_renamed(&self, doc: &DocId, from: &str, to: &str, came: &mut Came) -> Result<(), Error> {
        let Some(row) = self.file(from)?.filter(|row| row.doc == *doc) else { return Ok(()) };
        let left = disk::scan::look(self.writer.root(), from)?.is_none();
        let read = disk::read::read(self.writer.root(), to, disk::read::LARGE);
        if let Some(read) = read.ok().filter(|read| left && read.hash.as_bytes() == row.hash.as_bytes()) {
            let saved = SavedFile { found: read.found, hash: row.hash, git: row.git };
            came.saved.push(After::Gone { path: row.path });
            came.saved.push(After::Same { doc: *doc, saved });
        }
        Ok(())
    }

    /// Which of the files that are gone lies at `at` now: it has the bytes, and of equal ones the one whose name it has.
    pub(crate) fn renamed(
        &self,
        gone: &[(Oid, DocId, String)],
        at: &str,
        mode: Mode,
        blob: Oid,
    ) -> Result<Option<usize>, Error> {
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let mut found = None;
        for (n, (old, doc, from)) in gone.iter().enumerate() {
            let link = self.placement(doc)?.is_some_and(|now| now.kind == Kind::Link);
            if *old != blob || link != (mode == Mode::Link) {
                continue;
            }
            if name(from) == name(at) {
                return Ok(Some(n));
            }
            found = found.or(Some(n));
        }
        Ok(found)
    }

    /// Adds what a commit changed in a document, as an edit of what its writer had in front of them (I6). Git changes no file by committing: where the file
    /// holds something else, that is what its user wants. Says whether the document is as committed then.
    fn committed_edit(
        &mut self,
        doc: &DocId,
        at: &str,
        (blob, written): (Oid, Written),
        hand: Hand,
        draft: &mut Draft,
        came: &mut Came,
    ) -> Result<bool, Error> {
        let content = written.content;
        // Made in ignorance of a document that has no file here: the file is taken in as such.
        let Some(row) = self.file(at)?.filter(|row| row.doc == *doc) else { return Ok(false) };
        let file = match disk::read::read(self.writer.root(), at, disk::read::LARGE) {
            Ok(file) => Some(file),
            Err(disk::ReadError::Disk(e)) => return Err(e.into()),
            // Gone, no file any more, or still being written: it is looked at again with all others.
            Err(_) => None,
        };
        let holds = |hash: &aios_core::id::ContentHash| {
            file.as_ref().is_some_and(|file| file.hash.as_bytes() == hash.as_bytes())
        };
        let held = holds(&content.hash);
        // Committed while an editor that truncates first was saving, an empty file says nothing: what it holds now does.
        let emptied = content.size == 0 && row.found.size > 0;
        if emptied || !held && holds(&row.hash) {
            return Ok(false);
        }
        let over = match hand {
            Hand::Saved => self.over(&row, at, blob)?,
            Hand::Git => Over::Git,
        };
        let Some(edited) = self.edit(doc, at, written, over)? else { return Ok(false) };
        let stale = edited.stale.clone();
        let whole = stale.is_none();
        draft.items.push((edited.item, edited.payload));
        match file.filter(|_| held) {
            Some(file) => {
                let saved = SavedFile { found: file.found, hash: content.hash, git: content.git };
                came.saved.push(After::Saved { doc: *doc, saved, stale });
            }
            None => came.staged.push((*doc, Aside { content, stale, news: true })),
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use crate::world::World;

    /// Commits all files with git.
    fn commit(world: &World, n: usize) -> git2::Oid {
        let repo = git2::Repository::open(world.root(n)).unwrap();
        let mut index = repo.index().unwrap();
        index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
        index.update_all(["*"], None).unwrap();
        index.write().unwrap();
        let tree = repo.find_tree(index.write_tree().unwrap()).unwrap();
        let who = git2::Signature::new("u", "u@example.org", &git2::Time::new(1_800_000_000, 0)).unwrap();
        let parents: Vec<_> =
            repo.head().ok().and_then(|head| head.peel_to_commit().ok()).into_iter().collect();
        repo.commit(Some("HEAD"), &who, &who, "by hand", &tree, &parents.iter().collect::<Vec<_>>()).unwrap()
    }

    /// Stages one file.
    fn stage(world: &World, n: usize, path: &str) {
        let repo = git2::Repository::open(world.root(n)).unwrap();
        let mut index = repo.index().unwrap();
        index.add_path(std::path::Path::new(path)).unwrap();
        index.write().unwrap();
    }

    /// Commits what is staged.
    fn commit_staged(world: &World, n: usize) {
        let repo = git2::Repository::open(world.root(n)).unwrap();
        let tree = repo.find_tree(repo.index().unwrap().write_tree().unwrap()).unwrap();
        let who = git2::Signature::new("u", "u@example.org", &git2::Time::new(1_800_000_000, 0)).unwrap();
        let head = repo.head().unwrap().peel_to_commit().unwrap();
        repo.commit(Some("HEAD"), &who, &who, "staged", &tree, &[&head]).unwrap();
    }

    #[test]
    fn what_was_not_staged_stays() {
        for taken_in in [false, true] {
            let mut world = World::new(2);
            let path = world.root(0).join("a.md");
            std::fs::write(&path, "one\n").unwrap();
            world.sync();
            std::fs::write(&path, "one\ntwo\n").unwrap();
            stage(&world, 0, "a.md");
            std::fs::write(&path, "one\ntwo\nthree\n").unwrap();
            if taken_in {
                world.replicas[0].absorb(&Default::default(), &mut crate::world::quiet()).unwrap();
            }
            commit_staged(&world, 0);
            world.sync();
            world.assert_equal();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n", "{taken_in}");
        }
    }

    #[test]
    fn a_commit_takes_out_nothing_that_came_meanwhile() {
        let mut world = World::new(2);
        let (path, other) = (world.root(0).join("a.md"), world.root(1).join("a.md"));
        std::fs::write(&path, "one\n").unwrap();
        std::fs::write(world.root(0).join("c.md"), "to go\n").unwrap();
        world.sync();
        std::fs::write(&other, "zero\none\n").unwrap();
        std::fs::write(world.root(1).join("b.md"), "b of the other\n").unwrap();
        std::fs::write(world.root(1).join("c.md"), "kept\n").unwrap();
        world.commit(1);
        while world.deliver(1, 0, 1 << 20) > 0 {}
        std::fs::write(&path, "one\ntwo\n").unwrap();
        std::fs::write(world.root(0).join("b.md"), "b of this one\n").unwrap();
        std::fs::remove_file(world.root(0).join("c.md")).unwrap();
        commit(&world, 0);
        world.sync();
        world.assert_equal();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "zero\none\ntwo\n");
        assert_eq!(std::fs::read_to_string(world.root(0).join("c.md")).unwrap(), "kept\n");
        let b = std::fs::read_to_string(world.root(0).join("b.md")).unwrap();
        assert!(b.contains("b of the other\n") && b.contains("b of this one\n"), "{b}");
    }

    #[test]
    fn a_commit_made_before_git_followed_is_whole_elsewhere() {
        let mut world = World::new(2);
        std::fs::write(world.root(0).join("a.md"), "one\n").unwrap();
        world.sync();
        std::fs::write(world.root(0).join("a.md"), "one\ntwo\n").unwrap();
        world.replicas[0].absorb(&Default::default(), &mut crate::world::quiet()).unwrap();
        let by_hand = commit(&world, 0);
        world.commit(0);
        std::fs::write(world.root(0).join("A.md"), "other\n").unwrap();
        let beside = commit(&world, 0);
        world.commit(0);
        while world.deliver(0, 1, 1 << 20) > 0 {}
        let apart = world.replicas[1].apart_wanted().unwrap();
        let tips: Vec<_> = apart.iter().map(|named| crate::project::oid(&named.git()).unwrap()).collect();
        assert!(tips.contains(&by_hand) && tips.contains(&beside), "{tips:?}");
    }

    #[test]
    fn a_commit_that_frees_a_name_which_another_file_claims_is_whole_elsewhere() {
        let mut world = World::new(2);
        for name in ["a.md", "b.md"] {
            std::fs::write(world.root(0).join(name), name).unwrap();
        }
        world.sync();
        for (n, from, to) in [(0, "a.md", "n.md"), (1, "b.md", "N.md")] {
            std::fs::rename(world.root(n).join(from), world.root(n).join(to)).unwrap();
        }
        world.sync();
        // The name it had goes to the other, which stood beside it.
        let file = if world.root(0).join("n.md").exists() { "n.md" } else { "N.md" };
        std::fs::rename(world.root(0).join(file), world.root(0).join("r.md")).unwrap();
        let by_hand = commit(&world, 0);
        world.commit(0);
        while world.deliver(0, 1, 1 << 20) > 0 {}
        let apart = world.replicas[1].apart_wanted().unwrap();
        let tips: Vec<_> = apart.iter().map(|named| crate::project::oid(&named.git()).unwrap()).collect();
        assert!(tips.contains(&by_hand), "{tips:?}");
    }

    /// Takes a commit of device 0 in on both, and checks that device 1 has it or knows to ask for it.
    fn taken_in(world: &mut World, by_hand: git2::Oid) {
        world.commit(0);
        while world.deliver(0, 1, 1 << 20) > 0 {}
        let apart = world.replicas[1].apart_wanted().unwrap();
        let asked = apart.iter().any(|named| crate::project::oid(&named.git()).unwrap() == by_hand);
        world.commit(1);
        let has = world.replicas[1].repo.odb().unwrap().exists(by_hand);
        assert!(has || asked, "{by_hand} is missing on the other device");
        assert_eq!(world.files(0), world.files(1));
    }

    #[test]
    fn equal_files_that_a_commit_removes_are_gone() {
        let mut world = World::new(2);
        for name in ["a.md", "b.md", "c.md"] {
            std::fs::write(world.root(0).join(name), "").unwrap();
        }
        world.sync();
        for name in ["a.md", "b.md"] {
            std::fs::remove_file(world.root(0).join(name)).unwrap();
        }
        let by_hand = commit(&world, 0);
        taken_in(&mut world, by_hand);
        assert_eq!(world.replicas[1].projected_head().unwrap(), Some(by_hand));
        assert_eq!(world.files(1).into_keys().collect::<Vec<_>>(), ["c.md"]);
    }

    #[test]
    fn a_folder_of_equal_files_that_a_commit_renames_keeps_its_documents() {
        let mut world = World::new(2);
        std::fs::create_dir(world.root(0).join("drafts")).unwrap();
        for name in ["drafts/a.md", "drafts/b.md", "drafts/c.md"] {
            std::fs::write(world.root(0).join(name), "same\n").unwrap();
        }
        world.sync();
        let doc = |world: &World, path: &str| world.replicas[0].doc_at(path).unwrap();
        let before = ["a", "b", "c"].map(|name| doc(&world, &format!("drafts/{name}.md")));
        std::fs::rename(world.root(0).join("drafts"), world.root(0).join("archive")).unwrap();
        let by_hand = commit(&world, 0);
        taken_in(&mut world, by_hand);
        assert_eq!(world.replicas[1].projected_head().unwrap(), Some(by_hand));
        assert_eq!(
            world.files(1).into_keys().collect::<Vec<_>>(),
            ["archive/a.md", "archive/b.md", "archive/c.md"]
        );
        assert_eq!(["a", "b", "c"].map(|name| doc(&world, &format!("archive/{name}.md"))), before);
    }

    #[test]
    fn a_folder_that_a_commit_renames_takes_along_what_is_made_in_it_elsewhere() {
        let mut world = World::new(2);
        std::fs::create_dir(world.root(0).join("d")).unwrap();
        for name in ["a.md", "b.md"] {
            std::fs::write(world.root(0).join("d").join(name), format!("in {name}\n")).unwrap();
        }
        world.sync();
        std::fs::rename(world.root(0).join("d"), world.root(0).join("e")).unwrap();
        let by_hand = commit(&world, 0);
        world.commit(0);
        assert_eq!(world.replicas[0].projected_head().unwrap(), Some(by_hand));
        std::fs::write(world.root(1).join("d/new.md"), "new\n").unwrap();
        world.sync();
        world.assert_equal();
        let names: Vec<String> = world.files(1).into_keys().collect();
        assert_eq!(names, ["e/a.md", "e/b.md", "e/new.md"]);
    }

    #[test]
    fn a_renamed_file_that_became_a_program_is_one() {
        use std::os::unix::fs::PermissionsExt as _;
        let mut world = World::new(2);
        std::fs::write(world.root(0).join("a.sh"), "true\n").unwrap();
        world.sync();
        let (old, new) = (world.root(0).join("a.sh"), world.root(0).join("b.sh"));
        std::fs::rename(&old, &new).unwrap();
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
        let by_hand = commit(&world, 0);
        taken_in(&mut world, by_hand);
        assert_eq!(world.replicas[1].projected_head().unwrap(), Some(by_hand));
        let mode = std::fs::metadata(world.root(1).join("b.sh")).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111);
    }

    #[test]
    fn a_file_that_became_a_link_by_a_commit_is_one() {
        let mut world = World::new(2);
        for name in ["a.md", "b.md"] {
            std::fs::write(world.root(0).join(name), name).unwrap();
        }
        world.sync();
        std::fs::remove_file(world.root(0).join("a.md")).unwrap();
        std::os::unix::fs::symlink("b.md", world.root(0).join("a.md")).unwrap();
        let by_hand = commit(&world, 0);
        taken_in(&mut world, by_hand);
        let target = std::fs::read_link(world.root(1).join("a.md")).unwrap();
        assert_eq!(target.to_str(), Some("b.md"));
        std::fs::remove_file(world.root(1).join("a.md")).unwrap();
        std::fs::write(world.root(1).join("a.md"), "a file again\n").unwrap();
        world.sync();
        world.assert_equal();
        assert!(!world.root(0).join("a.md").is_symlink());
        assert_eq!(std::fs::read(world.root(0).join("a.md")).unwrap(), b"a file again\n");
    }

    #[test]
    fn the_first_commit_of_a_vault_is_taken_in() {
        let mut world = World::new(2);
        std::fs::write(world.root(0).join("a.md"), "one\n").unwrap();
        let by_hand = commit(&world, 0);
        std::fs::write(world.root(0).join("b.md"), "two\n").unwrap();
        world.sync();
        world.assert_equal();
        let (head, repo) = (world.replicas[0].projected_head().unwrap().unwrap(), &world.replicas[0].repo);
        assert!(repo.graph_descendant_of(head, by_hand).unwrap());
        assert_eq!(repo.refname_to_id("refs/heads/main").unwrap(), head);
    }
}
