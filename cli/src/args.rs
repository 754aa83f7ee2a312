//! The command line, which people script against: names, flags and JSON stay.

mod agent;
mod work;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use clap_complete::Shell;

pub use agent::*;
pub use work::*;

use crate::ui::{Color, Manner};

/// An operating system for a one-person company.
///
/// A folder of Markdown files that is a git repository and lives on all your devices. Every command works while the
/// daemon runs and without it, and Ctrl-C is always safe.
#[derive(Debug, Parser)]
#[command(name = "aios", version, propagate_version = true, disable_help_subcommand = true)]
pub struct Args {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, ClapArgs)]
pub struct Global {
    /// The vault [default: the nearest parent folder that is one]
    #[arg(short = 'C', long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub vault: Option<PathBuf>,
    /// Write one JSON value to stdout and nothing else
    #[arg(long, global = true)]
    pub json: bool,
    /// Say nothing but results, warnings and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// When to colour
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t)]
    pub color: Color,
}

impl Global {
    /// How to talk.
    pub fn manner(&self) -> Manner {
        Manner { json: self.json, quiet: self.quiet, verbose: self.verbose, color: self.color }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a folder a vault; files and git history in it are imported
    Init(InitArgs),
    /// Show where things stand; changes nothing
    Status(StatusArgs),
    /// Take in what changed on disk as one record
    Commit(CommitArgs),
    /// Show the audit trail, newest first
    Log(LogArgs),
    /// Show one record or commit
    Show(ShowArgs),
    /// Show what differs
    Diff(DiffArgs),
    /// Show who wrote each line of a file
    Blame(BlameArgs),
    /// Bring a file back as it was
    Restore(RestoreArgs),
    /// Reverse a record, or all of a run, with a new record
    Undo(UndoArgs),
    /// List what merges could not show in the files, and decide it
    Conflicts(ConflictsArgs),
    /// Put the present version of policies, agents, workflows, connectors or ignore rules in force
    Accept(AcceptArgs),
    /// Check chain, signatures, membership, documents, git and files
    Verify(VerifyArgs),
    /// Throw the database away and make it again
    Rebuild(RebuildArgs),
    /// Check environment, clock, watcher limits, git and index
    Doctor(DoctorArgs),
    /// Make what is kept small: pack git's objects, shrink the database, drop what nobody needs; history stays
    Gc(GcArgs),
    /// Have all that files ever held dropped, on every device; there is no way back
    Forget(ForgetArgs),
    /// Write files, the log as JSON lines and a manifest to a folder
    Export(ExportArgs),
    /// Take in what `export` of this vault wrote
    Import(ImportArgs),
    /// Let one more device join: prints a one-time ticket and waits
    Pair(PairArgs),
    /// Make a folder a replica of a vault on another device
    Join(JoinArgs),
    /// Bring the vault back on this device from a folder or git repository, with the recovery phrase alone
    Recover(RecoverArgs),
    /// Show whether the vault has a recovery phrase; make or check one
    Recovery(RecoveryArgs),
    /// Take in, exchange with every reachable member and remote, write
    Sync(SyncArgs),
    /// Get the bytes of files that this device leaves with the others
    Fetch(FetchArgs),
    /// Keep the folder in sync while it runs, and answer the other devices
    Up(UpArgs),
    /// The same on a machine without a screen
    Worker(WorkerArgs),
    /// Pass on what devices send to each other that cannot reach each other directly
    Relay(RelayArgs),
    /// List the members
    Devices(DevicesArgs),
    /// List the folders and git repositories that `sync` uses beside the members, add or remove one
    Remote(RemoteArgs),
    /// Start work, and carry on all work that is waiting
    Run(RunArgs),
    /// List tasks
    Tasks(TasksArgs),
    /// Say what was spent, and how much of the caps is used
    Cost(CostArgs),
    /// Hooks: calls over HTTP that say that something happened
    Hook(HookArgs),
    /// Say that something happened, which workflows start with or wait for
    Emit(EmitArgs),
    /// Decide about a task
    Task(TaskArgs),
    /// Work out a task anew from its journal, and say where it differs; nothing is done
    Replay(ReplayArgs),
    /// Show what needs you, most urgent first
    Inbox(InboxArgs),
    /// Say what failed silently: late, stuck, without any outcome, or not heard of
    Health(HealthArgs),
    /// Consent to effects, as they are or as you change them
    Approve(ApproveArgs),
    /// Show exactly the bytes that an effect sends, and what consent to it is bound to
    Preview(PreviewArgs),
    /// Refuse an effect
    Deny(DenyArgs),
    /// Let an agent do something without asking each time: so often, until then
    Delegate(DelegateArgs),
    /// List what is delegated, and how much of it is used
    Delegations(DelegationsArgs),
    /// Say whether an effect happened of which nobody knows that
    Settle(SettleArgs),
    /// Answer a question of a workflow
    Answer(AnswerArgs),
    /// Say on which device effects happen
    Connector(ConnectorArgs),
    /// Check workflow files and draw them
    Workflow(WorkflowArgs),
    /// List agents, check their files, or import some
    Agents(AgentsArgs),
    /// Keep the key of a provider of models on this device
    Connect(ConnectArgs),
    /// Check policy files, or say which rule decides an effect
    Policy(PolicyArgs),
    /// Play the main job on a sample company, three devices on this machine
    Demo(DemoArgs),
    /// Write the completion script of a shell
    Completions(CompletionsArgs),
    /// Write the manual page
    Man(ManArgs),
}

/// `aios init`
#[derive(Debug, ClapArgs)]
pub struct InitArgs {
    /// The folder
    #[arg(default_value = ".", value_hint = clap::ValueHint::DirPath)]
    pub dir: PathBuf,
    /// The vault's name [default: the folder's]
    #[arg(long)]
    pub name: Option<String>,
    /// This device's name [default: the machine's]
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// Take the folder's files out of the vault around it, on all its devices; that vault's history keeps them
    #[arg(long)]
    pub hand_over: bool,
    /// Encrypt what is written for those who may read it, so that remotes and members that only carry cannot
    #[arg(long)]
    pub sealed: bool,
    /// Begin with the files of a company: `list` names them
    #[arg(long, value_name = "NAME")]
    pub template: Option<String>,
}

/// `aios status`
#[derive(Debug, ClapArgs)]
pub struct StatusArgs {}

/// `aios commit`
#[derive(Debug, ClapArgs)]
pub struct CommitArgs {
    /// What was done, for people [default: made up from what changed]
    #[arg(short, long, value_name = "MSG")]
    pub message: Option<String>,
    /// Most files are gone, and that is meant
    #[arg(long)]
    pub deletions: bool,
}

/// `aios log`
#[derive(Debug, ClapArgs)]
pub struct LogArgs {
    /// Only what touched this file or folder, through renames
    #[arg(value_hint = clap::ValueHint::AnyPath)]
    pub path: Option<String>,
    /// At most so many
    #[arg(short, long = "number", value_name = "N")]
    pub number: Option<usize>,
    /// Only since then: a time such as 2026-01-31 or 2026-01-31T12:00, or an age such as 90m, 12h, 7d
    #[arg(long, value_name = "T")]
    pub since: Option<String>,
    /// Only what this actor did: operator, agent:NAME, git:NAME
    #[arg(long, value_name = "A")]
    pub actor: Option<String>,
    /// Go on and show new records as they come, oldest first; with --json one line each
    #[arg(long)]
    pub follow: bool,
}

/// `aios show`
#[derive(Debug, ClapArgs)]
pub struct ShowArgs {
    /// A record id or commit id (a prefix will do), DEVICE:SEQ, HEAD or HEAD~N
    pub rev: String,
}

/// `aios diff`
#[derive(Debug, ClapArgs)]
pub struct DiffArgs {
    /// From here [default: HEAD]
    pub from: Option<String>,
    /// To here [default: the files on disk]
    pub to: Option<String>,
}

/// `aios blame`
#[derive(Debug, ClapArgs)]
pub struct BlameArgs {
    /// The file
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub path: String,
}

/// `aios restore`
#[derive(Debug, ClapArgs)]
pub struct RestoreArgs {
    /// The file
    #[arg(value_hint = clap::ValueHint::AnyPath)]
    pub path: String,
    /// As it was there: a record id or commit id, DEVICE:SEQ, HEAD or HEAD~N
    #[arg(long, value_name = "REV")]
    pub at: String,
}

/// `aios undo`
#[derive(Debug, ClapArgs)]
pub struct UndoArgs {
    /// The record or commit [default: HEAD]
    pub rev: Option<String>,
    /// All changes of files by this run, or by the run of this task
    #[arg(long, value_name = "RUN", conflicts_with = "rev")]
    pub run: Option<String>,
}

/// `aios conflicts`
#[derive(Debug, ClapArgs)]
pub struct ConflictsArgs {
    /// What to do with them [default: list]
    #[command(subcommand)]
    pub command: Option<ConflictsCommand>,
}

/// What to do with conflicts.
#[derive(Debug, Subcommand)]
pub enum ConflictsCommand {
    /// Decide one
    Resolve(ResolveArgs),
}

/// `aios conflicts resolve`
#[derive(Debug, ClapArgs)]
pub struct ResolveArgs {
    /// The conflict's id (a prefix will do)
    pub id: String,
    /// Which value to keep: 0 is the one that stands
    #[arg(long, value_name = "N")]
    pub keep: usize,
}

/// `aios accept`
#[derive(Debug, ClapArgs)]
pub struct AcceptArgs {
    /// The files [default: all that wait]
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub paths: Vec<String>,
}

/// `aios verify`
#[derive(Debug, ClapArgs)]
pub struct VerifyArgs {
    /// Recompute all of it from the log
    #[arg(long)]
    pub deep: bool,
}

/// `aios rebuild`
#[derive(Debug, ClapArgs)]
pub struct RebuildArgs {
    /// Which device this folder was, where `.aios/replica.json` is gone [default: the one whose key is here]
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
}

/// `aios doctor`
#[derive(Debug, ClapArgs)]
pub struct DoctorArgs {
    /// Rebuild what is derived
    #[arg(long)]
    pub fix: bool,
}

/// `aios gc`
#[derive(Debug, ClapArgs)]
pub struct GcArgs {
    /// Say what there is to gain, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Let go of what repairs took out of the way, and of the commits that a folder had before it joined (refs/aios/aside), too
    #[arg(long)]
    pub aside: bool,
}

/// `aios forget`
#[derive(Debug, ClapArgs)]
pub struct ForgetArgs {
    /// Files or folders, gone ones too; without any, list what was forgotten
    #[arg(value_hint = clap::ValueHint::AnyPath)]
    pub paths: Vec<String>,
    /// What no device met since can read any more, and no word explains: where that word went with a device that was revoked or
    /// restored, nothing else goes on
    #[arg(long, conflicts_with = "paths")]
    pub unexplained: bool,
    /// Do it: without this it only says what would go
    #[arg(long)]
    pub yes: bool,
}

/// `aios export`
#[derive(Debug, ClapArgs)]
pub struct ExportArgs {
    /// The folder: new or empty
    #[arg(value_hint = clap::ValueHint::DirPath)]
    pub dir: PathBuf,
    /// Write each document as `documents/ID.automerge` too
    #[arg(long)]
    pub automerge: bool,
}

/// `aios import`
#[derive(Debug, ClapArgs)]
pub struct ImportArgs {
    /// The folder
    #[arg(value_hint = clap::ValueHint::DirPath)]
    pub dir: PathBuf,
}

/// What a device is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// A device of the operator's own, with an operator key.
    Laptop,
    /// The same, with less in it.
    Phone,
    /// A headless device, without an operator key.
    Worker,
    /// A device that stores and forwards what it may not change, nor read where the vault is sealed.
    Carrier,
}

