//! Taking a vault out as plain files that outlive this program, and reading records back in.
//!
//! An export holds `files/` (every document at its path), `log/DEVICE.jsonl` (a record a line), `blobs/GITID` (the bytes
//! that travel apart), `manifest.json`, and if asked `documents/ID.automerge`. A line of a log is
//! `{"header":TEXT,"body":TEXT,"sig":HEX,"payloads":[BASE64,…]}`: header and body as their author wrote them, so that
//! `docs/formats.md` is enough to check them. History from before aios stays in git.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use aios_core::frontier::Frontier;
use aios_core::history::History;
use aios_core::id::{ContentHash, DeviceId, DocId, GitId, RecordId, VaultId};
use aios_core::item::{Kind, Mode};
use aios_core::record::Record;
use serde::{Deserialize, Serialize};

use crate::absorb::Absorbed;
use crate::disk::{self, Folder, FolderError, ReadError};
use crate::error::Error;
use crate::survey::Problem;
use crate::tape::{Step, Tape};
use crate::vault::{Progress, Vault};

/// How many records are taken in at once.
const BATCH: usize = 256;

/// What an export or import held.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Exported {
    /// Files written (export), or lying in the vault after it (import).
    pub files: u64,
    /// Records written (export), or that were new here (import).
    pub records: u64,
    /// Automerge documents written (export), or documents living after it (import).
    pub documents: u64,
    /// What was not written (export), or not taken in or written (import).
    pub problems: Vec<Problem>,
}

/// `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    vault: VaultId,
    name: String,
    head: Option<String>,
    state: String,
    frontier: Frontier,
    files: Vec<Listed>,
}

/// One document in the manifest.
#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    path: String,
    doc: DocId,
    kind: Kind,
    mode: Mode,
    hash: ContentHash,
    size: u64,
    /// Whether its bytes were not on the device, so that there is no file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    absent: bool,
}

/// One line of a log.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    header: String,
    body: String,
    sig: String,
    /// In order; `null` for one that is gone.
    payloads: Vec<Option<String>>,
}

fn make(folder: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io("make", folder, e))
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    path.parent().map_or(Ok(()), make)?;
    std::fs::write(path, bytes).map_err(|e| Error::io("write", path, e))
}

fn encode(record: &Record) -> Result<Line, Error> {
    let place = record.header.place();
    let text = |line: &[u8]| String::from_utf8(line.to_vec());
    let malformed =
        |e: std::string::FromUtf8Error| aios_core::record::RecordError::Body(place, e.to_string());
    let body = record.body()?;
    let named =
        body.items.iter().zip(record.payloads_of(&body)?).filter(|(item, _)| item.payload().is_some());
    let payloads: Vec<_> = match record.is_closed() {
        true => vec![Some(data_encoding::BASE64.encode(&record.payloads))],
        false => named.map(|(_, bytes)| bytes.map(|bytes| data_encoding::BASE64.encode(bytes))).collect(),
    };
    Ok(Line {
        header: text(&record.header_line).map_err(malformed)?,
        body: text(&record.body_line).map_err(malformed)?,
        sig: data_encoding::HEXLOWER.encode(&record.signature),
        payloads,
    })
}

