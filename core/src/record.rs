//! Records: one transaction of one device, as header line, body line and payloads.
//!
//! A record is kept and forwarded as the exact bytes its author wrote; this module reads and writes
//! them but never re-encodes. See `docs/formats.md`, Record and Log.
//!
//! A record of a sealed vault has two forms, of which each follows from the other with the key of its epoch: *open*, as any
//! record, and *closed*, with an empty body line and one payload, the encrypted body and payloads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::{Hlc, Stamp};
use crate::epoch::EpochKey;
use crate::frontier::Place;
use crate::gone::{self, Gone};
use crate::id::{ContentHash, DeviceId, DocId, EpochId, GitId, RecordId, VaultId};
use crate::item::{Content, Item};
use crate::key::{SecretKey, Signature, verify_record};

/// The format version this code writes.
pub const VERSION: u32 = 1;

/// The largest body accepted, in bytes.
pub const MAX_BODY: usize = 64 << 20;
/// The largest sum of payloads accepted in one record, in bytes.
pub const MAX_PAYLOADS: usize = 128 << 20;
/// The largest header accepted, in bytes.
pub const MAX_HEADER: usize = 64 << 10;

/// What is wrong with the bytes of a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The header is not the JSON it should be.
    #[error("the header of the record is malformed: {0}")]
    Header(String),
    /// The body is not the JSON it should be.
    #[error("the body of record {0} is malformed: {1}")]
    Body(Place, String),
    /// Made by a newer program.
    #[error("record {place} has format version {version}; this program knows {VERSION}: upgrade aios")]
    Version {
        /// The record.
        place: Place,
        /// Its format version.
        version: u32,
    },
    /// The header's hash is not the id it came with.
    #[error("the header of record {0} does not have the id it is filed under")]
    Id(Place),
    /// The body's hash or length is not the header's.
    #[error("the body of record {0} is not the one its header names")]
    BodyHash(Place),
    /// The signature does not verify.
    #[error("the signature of record {0} is wrong")]
    Signature(Place),
    /// The payloads do not have the sizes or hashes their items name.
    #[error("payload {1} of record {0} is not the one its item names")]
    Payload(Place, usize),
    /// Its closed form is not the one its header names, or does not hold what its header names.
    #[error("what record {0} holds encrypted is not what its header names")]
    Closed(Place),
    /// The framing around header and body is broken.
    #[error("the log entry is malformed: {0}")]
    Frame(&'static str),
    /// More bytes are needed: the entry is cut off.
    #[error("the log entry is cut off")]
    Incomplete,
}

/// The header line of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Format version.
    pub v: u32,
    /// The vault it belongs to.
    pub vault: VaultId,
    /// Its author.
    pub device: DeviceId,
    /// 1, 2, 3 … per device.
    pub seq: u64,
    /// The author's record before; `None` only for number 1.
    pub prev: Option<RecordId>,
    /// The other heads the author had integrated.
    pub deps: Vec<RecordId>,
    /// Hybrid logical clock.
    pub clock: Hlc,
    /// The author's wall clock, ms since the Unix epoch.
    pub wall: u64,
    /// Who acted, such as `operator` or `agent:NAME`.
    pub actor: String,
    /// Length of the body line in bytes.
    pub len: u64,
    /// Hash of the body line.
    pub body: ContentHash,
    /// Its closed form, in a sealed vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Closed>,
}

/// What a header says of the closed form of its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// The epoch whose key it is encrypted with.
    pub epoch: EpochId,
    /// Its length in bytes.
    pub size: u64,
    /// Its hash.
    pub hash: ContentHash,
    /// The encrypted form of each blob that its items name, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apart: Vec<Content>,
}

impl Header {
    /// Where the record stands.
    pub fn place(&self) -> Place {
        Place { device: self.device, seq: self.seq }
    }

    /// Its place in the total order.
    pub fn stamp(&self) -> Stamp {
        Stamp::new(self.clock, self.device, self.seq)
    }
}

/// Who git history shows as the author of a record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Author {
    /// Display name.
    pub name: String,
    /// E-mail address.
    pub email: String,
}

