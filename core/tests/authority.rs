//! Who has authority, decided from the same records in any order (I1, I7).

use std::collections::BTreeMap;
use std::convert::Infallible;

use aios_core::authority::{Authority, Deed, cut_off};
use aios_core::clock::{Hlc, Stamp};
use aios_core::event::{Event, RootKey};
use aios_core::frontier::{Place, View};
use aios_core::id::{DeviceId, RecordId, VaultId};
use aios_core::item::Bytes;
use aios_core::key::{
    MemberStatement, RecoveryStatement, RevocationStatement, RolesStatement, RotationStatement, SecretKey,
};
use aios_core::member::{MemberError, Members};
use proptest::prelude::*;

const ALL: [&str; 6] = ["write", "carry", "approve", "coordinate", "credentials", "administer"];

#[derive(Debug, Clone)]
struct Known {
    past: View,
    view: View,
    deeds: Vec<Deed>,
}

/// Every record of a vault, and what each device knows of them.
struct Town {
    vault: VaultId,
    root: SecretKey,
    records: BTreeMap<Place, Known>,
    /// What lies in each device's log, by device.
    logs: Vec<View>,
    clock: u64,
}

fn key(n: usize) -> SecretKey {
    SecretKey::from_bytes(&[n as u8 + 1; 32])
}

fn operator(n: usize) -> SecretKey {
    SecretKey::from_bytes(&[n as u8 + 101; 32])
}

fn root_key(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n + 201; 32])
}

fn device(n: usize) -> DeviceId {
    key(n).public()
}

fn id(place: &Place) -> RecordId {
    let mut bytes = place.device.0;
    bytes[0] ^= place.seq as u8;
    RecordId(bytes)
}

fn roles(list: &[&str]) -> Vec<String> {
    list.iter().map(|role| (*role).to_owned()).collect()
}

impl Town {
    /// Device 0 makes the vault.
    fn new(devices: usize) -> Town {
        Town::made(devices, None)
    }

    /// Device 0 makes a vault with a root key.
    fn rooted(devices: usize) -> Town {
        Town::made(devices, Some(root_key(0)))
    }

    fn made(devices: usize, root: Option<SecretKey>) -> Town {
        let nonce = "00".repeat(16);
        let key = root.as_ref().map(SecretKey::public);
        let vault = VaultId::of(&device(0), &nonce, key.as_ref());
        let (records, logs) = (BTreeMap::new(), vec![View::new(); devices]);
        let named = root.as_ref().map(|root| root_named(&vault, root, Place { device: device(0), seq: 1 }));
        let root = root.unwrap_or_else(|| root_key(0));
        let mut town = Town { vault, root, records, logs, clock: 1_000 };
        let made = Event::VaultCreated {
            name: "v".into(),
            nonce,
            device_name: "d0".into(),
            operator: operator(0).public(),
            roles: roles(&ALL),
            root: named,
        };
        town.write(0, vec![made]);
        town
    }

    fn next(&self, n: usize) -> Place {
        Place { device: device(n), seq: self.logs[n].get(&device(n)) + 1 }
    }

    /// Device `n` lets itself in with the root key.
    fn recover(&mut self, n: usize) -> Place {
        let (vault, device, name, roles) = (self.vault, device(n), format!("d{n}"), roles(&ALL));
        let operator = Some(operator(n).public());
        let statement = MemberStatement {
            vault: &vault,
            device: &device,
            name: &name,
            roles: &roles,
            operator: operator.as_ref(),
        };
        let sig = Bytes(self.root.sign_as_root(&self.next(n), &statement).to_vec());
        self.write(n, vec![Event::DeviceAdded { device, name, roles, operator, sig, by: self.root.public() }])
    }

