//! One step after the other, as the seed has it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use aios_sync::exchange::Mode;
use aios_sync::site::Taken;
use aios_vault::Vault;
use aios_vault::absorb::AbsorbOptions;
use aios_vault::disk::fault::Plan;

use crate::weather::Act;
use crate::world::{Backup, End, World};

/// Failpoints that a crash or error is at most away.
const FAR: u64 = 300;

/// A copy of a folder and all in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder to copy") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => _ = fs::copy(entry.path(), target).expect("a copy"),
        }
    }
}

impl World {
    /// Does one step.
    pub fn step(&mut self) {
        self.steps += 1;
        self.now += self.chance.scale(400);
        self.stall();
        let mut act = self.weather.next(&mut self.chance);
        let n = self.chance.below(self.devices.len());
        // A text does not stay overtaken for long: the next write of aios, or a save, ends it.
        if self.weather.has(Act::StaleSave) && self.overtaken(n).is_some() && self.chance.one_in(3) {
            act = Act::StaleSave;
        }
        // Nor is what came long without being written.
        if self.weather.has(Act::Delete) && self.devices[n].came && self.chance.one_in(40) {
            act = Act::Delete;
        }
        if self.devices[n].carries && act.is_work() {
            return;
        }
        match act {
            Act::Edit => self.edit(n),
            Act::Make => self.make(n),
            Act::Blob => self.blob(n),
            Act::Delete => self.delete(n),
            Act::Rename => self.rename(n),
            Act::Open => self.open(n),
            Act::StaleSave => self.stale_save(n),
            Act::HalfSave => self.half_save(n),
            Act::Meanwhile => self.save_meanwhile(n),
            Act::Round => self.round(n),
            Act::Daemon => self.tend(n),
            Act::TakeAt => self.take_at(n),
            Act::TakeAll => self.take_all(n),
            Act::Write => self.write(n),
            Act::Git => self.git(n),
            Act::Other => self.other(n),
            Act::Dial => self.call(n),
            Act::Talk => (0..=self.chance.below(6)).for_each(|_| self.talk()),
            Act::Cut => self.cut(),
            Act::Deafen => self.deafen(),
            Act::Part => self.part(n),
            Act::Clock => self.clock(n),
            Act::Wait => self.now += self.chance.scale(60_000),
            Act::Crash => self.crash(n),
            Act::Fail => self.disturb(n),
            Act::Restart => {
                self.stop(n);
                self.tell(format!("d{n} ends"));
            }
            Act::Backup => self.backup(n),
            Act::Restore => self.restore(n),
            Act::Revoke => self.revoke(n),
            Act::Commit => self.git_commit(n),
            Act::Fetch => self.fetch(n),
            Act::Told => self.told(n),
            Act::Gc => self.gc(n),
            Act::Forget => self.forget(n),
        }
    }

    /// Says where a device stands after it did something.
    pub fn stands(&mut self, n: usize, what: &str) {
        let stand = self.stand(n);
        self.tell(format!("d{n} {what}: {stand}"));
    }

    /// What `aios sync` does first.
    pub fn round(&mut self, n: usize) {
        let done = self.at(n, "round", |site| site.round());
        match done {
            Some(Ok(stand)) => {
                let left = stand.untaken.iter().map(|problem| problem.path.clone()).collect::<BTreeSet<_>>();
                if !left.contains("") {
                    self.taken(n, &left);
                }
                self.stands(n, "round");
                self.news(n);
            }
            Some(Err(e)) => self.excused(n, "round", &e),
            None => {}
        }
    }

    /// Says what came of taking in; what a daemon hears of it, unless it crashed.
    pub fn took(
        &mut self,
        n: usize,
        what: &str,
        done: Option<Result<Taken, aios_vault::Error>>,
    ) -> Option<Result<Taken, String>> {
        let done = done?;
        match &done {
            Ok(Taken::Done { warnings, .. }) => {
                self.stands(n, what);
                for warning in warnings {
                    let warning = self.plain(warning);
                    self.tell(format!("  {warning}"));
                }
                self.news(n);
            }
            Ok(Taken::Unclear) => self.tell(format!("d{n} {what}: unclear")),
            Err(e) => self.excused(n, what, e),
        }
        Some(done.map_err(|e| e.to_string()))
    }

