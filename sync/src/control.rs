//! Talking to the daemon of a device: a Unix socket that only its user can open, one JSON value a line.
//!
//! The daemon owns the device's network, so what needs the network goes through it while it runs.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aios_core::id::DeviceId;
use aios_vault::Error;
use serde::{Deserialize, Serialize};

use crate::session::{SyncReport, Trouble};

/// The longest path that a socket can have on every Unix, less some room.
const LONGEST: usize = 96;

/// How long a daemon has to say that it heard, whatever it is at work on.
const HEARD: Duration = Duration::from_secs(10);

/// What is asked of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "lowercase")]
pub enum Request {
    /// Sync now.
    Sync {
        /// Only with this member.
        peer: Option<String>,
        /// How long to try, ms.
        timeout: u64,
        /// Whether what looks like a secret may be published to remotes.
        #[serde(default)]
        allow_secrets: bool,
    },
    /// Bring git up to date with the files, and say who is connected.
    Settle,
    /// Carry on work: a command has recorded something.
    Work,
    /// Let one device join.
    Pair {
        /// Its roles.
        roles: Vec<String>,
        /// Its name, where that is decided here.
        name: Option<String>,
        /// How long the ticket holds, ms.
        lifetime: u64,
    },
}

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum Answer {
    /// The daemon is awake and at work on it; another answer follows.
    Heard,
    /// The sync is over.
    Synced(SyncReport),
    /// Git has followed.
    Settled {
        /// The members there is a lasting connection with.
        online: BTreeSet<DeviceId>,
    },
    /// Work was carried on as far as it goes.
    Worked {
        /// When it goes on by itself, ms since the Unix epoch.
        wake: Option<u64>,
        /// Whether somebody is at work beside it.
        #[serde(default)]
        at_work: bool,
    },
    /// The ticket; a [`Answer::Joined`] or [`Answer::Failed`] follows.
    Ticket {
        /// Its text.
        ticket: String,
    },
    /// A device came and could not join; it is waited on.
    Refused {
        /// Which, and why.
        what: String,
    },
    /// A device has joined.
    Joined {
        /// It.
        id: DeviceId,
        /// Its name.
        name: String,
        /// Its roles.
        roles: Vec<String>,
    },
    /// It did not work.
    Failed {
        /// What is wrong.
        what: String,
        /// What to do.
        hint: Option<String>,
        /// The exit code a command should end with.
        exit: u8,
    },
}

impl Answer {
    /// The answer to what failed.
    pub fn failed(trouble: &Trouble) -> Answer {
        let (hint, exit) = match trouble {
            Trouble::Vault(e @ (Error::Unknown { .. } | Error::Usage(_))) => (e.hint(), 2),
            Trouble::Vault(e) => (e.hint(), 1),
            Trouble::Remote(e) => (e.hint(), 1),
            Trouble::Sync(e) => (e.hint().map(str::to_owned), 1),
            Trouble::Daemon { hint, exit, .. } => (hint.clone(), *exit),
        };
        Answer::Failed { what: trouble.to_string(), hint, exit }
    }
}

/// The name of the socket.
const SOCKET: &str = "control.sock";
/// The name of the link to where it lies otherwise.
const LINK: &str = "control.at";

/// Where the daemon of a device listens: in the device's folder, or in one of the system's temporary folders that only this
/// user can enter where that path is too long for a socket.
#[derive(Debug)]
struct Place {
    socket: PathBuf,
    /// The temporary folder, and the link in the device's folder that leads there.
    shelter: Option<(PathBuf, PathBuf)>,
}

impl Place {
    /// Where a daemon that starts in a process with this temporary folder listens.
    fn new(folder: &Path, temporary: &Path) -> Place {
        let socket = folder.join(SOCKET);
        if socket.as_os_str().len() <= LONGEST {
            return Place { socket, shelter: None };
        }
        let mark = blake3::hash(folder.as_os_str().as_encoded_bytes()).to_hex();
        let own = temporary.join(format!("aios-{}", &mark[..16]));
        Place { socket: own.join(SOCKET), shelter: Some((own, folder.join(LINK))) }
    }

    /// Where the daemon listens that said so last: the temporary folder of whoever asks may be another.
    fn of(folder: &Path) -> Place {
        match std::fs::read_link(folder.join(LINK)) {
            Ok(own) => Place { socket: own.join(SOCKET), shelter: Some((own, folder.join(LINK))) },
            Err(_) => Place::new(folder, &std::env::temp_dir()),
        }
    }

    /// Fails where others can enter the temporary folder: who answers there may be anybody.
    fn check(&self) -> Result<(), Error> {
        let Some((own, _)) = &self.shelter else { return Ok(()) };
        let wrap = |e| Error::io("use", own, e);
        let found = own.symlink_metadata().map_err(wrap)?;
        let ours =
            found.is_dir() && found.uid() == rustix::process::getuid().as_raw() && found.mode() & 0o077 == 0;
        match ours {
            true => Ok(()),
            false => Err(wrap(std::io::Error::other("it belongs to somebody else, or others can enter it"))),
        }
    }
}