    /// Device `by` revokes another with the root key.
    fn root_revoke(&mut self, by: usize, n: usize) -> Place {
        let (vault, device) = (self.vault, device(n));
        let seen = self.counting(&self.here(by), &self.logs[by]);
        let last = cut_off(&seen, &device, Some(id(&Place { device, seq: seen.get(&device) })));
        let statement = RevocationStatement { vault: &vault, device: &device, last };
        let sig = Bytes(self.root.sign_as_root(&self.next(by), &statement).to_vec());
        self.write(by, vec![Event::DeviceRevoked { device, last, sig, by: self.root.public() }])
    }

    /// Device `by` names a root key.
    fn set_root(&mut self, by: usize, root: &SecretKey) -> Place {
        let (vault, place, key) = (self.vault, self.next(by), root.public());
        let statement = RecoveryStatement { vault: &vault, root: &key, place };
        let sig = Bytes(operator(by).sign_statement(&statement).to_vec());
        let root = root_named(&vault, root, place);
        self.write(by, vec![Event::RecoverySet { root, sig, by: operator(by).public() }])
    }

    /// Device `n` goes on as device `new`, which has all that `n` has.
    fn rotate(&mut self, n: usize, new: usize) -> Place {
        let (vault, place, new_device) = (self.vault, self.next(n), device(new));
        let next = operator(new).public();
        let statement =
            RotationStatement { vault: &vault, device: &new_device, operator: Some(&next), place };
        let proof = Bytes(key(new).sign_statement(&statement).to_vec());
        let sig = Some(Bytes(operator(n).sign_statement(&statement).to_vec()));
        let by = Some(operator(n).public());
        let event = Event::DeviceRotated { device: new_device, operator: Some(next), proof, sig, by };
        let place = self.write(n, vec![event]);
        self.deliver(n, new);
        place
    }

    /// What `logs` hold, judged, each record taken in by itself in the order of `order`.
    fn judged(&self, log: &View, order: impl Fn(&Place) -> u64) -> Authority {
        let mut authority = Authority::new(self.vault);
        let mut left: Vec<&Place> = self.records.keys().filter(|place| log.has(place)).collect();
        left.sort_by_key(|place| order(place));
        let mut seen = View::new();
        while !left.is_empty() {
            let next = left.iter().position(|place| seen.covers(&self.records[*place].past));
            let place = left.remove(next.expect("the log is causally closed"));
            let known = &self.records[place];
            for deed in &known.deeds {
                authority.weigh(deed).expect("honest devices write what holds");
                authority.add(deed.clone());
            }
            assert!(authority.admits(*place, &known.past), "{place} is admitted");
            seen.add(*place);
            authority.judge();
        }
        authority
    }

    fn here(&self, n: usize) -> Authority {
        self.judged(&self.logs[n], |place| self.records[place].deeds.first().map_or(0, |deed| deed.stamp.0))
    }

    fn counting(&self, authority: &Authority, log: &View) -> View {
        let view_of = |place: &Place| Ok::<_, Infallible>(self.records[place].view.clone());
        match authority.counting(log, view_of) {
            Ok(view) => view,
            Err(never) => match never {},
        }
    }

    fn is_member(&self, n: usize) -> bool {
        self.here(n).members().is_present(&device(n))
    }

    /// A record of device `n` on all that counts for it, and on `also`.
    fn write_on(&mut self, n: usize, events: Vec<Event>, also: &View) -> Place {
        let own = self.logs[n].get(&device(n));
        let place = Place { device: device(n), seq: own + 1 };
        let mut past = match self.records.is_empty() {
            true => View::new(),
            false => self.counting(&self.here(n), &self.logs[n]),
        };
        past = past.union(also);
        past.add(Place { seq: own, ..place });
        let mut view = past.clone();
        view.add(place);
        self.clock += 1;
        let stamp = Stamp::new(Hlc(self.clock, 0), place.device, place.seq);
        let deeds = events.into_iter().enumerate().map(|(index, event)| Deed {
            place,
            index: index as u32,
            stamp,
            view: view.clone(),
            wall: self.clock,
            event,
        });
        let deeds = deeds.collect();
        self.records.insert(place, Known { past, view, deeds });
        self.logs[n].add(place);
        place
    }