    fn take_at(&mut self, n: usize) {
        let seen = std::mem::take(&mut self.devices[n].seen);
        let done = self.at(n, "take in", |site| site.take_in(Some(seen)));
        self.took(n, "takes in", done);
    }

    fn take_all(&mut self, n: usize) {
        let done = self.at(n, "look", |site| site.take_in(None));
        self.took(n, "looks", done);
    }

    fn write(&mut self, n: usize) {
        self.devices[n].came = false;
        let done = self.at(n, "write", |site| site.write());
        self.took(n, "writes", done);
    }

    fn git(&mut self, n: usize) {
        if let Some(Err(e)) = self.at(n, "git", |site| site.finish()) {
            self.excused(n, "git", &e);
        }
    }

    /// A command of another process.
    fn other(&mut self, n: usize) {
        let done = self.at(n, "command", |site| {
            let mut vault = Vault::open(site.keeper().root())?;
            vault.commit(&AbsorbOptions::default(), &mut |_, _, _| {}).map(|_| ())
        });
        match done {
            Some(Ok(())) => {
                self.stands(n, "command");
                self.news(n);
            }
            Some(Err(e)) => self.excused(n, "command", &e),
            None => {}
        }
    }

    fn call(&mut self, n: usize) {
        let to = self.chance.below(self.devices.len());
        let mode = if self.chance.one_in(3) { Mode::OneShot } else { Mode::Live };
        if self.conns.len() < 6 {
            self.dial(n, to, mode);
        }
    }

    fn part(&mut self, n: usize) {
        if !self.apart.remove(&n) {
            self.apart.insert(n);
        }
        self.tell(format!("apart: {:?}", self.apart));
    }

    /// A clock jumps.
    fn clock(&mut self, n: usize) {
        let most = [1_000, 3_600_000, 80_000_000, 300_000_000][self.chance.below(4)];
        let skew = self.chance.below(2 * most) as i64 - most as i64;
        self.devices[n].skew = skew;
        self.tell(format!("d{n} is off by {skew} ms"));
    }

    /// A device will crash.
    fn crash(&mut self, n: usize) {
        let hits = self.chance.scale(FAR) + 1;
        let end = [End::Kill, End::Cut, End::Torn][self.chance.below(3)];
        self.plan(n, &format!("*=crash@{hits}"), Some(end));
        self.tell(format!("d{n} will crash in {hits}: {end:?}"));
    }

    /// A disk gets another plan.
    pub fn plan(&mut self, n: usize, plan: &str, end: Option<End>) {
        let dialed = self.dialed;
        let device = &mut self.devices[n];
        if device.plan.failed() > 0 {
            // What failed is still to be heard of on connections that are open.
            device.failed_before = dialed;
        }
        device.plan = Plan::parse(plan).expect("a plan");
        device.end = end;
    }

    /// A disk will fail, once or for a while.
    fn disturb(&mut self, n: usize) {
        let what = ["enospc", "eio"][self.chance.below(2)];
        let hits = self.chance.scale(FAR) + 1;
        let some = ["disk.write", "disk.sync_*", "disk.*", "git.*", "database.*", "disk.exchange"];
        let plan = match self.chance.below(3) {
            0 => format!("{}={what}", some[self.chance.below(some.len())]),
            _ => format!("*={what}@{hits}"),
        };
        self.plan(n, &plan, None);
        self.tell(format!("d{n} will fail: {plan}"));
    }

    fn backup(&mut self, n: usize) {
        if self.devices[n].backup.is_some() {
            return;
        }
        self.stop(n);
        let folder = self.dir.path().join(format!("backup{n}"));
        copy(&self.devices[n].root, &folder);
        self.devices[n].backup = Some(Backup { folder, known: self.devices[n].known.clone() });
        self.tell(format!("d{n} is kept aside"));
    }

