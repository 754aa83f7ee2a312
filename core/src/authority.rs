//! Who has authority in a vault, and which records count: a pure function of the events about members in all records known
//! and of what their authors had seen, so that it is the same on every device whatever the order of arrival (I1, I7).
//!
//! Two questions are kept apart. Whether a record may enter the log at all follows from its own past ([`Authority::weigh`],
//! [`Authority::admits`]) and never changes. Whether it *counts* may change when a revocation comes in ([`Authority::judge`]).
//!
//! A revocation strikes what it has not seen of the device it is about: its events about members, and those that its
//! operator key has signed. A revocation may itself be struck. What strikes nobody who is struck first is decided at once; of those that
//! hang on each other alone (two that revoke each other, a ring) the one of lowest rank yields: the maker of the vault ranks
//! first, then who was added earlier. See `docs/formats.md`, Authority.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Stamp;
use crate::event::Event;
use crate::frontier::{Place, View};
use crate::id::{ContentHash, DeviceId, RecordId, VaultId};
use crate::key::{MemberStatement, RevocationStatement, RolesStatement, verify_acceptance};
use crate::member::{ADMINISTER, APPROVE, Member, MemberError, Members, Revoked};

/// An event about who may do what, with the record it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// The record.
    pub place: Place,
    /// The event's position among the record's items.
    pub index: u32,
    /// The record's place in the total order.
    pub stamp: Stamp,
    /// The record's past and itself.
    pub view: View,
    /// Its author's wall clock, ms since the Unix epoch.
    pub wall: u64,
    /// The event.
    pub event: Event,
}

impl Deed {
    /// Whether an event is one of these.
    pub fn is(event: &Event) -> bool {
        matches!(
            event,
            Event::VaultCreated { .. }
                | Event::DeviceAdded { .. }
                | Event::DeviceRenamed { .. }
                | Event::DeviceRoles { .. }
                | Event::DeviceRevoked { .. }
                | Event::RulesAccepted { .. }
        )
    }

    fn order(&self) -> (Stamp, u32) {
        (self.stamp, self.index)
    }

    /// The device it makes a member.
    fn adds(&self) -> Option<(&DeviceId, Option<&DeviceId>, &[String])> {
        match &self.event {
            Event::VaultCreated { operator, roles, .. } => Some((&self.place.device, Some(operator), roles)),
            Event::DeviceAdded { device, operator, roles, .. } => Some((device, operator.as_ref(), roles)),
            _ => None,
        }
    }

    /// The operator key it is signed with, and the role that takes.
    fn signer(&self) -> Option<(&DeviceId, &'static str)> {
        match &self.event {
            Event::DeviceAdded { by, .. }
            | Event::DeviceRoles { by, .. }
            | Event::DeviceRevoked { by, .. } => Some((by, ADMINISTER)),
            Event::RulesAccepted { by, .. } => Some((by, APPROVE)),
            _ => None,
        }
    }

    /// The number of the last record that a revocation leaves standing by itself.
    fn last(&self) -> u64 {
        match &self.event {
            // Who goes by itself has said so in a record that stands.
            Event::DeviceRevoked { device, .. } if *device == self.place.device => self.place.seq,
            Event::DeviceRevoked { last, .. } => last.map_or(0, |(seq, _)| seq),
            _ => u64::MAX,
        }
    }
}

/// Whether a deed counts, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Open,
    In,
    Out,
}

impl Mark {
    fn not(self) -> Mark {
        match self {
            Mark::Open => Mark::Open,
            Mark::In => Mark::Out,
            Mark::Out => Mark::In,
        }
    }

    fn all(marks: impl IntoIterator<Item = Mark>) -> Mark {
        let mut out = Mark::In;
        for mark in marks {
            match mark {
                Mark::Out => return Mark::Out,
                Mark::Open => out = Mark::Open,
                Mark::In => {}
            }
        }
        out
    }

    fn any(marks: impl IntoIterator<Item = Mark>) -> Mark {
        Mark::all(marks.into_iter().map(Mark::not)).not()
    }
}

/// The events about authority that are known, and what follows from them.
#[derive(Debug, Clone)]
pub struct Authority {
    vault: VaultId,
    /// In order of stamp and index.
    deeds: Vec<Deed>,
    members: Members,
    accepted: BTreeMap<String, (ContentHash, Stamp)>,
    /// Whether anybody was revoked at all, whether that counts or not.
    contested: bool,
}