/// `aios pair`
#[derive(Debug, ClapArgs)]
pub struct PairArgs {
    /// What the device is for
    #[arg(long, value_enum, default_value = "laptop")]
    pub role: Role,
    /// The device's name [default: what it calls itself]
    #[arg(long)]
    pub name: Option<String>,
    /// How long the ticket holds: 90s, 15m, 2h
    #[arg(long, value_name = "AGE", default_value = "15m")]
    pub expires: String,
}

/// `aios join`
#[derive(Debug, ClapArgs)]
pub struct JoinArgs {
    /// The ticket that `aios pair` printed
    pub ticket: String,
    /// The folder
    #[arg(default_value = ".", value_hint = clap::ValueHint::DirPath)]
    pub dir: PathBuf,
    /// This device's name [default: the machine's]
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// What this device is
    #[command(flatten)]
    pub profile: ProfileArgs,
}

/// `aios recover`
#[derive(Debug, ClapArgs)]
pub struct RecoverArgs {
    /// The folder
    #[arg(default_value = ".", value_hint = clap::ValueHint::DirPath)]
    pub dir: PathBuf,
    /// A folder, the path of a bare git repository, or an address such as ssh://, https:// or user@host:path
    #[arg(long, value_name = "REMOTE", value_hint = clap::ValueHint::AnyPath)]
    pub from: String,
    /// It is a git repository
    #[arg(long, conflicts_with = "folder")]
    pub git: bool,
    /// It is a folder
    #[arg(long)]
    pub folder: bool,
    /// This device's name [default: the machine's]
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// End the membership of a device that was stolen, before anybody hears of this one; may be given several times
    #[arg(long, value_name = "NAME")]
    pub revoke: Vec<String>,
    /// Read the phrase from this file [default: ask, or read standard input]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub phrase_file: Option<PathBuf>,
    /// How long to try: 90s, 15m
    #[arg(long, value_name = "AGE", default_value = "1h")]
    pub timeout: String,
}

