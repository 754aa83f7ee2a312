//! A folder that carries a vault: a stick, or one that another program syncs. Its files are written once and never changed,
//! so any number of devices may write at once, and any of them may carry what others made. See `docs/formats.md`, Folder.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aios_core::frontier::{Place, View};
use aios_core::id::{ContentHash, DeviceId, GitId};
use aios_core::record::Record;
use aios_vault::apart::{Given, Named};
use aios_vault::disk::durable;
use aios_vault::recovery::Search;

use super::chunk::{self, Name};
use super::pull::{Reader, Run, Shelf, Unread, gaps};
use super::state::State;
use super::{Remote, RemoteError, RouteReport, Skipped, secret};
use crate::site::Site;

/// So many bytes of entries go into one file, or one longer entry.
const FILE: u64 = 4 << 20;
/// So many bytes are copied at once.
const PIECE: usize = 1 << 20;
/// What names of files begin with that are not whole yet.
const PART: &str = ".part-";

/// The part of a folder that belongs to one vault.
struct Home {
    root: PathBuf,
    /// Names of this device's unfinished files begin with it.
    part: String,
}

/// What lies there.
struct Listing {
    home: PathBuf,
    runs: Vec<Run>,
    /// Blobs by hash, histories by commit and hash, each with its size in bytes.
    apart: Vec<(String, u64)>,
}

/// Exchanges with the folder of `remote`: takes in what it has, writes what it lacks, reads that back.
///
/// # Errors
/// What stopped it. What came before that stays, here and there.
pub fn sync(site: &Site, remote: &Remote, allow: bool, report: &mut RouteReport) -> Result<(), RemoteError> {
    let keeper = site.keeper();
    let mut state = State::load(keeper.root(), &remote.name, &remote.url);
    let home = Home::find(site, Path::new(&remote.url), !state.proven.is_empty())?;
    report.reached = true;
    let done = home.exchange(site, remote, allow, &mut state, report);
    match done {
        // Pulled out meanwhile.
        Err(e) if !Path::new(&remote.url).is_dir() => {
            Err(RemoteError::Absent(format!("{} went away: {e}", remote.url)))
        }
        done => done,
    }
}

/// Takes in what the folder of `remote` holds, and gives nothing. Says what was not used.
///
/// # Errors
/// What stopped it. What came before that stays.
pub fn take(site: &Site, remote: &Remote) -> Result<Vec<Skipped>, RemoteError> {
    let home = Home::find(site, Path::new(&remote.url), false)?;
    let mut report = RouteReport::default();
    let listing = home.list(&mut report.skipped)?;
    let mut reader = Reader::new(&listing, site.keeper(), site.vault(), Default::default());
    reader.pull()?;
    home.take_apart(site, &listing, &mut report)?;
    report.skipped.extend(reader.all_skipped());
    Ok(report.skipped)
}

/// Looks through the records of all vaults that a folder carries.
///
/// # Errors
/// When it is not there, or cannot be read.
pub fn search(base: &Path, search: &mut Search) -> Result<(), RemoteError> {
    if !base.is_dir() {
        return Err(RemoteError::Nothing(base.to_owned()));
    }
    for (name, _) in names(base)?.into_iter().filter(|(name, _)| name.starts_with("aios-")) {
        let home = Home { root: base.join(name), part: String::new() };
        let listing = home.list(&mut Vec::new())?;
        for run in listing.runs() {
            // What is torn or lies is named once the vault is known.
            for record in listing.read(run).unwrap_or_default() {
                search.look(&record);
            }
        }
    }
    Ok(())
}

impl Home {
    fn find(site: &Site, base: &Path, known: bool) -> Result<Home, RemoteError> {
        if !base.is_dir() {
            return Err(RemoteError::Absent(format!("{} is not there: plug it in", base.display())));
        }
        let root = base.join(format!("aios-{}", site.vault().short(16)));
        if known && !root.is_dir() {
            // An empty mount point looks like an empty stick.
            return Err(RemoteError::Absent(format!(
                "{} does not hold this vault any more: plug the device in, or, if it was emptied, remove the remote and \
                 add it again",
                base.display()
            )));
        }
        Ok(Home { root, part: format!("{PART}{}-", site.device().short(16)) })
    }

