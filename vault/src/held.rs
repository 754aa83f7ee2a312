//! Commits of records that are held: a `main` that others published may have them, though the records count here no more or never
//! did (I7). They are nobody's work to be taken in: `main` goes on from them and shows what counts.

use std::collections::HashSet;

use aios_core::commit::Legend;
use aios_core::id::RecordId;
use git2::Oid;
use rusqlite::OptionalExtension;

use crate::error::Error;
use crate::git;
use crate::vault::Vault;

/// The records that the message of a commit names as its own.
pub(crate) fn named(message: &[u8]) -> Vec<RecordId> {
    let text = String::from_utf8_lossy(message);
    let own = text.lines().filter_map(|line| line.strip_prefix("Aios-Record: "));
    own.filter_map(|hex| hex.trim().parse().ok()).chain(Legend::merged(&text)).collect()
}

impl Vault {
    /// Those of `commits` that the log gives if what is held counts too. They are made again to see: a message can be copied, and
    /// who amends a commit keeps its trailers.
    ///
    /// # Errors
    /// What git, disk and database answer.
    pub(crate) fn held_commits(&mut self, commits: &[Oid]) -> Result<HashSet<Oid>, Error> {
        let (mut claimed, mut last) = (Vec::new(), None);
        for commit in commits {
            let mut any = false;
            for id in named(&git::commit(&self.repo, *commit)?.message) {
                let held: Option<i64> = self
                    .db
                    .prepare_cached("SELECT n FROM record WHERE id = ? AND held = 1")?
                    .query_row([id.as_bytes()], |row| row.get(0))
                    .optional()?;
                last = last.max(held);
                any |= held.is_some();
            }
            if any {
                claimed.push(*commit);
            }
        }
        let Some(last) = last else { return Ok(HashSet::new()) };
        self.supposing(|vault| {
            vault.project_held(last)?;
            let mut out = HashSet::new();
            for commit in claimed {
                if vault.view_of_commit(commit)?.is_some() {
                    out.insert(commit);
                }
            }
            Ok(out)
        })
    }