impl Authority {
    /// Of a vault without records.
    pub fn new(vault: VaultId) -> Self {
        Authority {
            vault,
            deeds: Vec::new(),
            members: Members::default(),
            accepted: BTreeMap::new(),
            contested: false,
        }
    }

    /// The members, as of [`Authority::judge`].
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// The versions of gated files that are in force, with the stamp of the record that says so.
    pub fn accepted(&self) -> &BTreeMap<String, (ContentHash, Stamp)> {
        &self.accepted
    }

    /// Whether a deed may stand in the log, judged by its own past alone.
    ///
    /// # Errors
    /// [`MemberError`]: the record must be refused by every device, whatever else it knows.
    pub fn weigh(&self, deed: &Deed) -> Result<(), MemberError> {
        let (vault, place) = (&self.vault, deed.place);
        let signed = |by: &DeviceId, valid: bool| match valid && self.may(by, ADMINISTER, &deed.view) {
            true => Ok(()),
            false => Err(MemberError::Unsigned(place)),
        };
        match &deed.event {
            Event::VaultCreated { nonce, .. } => {
                match place.seq == 1 && VaultId::of(&place.device, nonce) == *vault {
                    true => Ok(()),
                    false => Err(MemberError::Maker(place.device)),
                }
            }
            Event::DeviceAdded { device, name, roles, operator, sig, by } => {
                let statement = MemberStatement { vault, device, name, roles, operator: operator.as_ref() };
                signed(by, bytes(&sig.0).is_some_and(|sig| statement.verify(by, &sig)))
            }
            Event::DeviceRenamed { device, .. } => match self.is_added(device, &deed.view) {
                true => Ok(()),
                false => Err(MemberError::Unknown(place)),
            },
            Event::DeviceRoles { device, roles, sig, by } => {
                if !self.is_added(device, &deed.view) {
                    return Err(MemberError::Unknown(place));
                }
                let statement = RolesStatement { vault, device, roles, place };
                signed(by, bytes(&sig.0).is_some_and(|sig| statement.verify(by, &sig)))
            }
            Event::DeviceRevoked { device, last, sig, by } => {
                if !self.is_added(device, &deed.view) {
                    return Err(MemberError::Unknown(place));
                }
                let statement = RevocationStatement { vault, device, last: *last };
                signed(by, bytes(&sig.0).is_some_and(|sig| statement.verify(by, &sig)))?;
                // The cut-off is what the author had seen: what it strikes then follows from the pasts alone.
                let seen = deed.view.get(device) - u64::from(*device == place.device);
                if last.map_or(0, |(seq, _)| seq) != seen {
                    return Err(MemberError::CutOff(place));
                }
                let own = self.maker().is_none_or(|(maker, key)| maker != device || key == by);
                if own { Ok(()) } else { Err(MemberError::MakerStays(place)) }
            }
            _ => Ok(()),
        }
    }

    /// Whether an acceptance is the consent of an operator who may give it, in its record's past.
    pub fn consents(&self, deed: &Deed) -> bool {
        match &deed.event {
            Event::RulesAccepted { path, hash, sig, by } => {
                let signed =
                    bytes(&sig.0).is_some_and(|sig| verify_acceptance(by, &self.vault, path, hash, &sig));
                signed && self.may(by, APPROVE, &deed.view)
            }
            _ => false,
        }
    }

    /// Adds a deed that was weighed. Nothing follows from it before [`Authority::judge`]. Acceptances that are no consent, and what
    /// is known already, are left out.
    pub fn add(&mut self, deed: Deed) {
        let stands = Deed::is(&deed.event)
            && (!matches!(deed.event, Event::RulesAccepted { .. }) || self.consents(&deed));
        if let Err(at) = self.deeds.binary_search_by_key(&deed.order(), Deed::order)
            && stands
        {
            self.contested |= matches!(deed.event, Event::DeviceRevoked { .. });
            self.deeds.insert(at, deed);
        }
    }

    /// Whether the record at `place`, with this `past`, is by a device that was a member then.
    pub fn admits(&self, place: Place, past: &View) -> bool {
        let mut view = past.clone();
        view.add(place);
        self.is_added(&place.device, &view)
    }

    fn is_added(&self, device: &DeviceId, view: &View) -> bool {
        self.additions(device, view).next().is_some()
    }

