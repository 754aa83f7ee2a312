//! What counts of all that was said about members: see [`authority`](crate::authority).

use std::collections::{BTreeMap, BTreeSet};

use crate::authority::Deed;
use crate::clock::Stamp;
use crate::event::Event;
use crate::id::DeviceId;
use crate::member::{ADMINISTER, Member, Members, Revoked};
use crate::ring::{Graph, last_rings};

/// Whether a deed counts, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
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

/// The members that follow from the deeds that count, given in order.
pub(crate) fn members(deeds: &[&Deed]) -> Members {
    let mut out: BTreeMap<DeviceId, Member> = BTreeMap::new();
    let mut own = BTreeSet::new();
    for deed in deeds {
        // What others said of a device gives way to its own word.
        if let Some((device, ..)) = deed.adds()
            && deed.is_own_word()
            && own.insert(*device)
        {
            out.remove(device);
        }
        let (place, time) = (deed.place, deed.wall);
        match &deed.event {
            Event::VaultCreated { device_name: name, operator, roles, .. } => {
                let (name, roles, operator) = (name.clone(), roles.clone(), Some(*operator));
                let member =
                    Member { name, roles, operator, added: place, time, revoked: None, became: None };
                out.entry(place.device).or_insert(member);
            }
            Event::DeviceAdded { device, name, roles, operator, .. } => {
                let (name, roles, operator) = (name.clone(), roles.clone(), *operator);
                let member =
                    Member { name, roles, operator, added: place, time, revoked: None, became: None };
                out.entry(*device).or_insert(member);
            }
            Event::DeviceRotated { device, operator, .. } => {
                let Some(old) = out.get_mut(&place.device) else { continue };
                old.became = Some(*device);
                let (added, operator) = (place, *operator);
                let member = Member { operator, added, time, became: None, ..old.clone() };
                out.entry(*device).or_insert(member);
            }
            _ => {}
        }
    }
    for deed in deeds {
        let (place, time) = (deed.place, deed.wall);
        match &deed.event {
            Event::DeviceRenamed { device, name } => {
                following(&mut out, device, |member| member.name.clone_from(name));
            }
            Event::DeviceRoles { device, roles, .. } => {
                following(&mut out, device, |member| member.roles.clone_from(roles));
            }
            _ => {}
        }
        if let Some(device) = deed.ends() {
            let last = deed.last();
            out.entry(*device).and_modify(|member| {
                // Of several the one that leaves least: whoever revoked first knew best.
                if member.revoked.is_none_or(|known| last < known.last) {
                    member.revoked = Some(Revoked { last, place, time });
                }
            });
        }
    }
    Members(out)
}

/// Changes a member, and those that took its place: who changed it need not have known of them.
fn following(members: &mut BTreeMap<DeviceId, Member>, device: &DeviceId, change: impl Fn(&mut Member)) {
    let mut next = Some(*device);
    while let Some(at) = next
        && let Some(member) = members.get_mut(&at)
    {
        change(member);
        // Who was let in otherwise before is not in its place.
        next = member.became.filter(|new| members.get(new).is_some_and(|new| new.added.device == at));
    }
}

/// What was decided.
pub(crate) struct Verdict {
    /// Of each deed whether it counts.
    pub marks: Vec<Mark>,
    /// Those that are signed by a root key and count, by their order.
    pub by_root: BTreeSet<(Stamp, u32)>,
}

/// The deeds, indexed by what they are about.
pub(crate) struct Bench<'d> {
    deeds: &'d [Deed],
    marks: Vec<Mark>,
    /// The deeds that make a device a member, its own word first.
    added: BTreeMap<DeviceId, Vec<usize>>,
    roles: BTreeMap<DeviceId, Vec<usize>>,
    ended: BTreeMap<DeviceId, Vec<usize>>,
    /// The deeds that name root keys.
    roots: BTreeMap<DeviceId, Vec<usize>>,
    holders: BTreeMap<DeviceId, BTreeSet<DeviceId>>,
}

