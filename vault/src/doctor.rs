//! `aios doctor`: whether this machine and this folder are fit for the vault. Whether the vault's content is what its
//! members signed is `verify`'s to say.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::chance::now_ms;
use crate::disk::Lock;
use crate::error::Error;
use crate::layout::Layout;
use crate::vault::{PATIENCE, Progress, Vault};
use crate::{git, keys, place, rebuild};

/// Less room than this is worth a warning, in bytes.
const ROOM: u64 = 512 << 20;
/// Fewer watches than this do not do for a vault of many folders.
const WATCHES: u64 = 65_536;
/// A clock this far behind the newest record is wrong, ms.
const BEHIND: u64 = 2 * 60 * 1000;
/// A lock of git's older than this is left over, s.
const STALE: u64 = 10 * 60;

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at, such as `clock`.
    pub check: &'static str,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found.
    pub what: String,
    /// What to do, where something is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether it was put right.
    pub fixed: bool,
}

/// Looks at everything. With `fix`, makes what is derived again and removes locks that are left over.
///
/// # Errors
/// When there is no vault, or another process holds it.
pub fn doctor(from: &Path, fix: bool, progress: Progress<'_>) -> Result<Vec<Check>, Error> {
    let layout = Layout::find(from)?;
    let mut ward = Ward { layout, fix, checks: Vec::new() };
    let replica = match ward.layout.replica() {
        Err(Error::Replica { .. }) if fix => {
            ward.rebuild(progress)?;
            ward.layout.replica()?
        }
        replica => replica?,
    };
    ward.keys(&replica.device);
    ward.cloud();
    ward.room();
    ward.watches();
    ward.locks();
    ward.refs(progress)?;
    ward.database(progress)?;
    Ok(ward.checks)
}

struct Ward {
    layout: Layout,
    fix: bool,
    checks: Vec<Check>,
}

impl Ward {
    fn good(&mut self, check: &'static str, what: impl Into<String>) {
        self.checks.push(Check { check, ok: true, what: what.into(), hint: None, fixed: false });
    }

    fn bad(&mut self, check: &'static str, what: impl Into<String>, hint: impl Into<String>) {
        self.checks.push(Check {
            check,
            ok: false,
            what: what.into(),
            hint: Some(hint.into()),
            fixed: false,
        });
    }

    fn fixed(&mut self, check: &'static str, what: impl Into<String>) {
        self.checks.push(Check { check, ok: true, what: what.into(), hint: None, fixed: true });
    }

