//! What a daemon does by itself: takes in what is saved as soon as it is, writes what comes, projects to git when it is
//! quiet, and keeps a connection with every member it can reach.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aios_core::frontier::View;
use aios_core::id::DeviceId;
use aios_vault::watch::{Seen, Watcher};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::daemon::Notice;
use crate::error::{Code, Fault, Peer, SyncError};
use crate::live::Live;
use crate::node::{Event, Node, Report};
use crate::profile::{Pause, Profile};
use crate::session::{Trouble, blocking, finish};
use crate::site::{Site, Taken};

/// Looking takes at most this fraction of the time.
const SCAN_SHARE: u32 = 30;
/// Where something came or went the rest of it is waited for: a delete before a create, the other half of a rename.
const QUIET: Duration = Duration::from_millis(100);
/// It is waited for no longer than this, and tried again so long after a failure.
const PATIENCE: Duration = Duration::from_secs(1);
/// Git follows when nothing happened for so long, or has for so long.
const GIT: (Duration, Duration) = (Duration::from_millis(150), Duration::from_secs(1));
/// How often members there is no connection with are thought of.
const CALL: Duration = Duration::from_secs(2);

/// When a member is to be called again.
#[derive(Debug, Clone, Copy)]
struct Retry {
    at: Instant,
    wait: Duration,
}

/// Something to be done once it has been quiet, or at the latest at some time.
#[derive(Debug, Clone, Copy)]
struct Due {
    at: Instant,
    latest: Instant,
}

impl Due {
    fn after(due: Option<Due>, quiet: Duration, most: Duration) -> Option<Due> {
        let now = Instant::now();
        let latest = due.map_or(now + most, |due| due.latest);
        Some(Due { at: (now + quiet).min(latest), latest })
    }
}

/// Whether a member may say so because it has not heard yet that this device is one, which passes by itself.
fn unheard(error: &SyncError) -> bool {
    matches!(error, SyncError::Refused { code: Code::NotMember, .. })
}

/// What wakes it.
pub(crate) struct Signals {
    /// Connections that others began have ended.
    pub told: mpsc::UnboundedReceiver<Event>,
    /// Something came over a lasting connection.
    pub came: mpsc::UnboundedReceiver<DeviceId>,
    /// A command has put something new here.
    pub changed: Arc<Notify>,
}

/// The daemon's own work on one vault.
pub(crate) struct Upkeep {
    site: Site,
    /// Begins lasting connections.
    dialer: Node,
    live: Live,
    /// Told of what remotes may lack.
    routes: Arc<Notify>,
    notice: Notice,
    profile: Profile,
    pause: Pause,
    paused: bool,
    watcher: Option<Arc<Mutex<Watcher>>>,
    /// What was seen and not taken in.
    seen: Seen,
    look: Option<Due>,
    git: Option<Due>,
    scan: Instant,
    calls: JoinSet<Report>,
    called: BTreeSet<DeviceId>,
    retries: BTreeMap<DeviceId, Retry>,
    call: Instant,
    warned: BTreeSet<String>,
    /// All integrated records, when last looked.
    view: View,
}

impl Upkeep {
    pub fn new(
        site: Site,
        dialer: Node,
        live: Live,
        routes: Arc<Notify>,
        (profile, pause): (Profile, Pause),
        notice: Notice,
    ) -> Self {
        let now = Instant::now();
        Upkeep {
            site,
            dialer,
            live,
            routes,
            notice,
            profile,
            pause,
            paused: false,
            watcher: None,
            seen: Seen::default(),
            look: None,
            git: None,
            scan: now + profile.scan.0,
            calls: JoinSet::new(),
            called: BTreeSet::new(),
            retries: BTreeMap::new(),
            call: now,
            warned: BTreeSet::new(),
            view: View::new(),
        }
    }

