//! Work that others pushed to a git remote from a plain clone: taken in as records that carry it, at the version that it
//! was made from (I6). A rewritten branch is one difference; whatever it left out stays (I2).

use std::collections::BTreeSet;

use aios_core::align::merge_lines;
use aios_core::frontier::{Place, View};
use aios_core::id::{DocId, GitId};
use aios_core::item::{Base, Bytes, Item, Mode};
use aios_core::namespace::Namespace;
use aios_core::patch;
use aios_core::path;
use aios_core::record::Author;
use git2::{ObjectType, Oid};

use crate::absorb::Absorbed;
use crate::author::Draft;
use crate::change::PathChange;
use crate::error::Error;
use crate::git;
use crate::held::named;
use crate::project::{git_id, oid};
use crate::vault::{Progress, Vault};
use crate::written::Written;

/// A version that pushed work may have been made from.
#[derive(Debug, Clone)]
struct Ground {
    /// Its tree; none before the first commit.
    root: Option<Oid>,
    /// The records that it stands for; absent where no set of records has that tree.
    view: Option<View>,
}

/// A pushed file beside what is here.
struct Pushed<'p> {
    at: &'p str,
    old: Option<(u32, Oid)>,
    mode: Mode,
    bytes: Vec<u8>,
}

impl Vault {
    /// Takes in what the commit `theirs` has and this replica's history has not. `before` is where their branch was when last
    /// seen: one that does not descend from it was rewritten.
    ///
    /// # Errors
    /// What git, disk and database answer.
    pub fn absorb_pushed(
        &mut self,
        theirs: &GitId,
        before: Option<&GitId>,
        progress: Progress<'_>,
    ) -> Result<Absorbed, Error> {
        let mut out = Absorbed::default();
        let tip = oid(theirs)?;
        let Some(point) = self.transaction(|vault| vault.project(&mut |_, _, _| {}))? else { return Ok(out) };
        if point.commit == tip
            || self.repo.graph_descendant_of(point.commit, tip).unwrap_or(false)
            || self.view_of_commit(tip)?.is_some()
        {
            return Ok(out);
        }
        let ahead = self.ahead(point.commit, tip)?;
        if !self.may_write() || self.awaits_records(&ahead)? {
            return Ok(out);
        }
        // What they made on top of held records is theirs, those are not.
        let held = self.held_commits(&ahead)?;
        if held.contains(&tip) {
            out.record = Some(self.seal_over(tip, progress)?);
            return Ok(out);
        }
        let base = ahead.iter().find(|commit| held.contains(commit)).copied();
        let base = base.or_else(|| self.repo.merge_base(point.commit, tip).ok());
        let before = before.map(oid).transpose()?;
        let rewritten =
            before.filter(|old| *old != tip && !self.repo.graph_descendant_of(tip, *old).unwrap_or(false));
        let chain = match (rewritten, base) {
            (None, Some(base)) => self.chain(base, tip)?,
            _ => None,
        };
        match chain {
            Some(commits) => {
                for commit in commits {
                    self.absorb_pushed_commit(commit, &mut out, progress)?;
                }
            }
            None => {
                let mut grounds = vec![self.ground(base)?];
                if let Some(old) = rewritten {
                    grounds.push(self.ground(Some(old))?);
                }
                self.absorb_pushed_tree(tip, grounds, &mut out, progress)?;
            }
        }
        Ok(out)
    }

    /// The commits that `tip` has and `head` has not, children before parents.
    fn ahead(&self, head: Oid, tip: Oid) -> Result<Vec<Oid>, Error> {
        let walking = || git::Error::git("walking pushed commits");
        let mut walk = self.repo.revwalk().map_err(walking())?;
        walk.set_sorting(git2::Sort::TOPOLOGICAL).map_err(walking())?;
        walk.push(tip).and_then(|()| walk.hide(head)).map_err(walking())?;
        walk.map(|commit| Ok(commit.map_err(walking())?)).collect()
    }

