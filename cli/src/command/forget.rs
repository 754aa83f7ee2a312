//! `aios forget`

use aios_sync::remote::Remotes;
use aios_vault::Vault;
use aios_vault::absorb::AbsorbOptions;
use aios_vault::forget::{Forgettable, Forgotten};
use serde_json::json;

use crate::args::ForgetArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::report::count;
use crate::size::said;
use crate::ui::{Ui, one_line};

/// Has what files ever held dropped, or says what was.
pub fn run(args: &ForgetArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut vault = cx.open()?;
    if args.paths.is_empty() && !args.unexplained {
        return list(&vault, ui);
    }
    let paths: Vec<String> = args.paths.iter().map(|path| cx.path(&vault, path)).collect::<Result<_, _>>()?;
    // What lies there now is what is to be forgotten, not what lay there a save ago.
    if args.yes && !args.unexplained {
        vault.commit(&AbsorbOptions::default(), &mut ui.progress())?;
    }
    let mut found: Vec<Forgettable> = Vec::new();
    if args.unexplained {
        found = vault.unexplained()?;
        if found.is_empty() {
            ui.line("nothing is unexplained")?;
            return Ok(Exit::Done);
        }
    }
    for path in &paths {
        for one in vault.forgettable(path)? {
            if !found.contains(&one) {
                found.push(one);
            }
        }
    }
    if !args.yes {
        if ui.json() {
            ui.value(&json!({"forgotten": [], "would": found}))?;
        }
        tell(&found, ui)?;
        ui.warn(
            "nothing was forgotten: this cannot be undone, on any device".to_owned(),
            Some("go on with `aios forget --yes`"),
        );
        return Ok(Exit::Unconfirmed);
    }
    let docs: Vec<_> = found.iter().map(|one| one.doc).collect();
    let record = vault.forget(&docs)?;
    let round = vault.finish(Default::default(), &mut ui.progress())?;
    let remotes: Vec<String> =
        Remotes::load(vault.root())?.all().iter().map(|remote| remote.name.clone()).collect();
    if ui.json() {
        let head = round.head.map(|head| head.to_string());
        ui.value(&json!({"forgotten": found, "record": record, "head": head, "remotes": remotes}))?;
    }
    tell(&found, ui)?;
    ui.line(format!(
        "{} forgotten here; the other devices drop it when they sync",
        count(found.len(), "file")
    ))?;
    let in_git: u64 =
        vault.forgotten()?.iter().filter(|one| docs.contains(&one.doc)).map(|one| one.in_git).sum();
    if in_git > 0 {
        ui.warn(
            format!(
                "git still has {}: in a pack marked with a `.keep` file, or another repository",
                count(in_git, "version")
            ),
            Some("remove the mark in .git/objects/pack, and forget it once more"),
        );
    }
    let aside = vault.kept_aside()?;
    if !aside.is_empty() {
        ui.warn(
            format!("what was set aside in mending stays as it is: {}", count(aside.len(), "file")),
            Some("look into .aios/aside, and remove what is not needed"),
        );
    }
    if !remotes.is_empty() {
        ui.warn(
            format!("what was published stays there: {}", remotes.join(", ")),
            Some("`aios remote remove` it, empty that place, and add it again; clones that somebody made keep what they have"),
        );
    }
    Ok(Exit::Done)
}

fn tell(found: &[Forgettable], ui: &mut Ui) -> Result<(), CliError> {
    for Forgettable { path, lives, versions, bytes, .. } in found {
        let gone = if *lives { "" } else { ", deleted before" };
        let what = format!("{path}: {}, {}{gone}", count(*versions, "version"), said(*bytes));
        ui.line(one_line(&what))?;
    }
    Ok(())
}

fn list(vault: &Vault, ui: &mut Ui) -> Result<Exit, CliError> {
    let forgotten = vault.forgotten()?;
    if ui.json() {
        ui.value(&forgotten)?;
    }
    for Forgotten { path, kept, in_git, .. } in &forgotten {
        let late = match kept {
            0 => String::new(),
            kept => format!(": {} saved on a device that had not heard of it", count(*kept, "version")),
        };
        let there = match in_git {
            0 => String::new(),
            there => format!("; git has {} of it still", count(*there, "version")),
        };
        ui.line(one_line(&format!("{path}{late}{there}")))?;
    }
    if forgotten.is_empty() {
        ui.line("nothing was forgotten")?;
    }
    Ok(Exit::Done)
}
