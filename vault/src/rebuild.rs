//! Making the database again from the logs, the logs from their mirror in git, and git's objects from the logs
//! (design idea 6). Nothing is thrown away that might be somebody's: what is damaged is kept in `.aios/aside`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aios_core::frontier::View;
use aios_core::id::{ContentHash, DeviceId, DocId, GitId, RecordId};
use aios_core::record::Record;
use git2::{Oid, Repository};
use serde::Serialize;

use crate::absorb::Absorbed;
use crate::chance::now_ms;
use crate::disk::{self, Lock, durable, read::LARGE};
use crate::error::{Error, Refusal};
use crate::git;
use crate::keys::Keys;
use crate::layout::{Layout, Replica};
use crate::log::Log;
use crate::project::oid;
use crate::recall::recall;
use crate::show::Placement;
use crate::survey::{Problem, Saved};
use crate::tape::{Next, Step, Tape, Tapes};
use crate::vault::{PATIENCE, Progress, Vault};
use crate::{db, mirror, peer};

/// What a rebuild did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Rebuilt {
    /// Records in the database now.
    pub records: u64,
    /// Documents that live.
    pub documents: u64,
    /// The commit of all of it.
    pub head: Option<String>,
    /// The `state` hash.
    pub state: String,
    /// What was found damaged and made good.
    pub mended: Vec<String>,
    /// What could not be made good here: a sync with a device that has it brings it back.
    pub lost: Vec<String>,
    /// What is made again once nothing is in its way.
    pub waits: Vec<Problem>,
}

/// Makes the database of the vault that `from` lies in again. Where the replica's name is gone it is found by the keys on
/// this machine; `device` says which of them, by name or id, where there are several.
pub fn rebuild(from: &Path, device: Option<&str>, progress: Progress<'_>) -> Result<Rebuilt, Error> {
    let (layout, found) = match Layout::find(from) {
        Ok(layout) => {
            let found = layout.replica();
            (layout, Some(found))
        }
        Err(Error::LostReplica(root)) => (Layout::new(&root), None),
        Err(e) => return Err(e),
    };
    std::fs::create_dir_all(layout.own()).map_err(|e| Error::io("make", &layout.own(), e))?;
    let lock = Lock::take(&layout.lock(), PATIENCE)?;
    let mut mended = Rebuilt::default();
    let replica = match found {
        Some(Ok(replica)) if !misnamed(&layout, &replica) => replica,
        Some(Err(e)) if !matches!(e, Error::Replica { .. }) => return Err(e),
        broken => {
            // Git's refs tell who this was.
            refs::readable(&layout, &mut mended)?;
            let replica = match (recall(&layout, device), broken) {
                (Err(_), Some(Ok(replica))) => replica,
                (recalled, _) => recalled?,
            };
            let named = format!("device {} of vault {}", replica.device.short(8), replica.name);
            let path = layout.own().join("replica.json");
            let kept = match path.exists() {
                true => format!("; what was there is kept as {}", set_aside(&layout, &path)?.display()),
                false => String::new(),
            };
            layout.write_replica(&replica)?;
            mended.mended.push(format!("the replica's name: {named}{kept}"));
            replica
        }
    };
    let mut out = run(layout, replica, lock, progress)?.1;
    out.mended.splice(0..0, mended.mended);
    Ok(out)
}

/// Whether a replica's name that can be read cannot be right: no key of that device is here, or what it wrote is of another vault.
fn misnamed(layout: &Layout, replica: &Replica) -> bool {
    if matches!(Keys::load(&replica.device), Err(Error::NoKey { .. })) {
        return true;
    }
    let Ok(repo) = Repository::open(layout.root()) else { return false };
    let wrote = mirror::sound(&repo, &replica.device).unwrap_or_default();
    wrote.first().is_some_and(|record| record.header.vault != replica.vault)
}

/// Whether the folder holds records: in logs or in their mirror.
pub(crate) fn has_history(layout: &Layout) -> Result<bool, Error> {
    let log = Log::new(layout.logs());
    for device in log.devices()? {
        if !log.segments(&device)?.is_empty() {
            return Ok(true);
        }
    }
    match Repository::open(layout.root()) {
        Ok(repo) => Ok(!mirror::devices(&repo)?.is_empty()),
        Err(_) => Ok(false),
    }
}

