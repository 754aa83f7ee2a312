//! The part of the command line that is about work.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

/// `aios workflow`
#[derive(Debug, ClapArgs)]
pub struct WorkflowArgs {
    /// What to do with them
    #[command(subcommand)]
    pub command: WorkflowCommand,
}

/// What to do with workflows.
#[derive(Debug, Subcommand)]
pub enum WorkflowCommand {
    /// Say all that is wrong with workflow files, with line and column
    Check(WorkflowCheckArgs),
    /// Have tasks that are not over go on with the version that is in force, where what they did matches it; says why the others stay
    Migrate(WorkflowMigrateArgs),
}

/// `aios workflow migrate`
#[derive(Debug, ClapArgs)]
pub struct WorkflowMigrateArgs {
    /// Those of this workflow [default: all]
    pub workflow: Option<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `aios workflow check`
#[derive(Debug, ClapArgs)]
pub struct WorkflowCheckArgs {
    /// The files [default: all below `workflows` in the vault]
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    /// Print each as a Mermaid flowchart
    #[arg(long)]
    pub draw: bool,
}

/// `aios policy`
#[derive(Debug, ClapArgs)]
pub struct PolicyArgs {
    /// What to do with them
    #[command(subcommand)]
    pub command: PolicyCommand,
}

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say all that is wrong with policy files; with --capability, which rule decides such an effect, and why
    Check(PolicyCheckArgs),
}

/// `aios policy check`
#[derive(Debug, ClapArgs)]
pub struct PolicyCheckArgs {
    /// The files [default: all below `policies` in the vault]
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    /// An effect of this capability, such as mail.send
    #[arg(long, value_name = "NAME")]
    pub capability: Option<String>,
    /// To whom or what
    #[arg(long, value_name = "T", requires = "capability", default_value = "")]
    pub target: String,
    /// The money it moves or costs
    #[arg(long, value_name = "MONEY", requires = "capability")]
    pub amount: Option<String>,
    /// The agent whose work it is
    #[arg(long, value_name = "NAME", requires = "capability")]
    pub agent: Option<String>,
    /// What its step calls it; may be given more than once
    #[arg(long = "tag", value_name = "TAG", requires = "capability")]
    pub tags: Vec<String>,
    /// The workflow that does it
    #[arg(long, value_name = "NAME", requires = "capability", default_value = "")]
    pub workflow: String,
    /// The step there, such as all/send
    #[arg(long, value_name = "STEP", requires = "capability", default_value = "")]
    pub step: String,
    /// At that moment [default: now]
    #[arg(long, value_name = "T", requires = "capability")]
    pub at: Option<String>,
}

/// `aios run`
#[derive(Debug, ClapArgs)]
pub struct RunArgs {
    /// The workflow, or an agent that works by itself; without it, work that is waiting goes on
    #[arg(value_name = "WORKFLOW|AGENT")]
    pub workflow: Option<String>,
    /// What it is given; may be given more than once
    #[arg(long = "input", value_name = "KEY=VALUE", requires = "workflow")]
    pub inputs: Vec<String>,
    /// A file of JSON or YAML with what it is given, `-` for standard input; what `--input` says counts more
    #[arg(long, value_name = "FILE", requires = "workflow", value_hint = clap::ValueHint::FilePath)]
    pub input_file: Option<PathBuf>,
    /// Go on until it is over, or needs you: also when a timer or another device has to come first
    #[arg(long, requires = "workflow")]
    pub wait: bool,
    /// The device that works on it [default: this one]
    #[arg(long, value_name = "DEVICE", requires = "workflow")]
    pub on: Option<String>,
    /// The task's id, so that starting it twice makes one task [default: a new one]
    #[arg(long, value_name = "ID", requires = "workflow")]
    pub task: Option<String>,
}

/// `aios cost`
#[derive(Debug, ClapArgs)]
pub struct CostArgs {
    /// What it is told by
    #[arg(long, value_enum, default_value_t = CostBy::Capability)]
    pub by: CostBy,
    /// From this time on: a date, a time, or an age such as 12h or 7d
    #[arg(long, value_name = "TIME", default_value = "30d")]
    pub since: String,
}

/// What spending is told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CostBy {
    /// What was done, such as mail.send
    Capability,
    /// The workflow that did it
    Workflow,
    /// The agent whose work it was
    Agent,
    /// The device where it happened
    Device,
    /// The day, in UTC
    Day,
    /// The model that was asked
    Model,
}

