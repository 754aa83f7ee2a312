//! The desk where work is done on this device: it drives the kernel, has its events recorded, has agents work and
//! effects performed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use aios_agents::agent::talk::{By, Look};
use aios_agents::agent::{Registry, Turn, retrieval};
use aios_agents::connector::{Kind, RECEIVED};
use aios_agents::event::{Came, Content, EffectKey, WorkEvent};
use aios_agents::failure::{Class, Failure};
use aios_agents::kernel::{
    Action, Begun, CreateError, Entry, Input, Kernel, Need, Next, Replay, ReplayError, Round, Saw, Wanted,
};
use aios_agents::letter::Letter;
use aios_agents::node::Front;
use aios_core::event::Event;
use aios_core::frontier::View;
use aios_core::id::{ContentHash, DeviceId};
use aios_core::item::Item;
use aios_vault::absorb::Absorbed;
use aios_vault::author::Draft;
use aios_vault::chance::{now_ms, random};
use aios_vault::disk::fault;
use aios_vault::entity;
use aios_vault::ledger::{self, Ledger};
use aios_vault::survey::Problem;
use aios_vault::work::{Happened, Reserved};
use aios_vault::{Error, Vault};
use serde_json::Value;
use tokio::sync::Notify;

use crate::checkpoint::{self, Checkpoint, Distance};
use crate::chronicler::{self, ACTOR, Chronicler};
use crate::files;
use crate::force::{self, Standing};
use crate::letterbox::{Letterbox, New};
use crate::looked;
use crate::lookup;
use crate::otlp;
use crate::post::{self, Post};
use crate::staff::{self, Doing, Order, Staff};

/// How often a letterbox is looked into, in ms.
pub const LOOK: u64 = 1_000;
/// The most that is recorded at once of what a model is shown, in bytes.
const MOST_AT_ONCE: usize = 256 * 1024;
/// When it is looked again whether a model has answered, in ms.
const SOON: u64 = 20;

/// The desk.
pub struct Desk {
    kernel: Kernel,
    standing: Standing,
    /// The records that the kernel was told of.
    view: View,
    /// Who works.
    staff: Staff,
    /// Whether it is waited for models to answer; else whoever works at the desk comes by again.
    patient: bool,
    /// The versions of agents that work beside those that were accepted last.
    editions: Wanted,
    /// How effects are performed, by capability.
    ways: BTreeMap<String, Kind>,
    post: Post,
    letterbox: Letterbox,
    /// When it was last remembered that the letterbox was looked into.
    looked: Option<u64>,
    ledger: Ledger,
    /// Whether files were written that are not in the folder yet.
    wrote: bool,
    /// Whether files were written that git may lack.
    unprojected: bool,
    /// When work goes on by itself.
    wake: Option<u64>,
    /// What a person should know.
    warnings: Vec<String>,
    /// Who keeps the notes of days, where somebody does.
    chronicler: Option<Chronicler>,
    /// How far what is remembered of work is behind.
    distance: Distance,
}