/// `aios recovery`
#[derive(Debug, ClapArgs)]
pub struct RecoveryArgs {
    /// What to do [default: say whether there is a phrase]
    #[command(subcommand)]
    pub command: Option<RecoveryCommand>,
}

/// What to do with recovery phrases.
#[derive(Debug, Subcommand)]
pub enum RecoveryCommand {
    /// Make a phrase and print it once; on the device that made the vault
    New,
    /// Say whether a phrase is this vault's
    Check {
        /// Read the phrase from this file [default: ask, or read standard input]
        #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        phrase_file: Option<PathBuf>,
    },
}

/// Whether the recovery phrase is to sign instead of this device's operator key.
#[derive(Debug, ClapArgs)]
pub struct PhraseArgs {
    /// Sign with the recovery phrase, which outranks every device: ask for it, or read standard input
    #[arg(long)]
    pub phrase: bool,
    /// The same, with the phrase in this file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub phrase_file: Option<PathBuf>,
}

/// `aios sync`
#[derive(Debug, ClapArgs)]
pub struct SyncArgs {
    /// Only with this member or remote
    #[arg(long, value_name = "NAME")]
    pub peer: Option<String>,
    /// Publish to remotes even what looks like a secret, now and later
    #[arg(long)]
    pub allow_secrets: bool,
    /// How long to try: 90s, 15m
    #[arg(long, value_name = "AGE", default_value = "30s")]
    pub timeout: String,
    /// What this device is
    #[command(flatten)]
    pub profile: ProfileArgs,
}

