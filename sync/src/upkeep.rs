//! What a daemon does by itself, without I/O and without a clock: takes in what is saved as soon as it is, writes what comes,
//! projects to git when it is quiet, and keeps a connection with every member it can reach.
//!
//! What happened goes in with the time; [`Upkeep::act`] says what to do, one thing after the other, and is told what came of
//! it. `tend` drives it with tokio.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use aios_core::frontier::View;
use aios_core::id::DeviceId;
use aios_core::planted::{Bug, planted};
use aios_vault::watch::Seen;

use crate::error::{Code, Fault, Peer, SyncError};
use crate::profile::Profile;
use crate::site::{Company, Taken};
use crate::work::Carried;

/// Looking takes at most this fraction of the time.
const SCAN_SHARE: u32 = 300;
/// Where something came or went the rest of it is waited for: a delete before a create, the other half of a rename.
const QUIET: Duration = Duration::from_millis(100);
/// It is waited for no longer than this, and tried again so long after a failure.
const PATIENCE: Duration = Duration::from_secs(1);
/// Git follows when nothing happened for so long, or has for so long.
const GIT: (Duration, Duration) = (Duration::from_millis(150), Duration::from_secs(1));
/// Work that waits for a time is looked at so often: the clock it waits for goes on while the machine sleeps, this one does not.
const WORK: Duration = Duration::from_secs(30);
/// Work comes after what others wait for has gone to them: it takes the vault for longer than that does.
const AFTER: Duration = Duration::from_millis(10);
/// How often members there is no connection with are thought of.
const CALL: Duration = Duration::from_secs(2);

/// How often those who are there are asked once more for bytes that nobody had.
const ASK: Duration = Duration::from_secs(15);

/// How seldom at most connections are begun anew for what was held.
const HOUR: Duration = Duration::from_secs(60 * 60);

/// How long the daemon has been at work.
pub type Time = Duration;

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Take in what was saved at these paths; answered by [`Upkeep::took`].
    TakeIn(BTreeSet<String>),
    /// Have these folders watched too, then take in all that changed; answered by [`Upkeep::looked`].
    Look(BTreeSet<String>),
    /// Write what came; answered by [`Upkeep::wrote`].
    Write,
    /// Bring git up to date; answered by [`Upkeep::finished`].
    Finish,
    /// Carry on work; answered by [`Upkeep::worked`].
    Work,
    /// Pack what git keeps one by one; answered by [`Upkeep::tidied`].
    Tidy,
    /// Ask who the members are, and whether to keep off the network; answered by [`Upkeep::met`].
    Meet,
    /// Tell connections and remotes that there is something they may lack.
    Tell,
    /// Keep off the network, or no longer.
    Pause(bool),
    /// Keep lasting connections with these only.
    Keep(BTreeSet<DeviceId>),
    /// Begin a lasting connection; answered by [`Upkeep::heard`].
    Dial(Peer, Vec<SocketAddr>),
    /// Something that a person should know.
    Say(String),
}

/// How a connection that this device began has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// With whom it was.
    pub device: DeviceId,
    /// Whether something came that was not here.
    pub brought: bool,
    /// What went wrong.
    pub error: Option<&'a SyncError>,
    /// Chance: two that lost each other do not call at the same time for ever.
    pub jitter: u8,
}

/// What is to be known of the network when members are called.
pub struct Reach<'a> {
    /// Whether the network is kept off.
    pub paused: bool,
    /// Whether members can be found whose addresses are not known.
    pub finds: bool,
    /// Whether there is a lasting connection with a device.
    pub with: &'a dyn Fn(&DeviceId) -> bool,
}

/// When something is to be tried again.
#[derive(Debug, Clone, Copy)]
struct Retry {
    at: Time,
    wait: Duration,
}

/// Something to be done once it has been quiet, or at the latest at some time.
#[derive(Debug, Clone, Copy)]
struct Due {
    at: Time,
    latest: Time,
}