    fn additions<'a>(&'a self, device: &'a DeviceId, view: &'a View) -> impl Iterator<Item = &'a Deed> + 'a {
        let about = move |deed: &&Deed| deed.adds().is_some_and(|(of, ..)| of == device);
        self.deeds.iter().filter(about).filter(|deed| view.has(&deed.place))
    }

    /// The device that made the vault.
    pub fn made_by(&self) -> Option<&DeviceId> {
        self.maker().map(|(device, _)| device)
    }

    fn maker(&self) -> Option<(&DeviceId, &DeviceId)> {
        self.deeds.iter().find_map(|deed| match &deed.event {
            Event::VaultCreated { operator, .. } => Some((&deed.place.device, operator)),
            _ => None,
        })
    }

    /// The roles of a device as the records in `view` have them, whatever was revoked.
    pub fn roles<'a>(&'a self, device: &DeviceId, view: &View) -> &'a [String] {
        let changed = self.deeds.iter().rev().find_map(|deed| match &deed.event {
            Event::DeviceRoles { device: of, roles, .. } if of == device && view.has(&deed.place) => {
                Some(roles.as_slice())
            }
            _ => None,
        });
        changed.unwrap_or_else(|| {
            let mut added = self.deeds.iter().filter(|deed| view.has(&deed.place)).filter_map(Deed::adds);
            added.find(|(of, ..)| *of == device).map_or(&[], |(_, _, roles)| roles)
        })
    }

    /// Whether `key` is an operator key that the records in `view` know, of a device that has `role` there.
    pub fn may(&self, key: &DeviceId, role: &str, view: &View) -> bool {
        let known = self.deeds.iter().filter(|deed| view.has(&deed.place)).filter_map(Deed::adds);
        let mut holders = known.filter(|(_, operator, _)| *operator == Some(key));
        holders.any(|(device, ..)| self.roles(device, view).iter().any(|has| has == role))
    }

    /// Decides what counts. To be called when deeds were added.
    pub fn judge(&mut self) {
        let marks = Bench::new(&self.deeds).decide();
        let counting: Vec<&Deed> = self
            .deeds
            .iter()
            .zip(&marks)
            .filter(|(_, mark)| **mark == Mark::In)
            .map(|(deed, _)| deed)
            .collect();
        (self.members, self.accepted) = (members(&counting), BTreeMap::new());
        for deed in counting {
            if let Event::RulesAccepted { path, hash, .. } = &deed.event {
                self.accepted.insert(path.clone(), (*hash, deed.stamp));
            }
        }
    }

    /// The number of the last record of a device that counts by itself; 0 for who is no member.
    pub fn bound(&self, device: &DeviceId) -> u64 {
        match self.members.0.get(device) {
            None => 0,
            Some(member) => member.revoked.map_or(u64::MAX, |revoked| revoked.last),
        }
    }

    /// The records that count, of those up to `tips`: all that members wrote up to where they were revoked, with all that rests on.
    /// So what was written beyond counts when a record that counts builds on it. `view_of` gives the past of a record and itself.
    ///
    /// # Errors
    /// Those of `view_of`.
    pub fn counting<E>(
        &self,
        tips: &View,
        mut view_of: impl FnMut(&Place) -> Result<View, E>,
    ) -> Result<View, E> {
        if tips.iter().all(|tip| tip.seq <= self.bound(&tip.device)) {
            return Ok(tips.clone());
        }
        let mut out = View::new();
        for tip in tips.iter() {
            let last = Place { device: tip.device, seq: tip.seq.min(self.bound(&tip.device)) };
            if last.seq > 0 {
                out = out.union(&view_of(&last)?);
            }
        }
        Ok(out)
    }

    /// Whether a revocation is known: only then may a record be in the log and not count.
    pub fn is_contested(&self) -> bool {
        self.contested
    }
}

fn bytes(signature: &[u8]) -> Option<[u8; 64]> {
    signature.try_into().ok()
}

