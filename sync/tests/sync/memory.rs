//! A replica in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use aios_core::clock::Hlc;
use aios_core::event::Event;
use aios_core::frontier::{Frontier, Place};
use aios_core::id::{ContentHash, DeviceId, DocId, GitId, RecordId, VaultId};
use aios_core::item::{Bytes, Content, Item, Kind, Mode};
use aios_core::key::{MemberStatement, SecretKey};
use aios_core::record::{Body, Header, Record, VERSION};
use aios_sync::replica::{Apart, Cursor, Integrated, Redeemed, Replica, ReplicaError};
use aios_sync::ticket::{Offer, TicketId};

pub const NOW: u64 = 1_000_000_000_000;
pub const DAY: u64 = 24 * 3600 * 1000;

pub struct State {
    pub vault: VaultId,
    pub key: SecretKey,
    pub records: Vec<Record>,
    pub ids: HashMap<Place, RecordId>,
    pub clocks: HashMap<RecordId, Hlc>,
    pub heads: HashSet<RecordId>,
    pub held: HashSet<RecordId>,
    pub clock: Hlc,
    pub members: BTreeMap<DeviceId, String>,
    pub named: Vec<Apart>,
    pub blobs: HashMap<ContentHash, Vec<u8>>,
    pub packs: HashMap<GitId, Vec<u8>>,
    pub partial: HashMap<String, Vec<u8>>,
    pub fetching: HashSet<String>,
    pub addrs: BTreeMap<DeviceId, Vec<SocketAddr>>,
    pub acknowledged: BTreeMap<DeviceId, Frontier>,
    pub offers: BTreeMap<TicketId, (Offer, Option<DeviceId>)>,
}

pub struct Memory {
    state: Arc<Mutex<State>>,
    claims: Vec<String>,
}

impl Clone for Memory {
    fn clone(&self) -> Self {
        Memory { state: self.state.clone(), claims: Vec::new() }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for claim in std::mem::take(&mut self.claims) {
            self.state().fetching.remove(&claim);
        }
    }
}

pub fn key(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n; 32])
}

impl Memory {
    pub fn empty(vault: VaultId, key: SecretKey) -> Self {
        let state = State {
            vault,
            key,
            records: vec![],
            ids: HashMap::new(),
            clocks: HashMap::new(),
            heads: HashSet::new(),
            held: HashSet::new(),
            clock: Hlc(NOW, 0),
            members: BTreeMap::new(),
            named: vec![],
            blobs: HashMap::new(),
            packs: HashMap::new(),
            partial: HashMap::new(),
            fetching: HashSet::new(),
            addrs: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            offers: BTreeMap::new(),
        };
        Memory { state: Arc::new(Mutex::new(state)), claims: vec![] }
    }

    /// A vault made by device 1.
    pub fn first() -> Self {
        let vault = VaultId::of(&key(1).public(), "nonce", None);
        let mut first = Self::empty(vault, key(1));
        let event = Event::VaultCreated {
            name: "acme".into(),
            nonce: "nonce".into(),
            device_name: "laptop".into(),
            operator: key(101).public(),
            roles: vec!["write".into()],
            root: None,
        };
        first.author(vec![Item::Event(event)], vec![]);
        first
    }

    /// A vault made by device 1, and empty replicas of members 2 to `n`.
    pub fn company(n: u8) -> Vec<Memory> {
        let mut first = Self::first();
        for other in 2..=n {
            first.admit(&key(other).public(), &format!("device{other}"), &["write".into()], None).unwrap();
        }
        let vault = first.vault();
        std::iter::once(first).chain((2..=n).map(|n| Self::empty(vault, key(n)))).collect()
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A record that is signed but not integrated anywhere.
    pub fn draft(&self, items: Vec<Item>, payloads: Vec<u8>, change: impl FnOnce(&mut Header)) -> Record {
        let state = self.state();
        let device = state.key.public();
        let last = state.records.iter().rev().find(|r| r.header.device == device);
        let prev = last.map(|r| r.id);
        let mut deps: Vec<RecordId> = state.heads.iter().copied().filter(|id| Some(*id) != prev).collect();
        deps.sort();
        let mut header = Header {
            v: VERSION,
            vault: state.vault,
            device,
            seq: last.map_or(1, |r| r.header.seq + 1),
            prev,
            deps,
            clock: state.clock.next(NOW),
            wall: NOW,
            actor: "operator".into(),
            len: 0,
            body: ContentHash([0; 32]),
            closed: None,
        };
        change(&mut header);
        Record::author(header, &Body { items, ..Body::default() }, payloads, &state.key).unwrap()
    }

    pub fn author(&mut self, items: Vec<Item>, payloads: Vec<u8>) -> Record {
        let record = self.draft(items, payloads, |_| {});
        self.integrate(vec![record.clone()]).unwrap();
        record
    }

    /// A new text file of these bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Record {
        let doc = DocId(*blake3::hash(bytes).as_bytes());
        let (path, after, content) = (format!("{doc}.md"), String::new(), Content::of(bytes));
        let item = Item::Create {
            doc,
            path,
            after,
            kind: Kind::Md,
            mode: Mode::File,
            content,
            base: aios_core::item::Base::default(),
        };
        self.author(vec![item], bytes.to_vec())
    }

