//! A vault of which each device knows what it was told, and what follows for whoever has all.

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
use aios_core::member::Members;

pub const ALL: [&str; 6] = ["write", "carry", "approve", "coordinate", "credentials", "administer"];

#[derive(Debug, Clone)]
pub struct Known {
    pub past: View,
    pub view: View,
    pub deeds: Vec<Deed>,
}

/// Every record of a vault, and what each device knows of them.
pub struct Town {
    pub vault: VaultId,
    pub root: SecretKey,
    pub records: BTreeMap<Place, Known>,
    /// What lies in each device's log, by device.
    pub logs: Vec<View>,
    pub clock: u64,
}

pub fn key(n: usize) -> SecretKey {
    SecretKey::from_bytes(&[n as u8 + 1; 32])
}

pub fn operator(n: usize) -> SecretKey {
    SecretKey::from_bytes(&[n as u8 + 101; 32])
}

pub fn root_key(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n + 201; 32])
}

pub fn device(n: usize) -> DeviceId {
    key(n).public()
}

pub fn id(place: &Place) -> RecordId {
    let mut bytes = place.device.0;
    bytes[0] ^= place.seq as u8;
    RecordId(bytes)
}

pub fn roles(list: &[&str]) -> Vec<String> {
    list.iter().map(|role| (*role).to_owned()).collect()
}

impl Town {
    /// Device 0 makes the vault.
    pub fn new(devices: usize) -> Town {
        Town::made(devices, None)
    }

    /// Device 0 makes a vault with a root key.
    pub fn rooted(devices: usize) -> Town {
        Town::made(devices, Some(root_key(0)))
    }

