//! The database: projections of the log and what aios remembers of the working files. All but the latter can be
//! made again, and without the latter only stale-base decisions get poorer (design idea 6).

use std::path::Path;

use aios_core::frontier::{Place, View};
use aios_core::id::DeviceId;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::error::Error;

/// Bumped whenever the tables change; another number means "make it again".
const SCHEMA: i64 = 5;

const TABLES: &str = "
CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE record(
  n INTEGER PRIMARY KEY, device BLOB NOT NULL, seq INTEGER NOT NULL, id BLOB NOT NULL UNIQUE,
  ms INTEGER NOT NULL, count INTEGER NOT NULL, wall INTEGER NOT NULL, view BLOB NOT NULL,
  segment INTEGER NOT NULL, at INTEGER NOT NULL, len INTEGER NOT NULL,
  ends INTEGER, tree INTEGER NOT NULL, heads TEXT NOT NULL, parents TEXT NOT NULL,
  git BLOB, root BLOB, held INTEGER NOT NULL, UNIQUE(device, seq));
CREATE INDEX record_waits ON record(n) WHERE tree = 1 AND git IS NULL AND held = 0;
CREATE TABLE deed(n INTEGER NOT NULL, idx INTEGER NOT NULL, event TEXT NOT NULL, PRIMARY KEY(n, idx)) WITHOUT ROWID;
CREATE TABLE tip(device BLOB PRIMARY KEY, seq INTEGER NOT NULL, id BLOB NOT NULL, segment INTEGER NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE head(n INTEGER PRIMARY KEY);
CREATE TABLE item(
  doc BLOB NOT NULL, record INTEGER NOT NULL, idx INTEGER NOT NULL, act INTEGER NOT NULL,
  path TEXT, folded TEXT, kind INTEGER, mode INTEGER, hash BLOB, git BLOB, size INTEGER,
  epoch TEXT, character INTEGER, base BLOB, rank TEXT,
  part INTEGER NOT NULL, at INTEGER NOT NULL, len INTEGER NOT NULL, payload INTEGER,
  PRIMARY KEY(doc, record, idx)) WITHOUT ROWID;
CREATE INDEX item_folded ON item(folded) WHERE folded IS NOT NULL;
CREATE INDEX item_record ON item(record);
CREATE INDEX item_base ON item(doc) WHERE base IS NOT NULL;
CREATE TABLE moved(record INTEGER NOT NULL, idx INTEGER NOT NULL, src TEXT NOT NULL, dst TEXT NOT NULL);
CREATE TABLE doc(
  id BLOB PRIMARY KEY, path TEXT NOT NULL, claim TEXT NOT NULL, kind INTEGER NOT NULL, mode INTEGER NOT NULL,
  hash BLOB NOT NULL, git BLOB NOT NULL, size INTEGER NOT NULL, row TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX doc_path ON doc(path);
CREATE TABLE gated(doc BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE conflict(id TEXT PRIMARY KEY, doc BLOB NOT NULL, detail TEXT NOT NULL, row TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX conflict_doc ON conflict(doc);
CREATE TABLE settled(id TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY(id, n)) WITHOUT ROWID;
CREATE TABLE dirty(doc BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE file(
  path TEXT PRIMARY KEY, doc BLOB NOT NULL, link INTEGER NOT NULL, exec INTEGER NOT NULL, hash BLOB NOT NULL,
  git BLOB NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL,
  ino INTEGER NOT NULL, dev INTEGER NOT NULL, seen INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX file_doc ON file(doc);
CREATE TABLE shown(
  doc BLOB NOT NULL, n INTEGER NOT NULL, hash BLOB NOT NULL, git BLOB NOT NULL, view BLOB NOT NULL,
  by INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(doc, n)) WITHOUT ROWID;
CREATE TABLE merge(heads TEXT PRIMARY KEY, git BLOB NOT NULL, root BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE automerge(
  doc BLOB NOT NULL, epoch TEXT NOT NULL, part INTEGER NOT NULL, bytes BLOB NOT NULL,
  PRIMARY KEY(doc, epoch, part)) WITHOUT ROWID;
CREATE TABLE accepted(path TEXT PRIMARY KEY, hash BLOB NOT NULL, ms INTEGER NOT NULL, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE peer(device BLOB PRIMARY KEY, addrs TEXT NOT NULL, seen INTEGER, acked BLOB) WITHOUT ROWID;
CREATE TABLE apart(
  git BLOB NOT NULL, n INTEGER NOT NULL, kind INTEGER NOT NULL, hash BLOB, size INTEGER,
  PRIMARY KEY(git, n)) WITHOUT ROWID;
CREATE TABLE held(id BLOB PRIMARY KEY, device BLOB NOT NULL, seq INTEGER NOT NULL, ms INTEGER NOT NULL) WITHOUT ROWID;
";

/// Opens the database at `path`, making its tables where there are none.
pub fn open(path: &Path) -> Result<Connection, Error> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(std::time::Duration::from_secs(10))?;
    db.set_prepared_statement_cache_capacity(128);
    // Plans do not hang on bound values: else each query over a partial index is planned again with every new one.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Each transaction is durable when it ends: were it lost in a power cut, what aios wrote to files after it would look like
    // its user's work (I6).
    db.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-16000;
         PRAGMA wal_autocheckpoint=4000;",
    )?;
    let schema: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match schema {
        0 => db.execute_batch(&format!("BEGIN IMMEDIATE; {TABLES} PRAGMA user_version={SCHEMA}; COMMIT;"))?,
        SCHEMA => {}
        other => return Err(Error::Damaged(format!("it has tables of version {other}"))),
    }
    crate::flaw::prepare(&db)?;
    crate::epoch::prepare(&db)?;
    crate::closed::prepare(&db)?;
    crate::veil::prepare(&db)?;
    crate::away::prepare(&db)?;
    crate::named::prepare(&db)?;
    crate::forget::prepare(&db)?;
    crate::dropped::prepare(&db)?;
    Ok(db)
}

/// Whether no record is in the database.
pub fn is_empty(db: &Connection) -> bool {
    db.query_row("SELECT NOT EXISTS (SELECT 1 FROM record)", [], |row| row.get(0)).unwrap_or(false)
}

/// Removes the database and what SQLite keeps beside it.
pub fn remove(path: &Path) -> Result<(), Error> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(&name) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("remove", Path::new(&name), e)),
        }
    }
    Ok(())
}

/// A value of the `meta` table.
pub fn meta(db: &Connection, key: &str) -> Result<Option<Vec<u8>>, Error> {
    let mut get = db.prepare_cached("SELECT value FROM meta WHERE key = ?")?;
    Ok(get.query_row([key], |row| row.get(0)).optional()?)
}

/// Sets a value of the `meta` table.
pub fn set_meta(db: &Connection, key: &str, value: &[u8]) -> Result<(), Error> {
    db.prepare_cached("INSERT OR REPLACE INTO meta VALUES(?, ?)")?.execute(params![key, value])?;
    Ok(())
}

/// A view as stored: 32 bytes of device and 8 of number (little-endian) for each.
pub fn view_bytes(view: &View) -> Vec<u8> {
    view.iter().flat_map(|place| place.device.0.into_iter().chain(place.seq.to_le_bytes())).collect()
}

/// A view from its stored form.
pub fn read_view(bytes: &[u8]) -> Result<View, Error> {
    let damaged = || Error::Damaged("a set of records is malformed".into());
    if !bytes.len().is_multiple_of(40) {
        return Err(damaged());
    }
    let places = bytes.chunks_exact(40).map(|chunk| {
        let (device, seq) = chunk.split_at(32);
        let device = DeviceId::from_slice(device).ok_or_else(damaged)?;
        Ok(Place { device, seq: u64::from_le_bytes(seq.try_into().map_err(|_| damaged())?) })
    });
    places.collect()
}

/// An id of fixed length from a column.
pub fn id<T>(bytes: Vec<u8>, read: impl Fn(&[u8]) -> Option<T>) -> Result<T, Error> {
    read(&bytes).ok_or_else(|| Error::Damaged(format!("an id has {} bytes", bytes.len())))
}