    /// Begins to watch the working files. Without a watcher what changes is found by looking.
    pub async fn watch(&mut self) -> mpsc::UnboundedReceiver<Seen> {
        let (tell, told) = mpsc::unbounded_channel();
        let site = self.site.clone();
        match blocking(move || site.watch(move |seen| _ = tell.send(seen))).await {
            Ok(watcher) => self.watcher = Some(Arc::new(Mutex::new(watcher))),
            Err(error) => {
                (self.notice)(&format!("{error}; saves are found within {} s", self.profile.scan.1.as_secs()))
            }
        }
        told
    }

    /// Works until it is dropped.
    pub async fn run(
        mut self,
        mut signals: Signals,
        mut saves: mpsc::UnboundedReceiver<Seen>,
    ) -> Result<(), Trouble> {
        let mut watching = true;
        loop {
            let due = [self.look, self.git].into_iter().flatten().map(|due| due.at);
            let wake = due.chain([self.scan, self.call]).min().unwrap_or(self.scan);
            tokio::select! {
                seen = saves.recv(), if watching => match seen {
                    Some(seen) => {
                        self.see(seen);
                        while let Ok(seen) = saves.try_recv() {
                            self.see(seen);
                        }
                        self.take_saved().await;
                    }
                    None => watching = false,
                },
                Some(_) = signals.came.recv() => {
                    while signals.came.try_recv().is_ok() {}
                    self.write().await;
                }
                () = signals.changed.notified() => {
                    self.changed();
                    self.call = Instant::now();
                }
                Some(event) = signals.told.recv() => {
                    if let Event::Exchanged(report) = event {
                        // It is there now, whatever was thought of it.
                        self.retries.remove(&report.peer.device());
                        self.changed();
                    }
                }
                Some(done) = self.calls.join_next(), if !self.calls.is_empty() => {
                    if let Ok(report) = done {
                        self.heard(&report).await;
                    }
                }
                () = sleep_until(wake) => self.tick().await,
            }
        }
    }

    fn see(&mut self, seen: Seen) {
        if seen.moved || self.look.is_some() {
            self.look = Due::after(self.look, QUIET, PATIENCE);
        }
        self.seen.add(seen);
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        if self.look.is_some_and(|due| due.at <= now) || self.scan <= now {
            self.look_at_all().await;
        }
        if self.git.is_some_and(|due| due.at <= now) {
            self.git = None;
            match finish(&self.site).await {
                Ok(stand) => self.warn(stand.warnings),
                Err(error) => self.failed("git was not brought up to date", &error),
            }
        }
        if self.call <= now {
            self.call_members().await;
        }
    }

    /// Takes in what was saved.
    async fn take_saved(&mut self) {
        // Where more comes or goes it is seen with that.
        if self.look.is_some() || self.seen.saved.is_empty() {
            return;
        }
        let (site, paths) = (self.site.clone(), std::mem::take(&mut self.seen.saved));
        let taken = blocking(move || site.take_in(Some(paths))).await;
        self.took(taken);
    }

    async fn look_at_all(&mut self) {
        self.look = None;
        let seen = std::mem::take(&mut self.seen);
        if let Some(watcher) = self.watcher.clone().filter(|_| !seen.folders.is_empty()) {
            // Watched before they are looked at: what is saved in between is seen twice and not missed.
            let (site, folders) = (self.site.clone(), seen.folders);
            if let Err(error) = blocking(move || site.watch_also(&watcher, folders)).await {
                self.failed("a new folder is not watched", &error);
            }
        }
        let (site, began) = (self.site.clone(), Instant::now());
        let taken = blocking(move || site.take_in(None)).await;
        self.scan =
            Instant::now() + (began.elapsed() * SCAN_SHARE).clamp(self.profile.scan.0, self.profile.scan.1);
        if let Ok(Taken::Done { warnings, .. }) = &taken {
            self.warned.retain(|warning| warnings.contains(warning));
        }
        self.took(taken);
    }

    fn took(&mut self, taken: Result<Taken, Trouble>) {
        match taken {
            Ok(Taken::Done { view, warnings }) => {
                self.warn(warnings);
                // A command of another process may have made it.
                if view != self.view {
                    self.view = view;
                    self.news();
                }
            }
            Ok(Taken::Unclear) => self.look = Due::after(self.look, QUIET, PATIENCE),
            Err(error) => {
                self.look = Due::after(None, PATIENCE, PATIENCE);
                self.failed("the working files were not taken in", &error);
            }
        }
    }

