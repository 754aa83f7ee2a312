//! Files that people write and aios reads: where they are, and how their mistakes are told.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aios_agents::agent::{File, Registry};
use aios_agents::component::MOST_BYTES;
use aios_agents::connector::{Connector, deeds};
use aios_agents::mistake::{At, Mistake};
use aios_agents::node::Front;
use aios_agents::policy::Policy;
use aios_agents::workflow::{Known, Workflow};
use aios_core::id::ContentHash;
use aios_vault::accept::is_component;
use aios_vault::layout::Layout;
use aios_vault::survey::Problem;
use aios_vault::work::InForce;
use aios_vault::{Error, Vault};
use serde::Serialize;

use crate::component::Code;
use crate::context::Context;
use crate::error::CliError;
use crate::ui::{Style, Ui, one_line};

/// The most bytes of such a file.
const MAX_BYTES: u64 = 1 << 20;

/// One file.
#[derive(Debug, Clone)]
pub struct Written {
    /// Its path as people know it: below the vault, or as it was given.
    pub path: String,
    /// What is in it; nothing where it cannot be read as text.
    pub text: String,
    /// Why it cannot.
    pub unread: Option<Mistake>,
}

impl Written {
    /// Its name without folder and ending, by which other files know it.
    pub fn name(&self) -> String {
        stem(&self.path)
    }
}

/// The name of a file without folder and ending.
pub fn stem(path: &str) -> String {
    let path = Path::new(path);
    path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What is wrong with one file.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The file.
    pub path: String,
    /// Its mistakes, in the order of the file.
    pub mistakes: Vec<Mistake>,
}

/// The files given, else all below `folder` in the vault.
pub fn files(cx: &Context, given: &[PathBuf], folder: &str) -> Result<Vec<Written>, CliError> {
    if given.is_empty() {
        return below(Layout::find(cx.dir())?.root(), folder);
    }
    given.iter().map(|path| read(path, path.display().to_string())).collect()
}

/// The components that lie in `agents`, as they are now.
pub fn components(cx: &Context) -> Result<Vec<(File, Code)>, CliError> {
    let root = Layout::find(cx.dir())?.root().to_owned();
    let mut out = Vec::new();
    for path in paths(&root, "agents")?.into_iter().filter(|path| is_component(path)) {
        let fail = |e| CliError::io(format!("read {path}"), e);
        let size = std::fs::metadata(root.join(&path)).map_err(fail)?.len();
        if size > MOST_BYTES {
            return Err(fail(io::Error::other("a component has 16 MB at most")));
        }
        let bytes = std::fs::read(root.join(&path)).map_err(fail)?;
        let version = ContentHash::of(&bytes);
        out.push((File::component(path, version), Code { version, bytes: Arc::new(bytes) }));
    }
    Ok(out)
}

/// The names of the files below `folder` in the vault; nothing outside a vault.
pub fn names(cx: &Context, folder: &str) -> Result<Option<BTreeSet<String>>, CliError> {
    let Ok(layout) = Layout::find(cx.dir()) else { return Ok(None) };
    Ok(Some(below(layout.root(), folder)?.iter().map(Written::name).collect()))
}

/// The names of the agents in the vault, also of those whose files have mistakes; nothing outside a vault.
pub fn agents(cx: &Context) -> Result<Option<BTreeSet<String>>, CliError> {
    let Ok(layout) = Layout::find(cx.dir()) else { return Ok(None) };
    let files = below(layout.root(), "agents")?;
    Ok(Some(files.iter().filter(|file| works(&file.text)).map(Written::name).collect()))
}

/// Whether a file of `agents` is of somebody who can be named in a workflow.
pub fn works(text: &str) -> bool {
    let Ok(front) = Front::read(text) else { return true };
    let is = |name: &str, values: &[&str]| {
        front.root.get(name).and_then(|it| it.as_text()).is_some_and(|it| values.contains(&it))
    };
    !is("type", &["models", "context", "skill"]) && !is("runtime", &["journal"])
}

fn below(root: &Path, folder: &str) -> Result<Vec<Written>, CliError> {
    let paths = paths(root, folder)?.into_iter().filter(|path| path.ends_with(".md"));
    paths.map(|path| read(&root.join(&path), path)).collect()
}