impl Due {
    fn after(due: Option<Due>, now: Time, quiet: Duration, most: Duration) -> Option<Due> {
        let latest = due.map_or(now + most, |due| due.latest);
        Some(Due { at: (now + quiet).min(latest), latest })
    }
}

/// Whether a member may say so because it has not heard yet that this device is one, which passes by itself.
fn unheard(error: &SyncError) -> bool {
    matches!(error, SyncError::Refused { code: Code::NotMember, .. })
}

/// The daemon's own work on one vault.
#[derive(Debug)]
pub struct Upkeep {
    profile: Profile,
    paused: bool,
    todo: VecDeque<Act>,
    /// What was seen and not taken in.
    seen: Seen,
    look: Option<Due>,
    /// Whether what is saved waits for that look.
    holds: bool,
    git: Option<Due>,
    /// When what was written since is to be packed.
    tidy: Option<Time>,
    /// Before this it is not packed again.
    tidied: Time,
    /// When there is work to carry on.
    work: Time,
    scan: Time,
    called: BTreeSet<DeviceId>,
    retries: BTreeMap<DeviceId, Retry>,
    call: Time,
    ask: Time,
    /// When connections may be ended for what was held to come once more.
    anew: Option<Retry>,
    warned: BTreeSet<String>,
    /// All integrated records, when last looked.
    view: View,
}

impl Upkeep {
    /// Begins at time zero.
    pub fn new(profile: Profile) -> Self {
        Upkeep {
            profile,
            paused: false,
            todo: VecDeque::new(),
            seen: Seen::default(),
            look: None,
            holds: false,
            git: None,
            tidy: None,
            tidied: Time::ZERO,
            work: Time::ZERO,
            scan: profile.scan.0,
            called: BTreeSet::new(),
            retries: BTreeMap::new(),
            call: Time::ZERO,
            ask: Time::ZERO,
            anew: None,
            warned: BTreeSet::new(),
            view: View::new(),
        }
    }

    /// All integrated records, when last looked.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The next thing to do now.
    pub fn act(&mut self) -> Option<Act> {
        self.todo.pop_front()
    }

    /// When [`Upkeep::tick`] is due next.
    pub fn wake(&self) -> Time {
        let due = [self.look, self.git].into_iter().flatten().map(|due| due.at);
        due.chain(self.tidy).chain([self.scan, self.call, self.work]).min().unwrap_or(self.scan)
    }

    /// A watcher saw this.
    pub fn see(&mut self, seen: Seen, now: Time) {
        self.holds |= seen.moved;
        if seen.moved || self.look.is_some() {
            self.look = Due::after(self.look, now, QUIET, PATIENCE);
        }
        self.seen.add(seen);
    }

    /// The watcher has nothing more to tell for now: what was saved is taken in.
    pub fn seen_all(&mut self) {
        // Where something went or changes places it is seen with that.
        if !self.holds && !self.seen.saved.is_empty() {
            self.todo.push_back(Act::TakeIn(std::mem::take(&mut self.seen.saved)));
        }
    }

    /// Something came over a lasting connection.
    pub fn came(&mut self) {
        self.todo.push_back(Act::Write);
    }

    /// A command has put something new here.
    pub fn changed(&mut self, now: Time) {
        self.todo.push_back(Act::Tell);
        self.call = now;
        self.work = now;
    }

    /// An exchange that a peer began has ended: it is there now, whatever was thought of it.
    pub fn served(&mut self, device: &DeviceId) {
        self.retries.remove(device);
        self.todo.push_back(Act::Tell);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Time) {
        if self.look.is_some_and(|due| due.at <= now) || self.scan <= now {
            (self.look, self.holds) = (None, false);
            // Not again before it is answered.
            self.scan = now + self.profile.scan.1;
            let seen = std::mem::take(&mut self.seen);
            if !planted(Bug::RescanForgotten) {
                self.todo.push_back(Act::Look(seen.folders));
            }
        }
        if self.git.is_some_and(|due| due.at <= now) {
            self.git = None;
            self.todo.push_back(Act::Finish);
        }
        if self.tidy.is_some_and(|due| due <= now) {
            self.tidy = None;
            match self.paused {
                // A phone that is to keep quiet is not to work its disk either.
                true => self.tidy = Some(now + self.profile.tidy.0),
                false => {
                    self.tidied = now + self.profile.tidy.1;
                    self.todo.push_back(Act::Tidy);
                }
            }
        }
        if self.work <= now {
            self.work = now + WORK;
            self.todo.push_back(Act::Work);
        }
        if self.call <= now {
            self.call = now + CALL;
            self.todo.push_back(Act::Meet);
        }
    }

