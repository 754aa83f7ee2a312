//! The reader in JavaScript as a second opinion on a vault.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("reader")
}

/// Why the reader cannot run here, if it cannot.
pub fn absent() -> Option<String> {
    if Command::new("node").arg("--version").output().is_err() {
        return Some("Node is not installed".into());
    }
    match folder().join("node_modules/@automerge/automerge").is_dir() {
        true => None,
        false => Some("the reader's packages are not installed: `npm ci` in tests/reader".into()),
    }
}

/// Runs one of the reader's programs, which prints one JSON value. `Ok(None)` where it cannot run.
fn ask(program: &[&str], at: &Path) -> Result<Option<Value>, String> {
    if let Some(why) = absent() {
        println!("skipped: {why}");
        return Ok(None);
    }
    let out = Command::new("node")
        .args(program)
        .arg(at)
        .current_dir(folder())
        .output()
        .map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&out.stdout);
    let answer = serde_json::from_str(&text);
    answer.map(Some).map_err(|e| format!("{e}: {text}{}", String::from_utf8_lossy(&out.stderr)))
}

/// What Automerge itself reads in the documents of an export: path to text, fields and items. `Ok(None)` where it cannot
/// run.
///
/// # Errors
/// What it said.
pub fn exported(export: &Path) -> Result<Option<Value>, String> {
    ask(&["exported.mjs"], export)
}

/// Asks the reader what `HEAD` the vault's log files give. `Ok(None)` where it cannot run.
///
/// # Errors
/// What it found wrong with the vault.
pub fn head(vault: &Path) -> Result<Option<String>, String> {
    let Some(answer) = ask(&["read.mjs", "--deep"], vault)? else { return Ok(None) };
    if answer["ok"] != true {
        return Err(format!("the reader finds: {}", answer["findings"]));
    }
    Ok(answer["head"].as_str().map(str::to_owned))
}

/// Checks that the reader has the `HEAD` that git has, where it can run.
///
/// # Panics
/// When it has another, or finds something wrong.
pub fn check(vault: &Path) {
    let at = vault.display();
    let Some(read) = head(vault).unwrap_or_else(|e| panic!("{at}: {e}")) else { return };
    let git = Command::new("git").arg("-C").arg(vault).args(["rev-parse", "HEAD"]).output();
    let git = git.expect("git runs").stdout;
    assert_eq!(read, String::from_utf8_lossy(&git).trim(), "the reader and git have another HEAD of {at}");
}
