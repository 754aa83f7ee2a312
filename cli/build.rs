//! Puts the sample company into the program, for `aios demo`.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default())
        .join("../docs/sample/consultant");
    let folder = folder.canonicalize()?;
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut paths = Vec::new();
    walk(&folder, &mut paths)?;
    paths.sort();
    let mut code = String::from(
        "/// The files of the sample company: path and content.\npub static SAMPLE: &[(&str, &[u8])] = &[\n",
    );
    for path in paths {
        let name = path.strip_prefix(&folder).map_err(io::Error::other)?;
        let (name, path) = (name.display().to_string(), path.display().to_string());
        writeln!(code, "    ({name:?}, include_bytes!({path:?})),").map_err(io::Error::other)?;
    }
    code.push_str("];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("sample.rs"), code)
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