    fn write(&mut self, n: usize, events: Vec<Event>) -> Place {
        self.write_on(n, events, &View::new())
    }

    fn add(&mut self, by: usize, n: usize, list: &[&str]) -> Place {
        let (name, roles, key) = (format!("d{n}"), roles(list), operator(n).public());
        let (vault, device) = (self.vault, device(n));
        let statement = MemberStatement {
            vault: &vault,
            device: &device,
            name: &name,
            roles: &roles,
            operator: Some(&key),
        };
        let sig = Bytes(operator(by).sign_statement(&statement).to_vec());
        let by_key = operator(by).public();
        self.write(by, vec![Event::DeviceAdded { device, name, roles, operator: Some(key), sig, by: by_key }])
    }

    fn revoke(&mut self, by: usize, n: usize) -> Place {
        let (vault, device) = (self.vault, device(n));
        let seen = self.counting(&self.here(by), &self.logs[by]);
        let last = cut_off(&seen, &device, Some(id(&Place { device, seq: seen.get(&device) })));
        let statement = RevocationStatement { vault: &vault, device: &device, last };
        let sig = Bytes(operator(by).sign_statement(&statement).to_vec());
        self.write(by, vec![Event::DeviceRevoked { device, last, sig, by: operator(by).public() }])
    }

    fn change_roles(&mut self, by: usize, n: usize, list: &[&str]) -> Place {
        let (vault, of, roles) = (self.vault, device(n), roles(list));
        let place = Place { device: device(by), seq: self.logs[by].get(&device(by)) + 1 };
        let statement = RolesStatement { vault: &vault, device: &of, roles: &roles, place };
        let sig = Bytes(operator(by).sign_statement(&statement).to_vec());
        self.write(by, vec![Event::DeviceRoles { device: of, roles, sig, by: operator(by).public() }])
    }

    fn deliver(&mut self, from: usize, to: usize) {
        self.logs[to] = self.logs[to].union(&self.logs[from]);
    }

    fn meet(&mut self, devices: &[usize]) {
        let all = devices.iter().fold(View::new(), |all, n| all.union(&self.logs[*n]));
        devices.iter().for_each(|n| self.logs[*n] = all.clone());
    }

    fn all(&self) -> View {
        self.records.keys().copied().collect()
    }

    /// What everybody comes to who has all records, whatever the order.
    fn verdict(&self) -> (Members, View) {
        let all = self.all();
        let first = self.judged(&all, |place| self.records[place].view.len());
        let counting = self.counting(&first, &all);
        for salt in 0..6u64 {
            let shuffled = self.judged(&all, |place| {
                let text = format!("{salt} {place}");
                u64::from_le_bytes(blake3::hash(text.as_bytes()).as_bytes()[..8].try_into().unwrap())
            });
            assert_eq!(shuffled.members(), first.members());
            assert_eq!(shuffled.accepted(), first.accepted());
            assert_eq!(self.counting(&shuffled, &all), counting);
        }
        for place in counting.iter() {
            assert!(counting.covers(&self.records[&place].view), "what counts is causally closed");
        }
        (first.members().clone(), counting)
    }

    fn present(&self) -> Vec<usize> {
        let members = self.verdict().0;
        (0..self.logs.len()).filter(|n| members.is_present(&device(*n))).collect()
    }

    fn counts(&self, place: &Place) -> bool {
        self.verdict().1.has(place)
    }
}

fn root_named(vault: &VaultId, root: &SecretKey, place: Place) -> RootKey {
    let key = root.public();
    let sig = root.sign_statement(&RecoveryStatement { vault, root: &key, place });
    RootKey { key, sig: Bytes(sig.to_vec()) }
}

/// `n` devices that administer, all in sync; device k was added by the maker, in order.
fn town(n: usize) -> Town {
    filled(Town::new(n), n)
}

/// The same, with a root key.
fn rooted(n: usize) -> Town {
    filled(Town::rooted(n), n)
}

