//! `aios demo`: three devices on this machine, each a process of this program, edit one company while apart.

mod cases;
mod device;
mod work;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::args::DemoArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::template::Template;
use crate::ui::{Style, Ui, one_line};
use cases::{CASES, Case, Form, On};
use device::{Device, Running};

/// How long the devices have to agree.
const AGREE: Duration = Duration::from_secs(120);

/// Plays the demo.
pub fn run(args: &DemoArgs, _cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let dir = folder(args.dir.as_deref())?;
    let devices = [Device::new(&dir, "laptop")?, Device::new(&dir, "phone")?, Device::new(&dir, "worker")?];
    let [laptop, phone, worker] = &devices;
    title(ui, "A company of one, on three devices")?;
    let company = Template::named("consultant")?;
    company.write(&laptop.root)?;
    let files = company.files.len();
    let root = laptop.root.to_string_lossy();
    let made =
        laptop.run_at(&["--json", "init", &root, "--name", "Studio Peilschaal", "--device", "laptop"])?;
    if made.1 != 0 {
        return Err(CliError::failed(
            format!("`aios init` ended with {}", made.1),
            "run it by hand in the demo's folder",
        ));
    }
    ui.line(format!("laptop   {files} files imported"))?;
    pair(laptop, phone, "phone", ui)?;
    pair(laptop, worker, "worker", ui)?;

    title(ui, "Apart, each device edits")?;
    for case in CASES {
        for (on, act) in case.acts {
            device(&devices, *on).act(act)?;
        }
    }
    for device in &devices {
        let done = device.must(&["commit", "-m", &format!("Edits on the {}", device.name)])?;
        let changed = done["changed"].as_array().map_or(0, Vec::len);
        ui.line(format!("{:<8} {changed} changes in one record", device.name))?;
    }

    title(ui, "Together, they sync")?;
    let up: Vec<Running> =
        devices.iter().map(|device| device.start(&["up", "--no-ui"])).collect::<Result<_, _>>()?;
    let up = up.into_iter().map(Running::ready).collect::<Result<Vec<_>, _>>()?;
    let equal = agree(&devices)?;
    ui.line(match equal {
        true => "all three have the same records".to_owned(),
        false => "they do not agree".to_owned(),
    })?;

    title(ui, "Connected, all three save the same note at once")?;
    let mut wrong = Vec::new();
    let live = live(&devices, &mut wrong, ui)?;
    title(ui, "At work, from the mail of a lead to the money")?;
    let worked = work::play(&devices, &mut wrong, ui)?;
    let equal = equal && agree(&devices)?;
    for running in up {
        running.terminate()?;
    }
    let heads = heads(&devices)?;

    title(ui, "What merged")?;
    let mut shown = Vec::new();
    for case in CASES {
        shown.push(show(case, laptop, &mut wrong, ui)?);
    }
    let conflicts = conflicts(laptop, ui)?;
    title(ui, "What holds")?;
    let checks = check(&devices, &heads, &mut wrong, ui)?;
    ui.line("")?;
    for device in &devices {
        ui.line(format!("{:<8} {}", device.name, device.root.display()))?;
    }
    ui.line(format!(
        "\nTheir keys lie in the demo's folder too; to look around:\n  {}",
        laptop.to_look("conflicts")
    ))?;
    for what in &wrong {
        ui.warn(what, None);
    }
    if ui.json() {
        ui.value(&json!({
            "dir": dir, "live": live, "work": worked, "cases": shown, "conflicts": conflicts, "checks": checks, "wrong": wrong,
            "devices": devices.iter().zip(&heads).map(|(device, (head, state))| {
                json!({"name": device.name, "dir": device.root, "head": head, "state": state})
            }).collect::<Vec<_>>(),
        }))?;
    }
    Ok(if wrong.is_empty() && equal { Exit::Done } else { Exit::Failed })
}

fn device(devices: &[Device; 3], on: On) -> &Device {
    match on {
        On::Laptop => &devices[0],
        On::Phone => &devices[1],
        On::Worker => &devices[2],
    }
}

fn title(ui: &mut Ui, text: &str) -> Result<(), CliError> {
    let text = ui.paint(Style::Bold, text);
    ui.line(format!("\n{text}"))
}

