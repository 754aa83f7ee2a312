//! Turning what is on disk into records. A save is an edit of the version its writer had in front of them (I6);
//! nothing is overwritten before it is in the log (I2).

use std::collections::BTreeSet;

use aios_core::clock::Stamp;
use aios_core::delta::Delta;
use aios_core::document::DocumentError;
use aios_core::fold::{self, Text};
use aios_core::frontier::{Place, View};
use aios_core::history::{Act, History, Touch};
use aios_core::id::{ContentHash, DocId, RecordId};
use aios_core::item::{Base, Content, Item, Kind, Mode};
use aios_core::patch;
use aios_core::planted::{Bug, planted};

use crate::author::Draft;
use crate::base::Over;
use crate::chance;
use crate::change::{PathChange, describe};
use crate::disk;
use crate::error::Error;
use crate::file::{By, FileRow};
use crate::git;
use crate::open::AHEAD;
use crate::survey::{Problem, Saved, Survey};
use crate::vault::{Progress, Vault};
use crate::written::Written;

/// How often it is looked whether git is done, and how long to wait in between.
const GIT_TRIES: usize = 100;
const GIT_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
/// Text above this that is replaced for more than half starts anew.
const REPLACE_ABOVE: usize = 64 << 10;

/// What was taken in.
#[derive(Debug, Clone, Default)]
pub struct Absorbed {
    /// The record, if anything changed.
    pub record: Option<RecordId>,
    /// What changed.
    pub changed: Vec<PathChange>,
    /// What stood in the way; the rest went on.
    pub problems: Vec<Problem>,
    /// What is to be known of what was taken in.
    pub notes: Vec<Problem>,
    /// Whether there is something new that only a look at all takes in.
    pub came: bool,
}

/// How to take in.
#[derive(Debug, Clone, Default)]
pub struct AbsorbOptions {
    /// The message; made up where absent.
    pub message: Option<String>,
    /// Whether a mass deletion is meant.
    pub deletions: bool,
}

/// The content of a document in the making: the item, its payload, and the file it stands for.
pub(crate) struct Edited {
    pub item: Item,
    pub payload: Vec<u8>,
    /// The base of a stale save.
    pub stale: Option<View>,
}

/// What is noted of a file once its record is written.
pub(crate) enum After {
    /// The user saved this, from the newest version or from an older one.
    Saved { doc: DocId, saved: SavedFile, stale: Option<View> },
    /// The same content at a path, perhaps a new one.
    Same { doc: DocId, saved: SavedFile },
    /// Nothing of ours is there any more.
    Gone { path: String },
}

/// A file as it was saved.
pub(crate) struct SavedFile {
    pub found: disk::Found,
    pub hash: ContentHash,
    pub git: aios_core::id::GitId,
}

/// A save that stood aside, as it was taken in.
pub(crate) struct Aside {
    pub content: Content,
    /// The older version it was made from.
    pub stale: Option<View>,
    /// Whether it made a record.
    pub news: bool,
}

impl Absorbed {
    /// What was taken in after that.
    fn add(&mut self, later: Absorbed) {
        self.record = later.record.or(self.record);
        self.changed.extend(later.changed);
        self.problems.extend(later.problems);
        self.notes.extend(later.notes);
        self.came |= later.came;
    }
}

impl Vault {
    /// Whether git's state lets aios read and write the working files; says why not.
    pub fn paused(&self) -> Result<Option<String>, Error> {
        Ok(match git::state(&self.repo)? {
            git::State::Normal => None,
            git::State::Detached => Some("HEAD is a commit, not the branch main".into()),
            git::State::OtherBranch(name) => {
                Some(format!("git is on branch {}", name.strip_prefix("refs/heads/").unwrap_or(&name)))
            }
            git::State::Merging => Some("a git merge is open".into()),
            git::State::Rebasing => Some("a git rebase is open".into()),
            git::State::Bisecting => Some("a git bisect is open".into()),
            git::State::CherryPicking => Some("a git cherry-pick is open".into()),
            git::State::Reverting => Some("a git revert is open".into()),
        })
    }

