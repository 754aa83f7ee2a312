//! The part of the command line that is about agents.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

/// `aios agents`
#[derive(Debug, ClapArgs)]
pub struct AgentsArgs {
    /// What to do with them [default: list those in force]
    #[command(subcommand)]
    pub command: Option<AgentsCommand>,
}

/// What to do with agents.
#[derive(Debug, Subcommand)]
pub enum AgentsCommand {
    /// Say all that is wrong with the files of agents, with line and column
    Check {
        /// The files [default: all below `agents` in the vault]
        #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        files: Vec<PathBuf>,
    },
    /// Say what an agent may do, and what each version of it did
    Show {
        /// The agent
        name: String,
    },
    /// Try an agent's file as it is now: on its examples, and on what it did last; nothing is done to the world
    Test(TestArgs),
    /// Have one version of an agent work, whatever is accepted
    Pin(PinArgs),
    /// Have the version of an agent work that was in force before
    Rollback {
        /// The agent
        name: String,
    },
    /// Have the version that was accepted last work on a share of the tasks, until it does worse than the one before
    Canary(CanaryArgs),
    /// Write agents, skills and rules of other tools as files of this vault, which are proposals until they are accepted
    Import {
        /// A sub-agent file, a folder with SKILL.md, AGENTS.md, or a folder of those
        #[arg(value_hint = clap::ValueHint::AnyPath)]
        path: PathBuf,
    },
}

/// `aios agents test`
#[derive(Debug, ClapArgs)]
pub struct TestArgs {
    /// The agent
    pub name: String,
    /// So many pieces of work that it did last are done once more
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub last: usize,
    /// Those that this version did [default: the one that works now]
    #[arg(long, value_name = "VERSION")]
    pub against: Option<String>,
}

/// `aios agents pin`
#[derive(Debug, ClapArgs)]
pub struct PinArgs {
    /// The agent
    pub name: String,
    /// How the version begins, as `aios agents show` has it
    #[arg(value_name = "VERSION", required_unless_present = "off")]
    pub edition: Option<String>,
    /// Have the version work that was accepted last
    #[arg(long, conflicts_with = "edition")]
    pub off: bool,
}

/// `aios agents canary`
#[derive(Debug, ClapArgs)]
pub struct CanaryArgs {
    /// The agent
    pub name: String,
    /// The share of the tasks, such as 10%
    #[arg(required_unless_present = "off", value_parser = crate::command::release::share)]
    pub share: Option<u32>,
    /// Have the version before work on all of them
    #[arg(long, conflicts_with = "share")]
    pub off: bool,
}

/// `aios connect`
#[derive(Debug, ClapArgs)]
pub struct ConnectArgs {
    /// The provider of models, as its file names it; its key is read from the terminal or a pipe
    pub name: String,
    /// Forget the key on this device
    #[arg(long)]
    pub remove: bool,
    /// A program of yours that prints the key, after `--`: `-- pass show openai`
    #[arg(last = true, conflicts_with = "remove", value_name = "PROGRAM")]
    pub program: Vec<String>,
}
