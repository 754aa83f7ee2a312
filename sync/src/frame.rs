//! Frames: what a stream between two devices is cut into. See `docs/formats.md`, Sync wire.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use aios_core::frontier::{Frontier, Place};
use aios_core::gone::MAX_TEXT as MAX_GONE;
use aios_core::id::{DeviceId, EpochId, VaultId};
use aios_core::item::Bytes;
use aios_core::record::{MAX_BODY, MAX_FRAME, MAX_HEADER, MAX_PAYLOADS};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Code;
use crate::replica::Apart;

/// The version of the protocol.
pub const VERSION: u32 = 1;
/// The largest payload of a frame in bytes: a piece of records that does not compress, and room.
pub const MAX_PAYLOAD: usize = PIECE + (64 << 10);
/// The largest piece of records before compression, and of data, in bytes.
pub const PIECE: usize = 1 << 20;
/// The largest batch of records before compression in bytes: one entry of the largest kind.
pub const MAX_BATCH: usize = MAX_FRAME + MAX_GONE + MAX_HEADER + MAX_BODY + MAX_PAYLOADS + 4;

const HEAD: usize = 5;

/// What is wrong with a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than any frame is.
    #[error("a frame of {0} bytes, where {MAX_PAYLOAD} is the most")]
    Oversize(usize),
    /// A type that nobody knows.
    #[error("a frame of the unknown type {0}; perhaps it runs a newer aios: upgrade")]
    Unknown(u8),
    /// A payload that does not read.
    #[error("a {what} frame that does not read: {why}")]
    Malformed {
        /// Which type.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
}

/// The first message of each side of an exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the protocol.
    pub v: u32,
    /// The vault.
    pub vault: VaultId,
    /// The device that speaks.
    pub device: DeviceId,
    /// What it has durably integrated.
    pub frontier: Frontier,
    /// Whether it will stay connected.
    #[serde(default)]
    pub live: bool,
    /// Where it knows members to listen, itself first of all.
    #[serde(default)]
    pub addrs: BTreeMap<DeviceId, Vec<SocketAddr>>,
    /// Its program, for people.
    #[serde(default)]
    pub app: String,
    /// Whether it leaves bytes that travel apart with the others until it is asked for them: nobody may count on it for them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lean: bool,
}

/// The answer to one batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// What the device has durably integrated now.
    pub frontier: Frontier,
    /// Records of the batch that it keeps outside its frontier.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Place>,
}

/// A request for bytes that travel apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// Which.
    pub apart: Apart,
    /// From which byte on.
    pub offset: u64,
}

/// The last words of a side that gives up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What kind of thing is wrong.
    pub code: Code,
    /// What is wrong, for people.
    pub text: String,
}

/// The joiner's first message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// Version of the protocol.
    pub v: u32,
    /// The vault it wants to join.
    pub vault: VaultId,
    /// Which ticket: 32 hex.
    pub ticket: crate::ticket::TicketId,
    /// The joining device.
    pub device: DeviceId,
    /// The name it wants to go by.
    pub name: String,
    /// The public operator key on it.
    pub operator: Option<DeviceId>,
    /// 64 hex, random.
    pub nonce: Nonce,
}

/// The inviter's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// 64 hex, random.
    pub nonce: Nonce,
}

/// The joiner's proof that it knows the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// 64 hex.
    pub mac: Mac,
}

/// The inviter's proof, and what the joiner is from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// 64 hex.
    pub mac: Mac,
    /// The joiner's roles.
    pub roles: Vec<String>,
    /// The vault's name.
    pub name: String,
    /// Of a sealed vault, the keys of its epochs, each for the joiner alone; none for one that only carries.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub epochs: BTreeMap<EpochId, Bytes>,
}

