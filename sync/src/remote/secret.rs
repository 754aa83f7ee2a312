//! What looks like a secret in text that is about to be published: what was published once cannot be taken back.

use std::collections::BTreeSet;

use aios_core::id::GitId;
use serde::{Deserialize, Serialize};

use super::state::State;
use super::{Remote, RemoteError, Remotes};
use crate::site::Site;

/// Beginnings of tokens: what they are, how they begin, how many characters follow at least.
const TOKENS: [(&str, &str, usize); 20] = [
    ("a GitHub token", "ghp_", 30),
    ("a GitHub token", "gho_", 30),
    ("a GitHub token", "ghu_", 30),
    ("a GitHub token", "ghs_", 30),
    ("a GitHub token", "ghr_", 30),
    ("a GitHub token", "github_pat_", 22),
    ("a GitLab token", "glpat-", 20),
    ("an API key", "sk-", 20),
    ("a Stripe key", "sk_live_", 16),
    ("a Stripe key", "rk_live_", 16),
    ("a Slack token", "xoxb-", 10),
    ("a Slack token", "xoxp-", 10),
    ("a Slack token", "xoxa-", 10),
    ("a Slack token", "xoxr-", 10),
    ("a Slack token", "xoxs-", 10),
    ("an AWS access key", "AKIA", 16),
    ("an AWS access key", "ASIA", 16),
    ("a Google API key", "AIza", 35),
    ("an npm token", "npm_", 36),
    ("an age secret key", "AGE-SECRET-KEY-1", 50),
];

/// Names of keys whose values are secrets; the longest value that is none, in characters.
const KEYS: [(&str, usize); 14] = [
    ("password", 5),
    ("passwd", 5),
    ("passphrase", 5),
    ("pwd", 5),
    ("secret", 7),
    ("client_secret", 7),
    ("api_key", 7),
    ("api-key", 7),
    ("apikey", 7),
    ("access_key", 7),
    ("secret_key", 7),
    ("auth_token", 7),
    ("access_token", 7),
    ("private_key", 7),
];

/// Something that looks like a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// The file.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// A commit that brings it.
    pub commit: GitId,
    /// What it looks like.
    pub looks_like: String,
    /// Its beginning, and how long it is.
    pub masked: String,
    /// Names what was found, wherever it stands.
    pub id: String,
}

/// Something found in a text: line from 1, what it looks like, and its very characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit<'t> {
    /// The line, from 1.
    pub line: usize,
    /// What it looks like.
    pub looks_like: &'static str,
    /// It.
    pub text: &'t str,
}

/// What looks like a secret in the text of the file at `path`.
pub fn scan<'t>(path: &str, text: &'t str) -> Vec<Hit<'t>> {
    let mut out = Vec::new();
    let prose = path.ends_with(".md") || path.ends_with(".markdown");
    let mut front = !prose;
    for (n, line) in text.lines().enumerate() {
        let line_end = line.trim_end();
        if prose && matches!(line_end, "---" | "...") {
            // Frontmatter lies between the first line, if that is a fence, and the next fence.
            front = n == 0;
        }
        let at = n + 1;
        if line.contains("-----BEGIN ") && line.contains("PRIVATE KEY") {
            // All of it: keys begin alike.
            let from = &text[line.as_ptr() as usize - text.as_ptr() as usize..];
            let end = from.find("-----END").unwrap_or(from.len());
            out.push(Hit { line: at, looks_like: "a private key", text: &from[..end] });
        }
        out.extend(tokens(line).map(|(looks_like, text)| Hit { line: at, looks_like, text }));
        if front && let Some(text) = valued(line) {
            out.push(Hit { line: at, looks_like: "a password", text });
        }
    }
    out
}

fn tokens(line: &str) -> impl Iterator<Item = (&'static str, &str)> {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    TOKENS.iter().flat_map(move |&(looks_like, begin, least)| {
        line.match_indices(begin).filter_map(move |(at, _)| {
            let before = line[..at].chars().next_back();
            let after = &line[at + begin.len()..];
            let end = after.find(|c| !inside(c)).unwrap_or(after.len());
            let (tail, whole) = (&after[..end], &line[at..at + begin.len() + end]);
            let upper = begin == "AKIA" || begin == "ASIA";
            let shape = match upper {
                true => {
                    tail.len() == least && tail.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
                }
                // Words joined by dashes are none; keys have digits.
                false => tail.len() >= least && tail.bytes().any(|b| b.is_ascii_digit()),
            };
            (!before.is_some_and(inside) && shape).then_some((looks_like, whole))
        })
    })
}