    /// Takes in what changed on disk as one record.
    pub fn absorb(&mut self, options: &AbsorbOptions, progress: Progress<'_>) -> Result<Absorbed, Error> {
        let mut out = Absorbed::default();
        let survey = self.at_rest(|vault| {
            out.add(vault.absorb_before(progress)?);
            vault.survey_of(options.deletions, progress)
        })?;
        if survey.mass_deletion() && !options.deletions {
            return Err(Error::MassDeletion { missing: survey.missing.len(), tracked: survey.known });
        }
        self.transaction(|vault| {
            vault.note_nested(&survey.nested)?;
            vault.absorb_survey(survey, options, &mut out)?;
            vault.refresh(progress)
        })?;
        Ok(self.told(out))
    }

    /// As [`Vault::absorb`], looking only at `paths`, where something is said to have been saved. `None`: something went or changed
    /// places, and only a look at all tells what became of it.
    pub fn absorb_at(
        &mut self,
        paths: &BTreeSet<String>,
        progress: Progress<'_>,
    ) -> Result<Option<Absorbed>, Error> {
        let mut out = Absorbed::default();
        let survey = self.at_rest(|vault| {
            out.add(vault.absorb_before(progress)?);
            vault.survey_at(paths)
        })?;
        let Some(survey) = survey else {
            self.untold.extend(out.notes);
            return Ok(None);
        };
        out.came = survey.came;
        if survey.is_empty() {
            return Ok(Some(self.told(out)));
        }
        self.transaction(|vault| {
            vault.absorb_survey(survey, &AbsorbOptions::default(), &mut out)?;
            vault.refresh(progress)?;
            vault.pass_over()
        })?;
        Ok(Some(self.told(out)))
    }

    /// Looks at the files while git is not at work in the folder: what it writes before it says of which branch or merge that is would
    /// look like saves.
    fn at_rest<T>(&mut self, mut look: impl FnMut(&mut Vault) -> Result<T, Error>) -> Result<T, Error> {
        for _ in 0..GIT_TRIES {
            let before = git::Mark::of(&self.repo);
            if before.is_locked() {
                chance::pause(GIT_PAUSE);
                continue;
            }
            let found = look(self)?;
            // What this wrote itself says nothing.
            let seen = git::Mark::of(&self.repo);
            if seen.index() != self.indexed
                && let Some(rest) = seen.unsaid()
            {
                chance::pause(rest);
            }
            if git::Mark::of(&self.repo).is_after(&before, self.indexed) {
                return Ok(found);
            }
        }
        Err(Error::Paused("git is at work in the folder, and holds its index".into()))
    }

    /// What comes before a look at files: the log is shown, and what was committed with git is in.
    fn absorb_before(&mut self, progress: Progress<'_>) -> Result<Absorbed, Error> {
        self.check_writes()?;
        let went_on = self.go_on()?;
        if let Some(why) = self.paused()? {
            return Err(Error::Paused(why));
        }
        let note = |problem| Problem { path: String::new(), problem, hint: String::new() };
        // Whatever stops what follows, it is told some time.
        self.untold.extend(went_on.map(note));
        let mut out = Absorbed::default();
        if self.shown != self.view {
            // The log was ahead of the database: a crash between the two.
            self.transaction(|vault| vault.refresh(progress))?;
        }
        if self.shown != self.view {
            // What is on disk is of an older state, and would be read as edits of the newest (I6).
            return Err(Error::Untold);
        }
        let set_back = self.tell_set_back(progress)?;
        self.untold.extend(set_back.map(note));
        match self.absorb_commits(&mut out, progress) {
            Err(Error::Apart(_)) => Err(Error::Untold),
            done => done.map(|()| out),
        }
    }

    /// Adds what was done before.
    fn told(&mut self, mut out: Absorbed) -> Absorbed {
        out.notes.splice(0..0, std::mem::take(&mut self.untold));
        out
    }

    fn absorb_survey(
        &mut self,
        survey: Survey,
        options: &AbsorbOptions,
        out: &mut Absorbed,
    ) -> Result<(), Error> {
        self.absorb_into(Draft::operator(String::new()), survey, options, out)?;
        out.notes.extend(self.kept_around(&out.changed)?);
        Ok(())
    }

