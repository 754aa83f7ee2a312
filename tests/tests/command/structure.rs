//! The shape of the source tree: dependencies point one way, the top level holds what it should.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The aios crates that the manifest in `folder` names under `[dependencies]`.
fn dependencies(folder: &str) -> BTreeSet<String> {
    let text =
        std::fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("the manifest is there");
    let section = text.split("\n[").find(|part| part.trim_start_matches('[').starts_with("dependencies]"));
    let names = section.unwrap_or_default().lines().filter_map(|line| line.split(['=', '.', ' ']).next());
    names.filter(|name| name.starts_with("aios")).map(str::to_owned).collect()
}

#[test]
fn dependencies_point_one_way() {
    let order = [
        ("core", "aios-core"),
        ("vault", "aios-vault"),
        ("sync", "aios-sync"),
        ("agents", "aios-agents"),
        ("cli", "aios"),
    ];
    for (place, (folder, name)) in order.iter().enumerate() {
        let allowed: BTreeSet<String> = order[..place].iter().map(|(_, name)| (*name).to_owned()).collect();
        let found = dependencies(folder);
        assert!(found.is_subset(&allowed), "{name} may depend on {allowed:?} and depends on {found:?}");
    }
}

#[test]
fn the_core_does_no_io() {
    let sources = walk(&root().join("core/src"));
    let banned =
        ["std::fs", "std::net", "std::process", "std::env", "tokio", "rusqlite", "git2", "SystemTime::now"];
    for path in sources {
        let text = std::fs::read_to_string(&path).expect("a source file");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in banned {
            let outside_tests = code.contains(word) && !path.ends_with("tests.rs");
            assert!(!outside_tests, "{} uses {word}", path.display());
        }
    }
}

#[test]
fn the_top_level_is_what_it_should_be() {
    let known: BTreeSet<&str> = [
        "Cargo.toml",
        "Cargo.lock",
        "core",
        "sync",
        "agents",
        "cli",
        "vault",
        "tests",
        "docs",
        "README.md",
        "CHANGELOG.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        ".ci",
        ".cargo",
        ".config",
        ".git",
        ".gitignore",
        ".gitattributes",
        "rustfmt.toml",
        "clippy.toml",
        "deny.toml",
        "target",
    ]
    .into();
    for entry in std::fs::read_dir(root()).expect("the checkout") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        assert!(known.contains(name.as_str()), "`{name}` does not belong at the top level");
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => out.extend(walk(&path)),
            false => out.push(path),
        }
    }
    out
}