    /// What came of [`Act::TakeIn`].
    pub fn took(&mut self, taken: Result<Taken, String>, now: Time) {
        match taken {
            Ok(Taken::Done { view, warnings, came }) => {
                self.warn(warnings);
                if came {
                    self.look = Due::after(self.look, now, QUIET, PATIENCE);
                }
                // A command of another process may have made it.
                if view != self.view {
                    self.view = view;
                    self.news(now);
                }
            }
            Ok(Taken::Unclear) => {
                self.look = Due::after(self.look, now, QUIET, PATIENCE);
                self.holds = true;
            }
            Err(error) => {
                self.look = Due::after(None, now, PATIENCE, PATIENCE);
                self.holds = true;
                self.say(format!("the working files were not taken in: {error}"));
            }
        }
    }

    /// What came of [`Act::Look`], and how long it took.
    pub fn looked(&mut self, taken: Result<Taken, String>, lasted: Duration, now: Time) {
        self.scan = now + (lasted * SCAN_SHARE).clamp(self.profile.scan.0, self.profile.scan.1);
        if let Ok(Taken::Done { warnings, .. }) = &taken {
            self.warned.retain(|warning| warnings.contains(warning));
        }
        self.took(taken, now);
    }

    /// What came of [`Act::Write`].
    pub fn wrote(&mut self, taken: Result<Taken, String>, now: Time) {
        match taken {
            Ok(Taken::Done { view, warnings, .. }) => {
                self.view = view;
                self.warn(warnings);
            }
            Ok(Taken::Unclear) => {}
            Err(error) => self.say(format!("what came was not written: {error}")),
        }
        self.news(now);
        // It may tell of new members.
        self.call = now;
    }

    /// What came of [`Act::Finish`]: warnings.
    pub fn finished(&mut self, done: Result<Vec<String>, String>) {
        match done {
            Ok(warnings) => self.warn(warnings),
            Err(error) => self.say(format!("git was not brought up to date: {error}")),
        }
    }

    /// What came of [`Act::Tidy`].
    pub fn tidied(&mut self, done: Result<(), String>) {
        if let Err(error) = done {
            self.say(format!("git's objects were not packed: {error}"));
        }
    }

    /// Something is there that work waited for.
    pub fn rings(&mut self, now: Time) {
        self.work = now;
        self.tick(now);
    }

    /// What came of [`Act::Work`], and how long it is until work goes on by itself.
    pub fn worked(&mut self, carried: Result<Carried, String>, wait: Option<Duration>, now: Time) {
        match carried {
            Ok(Carried { view, warnings, .. }) => {
                // A command that recorded something may have been killed before it said so: work is never left for long.
                self.work = now + wait.map_or(self.profile.scan.1, |wait| wait.min(WORK));
                self.warn(warnings);
                if view != self.view {
                    self.view = view;
                    self.publish(now);
                }
            }
            Err(error) => {
                self.work = now + WORK;
                self.warn(vec![format!("work is not carried on: {error}")]);
            }
        }
    }