/// The members that follow from the deeds that count, given in order.
fn members(deeds: &[&Deed]) -> Members {
    let mut out: BTreeMap<DeviceId, Member> = BTreeMap::new();
    for deed in deeds {
        let (place, time) = (deed.place, deed.wall);
        match &deed.event {
            Event::VaultCreated { device_name: name, operator, roles, .. } => {
                let (name, roles, operator) = (name.clone(), roles.clone(), Some(*operator));
                let member = Member { name, roles, operator, added: place, time, revoked: None };
                out.entry(place.device).or_insert(member);
            }
            Event::DeviceAdded { device, name, roles, operator, .. } => {
                let (name, roles, operator) = (name.clone(), roles.clone(), *operator);
                let member = Member { name, roles, operator, added: place, time, revoked: None };
                out.entry(*device).or_insert(member);
            }
            _ => {}
        }
    }
    for deed in deeds {
        let (place, time) = (deed.place, deed.wall);
        match &deed.event {
            Event::DeviceRenamed { device, name } => {
                out.entry(*device).and_modify(|member| member.name.clone_from(name));
            }
            Event::DeviceRoles { device, roles, .. } => {
                out.entry(*device).and_modify(|member| member.roles.clone_from(roles));
            }
            Event::DeviceRevoked { device, .. } => {
                let last = deed.last();
                out.entry(*device).and_modify(|member| {
                    // Of several the one that leaves least: whoever revoked first knew best.
                    if member.revoked.is_none_or(|known| last < known.last) {
                        member.revoked = Some(Revoked { last, place, time });
                    }
                });
            }
            _ => {}
        }
    }
    Members(out)
}

/// The deeds, indexed by what they are about.
struct Bench<'d> {
    deeds: &'d [Deed],
    marks: Vec<Mark>,
    added: BTreeMap<DeviceId, Vec<usize>>,
    roles: BTreeMap<DeviceId, Vec<usize>>,
    revoked: BTreeMap<DeviceId, Vec<usize>>,
    holders: BTreeMap<DeviceId, BTreeSet<DeviceId>>,
}

impl<'d> Bench<'d> {
    fn new(deeds: &'d [Deed]) -> Self {
        let empty = || BTreeMap::<DeviceId, Vec<usize>>::new();
        let (added, roles, revoked) = (empty(), empty(), empty());
        let marks = vec![Mark::Open; deeds.len()];
        let mut bench = Bench { deeds, marks, added, roles, revoked, holders: BTreeMap::new() };
        for (n, deed) in deeds.iter().enumerate() {
            if let Some((device, operator, _)) = deed.adds() {
                bench.added.entry(*device).or_default().push(n);
                if let Some(key) = operator {
                    bench.holders.entry(*key).or_default().insert(*device);
                }
            }
            match &deed.event {
                Event::DeviceRoles { device, .. } => bench.roles.entry(*device).or_default().push(n),
                Event::DeviceRevoked { device, .. } => bench.revoked.entry(*device).or_default().push(n),
                _ => {}
            }
        }
        bench
    }

    fn decide(mut self) -> Vec<Mark> {
        loop {
            let mut moved = false;
            for n in 0..self.deeds.len() {
                if self.marks[n] == Mark::Open {
                    self.marks[n] = self.mark(n);
                    moved |= self.marks[n] != Mark::Open;
                }
            }
            if moved {
                continue;
            }
            match self.yielding() {
                Some(n) => self.marks[n] = Mark::Out,
                None => return self.marks,
            }
        }
    }

