//! The daemon of one device: serves members and those who come with a ticket, takes in what changes on disk, and brings
//! it to the others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aios_core::id::DeviceId;
use aios_vault::Error;
use aios_vault::disk::Lock;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::control::{self, Answer, Request};
use crate::error::{Code, Fault, Peer, SyncError};
use crate::net::Net;
use crate::node::{Event, Node, OnEvent, OnServed, Report, Settings, joined};
use crate::session::{Trouble, blocking, finish, round, sync};
use crate::site::{Site, said};
use crate::ticket::TicketError;

/// How often the folder is looked through, at least so long apart and at most.
const SCAN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));
/// Looking takes at most this fraction of the time.
const SCAN_SHARE: u32 = 30;
/// How long a member that was not reached is left alone, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// How long the daemon has to end.
const END: Duration = Duration::from_secs(5);
/// How long a device that has joined is waited for, should it not come again.
const GRACE: Duration = Duration::from_secs(60);

/// Told what its owner should know, a line each: a failure is never silent (I12).
pub type Notice = Arc<dyn Fn(&str) + Send + Sync>;

/// Who wants to know what happens while serving.
#[derive(Clone, Default)]
struct Listeners(Arc<Mutex<Vec<mpsc::UnboundedSender<Event>>>>);

impl Listeners {
    fn add(&self) -> mpsc::UnboundedReceiver<Event> {
        let (tell, told) = mpsc::unbounded_channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(tell);
        told
    }

    fn tell(&self, event: &Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|tell| tell.send(event.clone()).is_ok());
    }
}

/// When a member is to be called again.
#[derive(Debug, Clone, Copy)]
struct Retry {
    at: Instant,
    wait: Duration,
}

/// Whether a member may say so because it has not heard yet that this device is one, which passes by itself.
fn unheard(error: &SyncError) -> bool {
    matches!(error, SyncError::Refused { code: Code::NotMember, .. })
}

/// What the parts of the daemon share.
#[derive(Clone)]
struct Daemon {
    site: Site,
    /// For exchanges that this device begins.
    caller: Node,
    listeners: Listeners,
    /// Something is here that others may lack.
    changed: Arc<Notify>,
    notice: Notice,
}