    /// What came of [`Act::Meet`]: the members there is no connection with are called.
    pub fn met(&mut self, company: Result<Company, String>, reach: &Reach<'_>, now: Time) {
        if self.paused != reach.paused {
            self.turn();
        }
        if self.paused {
            return;
        }
        let company = match company {
            Ok(company) => company,
            Err(error) => return self.say(format!("the vault cannot be opened: {error}")),
        };
        if company.lacks && self.ask <= now {
            self.ask = now + ASK;
            self.todo.push_back(Act::Tell);
        }
        if company.set_back {
            self.look = Due::after(self.look, now, QUIET, PATIENCE);
        }
        // Over a connection that lasts nothing comes twice.
        let anew = company.lets_in && self.anew.is_none_or(|anew| anew.at <= now);
        if anew {
            // Whoever has it may not be there for long.
            let wait = self.anew.map_or(ASK, |anew| (anew.wait * 2).min(HOUR));
            self.anew = Some(Retry { at: now + wait, wait });
            self.retries.clear();
        }
        self.anew = self.anew.filter(|_| company.lets_in);
        // Who was revoked is served no more.
        let kept = company.others.iter().map(|(peer, _)| peer.device()).filter(|_| !anew);
        self.todo.push_back(Act::Keep(kept.collect()));
        for (peer, known) in company.others {
            let device = peer.device();
            let waits = self.retries.get(&device).is_some_and(|retry| retry.at > now);
            let nowhere = known.addrs.is_empty() && !reach.finds;
            if waits || nowhere || self.called.contains(&device) || (reach.with)(&device) {
                continue;
            }
            self.called.insert(device);
            self.todo.push_back(Act::Dial(peer, known.addrs));
        }
    }

    /// Keeps off the network from now on, or no longer.
    fn turn(&mut self) {
        self.paused = !self.paused;
        self.todo.push_back(Act::Pause(self.paused));
        match self.paused {
            true => {
                self.say("paused: keeps off the network, and goes on taking in what is saved here".into())
            }
            false => {
                self.retries.clear();
                self.say("no longer paused".into());
            }
        }
    }

    /// A connection of [`Act::Dial`] has ended.
    pub fn heard(&mut self, ended: Ended<'_>, now: Time) {
        let device = ended.device;
        self.called.remove(&device);
        if ended.brought {
            self.todo.push_back(Act::Write);
        }
        let known = self.retries.get(&device).filter(|_| ended.error.is_some());
        let (first, most) = self.profile.retry;
        let wait = known.map_or(first, |retry| (retry.wait * 2).min(most));
        // Three quarters to five quarters of it.
        let jittered = wait * 3 / 4 + wait / 2 * u32::from(ended.jitter) / 256;
        self.retries.insert(device, Retry { at: now + jittered, wait });
        match ended.error {
            None => {}
            Some(error) => match error.fault() {
                Fault::Refused if unheard(error) && wait < most => tracing::debug!(%error, "not synced"),
                Fault::Unreachable => tracing::debug!(%error, "not synced"),
                _ => self.say(error.said()),
            },
        }
    }

    /// There is something that others may lack, and git too, and perhaps something to work on.
    fn news(&mut self, now: Time) {
        self.publish(now);
        // One save after the other does not put it off.
        self.work = self.work.min(now + AFTER);
    }

    fn publish(&mut self, now: Time) {
        self.todo.push_back(Act::Tell);
        self.git = Due::after(self.git, now, GIT.0, GIT.1);
        self.tidy = Some((now + self.profile.tidy.0).max(self.tidied));
    }

    /// What stands is said once; a look at all tells what no longer stands.
    fn warn(&mut self, warnings: Vec<String>) {
        for warning in warnings {
            if self.warned.insert(warning.clone()) {
                self.say(warning);
            }
        }
    }