    /// Writes what came.
    async fn write(&mut self) {
        let site = self.site.clone();
        match blocking(move || site.write()).await {
            Ok(Taken::Done { view, warnings }) => {
                self.view = view;
                self.warn(warnings);
            }
            Ok(Taken::Unclear) => {}
            Err(error) => self.failed("what came was not written", &error),
        }
        self.news();
        // It may tell of new members.
        self.call = Instant::now();
    }

    /// There is something that others may lack.
    fn changed(&self) {
        self.live.changed();
        self.routes.notify_one();
    }

    /// There is something that others may lack, and git too.
    fn news(&mut self) {
        self.changed();
        self.git = Due::after(self.git, GIT.0, GIT.1);
    }

    /// What stands is said once; a look at all tells what no longer stands.
    fn warn(&mut self, warnings: Vec<String>) {
        for warning in warnings {
            if !self.warned.contains(&warning) {
                (self.notice)(&warning);
                self.warned.insert(warning);
            }
        }
    }

    fn failed(&mut self, what: &str, error: &Trouble) {
        (self.notice)(&format!("{what}: {error}"));
    }

    /// Calls the members there is no connection with.
    async fn call_members(&mut self) {
        let site = self.site.clone();
        let now = Instant::now();
        self.call = now + CALL;
        if self.paused != self.pause.holds().await {
            self.turn();
        }
        if self.paused {
            return;
        }
        let company = match blocking(move || site.company()).await {
            Ok(company) => company,
            Err(error) => return self.failed("the vault cannot be opened", &error),
        };
        // Who was revoked is served no more.
        let members: BTreeSet<DeviceId> = company.others.iter().map(|(peer, _)| peer.device()).collect();
        self.live.keep(|device| members.contains(device));
        for (peer, known) in company.others {
            let device = peer.device();
            let waits = self.retries.get(&device).is_some_and(|retry| retry.at > now);
            let nowhere = known.addrs.is_empty() && !self.dialer.net().finds();
            if waits || nowhere || self.called.contains(&device) || self.live.with(&device) {
                continue;
            }
            self.dial(peer, known.addrs);
        }
    }

    /// Keeps off the network from now on, or no longer.
    fn turn(&mut self) {
        self.paused = !self.paused;
        match self.paused {
            true => {
                self.live.stop();
                (self.notice)("paused: keeps off the network, and goes on taking in what is saved here");
            }
            false => {
                self.live.resume();
                self.retries.clear();
                (self.notice)("no longer paused");
            }
        }
    }

    fn dial(&mut self, peer: Peer, addrs: Vec<SocketAddr>) {
        self.called.insert(peer.device());
        let node = self.dialer.clone();
        self.calls.spawn(async move { node.sync_with(peer, &addrs).await });
    }

    /// A connection that this device began has ended.
    async fn heard(&mut self, report: &Report) {
        let device = report.peer.device();
        self.called.remove(&device);
        if report.outcome.integrated > 0 || report.outcome.apart_received > 0 {
            self.write().await;
        }
        let known = self.retries.get(&device).filter(|_| report.error.is_some());
        let (first, most) = self.profile.retry;
        let wait = known.map_or(first, |retry| (retry.wait * 2).min(most));
        self.retries.insert(device, Retry { at: Instant::now() + jitter(wait), wait });
        match &report.error {
            None => {}
            Some(error) => match error.fault() {
                Fault::Refused if unheard(error) && wait < most => tracing::debug!(%error, "not synced"),
                Fault::Unreachable => tracing::debug!(%error, "not synced"),
                _ => (self.notice)(&error.to_string()),
            },
        }
    }
}

/// Three quarters to five quarters of `wait`: two that lost each other do not call at the same time for ever.
fn jitter(wait: Duration) -> Duration {
    let mut byte = [128];
    // Without random numbers it is the middle.
    let _ = getrandom::fill(&mut byte);
    wait * 3 / 4 + wait / 2 * u32::from(byte[0]) / 256
}
