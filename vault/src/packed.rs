//! The packed form of a log segment that has ended: its bytes in blocks, each compressed by itself, so that one entry is read
//! without the rest and damage stays in its block. No I/O. See `docs/formats.md`, Log.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

/// What a packed segment begins with.
const MAGIC: &str = "aios-segment-v1";
/// So many bytes of the segment are in each block but the last.
pub const BLOCK: usize = 64 << 10;
/// Deflate makes nothing smaller than by this factor (RFC 1951: 258 bytes in two bits): what claims more is no block.
const MOST: u64 = 1100;
/// The first two lines have at most this many bytes.
pub const MAX_INDEX: usize = 1 << 20;

/// Why bytes are no packed segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackedError {
    /// The first two lines are not what they must be.
    #[error("it does not begin as a packed segment does")]
    Index,
    /// A block is damaged.
    #[error("block {0} of it does not unpack")]
    Block(usize),
}

/// Where the blocks of a packed segment lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Bytes of the segment as it was.
    pub len: u64,
    /// Of each block the first byte in the file, and of the end.
    bounds: Vec<u64>,
}

/// A segment's bytes in their packed form.
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut blocks = Vec::new();
    let mut lens = Vec::new();
    for block in bytes.chunks(BLOCK) {
        let before = blocks.len();
        let mut encoder = ZlibEncoder::new(blocks, Compression::default());
        // Memory takes all that is written to it.
        let _ = encoder.write_all(block);
        blocks = encoder.finish().unwrap_or_default();
        lens.push((blocks.len() - before).to_string());
    }
    let mut out = format!("{MAGIC} {}\n{}\n", bytes.len(), lens.join(" ")).into_bytes();
    out.append(&mut blocks);
    out
}

impl Index {
    /// Reads the index of a file of `size` bytes, of which `head` holds the first [`MAX_INDEX`] at least, or all.
    ///
    /// # Errors
    /// [`PackedError::Index`].
    pub fn read(head: &[u8], size: u64) -> Result<Index, PackedError> {
        let mut lines = head.splitn(3, |byte| *byte == b'\n');
        let mut line =
            || lines.next().and_then(|line| std::str::from_utf8(line).ok()).ok_or(PackedError::Index);
        let (first, second) = (line()?, line()?);
        if lines.next().is_none() {
            return Err(PackedError::Index);
        }
        let len: u64 = first
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.strip_prefix(' '))
            .and_then(|len| len.parse().ok())
            .ok_or(PackedError::Index)?;
        let mut at = (first.len() + second.len() + 2) as u64;
        let mut bounds = vec![at];
        for part in second.split(' ').filter(|part| !part.is_empty()) {
            let part: u32 = part.parse().map_err(|_| PackedError::Index)?;
            at += u64::from(part);
            bounds.push(at);
        }
        let index = Index { len, bounds };
        let whole = at == size && index.blocks() as u64 == len.div_ceil(BLOCK as u64) && len / MOST <= size;
        if whole { Ok(index) } else { Err(PackedError::Index) }
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> usize {
        self.bounds.len().saturating_sub(1)
    }

    /// Where a block lies in the file: its first byte and its length.
    pub fn place(&self, block: usize) -> Option<(u64, usize)> {
        let (from, to) = (*self.bounds.get(block)?, *self.bounds.get(block + 1)?);
        Some((from, (to - from) as usize))
    }

    /// Bytes of the segment that a block holds.
    fn holds(&self, block: usize) -> usize {
        (self.len - (block * BLOCK) as u64).min(BLOCK as u64) as usize
    }

    /// The bytes of a block, from what lies in the file.
    ///
    /// # Errors
    /// [`PackedError::Block`].
    pub fn unpack(&self, block: usize, packed: &[u8]) -> Result<Vec<u8>, PackedError> {
        let bad = || PackedError::Block(block);
        if block >= self.blocks() {
            return Err(bad());
        }
        let mut out = Vec::with_capacity(self.holds(block));
        // One byte more than there is tells a block that holds too much.
        let mut stream = ZlibDecoder::new(packed).take(self.holds(block) as u64 + 1);
        stream.read_to_end(&mut out).map_err(|_| bad())?;
        match out.len() == self.holds(block) {
            true => Ok(out),
            false => Err(bad()),
        }
    }
}

/// All bytes of a packed segment; a block that is damaged reads as zeros, in which no entry begins.
///
/// # Errors
/// [`PackedError::Index`]: without it nothing can be read.
pub fn unpack(file: &[u8]) -> Result<Vec<u8>, PackedError> {
    let index = Index::read(file, file.len() as u64)?;
    let mut out = Vec::new();
    for block in 0..index.blocks() {
        let (at, len) = index.place(block).ok_or(PackedError::Block(block))?;
        let packed = file.get(at as usize..at as usize + len).ok_or(PackedError::Block(block))?;
        match index.unpack(block, packed) {
            Ok(bytes) => out.extend(bytes),
            Err(_) => out.resize(out.len() + index.holds(block), 0),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n * n / 7 + n / 1000) as u8).collect()
    }

    #[test]
    fn what_is_packed_unpacks_to_the_same_bytes() {
        for len in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 5 * BLOCK + 77] {
            let bytes = sample(len);
            let file = pack(&bytes);
            assert_eq!(unpack(&file).unwrap(), bytes, "{len}");
            let index = Index::read(&file, file.len() as u64).unwrap();
            assert_eq!((index.len, index.blocks()), (len as u64, len.div_ceil(BLOCK)));
        }
    }

    #[test]
    fn damage_stays_in_its_block() {
        let bytes = sample(4 * BLOCK + 5);
        let mut file = pack(&bytes);
        let index = Index::read(&file, file.len() as u64).unwrap();
        let (at, len) = index.place(2).unwrap();
        file[at as usize + len / 2] ^= 0x40;
        let read = unpack(&file).unwrap();
        assert_eq!(read.len(), bytes.len());
        assert_eq!(read[..2 * BLOCK], bytes[..2 * BLOCK]);
        assert!(read[2 * BLOCK..3 * BLOCK].iter().all(|byte| *byte == 0));
        assert_eq!(read[3 * BLOCK..], bytes[3 * BLOCK..]);
    }

    #[test]
    fn what_is_cut_short_is_told() {
        let file = pack(&sample(3 * BLOCK));
        for len in [0, 5, 20, file.len() / 2, file.len() - 1] {
            assert_eq!(unpack(&file[..len]), Err(PackedError::Index), "{len}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..300), named in any::<bool>()) {
            if named {
                bytes.splice(0..0, b"aios-segment-v1 70000\n".iter().copied());
            }
            let _ = unpack(&bytes);
        }

        #[test]
        fn a_changed_byte_is_never_other_bytes(at in any::<prop::sample::Index>(), to in 1u8..) {
            let bytes = sample(BLOCK + 1000);
            let mut file = pack(&bytes);
            let at = at.index(file.len());
            file[at] ^= to;
            if let Ok(read) = unpack(&file) {
                let same = |range: std::ops::Range<usize>| read.get(range.clone()) == bytes.get(range);
                let zeros = |range: std::ops::Range<usize>| read.get(range).is_some_and(|read| read.iter().all(|b| *b == 0));
                prop_assert!(same(0..BLOCK) || zeros(0..BLOCK));
            }
        }
    }
}