/// `aios hook`
#[derive(Debug, ClapArgs)]
pub struct HookArgs {
    /// What to do with them
    #[command(subcommand)]
    pub command: HookCommand,
}

/// What to do with hooks.
#[derive(Debug, Subcommand)]
pub enum HookCommand {
    /// Have `aios up` take calls, and print the token that they need, once
    Add {
        /// Its path, such as /stripe: also the name of the event
        path: String,
        /// Where all hooks are listened for [default: 127.0.0.1:8787]
        #[arg(long, value_name = "IP:PORT")]
        listen: Option<std::net::SocketAddr>,
    },
    /// Close one
    Remove {
        /// Its path
        path: String,
    },
    /// List them
    List,
}

/// `aios emit`
#[derive(Debug, ClapArgs)]
pub struct EmitArgs {
    /// What happened, such as bank.paid
    pub name: String,
    /// What it says, as KEY=TEXT or KEY:=JSON; may be given more than once
    #[arg(long = "data", value_name = "KEY=VALUE")]
    pub data: Vec<String>,
    /// Which one it is: told again under the same id it is one [default: a new one]
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
}

/// `aios tasks`
#[derive(Debug, ClapArgs)]
pub struct TasksArgs {
    /// Only those that stand like that; may be given more than once
    #[arg(long = "state", value_enum, value_name = "STATE")]
    pub states: Vec<TaskState>,
    /// Say how long workflows and their steps take in place of listing tasks
    #[arg(long, conflicts_with = "states")]
    pub stats: bool,
    /// Of what ended from this time on: a date, a time, or an age such as 12h or 7d
    #[arg(long, value_name = "TIME", requires = "stats", default_value = "30d")]
    pub since: String,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TaskState {
    /// It goes on by itself, or once somebody did what it needs
    Waits,
    /// It stands still until it is resumed
    Paused,
    /// It failed, and the operator says how it goes on
    Stuck,
    /// It is over, and all was done
    Done,
    /// It is over, and failed
    Failed,
    /// It was ended
    Cancelled,
}

impl TaskState {
    /// As it is told.
    pub fn word(self) -> &'static str {
        match self {
            TaskState::Waits => "waits",
            TaskState::Paused => "paused",
            TaskState::Stuck => "stuck",
            TaskState::Done => "done",
            TaskState::Failed => "failed",
            TaskState::Cancelled => "cancelled",
        }
    }
}

/// `aios task`
#[derive(Debug, ClapArgs)]
pub struct TaskArgs {
    /// What to do with it
    #[command(subcommand)]
    pub command: TaskCommand,
}

/// What to do with a task.
#[derive(Debug, Subcommand)]
pub enum TaskCommand {
    /// Say all that is known of a task: what was wanted, what happened, every attempt, what it cost, and how to go on
    Show {
        /// The task's id (a prefix will do)
        id: String,
        /// What each model was asked, to the letter, in place of all else
        #[arg(long)]
        prompts: bool,
    },
    /// Try the step again that failed for good; with --from, go back to a step and do it and what follows anew
    Retry {
        /// The task's id (a prefix will do)
        id: String,
        /// The step to go back to; what happened since is not done again, what waits for consent asks anew
        #[arg(long, value_name = "STEP")]
        from: Option<String>,
        /// A step whose effect happened and is to happen once more; may be given more than once
        #[arg(long, value_name = "STEP", requires = "from")]
        again: Vec<String>,
    },
    /// Have a task stand still: nothing new is begun, timers stop, nothing is asked
    Pause {
        /// The task's id (a prefix will do)
        id: String,
    },
    /// Have a task go on that stood still
    Resume {
        /// The task's id (a prefix will do)
        id: String,
    },
    /// Have another device work on a task from its first step on; what happened does not happen again
    Move {
        /// The task's id (a prefix will do)
        id: String,
        /// The device
        #[arg(long, value_name = "DEVICE")]
        on: String,
    },
    /// End a task; what it did and can be taken back is
    Cancel {
        /// The task's id (a prefix will do)
        id: String,
        /// Why
        #[arg(long, default_value = "cancelled by the operator")]
        note: String,
    },
}

