//! Connections between devices: the real exchange on both sides, and between them bytes that are late, cut anywhere, or lost.

use std::collections::{BTreeSet, VecDeque};

use aios_core::id::DeviceId;
use aios_sync::error::{Fault, Peer, SyncError};
use aios_sync::exchange::{Exchange, Mode};
use aios_sync::machine::Machine;
use aios_sync::replica::{Replica, ReplicaError};
use aios_sync::vault::VaultReplica;

use crate::world::World;

/// A side that hears nothing for so long gives up, ms.
const STALL: u64 = 10_000;

/// One side of a connection.
pub struct Side {
    pub n: usize,
    machine: Exchange,
    handle: VaultReplica,
    /// Whether it speaks as the device that its folder was before it was put back.
    former: bool,
}

/// A connection.
pub struct Conn {
    id: usize,
    between: [usize; 2],
    sides: [Option<Side>; 2],
    /// Bytes on their way to each side.
    wires: [VecDeque<u8>; 2],
    /// Whether bytes to that side vanish.
    deaf: [bool; 2],
    /// Whether that side is about to hear that the other has gone.
    hung: [bool; 2],
    moved: u64,
}

impl World {
    pub fn reach(&self, a: usize, b: usize) -> bool {
        self.apart.contains(&a) == self.apart.contains(&b)
    }

    /// Begins a connection; `false` where it does not come about.
    pub fn dial(&mut self, from: usize, to: usize, mode: Mode) -> bool {
        if from == to || !self.reach(from, to) {
            return false;
        }
        let mut sides = [None, None];
        let Some(callee) = self.at(to, "open", |site| site.device()) else { return false };
        // Who was put back is known to the others as the device it was, until one has heard.
        let caller = self.at(from, "open", |site| match site.former() {
            Ok(Some(former)) => (former.device(), Some(former.handle())),
            _ => (site.device(), None),
        });
        let Some((caller, former)) = caller.filter(|(caller, _)| *caller != callee) else { return false };
        let mut former = former.map(Some);
        for (k, (n, peer)) in [(from, callee), (to, caller)].into_iter().enumerate() {
            let made = self.at(n, "accept", |site| {
                if k == 1 {
                    // As the opener of a daemon: what is wrong shows elsewhere.
                    let _ = site.round();
                }
                let handle = former.as_mut().filter(|_| k == 0).and_then(Option::take);
                let handle = handle.unwrap_or_else(|| site.handle());
                let member = handle.is_member(&peer)?;
                Ok::<_, ReplicaError>((site.vault(), handle, member))
            });
            let Some(Ok((vault, handle, member))) = made else { return false };
            if !member {
                self.tell(format!("d{n} does not know d{}", [from, to][1 - k]));
                return false;
            }
            let machine = Exchange::new(Peer::from(peer), vault, mode, Vec::new(), "sim");
            sides[k] = Some(Side { n, machine, handle, former: k == 0 && former.is_some() });
        }
        let id = self.dialed;
        self.dialed += 1;
        self.tell(format!("d{from} calls d{to}: {mode:?} #{id}"));
        self.conns.push(Conn {
            id,
            between: [from, to],
            sides,
            wires: Default::default(),
            deaf: [false; 2],
            hung: [false; 2],
            moved: self.now,
        });
        true
    }

    /// The devices with which a device has a lasting connection.
    pub fn connected(&self, n: usize) -> BTreeSet<DeviceId> {
        let own = self.conns.iter().flat_map(|conn| conn.sides.iter().flatten()).filter(|side| side.n == n);
        own.map(|side| side.machine.peer().device()).collect()
    }

    /// Ends a device's connections with all but these.
    pub fn keep(&mut self, n: usize, members: &BTreeSet<DeviceId>) {
        for conn in &mut self.conns {
            for k in 0..2 {
                let ends = |side: &Side| {
                    side.n == n && !side.former && !members.contains(&side.machine.peer().device())
                };
                if conn.sides[k].as_ref().is_some_and(ends) {
                    conn.sides[k] = None;
                    conn.hung[1 - k] = true;
                }
            }
        }
        self.conns.retain(|conn| conn.sides.iter().any(Option::is_some));
    }

