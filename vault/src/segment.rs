//! The files of a device's log: a segment is plain while it grows, and may be packed once nothing is added to it any more.
//!
//! Where both forms lie there, a crash came between writing one and removing the other, or somebody copied old files over new ones: the
//! longer one counts, and of equals the plain one.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::disk::durable;
use crate::error::Error;
use crate::packed::{self, BLOCK, Index, MAX_INDEX};

/// How a segment lies on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    /// Its entries and nothing else.
    Plain,
    /// Compressed.
    Packed,
}

/// One segment of one device's log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Segment {
    /// The number of its first record.
    pub first: u64,
    /// How it lies there.
    pub form: Form,
    folder: PathBuf,
}

/// The index of a packed segment is read so many bytes at first.
const HEAD: u64 = 8 << 10;

impl Segment {
    /// The segments in a device's folder, in order.
    pub fn list(folder: &Path) -> Result<Vec<Segment>, Error> {
        let mut out = Vec::new();
        for name in names(folder)? {
            let form = [(".log", Form::Plain), (".logz", Form::Packed)];
            let named = form.iter().find_map(|(end, form)| Some((name.strip_suffix(end)?, *form)));
            let Some((stem, form)) = named else { continue };
            if let Ok(first) = stem.parse::<u64>() {
                out.push(Segment { first, form, folder: folder.to_owned() });
            }
        }
        out.sort();
        let mut list: Vec<Segment> = Vec::with_capacity(out.len());
        for segment in out {
            match list.pop_if(|before| before.first == segment.first) {
                Some(plain) => list.push(plain.or_packed()?),
                None => list.push(segment),
            }
        }
        Ok(list)
    }

    /// Of a plain segment beside a packed one: which of them counts.
    fn or_packed(self) -> Result<Segment, Error> {
        let packed = self.in_form(Form::Packed);
        match packed.len() {
            Ok(len) if len > self.len()? => Ok(packed),
            // One that is damaged says nothing.
            Ok(_) | Err(Error::Segment { .. }) => Ok(self),
            Err(e) => Err(e),
        }
    }

    /// The segment that begins with this record, as it lies there; plain where it does not yet.
    pub fn at(folder: &Path, first: u64) -> Result<Segment, Error> {
        let named = |form| Segment { first, form, folder: folder.to_owned() };
        let (plain, packed) = (named(Form::Plain), named(Form::Packed));
        match (plain.path().exists(), packed.path().exists()) {
            (true, true) => plain.or_packed(),
            (false, true) => Ok(packed),
            (_, false) => Ok(plain),
        }
    }

    /// Its file.
    pub fn path(&self) -> PathBuf {
        let end = match self.form {
            Form::Plain => "log",
            Form::Packed => "logz",
        };
        self.folder.join(format!("{:010}.{end}", self.first))
    }

    fn in_form(&self, form: Form) -> Segment {
        Segment { form, ..self.clone() }
    }

    /// How many bytes its entries have.
    pub fn len(&self) -> Result<u64, Error> {
        match self.form {
            Form::Plain => {
                let path = self.path();
                Ok(path.metadata().map_err(|e| Error::io("look at", &path, e))?.len())
            }
            Form::Packed => match self.open()? {
                Open::Packed { index, .. } => Ok(index.len),
                Open::Plain(_) => Ok(0),
            },
        }
    }

    /// Opens it for reading.
    pub fn open(&self) -> Result<Open, Error> {
        let path = self.path();
        let wrap = |e| Error::io("open", &path, e);
        let file = File::open(&path).map_err(wrap)?;
        if self.form == Form::Plain {
            return Ok(Open::Plain(file));
        }
        let size = file.metadata().map_err(wrap)?.len();
        let head = |most: u64| -> Result<Vec<u8>, Error> {
            let mut head = vec![0; most.min(size) as usize];
            file.read_exact_at(&mut head, 0).map_err(|e| Error::io("read", &path, e))?;
            Ok(head)
        };
        let index = match Index::read(&head(HEAD)?, size) {
            Err(_) if size > HEAD => Index::read(&head(MAX_INDEX as u64)?, size),
            index => index,
        };
        let index = index.map_err(|e| Error::Segment { path, at: 0, why: e.to_string() })?;
        Ok(Open::Packed { file, index, last: None })
    }