    fn exchange(
        &self,
        site: &Site,
        remote: &Remote,
        allow: bool,
        state: &mut State,
        report: &mut RouteReport,
    ) -> Result<(), RemoteError> {
        let keeper = site.keeper();
        let listing = self.list(&mut report.skipped)?;
        let mut reader = Reader::new(&listing, keeper, site.vault(), std::mem::take(&mut state.proven));
        report.received = reader.pull()?;
        let taken = self.take_apart(site, &listing, report)?;
        if report.received > 0 || taken {
            site.finish()?;
        }
        let sealed = keeper.work(|vault| vault.is_sealed_vault())?;
        let (view, head) = keeper.work(move |vault| {
            let head = vault.finish(Default::default(), &mut |_, _, _| {})?.head;
            // What is encrypted gives no secret away.
            let head = head.filter(|_| !sealed).and_then(|head| GitId::from_slice(head.as_bytes()));
            Ok((vault.view().clone(), head))
        })?;
        report.secrets = secret::check(site, remote, state, head, allow)?;
        if !report.secrets.is_empty() {
            return Err(RemoteError::Secrets(report.secrets.len()));
        }
        let proven = reader.prove(&view)?;
        report.skipped.extend(reader.all_skipped());
        state.proven = reader.proven();
        // What records name goes first: who has a record can have its bytes.
        self.give_apart(site, &listing, state)?;
        self.give_records(site, &view, &proven, state, report)?;
        report.holds = Some(view);
        state.save(keeper.root(), &remote.name)
    }

    /// Lists what is there. What is no file of aios is named, hidden files apart.
    fn list(&self, skipped: &mut Vec<Skipped>) -> Result<Listing, RemoteError> {
        let mut out = Listing { home: self.root.clone(), runs: Vec::new(), apart: Vec::new() };
        let mut alien = |what: String| {
            skipped.push(Skipped { what, why: "its name is none that aios gives".into() });
        };
        for (folder, _) in names(&self.root.join("records"))? {
            let Ok(device) = folder.parse::<DeviceId>() else {
                alien(format!("records/{folder}"));
                continue;
            };
            for (file, size) in names(&self.root.join("records").join(&folder))? {
                let name = format!("records/{folder}/{file}");
                match file.parse::<Name>() {
                    Ok(Name { first, last, .. }) => out.runs.push(Run { device, first, last, name, size }),
                    Err(()) => alien(name),
                }
            }
        }
        for folder in ["blobs", "history"] {
            for (file, size) in names(&self.root.join(folder))? {
                let hash = match file.split_once('-') {
                    Some((tip, hash)) if folder == "history" && tip.parse::<GitId>().is_ok() => hash,
                    _ if folder == "blobs" => &file,
                    _ => "",
                };
                match hash.parse::<ContentHash>() {
                    Ok(_) => out.apart.push((format!("{folder}/{file}"), size)),
                    Err(_) => alien(format!("{folder}/{file}")),
                }
            }
        }
        Ok(out)
    }

    /// Takes in the blobs and histories that are lacked here. Says whether any came.
    fn take_apart(
        &self,
        site: &Site,
        listing: &Listing,
        report: &mut RouteReport,
    ) -> Result<bool, RemoteError> {
        let mut taken = false;
        for wanted in site.keeper().work(|vault| vault.apart_wanted())? {
            for (name, _) in listing.holding(&wanted) {
                let path = self.root.join(name);
                if matches!(wanted, Named::History(_)) && hash_of(&path)?.0 != hash_in(name) {
                    report
                        .skipped
                        .push(Skipped { what: name.clone(), why: chunk::ChunkError::Torn.to_string() });
                    continue;
                }
                match site.keeper().work(move |vault| vault.take_apart(&wanted, &path)) {
                    Ok(()) => {
                        taken = true;
                        break;
                    }
                    Err(aios_vault::Error::Corrupt { why, .. }) => {
                        report.skipped.push(Skipped { what: name.clone(), why });
                    }
                    Err(e) => return Err(e.into()),
                }
            }
        }
        Ok(taken)
    }