fn filled(mut town: Town, n: usize) -> Town {
    (1..n).for_each(|k| _ = town.add(0, k, &ALL));
    town.meet(&(0..n).collect::<Vec<_>>());
    town
}

#[test]
fn who_was_added_earlier_outranks() {
    let mut town = town(4);
    town.revoke(2, 1);
    town.revoke(1, 2);
    assert_eq!(town.present(), [0, 1, 3]);
}

#[test]
fn who_knew_of_it_cannot_revoke_back() {
    let mut town = town(3);
    town.revoke(2, 1);
    town.deliver(2, 1);
    assert!(!town.is_member(1));
    town.revoke(1, 2);
    assert_eq!(town.present(), [0, 2]);
}

#[test]
fn a_revocation_by_one_who_is_struck_first_counts_nowhere() {
    let mut town = town(4);
    town.revoke(3, 2);
    let late = town.revoke(2, 1);
    assert_eq!(town.present(), [0, 1, 3]);
    assert!(!town.counts(&late));
}

#[test]
fn in_a_ring_the_last_to_be_added_yields() {
    let mut town = town(4);
    town.revoke(1, 2);
    town.revoke(2, 3);
    town.revoke(3, 1);
    assert_eq!(town.present(), [0, 1, 3]);
}

#[test]
fn a_ring_does_not_decide_for_who_hangs_on_it() {
    let mut town = town(6);
    // 1 and 2 revoke each other; 2 has revoked 5 too, who has revoked 4.
    town.revoke(1, 2);
    town.revoke(2, 1);
    town.revoke(2, 5);
    town.revoke(5, 4);
    assert_eq!(town.present(), [0, 1, 3, 5]);
}

#[test]
fn who_is_let_in_by_one_who_is_revoked_is_no_member() {
    let mut town = town(4);
    town.logs.push(View::new());
    town.revoke(0, 1);
    town.add(1, 4, &ALL);
    town.deliver(1, 4);
    let alone = town.write(4, vec![]);
    let back = town.revoke(4, 3);
    assert_eq!(town.present(), [0, 2, 3]);
    assert!(!town.counts(&alone) && !town.counts(&back));
    // Somebody who does not know yet builds on it.
    town.deliver(4, 3);
    town.write(3, vec![]);
    assert!(town.counts(&alone));
    assert_eq!(town.present(), [0, 2, 3]);
}

#[test]
fn what_others_built_on_counts_and_what_nobody_did_is_held() {
    let mut town = town(3);
    let before = town.write(1, vec![]);
    town.deliver(1, 0);
    town.revoke(0, 1);
    let known = town.write(1, vec![]);
    town.deliver(1, 2);
    let builds = town.write(2, vec![]);
    let unknown = town.write(1, vec![]);
    assert!(town.counts(&before) && town.counts(&known) && town.counts(&builds) && !town.counts(&unknown));
    // A record that builds on it adopts it, by whoever may write.
    let all = town.all();
    town.meet(&[0, 1, 2]);
    town.write_on(2, vec![], &all);
    assert!(town.counts(&unknown));
}

#[test]
fn of_two_cut_offs_the_lower_stands_for_authority() {
    let mut town = town(5);
    town.revoke(3, 1);
    town.write(1, vec![]);
    town.change_roles(1, 4, &["carry"]);
    town.deliver(1, 2);
    town.revoke(2, 1);
    let (members, counting) = town.verdict();
    assert_eq!(members.0[&device(4)].roles, roles(&ALL), "it was struck by the one who knew less");
    assert_eq!(members.revoked(&device(1)).unwrap().last, 0);
    // The second revocation builds on what it names.
    assert_eq!(counting.get(&device(1)), 2);
}

#[test]
fn who_goes_by_itself_has_said_so() {
    let mut town = town(3);
    let gone = town.revoke(1, 1);
    let late = town.write(1, vec![]);
    assert!(town.counts(&gone) && !town.counts(&late));
    assert_eq!(town.present(), [0, 2]);
    town.revoke(0, 0);
    assert_eq!(town.present(), [2]);
}