impl<'d> Bench<'d> {
    pub fn new(deeds: &'d [Deed]) -> Self {
        let empty = || BTreeMap::<DeviceId, Vec<usize>>::new();
        let (added, roles, ended, roots) = (empty(), empty(), empty(), empty());
        let marks = vec![Mark::Open; deeds.len()];
        let mut bench = Bench { deeds, marks, added, roles, ended, roots, holders: BTreeMap::new() };
        for (n, deed) in deeds.iter().enumerate() {
            if let Some((device, operator, _)) = deed.adds() {
                bench.added.entry(*device).or_default().push(n);
                if let Some(key) = operator {
                    bench.holders.entry(*key).or_default().insert(*device);
                }
            }
            if let Event::DeviceRoles { device, .. } = &deed.event {
                bench.roles.entry(*device).or_default().push(n);
            }
            if let Some(device) = deed.ends() {
                bench.ended.entry(*device).or_default().push(n);
            }
            if let Some(key) = deed.root() {
                bench.roots.entry(*key).or_default().push(n);
            }
        }
        for added in bench.added.values_mut() {
            added.sort_by_key(|n| (!deeds[*n].is_own_word(), *n));
        }
        bench
    }

    pub fn decide(mut self) -> Verdict {
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
                None => break,
            }
        }
        let by_root =
            (0..self.deeds.len()).filter(|n| self.marks[*n] == Mark::In && self.root_of(*n).is_some());
        let by_root = by_root.map(|n| self.deeds[n].order()).collect();
        Verdict { by_root, marks: self.marks }
    }

    fn list<'a>(map: &'a BTreeMap<DeviceId, Vec<usize>>, device: &DeviceId) -> &'a [usize] {
        map.get(device).map_or(&[], Vec::as_slice)
    }

    /// Of the deeds about `device` in `map` those before deed `n` that it has seen. No deed leans on itself or on what comes after it:
    /// so only what strikes makes rings.
    fn seen<'a>(
        &'a self,
        map: &'a BTreeMap<DeviceId, Vec<usize>>,
        device: &DeviceId,
        n: usize,
    ) -> impl DoubleEndedIterator<Item = usize> + 'a {
        let view = &self.deeds[n].view;
        Self::list(map, device)
            .iter()
            .copied()
            .filter(move |other| *other < n && view.has(&self.deeds[*other].place))
    }

    /// The deeds naming the root key that signed deed `n`, where one did.
    fn root_of(&self, n: usize) -> Option<Vec<usize>> {
        let key = match &self.deeds[n].event {
            Event::DeviceAdded { by, .. }
            | Event::DeviceRoles { by, .. }
            | Event::DeviceRevoked { by, .. } => by,
            _ => return None,
        };
        let named: Vec<usize> = self.seen(&self.roots, key, n).collect();
        (!named.is_empty()).then_some(named)
    }

    /// The device that a device is in the place of, and so on to the first: of all that was said, whether it counts or not.
    fn first_of(&self, device: &DeviceId) -> DeviceId {
        let (mut at, mut met) = (*device, BTreeSet::from([*device]));
        // Two whose keys one hand holds may each go on as the other.
        while let Some(before) = Self::list(&self.added, &at).first().and_then(|n| self.deeds[*n].rotates())
            && met.insert(*before)
        {
            at = *before;
        }
        at
    }

    /// The ends of the maker's membership that root keys named before deed `n` signed: whoever stole that device may have named
    /// a root key with it, and the one before takes back both.
    fn over<'a>(&'a self, n: usize) -> impl Iterator<Item = usize> + 'a {
        let is_set = matches!(self.deeds[n].event, Event::RecoverySet { .. });
        let maker = is_set.then(|| self.first_of(&self.deeds[n].place.device));
        let all = self.ended.values().flatten().copied();
        all.filter(move |end| {
            let of = self.deeds[*end].ends().map(|device| self.first_of(device));
            let named = || self.root_of(*end).is_some_and(|roots| roots.iter().any(|root| *root < n));
            maker.is_some() && of == maker && named()
        })
    }

    /// The revocations of `device` that strike deed `n`, should it be that device's.
    fn strikes<'a>(&'a self, device: &DeviceId, n: usize) -> impl Iterator<Item = usize> + 'a {
        let place = self.deeds[n].place;
        let unseen = move |other: &usize| !self.deeds[*other].view.has(&place);
        Self::list(&self.ended, device).iter().copied().filter(unseen)
    }

    fn unstruck(&self, device: &DeviceId, n: usize) -> Mark {
        Mark::all(self.strikes(device, n).map(|other| self.marks[other].not()))
    }

    /// Whether `device` is a member for deed `n`.
    fn is_member(&self, device: &DeviceId, n: usize) -> Mark {
        Mark::any(self.seen(&self.added, device, n).map(|add| self.marks[add]))
    }

    /// Whether the author of deed `n` is a member for it; what makes it one needs nothing else for that.
    fn is_authors(&self, n: usize) -> Mark {
        let author = &self.deeds[n].place.device;
        match self.deeds[n].adds() {
            Some((device, ..)) if device == author => Mark::In,
            _ => self.is_member(author, n),
        }
    }

    /// `device`, and those in whose place it is for deed `n`; [`Mark::Open`] while that is not known.
    fn line(&self, device: &DeviceId, n: usize) -> Result<Vec<DeviceId>, Mark> {
        let mut line = vec![*device];
        while let Some(at) = line.last()
            && let Some(add) = self.seen(&self.added, at, n).find(|add| self.marks[*add] != Mark::Out)
            && let Some(before) = self.deeds[add].rotates()
            && !line.contains(before)
        {
            if self.marks[add] == Mark::Open {
                return Err(Mark::Open);
            }
            line.push(*before);
        }
        Ok(line)
    }

    /// Whether `device` has `role` for deed `n`: by the newest change of its roles that counts, or of those in whose place it is,
    /// else by what added the first of them.
    fn has_role(&self, device: &DeviceId, role: &str, n: usize) -> Mark {
        let holds = |roles: &[String]| if roles.iter().any(|has| has == role) { Mark::In } else { Mark::Out };
        let line = match self.line(device, n) {
            Ok(line) => line,
            Err(open) => return open,
        };
        let mut changed: Vec<usize> = line.iter().flat_map(|of| self.seen(&self.roles, of, n)).collect();
        changed.sort_unstable_by(|a, b| b.cmp(a));
        let added = line.last().into_iter().flat_map(|first| self.seen(&self.added, first, n));
        for other in changed.into_iter().chain(added) {
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
        if let Some(named) = self.root_of(n) {
            return Mark::any(named.into_iter().map(|root| self.marks[root]));
        }
        let right = match deed.signer() {
            _ if deed.rotates().is_some() => Mark::In,
            Some((key, role)) => Mark::any(self.holders(key).map(|holder| {
                Mark::all([
                    self.is_member(holder, n),
                    self.has_role(holder, role, n),
                    self.unstruck(holder, n),
                ])
            })),
            None => self.has_role(author, ADMINISTER, n),
        };
        let upheld = Mark::all(self.over(n).map(|end| self.marks[end].not()));
        Mark::all([self.is_authors(n), self.unstruck(author, n), right, upheld])
    }

    /// The open deeds that it hangs on whether deed `n` counts.
    fn hangs_on(&self, n: usize) -> BTreeSet<usize> {
        let deed = &self.deeds[n];
        let holders = deed.signer().into_iter().flat_map(|(key, _)| self.holders(key));
        let mut out: BTreeSet<usize> = self.over(n).chain(self.root_of(n).into_iter().flatten()).collect();
        for device in holders.chain([&deed.place.device]) {
            for of in self.line(device, n).unwrap_or_else(|_| vec![*device]) {
                out.extend(self.seen(&self.added, &of, n));
                out.extend(self.seen(&self.roles, &of, n));
            }
            out.extend(self.strikes(device, n));
        }
        out.retain(|other| *other != n && self.marks[*other] == Mark::Open);
        out
    }

    /// Of the revocations that hang on each other alone, the one whose author ranks lowest, and of that one's the latest.
    fn yielding(&self) -> Option<usize> {
        let open = (0..self.deeds.len()).filter(|n| self.marks[*n] == Mark::Open);
        let graph: Graph = open.map(|n| (n, self.hangs_on(n))).collect();
        let rank = |n: &usize| (self.rank(&self.deeds[*n].place.device), self.deeds[*n].order());
        // A ring holds a revocation, for all else only hangs on what came before it.
        let rings = last_rings(&graph).into_iter().filter(|n| self.deeds[*n].ends().is_some());
        rings.max_by_key(rank).or(graph.into_keys().next())
    }

    /// Where a device ranks, the first first. What of it counts is open: all that was said counts.
    fn rank(&self, device: &DeviceId) -> (bool, Option<Stamp>, DeviceId) {
        let first_of = self.first_of(device);
        let first = Self::list(&self.added, &first_of).first().map(|n| &self.deeds[*n]);
        let made = first.is_some_and(|deed| matches!(deed.event, Event::VaultCreated { .. }));
        (!made, first.map(|deed| deed.stamp), first_of)
    }
}
