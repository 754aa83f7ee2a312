//! The `aios` binary that tests drive: the one beside the test programs, built anew if any source is newer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// Where the binary is. `AIOS_BIN` names another.
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
        let binary = folder.join(format!("aios{}", std::env::consts::EXE_SUFFIX));
        if binary.metadata().and_then(|file| file.modified()).is_ok_and(|built| built >= newest_source()) {
            return binary;
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        // All of the workspace, for the features that the tests are built with: one build of the libraries serves both.
        build
            .args(["build", "--quiet", "--workspace", "--bin", "aios"])
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        if folder.ends_with("release") {
            build.arg("--release");
        }
        if let Some(target) = folder.parent() {
            build.env("CARGO_TARGET_DIR", target);
        }
        let built = build.status().expect("cargo runs");
        assert!(built.success(), "the aios binary does not build");
        binary
    })
}

/// When the newest source of the binary was written.
fn newest_source() -> SystemTime {
    fn newest(path: &Path) -> SystemTime {
        let own = path.metadata().and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let inside =
            std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| newest(&entry.path()));
        // A folder's own time changes with what tests leave in it; only files count.
        if path.is_dir() { inside.max().unwrap_or(SystemTime::UNIX_EPOCH) } else { own }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let places = ["core/src", "vault/src", "sync/src", "agents/src", "cli/src"];
    places.iter().map(|place| newest(&root.join(place))).max().unwrap_or(SystemTime::UNIX_EPOCH)
}
