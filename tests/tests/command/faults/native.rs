//! Small programs in C that a test needs, built where it runs: what they do is outside of what Rust's standard library does.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds a program, or with `-shared` a library, in `dir`. `Err` says why it cannot.
pub fn build(dir: &Path, name: &str, source: &str, args: &[&str]) -> Result<PathBuf, String> {
    if !cfg!(target_os = "linux") {
        return Err("only on Linux".into());
    }
    let (text, built) = (dir.join(format!("{name}.c")), dir.join(name));
    std::fs::write(&text, source).map_err(|e| e.to_string())?;
    let out = Command::new("cc").args(["-O2", "-o"]).arg(&built).args(args).arg(&text).arg("-ldl").output();
    let out = out.map_err(|e| format!("cc does not run: {e}"))?;
    // A compiler that is there builds it: what is wrong then is wrong with the program.
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Ok(built)
}