    /// Adds what a survey found to a transaction and writes it.
    pub(crate) fn absorb_into(
        &mut self,
        mut draft: Draft,
        mut survey: Survey,
        options: &AbsorbOptions,
        out: &mut Absorbed,
    ) -> Result<(), Error> {
        self.pass_blobs(&mut survey)?;
        out.problems.extend(survey.problems.iter().cloned());
        out.notes.extend(self.note_flaws(&survey)?);
        let mut after: Vec<After> = Vec::new();
        self.regain(&mut survey)?;
        let index = git::Index::read(&self.repo).ok();
        if index.as_ref().is_some_and(git::Index::has_conflicts) {
            return Err(Error::Paused("git left files in conflict".into()));
        }
        for (from, to) in survey.folders.steps {
            draft.push(Item::MoveDir { from, to });
        }
        for (from, to) in &survey.folders.moved {
            out.changed.push(PathChange::new(to, format!("folder renamed from {from}")));
        }
        for moved in survey.moved {
            let (row, to) = (moved.row, moved.to);
            let found = to.found.clone();
            // What cannot be taken in now is found where it is once more.
            let taken = match row.hash == to.hash {
                true => {
                    let saved = SavedFile { found: to.found, hash: row.hash, git: row.git };
                    self.mode_change(&row, &saved.found, &mut draft, out)?;
                    after.push(After::Same { doc: row.doc, saved });
                    true
                }
                false => self.absorb_save(&row, to, index.as_ref(), &mut draft, &mut after, out)?,
            };
            if !taken {
                continue;
            }
            after.push(After::Gone { path: row.path.clone() });
            // What is claimed may not be what it gets: a name that is taken leads back to the old path.
            self.db.prepare_cached("INSERT OR IGNORE INTO dirty VALUES(?)")?.execute([row.doc.as_bytes()])?;
            if !survey.folders.along.contains(&row.path) {
                draft.push(Item::Move { doc: row.doc, path: found.path.clone() });
                out.changed.push(PathChange::new(&found.path, format!("renamed from {}", row.path)));
            }
        }
        let mut modified = survey.modified.into_iter().peekable();
        while modified.peek().is_some() {
            let some: Vec<_> = modified.by_ref().take(AHEAD).collect();
            self.load_ahead_now(&some.iter().map(|(row, _)| row.doc).collect::<Vec<_>>())?;
            for (row, saved) in some {
                if let Some((doc, git)) = self.written_there(&row, &saved)? {
                    self.aios_wrote(&doc, &saved.hash, &git, &self.shown.clone())?;
                    let saved = SavedFile { found: saved.found, hash: saved.hash, git };
                    after.push(After::Same { doc, saved });
                    continue;
                }
                let _ = self.absorb_save(&row, saved, index.as_ref(), &mut draft, &mut after, out)?;
            }
        }
        for (row, found) in survey.touched {
            self.mode_change(&row, &found, &mut draft, out)?;
            after
                .push(After::Same { doc: row.doc, saved: SavedFile { found, hash: row.hash, git: row.git } });
        }
        for row in survey.missing {
            match self.placement(&row.doc)? {
                Some(placement) if row.shows(&placement) || planted(Bug::DeleteUnseen) => {
                    draft.push(Item::Delete { doc: row.doc });
                    out.changed.push(PathChange::new(&row.path, "deleted"));
                }
                // Whoever deleted it had not seen what came in meanwhile: that is kept and written again (I5).
                Some(_) => {
                    self.db
                        .prepare_cached("INSERT OR IGNORE INTO dirty VALUES(?)")?
                        .execute([row.doc.as_bytes()])?;
                    out.problems.push(Problem {
                        path: row.path.clone(),
                        problem: "deleted here while a change to it came in: it is kept".into(),
                        hint: "look at it, and delete it again if it is not needed".into(),
                    });
                }
                None => {}
            }
            after.push(After::Gone { path: row.path });
        }
        self.absorb_added(survey.added, &mut draft, &mut after, out)?;

        let fresh = !draft.items.is_empty();
        if fresh {
            if draft.message.is_empty() {
                draft.message = options.message.clone().unwrap_or_else(|| describe(&out.changed));
            }
            out.record = Some(self.author_records(draft)?);
        }
        self.note(after)
    }

    /// The user saved what was displaced: that is what they have in front of them, until they look at what was written.
    pub(crate) fn note_aside(&self, doc: &DocId, aside: Aside) -> Result<(), Error> {
        let Aside { content, stale, news } = aside;
        if !news {
            return Ok(());
        }
        let (view, by) = self.saved_from(stale);
        self.user_saved(doc, &content.hash, &content.git, &view, by)
    }

