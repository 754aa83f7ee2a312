//! `aios agents`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aios_agents::agent::{Choice, Entry, File, Registry, Runtime, Shape, import as read_foreign};
use aios_agents::failure::Class;
use aios_agents::mistake::{At, Mistake};
use aios_agents::sandbox::Sandbox;
use aios_agents::span;
use aios_agents::table::Choice as Works;
use aios_core::id::ContentHash;
use serde_json::{Value, json};

use crate::args::{AgentsArgs, AgentsCommand};
use crate::command::written::{self, Report};
use crate::command::{rehearse, release};
use crate::component::{Code, Worker};
use crate::context::Context;
use crate::edition;
use crate::error::CliError;
use crate::exit::Exit;
use crate::office::Office;
use crate::report::count;
use crate::ui::{Style, Ui, one_line};

/// How much of a version is shown to people.
const SHORT: usize = 12;

/// Says which agents there are, and what is wrong with their files.
pub fn run(args: &AgentsArgs, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    match &args.command {
        None => list(cx, ui),
        Some(AgentsCommand::Check { files }) => check(files, cx, ui),
        Some(AgentsCommand::Show { name }) => show(name, cx, ui),
        Some(AgentsCommand::Test(args)) => rehearse::run(args, cx, ui),
        Some(AgentsCommand::Pin(args)) => release::pin(args, cx, ui),
        Some(AgentsCommand::Rollback { name }) => release::rollback(name, cx, ui),
        Some(AgentsCommand::Canary(args)) => release::canary(args, cx, ui),
        Some(AgentsCommand::Import { path }) => import(path, cx, ui),
    }
}

fn list(cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut office = Office::open(cx, ui)?;
    let waiting = waiting(&mut office)?;
    let registry = office.registry();
    if ui.json() {
        let with_release = |(name, entry): (&String, &Entry)| {
            let mut row = row(name, entry, &waiting);
            row["release"] = release::value(&office, name);
            row
        };
        let rows: Vec<Value> = registry.agents.iter().map(with_release).collect();
        ui.value(&rows)?;
    }
    for (name, entry) in &registry.agents {
        let agent = &entry.agent;
        let runtime = match (&agent.runtime, &agent.model) {
            (Runtime::Model, model) => format!("model {model}"),
            (runtime, _) => runtime.name().to_owned(),
        };
        let name = ui.paint(Style::Bold, format!("{:<20}", one_line(name)));
        let about = agent.description.as_deref().unwrap_or_default();
        let line =
            format!("{name} {:<20} {}  {}", one_line(&runtime), entry.version.short(SHORT), one_line(about));
        ui.line(line.trim_end())?;
    }
    if registry.agents.is_empty() {
        ui.line("no agents are in force")?;
    }
    for name in registry.agents.keys().filter(|name| release::choice(&office, name) != Works::Accepted) {
        ui.line(format!("{}: {}", one_line(name), release::line(&office, name)))?;
    }
    for path in &waiting {
        ui.line(format!("{} waits for `aios accept`", one_line(path)))?;
    }
    Ok(Exit::Done)
}

/// The files of agents that are not in force as they are.
fn waiting(office: &mut Office) -> Result<BTreeSet<String>, CliError> {
    let proposed = office.vault_mut().proposed(&[])?;
    Ok(proposed.into_iter().map(|it| it.path).filter(|path| path.starts_with("agents/")).collect())
}

/// Whether the file of an agent, or its component, is not in force as it is.
fn changed(entry: &Entry, waiting: &BTreeSet<String>) -> bool {
    waiting.contains(&entry.path) || entry.component().is_some_and(|(path, _)| waiting.contains(&path))
}

fn row(name: &str, entry: &Entry, waiting: &BTreeSet<String>) -> Value {
    let agent = &entry.agent;
    let model = (agent.runtime == Runtime::Model).then(|| agent.model.to_string());
    json!({
        "name": name, "path": entry.path, "version": entry.version, "file": entry.file,
        "description": agent.description, "runtime": agent.runtime.name(), "model": model,
        "changed": changed(entry, waiting),
    })
}

