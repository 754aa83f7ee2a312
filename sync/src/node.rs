//! A device on the network: serves members, syncs with them, invites and joins.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aios_core::id::{DeviceId, VaultId};
use aios_core::key::SecretKey;
use iroh::endpoint::{Connection, Incoming, RecvStream, SendStream};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};

use crate::drive::{Handle, Limits, Streams, drive};
use crate::error::{Fault, Peer, SyncError};
use crate::exchange::{Exchange, Mode};
use crate::frame::Frame;
use crate::live::Live;
use crate::machine::{Machine, Wire};
use crate::net::{Net, PAIR, SYNC, Scope};
use crate::outcome::{Outcome, Progress};
pub use crate::pairing::Welcomed;
use crate::pairing::{Applicant, Inviter, Joined, Joiner};
use crate::reach::Reach;
use crate::replica::{Replica, ReplicaError};
use crate::ticket::{Offer, Secret, Ticket, TicketId};

/// Connections served at once.
const MOST_SERVED: usize = 64;

/// Opens a handle of the vault; called from threads that may block, once for each connection.
pub type Open = Arc<dyn Fn() -> Result<Box<dyn Replica>, ReplicaError> + Send + Sync>;

/// Run after an exchange that a peer began, on a thread that may block and before anyone is told of it: what came is to
/// be written to the working files.
pub type OnServed = Arc<dyn Fn() + Send + Sync>;

/// Told how far the exchange with a peer is, whenever that has changed.
pub type OnProgress = Arc<dyn Fn(&Peer, Progress) + Send + Sync>;

/// How a node behaves.
#[derive(Clone)]
pub struct Settings {
    /// Where it listens.
    pub scope: Scope,
    /// What is asked beyond the addresses in the vault.
    pub reach: Reach,
    /// The UDP port it would like, such as the one it had last time.
    pub port: Option<u16>,
    /// How long it waits.
    pub limits: Limits,
    /// This program's name and version, for people.
    pub app: String,
    /// Told how exchanges go.
    pub on_progress: Option<OnProgress>,
    /// Run after every exchange that was served.
    pub on_served: Option<OnServed>,
    /// Where connections are to last, if the peer wants that too.
    pub live: Option<Live>,
}

impl Settings {
    /// The scope that the environment asks for, any port, default limits.
    ///
    /// # Errors
    /// As [`Reach::from_env`].
    pub fn from_env(app: &str) -> Result<Self, SyncError> {
        Ok(Settings {
            scope: Scope::from_env(),
            reach: Reach::from_env()?,
            port: None,
            limits: Limits::default(),
            app: app.into(),
            on_progress: None,
            on_served: None,
            live: None,
        })
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("scope", &self.scope)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// How it went with one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The peer.
    pub peer: Peer,
    /// Whether there was a connection.
    pub reached: bool,
    /// Whether the peer has durably applied all that this device had when it began (I12).
    pub acknowledged: bool,
    /// What was exchanged, also if it ended badly.
    pub outcome: Outcome,
    /// What went wrong.
    pub error: Option<SyncError>,
}

impl Report {
    fn failed(peer: Peer, reached: bool, error: SyncError) -> Self {
        Report { peer, reached, acknowledged: false, outcome: Outcome::default(), error: Some(error) }
    }
}

/// What happened while serving.
#[derive(Debug, Clone)]
pub enum Event {
    /// A device has joined; its first exchange follows.
    Joined(Joined),
    /// An exchange that a peer began has ended.
    Exchanged(Box<Report>),
    /// A device came with a ticket and could not join.
    NotJoined(SyncError),
    /// A connection was turned away, or a pairing failed.
    Refused(SyncError),
}

/// Told what happens while serving.
pub type OnEvent = Arc<dyn Fn(Event) + Send + Sync>;

/// A device on the network.
#[derive(Clone)]
pub struct Node {
    net: Net,
    open: Open,
    settings: Settings,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("device", &self.net.device()).finish_non_exhaustive()
    }
}

type QuicStreams = Streams<RecvStream, SendStream>;

/// Milliseconds since the Unix epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, ReplicaError> + Send + 'static,
) -> Result<T, SyncError> {
    match tokio::task::spawn_blocking(job).await {
        Ok(result) => result.map_err(SyncError::from),
        Err(e) => Err(ReplicaError::Storage(format!("work on the vault failed: {e}")).into()),
    }
}

/// One exchange on streams that are open.
struct Talk<'a> {
    peer: Peer,
    vault: VaultId,
    own: Vec<SocketAddr>,
    rest: Vec<u8>,
    limits: Limits,
    settings: &'a Settings,
}

