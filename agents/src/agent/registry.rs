//! The agents there are: what their files come to together.

use std::collections::{BTreeMap, BTreeSet};

use aios_core::id::ContentHash;

use super::{Agent, Runtime};
use crate::component;
use crate::mistake::{At, Mistake, Mistakes, nearest};
use crate::model::settings::Settings;
use crate::node::Front;

/// A file of `agents`: of a component its path and version count, and no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path.
    pub path: String,
    /// Its name: that of the file without folder and ending.
    pub name: String,
    /// Its version.
    pub version: ContentHash,
    /// What is in it.
    pub text: String,
}

/// An agent with all that it refers to.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its file.
    pub path: String,
    /// The version of its file and of all that it refers to.
    pub version: ContentHash,
    /// The version of its file alone.
    pub file: ContentHash,
    /// The versions of its file and of all that it refers to, by path.
    pub files: BTreeMap<String, ContentHash>,
    /// The agent.
    pub agent: Agent,
    /// What belongs to its instructions, by name.
    pub context: Vec<(String, String)>,
    /// What it may ask for: name, description, text.
    pub skills: Vec<(String, String, String)>,
    /// The agents that it may ask, by name.
    pub crew: BTreeMap<String, Entry>,
}

impl Entry {
    /// Its component, where one does its work: path and version.
    pub fn component(&self) -> Option<(String, ContentHash)> {
        let path = self.agent.component.as_ref()?.beside(&self.path);
        let version = *self.files.get(&path)?;
        Some((path, version))
    }
}

/// How deep agents may ask each other.
const MOST_DEPTH: usize = 3;

/// All agents.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Registry {
    /// The agents that can be read, by name.
    pub agents: BTreeMap<String, Entry>,
    /// The models there are.
    pub models: Settings,
}

/// What a file of `agents` is by its `type`.
enum Kind {
    Agent,
    Models,
    Text(String),
}

impl File {
    /// That of a component.
    pub fn component(path: String, version: ContentHash) -> File {
        File { name: component::name(&path).to_owned(), path, version, text: String::new() }
    }
}

impl Registry {
    /// What files come to, and what is wrong with which.
    pub fn of(files: &[File]) -> (Registry, Vec<(String, Vec<Mistake>)>) {
        let mut registry = Registry::default();
        let mut wrong: BTreeMap<&str, Vec<Mistake>> =
            files.iter().map(|file| (file.path.as_str(), Vec::new())).collect();
        let mut texts = BTreeMap::new();
        let mut agents = Vec::new();
        let mut taken = BTreeSet::new();
        let mut models = false;
        let (components, files): (Vec<&File>, Vec<&File>) =
            files.iter().partition(|file| component::is_one(&file.path));
        let components: BTreeMap<&str, ContentHash> =
            components.iter().map(|file| (file.path.as_str(), file.version)).collect();
        for file in &files {
            let file = *file;
            let mut note = |mistakes: Vec<Mistake>| wrong.entry(&file.path).or_default().extend(mistakes);
            if !taken.insert(&file.name) {
                note(vec![start(format!("another file of `agents` is called `{}`, too", file.name))]);
                continue;
            }
            let front = match Front::read(&file.text) {
                Ok(front) => front,
                Err(mistake) => {
                    note(vec![mistake]);
                    continue;
                }
            };
            match kind(&front) {
                Kind::Agent => match Agent::read(&file.name, &file.text) {
                    Ok(agent) => agents.push((file, agent)),
                    Err(mistakes) => note(mistakes),
                },
                Kind::Models if models => note(vec![start("another file says which models there are")]),
                Kind::Models => match Settings::read(&front) {
                    Ok(settings) => (registry.models, models) = (settings, true),
                    Err(mistakes) => note(mistakes),
                },
                Kind::Text(kind) => {
                    let mut out = Mistakes::default();
                    let description = text(&front, &kind, &mut out);
                    note(out.into_vec());
                    texts.insert(
                        file.name.as_str(),
                        (kind, description, front.body, &file.path, file.version),
                    );
                }
            }
        }
        for (file, agent) in agents {
            let mut parts = vec![file.version];
            let mut paths = BTreeMap::from([(file.path.clone(), file.version)]);
            let mut out = Mistakes::default();
            let mut refer = |names: &[String], key: &str| {
                let mut found = Vec::new();
                for name in names {
                    match texts.get(name.as_str()).filter(|(kind, ..)| kind == key) {
                        Some((_, description, body, path, version)) => {
                            parts.push(*version);
                            paths.insert((*path).clone(), *version);
                            found.push((name.clone(), description.clone(), body.clone()));
                        }
                        None => missing(file, key, name, texts.keys().copied(), &mut out),
                    }
                }
                found
            };
            let context = refer(&agent.context, "context");
            let skills = refer(&agent.skills, "skill");
            if let Some(own) = &agent.component {
                let path = own.beside(&file.path);
                match components.get(path.as_str()) {
                    Some(version) => {
                        parts.push(*version);
                        paths.insert(path, *version);
                    }
                    None => {
                        let what = format!("there is no component {path}");
                        let hint = "it lies beside the agent's file, and is accepted with it";
                        out.hint(key(file, "component"), what, hint);
                    }
                }
            }
            let mistakes = out.into_vec();
            if !mistakes.is_empty() {
                wrong.entry(&file.path).or_default().extend(mistakes);
                continue;
            }
            registry.agents.insert(
                file.name.clone(),
                Entry {
                    path: file.path.clone(),
                    version: version(&parts),
                    file: file.version,
                    files: paths,
                    agent,
                    context: context.into_iter().map(|(name, _, text)| (name, text)).collect(),
                    skills,
                    crew: BTreeMap::new(),
                },
            );
        }
        let alone = registry.agents.clone();
        for file in &files {
            let Some(entry) = alone.get(&file.name).filter(|entry| entry.path == file.path) else { continue };
            match with_crew(&file.name, entry, &alone, &mut Vec::new()) {
                Ok(entry) => _ = registry.agents.insert(file.name.clone(), entry),
                Err((name, what)) => {
                    registry.agents.remove(&file.name);
                    let at = place(file, "agents", &name);
                    wrong.entry(&file.path).or_default().push(Mistake { at, what, hint: None });
                }
            }
        }
        let wrong = wrong.into_iter().filter(|(_, mistakes)| !mistakes.is_empty());
        (registry, wrong.map(|(path, mistakes)| (path.to_owned(), mistakes)).collect())
    }
}