fn check(given: &[PathBuf], cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let files = written::files(cx, given, "agents")?;
    let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    // What a file refers to lies beside it.
    let all = match given.is_empty() {
        true => Vec::new(),
        false => written::files(cx, &[], "agents").unwrap_or_default(),
    };
    let components = written::components(cx).unwrap_or_default();
    let names: BTreeSet<String> = files.iter().map(written::Written::name).collect();
    let beside = all.iter().filter(|file| !names.contains(&file.name()));
    let all: Vec<File> = files
        .iter()
        .chain(beside)
        .filter(|file| file.unread.is_none())
        .map(|file| File {
            path: file.path.clone(),
            name: file.name(),
            version: ContentHash::of(file.text.as_bytes()),
            text: file.text.clone(),
        })
        .chain(components.iter().map(|(file, _)| file.clone()))
        .collect();
    let (registry, mut wrong) = Registry::of(&all);
    let unread = files.iter().filter_map(|file| Some((file.path.clone(), vec![file.unread.clone()?])));
    wrong.extend(unread);
    for (name, entry) in &registry.agents {
        wrong.extend(unset(name, entry, &registry).map(|mistake| (entry.path.clone(), vec![mistake])));
        wrong.extend(unfit(entry, &components).map(|mistake| (entry.path.clone(), vec![mistake])));
    }
    wrong.retain(|(path, _)| paths.contains(path.as_str()));
    let open: Vec<&str> = registry
        .agents
        .values()
        .filter(|entry| entry.agent.program.as_ref().is_some_and(|it| it.sandbox == Sandbox::None))
        .map(|entry| entry.path.as_str())
        .filter(|path| paths.contains(path))
        .collect();
    let reports: Vec<Report> = wrong.into_iter().map(|(path, mistakes)| Report { path, mistakes }).collect();
    let mistakes: usize = reports.iter().map(|report| report.mistakes.len()).sum();
    if ui.json() {
        ui.value(&json!({"ok": mistakes == 0, "files": paths, "reports": reports, "open": open}))?;
    }
    written::tell(ui, &reports)?;
    for path in &open {
        ui.line(format!("{}: `sandbox: none`: its program may do all that you may", one_line(path)))?;
    }
    let files = count(files.len(), "file");
    match mistakes {
        0 => ui.line(format!("{files}, nothing wrong"))?,
        wrong => ui.line(format!("{} in {files}", count(wrong, "mistake")))?,
    }
    Ok(if mistakes == 0 { Exit::Done } else { Exit::Findings })
}

/// That an agent's component cannot be begun with what its file grants.
fn unfit(entry: &Entry, components: &[(File, Code)]) -> Option<Mistake> {
    let (path, _) = entry.component()?;
    let (_, code) = components.iter().find(|(file, _)| file.path == path)?;
    let misfit = Worker::of(entry, code.clone(), &[]).misfit()?;
    let failure = entry.agent.component.as_ref()?.judge(&entry.agent, misfit).err()?;
    let hint = matches!(failure.class, Class::Denied)
        .then(|| "what it imports is granted by `tools`, `effects` and `agents` in this file".to_owned());
    Some(Mistake { at: At::START, what: failure.what, hint })
}

/// That an agent's model is none that is set up, where any is.
fn unset(name: &str, entry: &Entry, registry: &Registry) -> Option<Mistake> {
    let models = &registry.models;
    let of_model = entry.agent.runtime == Runtime::Model && !models.providers.is_empty();
    if !of_model || !models.models(&entry.agent.model).is_empty() {
        return None;
    }
    let known: Vec<String> = match &entry.agent.model {
        Choice::Tier(_) => models.tiers.keys().cloned().collect(),
        Choice::One(..) => models.providers.keys().map(|it| format!("{it}/...")).collect(),
    };
    Some(Mistake {
        at: At::START,
        what: format!("agent `{name}` works with `{}`, and no such model is set up", entry.agent.model),
        hint: Some(format!("there are {}", known.join(", "))),
    })
}

