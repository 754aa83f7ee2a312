//! What must hold once everything works again and all have met.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use aios_sync::exchange::Mode;
use aios_vault::disk::fault::Plan;

use crate::ledger::{Token, tokens};
use crate::world::{Files, World, files_of};

/// Rounds of everybody with everybody after which nothing may be new any more.
const ROUNDS: usize = 12;

/// Which tokens each file holds.
fn show(files: &Files) -> BTreeMap<&str, BTreeSet<Token>> {
    files.iter().map(|(path, bytes)| (path.as_str(), tokens(bytes))).collect()
}

/// The bytes of all logs of a device.
pub fn logs(root: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    for device in std::fs::read_dir(root.join(".aios/log")).into_iter().flatten().flatten() {
        for segment in std::fs::read_dir(device.path()).into_iter().flatten().flatten() {
            out.extend(std::fs::read(segment.path()).expect("a log"));
        }
    }
    out
}

impl World {
    /// Tokens that no other device has, in log or file.
    pub fn only_at(&self, n: usize) -> BTreeSet<Token> {
        let mut elsewhere = BTreeSet::new();
        for (_, device) in self.devices.iter().enumerate().filter(|(other, _)| *other != n) {
            elsewhere.extend(tokens(&logs(&device.root)));
            for bytes in files_of(&device.root).values() {
                elsewhere.extend(tokens(bytes));
            }
        }
        self.ledger.by.keys().copied().filter(|token| !elsewhere.contains(token)).collect()
    }

    /// Everybody takes in and meets everybody until nothing is new.
    pub fn agree(&mut self) {
        let count = self.devices.len();
        let mut last = Vec::new();
        for _ in 0..ROUNDS {
            for n in 0..count {
                self.round(n);
            }
            for from in 0..count {
                for to in 0..count {
                    if self.dial(from, to, Mode::OneShot) {
                        self.run_out();
                    }
                }
            }
            let stands: Vec<String> = (0..count).map(|n| self.stand(n)).collect();
            if stands == last {
                return;
            }
            last = stands;
        }
        self.fail("it never comes to rest");
    }

    /// Mends everything, lets all agree, and looks.
    pub fn peace(&mut self) {
        self.tell("peace");
        self.conns.clear();
        self.apart.clear();
        self.now = self.now.max(self.latest) + 1000;
        for n in 0..self.devices.len() {
            while !self.devices[n].halves.is_empty() {
                self.half_save(n);
            }
            let device = &mut self.devices[n];
            (device.plan, device.end, device.skew) = (Plan::default(), None, 0);
            self.stop(n);
        }
        if self.chance.one_in(2) {
            self.let_daemons_work();
        }
        self.agree();
        if self.do_without() {
            self.agree();
        }
        if self.chance.one_in(3) {
            self.collect_all();
        }
        self.check();
    }

    /// What is not in a device's folder as nobody asked for it: nothing but where it was told to be lean.
    fn away(&mut self, n: usize) -> BTreeSet<String> {
        let away = self.at(n, "look", |site| {
            site.keeper().work(|vault| {
                assert!(
                    vault.profile().is_lean() || vault.away()?.is_empty(),
                    "away from a device that fetches all"
                );
                vault.away()
            })
        });
        let Some(Ok(away)) = away else { self.fail(format!("d{n} does not say what is away: {away:?}")) };
        away.into_iter().map(|away| away.path).collect()
    }

    /// Whoever can read nothing has at least what all have.
    fn has_all_records(&mut self, n: usize, other: usize) {
        let frontier = |site: &aios_sync::site::Site| site.keeper().work(|vault| vault.frontier());
        let (one, other) = (self.at(n, "look", frontier), self.at(other, "look", frontier));
        match (&one, &other) {
            (Some(Ok(one)), Some(Ok(other))) if one == other => {}
            _ => self.fail(format!("d{n} has other records (I1): {one:?} {other:?}")),
        }
    }

    /// What stands in no file since another value of its key does, and is shown as a conflict.
    fn lost_values(&mut self, n: usize) -> BTreeSet<Token> {
        let conflicts = self.at(n, "look", |site| site.keeper().work(|vault| vault.conflicts()));
        let Some(Ok(conflicts)) = conflicts else { return BTreeSet::new() };
        let values = conflicts.iter().flat_map(|conflict| &conflict.values);
        values.flat_map(|value| tokens(value.value.as_bytes())).collect()
    }

