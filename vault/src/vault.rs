//! One replica of a vault, opened: the log, the database that projects it, the working files and git.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aios_core::authority::Authority;
use aios_core::clock::Hlc;
use aios_core::epoch::EpochKey;
use aios_core::frontier::{Frontier, Place, View};
use aios_core::id::{DeviceId, EpochId, RecordId, VaultId};
use aios_core::key::SecretKey;
use aios_core::member::Members;
use aios_core::record::Author;
use rusqlite::{Connection, OptionalExtension, params};

use crate::disk::{Lock, Writer};
use crate::error::Error;
use crate::index::{Long, SqlHistory};
use crate::keys::Keys;
use crate::layout::{Layout, Replica};
use crate::log::{Log, Spot};
use crate::open::Open;
use crate::profile::Profile;
use crate::recent::Recent;
use crate::{db, git};

/// How long a command waits for another process that works on the vault.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Told about long work: what, how much is done, of how much (0: unknown).
pub type Progress<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// An open vault. Holding one holds the vault's lock.
pub struct Vault {
    pub(crate) layout: Layout,
    pub(crate) replica: Replica,
    pub(crate) profile: Profile,
    pub(crate) keys: Keys,
    pub(crate) db: Connection,
    pub(crate) long: Long,
    pub(crate) log: Log,
    pub(crate) repo: git2::Repository,
    pub(crate) writer: Writer,
    /// Shared with the copy that a transaction falls back on.
    pub(crate) authority: Arc<Authority>,
    /// The keys of epochs that this device holds.
    pub(crate) epoch_keys: BTreeMap<EpochId, EpochKey>,
    pub(crate) actor: [u8; 16],
    pub(crate) recent: Recent,
    pub(crate) open: Open,
    /// What merged documents read as.
    pub(crate) readings: std::collections::HashMap<crate::text::Known, crate::text::Reading>,
    /// What a write displaced and was taken in, by name in `.aios/tmp`: let go of once that is committed.
    pub(crate) spent: Vec<String>,
    /// When git's index was written by this, and how long it is.
    pub(crate) indexed: Option<(std::time::SystemTime, u64)>,
    /// Whether what is remembered of the last record may be lost in a power cut.
    pub(crate) noted: bool,
    /// What was done and nobody has been told of yet.
    pub(crate) untold: Vec<crate::survey::Problem>,
    /// The last large comparison of two views: what is shown on disk is next asked for by the projection to git.
    pub(crate) compared: Option<(View, View, Vec<crate::show::Change>)>,
    /// All integrated records: those of the log that count.
    pub(crate) view: View,
    /// The records the document tables show.
    pub(crate) shown: View,
    /// Absent only while it rests.
    lock: Option<Lock>,
}

/// What tells that nobody else worked on the vault.
#[derive(Debug)]
struct Mark {
    /// The holding of the lock. One who was killed may have left a log that is ahead of the database (I9).
    lock: String,
    /// The database and the folder of git's packs, which others change without the lock: another inode, or another time.
    files: [Option<(u64, i64, i64)>; 2],
}

impl Mark {
    fn of(vault: &Vault, lock: &Lock) -> Self {
        Mark { lock: lock.token().to_owned(), files: Self::files(vault) }
    }

    fn files(vault: &Vault) -> [Option<(u64, i64, i64)>; 2] {
        use std::os::unix::fs::MetadataExt;
        let database = vault.layout.database().metadata().ok().map(|file| (file.ino(), 0, 0));
        let packs = vault.repo.commondir().join("objects/pack").metadata().ok();
        let packs = packs.map(|folder| (folder.ino(), folder.mtime(), folder.mtime_nsec()));
        [database, packs]
    }
}

/// A vault that was open and is not locked: other processes may work on it.
#[derive(Debug)]
pub struct Resting {
    vault: Vault,
    mark: Mark,
}

impl Resting {
    /// Takes the lock again. What was read is good for as long as nobody else has worked on the vault; else it is opened anew.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn wake(self) -> Result<Vault, Error> {
        let Resting { mut vault, mark } = self;
        let lock = Lock::take(&vault.layout.lock(), PATIENCE)?;
        if lock.follows(&mark.lock) && Mark::files(&vault) == mark.files {
            vault.lock = Some(lock);
            return Ok(vault);
        }
        let layout = vault.layout.clone();
        drop(vault);
        Vault::open_locked(layout, lock)
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("root", &self.layout.root()).finish_non_exhaustive()
    }
}

