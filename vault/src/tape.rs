//! Reading the logs as they lie on disk, going on behind damage: every entry is proven by its own hash and signature,
//! so what is sound is known without trusting anything else (I8).

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use aios_core::frontier::Place;
use aios_core::id::{DeviceId, RecordId, VaultId};
use aios_core::record::{Record, RecordError};

use crate::error::Error;
use crate::log::{Log, Logged, Spot};
use crate::segment::{Form, Segment};

/// A stretch of a segment that holds no sound entry.
#[derive(Debug, Clone)]
pub(crate) struct Damage {
    pub path: PathBuf,
    pub at: u64,
    pub len: u64,
    pub why: String,
    /// Whether it is the very end of the newest segment, where a write may have been cut short.
    pub tail: bool,
}

/// What comes next in a device's log.
#[derive(Debug)]
pub(crate) enum Step {
    Sound(Box<Logged>),
    Damage(Damage),
}

/// Whether a record is whole: signed by its device, of this vault, with the payloads it names.
pub(crate) fn sound(record: &Record, vault: &VaultId, device: &DeviceId) -> Result<(), String> {
    let header = &record.header;
    if header.vault != *vault {
        return Err(format!("record {} belongs to another vault", header.place()));
    }
    if header.device != *device {
        return Err(format!("record {} is of another device than the folder it lies in", header.place()));
    }
    let whole = || -> Result<(), RecordError> {
        record.verify_signature()?;
        record.check_payloads()
    };
    whole().map_err(|e| e.to_string())
}

/// One device's log from its start, one segment in memory at a time.
pub(crate) struct Tape {
    vault: VaultId,
    device: DeviceId,
    segments: VecDeque<Segment>,
    bytes: Vec<u8>,
    at: usize,
    segment: u64,
    form: Form,
    path: PathBuf,
    next: Option<Step>,
}

impl Tape {
    /// The log of `device` in `folder`.
    pub fn new(log: &Log, folder: &Path, vault: VaultId, device: DeviceId) -> Result<Self, Error> {
        let mut tape = Tape {
            vault,
            device,
            segments: log.segments(&device)?.into(),
            bytes: Vec::new(),
            at: 0,
            segment: 0,
            form: Form::Plain,
            path: folder.join(device.hex()),
            next: None,
        };
        tape.advance()?;
        Ok(tape)
    }

    /// What comes next, if anything.
    pub fn peek(&self) -> Option<&Step> {
        self.next.as_ref()
    }

    /// Takes what comes next.
    pub fn take(&mut self) -> Result<Option<Step>, Error> {
        let step = self.next.take();
        if step.is_some() {
            self.advance()?;
        }
        Ok(step)
    }

    fn advance(&mut self) -> Result<(), Error> {
        while self.at >= self.bytes.len() {
            let Some(segment) = self.segments.pop_front() else { return Ok(()) };
            (self.segment, self.form, self.path, self.at) = (segment.first, segment.form, segment.path(), 0);
            self.bytes = match segment.bytes() {
                Ok(bytes) => bytes,
                // Of a packed one nothing can be read where its index is damaged.
                Err(Error::Segment { path, at, why }) => {
                    self.bytes = Vec::new();
                    let len = path.metadata().map_err(|e| Error::io("look at", &path, e))?.len();
                    self.next = Some(Step::Damage(Damage { path, at, len, why, tail: false }));
                    return Ok(());
                }
                Err(e) => return Err(e),
            };
        }
        let spot = Spot { segment: self.segment, at: self.at as u64 };
        self.next = Some(match self.read(self.at) {
            Ok((record, taken)) => {
                self.at += taken;
                Step::Sound(Box::new(Logged { record, spot }))
            }
            Err(why) => {
                let from = self.at;
                self.at = self.resume(from + 1);
                let (at, len) = (from as u64, (self.at - from) as u64);
                let grows = self.segments.is_empty() && self.form == Form::Plain;
                let tail = self.at == self.bytes.len() && grows;
                Step::Damage(Damage { path: self.path.clone(), at, len, why, tail })
            }
        });
        Ok(())
    }

    fn read(&self, at: usize) -> Result<(Record, usize), String> {
        let (record, taken) = Record::read_entry(&self.bytes[at..]).map_err(|e| e.to_string())?;
        sound(&record, &self.vault, &self.device)?;
        if at == 0 && record.header.seq != self.segment {
            return Err(format!(
                "the segment begins with record {}, not with the one it is named by",
                record.header.seq
            ));
        }
        Ok((record, taken))
    }

    /// Where the next sound entry begins, from `at` on; the end if none does.
    fn resume(&self, at: usize) -> usize {
        let starts = self.bytes.get(at..).unwrap_or_default().windows(3).enumerate();
        let mut starts = starts.filter(|(_, window)| *window == b"\nR ").map(|(n, _)| at + n + 1);
        starts.find(|start| self.read(*start).is_ok()).unwrap_or(self.bytes.len())
    }
}

/// Every log in causal order: a record comes when all it names as its past has come, or when nothing else can.
pub(crate) struct Tapes {
    tapes: BTreeMap<DeviceId, Tape>,
    seen: BTreeMap<RecordId, Place>,
}

/// What comes next of all logs.
pub(crate) enum Next {
    /// A record; `lacking` is a record of its past that no log holds.
    Record {
        logged: Box<Logged>,
        lacking: Option<RecordId>,
    },
    Damage(DeviceId, Damage),
}

impl Tapes {
    /// The logs in `folder`.
    pub fn new(folder: &Path, vault: VaultId) -> Result<Self, Error> {
        let log = Log::new(folder.to_owned());
        let devices = log.devices()?.into_iter();
        let tapes = devices.map(|device| Ok((device, Tape::new(&log, folder, vault, device)?)));
        Ok(Tapes { tapes: tapes.collect::<Result<_, Error>>()?, seen: BTreeMap::new() })
    }

    fn lacking(&self, record: &Record) -> Option<RecordId> {
        record.header.prev.iter().chain(&record.header.deps).find(|id| !self.seen.contains_key(id)).copied()
    }

    /// What comes next.
    pub fn take(&mut self) -> Result<Option<Next>, Error> {
        let mut forced = None;
        let mut ready = None;
        for (device, tape) in &self.tapes {
            match tape.peek() {
                None => {}
                Some(Step::Damage(_)) => ready = Some(*device),
                Some(Step::Sound(logged)) => match self.lacking(&logged.record) {
                    None => ready = Some(*device),
                    Some(_) => {
                        let stamp = logged.record.header.stamp();
                        if forced.is_none_or(|(least, _)| stamp < least) {
                            forced = Some((stamp, *device));
                        }
                    }
                },
            }
            if ready.is_some() {
                break;
            }
        }
        let Some(device) = ready.or(forced.map(|(_, device)| device)) else { return Ok(None) };
        let Some(tape) = self.tapes.get_mut(&device) else { return Ok(None) };
        Ok(match tape.take()? {
            None => None,
            Some(Step::Damage(damage)) => Some(Next::Damage(device, damage)),
            Some(Step::Sound(logged)) => {
                let lacking = self.lacking(&logged.record);
                self.seen.insert(logged.record.id, logged.record.header.place());
                Some(Next::Record { logged, lacking })
            }
        })
    }
}
