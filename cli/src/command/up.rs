//! `aios up` and `aios worker`

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use aios_sync::daemon;
use aios_sync::net::Scope;
use aios_sync::node::Settings;
use aios_sync::profile;
use aios_sync::site::Site;
use aios_sync::work::Worker;
use serde_json::json;
use tokio::sync::Notify;

use crate::args::{Profile, ProfileArgs, UpArgs, WorkerArgs};
use crate::clerk::Clerk;
use crate::command::sync::{runtime, settings};
use crate::context::Context;

use crate::error::CliError;
use crate::exit::Exit;
use crate::hook;
use crate::service::{Service, Starter};
use crate::ui::{Ui, complain};

/// Runs the daemon until it is told to end.
pub fn run(args: &UpArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let site = Site::find(cx.dir())?;
    let told = args.profile.told()?;
    let device = site.keeper().work(move |vault| {
        told.map_or(Ok(()), |profile| vault.set_profile(profile))?;
        Ok(vault.profile())
    })?;
    if args.install {
        return install(&site, args, ui);
    }
    let settings = settings(ui)?;
    let scope = match &args.listen {
        Some(text) => listen(text, settings.scope)?,
        None => settings.scope,
    };
    let settings = Settings { scope, on_progress: None, ..settings };
    let notice = Arc::new(|text: &str| complain("warning", text));
    let mut said = Ok(());
    let (root, folder) = (site.keeper().root().to_owned(), site.folder().to_owned());
    let ready = |addrs: &[SocketAddr]| {
        // A daemon that cannot take calls goes on with all else.
        let hooks = hook::listen(&root, &folder, scope == Scope::Loopback).unwrap_or_else(|e| {
            ui.error(&e);
            None
        });
        said = ready(addrs, hooks, ui);
    };
    let profile = match device.is_lean() {
        true => profile::Profile::BATTERY,
        false => profile::Profile::PLUGGED,
    };
    let pause = profile::Pause::new(site.keeper().root().join(".aios/pause"), args.pause_if.clone());
    let bell = Arc::new(Notify::new());
    let worker = Worker::new(Clerk::new(bell.clone()), bell);
    runtime()?.block_on(daemon::run(site, worker, settings, (profile, pause), notice, ready))?;
    said?;
    Ok(Exit::Done)
}

/// What the environment says of the daemon goes with it.
const ENVIRONMENT: [&str; 3] = ["AIOS_DATA_DIR", "AIOS_NET", "AIOS_RELAY"];

/// Writes what has the system start the daemon; says how to begin.
fn install(site: &Site, args: &UpArgs, ui: &mut Ui) -> Result<Exit, CliError> {
    let program = std::env::current_exe().map_err(|e| CliError::io("find this program", e))?;
    let root = site.keeper().root().canonicalize().map_err(|e| CliError::io("find the vault", e))?;
    let text = |path: &Path| {
        let said = path.to_str().map(str::to_owned);
        said.ok_or_else(|| CliError::usage(format!("{} is no UTF-8, which a service needs", path.display())))
    };
    let mut command = vec![text(&program)?, "-C".into(), text(&root)?, "up".into()];
    if let Some(pause) = &args.pause_if {
        command.extend(["--pause-if".into(), pause.clone()]);
    }
    if let Some(listen) = &args.listen {
        command.extend(["--listen".into(), listen.clone()]);
    }
    let environment =
        ENVIRONMENT.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
    let name = site.device().hex()[..8].to_owned();
    let vault = site.name().to_owned();
    let service = Service { name, vault, command, environment: environment.collect() };
    let starter = Starter::here();
    let path = starter
        .path(&service)
        .ok_or_else(|| CliError::failed("this user has no home folder", "set HOME and try again"))?;
    let wrap = |e| CliError::io("write the service", e);
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).map_err(wrap)?;
    std::fs::write(&path, starter.file(&service)).map_err(wrap)?;
    let (start, end) = starter.commands(&service, &path);
    if ui.json() {
        ui.value(&json!({"path": path, "start": start, "remove": end}))?;
    }
    ui.line(format!("{} is written; it starts with", path.display()))?;
    ui.line(format!("  {start}"))?;
    ui.line("and is taken away again with")?;
    ui.line(format!("  {end}"))?;
    Ok(Exit::Done)
}

/// Runs `aios worker`: the daemon without dashboard.
pub fn run_worker(args: &WorkerArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let listen = args.listen.clone();
    let profile = ProfileArgs { profile: Some(Profile::Worker), blobs_below: None };
    let args = UpArgs { listen, no_ui: true, ui: None, profile, pause_if: None, install: false };
    run(&args, cx, ui)
}

fn ready(addrs: &[SocketAddr], hooks: Option<SocketAddr>, ui: &mut Ui) -> Result<(), CliError> {
    match ui.json() {
        true => ui.value(&json!({"ready": true, "addrs": addrs, "hooks": hooks}))?,
        false => {
            let addrs: Vec<String> = addrs.iter().map(SocketAddr::to_string).collect();
            ui.line(format!("ready {}", addrs.join(" ")))?;
            if let Some(hooks) = hooks {
                ui.line(format!("hooks http://{hooks}"))?;
            }
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