#[test]
fn roles_are_those_of_the_past() {
    let mut town = town(4);
    town.change_roles(0, 2, &["write", "carry", "approve"]);
    // 2 does not know yet: what it says then still counts.
    town.change_roles(2, 3, &["write"]);
    let (members, _) = town.verdict();
    assert_eq!(members.0[&device(3)].roles, roles(&["write"]));
    assert_eq!(members.0[&device(2)].roles, roles(&["write", "carry", "approve"]));
    town.deliver(0, 2);
    let view = town.logs[2].clone();
    let authority = town.here(2);
    assert!(!authority.may(&operator(2).public(), "administer", &view));
    assert!(authority.may(&operator(2).public(), "approve", &view));
}

#[test]
fn what_no_past_allows_is_refused() {
    let mut town = town(3);
    let weigh = |town: &Town, place: Place| {
        let deed = town.records[&place].deeds[0].clone();
        town.judged(&town.logs[0], |_| 0).weigh(&deed)
    };
    let maker = town.revoke(1, 0);
    assert_eq!(weigh(&town, maker), Err(MemberError::MakerStays(maker)));
    let stolen = town.change_roles(2, 2, &ALL);
    assert_eq!(weigh(&town, stolen), Ok(()));
    let mut again = town.records[&stolen].deeds[0].clone();
    again.place.seq += 1;
    again.view.add(again.place);
    assert_eq!(town.here(0).weigh(&again), Err(MemberError::Unsigned(again.place)), "said again elsewhere");
    let mut other = town.records[&maker].deeds[0].clone();
    if let Event::DeviceRevoked { device: of, last, sig, .. } = &mut other.event {
        (*of, *last) = (device(2), Some((9, RecordId([9; 32]))));
        let statement = RevocationStatement { vault: &town.vault, device: of, last: *last };
        *sig = Bytes(operator(1).sign_statement(&statement).to_vec());
    }
    assert_eq!(town.here(0).weigh(&other), Err(MemberError::CutOff(maker)));
}

#[test]
fn the_root_key_outranks_the_maker() {
    let mut town = rooted(4);
    // The lost laptop revokes everybody else; whoever found it does not know of the recovery.
    town.revoke(0, 1);
    town.revoke(0, 2);
    let late = town.write(0, vec![]);
    town.deliver(3, 1);
    town.root_revoke(1, 0);
    assert_eq!(town.present(), [1, 2, 3]);
    assert!(!town.counts(&late));
}

#[test]
fn a_device_lets_itself_in_with_the_root_key() {
    let mut town = rooted(3);
    town.logs.push(town.logs[2].clone());
    let recovered = town.recover(3);
    assert_eq!(recovered.seq, 1);
    town.root_revoke(3, 0);
    town.root_revoke(3, 1);
    town.revoke(0, 2);
    assert_eq!(town.present(), [2, 3]);
    assert_eq!(town.verdict().0.0[&device(3)].roles, roles(&ALL));
    town.meet(&[2, 3]);
    // It is a member as any other from there on.
    town.revoke(2, 3);
    assert_eq!(town.present(), [2]);
}

#[test]
fn what_the_root_key_signed_counts_in_the_record_of_one_who_was_struck() {
    let mut town = rooted(4);
    town.revoke(1, 2);
    let before = town.write(2, vec![]);
    let said = town.root_revoke(2, 0);
    let after = town.write(2, vec![]);
    assert!(town.counts(&before) && town.counts(&said) && !town.counts(&after));
    assert_eq!(town.present(), [1, 3]);
}