    /// A new blob, whose bytes are here.
    pub fn write_blob(&mut self, bytes: &[u8]) -> Apart {
        let content = Content::of(bytes);
        self.state().blobs.insert(content.hash, bytes.to_vec());
        let doc = DocId(*content.hash.as_bytes());
        let (path, after) = (format!("{doc}.bin"), String::new());
        let item = Item::Create {
            doc,
            path,
            after,
            kind: Kind::Blob,
            mode: Mode::File,
            content,
            base: aios_core::item::Base::default(),
        };
        self.author(vec![item], vec![]);
        Apart::Blob(content)
    }

    /// History whose pack is here.
    pub fn write_history(&mut self, pack: &[u8]) -> Apart {
        let tip = GitId::blob(pack);
        self.state().packs.insert(tip, pack.to_vec());
        self.author(vec![Item::History { tip }], vec![]);
        Apart::History(tip)
    }

    pub fn count(&self) -> usize {
        self.state().records.len()
    }
}

fn name(apart: &Apart) -> String {
    match apart {
        Apart::Blob(content) => content.hash.hex(),
        Apart::History(tip) => tip.hex(),
    }
}

impl State {
    fn bytes(&self, apart: &Apart) -> Option<&Vec<u8>> {
        match apart {
            Apart::Blob(content) => self.blobs.get(&content.hash),
            Apart::History(tip) => self.packs.get(tip),
        }
    }

    fn fold(&mut self, record: &Record, body: &Body) -> bool {
        let author = record.header.device;
        for item in &body.items {
            match item {
                Item::Event(Event::VaultCreated { nonce, device_name, .. })
                    if VaultId::of(&author, nonce, None) == self.vault =>
                {
                    self.members.insert(author, device_name.clone());
                }
                Item::Event(Event::DeviceAdded { device, name, .. })
                    if self.members.contains_key(&author) =>
                {
                    self.members.insert(*device, name.clone());
                }
                Item::History { tip } => self.named.push(Apart::History(*tip)),
                item => self.named.extend(item.detached().map(Apart::Blob)),
            }
        }
        self.members.contains_key(&author)
    }
}

impl Replica for Memory {
    fn vault(&self) -> VaultId {
        self.state().vault
    }

    fn vault_name(&self) -> String {
        "acme".into()
    }

    fn device(&self) -> DeviceId {
        self.state().key.public()
    }

    fn frontier(&self) -> Result<Frontier, ReplicaError> {
        let state = self.state();
        Ok(Frontier(state.records.iter().map(|r| (r.header.device, (r.header.seq, r.id))).collect()))
    }

    fn id_at(&self, place: &Place) -> Result<Option<RecordId>, ReplicaError> {
        Ok(self.state().ids.get(place).copied())
    }

    fn entries_since(&self, cursor: &mut Cursor, budget: usize) -> Result<Vec<Vec<u8>>, ReplicaError> {
        let (state, mut out, mut len) = (self.state(), vec![], 0);
        for record in &state.records {
            let place = record.header.place();
            if cursor.have.has(&place) || !cursor.upto.has(&place) {
                continue;
            }
            cursor.have.add(place);
            let entry = record.entry();
            len += entry.len();
            out.push(entry);
            if len >= budget {
                break;
            }
        }
        Ok(out)
    }

    fn integrate(&mut self, records: Vec<Record>) -> Result<Integrated, ReplicaError> {
        let (mut state, mut done) = (self.state(), Integrated::default());
        for record in records {
            let place = record.header.place();
            match state.ids.get(&place) {
                Some(ours) if *ours == record.id => continue,
                Some(ours) => {
                    return Err(ReplicaError::Fork { record: place, ours: *ours, theirs: record.id });
                }
                None => {}
            }
            let bad = |why: &str| ReplicaError::Unacceptable { record: place, why: why.into() };
            let past: Vec<RecordId> = record.header.prev.iter().chain(&record.header.deps).copied().collect();
            let waits = past.iter().any(|id| state.held.contains(id));
            if waits || record.header.clock.0 > NOW + DAY {
                state.held.insert(record.id);
                done.held.push(place);
                continue;
            }
            for id in &past {
                let Some(clock) = state.clocks.get(id) else { return Err(bad("a dependency is not here")) };
                if *clock >= record.header.clock {
                    return Err(bad("its clock does not follow its past"));
                }
            }
            let body = record.body().map_err(|e| bad(&e.to_string()))?;
            if !state.fold(&record, &body) {
                return Err(bad("its author is not a member in its past"));
            }
            state.heads.retain(|id| !past.contains(id));
            state.heads.insert(record.id);
            state.clock = state.clock.max(record.header.clock);
            state.ids.insert(place, record.id);
            state.clocks.insert(record.id, record.header.clock);
            state.records.push(record);
            done.count += 1;
        }
        Ok(done)
    }

