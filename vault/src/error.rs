//! What can go wrong with a vault, said so that its owner knows what to do.

use std::path::{Path, PathBuf};

use aios_core::frontier::Place;
use aios_core::id::{DeviceId, DocId, GitId};
use aios_core::member::MemberError;
use aios_core::record::RecordError;
use rusqlite::ErrorCode;

use crate::disk::LockError;
use crate::{disk, git};

/// An error of the vault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No vault here.
    #[error("{0} is not in a vault")]
    NotAVault(PathBuf),
    /// No folder to look in.
    #[error("{} {}", .path.display(), if *.file { "is a file, not a folder" } else { "does not exist" })]
    NoFolder {
        /// What was named.
        path: PathBuf,
        /// Whether it is a file.
        file: bool,
    },
    /// A vault already.
    #[error("{0} is a vault already")]
    AlreadyAVault(PathBuf),
    /// A vault that has lost the name of its replica.
    #[error("{0} holds the log of a vault, but `.aios/replica.json`, which says of which, is gone")]
    LostReplica(PathBuf),
    /// The replica's name cannot be found again.
    #[error("{root} was the replica of {}, whose key is not on this machine", match .device {
        Some(name) => format!("no device `{name}`, or of one"),
        None => "a device".into(),
    })]
    NoReplica {
        /// The folder.
        root: PathBuf,
        /// The device it was said to be.
        device: Option<String>,
    },
    /// A newer program made it.
    #[error("{path} has format {format}, newer than this program knows")]
    NewerFormat {
        /// The vault.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// `replica.json` is broken.
    #[error("{path} cannot be read: {why}")]
    Replica {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// `profile.json` is broken.
    #[error("{path} cannot be read: {why}")]
    Profile {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The system has no place for per-user state.
    #[error("no folder for keys: the system names no home folder")]
    NoDataDir,
    /// A vault around the home folder.
    #[error("{} cannot be a vault: {}", .root.display(), match .root == .home {
        true => "it is your home folder, and all that is yours would become part of it".to_owned(),
        false => format!("your home folder {} lies in it", .home.display()),
    })]
    Home {
        /// The folder.
        root: PathBuf,
        /// The home folder.
        home: PathBuf,
    },
    /// Keys in a vault.
    #[error("{} is no place for keys, which never lie in a vault: it is in {}", .data.display(), .root.display())]
    KeysWithin {
        /// The vault, or the folder that was to be one.
        root: PathBuf,
        /// Where the keys of this user lie.
        data: PathBuf,
    },
    /// The device's key is not on this machine.
    #[error("the key of device {} is not in {}", .device.short(8), .folder.display())]
    NoKey {
        /// The device.
        device: DeviceId,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// A key file is broken.
    #[error("{} cannot be used: {why}", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        why: &'static str,
    },
    /// The ledger of effects is broken.
    #[error("line {line} of {} cannot be read: what this device has begun to do is not known", .path.display())]
    Ledger {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// No operator key here.
    #[error("this device holds no operator key, so it cannot {0}")]
    NoOperator(&'static str),
    /// This device's roles do not allow it.
    #[error("this device may not {what}: it was added without the role `{role}`")]
    MayNot {
        /// What it would do.
        what: &'static str,
        /// The role it takes.
        role: &'static str,
    },
    /// This device is no member any more.
    #[error(
        "this device, {name}, was revoked by {by}: its files stay as they are, and nothing of them is taken in or sent"
    )]
    Revoked {
        /// Its name.
        name: String,
        /// The name of the device that revoked it.
        by: String,
        /// When, ms since the Unix epoch.
        time: u64,
    },
    /// This device is no member, for what let it in does not count.
    #[error(
        "this device was let in by one that was revoked already: its files stay as they are, and nothing of them is taken in or sent"
    )]
    NoMember,
    /// A folder that must not write as the device it was.
    #[error(
        "this folder is a copy of device {name}, or was restored from an older state of it, and may not let itself in as a device of its own"
    )]
    Copied {
        /// The device it was.
        name: String,
    },
    /// A folder beside the one it is a copy of, of a device that may not let itself in anew.
    #[error(
        "this folder is a copy of device {name}, which lies in {}, and may not let itself in as a device of its own", .root.display()
    )]
    Elsewhere {
        /// The device it is a copy of.
        name: String,
        /// Where that device lies.
        root: PathBuf,
    },
    /// A vault without a root key.
    #[error("the vault has no recovery phrase")]
    NoPhrase,
    /// A phrase that is not the vault's.
    #[error("the recovery phrase is not the one of this vault")]
    OtherPhrase,
    /// A place that holds no vault.
    #[error("there is no vault")]
    NoVaultThere,
    /// The system's random source failed.
    #[error("no random bytes from the system: {0}")]
    Random(String),
    /// A file operation failed.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// The verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The disk layer failed.
    #[error(transparent)]
    Disk(#[from] disk::DiskError),
    /// A folder cannot be used.
    #[error(transparent)]
    Folder(#[from] disk::FolderError),
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] disk::ReadError),
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] disk::WriteError),
    /// Another process works on the vault.
    #[error(transparent)]
    Lock(#[from] disk::LockError),
    /// Git failed.
    #[error(transparent)]
    Git(#[from] git::Error),
    /// The database failed.
    #[error("the vault's database failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// The database is not one this program made.
    #[error("the vault's database is damaged: {0}")]
    Damaged(String),
    /// A record is broken.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A log segment is broken.
    #[error("log segment {} is damaged at byte {at}: {why}", .path.display())]
    Segment {
        /// The file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// Why.
        why: String,
    },
    /// A record does not fit what is here.
    #[error("record {place} is refused: {why}")]
    Refused {
        /// The record.
        place: Place,
        /// Why.
        why: Refusal,
    },
    /// The content of a document cannot be computed.
    #[error("document {} cannot be put together: {why}", .doc.short(8))]
    Document {
        /// The document.
        doc: DocId,
        /// Why.
        why: String,
    },
    /// Records came whose texts others had forgotten, and the word that says so is to come: what they show is not known.
    #[error("records are here whose texts others had forgotten, and the word that says so has not come yet")]
    Untold,
    /// A snapshot that this device cannot begin from.
    #[error("the snapshot of device {} cannot be used: {why}", .by.short(8))]
    Snapshot {
        /// The device that it is of.
        by: DeviceId,
        /// Why.
        why: String,
    },
    /// No snapshot can be made of the vault as it is.
    #[error("no snapshot can be made of this vault: {0}")]
    NoSnapshot(&'static str),
    /// What was asked for is older than what this device has.
    #[error("this lies before the snapshot that this device began from")]
    Past,
    /// Bytes that travel apart are not here yet.
    #[error("the bytes of {0} are not on this device yet")]
    Apart(GitId),
    /// Bytes that travel apart are not what a record names.
    #[error("the bytes of {git} are not what their record names: {why}")]
    Corrupt {
        /// The git object.
        git: GitId,
        /// What is wrong.
        why: String,
    },
    /// Another member has that name.
    #[error("another device of this vault is called `{0}`")]
    NameTaken(String),
    /// A file cannot have a name that a folder has.
    #[error("{path} cannot be called {name}: a folder is")]
    FolderHolds {
        /// Where the file is.
        path: String,
        /// The name it was to have.
        name: String,
    },
    /// A file did not come where it was to be.
    #[error("{path} could not be called {name}: something else took the name; the conflict stays open")]
    NotPlaced {
        /// Where the file is.
        path: String,
        /// The name it was to have.
        name: String,
    },
    /// Most files are gone.
    #[error("{missing} of {tracked} files are gone; nothing was taken in")]
    MassDeletion {
        /// How many are gone.
        missing: usize,
        /// Of how many.
        tracked: usize,
    },
    /// All files are gone.
    #[error("the vault's folder is empty, and {tracked} files are known; nothing was taken in")]
    Emptied {
        /// How many there were.
        tracked: usize,
    },
    /// The root cannot be trusted.
    #[error("the vault's folder {0}; nothing was taken in")]
    Root(String),
    /// Git is in the middle of something.
    #[error("paused: {0}")]
    Paused(String),
    /// Nothing goes on without the rules that hold (I11).
    #[error("the version {version} of {path} that is in force cannot be read")]
    InForce {
        /// The file.
        path: String,
        /// Its accepted version.
        version: aios_core::id::ContentHash,
    },
    /// A record of a newer program.
    #[error("record {0} needs a newer aios: upgrade needed")]
    Upgrade(Place),
    /// This device may carry the vault and not read it.
    #[error("this device only carries the vault: it can neither read nor change it")]
    Carrier,
    /// A record that is encrypted with a key that this device has not been handed yet.
    #[error("record {0} is sealed, and this device has no key for it yet")]
    Closed(Place),
    /// A key that was here is not here any more.
    #[error("the key that opens record {record} is not in {}", .folder.display())]
    NoEpochKey {
        /// The record.
        record: Place,
        /// Where the keys lie.
        folder: PathBuf,
    },
    /// What the user named does not exist.
    #[error("{what} `{name}` is not known here")]
    Unknown {
        /// What kind of thing.
        what: &'static str,
        /// What they wrote.
        name: String,
    },
    /// The user asked for something that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A ticket cannot be used.
    #[error("the ticket {0}")]
    Ticket(&'static str),
}

/// Why a record is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another vault's.
    #[error("it belongs to another vault")]
    Vault,
    /// Records before it are missing.
    #[error("records before it are missing")]
    Gap,
    /// Another record has its number.
    #[error("another record of its device has the same number (the device's folder was copied or restored)")]
    Fork,
    /// The chain is broken.
    #[error("it does not follow the record before it")]
    Chain,
    /// Its clock does not pass its past's.
    #[error("its clock does not pass that of a record it builds on")]
    Clock,
    /// Far in the future.
    #[error("its clock is more than a day ahead of this device's")]
    Future,
    /// Not a member.
    #[error("its device is not a member of the vault")]
    Stranger,
    /// Its device may not do that.
    #[error("its device does not have the role `{0}`")]
    Right(&'static str),
    /// An event of it does not hold.
    #[error("{0}")]
    Member(#[from] MemberError),
    /// An item of it is not sound.
    #[error("{0}")]
    Item(String),
}

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl Error {
    /// An [`Error::Io`].
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Error::Io { action, path: path.to_owned(), source }
    }

    /// Whether the working files were not taken in and only the operator can change that: the rest of a round goes on.
    pub fn is_standing(&self) -> bool {
        matches!(
            self,
            Error::Paused(_)
                | Error::Revoked { .. }
                | Error::NoMember
                | Error::MayNot { .. }
                | Error::Upgrade(_)
                | Error::Untold
                | Error::Carrier
                | Error::Closed(_)
                | Error::Copied { .. }
                | Error::Elsewhere { .. }
                | Error::MassDeletion { .. }
                | Error::Emptied { .. }
                | Error::Root(_)
        )
    }

    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Error::NotAVault(_) => "run `aios init` in the folder of your notes, or name a vault with -C DIR".into(),
            Error::NoFolder { .. } => "name the folder of a vault, or one in it, with -C DIR".into(),
            Error::LostReplica(_) => "run `aios rebuild`: it takes the vault up again from git".into(),
            Error::NoReplica { .. } => "keys never lie in the vault: move `.git` away and join again from another device; the files stay".into(),
            Error::AlreadyAVault(_) => "run `aios status` there".into(),
            Error::InForce { path, .. } => format!("run `aios rebuild`; or accept another version: `aios accept {path}`"),
            Error::NewerFormat { .. } => "upgrade aios on this device".into(),
            Error::Upgrade(_) => "upgrade aios on this device; until then files stay as they are, and records still come and go".into(),
            Error::Carrier => "work on a device that reads it; `aios devices role NAME worker` there gives this one the right".into(),
            Error::Closed(_) => "sync with a device that reads the vault: it hands the key on; until then files stay as they are".into(),
            Error::NoEpochKey { .. } => "restore that folder from a backup, or join anew from another device".into(),
            Error::NoDataDir => "set AIOS_DATA_DIR to a folder that only you can read".into(),
            Error::Home { home, .. } => format!("name a folder of its own, such as {}", home.join("notes").display()),
            Error::KeysWithin { .. } => "name another folder, or set AIOS_DATA_DIR to one outside that only you can read".into(),
            Error::NoKey { .. } => "keys never lie in the vault: use the machine that made this replica, or join again from another device".into(),
            Error::Replica { .. } => "run `aios rebuild`: git, and the keys on this machine, tell what it was".into(),
            Error::Profile { .. } => "remove it, and say what this device is with `aios sync --profile phone`: without it all bytes are fetched".into(),
            // SQLite says no more where there is no room for what it shares in memory.
            Error::Database(e) if e.sqlite_error_code().is_some_and(|code| matches!(code, ErrorCode::DiskFull | ErrorCode::SystemIoFailure)) =>
                "free some space if the disk is full, and look whether it fails if not; nothing acknowledged is lost".into(),
            Error::Database(_) | Error::Damaged(_) => "run `aios rebuild`: the database is made again from the log".into(),
            Error::Segment { .. } => "run `aios verify` to see all of it, then `aios rebuild`".into(),
            Error::MassDeletion { .. } => "if you meant it, run `aios commit --deletions`; else put the files back".into(),
            Error::Emptied { .. } => "`aios restore .` puts them back; if you meant it, run `aios commit --deletions`; or check that the disk is mounted".into(),
            Error::Root(_) => "check that the disk is mounted and the folder is readable".into(),
            Error::Paused(_) => "finish or abort it with git and go back with `git switch main`".into(),
            Error::Disk(e) => e.hint().into(),
            Error::Lock(LockError::Held { .. }) => "wait for it, or end it: `aios up` ends on Ctrl-C".into(),
            Error::Revoked { .. } | Error::NoMember => "copy what you need out of the folder; to come back, take `.aios` and `.git` away and join anew".into(),
            Error::Copied { .. } => "`aios sync` with a device that has what it wrote since; or take `.aios` and `.git` away and join anew under another name, with `--device NAME`".into(),
            Error::Elsewhere { .. } => "work there, or take that folder away if this one is to be in its place; or take `.aios` and `.git` away here and join anew under another name, with `--device NAME`".into(),
            Error::Ledger { .. } => "restore the file from a backup; or look on the far side whether all that it says was done, and take the line out".into(),
            Error::NoPhrase => "the device that made the vault makes one, with `aios recovery new`; to come back without, join from another device".into(),
            Error::OtherPhrase => "every word may be right and the phrase of another vault, or an older one; compare it with what `aios init` or `aios recovery new` printed".into(),
            Error::NoVaultThere => "name what `aios remote add` was given on the other device: a folder that holds a folder `aios-…`, or a bare git repository".into(),
            Error::NoOperator(_) => "do it on the device where the vault was made".into(),
            Error::MayNot { role, .. } => format!("do it on a device that has it: `aios devices` shows who has `{role}`"),
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => "free some space; nothing acknowledged is lost".into(),
            Error::Document { .. } => "run `aios verify --deep`, then `aios rebuild`".into(),
            Error::Unknown { what, .. } => match *what {
                "device" => "`aios devices` shows those there are".into(),
                "conflict" | "record of conflict" => "`aios conflicts` shows those there are".into(),
                "revision" | "record" | "run" => "`aios log` shows those there are".into(),
                "path in that version" => "`aios log` shows the records: name one in which it was there, with `--at`".into(),
                _ => return None,
            },
            Error::FolderHolds { path, name } => format!(
                "rename the folder first (`mv {name} OTHER`), or give the file a name of its own (`mv {path} OTHER`)"
            ),
            Error::NotPlaced { .. } => "`aios conflicts` shows what has it now".into(),
            Error::NameTaken(_) => "choose another name (`--device NAME` where a device joins, `--name` where it is let in): `aios devices` shows those there are".into(),
            Error::Untold => "run `aios sync`: files are taken in once it has come; where it went with a device that was revoked or restored it never does, and \
                 `aios forget --unexplained` goes on without those texts"
                .into(),
            Error::Apart(_) => "run `aios sync` while a device that has them is reachable; of what `aios forget` lists nobody has them".into(),
            _ => return None,
        })
    }
}