    /// Whether any of these commits are those of records that are not here: they come with their log.
    fn awaits_records(&self, commits: &[Oid]) -> Result<bool, Error> {
        let mut known = self.db.prepare_cached("SELECT EXISTS(SELECT 1 FROM record WHERE id = ?)")?;
        for commit in commits {
            for id in named(&git::commit(&self.repo, *commit)?.message) {
                // One that is here is in a commit that somebody amended.
                if !known.query_row([id.as_bytes()], |row| row.get::<_, bool>(0))? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn ground(&mut self, commit: Option<Oid>) -> Result<Ground, Error> {
        let Some(commit) = commit else { return Ok(Ground { root: None, view: Some(View::new()) }) };
        // An object that a rewritten branch left behind may be gone.
        let Ok(root) = self.root_of(commit) else { return Ok(Ground { root: None, view: None }) };
        // Records without a commit may have come since: they change no file.
        let view = match self.projected_head()? == Some(commit) {
            true => Some(self.view.clone()),
            false => self.view_of_commit(commit)?,
        };
        Ok(Ground { root: Some(root), view })
    }

    fn absorb_pushed_commit(
        &mut self,
        commit: Oid,
        out: &mut Absorbed,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let parent = git::commit(&self.repo, commit)?.parents.first().copied();
        let ground = self.ground(parent)?;
        self.absorb_pushed_tree(commit, vec![ground], out, progress)
    }

    /// Takes in what differs between the first of `grounds` and `commit`, each file as an edit of the nearest of them.
    fn absorb_pushed_tree(
        &mut self,
        commit: Oid,
        grounds: Vec<Ground>,
        out: &mut Absorbed,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let (_, raw) = git::read(&self.repo, commit)?;
        let parsed = git::Commit::parse(commit, &raw)?;
        let diffs = {
            let mut objects = git::Loose::new(&self.repo, false)?;
            git::diff_trees(&mut objects, grounds.first().and_then(|ground| ground.root), Some(parsed.tree))?
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (name, email) = (text(&parsed.author.name), text(&parsed.author.email));
        let mut draft = Draft {
            actor: format!("git:{name}"),
            message: plain(&text(&parsed.message)),
            author: Some(Author { name, email }),
            ..Draft::default()
        };
        self.transaction(|vault| {
            let whole = vault.items_of_pushed(&diffs, &grounds, &mut draft, out)?;
            let head = vault.projected_head()?;
            // Made from exactly what is here: the record's commit is theirs, byte for byte.
            let own = grounds.len() == 1 && head.is_some() && parsed.parents[..] == [head.unwrap_or(commit)];
            match own && whole {
                true => draft.push(Item::Commit { raw: Bytes(raw), git: git_id(&commit) }),
                false => vault.push_history(commit, &mut draft)?,
            }
            out.record = Some(vault.author_records(draft)?);
            vault.refresh(progress)?;
            vault.project(progress).map(|_| ())
        })
    }

    /// The items that bring a difference of trees. Says whether all of it could be followed as it stands.
    fn items_of_pushed(
        &mut self,
        diffs: &[git::Diff],
        grounds: &[Ground],
        draft: &mut Draft,
        out: &mut Absorbed,
    ) -> Result<bool, Error> {
        let Some(first) = grounds.first() else { return Ok(true) };
        let mut whole = first.view.as_ref() == Some(&self.view);
        let mut gone: Vec<(Oid, DocId, String)> = Vec::new();
        let mut new = Vec::new();
        for diff in diffs {
            let Ok(at) = String::from_utf8(diff.path.clone()) else {
                whole = false;
                continue;
            };
            let doc = self.doc_in(&at, first.view.as_ref())?;
            match (doc, diff.old, diff.new) {
                (Some(doc), Some((_, old)), None) => gone.push((old, doc, at)),
                (_, _, None) => {}
                (doc, old, Some(file)) => new.push((doc, at, old, file)),
            }
        }
        let added: Vec<&str> =
            new.iter().filter(|(doc, ..)| doc.is_none()).map(|(_, at, ..)| at.as_str()).collect();
        whole &= !self.any_collides(&added)?;
        for (doc, at, old, (mode, blob)) in new {
            let Some(mode) = git::file_mode(mode) else {
                whole = false;
                continue;
            };
            if path::check(&at).is_err() {
                whole = false;
                continue;
            }
            if doc.is_none()
                && let Some(n) = self.renamed(&gone, &at, mode, blob)?
            {
                let (_, moved, from) = gone.remove(n);
                let now = self.placement(&moved)?;
                // Who moved it meanwhile knew of the newer version.
                if let Some(now) = now.filter(|now| now.path == from) {
                    out.changed.push(PathChange::new(&at, format!("renamed from {from}")));
                    draft.push(Item::Move { doc: moved, path: at });
                    if now.differs(mode) {
                        draft.push(Item::Mode { doc: moved, mode });
                    }
                }
                continue;
            }
            let bytes = git::read(&self.repo, blob)?.1;
            self.bring(doc, Pushed { at: &at, old, mode, bytes }, grounds, draft, out)?;
        }
        for (old, doc, at) in gone {
            // Delete against edit keeps the edit (I5).
            match self.placement(&doc)? {
                Some(now) if now.content.git == git_id(&old) => {
                    out.changed.push(PathChange::new(&at, "deleted"));
                    draft.push(Item::Delete { doc });
                }
                Some(_) => out.changed.push(PathChange::new(&at, "kept: deleted there, edited here")),
                None => {}
            }
        }
        Ok(whole && self.changes_as(diffs, draft.items.iter().map(|(item, _)| item))?)
    }

    /// Whether a path that is to be added may not get its very name, where case alone tells two apart; or a document stands beside
    /// the name it claims, which what is to be moved or deleted may free.
    pub(crate) fn any_collides(&self, added: &[&str]) -> Result<bool, Error> {
        let beside = "SELECT EXISTS(SELECT 1 FROM doc WHERE path != claim)";
        if self.db.prepare_cached(beside)?.query_row([], |row| row.get(0))? {
            return Ok(true);
        }
        let history = self.history();
        let mut space = Namespace::new(&history, self.view.clone())?;
        let mut folded = BTreeSet::new();
        for at in added {
            let at = path::fold(at);
            let mut above = at.rsplit_once('/').map(|(above, _)| above);
            while let Some(folder) = above {
                if !space.claiming(folder)?.is_empty() {
                    return Ok(true);
                }
                above = folder.rsplit_once('/').map(|(above, _)| above);
            }
            if !space.claiming(&at)?.is_empty() || !space.below(&at)?.is_empty() || !folded.insert(at) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The document at a path in a view; now, where no view is given.
    pub(crate) fn doc_in(&self, at: &str, view: Option<&View>) -> Result<Option<DocId>, Error> {
        let Some(view) = view.filter(|view| **view != self.view) else { return self.doc_at(at) };
        let history = self.history();
        let mut space = Namespace::new(&history, view.clone())?;
        let folded = path::fold(at);
        let mut docs = space.claiming(&folded)?;
        if let Some(claim) = path::unsuffixed(&folded) {
            docs.extend(space.claiming(&claim)?);
        }
        for doc in docs {
            if space.place(&doc)?.is_some_and(|placed| placed.path == at) {
                return Ok(Some(doc));
            }
        }
        Ok(None)
    }

    /// The text of a file in the tree of a ground.
    fn text_in(&self, ground: &Ground, at: &str) -> Result<Option<String>, Error> {
        let Some(root) = ground.root else { return Ok(None) };
        let mut objects = git::Loose::new(&self.repo, false)?;
        let Some((_, blob)) = git::lookup(&mut objects, root, at.as_bytes())? else { return Ok(None) };
        match git::read(&self.repo, blob) {
            Ok((ObjectType::Blob, bytes)) => Ok(String::from_utf8(bytes).ok()),
            _ => Ok(None),
        }
    }

    /// The ground from which a text is nearest; of several the last, which is what its writer saw last.
    fn nearest<'g>(
        &self,
        grounds: &'g [Ground],
        at: &str,
        new: Option<&str>,
    ) -> Result<Option<&'g Ground>, Error> {
        let (Some(new), [_, _, ..]) = (new, grounds) else { return Ok(grounds.first()) };
        let mut best: Option<(usize, &Ground)> = None;
        for ground in grounds {
            let Some(old) = self.text_in(ground, at)? else { continue };
            let distance = patch::diff(&old, new).distance();
            if best.is_none_or(|(least, _)| distance <= least) {
                best = Some((distance, ground));
            }
        }
        Ok(best.map(|(_, ground)| ground).or(grounds.first()))
    }

    /// Brings one pushed file in.
    fn bring(
        &mut self,
        doc: Option<DocId>,
        file: Pushed<'_>,
        grounds: &[Ground],
        draft: &mut Draft,
        out: &mut Absorbed,
    ) -> Result<(), Error> {
        let Pushed { at, old, mode, bytes } = file;
        let text = std::str::from_utf8(&bytes).ok().map(str::to_owned);
        let ground = self.nearest(grounds, at, text.as_deref())?.cloned();
        let view = ground.as_ref().and_then(|ground| ground.view.clone());
        // In that version the file may not have been there yet, or no longer.
        let known = match &view {
            Some(view) => self.doc_in(at, Some(view))?.or(doc),
            None => doc.or(self.doc_at(at)?),
        };
        let Some(doc) = known else { return self.bring_new(at, mode, bytes, view, draft, out) };
        let now = self.placement(&doc)?;
        let was = old.map(|(mode, _)| mode);
        if let Some(now) = &now
            && now.differs(mode)
            && was.is_some_and(|was| was == now.mode.bits() && was != mode.bits())
        {
            draft.push(Item::Mode { doc, mode });
        }
        let link = mode == Mode::Link;
        let written = Written { link, ..Written::file(bytes) };
        if now.as_ref().is_some_and(|now| written.stands(now)) {
            return Ok(());
        }
        let (content, bytes) = (written.content, written.bytes.unwrap_or_default());
        let (bytes, stale) = match view {
            Some(view) => (bytes, Some(view).filter(|view| *view != self.view)),
            // No records stand for what it was made from: its difference is brought to what is here.
            None => (self.rebased(&doc, at, ground.as_ref(), bytes)?, None),
        };
        if let Some(view) = &stale
            && self.version(&doc, view)?.is_none_or(|then| then.content.hash == content.hash)
        {
            return Ok(());
        }
        let written = Written { link, ..Written::file(bytes) };
        if let Some(edited) = self.edit_at(&doc, at, written, stale)? {
            draft.items.push((edited.item, edited.payload));
            out.changed.push(PathChange::new(at, "modified"));
        }
        Ok(())
    }

    fn bring_new(
        &mut self,
        at: &str,
        mode: Mode,
        bytes: Vec<u8>,
        view: Option<View>,
        draft: &mut Draft,
        out: &mut Absorbed,
    ) -> Result<(), Error> {
        let author = Place { device: self.replica.device, seq: self.next_seq()? };
        let stale = view.filter(|view| *view != self.view);
        let seen = stale.clone().unwrap_or_else(|| self.view.clone());
        let history = self.history();
        let after = Namespace::new(&history, seen)?.after(at, author, draft.items.len())?;
        let doc = DocId::of(&self.replica.vault, &path::fold(at), &after);
        let written = Written { link: mode == Mode::Link, ..Written::file(bytes) };
        let kind = written.kind(at);
        let Written { content, bytes, .. } = written;
        let payload = if kind.inline() { bytes.unwrap_or_default() } else { Vec::new() };
        let base = Base { base: stale, rank: None };
        out.changed.push(PathChange::new(at, "added"));
        let path = at.to_owned();
        draft.items.push((Item::Create { doc, path, after, kind, mode, content, base }, payload));
        Ok(())
    }

    /// What is here with the difference between `ground` and `new` in it, by line; `new` where one of them is no text.
    fn rebased(
        &mut self,
        doc: &DocId,
        at: &str,
        ground: Option<&Ground>,
        new: Vec<u8>,
    ) -> Result<Vec<u8>, Error> {
        let Some(now) = self.placement(doc)? else { return Ok(new) };
        let here = match self.document_bytes(doc, &now.content) {
            Ok(here) => here,
            Err(Error::Apart(_)) => return Ok(new),
            Err(e) => return Err(e),
        };
        let old = match ground {
            Some(ground) => self.text_in(ground, at)?.unwrap_or_default(),
            None => String::new(),
        };
        Ok(match (std::str::from_utf8(&here), std::str::from_utf8(&new)) {
            (Ok(here), Ok(new)) => merge_lines(&old, here, new).into_bytes(),
            _ => new,
        })
    }
}

/// A message without the trailers of the projection, which an amended commit still has.
fn plain(message: &str) -> String {
    let ours = ["Aios-Record: ", "Aios-Device: ", "Aios-Actor: ", "Aios-Merge: "];
    let lines = message.lines().filter(|line| !ours.iter().any(|trailer| line.starts_with(trailer)));
    lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}
