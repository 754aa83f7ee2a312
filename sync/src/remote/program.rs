//! The user's own `git`: their credentials, ssh agent, proxies and settings are the ones that reach a remote. libgit2 never
//! talks to the network.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use aios_core::id::{DeviceId, GitId};
use tokio::process::Command;

use super::RemoteError;

/// What of the environment would point git at another repository.
const ASTRAY: [&str; 10] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CONFIG",
    "GIT_SHALLOW_FILE",
];

/// Objects last before anyone is told of them, and nobody tidies the vault's repository behind its back.
const SETTINGS: [&str; 8] = [
    "-c",
    "core.fsync=all",
    "-c",
    "gc.auto=0",
    "-c",
    "maintenance.auto=false",
    "-c",
    "fetch.writeCommitGraph=false",
];

/// A ref to be pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The ref.
    pub name: String,
    /// What it becomes.
    pub new: GitId,
    /// Where it was seen there, for a ref that may be replaced while it is there still; `None` for one that may only
    /// fast-forward.
    pub replaces: Option<Option<GitId>>,
}

/// What came of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// All refs are said to be there.
    Done,
    /// Somebody was faster: look again. In the words of git.
    Late(String),
}

/// Git in the repository of one vault, for one remote.
#[derive(Debug, Clone)]
pub struct Program {
    root: PathBuf,
    url: String,
}

struct Said {
    ok: bool,
    out: String,
    err: String,
}

impl Program {
    /// In the repository at `root`, for the remote at `url`.
    pub fn new(root: &Path, url: &str) -> Self {
        Program { root: root.to_owned(), url: url.to_owned() }
    }

    async fn run<I, S>(&self, args: I) -> Result<Said, RemoteError>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new("git");
        for name in ASTRAY {
            command.env_remove(name);
        }
        command.arg("-C").arg(&self.root).args(SETTINGS).args(args);
        // Nobody is there to answer a question.
        command.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
        if std::env::var_os("GIT_SSH_COMMAND").is_none()
            && std::env::var_os("GIT_SSH").is_none()
            && !self.has_ssh()
        {
            command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        let out = match command.output().await {
            Ok(out) => out,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(RemoteError::NoGit),
            Err(e) => return Err(RemoteError::io("start git in", &self.root, e)),
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = Said { ok: out.status.success(), out: text(&out.stdout), err: text(&out.stderr) };
        tracing::debug!(ok = said.ok, err = said.err, "git");
        Ok(said)
    }

    /// Whether the user's settings say how to reach hosts by ssh.
    fn has_ssh(&self) -> bool {
        let config = self.root.join(".git/config");
        std::fs::read_to_string(config).is_ok_and(|text| text.to_lowercase().contains("sshcommand"))
    }

    /// Makes a bare repository of the folder.
    ///
    /// # Errors
    /// When git is not here, or says no.
    pub async fn init(&self) -> Result<(), RemoteError> {
        let said = self.run(["init", "--quiet", "--bare"]).await?;
        match said.ok {
            true => Ok(()),
            false => Err(self.failed(&said.err)),
        }
    }

    /// The refs of the remote.
    ///
    /// # Errors
    /// When it cannot be reached, or says no.
    pub async fn refs(&self) -> Result<BTreeMap<String, GitId>, RemoteError> {
        let said =
            self.run(["ls-remote", "--refs", "--", &self.url, "refs/heads/main", "refs/aios/log/*"]).await?;
        if !said.ok {
            return Err(self.failed(&said.err));
        }
        let refs = said.out.lines().filter_map(|line| {
            let (id, name) = line.split_once('\t')?;
            let log = name.strip_prefix("refs/aios/log/").map(str::parse::<DeviceId>);
            let ours = name == "refs/heads/main" || log.is_some_and(|device| device.is_ok());
            ours.then_some((name.to_owned(), id.parse().ok()?))
        });
        Ok(refs.collect())
    }

    /// Fetches what `refs` are at into refs of the vault that begin with `prefix`, in place of what they were.
    ///
    /// # Errors
    /// As [`Program::refs`].
    pub async fn fetch<'r>(
        &self,
        refs: impl Iterator<Item = &'r String>,
        prefix: &str,
    ) -> Result<(), RemoteError> {
        let mut specs: Vec<String> = Vec::new();
        for name in refs {
            let own = name.strip_prefix("refs/heads/").or(name.strip_prefix("refs/aios/"));
            specs.extend(own.map(|own| format!("+{name}:{prefix}{own}")));
        }
        if specs.is_empty() {
            return Ok(());
        }
        let mut args: Vec<&str> = vec![
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--",
            &self.url,
        ];
        args.extend(specs.iter().map(String::as_str));
        let said = self.run(args).await?;
        match said.ok {
            true => Ok(()),
            false => Err(self.failed(&said.err)),
        }
    }

