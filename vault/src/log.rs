//! The log of record: one append-only sequence of segment files per device, synced before anything is
//! acknowledged, sent or acted on (I9). See `docs/formats.md`, Log.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use aios_core::id::DeviceId;
use aios_core::planted::{Bug, planted};
use aios_core::record::{Frame, MAX_FRAME, Record, RecordError};

use crate::disk::{durable, journal};
use crate::error::Error;
use crate::segment::{Form, Open, Segment, names};

/// A segment that has reached this size is closed.
const SEGMENT: u64 = 16 << 20;

/// Where an entry lies: the segment, by the first number it holds, and the byte in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Spot {
    /// First record number of the segment.
    pub segment: u64,
    /// Byte offset of the entry in it.
    pub at: u64,
}

impl Spot {
    /// Whether that is no place: records are counted from 1. So it stands with what lies before the snapshot that a device began from.
    pub fn is_nowhere(&self) -> bool {
        self.segment == 0
    }
}

/// A record read from the log, and where it lies.
#[derive(Debug)]
pub struct Logged {
    /// The record.
    pub record: Record,
    /// Where.
    pub spot: Spot,
}

/// All logs of one vault.
#[derive(Debug)]
pub struct Log {
    folder: PathBuf,
    open: HashMap<(DeviceId, u64), Open>,
}