    /// All its bytes. What is damaged in a packed one reads as zeros, in which no entry begins.
    pub fn bytes(&self) -> Result<Vec<u8>, Error> {
        let path = self.path();
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes));
        read.map_err(|e| Error::io("read", &path, e))?;
        match self.form {
            Form::Plain => Ok(bytes),
            Form::Packed => {
                packed::unpack(&bytes).map_err(|e| Error::Segment { path, at: 0, why: e.to_string() })
            }
        }
    }

    /// Writes it anew with these bytes in the form it has, durably: it is the old one or the new one, whoever is killed when.
    pub fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        match self.form {
            // What counts is the plain one: a packed one beside it is of no use, and would count once it is the longer.
            Form::Plain => {
                self.drop_packed()?;
                Ok(durable::replace(&self.path(), bytes)?)
            }
            Form::Packed => {
                self.in_form(Form::Plain).remove()?;
                Ok(durable::replace(&self.path(), &packed::pack(bytes))?)
            }
        }
    }

    /// Has it packed.
    pub fn pack(&self) -> Result<(), Error> {
        let bytes = self.bytes()?;
        let packed = self.in_form(Form::Packed);
        durable::replace(&packed.path(), &packed::pack(&bytes))?;
        // The log is the one thing that cannot be made again: what was written is read before the other goes.
        if packed.bytes()? != bytes {
            let why = "what was packed does not read as it was".to_owned();
            return Err(Error::Segment { path: packed.path(), at: 0, why });
        }
        self.remove()
    }

    /// Has it plain, with only the bytes before `end`.
    pub fn unpack(&self, end: u64) -> Result<(), Error> {
        let mut bytes = self.bytes()?;
        bytes.truncate(end as usize);
        durable::replace(&self.in_form(Form::Plain).path(), &bytes)?;
        self.drop_packed()
    }

    /// Removes it in either form.
    pub fn drop(&self) -> Result<(), Error> {
        self.in_form(Form::Plain).remove()?;
        self.drop_packed()
    }

    /// Removes the packed form of it, where there is one, and what was written of that.
    pub fn drop_packed(&self) -> Result<(), Error> {
        let packed = self.in_form(Form::Packed);
        let new = packed.path().with_extension("logz.new");
        if new.exists() {
            durable::remove(&new)?;
        }
        packed.remove()
    }

    /// Removes its file, where there is one.
    fn remove(&self) -> Result<(), Error> {
        let path = self.path();
        if !path.exists() {
            return Ok(());
        }
        durable::remove(&path)?;
        Ok(durable::sync_dir(&self.folder)?)
    }
}

/// A segment that is being read.
#[derive(Debug)]
pub(crate) enum Open {
    /// A plain one.
    Plain(File),
    /// A packed one.
    Packed {
        /// Its file.
        file: File,
        /// Where its blocks lie.
        index: Index,
        /// The block that was read last: what lies beside each other is asked for one after the other.
        last: Option<(usize, Vec<u8>)>,
    },
}

impl Open {
    /// Reads from byte `at` on what there is, up to the length of `out`; how many bytes that was.
    pub fn read_at(&mut self, out: &mut [u8], at: u64) -> std::io::Result<usize> {
        let (file, index, last) = match self {
            Open::Plain(file) => return read_plain(file, out, at),
            Open::Packed { file, index, last } => (file, index, last),
        };
        let bad =
            |e: packed::PackedError| std::io::Error::new(std::io::ErrorKind::InvalidData, e.to_string());
        let mut got = 0;
        while got < out.len() && at + (got as u64) < index.len {
            let from = at + got as u64;
            let (block, within) = ((from / BLOCK as u64) as usize, (from % BLOCK as u64) as usize);
            if last.as_ref().is_none_or(|(known, _)| *known != block) {
                let (place, len) =
                    index.place(block).ok_or_else(|| bad(packed::PackedError::Block(block)))?;
                let mut packed = vec![0; len];
                file.read_exact_at(&mut packed, place)?;
                match index.unpack(block, &packed) {
                    Ok(bytes) => *last = Some((block, bytes)),
                    // What lies before a damaged block is sound.
                    Err(_) if got > 0 => break,
                    Err(e) => return Err(bad(e)),
                }
            }
            let Some((_, bytes)) = last else { break };
            let part = bytes.get(within..).unwrap_or_default();
            let len = part.len().min(out.len() - got);
            if len == 0 {
                break;
            }
            out[got..got + len].copy_from_slice(&part[..len]);
            got += len;
        }
        Ok(got)
    }
}

fn read_plain(file: &File, out: &mut [u8], at: u64) -> std::io::Result<usize> {
    let mut got = 0;
    while got < out.len() {
        match file.read_at(&mut out[got..], at + got as u64)? {
            0 => break,
            n => got += n,
        }
    }
    Ok(got)
}

/// The names in a folder; none where there is no such folder.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let list = match std::fs::read_dir(folder) {
        Ok(list) => list,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", folder, e)),
    };
    let mut out = Vec::new();
    for entry in list {
        let entry = entry.map_err(|e| Error::io("list", folder, e))?;
        out.extend(entry.file_name().into_string());
    }
    Ok(out)
}