impl Talk<'_> {
    async fn run(self, replica: &mut Handle, streams: &mut QuicStreams) -> Report {
        let connection = self.settings.live.as_ref().map(|live| live.begin(self.peer.device()));
        let mode = if connection.is_some() { Mode::Live } else { Mode::OneShot };
        let mut exchange = Exchange::new(self.peer.clone(), self.vault, mode, self.own, &self.settings.app);
        if !self.rest.is_empty() {
            exchange.receive(&self.rest);
        }
        let (mut last, mut brought) = (Progress::default(), 0);
        let see = |exchange: &Exchange| {
            // What comes in bulk at first is told of once.
            if let Some(connection) = &connection
                && exchange.complete()
                && exchange.brought() != brought
            {
                brought = exchange.brought();
                connection.came();
            }
            let progress = exchange.progress();
            if let Some(on_progress) = self.settings.on_progress.as_ref().filter(|_| progress != last) {
                on_progress(exchange.peer(), progress);
                last = progress;
            }
        };
        let changed = connection.as_ref().map(|connection| &*connection.changed);
        let over = async {
            match &connection {
                Some(connection) => connection.over().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = drive(&mut exchange, replica, streams, &self.peer, &self.limits, changed, see) => {}
            () = over => exchange.close(),
        }
        let (outcome, peer) = (exchange.outcome(), exchange.peer().clone());
        let error = match exchange.result() {
            Some(Err(error)) => Some(error.clone()),
            // It may end between a record and its answer; the next one tells.
            Some(Ok(())) if exchange.is_live() => None,
            Some(Ok(())) => exchange.frontier().and_then(|mine| outcome.problem(&peer, mine)),
            None => Some(SyncError::Broken { peer: peer.clone(), why: "the stream closed".into() }),
        };
        Report { peer, reached: true, acknowledged: outcome.acknowledged, outcome, error }
    }
}

/// Ends the streams so that the last bytes of both sides arrive.
async fn part(connection: &Connection, mut streams: QuicStreams, dialed: bool, linger: Duration) {
    let until = Instant::now() + linger;
    // A peer that is gone has closed them already.
    let _ = streams.write.shutdown().await;
    let mut sink = [0u8; 4096];
    while let Ok(Ok(Some(1..))) = timeout_at(until, streams.read.read(&mut sink)).await {}
    if !dialed {
        let _ = timeout_at(until, connection.closed()).await;
    }
    connection.close(0u32.into(), b"done");
}

impl Node {
    /// Opens the network under the device's key.
    ///
    /// # Errors
    /// [`SyncError::Network`].
    pub async fn start(key: &SecretKey, open: Open, settings: Settings) -> Result<Node, SyncError> {
        let net = Net::bind(key, settings.scope, &settings.reach, settings.port).await?;
        Ok(Node { net, open, settings })
    }

    /// On a network that is open already, such as the one that just joined.
    pub fn on(net: Net, open: Open, settings: Settings) -> Node {
        Node { net, open, settings }
    }

    /// The network.
    pub fn net(&self) -> &Net {
        &self.net
    }

    async fn handle(&self) -> Result<Box<dyn Replica>, SyncError> {
        let open = self.open.clone();
        blocking(move || open()).await
    }

    /// Exchanges once with `peer`, which listens at one of `addrs`.
    pub async fn sync_with(&self, peer: Peer, addrs: &[SocketAddr]) -> Report {
        self.sync_within(peer, addrs, self.settings.limits).await
    }

    async fn sync_within(&self, peer: Peer, addrs: &[SocketAddr], limits: Limits) -> Report {
        let start = Instant::now();
        let connect = limits.total.map_or(limits.connect, |total| total.min(limits.connect));
        let limits = Limits { connect, ..limits };
        let connection = match self.net.dial(&peer, addrs, SYNC, &limits).await {
            Ok(connection) => connection,
            Err(error) => return Report::failed(peer, matches!(error, SyncError::Refused { .. }), error),
        };
        let replica = match self.handle().await {
            Ok(replica) => replica,
            Err(error) => return Report::failed(peer, true, error),
        };
        let (write, read) = match connection.open_bi().await {
            Ok(streams) => streams,
            Err(e) => {
                let error = SyncError::Broken { peer: peer.clone(), why: e.to_string() };
                return Report::failed(peer, true, error);
            }
        };
        let mut streams = Streams { read, write };
        let limits =
            Limits { total: limits.total.map(|total| total.saturating_sub(start.elapsed())), ..limits };
        let (vault, own, settings) = (replica.vault(), self.net.own_addrs(), &self.settings);
        let talk = Talk { peer, vault, own, rest: Vec::new(), limits, settings };
        let report = talk.run(&mut Some(replica), &mut streams).await;
        part(&connection, streams, true, limits.linger).await;
        report
    }