impl Log {
    /// The logs in `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, open: HashMap::new() }
    }

    /// The devices that have a log here.
    pub fn devices(&self) -> Result<Vec<DeviceId>, Error> {
        let mut out = Vec::new();
        for name in names(&self.folder)? {
            out.extend(name.parse::<DeviceId>());
        }
        out.sort();
        Ok(out)
    }

    /// The segments of a device, in order.
    pub(crate) fn segments(&self, device: &DeviceId) -> Result<Vec<Segment>, Error> {
        Segment::list(&self.of(device))
    }

    /// Whether a device's files hold more or less than what is known, which ends at `end`. A packed segment that cannot be read
    /// says nothing: it is damaged, and told as that where it is read.
    pub fn differs(&self, device: &DeviceId, end: Option<Spot>) -> Result<bool, Error> {
        let Some(last) = self.segments(device)?.pop() else { return Ok(false) };
        let known = end.filter(|end| end.segment == last.first);
        match known.map(|end| Ok(end.at != last.len()?)) {
            None => Ok(true),
            Some(Err(Error::Segment { .. })) => Ok(false),
            Some(differs) => differs,
        }
    }

    fn of(&self, device: &DeviceId) -> PathBuf {
        self.folder.join(device.hex())
    }

    fn segment(&self, device: &DeviceId, first: u64) -> Result<Segment, Error> {
        Segment::at(&self.of(device), first)
    }

    /// Appends records of one device, in order, and syncs them. `end` is where the device's log ends now.
    /// Gives where each lies and the new end.
    pub fn append(
        &mut self,
        device: &DeviceId,
        end: Option<Spot>,
        records: &[&Record],
    ) -> Result<(Vec<Spot>, Option<Spot>), Error> {
        let folder = self.of(device);
        let mut spots = Vec::with_capacity(records.len());
        // So is a segment behind the one it ends in: left there, it would hold other records under the numbers that come now.
        for segment in self.segments(device)? {
            if end.is_some_and(|end| segment.first > end.segment) {
                self.open.remove(&(*device, segment.first));
                segment.drop()?;
            }
        }
        let mut end = end;
        let mut rest = records;
        while let Some(first) = rest.first() {
            let grows = match end {
                Some(spot) if spot.is_nowhere() => false,
                Some(spot) => spot.at < SEGMENT && self.segment(device, spot.segment)?.form == Form::Plain,
                None => false,
            };
            let mut at = match end {
                Some(spot) if grows => spot,
                _ => Spot { segment: first.header.seq, at: 0 },
            };
            let segment = self.segment(device, at.segment)?;
            let path = segment.path();
            if segment.form == Form::Packed {
                let why = "it is packed, and a record is to go there".to_owned();
                return Err(Error::Segment { path, at: 0, why });
            }
            let fresh = at.at == 0;
            if fresh {
                self.make_folder(&folder)?;
            }
            let wrap = |e| Error::io("append to", &path, e);
            let new = fresh && !path.exists();
            let mut file =
                OpenOptions::new().create(fresh).read(true).append(true).open(&path).map_err(wrap)?;
            if new {
                journal::created(&path, &file);
            }
            // What lies behind the end we know was never acknowledged: a torn write of an earlier run.
            let len = file.metadata().map_err(wrap)?.len();
            if len < at.at {
                // Appending would put a hole where acknowledged records were (I8).
                let why = format!("it ends before byte {}, where the next record goes", at.at);
                return Err(Error::Segment { path, at: len, why });
            }
            if len > at.at {
                file.set_len(at.at).map_err(wrap)?;
            }
            let mut bytes = Vec::new();
            let mut taken = 0;
            for record in rest {
                if at.at + bytes.len() as u64 >= SEGMENT {
                    break;
                }
                spots.push(Spot { segment: at.segment, at: at.at + bytes.len() as u64 });
                bytes.extend_from_slice(&record.entry());
                taken += 1;
            }
            let written = durable::append(&mut file, &bytes).and_then(|()| match planted(Bug::LogUnsynced) {
                true => Ok(()),
                false => durable::sync_file(&file),
            });
            if let Err(e) = written {
                // Read again it would look like any record, and be lost in the next power cut: it goes now if it can.
                let _ = file.set_len(at.at);
                return Err(wrap(e));
            }
            if fresh {
                durable::sync_dir(&folder)?;
            }
            at.at += bytes.len() as u64;
            end = Some(at);
            rest = &rest[taken..];
            self.open.remove(&(*device, at.segment));
        }
        Ok((spots, end))
    }

    fn make_folder(&self, folder: &Path) -> Result<(), Error> {
        for folder in [&self.folder, folder] {
            match std::fs::create_dir(folder) {
                Ok(()) => {
                    journal::made_folder(folder);
                    folder.parent().map_or(Ok(()), durable::sync_dir)?;
                }
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io("make", folder, e)),
            }
        }
        Ok(())
    }

    /// Reads what there is at a spot, up to the length of `out`; how many bytes that was.
    fn read_at(&mut self, device: &DeviceId, spot: Spot, out: &mut [u8]) -> Result<usize, Error> {
        if spot.is_nowhere() {
            return Err(Error::Past);
        }
        if !self.open.contains_key(&(*device, spot.segment)) {
            let open = self.segment(device, spot.segment)?.open()?;
            self.open.insert((*device, spot.segment), open);
        }
        match self.open.get_mut(&(*device, spot.segment)).map(|open| open.read_at(out, spot.at)) {
            Some(Ok(got)) => Ok(got),
            Some(Err(e)) => Err(self.damaged(device, spot, e.to_string())),
            None => Ok(0),
        }
    }

    fn damaged(&self, device: &DeviceId, spot: Spot, why: String) -> Error {
        let path = self.segment(device, spot.segment).map_or_else(|_| self.of(device), |it| it.path());
        Error::Segment { path, at: spot.at, why }
    }

    /// Reads `len` bytes at a spot.
    pub fn read(&mut self, device: &DeviceId, spot: Spot, len: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; len];
        match self.read_at(device, spot, &mut bytes)? == len {
            true => Ok(bytes),
            false => Err(self.damaged(device, spot, "it ends too early".into())),
        }
    }

    /// Reads the entry at a spot, as its bytes.
    pub fn entry(&mut self, device: &DeviceId, spot: Spot) -> Result<Vec<u8>, Error> {
        let mut window = vec![0; MAX_FRAME];
        let got = self.read_at(device, spot, &mut window)?;
        let frame = Frame::read(&window[..got]).map_err(|e| self.damaged(device, spot, e.to_string()))?;
        self.read(device, spot, frame.len())
    }

    /// Reads the record at a spot, checking id and body hash.
    pub fn record(&mut self, device: &DeviceId, spot: Spot) -> Result<Record, Error> {
        let bytes = self.entry(device, spot)?;
        let read = Record::read_entry(&bytes).map_err(|e| self.damaged(device, spot, e.to_string()));
        Ok(read?.0)
    }

    /// Walks a device's log from `from` (its end as last known, or the start), one entry at a time.
    ///
    /// An incomplete or invalid end of the newest segment ends the walk with `torn` set: it was never acknowledged.
    /// Damage anywhere else is an error.
    pub fn walk(
        &self,
        device: &DeviceId,
        from: Option<Spot>,
        mut visit: impl FnMut(Logged) -> Result<(), Error>,
    ) -> Result<Walked, Error> {
        let segments = self.segments(device)?;
        let mut end = from;
        for (n, segment) in segments.iter().enumerate() {
            let start = match from {
                Some(spot) if segment.first < spot.segment => continue,
                Some(spot) if segment.first == spot.segment => spot.at,
                _ => 0,
            };
            if from.is_some_and(|spot| spot.segment == segment.first) && start >= segment.len()? {
                continue;
            }
            let path = segment.path();
            let bytes = segment.bytes()?.split_off(start as usize);
            let last = n + 1 == segments.len() && segment.form == Form::Plain;
            let segment = segment.first;
            let mut at = 0;
            while at < bytes.len() {
                let spot = Spot { segment, at: start + at as u64 };
                match Record::read_entry(&bytes[at..]) {
                    Ok((record, taken)) => {
                        visit(Logged { record, spot })?;
                        at += taken;
                        end = Some(Spot { segment, at: start + at as u64 });
                    }
                    Err(e) if last && ends_here(&bytes[at..], &e) => {
                        return Ok(Walked { end, torn: Some(spot) });
                    }
                    Err(e) => return Err(Error::Segment { path, at: spot.at, why: e.to_string() }),
                }
            }
        }
        Ok(Walked { end, torn: None })
    }

    /// All records of a segment, in order.
    pub fn records_of(&self, device: &DeviceId, segment: u64) -> Result<Vec<Record>, Error> {
        let segment = self.segment(device, segment)?;
        let (path, bytes) = (segment.path(), segment.bytes()?);
        let (mut out, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let (record, taken) = Record::read_entry(&bytes[at..]).map_err(|e| Error::Segment {
                path: path.clone(),
                at: at as u64,
                why: e.to_string(),
            })?;
            out.push(record);
            at += taken;
        }
        Ok(out)
    }

    /// Writes a segment anew with these records, durably: it is the old one or the new one, whoever is killed when.
    pub fn rewrite<'r>(
        &mut self,
        device: &DeviceId,
        segment: u64,
        records: impl Iterator<Item = &'r Record>,
    ) -> Result<(), Error> {
        let bytes: Vec<u8> = records.flat_map(|record| record.entry()).collect();
        self.open.remove(&(*device, segment));
        self.segment(device, segment)?.write(&bytes)
    }

    /// Makes durable what a device's log holds from `from` on: a process that was killed may have left it unsynced.
    pub fn sync(&self, device: &DeviceId, from: Option<Spot>) -> Result<(), Error> {
        for segment in self.segments(device)? {
            if from.is_none_or(|from| segment.first >= from.segment) {
                let path = segment.path();
                let file = File::open(&path).map_err(|e| Error::io("open", &path, e))?;
                durable::sync_file(&file).map_err(|e| Error::io("sync", &path, e))?;
            }
        }
        durable::sync_dir(&self.of(device))?;
        Ok(durable::sync_dir(&self.folder)?)
    }

    /// Cuts all off that a device's log holds from `at` on.
    pub fn cut_from(&mut self, device: &DeviceId, at: Spot) -> Result<(), Error> {
        for Segment { first: segment, .. } in self.segments(device)?.into_iter().rev() {
            if segment > at.segment {
                self.cut(device, Spot { segment, at: 0 })?;
            }
        }
        self.cut(device, at)
    }

    /// Cuts a torn end off.
    pub fn cut(&mut self, device: &DeviceId, at: Spot) -> Result<(), Error> {
        self.open.remove(&(*device, at.segment));
        let segment = self.segment(device, at.segment)?;
        if segment.form == Form::Packed {
            return segment.unpack(at.at);
        }
        let path = segment.path();
        let wrap = |e| Error::io("cut", &path, e);
        segment.drop_packed()?;
        let file = OpenOptions::new().write(true).open(&path).map_err(wrap)?;
        file.set_len(at.at).map_err(wrap)?;
        file.sync_all().map_err(wrap)
    }

    /// The segments of a device that may be packed: those that have ended, and the last one if it has `least` bytes, which
    /// ends it. `end` is where the device's log ends: what lies behind was never acknowledged.
    pub(crate) fn plain(&self, device: &DeviceId, end: Spot, least: u64) -> Result<Vec<Segment>, Error> {
        let mut out = Vec::new();
        for segment in self.segments(device)?.into_iter().filter(|segment| segment.form == Form::Plain) {
            let ended = segment.first < end.segment;
            if ended || segment.first == end.segment && end.at >= least && end.at == segment.len()? {
                out.push(segment);
            }
        }
        Ok(out)
    }

    /// Packs one of them.
    pub(crate) fn pack(&mut self, device: &DeviceId, segment: &Segment) -> Result<(), Error> {
        self.open.remove(&(*device, segment.first));
        segment.pack()
    }
}

/// Where a walk came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walked {
    /// The end of the last sound entry.
    pub end: Option<Spot>,
    /// The start of a torn entry at the very end.
    pub torn: Option<Spot>,
}

/// Whether a broken entry can be a write cut short: it runs to the end of the file, or nothing sound can follow it.
fn ends_here(bytes: &[u8], error: &RecordError) -> bool {
    match error {
        RecordError::Incomplete => true,
        // Blocks that never reached the disk read as zeros up to the end.
        _ if bytes.iter().rev().take(64).all(|b| *b == 0) => true,
        _ => Frame::read(bytes).is_ok_and(|frame| frame.len() >= bytes.len()),
    }
}
