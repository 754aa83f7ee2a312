//! `aios verify`: whether what lies on this device is what the members signed (I8). Every finding names what it is about.
//!
//! The plain check proves each record, each git object and each working file by its own hash, and the database by the
//! log. The deep one computes everything again from the log alone and compares.

pub(crate) mod objects;

mod deep;
mod files;
mod missing;
mod records;
mod refs;

use std::collections::HashSet;
use std::path::Path;

use aios_core::id::{ContentHash, DocId};
use aios_core::item::Kind;
use git2::Oid;
use serde::Serialize;

use crate::db;
use crate::disk::Lock;
use crate::error::Error;
use crate::forget::Forgotten;
use crate::git;
use crate::keys::Keys;
use crate::layout::{Layout, Replica};
use crate::mirror;
use crate::project::oid;
use crate::show::doc_row;
use crate::vault::{PATIENCE, Progress, Vault};

/// At most this many findings are listed; the rest is counted.
const MOST: usize = 1_000;

/// Something that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The invariant it breaks, such as `I8`.
    pub invariant: String,
    /// The record, file, object or row.
    #[serde(rename = "where")]
    pub at: String,
    /// What is wrong with it.
    pub what: String,
}

/// How much was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Checked {
    /// Records.
    pub records: u64,
    /// Documents.
    pub documents: u64,
    /// Commits reachable from `main`.
    pub commits: u64,
    /// Working files.
    pub files: u64,
}

/// What verification came to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Whether nothing was found.
    pub ok: bool,
    /// How much was checked.
    pub checked: Checked,
    /// What was found.
    pub findings: Vec<Finding>,
    /// What the operator had forgotten: records name it, and its bytes are gone on purpose.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forgotten: Vec<Forgotten>,
    /// Whether `aios rebuild` mends some of it.
    #[serde(skip)]
    pub mends: bool,
    #[serde(skip)]
    more: u64,
}

impl Report {
    fn find(&mut self, invariant: &str, at: impl Into<String>, what: String) {
        self.mends = true;
        self.tell(invariant, at, what);
    }

    /// Notes a finding that says itself what is to be done: `aios rebuild` does not mend it.
    fn tell(&mut self, invariant: &str, at: impl Into<String>, what: String) {
        match self.findings.len() < MOST {
            true => self.findings.push(Finding { invariant: invariant.into(), at: at.into(), what }),
            false => self.more += 1,
        }
    }

    /// Notes an error of one part of the check as a finding, so that the other parts go on.
    fn take(&mut self, at: &str, done: Result<(), Error>) {
        if let Err(e) = done {
            let hint = e.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
            self.find("I8", at, format!("{e}{hint}"));
        }
    }

    fn finish(mut self) -> Self {
        if self.more > 0 {
            let what = format!("{} more findings are not listed", self.more);
            self.findings.push(Finding { invariant: "I8".into(), at: "vault".into(), what });
        }
        self.findings.sort();
        self.findings.dedup();
        self.ok = self.findings.is_empty();
        self
    }
}

/// Verifies the vault that `from` lies in, however damaged: only its lock and `replica.json` must be readable.
/// Changes nothing.
///
/// # Errors
/// When there is no vault, another process holds it, or its keys are not here.
pub fn verify(from: &Path, deep: bool, progress: Progress<'_>) -> Result<Report, Error> {
    let layout = Layout::find(from)?;
    let replica = layout.replica()?;
    let lock = Lock::take(&layout.lock(), PATIENCE)?;
    let keys = Keys::load(&replica.device)?;
    let mut report = Report::default();
    let opened = open(&layout, &replica, keys, lock);
    match opened {
        Ok(mut vault) => vault.check(deep, &mut report, progress)?,
        Err(e) => {
            refs::unreadable(&layout.root().join(".git"), &mut report);
            // One that names a ref is told with that.
            if !matches!(e, Error::Git(git::Error::BadRef { .. })) {
                report.take("database", Err(e));
            }
            let checked = records::Walked::read(&layout.logs(), &replica.vault, &mut report, progress);
            report.take("log", checked.map(|_| ()));
            if let Ok(repo) = git2::Repository::open(layout.root()) {
                files_of_git(&repo, &mut report, progress);
            }
        }
    }
    Ok(report.finish())
}

/// The vault as its database has it, if that can be read at all.
fn open(layout: &Layout, replica: &Replica, keys: Keys, lock: Lock) -> Result<Vault, Error> {
    let path = layout.database();
    if !path.exists() {
        return Err(Error::Damaged("it is gone".into()));
    }
    if !layout.root().join(".git").exists() {
        return Err(Error::Damaged("the git repository is gone".into()));
    }
    let db = db::open(&path)?;
    let said: Vec<String> = {
        let mut get = db.prepare("PRAGMA integrity_check(20)")?;
        let rows = get.query_map([], |row| row.get(0))?;
        rows.collect::<Result<_, _>>()?
    };
    if said != ["ok"] {
        return Err(Error::Damaged(said.join("; ")));
    }
    Vault::bare(layout.clone(), replica.clone(), keys, db, layout.logs(), lock)
}