/// `aios replay`
#[derive(Debug, ClapArgs)]
pub struct ReplayArgs {
    /// The task, or its run (a prefix will do)
    pub id: String,
    /// Let the agent work that once had this version of its file in force [default: those in force now]
    #[arg(long, value_name = "VERSION")]
    pub agent: Option<String>,
}

/// `aios inbox`
#[derive(Debug, ClapArgs)]
pub struct InboxArgs {}

/// `aios health`
#[derive(Debug, ClapArgs)]
pub struct HealthArgs {
    /// From this time on: a date, a time, or an age such as 12h or 7d
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub since: String,
}

/// `aios approve`
#[derive(Debug, ClapArgs)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub struct ApproveArgs {
    /// The effects' ids (a prefix will do); of several it shows what differs, and asks
    #[arg(value_name = "ID", group = "which")]
    pub ids: Vec<String>,
    /// Change what is sent in $VISUAL or $EDITOR, and consent to that
    #[arg(long)]
    pub edit: bool,
    /// Consent to what stands in this file in place of what was proposed; `aios preview --draft` writes such a text
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, conflicts_with = "edit")]
    pub with: Option<PathBuf>,
    /// All that ask for the same at the same step of the same workflow: shows what differs, and asks
    #[arg(long, value_name = "ID", group = "which", conflicts_with_all = ["edit", "with"])]
    pub all_like: Option<String>,
    /// Do not ask whether the several are meant
    #[arg(long)]
    pub yes: bool,
    /// Why, for the log
    #[arg(long, value_name = "NOTE")]
    pub note: Option<String>,
}

/// `aios preview`
#[derive(Debug, ClapArgs)]
pub struct PreviewArgs {
    /// The effect's id (a prefix will do)
    pub id: String,
    /// Write the bytes as they are, and nothing else
    #[arg(long)]
    pub bytes: bool,
    /// Write it as a text to change, for `aios approve --with`
    #[arg(long, conflicts_with = "bytes")]
    pub draft: bool,
}

/// `aios delegate`
#[derive(Debug, ClapArgs)]
pub struct DelegateArgs {
    /// What is done, such as mail.send
    #[arg(required_unless_present = "revoke", requires_all = ["agent", "max", "until"])]
    pub capability: Option<String>,
    /// The agent whose work it has to be, as `agent` in the workflow's step says
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// How often
    #[arg(long, value_name = "N")]
    pub max: Option<u64>,
    /// Until when: a day such as friday or 2026-12-31, with that day; a time; or a length such as 3d
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// To whom or what, with * for anything
    #[arg(long, value_name = "PATTERN", default_value = "*")]
    pub target: String,
    /// The most money
    #[arg(long, value_name = "MONEY")]
    pub money: Option<String>,
    /// Take this one back (the start of its id will do)
    #[arg(long, value_name = "ID", conflicts_with_all = ["capability", "agent", "max", "until", "money"])]
    pub revoke: Option<String>,
}

/// `aios delegations`
#[derive(Debug, ClapArgs)]
pub struct DelegationsArgs {
    /// Also those that are spent, over, or taken back
    #[arg(long)]
    pub all: bool,
}

/// `aios deny`
#[derive(Debug, ClapArgs)]
pub struct DenyArgs {
    /// The effect's id (a prefix will do)
    pub id: String,
    /// Why
    #[arg(long)]
    pub note: String,
}

/// `aios settle`
#[derive(Debug, ClapArgs)]
#[command(group = clap::ArgGroup::new("came").required(true))]
pub struct SettleArgs {
    /// The effect, or the start of its id: see `aios inbox`
    pub id: String,
    /// It happened
    #[arg(long, group = "came")]
    pub done: bool,
    /// It did not happen: then it is done once more, under the same consent
    #[arg(long, group = "came")]
    pub not_done: bool,
}

/// `aios answer`
#[derive(Debug, ClapArgs)]
pub struct AnswerArgs {
    /// The task's id (a prefix will do)
    pub id: String,
    /// The answer
    pub answer: String,
}

/// `aios connector`
#[derive(Debug, ClapArgs)]
pub struct ConnectorArgs {
    /// What to do with them
    #[command(subcommand)]
    pub command: ConnectorCommand,
}

/// What to do with connectors.
#[derive(Debug, Subcommand)]
pub enum ConnectorCommand {
    /// Have this device do what another did that is gone for good
    Home {
        /// What it does, such as mail.send
        capability: String,
    },
}