fn show(name: &str, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let mut office = Office::open(cx, ui)?;
    let waiting = waiting(&mut office)?;
    let registry = office.registry();
    let Some(entry) = registry.agents.get(name) else {
        return Err(CliError::failed(format!("no agent `{name}` is in force"), "`aios agents` lists them"));
    };
    let entry = entry.clone();
    let past = edition::editions(office.vault_mut(), name)?;
    let (service, edits) = (office.kernel().service(name), office.kernel().edits(name));
    let works = match release::choice(&office, name) {
        Works::Accepted => String::new(),
        _ => release::line(&office, name),
    };
    let (entry, agent) = (&entry, &entry.agent);
    let tools: Vec<&str> = agent.tools.iter().map(|tool| tool.name()).collect();
    if ui.json() {
        let mut value = row(name, entry, &waiting);
        value["inputs"] = json!(agent.inputs.schema());
        value["outputs"] = json!(agent.outputs.schema());
        value["reads"] = json!(agent.reads);
        value["writes"] = json!(agent.writes);
        value["tools"] = json!(tools);
        value["effects"] = json!(agent.effects);
        value["sandbox"] = json!(agent.program.as_ref().map(|program| &program.sandbox));
        value["context"] = json!(entry.context.iter().map(|(name, _)| name).collect::<Vec<_>>());
        value["skills"] = json!(entry.skills.iter().map(|(name, ..)| name).collect::<Vec<_>>());
        let versions: Vec<Value> =
            service.iter().map(|(version, it)| json!({"version": version, "work": it})).collect();
        value["versions"] = json!(versions);
        value["edits"] = json!(edits);
        value["release"] = release::value(&office, name);
        value["editions"] = json!(
            past.iter().map(|it| json!({"version": it.entry.version, "since": it.since})).collect::<Vec<_>>()
        );
        ui.value(&value)?;
    }
    ui.line(
        format!(
            "{}  {}",
            ui.paint(Style::Bold, one_line(name)),
            one_line(agent.description.as_deref().unwrap_or_default())
        )
        .trim_end(),
    )?;
    let mut line = |key: &str, text: String| match text.is_empty() {
        true => Ok(()),
        false => ui.line(format!("  {key:<10} {}", one_line(&text))),
    };
    line("file", entry.path.clone())?;
    line("version", entry.version.short(SHORT))?;
    line(
        "runtime",
        match agent.runtime {
            Runtime::Model => format!("model {}", agent.model),
            other => other.name().to_owned(),
        },
    )?;
    line("sandbox", agent.program.as_ref().map(|it| it.sandbox.to_string()).unwrap_or_default())?;
    if let Some(component) = &agent.component {
        line("component", format!("{}; at most {}", component.file, component.limits))?;
    }
    line("takes", said(&agent.inputs))?;
    line("gives", said(&agent.outputs))?;
    line("reads", agent.reads.join(", "))?;
    line("writes", agent.writes.join(", "))?;
    line("fetches", agent.fetches.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))?;
    line("asks", agent.agents.join(", "))?;
    line("tools", tools.join(", "))?;
    line(
        "effects",
        match &agent.effects {
            Some(effects) if effects.is_empty() => "none".into(),
            Some(effects) => effects.join(", "),
            None => "those of the steps that name it".into(),
        },
    )?;
    if agent.always_asks {
        line("approval", "always".into())?;
    }
    if agent.runtime == Runtime::Model {
        line("budget", agent.budget.to_string())?;
    }
    if agent.cache {
        line("cache", "what was answered once is not asked again".into())?;
    }
    line("works", works)?;
    if let Some((old, new)) = office.kernel().tallies(name) {
        line(
            "",
            format!(
                "old: {} of {} tasks went wrong; new: {} of {}",
                old.wrong(),
                old.tasks(),
                new.wrong(),
                new.tasks()
            ),
        )?;
    }
    if past.len() > 1 {
        let versions: Vec<String> = past.iter().map(|it| it.entry.version.short(SHORT)).collect();
        line("versions", versions.join(", "))?;
    }
    for (version, it) in &service {
        let version = version.as_ref().map_or_else(|| "before".to_owned(), |version| version.short(SHORT));
        let cost = match it.spent.answers {
            0 => String::new(),
            answers => format!(
                ", {}, {} tokens in, {} out, cost {}",
                count(usize::try_from(answers).unwrap_or(usize::MAX), "answer"),
                it.spent.input,
                it.spent.output,
                it.spent.cost
            ),
        };
        line(&version, format!("{} done, {} failed, p50 {}{cost}", it.done, it.failed, span::show(it.p50)))?;
    }
    if edits > 0 {
        line("changed", format!("{} by you before they went out", count(edits, "effect")))?;
    }
    if changed(entry, &waiting) {
        ui.flush()?;
        ui.note("its file is another than the one in force: `aios accept` shows what differs");
    }
    Ok(Exit::Done)
}