    fn missing_apart(&self) -> Result<Vec<Apart>, ReplicaError> {
        let state = self.state();
        Ok(state.named.iter().filter(|apart| state.bytes(apart).is_none()).copied().collect())
    }

    fn apart_len(&mut self, apart: &Apart) -> Result<Option<u64>, ReplicaError> {
        Ok(self.state().bytes(apart).map(|bytes| bytes.len() as u64))
    }

    fn apart_read(&mut self, apart: &Apart, offset: u64, most: usize) -> Result<Vec<u8>, ReplicaError> {
        let state = self.state();
        let bytes = state.bytes(apart).ok_or(ReplicaError::Storage("gone".into()))?;
        let rest = &bytes[(offset as usize).min(bytes.len())..];
        Ok(rest[..rest.len().min(most)].to_vec())
    }

    fn apart_begin(&mut self, apart: &Apart) -> Result<Option<u64>, ReplicaError> {
        let mut state = self.state();
        if state.bytes(apart).is_some() || !state.fetching.insert(name(apart)) {
            return Ok(None);
        }
        let have = match apart {
            Apart::Blob(_) => state.partial.get(&name(apart)).map_or(0, |bytes| bytes.len() as u64),
            Apart::History(_) => 0,
        };
        drop(state);
        self.claims.push(name(apart));
        Ok(Some(have))
    }

    fn apart_absent(&mut self, apart: &Apart) {
        self.state().fetching.remove(&name(apart));
        self.claims.retain(|claim| *claim != name(apart));
    }

    fn apart_write(&mut self, apart: &Apart, offset: u64, bytes: &[u8]) -> Result<(), ReplicaError> {
        let mut state = self.state();
        let partial = state.partial.entry(name(apart)).or_default();
        if offset == 0 {
            partial.clear();
        }
        if offset != partial.len() as u64 {
            return Err(ReplicaError::Storage(format!("{offset} does not continue {}", partial.len())));
        }
        partial.extend_from_slice(bytes);
        Ok(())
    }

    fn apart_finish(&mut self, apart: &Apart) -> Result<(), ReplicaError> {
        let mut state = self.state();
        state.fetching.remove(&name(apart));
        let bytes = state.partial.remove(&name(apart)).unwrap_or_default();
        let sound = match apart {
            Apart::Blob(content) => Content::of(&bytes) == *content,
            Apart::History(tip) => GitId::blob(&bytes) == *tip,
        };
        if !sound {
            return Err(ReplicaError::Corrupt { apart: *apart, why: "the hash differs".into() });
        }
        match apart {
            Apart::Blob(content) => state.blobs.insert(content.hash, bytes),
            Apart::History(tip) => state.packs.insert(*tip, bytes),
        };
        Ok(())
    }

    fn members(&self) -> Result<BTreeMap<DeviceId, String>, ReplicaError> {
        Ok(self.state().members.clone())
    }

    fn peer_addrs(&self) -> Result<BTreeMap<DeviceId, Vec<SocketAddr>>, ReplicaError> {
        Ok(self.state().addrs.clone())
    }

    fn learn_addrs(&mut self, device: &DeviceId, addrs: Vec<SocketAddr>) -> Result<(), ReplicaError> {
        self.state().addrs.insert(*device, addrs);
        Ok(())
    }

    fn acknowledged(&mut self, peer: &DeviceId, frontier: &Frontier) -> Result<(), ReplicaError> {
        self.state().acknowledged.insert(*peer, frontier.clone());
        Ok(())
    }

    fn offer(&mut self, offer: &Offer) -> Result<(), ReplicaError> {
        self.state().offers.insert(offer.secret.id(), (offer.clone(), None));
        Ok(())
    }

    fn offered(&self, id: &TicketId) -> Result<Option<Offer>, ReplicaError> {
        Ok(self.state().offers.get(id).map(|(offer, _)| offer.clone()))
    }

    fn redeem(&mut self, id: &TicketId, joiner: &DeviceId) -> Result<Redeemed, ReplicaError> {
        Ok(match self.state().offers.get_mut(id) {
            Some((_, used @ None)) => {
                *used = Some(*joiner);
                Redeemed::Now
            }
            Some((_, Some(by))) if by == joiner => Redeemed::Before,
            _ => Redeemed::ByAnother,
        })
    }

    fn admit(
        &mut self,
        device: &DeviceId,
        name: &str,
        roles: &[String],
        operator: Option<&DeviceId>,
    ) -> Result<(), ReplicaError> {
        if self.is_member(device)? {
            return Ok(());
        }
        let (vault, by) = (self.vault(), key(101));
        let place = self.draft(vec![], vec![], |_| {}).header.place();
        let sig = by.sign_statement(&MemberStatement { vault: &vault, device, name, roles, operator, place });
        let event = Event::DeviceAdded {
            device: *device,
            name: name.into(),
            roles: roles.to_vec(),
            operator: operator.copied(),
            sig: Bytes(sig.to_vec()),
            by: by.public(),
        };
        self.author(vec![Item::Event(event)], vec![]);
        Ok(())
    }
}
