//! `aios recover`

use std::path::Path;

use aios_sync::recover::{RecoverReport, recover};
use aios_sync::remote::Kind;
use serde_json::json;

use crate::args::RecoverArgs;
use crate::command::sync::runtime;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::moment::span;
use crate::phrase;
use crate::report::count;
use crate::ui::{Style, Ui, one_line};

/// Makes a folder a replica of the vault that a recovery phrase is of, fetched from a remote, on a device that lets itself in.
pub fn run(args: &RecoverArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let dir = cx.replica_dir(&args.dir)?;
    let total = span(&args.timeout)?;
    let kind = args.git.then_some(Kind::Git).or(args.folder.then_some(Kind::Folder));
    let phrase = phrase::read(args.phrase_file.as_deref())?;
    let work = recover(&phrase, &args.from, kind, &dir, args.device.clone(), args.revoke.clone(), total);
    let report = runtime()?.block_on(work)?;
    show(&report, &dir, !args.revoke.is_empty(), ui)?;
    Ok(if report.problems.is_empty() { Exit::Done } else { Exit::Unconfirmed })
}

fn show(report: &RecoverReport, dir: &Path, revoked: bool, ui: &mut Ui) -> Result<(), CliError> {
    for warning in &report.warnings {
        ui.warn(one_line(warning), None);
    }
    let RecoverReport {
        vault, vault_name, device, name, remote, head, state, files, members, problems, ..
    } = report;
    let time = |ms: u64| Some(aios_vault::audit::time(ms));
    if ui.json() {
        let members: Vec<_> =
            members.iter().map(|(name, newest)| json!({"name": name, "newest": time(*newest)})).collect();
        return ui.value(&json!({
            "vault": vault, "vault_name": vault_name, "device": device, "name": name, "remote": remote,
            "head": head, "state": state, "files": files, "members": members, "problems": problems,
        }));
    }
    ui.line(format!("{} is now {name}'s replica of {vault_name}: {}", dir.display(), count(*files, "file")))?;
    ui.line(format!("at {}", head.as_deref().map_or("-", |head| head.get(..12).unwrap_or(head))))?;
    for (name, newest) in members {
        let name = ui.paint(Style::Bold, format!("{:<16}", one_line(name)));
        ui.line(format!("{name} newest record of {}", time(*newest).unwrap_or_default()))?;
    }
    ui.flush()?;
    ui.note(match revoked {
        false => format!(
            "what is newer was not there: {remote} may lack it. Sync with all you have, then end the membership of what is \
             lost with `aios devices revoke NAME --phrase`"
        ),
        true => format!("what is newer was not there: {remote} may lack it. Sync with all you have"),
    });
    Ok(())
}