/// The body line of a record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Body {
    /// What was done, for people.
    #[serde(default)]
    pub message: String,
    /// Author of the commit.
    #[serde(default)]
    pub author: Author,
    /// The commit the author computed for the record's past: a check, never an authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onto: Option<GitId>,
    /// The transaction goes on in the next record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// The parts open before this record have no effect.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub abort: bool,
    /// The run of an agent it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The task it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The operator's approval it rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// In a sealed vault: random, so that nobody finds out by its hash what a body says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// The blob that each document reads as which several had edited at once in the record's past, and which no record there names at
    /// these heads: so every commit follows from bodies alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub merged: BTreeMap<DocId, GitId>,
    /// What it does.
    pub items: Vec<Item>,
}

/// A record as its exact bytes, with the header read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its id: BLAKE3 of the header line.
    pub id: RecordId,
    /// The author's signature over the id.
    pub signature: Signature,
    /// The header, read.
    pub header: Header,
    /// The header line, without line end.
    pub header_line: Vec<u8>,
    /// The body line, without line end.
    pub body_line: Vec<u8>,
    /// The payloads, one after the other, in item order, but for those that are gone.
    pub payloads: Vec<u8>,
    /// The payloads that are not with it.
    pub gone: Gone,
    /// In the mirror of a log, the payloads that git has as blobs.
    pub left: Gone,
}

impl Record {
    /// Writes and signs a new record. `header.len` and `header.body` are filled in here.
    pub fn author(
        header: Header,
        body: &Body,
        payloads: Vec<u8>,
        key: &SecretKey,
    ) -> Result<Record, RecordError> {
        Self::author_in(header, body, payloads, None, key)
    }

    /// As [`Record::author`], in an epoch of a sealed vault: `apart` are the encrypted forms of the blobs that its items name. `body`
    /// must have a salt. The record is open.
    pub fn author_in(
        mut header: Header,
        body: &Body,
        payloads: Vec<u8>,
        epoch: Option<(&EpochKey, Vec<Content>)>,
        key: &SecretKey,
    ) -> Result<Record, RecordError> {
        let place = header.place();
        let body_line = serde_json::to_vec(body).map_err(|e| RecordError::Body(place, e.to_string()))?;
        header.len = body_line.len() as u64;
        header.body = ContentHash::of(&body_line);
        header.closed = epoch.map(|(epoch, apart)| {
            let sealed = epoch.encrypt(&header.body, &held(&body_line, &payloads));
            let (size, hash) = (sealed.len() as u64, ContentHash::of(&sealed));
            Closed { epoch: epoch.id(), size, hash, apart }
        });
        let header_line = serde_json::to_vec(&header).map_err(|e| RecordError::Header(e.to_string()))?;
        let id = RecordId(*blake3::hash(&header_line).as_bytes());
        let signature = key.sign_record(&id);
        Ok(Record {
            id,
            signature,
            header,
            header_line,
            body_line,
            payloads,
            gone: Gone::default(),
            left: Gone::default(),
        })
    }

    /// Whether this is the closed form: what it says cannot be read.
    pub fn is_closed(&self) -> bool {
        self.header.closed.is_some() && self.body_line.is_empty()
    }

    /// The closed form of a record of a sealed vault, with the key of its epoch; any other stays as it is.
    ///
    /// # Errors
    /// [`RecordError::Closed`] where it is not what the header names.
    pub fn close(self, key: &EpochKey) -> Result<Record, RecordError> {
        let Some(closed) = self.header.closed.as_ref().filter(|_| !self.is_closed()) else { return Ok(self) };
        let sealed = key.encrypt(&self.header.body, &held(&self.body_line, &self.payloads));
        match ContentHash::of(&sealed) == closed.hash {
            true => Ok(Record { body_line: Vec::new(), payloads: sealed, ..self }),
            false => Err(RecordError::Closed(self.header.place())),
        }
    }