    /// Exchanges once with all of `peers`, in parallel, in `total` time if given. The reports are in the order of
    /// `peers`.
    pub async fn sync_all(
        &self,
        peers: Vec<(Peer, Vec<SocketAddr>)>,
        total: Option<Duration>,
    ) -> Vec<Report> {
        let limits = Limits { total: total.or(self.settings.limits.total), ..self.settings.limits };
        let mut tasks = JoinSet::new();
        for (n, (peer, addrs)) in peers.iter().cloned().enumerate() {
            let node = self.clone();
            tasks.spawn(async move { (n, node.sync_within(peer, &addrs, limits).await) });
        }
        let mut reports = BTreeMap::new();
        while let Some(done) = tasks.join_next().await {
            if let Ok((n, report)) = done {
                reports.insert(n, report);
            }
        }
        let failed = || SyncError::Network("the task of the exchange failed".into());
        let all = peers.into_iter().enumerate();
        all.map(|(n, (peer, _))| reports.remove(&n).unwrap_or_else(|| Report::failed(peer, false, failed())))
            .collect()
    }

    /// Exchanges once with every other member, as [`Node::sync_all`].
    ///
    /// # Errors
    /// When the vault cannot say who they are.
    pub async fn sync_members(&self, total: Option<Duration>) -> Result<Vec<Report>, SyncError> {
        let replica = self.handle().await?;
        let me = self.net.device();
        let (members, mut addrs) = blocking(move || Ok((replica.members()?, replica.peer_addrs()?))).await?;
        let others = members.into_iter().filter(|(device, _)| *device != me);
        let peers =
            others.map(|(device, name)| (Peer::new(device, name), addrs.remove(&device).unwrap_or_default()));
        Ok(self.sync_all(peers.collect(), total).await)
    }

    /// Makes a ticket and remembers it durably. Devices that come with it are let in by [`Node::serve`], under `name`
    /// if given.
    ///
    /// # Errors
    /// When the vault cannot keep it, or there are no random numbers.
    pub async fn offer(
        &self,
        roles: Vec<String>,
        name: Option<String>,
        lifetime: Duration,
    ) -> Result<Ticket, SyncError> {
        let mut replica = self.handle().await?;
        let lifetime = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        let mut addrs = self.net.own_addrs();
        addrs.truncate(8);
        let ticket = Ticket {
            vault: replica.vault(),
            inviter: self.net.device(),
            addrs,
            secret: Secret::generate()?,
            expires: now().saturating_add(lifetime),
            roles,
            vault_name: replica.vault_name(),
        };
        ticket.encode()?;
        let offer = Offer { name, ..ticket.to_offer() };
        blocking(move || replica.offer(&offer)).await?;
        Ok(ticket)
    }

    /// Serves members and those who come with a ticket, until the answer is dropped or stopped.
    pub fn serve(&self, on_event: OnEvent) -> Serving {
        let (node, stop) = (self.clone(), Arc::new(Notify::new()));
        let (stopped, linger) = (stop.clone(), self.settings.limits.linger);
        let task = tokio::spawn(async move {
            let room = Arc::new(Semaphore::new(MOST_SERVED));
            let mut tasks = JoinSet::new();
            loop {
                tokio::select! {
                    incoming = node.net.accept() => {
                        let Some(incoming) = incoming else { break };
                        let Ok(permit) = room.clone().try_acquire_owned() else {
                            incoming.refuse();
                            continue;
                        };
                        let (node, on_event) = (node.clone(), on_event.clone());
                        tasks.spawn(async move {
                            if let Err(error) = node.receive(incoming, &on_event).await {
                                tracing::info!(%error, "connection turned away");
                                on_event(Event::Refused(error));
                            }
                            drop(permit);
                        });
                    }
                    Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                    () = stopped.notified() => break,
                }
            }
            let _ = timeout(linger, async { while tasks.join_next().await.is_some() {} }).await;
        });
        Serving { task: Mutex::new(Some(task)), stop }
    }