/// The folder of the demo: new or empty.
fn folder(given: Option<&Path>) -> Result<PathBuf, CliError> {
    let dir = match given {
        Some(dir) => dir.to_owned(),
        None => {
            let mut noise = [0u8; 4];
            getrandom::fill(&mut noise)
                .map_err(|e| CliError::failed(format!("no random bytes: {e}"), "name a folder"))?;
            std::env::temp_dir().join(format!("aios-demo-{}", data_encoding::HEXLOWER.encode(&noise)))
        }
    };
    let io = |e| CliError::io(format!("use {}", dir.display()), e);
    std::fs::create_dir_all(&dir).map_err(io)?;
    match std::fs::read_dir(&dir).map_err(io)?.next() {
        None => std::fs::canonicalize(&dir).map_err(io),
        Some(_) => Err(CliError::Usage {
            what: format!("{} is not empty", dir.display()),
            hint: Some("name a new folder, or none".into()),
        }),
    }
}

fn pair(laptop: &Device, other: &Device, role: &str, ui: &mut Ui) -> Result<(), CliError> {
    let mut pairing = laptop.start(&["pair", "--json", "--role", role])?;
    let line = pairing.line()?;
    let ticket = serde_json::from_str::<Value>(&line)
        .ok()
        .and_then(|value| Some(value["ticket"].as_str()?.to_owned()));
    let Some(ticket) = ticket else {
        return Err(CliError::failed(format!("`aios pair` printed no ticket: {line}"), "run it by hand"));
    };
    let root = other.root.to_string_lossy();
    let (joined, code) = other.run_at(&["--json", "join", &ticket, &root, "--device", other.name])?;
    if code != 0 {
        return Err(CliError::failed(format!("`aios join` ended with {code}"), "run it by hand"));
    }
    pairing.end()?;
    ui.line(format!("{:<8} {} files received", other.name, joined["files"]))
}

type Heads = Vec<(String, String)>;

