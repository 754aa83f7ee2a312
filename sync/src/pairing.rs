//! Pairing: a new device proves that it knows a ticket's secret, the inviter that it made the ticket.
//!
//! Four frames, `Join`, `Challenge`, `Proof`, `Welcome`; both proofs are keyed BLAKE3 over one transcript that holds
//! all that either side said, under keys derived from the secret for one side each. See `docs/formats.md`, Sync wire.

use std::collections::BTreeMap;

use aios_core::id::{DeviceId, EpochId, VaultId};
use aios_core::item::Bytes;

use crate::error::{Code, Peer, SyncError};
use crate::frame::{Challenge, Frame, Join, Mac, Nonce, Proof, VERSION, Welcome};
use crate::machine::{Job, Machine, Wire};
use crate::replica::{Redeemed, Replica, ReplicaError};
use crate::ticket::{Offer, Secret, Ticket, TicketError};

/// The longest name of a device, in characters.
pub const MAX_NAME: usize = 64;

impl Nonce {
    /// A new one.
    ///
    /// # Errors
    /// [`TicketError::Random`] when the system has no random numbers.
    pub fn generate() -> Result<Self, TicketError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|e| TicketError::Random(e.to_string()))?;
        Ok(Nonce(bytes))
    }
}

/// All that both sides must agree on.
#[derive(Debug, Clone)]
struct Transcript<'a> {
    inviter: DeviceId,
    join: &'a Join,
    nonce: Nonce,
    roles: &'a [String],
    vault_name: &'a str,
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Joiner,
    Inviter,
}

impl Transcript<'_> {
    fn mac(&self, side: Side, secret: &Secret) -> Mac {
        let context = match side {
            Side::Joiner => "aios pair v1 joiner mac",
            Side::Inviter => "aios pair v1 inviter mac",
        };
        let key = blake3::derive_key(context, &secret.0);
        let mut hasher = blake3::Hasher::new_keyed(&key);
        let mut field = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_be_bytes());
            hasher.update(bytes);
        };
        field(self.join.vault.as_bytes());
        field(self.inviter.as_bytes());
        field(self.join.device.as_bytes());
        field(&self.join.nonce.0);
        field(&self.nonce.0);
        field(self.join.name.as_bytes());
        field(self.join.operator.as_ref().map_or(&[][..], |key| key.as_bytes()));
        field(self.vault_name.as_bytes());
        self.roles.iter().for_each(|role| field(role.as_bytes()));
        Mac(*hasher.finalize().as_bytes())
    }
}

/// The device that joins, as it presents itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applicant {
    /// Its id.
    pub device: DeviceId,
    /// The name it wants to go by, up to [`MAX_NAME`] characters.
    pub name: String,
    /// The public half of the operator key on it.
    pub operator: Option<DeviceId>,
}

/// What a joiner has become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcomed {
    /// The vault.
    pub vault: VaultId,
    /// Its name.
    pub vault_name: String,
    /// The device that invited.
    pub inviter: DeviceId,
    /// The joiner's roles.
    pub roles: Vec<String>,
    /// Of a sealed vault, the keys of its epochs, each for the joiner alone.
    pub epochs: BTreeMap<EpochId, Bytes>,
}

/// The joining side.
#[derive(Debug)]
pub struct Joiner {
    ticket: Ticket,
    join: Join,
    peer: Peer,
    nonce: Option<Nonce>,
    wire: Wire,
    ended: Option<Result<Welcomed, SyncError>>,
}

impl Joiner {
    /// Begins to join with `ticket`, whose time was checked, on a connection that proves the inviter's id; `nonce`
    /// is fresh.
    pub fn new(ticket: Ticket, applicant: Applicant, nonce: Nonce) -> Self {
        let join = Join {
            v: VERSION,
            vault: ticket.vault,
            ticket: ticket.secret.id(),
            device: applicant.device,
            name: applicant.name,
            operator: applicant.operator,
            nonce,
        };
        let peer = Peer::from(ticket.inviter);
        let mut joiner = Joiner { ticket, join, peer, nonce: None, wire: Wire::default(), ended: None };
        joiner.send(&Frame::Join(joiner.join.clone()));
        joiner
    }