macro_rules! bytes32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name(pub [u8; 32]);

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(serde::de::Error::custom)?;
                bytes.try_into().map($name).map_err(|_| serde::de::Error::custom("not 64 hex digits"))
            }
        }
    };
}
bytes32!(
    /// 32 random bytes.
    Nonce
);
bytes32!(
    /// A message authentication code: 32 bytes of keyed BLAKE3. Compare with [`Mac::is`] only.
    Mac
);

impl Mac {
    /// Whether they are equal, in constant time.
    pub fn is(&self, other: &Mac) -> bool {
        blake3::Hash::from_bytes(self.0) == blake3::Hash::from_bytes(other.0)
    }
}

/// A piece of a batch of records: log entries, compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Length in bytes before compression, up to [`PIECE`].
    pub raw: usize,
    /// The LZ4 block.
    pub block: Vec<u8>,
    /// Whether the batch ends with it.
    pub last: bool,
}

impl Piece {
    /// Compresses `raw`, which is up to [`PIECE`] bytes.
    pub fn of(raw: &[u8], last: bool) -> Piece {
        Piece { raw: raw.len(), block: lz4_flex::block::compress(raw), last }
    }

    /// Cuts a batch into pieces.
    pub fn cut(batch: &[u8]) -> Vec<Piece> {
        let count = batch.len().div_ceil(PIECE);
        batch.chunks(PIECE).enumerate().map(|(n, raw)| Piece::of(raw, n + 1 == count)).collect()
    }

    /// Appends what it was before compression to `out`.
    ///
    /// # Errors
    /// When the block is not sound, or is not as long as it says. Never takes more memory than it says.
    pub fn unpack(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let fail = |why: String| FrameError::Malformed { what: "Records", why };
        let start = out.len();
        out.resize(start + self.raw, 0);
        let got = lz4_flex::block::decompress_into(&self.block, &mut out[start..])
            .map_err(|e| fail(e.to_string()))?;
        match got == self.raw {
            true => Ok(()),
            false => Err(fail(format!("it holds {got} bytes and says {}", self.raw))),
        }
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Type 1.
    Hello(Box<Hello>),
    /// Type 2, or 3 for a piece that does not end its batch.
    Records(Piece),
    /// Type 4.
    Applied(Applied),
    /// Type 5.
    Want(Want),
    /// Type 6: bytes of what was wanted.
    Data(Vec<u8>),
    /// Type 7: that was all of it.
    DataEnd,
    /// Type 8: what was wanted is not here.
    Missing,
    /// Type 9: all sent, all received.
    Done,
    /// Type 10.
    Error(Refusal),
    /// Type 11: still at work.
    Wait,
    /// Type 32.
    Join(Join),
    /// Type 33.
    Challenge(Challenge),
    /// Type 34.
    Proof(Proof),
    /// Type 35.
    Welcome(Welcome),
}

impl Frame {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Frame::Hello(_) => "Hello",
            Frame::Records(_) => "Records",
            Frame::Applied(_) => "Applied",
            Frame::Want(_) => "Want",
            Frame::Data(_) => "Data",
            Frame::DataEnd => "DataEnd",
            Frame::Missing => "Missing",
            Frame::Done => "Done",
            Frame::Error(_) => "Error",
            Frame::Wait => "Wait",
            Frame::Join(_) => "Join",
            Frame::Challenge(_) => "Challenge",
            Frame::Proof(_) => "Proof",
            Frame::Welcome(_) => "Welcome",
        }
    }

    /// Appends it to `out`.
    ///
    /// # Errors
    /// [`FrameError::Oversize`]; `out` is as before then.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let name = self.name();
        let json = |value: &dyn erased::Json| {
            value.to_json().map_err(|e| FrameError::Malformed { what: name, why: e.to_string() })
        };
        let (kind, payload) = match self {
            Frame::Hello(m) => (1, json(m.as_ref())?),
            Frame::Records(piece) => {
                let mut payload = (piece.raw as u32).to_be_bytes().to_vec();
                payload.extend_from_slice(&piece.block);
                (if piece.last { 2 } else { 3 }, payload)
            }
            Frame::Applied(m) => (4, json(m)?),
            Frame::Want(m) => (5, json(m)?),
            Frame::Data(bytes) => return put(out, 6, bytes),
            Frame::DataEnd => (7, Vec::new()),
            Frame::Missing => (8, Vec::new()),
            Frame::Done => (9, Vec::new()),
            Frame::Error(m) => (10, json(m)?),
            Frame::Wait => (11, Vec::new()),
            Frame::Join(m) => (32, json(m)?),
            Frame::Challenge(m) => (33, json(m)?),
            Frame::Proof(m) => (34, json(m)?),
            Frame::Welcome(m) => (35, json(m)?),
        };
        put(out, kind, &payload)
    }

    fn read(kind: u8, payload: &[u8]) -> Result<Option<Frame>, FrameError> {
        let empty = |frame: Frame| match payload.is_empty() {
            true => Ok(frame),
            false => Err(FrameError::Malformed { what: frame.name(), why: "it is not empty".into() }),
        };
        let frame = match kind {
            1 => Frame::Hello(read_json("Hello", payload)?),
            2 | 3 => Frame::Records(read_piece(payload, kind == 2)?),
            4 => Frame::Applied(read_json("Applied", payload)?),
            5 => Frame::Want(read_json("Want", payload)?),
            6 => Frame::Data(payload.to_vec()),
            7 => empty(Frame::DataEnd)?,
            8 => empty(Frame::Missing)?,
            9 => empty(Frame::Done)?,
            10 => Frame::Error(read_json("Error", payload)?),
            11 => empty(Frame::Wait)?,
            32 => Frame::Join(read_json("Join", payload)?),
            33 => Frame::Challenge(read_json("Challenge", payload)?),
            34 => Frame::Proof(read_json("Proof", payload)?),
            35 => Frame::Welcome(read_json("Welcome", payload)?),
            128.. => return Ok(None),
            _ => return Err(FrameError::Unknown(kind)),
        };
        Ok(Some(frame))
    }
}

