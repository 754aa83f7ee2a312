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
        self.check();
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
        let (mut first, mut unwritten) = (None, BTreeSet::new());
        let mut stands = Vec::new();
        for n in &here {
            let stand = self.at(*n, "look", |site| site.round());
            let Some(Ok(stand)) = stand else { self.fail(format!("d{n}: {stand:?}")) };
            // The bytes of a blob may be on a revoked device only.
            if !stand.untaken.is_empty() || revoked.is_empty() && !stand.unwritten.is_empty() {
                self.fail(format!("d{n} is left with {:?} {:?}", stand.untaken, stand.unwritten));
            }
            unwritten.extend(stand.unwritten.iter().map(|left| left.path.clone()));
            stands.push((*n, stand));
        }
        for (n, stand) in stands {
            let mut files = self.disk(n);
            files.retain(|path, _| !unwritten.contains(path));
            let what = (stand.head, stand.state, files);
            match &first {
                None => first = Some(what),
                Some(first) if *first == what => {}
                Some(first) => self.fail(format!(
                    "d{} and d{n} differ (I1): heads {:?} {:?}, states {} {}, files {:?} {:?}",
                    here[0],
                    first.0,
                    what.0,
                    first.1,
                    what.1,
                    show(&first.2),
                    show(&what.2)
                )),
            }
        }
        let Some((_, _, files)) = first else { self.fail("nobody is left") };
        let disks = here.iter().map(|n| self.disk(*n));
        let standing: BTreeSet<Token> =
            disks.flat_map(|disk| disk.into_values().flat_map(|bytes| tokens(&bytes))).collect();
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
        for n in here {
            let report = self
                .at(n, "verify", |site| site.keeper().work(|vault| vault.verify(true, &mut |_, _, _| {})));
            match report {
                Some(Ok(report)) if report.ok => {}
                // The bytes of a blob or a history may be on a revoked device only.
                Some(Ok(report))
                    if !revoked.is_empty()
                        && report.findings.iter().all(|finding| finding.what.contains("not here")) => {}
                other => self.fail(format!("verify of d{n}: {other:?}")),
            }
        }
    }
}