fn files_of_git(repo: &git2::Repository, report: &mut Report, progress: Progress<'_>) {
    match objects::corrupt(repo, progress) {
        Ok(corrupt) => {
            for (path, why) in corrupt.loose {
                report.find("I8", format!("git object {}", path.display()), why);
            }
            for (path, why) in corrupt.packs {
                report.find("I8", format!("git pack {}", path.display()), why);
            }
        }
        Err(e) => report.take("git", Err(e)),
    }
}

impl Vault {
    /// Verifies this vault. Changes nothing.
    ///
    /// # Errors
    /// Only for what has nothing to do with the vault, such as no room for the deep check's own files.
    pub fn verify(&mut self, deep: bool, progress: Progress<'_>) -> Result<Report, Error> {
        let mut report = Report::default();
        self.check(deep, &mut report, progress)?;
        Ok(report.finish())
    }

    fn check(&mut self, deep: bool, report: &mut Report, progress: Progress<'_>) -> Result<(), Error> {
        self.check_past()?;
        // What other handles have read already proves nothing about the disk.
        self.repo = git::open_or_init(self.root())?;
        self.recent = crate::recent::Recent::default();
        let before = report.findings.len();
        match records::Walked::read(&self.layout.logs(), &self.replica.vault, report, progress) {
            Ok(walked) => {
                let done = walked.compare_with(self, report);
                report.take("database", done);
                let done = self.check_mirror(&walked, report);
                report.take("mirror of the log", done);
            }
            Err(e) => report.take("log", Err(e)),
        }
        let log_sound = report.findings.len() == before;
        let understood = self.check_understood(&self.view);
        let may_compute = understood.is_ok();
        // That a device may carry and not read is nothing wrong.
        let carries = matches!(understood, Err(Error::Carrier | Error::Closed(_)));
        report.take("log", if carries { Ok(()) } else { understood });
        let done = self.check_tables(report);
        report.take("database", done);
        let done = self.check_git(report, progress);
        report.take("git", done);
        let done = self.check_missing(report).and_then(|()| self.check_forgotten(report));
        report.take("git", done);
        let done = self.check_files(report, progress);
        report.take("working files", done);
        if deep && log_sound && may_compute {
            let done = self.check_deep(report, progress);
            report.take("deep check", done);
        } else if deep && may_compute {
            report.find(
                "I8",
                "deep check",
                "the log itself is damaged, so nothing can be computed from it: run `aios rebuild`".into(),
            );
        }
        Ok(())
    }

    /// Whether git lags behind the log, as after a crash: what is not there yet is no damage then.
    pub(crate) fn projection_waits(&self) -> Result<bool, Error> {
        Ok(self.db.query_row(
            "SELECT EXISTS(SELECT 1 FROM record WHERE tree = 1 AND git IS NULL AND held = 0)",
            [],
            |row| row.get(0),
        )?)
    }

    /// What travels apart and has not come yet.
    fn still_apart(&self) -> Result<HashSet<Oid>, Error> {
        let mut get = self
            .db
            .prepare("SELECT DISTINCT a.git FROM apart a JOIN record r ON r.n = a.n WHERE r.held = 0")?;
        let rows = get.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
        let odb = self.repo.odb().map_err(crate::vault::git_error)?;
        // What was forgotten does not come any more.
        let mut out: HashSet<Oid> = self.forgotten_blobs()?.into_iter().collect();
        for bytes in rows {
            let id = Oid::from_bytes(&bytes?).map_err(crate::vault::git_error)?;
            if !odb.exists(id) {
                out.insert(id);
            }
        }
        Ok(out)
    }

