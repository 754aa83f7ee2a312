//! Files of a folder that hold records: a run of one device's log entries, compressed, named by what it holds and by the
//! hash of its bytes. See `docs/formats.md`, Folder.

use std::fmt;
use std::io::{Read, Write};
use std::str::FromStr;

use aios_core::record::Record;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

/// What a file begins with.
const MAGIC: &[u8] = b"aios-records-v1\n";
/// The most bytes that a file may hold, before and after compression: one entry of the longest kind, and some more.
pub const LARGEST: u64 = 256 << 20;

/// The name of a file of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The number of its first record.
    pub first: u64,
    /// The number of its last record.
    pub last: u64,
    /// The hash of its bytes.
    pub hash: [u8; 32],
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = data_encoding::HEXLOWER.encode(&self.hash);
        write!(f, "{:010}-{:010}-{hash}", self.first, self.last)
    }
}

impl FromStr for Name {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('-');
        let (Some(first), Some(last), Some(hash), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(());
        };
        let hash = data_encoding::HEXLOWER.decode(hash.as_bytes()).map_err(|_| ())?;
        let name = Name {
            first: first.parse().map_err(|_| ())?,
            last: last.parse().map_err(|_| ())?,
            hash: hash.try_into().map_err(|_| ())?,
        };
        // One name for one thing: no signs, no missing zeros.
        match name.first > 0 && name.first <= name.last && name.to_string() == text {
            true => Ok(name),
            false => Err(()),
        }
    }
}

/// What is wrong with a file of records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Its bytes are not those of its name: torn, or changed.
    #[error("its bytes are not those that its name tells: it is torn, or was changed")]
    Torn,
    /// It is something else.
    #[error("it is no file of records")]
    Alien,
    /// It cannot be decompressed.
    #[error("it cannot be decompressed: {0}")]
    Compression(String),
    /// An entry of it is broken.
    #[error("at byte {at}: {why}")]
    Entry {
        /// Where, after decompression.
        at: usize,
        /// Why.
        why: String,
    },
}

/// The file that holds these entries, which follow each other.
///
/// # Errors
/// None in practice: memory takes every byte.
pub fn pack(entries: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = ZlibEncoder::new(MAGIC.to_vec(), Compression::fast());
    out.write_all(entries)?;
    out.finish()
}

/// The records of a file, each with the bytes that its author wrote.
///
/// # Errors
/// What is wrong with it: nothing of it is to be believed then.
pub fn unpack(name: &Name, bytes: &[u8]) -> Result<Vec<Record>, ChunkError> {
    if *blake3::hash(bytes).as_bytes() != name.hash {
        return Err(ChunkError::Torn);
    }
    let packed = bytes.strip_prefix(MAGIC).ok_or(ChunkError::Alien)?;
    let mut entries = Vec::new();
    let mut stream = ZlibDecoder::new(packed).take(LARGEST + 1);
    stream.read_to_end(&mut entries).map_err(|e| ChunkError::Compression(e.to_string()))?;
    if entries.len() as u64 > LARGEST {
        return Err(ChunkError::Compression("it holds more than a file may".into()));
    }
    let (mut out, mut at) = (Vec::new(), 0);
    while at < entries.len() {
        let (record, taken) =
            Record::read_entry(&entries[at..]).map_err(|e| ChunkError::Entry { at, why: e.to_string() })?;
        out.push(record);
        at += taken;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let name = Name { first: 1, last: 42, hash: [7; 32] };
        let text = name.to_string();
        assert_eq!(text, format!("0000000001-0000000042-{}", "07".repeat(32)));
        assert_eq!(text.parse(), Ok(name));
        for bad in [
            text.replace("0000000001", "1"),
            text.replace("0000000001", "0000000043"),
            text.replace("0000000001", "0000000000"),
            format!("{text} (conflicted copy)"),
            format!("{text}.part"),
            text.to_uppercase().replace("07", "0A"),
            text[..text.len() - 2].to_owned(),
            String::new(),
        ] {
            assert_eq!(bad.parse::<Name>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn torn_alien_and_swollen_files_are_told() {
        let file = pack(b"").unwrap();
        let name = |bytes: &[u8]| Name { first: 1, last: 1, hash: *blake3::hash(bytes).as_bytes() };
        assert_eq!(unpack(&name(&file), &file), Ok(Vec::new()));
        for cut in 0..file.len() {
            assert_eq!(unpack(&name(&file), &file[..cut]), Err(ChunkError::Torn));
            // Even where somebody named it anew.
            assert!(unpack(&name(&file[..cut]), &file[..cut]).is_err());
        }
        assert_eq!(unpack(&name(b"notes"), b"notes"), Err(ChunkError::Alien));
        let nonsense = pack(b"R 1 2 3\n").unwrap();
        assert!(matches!(unpack(&name(&nonsense), &nonsense), Err(ChunkError::Entry { at: 0, .. })));
    }
}
