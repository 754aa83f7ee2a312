//! `aios pair`

use std::cell::RefCell;

use aios_core::id::DeviceId;
use aios_sync::control::{Answer, Client, Request};
use aios_sync::daemon;
use aios_sync::site::Site;
use aios_vault::Error;
use aios_vault::admit::Purpose;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use serde_json::json;

use crate::args::{PairArgs, Role};
use crate::command::sync::{runtime, settings};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::moment::span;
use crate::ui::{Ui, one_line};

impl Role {
    /// What a device of this role is for.
    pub fn purpose(self) -> Purpose {
        match self {
            Role::Laptop => Purpose::Laptop,
            Role::Phone => Purpose::Phone,
            Role::Worker => Purpose::Worker,
            Role::Carrier => Purpose::Carrier,
        }
    }
}

/// Prints a one-time ticket and waits until one device has joined.
pub fn run(args: &PairArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let lifetime = span(&args.expires)?;
    let site = Site::find(cx.dir())?;
    let name = args.name.clone();
    site.keeper().work(|vault| vault.administrator("let devices in").map(|_| ()))?;
    site.keeper().work(move |vault| name.map_or(Ok(()), |name| vault.check_new_name(&name))).map_err(
        // The ticket would be one that nobody can use.
        |e| match e {
            Error::NameTaken(_) => CliError::Usage { what: e.to_string(), hint: e.hint() },
            e => e.into(),
        },
    )?;
    let roles = args.role.purpose().roles();
    if args.role == Role::Carrier && !site.keeper().work(|vault| vault.is_sealed_vault())? {
        ui.note("the vault is not sealed: a device that carries it can read it");
    }
    let answer = match Client::connect(site.folder()) {
        Some(mut client) => {
            let lifetime = lifetime.as_millis() as u64;
            client.ask(&Request::Pair { roles, name: args.name.clone(), lifetime }, None)?;
            if let Answer::Ticket { ticket } = client.answer()? {
                show(&ticket, ui)?;
            }
            loop {
                match client.answer()? {
                    Answer::Refused { what } => turned_away(&what, ui),
                    answer => break answer,
                }
            }
        }
        None => {
            let settings = settings(ui)?;
            let (mut shown, ui) = (Ok(()), RefCell::new(&mut *ui));
            let show = |ticket: &str| shown = show(ticket, &mut ui.borrow_mut());
            let refused = |what: &str| turned_away(what, &mut ui.borrow_mut());
            let pairing = daemon::pair(&site, settings, roles, args.name.clone(), lifetime, show, refused);
            let answer = runtime()?.block_on(pairing)?;
            shown?;
            answer
        }
    };
    match answer {
        Answer::Joined { id, name, roles } => joined(&id, &name, &roles, ui),
        _ => Err(CliError::failed("the daemon answered something else", "stop `aios up` and start it again")),
    }
}

fn turned_away(what: &str, ui: &mut Ui) {
    ui.warn(
        one_line(&format!("a device could not join: {what}")),
        Some("the ticket holds on, and is waited with: mend it there and join again"),
    );
}

fn show(ticket: &str, ui: &mut Ui) -> Result<(), CliError> {
    match ui.json() {
        true => ui.value(&json!({"ticket": ticket}))?,
        false => ui.line(ticket)?,
    }
    ui.flush()?;
    if ui.terminal() && !ui.quiet() {
        // Upper case takes a smaller code, and is read too.
        if let Ok(code) = QrCode::with_error_correction_level(ticket.to_uppercase(), EcLevel::L) {
            ui.note(code.render::<Dense1x2>().quiet_zone(true).build());
        }
        ui.note("On the other device: aios join TICKET");
    }
    Ok(())
}

fn joined(id: &DeviceId, name: &str, roles: &[String], ui: &mut Ui) -> Result<Exit, CliError> {
    match ui.json() {
        true => ui.value(&json!({"joined": {"id": id, "name": name, "roles": roles}}))?,
        false => ui.line(format!("{name} has joined: {}", roles.join(", ")))?,
    }
    Ok(Exit::Done)
}