#[test]
fn a_root_signature_is_good_in_one_record_of_one_vault() {
    let mut town = rooted(3);
    town.logs.push(town.logs[2].clone());
    let recovered = town.recover(3);
    let mut again = town.records[&recovered].deeds[0].clone();
    again.place = Place { device: device(1), seq: 1 };
    again.view.add(again.place);
    assert_eq!(town.here(0).weigh(&again), Err(MemberError::Unsigned(again.place)), "in another record");
    let mut other = Town::rooted(4);
    other.vault = VaultId([7; 32]);
    let deed = town.records[&recovered].deeds[0].clone();
    let mut authority = Authority::new(other.vault);
    authority.add(other.records.values().next().unwrap().deeds[0].clone());
    assert_eq!(authority.weigh(&deed), Err(MemberError::Unsigned(recovered)), "in another vault");
    let mut more = town.records[&recovered].deeds[0].clone();
    if let Event::DeviceAdded { device: of, .. } = &mut more.event {
        *of = device(9);
    }
    assert_eq!(town.here(0).weigh(&more), Err(MemberError::Unsigned(recovered)), "for another device");
    let key = root_key(5);
    town.root = key;
    town.logs.push(town.logs[2].clone());
    let foreign = town.recover(4);
    let deed = town.records[&foreign].deeds[0].clone();
    assert_eq!(town.here(0).weigh(&deed), Err(MemberError::Unsigned(foreign)), "by another phrase");
}

#[test]
fn a_vault_with_a_root_key_is_no_vault_without_one() {
    let town = rooted(1);
    let first = Place { device: device(0), seq: 1 };
    let mut deed = town.records[&first].deeds[0].clone();
    assert_eq!(Authority::new(town.vault).weigh(&deed), Ok(()));
    let named = |deed: &mut Deed, key: Option<RootKey>| {
        if let Event::VaultCreated { root, .. } = &mut deed.event {
            *root = key;
        }
        Authority::new(town.vault).weigh(deed)
    };
    assert_eq!(named(&mut deed, None), Err(MemberError::Maker(device(0))));
    let other = root_named(&town.vault, &root_key(4), first);
    assert_eq!(named(&mut deed, Some(other)), Err(MemberError::Maker(device(0))));
    let unheld = RootKey { key: town.root.public(), sig: Bytes(vec![0; 64]) };
    assert_eq!(named(&mut deed, Some(unheld)), Err(MemberError::Root(first)));
}

#[test]
fn the_maker_names_a_root_key_later_and_nobody_else() {
    let mut town = town(3);
    let deed = |town: &Town, place: Place| town.records[&place].deeds[0].clone();
    let stolen = town.set_root(1, &root_key(0));
    assert_eq!(town.here(0).weigh(&deed(&town, stolen)), Err(MemberError::Root(stolen)));
    town.records.remove(&stolen);
    town.logs[1] = town.logs[0].clone();
    town.set_root(0, &root_key(0));
    town.deliver(0, 2);
    town.root_revoke(2, 0);
    assert_eq!(town.present(), [1, 2]);
}

#[test]
fn a_root_key_named_before_takes_back_the_makers_next() {
    let mut town = rooted(4);
    // A thief of the laptop names a root key, and lets a device in with it.
    town.set_root(0, &root_key(1));
    town.logs.push(town.logs[0].clone());
    let first = std::mem::replace(&mut town.root, root_key(1));
    town.recover(4);
    town.root_revoke(4, 2);
    assert_eq!(town.present(), [0, 1, 3, 4]);
    // The owner knows of it, and revokes the laptop with the phrase on paper.
    town.root = first;
    town.meet(&[0, 1, 2, 3, 4]);
    town.root_revoke(3, 0);
    assert_eq!(town.present(), [1, 2, 3]);
    assert_eq!(town.judged(&town.all(), |place| place.seq).roots().len(), 1);
}

#[test]
fn a_root_key_that_the_maker_named_last_does_not_take_itself_back() {
    let mut town = rooted(3);
    town.set_root(0, &root_key(1));
    town.meet(&[0, 1, 2]);
    town.root = root_key(1);
    town.logs.push(town.logs[2].clone());
    town.recover(3);
    town.root_revoke(3, 0);
    assert_eq!(town.present(), [1, 2, 3]);
}

