//! The `aios` binary that tests drive: the one beside the test programs, built first so that it is never an old one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the binary is. Builds it once per test program.
///
/// # Panics
/// When it cannot be built: no test can go on without it.
pub fn aios() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("AIOS_BIN") {
            return PathBuf::from(given);
        }
        let own = std::env::current_exe().expect("the test program has a path");
        let folder = own.parent().and_then(Path::parent).expect("it lies in target/PROFILE/deps").to_owned();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--package", "aios"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        if folder.ends_with("release") {
            build.arg("--release");
        }
        if let Some(target) = folder.parent() {
            build.env("CARGO_TARGET_DIR", target);
        }
        let built = build.status().expect("cargo runs");
        assert!(built.success(), "the aios binary does not build");
        folder.join(format!("aios{}", std::env::consts::EXE_SUFFIX))
    })
}
