//! The encrypted forms of the blobs of a sealed vault: what travels, and lies in the mirror of the log, in the place of their bytes.

use aios_core::epoch::{BlobCipher, EpochKey, PIECE, TAG};
use aios_core::id::{ContentHash, DeviceId, EpochId, GitId};
use aios_core::item::{Content, Item};
use aios_core::record::Record;
use rusqlite::{Connection, params};

use crate::db;
use crate::error::Error;
use crate::git;
use crate::project::oid;
use crate::vault::{Vault, git_error};

/// The encrypted form of a blob, by the git ids of both, and the record that says so.
const TABLE: &str = "
CREATE TABLE IF NOT EXISTS veil(
  git BLOB NOT NULL, hash BLOB NOT NULL, size INTEGER NOT NULL, n INTEGER NOT NULL, epoch BLOB NOT NULL,
  plain BLOB NOT NULL, plain_hash BLOB NOT NULL, plain_size INTEGER NOT NULL,
  PRIMARY KEY(git, plain)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS veil_plain ON veil(plain);
CREATE INDEX IF NOT EXISTS veil_n ON veil(n);
";
/// A record of a sealed vault names no more blobs than this, so that its header stays short.
pub(crate) const MOST_BLOBS: usize = 256;

/// Sees to it that the table is there.
pub(crate) fn prepare(db: &Connection) -> Result<(), Error> {
    Ok(db.execute_batch(TABLE)?)
}

/// A blob and its encrypted form.
#[derive(Debug, Clone, Copy)]
struct Veil {
    epoch: EpochId,
    closed: Content,
    plain: Content,
}

impl Vault {
    /// Remembers what record `n` says of the encrypted forms of the blobs among its items.
    pub(crate) fn note_veils(&self, n: i64, record: &Record, items: &[Item]) -> Result<(), Error> {
        let Some(closed) = &record.header.closed else { return Ok(()) };
        for (sealed, plain) in closed.apart.iter().zip(items.iter().filter_map(Item::detached)) {
            let mut note =
                self.db.prepare_cached("INSERT OR IGNORE INTO veil VALUES(?, ?, ?, ?, ?, ?, ?, ?)")?;
            note.execute(params![
                sealed.git.as_bytes(),
                sealed.hash.as_bytes(),
                sealed.size as i64,
                n,
                closed.epoch.as_bytes(),
                plain.git.as_bytes(),
                plain.hash.as_bytes(),
                plain.size as i64
            ])?;
        }
        Ok(())
    }

    /// The encrypted forms of the blobs among `items`, in order.
    pub(crate) fn veils(&self, key: &EpochKey, items: &[Item]) -> Result<Vec<Content>, Error> {
        let mut out = Vec::new();
        for content in items.iter().filter_map(Item::detached) {
            let sealed = self.sealed_blob(key, &content)?;
            let Some(sealed) = sealed else {
                return Err(Error::Apart(content.git));
            };
            out.push(sealed);
        }
        Ok(out)
    }

    /// The blobs with this git id, `plain` or encrypted as `find` says, each with its other form. What a record says of them may be
    /// a lie, so there may be several.
    fn veils_of(&self, find: &str, git: &GitId) -> Result<Vec<Veil>, Error> {
        let mut get = self.db.prepare_cached(&format!(
            "SELECT git, hash, size, epoch, plain, plain_hash, plain_size FROM veil WHERE {find} = ? ORDER BY n"
        ))?;
        let mut rows = get.query([git.as_bytes()])?;
        let mut out = Vec::new();
        let content = |git, hash, size: i64| {
            Ok::<_, Error>(Content {
                hash: db::id(hash, ContentHash::from_slice)?,
                size: size as u64,
                git: db::id(git, GitId::from_slice)?,
            })
        };
        while let Some(row) = rows.next()? {
            out.push(Veil {
                epoch: db::id(row.get(3)?, EpochId::from_slice)?,
                closed: content(row.get(0)?, row.get(1)?, row.get(2)?)?,
                plain: content(row.get(4)?, row.get(5)?, row.get(6)?)?,
            });
        }
        Ok(out)
    }

    /// The form in which a blob travels.
    pub(crate) fn outside(&self, plain: Content) -> Result<Content, Error> {
        Ok(self.veils_of("plain", &plain.git)?.first().map_or(plain, |veil| veil.closed))
    }

    /// All forms in which a blob travels: one for each epoch in which it was saved.
    pub(crate) fn all_outside(&self, plain: Content) -> Result<Vec<Content>, Error> {
        let veils = self.veils_of("plain", &plain.git)?;
        match veils.is_empty() {
            true => Ok(vec![plain]),
            false => Ok(veils.into_iter().map(|veil| veil.closed).collect()),
        }
    }

    /// The blobs that may travel in this form.
    pub(crate) fn inside(&self, closed: &Content) -> Result<Vec<Content>, Error> {
        Ok(self.veils_of("git", &closed.git)?.into_iter().map(|veil| veil.plain).collect())
    }

    /// Whether a blob may be given to whoever asks: in a sealed vault an encrypted one alone.
    pub(crate) fn may_give(&self, content: &Content) -> Result<bool, Error> {
        if !self.is_sealed_vault()? || !self.inside(content)?.is_empty() {
            return Ok(true);
        }
        let mut get =
            self.db.prepare_cached("SELECT 1 FROM apart a JOIN closed c ON c.n = a.n WHERE a.git = ?")?;
        Ok(get.exists([content.git.as_bytes()])?)
    }

    /// Encrypts a blob that is here into git; `None` where its bytes are not here.
    fn sealed_blob(&self, key: &EpochKey, plain: &Content) -> Result<Option<Content>, Error> {
        let Ok((git2::ObjectType::Blob, bytes)) = git::read(&self.repo, oid(&plain.git)?) else {
            return Ok(None);
        };
        let mut cipher = key.blob(&plain.hash);
        let size = BlobCipher::sealed_size(bytes.len() as u64);
        let mut sealed = Vec::with_capacity(size as usize);
        let mut rest = bytes.as_slice();
        loop {
            let (piece, more) = rest.split_at(rest.len().min(PIECE));
            rest = more;
            sealed.extend(cipher.encrypt(piece, rest.is_empty()));
            if rest.is_empty() {
                break;
            }
        }
        let content = Content::of(&sealed);
        if !self.repo.odb().map_err(git_error)?.exists(oid(&content.git)?) {
            self.store_blob(content.size, &mut sealed.as_slice())?;
        }
        Ok(Some(content))
    }

    /// Sees to it that the encrypted form of a blob lies in git. Whether it does.
    pub(crate) fn ensure_sealed(&self, closed: &GitId) -> Result<bool, Error> {
        if self.repo.odb().map_err(git_error)?.exists(oid(closed)?) {
            return Ok(true);
        }
        for veil in self.veils_of("git", closed)? {
            let Some(key) = self.epoch_keys.get(&veil.epoch) else { continue };
            if self.sealed_blob(key, &veil.plain)? == Some(veil.closed) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Decrypts the blob that travels as `sealed`; `None` where it is none that this device can open.
    pub(crate) fn unveiled(
        &self,
        closed: &Content,
        sealed: &[u8],
    ) -> Result<Option<(Content, Vec<u8>)>, Error> {
        for veil in self.veils_of("git", &closed.git)? {
            let Some(key) = self.epoch_keys.get(&veil.epoch) else { continue };
            let mut cipher = key.blob(&veil.plain.hash);
            let pieces = sealed.chunks(PIECE + TAG);
            let last = pieces.len().saturating_sub(1);
            let plain: Option<Vec<_>> =
                pieces.enumerate().map(|(n, piece)| cipher.decrypt(piece, n == last)).collect();
            if let Some(plain) = plain {
                return Ok(Some((veil.plain, plain.concat())));
            }
        }
        Ok(None)
    }

    /// The encrypted forms of the blobs that records `from..=to` of a device name: what the mirror of its log keeps. Those that can be
    /// made here are.
    pub(crate) fn sealed_blobs(
        &self,
        device: &DeviceId,
        from: u64,
        to: u64,
    ) -> Result<Vec<git2::Oid>, Error> {
        let found: Vec<Vec<u8>> = {
            let mut get = self.db.prepare_cached(
                "SELECT v.git FROM record r JOIN veil v ON v.n = r.n WHERE r.device = ?1 AND r.seq BETWEEN ?2 AND ?3
                 UNION SELECT a.git FROM record r JOIN closed c ON c.n = r.n JOIN apart a ON a.n = r.n
                 WHERE r.device = ?1 AND r.seq BETWEEN ?2 AND ?3",
            )?;
            let rows = get.query_map(params![device.as_bytes(), from as i64, to as i64], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        let mut out = Vec::new();
        for git in found {
            let git = db::id(git, GitId::from_slice)?;
            self.ensure_sealed(&git)?;
            out.push(oid(&git)?);
        }
        Ok(out)
    }
}