#[test]
fn a_device_goes_on_under_another_key() {
    let mut town = town(3);
    town.logs.push(View::new());
    let end = town.rotate(1, 3);
    let late = town.write(1, vec![]);
    town.write(3, vec![]);
    let members = town.verdict().0;
    assert_eq!(town.present(), [0, 2, 3]);
    assert!(!town.counts(&late), "the old key says nothing more");
    assert_eq!(members.0[&device(3)].roles, roles(&ALL));
    assert_eq!(members.0[&device(3)].name, "d1");
    assert_eq!(members.now(&device(1)), device(3));
    assert_eq!(members.revoked(&device(1)).unwrap().place, end);
}

#[test]
fn a_device_ranks_the_same_under_another_key() {
    let mut town = town(3);
    town.logs.push(View::new());
    town.rotate(1, 3);
    town.meet(&[0, 1, 2, 3]);
    town.revoke(2, 3);
    town.revoke(3, 2);
    assert_eq!(town.present(), [0, 3]);
}

#[test]
fn the_maker_is_the_maker_under_another_key() {
    let mut town = town(3);
    town.logs.push(View::new());
    town.rotate(0, 3);
    town.meet(&[0, 1, 2, 3]);
    let refused = town.revoke(1, 3);
    let deed = town.records[&refused].deeds[0].clone();
    assert_eq!(town.here(0).weigh(&deed), Err(MemberError::MakerStays(refused)));
    town.records.remove(&refused);
    town.logs[1] = town.logs[0].clone();
    town.set_root(3, &root_key(0));
    town.revoke(3, 1);
    assert_eq!(town.present(), [2, 3]);
}

#[test]
fn who_was_revoked_does_not_escape_under_another_key() {
    let mut town = town(3);
    town.revoke(0, 1);
    town.logs.push(View::new());
    town.rotate(1, 3);
    let late = town.write(3, vec![]);
    town.revoke(3, 2);
    assert_eq!(town.present(), [0, 2]);
    assert!(!town.counts(&late));
}

#[test]
fn what_is_said_of_the_old_key_meanwhile_holds_for_the_new() {
    let mut town = town(3);
    town.logs.push(View::new());
    town.rotate(1, 3);
    town.change_roles(0, 1, &["write"]);
    town.clock += 10;
    let members = town.verdict().0;
    assert_eq!(members.0[&device(3)].roles, roles(&["write"]));
    town.meet(&[0, 1, 2, 3]);
    assert!(!town.here(3).may(&operator(3).public(), "administer", &town.all()));
}