    /// How it ended.
    pub fn result(&self) -> Option<&Result<Welcomed, SyncError>> {
        self.ended.as_ref()
    }

    /// Bytes that came after the pairing: the exchange begins with them.
    pub fn rest(&mut self) -> Vec<u8> {
        self.wire.rest()
    }

    fn send(&mut self, frame: &Frame) {
        if let Err(source) = self.wire.send(frame) {
            self.fail(SyncError::Frame { peer: self.peer.clone(), source });
        }
    }

    fn mac(&self, side: Side, nonce: Nonce) -> Mac {
        let Ticket { inviter, roles, vault_name, secret, .. } = &self.ticket;
        Transcript { inviter: *inviter, join: &self.join, nonce, roles, vault_name }.mac(side, secret)
    }

    fn hear(&mut self, frame: Frame) {
        match (frame, self.nonce) {
            (Frame::Error(refusal), _) => {
                let text = refusal.text.chars().filter(|c| !c.is_control()).take(400).collect();
                self.ended =
                    Some(Err(SyncError::Refused { peer: self.peer.clone(), code: refusal.code, text }));
            }
            (Frame::Wait, _) => {}
            (Frame::Challenge(Challenge { nonce }), None) => {
                self.nonce = Some(nonce);
                let mac = self.mac(Side::Joiner, nonce);
                self.send(&Frame::Proof(Proof { mac }));
            }
            (Frame::Welcome(welcome), Some(nonce)) => {
                let Ticket { vault, vault_name, inviter, roles, .. } = &self.ticket;
                let sound = self.mac(Side::Inviter, nonce).is(&welcome.mac);
                if !sound || welcome.roles != *roles || welcome.name != *vault_name {
                    return self.fail(SyncError::FalseInviter { peer: self.peer.clone() });
                }
                let (vault_name, roles) = (vault_name.clone(), roles.clone());
                let (inviter, epochs) = (*inviter, welcome.epochs);
                self.ended = Some(Ok(Welcomed { vault: *vault, vault_name, inviter, roles, epochs }));
            }
            (frame, _) => {
                let what = format!("a {} frame out of turn in pairing", frame.name());
                self.fail(SyncError::Protocol { peer: self.peer.clone(), what });
            }
        }
    }
}

impl Machine for Joiner {
    type Answer = ();

    fn receive(&mut self, bytes: &[u8]) {
        self.wire.push(bytes);
        while self.ended.is_none() {
            match self.wire.frame() {
                Ok(Some(frame)) => self.hear(frame),
                Ok(None) => break,
                Err(source) => self.fail(SyncError::Frame { peer: self.peer.clone(), source }),
            }
        }
    }

    fn closed(&mut self, why: &str) {
        if self.ended.is_none() {
            self.ended = Some(Err(SyncError::Broken { peer: self.peer.clone(), why: why.into() }));
        }
    }

    fn outgoing(&self) -> &[u8] {
        self.wire.outgoing()
    }

    fn sent(&mut self, count: usize) {
        self.wire.sent(count);
    }

    fn job(&mut self) -> Option<Job<()>> {
        None
    }

    fn ran(&mut self, _answer: Result<(), SyncError>) {}

    fn working(&mut self) {}

    fn wants_input(&self) -> bool {
        true
    }

    fn fail(&mut self, error: SyncError) {
        if self.ended.is_none() {
            self.wire.refuse(&error);
            self.ended = Some(Err(error));
        }
    }

    fn ended(&self) -> bool {
        self.ended.is_some()
    }
}

/// A device that has joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Its id.
    pub device: DeviceId,
    /// Its name.
    pub name: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// With which ticket.
    pub ticket: crate::ticket::TicketId,
}

/// The answer of a job of [`Inviter`].
#[derive(Debug)]
pub struct Reply(Answer);