/// Runs the daemon until the process is told to end. `ready` is called once it serves, with where it listens.
///
/// # Errors
/// When it cannot begin: another daemon runs for this device, the network or the vault cannot be opened.
pub async fn run(
    site: Site,
    settings: Settings,
    notice: Notice,
    ready: impl FnOnce(&[SocketAddr]),
) -> Result<(), Trouble> {
    let lock = site.folder().join("up.lock");
    let _lock = Lock::take(&lock, Duration::ZERO).map_err(Error::from)?;
    let (mut terminate, mut interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let stand = round(&site).await?;
    stand.warnings.iter().for_each(|warning| notice(warning));
    let net = Net::bind(site.key(), settings.scope, site.port()).await.map_err(Trouble::from)?;
    site.keep_port(net.port())?;
    let addrs = net.own_addrs();
    let (listener, socket) = control::listen(site.folder())?;

    let server = Settings { on_served: Some(on_served(&site, notice.clone())), ..settings.clone() };
    let server = Node::on(net.clone(), site.absorbing_opener(), server);
    let daemon = Daemon {
        caller: Node::on(net, site.opener(), settings),
        site,
        listeners: Listeners::default(),
        changed: Arc::new(Notify::new()),
        notice,
    };
    let told = daemon.listeners.add();
    let listeners = daemon.listeners.clone();
    let on_event: OnEvent = Arc::new(move |event| listeners.tell(&event));
    let serving = server.serve(on_event);
    let answering = tokio::spawn(daemon.clone().answer(listener, server.clone()));
    ready(&addrs);
    let ended = tokio::select! {
        ended = daemon.watch(told) => ended,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    answering.abort();
    // A socket that stays is replaced by the next daemon.
    let _ = std::fs::remove_file(&socket);
    let _ = timeout(END, serving.stop()).await;
    server.close().await;
    ended
}

fn on(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Trouble> {
    Ok(signal(kind)
        .map_err(|e| Error::io("listen for signals in", std::path::Path::new("this process"), e))?)
}

/// Writes what a served exchange has brought.
fn on_served(site: &Site, notice: Notice) -> OnServed {
    let site = site.clone();
    Arc::new(move || match site.finish() {
        Ok(stand) => stand.warnings.iter().for_each(|warning| notice(warning)),
        Err(e) => notice(&format!("what came was not written: {}", said(&e))),
    })
}

impl Daemon {
    /// Looks for changes on disk, and calls the members who lack something.
    async fn watch(&self, mut told: mpsc::UnboundedReceiver<Event>) -> Result<(), Trouble> {
        let mut calls: JoinSet<Report> = JoinSet::new();
        let mut called: BTreeSet<DeviceId> = BTreeSet::new();
        let mut greeted: BTreeSet<DeviceId> = BTreeSet::new();
        let mut retries: BTreeMap<DeviceId, Retry> = BTreeMap::new();
        let mut warned: Vec<String> = Vec::new();
        let mut scan = Instant::now() + SCAN.0;
        loop {
            for (peer, addrs) in self.due(&called, &greeted, &retries).await {
                called.insert(peer.device());
                let node = self.caller.clone();
                calls.spawn(async move { node.sync_with(peer, &addrs).await });
            }
            tokio::select! {
                () = sleep_until(scan) => {
                    let began = Instant::now();
                    match round(&self.site).await {
                        // What stands is said once.
                        Ok(stand) if stand.warnings != warned => {
                            stand.warnings.iter().for_each(|warning| (self.notice)(warning));
                            warned = stand.warnings;
                        }
                        Ok(_) => {}
                        Err(error) => (self.notice)(&format!("the working files were not taken in: {error}")),
                    }
                    scan = Instant::now() + (began.elapsed() * SCAN_SHARE).clamp(SCAN.0, SCAN.1);
                }
                () = self.changed.notified() => {}
                Some(event) = told.recv() => {
                    if let Event::Exchanged(report) = event {
                        // It is there now, whatever was thought of it.
                        retries.remove(&report.peer.device());
                    }
                }
                Some(done) = calls.join_next(), if !calls.is_empty() => {
                    let Ok(report) = done else { continue };
                    let device = report.peer.device();
                    called.remove(&device);
                    self.heard(&report).await;
                    match &report.error {
                        None => {
                            greeted.insert(device);
                            retries.remove(&device);
                        }
                        Some(error) => {
                            let wait = retries.get(&device).map_or(RETRY.0, |retry| (retry.wait * 2).min(RETRY.1));
                            retries.insert(device, Retry { at: Instant::now() + wait, wait });
                            match error.fault() {
                                Fault::Refused if unheard(error) && wait < RETRY.1 => {
                                    tracing::debug!(%error, "not synced");
                                }
                                Fault::Unreachable => tracing::debug!(%error, "not synced"),
                                _ => (self.notice)(&error.to_string()),
                            }
                        }
                    }
                }
            }
        }
    }

    /// Writes what an exchange has brought.
    async fn heard(&self, report: &Report) {
        if report.outcome.integrated == 0 && report.outcome.apart_received == 0 {
            return;
        }
        match finish(&self.site).await {
            Ok(stand) => stand.warnings.iter().for_each(|warning| (self.notice)(warning)),
            Err(error) => (self.notice)(&format!("what came was not written: {error}")),
        }
    }

    /// The members to be called: those who lack something, and at the beginning all.
    async fn due(
        &self,
        called: &BTreeSet<DeviceId>,
        greeted: &BTreeSet<DeviceId>,
        retries: &BTreeMap<DeviceId, Retry>,
    ) -> Vec<(Peer, Vec<SocketAddr>)> {
        let site = self.site.clone();
        let company = match blocking(move || site.company()).await {
            Ok(company) => company,
            Err(error) => {
                (self.notice)(&format!("the vault cannot be opened: {error}"));
                return Vec::new();
            }
        };
        let behind: BTreeSet<DeviceId> = company.behind().map(|(peer, _)| peer.device()).collect();
        let now = Instant::now();
        let due = company.others.into_iter().filter(|(peer, known)| {
            let device = peer.device();
            (behind.contains(&device) || !greeted.contains(&device))
                && !called.contains(&device)
                && !known.addrs.is_empty()
                && retries.get(&device).is_none_or(|retry| retry.at <= now)
        });
        due.map(|(peer, known)| (peer, known.addrs)).collect()
    }

    /// Answers commands.
    async fn answer(self, listener: UnixListener, server: Node) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (daemon, server) = (self.clone(), server.clone());
                    tokio::spawn(async move {
                        if let Err(error) = daemon.serve_command(stream, &server).await {
                            tracing::debug!(%error, "a command went away");
                        }
                    });
                }
                Err(error) => {
                    (self.notice)(&format!("a command could not connect: {error}"));
                    tokio::time::sleep(RETRY.0).await;
                }
            }
        }
    }

    async fn serve_command(&self, stream: UnixStream, server: &Node) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        let Some(line) = lines.next_line().await? else { return Ok(()) };
        let answer = match serde_json::from_str::<Request>(&line) {
            Err(e) => Answer::Failed {
                what: format!("the daemon does not understand this command: {e}"),
                hint: Some("stop `aios up` and start it again: it is of another version".into()),
                exit: 1,
            },
            Ok(Request::Sync { peer, timeout }) => {
                let synced = sync(&self.site, &self.caller, peer, Duration::from_millis(timeout)).await;
                self.changed.notify_one();
                synced.map_or_else(|trouble| Answer::failed(&trouble), Answer::Synced)
            }
            Ok(Request::Pair { roles, name, lifetime }) => {
                let lifetime = Duration::from_millis(lifetime);
                let told = self.listeners.add();
                match invite(server, roles, name, lifetime).await {
                    Err(trouble) => Answer::failed(&trouble),
                    Ok((ticket, id)) => {
                        say(&mut write, &Answer::Ticket { ticket }).await?;
                        let waiting = admitted(&self.site, told, id, lifetime);
                        tokio::select! {
                            answer = waiting => answer.unwrap_or_else(|trouble| Answer::failed(&trouble)),
                            // Whoever asked has gone: nobody waits any more, and the ticket holds on until it expires.
                            _ = lines.next_line() => return Ok(()),
                        }
                    }
                }
            }
        };
        say(&mut write, &answer).await
    }
}