    /// What a save of this device's newest record stands for, given the older version it was made from.
    fn saved_from(&self, stale: Option<View>) -> (View, By) {
        match stale {
            None => (self.view.clone(), By::User),
            Some(mut view) => {
                let device = self.replica.device;
                view.add(Place { device, seq: self.view.get(&device) });
                (view, By::Insisting)
            }
        }
    }

    pub(crate) fn note(&mut self, after: Vec<After>) -> Result<(), Error> {
        // Paths are freed first, so that a swap of names ends with both.
        for step in &after {
            if let After::Gone { path } = step {
                self.drop_file(path)?;
            }
        }
        for step in after {
            match step {
                After::Gone { .. } => {}
                After::Same { doc, saved } => self.set_file(&doc, &saved.found, &saved.hash, &saved.git)?,
                After::Saved { doc, saved, stale } => {
                    self.set_file(&doc, &saved.found, &saved.hash, &saved.git)?;
                    let (view, by) = self.saved_from(stale);
                    self.user_saved(&doc, &saved.hash, &saved.git, &view, by)?;
                    self.db
                        .prepare_cached("INSERT OR IGNORE INTO dirty VALUES(?)")?
                        .execute([doc.as_bytes()])?;
                }
            }
        }
        Ok(())
    }

    /// Takes in a changed mode. Measured against the file as last known: a mode that came in meanwhile and is not on disk
    /// yet is not undone.
    fn mode_change(
        &mut self,
        row: &FileRow,
        found: &disk::Found,
        draft: &mut Draft,
        out: &mut Absorbed,
    ) -> Result<(), Error> {
        if row.found.exec == found.exec {
            return Ok(());
        }
        let Some(placement) = self.placement(&row.doc)? else { return Ok(()) };
        let mode = match found.exec {
            true => Mode::Executable,
            false => Mode::File,
        };
        if placement.mode != Mode::Link && placement.mode != mode {
            draft.push(Item::Mode { doc: row.doc, mode });
            out.changed.push(PathChange::new(&found.path, "mode"));
        }
        Ok(())
    }

    /// The document that aios itself put in the place of another, where a failing disk kept it from noting that.
    fn written_there(
        &self,
        row: &FileRow,
        saved: &Saved,
    ) -> Result<Option<(DocId, aios_core::id::GitId)>, Error> {
        let Some(doc) = self.doc_at(&row.path)?.filter(|doc| *doc != row.doc) else { return Ok(None) };
        let link = saved.found.kind == disk::Kind::Link;
        let placement = self.placement(&doc)?.filter(|placement| {
            let Content { hash, size, .. } = placement.content;
            // An editor that saves may have emptied what stood there.
            hash == saved.hash && size > 0 && link == (placement.kind == Kind::Link)
        });
        Ok(placement.map(|placement| (doc, placement.content.git)))
    }

    /// Takes in a save; `false` where it stays as it is for now.
    fn absorb_save(
        &mut self,
        row: &FileRow,
        saved: Saved,
        index: Option<&git::Index>,
        draft: &mut Draft,
        after: &mut Vec<After>,
        out: &mut Absorbed,
    ) -> Result<bool, Error> {
        // Of two files of a document each was made without the other: the second comes with a record of its own.
        if self.files_of(&row.doc)?.len() > 1
            && draft.items.iter().any(|(item, _)| item.doc() == Some(row.doc))
        {
            out.problems.push(doubled(&row.path));
            return Ok(false);
        }
        let found = saved.found.clone();
        let Some(written) = self.take_content(saved)? else {
            out.problems.push(changing(&found.path));
            return Ok(false);
        };
        let content = written.content;
        let file = SavedFile { found, hash: content.hash, git: content.git };
        let staged = index.and_then(|index| index.get(file.found.path.as_bytes()));
        let staged = staged
            .map(|(_, oid)| oid)
            .filter(|oid| crate::project::git_id(oid) == content.git && row.git != content.git);
        let current = self.placement(&row.doc)?.is_some_and(|placement| written.stands(&placement));
        let over = match staged {
            Some(oid) => self.over(row, &file.found.path, oid)?,
            None => Over::File(row.hash),
        };
        let edited = match self.edit(&row.doc, &file.found.path, written, over) {
            // It stays as it is, and is looked at again.
            Err(Error::Apart(_)) => {
                out.problems.push(untold(&file.found.path));
                return Ok(false);
            }
            edited => edited?,
        };
        self.mode_change(row, &file.found, draft, out)?;
        match edited {
            None if current => {
                self.user_saved(&row.doc, &content.hash, &content.git, &self.view.clone(), By::User)?;
                after.push(After::Same { doc: row.doc, saved: file });
            }
            None => {
                let insisted = self.shown_to_user(&row.doc)?.iter().any(|shown| shown.hash == content.hash);
                let doc = row.doc;
                if insisted {
                    self.insist(&doc, &content)?;
                }
                out.notes.push(put_back(&file.found.path, insisted));
                self.db.prepare_cached("INSERT OR IGNORE INTO dirty VALUES(?)")?.execute([doc.as_bytes()])?;
                after.push(After::Same { doc, saved: file });
            }
            Some(edited) => {
                out.changed.push(PathChange::new(&file.found.path, "modified"));
                draft.items.push((edited.item, edited.payload));
                after.push(After::Saved { doc: row.doc, saved: file, stale: edited.stale });
            }
        }
        Ok(true)
    }