    /// Writes the blobs and histories that are here and not there, and reads them back.
    fn give_apart(&self, site: &Site, listing: &Listing, state: &mut State) -> Result<(), RemoteError> {
        for named in site.keeper().work(|vault| vault.apart_held())? {
            let mut there = false;
            for (name, size) in listing.holding(&named) {
                let mark = format!("{name} {size}");
                there =
                    state.proven.contains(&mark) || hash_of(&self.root.join(name))? == (hash_in(name), *size);
                if there {
                    state.proven.insert(mark);
                    break;
                }
            }
            if there {
                continue;
            }
            let Some(given) = site.keeper().work(move |vault| vault.give(&named))? else { continue };
            let folder = match named {
                Named::Blob(_) => "blobs",
                Named::History(_) => "history",
            };
            let (part, hash) = self.write_part(&self.root.join(folder), &mut Source::Given(given, 0))?;
            let file = match named {
                Named::Blob(_) => hash.hex(),
                Named::History(tip) => format!("{tip}-{hash}"),
            };
            let name = format!("{folder}/{file}");
            let size = self.put(&part, &name)?;
            state.proven.insert(format!("{name} {size}"));
        }
        Ok(())
    }

    /// Writes the records that are here and not there, and reads them back.
    fn give_records(
        &self,
        site: &Site,
        view: &View,
        proven: &[Run],
        state: &mut State,
        report: &mut RouteReport,
    ) -> Result<(), RemoteError> {
        for end in view.iter() {
            let device = end.device;
            for (first, last) in gaps(end.seq, proven.iter().filter(|run| run.device == device)) {
                let mut next = first;
                while next <= last {
                    let (from, upto) = (before(device, next), before(device, last + 1));
                    let entries = site.keeper().work(move |vault| vault.entries_since(&from, &upto, FILE))?;
                    let Some(to) = entries.last().map(|entry| entry.place.seq) else {
                        return Err(RemoteError::Doubtful(format!(
                            "record {next} of {device} cannot be read here"
                        )));
                    };
                    let bytes: Vec<u8> = entries.into_iter().flat_map(|entry| entry.bytes).collect();
                    let folder = self.root.join("records").join(device.hex());
                    let packed =
                        chunk::pack(&bytes).map_err(|e| RemoteError::io("compress for", &folder, e))?;
                    let (part, hash) = self.write_part(&folder, &mut Source::Bytes(packed))?;
                    let file = Name { first: next, last: to, hash: hash.0 };
                    let name = format!("records/{device}/{file}");
                    let size = self.put(&part, &name)?;
                    state.proven.insert(Run { device, first: next, last: to, name, size }.mark());
                    report.sent += to - next + 1;
                    next = to + 1;
                }
            }
        }
        Ok(())
    }

    /// Writes a file under a name that others do not look at, durably; gives it and the hash of its bytes.
    fn write_part(&self, folder: &Path, source: &mut Source) -> Result<(PathBuf, ContentHash), RemoteError> {
        make_folders(&self.root, folder)?;
        let own = format!("{}{}", self.part, std::process::id());
        for (name, _) in hidden(folder)? {
            // What an earlier run of this device left: nobody else writes under such a name.
            if name == own || (name.starts_with(&self.part) && is_old(&folder.join(&name))) {
                durable::remove(&folder.join(name))?;
            }
        }
        let path = folder.join(own);
        let mut file = durable::write_new(&path, b"")?;
        let mut hash = blake3::Hasher::new();
        let written = (|| {
            while let Some(piece) = source.next()? {
                hash.update(&piece);
                durable::append(&mut file, &piece)?;
            }
            durable::sync_file(&file)
        })();
        if let Err(e) = written {
            // The first error is the one to tell.
            let _ = std::fs::remove_file(&path);
            return Err(RemoteError::io("write", &path, e));
        }
        Ok((path, ContentHash(*hash.finalize().as_bytes())))
    }

    /// Puts a finished file at its name and reads it back from the device (I12); gives its size in bytes.
    fn put(&self, part: &Path, name: &str) -> Result<u64, RemoteError> {
        let path = self.root.join(name);
        durable::rename(part, &path)?;
        if let Some(folder) = path.parent() {
            durable::sync_dir(folder)?;
        }
        let (hash, size) = hash_of(&path)?;
        match hash == hash_in(name) {
            true => Ok(size),
            false => Err(RemoteError::Doubtful(format!(
                "{} reads back as something else than was written: do not trust this device",
                path.display()
            ))),
        }
    }
}

impl Listing {
    /// The files that say to be this.
    fn holding(&self, named: &Named) -> impl Iterator<Item = &(String, u64)> {
        let begin = match named {
            Named::Blob(content) => format!("blobs/{}", content.hash),
            Named::History(tip) => format!("history/{tip}-"),
        };
        self.apart.iter().filter(move |(name, _)| name.starts_with(&begin))
    }
}

