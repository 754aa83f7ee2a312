//! `aios devices`

use aios_core::id::DeviceId;
use aios_core::key::SecretKey;
use aios_core::member::Member;
use aios_sync::control::Client;
use aios_sync::site::Site;
use aios_vault::Vault;
use serde_json::{Value, json};

use crate::args::{DevicesArgs, DevicesCommand};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::phrase;
use crate::report;
use crate::ui::{Style, Ui};

/// Lists the members, or changes one.
pub fn run(args: &DevicesArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    // Whoever is asked for words must not keep others from the vault meanwhile.
    let root = root(args)?;
    if matches!(args.command, Some(DevicesCommand::Rotate)) {
        check_quiet(cx)?;
    }
    let mut vault = cx.open()?;
    match &args.command {
        None => {}
        Some(DevicesCommand::Rename { name, to }) => {
            let device = vault.find_member(name)?;
            vault.rename_device(&device, to)?;
        }
        Some(DevicesCommand::Role { name, role, .. }) => {
            let device = vault.find_member(name)?;
            let operator = vault.members().0.get(&device).is_some_and(|member| member.operator.is_some());
            let roles = role.purpose().roles();
            if aios_vault::admit::holds_operator(&roles) && !operator {
                return Err(CliError::failed(
                    format!("{name} holds no operator key, so it cannot approve"),
                    "pair it anew with that role",
                ));
            }
            match &root {
                None => vault.change_roles(&device, &roles)?,
                Some(root) => vault.change_roles_as_root(&device, &roles, root)?,
            }
        }
        Some(DevicesCommand::Revoke { name, .. }) => {
            let device = vault.find_member(name)?;
            match &root {
                None => vault.revoke_device(&device)?,
                Some(root) => vault.revoke_device_as_root(&device, root)?,
            }
            ui.note(format!(
                "{name} is revoked. It keeps the files it has: change the passwords and keys that lie on it. \
                 The others learn of it when they sync."
            ));
        }
        Some(DevicesCommand::Rotate) => {
            let old = vault.device();
            let new = vault.rotate()?;
            ui.note(format!(
                "this device, {} until now, is {} from now on; what lay elsewhere with the old keys is of no more use",
                old.short(8),
                new.short(8)
            ));
        }
        Some(DevicesCommand::Adopt { name }) => {
            let device = vault.find_member(name)?;
            let early = vault.adopt_early(&device)?;
            match vault.adopt_device(&device)? {
                None if early > 0 => ui.note(format!(
                    "{} of {name} from the time to come will count here, with the next sync that brings them",
                    report::count(early, "record")
                )),
                Some(record) => ui.note(format!("what {name} wrote counts, by record {}", record.short(12))),
                None => ui.note(format!("nothing that {name} wrote is held")),
            }
        }
    }
    if args.command.is_some() {
        vault.finish(Default::default(), &mut ui.progress())?;
    }
    list(&vault, ui)?;
    Ok(Exit::Done)
}

/// A daemon listens under the old key, and would go on to.
fn check_quiet(cx: &Context) -> Result<(), CliError> {
    match Client::connect(Site::find(cx.dir())?.folder()) {
        None => Ok(()),
        Some(_) => Err(CliError::failed(
            "`aios up` runs here under the old key",
            "end it, and start it again after this",
        )),
    }
}

/// The root key, where the recovery phrase is to sign.
fn root(args: &DevicesArgs) -> Result<Option<SecretKey>, CliError> {
    let by = match &args.command {
        Some(DevicesCommand::Revoke { by, .. } | DevicesCommand::Role { by, .. }) => by,
        _ => return Ok(None),
    };
    match by.phrase || by.phrase_file.is_some() {
        true => Ok(Some(phrase::read(by.phrase_file.as_deref())?.root_key())),
        false => Ok(None),
    }
}

fn list(vault: &Vault, ui: &mut Ui) -> Result<(), CliError> {
    let peers = vault.peers()?;
    let mut rows: Vec<Value> = Vec::new();
    let mut members: Vec<_> = vault.members().0.iter().collect();
    members.sort_by_key(|(device, member)| (member.time, **device));
    for (device, member) in members {
        let seen = peers.get(device).and_then(|peer| peer.seen);
        let time = |ms: u64| Some(aios_vault::audit::time(ms));
        rows.push(json!({
            "id": device, "name": member.name, "roles": member.roles,
            "added": time(member.time), "became": member.became, "revoked": member.revoked.and_then(|revoked| time(revoked.time)),
            "last_seen": seen.and_then(time),
        }));
        let forgotten = peers.get(device).is_some_and(|peer| peer.forgotten);
        let heard = match seen.and_then(time) {
            Some(time) => format!("last heard from {time}"),
            None if forgotten => "when it was heard from is not known since the rebuild".to_owned(),
            None => "never heard from".to_owned(),
        };
        ui.line(describe(vault, device, member, heard, ui))?;
    }
    match ui.json() {
        true => ui.value(&rows),
        false => Ok(()),
    }
}

fn describe(vault: &Vault, device: &DeviceId, member: &Member, heard: String, ui: &Ui) -> String {
    let Member { name, roles, revoked, became, .. } = member;
    let when = match (revoked, *device == vault.device()) {
        _ if became.is_some() => {
            format!("goes on as {}", vault.members().now(device).short(8))
        }
        (Some(revoked), own) => {
            let this = if own { "this device, " } else { "" };
            format!("{this}revoked by {}", vault.members().name(&revoked.place.device))
        }
        (None, true) => "this device".to_owned(),
        (None, false) => heard,
    };
    let name = ui.paint(Style::Bold, format!("{name:<16}"));
    format!("{name} {}  {when}  {}", device.short(8), roles.join(", "))
}