    async fn receive(&self, incoming: Incoming, on_event: &OnEvent) -> Result<(), SyncError> {
        let limits = self.settings.limits;
        let network =
            |why: String| SyncError::Network(format!("an incoming connection did not come about: {why}"));
        let connection = match timeout(limits.stall, incoming).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(e)) => return Err(network(e.to_string())),
            Err(_) => return Err(network("no answer".into())),
        };
        let peer = Peer::from(DeviceId(*connection.remote_id().as_bytes()));
        let broken = |why: String| SyncError::Broken { peer: peer.clone(), why };
        let (write, read) = match timeout(limits.stall, connection.accept_bi()).await {
            Ok(Ok(streams)) => streams,
            Ok(Err(e)) => return Err(broken(e.to_string())),
            Err(_) => return Err(SyncError::Stalled { peer, seconds: limits.stall.as_secs() }),
        };
        let mut streams = Streams { read, write };
        let result = match connection.alpn() == PAIR {
            true => {
                let result = self.receive_join(&peer, &mut streams, on_event).await;
                if let Err(error) = &result {
                    on_event(Event::NotJoined(error.clone()));
                }
                result
            }
            false => self.receive_sync(&peer, &mut streams).await,
        };
        if let Err(error) = &result {
            // What the machines refuse they have said themselves; a stranger and a vault that is shut are told here.
            if matches!(
                error,
                SyncError::NotMember { .. } | SyncError::Revoked { .. } | SyncError::Replica(_)
            ) {
                let mut wire = Wire::default();
                wire.refuse(error);
                let _ = timeout(limits.linger, streams.write.write_all(wire.outgoing())).await;
            }
        }
        part(&connection, streams, false, limits.linger).await;
        let report = result?;
        if let Some(on_served) = self.settings.on_served.clone() {
            blocking(move || {
                on_served();
                Ok(())
            })
            .await?;
        }
        on_event(Event::Exchanged(Box::new(report)));
        Ok(())
    }

    async fn receive_sync(&self, peer: &Peer, streams: &mut QuicStreams) -> Result<Report, SyncError> {
        let (open, device) = (self.open.clone(), peer.device());
        let look = blocking(move || {
            let replica = open()?;
            let (member, revoked) = (replica.is_member(&device)?, replica.is_revoked(&device)?);
            Ok((replica, (member, revoked)))
        });
        let (replica, member) = self.meanwhile(streams, look).await?;
        match member {
            (true, _) => {}
            (false, true) => return Err(SyncError::Revoked { peer: peer.clone() }),
            (false, false) => return Err(SyncError::NotMember { peer: peer.clone() }),
        }
        Ok(self.talk(peer.clone(), replica, Vec::new(), streams).await)
    }

    async fn receive_join(
        &self,
        peer: &Peer,
        streams: &mut QuicStreams,
        on_event: &OnEvent,
    ) -> Result<Report, SyncError> {
        let replica = self.meanwhile(streams, self.handle()).await?;
        let (me, vault, nonce) = (replica.device(), replica.vault(), crate::frame::Nonce::generate()?);
        let mut handle: Handle = Some(replica);
        let mut inviter = Inviter::new(peer.device(), me, vault, now(), nonce);
        drive(&mut inviter, &mut handle, streams, peer, &self.settings.limits, None, |_| {}).await;
        let joined = match inviter.result() {
            Some(Ok(joined)) => joined.clone(),
            Some(Err(error)) => return Err(error.clone()),
            None => return Err(SyncError::Broken { peer: peer.clone(), why: "the stream closed".into() }),
        };
        let peer = Peer::new(joined.device, joined.name.clone());
        on_event(Event::Joined(joined));
        let Some(replica) = handle else {
            return Err(ReplicaError::Storage("the vault is not open".into()).into());
        };
        Ok(self.talk(peer, replica, inviter.rest(), streams).await)
    }

    /// Tells the peer every few seconds that this side is still at work: what changed on disk may take long to take in.
    async fn meanwhile<T>(&self, streams: &mut QuicStreams, work: impl Future<Output = T>) -> T {
        let limits = &self.settings.limits;
        let mut work = std::pin::pin!(work);
        loop {
            if let Ok(done) = timeout(limits.beat, &mut work).await {
                return done;
            }
            let mut wire = Wire::default();
            // A peer that is gone is found out by the exchange.
            if wire.send(&Frame::Wait).is_ok() {
                let _ = timeout(limits.stall, streams.write.write_all(wire.outgoing())).await;
            }
        }
    }

    async fn talk(
        &self,
        peer: Peer,
        replica: Box<dyn Replica>,
        rest: Vec<u8>,
        streams: &mut QuicStreams,
    ) -> Report {
        let (vault, own, settings) = (replica.vault(), self.net.own_addrs(), &self.settings);
        let talk = Talk { peer, vault, own, rest, limits: settings.limits, settings };
        talk.run(&mut Some(replica), streams).await
    }

    /// Closes the network; what is still served ends.
    pub async fn close(&self) {
        self.net.close().await;
    }
}

