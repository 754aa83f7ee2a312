//! Vaults in the vault: what lies in one is its own, and the vault around it neither reads nor writes it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aios_core::item::Item;
use aios_core::path;

use crate::author::Draft;
use crate::change::PathChange;
use crate::db;
use crate::error::Error;
use crate::layout::Layout;
use crate::survey::Problem;
use crate::vault::{Progress, Vault};

/// Where it is remembered which folders are vaults.
const META: &str = "nested";
/// Where it is remembered in which of them git leaves the files alone.
const LEFT_OUT: &str = "nested left out";

/// The vault around the folder `root`, if there is one.
pub fn around(root: &Path) -> Option<PathBuf> {
    let above = root.ancestors().skip(1);
    above.into_iter().find(|folder| is_vault(folder)).map(Path::to_owned)
}

fn is_vault(folder: &Path) -> bool {
    folder.join(".aios/replica.json").is_file()
}

/// A gitignore line for the folder at `path`.
fn ignoring(path: &str) -> String {
    let mut line = String::from("/");
    for c in path.chars() {
        if matches!(c, '\\' | '*' | '?' | '[') {
            line.push('\\');
        }
        line.push(c);
    }
    line.push('/');
    line
}

impl Vault {
    /// The vault in which a path of this one lies, if it is another: its folder.
    pub(crate) fn nested_at(&self, path: &str) -> Option<String> {
        let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
        folders.into_iter().find(|folder| is_vault(&self.root().join(folder))).map(str::to_owned)
    }

    /// Remembers which folders are vaults, for git to ignore them.
    pub(crate) fn note_nested(&self, nested: &BTreeSet<String>) -> Result<(), Error> {
        let bytes = serde_json::to_vec(nested).unwrap_or_default();
        match db::meta(&self.db, META)?.unwrap_or_else(|| b"[]".to_vec()) == bytes {
            true => Ok(()),
            false => db::set_meta(&self.db, META, &bytes),
        }
    }

    /// The folders that are vaults, as last seen.
    pub(crate) fn nested_folders(&self) -> Result<BTreeSet<String>, Error> {
        self.folders(META)
    }

    /// The folders in which git leaves the files alone, and the files that it leaves alone, as it was told last.
    pub(crate) fn nested_left_out(&self) -> Result<BTreeSet<String>, Error> {
        self.folders(LEFT_OUT)
    }