#[derive(Debug)]
enum Answer {
    Found(Option<Offer>),
    /// The keys of epochs that go to the joiner.
    Admitted(BTreeMap<EpochId, Bytes>),
}

/// The inviting side.
pub struct Inviter {
    peer: Peer,
    me: DeviceId,
    vault: VaultId,
    now: u64,
    nonce: Nonce,
    join: Option<Join>,
    offer: Option<Offer>,
    proven: bool,
    job: Option<Job<Reply>>,
    running: bool,
    wire: Wire,
    ended: Option<Result<Joined, SyncError>>,
}

impl std::fmt::Debug for Inviter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inviter")
            .field("peer", &self.peer)
            .field("proven", &self.proven)
            .finish_non_exhaustive()
    }
}

impl Inviter {
    /// Waits for a join by `peer`, whose id the connection has proven; `now` in ms since the Unix epoch, `nonce` is
    /// fresh.
    pub fn new(peer: DeviceId, me: DeviceId, vault: VaultId, now: u64, nonce: Nonce) -> Self {
        Inviter {
            peer: peer.into(),
            me,
            vault,
            now,
            nonce,
            join: None,
            offer: None,
            proven: false,
            job: None,
            running: false,
            wire: Wire::default(),
            ended: None,
        }
    }

    /// How it ended.
    pub fn result(&self) -> Option<&Result<Joined, SyncError>> {
        self.ended.as_ref()
    }

    /// Bytes that came after the pairing: the exchange begins with them.
    pub fn rest(&mut self) -> Vec<u8> {
        self.wire.rest()
    }

    fn send(&mut self, frame: &Frame) {
        if let Err(source) = self.wire.send(frame) {
            self.fail(SyncError::Frame { peer: self.peer.clone(), source });
        }
    }

    fn refuse(&mut self, code: Code, what: &'static str) {
        self.fail(SyncError::BadJoin { peer: self.peer.clone(), code, what });
    }

    fn hear(&mut self, frame: Frame) {
        match frame {
            Frame::Error(refusal) => {
                let text = refusal.text.chars().filter(|c| !c.is_control()).take(400).collect();
                self.ended =
                    Some(Err(SyncError::Refused { peer: self.peer.clone(), code: refusal.code, text }));
            }
            Frame::Join(join) if self.join.is_none() => self.hear_join(join),
            Frame::Proof(proof) if self.offer.is_some() && !self.proven => self.hear_proof(&proof),
            frame => {
                let what = format!("a {} frame out of turn in pairing", frame.name());
                self.fail(SyncError::Protocol { peer: self.peer.clone(), what });
            }
        }
    }

    fn hear_join(&mut self, join: Join) {
        let peer = self.peer.clone();
        if join.v != VERSION {
            return self.fail(SyncError::Version { peer, version: join.v });
        }
        if join.device != peer.device() {
            return self.fail(SyncError::Impostor { peer, claimed: join.device });
        }
        if join.vault != self.vault {
            return self.fail(SyncError::OtherVault { peer, theirs: join.vault, ours: self.vault });
        }
        let length = join.name.chars().count();
        // The name stands on a line of its own in what the operator signs.
        if length == 0 || length > MAX_NAME || join.name.chars().any(char::is_control) {
            return self.refuse(
                Code::Denied,
                "a device's name has 1 to 64 characters and no line ends: choose another",
            );
        }
        self.peer = Peer::new(join.device, join.name.clone());
        let id = join.ticket;
        self.join = Some(join);
        self.job = Some(Box::new(move |replica| Ok(Reply(Answer::Found(replica.offered(&id)?)))));
    }

    fn found(&mut self, offer: Option<Offer>) {
        let Some(offer) = offer else {
            return self.refuse(
                Code::TicketUnknown,
                "this device did not make that ticket: make a new one with `aios pair`",
            );
        };
        if self.now >= offer.expires {
            return self
                .refuse(Code::TicketExpired, "the ticket has expired: make a new one with `aios pair`");
        }
        self.offer = Some(offer);
        let nonce = self.nonce;
        self.send(&Frame::Challenge(Challenge { nonce }));
    }