    fn list<'a>(map: &'a BTreeMap<DeviceId, Vec<usize>>, device: &DeviceId) -> &'a [usize] {
        map.get(device).map_or(&[], Vec::as_slice)
    }

    /// Of the deeds about `device` in `map` those that deed `n` has seen.
    fn seen<'a>(
        &'a self,
        map: &'a BTreeMap<DeviceId, Vec<usize>>,
        device: &DeviceId,
        n: usize,
    ) -> impl DoubleEndedIterator<Item = usize> + 'a {
        let view = &self.deeds[n].view;
        Self::list(map, device).iter().copied().filter(|other| view.has(&self.deeds[*other].place))
    }

    /// The revocations of `device` that strike deed `n`, should it be that device's.
    fn strikes<'a>(&'a self, device: &DeviceId, n: usize) -> impl Iterator<Item = usize> + 'a {
        let place = self.deeds[n].place;
        let unseen = move |other: &usize| !self.deeds[*other].view.has(&place);
        Self::list(&self.revoked, device).iter().copied().filter(unseen)
    }

    fn unstruck(&self, device: &DeviceId, n: usize) -> Mark {
        Mark::all(self.strikes(device, n).map(|other| self.marks[other].not()))
    }

    /// Whether `device` is a member for deed `n`; what makes its own author one needs nothing else for that.
    fn is_member(&self, device: &DeviceId, n: usize) -> Mark {
        let marks =
            self.seen(&self.added, device, n).map(|add| if add == n { Mark::In } else { self.marks[add] });
        Mark::any(marks)
    }

    /// Whether `device` has `role` for deed `n`: by the newest change of its roles that counts, else by what added it.
    fn has_role(&self, device: &DeviceId, role: &str, n: usize) -> Mark {
        let holds = |roles: &[String]| if roles.iter().any(|has| has == role) { Mark::In } else { Mark::Out };
        let changed = self.seen(&self.roles, device, n).rev().filter(|other| *other != n);
        for other in changed.chain(self.seen(&self.added, device, n)) {
            match (self.marks[other], &self.deeds[other].event) {
                (Mark::Out, _) => {}
                (Mark::Open, _) => return Mark::Open,
                (Mark::In, Event::DeviceRoles { roles, .. }) => return holds(roles),
                (Mark::In, _) => {
                    return self.deeds[other].adds().map_or(Mark::Out, |(_, _, roles)| holds(roles));
                }
            }
        }
        Mark::Out
    }

    fn holders(&self, key: &DeviceId) -> impl Iterator<Item = &DeviceId> {
        self.holders.get(key).into_iter().flatten()
    }

    fn mark(&self, n: usize) -> Mark {
        let deed = &self.deeds[n];
        let author = &deed.place.device;
        if matches!(deed.event, Event::VaultCreated { .. }) {
            return Mark::In;
        }
        let right = match deed.signer() {
            Some((key, role)) => Mark::any(self.holders(key).map(|holder| {
                Mark::all([
                    self.is_member(holder, n),
                    self.has_role(holder, role, n),
                    self.unstruck(holder, n),
                ])
            })),
            None => self.has_role(author, ADMINISTER, n),
        };
        Mark::all([self.is_member(author, n), self.unstruck(author, n), right])
    }

    /// The open deeds that it hangs on whether deed `n` counts.
    fn hangs_on(&self, n: usize) -> BTreeSet<usize> {
        let deed = &self.deeds[n];
        let holders = deed.signer().into_iter().flat_map(|(key, _)| self.holders(key));
        let mut out = BTreeSet::new();
        for device in holders.chain([&deed.place.device]) {
            out.extend(self.seen(&self.added, device, n));
            out.extend(self.seen(&self.roles, device, n));
            out.extend(self.strikes(device, n));
        }
        out.retain(|other| *other != n && self.marks[*other] == Mark::Open);
        out
    }

    /// Of the revocations that hang on each other alone, the one whose author ranks lowest, and of that one's the latest.
    fn yielding(&self) -> Option<usize> {
        let open: Vec<usize> = (0..self.deeds.len()).filter(|n| self.marks[*n] == Mark::Open).collect();
        let mut reach: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for n in &open {
            let (mut all, mut next) = (BTreeSet::new(), vec![*n]);
            while let Some(at) = next.pop() {
                next.extend(self.hangs_on(at).into_iter().filter(|other| all.insert(*other)));
            }
            reach.insert(*n, all);
        }
        let alone =
            |n: &&usize| reach[*n].iter().all(|other| reach.get(other).is_some_and(|back| back.contains(n)));
        let is_revocation = |n: &&usize| matches!(self.deeds[**n].event, Event::DeviceRevoked { .. });
        let candidates = open.iter().filter(is_revocation).filter(alone);
        let rank = |n: &&usize| (self.rank(&self.deeds[**n].place.device), self.deeds[**n].order());
        // A ring holds a revocation, for what adds or changes a member only hangs on what came before it.
        candidates.max_by_key(rank).or(open.first()).copied()
    }

    /// Where a device ranks, the first first. What of it counts is open: all that was said counts.
    fn rank(&self, device: &DeviceId) -> (bool, Option<Stamp>, DeviceId) {
        let first = Self::list(&self.added, device).first().map(|n| &self.deeds[*n]);
        let made = first.is_some_and(|deed| matches!(deed.event, Event::VaultCreated { .. }));
        (!made, first.map(|deed| deed.stamp), *device)
    }
}

/// The last record of a device that a revocation by someone with this view names.
pub fn cut_off(view: &View, device: &DeviceId, id: Option<RecordId>) -> Option<(u64, RecordId)> {
    let seq = view.get(device);
    id.filter(|_| seq > 0).map(|id| (seq, id))
}
