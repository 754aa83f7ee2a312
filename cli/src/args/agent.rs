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
    /// Write agents, skills and rules of other tools as files of this vault, which are proposals until they are accepted
    Import {
        /// A sub-agent file, a folder with SKILL.md, AGENTS.md, or a folder of those
        #[arg(value_hint = clap::ValueHint::AnyPath)]
        path: PathBuf,
    },
}

/// `aios connect`
#[derive(Debug, ClapArgs)]
pub struct ConnectArgs {
    /// The provider of models, as its file names it; its key is read from the terminal or a pipe
    pub name: String,
    /// Forget the key on this device
    #[arg(long)]
    pub remove: bool,
}