    fn folders(&self, key: &str) -> Result<BTreeSet<String>, Error> {
        let known = db::meta(&self.db, key)?;
        Ok(known.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
    }

    /// The lines that make git ignore the vaults in this one.
    pub(crate) fn nested_patterns(&self) -> Result<Vec<String>, Error> {
        Ok(self.nested_folders()?.iter().map(|path| ignoring(path)).collect())
    }

    /// A file of this vault may lie where another vault is by now, as one that was handed over and edited elsewhere meanwhile. Git knows it,
    /// so that ignoring does not help: `git commit -a` would carry that vault's bytes into this one.
    pub(crate) fn leave_nested_out(&mut self) -> Result<(), Error> {
        let (now, left_out) = (self.left_out()?, self.nested_left_out()?);
        if now == left_out {
            return Ok(());
        }
        crate::git::leave_out(&self.repo, &now, &left_out)?;
        // After it: who is killed between does it again.
        db::set_meta(&self.db, LEFT_OUT, &serde_json::to_vec(&now).unwrap_or_default())
    }

    /// Where git is to leave the work tree alone: vaults in this one, and files whose bytes are elsewhere until they are asked for.
    pub(crate) fn left_out(&self) -> Result<BTreeSet<String>, Error> {
        let mut out = self.nested_folders()?;
        out.append(&mut self.away_paths()?);
        Ok(out)
    }

    /// The documents of this vault in `folder`.
    ///
    /// # Errors
    /// What the database answers.
    pub fn documents_in(&self, folder: &str) -> Result<Vec<String>, Error> {
        let mut get = self.db.prepare_cached("SELECT path FROM doc ORDER BY path")?;
        let paths = get.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        Ok(paths.into_iter().filter(|at| path::below(at, folder).is_some()).collect())
    }

    /// Deletes the documents in `folder`, which is a vault of its own by now: the files stay, and are that vault's. On other
    /// devices they are removed. The history keeps them.
    ///
    /// # Errors
    /// [`Error::Usage`] when `folder` is no vault; what the vault answers.
    pub fn hand_over(&mut self, folder: &str, progress: Progress<'_>) -> Result<Vec<PathChange>, Error> {
        if !is_vault(&self.root().join(folder)) {
            return Err(Error::Usage(format!(
                "{folder} is no vault of its own, so nothing is handed over to it"
            )));
        }
        let mut nested = self.nested_folders()?;
        nested.insert(folder.to_owned());
        self.note_nested(&nested)?;
        let paths = self.documents_in(folder)?;
        let mut draft = Draft::operator(format!("Hand {folder} over to a vault of its own"));
        for path in &paths {
            if let Some(doc) = self.doc_at(path)? {
                draft.push(Item::Delete { doc });
            }
        }
        if !draft.items.is_empty() {
            self.transaction(|vault| {
                vault.author_records(draft)?;
                vault.refresh(progress)
            })?;
        }
        Ok(paths.iter().map(|path| PathChange::new(path, "deleted")).collect())
    }

    /// Of files that came into this vault, those whose content the history of the vault around it keeps.
    pub(crate) fn kept_around(&self, changed: &[PathChange]) -> Result<Vec<Problem>, Error> {
        let added: Vec<&PathChange> = changed.iter().filter(|change| change.change == "added").collect();
        let Some(outer) = around(self.root()).filter(|_| !added.is_empty()) else { return Ok(Vec::new()) };
        // A vault around this one whose git cannot be read says so itself.
        let Ok(repo) = git2::Repository::open(Layout::new(&outer).root()) else { return Ok(Vec::new()) };
        let Ok(objects) = repo.odb() else { return Ok(Vec::new()) };
        let mut out = Vec::new();
        for change in added {
            let Some(row) = self.file(&change.path)? else { continue };
            let known = git2::Oid::from_bytes(&row.git.0).is_ok_and(|oid| objects.exists(oid));
            if known && row.found.size > 0 {
                out.push(Problem {
                    path: change.path.clone(),
                    problem: format!("the history of the vault {} keeps what is in it", outer.display()),
                    hint: "it is on every device of that vault; nothing takes it out of there".into(),
                });
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    #[test]
    fn patterns_name_one_folder() {
        assert_eq!(ignoring("a b/[x]*"), "/a b/\\[x]\\*/");
    }

    /// A vault in the folder `private` of the world's first replica.
    fn within(world: &World) -> Vault {
        let inner = world.root(0).join("private");
        let (mut vault, absorbed) = Vault::create(&inner, &Default::default(), &mut |_, _, _| {}).unwrap();
        vault.finish(absorbed, &mut |_, _, _| {}).unwrap();
        vault
    }

    fn git_status(root: &Path) -> usize {
        let repo = git2::Repository::open(root).unwrap();
        let mut options = git2::StatusOptions::new();
        options.include_untracked(true);
        let found = repo.statuses(Some(&mut options)).unwrap();
        found.iter().filter(|entry| !entry.status().is_ignored()).count()
    }

    #[test]
    fn the_vault_around_takes_nothing_in_and_git_ignores_it() {
        let mut world = World::new(2);
        std::fs::create_dir(world.root(0).join("private")).unwrap();
        std::fs::write(world.root(0).join("private/a.md"), "mine\n").unwrap();
        drop(within(&world));
        let round = world.commit(0);
        assert!(round.absorbed.changed.is_empty() && round.problems().next().is_none(), "{round:?}");
        assert_eq!(git_status(&world.root(0)), 0);
        world.sync();
        assert!(!world.root(1).join("private").exists());
    }

    #[test]
    fn one_that_lost_its_name_is_not_the_vault_around_it() {
        let mut world = World::new(1);
        std::fs::create_dir(world.root(0).join("private")).unwrap();
        std::fs::write(world.root(0).join("private/a.md"), "mine\n").unwrap();
        drop(within(&world));
        world.commit(0);
        let inner = world.root(0).join("private");
        std::fs::remove_dir_all(inner.join(".aios")).unwrap();
        let found = crate::layout::Layout::find(&inner);
        assert!(matches!(&found, Err(Error::LostReplica(root)) if *root == inner), "{found:?}");
        let round = world.commit(0);
        assert!(round.absorbed.changed.is_empty(), "{round:?}");
        assert!(round.problems().any(|problem| problem.hint.contains("aios rebuild")), "{round:?}");
        crate::rebuild::rebuild(&inner, None, &mut |_, _, _| {}).unwrap();
        let vault = Vault::open(&inner).unwrap();
        assert!(vault.root() == inner && vault.doc_at("a.md").unwrap().is_some());
    }

    #[test]
    fn documents_are_handed_over_and_stay_where_the_vault_is() {
        let mut world = World::new(2);
        std::fs::create_dir(world.root(0).join("private")).unwrap();
        std::fs::write(world.root(0).join("private/a.md"), "was everybody's\n").unwrap();
        std::fs::write(world.root(0).join("b.md"), "everybody's\n").unwrap();
        world.sync();
        assert!(world.root(1).join("private/a.md").exists());
        drop(within(&world));
        // Not handed over yet: said, and neither read nor written.
        std::fs::write(world.root(1).join("private/a.md"), "edited there\n").unwrap();
        world.sync();
        let round = world.commit(0);
        assert!(round.problems().any(|problem| problem.path == "private"), "{round:?}");
        assert_eq!(std::fs::read(world.root(0).join("private/a.md")).unwrap(), b"was everybody's\n");
        let gone = world.replicas[0].hand_over("private", &mut |_, _, _| {}).unwrap();
        assert_eq!(gone.len(), 1);
        world.sync();
        assert_eq!(std::fs::read(world.root(0).join("private/a.md")).unwrap(), b"was everybody's\n");
        assert!(!world.root(1).join("private/a.md").exists());
        assert!(world.root(1).join("b.md").exists());
        assert!(world.commit(0).problems().next().is_none());
        assert_eq!(git_status(&world.root(0)), 0);
    }

    /// Its document comes back by an edit elsewhere; then the owner commits all in the vault around with git.
    #[test]
    fn git_in_the_vault_around_gives_nothing_of_it_away() {
        let mut world = World::new(2);
        std::fs::create_dir(world.root(0).join("private")).unwrap();
        std::fs::write(world.root(0).join("private/a.md"), "was everybody's\n").unwrap();
        std::fs::write(world.root(0).join("b.md"), "everybody's\n").unwrap();
        world.sync();
        drop(within(&world));
        world.replicas[0].hand_over("private", &mut |_, _, _| {}).unwrap();
        std::fs::write(world.root(1).join("private/a.md"), "edited there\n").unwrap();
        world.commit(1);
        world.sync();
        assert_eq!(std::fs::read(world.root(0).join("private/a.md")).unwrap(), b"was everybody's\n");
        std::fs::write(world.root(0).join("private/a.md"), "a secret\n").unwrap();
        std::fs::write(world.root(0).join("b.md"), "everybody's, more\n").unwrap();
        if crate::git::testing::git(&world.root(0), &["version"]).is_none() {
            return;
        }
        let root = world.root(0);
        let git = |args: &[&str]| crate::git::testing::git(&root, args).unwrap();
        assert_eq!(git(&["status", "--porcelain"]).trim(), "M b.md");
        git(&["commit", "-qam", "All"]);
        assert_eq!(git(&["show", "HEAD:private/a.md"]).trim(), "edited there");
        // Even where it is committed on purpose.
        git(&["update-index", "--no-skip-worktree", "private/a.md"]);
        std::fs::write(world.root(0).join("b.md"), "everybody's, most\n").unwrap();
        git(&["commit", "-qam", "All of it"]);
        assert_eq!(git(&["show", "HEAD:private/a.md"]).trim(), "a secret");
        let theirs = git(&["rev-parse", "HEAD"]);
        let round = world.commit(0);
        assert!(round.problems().any(|problem| problem.hint.contains(theirs.trim())), "{round:?}");
        world.sync();
        for n in 0..2 {
            assert_eq!(std::fs::read(world.root(n).join("b.md")).unwrap(), b"everybody's, most\n");
            let head = crate::git::testing::git(&world.root(n), &["rev-parse", "HEAD"]);
            assert_eq!(head.unwrap(), git(&["rev-parse", "HEAD"]));
        }
        assert_eq!(std::fs::read(world.root(0).join("private/a.md")).unwrap(), b"a secret\n");
        let objects = git2::Repository::open(world.root(1)).unwrap();
        let secret = git2::Oid::hash_object(git2::ObjectType::Blob, b"a secret\n").unwrap();
        assert!(!objects.odb().unwrap().exists(secret));
        assert_eq!(git_status(&world.root(0)), 0);
    }

    #[test]
    fn what_the_history_around_keeps_is_said() {
        let mut world = World::new(1);
        std::fs::create_dir(world.root(0).join("private")).unwrap();
        drop(within(&world));
        std::fs::write(world.root(0).join("a.md"), "a secret\n").unwrap();
        world.commit(0);
        std::fs::rename(world.root(0).join("a.md"), world.root(0).join("private/a.md")).unwrap();
        std::fs::write(world.root(0).join("private/new.md"), "never seen\n").unwrap();
        let mut inner = Vault::open(&world.root(0).join("private")).unwrap();
        let round = inner.commit(&Default::default(), &mut |_, _, _| {}).unwrap();
        let told: Vec<&str> = round.problems().map(|problem| problem.path.as_str()).collect();
        assert_eq!(told, ["a.md"]);
        assert!(inner.untaken(&round).unwrap().is_empty());
    }
}