impl Shelf for Listing {
    fn runs(&self) -> &[Run] {
        &self.runs
    }

    fn read(&self, run: &Run) -> Result<Vec<Record>, Unread> {
        let path = self.home.join(&run.name);
        if run.size > chunk::LARGEST {
            return Err(Unread::Lying("it is larger than a file of records may be".into()));
        }
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            // What syncs the folder may have taken it away since it was listed: that is no delete of anything.
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err(Unread::Waiting("it went away".into()));
            }
            Err(e) => return Err(Unread::Failed(RemoteError::io("read", &path, e))),
        };
        let file = run.name.rsplit('/').next().unwrap_or_default();
        let name = file.parse::<Name>().map_err(|()| Unread::Lying("it has another name".into()))?;
        chunk::unpack(&name, &bytes).map_err(|e| Unread::Lying(e.to_string()))
    }
}

/// What is written.
enum Source {
    Bytes(Vec<u8>),
    /// And how many of its bytes were written.
    Given(Given, u64),
}

impl Source {
    /// The next piece; `None` at the end.
    fn next(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let piece = match self {
            Source::Bytes(bytes) => std::mem::take(bytes),
            Source::Given(given, at) => {
                let piece = given.read(*at, PIECE)?;
                *at += piece.len() as u64;
                piece
            }
        };
        Ok(Some(piece).filter(|piece| !piece.is_empty()))
    }
}

/// The records of a device before one of them.
fn before(device: DeviceId, seq: u64) -> View {
    [Place { device, seq: seq - 1 }].into_iter().collect()
}

/// The files and folders of a folder with their sizes, in order; none where there is no folder. Links are not followed and
/// not listed.
fn entries(folder: &Path) -> Result<Vec<(String, u64)>, RemoteError> {
    let failed = |e| RemoteError::io("list", folder, e);
    let list = match std::fs::read_dir(folder) {
        Ok(list) => list,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut out = Vec::new();
    for entry in list {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        match entry.metadata() {
            Ok(found) if found.is_symlink() => {}
            Ok(found) => out.push((name, found.len())),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e)),
        }
    }
    out.sort();
    Ok(out)
}

fn names(folder: &Path) -> Result<Vec<(String, u64)>, RemoteError> {
    Ok(entries(folder)?.into_iter().filter(|(name, _)| !name.starts_with('.')).collect())
}

fn hidden(folder: &Path) -> Result<Vec<(String, u64)>, RemoteError> {
    Ok(entries(folder)?.into_iter().filter(|(name, _)| name.starts_with('.')).collect())
}

/// Whether nobody has written to a file for an hour.
fn is_old(path: &Path) -> bool {
    let age = path.metadata().and_then(|found| found.modified()).ok().and_then(|at| at.elapsed().ok());
    age.is_some_and(|age| age > Duration::from_secs(3600))
}

/// The hash at the end of a file's name.
fn hash_in(name: &str) -> ContentHash {
    let hash = name.rsplit(['/', '-']).next().unwrap_or_default();
    hash.parse().unwrap_or(ContentHash([0; 32]))
}

/// Hash and size of a file as the device has it, not as it is in memory.
fn hash_of(path: &Path) -> Result<(ContentHash, u64), RemoteError> {
    let failed = |e| RemoteError::io("read", path, e);
    let mut file = File::open(path).map_err(failed)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        // Where a file system cannot, what is in memory is read.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    }
    let mut hash = blake3::Hasher::new();
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece).map_err(failed)? {
            0 => break,
            n => hash.write_all(&piece[..n]).map_err(failed)?,
        }
    }
    Ok((ContentHash(*hash.finalize().as_bytes()), hash.count()))
}

/// Makes `folder`, which lies below what `root` lies in, durably.
fn make_folders(root: &Path, folder: &Path) -> Result<(), RemoteError> {
    let mut missing: Vec<&Path> = Vec::new();
    for at in folder.ancestors().take_while(|at| at.starts_with(root)) {
        if !at.is_dir() {
            missing.push(at);
        }
    }
    for at in missing.into_iter().rev() {
        match std::fs::create_dir(at) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(RemoteError::io("make", at, e)),
        }
        if let Some(above) = at.parent() {
            durable::sync_dir(above)?;
        }
    }
    Ok(())
}