impl Vault {
    /// Opens the vault that `from` lies in, and takes in what its log has beyond the database.
    pub fn open(from: &Path) -> Result<Self, Error> {
        let layout = Layout::find(from)?;
        Self::open_layout(layout, PATIENCE)
    }

    pub(crate) fn open_layout(layout: Layout, patience: Duration) -> Result<Self, Error> {
        let lock = Lock::take(&layout.lock(), patience)?;
        Self::open_locked(layout, lock)
    }

    fn open_locked(layout: Layout, lock: Lock) -> Result<Self, Error> {
        let replica = layout.replica()?;
        if crate::snapshot::is_whole(&layout) {
            let (mut vault, told) = crate::snapshot::take_up(layout, replica, lock, &mut |_, _, _| {})?;
            vault.untold.extend(told.err().map(|e| crate::survey::Problem::of_all(&e)));
            return Ok(vault);
        }
        // Gone, or empty after a power cut: the files on disk would look like new ones, so they are adopted first.
        let db = match layout.database().exists() {
            true => Some(db::open(&layout.database())?).filter(|db| !db::is_empty(db)),
            false => None,
        };
        let db = match db {
            Some(db) => db,
            None if crate::rebuild::has_history(&layout)? => {
                return Ok(crate::rebuild::run(layout, replica, lock, &mut |_, _, _| {})?.0);
            }
            None => {
                crate::snapshot::forget_begun(&layout)?;
                db::open(&layout.database())?
            }
        };
        if crate::anew::is_under_way(&db)? {
            drop(db);
            return Ok(crate::rebuild::run(layout, replica, lock, &mut |_, _, _| {})?.0);
        }
        let keys = Keys::load(&replica.device)?;
        let mut vault = Self::assemble(layout.clone(), replica, keys, db, lock)?;
        if vault.open_closed(&mut |_, _, _| {})? {
            return Ok(vault);
        }
        match (vault.outgrew()?, vault.lock.take()) {
            (true, Some(lock)) => {
                let replica = layout.replica()?;
                Ok(crate::rebuild::run(layout, replica, lock, &mut |_, _, _| {})?.0)
            }
            (_, lock) => Ok(Vault { lock, ..vault }),
        }
    }

    pub(crate) fn assemble(
        layout: Layout,
        replica: Replica,
        keys: Keys,
        db: Connection,
        lock: Lock,
    ) -> Result<Self, Error> {
        let logs = layout.logs();
        let mut vault = Self::bare(layout, replica, keys, db, logs, lock)?;
        vault.catch_up()?;
        vault.ready()?;
        Ok(vault)
    }

    /// Makes the database again from the log, as [`crate::rebuild`] does, and goes on with that.
    pub(crate) fn start_over(&mut self, progress: Progress<'_>) -> Result<(), Error> {
        let Some(lock) = self.let_go() else { return Ok(()) };
        let (vault, _) = crate::rebuild::run(self.layout.clone(), self.layout.replica()?, lock, progress)?;
        *self = vault;
        Ok(())
    }

    /// Gives the lock away, for who opens the vault anew.
    pub(crate) fn let_go(&mut self) -> Option<Lock> {
        self.lock.take()
    }

    /// Lets go of the lock, and keeps what was read for when it is taken again; `None` without a lock.
    pub fn rest(mut self) -> Option<Resting> {
        let lock = self.lock.take()?;
        let mark = Mark::of(&self, &lock);
        Some(Resting { vault: self, mark })
    }

    /// What is done once the database holds all of the log.
    pub(crate) fn ready(&mut self) -> Result<(), Error> {
        self.follow()?;
        self.recall()?;
        self.recover()
    }

