//! Segments of the log that are being written anew: until the database knows where their records lie now, it is not to be believed,
//! and whoever opens the vault after a crash makes it again (I9).

use rusqlite::Connection;

use crate::db;
use crate::error::Error;

/// Where that is noted.
const KEY: &str = "opening";

/// Whether somebody was cut short.
pub(crate) fn is_under_way(db: &Connection) -> Result<bool, Error> {
    Ok(db::meta(db, KEY)?.is_some())
}

/// Before the first segment is written.
pub(crate) fn begin(db: &Connection) -> Result<(), Error> {
    db::set_meta(db, KEY, b"1")
}

/// With what the database knows of them.
pub(crate) fn end(db: &Connection) -> Result<(), Error> {
    db.prepare_cached("DELETE FROM meta WHERE key = ?")?.execute([KEY])?;
    Ok(())
}