pub(crate) fn run(
    layout: Layout,
    replica: Replica,
    lock: Lock,
    progress: Progress<'_>,
) -> Result<(Vault, Rebuilt), Error> {
    // The log alone does not say what stood before it: nothing is thrown away that could not be made again.
    if layout.snapshot().exists() {
        return Err(Error::Past);
    }
    let keys = Keys::load(&replica.device)?;
    let mut out = Rebuilt::default();
    let wrote = keys.memory().and_then(|memory| memory.tip).map_or(0, |(seq, _)| seq);
    refs::readable(&layout, &mut out)?;
    let repo = git::open_or_init(layout.root())?;
    let mut mend = Mend { layout: &layout, replica: &replica, repo, wrote, out: &mut out };
    mend.objects(progress)?;
    mend.logs()?;
    mend.refs()?;
    let peers = peer::remembered(&layout.database());
    db::remove(&layout.database())?;
    let main = git::read_ref(&git::open_or_init(layout.root())?, git::MAIN)?;
    let db = db::open(&layout.database())?;
    let logs = layout.logs();
    let mut vault = Vault::bare(layout, replica, keys, db, logs.clone(), lock)?;
    vault.transaction(|vault| {
        vault.replay(&logs, progress)?;
        vault.recall_peers(peers)
    })?;
    let published = match main {
        Some(main) => vault.known_commit(main, progress)?,
        None => None,
    };
    vault.transaction(|vault| {
        // The files are as they were when `main` was moved last, or when this device saved one since, or on their way from there to the
        // newest.
        let mut older = BTreeMap::new();
        let written = published.is_some() || vault.has_saved()?;
        let published = published.as_ref().map(|(_, view)| view.clone());
        for view in published.into_iter().chain(vault.last_saved()?) {
            let view = vault.shown.union(&view);
            if vault.view.covers(&view) {
                vault.show_to(view, progress)?;
                older = vault.adopt(&older, written, progress)?;
            }
        }
        vault.refresh(progress)?;
        vault.adopt(&older, written, progress)
    })?;
    if let Some(main) = published.map(|(commit, _)| commit).or(main) {
        db::set_meta(&vault.db, "main", main.as_bytes())?;
    }
    vault.ready()?;
    if vault.restore_index()? {
        out.mended.push("git index: made again".to_owned());
    }
    for named in vault.adopt_fetched()? {
        out.mended.push(format!("{}{named}: made again", git::HISTORY_PREFIX));
    }
    vault.refill(&mut out)?;
    let round = vault.finish(Absorbed::default(), progress)?;
    let (waits, lost) = round.settled.problems.into_iter().partition(|problem| problem.path.is_empty());
    out.waits = waits;
    let told = |Problem { path, problem, .. }| format!("{path}: {problem}");
    out.lost.extend(Vec::into_iter(lost).map(told));
    out.records = vault.view().len();
    out.documents = vault.db.query_row("SELECT count(*) FROM doc", [], |row| row.get::<_, i64>(0))? as u64;
    out.head = round.head.map(|head| head.to_string());
    out.state = vault.state()?;
    Ok((vault, out))
}

mod refs;

/// Mends what lies below the database, before it is made again.
struct Mend<'a> {
    layout: &'a Layout,
    replica: &'a Replica,
    repo: Repository,
    /// The number of the last record this device remembers to have written.
    wrote: u64,
    out: &'a mut Rebuilt,
}

/// Takes a file or folder out of the way, into `.aios/aside`.
fn set_aside(layout: &Layout, what: &Path) -> Result<PathBuf, Error> {
    let folder = layout.own().join("aside");
    std::fs::create_dir_all(&folder).map_err(|e| Error::io("make", &folder, e))?;
    let name = what.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stamp = now_ms();
    let mut to = folder.join(format!("{stamp}-{name}"));
    let mut n = 1;
    while to.symlink_metadata().is_ok() {
        to = folder.join(format!("{stamp}-{n}-{name}"));
        n += 1;
    }
    durable::rename(what, &to)?;
    Ok(to)
}

