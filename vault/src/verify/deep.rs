//! Computing everything again from the log alone, into a database and a repository of its own, and comparing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aios_core::fold::Head;
use aios_core::history::{Act, History};
use aios_core::id::RecordId;
use rusqlite::types::Value;

use super::Report;
use crate::db;
use crate::disk::Lock;
use crate::error::Error;
use crate::git;
use crate::layout::Layout;
use crate::vault::{PATIENCE, Progress, Vault};

/// A record's commit and its tree, in hex, where it has them.
type Commit = (Option<String>, Option<String>);

/// How many commits are computed before their objects are put where they can be read again.
const SLICE: usize = 512;

/// What is compared: name, query, and which columns hold numbers of records.
const TABLES: [(&str, &str, &[usize]); 10] = [
    (
        "record",
        "SELECT device, seq, id, ms, count, wall, view, segment, at, len, tree, heads, parents, ends, held FROM record",
        &[11, 12, 13],
    ),
    ("tip", "SELECT device, seq, id, segment, at FROM tip", &[]),
    ("head", "SELECT n FROM head", &[0]),
    (
        "item",
        "SELECT doc, record, idx, act, path, folded, kind, mode, hash, git, size, epoch, character, base, rank, part, at, len, payload FROM item",
        &[1, 15],
    ),
    ("moved", "SELECT record, idx, src, dst FROM moved", &[0]),
    ("doc", "SELECT id, path, claim, kind, mode, hash, git, size, row FROM doc", &[]),
    ("conflict", "SELECT id, doc, detail, row FROM conflict", &[]),
    ("settled", "SELECT id, n FROM settled", &[1]),
    ("deed", "SELECT n, idx, event FROM deed", &[0]),
    ("accepted", "SELECT path, hash, ms, n FROM accepted", &[]),
];

/// What travels apart and is not here: a row goes when its bytes have come.
const APART: &str =
    "SELECT DISTINCT a.git, a.kind, a.hash, a.size FROM apart a JOIN record r ON r.n = a.n WHERE r.held = 0";

/// Tables that show documents: behind the records until the next refresh.
const SHOWN: [&str; 2] = ["doc", "conflict"];