fn decode(text: &str) -> Result<Record, String> {
    let line: Line = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let id = RecordId(*blake3::hash(line.header.as_bytes()).as_bytes());
    let sig =
        data_encoding::HEXLOWER.decode(line.sig.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    let sig = sig.ok_or("the signature is not 128 hex digits")?;
    let (mut payloads, mut gone) = (Vec::new(), Vec::new());
    for (n, part) in (0..).zip(&line.payloads) {
        match part {
            Some(part) => {
                payloads.extend(data_encoding::BASE64.decode(part.as_bytes()).map_err(|e| e.to_string())?)
            }
            None => gone.push(n),
        }
    }
    let record = Record::from_parts(id, sig, line.header.into_bytes(), line.body.into_bytes(), payloads)
        .map_err(|e| e.to_string())?;
    Ok(Record { gone: gone.into_iter().collect(), ..record })
}

/// The log of one device in an export, one record at a time.
struct Source {
    path: PathBuf,
    lines: std::io::Lines<BufReader<std::fs::File>>,
    number: u64,
    next: Option<Record>,
}

impl Source {
    fn open(path: PathBuf) -> Result<Self, Error> {
        let file = std::fs::File::open(&path).map_err(|e| Error::io("read", &path, e))?;
        let mut source = Source { path, lines: BufReader::new(file).lines(), number: 0, next: None };
        source.advance()?;
        Ok(source)
    }

    fn advance(&mut self) -> Result<(), Error> {
        self.number += 1;
        self.next = match self.lines.next() {
            None => None,
            Some(line) => {
                let line = line.map_err(|e| Error::io("read", &self.path, e))?;
                let bad = |why| Error::Usage(format!("{} line {}: {why}", self.path.display(), self.number));
                Some(decode(&line).map_err(bad)?)
            }
        };
        Ok(())
    }
}

fn real(path: &Path) -> Result<PathBuf, Error> {
    std::fs::canonicalize(path).map_err(|e| Error::io("use", path, e))
}

/// Where a folder lies or, as long as there is none, its nearest parent: found out without making anything.
fn place_of(folder: &Path) -> Result<PathBuf, Error> {
    let folder = std::path::absolute(folder).map_err(|e| Error::io("use", folder, e))?;
    real(folder.ancestors().find(|at| at.exists()).unwrap_or(&folder))
}

fn absent_from(folder: &Path) -> Result<bool, Error> {
    match std::fs::read_dir(folder) {
        Ok(mut list) => Ok(list.next().is_none()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(Error::io("list", folder, e)),
    }
}

/// The files of an export that are not what it says of them: an import takes in records, and no edit of a file.
fn edited(folder: &Path, manifest: &Manifest) -> Result<Vec<Problem>, Error> {
    let files = Folder::open(&folder.join("files"))?;
    let mut out = Vec::new();
    for listed in manifest.files.iter().filter(|listed| !listed.absent) {
        let (problem, hint) = match disk::read::read(&files, &listed.path, disk::read::LARGE) {
            Ok(read) if *read.hash.as_bytes() == listed.hash.0 => continue,
            Ok(_) => (
                "was edited in the export: the records are taken in, the edit is not".to_owned(),
                format!(
                    "to have it, copy {} into the vault and run `aios commit`",
                    folder.join("files").join(&listed.path).display()
                ),
            ),
            Err(ReadError::Missing(_) | ReadError::Folder(FolderError::Missing(_))) => (
                "is gone from the export: the records are taken in, and the file stays in the vault"
                    .to_owned(),
                "to have it gone, delete it in the vault".to_owned(),
            ),
            Err(e) => (format!("cannot be read in the export: {e}"), "make the export again".to_owned()),
        };
        out.push(Problem { path: listed.path.clone(), problem, hint });
    }
    Ok(out)
}

impl Vault {
    /// Writes all of the vault to `folder`, which is new or empty; `automerge` adds the Automerge documents.
    ///
    /// # Errors
    /// [`Error::Usage`] when something lies in `folder`; whatever reading the vault or writing the folder meets.
    pub fn export(
        &mut self,
        folder: &Path,
        automerge: bool,
        progress: Progress<'_>,
    ) -> Result<Exported, Error> {
        self.check_past()?;
        if place_of(folder)?.starts_with(real(self.root())?) {
            return Err(Error::Usage(
                "an export does not go into the vault itself: name a folder outside".into(),
            ));
        }
        if !absent_from(folder)? {
            return Err(Error::Usage(format!("{} is not empty: name a new folder", folder.display())));
        }
        make(folder)?;
        let head = self.finish(Absorbed::default(), progress)?.head.map(|head| head.to_string());
        let mut out = Exported::default();
        let files = self.export_files(folder, automerge, &mut out, progress)?;
        self.export_log(folder, &mut out, progress)?;
        let (vault, name, state) = (self.id(), self.name().to_owned(), self.state()?);
        let manifest = Manifest { format: 1, vault, name, head, state, frontier: self.frontier()?, files };
        let text = serde_json::to_vec_pretty(&manifest).map_err(|e| Error::Damaged(e.to_string()))?;
        put(&folder.join("manifest.json"), &text)?;
        Ok(out)
    }

    fn export_files(
        &mut self,
        folder: &Path,
        automerge: bool,
        out: &mut Exported,
        progress: Progress<'_>,
    ) -> Result<Vec<Listed>, Error> {
        make(&folder.join("files"))?;
        let placements = self.placements()?;
        let (total, mut list) = (placements.len() as u64, Vec::with_capacity(placements.len()));
        for (n, (doc, placement)) in placements.into_iter().enumerate() {
            progress("files", n as u64, total);
            let path = folder.join("files").join(&placement.path);
            let bytes = match self.document_bytes(&doc, &placement.content) {
                Ok(bytes) => Some(bytes),
                Err(Error::Apart(_)) => None,
                Err(e) => return Err(e),
            };
            if let Some(bytes) = &bytes {
                path.parent().map_or(Ok(()), make)?;
                let wrap = |e| Error::io("write", &path, e);
                match placement.mode {
                    Mode::Link => {
                        use std::os::unix::ffi::OsStrExt;
                        std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(bytes), &path)
                            .map_err(wrap)?;
                    }
                    mode => {
                        put(&path, bytes)?;
                        if mode == Mode::Executable {
                            use std::os::unix::fs::PermissionsExt;
                            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
                                .map_err(wrap)?;
                        }
                    }
                }
                out.files += 1;
            }
            if automerge && placement.kind.by_character() {
                self.export_document(folder, &doc)?;
                out.documents += 1;
            }
            let (kind, mode, absent) = (placement.kind, placement.mode, bytes.is_none());
            if absent {
                out.problems.push(Problem {
                    path: placement.path.clone(),
                    problem: "its bytes are not on this device yet: the export lacks the file".into(),
                    hint: "run `aios sync`, then export to a new folder".into(),
                });
            }
            let (hash, size) = (placement.content.hash, placement.content.size);
            list.push(Listed { path: placement.path, doc, kind, mode, hash, size, absent });
        }
        Ok(list)
    }

    /// The Automerge document of the epoch a document is in, at the version its file reads, as Automerge itself saves it.
    fn export_document(&mut self, folder: &Path, doc: &DocId) -> Result<(), Error> {
        use aios_core::fold::{Text, fold};
        let touches = self.history().touches(doc)?;
        let view = self.shown.clone();
        let Some(found) = fold(&touches, &[], &view) else { return Ok(()) };
        let (kind, epoch) = match &found.text {
            Text::One { kind, epoch, .. } | Text::Characters { kind, epoch, .. } => (*kind, *epoch),
            _ => return Ok(()),
        };
        if !kind.by_character() {
            return Ok(());
        }
        let loaded = self.load(doc, epoch, kind, &touches, &view)?;
        let heads = loaded.heads(doc, found.text.heads())?;
        let saved = loaded.document.export(&heads).map_err(|e| crate::text::document_error(doc, e))?;
        put(&folder.join("documents").join(format!("{doc}.automerge")), &saved)
    }

    fn export_log(&mut self, folder: &Path, out: &mut Exported, progress: Progress<'_>) -> Result<(), Error> {
        let logs = self.layout.logs();
        make(&folder.join("log"))?;
        let devices: Vec<DeviceId> = self.frontier()?.0.keys().copied().collect();
        for device in devices {
            let path = folder.join("log").join(format!("{device}.jsonl"));
            let wrap = |e| Error::io("write", &path, e);
            let mut file = BufWriter::new(std::fs::File::create(&path).map_err(wrap)?);
            let mut tape = Tape::new(&self.log, &logs, self.replica.vault, device)?;
            while let Some(step) = tape.take()? {
                let record = match step {
                    Step::Sound(logged) => logged.record,
                    Step::Damage(damage) => {
                        return Err(Error::Segment { path: damage.path, at: damage.at, why: damage.why });
                    }
                };
                for content in record.body()?.items.iter().filter_map(aios_core::item::Item::detached) {
                    self.export_blob(folder, &content.git)?;
                }
                let line =
                    serde_json::to_string(&encode(&record)?).map_err(|e| Error::Damaged(e.to_string()))?;
                writeln!(file, "{line}").map_err(wrap)?;
                out.records += 1;
                progress("records", out.records, 0);
            }
            file.flush().map_err(wrap)?;
        }
        Ok(())
    }

    fn export_blob(&mut self, folder: &Path, git: &GitId) -> Result<(), Error> {
        let path = folder.join("blobs").join(git.hex());
        if path.exists() {
            return Ok(());
        }
        match self.blob(git)? {
            Some(bytes) => put(&path, &bytes),
            None => Ok(()),
        }
    }

    /// Takes in the records and blobs of an export of this vault that are not here, proving each.
    ///
    /// # Errors
    /// [`Error::Usage`] when `folder` is no export, or one of another vault; what [`Vault::integrate`] refuses.
    pub fn import(&mut self, folder: &Path, progress: Progress<'_>) -> Result<Exported, Error> {
        let path = folder.join("manifest.json");
        let text = std::fs::read(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::Usage(format!(
                "{} is no export: to take in plain files, copy them into the vault and run `aios commit`",
                folder.display()
            )),
            _ => Error::io("read", &path, e),
        })?;
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|e| Error::Usage(format!("{}: {e}", path.display())))?;
        if manifest.vault != self.id() {
            return Err(Error::Usage(format!(
                "{} is an export of the vault `{}`, not of this one: to take in its files, copy {} into this vault and run `aios commit`",
                folder.display(),
                manifest.name,
                folder.join("files").display()
            )));
        }
        let absorbed = self.absorb(&Default::default(), progress)?;
        let mut out = Exported { problems: absorbed.problems.clone(), ..Exported::default() };
        out.problems.extend(edited(folder, &manifest)?);
        let mut sources = Vec::new();
        let log = folder.join("log");
        for entry in std::fs::read_dir(&log).map_err(|e| Error::io("list", &log, e))? {
            let path = entry.map_err(|e| Error::io("list", &log, e))?.path();
            if path.extension().is_some_and(|extension| extension == "jsonl") {
                sources.push(Source::open(path)?);
            }
        }
        let mut batch = Vec::new();
        loop {
            // The total order puts every record after its past.
            let first = sources.iter_mut().filter(|source| source.next.is_some());
            let first = first.min_by_key(|source| source.next.as_ref().map(|record| record.header.stamp()));
            if let Some(source) = first {
                batch.extend(source.next.take());
                source.advance()?;
                if batch.len() < BATCH {
                    continue;
                }
            }
            if batch.is_empty() {
                break;
            }
            out.records += self.integrate(&batch)?.new;
            batch.clear();
            progress("records", out.records, 0);
        }
        self.import_blobs(folder)?;
        out.problems.extend(self.finish(absorbed, progress)?.settled.problems);
        out.documents = self.db.query_row("SELECT count(*) FROM doc", [], |row| row.get::<_, i64>(0))? as u64;
        out.files = self.db.query_row("SELECT count(*) FROM file", [], |row| row.get::<_, i64>(0))? as u64;
        Ok(out)
    }

    fn import_blobs(&mut self, folder: &Path) -> Result<(), Error> {
        for (id, known) in self.missing_apart()? {
            let path = folder.join("blobs").join(id.to_string());
            let Some((hash, size)) = known.filter(|_| path.is_file()) else { continue };
            let bytes = std::fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
            if bytes.len() as u64 == size && ContentHash::of(&bytes).as_bytes()[..] == hash[..] {
                self.store_blob(size, &mut bytes.as_slice())?;
            }
        }
        self.repo = crate::git::open_or_init(self.root())?;
        Ok(())
    }
}