impl Mend<'_> {
    fn set_aside(&self, what: &Path) -> Result<PathBuf, Error> {
        set_aside(self.layout, what)
    }

    /// Takes proven-corrupt objects out of git's way; what a corrupt pack still holds soundly is saved first.
    fn objects(&mut self, progress: Progress<'_>) -> Result<(), Error> {
        let found = crate::verify::objects::corrupt(&self.repo, progress)?;
        for (path, why) in &found.loose {
            let to = self.set_aside(path)?;
            self.out.mended.push(format!("git object {}: {why}; kept as {}", path.display(), to.display()));
        }
        for (path, why) in &found.packs {
            let kept = self.salvage(path)?;
            for extension in ["idx", "rev", "bitmap", "pack"] {
                let part = path.with_extension(extension);
                if part.exists() {
                    self.set_aside(&part)?;
                }
            }
            self.out
                .mended
                .push(format!("git pack {}: {why}; set aside, {kept} objects of it saved", path.display()));
        }
        let index = self.repo.commondir().join("index");
        // One that git keeps in a form aios does not read holds what the user staged.
        if index.exists()
            && let Err(e) = git::Index::read(&self.repo)
            && e.is_damage()
        {
            let to = self.set_aside(&index)?;
            let why = match e {
                git::Error::BadIndex { why, .. } => why,
                e => e.to_string(),
            };
            let to = to.display();
            self.out.mended.push(format!("git index: {why}; taken out of the way, it is {to}"));
        }
        if !found.packs.is_empty() || !found.loose.is_empty() {
            self.repo = git::open_or_init(self.layout.root())?;
        }
        Ok(())
    }

    fn salvage(&self, pack: &Path) -> Result<usize, Error> {
        let mut ids = Vec::new();
        let odb = self.repo.odb().map_err(git::Error::git("opening the object database"))?;
        // A corrupt index makes the listing fail: then there is nothing to go by.
        let _ = odb.foreach(|id| {
            ids.push(*id);
            true
        });
        let loose = git::Loose::new(&self.repo, false)?;
        let mut saved = 0;
        for id in ids {
            if loose.has_file(id) {
                continue;
            }
            if let Ok((kind, bytes)) = mirror::proven(&self.repo, id) {
                loose.write_anyway(id, kind, &bytes)?;
                saved += 1;
            }
        }
        tracing::debug!(pack = %pack.display(), saved, "saved what a corrupt pack still held");
        Ok(saved)
    }

    /// Makes damaged or missing logs good from their mirror.
    fn logs(&mut self) -> Result<(), Error> {
        let folder = self.layout.logs();
        let log = Log::new(folder.clone());
        let mut devices: BTreeSet<DeviceId> = log.devices()?.into_iter().collect();
        devices.extend(mirror::devices(&self.repo)?);
        for device in devices {
            let mut records: BTreeMap<u64, Record> = BTreeMap::new();
            let mut damage = Vec::new();
            let (mut last, mut ordered) = (0, true);
            let mut tape = Tape::new(&log, &folder, self.replica.vault, device)?;
            while let Some(step) = tape.take()? {
                match step {
                    Step::Sound(logged) => {
                        let seq = logged.record.header.seq;
                        ordered &= seq == last + 1;
                        last = seq;
                        records.entry(seq).or_insert(logged.record);
                    }
                    Step::Damage(found) => damage.push(found),
                }
            }
            let (mirrored, _) = mirror::read(&self.repo, &self.replica.vault, &device)?;
            let mirror_last = mirrored.last().map_or(0, |mirrored| mirrored.record.header.seq);
            let wrote = if device == self.replica.device { self.wrote } else { 0 };
            let torn = damage.iter().all(|found| found.tail) && ordered && mirror_last.max(wrote) <= last;
            if torn {
                // A write cut short at the end is cut off when the vault opens.
                continue;
            }
            for found in mirrored {
                let seq = found.record.header.seq;
                if let Entry::Vacant(slot) = records.entry(seq) {
                    match mirror::whole(&self.repo, found.record) {
                        Ok(record) => _ = slot.insert(record),
                        Err(why) => self.out.lost.push(format!("record {device}:{seq}: {why}")),
                    }
                }
            }
            for found in &damage {
                self.out.mended.push(format!(
                    "log segment {} at byte {}: {}",
                    found.path.display(),
                    found.at,
                    found.why
                ));
            }
            let most = records.keys().last().copied().unwrap_or(0);
            if most < wrote {
                self.out.lost.push(format!(
                    "record {device}:{}, which this device wrote, is in no copy here",
                    most + 1
                ));
            }
            self.replace_log(&device, records)?;
        }
        self.close_gaps()
    }

    fn replace_log(&mut self, device: &DeviceId, records: BTreeMap<u64, Record>) -> Result<(), Error> {
        let mut chain: Vec<Record> = Vec::new();
        let (mut prev, mut next): (Option<RecordId>, u64) = (None, 1);
        let most = records.keys().last().copied().unwrap_or(0);
        for (seq, record) in records {
            if seq != next || record.header.prev != prev {
                break;
            }
            (prev, next) = (Some(record.id), seq + 1);
            chain.push(record);
        }
        if next <= most {
            self.out.lost.push(format!(
                "record {device}:{next}, and what follows it of that device, is in no copy on this device"
            ));
        }
        let fresh = self.layout.own().join("mend");
        let _ = std::fs::remove_dir_all(&fresh);
        std::fs::create_dir_all(&fresh).map_err(|e| Error::io("make", &fresh, e))?;
        let mut log = Log::new(fresh.clone());
        let mut end = None;
        for part in chain.chunks(256) {
            let list: Vec<&Record> = part.iter().collect();
            end = log.append(device, end, &list)?.1;
        }
        let (made, place) = (fresh.join(device.hex()), self.layout.logs().join(device.hex()));
        let _ = std::fs::create_dir_all(&made);
        std::fs::create_dir_all(self.layout.logs()).map_err(|e| Error::io("make", &self.layout.logs(), e))?;
        match place.exists() {
            true => {
                durable::exchange(&made, &place)?;
                let to = self.set_aside(&made)?;
                self.out.mended.push(format!(
                    "log of device {}: written again, the old one is {}",
                    device.short(8),
                    to.display()
                ));
            }
            false => {
                durable::rename(&made, &place)?;
                self.out.mended.push(format!("log of device {}: made again from git", device.short(8)));
            }
        }
        durable::sync_dir(&self.layout.logs())?;
        let _ = std::fs::remove_dir_all(&fresh);
        Ok(())
    }

    /// Sets aside what rests on records that are gone: a log must be causally closed.
    fn close_gaps(&mut self) -> Result<(), Error> {
        let mut cut: BTreeMap<DeviceId, u64> = BTreeMap::new();
        let mut gone: BTreeSet<RecordId> = BTreeSet::new();
        let mut tapes = Tapes::new(&self.layout.logs(), self.replica.vault)?;
        while let Some(next) = tapes.take()? {
            let Next::Record { logged, lacking } = next else { continue };
            let header = &logged.record.header;
            let rests = header.prev.iter().chain(&header.deps).any(|id| gone.contains(id));
            if lacking.is_some() || rests {
                gone.insert(logged.record.id);
                cut.entry(header.device).or_insert(header.seq);
            }
        }
        let log = Log::new(self.layout.logs());
        for (device, first) in cut {
            let mut records = BTreeMap::new();
            let mut tape = Tape::new(&log, &self.layout.logs(), self.replica.vault, device)?;
            while let Some(step) = tape.take()? {
                if let Step::Sound(logged) = step
                    && logged.record.header.seq < first
                {
                    records.insert(logged.record.header.seq, logged.record);
                }
            }
            self.out.lost.push(format!(
                "record {device}:{first} and later rest on records that are gone; they are set aside"
            ));
            self.replace_log(&device, records)?;
        }
        Ok(())
    }
}

