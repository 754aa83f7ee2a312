//! Walls around a program: what it reaches is its own folder, what programs need of the system, and what it was granted. Its keeper stays
//! outside of them.
//!
//! Linux: `files` by Landlock, `calls` of the kernel by seccomp. macOS: a `profile` for `sandbox-exec`. Nowhere else.

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod calls;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod files;
#[cfg(any(target_os = "macos", test))]
mod profile;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What a program may read and run beside its own folder and the system's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walls {
    /// Absolute paths without links.
    pub read: Vec<PathBuf>,
}

/// Why there are no walls.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The kernel does not keep files apart.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "Landlock is Linux's"))]
    #[error("the kernel does not do it ({0})")]
    Kernel(String),
    /// Something that is granted cannot be.
    #[error("{} is granted, and cannot be: {reason}", path.display())]
    Grant {
        /// What.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The system has nothing for it.
    #[cfg_attr(target_os = "linux", allow(dead_code, reason = "it has it on most processors"))]
    #[error("there is no sandbox for this system")]
    System,
}

/// What every program may read and run, where it is there: programs, libraries, and what these look up before they do anything.
const SYSTEM: [&str; 25] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/locale.alias",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/group",
    "/etc/hosts",
    "/etc/mime.types",
    "/etc/python3",
    "/etc/perl",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/nix/store",
    "/gnu/store",
    "/System/Library",
];
/// What every program may read and write.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

impl Walls {
    /// Walls with doors to `granted` paths, none of which leads to what is `hidden` from all programs.
    ///
    /// # Errors
    /// [`Refusal::Grant`].
    pub fn new(granted: &[String], hidden: &[PathBuf]) -> Result<Walls, Refusal> {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let hidden: Vec<PathBuf> = hidden.iter().map(|path| real(path)).collect();
        let apart =
            |path: PathBuf| match hidden.iter().find(|it| it.starts_with(&path) || path.starts_with(it)) {
                Some(it) => {
                    let reason = format!("{} is kept from every program", it.display());
                    Err(Refusal::Grant { path, reason })
                }
                None => Ok(path),
            };
        for path in SYSTEM {
            apart(real(Path::new(path)))?;
        }
        let read = granted.iter().map(|path| {
            let found = Path::new(path).canonicalize();
            apart(found.map_err(|e| Refusal::Grant { path: path.into(), reason: e.to_string() })?)
        });
        Ok(Walls { read: read.collect::<Result<_, _>>()? })
    }

    /// Has this thread, and all that it starts, stay within the walls for good.
    ///
    /// # Errors
    /// Why that cannot be; the thread may have lost some of its rights by then.
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub fn enter(&self, folder: &Path) -> Result<(), Refusal> {
        let signals = files::shut(self, folder)?;
        calls::shut(signals, rustix::process::geteuid().is_root())
    }

    /// Nothing: the words [before](Walls::before) the program's own do it.
    ///
    /// # Errors
    /// Where there is nothing that does it.
    #[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
    pub fn enter(&self, _: &Path) -> Result<(), Refusal> {
        if cfg!(target_os = "macos") && Path::new(SANDBOX_EXEC).is_file() {
            Ok(())
        } else {
            Err(Refusal::System)
        }
    }

    /// What is to be run in place of a program, which then follows.
    #[cfg(target_os = "macos")]
    pub fn before(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        Ok(vec![SANDBOX_EXEC.into(), "-p".into(), profile::of(self, &folder.canonicalize()?).into()])
    }

    /// What is to be run in place of a program, which then follows: here it is run itself.
    #[cfg(not(target_os = "macos"))]
    pub fn before(&self, _: &Path) -> io::Result<Vec<OsString>> {
        Ok(Vec::new())
    }
}

/// The program of macOS that puts walls around another.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
const SANDBOX_EXEC: &str = "/usr/bin/sandbox-exec";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_grant_leads_to_what_is_hidden() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let (vault, tools) = (base.join("vault"), base.join("tools"));
        for folder in [&vault, &tools] {
            std::fs::create_dir(folder).unwrap();
        }
        std::os::unix::fs::symlink(&vault, tools.join("link")).unwrap();
        std::os::unix::fs::symlink(&tools, base.join("way")).unwrap();
        let hidden = [vault.clone()];
        let of = |path: &Path| Walls::new(&[path.to_string_lossy().into_owned()], &hidden);
        assert_eq!(of(&tools).unwrap().read, vec![tools.clone()]);
        assert_eq!(of(&base.join("way")).unwrap().read, vec![tools.clone()]);
        for path in
            [vault.clone(), vault.join("agents"), tools.join("link"), base.clone(), tools.join("none")]
        {
            assert!(matches!(of(&path), Err(Refusal::Grant { .. })), "{}", path.display());
        }
        assert!(Walls::new(&[], &["/usr/share".into()]).is_err(), "a vault there would be open");
    }
}
