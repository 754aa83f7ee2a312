//! Who has authority in a vault, and which records count: a pure function of the events about members in all records known
//! and of what their authors had seen, so that it is the same on every device whatever the order of arrival (I1, I7).
//!
//! Two questions are kept apart. Whether a record may enter the log at all follows from its own past ([`Authority::weigh`],
//! [`Authority::admits`]) and never changes. Whether it *counts* may change when a revocation comes in ([`Authority::judge`]).
//!
//! A revocation strikes what it has not seen of the device it is about: its events about members, and those that its
//! operator key has signed. A revocation may itself be struck. What strikes nobody who is struck first is decided at once; of those that
//! hang on each other alone (two that revoke each other, a ring) the one of lowest rank yields: the maker of the vault ranks
//! first, then who was added earlier. What the root key signed is struck by nobody. How it is decided is in `verdict.rs`; see
//! `docs/formats.md`, Authority.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Stamp;
use crate::event::Event;
use crate::frontier::{Place, View};
use crate::id::{ContentHash, DeviceId, RecordId, VaultId};
use crate::key::{
    AcceptanceStatement, ForgettingStatement, MemberStatement, RecoveryStatement, RevocationStatement,
    RolesStatement, RotationStatement, Statement,
};
use crate::member::{ADMINISTER, APPROVE, MemberError, Members};
use crate::verdict::{self, Bench, Mark};

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
        match event {
            Event::RulesAccepted { .. } | Event::DocumentForgotten { .. } => true,
            Event::EpochKeys { .. } => false,
            event => event.is_clear(),
        }
    }

    pub(crate) fn order(&self) -> (Stamp, u32) {
        (self.stamp, self.index)
    }

    /// The device it makes a member, with the operator key on it. The roles of one that takes the place of another are those of
    /// the other.
    pub(crate) fn adds(&self) -> Option<(&DeviceId, Option<&DeviceId>, &[String])> {
        match &self.event {
            Event::VaultCreated { operator, roles, .. } => Some((&self.place.device, Some(operator), roles)),
            Event::DeviceAdded { device, operator, roles, .. } => Some((device, operator.as_ref(), roles)),
            Event::DeviceRotated { device, operator, .. } => Some((device, operator.as_ref(), &[])),
            _ => None,
        }
    }

    /// Whether the device that it makes a member says so itself, with its key. Such a deed comes before what others said of that
    /// device: else who may add members would take one over by adding it once more, with an older clock.
    pub(crate) fn is_own_word(&self) -> bool {
        self.rotates().is_some() || self.adds().is_some_and(|(device, ..)| *device == self.place.device)
    }

    /// The device in whose place it puts another.
    pub(crate) fn rotates(&self) -> Option<&DeviceId> {
        matches!(self.event, Event::DeviceRotated { .. }).then_some(&self.place.device)
    }

    /// The device whose membership it ends.
    pub(crate) fn ends(&self) -> Option<&DeviceId> {
        match &self.event {
            Event::DeviceRevoked { device, .. } => Some(device),
            _ => self.rotates(),
        }
    }

    /// The root key it names.
    pub(crate) fn root(&self) -> Option<&DeviceId> {
        match &self.event {
            Event::VaultCreated { root, .. } => root.as_ref().map(|root| &root.key),
            Event::RecoverySet { root, .. } => Some(&root.key),
            _ => None,
        }
    }

    /// The operator key it is signed with, and the role that takes. To add, change or revoke it may be a root key instead.
    pub(crate) fn signer(&self) -> Option<(&DeviceId, &'static str)> {
        match &self.event {
            Event::DeviceAdded { by, .. }
            | Event::RecoverySet { by, .. }
            | Event::DeviceRoles { by, .. }
            | Event::DeviceRevoked { by, .. }
            | Event::DocumentForgotten { by, .. } => Some((by, ADMINISTER)),
            Event::RulesAccepted { by, .. } => Some((by, APPROVE)),
            _ => None,
        }
    }

    /// The number of the last record that a revocation leaves standing by itself.
    pub(crate) fn last(&self) -> u64 {
        match &self.event {
            Event::DeviceRotated { .. } => self.place.seq,
            // Who goes by itself has said so in a record that stands.
            Event::DeviceRevoked { device, .. } if *device == self.place.device => self.place.seq,
            Event::DeviceRevoked { last, .. } => last.map_or(0, |(seq, _)| seq),
            _ => u64::MAX,
        }
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
    /// Every version of a gated file that was in force once.
    once_accepted: BTreeSet<(String, ContentHash)>,
    /// Which files came in force when, in the total order.
    acceptances: Vec<(Stamp, String, ContentHash)>,
    /// The root keys that count, the first the highest, with the records that name them.
    roots: Vec<(DeviceId, Place, u64)>,
    /// The records that hold a deed which counts and is signed by a root key.
    rooted: Vec<Place>,
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
            once_accepted: BTreeSet::new(),
            acceptances: Vec::new(),
            roots: Vec::new(),
            rooted: Vec::new(),
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

    /// Whether a version of a gated file was in force once: what began then may go on with it (I11).
    pub fn was_accepted(&self, path: &str, hash: &ContentHash) -> bool {
        self.once_accepted.contains(&(path.to_owned(), *hash))
    }

    /// Which versions of gated files came in force, one after the other, with the stamps of the records that say so.
    pub fn acceptances(&self) -> &[(Stamp, String, ContentHash)] {
        &self.acceptances
    }

    /// The root keys that count, the highest first: each with the record that names it and that one's wall clock.
    pub fn roots(&self) -> &[(DeviceId, Place, u64)] {
        &self.roots
    }

    /// Whether a deed may stand in the log, judged by its own past alone.
    ///
    /// # Errors
    /// [`MemberError`]: the record must be refused by every device, whatever else it knows.
    pub fn weigh(&self, deed: &Deed) -> Result<(), MemberError> {
        let (vault, place) = (&self.vault, deed.place);
        let known = |device: &DeviceId| match self.is_added(device, &deed.view) {
            true => Ok(()),
            false => Err(MemberError::Unknown(place)),
        };
        match &deed.event {
            Event::VaultCreated { nonce, root, .. } => {
                let key = root.as_ref().map(|root| &root.key);
                if place.seq != 1 || VaultId::of(&place.device, nonce, key) != *vault {
                    return Err(MemberError::Maker(place.device));
                }
                match root {
                    Some(root) => self.held(&root.key, &root.sig.0, place),
                    None => Ok(()),
                }
            }
            Event::RecoverySet { root, sig, by } => {
                known(&place.device)?;
                self.held(&root.key, &root.sig.0, place)?;
                let statement = RecoveryStatement { vault, root: &root.key, place };
                let own = self.operator_of(&place.device, &deed.view) == Some(by);
                let signed = bytes(&sig.0).is_some_and(|sig| statement.verify(by, &sig));
                let fresh = !self.is_root(&root.key, &deed.view);
                match own && signed && fresh && self.is_makers(&place.device, &deed.view) {
                    true => Ok(()),
                    false => Err(MemberError::Root(place)),
                }
            }
            Event::DeviceAdded { device, name, roles, operator, sig, by } => {
                let operator = operator.as_ref();
                let statement = MemberStatement { vault, device, name, roles, operator, place };
                self.signed(deed, by, &sig.0, &statement)
            }
            Event::DeviceRenamed { device, .. } => known(device),
            Event::DeviceRoles { device, roles, sig, by } => {
                known(device)?;
                self.signed(deed, by, &sig.0, &RolesStatement { vault, device, roles, place })
            }
            Event::DeviceRevoked { device, last, sig, by } => {
                known(device)?;
                self.signed(deed, by, &sig.0, &RevocationStatement { vault, device, last: *last, place })?;
                let again = |other: &Deed| match &other.event {
                    Event::DeviceRevoked { device: of, by: key, .. } => {
                        (of, key, other.place.device) == (device, by, place.device)
                            && other.order() < deed.order()
                    }
                    _ => false,
                };
                if self.deeds.iter().any(again) {
                    return Err(MemberError::RevokedAlready(place));
                }
                // The cut-off is what the author had seen: what it strikes then follows from the pasts alone.
                let seen = deed.view.get(device) - u64::from(*device == place.device);
                if last.map_or(0, |(seq, _)| seq) != seen {
                    return Err(MemberError::CutOff(place));
                }
                let own = self.operator_of(device, &deed.view) == Some(by);
                match own || self.is_root(by, &deed.view) || !self.is_makers(device, &deed.view) {
                    true => Ok(()),
                    false => Err(MemberError::MakerStays(place)),
                }
            }
            Event::DocumentForgotten { doc, sig, by } => {
                self.signed(deed, by, &sig.0, &ForgettingStatement { vault, doc, place })
            }
            Event::DeviceRotated { device, operator, proof, sig, by } => {
                known(&place.device)?;
                let again =
                    |other: &Deed| other.rotates() == Some(&place.device) && deed.view.has(&other.place);
                if self.is_added(device, &deed.view) || self.deeds.iter().any(again) {
                    return Err(MemberError::Rotated(place));
                }
                let statement = RotationStatement { vault, device, operator: operator.as_ref(), place };
                let proven = bytes(&proof.0).is_some_and(|sig| statement.verify(device, &sig));
                // Whoever has the device key alone gets no operator key by it.
                let meant = match (self.operator_of(&place.device, &deed.view), by, sig) {
                    (None, None, None) => operator.is_none(),
                    (Some(own), Some(by), Some(sig)) if own == by => {
                        bytes(&sig.0).is_some_and(|sig| statement.verify(by, &sig))
                    }
                    _ => false,
                };
                if proven && meant { Ok(()) } else { Err(MemberError::Unsigned(place)) }
            }
            _ => Ok(()),
        }
    }

    /// Whether a key that is named as root signed that itself.
    fn held(&self, root: &DeviceId, sig: &[u8], place: Place) -> Result<(), MemberError> {
        let statement = RecoveryStatement { vault: &self.vault, root, place };
        match bytes(sig).is_some_and(|sig| statement.verify(root, &sig)) {
            true => Ok(()),
            false => Err(MemberError::Root(place)),
        }
    }

    /// Whether `by` is a root key, or an operator key that may change who is a member, and has signed.
    fn signed(
        &self,
        deed: &Deed,
        by: &DeviceId,
        sig: &[u8],
        statement: &impl Statement,
    ) -> Result<(), MemberError> {
        let signed = bytes(sig).is_some_and(|sig| match self.is_root(by, &deed.view) {
            true => statement.verify_root(by, &deed.place, &sig),
            false => statement.verify(by, &sig) && self.may(by, ADMINISTER, &deed.view),
        });
        if signed { Ok(()) } else { Err(MemberError::Unsigned(deed.place)) }
    }

    /// Whether an acceptance is the consent of an operator who may give it, in its record's past.
    pub fn consents(&self, deed: &Deed) -> bool {
        match &deed.event {
            Event::RulesAccepted { path, hash, sig, by } => {
                let statement = AcceptanceStatement { vault: &self.vault, path, hash, place: deed.place };
                let signed = bytes(&sig.0).is_some_and(|sig| statement.verify(by, &sig));
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
            self.contested |= deed.ends().is_some();
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

    /// The deeds in `view` that make `device` a member, its own word first.
    fn additions<'a, 'v>(
        &'a self,
        device: &DeviceId,
        view: &'v View,
    ) -> impl Iterator<Item = &'a Deed> + use<'a, 'v> {
        let device = *device;
        let about = move |own: bool| {
            let adds = move |deed: &&Deed| deed.adds().is_some_and(|(of, ..)| *of == device);
            let all = self.deeds.iter().filter(adds).filter(move |deed| deed.is_own_word() == own);
            all.filter(|deed| view.has(&deed.place))
        };
        about(true).chain(about(false))
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

    /// A device, and those before it in whose place it is, as the records in `view` have it.
    fn line(&self, device: &DeviceId, view: &View) -> Vec<DeviceId> {
        let mut line = vec![*device];
        let mut at = device;
        // Two whose keys one hand holds may each go on as the other.
        while let Some(before) = self.additions(at, view).next().and_then(Deed::rotates)
            && !line.contains(before)
        {
            line.push(*before);
            at = before;
        }
        line
    }

    /// Whether a device made the vault, or is in the place of the one that did.
    fn is_makers(&self, device: &DeviceId, view: &View) -> bool {
        self.maker().is_some_and(|(maker, _)| self.line(device, view).contains(maker))
    }

    /// Whether a device made the vault, or is in the place of the one that did, as all records have it that are known.
    pub fn is_maker(&self, device: &DeviceId) -> bool {
        self.is_makers(device, &self.deeds.iter().map(|deed| deed.place).collect())
    }

    /// The operator key kept on a device, as the records in `view` have it.
    fn operator_of(&self, device: &DeviceId, view: &View) -> Option<&DeviceId> {
        self.additions(device, view).find_map(Deed::adds)?.1
    }

    /// Whether `key` is a root key that the records in `view` name.
    pub fn is_root(&self, key: &DeviceId, view: &View) -> bool {
        self.deeds.iter().any(|deed| deed.root() == Some(key) && view.has(&deed.place))
    }

    /// The roles of a device as the records in `view` have them, whatever was revoked.
    pub fn roles<'a>(&'a self, device: &DeviceId, view: &View) -> &'a [String] {
        let line = self.line(device, view);
        let changed = self.deeds.iter().rev().find_map(|deed| match &deed.event {
            Event::DeviceRoles { device: of, roles, .. } if line.contains(of) && view.has(&deed.place) => {
                Some(roles.as_slice())
            }
            _ => None,
        });
        changed.unwrap_or_else(|| {
            let first = line.last().and_then(|first| self.additions(first, view).find_map(Deed::adds));
            first.map_or(&[], |(_, _, roles)| roles)
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
        let verdict = Bench::new(&self.deeds).decide();
        let counting: Vec<&Deed> = self
            .deeds
            .iter()
            .zip(&verdict.marks)
            .filter(|(_, mark)| **mark == Mark::In)
            .map(|(deed, _)| deed)
            .collect();
        (self.members, self.accepted) = (verdict::members(&counting), BTreeMap::new());
        (self.roots, self.rooted, self.once_accepted) = (Vec::new(), Vec::new(), BTreeSet::new());
        self.acceptances.clear();
        for deed in counting {
            if let Event::RulesAccepted { path, hash, .. } = &deed.event {
                self.accepted.insert(path.clone(), (*hash, deed.stamp));
                if *hash != ContentHash::NONE {
                    self.once_accepted.insert((path.clone(), *hash));
                }
                self.acceptances.push((deed.stamp, path.clone(), *hash));
            }
            if let Some(root) = deed.root() {
                self.roots.push((*root, deed.place, deed.wall));
            }
            if verdict.by_root.contains(&deed.order()) {
                self.rooted.push(deed.place);
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

    /// The records that count, of those up to `tips`: all that members wrote up to where they were revoked, and what the root key
    /// signed, with all that rests on. So what was written beyond counts when a record that counts builds on it. `view_of` gives the past of a record and itself.
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
        for place in self.rooted.iter().filter(|place| tips.has(place)) {
            out = out.union(&view_of(place)?);
        }
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

/// The last record of a device that a revocation by someone with this view names.
pub fn cut_off(view: &View, device: &DeviceId, id: Option<RecordId>) -> Option<(u64, RecordId)> {
    let seq = view.get(device);
    id.filter(|_| seq > 0).map(|id| (seq, id))
}