    /// The user saved an older version unchanged: once may be an editor's habit, twice is meant.
    fn insist(&self, doc: &DocId, content: &Content) -> Result<(), Error> {
        self.db
            .prepare_cached("UPDATE shown SET by = 2 WHERE doc = ? AND hash = ?")?
            .execute(rusqlite::params![doc.as_bytes(), content.hash.as_bytes()])?;
        Ok(())
    }

    /// The item that makes a document's content what was saved; `None` if that changes nothing.
    pub(crate) fn edit(
        &mut self,
        doc: &DocId,
        path: &str,
        written: Written,
        over: Over,
    ) -> Result<Option<Edited>, Error> {
        let current = self.placement(doc)?;
        if current.as_ref().is_some_and(|current| written.stands(current)) {
            return Ok(None);
        }
        // Who puts a file where a link stands, or a link where a file does, has seen what is there: an editor writes through a link.
        let other = current.as_ref().is_some_and(|current| (current.kind == Kind::Link) != written.link);
        let base = match other {
            true => None,
            false => self.base_of(doc, &written.content, written.bytes.as_deref(), over)?,
        };
        let stale =
            base.filter(|base| current.as_ref().is_none_or(|current| current.content.hash != base.hash));
        if let Some(base) = &stale
            && base.hash == written.content.hash
        {
            return Ok(None);
        }
        self.edit_at(doc, path, written, stale.map(|base| base.view))
    }

    /// The item that turns a document's content in view `at` (now, where absent) into `written`.
    pub(crate) fn edit_at(
        &mut self,
        doc: &DocId,
        path: &str,
        written: Written,
        at: Option<View>,
    ) -> Result<Option<Edited>, Error> {
        let touches = self.history().touches(doc)?;
        let view = at.clone().unwrap_or_else(|| self.view.clone());
        // Deleted in the meantime: the save brings it back, from its last content (I5).
        let living: Vec<Touch> = touches.iter().filter(|touch| touch.act != Act::Delete).cloned().collect();
        let Some(found) = fold::fold(&living, &[], &view) else {
            return Err(Error::Document {
                doc: *doc,
                why: "it has no content at the base of the save".into(),
            });
        };
        let base = Base { base: at.clone(), rank: at.as_ref().and_then(|_| rank_of(&touches, &found.text)) };
        let kind = written.kind(path);
        let Written { content, bytes, .. } = written;
        let replace = |bytes: Option<Vec<u8>>| {
            let payload = if kind.inline() { bytes.unwrap_or_default() } else { Vec::new() };
            Edited {
                item: Item::Replace { doc: *doc, kind, content, base: base.clone() },
                payload,
                stale: at.clone(),
            }
        };
        let old_kind = found.text.kind();
        if !kind.is_text()
            || !old_kind.is_text()
            || matches!(found.text, Text::Lines { .. } | Text::Whole { .. })
        {
            return Ok(Some(replace(bytes)));
        }
        if kind.by_character() != old_kind.by_character() {
            return Ok(Some(replace(bytes)));
        }
        let old = self.bytes_of_text(doc, &touches, &view, &found.text)?;
        let (Ok(old), Some(Ok(new))) = (std::str::from_utf8(&old), bytes.as_deref().map(std::str::from_utf8))
        else {
            return Ok(Some(replace(bytes)));
        };
        let patch = patch::diff(old, new);
        if new.len().max(old.len()) > REPLACE_ABOVE && patch.distance() > new.len().max(old.len()) {
            return Ok(Some(replace(bytes)));
        }
        let from = ContentHash::of(old.as_bytes());
        let epoch = match &found.text {
            Text::One { epoch, .. } | Text::Characters { epoch, .. } => *epoch,
            _ => return Ok(Some(replace(bytes))),
        };
        let change = match old_kind.by_character() {
            false => None,
            true => {
                let actor = self.actor;
                let mut loaded = self.load(doc, epoch, old_kind, &touches, &view)?;
                let changes = loaded.heads(doc, found.text.all_heads())?;
                let ranks = loaded.ranks().clone();
                let edit = loaded.document.edit(&changes, &|change| ranks.get(change).copied(), new, &actor);
                match edit {
                    Ok(Some(edit)) => {
                        self.open.draft(loaded);
                        Some(edit.change)
                    }
                    Ok(None) => {
                        self.open.keep(loaded);
                        return Ok(None);
                    }
                    Err(DocumentError::Unfaithful) => return Ok(Some(replace(bytes))),
                    Err(e) => return Err(crate::text::document_error(doc, e)),
                }
            }
        };
        let (delta, payload) = Delta { patch, change }.pack();
        let item = Item::Edit { doc: *doc, epoch, from, delta, content, base };
        let keep = std::rc::Rc::new(new.as_bytes().to_vec());
        self.recent.keep(content.git, keep);
        Ok(Some(Edited { item, payload, stale: at }))
    }