    pub fn made(devices: usize, root: Option<SecretKey>) -> Town {
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

    pub fn next(&self, n: usize) -> Place {
        Place { device: device(n), seq: self.logs[n].get(&device(n)) + 1 }
    }

    /// Device `n` lets itself in with the root key.
    pub fn recover(&mut self, n: usize) -> Place {
        let (vault, device, name, roles) = (self.vault, device(n), format!("d{n}"), roles(&ALL));
        let operator = Some(operator(n).public());
        let statement = MemberStatement {
            vault: &vault,
            device: &device,
            name: &name,
            roles: &roles,
            operator: operator.as_ref(),
            place: self.next(n),
        };
        let sig = Bytes(self.root.sign_as_root(&self.next(n), &statement).to_vec());
        self.write(n, vec![Event::DeviceAdded { device, name, roles, operator, sig, by: self.root.public() }])
    }

    /// Device `by` revokes another with the root key.
    pub fn root_revoke(&mut self, by: usize, n: usize) -> Place {
        let (vault, device) = (self.vault, device(n));
        let seen = self.counting(&self.here(by), &self.logs[by]);
        let last = cut_off(&seen, &device, Some(id(&Place { device, seq: seen.get(&device) })));
        let statement = RevocationStatement { vault: &vault, device: &device, last, place: self.next(by) };
        let sig = Bytes(self.root.sign_as_root(&self.next(by), &statement).to_vec());
        self.write(by, vec![Event::DeviceRevoked { device, last, sig, by: self.root.public() }])
    }

    /// Device `by` names a root key.
    pub fn set_root(&mut self, by: usize, root: &SecretKey) -> Place {
        let (vault, place, key) = (self.vault, self.next(by), root.public());
        let statement = RecoveryStatement { vault: &vault, root: &key, place };
        let sig = Bytes(operator(by).sign_statement(&statement).to_vec());
        let root = root_named(&vault, root, place);
        self.write(by, vec![Event::RecoverySet { root, sig, by: operator(by).public() }])
    }

    /// Device `n` goes on as device `new`, which has all that `n` has.
    pub fn rotate(&mut self, n: usize, new: usize) -> Place {
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
    pub fn judged(&self, log: &View, order: impl Fn(&Place) -> u64) -> Authority {
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

    pub fn here(&self, n: usize) -> Authority {
        self.judged(&self.logs[n], |place| self.records[place].deeds.first().map_or(0, |deed| deed.stamp.0))
    }

    pub fn counting(&self, authority: &Authority, log: &View) -> View {
        let view_of = |place: &Place| Ok::<_, Infallible>(self.records[place].view.clone());
        match authority.counting(log, view_of) {
            Ok(view) => view,
            Err(never) => match never {},
        }
    }

    pub fn is_member(&self, n: usize) -> bool {
        self.here(n).members().is_present(&device(n))
    }

    /// A record of device `n` on all that counts for it, and on `also`.
    pub fn write_on(&mut self, n: usize, events: Vec<Event>, also: &View) -> Place {
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

    pub fn write(&mut self, n: usize, events: Vec<Event>) -> Place {
        self.write_on(n, events, &View::new())
    }

    pub fn add(&mut self, by: usize, n: usize, list: &[&str]) -> Place {
        let (name, roles, key) = (format!("d{n}"), roles(list), operator(n).public());
        let (vault, device) = (self.vault, device(n));
        let statement = MemberStatement {
            vault: &vault,
            device: &device,
            name: &name,
            roles: &roles,
            operator: Some(&key),
            place: self.next(by),
        };
        let sig = Bytes(operator(by).sign_statement(&statement).to_vec());
        let by_key = operator(by).public();
        self.write(by, vec![Event::DeviceAdded { device, name, roles, operator: Some(key), sig, by: by_key }])
    }

    pub fn revoke(&mut self, by: usize, n: usize) -> Place {
        let (vault, device) = (self.vault, device(n));
        let seen = self.counting(&self.here(by), &self.logs[by]);
        let last = cut_off(&seen, &device, Some(id(&Place { device, seq: seen.get(&device) })));
        let statement = RevocationStatement { vault: &vault, device: &device, last, place: self.next(by) };
        let sig = Bytes(operator(by).sign_statement(&statement).to_vec());
        self.write(by, vec![Event::DeviceRevoked { device, last, sig, by: operator(by).public() }])
    }

    pub fn change_roles(&mut self, by: usize, n: usize, list: &[&str]) -> Place {
        let (vault, of, roles) = (self.vault, device(n), roles(list));
        let place = Place { device: device(by), seq: self.logs[by].get(&device(by)) + 1 };
        let statement = RolesStatement { vault: &vault, device: &of, roles: &roles, place };
        let sig = Bytes(operator(by).sign_statement(&statement).to_vec());
        self.write(by, vec![Event::DeviceRoles { device: of, roles, sig, by: operator(by).public() }])
    }

    pub fn deliver(&mut self, from: usize, to: usize) {
        self.logs[to] = self.logs[to].union(&self.logs[from]);
    }

    pub fn meet(&mut self, devices: &[usize]) {
        let all = devices.iter().fold(View::new(), |all, n| all.union(&self.logs[*n]));
        devices.iter().for_each(|n| self.logs[*n] = all.clone());
    }

    pub fn all(&self) -> View {
        self.records.keys().copied().collect()
    }

    /// What everybody comes to who has all records, whatever the order.
    pub fn verdict(&self) -> (Members, View) {
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

    pub fn present(&self) -> Vec<usize> {
        let members = self.verdict().0;
        (0..self.logs.len()).filter(|n| members.is_present(&device(*n))).collect()
    }

    pub fn counts(&self, place: &Place) -> bool {
        self.verdict().1.has(place)
    }
}

pub fn root_named(vault: &VaultId, root: &SecretKey, place: Place) -> RootKey {
    let key = root.public();
    let sig = root.sign_statement(&RecoveryStatement { vault, root: &key, place });
    RootKey { key, sig: Bytes(sig.to_vec()) }
}

/// `n` devices that administer, all in sync; device k was added by the maker, in order.
pub fn town(n: usize) -> Town {
    filled(Town::new(n), n)
}

/// The same, with a root key.
pub fn rooted(n: usize) -> Town {
    filled(Town::rooted(n), n)
}

pub fn filled(mut town: Town, n: usize) -> Town {
    (1..n).for_each(|k| _ = town.add(0, k, &ALL));
    town.meet(&(0..n).collect::<Vec<_>>());
    town
}
