//! `aios gc`

use aios_vault::gc::{Aside, Collected, Part, Room, Wanted};

use crate::args::GcArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::report::count;
use crate::size::said;
use crate::ui::Ui;

/// Makes the vault's folder small.
pub fn run(args: &GcArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let done = cx.open()?.gc(Wanted { dry_run: args.dry_run, aside: args.aside })?;
    if ui.json() {
        ui.value(&done)?;
    }
    let Collected { dry_run, freed, parts, aside } = &done;
    for Room { part, before, after, what } in parts {
        let name = match part {
            Part::Partial => "received in part",
            Part::Log => "log",
            Part::Git => "git",
            Part::Database => "database",
        };
        let now = after.filter(|_| !dry_run).map_or(String::new(), |after| format!(", now {}", said(after)));
        ui.line(format!("{name}: {}{now} ({what})", said(*before)))?;
    }
    for Aside { name, commit } in aside.iter().filter(|_| args.aside && !dry_run) {
        ui.line(format!(
            "let go of {name}; until the next `aios gc`, `git update-ref {name} {commit}` has it back"
        ))?;
    }
    if !aside.is_empty() && !args.aside {
        ui.line(format!("{} aside, which `aios gc --aside` lets go of:", count(aside.len(), "ref")))?;
        for Aside { name, .. } in aside {
            ui.line(format!("  {name}"))?;
        }
    }
    match dry_run {
        true => ui.line("nothing was changed")?,
        false => ui.line(format!("{} freed", said(*freed)))?,
    }
    Ok(Exit::Done)
}
