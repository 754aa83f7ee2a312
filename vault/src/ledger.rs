//! The ledger of a device: what it has begun to do to the world, in a file beside its keys (I10).
//!
//! It stands outside the vault, so a vault that was restored from an older copy does not take it along: what the ledger knows and
//! the log does not tells that the log is behind. A line is durable before what it is about begins.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use aios_core::id::ContentHash;
use serde::{Deserialize, Serialize};

use crate::disk::durable;
use crate::error::Error;
use crate::keys::Keys;

/// The ledger's name in the folder of a device's keys.
const NAME: &str = "ledger";

/// Something that this device has begun to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The key of the effect.
    pub key: ContentHash,
    /// Which attempt at it, from 1.
    pub attempt: u32,
    /// When, ms since the Unix epoch.
    pub at: u64,
    /// What it is, for people.
    pub what: String,
}

/// The ledger of one device, read.
#[derive(Debug, Clone)]
pub struct Ledger {
    path: PathBuf,
    begun: Vec<Begun>,
    /// How many bytes at its start are whole lines; a crash cuts off what follows.
    whole: usize,
    /// How many bytes there are.
    length: usize,
}

impl Ledger {
    /// Reads the ledger in the folder of a device's keys.
    ///
    /// # Errors
    /// What the disk answers; [`Error::Ledger`] for a line that cannot be read and is not the last.
    pub fn open(keys: &Keys) -> Result<Ledger, Error> {
        Ledger::read(&keys.folder().join(NAME))
    }

    fn read(path: &Path) -> Result<Ledger, Error> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(Error::io("read", path, e)),
        };
        let mut ledger = Ledger { path: path.to_owned(), begun: Vec::new(), whole: 0, length: bytes.len() };
        let mut torn = None;
        for (place, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            // Only what a crash cut off is passed over: nothing had begun by it.
            if let Some(line) = torn {
                return Err(Error::Ledger { path: path.to_owned(), line });
            }
            match serde_json::from_slice::<Begun>(line) {
                Ok(begun) if line.ends_with(b"\n") => {
                    ledger.begun.push(begun);
                    ledger.whole += line.len();
                }
                _ => torn = Some(place + 1),
            }
        }
        Ok(ledger)
    }

    /// What has begun, in the order it did.
    pub fn begun(&self) -> &[Begun] {
        &self.begun
    }

    /// Notes what is about to begin. When it returns, the line is durable. Gives when something was first begun under its key, where that
    /// was before.
    ///
    /// # Errors
    /// What the disk answers; then nothing may begin.
    pub fn note(&mut self, begun: Begun) -> Result<Option<u64>, Error> {
        // Another process may have noted something, or been killed over it.
        let length = self.path.metadata().map_or(0, |file| file.len());
        if length != self.length as u64 {
            *self = Ledger::read(&self.path)?;
        }
        let before = self.begun.iter().find(|it| it.key == begun.key).map(|it| it.at);
        // What is done again under one key is one line.
        if self.begun.iter().rev().any(|it| it.key == begun.key && it.attempt == begun.attempt) {
            return Ok(before);
        }
        let mut line = serde_json::to_vec(&begun)
            .map_err(|e| Error::io("write", &self.path, std::io::Error::other(e)))?;
        line.push(b'\n');
        match self.length > 0 && self.whole == self.length {
            true => self.append(&line)?,
            false => self.begin(&line)?,
        }
        self.whole += line.len();
        self.length = self.whole;
        self.begun.push(begun);
        Ok(before)
    }

    fn append(&mut self, line: &[u8]) -> Result<(), Error> {
        let wrap = |e| Error::io("write", &self.path, e);
        let mut file = OpenOptions::new().append(true).open(&self.path).map_err(wrap)?;
        let done = durable::append(&mut file, line).and_then(|()| durable::sync_file(&file));
        if done.is_err() {
            // A part may be there: the next line goes into the file written anew.
            self.length = self.whole + line.len();
        }
        done.map_err(wrap)
    }

    /// Writes the file anew, without what a crash cut off.
    fn begin(&mut self, line: &[u8]) -> Result<(), Error> {
        let mut bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(Error::io("read", &self.path, e)),
        };
        bytes.truncate(self.whole);
        bytes.extend_from_slice(line);
        Ok(durable::replace(&self.path, &bytes)?)
    }

    /// Gives what one device has begun to the one that goes on in its place, whose own ledger is empty yet.
    ///
    /// # Errors
    /// As [`Ledger::open`]; what the disk answers.
    pub(crate) fn hand_on(from: &Keys, to: &Keys) -> Result<(), Error> {
        let ledger = Ledger::open(from)?;
        if ledger.begun.is_empty() {
            return Ok(());
        }
        let bytes = std::fs::read(&ledger.path).map_err(|e| Error::io("read", &ledger.path, e))?;
        let whole = bytes.get(..ledger.whole).unwrap_or(&bytes);
        Ok(durable::replace(&to.folder().join(NAME), whole)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(n: u8) -> Begun {
        Begun { key: ContentHash([n; 32]), attempt: 1, at: 5, what: format!("mail.send to {n}") }
    }

    #[test]
    fn what_a_crash_cut_off_is_passed_over_and_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        let mut ledger = Ledger::read(&path).unwrap();
        for n in 1..=3 {
            ledger.note(begun(n)).unwrap();
        }
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(Ledger::read(&path).unwrap().begun(), [begun(1), begun(2), begun(3)]);
        let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        for cut in last..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut ledger = Ledger::read(&path).unwrap();
            assert_eq!(ledger.begun(), [begun(1), begun(2)], "{cut}");
            ledger.note(begun(4)).unwrap();
            ledger.note(begun(5)).unwrap();
            assert_eq!(
                Ledger::read(&path).unwrap().begun(),
                [begun(1), begun(2), begun(4), begun(5)],
                "{cut}"
            );
        }
    }

    #[test]
    fn what_another_process_noted_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        let (mut one, mut two) = (Ledger::read(&path).unwrap(), Ledger::read(&path).unwrap());
        for n in 1..=3 {
            one.note(begun(2 * n)).unwrap();
            two.note(begun(2 * n + 1)).unwrap();
        }
        assert_eq!(Ledger::read(&path).unwrap().begun().len(), 6);
    }

    #[test]
    fn a_line_that_was_changed_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        let mut ledger = Ledger::read(&path).unwrap();
        (1..=3).for_each(|n| assert_eq!(ledger.note(begun(n)).unwrap(), None));
        let text = std::fs::read_to_string(&path).unwrap().replacen("\"attempt\":1", "\"attempt\":x", 2);
        std::fs::write(&path, text).unwrap();
        assert!(matches!(Ledger::read(&path), Err(Error::Ledger { line: 1, .. })));
    }

    #[test]
    fn what_is_done_again_under_one_key_is_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        let mut ledger = Ledger::read(&path).unwrap();
        assert_eq!(ledger.note(begun(1)).unwrap(), None);
        assert_eq!(ledger.note(begun(1)).unwrap(), Some(5));
        assert_eq!(ledger.note(Begun { attempt: 2, at: 6, ..begun(1) }).unwrap(), Some(5));
        assert_eq!(Ledger::read(&path).unwrap().begun().len(), 2);
    }
}