    /// A vault as its database has it, with the logs in `logs`: nothing is taken in or mended.
    pub(crate) fn bare(
        layout: Layout,
        replica: Replica,
        keys: Keys,
        db: Connection,
        logs: std::path::PathBuf,
        lock: Lock,
    ) -> Result<Self, Error> {
        let repo = git::open_or_init(layout.root())?;
        git::doubt_packs(&repo);
        let writer = Writer::open(layout.root())?;
        let epoch_keys = keys.epochs()?;
        let authority = Arc::new(crate::judge::read(&db, &replica.vault)?);
        let shown = match db::meta(&db, "shown")? {
            Some(bytes) => db::read_view(&bytes)?,
            None => View::new(),
        };
        let profile = layout.profile()?.unwrap_or_default();
        let mut vault = Vault {
            log: Log::new(logs),
            layout,
            profile,
            replica,
            keys,
            db,
            long: Long::default(),
            repo,
            writer,
            authority,
            epoch_keys,
            actor: [0; 16],
            recent: Recent::default(),
            open: Open::default(),
            compared: None,
            readings: std::collections::HashMap::new(),
            spent: Vec::new(),
            indexed: None,
            noted: false,
            untold: Vec::new(),
            view: View::new(),
            shown,
            lock: Some(lock),
        };
        vault.view = vault.counting()?;
        Ok(vault)
    }