    /// Pushes refs, all or none.
    ///
    /// # Errors
    /// As [`Program::refs`].
    pub async fn push(&self, pushes: &[Push]) -> Result<Pushed, RemoteError> {
        let mut args = vec!["push".to_owned(), "--porcelain".into(), "--no-follow-tags".into()];
        args.push("--recurse-submodules=no".into());
        args.push("--atomic".into());
        if Path::new(&self.url).is_absolute() || self.url.starts_with("file://") {
            // A repository on this machine is to have it on disk, too, when it says so.
            args.push("--receive-pack=git -c core.fsync=all -c gc.auto=0 receive-pack".into());
        }
        for push in pushes {
            if let Some(seen) = &push.replaces {
                let seen = seen.map(|id| id.to_string()).unwrap_or_default();
                args.push(format!("--force-with-lease={}:{seen}", push.name));
            }
        }
        args.extend(["--".into(), self.url.clone()]);
        args.extend(pushes.iter().map(|push| format!("{}:{}", push.new, push.name)));
        let mut said = self.run(&args).await?;
        if !said.ok && said.err.contains("does not support --atomic") {
            args.retain(|arg| arg != "--atomic");
            said = self.run(&args).await?;
        }
        if said.ok {
            return Ok(Pushed::Done);
        }
        let rejected: Vec<&str> = said.out.lines().filter(|line| line.starts_with('!')).collect();
        let why = |line: &&str| line.rsplit('\t').next().unwrap_or_default().to_owned();
        let late = [
            "stale info",
            "fetch first",
            "non-fast-forward",
            "cannot lock",
            "old value",
            "failed to update",
            // All that is said of each ref where another push holds the lock of one.
            "atomic transaction failed",
        ];
        let guarded = |line: &&&str| line.contains("[remote rejected]") && line.contains("non-fast-forward");
        if rejected.iter().any(|line| guarded(&line)) {
            return Err(RemoteError::Refused {
                what: format!("{} lets no ref be replaced, not even the mirrors of logs that are", self.url),
                hint: "there, run `git config receive.denyNonFastForwards false`; `main` is never forced"
                    .into(),
            });
        }
        let is_late = |line: &&str| late.iter().any(|word| line.contains(word));
        match rejected.iter().find(|line| is_late(line)) {
            Some(line) => {
                let lock = said.err.lines().find_map(|line| line.trim().strip_prefix("remote: error: "));
                Ok(Pushed::Late(lock.map_or_else(|| why(line), |lock| lock.trim().to_owned())))
            }
            None => match rejected.iter().find(|line| line.contains("[remote rejected]")) {
                Some(line) => Err(RemoteError::Refused {
                    what: format!("{} does not take it: {}", self.url, why(line)),
                    hint: "what guards refs there (a protected branch, a hook) must let `main` and `refs/aios/*` in".into(),
                }),
                None => Err(self.failed(&said.err)),
            },
        }
    }

    /// What git said, as an error.
    fn failed(&self, err: &str) -> RemoteError {
        let lines: Vec<&str> = err.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let telling = lines.iter().find(|line| line.starts_with("fatal:") || line.starts_with("error:"));
        let said = telling.or(lines.first()).copied().unwrap_or("git gave no reason");
        let all = err.to_lowercase();
        let words = |list: &[&str]| list.iter().any(|word| all.contains(word));
        if words(&[
            "authentication failed",
            "permission denied",
            "could not read username",
            "403",
            "access denied",
        ]) {
            return RemoteError::Refused {
                what: format!("{} lets nobody in: {said}", self.url),
                hint: format!("see that `git ls-remote {}` works without a question", self.url),
            };
        }
        if words(&["could not write", "no space left", "unable to write", "disk quota"]) {
            return RemoteError::Refused {
                what: said.to_owned(),
                hint: "free some space there, or here".into(),
            };
        }
        RemoteError::Absent(format!("{} cannot be reached: {said}", self.url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_says_is_told_apart() {
        let git = Program::new(Path::new("/x"), "git@host:x");
        let absent = git
            .failed("ssh: Could not resolve hostname host\nfatal: Could not read from remote repository.\n");
        assert!(matches!(absent, RemoteError::Absent(text) if text.contains("fatal: Could not read")));
        let refused = git.failed("git@host: Permission denied (publickey).\nfatal: x\n");
        assert!(matches!(refused, RemoteError::Refused { .. }));
        assert!(matches!(git.failed(""), RemoteError::Absent(_)));
    }
}