    /// The open form of a closed record, with the key of its epoch; any other stays as it is.
    ///
    /// # Errors
    /// [`RecordError::Closed`] where it does not hold what the header names.
    pub fn open(self, key: &EpochKey) -> Result<Record, RecordError> {
        if !self.is_closed() {
            return Ok(self);
        }
        let bad = RecordError::Closed(self.header.place());
        let Some(mut body_line) = key.decrypt(&self.header.body, &self.payloads) else { return Err(bad) };
        let len = usize::try_from(self.header.len).unwrap_or(usize::MAX);
        if body_line.get(len) != Some(&b'\n') || ContentHash::of(&body_line[..len]) != self.header.body {
            return Err(bad);
        }
        let payloads = body_line.split_off(len + 1);
        body_line.truncate(len);
        let record = Record { body_line, payloads, ..self };
        record.check_payloads().map(|()| record)
    }

    /// Checks that the payloads are those that it names.
    ///
    /// # Errors
    /// [`RecordError::Payload`], [`RecordError::Body`], [`RecordError::Closed`].
    pub fn check_payloads(&self) -> Result<(), RecordError> {
        match self.left.last() {
            Some(left) => Err(RecordError::Payload(self.header.place(), left as usize)),
            None => self.payloads_of(&self.body()?).map(|_| ()),
        }
    }

    /// Reads the body line; that of a closed record says nothing.
    pub fn body(&self) -> Result<Body, RecordError> {
        if self.is_closed() {
            return Ok(Body::default());
        }
        serde_json::from_slice(&self.body_line)
            .map_err(|e| RecordError::Body(self.header.place(), e.to_string()))
    }

    /// Checks the signature: 43 µs.
    pub fn verify_signature(&self) -> Result<(), RecordError> {
        match verify_record(&self.header.device, &self.id, &self.signature) {
            true => Ok(()),
            false => Err(RecordError::Signature(self.header.place())),
        }
    }

    /// The record without the payloads of those items of `body` that `leave` says.
    ///
    /// # Errors
    /// [`RecordError::Payload`] where its payloads are not those it names.
    pub fn without(self, body: &Body, leave: impl Fn(&Item) -> bool) -> Result<Record, RecordError> {
        if self.is_closed() {
            return Ok(self);
        }
        let (payloads, left) = self.keeping(body, |item| !leave(item))?;
        let gone = (0..).zip(&left).filter(|(_, kept)| !**kept).map(|(n, _)| n).collect();
        Ok(Record { payloads, gone, ..self })
    }

    /// The record as the mirror of a log has it: without the payloads that git has as blobs.
    ///
    /// # Errors
    /// As [`Record::without`].
    pub fn mirrored(self, body: &Body) -> Result<Record, RecordError> {
        if self.is_closed() {
            return Ok(self);
        }
        let (payloads, kept) = self.keeping(body, |item| matches!(item, Item::Edit { .. }))?;
        let is_left = |(n, kept): &(u32, &bool)| !**kept && !self.gone.has(*n);
        let left = (0..).zip(&kept).filter(is_left).map(|(n, _)| n).collect();
        Ok(Record { payloads, left, ..self })
    }

    /// The payloads of those items that `keep` says, and whether each payload is one of them.
    fn keeping(
        &self,
        body: &Body,
        keep: impl Fn(&Item) -> bool,
    ) -> Result<(Vec<u8>, Vec<bool>), RecordError> {
        let (mut payloads, mut kept) = (Vec::new(), Vec::new());
        let named = body.items.iter().zip(self.payloads_of(body)?);
        for (item, bytes) in named.filter(|(item, _)| item.payload().is_some()) {
            let bytes = bytes.filter(|_| keep(item));
            payloads.extend_from_slice(bytes.unwrap_or_default());
            kept.push(bytes.is_some());
        }
        Ok((payloads, kept))
    }

