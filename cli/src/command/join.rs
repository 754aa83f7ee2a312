//! `aios join`

use std::path::Path;

use aios_sync::join::{JoinReport, join};
use aios_vault::create::kept_aside;
use aios_vault::place;
use serde_json::json;

use crate::args::JoinArgs;
use crate::command::sync::{runtime, settings};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::report::{self, count};
use crate::ui::Ui;

/// Makes a folder a replica of a vault on another device, and returns when the first sync is complete.
pub fn run(args: &JoinArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let dir = cx.replica_dir(&args.dir)?;
    let settings = settings(ui)?;
    let aside = if dir.join(".aios").exists() { None } else { kept_aside(&dir) };
    let report = runtime()?.block_on(join(
        &args.ticket,
        &dir,
        args.device.clone(),
        args.profile.told()?,
        &settings,
    ))?;
    show(&report, &dir, ui)?;
    report::problems(ui, &place::clouded(&dir));
    if let Some(kept) = aside {
        ui.warn(
            format!("the commits that this folder had are not part of the vault: they are kept as {kept}"),
            Some("see them with `git log REF`; their files as they were on disk are in"),
        );
    }
    Ok(if report.problems.is_empty() { Exit::Done } else { Exit::Unconfirmed })
}

fn show(report: &JoinReport, dir: &Path, ui: &mut Ui) -> Result<(), CliError> {
    for warning in &report.warnings {
        ui.warn(warning, None);
    }
    let JoinReport { vault, vault_name, device, name, roles, head, state, files, problems, .. } = report;
    if ui.json() {
        return ui.value(&json!({
            "vault": vault, "vault_name": vault_name, "device": device, "name": name, "roles": roles,
            "head": head, "state": state, "files": files, "problems": problems,
        }));
    }
    ui.line(format!("{} is now {name}'s replica of {vault_name}: {}", dir.display(), count(*files, "file")))?;
    ui.line(format!("at {}", head.as_deref().map_or("-", |head| head.get(..12).unwrap_or(head))))
}