/// An agent with those that it may ask, and these with theirs; `above` has who asks whom. Else which of its names is wrong, and why.
fn with_crew(
    name: &str,
    entry: &Entry,
    alone: &BTreeMap<String, Entry>,
    above: &mut Vec<String>,
) -> Result<Entry, (String, String)> {
    let mut entry = entry.clone();
    let mut parts = vec![entry.version];
    above.push(name.to_owned());
    for other in entry.agent.agents.clone() {
        let wrong = |what: String| (other.clone(), what);
        if above.contains(&other) {
            return Err(wrong(format!("`{other}` would ask itself: {}", above.join(" asks "))));
        }
        if above.len() > MOST_DEPTH {
            return Err(wrong(format!("agents ask each other more than {MOST_DEPTH} deep")));
        }
        let found = alone.get(&other).ok_or_else(|| {
            wrong(match nearest(&other, alone.keys().map(String::as_str)) {
                Some(near) => format!("there is no agent `{other}`: `{near}` is meant?"),
                None => format!("there is no agent `{other}`"),
            })
        })?;
        if !matches!(found.agent.runtime, Runtime::Model | Runtime::Template) {
            let what = format!("`{other}` cannot be asked: its runtime is `{}`", found.agent.runtime.name());
            return Err(wrong(what));
        }
        let found = with_crew(&other, found, alone, above).map_err(|(_, what)| wrong(what))?;
        parts.push(found.version);
        entry.files.extend(found.files.clone());
        entry.crew.insert(other, found);
    }
    above.pop();
    entry.version = version(&parts);
    Ok(entry)
}

/// Where a name stands in a list of a file's frontmatter.
fn place(file: &File, list: &str, name: &str) -> At {
    let front = Front::read(&file.text).ok();
    let nodes = front.as_ref().and_then(|front| front.root.get(list)).map_or(&[][..], |it| it.items());
    nodes.iter().find(|node| node.as_text() == Some(name)).map_or(At::START, |node| node.at)
}

/// Where the value of a key of a file's frontmatter stands.
fn key(file: &File, name: &str) -> At {
    let front = Front::read(&file.text).ok();
    front.as_ref().and_then(|front| front.root.get(name)).map_or(At::START, |node| node.at)
}

fn start(what: impl Into<String>) -> Mistake {
    Mistake { at: At::START, what: what.into(), hint: None }
}

fn kind(front: &Front) -> Kind {
    match front.root.get("type").and_then(|it| it.as_text()) {
        Some("models") => Kind::Models,
        Some(kind @ ("context" | "skill")) => Kind::Text(kind.to_owned()),
        _ => Kind::Agent,
    }
}

/// Reads what is no agent and belongs to some; what it says it is for.
fn text(front: &Front, kind: &str, out: &mut Mistakes) -> String {
    front.root.only(&format!("a {kind}"), &["type", "name", "title", "description", "license", "tags"], out);
    let description = front.root.get("description").and_then(|it| it.text("description", out));
    if kind == "skill" && description.is_none() {
        let hint = "`description` says when it is of use: a model is shown that, and asks for the rest";
        out.hint(At::START, "a skill needs a description", hint);
    }
    description.unwrap_or_default()
}

fn missing<'t>(file: &File, key: &str, name: &str, there: impl Iterator<Item = &'t str>, out: &mut Mistakes) {
    let list = if key == "skill" { "skills" } else { "context" };
    let at = place(file, list, name);
    let what = format!("no file in `agents` with `type: {key}` is called `{name}`");
    match nearest(name, there) {
        Some(near) => out.hint(at, what, format!("`{near}` is meant?")),
        None => out.add(at, what),
    }
}

/// The version of a file and of all that it refers to; of a file alone, its own.
fn version(parts: &[ContentHash]) -> ContentHash {
    match parts {
        [only] => *only,
        parts => {
            let lines: Vec<String> = parts.iter().map(|part| part.hex()).collect();
            ContentHash::of(format!("aios-agent-v1\n{}", lines.join("\n")).as_bytes())
        }
    }
}