impl Vault {
    /// Indexes the whole log in `logs`, in causal order, proving every record.
    pub(crate) fn replay(&mut self, logs: &Path, progress: Progress<'_>) -> Result<(), Error> {
        let mut tapes = Tapes::new(logs, self.replica.vault)?;
        let mut done = 0;
        while let Some(next) = tapes.take()? {
            match next {
                Next::Damage(_, damage) if damage.tail => {}
                Next::Damage(_, damage) => {
                    return Err(Error::Segment { path: damage.path, at: damage.at, why: damage.why });
                }
                Next::Record { logged, lacking: Some(_) } => {
                    let place = logged.record.header.place();
                    return Err(Error::Refused { place, why: Refusal::Gap });
                }
                Next::Record { logged, lacking: None } => {
                    let fit = self.fit(&logged.record)?;
                    self.index(&logged.record, logged.spot, fit)?;
                    done += 1;
                    if done % 256 == 0 {
                        progress("records", done, 0);
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes the files that lie where documents belong for those documents, as the tables show them, but for those that
    /// `older`, of an earlier call for an older view, has in the same place: a file that is the older version byte for
    /// byte was not written since, and what came in since is no edit that its user undid (I6). A file that differs is
    /// a later save; unless nothing shows that documents were ever `written` here, as in a join that did not end: then it was there
    /// before.
    fn adopt(
        &mut self,
        older: &BTreeMap<DocId, Placement>,
        written: bool,
        progress: Progress<'_>,
    ) -> Result<BTreeMap<DocId, Placement>, Error> {
        let placements: BTreeMap<DocId, Placement> = self.placements()?.into_iter().collect();
        let (total, view) = (placements.len() as u64, self.shown.clone());
        for (n, (doc, placement)) in placements.iter().enumerate() {
            if n % 256 == 0 {
                progress("files", n as u64, total);
            }
            if older.get(doc) == Some(placement) {
                continue;
            }
            let content = placement.content;
            let Ok(read) = disk::read::read(self.writer.root(), &placement.path, LARGE) else { continue };
            let saved = Saved::of(read);
            self.note_flaw(&placement.path, &saved.hash, saved.bytes.as_deref().unwrap_or_default())?;
            let mut found = saved.found;
            if saved.hash != content.hash {
                // Looks unlike what lies there, so that the next look reads it.
                (found.mtime_ns, found.ctime_ns, found.size) = (0, 0, content.size);
            }
            match self.file(&placement.path)? {
                Some(row) if row.doc != *doc || row.hash == saved.hash => continue,
                Some(_) if saved.hash != content.hash => {}
                None if saved.hash != content.hash && (!written || !self.files_of(doc)?.is_empty()) => {
                    continue;
                }
                Some(_) | None => self.set_file(doc, &found, &content.hash, &content.git)?,
            }
            self.aios_wrote(doc, &content.hash, &content.git, &view)?;
        }
        Ok(placements)
    }

    /// What this device had before it when it last took in a file, with that.
    fn last_saved(&self) -> Result<Option<View>, Error> {
        let last: Option<i64> = self.db.query_row(
            "SELECT max(r.n) FROM record r JOIN item i ON i.record = r.n WHERE r.device = ? AND r.held = 0 AND i.hash IS NOT NULL",
            [self.replica.device.as_bytes()],
            |row| row.get(0),
        )?;
        Ok(last.map(|n| self.row(n)).transpose()?.map(|row| row.view))
    }

    /// Whether this device ever took in a file.
    fn has_saved(&self) -> Result<bool, Error> {
        Ok(self.db.query_row(
            "SELECT EXISTS(SELECT 1 FROM record r JOIN item i ON i.record = r.n WHERE r.device = ?)",
            [self.replica.device.as_bytes()],
            |row| row.get(0),
        )?)
    }

    /// The newest commit of ours that `main` reaches by first parents, with the records it stands for: what others
    /// committed since is still to be taken in.
    fn known_commit(&mut self, main: Oid, progress: Progress<'_>) -> Result<Option<(Oid, View)>, Error> {
        self.transaction(|vault| vault.project(progress))?;
        self.repo = git::open_or_init(self.root())?;
        let mut next = Some(main);
        while let Some(at) = next {
            if let Some(view) = self.transaction(|vault| vault.view_of_commit(at))? {
                return Ok(Some((at, view)));
            }
            next = git::commit(&self.repo, at).ok().and_then(|commit| commit.parents.first().copied());
        }
        Ok(None)
    }
    /// Puts blobs that git lost back from the working files that still hold them.
    fn refill(&mut self, out: &mut Rebuilt) -> Result<(), Error> {
        for (blob, known) in self.missing_apart()? {
            let Some((hash, size)) = known else {
                out.lost.push(format!("history {blob} from before aios: sync brings it back"));
                continue;
            };
            let path: Option<String> = {
                let mut get = self.db.prepare_cached("SELECT path FROM file WHERE git = ? AND hash = ?")?;
                let mut rows = get.query(rusqlite::params![blob.as_bytes(), hash])?;
                rows.next()?.map(|row| row.get(0)).transpose()?
            };
            let file = path.map(|path| self.root().join(path)).filter(|path| path.is_file());
            let bytes =
                file.and_then(|path| std::fs::read(path).ok()).filter(|bytes| bytes.len() as u64 == size);
            match bytes {
                Some(bytes)
                    if ContentHash::of(&bytes).as_bytes()[..] == hash[..]
                        && oid(&GitId::blob(&bytes))? == blob =>
                {
                    self.store_blob(size, &mut bytes.as_slice())?;
                    out.mended.push(format!("git blob {blob}: put back from the working file"));
                }
                _ => out.lost.push(format!("the bytes of {blob}: sync brings them back")),
            }
        }
        self.repo = git::open_or_init(self.root())?;
        Ok(())
    }
}
