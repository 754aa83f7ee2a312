//! The vault and the desk of one command: what it records, and who then carries on the work.

use std::time::{Duration, Instant};

use aios_agents::agent::Registry;
use aios_agents::event::{Aggregate, Content, EffectKey, WorkEvent};
use aios_agents::failure::Failure;
use aios_agents::kernel::{CreateError, Kernel, Need, Replay};
use aios_agents::table::Task;
use aios_core::id::{ContentHash, DeviceId};
use aios_sync::control::{Answer, Client, Request};
use aios_vault::Vault;
use aios_vault::absorb::Absorbed;
use aios_vault::chance::now_ms;
use serde_json::Value;

use crate::command::written;
use crate::context::Context;
use crate::desk::Desk;
use crate::error::CliError;
use crate::ui::Ui;

/// How long a command waits for work that goes on by itself.
const PATIENCE: u64 = 30_000;
/// How often it is looked whether the daemon's programs have ended, in ms.
const GLANCE: u64 = 50;
/// How often it is looked whether what is waited for is over.
const LOOK: Duration = Duration::from_millis(250);
/// How long the daemon may take to carry on all work.
const ANSWER: Duration = Duration::from_secs(300);

/// Where work stands after it was carried on.
struct Stand {
    /// When it goes on by itself.
    wake: Option<u64>,
    /// Whether somebody is at work in the daemon.
    at_work: bool,
}

/// An open vault with its desk.
pub struct Office {
    vault: Vault,
    desk: Desk,
}

impl Office {
    /// Opens the vault and loads all work in it.
    pub fn open(cx: &Context, ui: &mut Ui) -> Result<Office, CliError> {
        let mut vault = cx.open()?;
        let mut desk = Desk::set_up(&mut vault)?;
        desk.warnings().iter().for_each(|warning| ui.warn(warning, None));
        Ok(Office { vault, desk })
    }

    /// The kernel.
    pub fn kernel(&self) -> &Kernel {
        self.desk.kernel()
    }

    /// What is otherwise than files say, and works all the same.
    pub fn told(&self) -> impl Iterator<Item = &str> {
        self.desk.told()
    }

    /// The agents in force.
    pub fn registry(&self) -> &Registry {
        self.desk.registry()
    }

    /// The vault.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The vault, without the desk.
    pub fn into_vault(self) -> Vault {
        self.vault
    }

    /// The vault, to ask it more.
    pub fn vault_mut(&mut self) -> &mut Vault {
        &mut self.vault
    }

    /// What work needs the operator for, most urgent first, on whichever device.
    pub fn needs(&self) -> Vec<Need> {
        needs(self.kernel())
    }

    /// When work goes on by itself.
    pub fn wake(&self) -> Option<u64> {
        self.desk.wake()
    }

    /// Looks at all work without carrying it on.
    pub fn look(&mut self) {
        self.desk.look();
    }

    /// The bytes that go out for an effect, or why nothing would.
    pub fn preview(&self, key: EffectKey, content: &Content) -> Result<String, Failure> {
        self.desk.preview(key, content)
    }

    /// Replays a task against its journal; changes nothing.
    pub fn replay(&mut self, task: &str, version: Option<&ContentHash>) -> Result<Replay, CliError> {
        let replayed = self.desk.replay(&mut self.vault, task, version)?;
        replayed.map_err(|why| CliError::failed(why.to_string(), "`aios tasks` lists what there is"))
    }

    /// Makes a task and carries on all work.
    pub fn create(
        mut self,
        task: &str,
        workflow: &str,
        input: Value,
        on: Option<DeviceId>,
    ) -> Result<Office, CliError> {
        let made = self.desk.create(&mut self.vault, task, workflow, input, on)?;
        made.map_err(|why| {
            let hint = match &why {
                CreateError::NoWorkflow(name) if self.has_mistakes(name) => {
                    "its file has mistakes: `aios workflow check` names them; then `aios accept`".into()
                }
                CreateError::NoWorkflow(_) => {
                    "`aios accept` puts what is in `workflows` and `agents` in force".into()
                }
                CreateError::Input(_) => "give it with `--input KEY=VALUE`".into(),
                CreateError::Unknown { takes, .. } => format!("it takes {}", takes.join(", ")),
                CreateError::Exists(_) => "`aios tasks` lists them".to_owned(),
            };
            CliError::failed(why.to_string(), hint)
        })?;
        self.carry_on_about(&[task.to_owned()])
    }

    /// Whether the file of a workflow is in force and cannot be read.
    fn has_mistakes(&mut self, workflow: &str) -> bool {
        let path = format!("workflows/{workflow}.md");
        written::wrong_in_force(&mut self.vault).is_ok_and(|wrong| wrong.iter().any(|it| it.path == path))
    }

    /// Has it recorded what the operator says, and carries on all work.
    pub fn says(mut self, message: &str, events: &[WorkEvent]) -> Result<Office, CliError> {
        self.desk.says(&mut self.vault, message, events)?;
        let about = |event: &WorkEvent| match event.aggregate() {
            Aggregate::Task(task) => Some(task.to_owned()),
            Aggregate::Effect(key) => {
                Some(self.kernel().tables().effect(key)?.proposed.as_ref()?.task.clone())
            }
            _ => None,
        };
        let tasks: Vec<String> = events.iter().filter_map(about).collect();
        self.carry_on_about(&tasks)
    }