    /// Takes in content that was displaced or left over, as a save of a document; `None` while it is still being written, or a text that
    /// others had forgotten is not explained.
    pub(crate) fn absorb_aside(
        &mut self,
        doc: &DocId,
        path: &str,
        saved: Saved,
    ) -> Result<Option<Aside>, Error> {
        if self.is_forgotten(doc)? {
            return self.regain_aside(path, saved);
        }
        let Some(written) = self.take_content(saved)? else { return Ok(None) };
        let content = written.content;
        let edited = match self.edit(doc, path, written, Over::Unknown) {
            Err(Error::Apart(_)) => return Ok(None),
            edited => edited?,
        };
        let Some(edited) = edited else {
            return Ok(Some(Aside { content, stale: None, news: false }));
        };
        let stale = edited.stale;
        let mut draft = Draft::operator(format!("Keep what was saved to {path} while it was written"));
        draft.items.push((edited.item, edited.payload));
        self.author_records(draft)?;
        self.db.prepare_cached("INSERT OR IGNORE INTO dirty VALUES(?)")?.execute([doc.as_bytes()])?;
        self.refresh(&mut |_, _, _| {})?;
        Ok(Some(Aside { content, stale, news: true }))
    }
}

/// The greatest rank among the heads of a text: what a save made from it competes with.
fn rank_of(touches: &[Touch], text: &Text) -> Option<Stamp> {
    let head = |touch: &&Touch| {
        text.heads().iter().any(|head| head.place == touch.place && head.index == touch.index)
    };
    touches.iter().filter(head).map(|touch| touch.rank).max()
}

/// What is said of an older version that was saved unchanged; `again`: whether saving it once more puts it there.
fn put_back(path: &str, again: bool) -> Problem {
    let hint = match again {
        true => "save it so once more if you mean it",
        false => "`aios log FILE` and `aios restore FILE --at COMMIT` bring an older version back",
    };
    Problem {
        path: path.into(),
        problem: "was saved as it was before a change that came in: it has that change again".into(),
        hint: hint.into(),
    }
}

/// What is said of a file that was written while it was read.
pub(crate) fn changing(path: &str) -> Problem {
    Problem {
        path: path.to_owned(),
        problem: "it changed while it was read".into(),
        hint: "the rest goes on; this file is taken in when its writer is done".into(),
    }
}

fn doubled(path: &str) -> Problem {
    Problem {
        path: path.to_owned(),
        problem: "another file of the same document was saved as well: a move of it was cut short".into(),
        hint: "run `aios sync` once more: each is taken in by itself".into(),
    }
}

/// What is said of a file whose text others had forgotten, as far as that is known.
pub(crate) fn untold(path: &str) -> Problem {
    Problem {
        path: path.to_owned(),
        problem: "another device has had it forgotten, and the word that says so has not come yet".into(),
        hint: "run `aios sync`; the rest goes on, and this file is taken in once it has come; where it never does, \
               `aios forget --unexplained` goes on without what was there"
            .into(),
    }
}