/// Has every device sync until all have the same.
fn agree(devices: &[Device; 3]) -> Result<bool, CliError> {
    let until = Instant::now() + AGREE;
    while Instant::now() < until {
        let mut synced = true;
        let mut found = BTreeSet::new();
        for device in devices {
            let (report, _) = device.run(&["sync", "--timeout", "10s"])?;
            synced &= report["synced"] == json!(true);
            found.insert((report["head"].to_string(), report["state"].to_string()));
        }
        if synced && found.len() == 1 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What each device ends with.
fn heads(devices: &[Device; 3]) -> Result<Heads, CliError> {
    let mut heads = Vec::new();
    for device in devices {
        let status = device.must(&["status"])?;
        let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
        heads.push((text("head"), text("state")));
    }
    Ok(heads)
}

/// The note that all three edit while they are connected.
const NOTE: &str = "live.md";

/// Has every device change its own line of one note at the same moment, while their daemons run, and waits until all three notes
/// say all of it.
fn live(devices: &[Device; 3], wrong: &mut Vec<String>, ui: &mut Ui) -> Result<Value, CliError> {
    let save = |device: &Device, text: &str| {
        let path = device.root.join(NOTE);
        let io = |e| CliError::io(format!("write {}", path.display()), e);
        path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(io)?;
        std::fs::write(&path, text).map_err(io)
    };
    let everywhere = |text: &str| {
        let begun = Instant::now();
        let shows = |device: &Device| {
            std::fs::read(device.root.join(NOTE)).is_ok_and(|bytes| bytes == text.as_bytes())
        };
        while !devices.iter().all(shows) {
            if begun.elapsed() > AGREE {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Some(begun.elapsed())
    };
    let note = |said: &dyn Fn(&Device) -> bool| -> String {
        let line = |device: &Device| match said(device) {
            true => format!("{}: here\n", device.name),
            false => format!("{}:\n", device.name),
        };
        devices.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    save(&devices[0], &note(&|_| false))?;
    let came = everywhere(&note(&|_| false));
    for device in devices {
        save(device, &note(&|other| other.name == device.name))?;
    }
    let merged = everywhere(&note(&|_| true));
    let ms = |time: Option<Duration>| time.map(|time| time.as_millis() as u64);
    match (ms(came), ms(merged)) {
        (Some(came), Some(merged)) => {
            ui.line(format!("a new note is on all three after {came} ms"))?;
            ui.line(format!("three saves of it at once are one note on all three after {merged} ms"))?;
        }
        _ => wrong.push(format!("{NOTE}: not the same on all three")),
    }
    Ok(json!({"path": NOTE, "came_ms": ms(came), "merged_ms": ms(merged)}))
}

/// Prints what came of a case, and notes what is not as it must be.
fn show(case: &Case, laptop: &Device, wrong: &mut Vec<String>, ui: &mut Ui) -> Result<Value, CliError> {
    let bytes = std::fs::read(laptop.root.join(case.path)).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let name = ui.paint(Style::Cyan, case.path);
    ui.line(format!("{}: {name}", case.title))?;
    let mut lines = Vec::new();
    for part in case.lines {
        let count = text.lines().filter(|line| line.contains(part)).count();
        if count != 1 {
            wrong.push(format!("{}: {count} lines with `{part}`", case.path));
        }
    }
    for (at, line) in text.lines().enumerate() {
        if case.lines.iter().any(|part| line.contains(part)) {
            ui.line(format!("  {:>3}  {line}", at + 1))?;
            lines.push(json!({"line": at + 1, "text": line}));
        }
    }
    let ends = text.matches('\n').count();
    match case.form {
        Form::Crlf if ends != text.matches("\r\n").count() => {
            wrong.push(format!("{}: not all lines end with CR LF", case.path))
        }
        Form::NoFinalNewline if text.ends_with('\n') => {
            wrong.push(format!("{}: it ends with a newline", case.path))
        }
        _ => {}
    }
    if let Some(gone) = case.gone.filter(|gone| laptop.root.join(gone).exists()) {
        wrong.push(format!("{gone} is still there"));
    }
    Ok(json!({"case": case.title, "path": case.path, "lines": lines}))
}

fn conflicts(laptop: &Device, ui: &mut Ui) -> Result<Value, CliError> {
    title(ui, "What is kept beside, for you to decide (aios conflicts)")?;
    let found = laptop.must(&["conflicts"])?;
    let mut rows: Vec<String> = Vec::new();
    for conflict in found.as_array().into_iter().flatten() {
        let text = |key: &str| conflict[key].as_str().unwrap_or_default().to_owned();
        let values = conflict["values"].as_array().into_iter().flatten();
        let values: Vec<String> =
            values.map(|value| one_line(value["value"].as_str().unwrap_or_default())).collect();
        let key = match text("key").as_str() {
            "" => String::new(),
            key => format!(" {key}"),
        };
        rows.push(format!("{}{key}: {} ({})", text("path"), text("kind"), values.join(" / ")));
    }
    rows.sort();
    for row in rows {
        ui.line(row.trim_end())?;
    }
    Ok(found)
}

/// Prints what holds of all three, and notes what does not.
fn check(
    devices: &[Device; 3],
    heads: &Heads,
    wrong: &mut Vec<String>,
    ui: &mut Ui,
) -> Result<Value, CliError> {
    let first = devices[0].files()?;
    let mut checks = Vec::new();
    let mut note = |what: String, holds: bool, ui: &mut Ui| {
        if !holds {
            wrong.push(format!("not so: {what}"));
        }
        checks.push(json!({"check": what, "holds": holds}));
        let mark = if holds { ui.paint(Style::Green, "yes") } else { ui.paint(Style::Red, "NO ") };
        ui.line(format!("{mark}  {what}"))
    };
    let same =
        devices.iter().map(|device| Ok(device.files()? == first)).collect::<Result<Vec<bool>, CliError>>()?;
    note(
        format!("the {} files are the same bytes on all three", first.len()),
        same.iter().all(|same| *same),
        ui,
    )?;
    let one = |part: fn(&(String, String)) -> &String| {
        let set: BTreeSet<&String> = heads.iter().map(part).collect();
        set.len() == 1 && set.iter().all(|text| !text.is_empty())
    };
    note("git HEAD is the same".into(), one(|(head, _)| head), ui)?;
    note("the state hash is the same".into(), one(|(_, state)| state), ui)?;
    for device in devices {
        let (_, code) = device.run(&["verify"])?;
        note(format!("aios verify finds nothing on the {}", device.name), code == 0, ui)?;
    }
    let git = |root: &Path, args: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(root).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        git.status().map(|status| status.success())
    };
    if git(Path::new("."), &["--version"]).is_ok() {
        for device in devices {
            let sound = git(&device.root, &["fsck", "--strict"]).unwrap_or(false);
            note(format!("git fsck finds nothing on the {}", device.name), sound, ui)?;
        }
    }
    Ok(Value::Array(checks))
}