/// `aios fetch`
#[derive(Debug, ClapArgs)]
pub struct FetchArgs {
    /// Files and folders
    #[arg(required_unless_present = "all", value_hint = clap::ValueHint::AnyPath)]
    pub paths: Vec<String>,
    /// Everything in the vault
    #[arg(long, conflicts_with = "paths")]
    pub all: bool,
    /// How long to try: 90s, 15m
    #[arg(long, value_name = "AGE", default_value = "5m")]
    pub timeout: String,
}

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// It has everything.
    Laptop,
    /// It looks and calls more seldom, and leaves pictures and other blobs with the other devices until `aios fetch`.
    Phone,
    /// Headless.
    Worker,
}

/// What this device is, which it remembers.
#[derive(Debug, Clone, ClapArgs)]
pub struct ProfileArgs {
    /// What this device is, from now on [default: what it was told before, or else laptop]
    #[arg(long, value_enum)]
    pub profile: Option<Profile>,
    /// With `--profile phone`: pictures and other blobs smaller than this come without being asked for, such as 200kB
    #[arg(long, value_name = "SIZE", requires = "profile")]
    pub blobs_below: Option<String>,
}

impl ProfileArgs {
    /// What was said.
    pub fn told(&self) -> Result<Option<aios_vault::profile::Profile>, crate::error::CliError> {
        use aios_vault::profile::Profile as Told;
        let below = self.blobs_below.as_deref().map(crate::size::bytes).transpose()?;
        Ok(match (self.profile, below) {
            (Some(Profile::Phone), below) => Some(Told::Phone { blobs_below: below.unwrap_or(0) }),
            (_, Some(_)) => {
                return Err(crate::error::CliError::usage(
                    "--blobs-below is for --profile phone: others have everything",
                ));
            }
            (Some(Profile::Laptop), None) => Some(Told::Laptop),
            (Some(Profile::Worker), None) => Some(Told::Worker),
            (None, None) => None,
        })
    }
}

