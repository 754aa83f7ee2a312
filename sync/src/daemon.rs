//! The daemon of one device: serves members and those who come with a ticket, takes in what changes on disk, and brings
//! it to the others.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aios_vault::Error;
use aios_vault::disk::{Lock, LockError};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};

use crate::control::{self, Answer, Request};
use crate::error::SyncError;
use crate::live::Live;
use crate::net::Net;
use crate::node::{Event, Node, OnEvent, OnServed, Settings, joined};
use crate::profile::{Pause, Profile};
use crate::remote::routes;
use crate::session::{Trouble, Wanted, blocking, finish, introduce, round, sync};
use crate::site::{Site, said};
use crate::tend::{Signals, Tend};
use crate::ticket::TicketError;
use crate::work::Worker;

/// How long no command is taken after one could not connect.
const PAUSE: Duration = Duration::from_secs(2);
/// How long the daemon has to end.
const END: Duration = Duration::from_secs(5);
/// How long a copied folder tries to tell the others which device it is, and how long it waits then.
const INTRODUCE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(30));
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

/// What the parts of the daemon share.
#[derive(Clone)]
struct Daemon {
    site: Site,
    worker: Worker,
    /// For exchanges that this device begins.
    caller: Node,
    listeners: Listeners,
    live: Live,
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
    worker: Worker,
    settings: Settings,
    habits: (Profile, Pause),
    notice: Notice,
    ready: impl FnOnce(&[SocketAddr]),
) -> Result<(), Trouble> {
    let lock = site.folder().join("up.lock");
    let _lock = match Lock::take(&lock, Duration::ZERO) {
        Ok(lock) => lock,
        Err(LockError::Held { pid, .. }) => return Err(runs_already(pid)),
        Err(e) => return Err(Error::from(e).into()),
    };
    let (mut terminate, mut interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let stand = round(&site).await?;
    stand.warnings.iter().for_each(|warning| notice(warning));
    let net =
        Net::bind(site.key(), settings.scope, &settings.reach, site.port()).await.map_err(Trouble::from)?;
    site.keep_port(net.port())?;
    let addrs = net.own_addrs();
    let (listener, door) = control::listen(site.folder())?;

    let introducing = tokio::spawn(introduce_at_last(site.clone(), settings.clone(), notice.clone()));

    let (live, came) = Live::new();
    let lasting = Settings { live: Some(live.clone()), ..settings.clone() };
    let server = Settings { on_served: Some(on_served(&site, notice.clone())), ..lasting.clone() };
    let server = Node::on(net.clone(), site.absorbing_opener(notice.clone()), server);
    let dialer = Node::on(net.clone(), site.opener(), lasting);
    let daemon = Daemon {
        caller: Node::on(net, site.opener(), settings),
        site: site.clone(),
        worker: worker.clone(),
        listeners: Listeners::default(),
        live: live.clone(),
        changed: Arc::new(Notify::new()),
        notice: notice.clone(),
    };
    let signals = Signals { told: daemon.listeners.add(), came, changed: daemon.changed.clone() };
    let changed = Arc::new(Notify::new());
    let told = (changed.clone(), daemon.changed.clone());
    let routes = routes::keep(site.clone(), notice.clone(), habits.1.clone(), told);
    let mut tend = Tend::new(site.clone(), worker, dialer, live.clone(), changed, habits, notice);
    let saves = tend.watch().await;
    let listeners = daemon.listeners.clone();
    let on_event: OnEvent = Arc::new(move |event| listeners.tell(&event));
    let serving = server.serve(on_event);
    let answering = tokio::spawn(daemon.clone().answer(listener, server.clone()));
    let routes = tokio::spawn(routes);
    ready(&addrs);
    let ended = tokio::select! {
        ended = tend.run(signals, saves) => ended,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    live.stop();
    answering.abort();
    introducing.abort();
    routes.abort();
    drop(door);
    let _ = timeout(END, serving.stop()).await;
    server.close().await;
    // Git follows files: what was taken in last may wait for it.
    finish(&site).await?;
    ended
}

/// Tells the others which device this is, should its folder be a copy, until one of them has heard.
async fn introduce_at_last(site: Site, settings: Settings, notice: Notice) {
    loop {
        let told = introduce(&site, &settings, INTRODUCE.0).await;
        if let Err(error) = &told {
            notice(&format!("the other devices were not told that this folder is a copy: {error}"));
        }
        let here = site.clone();
        if let Ok(None) = blocking(move || here.former()).await {
            return;
        }
        tokio::time::sleep(INTRODUCE.1).await;
    }
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
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn serve_command(&self, stream: UnixStream, server: &Node) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        let Some(line) = lines.next_line().await? else { return Ok(()) };
        say(&mut write, &Answer::Heard).await?;
        let answer = match serde_json::from_str::<Request>(&line) {
            Err(e) => Answer::Failed {
                what: format!("the daemon does not understand this command: {e}"),
                hint: Some("stop `aios up` and start it again: it is of another version".into()),
                exit: 1,
            },
            Ok(Request::Sync { peer, timeout, allow_secrets }) => {
                let wanted = Wanted { peer, allow_secrets };
                let synced = sync(&self.site, &self.caller, wanted, Duration::from_millis(timeout)).await;
                self.changed.notify_one();
                synced.map_or_else(|trouble| Answer::failed(&trouble), Answer::Synced)
            }
            Ok(Request::Settle) => match finish(&self.site).await {
                Ok(_) => Answer::Settled { online: self.live.devices() },
                Err(trouble) => Answer::failed(&trouble),
            },
            Ok(Request::Work) => {
                let (site, worker) = (self.site.clone(), self.worker.clone());
                let carried = blocking(move || site.carry_on(&worker)).await;
                // The others hear of it, and what is due later is waited for.
                self.changed.notify_one();
                carried.map_or_else(
                    |trouble| Answer::failed(&trouble),
                    |carried| {
                        carried.warnings.iter().for_each(|warning| (self.notice)(warning));
                        Answer::Worked { wake: carried.wake, at_work: carried.at_work }
                    },
                )
            }
            Ok(Request::Pair { roles, name, lifetime }) => {
                let lifetime = Duration::from_millis(lifetime);
                let told = self.listeners.add();
                match invite(server, roles, name, lifetime).await {
                    Err(trouble) => Answer::failed(&trouble),
                    Ok((ticket, id)) => {
                        say(&mut write, &Answer::Ticket { ticket }).await?;
                        let (tell, mut refused) = mpsc::unbounded_channel();
                        let waiting =
                            admitted(&self.site, told, id, lifetime, |error| _ = tell.send(error.said()));
                        let mut waiting = std::pin::pin!(waiting);
                        loop {
                            tokio::select! {
                                answer = &mut waiting => {
                                    break answer.unwrap_or_else(|trouble| Answer::failed(&trouble));
                                }
                                Some(what) = refused.recv() => {
                                    say(&mut write, &Answer::Refused { what }).await?;
                                }
                                // Whoever asked has gone: nobody waits any more, and the ticket holds on until it expires.
                                _ = lines.next_line() => return Ok(()),
                            }
                        }
                    }
                }
            }
        };
        say(&mut write, &answer).await
    }
}

fn runs_already(pid: Option<u32>) -> Trouble {
    let which = pid.map_or_else(String::new, |pid| format!(", process {pid}"));
    Trouble::Daemon {
        what: format!("`aios up` runs for this vault already{which}"),
        hint: Some(
            "every command works through it; to begin another, end that one first (Ctrl-C there)".into(),
        ),
        exit: 1,
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
    refused: impl FnMut(&SyncError),
) -> Result<Answer, Trouble> {
    let Some(device) = joined(&mut told, id, Instant::now() + lifetime, GRACE, refused).await else {
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

/// Lets one device join without a daemon: shows the ticket with `show`, serves until the device has all; `refused` is told of
/// those who came and could not join.
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
    mut refused: impl FnMut(&str),
) -> Result<Answer, Trouble> {
    round(site).await?;
    let notice: Notice = Arc::new(|text: &str| tracing::error!("{text}"));
    let served = on_served(site, notice.clone());
    let settings = Settings { port: site.port(), on_served: Some(served), ..settings };
    let node = Node::start(site.key(), site.absorbing_opener(notice), settings).await?;
    site.keep_port(node.net().port())?;
    let listeners = Listeners::default();
    let told = listeners.add();
    let serving = node.serve(Arc::new(move |event| listeners.tell(&event)));
    let answer = match invite(&node, roles, name, lifetime).await {
        Ok((ticket, id)) => {
            show(&ticket);
            admitted(site, told, id, lifetime, |error| refused(&error.said())).await
        }
        Err(trouble) => Err(trouble),
    };
    serving.stop().await;
    node.close().await;
    answer
}
