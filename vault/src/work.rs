//! Events of work in the log, and the versions of workflows, policies and agents that are in force (I11).

use std::collections::BTreeMap;

use aios_core::clock::Stamp;
use aios_core::event::Event;
use aios_core::frontier::View;
use aios_core::id::ContentHash;
use aios_core::item::Item;
use rusqlite::params;

use crate::accept::is_component;
use crate::author::Draft;
use crate::chance::now_ms;
use crate::db;
use crate::error::Error;
use crate::ledger::Ledger;
use crate::vault::{RecordRow, Vault};

/// A file that decides what is gated, at the version that the operator accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// The file.
    pub path: String,
    /// The version.
    pub version: ContentHash,
    /// What is in it.
    pub text: String,
    /// When it was accepted, ms since the Unix epoch.
    pub since: u64,
}

/// The events of one record and its place in the total order.
pub type Happened = (Stamp, Vec<Event>);

/// A place in the total order that a record is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserved {
    /// The place.
    pub stamp: Stamp,
    /// What this device's clock said, in ms.
    pub(crate) wall: u64,
}

impl Vault {
    /// The records that count, hold nothing but events and are not in `known`, in the total order; `None` if some that are no longer
    /// count.
    ///
    /// # Errors
    /// What database and log answer.
    pub fn happened(&mut self, known: &View) -> Result<Option<Vec<Happened>>, Error> {
        if !self.view.covers(known) {
            return Ok(None);
        }
        let mut rows = Vec::new();
        for last in self.view.iter().filter(|last| !known.has(last)) {
            let mut get = self.db.prepare_cached(
                "SELECT n FROM record WHERE device = ? AND seq > ? AND held = 0 AND ends = n AND NOT EXISTS (SELECT 1 FROM item WHERE item.record = record.n)",
            )?;
            let from = known.get(&last.device) as i64;
            let found = get.query_map(params![last.device.as_bytes(), from], |row| row.get(0))?;
            for n in found.collect::<Result<Vec<i64>, _>>()? {
                rows.push(self.row(n)?);
            }
        }
        rows.sort_by_key(stamp);
        let mut out = Vec::with_capacity(rows.len());
        for row in rows {
            let items = self.log.record(&row.place.device, row.spot)?.body()?.items;
            let events = items.into_iter().filter_map(|item| match item {
                Item::Event(event) => Some(event),
                _ => None,
            });
            out.push((stamp(&row), events.collect()));
        }
        Ok(Some(out))
    }

    /// The versions in force of files that decide what is gated.
    ///
    /// # Errors
    /// What the database answers.
    pub fn rules_in_force(&self) -> Result<BTreeMap<String, ContentHash>, Error> {
        let mut get = self.db.prepare_cached("SELECT path, hash FROM accepted")?;
        let mut rows = get.query([])?;
        let mut out = BTreeMap::new();
        while let Some(row) = rows.next()? {
            out.insert(row.get(0)?, db::id(row.get(1)?, ContentHash::from_slice)?);
        }
        Ok(out)
    }

    /// Writes a record of events alone. When it returns, the record is durable.
    pub fn author_events(&mut self, draft: Draft) -> Result<Stamp, Error> {
        self.go_on()?;
        let id = self.transaction(|vault| {
            let id = vault.author_records(draft)?;
            vault.refresh(&mut |_, _, _| {})?;
            Ok(id)
        })?;
        let n: i64 =
            self.db.query_row("SELECT n FROM record WHERE id = ?", [id.as_bytes()], |row| row.get(0))?;
        Ok(stamp(&self.row(n)?))
    }

    /// The place in the total order that the next record of this device has, if that is written with [`Vault::author_at`] and none before it:
    /// as long as the vault is open here, nobody else writes one.
    ///
    /// # Errors
    /// As [`Vault::go_on`].
    pub fn reserve(&mut self) -> Result<Reserved, Error> {
        self.go_on()?;
        if self.is_sealed_vault()? {
            // Else what is to be said about keys would take its place.
            self.transaction(Vault::settle_keys)?;
        }
        let wall = now_ms();
        Ok(Reserved { stamp: self.next_stamp(wall)?, wall })
    }

    /// Writes a record of events alone, at exactly the place that was reserved. When it returns, the record is durable; what the database makes
    /// of it is made again if a power cut takes it, and [`Vault::settle_memory`] is due before others get it.
    ///
    /// # Errors
    /// [`Error::Usage`] if another record stands there, or one behind which this would stand.
    pub fn author_at(&mut self, reserved: Reserved, draft: Draft) -> Result<(), Error> {
        // No file rests on it, so nothing that its user did can be mistaken (I6).
        self.db.pragma_update(None, "synchronous", "NORMAL")?;
        let done = self.transaction(|vault| {
            if vault.device() != reserved.stamp.2 || vault.next_stamp(reserved.wall)? != reserved.stamp {
                return Err(Error::Usage("another record stands where this one was to stand".into()));
            }
            vault.author_records(Draft { at: Some(reserved), ..draft })?;
            vault.refresh(&mut |_, _, _| {})
        });
        self.db.pragma_update(None, "synchronous", "FULL")?;
        done
    }

