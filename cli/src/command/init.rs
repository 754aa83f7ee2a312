//! `aios init`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aios_vault::Vault;
use aios_vault::create::{NewVault, branch_before, published_by_a_vault};
use aios_vault::{nested, place};
use serde_json::json;

use crate::args::InitArgs;
use crate::command::recovery;
use crate::command::written;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::report;
use crate::template::{self, Template};
use crate::ui::Ui;

/// Makes a folder a vault.
pub fn run(args: &InitArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let dir = match &cx.vault_dir {
        Some(base) => base.join(&args.dir),
        None => args.dir.clone(),
    };
    let template = match args.template.as_deref() {
        Some("list") => return template::list(ui),
        Some(name) => Some(Template::named(name)?),
        None => None,
    };
    if let Some(template) = template {
        template.write(&dir)?;
    }
    let waiting: BTreeSet<String> = template.into_iter().flat_map(Template::gated).collect();
    let phrase = recovery::new()?;
    let new = NewVault {
        waiting,
        name: args.name.clone(),
        device: args.device.clone(),
        phrase: Some(phrase.clone()),
        sealed: args.sealed,
    };
    let outer = around(&dir, args.hand_over)?;
    if args.hand_over && dir.join(".aios/replica.json").is_file() {
        return hand_over(&dir, outer, ui);
    }
    let branch = branch_before(&dir);
    let of_another = published_by_a_vault(&dir);
    let (mut vault, absorbed) = Vault::create(&dir, &new, &mut ui.progress())?;
    recovery::show(&phrase, ui)?;
    let round = vault.finish(absorbed, &mut ui.progress())?;
    let exit = report::round(ui, &mut vault, &round)?;
    let clouded = place::clouded(vault.root());
    report::problems(ui, &clouded);
    let files = round.absorbed.changed.iter().filter(|change| change.change == "added").count();
    let head = round.head.map(|head| head.to_string());
    if ui.json() {
        ui.value(&json!({
            "vault": vault.id(),
            "device": vault.device(),
            "head": head,
            "files": files,
            "phrase": phrase.words(),
            "accept": new.waiting,
            "problems": round.problems().chain(&clouded).collect::<Vec<_>>(),
        }))?;
    }
    ui.line(format!("{} is a vault, {}", vault.root().display(), report::count(files, "file")))?;
    ui.flush()?;
    if let Some(branch) = branch {
        ui.note(format!("git goes on from branch {branch} on branch main; {branch} stays as it was"));
    }
    if of_another {
        ui.warn(
            "its git history was published by a vault, and this is another one",
            Some("to have the same vault here: `aios pair` on one of its devices, and `aios join` in a folder beside this one"),
        );
    }
    if let Some((outer, _)) = &outer {
        let outer = outer.display();
        ui.note(format!("it lies in the vault {outer}, which does not take in what is in it"));
    }
    report::problems(ui, &written::wrong_in_force(&mut vault)?);
    if !new.waiting.is_empty() {
        let files = report::count(new.waiting.len(), "file");
        ui.line(format!("{files} of the template do nothing yet; this shows them and puts them in force:"))?;
        ui.line(format!("  {}", template::accept_command(&args.dir)))?;
        ui.flush()?;
    }
    ui.note("hint: `aios pair` lets another device join");
    drop(vault);
    if args.hand_over {
        hand_over(&dir, outer, ui)?;
    }
    Ok(exit)
}

/// The vault around a folder that is to be one, and the folder's path in it. One that holds documents is made a vault of its
/// own only where that is asked for: they are on other devices, too.
fn around(dir: &Path, hand_over: bool) -> Result<Option<(PathBuf, String)>, CliError> {
    let at = std::path::absolute(dir).map_err(|e| CliError::io("find the folder", e))?;
    // What does not exist yet has no links to resolve.
    let at = at.canonicalize().unwrap_or(at);
    let Some(outer) = nested::around(&at) else { return Ok(None) };
    let folder = match at.strip_prefix(&outer).ok().and_then(Path::to_str) {
        Some(folder) => folder.to_owned(),
        None => return Ok(None),
    };
    if at.is_dir() && !hand_over && !at.join(".aios").exists() {
        let held = Vault::open(&outer)?.documents_in(&folder)?.len();
        if held > 0 {
            return Err(CliError::failed(
                format!("{folder} holds {} of the vault {}", report::count(held, "file"), outer.display()),
                "`--hand-over` makes it a vault of its own all the same: they go from the other vault and its devices, but not from its history",
            ));
        }
    }
    Ok(Some((outer, folder)))
}

/// Takes the documents in a folder that is a vault by now out of the vault around it.
fn hand_over(dir: &Path, outer: Option<(PathBuf, String)>, ui: &mut Ui) -> Result<Exit, CliError> {
    let Some((outer, folder)) = outer else {
        return Err(CliError::usage(format!(
            "{} does not lie in a vault: there is nothing to hand over",
            dir.display()
        )));
    };
    let mut vault = Vault::open(&outer)?;
    let gone = vault.hand_over(&folder, &mut ui.progress())?;
    let round = vault.finish(Default::default(), &mut ui.progress())?;
    ui.note(format!(
        "handed over from the vault {}, whose history keeps it: {}",
        outer.display(),
        report::count(gone.len(), "file")
    ));
    report::round(ui, &mut vault, &round)
}
