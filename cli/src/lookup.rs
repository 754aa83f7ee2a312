//! What agents look up in the vault: of files that their own file names, and with what it says of their fields.

use std::collections::BTreeMap;

use aios_agents::agent::prompt::quote;
use aios_agents::agent::retrieval::{self, Source};
use aios_agents::agent::talk::Look;
use aios_agents::agent::{Agent, Turn};
use aios_agents::node::Front;
use aios_agents::page;
use aios_agents::query::MOST_FILES;
use aios_core::id::ContentHash;
use aios_vault::Vault;
use aios_vault::page::Page;
use serde_json::Value;

/// The most that one look shows, in bytes.
const MOST: usize = 64 * 1024;
/// The most files that one look lists.
const MOST_LISTED: usize = 200;

/// What a model is shown.
struct Shown {
    text: String,
    untrusted: bool,
}

/// Looks something up; `outside` says of which files the content came from outside.
pub fn look(
    vault: &mut Vault,
    agent: &Agent,
    call: String,
    look: &Look,
    outside: impl Fn(&str, &str) -> bool,
) -> Turn {
    let shown = match look {
        Look::File { path, from } => file(vault, agent, path, *from, outside),
        Look::Files { glob, text } => files(vault, agent, glob, text, outside),
        Look::Sources { words, most } => sources(vault, agent, words, *most, outside),
        Look::Address(address) => Err(format!("{address} is no file")),
    };
    match shown {
        Ok(Shown { text, untrusted }) => Turn::Came { call, text, untrusted },
        Err(what) => Turn::Came { call, text: format!("not found: {what}"), untrusted: false },
    }
}

fn file(
    vault: &mut Vault,
    agent: &Agent,
    path: &str,
    from: usize,
    outside: impl Fn(&str, &str) -> bool,
) -> Result<Shown, String> {
    let found = vault.page(path).map_err(|e| e.to_string())?;
    let page = found.ok_or_else(|| format!("there is no text file {path}"))?;
    let untrusted = outside(&page.path, &page.doc.hex());
    let text = exposed(agent, &page.text)?;
    let lines: Vec<&str> = text.lines().collect();
    let (mut out, mut next) = (String::new(), None);
    for (number, line) in lines.iter().enumerate().skip(from - 1) {
        if out.len() + line.len() > MOST {
            next = Some(number + 1);
            break;
        }
        out.push_str(line);
        out.push('\n');
    }
    let mut text = quote(path, untrusted, &out);
    if let Some(next) = next {
        text.push_str(&format!("\nIt goes on: read it from line {next}."));
    }
    Ok(Shown { text, untrusted })
}

fn files(
    vault: &mut Vault,
    agent: &Agent,
    glob: &str,
    wanted: &str,
    outside: impl Fn(&str, &str) -> bool,
) -> Result<Shown, String> {
    if glob.starts_with('*') || glob.is_empty() {
        return Err("`files` names a folder first, such as `clients/*.md`".into());
    }
    let found = vault.pages(glob, MOST_FILES).map_err(|e| e.to_string())?;
    let pages =
        found.ok_or_else(|| format!("more than {MOST_FILES} files are {glob}: name a smaller folder"))?;
    let wanted = wanted.to_lowercase();
    let (mut out, mut untrusted, mut count) = (String::new(), false, 0);
    for Page { doc, path, text } in pages {
        if !agent.may_read(&path) {
            continue;
        }
        let Ok(text) = exposed(agent, &text) else { continue };
        let line = text.lines().find(|line| wanted.is_empty() || line.to_lowercase().contains(&wanted));
        let Some(line) = line.or(Some("").filter(|_| wanted.is_empty())) else { continue };
        count += 1;
        if count > MOST_LISTED || out.len() > MOST {
            out.push_str("and more\n");
            break;
        }
        // Names of files may be a stranger's words, too.
        untrusted |= outside(&path, &doc.hex());
        match wanted.is_empty() {
            true => out.push_str(&format!("{path}\n")),
            false => out.push_str(&format!("{path}: {}\n", line.chars().take(200).collect::<String>())),
        }
    }
    match count {
        0 => Err(format!("no file that you may read is {glob} and holds that")),
        _ => Ok(Shown { text: quote(&format!("search {glob}"), untrusted, &out), untrusted }),
    }
}

/// What of all files that an agent may look at fits these words.
fn sources(
    vault: &mut Vault,
    agent: &Agent,
    words: &[String],
    most: usize,
    outside: impl Fn(&str, &str) -> bool,
) -> Result<Shown, String> {
    let mut files = BTreeMap::new();
    for glob in &agent.reads {
        let found = vault.pages(glob, MOST_FILES).map_err(|e| e.to_string())?;
        let pages = found
            .ok_or_else(|| format!("more than {MOST_FILES} files are {glob}: `reads` names too many"))?;
        for Page { doc, path, text } in pages {
            if !agent.may_read(&path) {
                continue;
            }
            let (version, untrusted) = (ContentHash::of(text.as_bytes()), outside(&path, &doc.hex()));
            let Ok(text) = exposed(agent, &text) else { continue };
            files.insert(path.clone(), Source { path, version, text, untrusted });
        }
    }
    let files: Vec<Source> = files.into_values().collect();
    let (text, untrusted) = retrieval::shown(&files, words, most);
    Ok(Shown { text, untrusted })
}

/// What an agent is shown of a file: all, or of its frontmatter only some fields.
fn exposed(agent: &Agent, text: &str) -> Result<String, String> {
    if agent.expose_fields.is_empty() || !text.starts_with("---") {
        return Ok(text.to_owned());
    }
    let front = Front::read(text).map_err(|_| "its frontmatter cannot be read")?;
    let Value::Object(fields) = front.root.to_value() else { return Ok(front.body) };
    let shown = fields.into_iter().filter(|(name, _)| agent.expose_fields.contains(name));
    page::render(&shown.collect(), &front.body).map_err(|e| e.to_string())
}