#[test]
fn another_key_takes_both_old_keys_and_its_own() {
    let mut town = town(3);
    town.logs.push(View::new());
    let place = town.rotate(1, 3);
    let deed = town.records[&place].deeds[0].clone();
    let before = town.judged(&town.logs[0], |_| 0);
    let spoilt = |change: fn(&mut Event)| {
        let mut deed = deed.clone();
        change(&mut deed.event);
        before.weigh(&deed)
    };
    assert_eq!(before.weigh(&deed), Ok(()));
    let unsigned = Err(MemberError::Unsigned(place));
    let change: [fn(&mut Event); 4] = [
        |event| {
            if let Event::DeviceRotated { proof, .. } = event {
                proof.0[7] ^= 1;
            }
        },
        |event| {
            if let Event::DeviceRotated { sig, by, .. } = event {
                (*sig, *by) = (None, None);
            }
        },
        |event| {
            if let Event::DeviceRotated { operator: key, .. } = event {
                *key = Some(operator(2).public());
            }
        },
        |event| {
            if let Event::DeviceRotated { by, .. } = event {
                *by = Some(operator(0).public());
            }
        },
    ];
    for change in change {
        assert_eq!(spoilt(change), unsigned);
    }
    let known = |event: &mut Event| {
        if let Event::DeviceRotated { device: of, .. } = event {
            *of = device(2);
        }
    };
    assert_eq!(spoilt(known), Err(MemberError::Rotated(place)));
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Write(usize),
    Deliver(usize, usize),
    Add(usize, usize),
    Revoke(usize, usize),
    Roles(usize, usize, bool),
    Rotate(usize, usize),
    Recover(usize),
    RootRevoke(usize, usize),
    SetRoot(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let pair = || (0usize..8, 0usize..8);
    prop_oneof![
        3 => (0usize..8).prop_map(Act::Write),
        6 => pair().prop_map(|(from, to)| Act::Deliver(from, to)),
        2 => pair().prop_map(|(by, n)| Act::Add(by, n)),
        3 => pair().prop_map(|(by, n)| Act::Revoke(by, n)),
        1 => (pair(), any::<bool>()).prop_map(|((by, n), all)| Act::Roles(by, n, all)),
        1 => pair().prop_map(|(n, new)| Act::Rotate(n, new)),
        1 => (4usize..8).prop_map(Act::Recover),
        1 => pair().prop_map(|(by, n)| Act::RootRevoke(by, n)),
        1 => (0usize..2).prop_map(Act::SetRoot),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// However devices change who is a member while they do not know of each other: whoever has all records comes to the same, and
    /// what is said by one who is struck has no consequence.
    #[test]
    fn any_order_ends_the_same(acts in proptest::collection::vec(act(), 1..40)) {
        let mut town = rooted(4);
        town.logs.resize(8, View::new());
        let mut keys = 0;
        for act in acts {
            let administers = |town: &Town, n: usize| {
                let here = town.here(n);
                let may = here.may(&operator(n).public(), "administer", &town.logs[n]);
                here.members().is_present(&device(n)) && may
            };
            match act {
                Act::Write(n) if town.is_member(n) => _ = town.write(n, vec![]),
                Act::Deliver(from, to) => town.deliver(from, to),
                Act::Add(by, n) if administers(&town, by) && !town.here(by).members().0.contains_key(&device(n)) => {
                    _ = town.add(by, n, &ALL);
                }
                Act::Rotate(n, new)
                    if town.is_member(n)
                        && new >= 4
                        && !town.here(n).members().0.contains_key(&device(new))
                        && town.logs[new].is_empty() =>
                {
                    _ = town.rotate(n, new);
                }
                Act::Recover(n) if town.logs[n].is_empty() => {
                    town.deliver(n % 4, n);
                    _ = town.recover(n);
                }
                Act::RootRevoke(by, n)
                    if town.is_member(by) && town.here(by).members().is_present(&device(n)) =>
                {
                    _ = town.root_revoke(by, n);
                }
                Act::SetRoot(n) if town.is_member(n) && town.here(n).is_maker(&device(n)) && keys < 9 => {
                    keys += 1;
                    _ = town.set_root(n, &root_key(keys));
                }
                Act::Revoke(by, n)
                    if administers(&town, by)
                        && (n == by || !town.here(by).is_maker(&device(n)))
                        && town.here(by).members().is_present(&device(n)) =>
                {
                    _ = town.revoke(by, n);
                }
                Act::Roles(by, n, all) if administers(&town, by) && town.here(by).members().is_present(&device(n)) => {
                    _ = town.change_roles(by, n, if all { &ALL } else { &["write"] });
                }
                _ => {}
            }
        }
        let (members, counting) = town.verdict();
        for (id, member) in &members.0 {
            let last = member.revoked.map_or(u64::MAX, |revoked| revoked.last);
            let of = |place: &Place| place.device == *id;
            let own = town.records.keys().filter(|place| of(place) && place.seq <= last);
            for place in own {
                prop_assert!(counting.has(place), "what a member wrote before its end counts");
            }
            // Who was added, was added by somebody whose word counts there.
            if member.added.device != *id {
                let adder = &members.0[&member.added.device];
                prop_assert!(adder.revoked.is_none_or(|revoked| member.added.seq <= revoked.last));
            }
        }
    }
}
