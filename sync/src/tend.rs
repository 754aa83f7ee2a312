//! Runs a daemon's own work on one vault, as [`Upkeep`] decides it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aios_core::id::DeviceId;
use aios_vault::watch::{Seen, Watcher};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::daemon::Notice;
use crate::live::Live;
use crate::node::{Event, Node, Report};
use crate::profile::{Pause, Profile};
use crate::session::{Trouble, blocking, finish};
use crate::site::{Company, Site, Taken};
use crate::upkeep::{Act, Ended, Reach, Upkeep};
use crate::work::{Carried, Worker};

/// What wakes it.
pub(crate) struct Signals {
    /// Connections that others began have ended.
    pub told: mpsc::UnboundedReceiver<Event>,
    /// Something came over a lasting connection.
    pub came: mpsc::UnboundedReceiver<DeviceId>,
    /// A command has put something new here.
    pub changed: Arc<Notify>,
}

/// What the work is done with.
pub(crate) struct Tend {
    upkeep: Upkeep,
    began: Instant,
    site: Site,
    worker: Worker,
    /// Begins lasting connections.
    dialer: Node,
    live: Live,
    /// Told of what remotes may lack.
    routes: Arc<Notify>,
    notice: Notice,
    profile: Profile,
    pause: Pause,
    watcher: Option<Arc<Mutex<Watcher>>>,
    calls: JoinSet<Report>,
}

fn told<T>(done: Result<T, Trouble>) -> Result<T, String> {
    done.map_err(|error| match error {
        Trouble::Sync(error) => error.said(),
        error => error.to_string(),
    })
}

impl Tend {
    pub fn new(
        site: Site,
        worker: Worker,
        dialer: Node,
        live: Live,
        routes: Arc<Notify>,
        (profile, pause): (Profile, Pause),
        notice: Notice,
    ) -> Self {
        Tend {
            upkeep: Upkeep::new(profile),
            began: Instant::now(),
            site,
            worker,
            dialer,
            live,
            routes,
            notice,
            profile,
            pause,
            watcher: None,
            calls: JoinSet::new(),
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
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
        let bell = self.worker.bell();
        loop {
            while let Some(act) = self.upkeep.act() {
                self.act(act).await;
            }
            let wake = self.began + self.upkeep.wake();
            tokio::select! {
                seen = saves.recv(), if watching => match seen {
                    Some(seen) => {
                        self.upkeep.see(seen, self.now());
                        while let Ok(seen) = saves.try_recv() {
                            self.upkeep.see(seen, self.now());
                        }
                        self.upkeep.seen_all();
                    }
                    None => watching = false,
                },
                Some(_) = signals.came.recv() => {
                    while signals.came.try_recv().is_ok() {}
                    self.upkeep.came();
                }
                () = signals.changed.notified() => self.upkeep.changed(self.now()),
                () = bell.notified() => self.upkeep.rings(self.now()),
                Some(event) = signals.told.recv() => {
                    if let Event::Exchanged(report) = event {
                        self.upkeep.served(&report.peer.device());
                    }
                }
                Some(done) = self.calls.join_next(), if !self.calls.is_empty() => {
                    if let Ok(report) = done {
                        self.heard(&report);
                    }
                }
                () = sleep_until(wake) => self.upkeep.tick(self.now()),
            }
        }
    }

    async fn act(&mut self, act: Act) {
        let site = self.site.clone();
        match act {
            Act::TakeIn(paths) => {
                let taken = blocking(move || site.take_in(Some(paths))).await;
                self.upkeep.took(told(taken), self.now());
            }
            Act::Look(folders) => {
                if let Some(watcher) = self.watcher.clone().filter(|_| !folders.is_empty()) {
                    // Watched before they are looked at: what is saved in between is seen twice and not missed.
                    let site = site.clone();
                    if let Err(error) = blocking(move || site.watch_also(&watcher, folders)).await {
                        (self.notice)(&format!("a new folder is not watched: {error}"));
                    }
                }
                let began = Instant::now();
                let taken: Result<Taken, Trouble> = blocking(move || site.take_in(None)).await;
                self.upkeep.looked(told(taken), began.elapsed(), self.now());
            }
            Act::Write => {
                let taken = blocking(move || site.write()).await;
                self.upkeep.wrote(told(taken), self.now());
            }
            Act::Finish => {
                let done = finish(&site).await.map(|stand| stand.warnings);
                self.upkeep.finished(told(done));
            }
            Act::Tidy => {
                let done = blocking(move || site.keeper().work(|vault| vault.gc_idle())).await;
                self.upkeep.tidied(told(done).map(|_| ()));
            }
            Act::Work => {
                let worker = self.worker.clone();
                let carried = told(blocking(move || site.carry_on(&worker)).await);
                let soonest = |carried: &Carried| carried.wake.into_iter().chain(carried.look).min();
                let wait = carried.as_ref().ok().and_then(soonest).map(|at| {
                    let now = aios_vault::chance::now_ms();
                    Duration::from_millis(at.saturating_sub(now))
                });
                self.upkeep.worked(carried, wait, self.now());
            }
            Act::Meet => {
                let paused = self.pause.holds().await;
                // Nobody is called then.
                let company = match paused {
                    true => Ok(Company::default()),
                    false => told(blocking(move || site.company()).await),
                };
                let live = self.live.clone();
                let with = |device: &DeviceId| live.with(device);
                let reach = Reach { paused, finds: self.dialer.net().finds(), with: &with };
                self.upkeep.met(company, &reach, self.began.elapsed());
            }
            Act::Tell => {
                self.live.changed();
                self.routes.notify_one();
            }
            Act::Pause(true) => self.live.stop(),
            Act::Pause(false) => self.live.resume(),
            Act::Keep(members) => self.live.keep(|device| members.contains(device)),
            Act::Dial(peer, addrs) => {
                let node = self.dialer.clone();
                self.calls.spawn(async move { node.sync_with(peer, &addrs).await });
            }
            Act::Say(what) => (self.notice)(&what),
        }
    }

    /// A connection that this device began has ended.
    fn heard(&mut self, report: &Report) {
        let mut byte = [128];
        // Without random numbers it is the middle.
        let _ = getrandom::fill(&mut byte);
        let ended = Ended {
            device: report.peer.device(),
            brought: report.outcome.integrated > 0 || report.outcome.apart_received > 0,
            error: report.error.as_ref(),
            jitter: byte[0],
        };
        self.upkeep.heard(ended, self.now());
    }
}
