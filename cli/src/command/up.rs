//! `aios up` and `aios worker`

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use aios_sync::daemon;
use aios_sync::net::Scope;
use aios_sync::node::Settings;
use aios_sync::site::Site;
use serde_json::json;

use crate::args::{Profile, UpArgs, WorkerArgs};
use crate::command::sync::{runtime, settings};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::ui::{Ui, one_line};

/// Runs the daemon until it is told to end.
pub fn run(args: &UpArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let site = Site::find(cx.dir())?;
    let settings = settings(ui);
    let scope = match &args.listen {
        Some(text) => listen(text, settings.scope)?,
        None => settings.scope,
    };
    let settings = Settings { scope, on_progress: None, ..settings };
    let notice = Arc::new(|text: &str| eprintln!("warning: {}", one_line(text)));
    let mut said = Ok(());
    let ready = |addrs: &[SocketAddr]| said = ready(addrs, ui);
    runtime()?.block_on(daemon::run(site, settings, notice, ready))?;
    said?;
    Ok(Exit::Done)
}

/// Runs `aios worker`: the daemon without dashboard.
pub fn run_worker(args: &WorkerArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let args = UpArgs { listen: args.listen.clone(), no_ui: true, ui: None, profile: Profile::Worker };
    run(&args, cx, ui)
}

fn ready(addrs: &[SocketAddr], ui: &mut Ui) -> Result<(), CliError> {
    match ui.json() {
        true => ui.value(&json!({"ready": true, "addrs": addrs}))?,
        false => {
            let addrs: Vec<String> = addrs.iter().map(SocketAddr::to_string).collect();
            ui.line(format!("ready {}", addrs.join(" ")))?;
        }
    }
    ui.flush()
}

/// Where `--listen` says to listen: an address with or without port, or a port.
fn listen(text: &str, scope: Scope) -> Result<Scope, CliError> {
    let any = |port| match scope {
        Scope::Loopback => SocketAddr::from(([127, 0, 0, 1], port)),
        _ => SocketAddr::from(([0, 0, 0, 0], port)),
    };
    let addr = text.parse::<SocketAddr>().ok();
    let addr = addr.or_else(|| text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 0)));
    let addr = addr.or_else(|| text.trim_start_matches(':').parse::<u16>().ok().map(any));
    match addr {
        Some(addr) if scope == Scope::Loopback && !addr.ip().is_loopback() => {
            Err(CliError::usage(format!("AIOS_NET=loopback binds to 127.0.0.1 only, not to {addr}")))
        }
        Some(addr) => Ok(Scope::At(addr)),
        None => {
            Err(CliError::usage(format!("`{text}` is no address to listen on: write IP:PORT, IP or PORT")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let at = |text: &str| listen(text, Scope::All).ok();
        assert_eq!(at("127.0.0.1:7"), Some(Scope::At("127.0.0.1:7".parse().unwrap())));
        assert_eq!(at("[::1]:7"), Some(Scope::At("[::1]:7".parse().unwrap())));
        assert_eq!(at("10.0.0.1"), Some(Scope::At("10.0.0.1:0".parse().unwrap())));
        assert_eq!(at("7"), Some(Scope::At("0.0.0.0:7".parse().unwrap())));
        assert_eq!(at("host:7"), None);
        assert_eq!(listen("7", Scope::Loopback).unwrap(), Scope::At("127.0.0.1:7".parse().unwrap()));
        assert!(listen("10.0.0.1:7", Scope::Loopback).is_err());
    }
}