    /// Lets all connections do what they can, without any that ends.
    pub fn pump(&mut self) {
        let mut at = 0;
        while at < self.conns.len() {
            let did = self.advance(at, 0) | (at < self.conns.len() && self.advance(at, 1));
            at = if did { 0 } else { at + 1 };
        }
    }

    /// A program ends: its sides go, and the others will hear of it.
    pub fn hang_up(&mut self, n: usize) {
        for conn in &mut self.conns {
            for k in 0..2 {
                if conn.sides[k].as_ref().is_some_and(|side| side.n == n) {
                    conn.sides[k] = None;
                    conn.hung[1 - k] = true;
                }
            }
        }
        self.conns.retain(|conn| conn.sides.iter().any(Option::is_some));
    }

    /// There is news at a device: its lasting connections are told.
    pub fn news(&mut self, n: usize) {
        for side in self.conns.iter_mut().flat_map(|conn| conn.sides.iter_mut().flatten()) {
            if side.n == n {
                side.machine.changed();
            }
        }
    }

    /// A connection breaks.
    pub fn cut(&mut self) {
        let at = self.chance.below(self.conns.len());
        let Some(conn) = self.conns.get_mut(at) else { return };
        conn.hung = [true; 2];
        let (id, keep) = (conn.id, self.chance.below(3));
        for wire in &mut conn.wires {
            // What was on its way comes, or half of it, or nothing.
            wire.truncate(wire.len() * keep / 2);
        }
        self.tell(format!("#{id} is cut"));
    }

    /// One direction of a connection goes dead without anybody being told.
    pub fn deafen(&mut self) {
        let at = self.chance.below(self.conns.len());
        let k = self.chance.below(2);
        let Some(conn) = self.conns.get_mut(at) else { return };
        conn.deaf[k] = true;
        let id = conn.id;
        self.tell(format!("#{id} is deaf to {k}"));
    }

    /// Something happens on some connection.
    pub fn talk(&mut self) {
        let at = self.chance.below(self.conns.len());
        if at >= self.conns.len() {
            return;
        }
        let k = self.chance.below(2);
        if !self.advance(at, k) && at < self.conns.len() {
            self.advance(at, 1 - k);
        }
    }

    /// Lets one side of a connection do one thing; `false` when there is nothing to do. A connection that is over is removed.
    pub fn advance(&mut self, at: usize, k: usize) -> bool {
        let mut conn = self.conns.swap_remove(at);
        let did = self.side(&mut conn, k);
        if did {
            conn.moved = self.now;
        }
        if conn.sides.iter().any(Option::is_some) {
            self.conns.push(conn);
            let last = self.conns.len() - 1;
            self.conns.swap(at.min(last), last);
        }
        did
    }

    fn side(&mut self, conn: &mut Conn, k: usize) -> bool {
        let Some(mut side) = conn.sides[k].take() else { return false };
        let n = side.n;
        let before = side.machine.brought();
        if let Some(job) = side.machine.job() {
            let handle = &mut side.handle;
            let answer = self.at(n, "exchange", |_| job(handle));
            let Some(answer) = answer else {
                conn.hung[1 - k] = true;
                return true;
            };
            side.machine.ran(answer);
        } else if !conn.wires[k].is_empty() && side.machine.wants_input() {
            let most = self.chance.scale(conn.wires[k].len() as u64 + 64) as usize + 1;
            let bytes: Vec<u8> = conn.wires[k].drain(..most.min(conn.wires[k].len())).collect();
            side.machine.receive(&bytes);
        } else if conn.hung[k] && conn.wires[k].is_empty() {
            side.machine.closed("the peer has gone");
        } else if !side.machine.ended() {
            conn.sides[k] = Some(side);
            return false;
        }
        self.flush(conn, k, &mut side);
        if side.machine.brought() > before {
            self.devices[n].came = true;
            self.news(n);
        }
        match side.machine.ended() {
            true => self.over(conn, k, side),
            false => conn.sides[k] = Some(side),
        }
        true
    }