    /// The items of the log.
    pub(crate) fn history(&self) -> SqlHistory<'_> {
        SqlHistory { db: &self.db, long: &self.long }
    }

    /// The vault's folder.
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// The vault's id.
    pub fn id(&self) -> VaultId {
        self.replica.vault
    }

    /// The vault's name.
    pub fn name(&self) -> &str {
        &self.replica.name
    }

    /// This device.
    pub fn device(&self) -> DeviceId {
        self.replica.device
    }

    /// This device's key, which is also its address on the network.
    pub fn device_key(&self) -> &SecretKey {
        &self.keys.device
    }

    /// The operator key, if it is kept here.
    pub fn operator(&self) -> Result<Option<SecretKey>, Error> {
        self.keys.operator()
    }

    /// The folder of this device's own state, outside the vault.
    pub fn own_folder(&self) -> &Path {
        self.keys.folder()
    }

    /// The members, those that were revoked included.
    pub fn members(&self) -> &Members {
        self.authority.members()
    }

    /// The device that made the vault.
    pub fn made_by(&self) -> Option<DeviceId> {
        self.authority.made_by().copied()
    }

    /// All integrated records.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The last record of each device in the log, held ones included.
    pub fn frontier(&self) -> Result<Frontier, Error> {
        let mut get = self.db.prepare_cached("SELECT device, seq, id FROM tip")?;
        let mut rows = get.query([])?;
        let mut out = Frontier::default();
        while let Some(row) = rows.next()? {
            let device = db::id(row.get(0)?, DeviceId::from_slice)?;
            let id = db::id(row.get(2)?, RecordId::from_slice)?;
            out.0.insert(device, (row.get::<_, i64>(1)? as u64, id));
        }
        Ok(out)
    }

    /// The last record of a device and where its log ends.
    pub(crate) fn tip(&self, device: &DeviceId) -> Result<Option<(u64, RecordId, Spot)>, Error> {
        let mut get = self.db.prepare_cached("SELECT seq, id, segment, at FROM tip WHERE device = ?")?;
        let row = get.query_row([device.as_bytes()], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, Vec<u8>>(1)?,
                row.get::<_, i64>(2)?,
                row.get::<_, i64>(3)?,
            ))
        });
        match row.optional()? {
            None => Ok(None),
            Some((seq, id, segment, at)) => {
                let spot = Spot { segment: segment as u64, at: at as u64 };
                Ok(Some((seq as u64, db::id(id, RecordId::from_slice)?, spot)))
            }
        }
    }

    /// The number in the database of the record at `place`.
    pub(crate) fn number(&self, place: &Place) -> Result<Option<i64>, Error> {
        let mut get = self.db.prepare_cached("SELECT n FROM record WHERE device = ? AND seq = ?")?;
        Ok(get.query_row(params![place.device.as_bytes(), place.seq as i64], |row| row.get(0)).optional()?)
    }

    /// The row of a record.
    pub(crate) fn row(&self, n: i64) -> Result<RecordRow, Error> {
        let mut get = self.db.prepare_cached(
            "SELECT device, seq, id, ms, count, wall, view, segment, at, tree, heads, git, root, parents, ends FROM record WHERE n = ?",
        )?;
        let mut rows = get.query([n])?;
        let Some(row) = rows.next()? else { return Err(Error::Damaged(format!("record {n} has no row"))) };
        let list = |text: String| serde_json::from_str(&text).map_err(|e| Error::Damaged(e.to_string()));
        let oid = |bytes: Option<Vec<u8>>| {
            bytes.map(|bytes| git2::Oid::from_bytes(&bytes)).transpose().map_err(git_error)
        };
        Ok(RecordRow {
            n,
            place: Place {
                device: db::id(row.get(0)?, DeviceId::from_slice)?,
                seq: row.get::<_, i64>(1)? as u64,
            },
            id: db::id(row.get(2)?, RecordId::from_slice)?,
            clock: Hlc(row.get::<_, i64>(3)? as u64, row.get(4)?),
            wall: row.get::<_, i64>(5)? as u64,
            view: db::read_view(&row.get::<_, Vec<u8>>(6)?)?,
            spot: Spot { segment: row.get::<_, i64>(7)? as u64, at: row.get::<_, i64>(8)? as u64 },
            heads: list(row.get(10)?)?,
            commit: oid(row.get(11)?)?,
            root: oid(row.get(12)?)?,
            parents: list(row.get(13)?)?,
            ends: row.get(14)?,
        })
    }

    /// The numbers of the maximal integrated records.
    pub(crate) fn heads(&self) -> Result<Vec<i64>, Error> {
        let mut get = self.db.prepare_cached("SELECT n FROM head ORDER BY n")?;
        let rows = get.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Runs `work` as one transaction of the database.
    pub(crate) fn transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        crate::disk::fault::point("database.begin")
            .map_err(|e| Error::io("write", &self.layout.database(), e))?;
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        let (view, shown, authority) = (self.view.clone(), self.shown.clone(), self.authority.clone());
        let done = work(self).and_then(|value| {
            crate::disk::fault::point("database.commit")
                .map_err(|e| Error::io("write", &self.layout.database(), e))?;
            self.db.execute_batch("COMMIT")?;
            Ok(value)
        });
        let spent = std::mem::take(&mut self.spent);
        if done.is_ok() {
            for name in spent {
                // It is in the log; one that cannot be removed is found to be so later.
                let _ = self.writer.discard(&name);
            }
        } else {
            // The first error is the one to tell.
            let _ = self.db.execute_batch("ROLLBACK");
            self.forget_documents();
            (self.view, self.shown, self.authority) = (view, shown, authority);
        }
        done
    }

    /// Drops what is remembered of documents. It goes by where records stand, and what stood there is taken back or counts otherwise now:
    /// a record that was not written leaves its place to another.
    pub(crate) fn forget_documents(&mut self) {
        self.open.forget();
        self.long.forget();
        self.readings.clear();
        self.compared = None;
    }

    /// Who git history shows for what is done on this device: the user's git identity, else the device's name.
    pub(crate) fn author(&self) -> Author {
        let device = self.members().name(&self.replica.device);
        let config = self.repo.config().and_then(|mut config| config.snapshot());
        let get = |key: &str| {
            config
                .as_ref()
                .ok()
                .and_then(|c| c.get_str(key).ok().map(str::to_owned))
                .filter(|v| !v.is_empty())
        };
        let short = self.replica.device.short(8);
        Author {
            name: get("user.name").unwrap_or(device),
            email: get("user.email").unwrap_or_else(|| format!("{short}@aios")),
        }
    }
}

/// A record as the database has it.
#[derive(Debug, Clone)]
pub(crate) struct RecordRow {
    /// Its number in order of integration.
    pub n: i64,
    /// Where it stands.
    pub place: Place,
    /// Its id.
    pub id: RecordId,
    /// Its clock.
    pub clock: Hlc,
    /// Its author's wall clock.
    pub wall: u64,
    /// Its past and itself.
    pub view: View,
    /// Where it lies in its device's log.
    pub spot: Spot,
    /// The commit heads of its view: numbers of records with a commit.
    pub heads: Vec<i64>,
    /// Its commit, once projected.
    pub commit: Option<git2::Oid>,
    /// The commit's tree.
    pub root: Option<git2::Oid>,
    /// The numbers of `prev` and `deps`.
    pub parents: Vec<i64>,
    /// The number of the record that ends its transaction; absent while that is open, or if it was aborted.
    pub ends: Option<i64>,
}

pub(crate) fn git_error(e: git2::Error) -> Error {
    Error::Damaged(format!("a git id is malformed: {e}"))
}