/// The daemon's end of the socket. It goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Door(Place);

impl Drop for Door {
    fn drop(&mut self) {
        // What stays is replaced by the next daemon.
        let _ = std::fs::remove_file(&self.0.socket);
        if let Some((own, link)) = &self.0.shelter {
            let _ = std::fs::remove_dir(own);
            let _ = std::fs::remove_file(link);
        }
    }
}

/// Opens the daemon's end of the socket. A socket that a killed daemon left is replaced: the caller knows that no other
/// daemon runs.
///
/// # Errors
/// When the folder it is in cannot be made, or belongs to somebody else; what the system answers.
pub(crate) fn listen(folder: &Path) -> Result<(tokio::net::UnixListener, Door), Error> {
    listen_at(folder, Place::new(folder, &std::env::temp_dir()))
}

fn listen_at(folder: &Path, place: Place) -> Result<(tokio::net::UnixListener, Door), Error> {
    match std::fs::remove_file(folder.join(LINK)) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io("remove", &folder.join(LINK), e)),
        _ => {}
    }
    if let Some((own, link)) = &place.shelter {
        match std::fs::DirBuilder::new().mode(0o700).create(own) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(Error::io("use", own, e)),
            _ => place.check()?,
        }
        std::os::unix::fs::symlink(own, link).map_err(|e| Error::io("make", link, e))?;
    }
    let path = &place.socket;
    let wrap = |e| Error::io("listen on", path, e);
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(wrap(e)),
        _ => {}
    }
    let listener = tokio::net::UnixListener::bind(path).map_err(wrap)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(wrap)?;
    Ok((listener, Door(place)))
}

/// A command's connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the daemon of the device with this folder; `None` when none runs.
    pub fn connect(folder: &Path) -> Option<Client> {
        let place = Place::of(folder);
        place.check().ok()?;
        let stream = UnixStream::connect(&place.socket).ok()?;
        Some(Client { stream: BufReader::new(stream) })
    }

    /// Asks for something. Answers are waited for `patience` at most each, where given; one that stands still is not waited for.
    ///
    /// # Errors
    /// When the daemon is gone.
    pub fn ask(&mut self, request: &Request, patience: Option<Duration>) -> Result<(), Trouble> {
        let mut text = serde_json::to_vec(request).map_err(|e| gone(&e))?;
        text.push(b'\n');
        let heard = patience.map_or(HEARD, |patience| patience.min(HEARD));
        let stream = self.stream.get_mut();
        stream.set_read_timeout(Some(heard)).and_then(|()| stream.write_all(&text)).map_err(|e| gone(&e))?;
        match self.answer()? {
            Answer::Heard => self.stream.get_mut().set_read_timeout(patience).map_err(|e| gone(&e)),
            _ => Err(gone(&"it is of another version")),
        }
    }

    /// The next answer.
    ///
    /// # Errors
    /// What the daemon says failed, and when it is gone or silent for too long.
    pub fn answer(&mut self) -> Result<Answer, Trouble> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).map_err(|e| match e.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => gone(&"it is there and says nothing"),
            _ => gone(&e),
        });
        if read? == 0 {
            return Err(gone(&"it ended"));
        }
        match serde_json::from_str(&line).map_err(|e| gone(&e))? {
            Answer::Failed { what, hint, exit } => Err(Trouble::Daemon { what, hint, exit }),
            answer => Ok(answer),
        }
    }
}

fn gone(why: &dyn std::fmt::Display) -> Trouble {
    Trouble::Daemon {
        what: format!("the daemon of this device did not answer: {why}"),
        hint: Some("look at the output of `aios up`, or stop it and try again".into()),
        exit: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_far_down_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a".repeat(LONGEST));
        std::fs::create_dir(&folder).unwrap();
        let own = Place::of(&folder).shelter.unwrap().0;
        assert!(Client::connect(&folder).is_none() && !own.exists());
        let (_listener, door) = listen(&folder).unwrap();
        assert!(Client::connect(&folder).is_some());
        drop(door);
        assert!(Client::connect(&folder).is_none() && !own.exists());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_daemon_is_found_whatever_folder_is_the_temporary_one() {
        let dir = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a".repeat(LONGEST));
        std::fs::create_dir(&folder).unwrap();
        let (_listener, door) = listen_at(&folder, Place::new(&folder, other.path())).unwrap();
        assert!(Client::connect(&folder).is_some());
        // One that was killed leaves its link, and the next daemon listens elsewhere.
        std::mem::forget(door);
        let (_listener, _door) = listen(&folder).unwrap();
        assert!(Client::connect(&folder).is_some());
        assert_ne!(Place::of(&folder).socket, Place::new(&folder, other.path()).socket);
    }
}