mod erased {
    /// Any message that is sent as JSON.
    pub trait Json {
        fn to_json(&self) -> serde_json::Result<Vec<u8>>;
    }

    impl<T: serde::Serialize> Json for T {
        fn to_json(&self) -> serde_json::Result<Vec<u8>> {
            serde_json::to_vec(self)
        }
    }
}

fn put(out: &mut Vec<u8>, kind: u8, payload: &[u8]) -> Result<(), FrameError> {
    if payload.len() > MAX_PAYLOAD {
        return Err(FrameError::Oversize(payload.len()));
    }
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.push(kind);
    out.extend_from_slice(payload);
    Ok(())
}

fn read_json<T: DeserializeOwned>(what: &'static str, payload: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(payload).map_err(|e| FrameError::Malformed { what, why: e.to_string() })
}

fn read_piece(payload: &[u8], last: bool) -> Result<Piece, FrameError> {
    let fail = |why: String| FrameError::Malformed { what: "Records", why };
    let (raw, block) = payload.split_first_chunk::<4>().ok_or_else(|| fail("it is cut off".into()))?;
    let raw = u32::from_be_bytes(*raw) as usize;
    if raw == 0 || raw > PIECE {
        return Err(fail(format!("a piece of {raw} bytes, where 1 to {PIECE} are right")));
    }
    Ok(Piece { raw, block: block.to_vec(), last })
}

/// Cuts a stream of bytes into frames, whatever pieces the bytes arrive in.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    at: usize,
}