    /// What this device has begun to do to the world.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn begun(&self) -> Result<Ledger, Error> {
        Ledger::open(&self.keys)
    }

    /// The components that do agents' work, by path, at the versions in force.
    ///
    /// # Errors
    /// What the database answers.
    pub fn components_in_force(&self) -> Result<Vec<(String, ContentHash)>, Error> {
        let gated = self.gated()?.into_iter();
        Ok(gated
            .filter_map(|(path, accepted, _)| Some((path, accepted?)))
            .filter(|(path, _)| is_component(path))
            .collect())
    }

    /// The text files below `folder` that decide what is gated, at the versions in force.
    pub fn in_force(&mut self, folder: &str) -> Result<Vec<InForce>, Error> {
        let mut out = Vec::new();
        for (path, accepted, _) in self.gated()? {
            if let (Some(version), true) = (accepted, path.starts_with(&format!("{folder}/")))
                && !is_component(&path)
                && let Some(text) = self.text_at_version(&path, &version)?
            {
                let since: i64 = self
                    .db
                    .prepare_cached("SELECT ms FROM accepted WHERE path = ?")?
                    .query_row([&path], |row| row.get(0))?;
                out.push(InForce { path, version, text, since: since as u64 });
            }
        }
        Ok(out)
    }

    /// Which versions of the files below `folder` came in force, one after the other, with the stamp of the
    /// record that says so.
    pub fn acceptances_in(&self, folder: &str) -> Vec<(Stamp, String, ContentHash)> {
        let below = format!("{folder}/");
        let all = self.authority.acceptances().iter();
        all.filter(|(_, path, _)| path.starts_with(&below)).cloned().collect()
    }

    /// The text of a version of the file at `path` that is in force, or was once; `None` for one that nobody accepted (I11).
    pub fn text_at_version(&mut self, path: &str, version: &ContentHash) -> Result<Option<String>, Error> {
        if !self.authority.was_accepted(path, version) {
            return Ok(None);
        }
        match self.text_saved(path, version)? {
            Some(text) => Ok(Some(text)),
            None => Err(Error::InForce { path: path.to_owned(), version: *version }),
        }
    }

    /// The text of a version of the file at `path`, whether anybody accepted it or not; `None` for one that is not here. What decides what is gated
    /// is read with [`Vault::text_at_version`].
    pub fn text_saved(&mut self, path: &str, version: &ContentHash) -> Result<Option<String>, Error> {
        // What is no text is a mistake for whoever reads it, and not as if it were not there.
        let bytes = self.bytes_saved(path, version)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// As [`Vault::text_at_version`], of what is no text.
    ///
    /// # Errors
    /// What the database answers.
    pub fn bytes_at_version(&mut self, path: &str, version: &ContentHash) -> Result<Option<Vec<u8>>, Error> {
        match self.authority.was_accepted(path, version) {
            true => self.bytes_saved(path, version),
            false => Ok(None),
        }
    }

    /// As [`Vault::text_saved`], of what is no text.
    ///
    /// # Errors
    /// What the database answers.
    pub fn bytes_saved(&mut self, path: &str, version: &ContentHash) -> Result<Option<Vec<u8>>, Error> {
        self.version_bytes(path, version)
    }
}

fn stamp(row: &RecordRow) -> Stamp {
    Stamp::new(row.clock, row.place.device, row.place.seq)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;
    use crate::world::World;

    fn draft(name: &str) -> Draft {
        let mut draft = Draft { actor: "aios".into(), message: name.into(), ..Draft::default() };
        let map = [("type".to_owned(), Value::from(name))].into_iter().collect::<Map<_, _>>();
        draft.push(Item::Event(Event::Other(map)));
        draft
    }

    fn names(vault: &mut Vault) -> Vec<(Stamp, String)> {
        let happened = vault.happened(&View::new()).unwrap().unwrap();
        let named = happened
            .into_iter()
            .flat_map(|(stamp, events)| events.into_iter().map(move |event| (stamp, event.name())));
        named.filter(|(_, name)| name.starts_with("test.")).collect()
    }

    #[test]
    fn a_record_stands_where_it_was_reserved_or_nowhere() {
        let mut world = World::new(1);
        let vault = &mut world.replicas[0];
        let mut expected = Vec::new();
        for n in 0..4 {
            let place = vault.reserve().unwrap();
            let name = format!("test.{n}");
            vault.author_at(place, draft(&name)).unwrap();
            expected.push((place.stamp, name));
        }
        assert_eq!(names(vault), expected);
        let place = vault.reserve().unwrap();
        vault.author_events(draft("test.between")).unwrap();
        let refused = vault.author_at(place, draft("test.late"));
        assert!(matches!(refused, Err(Error::Usage(_))), "{refused:?}");
        assert!(names(vault).iter().all(|(_, name)| name != "test.late"));
        vault.settle_memory().unwrap();
    }

    #[test]
    fn what_a_power_cut_takes_beside_the_log_is_made_again() {
        let mut world = World::new(1);
        let (root, own) = (world.root(0), world.replicas[0].own_folder().to_owned());
        let device = world.replicas[0].device();
        world.restart(0);
        let files = || {
            let cache = ["cache.sqlite", "cache.sqlite-wal"].map(|name| root.join(".aios").join(name));
            cache.into_iter().chain([own.join("memory.json")])
        };
        let before: Vec<_> = files().map(|path| (std::fs::read(&path).ok(), path)).collect();
        let vault = &mut world.replicas[0];
        for n in 0..3 {
            let place = vault.reserve().unwrap();
            vault.author_at(place, draft(&format!("test.{n}"))).unwrap();
        }
        let expected = names(vault);
        let view = vault.view().clone();
        world.replicas.clear();
        // Nothing of that was synced.
        let _ = std::fs::remove_file(root.join(".aios/cache.sqlite-shm"));
        for (bytes, path) in before {
            match bytes {
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
                None => _ = std::fs::remove_file(&path),
            }
        }
        let mut vault = Vault::open(&root).unwrap();
        assert_eq!(vault.device(), device);
        assert_eq!(names(&mut vault), expected);
        assert_eq!(*vault.view(), view);
        vault.author_events(draft("test.after")).unwrap();
        assert_eq!(vault.device(), device, "it has not become another");
    }
}