    /// Carries on all work as far as it goes now, and what goes on soon.
    pub fn carry_on(self) -> Result<Office, CliError> {
        self.carry_on_about(&[])
    }

    /// Goes on until these tasks rest, or for some time.
    pub fn carry_on_with(self, tasks: &[String]) -> Result<Office, CliError> {
        self.carry_on_about(tasks)
    }

    /// Goes on until a task is over or needs somebody, also where a timer or another device has to come first; not where nobody would hear
    /// of it: another device is heard through a daemon alone.
    pub fn wait_for(mut self, task: &str) -> Result<Office, CliError> {
        let only = [task.to_owned()];
        loop {
            self = self.carry_on_about(&only)?;
            if self.rests(task) || !(self.is_at_work() || self.wake().is_some()) {
                return Ok(self);
            }
            let Office { vault, mut desk } = self;
            // Nobody waits for the vault meanwhile.
            let resting = vault.rest().ok_or_else(not_locked)?;
            std::thread::sleep(LOOK);
            let mut vault = resting.wake()?;
            desk.catch_up(&mut vault)?;
            self = Office { vault, desk };
        }
    }

    /// Goes on while something is to be waited for that another device says, for some time; not where nobody would hear of it.
    pub fn wait_while(mut self, most: Duration, waits: impl Fn(&Kernel) -> bool) -> Result<Office, CliError> {
        let late = Instant::now() + most;
        while waits(self.kernel()) && self.is_at_work() && Instant::now() < late {
            let Office { vault, mut desk } = self;
            let resting = vault.rest().ok_or_else(not_locked)?;
            std::thread::sleep(LOOK);
            let mut vault = resting.wake()?;
            desk.catch_up(&mut vault)?;
            desk.look();
            self = Office { vault, desk };
        }
        Ok(self)
    }

    /// Whether somebody else is at work: a daemon goes on with what is not over.
    pub fn is_at_work(&self) -> bool {
        Client::connect(self.vault.own_folder()).is_some()
    }

    /// As [`Office::carry_on`]. Who is at work in the daemon is waited for where one of these tasks does not rest, or none is named.
    fn carry_on_about(mut self, tasks: &[String]) -> Result<Office, CliError> {
        let late = now_ms().saturating_add(PATIENCE);
        loop {
            let stand;
            (self, stand) = self.once()?;
            let now = now_ms();
            let rest = !tasks.is_empty() && tasks.iter().all(|task| self.rests(task));
            let beside = (stand.at_work && !rest && now < late).then_some(now + GLANCE);
            let soon = stand.wake.filter(|at| *at <= now.saturating_add(PATIENCE));
            // Who is at work in this process ends with it.
            match soon.into_iter().chain(beside).chain(self.desk.look_again()).min() {
                Some(at) => std::thread::sleep(Duration::from_millis(at.saturating_sub(now).max(1))),
                None => return Ok(self),
            }
        }
    }

    /// Whether a task is over, or waits for somebody.
    fn rests(&self, task: &str) -> bool {
        let found = self.kernel().tables().task(task);
        let over = |it: &Task| it.ended.is_some() || it.runs.values().any(|run| run.stuck.is_some());
        found.is_none_or(over) || self.kernel().tables().is_paused(task) || self.kernel().is_waited_for(task)
    }

    /// Has the daemon carry on all work where one runs, so that one process alone performs effects; else does it here.
    fn once(self) -> Result<(Office, Stand), CliError> {
        let Office { mut vault, mut desk } = self;
        let Some(daemon) = Client::connect(vault.own_folder()) else {
            desk.carry_on(&mut vault)?;
            if desk.take_unprojected() {
                vault.finish(Absorbed::default(), &mut |_, _, _| {})?;
                desk.catch_up(&mut vault)?;
            }
            let stand = Stand { wake: desk.wake(), at_work: false };
            return Ok((Office { vault, desk }, stand));
        };
        let resting = vault.rest().ok_or_else(not_locked)?;
        let worked = ask(daemon);
        let mut vault = resting.wake()?;
        let stand = worked?;
        desk.catch_up(&mut vault)?;
        desk.look();
        Ok((Office { vault, desk }, stand))
    }
}

fn not_locked() -> CliError {
    CliError::failed("the vault is not locked", "report this")
}

fn needs(kernel: &Kernel) -> Vec<Need> {
    let mut out: Vec<Need> = kernel.inbox().into_iter().cloned().collect();
    out.extend(kernel.needed_elsewhere());
    out.sort_by_key(Need::rank);
    out
}

/// What work in a vault needs the operator for.
pub fn needs_of(vault: &mut Vault) -> Result<Vec<Need>, aios_vault::Error> {
    let mut desk = Desk::set_up(vault)?;
    desk.look();
    Ok(needs(desk.kernel()))
}

fn ask(mut daemon: Client) -> Result<Stand, CliError> {
    daemon.ask(&Request::Work, Some(ANSWER))?;
    match daemon.answer()? {
        Answer::Worked { wake, at_work } => Ok(Stand { wake, at_work }),
        _ => Err(CliError::failed("the daemon answered something else", "stop `aios up` and start it again")),
    }
}