    fn mac(&self, side: Side) -> Option<Mac> {
        let (join, offer) = (self.join.as_ref()?, self.offer.as_ref()?);
        let (roles, vault_name) = (&offer.roles, &offer.vault_name);
        Some(
            Transcript { inviter: self.me, join, nonce: self.nonce, roles, vault_name }
                .mac(side, &offer.secret),
        )
    }

    fn hear_proof(&mut self, proof: &Proof) {
        if !self.mac(Side::Joiner).is_some_and(|mac| mac.is(&proof.mac)) {
            return self.refuse(
                Code::TicketProof,
                "the proof does not fit the ticket: copy all of it from `aios pair`",
            );
        }
        let (Some(join), Some(offer)) = (self.join.clone(), self.offer.clone()) else { return };
        self.proven = true;
        let peer = self.peer.clone();
        self.job = Some(Box::new(move |replica: &mut dyn Replica| {
            // Consumed durably before the device is a member: a crash between the two never lets a second one in.
            if replica.redeem(&join.ticket, &join.device)? == Redeemed::ByAnother {
                let what = "the ticket was used by another device: make a new one with `aios pair`";
                return Err(SyncError::BadJoin { peer, code: Code::TicketUsed, what });
            }
            replica.admit(&join.device, &join.name, &offer.roles, join.operator.as_ref())?;
            Ok(Reply(Answer::Admitted(replica.keys_for(&join.device)?)))
        }));
    }

    fn admitted(&mut self, epochs: BTreeMap<EpochId, Bytes>) {
        let (Some(mac), Some(join), Some(offer)) =
            (self.mac(Side::Inviter), self.join.take(), self.offer.take())
        else {
            let why = ReplicaError::Storage("a pairing ended out of turn".into());
            return self.fail(why.into());
        };
        let (roles, name) = (offer.roles.clone(), offer.vault_name);
        self.send(&Frame::Welcome(Welcome { mac, roles, name, epochs }));
        let Join { device, name, ticket, .. } = join;
        self.ended = Some(Ok(Joined { device, name, roles: offer.roles, ticket }));
    }
}

impl Machine for Inviter {
    type Answer = Reply;

    fn receive(&mut self, bytes: &[u8]) {
        self.wire.push(bytes);
        while self.ended.is_none() {
            match self.wire.frame() {
                Ok(Some(frame)) => self.hear(frame),
                Ok(None) => break,
                Err(source) => self.fail(SyncError::Frame { peer: self.peer.clone(), source }),
            }
        }
    }

    fn closed(&mut self, why: &str) {
        if self.ended.is_none() {
            self.ended = Some(Err(SyncError::Broken { peer: self.peer.clone(), why: why.into() }));
        }
    }

    fn outgoing(&self) -> &[u8] {
        self.wire.outgoing()
    }

    fn sent(&mut self, count: usize) {
        self.wire.sent(count);
    }

    fn job(&mut self) -> Option<Job<Reply>> {
        let job = self.job.take()?;
        self.running = true;
        Some(job)
    }

    fn ran(&mut self, answer: Result<Reply, SyncError>) {
        self.running = false;
        match answer {
            _ if self.ended.is_some() => {}
            Ok(Reply(Answer::Found(offer))) => self.found(offer),
            Ok(Reply(Answer::Admitted(epochs))) => self.admitted(epochs),
            Err(error) => self.fail(error),
        }
    }

    fn working(&mut self) {
        if self.ended.is_none() {
            self.send(&Frame::Wait);
        }
    }

    fn wants_input(&self) -> bool {
        true
    }

    fn fail(&mut self, error: SyncError) {
        if self.ended.is_none() {
            self.wire.refuse(&error);
            self.ended = Some(Err(error));
        }
    }

    fn ended(&self) -> bool {
        self.ended.is_some() && !self.running
    }
}
