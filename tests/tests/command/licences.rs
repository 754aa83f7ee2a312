//! Every library that is built in has a licence that `deny.toml` allows, and none that it bans is there.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The strings in quotes of the list that follows `name` in deny.toml.
fn list(text: &str, name: &str) -> Vec<String> {
    let start = text.find(&format!("\n{name} = [")).expect("the list is there");
    let end = text[start..].find(']').expect("it ends") + start;
    text[start..end].split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether an SPDX expression can be met with these licences. `/` is an old way to write `OR`.
fn met(expression: &str, allowed: &[String]) -> bool {
    let text = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = text.split_whitespace().collect();
    either(&words, &mut 0, allowed)
}

fn either(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut out = all(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        out |= all(words, at, allowed);
    }
    out
}

fn all(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut out = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        out &= one(words, at, allowed);
    }
    out
}

fn one(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let out = either(words, at, allowed);
        *at += 1;
        return out;
    }
    if words.get(*at) == Some(&"WITH") {
        *at += 2;
    }
    allowed.iter().any(|licence| licence == word)
}

#[test]
fn expressions() {
    let allowed = ["MIT".to_owned(), "ISC".to_owned()];
    for (text, is) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("MIT AND GPL-3.0", false),
        ("(GPL-3.0 OR MIT) AND ISC", true),
        ("Apache-2.0/MIT", true),
    ] {
        assert_eq!(met(text, &allowed), is, "{text}");
    }
}

#[test]
fn every_library_has_a_licence_we_may_use() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--locked"]).current_dir(root());
    let out = command.output().expect("cargo runs");
    if !out.status.success() {
        println!("skipped: cargo cannot list the libraries: {}", String::from_utf8_lossy(&out.stderr));
        return;
    }
    let metadata: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let deny = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    let allowed = list(&deny, "allow");
    let packages = metadata["packages"].as_array().expect("a list").iter();
    let mut wrong = Vec::new();
    for package in packages.filter(|package| !package["source"].is_null()) {
        let (name, licence) =
            (package["name"].as_str().unwrap_or(""), package["license"].as_str().unwrap_or(""));
        if !met(licence, &allowed) {
            wrong.push(format!("{name}: {licence}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    for banned in ["aws-lc-sys", "openssl-sys"] {
        assert!(!lock.contains(&format!("name = \"{banned}\"")), "{banned} is built in");
    }
}