    fn say(&mut self, what: String) {
        self.todo.push_back(Act::Say(what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acts(upkeep: &mut Upkeep) -> Vec<Act> {
        std::iter::from_fn(|| upkeep.act()).collect()
    }

    fn written(upkeep: &mut Upkeep, now: Time) {
        let taken = Taken::Done { view: View::new(), warnings: Vec::new(), came: false };
        upkeep.wrote(Ok(taken), now);
        acts(upkeep);
    }

    /// When it packs, looked at once a minute until `end`.
    fn tidies(upkeep: &mut Upkeep, from: u64, end: u64) -> Vec<u64> {
        let minutes = (from..end).filter(|minute| {
            upkeep.tick(Duration::from_secs(minute * 60));
            acts(upkeep).contains(&Act::Tidy)
        });
        minutes.collect()
    }

    #[test]
    fn it_packs_once_it_has_been_quiet_and_not_again_for_nothing() {
        let mut upkeep = Upkeep::new(Profile::PLUGGED);
        assert!(tidies(&mut upkeep, 0, 200).is_empty(), "nothing was written");
        written(&mut upkeep, Duration::from_secs(200 * 60));
        written(&mut upkeep, Duration::from_secs(205 * 60));
        assert_eq!(tidies(&mut upkeep, 205, 400), [215]);
        written(&mut upkeep, Duration::from_secs(400 * 60));
        assert_eq!(tidies(&mut upkeep, 400, 412), [410]);
        written(&mut upkeep, Duration::from_secs(412 * 60));
        assert_eq!(tidies(&mut upkeep, 412, 600), [470], "an hour after the last time");
    }

    #[test]
    fn others_hear_of_what_came_before_work_is_looked_at_and_nothing_puts_that_off() {
        let mut upkeep = Upkeep::new(Profile::PLUGGED);
        upkeep.tick(Time::ZERO);
        acts(&mut upkeep);
        upkeep.worked(Err("no work".into()), None, Time::ZERO);
        acts(&mut upkeep);
        let ms = Duration::from_millis;
        let taken = || Taken::Done { view: View::new(), warnings: Vec::new(), came: false };
        upkeep.wrote(Ok(taken()), ms(100));
        assert_eq!(acts(&mut upkeep).first(), Some(&Act::Tell));
        upkeep.tick(ms(105));
        assert!(!acts(&mut upkeep).contains(&Act::Work));
        upkeep.wrote(Ok(taken()), ms(109));
        upkeep.tick(ms(110));
        assert!(acts(&mut upkeep).contains(&Act::Work));
    }

    #[test]
    fn a_save_does_not_wait_for_what_came_beside_it_but_for_what_went() {
        let ms = Duration::from_millis;
        let saved = |path: &str| Seen { saved: [path.to_owned()].into(), ..Seen::default() };
        let of = |path: &str| Act::TakeIn([path.to_owned()].into());
        let mut upkeep = Upkeep::new(Profile::PLUGGED);
        upkeep.tick(Time::ZERO);
        acts(&mut upkeep);
        let save = |upkeep: &mut Upkeep, path: &str, now| {
            upkeep.see(saved(path), now);
            upkeep.seen_all();
            acts(upkeep)
        };
        assert_eq!(save(&mut upkeep, ".a.md.tmp", ms(10)), [of(".a.md.tmp")]);
        upkeep.took(Ok(Taken::Done { view: View::new(), warnings: Vec::new(), came: true }), ms(11));
        assert_eq!(save(&mut upkeep, "a.md", ms(12)), [of("a.md")], "what came is no reason to wait");
        upkeep.took(Ok(Taken::Unclear), ms(13));
        assert_eq!(save(&mut upkeep, "b.md", ms(14)), [], "what went is");
        upkeep.tick(ms(115));
        assert!(acts(&mut upkeep).contains(&Act::Look(BTreeSet::new())));
        assert_eq!(save(&mut upkeep, "b.md", ms(116)), [of("b.md")]);
    }

    #[test]
    fn it_packs_nothing_while_it_is_to_keep_quiet() {
        let mut upkeep = Upkeep::new(Profile::BATTERY);
        written(&mut upkeep, Time::ZERO);
        let with = |_: &DeviceId| false;
        let meet = |upkeep: &mut Upkeep, paused, now| {
            upkeep.met(Ok(Company::default()), &Reach { paused, finds: false, with: &with }, now);
        };
        meet(&mut upkeep, true, Time::ZERO);
        assert!(tidies(&mut upkeep, 0, 300).is_empty());
        meet(&mut upkeep, false, Duration::from_secs(300 * 60));
        assert_eq!(tidies(&mut upkeep, 300, 400).len(), 1);
    }
}
