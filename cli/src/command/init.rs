//! `aios init`

use aios_vault::Vault;
use aios_vault::create::{NewVault, branch_before};
use aios_vault::layout::Layout;
use serde_json::json;

use crate::args::InitArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::report;
use crate::ui::Ui;

/// Makes a folder a vault.
pub fn run(args: &InitArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let dir = match &cx.vault_dir {
        Some(base) => base.join(&args.dir),
        None => args.dir.clone(),
    };
    let new = NewVault { name: args.name.clone(), device: args.device.clone() };
    let branch = branch_before(&dir);
    let (mut vault, absorbed) = Vault::create(&dir, &new, &mut ui.progress())?;
    let round = vault.finish(absorbed, &mut ui.progress())?;
    let exit = report::round(ui, &mut vault, &round)?;
    let files = round.absorbed.changed.iter().filter(|change| change.change == "added").count();
    let head = round.head.map(|head| head.to_string());
    if ui.json() {
        ui.value(&json!({
            "vault": vault.id(),
            "device": vault.device(),
            "head": head,
            "files": files,
            "problems": round.problems().collect::<Vec<_>>(),
        }))?;
    }
    ui.line(format!("{} is a vault, {}", vault.root().display(), report::count(files, "file")))?;
    if let Some(branch) = branch {
        ui.note(format!("git goes on from branch {branch} on branch main; {branch} stays as it was"));
    }
    if let Some(outer) = vault.root().parent().and_then(|above| Layout::find(above).ok()) {
        let outer = outer.root().display();
        ui.note(format!("it lies in the vault {outer}, which does not take in what is in it"));
    }
    ui.note("hint: `aios pair` lets another device join");
    Ok(exit)
}
