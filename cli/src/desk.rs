//! The desk where work is done on this device: it drives the kernel, has its events recorded, runs agents from templates, and puts what
//! goes out into a folder beside the vault.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aios_agents::event::{Came, Content, EffectKey, WorkEvent};
use aios_agents::expression::render;
use aios_agents::failure::{Class, Failure};
use aios_agents::kernel::{Action, Connector, CreateError, Input, Kernel, Setting};
use aios_agents::node::Front;
use aios_agents::policy::{Policies, Policy};
use aios_agents::workflow::{Known, Workflow};
use aios_core::clock::Stamp;
use aios_core::event::Event;
use aios_core::id::ContentHash;
use aios_core::item::Item;
use aios_core::member::APPROVE;
use aios_vault::Vault;
use aios_vault::author::Draft;
use aios_vault::disk::durable;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::command::written::stem;
use crate::context::Context;
use crate::error::CliError;
use crate::ui::Ui;

/// How long a command waits for work that goes on by itself.
const PATIENCE: u64 = 30_000;

/// The desk.
pub struct Desk {
    vault: Vault,
    kernel: Kernel,
    /// The templates of agents, by name.
    templates: BTreeMap<String, String>,
    outbox: PathBuf,
    /// When work goes on by itself.
    wake: Option<u64>,
}

impl Desk {
    /// Opens the vault and loads all work in it.
    pub fn open(cx: &Context, ui: &mut Ui) -> Result<Desk, CliError> {
        let mut vault = cx.open()?;
        let happened = vault.happened()?;
        let setting = setting(&mut vault, &happened, ui)?;
        let mut templates = BTreeMap::new();
        for file in vault.in_force("agents")? {
            match Front::read(&file.text) {
                Ok(front) if front.root.get("runtime").and_then(|it| it.as_text()) == Some("template") => {
                    templates.insert(stem(&file.path), front.body);
                }
                _ => {
                    ui.warn(format!("{}: only agents with `runtime: template` can work yet", file.path), None)
                }
            }
        }
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|e| CliError::io("get random numbers", e.into()))?;
        let mut kernel = Kernel::new(vault.id(), vault.device(), setting, u64::from_le_bytes(seed));
        for (stamp, events) in &happened {
            kernel.load(*stamp, events);
        }
        let root = std::path::absolute(vault.root()).map_err(|e| CliError::io("find the vault", e))?;
        let name = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let outbox = root.with_file_name(format!("{name}.outbox"));
        Ok(Desk { vault, kernel, templates, outbox, wake: None })
    }

    /// The kernel.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The vault.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// When work goes on by itself.
    pub fn wake(&self) -> Option<u64> {
        self.wake
    }

    /// Looks at all work without carrying it on.
    pub fn look(&mut self) {
        self.wake = None;
        for action in self.kernel.handle(Input::Tick { now: now() }) {
            if let Action::Wake(at) = action {
                self.wake = Some(at);
            }
        }
    }

    /// Makes a task and carries on all work.
    pub fn create(&mut self, task: &str, workflow: &str, input: Value) -> Result<(), CliError> {
        let hint = |e: &CreateError| match e {
            CreateError::NoWorkflow(_) => "`aios accept` puts what is in `workflows` in force",
            CreateError::Input(_) => "give it with `--input KEY=VALUE`",
            CreateError::Exists(_) => "`aios tasks` lists them",
        };
        self.kernel.handle(Input::Tick { now: now() });
        let actions = self.kernel.create(task, workflow, input);
        let actions = actions.map_err(|e| CliError::failed(e.to_string(), hint(&e)))?;
        self.drive(actions)?;
        self.carry_on()
    }

    /// Has it recorded what the operator says, and carries on all work.
    pub fn says(&mut self, message: &str, event: &WorkEvent) -> Result<(), CliError> {
        let mut draft = Draft::operator(message);
        let event = Event::try_from(event).map_err(|e| CliError::failed(e.to_string(), "report this"))?;
        draft.push(Item::Event(event.clone()));
        let stamp = self.vault.author_events(draft)?;
        self.kernel.load(stamp, &[event]);
        self.carry_on()
    }

    /// Carries on all work as far as it goes now.
    pub fn carry_on(&mut self) -> Result<(), CliError> {
        loop {
            self.wake = None;
            let actions = self.kernel.handle(Input::Tick { now: now() });
            self.drive(actions)?;
            match self.wake {
                Some(at) if at <= now().saturating_add(PATIENCE) => {
                    std::thread::sleep(Duration::from_millis(at.saturating_sub(now()).max(1)));
                }
                _ => return Ok(()),
            }
        }
    }

    fn drive(&mut self, actions: Vec<Action>) -> Result<(), CliError> {
        let mut queue = VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            let input = match action {
                Action::Append(events) => self.append(&events)?,
                Action::Start { work, agent, input } => {
                    let came = self.work(&agent, &input);
                    Input::Worked { work, came }
                }
                Action::Perform { key, attempt, content } => {
                    let came = match perform(&self.outbox, key, &content) {
                        Ok(result) => Came::Done { result },
                        Err(failure) => Came::Failed { failure },
                    };
                    Input::Performed { key, attempt, came }
                }
                Action::Wake(at) => {
                    self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
                    continue;
                }
                Action::Stop(_) | Action::Show(_) => continue,
            };
            queue.extend(self.kernel.handle(input));
        }
        Ok(())
    }

    fn append(&mut self, work: &[WorkEvent]) -> Result<Input, CliError> {
        let events: Result<Vec<Event>, _> = work.iter().map(Event::try_from).collect();
        let events = events.map_err(|e| CliError::failed(e.to_string(), "report this"))?;
        let names: Vec<String> = events.iter().map(Event::name).collect();
        let run = work.iter().find_map(WorkEvent::run).map(str::to_owned);
        let mut draft = Draft { actor: "aios".into(), message: names.join(", "), run, ..Draft::default() };
        events.iter().for_each(|event| draft.push(Item::Event(event.clone())));
        let stamp = self.vault.author_events(draft)?;
        Ok(Input::Recorded { stamp, events })
    }

    fn work(&self, agent: &str, input: &Value) -> Result<Value, Failure> {
        let Some(template) = self.templates.get(agent) else {
            return Err(Failure::new(Class::LostContext, format!("no agent `{agent}` is in force here")));
        };
        let text = render(template, &json!({"input": input}));
        let text = text.map_err(|e| Failure::new(Class::Permanent, e.to_string()))?;
        Ok(json!({"text": text}))
    }
}