impl Decoder {
    /// Takes bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame; `None` when more bytes are needed. Frames of types from 128 on, which a reader may ignore, are
    /// left out.
    ///
    /// # Errors
    /// See [`FrameError`]; nothing sensible follows in the stream then.
    pub fn frame(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            let rest = &self.bytes[self.at..];
            let Some((head, rest)) = rest.split_first_chunk::<HEAD>() else { return Ok(None) };
            let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            if len > MAX_PAYLOAD {
                return Err(FrameError::Oversize(len));
            }
            let Some(payload) = rest.get(..len) else { return Ok(None) };
            let frame = Frame::read(head[4], payload)?;
            self.at += HEAD + len;
            if frame.is_some() {
                return Ok(frame);
            }
        }
    }

    /// The bytes not read yet, for whoever reads on.
    pub fn rest(&mut self) -> Vec<u8> {
        let rest = self.bytes.split_off(self.at);
        self.bytes.clear();
        self.at = 0;
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn samples() -> Vec<Frame> {
        vec![
            Frame::Hello(Box::new(Hello {
                v: 1,
                vault: VaultId([1; 32]),
                device: DeviceId([2; 32]),
                frontier: Frontier::default(),
                live: true,
                addrs: [(DeviceId([2; 32]), vec!["127.0.0.1:7".parse().unwrap()])].into(),
                app: "aios".into(),
                lean: true,
            })),
            Frame::Records(Piece::of(&[7; 5000], false)),
            Frame::Records(Piece::of(&[7; 5000], true)),
            Frame::Want(Want { apart: Apart::History(aios_core::id::GitId([3; 20])), offset: 9 }),
            Frame::Data(vec![1, 2, 3]),
            Frame::DataEnd,
            Frame::Done,
            Frame::Error(Refusal { code: Code::TicketUsed, text: "x".into() }),
        ]
    }

    #[test]
    fn frames_read_back_byte_by_byte() {
        let mut wire = Vec::new();
        samples().iter().for_each(|f| f.write(&mut wire).unwrap());
        let (mut decoder, mut got) = (Decoder::default(), Vec::new());
        for byte in wire {
            decoder.push(&[byte]);
            got.extend(decoder.frame().unwrap());
        }
        assert_eq!(got, samples());
    }

    #[test]
    fn a_large_batch_is_cut_and_put_together() {
        let batch: Vec<u8> = (0..3 * PIECE + 17).map(|n| ((n * n) >> 7) as u8).collect();
        let pieces = Piece::cut(&batch);
        assert_eq!(pieces.len(), 4);
        let mut back = Vec::new();
        pieces.iter().for_each(|p| p.unpack(&mut back).unwrap());
        assert!(back == batch && pieces.iter().filter(|p| p.last).count() == 1);
    }

    #[test]
    fn bad_frames_have_names() {
        let mut decoder = Decoder::default();
        decoder.push(&[0xff, 0, 0, 0, 2]);
        assert_eq!(decoder.frame(), Err(FrameError::Oversize(0xff00_0000)));
        let mut decoder = Decoder::default();
        decoder.push(&[0, 0, 0, 1, 9, 0]);
        assert!(matches!(decoder.frame(), Err(FrameError::Malformed { what: "Done", .. })));
        let mut decoder = Decoder::default();
        decoder.push(&[0, 0, 0, 0, 99]);
        assert_eq!(decoder.frame(), Err(FrameError::Unknown(99)));
        let mut decoder = Decoder::default();
        decoder.push(&[0, 0, 0, 1, 200, 0, 0, 0, 0, 0, 9]);
        assert_eq!(decoder.frame(), Ok(Some(Frame::Done)));
        let bomb = Piece { raw: 10, block: lz4_flex::block::compress(&[0; 100_000]), last: true };
        assert!(bomb.unpack(&mut Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(frame)) = decoder.frame() {
                if let Frame::Records(piece) = frame {
                    let _ = piece.unpack(&mut Vec::new());
                }
            }
        }

        #[test]
        fn flipped_blocks_never_panic(at in 0usize..200, bit in 0u8..8) {
            let mut piece = Piece::of(&b"some text some text some more text ".repeat(20), true);
            let at = at % piece.block.len();
            piece.block[at] ^= 1 << bit;
            let _ = piece.unpack(&mut Vec::new());
        }
    }
}