    /// Splits the payloads among the items of `body`, checking sizes and hashes: `None` for an item that has none and for one whose
    /// payload is gone. A closed record has one.
    pub fn payloads_of<'a>(&'a self, body: &Body) -> Result<Vec<Option<&'a [u8]>>, RecordError> {
        let place = self.header.place();
        if let Some(closed) = self.header.closed.as_ref().filter(|_| self.is_closed()) {
            let all = self.payloads.as_slice();
            let whole = all.len() as u64 == closed.size && ContentHash::of(all) == closed.hash;
            return whole.then_some(vec![Some(all)]).ok_or(RecordError::Closed(place));
        }
        let out = self.split(&body.items)?;
        for (n, (item, bytes)) in body.items.iter().zip(&out).enumerate() {
            if let (Some((hash, _)), Some(bytes)) = (item.payload(), bytes)
                && ContentHash::of(bytes) != hash
            {
                return Err(RecordError::Payload(place, n));
            }
        }
        Ok(out)
    }

    /// As [`Record::payloads_of`] for the items of an open record, by size alone.
    pub fn split<'a>(&'a self, items: &[Item]) -> Result<Vec<Option<&'a [u8]>>, RecordError> {
        let bad = |n| RecordError::Payload(self.header.place(), n);
        let (mut rest, mut ordinal) = (self.payloads.as_slice(), 0);
        let mut out = Vec::with_capacity(items.len());
        for (n, item) in items.iter().enumerate() {
            let Some((_, size)) = item.payload() else {
                out.push(None);
                continue;
            };
            ordinal += 1;
            if self.gone.has(ordinal - 1) || self.left.has(ordinal - 1) {
                out.push(None);
                continue;
            }
            let size = usize::try_from(size).map_err(|_| bad(n))?;
            let (bytes, after) = rest.split_at_checked(size).ok_or_else(|| bad(n))?;
            rest = after;
            out.push(Some(bytes));
        }
        let last = self.gone.last().max(self.left.last());
        match rest.is_empty() && last.is_none_or(|last| last < ordinal) {
            true => Ok(out),
            false => Err(bad(items.len())),
        }
    }

    /// The log entry: frame line, the list of payloads that are gone if there are any, header line, body line, payloads.
    pub fn entry(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entry_len());
        let signature = data_encoding::HEXLOWER.encode(&self.signature);
        let (header, body, payloads) = (self.header_line.len(), self.body_line.len(), self.payloads.len());
        out.extend_from_slice(format!("R {header} {body} {payloads} {} {signature}", self.id).as_bytes());
        let absent = self.absent();
        if !absent.is_empty() {
            out.extend_from_slice(format!(" {}\n{absent}", absent.len()).as_bytes());
        }
        out.push(b'\n');
        for part in [&self.header_line, &self.body_line, &self.payloads] {
            out.extend_from_slice(part);
            out.push(b'\n');
        }
        out
    }

    /// The list of the payloads that are not with it; empty without any.
    fn absent(&self) -> String {
        match self.left.is_empty() {
            true => self.gone.to_string(),
            false => format!("{};{}", self.gone, self.left),
        }
    }

    /// The length in bytes of its log entry.
    pub fn entry_len(&self) -> usize {
        let digits = |n: usize| n.checked_ilog10().unwrap_or(0) as usize + 1;
        let (header, body, payloads) = (self.header_line.len(), self.body_line.len(), self.payloads.len());
        let absent = self.absent().len();
        let list = if absent == 0 { 0 } else { 2 + digits(absent) + absent };
        2 + digits(header)
            + digits(body)
            + digits(payloads)
            + 3
            + 64
            + 1
            + 128
            + 1
            + header
            + body
            + payloads
            + 3
            + list
    }

    /// Reads the entry at the start of `bytes`; returns it and the bytes it took.
    ///
    /// Checks header id and body hash, not payloads (see [`Record::payloads_of`]) and not the signature.
    pub fn read_entry(bytes: &[u8]) -> Result<(Record, usize), RecordError> {
        let frame = Frame::read(bytes)?;
        let mut at = frame.frame_len;
        let mut part = |len: usize| -> Result<Vec<u8>, RecordError> {
            let end = at.checked_add(len).ok_or(RecordError::Frame("a length is too large"))?;
            if bytes.len() <= end {
                return Err(RecordError::Incomplete);
            }
            if bytes[end] != b'\n' {
                return Err(RecordError::Frame("a line does not end where its length says"));
            }
            let part = bytes[at..end].to_vec();
            at = end + 1;
            Ok(part)
        };
        let (gone, left) = match frame.gone {
            0 => Default::default(),
            len => absent(&part(len)?)
                .map_err(|_| RecordError::Frame("the list of payloads that are gone is not sound"))?,
        };
        let (header_line, body_line, payloads) =
            (part(frame.header)?, part(frame.body)?, part(frame.payloads)?);
        let record = Record::from_parts(frame.id, frame.signature, header_line, body_line, payloads)?;
        match frame.gone == 0 || !record.is_closed() {
            true => Ok((Record { gone, left, ..record }, frame.len())),
            false => Err(RecordError::Frame("a closed record lacks a payload")),
        }
    }

    /// Puts a record together from its parts, checking id and body hash.
    pub fn from_parts(
        id: RecordId,
        signature: Signature,
        header_line: Vec<u8>,
        body_line: Vec<u8>,
        payloads: Vec<u8>,
    ) -> Result<Record, RecordError> {
        let header: Header =
            serde_json::from_slice(&header_line).map_err(|e| RecordError::Header(e.to_string()))?;
        let place = header.place();
        if header.v != VERSION {
            return Err(RecordError::Version { place, version: header.v });
        }
        if header.seq == 0 || (header.seq == 1) != header.prev.is_none() {
            return Err(RecordError::Header(format!(
                "number {} and the record before do not fit",
                header.seq
            )));
        }
        if header_line.contains(&b'\n') || body_line.contains(&b'\n') {
            return Err(RecordError::Frame("a line holds a line end"));
        }
        if blake3::hash(&header_line).as_bytes() != id.as_bytes() {
            return Err(RecordError::Id(place));
        }
        let closed = header.closed.is_some() && body_line.is_empty();
        if !closed && (body_line.len() as u64 != header.len || ContentHash::of(&body_line) != header.body) {
            return Err(RecordError::BodyHash(place));
        }
        Ok(Record {
            id,
            signature,
            header,
            header_line,
            body_line,
            payloads,
            gone: Gone::default(),
            left: Gone::default(),
        })
    }
}