/// `aios up`
#[derive(Debug, Clone, ClapArgs)]
pub struct UpArgs {
    /// Bind to this address [default: any free port]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Serve no dashboard
    #[arg(long, hide = true)]
    pub no_ui: bool,
    /// Serve the dashboard at this address
    #[arg(long, value_name = "ADDR", conflicts_with = "no_ui", hide = true)]
    pub ui: Option<String>,
    /// What this device is
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// Keep off the network while this shell command ends with 0, or the file `.aios/pause` is there
    #[arg(long, value_name = "COMMAND")]
    pub pause_if: Option<String>,
    /// Write what has the system start this daemon at log-in (systemd or launchd), and end
    #[arg(long)]
    pub install: bool,
}

/// `aios worker`
#[derive(Debug, ClapArgs)]
pub struct WorkerArgs {
    /// Bind to this address [default: any free port]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
}

/// `aios relay`
#[derive(Debug, ClapArgs)]
pub struct RelayArgs {
    /// Serve plain HTTP at this address; for the Internet, behind a program that adds TLS
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3340")]
    pub listen: std::net::SocketAddr,
    /// Let anybody use it, not only the members of this vault
    #[arg(long)]
    pub anyone: bool,
}

/// `aios devices`
#[derive(Debug, ClapArgs)]
pub struct DevicesArgs {
    /// What to do with them [default: list]
    #[command(subcommand)]
    pub command: Option<DevicesCommand>,
}

/// What to do with devices.
#[derive(Debug, Subcommand)]
pub enum DevicesCommand {
    /// End a device's membership: it is served no more, and what it writes from now on counts only where another device builds on
    /// it that does not know yet
    Revoke {
        /// The device's name or the start of its id
        name: String,
        /// Who signs
        #[command(flatten)]
        by: PhraseArgs,
    },
    /// Make what a revoked device wrote afterwards count after all
    Adopt {
        /// The device's name or the start of its id
        name: String,
    },
    /// Go on under new keys on this device, with the same name and roles; the others follow without being asked
    Rotate,
    /// Give a device another name
    Rename {
        /// The device's name or the start of its id
        name: String,
        /// Its new name
        to: String,
    },
    /// Give a device another role
    Role {
        /// The device's name or the start of its id
        name: String,
        /// Its new role
        #[arg(value_enum)]
        role: Role,
        /// Who signs
        #[command(flatten)]
        by: PhraseArgs,
    },
}

/// `aios remote`
#[derive(Debug, ClapArgs)]
pub struct RemoteArgs {
    /// What to do with them [default: list]
    #[command(subcommand)]
    pub command: Option<RemoteCommand>,
}

/// What to do with remotes.
#[derive(Debug, Subcommand)]
pub enum RemoteCommand {
    /// Have `sync` use a folder (a stick, a shared folder) or a git repository, too
    Add {
        /// Its name, as in `aios sync --peer NAME`
        name: String,
        /// A folder, the path of a bare git repository, or an address such as ssh://, https:// or user@host:path
        #[arg(value_hint = clap::ValueHint::AnyPath)]
        url: String,
        /// It is a git repository
        #[arg(long, conflicts_with = "folder")]
        git: bool,
        /// It is a folder
        #[arg(long)]
        folder: bool,
    },
    /// List them
    List,
    /// Use one no more; what it holds stays there
    Remove {
        /// Its name
        name: String,
    },
}

/// `aios demo`
#[derive(Debug, ClapArgs)]
pub struct DemoArgs {
    /// The folder [default: a new one in the system's place for temporary files]
    #[arg(value_hint = clap::ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

/// `aios completions`
#[derive(Debug, ClapArgs)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// `aios man`
#[derive(Debug, ClapArgs)]
pub struct ManArgs {
    /// Write a page for each command to this folder
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub to: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_anywhere() {
        for line in [["aios", "--json", "-C", "x", "status"], ["aios", "status", "-C", "x", "--json"]] {
            let args = Args::try_parse_from(line).unwrap();
            assert!(args.global.json && args.global.vault.is_some());
        }
    }
}