impl Vault {
    pub(super) fn check_deep(&mut self, report: &mut Report, progress: Progress<'_>) -> Result<(), Error> {
        let folder = self.layout.own().join("check");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join(".aios")).map_err(|e| Error::io("make", &folder, e))?;
        let done = self.compare_with_fresh(&folder, report, progress);
        let _ = std::fs::remove_dir_all(&folder);
        done
    }

    fn compare_with_fresh(
        &mut self,
        folder: &std::path::Path,
        report: &mut Report,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let layout = Layout::new(folder);
        let lock = Lock::take(&layout.lock(), PATIENCE)?;
        let db = db::open(&layout.database())?;
        let (replica, keys, logs) = (self.replica.clone(), self.keys.clone(), self.layout.logs());
        let mut fresh = Vault::bare(layout, replica, keys, db, logs.clone(), lock)?;
        fresh.transaction(|fresh| fresh.replay(&logs, progress))?;
        if !fresh.view.covers(&self.view) || !fresh.view.covers(&self.shown) {
            report.find("I8", "database", "it has records that the log does not hold".into());
            return Ok(());
        }
        if fresh.view != self.view {
            report.find(
                "I9",
                "database",
                "the log goes on beyond it: any command takes the rest in, then verify again".into(),
            );
            return Ok(());
        }
        // Documents may be shown as of fewer records than there are: compared as of these.
        let all = std::mem::replace(&mut fresh.view, self.shown.clone());
        fresh.transaction(|fresh| fresh.refresh(progress))?;
        fresh.view = all;
        self.compare_tables(&fresh, report)?;
        if fresh.state_sum()? != self.state_sum()? {
            report.find("I1", "state", "it is not what the log gives: run `aios rebuild`".into());
        }
        fresh.project_slices(progress)?;
        self.compare_commits(&mut fresh, report)?;
        fresh.compute_contents(report, progress)?;
        self.compare_renders(&mut fresh, report)
    }

    fn project_slices(&mut self, progress: Progress<'_>) -> Result<(), Error> {
        let waiting: Vec<i64> = {
            let mut get = self
                .db
                .prepare("SELECT n FROM record WHERE tree = 1 AND git IS NULL AND held = 0 ORDER BY n")?;
            let rows = get.query_map([], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        for slice in waiting.chunks(SLICE) {
            let repo = git::open_or_init(self.root())?;
            let mut bulk = git::Bulk::new(&repo, 1)?;
            self.transaction(|fresh| {
                fresh.project_into(slice, &[], &mut bulk, progress)?;
                Ok(())
            })?;
            bulk.finish(false)?;
            self.repo = git::open_or_init(self.root())?;
        }
        Ok(())
    }

    /// The names of record numbers in this database: places, which are the same in every one.
    fn names(&self) -> Result<HashMap<i64, String>, Error> {
        let mut get = self.db.prepare("SELECT n, device, seq FROM record")?;
        let mut rows = get.query([])?;
        let mut out = HashMap::new();
        while let Some(row) = rows.next()? {
            let device = db::id(row.get(1)?, aios_core::id::DeviceId::from_slice)?;
            out.insert(row.get(0)?, format!("{device}:{}", row.get::<_, i64>(2)?));
        }
        Ok(out)
    }

    fn dump(&self, query: &str, numbers: &[usize]) -> Result<BTreeMap<String, String>, Error> {
        let names = self.names()?;
        let name = |n: i64| names.get(&n).cloned().unwrap_or_else(|| format!("unknown record {n}"));
        let mut get = self.db.prepare(query)?;
        let count = get.column_count();
        let mut rows = get.query([])?;
        let mut out = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let mut cells = Vec::with_capacity(count);
            for column in 0..count {
                let value: Value = row.get(column)?;
                cells.push(match (numbers.contains(&column), value) {
                    (true, Value::Integer(n)) => name(n),
                    (true, Value::Text(list)) => {
                        let list: Vec<i64> =
                            serde_json::from_str(&list).map_err(|e| Error::Damaged(e.to_string()))?;
                        list.into_iter()
                            .map(name)
                            .collect::<BTreeSet<_>>()
                            .into_iter()
                            .collect::<Vec<_>>()
                            .join(" ")
                    }
                    (_, Value::Null) => "-".into(),
                    (_, Value::Integer(n)) => n.to_string(),
                    (_, Value::Real(n)) => format!("real {n}"),
                    (_, Value::Text(text)) => format!("'{text}'"),
                    (_, Value::Blob(bytes)) => data_encoding::HEXLOWER.encode(&bytes),
                });
            }
            let key = cells.iter().take(3).cloned().collect::<Vec<_>>().join(" ");
            out.insert(cells.join(" | "), key);
        }
        Ok(out)
    }

    fn compare_tables(&self, fresh: &Vault, report: &mut Report) -> Result<(), Error> {
        for (table, query, numbers) in TABLES {
            let (here, there) = (self.dump(query, numbers)?, fresh.dump(query, numbers)?);
            let invariant = if SHOWN.contains(&table) { "I1" } else { "I8" };
            for (row, key) in &here {
                if !there.contains_key(row) {
                    report.find(
                        invariant,
                        format!("database, {table} {}", short(key)),
                        "this row is not what the log gives: run `aios rebuild`".into(),
                    );
                }
            }
            for (row, key) in &there {
                if !here.contains_key(row) {
                    report.find(
                        invariant,
                        format!("database, {table} {}", short(key)),
                        "the log gives a row that is missing: run `aios rebuild`".into(),
                    );
                }
            }
        }
        let (here, there) = (self.dump(APART, &[])?, fresh.dump(APART, &[])?);
        let odb = self.repo.odb().map_err(crate::vault::git_error)?;
        for (row, key) in here.iter().filter(|(row, _)| !there.contains_key(*row)) {
            report.find(
                "I8",
                format!("database, apart {}", short(row)),
                format!("the log does not name it ({})", short(key)),
            );
        }
        for row in there.keys().filter(|row| !here.contains_key(*row)) {
            let id = row.split(' ').next().and_then(|hex| git2::Oid::from_str(hex).ok());
            if !id.is_some_and(|id| odb.exists(id)) {
                report.find(
                    "I8",
                    format!("database, apart {}", short(row)),
                    "it is neither here nor waited for: run `aios rebuild`".into(),
                );
            }
        }
        let open = "SELECT key, value FROM meta WHERE key LIKE 'open:%' OR key = 'shown'";
        let (here, there) = (self.dump(open, &[])?, fresh.dump(open, &[])?);
        for (row, key) in here.iter().filter(|(row, _)| !there.contains_key(*row)) {
            // Numbers of records differ between databases; only whether a transaction is open is the same.
            if !row.starts_with("'open:") {
                report.find(
                    "I8",
                    format!("database, {}", short(key)),
                    "this value is not what the log gives: run `aios rebuild`".into(),
                );
            }
        }
        Ok(())
    }

    fn commits(&self) -> Result<BTreeMap<String, Commit>, Error> {
        let names = self.names()?;
        let mut get = self.db.prepare("SELECT n, git, root FROM record WHERE tree = 1 AND held = 0")?;
        let mut rows = get.query([])?;
        let mut out = BTreeMap::new();
        let hex = |bytes: Option<Vec<u8>>| bytes.map(|bytes| data_encoding::HEXLOWER.encode(&bytes));
        while let Some(row) = rows.next()? {
            let name = names.get(&row.get(0)?).cloned().unwrap_or_default();
            out.insert(name, (hex(row.get(1)?), hex(row.get(2)?)));
        }
        Ok(out)
    }

    fn compare_commits(&mut self, fresh: &mut Vault, report: &mut Report) -> Result<(), Error> {
        let (here, there) = (self.commits()?, fresh.commits()?);
        for (place, (git, root)) in here {
            let Some(git) = git else { continue };
            let computed = there.get(&place).cloned().unwrap_or_default();
            if (Some(&git), &root) != (computed.0.as_ref(), &computed.1) {
                let what = format!(
                    "its commit is {}, and the log gives {}",
                    git,
                    computed.0.as_deref().unwrap_or("none")
                );
                report.find("I1", format!("record {place}"), what);
            }
        }
        let merges: Vec<(String, Vec<u8>, Vec<u8>)> = {
            let mut get = self.db.prepare("SELECT heads, git, root FROM merge")?;
            let rows = get.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect::<Result<_, _>>()?
        };
        let repo = git::open_or_init(fresh.root())?;
        let head = self.projected_head()?;
        for (key, git, root) in merges {
            let mut heads = Vec::new();
            for id in key.split(' ') {
                let id: RecordId =
                    id.parse().map_err(|_| Error::Damaged("a merge names no record".into()))?;
                let mut get = fresh.db.prepare_cached("SELECT n FROM record WHERE id = ?")?;
                let mut rows = get.query([id.as_bytes()])?;
                heads.extend(rows.next()?.map(|row| row.get::<_, i64>(0)).transpose()?);
            }
            let mut bulk = git::Bulk::new(&repo, 1)?;
            let point = match fresh.transaction(|fresh| fresh.point(&heads, &mut bulk)) {
                // What it reads as was forgotten before anybody built on it, and so nobody needs it.
                Err(Error::Apart(_)) if head.is_none_or(|head| head.as_bytes()[..] != git[..]) => continue,
                point => point?,
            };
            bulk.finish(false)?;
            let same = point.is_some_and(|point| {
                point.commit.as_bytes()[..] == git[..] && point.root.as_bytes()[..] == root[..]
            });
            if !same {
                report.find(
                    "I1",
                    format!("merge commit {}", data_encoding::HEXLOWER.encode(&git)),
                    "the log gives another one".into(),
                );
            }
        }
        Ok(())
    }

    /// Computes the content after every item from the log alone; each must have the hash its author signed.
    fn compute_contents(&mut self, report: &mut Report, progress: Progress<'_>) -> Result<(), Error> {
        let mut all = self.history().all()?;
        all.retain(|(_, touch)| touch.act.content().is_some() && self.view.has(&touch.place));
        all.sort_by_key(|(doc, touch)| (*doc, touch.rank, touch.place, touch.index));
        let total = all.len() as u64;
        for (n, (doc, touch)) in all.into_iter().enumerate() {
            if n % 64 == 0 {
                progress("contents", n as u64, total);
            }
            let Some(content) = touch.act.content() else { continue };
            let head = Head { place: touch.place, index: touch.index, content, seen: touch.seen.clone() };
            match self.bytes_of_head(&doc, &head) {
                Ok(_) | Err(Error::Apart(_)) => {}
                Err(e) => report.find("I8", format!("record {}", touch.place), e.to_string()),
            }
        }
        Ok(())
    }

    /// Compares the saved Automerge documents with ones made from the log.
    fn compare_renders(&mut self, fresh: &mut Vault, report: &mut Report) -> Result<(), Error> {
        let saved: Vec<(Vec<u8>, String)> = {
            let mut get = self.db.prepare("SELECT DISTINCT doc, epoch FROM automerge")?;
            let rows = get.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<Result<_, _>>()?
        };
        for (doc, epoch) in saved {
            let doc = db::id(doc, aios_core::id::DocId::from_slice)?;
            let at = format!("document {}", doc.short(12));
            let epoch: aios_core::item::Epoch = serde_json::from_value(epoch.into())
                .map_err(|_| Error::Damaged("an epoch is malformed".into()))?;
            let touches = fresh.history().touches(&doc)?;
            let kind = touches.iter().find_map(|touch| match (&touch.act, epoch.0) {
                (Act::Create { kind, .. }, None) => Some(*kind),
                (Act::Replace { kind, .. }, Some(place)) if place == touch.place => Some(*kind),
                _ => None,
            });
            let Some(kind) = kind else {
                report.find(
                    "I8",
                    at,
                    "the database keeps an Automerge document that the log does not know".into(),
                );
                continue;
            };
            let view = self.view.clone();
            self.open.forget();
            let (here, there) = (
                self.load(&doc, epoch, kind, &touches, &view)?,
                fresh.load(&doc, epoch, kind, &touches, &view)?,
            );
            let heads = there.document.heads();
            let text = |loaded: &crate::open::Loaded| {
                let reading = loaded.document.read(&heads, &|change| loaded.rank(change));
                reading.map(|reading| reading.text).map_err(|e| crate::text::document_error(&doc, e))
            };
            if here.document.heads() != heads
                || here.changes != there.changes
                || text(&here)? != text(&there)?
            {
                report.find(
                    "I1",
                    at,
                    "its saved Automerge document is not what the log gives: run `aios rebuild`".into(),
                );
            }
        }
        Ok(())
    }
}

fn short(key: &str) -> String {
    key.chars().take(120).collect()
}
