//! Routes that are no device: a folder of files, or a git repository, that carries the same records. Nobody answers there,
//! so this side alone proves what it reads and reads back what it wrote (I12).

pub mod chunk;
pub mod config;
pub mod folder;
pub mod git;
pub mod program;
pub mod pull;
pub mod routes;
pub mod secret;
pub mod state;
mod turn;

use std::path::{Path, PathBuf};
use std::time::Duration;

use aios_core::frontier::View;
use aios_vault::chance::now_ms;
use aios_vault::{Error, audit};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

pub use config::{Kind, Remote, Remotes};

use crate::session::Trouble;
use crate::site::Site;
use secret::Finding;
use state::State;
use turn::Turn;

/// What is wrong with a remote.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// A remote of that name.
    #[error("there is a remote `{0}` already")]
    Taken(String),
    /// A remote at that place.
    #[error("the remote `{name}` is {url} already")]
    Same {
        /// The remote.
        name: String,
        /// Where it is.
        url: String,
    },
    /// A device of that name.
    #[error("a device of this vault is called `{0}`")]
    Device(String),
    /// No name for a remote.
    #[error("`{0}` is no name for a remote: it takes 1 to 32 letters, digits, `-`, `_` and `.`")]
    Name(String),
    /// No remote of that name.
    #[error("there is no remote `{0}`")]
    Unknown(String),
    /// It lies in the vault.
    #[error("{} lies in the vault", .0.display())]
    Inside(PathBuf),
    /// The vault lies in it.
    #[error("the vault lies in {}", .0.display())]
    Around(PathBuf),
    /// Nothing is there.
    #[error("there is no folder {}", .0.display())]
    Nothing(PathBuf),
    /// A repository with a work tree.
    #[error("{} is a git repository with files of its own, not a bare one", .0.display())]
    NotBare(PathBuf),
    /// No address that can be used.
    #[error("`{0}` is no address for a remote")]
    Address(String),
    /// A password in an address.
    #[error("the address holds a password, which would lie readable on this disk")]
    Password,
    /// The list of remotes is broken.
    #[error("{} cannot be read: {why}", .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It is not there, or does not answer.
    #[error("{0}")]
    Absent(String),
    /// It was not done in time.
    #[error("{name} was not done in {seconds} s")]
    Late {
        /// The remote.
        name: String,
        /// How long it had, in seconds.
        seconds: u64,
    },
    /// It said no.
    #[error("{what}")]
    Refused {
        /// What it said.
        what: String,
        /// What to do.
        hint: String,
    },
    /// There is no git.
    #[error("the program `git` is not on this machine")]
    NoGit,
    /// Something that looks like a secret would be published.
    #[error("what looks like a secret would be published there ({0} found), so nothing was sent")]
    Secrets(usize),
    /// It does not hold what it should.
    #[error("{0}")]
    Doubtful(String),
    /// Not all of what is here can be there yet.
    #[error("{0}")]
    Incomplete(String),
    /// The vault said no.
    #[error(transparent)]
    Vault(#[from] Error),
    /// A file there could not be read or written.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// The verb.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
}

impl RemoteError {
    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            RemoteError::Taken(name) => {
                format!("choose another name, or take the old one away with `aios remote remove {name}`")
            }
            RemoteError::Device(_) => {
                "choose another name: `aios sync --peer NAME` must say which is meant".into()
            }
            RemoteError::Unknown(_) => "`aios remote list` shows those there are".into(),
            RemoteError::Inside(_) => "choose a folder outside of the vault".into(),
            RemoteError::Around(_) => "choose a folder that does not hold the vault".into(),
            RemoteError::Nothing(_) => "plug the device in, or make the folder first".into(),
            RemoteError::NotBare(_) => {
                "make a bare one with `git init --bare -b main DIR`, or carry files there with --folder"
                    .into()
            }
            RemoteError::Address(_) => {
                "write a folder, the path of a bare git repository, or ssh://, https:// or user@host:path"
                    .into()
            }
            RemoteError::Password => "leave it out, and let git's credential helper keep it".into(),
            RemoteError::Config { .. } => "mend the file, or delete it and add the remotes again".into(),
            RemoteError::Late { .. } => "give it longer, as in `aios sync --timeout 10m`".into(),
            RemoteError::NoGit => "install git; a folder as a remote needs none".into(),
            RemoteError::Secrets(_) => {
                "a file that was taken in stays in history: change a secret that is one, then go on with `aios sync --allow-secrets`".into()
            }
            RemoteError::Refused { hint, .. } if !hint.is_empty() => hint.clone(),
            RemoteError::Vault(e) => return e.hint(),
            RemoteError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                "free some space there; nothing acknowledged is lost".into()
            }
            _ => return None,
        })
    }

    /// Whose fault it is, in the words of a report: `unreachable`, `refused`, `lying`, `local`.
    pub fn fault(&self) -> &'static str {
        match self {
            RemoteError::Absent(_) | RemoteError::Late { .. } => "unreachable",
            RemoteError::Refused { .. } | RemoteError::Incomplete(_) => "refused",
            RemoteError::Doubtful(_) => "lying",
            _ => "local",
        }
    }

    fn io(what: &'static str, path: &std::path::Path, source: std::io::Error) -> Self {
        RemoteError::Io { what, path: path.to_owned(), source }
    }
}