    fn keys(&mut self, device: &aios_core::id::DeviceId) {
        let (loaded, dir) = (keys::Keys::load(device), keys::data_dir());
        let keys = match loaded {
            Ok(keys) => keys,
            Err(e) => {
                let hint = e.hint().unwrap_or_default();
                return self.bad("keys", e.to_string(), hint);
            }
        };
        let open = |path: &Path| path.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0);
        let secrets = ["device.key", "operator.key"].map(|name| keys.folder().join(name));
        let exposed: Vec<PathBuf> = secrets.into_iter().filter(|path| open(path)).collect();
        for path in &exposed {
            let mended =
                self.fix && std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).is_ok();
            match mended {
                true => self.fixed("keys", format!("{} is yours alone now", path.display())),
                false => self.bad(
                    "keys",
                    format!("others on this machine can read {}", path.display()),
                    format!("run `chmod 600 {}`, or `aios doctor --fix`", path.display()),
                ),
            }
        }
        if exposed.is_empty() {
            self.good("keys", format!("in {}", dir.map(|dir| dir.display().to_string()).unwrap_or_default()));
        }
    }

    fn cloud(&mut self) {
        match place::clouded(self.layout.root()) {
            Some(found) => self.bad("place", found.problem, found.hint),
            None => self.good("place", self.layout.root().display().to_string()),
        }
    }

    fn room(&mut self) {
        match rustix::fs::statvfs(self.layout.root()) {
            Ok(disk) => {
                let left = disk.f_bavail.saturating_mul(disk.f_frsize);
                match left < ROOM {
                    true => self.bad(
                        "disk",
                        format!("{} MB are left", left >> 20),
                        "free some space: aios stops rather than write half",
                    ),
                    false => self.good("disk", format!("{} MB are left", left >> 20)),
                }
            }
            Err(e) => self.bad("disk", format!("its room is unknown: {e}"), "check that the disk is mounted"),
        }
    }

    fn watches(&mut self) {
        let Ok(text) = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches") else { return };
        let most: u64 = text.trim().parse().unwrap_or(0);
        match most < WATCHES {
            true => self.bad(
                "watcher",
                format!("the system lets a user watch {most} folders"),
                format!("run `sudo sysctl fs.inotify.max_user_watches={WATCHES}`; until then changes may be seen late"),
            ),
            false => self.good("watcher", format!("up to {most} folders")),
        }
    }

    fn locks(&mut self) {
        let git = self.layout.root().join(".git");
        let mut found = 0;
        for name in ["index.lock", "HEAD.lock", "refs/heads/main.lock", "packed-refs.lock"] {
            let path = git.join(name);
            let Ok(meta) = path.metadata() else { continue };
            found += 1;
            let old = meta
                .modified()
                .ok()
                .and_then(|time| time.elapsed().ok())
                .is_some_and(|age| age.as_secs() > STALE);
            // One of git's may belong to a running git: only its owner knows.
            let hint = match old {
                true => format!("if no git command runs, delete {}", path.display()),
                false => "let the git command that runs finish".to_owned(),
            };
            self.bad("git lock", format!("{} is there", path.display()), hint);
        }
        let check = self.layout.own().join("check");
        if check.exists() {
            let ours = self.fix
                && Lock::take(&self.layout.lock(), PATIENCE).is_ok()
                && std::fs::remove_dir_all(&check).is_ok();
            match ours {
                true => self.fixed("leftovers", "what a verification left was removed"),
                false => self.bad("leftovers", "a verification was cut short", "run `aios doctor --fix`"),
            }
        }
        if found == 0 {
            self.good("git lock", "none");
        }
    }

    fn refs(&mut self, progress: Progress<'_>) -> Result<(), Error> {
        let torn = git::torn(&self.layout.root().join(".git"));
        if torn.is_empty() {
            self.good("git refs", "all of them can be read");
        } else if self.fix {
            self.rebuild(progress)?;
        } else {
            for git::Torn { name, why, .. } in torn {
                self.bad("git refs", format!("{name} cannot be read: {why}"), "run `aios rebuild`");
            }
        }
        Ok(())
    }

    fn rebuild(&mut self, progress: Progress<'_>) -> Result<(), Error> {
        let done = rebuild::rebuild(self.layout.root(), None, progress)?;
        self.fixed("database", format!("made again from {} records", done.records));
        for what in done.mended {
            self.fixed("mended", what);
        }
        for what in done.lost {
            self.bad("lost", what, "run `aios sync` while a device that has it is reachable");
        }
        for what in done.waits {
            self.bad("git", what.problem, what.hint);
        }
        Ok(())
    }

    fn database(&mut self, progress: Progress<'_>) -> Result<(), Error> {
        let vault = match Vault::open(self.layout.root()) {
            Ok(vault) => Ok(vault),
            Err(e @ (Error::Lock(_) | Error::NoKey { .. })) => return Err(e),
            Err(e @ (Error::Database(_) | Error::Damaged(_) | Error::Segment { .. } | Error::Git(_)))
                if self.fix =>
            {
                self.fixed("found", e.to_string());
                self.rebuild(progress)?;
                Vault::open(self.layout.root())
            }
            Err(e) => Err(e),
        };
        let mut vault = match vault {
            Ok(vault) => vault,
            Err(e) => {
                let hint = e.hint().unwrap_or_else(|| "run `aios verify`".into());
                self.bad("database", e.to_string(), hint);
                return Ok(());
            }
        };
        self.good("database", format!("{} records", vault.view().len()));
        match vault.phrases().is_empty() {
            false => self.good("recovery", "the vault has a recovery phrase"),
            true => self.bad(
                "recovery",
                "the vault has no recovery phrase: who loses all devices loses it",
                "run `aios recovery new` on the device that made the vault",
            ),
        }
        match vault.paused() {
            Ok(None) => self.good("git", "on branch main"),
            Ok(Some(why)) => self.bad(
                "git",
                format!("paused: {why}"),
                "finish or abort it with git and go back with `git switch main`",
            ),
            Err(e) => self.bad("git", e.to_string(), "run `aios rebuild`"),
        }
        match git::Index::read(&vault.repo) {
            Ok(_) if vault.lacks_index().is_none() => self.good("git index", "can be read"),
            Ok(_) if self.fix && vault.restore_index()? => {
                self.fixed("git index", "it was gone, and is made again");
            }
            Ok(_) => self.bad(
                "git index",
                "it is gone: git takes every file for deleted",
                "run `aios rebuild`, or `aios doctor --fix`",
            ),
            Err(e) => self.bad("git index", e.to_string(), "until then git's `main` waits"),
        }
        let newest: Option<i64> = vault.db.query_row("SELECT max(ms) FROM record", [], |row| row.get(0))?;
        let (newest, now) = (newest.unwrap_or(0) as u64, now_ms());
        match newest > now + BEHIND {
            true => self.bad(
                "clock",
                format!("this machine's clock is {} s behind the newest record", (newest - now) / 1000),
                "set the clock, or let the system set it (NTP)",
            ),
            false => self.good("clock", "not behind the newest record"),
        }
        Ok(())
    }
}
