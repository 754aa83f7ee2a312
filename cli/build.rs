//! Puts the files of sample companies into the program, for `aios init --template` and `aios demo`.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../docs/sample");
    let folder = folder.canonicalize()?;
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut code = String::from("/// The templates there are.\npub static TEMPLATES: &[Template] = &[\n");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let entry = entry?;
        // What is built is a program, and no company.
        if entry.file_type()?.is_dir() && !entry.path().join("Cargo.toml").exists() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    for name in names {
        let folder = folder.join(&name);
        let mut paths = Vec::new();
        walk(&folder, &mut paths)?;
        paths.sort();
        writeln!(code, "    Template {{ name: {name:?}, files: &[").map_err(io::Error::other)?;
        for path in paths {
            let name = path.strip_prefix(&folder).map_err(io::Error::other)?;
            let (name, path) = (name.display().to_string(), path.display().to_string());
            writeln!(code, "        ({name:?}, include_bytes!({path:?})),").map_err(io::Error::other)?;
        }
        code.push_str("    ] },\n");
    }
    code.push_str("];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("templates.rs"), code)
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => walk(&entry.path(), paths)?,
            false => paths.push(entry.path()),
        }
    }
    Ok(())
}