impl From<Trouble> for RemoteError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Vault(e) => RemoteError::Vault(e),
            other => RemoteError::Absent(other.to_string()),
        }
    }
}

impl From<aios_vault::disk::DiskError> for RemoteError {
    fn from(e: aios_vault::disk::DiskError) -> Self {
        RemoteError::Vault(e.into())
    }
}

/// A file or ref at a remote that was not used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Skipped {
    /// Which.
    pub what: String,
    /// Why.
    pub why: String,
}

/// How it went with one remote.
#[derive(Debug, Default)]
pub struct RouteReport {
    /// Whether it was there.
    pub reached: bool,
    /// All that was here when it was found to hold all of it, read back from it (I12).
    pub holds: Option<View>,
    /// Records written to it.
    pub sent: u64,
    /// Records taken in from it.
    pub received: u64,
    /// What was not used.
    pub skipped: Vec<Skipped>,
    /// What looks like a secret and would be published.
    pub secrets: Vec<Finding>,
    /// What went wrong.
    pub error: Option<RemoteError>,
}

/// Takes in what a remote holds, and gives nothing: for a device that is no member yet. Says what was not used.
///
/// # Errors
/// What stopped it. What came before that stays.
pub async fn take(site: &Site, remote: &Remote) -> Result<Vec<Skipped>, RemoteError> {
    let _alone = site.alone().await;
    match remote.kind {
        Kind::Folder => {
            let (site, remote) = (site.clone(), remote.clone());
            let work = tokio::task::spawn_blocking(move || folder::take(&site, &remote));
            work.await.map_err(|e| RemoteError::Absent(format!("the work was cut short: {e}")))?
        }
        Kind::Git => git::take(site, remote).await,
    }
}

/// A remote, as status shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Where it is, without what may be a secret.
    pub url: String,
    /// Whether it held all integrated records when it was last read (I12).
    pub acknowledged: bool,
    /// When it was last reached (RFC 3339).
    pub last_seen: Option<String>,
}

/// How the remotes of a vault stand to all its integrated records, `view`.
///
/// # Errors
/// [`RemoteError::Config`].
pub fn standing(root: &Path, view: &View) -> Result<Vec<Standing>, RemoteError> {
    let remotes = Remotes::load(root)?;
    let standing = |remote: &Remote| {
        let state = State::load(root, &remote.name, &remote.url);
        Standing {
            name: remote.name.clone(),
            kind: remote.kind,
            url: remote.shown(),
            acknowledged: state.holds.is_some_and(|holds| holds.covers(view)),
            last_seen: state.seen.map(audit::time),
        }
    };
    Ok(remotes.all().iter().map(standing).collect())
}

/// Remembers how it went with a remote.
fn remember(root: &Path, remote: &Remote, report: &RouteReport) {
    if !report.reached {
        return;
    }
    let mut state = State::load(root, &remote.name, &remote.url);
    state.seen = Some(now_ms());
    state.holds = report.holds.clone().or(state.holds);
    if let Err(error) = state.save(root, &remote.name) {
        // Status says less than it could.
        tracing::warn!(%error, "not remembered");
    }
}

/// Exchanges with one remote, in `total` time. `allow` lets what looks like a secret be published, now and later.
pub async fn sync(site: &Site, remote: &Remote, allow: bool, total: Duration) -> RouteReport {
    let report = exchange(site, remote, allow, total).await;
    let (root, remote) = (site.keeper().root().to_owned(), remote.clone());
    let remembered = tokio::task::spawn_blocking(move || {
        remember(&root, &remote, &report);
        report
    });
    remembered.await.unwrap_or_default()
}

async fn exchange(site: &Site, remote: &Remote, allow: bool, total: Duration) -> RouteReport {
    let mut report = RouteReport::default();
    let Ok(alone) = timeout(total, site.alone()).await else {
        report.error = Some(RemoteError::Late { name: remote.name.clone(), seconds: total.as_secs() });
        return report;
    };
    let late = || RemoteError::Late { name: remote.name.clone(), seconds: total.as_secs() };
    let (root, name) = (site.keeper().root().to_owned(), remote.name.clone());
    // Another process of this device may be at it, such as a command beside the daemon.
    let turn = match tokio::task::spawn_blocking(move || Turn::take(&root, &name, total)).await {
        Ok(Ok(turn)) => turn,
        Ok(Err(e)) => {
            report.error = Some(e);
            return report;
        }
        Err(_) => {
            report.error = Some(late());
            return report;
        }
    };
    let done = match remote.kind {
        Kind::Folder => {
            let (site, remote) = (site.clone(), remote.clone());
            let work = tokio::task::spawn_blocking(move || {
                let mut report = RouteReport::default();
                let done = folder::sync(&site, &remote, allow, &mut report);
                report.error = done.err();
                // It goes on to its end even where nobody waits for it any more.
                drop((alone, turn));
                report
            });
            match timeout(total, work).await {
                Ok(Ok(done)) => return done,
                Ok(Err(e)) => Err(RemoteError::Absent(format!("the work was cut short: {e}"))),
                Err(_) => Err(late()),
            }
        }
        Kind::Git => match timeout(total, git::sync(site, remote, allow, &mut report)).await {
            Ok(done) => done,
            Err(_) => Err(late()),
        },
    };
    report.error = done.err();
    report.holds = report.holds.filter(|_| report.error.is_none());
    report
}