    fn flush(&mut self, conn: &mut Conn, k: usize, side: &mut Side) {
        let bytes = side.machine.outgoing().to_vec();
        side.machine.sent(bytes.len());
        let [a, b] = conn.between;
        let lost = conn.deaf[1 - k] || conn.hung[k] || !self.reach(a, b);
        match lost && !bytes.is_empty() {
            // What follows something lost does not arrive either.
            true => conn.deaf[1 - k] = true,
            false if conn.sides[1 - k].is_some() => conn.wires[1 - k].extend(bytes),
            false => {}
        }
    }

    /// A side has come to its end.
    fn over(&mut self, conn: &mut Conn, k: usize, side: Side) {
        conn.hung[1 - k] = true;
        let (n, other) = (side.n, conn.between[1 - k]);
        let outcome = side.machine.outcome();
        let result = side.machine.result().cloned();
        let frontier = side.machine.frontier().cloned().unwrap_or_default();
        drop(side.handle);
        if side.former && outcome.acknowledged {
            self.at(n, "introduce", |site| site.introduced());
            self.devices[n].strange = false;
        }
        let says = match &result {
            Some(Err(error)) => self.plain(&error.to_string()),
            _ => "done".into(),
        };
        self.tell(format!(
            "#{} ends at d{n}: {says} (+{} {})",
            conn.id, outcome.integrated, outcome.acknowledged
        ));
        if outcome.acknowledged && conn.id >= self.devices[other].since {
            let told = frontier.view();
            self.devices[other].promised = self.devices[other].promised.union(&told);
            if let Some(site) = self.devices[other].site.clone() {
                let has = site.keeper().work(|vault| vault.frontier());
                if has.is_ok_and(|has| !has.view().covers(&told)) {
                    self.fail(format!("d{other} told d{n} that it has what it has not (I12)"));
                }
            }
        }
        if k == 0 {
            let error = result.as_ref().and_then(|result| result.as_ref().err());
            let brought = outcome.integrated + outcome.apart_received > 0;
            self.heard(n, side.machine.peer(), brought, error);
        }
        if let Some(Err(error)) = result {
            self.judge(conn.id, n, other, &error);
        }
    }

    /// Whether an exchange may end like that.
    fn judge(&mut self, id: usize, n: usize, other: usize, error: &SyncError) {
        let disturbed = [n, other].iter().any(|n| {
            let device = &self.devices[*n];
            device.plan.failed() > 0 || id < device.failed_before
        });
        let fine = match error {
            SyncError::Broken { .. } | SyncError::Stalled { .. } => true,
            SyncError::Revoked { .. } | SyncError::NotMember { .. } => true,
            SyncError::Replica(_) => disturbed,
            SyncError::Refused { .. } => disturbed || error.fault() == Fault::Refused,
            _ => false,
        };
        if !fine {
            self.fail(format!("d{n} with d{other}: {error}"));
        }
    }

    /// Sides that have heard nothing for long give up.
    pub fn stall(&mut self) {
        let now = self.now;
        let mut at = 0;
        while at < self.conns.len() {
            let conn = &mut self.conns[at];
            for k in 0..2 {
                let side = conn.sides[k].as_mut().filter(|_| now > conn.moved + STALL);
                let peer = conn.between[1 - k];
                if let Some(side) = side.filter(|side| !side.machine.at_rest() && !side.machine.ended()) {
                    let peer = Peer::new(side.machine.peer().device(), format!("d{peer}"));
                    side.machine.fail(SyncError::Stalled { peer, seconds: STALL / 1000 });
                }
            }
            at += 1;
        }
    }

    /// Runs the connections until nothing is left to do on any; those that are at rest are closed.
    pub fn run_out(&mut self) {
        let mut idle = 0;
        while !self.conns.is_empty() && idle < 2 {
            let did = self.advance(0, 0) | (!self.conns.is_empty() && self.advance(0, 1));
            idle = if did { 0 } else { idle + 1 };
        }
        if !self.conns.is_empty() {
            self.fail("a connection does not come to its end");
        }
    }
}