/// The value of a line such as `password: hunter22` or `API_KEY="…"`, if its key tells of a secret.
fn valued(line: &str) -> Option<&str> {
    let (key, value) = line.split_once([':', '='])?;
    let key = key.trim().trim_start_matches("export ").trim_matches(['"', '\'', '-', ' ']).to_lowercase();
    let ends = |name: &str| {
        key == name || (key.ends_with(name) && key[..key.len() - name.len()].ends_with(['_', '-', '.']))
    };
    let (_, short) = KEYS.iter().find(|(name, _)| ends(name))?;
    let value = value.trim().trim_end_matches([',', ';']).trim_matches(['"', '\'']);
    let placeholder = value.starts_with(['<', '$', '{', '*', '[', '!', '&', '|', '>'])
        || value.chars().all(|c| matches!(c, 'x' | 'X' | '.' | '-' | '*'));
    let sound = value.chars().count() > *short && !value.contains(' ') && !placeholder;
    sound.then_some(value)
}

/// The beginning of a secret, and how long it is.
fn mask(text: &str) -> String {
    let length = text.chars().count();
    let shown: String = text.chars().take((length / 4).min(4)).collect();
    format!("{shown}… ({length} characters)")
}

/// Looks through what would be published for the first time up to `head`, and stops at what looks like a secret and is not
/// allowed; with `allow` it is from now on.
///
/// # Errors
/// [`RemoteError::Secrets`]; what git answers.
pub(super) fn check(
    site: &Site,
    remote: &Remote,
    state: &mut State,
    head: Option<GitId>,
    allow: bool,
) -> Result<Vec<Finding>, RemoteError> {
    let Some(head) = head.filter(|head| state.scanned != Some(*head)) else { return Ok(Vec::new()) };
    let known = state.scanned;
    let found = site.keeper().work(move |vault| {
        let (mut found, mut ids) = (Vec::new(), BTreeSet::new());
        vault.each_version(&head, known.as_ref(), &mut |version| {
            for hit in scan(version.path, version.text) {
                let id = blake3::hash(format!("aios-secret-v1\n{}", hit.text).as_bytes()).to_hex();
                let id = id[..16].to_owned();
                if ids.insert((id.clone(), version.path.to_owned())) {
                    found.push(Finding {
                        path: version.path.to_owned(),
                        line: hit.line,
                        commit: version.commit,
                        looks_like: hit.looks_like.to_owned(),
                        masked: mask(hit.text),
                        id,
                    });
                }
            }
        })?;
        found.sort();
        Ok(found)
    })?;
    let found: Vec<Finding> = found.into_iter().filter(|found| !remote.allowed.contains(&found.id)).collect();
    if !found.is_empty() && !allow {
        return Ok(found);
    }
    if !found.is_empty() {
        let mut remotes = Remotes::load(site.keeper().root())?;
        remotes.allow(&remote.name, found.into_iter().map(|found| found.id))?;
    }
    state.scanned = Some(head);
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(path: &str, text: &str) -> Vec<(usize, &'static str)> {
        scan(path, text).into_iter().map(|hit| (hit.line, hit.looks_like)).collect()
    }

    #[test]
    fn secrets_are_found() {
        let token = format!("ghp_{}", "a1".repeat(18));
        assert_eq!(kinds("a.md", &format!("x\nuse {token}, please\n")), [(2, "a GitHub token")]);
        assert_eq!(kinds("a.md", &format!("AKIA{}\n", "A1B2".repeat(4))), [(1, "an AWS access key")]);
        assert_eq!(kinds("a.txt", &format!("k=sk-proj-{}\n", "x9".repeat(12))), [(1, "an API key")]);
        assert_eq!(kinds("id", "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n"), [(1, "a private key")]);
        assert_eq!(kinds("a.md", "---\npassword: hunter22\n---\n"), [(2, "a password")]);
        assert_eq!(kinds(".env", "export DB_PASSWORD=\"hunter22\"\n"), [(1, "a password")]);
        assert_eq!(kinds("a.json", "  \"client_secret\": \"0123456789\",\n"), [(1, "a password")]);
    }

    #[test]
    fn words_are_none() {
        let text = "the risk-taking-of-many-small-companies-in-2024\npassword: hunter22 in prose\n\
                    task-0123456789012345678901234\nsk-learn-and-other-words-joined-by-dashes\nAKIA is short\n";
        assert_eq!(kinds("a.md", text), []);
        let front =
            "---\npassword: <ask Bram>\nsecret: xxxxxxxxxxxx\ntoken_count: 123456789\npassword:\n---\n";
        assert_eq!(kinds("a.md", front), []);
        assert_eq!(kinds(".env", "PASSWORD=${VAULT_PASSWORD}\n"), []);
    }

    #[test]
    fn masks_tell_little() {
        assert_eq!(mask("hunter22"), "hu… (8 characters)");
        assert_eq!(mask("abc"), "… (3 characters)");
        assert_eq!(mask(&"x".repeat(40)), "xxxx… (40 characters)");
    }
}