/// What is in force, and every version that a task began with.
fn setting(vault: &mut Vault, happened: &[(Stamp, Vec<Event>)], ui: &mut Ui) -> Result<Setting, CliError> {
    let mut setting = Setting::default();
    for file in vault.in_force("workflows")? {
        match Workflow::read(&file.text, &Known::default()) {
            Ok(workflow) => {
                setting.current.insert(stem(&file.path), file.version);
                setting.versions.insert(file.version, workflow);
            }
            Err(_) => ui.warn(format!("{} has mistakes", file.path), Some("see `aios workflow check`")),
        }
    }
    let began =
        happened.iter().flat_map(|(_, events)| events).filter_map(|event| match WorkEvent::try_from(event) {
            Ok(WorkEvent::TaskCreated { workflow, version, .. }) => Some((workflow, version)),
            _ => None,
        });
    for (workflow, version) in began {
        if !setting.versions.contains_key(&version)
            && let Some(text) = vault.text_at_version(&format!("workflows/{workflow}.md"), &version)?
            && let Ok(workflow) = Workflow::read(&text, &Known::default())
        {
            setting.versions.insert(version, workflow);
        }
    }
    let policies = vault.in_force("policies")?.into_iter().map(|file| {
        let policy = Policy::read(&file.path, &file.text, jiff::tz::db());
        (file.path, policy)
    });
    setting.policies = Policies::of(policies.collect());
    // What goes out is a file called by the key of its effect: written twice, it is there once.
    let connector = Connector { knows_keys: true };
    setting.connectors = [("mail.send".to_owned(), connector)].into();
    let members = vault.members().present().map(|(_, member)| member);
    let may = members.filter(|member| member.roles.iter().any(|role| role == APPROVE));
    setting.operators = may.filter_map(|member| member.operator).collect();
    Ok(setting)
}

/// Puts a mail into the outbox.
fn perform(outbox: &Path, key: EffectKey, content: &Content) -> Result<Value, Failure> {
    let head = |name: &str, text: &str| match text.contains(['\n', '\r']) || text.is_empty() {
        true => Err(Failure::new(Class::Permanent, format!("`{name}` must be one line"))),
        false => Ok(format!("{name}: {text}\r\n")),
    };
    let arg = |name: &str| content.args.get(name).and_then(Value::as_str).unwrap_or_default();
    let subject = match arg("subject") {
        "" => String::new(),
        subject => head("Subject", subject)?,
    };
    let body = arg("text").lines().map(|line| format!("{line}\r\n")).collect::<String>();
    let id = ContentHash::hex(&key.0);
    let mail = format!(
        "{}{subject}Message-ID: <{id}@aios>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}",
        head("To", &content.target)?
    );
    let failed = |e: &dyn std::fmt::Display| Failure::new(Class::Transient, format!("the outbox: {e}"));
    std::fs::create_dir_all(outbox).map_err(|e| failed(&e))?;
    durable::replace(&outbox.join(format!("{id}.eml")), mail.as_bytes()).map_err(|e| failed(&e))?;
    Ok(json!({"id": id}))
}

/// Now, in ms since the Unix epoch.
fn now() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)
}