/// The files below a folder, in order of path.
fn paths(root: &Path, folder: &str) -> Result<Vec<String>, CliError> {
    let mut out = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        let entries = match std::fs::read_dir(root.join(&folder)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(CliError::io(format!("list {folder}"), e)),
        };
        for entry in entries {
            let entry = entry.map_err(|e| CliError::io(format!("list {folder}"), e))?;
            let kind = entry.file_type().map_err(|e| CliError::io(format!("look at {folder}"), e))?;
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            match kind.is_dir() {
                true => open.push(path),
                false if kind.is_file() => out.push(path),
                false => {}
            }
        }
    }
    out.sort();
    Ok(out)
}

fn read(at: &Path, path: String) -> Result<Written, CliError> {
    let fail = |e| CliError::io(format!("read {path}"), e);
    let mut bytes = Vec::new();
    std::fs::File::open(at)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(fail)?;
    // What is wrong with one file hides nothing of the others.
    let unread = |at, what: &str| Some(Mistake { at, what: what.to_owned(), hint: None });
    if bytes.len() as u64 > MAX_BYTES {
        let unread = unread(At::START, "it is larger than a mebibyte");
        return Ok(Written { path, text: String::new(), unread });
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Written { path, text, unread: None }),
        Err(e) => {
            let whole = &e.as_bytes()[..e.utf8_error().valid_up_to()];
            let line = whole.split(|byte| *byte == b'\n').next_back().unwrap_or_default();
            let column = String::from_utf8_lossy(line).chars().count() as u64 + 1;
            let lines = whole.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
            let unread = unread(At { line: lines, column }, "that is no UTF-8");
            Ok(Written { path, text: String::new(), unread })
        }
    }
}

/// The workflows, policies and connectors that are in force and have mistakes: the operator accepted them as they are.
pub fn wrong_in_force(vault: &mut Vault) -> Result<Vec<Problem>, Error> {
    let mut out = Vec::new();
    let names = |files: &[InForce]| Some(files.iter().map(|file| stem(&file.path)).collect());
    let workflows = vault.in_force("workflows")?;
    let agents = vault.in_force("agents")?;
    let known = Known {
        agents: Some(agents.iter().filter(|file| works(&file.text)).map(|file| stem(&file.path)).collect()),
        workflows: names(&workflows),
        capabilities: Some(deeds().map(str::to_owned).collect()),
        zones: Some(jiff::tz::db().clone()),
    };
    let mut add = |path: &str, mistakes: Vec<Mistake>, what: &str| {
        let Some(first) = mistakes.first() else { return };
        let more = match mistakes.len() {
            1 => String::new(),
            count => format!(", and {} more", count - 1),
        };
        let problem = format!("it is in force, and wrong at {}: {}{more}", first.at, first.what);
        out.push(Problem { path: path.to_owned(), problem, hint: what.to_owned() });
    };
    let texts = agents.into_iter().map(|file| File {
        name: stem(&file.path),
        path: file.path,
        version: file.version,
        text: file.text,
    });
    let components = vault.components_in_force()?.into_iter();
    let staff: Vec<File> =
        texts.chain(components.map(|(path, version)| File::component(path, version))).collect();
    for (path, mistakes) in Registry::of(&staff).1 {
        add(&path, mistakes, "`aios agents check` names every mistake; mend it, and `aios accept`");
    }
    let mend = "`aios workflow check` names every mistake; mend it, and `aios accept`";
    for file in workflows {
        add(&file.path, Workflow::check(&file.text, &known).mistakes, mend);
    }
    for file in vault.in_force("policies")? {
        let mistakes = Policy::read(&file.path, &file.text, jiff::tz::db()).err().unwrap_or_default();
        add(
            &file.path,
            mistakes,
            "nothing is allowed by itself before it is mended (`aios policy check`) and accepted",
        );
    }
    for file in vault.in_force("connectors")? {
        add(&file.path, Connector::read(&file.text).err().unwrap_or_default(), "mend it, and `aios accept`");
    }
    Ok(out)
}

/// Tells the mistakes of files, each as `FILE:LINE:COLUMN: what`, which editors can follow.
pub fn tell(ui: &mut Ui, reports: &[Report]) -> Result<(), CliError> {
    for Report { path, mistakes } in reports {
        for Mistake { at, what, hint } in mistakes {
            let place = ui.paint(Style::Bold, one_line(&format!("{path}:{at}:")));
            ui.line(format!("{place} {}", one_line(what)))?;
            if let Some(hint) = hint {
                ui.line(format!("  {}", one_line(hint)))?;
            }
        }
    }
    Ok(())
}
