//! Naming a point of the trail: by record, by place in a log, by commit, or from `HEAD`.

use aios_core::frontier::View;
use aios_core::id::RecordId;
use git2::Oid;
use rusqlite::params;

use crate::db;
use crate::error::Error;
use crate::vault::{Vault, git_error};

/// A point of the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The record; absent for merges and for commits from before aios.
    pub record: Option<RecordId>,
    /// The commit, if it has one.
    pub commit: Option<Oid>,
    /// The records it stands for; absent for commits from before aios.
    pub view: Option<View>,
    pub(crate) n: Option<i64>,
}

impl Vault {
    /// The point that `text` names: a record id or commit id (its start, where no other begins so), `DEVICE:SEQ` with a device's
    /// name or the start of its id, `HEAD`, `HEAD~N`.
    pub fn revision(&mut self, text: &str) -> Result<Revision, Error> {
        let unknown = || Error::Unknown { what: "revision", name: text.to_owned() };
        if let Some(steps) = text.strip_prefix("HEAD") {
            return self.at_head(steps)?.ok_or_else(unknown);
        }
        if let Some((device, seq)) = text.rsplit_once(':') {
            return self.numbered(device, seq)?.ok_or_else(unknown);
        }
        let hex = text.to_lowercase();
        if hex.is_empty() || hex.len() > 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(unknown());
        }
        let mut found = Vec::new();
        let (low, high) = bounds(&hex, 64);
        let mut get = self.db.prepare_cached("SELECT n FROM record WHERE id BETWEEN ? AND ? LIMIT 2")?;
        found.extend(
            get.query_map(params![low, high], |row| row.get::<_, i64>(0))?.collect::<Result<Vec<_>, _>>()?,
        );
        if hex.len() <= 40 {
            let (low, high) = bounds(&hex, 40);
            let mut get = self.db.prepare_cached("SELECT n FROM record WHERE git BETWEEN ? AND ? LIMIT 2")?;
            found.extend(
                get.query_map(params![low, high], |row| row.get::<_, i64>(0))?
                    .collect::<Result<Vec<_>, _>>()?,
            );
        }
        drop(get);
        found.sort_unstable();
        found.dedup();
        match found[..] {
            [one] => self.of_number(one),
            [] => {
                let object = self
                    .repo
                    .revparse_single(&hex)
                    .and_then(|object| object.peel_to_commit())
                    .map(|commit| commit.id());
                match object {
                    Ok(commit) => self.of_commit(commit),
                    Err(_) => Err(unknown()),
                }
            }
            _ => Err(Error::Usage(format!("`{text}` is the start of several ids; write more of it"))),
        }
    }

    fn at_head(&mut self, steps: &str) -> Result<Option<Revision>, Error> {
        let head = match self.projected_head()? {
            Some(head) => Some(head),
            None => self.transaction(|vault| vault.project(&mut |_, _, _| {}))?.map(|point| point.commit),
        };
        let Some(head) = head else { return Ok(None) };
        if steps.is_empty() {
            let mut revision = self.of_commit(head)?;
            // Records without a commit count too: everything integrated is what HEAD stands for.
            revision.view = Some(self.view.clone());
            return Ok(Some(revision));
        }
        let found =
            self.repo.revparse_single(&format!("{head}{steps}")).and_then(|object| object.peel_to_commit());
        match found.map(|commit| commit.id()) {
            Ok(commit) => self.of_commit(commit).map(Some),
            Err(_) => Ok(None),
        }
    }

    fn numbered(&self, device: &str, seq: &str) -> Result<Option<Revision>, Error> {
        let Ok(seq) = seq.parse::<i64>() else { return Ok(None) };
        let device = match self.find_member(device) {
            Ok(device) => device,
            Err(Error::Unknown { .. }) => return Ok(None),
            Err(e) => return Err(e),
        };
        let place = aios_core::frontier::Place { device, seq: seq as u64 };
        self.number(&place)?.map(|n| self.of_number(n)).transpose()
    }

    /// The point of a record; a part of a transaction stands for all of it.
    pub(crate) fn of_number(&self, n: i64) -> Result<Revision, Error> {
        let row = self.row(n)?;
        let row = match row.ends {
            Some(end) if end != n => self.row(end)?,
            _ => row,
        };
        Ok(Revision { record: Some(row.id), commit: row.commit, view: Some(row.view), n: Some(row.n) })
    }

    fn of_commit(&self, commit: Oid) -> Result<Revision, Error> {
        let mut get = self.db.prepare_cached("SELECT n FROM record WHERE git = ?")?;
        if let Some(row) = get.query([commit.as_bytes()])?.next()? {
            return self.of_number(row.get(0)?);
        }
        let mut get = self.db.prepare_cached("SELECT heads FROM merge WHERE git = ?")?;
        let mut rows = get.query([commit.as_bytes()])?;
        let Some(row) = rows.next()? else {
            return Ok(Revision { record: None, commit: Some(commit), view: None, n: None });
        };
        let heads: String = row.get(0)?;
        let mut view = View::new();
        let mut of = self.db.prepare_cached("SELECT view FROM record WHERE id = ?")?;
        for id in heads.split(' ').filter_map(|hex| hex.parse::<RecordId>().ok()) {
            let bytes: Vec<u8> = of.query_row([id.as_bytes()], |row| row.get(0))?;
            view = view.union(&db::read_view(&bytes)?);
        }
        Ok(Revision { record: None, commit: Some(commit), view: Some(view), n: None })
    }

    /// The newest record that changed files, in the total order.
    pub fn newest_change(&self) -> Result<Option<Revision>, Error> {
        let mut get = self.db.prepare_cached(
            "SELECT n FROM record WHERE tree = 1 AND ends = n AND held = 0 ORDER BY ms DESC, count DESC, device DESC, seq DESC LIMIT 1",
        )?;
        let mut rows = get.query([])?;
        rows.next()?.map(|row| self.of_number(row.get(0)?)).transpose()
    }

    /// The root tree of a revision, for those that have a commit.
    pub(crate) fn tree_of(&self, revision: &Revision) -> Result<git2::Tree<'_>, Error> {
        let Some(commit) = revision.commit else {
            return Err(Error::Usage("a record that changed no file has no tree to compare with".into()));
        };
        self.repo.find_commit(commit).and_then(|commit| commit.tree()).map_err(git_error)
    }
}

/// The least and the greatest id of `digits` hex digits that begin with `hex`.
fn bounds(hex: &str, digits: usize) -> (Vec<u8>, Vec<u8>) {
    let fill = |with: char| {
        let text: String = hex.chars().chain(std::iter::repeat(with)).take(digits).collect();
        data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap_or_default()
    };
    (fill('0'), fill('f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_range() {
        let (low, high) = bounds("abc", 8);
        assert_eq!((low, high), (vec![0xab, 0xc0, 0, 0], vec![0xab, 0xcf, 0xff, 0xff]));
    }
}
