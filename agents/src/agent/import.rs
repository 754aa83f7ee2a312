//! Agents in the shapes that others write: sub-agent files of coding assistants, skills, and `AGENTS.md`.

use std::fmt::Write as _;

use serde_json::Value;

use crate::node::{Front, Node};

/// The longest text that is taken.
const MOST: usize = 256 * 1024;

/// What was read, as a file of this vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The name of its file, without folder and ending.
    pub name: String,
    /// Its text.
    pub text: String,
    /// What could not be taken along.
    pub left: Vec<String>,
}

/// Why something cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// It has no frontmatter that could be read.
    #[error("{0}: it begins with no frontmatter that can be read")]
    NoFront(String),
    /// It lacks something.
    #[error("{0}: it has no `{1}`")]
    Lacks(String, &'static str),
    /// It is too long.
    #[error("{0}: it is longer than {MOST} bytes")]
    Long(String),
}

/// Reads a file in one of those shapes; `file` is its name with the ending.
///
/// # Errors
/// Why it is none of them.
pub fn import(file: &str, text: &str) -> Result<Imported, ImportError> {
    if text.len() > MOST {
        return Err(ImportError::Long(file.to_owned()));
    }
    if file.eq_ignore_ascii_case("AGENTS.md") || file.eq_ignore_ascii_case("CLAUDE.md") {
        let front = "---\ntype: context\ndescription: The rules of this house\n---\n";
        return Ok(Imported { name: "house-rules".into(), text: format!("{front}{text}"), left: Vec::new() });
    }
    let front = Front::read(text).map_err(|_| ImportError::NoFront(file.to_owned()))?;
    let need = |name: &'static str| {
        let text = front.root.get(name).and_then(Node::as_text);
        text.map(str::to_owned).ok_or_else(|| ImportError::Lacks(file.to_owned(), name))
    };
    let (name, description) = (slug(&need("name")?), need("description")?);
    match file.eq_ignore_ascii_case("SKILL.md") {
        true => Ok(skill(name, &description, &front)),
        false => Ok(sub_agent(name, &description, &front)),
    }
}

fn skill(name: String, description: &str, front: &Front) -> Imported {
    let left = others(front, &["name", "description", "license"]);
    let mut text = format!("---\ntype: skill\ndescription: {}\n", quoted(description));
    if let Some(license) = front.root.get("license").and_then(Node::as_text) {
        let _ = writeln!(text, "license: {}", quoted(license));
    }
    Imported { name, text: format!("{text}---\n{}", front.body), left }
}

fn sub_agent(name: String, description: &str, front: &Front) -> Imported {
    let mut left = others(front, &["name", "description", "model", "tools"]);
    let model = match front.root.get("model").and_then(Node::as_text) {
        Some("haiku") => "small",
        _ => "large",
    };
    let mut tools: Vec<&str> = Vec::new();
    for word in words(front.root.get("tools")) {
        match word.as_str() {
            "Read" => tools.push("read"),
            "Grep" | "Glob" | "LS" => tools.push("search"),
            // Whoever writes has to be told where: that is for the operator to say.
            other => left.push(format!("the tool {other}")),
        }
    }
    tools.sort_unstable();
    tools.dedup();
    let mut text = format!(
        "---\ntype: agent\nname: {name}\ndescription: {}\nruntime: model\nmodel: {model}\n",
        quoted(description)
    );
    if !tools.is_empty() {
        let _ = write!(text, "tools: [{}]\nreads: ['notes/*']\n", tools.join(", "));
        left.push("which files it may read: it says `notes/*`".into());
    }
    text.push_str("effects: []\n---\n");
    text.push_str(&front.body);
    Imported { name, text, left }
}

/// The keys that mean nothing here.
fn others(front: &Front, known: &[&str]) -> Vec<String> {
    let keys = front.root.map("", &mut crate::mistake::Mistakes::default()).unwrap_or_default();
    let others = keys.iter().filter(|(key, _)| !known.contains(&key.name.as_str()));
    others.map(|(key, _)| format!("`{}`", key.name)).collect()
}

/// Words in a list, or in a text with commas.
fn words(node: Option<&Node>) -> Vec<String> {
    let items = node.map_or(&[][..], Node::items);
    let texts = items.iter().filter_map(Node::as_text);
    let words = texts.flat_map(|text| text.split(','));
    words.map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}

/// A text as YAML has it on one line: JSON is YAML.
fn quoted(text: &str) -> String {
    Value::from(text.replace(['\n', '\r'], " ")).to_string()
}

fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().flat_map(char::to_lowercase).take(60) {
        match c.is_alphanumeric() || c == '_' {
            true => out.push(c),
            false if out.is_empty() || out.ends_with('-') => {}
            false => out.push('-'),
        }
    }
    match out.trim_end_matches('-') {
        "" => "agent".into(),
        name => name.to_owned(),
    }
}
