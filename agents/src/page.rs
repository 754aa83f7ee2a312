//! Files that work writes: fields as frontmatter, and prose below. What stands there already keeps its bytes (I3).

use aios_core::markdown::{Entry, Value as Source, split};
use serde_json::{Map, Value};

/// Why a file cannot be written so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// A key that frontmatter cannot hold.
    #[error("`{0}` cannot be a key of frontmatter: letters, digits, `_` and `-`, a letter first")]
    Key(String),
}

/// A new file: `type` first, then the other fields by name, then the prose.
///
/// # Errors
/// For keys that frontmatter cannot hold.
pub fn render(fields: &Map<String, Value>, body: &str) -> Result<String, PageError> {
    let mut out = String::new();
    if !fields.is_empty() {
        let (first, rest): (Vec<_>, Vec<_>) = fields.iter().partition(|(name, _)| *name == "type");
        out.push_str("---\n");
        for (name, value) in first.into_iter().chain(rest) {
            out.push_str(&line(name, value)?);
        }
        out.push_str("---\n");
    }
    let body = body.trim_end();
    out.push_str(body);
    out.push_str(if body.is_empty() { "" } else { "\n" });
    Ok(out)
}

/// A file with other values for some fields; all else keeps its bytes.
///
/// # Errors
/// For keys that frontmatter cannot hold.
pub fn set(text: &str, fields: &Map<String, Value>) -> Result<String, PageError> {
    let mut parts = split(text);
    if !parts.has_front() {
        return Ok(render(fields, "")? + text);
    }
    let end = if parts.open.ends_with("\r\n") { "\r\n" } else { "\n" };
    for (name, value) in fields {
        let line = line(name, value)?.replace('\n', end);
        match parts.entries.iter_mut().find(|entry| entry.name == *name) {
            Some(entry) => {
                let raw = entry.value.raw();
                entry.value = Source::Scalar(before(&raw) + &line);
            }
            None => parts.entries.push(Entry { name: name.clone(), value: Source::Scalar(line) }),
        }
    }
    Ok(parts.render())
}

/// A file with a line more at its end, where it is not the last already.
pub fn append(text: &str, line: &str) -> String {
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let line = line.trim_end();
    if line.is_empty() || text.lines().last() == Some(line) {
        return text.to_owned();
    }
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { end };
    format!("{text}{gap}{line}{end}")
}

/// Comments and blank lines that stand before an entry.
fn before(raw: &str) -> String {
    let is_before = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
    raw.split_inclusive('\n').take_while(is_before).collect()
}

fn line(name: &str, value: &Value) -> Result<String, PageError> {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.bytes().all(inside) || name.len() > 80 {
        return Err(PageError::Key(name.to_owned()));
    }
    Ok(match value {
        Value::Array(items) if !items.is_empty() => {
            let items = items.iter().map(|item| format!("  - {}\n", scalar(item)));
            format!("{name}:\n{}", items.collect::<String>())
        }
        other => format!("{name}: {}\n", scalar(other)),
    })
}

/// A value on one line. Whatever is in a text, it cannot end it: JSON in quotes is YAML.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whether a text may stand without quotes and is read as a text: words, or a date.
fn is_plain(text: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || " _./@+-".contains(c);
    let date = |text: &str| text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok();
    let words = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    date(text)
        || (text.starts_with(char::is_alphabetic)
            && text.chars().all(inside)
            && !text.ends_with(' ')
            && !words.contains(&text.to_ascii_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Front;
    use proptest::prelude::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn a_new_file_reads_well() {
        let fields = json!({"type": "invoice", "number": "2026-041", "due": "2026-12-01", "amount": 12.5, "tags": ["a b", "x: y"]});
        let text = render(&map(fields), "Dear,\n\n").unwrap();
        assert_eq!(
            text,
            "---\ntype: invoice\namount: 12.5\ndue: 2026-12-01\nnumber: \"2026-041\"\ntags:\n  - a b\n  - \"x: y\"\n---\nDear,\n"
        );
        assert!(render(&map(json!({"a: b": 1})), "").is_err());
    }

    #[test]
    fn what_is_not_set_keeps_its_bytes() {
        let text = "---\r\ntype: invoice # mine\r\n# when it came\r\nstate:   'sent'\r\n---\r\nHi";
        let now = set(text, &map(json!({"state": "paid", "paid": "2026-11-21"}))).unwrap();
        assert_eq!(
            now,
            "---\r\ntype: invoice # mine\r\n# when it came\r\nstate: paid\r\npaid: 2026-11-21\r\n---\r\nHi"
        );
        assert_eq!(append(&now, "- paid"), format!("{now}\r\n- paid\r\n"));
        assert_eq!(append("a\n- paid\n", "- paid"), "a\n- paid\n");
    }

    proptest! {
        /// What a stranger wrote cannot become another field, nor another type.
        #[test]
        fn every_text_comes_back(text in "\\PC{0,40}|[a-z:'\"#\\n -]{0,20}") {
            let fields = map(json!({"type": "client", "name": text, "list": [text]}));
            let written = render(&fields, "").unwrap();
            prop_assert_eq!(Front::read(&written).unwrap().root.to_value(), Value::Object(fields.clone()));
            let again = set("---\nname: x\n---\n", &fields).unwrap();
            prop_assert_eq!(Front::read(&again).unwrap().root.to_value(), Value::Object(fields));
        }
    }
}