    fn check_mirror(&self, walked: &records::Walked, report: &mut Report) -> Result<(), Error> {
        let mut devices: std::collections::BTreeSet<_> = mirror::devices(&self.repo)?.into_iter().collect();
        devices.extend(walked.devices());
        for device in devices {
            let name = format!("{}{device}", git::LOG_PREFIX);
            let (found, wrong) = mirror::read(&self.repo, &self.replica.vault, &device)?;
            for why in wrong {
                report.find("I8", name.clone(), why);
            }
            let mut next = 1;
            for mirrored in &found {
                let header = &mirrored.record.header;
                if header.seq != next {
                    report.find("I8", name.clone(), format!("record {next} is missing in the mirror"));
                }
                next = header.seq + 1;
                match walked.get(&header.place()) {
                    None => report.find(
                        "I8",
                        format!("record {}", header.place()),
                        "the mirror in git has it, the log does not".into(),
                    ),
                    Some(id) if *id != mirrored.record.id => {
                        report.find(
                            "I8",
                            format!("record {}", header.place()),
                            "the mirror in git has another one".into(),
                        );
                    }
                    Some(_) => {}
                }
            }
            let done = db::meta(&self.db, &format!("mirror:{device}"))?
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, u64::from_le_bytes);
            if done >= next {
                report.find(
                    "I8",
                    name,
                    format!("it ends before record {next}, but went up to {done} before"),
                );
            }
        }
        Ok(())
    }

    fn check_tables(&mut self, report: &mut Report) -> Result<(), Error> {
        let apart = self.still_apart()?;
        let waits = self.projection_waits()?;
        let mut state = aios_core::state::State::default();
        let rows: Vec<(Vec<u8>, String)> = {
            let mut get = self.db.prepare("SELECT id, row FROM doc")?;
            let rows = get.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<Result<_, _>>()?
        };
        for (id, row) in rows {
            state.add(&row);
            let doc = db::id(id, DocId::from_slice)?;
            let Some(placement) = self.placement(&doc)? else { continue };
            let at = format!("document {} ({})", doc.short(12), placement.path);
            report.checked.documents += 1;
            if doc_row(&doc, &placement) != row {
                report.find(
                    "I8",
                    at.clone(),
                    "the database contradicts itself about it: run `aios rebuild`".into(),
                );
            }
            let blob = oid(&placement.content.git)?;
            match mirror::proven(&self.repo, blob) {
                Ok((_, bytes)) => {
                    if ContentHash::of(&bytes) != placement.content.hash
                        || bytes.len() as u64 != placement.content.size
                    {
                        report.find("I8", at, format!("git blob {blob} is not its content"));
                    }
                }
                Err(_) if waits || (placement.kind == Kind::Blob && apart.contains(&blob)) => {}
                Err(why) => report.find("I8", at, format!("git blob {blob}: {why}")),
            }
        }
        let rows: Vec<String> = {
            let mut get = self.db.prepare("SELECT row FROM conflict")?;
            let rows = get.query_map([], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        rows.iter().for_each(|row| state.add(row));
        if state != self.state_sum()? {
            report.find(
                "I1",
                "state",
                "the sum of the rows is not the state the database names: run `aios rebuild`".into(),
            );
        }
        Ok(())
    }

    fn check_git(&mut self, report: &mut Report, progress: Progress<'_>) -> Result<(), Error> {
        files_of_git(&self.repo, report, progress);
        refs::unreadable(self.repo.commondir(), report);
        let done = self.check_refs(report);
        report.take("git refs", done);
        let done = self.check_index(report);
        report.take("git index", done);
        let apart = self.still_apart()?;
        let (main, head) = match git::read_ref(&self.repo, git::MAIN) {
            Ok(main) => (main, self.projected_head()?),
            // Told above.
            Err(git::Error::BadRef { .. }) => (None, None),
            Err(e) => {
                report.find("I8", git::MAIN, e.to_string());
                (None, None)
            }
        };
        let ours = db::meta(&self.db, "main")?.and_then(|bytes| Oid::from_bytes(&bytes).ok());
        let waits = self.projection_waits()?
            || self.apart_missing()?
            || matches!(self.lagging(), Ok(Some(_)))
            // That HEAD cannot be read is told above.
            || !matches!(self.paused(), Ok(None))
            // A carrier that read the vault before moves nothing any more.
            || self.check_writes().is_err();
        match (main, head) {
            (main, head) if main == head => {}
            (None, Some(head)) if !waits => {
                report.find("I8", git::MAIN, format!("it is gone; it must be at {head}"))
            }
            (Some(main), Some(head)) => {
                let follows = ours.is_some_and(|ours| {
                    ours == main || self.repo.graph_descendant_of(main, ours).unwrap_or(false)
                });
                let lags = ours == Some(main) && waits;
                let committed = ours != Some(main) && follows;
                if !lags && !committed {
                    report.find("I8", git::MAIN, format!("it is at {main}, and the log says {head}"));
                }
            }
            _ => {}
        }
        let mut tips: Vec<Oid> = main.into_iter().chain(head).collect();
        let mut get = self.db.prepare("SELECT git FROM record WHERE git IS NOT NULL")?;
        let rows = get.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
        for bytes in rows {
            tips.push(Oid::from_bytes(&bytes?).map_err(crate::vault::git_error)?);
        }
        drop(get);
        let mut checked = report.checked;
        objects::walk(&self.repo, &tips, &apart, &mut checked, report, progress);
        report.checked.commits = checked.commits;
        Ok(())
    }
}
