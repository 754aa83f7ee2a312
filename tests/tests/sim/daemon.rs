//! What a daemon does by itself, on each device: its real decisions under the world's time.

use std::collections::BTreeSet;
use std::time::Duration;

use aios_core::id::DeviceId;
use aios_sync::error::{Peer, SyncError};
use aios_sync::exchange::Mode;
use aios_sync::upkeep::{Act, Ended, Reach};
use aios_sync::work::Carried;
use aios_vault::watch::Seen;

use crate::world::World;

/// After so long a daemon has looked at everything, ms.
const SCAN: u64 = 31_000;

impl World {
    fn time(&self, n: usize) -> Duration {
        Duration::from_millis(self.now.saturating_sub(self.devices[n].began))
    }

    /// Lets the daemon of a device see what its watcher saw, which may not be all, and do what is due.
    pub fn tend(&mut self, n: usize) {
        let now = self.time(n);
        let saved: BTreeSet<String> = std::mem::take(&mut self.devices[n].seen);
        if !saved.is_empty() && !self.chance.one_in(8) {
            let seen = Seen { saved, moved: self.chance.one_in(6), folders: BTreeSet::new() };
            self.devices[n].upkeep.see(seen, now);
            self.devices[n].upkeep.seen_all();
        }
        if std::mem::take(&mut self.devices[n].came) {
            self.devices[n].upkeep.came();
        }
        self.devices[n].upkeep.tick(now);
        while let Some(act) = self.devices[n].upkeep.act() {
            self.act(n, act);
        }
    }

    fn act(&mut self, n: usize, act: Act) {
        let now = self.time(n);
        match act {
            Act::TakeIn(paths) => {
                let done = self.at(n, "take in", |site| site.take_in(Some(paths)));
                let told = self.took(n, "takes in", done);
                told.into_iter().for_each(|told| self.devices[n].upkeep.took(told, now));
            }
            Act::Look(_) => {
                let done = self.at(n, "look", |site| site.take_in(None));
                let told = self.took(n, "looks", done);
                told.into_iter().for_each(|told| self.devices[n].upkeep.looked(told, Duration::ZERO, now));
            }
            Act::Write => {
                let done = self.at(n, "write", |site| site.write());
                let told = self.took(n, "writes", done);
                told.into_iter().for_each(|told| self.devices[n].upkeep.wrote(told, now));
            }
            Act::Finish => match self.at(n, "git", |site| site.finish()) {
                Some(Ok(stand)) => self.devices[n].upkeep.finished(Ok(stand.warnings)),
                Some(Err(e)) => {
                    self.excused(n, "git", &e);
                    self.devices[n].upkeep.finished(Err(e.to_string()));
                }
                None => {}
            },
            Act::Tidy => match self.at(n, "tidy", |site| site.keeper().work(|vault| vault.gc_idle())) {
                Some(Ok(_)) => self.devices[n].upkeep.tidied(Ok(())),
                Some(Err(e)) => {
                    self.excused(n, "tidying", &e);
                    self.devices[n].upkeep.tidied(Err(e.to_string()));
                }
                None => {}
            },
            // There are no workflows.
            Act::Work => {
                let carried = Carried { view: self.devices[n].upkeep.view().clone(), ..Carried::default() };
                self.devices[n].upkeep.worked(Ok(carried), None, now);
            }
            Act::Meet => self.meet(n, now),
            Act::Tell => self.news(n),
            Act::Keep(members) => self.keep(n, &members),
            Act::Dial(peer, _) => {
                let to = self.devices.iter().position(|device| device.id == Some(peer.device()));
                if !to.is_some_and(|to| self.dial(n, to, Mode::Live)) {
                    let error = SyncError::Broken { peer: peer.clone(), why: "nobody there".into() };
                    self.heard(n, &peer, false, Some(&error));
                }
            }
            Act::Say(what) => {
                let what = self.plain(&what);
                self.tell(format!("  d{n} says: {what}"));
            }
            Act::Pause(_) => {}
        }
    }

    fn meet(&mut self, n: usize, now: Duration) {
        let company = match self.at(n, "meet", |site| site.company()) {
            Some(Ok(company)) => Ok(company),
            Some(Err(e)) => {
                self.excused(n, "meeting", &e);
                Err(e.to_string())
            }
            None => return,
        };
        let connected = self.connected(n);
        let with = |device: &DeviceId| connected.contains(device);
        let reach = Reach { paused: false, finds: true, with: &with };
        self.devices[n].upkeep.met(company, &reach, now);
    }

    /// A connection that a device began has ended.
    pub fn heard(&mut self, n: usize, peer: &Peer, brought: bool, error: Option<&SyncError>) {
        let (now, jitter) = (self.time(n), self.chance.below(256) as u8);
        self.devices[n].upkeep.heard(Ended { device: peer.device(), brought, error, jitter }, now);
    }

    /// Whatever was missed, daemons that are left alone have taken in after a while.
    pub fn let_daemons_work(&mut self) {
        for device in &mut self.devices {
            device.seen.clear();
        }
        for _ in 0..4 {
            self.now += SCAN;
            for n in 0..self.devices.len() {
                self.tend(n);
                self.pump();
            }
        }
        for n in 0..self.devices.len() {
            let disk = self.disk(n);
            self.taken_by(n);
            let mut waiting = self.waiting(n, &disk);
            if !waiting.is_empty() {
                // The word that others had a text forgotten never comes to whoever is cut off, nor from them, nor from who was put back:
                // that file waits, or all.
                let stand = self.at(n, "look", |site| site.round());
                let Some(Ok(stand)) = stand else { self.fail(format!("d{n}: {stand:?}")) };
                let left = |path: &str| stand.untaken.iter().any(|left| left.path == path);
                waiting.retain(|path, _| !left("") && !left(path));
            }
            if self.is_member(n) && !waiting.is_empty() {
                self.fail(format!("the daemon of d{n} has not seen {:?}", waiting.keys()));
            }
        }
        self.conns.clear();
    }
}