fn said(shape: &Shape) -> String {
    match shape {
        Shape::Any => String::new(),
        Shape::Entity(name) => name.clone(),
        Shape::Schema(schema, _) => schema.names().collect::<Vec<_>>().join(", "),
    }
}

/// Writes files in this vault's shape. They are proposals: nothing is in force before it is accepted (I11).
fn import(path: &Path, cx: &Context, ui: &mut Ui) -> Result<Exit, CliError> {
    let vault = cx.open()?;
    let folder = vault.root().join("agents");
    let mut wrote = Vec::new();
    let mut left = Vec::new();
    let sources = sources(path)?;
    for source in &sources {
        let name = source.file_name().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
        let io = |e| CliError::io(format!("read {}", source.display()), e);
        let text = std::fs::read_to_string(source).map_err(io)?;
        let found = read_foreign(&name, &text).map_err(|e| {
            let hint = "it takes sub-agent files with `name` and `description`, folders with SKILL.md, and AGENTS.md";
            CliError::failed(e.to_string(), hint)
        })?;
        let to = folder.join(format!("{}.md", found.name));
        std::fs::create_dir_all(&folder).map_err(|e| CliError::io("make agents", e))?;
        let made = std::fs::OpenOptions::new().write(true).create_new(true).open(&to);
        let made = made.and_then(|mut file| std::io::Write::write_all(&mut file, found.text.as_bytes()));
        made.map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => CliError::failed(
                format!("agents/{}.md is there already", found.name),
                "rename one of the two; nothing was overwritten",
            ),
            _ => CliError::io(format!("write {}", to.display()), e),
        })?;
        left.extend(found.left.iter().map(|what| format!("{}: {what}", found.name)));
        wrote.push(format!("agents/{}.md", found.name));
    }
    if ui.json() {
        ui.value(&json!({"wrote": wrote, "left": left}))?;
    }
    for path in &wrote {
        ui.line(one_line(path))?;
    }
    for what in &left {
        ui.line(format!("  not taken along as it was: {}", one_line(what)))?;
    }
    // Remarks come after what they are about.
    ui.flush()?;
    ui.note(
        "look at what they may do, then `aios agents check` and `aios accept`: until then they are proposals",
    );
    Ok(Exit::Done)
}

/// The files that a path stands for: itself, the skill of a folder, or all that lie in one.
fn sources(path: &Path) -> Result<Vec<PathBuf>, CliError> {
    let io = |e| CliError::io(format!("read {}", path.display()), e);
    if !path.metadata().map_err(io)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let skill = path.join("SKILL.md");
    if skill.is_file() {
        return Ok(vec![skill]);
    }
    let mut out = Vec::new();
    for entry in std::fs::read_dir(path).map_err(io)? {
        let found = entry.map_err(io)?.path();
        match found.join("SKILL.md") {
            skill if skill.is_file() => out.push(skill),
            _ if found.extension().is_some_and(|it| it == "md") && found.is_file() => out.push(found),
            _ => {}
        }
    }
    out.sort();
    match out.is_empty() {
        true => Err(CliError::failed(
            format!("nothing in {} can be imported", path.display()),
            "it takes `.md` files, and folders with SKILL.md",
        )),
        false => Ok(out),
    }
}