async fn say(write: &mut tokio::net::unix::OwnedWriteHalf, answer: &Answer) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(answer)?;
    text.push(b'\n');
    write.write_all(&text).await
}

async fn invite(
    node: &Node,
    roles: Vec<String>,
    name: Option<String>,
    lifetime: Duration,
) -> Result<(String, crate::ticket::TicketId), Trouble> {
    let ticket = node.offer(roles, name, lifetime).await?;
    Ok((ticket.encode()?, ticket.secret.id()))
}

/// Waits for the device that comes with a ticket.
async fn admitted(
    site: &Site,
    mut told: mpsc::UnboundedReceiver<Event>,
    id: crate::ticket::TicketId,
    lifetime: Duration,
) -> Result<Answer, Trouble> {
    let Some(device) = joined(&mut told, id, Instant::now() + lifetime, GRACE).await else {
        return Err(TicketError::Expired { ago: 0 }.into());
    };
    let site = site.clone();
    blocking(move || {
        site.keeper().work(move |vault| {
            // Its name is the one in the vault: the inviter may have chosen another than it asked for.
            let member = vault.members().0.get(&device.device);
            let (name, roles) = member
                .map_or((device.name, device.roles), |member| (member.name.clone(), member.roles.clone()));
            Ok(Answer::Joined { id: device.device, name, roles })
        })
    })
    .await
}

/// Lets one device join without a daemon: shows the ticket with `show`, serves until the device has all.
///
/// # Errors
/// [`TicketError::Expired`] when nobody has come in time; what opening network or vault answers.
pub async fn pair(
    site: &Site,
    settings: Settings,
    roles: Vec<String>,
    name: Option<String>,
    lifetime: Duration,
    show: impl FnOnce(&str),
) -> Result<Answer, Trouble> {
    round(site).await?;
    let served = on_served(site, Arc::new(|text: &str| tracing::error!("{text}")));
    let settings = Settings { port: site.port(), on_served: Some(served), ..settings };
    let node = Node::start(site.key(), site.absorbing_opener(), settings).await?;
    site.keep_port(node.net().port())?;
    let listeners = Listeners::default();
    let told = listeners.add();
    let serving = node.serve(Arc::new(move |event| listeners.tell(&event)));
    let answer = match invite(&node, roles, name, lifetime).await {
        Ok((ticket, id)) => {
            show(&ticket);
            admitted(site, told, id, lifetime).await
        }
        Err(trouble) => Err(trouble),
    };
    serving.stop().await;
    node.close().await;
    answer
}