/// Reads the list of the payloads that are gone, and after a `;` of those that git has.
fn absent(text: &[u8]) -> Result<(Gone, Gone), &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not text")?;
    match text.split_once(';') {
        None => Ok((text.parse()?, Gone::default())),
        Some((_, "")) => Err("it ends with nothing"),
        Some((gone, left)) => Ok((gone.parse()?, left.parse()?)),
    }
}

/// What is encrypted of a record: the body line, a line end, the payloads.
fn held(body_line: &[u8], payloads: &[u8]) -> Vec<u8> {
    [body_line, b"\n", payloads].concat()
}

/// The frame line before a record in a log segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Header length in bytes.
    pub header: usize,
    /// Body length in bytes.
    pub body: usize,
    /// Length of all payloads in bytes.
    pub payloads: usize,
    /// Length in bytes of the list of payloads that are gone; 0 without.
    pub gone: usize,
    /// The record's id.
    pub id: RecordId,
    /// Its signature.
    pub signature: Signature,
    frame_len: usize,
}

/// The longest frame line: `R`, four numbers, id and signature.
pub const MAX_FRAME: usize = 2 + 4 * 21 + 64 + 1 + 128 + 1;

impl Frame {
    /// Reads the frame line at the start of `bytes`.
    pub fn read(bytes: &[u8]) -> Result<Frame, RecordError> {
        let window = &bytes[..bytes.len().min(MAX_FRAME)];
        let Some(end) = window.iter().position(|b| *b == b'\n') else {
            return Err(match bytes.len() < MAX_FRAME {
                true => RecordError::Incomplete,
                false => RecordError::Frame("no frame line"),
            });
        };
        let line =
            std::str::from_utf8(&window[..end]).map_err(|_| RecordError::Frame("the frame is not text"))?;
        let fields: Vec<&str> = line.split(' ').collect();
        let (header, body, payloads, id, signature, gone) = match fields[..] {
            ["R", header, body, payloads, id, signature] => (header, body, payloads, id, signature, None),
            ["R", header, body, payloads, id, signature, gone] => {
                (header, body, payloads, id, signature, Some(gone))
            }
            _ => return Err(RecordError::Frame("the frame does not have its six or seven fields")),
        };
        let number = |text: &str, most: usize| -> Result<usize, RecordError> {
            let canonical = !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_digit())
                && (text == "0" || !text.starts_with('0'));
            match text.parse::<usize>() {
                Ok(n) if canonical && n <= most => Ok(n),
                _ => Err(RecordError::Frame("a length in the frame is not sound")),
            }
        };
        let mut raw = [0u8; 64];
        if signature.len() != 128
            || data_encoding::HEXLOWER.decode_mut(signature.as_bytes(), &mut raw).is_err()
        {
            return Err(RecordError::Frame("the signature in the frame is not hex"));
        }
        let gone = match gone.map(|gone| number(gone, gone::MAX_TEXT)).transpose()? {
            Some(0) => return Err(RecordError::Frame("a list of no payloads")),
            gone => gone.unwrap_or(0),
        };
        Ok(Frame {
            gone,
            header: number(header, MAX_HEADER)?,
            body: number(body, MAX_BODY)?,
            payloads: number(payloads, MAX_PAYLOADS)?,
            id: id.parse().map_err(|_| RecordError::Frame("the id in the frame is not hex"))?,
            signature: raw,
            frame_len: end + 1,
        })
    }

    /// The length of the whole entry in bytes.
    #[allow(clippy::len_without_is_empty, reason = "an entry is never empty")]
    pub fn len(&self) -> usize {
        let list = if self.gone == 0 { 0 } else { self.gone + 1 };
        self.frame_len + list + self.header + self.body + self.payloads + 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Record {
        let key = SecretKey::from_bytes(&[3; 32]);
        let header = Header {
            v: VERSION,
            vault: VaultId([1; 32]),
            device: key.public(),
            seq: 1,
            prev: None,
            deps: vec![],
            clock: Hlc(5, 0),
            wall: 5,
            actor: "operator".into(),
            len: 0,
            body: ContentHash([0; 32]),
            closed: None,
        };
        let body = Body { message: "first".into(), ..Body::default() };
        Record::author(header, &body, vec![], &key).unwrap()
    }

    #[test]
    fn each_form_of_a_record_of_a_sealed_vault_gives_the_other() {
        let (key, epoch) = (SecretKey::from_bytes(&[3; 32]), EpochKey::from_bytes([5; 32]));
        let body = Body { message: "first".into(), salt: Some("salt".into()), ..Body::default() };
        let header = Header { len: 0, ..sample().header };
        let open = Record::author_in(header, &body, vec![], Some((&epoch, vec![])), &key).unwrap();
        assert!(!open.is_closed());
        let closed = open.clone().close(&epoch).unwrap();
        assert!(closed.is_closed() && closed.body().unwrap() == Body::default());
        assert!(!closed.entry().windows(5).any(|window| window == b"first"));
        let (read, _) = Record::read_entry(&closed.entry()).unwrap();
        read.verify_signature().unwrap();
        read.check_payloads().unwrap();
        assert_eq!(read.clone().open(&epoch).unwrap(), open);
        assert_eq!(read.clone().close(&epoch).unwrap(), read);
        let other = EpochKey::from_bytes([6; 32]);
        assert_eq!(read.clone().open(&other), Err(RecordError::Closed(read.header.place())));
        assert_eq!(open.clone().close(&other), Err(RecordError::Closed(read.header.place())));
        for at in 0..closed.payloads.len() {
            let mut bent = closed.clone();
            bent.payloads[at] ^= 1;
            assert!(bent.check_payloads().is_err() && bent.open(&epoch).is_err(), "{at}");
        }
        // A record that is not of a sealed vault has one form.
        let mut bare = sample();
        bare.body_line.clear();
        assert!(Record::read_entry(&bare.entry()).is_err());
    }

    #[test]
    fn an_entry_reads_back_and_every_flip_is_found() {
        let record = sample();
        let entry = record.entry();
        let (back, len) = Record::read_entry(&entry).unwrap();
        assert_eq!((&back, len), (&record, entry.len()));
        assert_eq!(record.entry_len(), entry.len());
        for at in 0..entry.len() {
            let mut bad = entry.clone();
            bad[at] ^= 1;
            let sound = Record::read_entry(&bad)
                .and_then(|(r, _)| r.verify_signature().and(r.payloads_of(&r.body()?).map(|_| ())));
            assert!(sound.is_err(), "flip at {at} not found");
        }
        for cut in 0..entry.len() {
            assert_eq!(Record::read_entry(&entry[..cut]).unwrap_err(), RecordError::Incomplete);
        }
    }
}