    /// Computes the commits of held records up to number `last`.
    fn project_held(&mut self, last: i64) -> Result<(), Error> {
        let waiting: Vec<i64> = {
            let mut get = self.db.prepare_cached(
                "SELECT n FROM record WHERE tree = 1 AND git IS NULL AND n <= ? ORDER BY n",
            )?;
            let rows = get.query_map([last], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        let repo = git2::Repository::open(self.root()).map_err(crate::vault::git_error)?;
        let mut objects = git::Loose::new(&repo, false)?;
        for n in waiting {
            match self.project_one(n, &mut objects) {
                // What a held record claims was never shown: one that gives no commit is nobody's.
                Ok(_) | Err(Error::Document { .. } | Error::Damaged(_)) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Runs `work` as if every record of the log counted, and leaves nothing of that behind.
    fn supposing<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let all = self.frontier()?.view();
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        let view = std::mem::replace(&mut self.view, all);
        // Documents at hand are of the records that count, before and after.
        self.forget_documents();
        let done = match self.db.execute_batch("UPDATE record SET held = 0 WHERE held = 1") {
            Ok(()) => work(self),
            Err(e) => Err(e.into()),
        };
        self.view = view;
        self.forget_documents();
        self.db.execute_batch("ROLLBACK")?;
        done
    }
}

#[cfg(test)]
mod tests {
    use aios_core::id::GitId;

    use crate::project::git_id;
    use crate::vault::Vault;
    use crate::world::{World, quiet};

    fn write(world: &World, n: usize, path: &str, text: &str) {
        std::fs::write(world.root(n).join(path), text).unwrap();
    }

    fn read(world: &World, n: usize, path: &str) -> Option<String> {
        std::fs::read_to_string(world.root(n).join(path)).ok()
    }

    fn head(vault: &mut Vault) -> git2::Oid {
        vault.finish(Default::default(), &mut quiet()).unwrap().head.unwrap()
    }

    /// Hands what a repository has at `refs/heads/main` to a replica, as a fetch does.
    fn fetch(vault: &Vault, from: &std::path::Path) -> GitId {
        let url = from.to_str().unwrap();
        let out = std::process::Command::new("git")
            .arg("-C")
            .arg(vault.root())
            .args(["fetch", "-q", url, "+refs/heads/main:refs/aios/remote/hub/main"])
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        vault.ref_at("refs/aios/remote/hub/main").unwrap().unwrap()
    }

    /// Device 1 goes on after device 0 has revoked it, and 0 has heard all of that.
    fn goes_on(paths: &[(&str, &str)]) -> World {
        let mut world = World::of_equals(2);
        write(&world, 0, "a.md", "one\ntwo\nthree\n");
        world.sync();
        let one = world.replicas[1].device();
        world.replicas[0].revoke_device(&one).unwrap();
        world.commit(0);
        for (path, text) in paths {
            write(&world, 1, path, text);
            world.commit(1);
        }
        head(&mut world.replicas[1]);
        while world.deliver(1, 0, 1 << 20) > 0 {}
        world
    }

    fn taken_in(world: &mut World, theirs: &GitId) -> usize {
        let before = head(&mut world.replicas[0]);
        let vault = &mut world.replicas[0];
        let taken = vault.absorb_pushed(theirs, None, &mut quiet()).unwrap();
        let now = head(vault);
        let theirs = crate::project::oid(theirs).unwrap();
        for old in [before, theirs] {
            assert!(now == old || vault.repo.graph_descendant_of(now, old).unwrap(), "goes on from {old}");
        }
        // Once is enough.
        let heads = vault.view().clone();
        vault.absorb_pushed(&git_id(&theirs), None, &mut quiet()).unwrap();
        assert_eq!(vault.view(), &heads);
        let found = vault.verify(true, &mut quiet()).unwrap();
        assert!(found.ok, "{:?}", found.findings);
        taken.changed.len()
    }

    #[test]
    fn what_is_held_does_not_come_back_with_a_published_main() {
        let mut world = goes_on(&[("a.md", "one\ntwo and more\nthree\n"), ("b.md", "beyond\n")]);
        let theirs = fetch(&world.replicas[0], &world.root(1));
        assert_eq!(taken_in(&mut world, &theirs), 0);
        assert_eq!(read(&world, 0, "a.md").unwrap(), "one\ntwo\nthree\n");
        assert_eq!(read(&world, 0, "b.md"), None);
        let before = head(&mut world.replicas[0]);
        world.rebuild(0);
        assert_eq!(head(&mut world.replicas[0]), before);
    }

    #[test]
    fn a_merge_of_what_is_held_does_not_come_back() {
        let mut world = World::of_equals(3);
        write(&world, 0, "a.md", "one\n");
        world.sync();
        for n in [1, 2] {
            let device = world.replicas[n].device();
            world.replicas[0].revoke_device(&device).unwrap();
            write(&world, n, &format!("{n}.md"), "beyond\n");
            world.commit(n);
        }
        while world.deliver(1, 2, 1 << 20) > 0 {}
        let merge = head(&mut world.replicas[2]);
        assert_eq!(world.replicas[2].repo.find_commit(merge).unwrap().parent_count(), 2);
        for from in [1, 2] {
            while world.deliver(from, 0, 1 << 20) > 0 {}
        }
        let theirs = fetch(&world.replicas[0], &world.root(2));
        assert_eq!(taken_in(&mut world, &theirs), 0);
        assert_eq!(read(&world, 0, "1.md"), None);
    }

    #[test]
    fn work_from_a_plain_clone_of_it_is_taken_in_alone() {
        let mut world = goes_on(&[("a.md", "one\ntwo and more\nthree\n"), ("b.md", "beyond\n")]);
        let clone = world.dir.path().join("clone");
        let git = |args: &[&str]| {
            let who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
            let out = std::process::Command::new("git").args(who).args(args).output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        };
        let at = clone.to_str().unwrap();
        git(&["clone", "-q", world.root(1).to_str().unwrap(), at]);
        std::fs::write(clone.join("a.md"), "one\ntwo and more\nthree\nfour by Ada\n").unwrap();
        std::fs::write(clone.join("c.md"), "Ada\n").unwrap();
        git(&["-C", at, "add", "-A"]);
        git(&["-C", at, "commit", "-q", "-m", "By Ada"]);
        let theirs = fetch(&world.replicas[0], &clone);
        assert_eq!(taken_in(&mut world, &theirs), 2);
        world.commit(0);
        assert_eq!(read(&world, 0, "a.md").unwrap(), "one\ntwo\nthree\nfour by Ada\n");
        assert_eq!(read(&world, 0, "b.md"), None);
        assert_eq!(read(&world, 0, "c.md").unwrap(), "Ada\n");
    }

    #[test]
    fn a_commit_that_only_says_so_is_taken_in() {
        let mut world = goes_on(&[("b.md", "beyond\n")]);
        let root = world.root(1);
        std::fs::write(root.join("c.md"), "slipped in\n").unwrap();
        let git = |args: &[&str]| {
            let out = std::process::Command::new("git").arg("-C").arg(&root).args(args).output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        };
        git(&["add", "c.md"]);
        git(&[
            "-c",
            "user.name=Ada",
            "-c",
            "user.email=a@example.org",
            "commit",
            "-q",
            "--amend",
            "--no-edit",
        ]);
        let theirs = fetch(&world.replicas[0], &root);
        taken_in(&mut world, &theirs);
        world.commit(0);
        assert_eq!(read(&world, 0, "c.md").unwrap(), "slipped in\n");
    }
}