/// Waits until a device has joined with this ticket, has all, and has come once more to say so and to bring what its
/// folder held; `None` when nobody has joined by `until`. A device that has joined and does not come again is waited for
/// no longer than `grace`: it is a member already, and is served whenever it comes. `refused` is told of those who could not.
pub async fn joined(
    told: &mut mpsc::UnboundedReceiver<Event>,
    ticket: TicketId,
    until: Instant,
    grace: Duration,
    mut refused: impl FnMut(&SyncError),
) -> Option<Joined> {
    let mut joined: Option<Joined> = None;
    let (mut until, mut complete) = (until, 0);
    loop {
        match timeout_at(until, told.recv()).await {
            Ok(Some(Event::Joined(device))) if device.ticket == ticket => joined = Some(device),
            Ok(Some(Event::NotJoined(error))) => refused(&error),
            Ok(Some(Event::Exchanged(report))) => {
                let ours = joined.as_ref().is_some_and(|joined| joined.device == report.peer.device());
                if ours && report.error.as_ref().is_none_or(|error| error.fault() == Fault::Refused) {
                    complete += 1;
                    until = Instant::now() + grace;
                }
                if complete == 2 {
                    return joined;
                }
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return joined,
        }
    }
}

/// A node that serves. Dropping it stops that at once.
#[derive(Debug)]
pub struct Serving {
    task: Mutex<Option<JoinHandle<()>>>,
    stop: Arc<Notify>,
}

impl Serving {
    fn take(&self) -> Option<JoinHandle<()>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Takes no more connections and gives those that are open a moment to end.
    pub async fn stop(self) {
        self.stop.notify_one();
        if let Some(task) = self.take() {
            // It failed only if it panicked; there is nothing left to stop then.
            let _ = task.await;
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(task) = self.take() {
            task.abort();
        }
    }
}

/// Joins a vault: proves the ticket's secret to the inviter, has the inviter prove it, makes the replica with `make`
/// (on a thread that may block), and fetches all. `net` is open under the joiner's device key.
///
/// # Errors
/// Anything up to the point where the replica exists. After that, the report says how the first exchange went: where
/// it broke, [`Node::sync_with`] continues it.
pub async fn join(
    net: &Net,
    ticket: &Ticket,
    name: &str,
    operator: Option<DeviceId>,
    make: impl FnOnce(&Welcomed) -> Result<Box<dyn Replica>, ReplicaError> + Send + 'static,
    settings: &Settings,
) -> Result<(Welcomed, Report), SyncError> {
    ticket.check_time(now())?;
    let (limits, peer) = (settings.limits, Peer::from(ticket.inviter));
    let connection = net.dial(&peer, &ticket.addrs, PAIR, &limits).await?;
    let streams = connection.open_bi().await;
    let (write, read) = streams.map_err(|e| SyncError::Broken { peer: peer.clone(), why: e.to_string() })?;
    let mut streams = Streams { read, write };
    let applicant = Applicant { device: net.device(), name: name.into(), operator };
    let mut joiner = Joiner::new(ticket.clone(), applicant, crate::frame::Nonce::generate()?);
    drive(&mut joiner, &mut None, &mut streams, &peer, &limits, None, |_| {}).await;
    let welcomed = match joiner.result() {
        Some(Ok(welcomed)) => Ok(welcomed.clone()),
        Some(Err(error)) => Err(error.clone()),
        None => Err(SyncError::Broken { peer: peer.clone(), why: "the stream closed".into() }),
    };
    let welcomed = match welcomed {
        Ok(welcomed) => welcomed,
        Err(error) => {
            part(&connection, streams, true, limits.linger).await;
            return Err(error);
        }
    };
    let made = welcomed.clone();
    let mut replica: Box<dyn Replica> = blocking(move || make(&made)).await?;
    // Where the inviter listens is known now, and may be all there is to go by if this connection breaks.
    let (inviter, addrs) = (ticket.inviter, ticket.addrs.clone());
    let replica = blocking(move || replica.learn_addrs(&inviter, addrs).map(|()| replica)).await?;
    let (own, rest) = (net.own_addrs(), joiner.rest());
    let talk = Talk { peer, vault: ticket.vault, own, rest, limits, settings };
    let report = talk.run(&mut Some(replica), &mut streams).await;
    part(&connection, streams, true, limits.linger).await;
    Ok((welcomed, report))
}
