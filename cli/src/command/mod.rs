//! The commands, one file each: `run` does it, says what it did to `ui`, and gives the exit code.

mod accept;
mod agents;
mod approve;
mod blame;
mod commit;
mod completions;
mod conflicts;
mod connect;
mod connector;
mod consent;
mod cost;
mod delegate;
mod demo;
mod devices;
mod diff;
mod doctor;
mod emit;
mod export;
mod fetch;
mod forget;
mod gc;
mod health;
mod hook;
mod import;
mod inbox;
mod init;
mod join;
mod log;
mod man;
mod migrate;
mod packet;
mod pair;
mod policy;
mod preview;
mod prompt;
mod rebuild;
mod recover;
mod recovery;
mod rehearse;
mod relay;
pub mod release;
mod remote;
mod replay;
mod restore;
mod run;
mod show;
mod status;
mod sync;
mod tasks;
mod undo;
mod up;
mod verify;
mod workflow;
pub mod written;

use crate::args::Command;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::Ui;

/// Runs one command.
pub fn run(command: &Command, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    match command {
        Command::Init(args) => init::run(args, cx, ui),
        Command::Status(args) => status::run(args, cx, ui),
        Command::Commit(args) => commit::run(args, cx, ui),
        Command::Log(args) => log::run(args, cx, ui),
        Command::Show(args) => show::run(args, cx, ui),
        Command::Diff(args) => diff::run(args, cx, ui),
        Command::Blame(args) => blame::run(args, cx, ui),
        Command::Restore(args) => restore::run(args, cx, ui),
        Command::Undo(args) => undo::run(args, cx, ui),
        Command::Conflicts(args) => conflicts::run(args, cx, ui),
        Command::Accept(args) => accept::run(args, cx, ui),
        Command::Verify(args) => verify::run(args, cx, ui),
        Command::Rebuild(args) => rebuild::run(args, cx, ui),
        Command::Gc(args) => gc::run(args, cx, ui),
        Command::Doctor(args) => doctor::run(args, cx, ui),
        Command::Forget(args) => forget::run(args, cx, ui),
        Command::Export(args) => export::run(args, cx, ui),
        Command::Import(args) => import::run(args, cx, ui),
        Command::Pair(args) => pair::run(args, cx, ui),
        Command::Join(args) => join::run(args, cx, ui),
        Command::Recover(args) => recover::run(args, cx, ui),
        Command::Recovery(args) => recovery::run(args, cx, ui),
        Command::Sync(args) => sync::run(args, cx, ui),
        Command::Fetch(args) => fetch::run(args, cx, ui),
        Command::Up(args) => up::run(args, cx, ui),
        Command::Worker(args) => up::run_worker(args, cx, ui),
        Command::Relay(args) => relay::run(args, cx, ui),
        Command::Remote(args) => remote::run(args, cx, ui),
        Command::Devices(args) => devices::run(args, cx, ui),
        Command::Run(args) => run::run(args, cx, ui),
        Command::Cost(args) => cost::run(args, cx, ui),
        Command::Hook(args) => hook::run(args, cx, ui),
        Command::Emit(args) => emit::run(args, cx, ui),
        Command::Tasks(args) => tasks::list(args, cx, ui),
        Command::Task(args) => tasks::run(args, cx, ui),
        Command::Replay(args) => replay::run(args, cx, ui),
        Command::Inbox(args) => inbox::run(args, cx, ui),
        Command::Health(args) => health::run(args, cx, ui),
        Command::Approve(args) => approve::run(args, cx, ui),
        Command::Preview(args) => preview::run(args, cx, ui),
        Command::Delegate(args) => delegate::run(args, cx, ui),
        Command::Delegations(args) => delegate::list(args, cx, ui),
        Command::Deny(args) => consent::deny(args, cx, ui),
        Command::Settle(args) => consent::settle(args, cx, ui),
        Command::Answer(args) => consent::answer(args, cx, ui),
        Command::Connector(args) => connector::run(args, cx, ui),
        Command::Agents(args) => agents::run(args, cx, ui),
        Command::Connect(args) => connect::run(args, cx, ui),
        Command::Workflow(args) => workflow::run(args, cx, ui),
        Command::Policy(args) => policy::run(args, cx, ui),
        Command::Demo(args) => demo::run(args, cx, ui),
        Command::Completions(args) => completions::run(args, cx, ui),
        Command::Man(args) => man::run(args, cx, ui),
    }
}