    /// A device's folder is put back as it was.
    fn restore(&mut self, n: usize) {
        // Two who were both put back and have met nobody since do not know each other: they are paired anew.
        if self.devices.iter().enumerate().any(|(other, device)| other != n && device.strange) {
            return;
        }
        // Nor does anybody whom others took out know that: who was put back and meets them first is known to nobody else.
        if (0..self.devices.len()).any(|other| self.devices[other].revoked && self.is_member(other)) {
            return;
        }
        let Some(backup) = self.devices[n].backup.take() else { return };
        self.stop(n);
        let root = self.devices[n].root.clone();
        let lost = self.only_at(n);
        fs::remove_dir_all(&root).expect("a folder to replace");
        fs::rename(&backup.folder, &root).expect("a rename");
        let device = &mut self.devices[n];
        device.known = backup.known;
        device.disk = None;
        device.journal = Default::default();
        device.plan = Plan::default();
        device.promised = Default::default();
        device.since = self.dialed;
        device.strange = true;
        device.buffers.clear();
        device.halves.clear();
        self.tell(format!("d{n} is put back; without {:?}", lost));
        self.ledger.touched.extend(lost);
        self.ledger.owed.retain(|_, (by, _)| *by != n);
        self.forget_lost();
    }

    /// Whether a device is a member as far as it knows.
    pub fn is_member(&mut self, n: usize) -> bool {
        let member = self.at(n, "look", |site| {
            site.keeper().work(|vault| {
                let own = vault.device();
                Ok(vault.members().is_present(&own))
            })
        });
        matches!(member, Some(Ok(true)))
    }

    fn revoke(&mut self, n: usize) {
        let other = self.chance.below(self.devices.len());
        if other == n || self.devices[other].revoked {
            return;
        }
        let Some(device) = self.at(other, "open", |site| site.device()) else { return };
        let done = self.at(n, "revoke", |site| {
            site.keeper().work(move |vault| {
                vault.revoke_device(&device)?;
                vault.finish(Default::default(), &mut |_, _, _| {}).map(|_| ())
            })
        });
        match done {
            Some(Ok(())) => {
                self.devices[other].revoked = true;
                self.tell(format!("d{n} revokes d{other}"));
                self.news(n);
            }
            Some(Err(e)) => self.tell(format!("d{n} does not revoke d{other}: {e}")),
            None => self.devices[other].revoked = true,
        }
    }

    /// Somebody commits with git in the vault.
    fn git_commit(&mut self, n: usize) {
        let root = self.devices[n].root.clone();
        let seconds = (self.now / 1000) as i64;
        // Git syncs its refs, and with them on most disks what was there before.
        self.devices[n].journal = Default::default();
        let done = (|| {
            let repo = git2::Repository::open(&root)?;
            let mut index = repo.index()?;
            // Git itself leaves alone what it was told not to expect; libgit2 does not.
            let away = git2::IndexEntryExtendedFlag::SKIP_WORKTREE.bits();
            let left: BTreeSet<Vec<u8>> = index
                .iter()
                .filter(|entry| entry.flags_extended & away != 0)
                .map(|entry| entry.path)
                .collect();
            let mut leave =
                |path: &Path, _: &[u8]| i32::from(left.contains(path.as_os_str().as_encoded_bytes()));
            index.add_all(["*"], git2::IndexAddOption::DEFAULT, Some(&mut leave))?;
            index.update_all(["*"], Some(&mut leave))?;
            index.write()?;
            let tree = repo.find_tree(index.write_tree()?)?;
            let who = git2::Signature::new("u", "u@example.org", &git2::Time::new(seconds, 0))?;
            let head = repo.head().ok().and_then(|head| head.peel_to_commit().ok());
            if head.as_ref().is_some_and(|head| head.tree_id() == tree.id()) {
                return Ok(None);
            }
            let parents: Vec<_> = head.iter().collect();
            repo.commit(Some("HEAD"), &who, &who, "by hand", &tree, &parents).map(Some)
        })();
        match done {
            Ok(Some(commit)) => {
                self.ledger.commits.insert(commit);
                self.tell(format!("d{n} commits"));
            }
            Ok(None) => {}
            Err::<_, git2::Error>(e) => {
                let why = self.plain(e.message());
                self.tell(format!("d{n} does not commit: {why}"));
            }
        }
    }
}