    fn check(&mut self) {
        let members = self.at(0, "look", |site| site.keeper().work(|vault| Ok(vault.members().clone())));
        let Some(Ok(members)) = members else { self.fail("d0 is off") };
        let mut here = Vec::new();
        for n in 0..self.devices.len() {
            let device = self.at(n, "look", |site| site.keeper().work(|vault| Ok(vault.device())));
            match device {
                Some(Ok(device)) if members.is_present(&device) => here.push(n),
                _ => {}
            }
        }
        let revoked: BTreeSet<usize> = (0..self.devices.len()).filter(|n| !here.contains(n)).collect();
        self.tell(format!("present: {here:?}"));
        let mut unwritten = BTreeSet::new();
        let mut stands = Vec::new();
        for n in &here {
            let stand = self.at(*n, "look", |site| site.round());
            let Some(Ok(stand)) = stand else { self.fail(format!("d{n}: {stand:?}")) };
            // The bytes of a blob may be on a revoked device only, or have gone with a folder.
            let whole = revoked.is_empty() && !self.ledger.lost;
            if !stand.untaken.is_empty() || whole && !stand.unwritten.is_empty() {
                self.fail(format!("d{n} is left with {:?} {:?}", stand.untaken, stand.unwritten));
            }
            unwritten.extend(stand.unwritten.iter().map(|left| left.path.clone()));
            stands.push((*n, stand));
        }
        let mut files = Files::new();
        let mut first = None;
        for (n, stand) in &stands {
            self.has_all_records(*n, here[0]);
            if self.sealed && self.devices[*n].carries {
                continue;
            }
            let what = (&stand.head, &stand.state);
            match &first {
                None => first = Some(what),
                Some(first) if *first == what => {}
                Some(first) => self.fail(format!("d{} and d{n} differ (I1): {first:?} {what:?}", here[0])),
            }
            files.extend(self.disk(*n));
        }
        files.retain(|path, _| !unwritten.contains(path));
        for (n, _) in &stands {
            let away = self.away(*n);
            let mut wanted = files.clone();
            wanted.retain(|path, _| !away.contains(path));
            if self.sealed && self.devices[*n].carries {
                wanted.clear();
            }
            let mut disk = self.disk(*n);
            if let Some(path) = away.iter().find(|path| disk.contains_key(*path)) {
                self.fail(format!("d{n} has {path}, and says that it is away"));
            }
            disk.retain(|path, _| !unwritten.contains(path));
            if disk != wanted {
                self.fail(format!("d{n} differs (I1): {:?} {:?}", show(&disk), show(&wanted)));
            }
        }
        self.forgotten_is_gone(&here);
        let disks = here.iter().map(|n| self.disk(*n));
        let mut standing: BTreeSet<Token> =
            disks.flat_map(|disk| disk.into_values().flat_map(|bytes| tokens(&bytes))).collect();
        for n in &here {
            standing.extend(self.lost_values(*n));
        }
        let mut owed = self.ledger.standing(&revoked);
        owed.retain(|token| !self.pending.contains(token) && !standing.contains(token));
        if !owed.is_empty() {
            self.fail(format!("nobody took out {owed:?}, and they are in no file (I2)\n{:?}", show(&files)));
        }
        let mut all = String::new();
        for device in &self.devices {
            all += &String::from_utf8_lossy(&logs(&device.root));
        }
        for (hash, (n, path)) in &self.ledger.owed {
            let kept = all.contains(&hash.to_string()) || self.ledger.shown.contains(hash);
            let there = self.devices.iter().any(|device| {
                files_of(&device.root).values().any(|bytes| aios_core::id::ContentHash::of(bytes) == *hash)
            });
            if !kept && !there {
                self.fail(format!("what d{n} saved at {path} is nowhere (I2): {hash}"));
            }
        }
        self.blobs_are_somewhere();
        for n in here {
            let report = self
                .at(n, "verify", |site| site.keeper().work(|vault| vault.verify(true, &mut |_, _, _| {})));
            match report {
                Some(Ok(report)) if report.ok => {}
                // The bytes of a blob or a history may be on a revoked device only, or have gone with a folder.
                Some(Ok(report))
                    if (!revoked.is_empty() || self.ledger.lost)
                        && report.findings.iter().all(|finding| finding.what.contains("not here")) => {}
                other => self.fail(format!("verify of d{n}: {other:?}")),
            }
        }
    }
}