impl Desk {
    /// Loads all work of a vault.
    ///
    /// # Errors
    /// What the vault answers.
    pub fn set_up(vault: &mut Vault) -> Result<Desk, Error> {
        let _span = tracing::info_span!("load work").entered();
        let standing = Standing::of(vault)?;
        let view = vault.view().clone();
        let (checkpoint, happened) = since(vault, &standing)?;
        let mut warnings = Vec::new();
        let mut chronicler = None;
        for file in vault.in_force("agents")? {
            match Chronicler::read(&file) {
                Some(Ok(found)) => chronicler = Some(found),
                Some(Err(what)) => warnings.push(format!("{}: {what}", file.path)),
                None => {}
            }
        }
        let mut staff = Staff::of(vault)?;
        warnings.extend(staff.warnings());
        let post = Post::of(vault.root()).map_err(|e| Error::io("find", vault.root(), e))?;
        let letterbox = Letterbox::of(vault.root()).map_err(|e| Error::io("find", vault.root(), e))?;
        let mut began = force::began(&happened);
        let known = checkpoint.iter().flat_map(|it| it.image.began());
        began.extend(known.map(|(workflow, version)| (workflow.to_owned(), *version)));
        let mut setting = force::setting(vault, began, &standing, &mut warnings)?;
        setting.agents = staff.terms();
        let ways = force::connectors(vault, &mut setting, &standing, &post, &mut warnings)?;
        let seed: [u8; 32] = random()?;
        let seed = seed[..8].iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte));
        let mut distance = Distance::from(checkpoint.as_ref().map_or(0, |it| it.events));
        let mut kernel = match checkpoint {
            Some(it) => Kernel::from_image(vault.id(), vault.device(), setting, seed, it.image),
            None => Kernel::new(vault.id(), vault.device(), setting, seed),
        };
        distance.hear(&happened);
        for (stamp, events) in &happened {
            kernel.load(*stamp, events);
        }
        let ledger = vault.begun()?;
        kernel.remember(ledger.begun().iter().cloned().map(|it| Begun {
            key: EffectKey(it.key),
            attempt: it.attempt,
            at: it.at,
            what: it.what,
        }));
        if kernel.is_behind() {
            warnings.push(
                "this device has done what its log does not know: nothing goes out before `aios sync` has brought it, or `aios settle` said what came of it"
                    .into(),
            );
        }
        let owes = vault.owes_files()?;
        let mut desk = Desk {
            kernel,
            standing,
            view,
            staff,
            editions: Wanted::default(),
            patient: true,
            ways,
            post,
            letterbox,
            looked: None,
            ledger,
            // Who was killed before the folder showed what work wrote left that to whoever works next.
            wrote: owes,
            unprojected: owes || vault.owes_git()?,
            wake: None,
            warnings,
            chronicler,
            distance,
        };
        desk.equip(vault)?;
        desk.remember(vault);
        Ok(desk)
    }

    /// As [`Desk::set_up`], for whoever comes by again, called by `bell`, instead of waiting for models to answer.
    ///
    /// # Errors
    /// What the vault answers.
    pub fn set_up_to_come_by(vault: &mut Vault, bell: Arc<Notify>) -> Result<Desk, Error> {
        let mut desk = Desk { patient: false, ..Desk::set_up(vault)? };
        desk.staff.ring(bell);
        Ok(desk)
    }

    /// Has the next one begin from here, where much came since that was last done.
    fn remember(&mut self, vault: &Vault) {
        // A device that was left behind goes on as another.
        let same = vault.device() == self.standing.device && *vault.view() == self.view;
        if same
            && self.distance.is_far()
            && let Err(why) =
                checkpoint::write(vault, &self.standing, &self.view, &mut self.kernel, &mut self.distance)
        {
            tracing::warn!("what is known of work cannot be remembered: {why}");
        }
    }

    /// Has the versions of agents at hand that the operator said are to work.
    fn equip(&mut self, vault: &mut Vault) -> Result<(), Error> {
        let wanted = self.kernel.wanted_editions();
        if wanted != self.editions {
            let (work, rehearse) = self.staff.equip(vault, &wanted)?;
            self.kernel.equip(work, rehearse);
            self.editions = wanted;
            self.warnings.extend(self.staff.warnings());
        }
        Ok(())
    }

    /// Whether files were written since this was last asked.
    pub fn take_unprojected(&mut self) -> bool {
        std::mem::take(&mut self.unprojected)
    }

    /// Whether mails come in on this device.
    pub fn receives(&self) -> bool {
        let home = self.kernel.tables().homes().now(RECEIVED);
        self.ways.contains_key(RECEIVED) && home.is_none_or(|home| home == self.standing.device)
    }

    /// The kernel.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The agents in force.
    pub fn registry(&self) -> &Registry {
        self.staff.registry()
    }

    /// What is otherwise than files say, and works all the same.
    pub fn told(&self) -> impl Iterator<Item = &str> {
        self.staff.told()
    }

    /// When it is to be looked whether a program has ended; nothing where none works.
    pub fn look_again(&self) -> Option<u64> {
        let patience = u64::try_from(self.staff.patience()?.as_millis()).ok()?;
        Some(now_ms().saturating_add(patience))
    }

    /// When work goes on by itself.
    pub fn wake(&self) -> Option<u64> {
        self.wake
    }

    /// What a person should know, each once.
    pub fn warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// Takes in what other processes and devices have recorded.
    ///
    /// # Errors
    /// What the vault answers.
    pub fn catch_up(&mut self, vault: &mut Vault) -> Result<(), Error> {
        if *vault.view() == self.view && vault.device() == self.standing.device {
            return Ok(());
        }
        let happened = match Standing::of(vault)? == self.standing {
            true => vault.happened(&self.view)?,
            false => None,
        };
        let Some(happened) = happened else {
            let said = self.warnings();
            let (before, patient) = (self.standing.coordinator, self.patient);
            let mut was = std::mem::replace(self, Desk::set_up(vault)?);
            self.patient = patient;
            // Who is at work goes on, as it was in force when that began.
            self.staff.take_over(&mut was.staff);
            self.staff.under_way().for_each(|work| self.kernel.goes_on(work.clone()));
            // What this device looked at while another was to start it nobody may have started.
            if self.standing.coordinator != before {
                vault.set_looked(&View::new())?;
            }
            self.warnings.splice(..0, said);
            return Ok(());
        };
        self.view = vault.view().clone();
        self.distance.hear(&happened);
        for (stamp, events) in &happened {
            self.kernel.load(*stamp, events);
        }
        if let Some(chronicler) = self.chronicler.as_mut().filter(|_| !happened.is_empty()) {
            chronicler.heard();
        }
        self.equip(vault)
    }

    /// Looks at all work without carrying it on.
    pub fn look(&mut self) {
        self.wake = None;
        for action in self.kernel.handle(Input::Tick { now: now_ms() }) {
            if let Action::Wake(at) = action {
                self.wake = Some(at);
            }
        }
        self.kernel.forget();
    }

    /// Makes a task.
    ///
    /// # Errors
    /// What the vault answers; inside, why there can be no such task.
    pub fn create(
        &mut self,
        vault: &mut Vault,
        task: &str,
        workflow: &str,
        input: Value,
        on: Option<DeviceId>,
    ) -> Result<Result<(), CreateError>, Error> {
        self.go_on(vault)?;
        self.kernel.handle(Input::Tick { now: now_ms() });
        match self.kernel.create(task, workflow, input, on) {
            Ok(event) => {
                self.record(
                    vault,
                    Draft { actor: "aios".into(), message: "task.created".into(), ..Draft::default() },
                    &[event],
                )?;
                Ok(Ok(()))
            }
            Err(why) => Ok(Err(why)),
        }
    }

    /// Has it recorded what the operator says.
    ///
    /// # Errors
    /// What the vault answers.
    pub fn says(&mut self, vault: &mut Vault, message: &str, events: &[WorkEvent]) -> Result<(), Error> {
        self.go_on(vault)?;
        self.record(vault, Draft::operator(message), events)
    }

    /// The bytes that go out for an effect.
    ///
    /// # Errors
    /// Why nothing would go out.
    pub fn preview(&self, key: EffectKey, content: &Content) -> Result<String, Failure> {
        match self.ways.get(&content.capability) {
            Some(Kind::Outbox | Kind::Maildir) => post::mail(key, content),
            Some(Kind::Files | Kind::Inbox) => serde_json::to_string_pretty(content)
                .map_err(|e| Failure::new(Class::Permanent, e.to_string())),
            None => {
                let what = format!("no connector can `{}`", content.capability);
                Err(Failure::new(Class::LostContext, what))
            }
        }
    }

    fn record(&mut self, vault: &mut Vault, mut draft: Draft, work: &[WorkEvent]) -> Result<(), Error> {
        let events = events(work)?;
        events.iter().for_each(|event| draft.push(Item::Event(event.clone())));
        let stamp = vault.author_events(draft)?;
        self.distance.add(events.len());
        self.view = vault.view().clone();
        self.kernel.load(stamp, &events);
        Ok(())
    }

    /// Carries on all work as far as it goes now.
    ///
    /// # Errors
    /// What the vault answers.
    pub fn carry_on(&mut self, vault: &mut Vault) -> Result<(), Error> {
        let _span = tracing::info_span!("work").entered();
        self.go_on(vault)?;
        self.equip(vault)?;
        loop {
            let more = self.receive(vault)?;
            self.look_at_entities(vault)?;
            self.wake = None;
            let actions = self.kernel.handle(Input::Tick { now: now_ms() });
            self.drive(vault, actions)?;
            // What work wrote may start work.
            if !more && !std::mem::take(&mut self.wrote) {
                self.keep_journal(vault)?;
                self.remember(vault);
                return Ok(());
            }
            let shown = vault.show_on_disk(Absorbed::default(), &mut |_, _, _| {})?;
            let problem = |it: &Problem| format!("{}: {}", it.path, it.problem);
            self.warnings.extend(shown.problems().map(problem));
        }
    }

    /// Has each mail that came become an event, once; whether there may be more of them.
    fn receive(&mut self, vault: &mut Vault) -> Result<bool, Error> {
        if !self.receives() {
            return Ok(false);
        }
        let mails = match self.letterbox.new_ones() {
            Ok(mails) => mails,
            Err(e) => {
                self.warnings.push(format!("{}: {e}", self.letterbox.folder().display()));
                return Ok(false);
            }
        };
        if let Err(e) = looked::note(vault.own_folder(), &mut self.looked, now_ms()) {
            self.warnings.push(format!("that mails were looked for cannot be remembered: {e}"));
        }
        let mut any = false;
        for New { name, letter } in mails {
            match letter {
                Some(Letter { id, data }) if self.kernel.tables().outside(RECEIVED, &id).is_none() => {
                    let event = WorkEvent::EventEmitted {
                        name: RECEIVED.into(),
                        id,
                        data,
                        untrusted: true,
                        from: None,
                        hops: 0,
                    };
                    let message = format!("Event {RECEIVED}");
                    self.record(
                        vault,
                        Draft { actor: "aios".into(), message, ..Draft::default() },
                        &[event],
                    )?;
                    any = true;
                }
                Some(_) => {}
                None => self.warnings.push(format!(
                    "{}: `{name}` is no mail that can be read; it lies in `cur`",
                    self.letterbox.folder().display()
                )),
            }
            // Only now: who is killed before tells it again, and it is one event.
            fault::point("inbox.told")
                .and_then(|()| self.letterbox.told(&name))
                .map_err(|e| Error::io("move", self.letterbox.folder(), e))?;
        }
        Ok(any)
    }

    /// Has the notes of days that are over say what was done.
    fn keep_journal(&mut self, vault: &mut Vault) -> Result<(), Error> {
        let Some(chronicler) = &mut self.chronicler else { return Ok(()) };
        let now = now_ms();
        let (pages, wake) = chronicler.look(&self.kernel, now);
        self.wake = self.wake.into_iter().chain(wake).min();
        for page in pages {
            // While a rebase or merge is open nothing is written; it is tried again.
            let Some(problems) = chronicler::write(vault, &page)? else { return Ok(()) };
            self.warnings.extend(problems.into_iter().map(|it| format!("{}: {}", it.path, it.problem)));
            let message = format!("journal.written: {}", page.day);
            self.record(vault, Draft { actor: ACTOR.into(), message, ..Draft::default() }, &[page.written])?;
        }
        if let Some(chronicler) = &mut self.chronicler {
            chronicler.is_done(now);
        }
        Ok(())
    }

    /// Starts what entities start that were made or changed since this was last looked for.
    fn look_at_entities(&mut self, vault: &mut Vault) -> Result<(), Error> {
        let looked = vault.looked()?;
        let view = vault.documented()?;
        if looked == view {
            return Ok(());
        }
        let saw = match self.kernel.watches() {
            Some(since) => vault.saw(&looked, &view, since)?,
            None => Vec::new(),
        };
        for entity::Saw { record, at, doc, path, made, text, run } in saw {
            let Ok(front) = Front::read(&text) else { continue };
            let fields = front.root.to_value();
            let saw = Saw { doc: doc.hex(), record: record.hex(), at, path, made, fields, run };
            let created = self.kernel.saw(&saw);
            if !created.is_empty() {
                let message = format!("task.created: {}", saw.path);
                self.record(vault, Draft { actor: "aios".into(), message, ..Draft::default() }, &created)?;
            }
        }
        // Only now: who is killed before looks again, and finds the tasks that are there.
        vault.set_looked(&view)
    }

    /// Nothing is done in the name of a device whose folder was left behind.
    fn go_on(&mut self, vault: &mut Vault) -> Result<(), Error> {
        self.warnings.extend(vault.go_on()?);
        self.catch_up(vault)
    }

    fn drive(&mut self, vault: &mut Vault, actions: Vec<Action>) -> Result<(), Error> {
        let mut round = Round::default();
        round.add(actions);
        loop {
            self.act(vault, &mut round)?;
            self.staff.post(now_ms());
            match self.staff.ended(self.patient) {
                Some((came, order)) => {
                    let came = self.further(vault, came, order);
                    round.add(self.kernel.handle(came));
                }
                None => break,
            }
        }
        self.warnings.extend(self.staff.warnings());
        let soon = self.staff.waits().then(|| now_ms() + SOON);
        self.wake = self.wake.into_iter().chain(soon).chain(self.staff.due()).min();
        Ok(())
    }

    /// Does all that is to be done now.
    fn act(&mut self, vault: &mut Vault, round: &mut Round) -> Result<(), Error> {
        let done = self.act_all(vault, round);
        // Whoever gets the vault after this may send the records, also where something went wrong after them.
        vault.settle_memory().and(done)
    }

    fn act_all(&mut self, vault: &mut Vault, round: &mut Round) -> Result<(), Error> {
        let mut place = None;
        self.trust(vault)?;
        while let Some(next) = round.next(&mut self.kernel).map_err(|e| Error::Usage(e.to_string()))? {
            match next {
                Next::Reserve => round.begin(place.insert(vault.reserve()?).stamp),
                Next::Write(entry) => {
                    self.trust(vault)?;
                    self.write(vault, place.take(), entry)?;
                }
                Next::Do(action) => {
                    if let Some(input) = self.take_on(vault, action) {
                        round.add(self.kernel.handle(input));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether what is known of work could be read. Where not nothing more is done: the next desk folds all anew.
    fn trust(&self, vault: &Vault) -> Result<(), Error> {
        match self.kernel.fault() {
            None => Ok(()),
            Some(why) => Err(Error::io(
                "read",
                &checkpoint::path(vault.own_folder()),
                io::Error::other(why.to_owned()),
            )),
        }
    }

    /// Writes what was decided together; from here on it lasts.
    fn write(&mut self, vault: &mut Vault, place: Option<Reserved>, entry: Entry) -> Result<(), Error> {
        let Some(place) = place else { return Err(Error::Usage("no place was reserved".into())) };
        let mut runs: Vec<&str> = entry.work.iter().filter_map(WorkEvent::run).collect();
        runs.dedup();
        let run = (runs.len() == 1).then(|| runs[0].to_owned());
        let message = happened(entry.events.iter().map(Event::name));
        let mut draft = Draft { actor: "aios".into(), message, run, ..Draft::default() };
        entry.events.into_iter().for_each(|event| draft.push(Item::Event(event)));
        tracing::info_span!("record", aios.events = entry.work.len())
            .in_scope(|| vault.author_at(place, draft))?;
        self.distance.add(entry.work.len());
        if otlp::is_on() {
            self.tell(&entry.work);
        }
        self.view = vault.view().clone();
        Ok(())
    }

    /// Tells whoever collects spans of the runs that ended, or came to where they cannot go on.
    fn tell(&self, work: &[WorkEvent]) {
        for event in work {
            if let WorkEvent::RunEnded { task, .. } | WorkEvent::RunStuck { task, .. } = event {
                otlp::send(self.kernel.trail(task));
            }
        }
    }

    /// Does what is to be done; what came of it, where that is known already.
    fn take_on(&mut self, vault: &mut Vault, action: Action) -> Option<Input> {
        match action {
            Action::Start { work, agent, version, input, outside, since, turns } => {
                let task = self.kernel.tables().task(&work.task);
                let rehearses = task.is_some_and(|task| task.rehearsal.is_some());
                let order = Order { work, agent, version, input, outside, since, turns, rehearses };
                return self.start(vault, order);
            }
            Action::Perform { key, attempt, content } => {
                let span = tracing::info_span!(
                    "execute_tool",
                    gen_ai.operation.name = "execute_tool",
                    gen_ai.tool.name = content.capability,
                    error.type = tracing::field::Empty,
                );
                let came = span.in_scope(|| self.perform(vault, key, attempt, &content));
                if let Came::Failed { failure } = &came {
                    span.record("error.type", failure.class.name());
                }
                return Some(Input::Performed { key, attempt, came });
            }
            Action::Find { work, query } => {
                let outside = |path: &str, doc: &str| self.kernel.is_file_untrusted(path, doc);
                let came = files::find(vault, &query, outside);
                return Some(Input::Worked { work, came });
            }
            Action::Wake(at) => self.wake = Some(self.wake.map_or(at, |wake| wake.min(at))),
            Action::Show(need) => self.warnings.extend(trouble(&need)),
            Action::Stop(work) => self.staff.stop(&work),
            Action::Withdraw(batched) => self.staff.withdraw(&batched),
            // A round has it recorded.
            Action::Append(_) => {}
        }
        None
    }

    /// Has an agent work; what came of it, where that is known already.
    fn start(&mut self, vault: &mut Vault, order: Order) -> Option<Input> {
        if let Err(e) = self.staff.recall(vault, &order) {
            let what = format!("the version of agent `{}` that began cannot be read: {e}", order.agent);
            let failure = Failure::new(Class::LostContext, what);
            return Some(Input::Worked { work: order.work, came: Err(failure) });
        }
        match self.staff.carry_on(&order) {
            Doing::Came(came) => Some(came),
            Doing::Asked => None,
            Doing::Look(by, call, look) => {
                let turn = match (self.recalled(&order, &by, &call), look) {
                    (Some(turn), _) => turn,
                    (None, Look::Address(address)) => {
                        let failure = self.staff.look(&order, by, call, address).err()?;
                        return Some(Input::Worked { work: order.work, came: Err(failure) });
                    }
                    (None, look) => self.looks(vault, &order, &by, call, &look)?,
                };
                Some(Input::Took { work: order.work, turns: vec![turn] })
            }
        }
    }

    /// What came of a call in the episode that is done once more, where one is.
    fn recalled(&self, order: &Order, by: &By, call: &str) -> Option<Turn> {
        if order.turns.is_empty() && call == retrieval::CALL {
            return self.kernel.shown_then(&order.work.task);
        }
        let asked = order.turns.iter().rev().find_map(|turn| match turn.innermost() {
            Turn::Answered { answer, .. } => answer.calls.iter().rfind(|it| it.id == call),
            _ => None,
        });
        Some(by.took(self.kernel.recalled(&order.work.task, asked?)?))
    }

    /// Looks something up in the vault, for whom a piece of work comes to.
    fn looks(&self, vault: &mut Vault, order: &Order, by: &By, call: String, look: &Look) -> Option<Turn> {
        let entry = self.staff.entry(&order.agent, order.version.as_ref())?;
        let agent = &by.entry(entry)?.agent;
        let outside = |path: &str, doc: &str| self.kernel.is_file_untrusted(path, doc);
        Some(by.took(lookup::look(vault, agent, call, look, outside)))
    }

    /// What follows from an answer without anybody being asked, and before anything happens, is recorded with it.
    fn further(&self, vault: &mut Vault, came: Input, order: Option<Order>) -> Input {
        let (Input::Took { work, turns }, Some(mut order)) = (came.clone(), order) else { return came };
        let before = order.turns.len();
        order.turns.extend(turns);
        let mut length = 0;
        while length < MOST_AT_ONCE {
            let turn = match self.staff.at_once(&order) {
                Some(Doing::Came(Input::Took { turns, .. })) => turns.into_iter().next(),
                Some(Doing::Look(by, call, look)) => {
                    let recalled = self.recalled(&order, &by, &call);
                    recalled.or_else(|| self.looks(vault, &order, &by, call, &look))
                }
                _ => None,
            };
            let Some(turn) = turn else { break };
            if let Turn::Came { text, .. } = turn.innermost() {
                length += text.len();
            }
            order.turns.push(turn);
        }
        Input::Took { work, turns: order.turns.split_off(before) }
    }

    /// Replays a task against its journal. Agents work with the files in force; with `version`, the agent that once had that one in force
    /// works with it.
    ///
    /// # Errors
    /// What the vault answers; inside, why there is nothing to replay.
    pub fn replay(
        &self,
        vault: &mut Vault,
        task: &str,
        version: Option<&ContentHash>,
    ) -> Result<Result<Replay, ReplayError>, Error> {
        let registry = match version {
            Some(version) => self.staff.with_version(vault, version)?,
            None => self.staff.registry().clone(),
        };
        Ok(self.kernel.replay(task, &mut |past| {
            // The version that did it, where that works still; else the one that was accepted last.
            let same = past.version.filter(|_| version.is_none());
            let did = same.and_then(|version| self.staff.entry(past.agent, Some(&version)));
            let entry = did.or_else(|| registry.agents.get(past.agent))?;
            staff::again(Some(&self.staff), entry, past.agent, past.input, past.turns)
        }))
    }

    /// Changes the world. That it is about to happen stands in the log already; then it stands in the ledger; then it happens (I10).
    fn perform(&mut self, vault: &mut Vault, key: EffectKey, attempt: u32, content: &Content) -> Came {
        let not_begun = |class, what| Came::Failed { failure: Failure::new(class, what) };
        let Some(kind) = self.ways.get(&content.capability) else {
            return not_begun(Class::LostContext, format!("no connector here can `{}`", content.capability));
        };
        let what = format!("{} to {}", content.capability, content.target);
        let begun = ledger::Begun { key: key.0, attempt, at: now_ms(), what };
        let before = match self.ledger.note(begun) {
            Ok(before) => before,
            Err(e) => return not_begun(Class::Transient, format!("nothing was begun: {e}")),
        };
        match kind {
            Kind::Outbox => self.post.put(key, content),
            Kind::Maildir => self.post.deliver(key, content),
            Kind::Files => {
                (self.wrote, self.unprojected) = (true, true);
                let proposed = self.kernel.tables().effect(&key).and_then(|it| it.proposed.as_ref());
                let run = proposed.map(|it| it.run.clone());
                files::perform(vault, &files::Deed { key, run, content, before })
            }
            Kind::Inbox => not_begun(Class::Permanent, "mails come in by it, and none go out".into()),
        }
    }
}

/// What a person should hear of without asking: what went wrong, and not what only waits for a decision.
fn trouble(need: &Need) -> Option<String> {
    let what = match need {
        Need::Unknown { content, .. } => {
            format!("{} to {} may have happened, or not", content.capability, content.target)
        }
        Need::Dead { task, step, failure, .. } => {
            format!("step {step} of task {task} failed for good: {failure}")
        }
        Need::Worse { agent, why, .. } => {
            format!("the new version of agent {agent} has no more tasks: {why}")
        }
        Need::Unfit { workflow, what } => format!("workflow {workflow} does not start: {what}"),
        Need::Missing { task, what } => format!("task {task} waits: {what}"),
        Need::Lost { .. }
        | Need::Refused { .. }
        | Need::Approval { .. }
        | Need::Question { .. }
        | Need::Elsewhere { .. }
        | Need::Later { .. } => return None,
    };
    Some(format!("{what}; see `aios inbox`"))
}

/// What this device remembers of work, and the records that came since.
fn since(vault: &mut Vault, standing: &Standing) -> Result<(Option<Checkpoint>, Vec<Happened>), Error> {
    if let Some(checkpoint) = checkpoint::read(vault, standing)
        && let Some(happened) = vault.happened(&checkpoint.view)?
    {
        return Ok((Some(checkpoint), happened));
    }
    // What does not count any more is in what was remembered.
    Ok((None, vault.happened(&View::new())?.unwrap_or_default()))
}

/// The names of events for people: each once, with how many there are.
fn happened(names: impl Iterator<Item = String>) -> String {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for name in names {
        match counts.iter_mut().find(|(other, _)| *other == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    let told = counts.into_iter().map(|(name, count)| match count {
        1 => name,
        _ => format!("{count} {name}"),
    });
    told.collect::<Vec<String>>().join(", ")
}

fn events(work: &[WorkEvent]) -> Result<Vec<Event>, Error> {
    work.iter().map(Event::try_from).collect::<Result<_, _>>().map_err(|e| Error::Usage(e.to_string()))
}
