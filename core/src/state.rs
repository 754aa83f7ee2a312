//! The `state` hash: an additive multiset hash over projected rows, kept as rows come and go (I1, I13).
//!
//! Each row's BLAKE3 hash, expanded to 16 words of 64 bits, is added word by word modulo 2^64 (the AdHash family:
//! Bellare and Micciancio 1997), so that order does not matter and one changed row costs two additions.

/// The running sum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State([u64; 16]);

impl State {
    /// Adds a row.
    pub fn add(&mut self, row: &str) {
        self.sum(row, u64::wrapping_add);
    }

    /// Takes a row away that was added before.
    pub fn remove(&mut self, row: &str) {
        self.sum(row, u64::wrapping_sub);
    }

    fn sum(&mut self, row: &str, step: fn(u64, u64) -> u64) {
        let mut wide = [0u8; 128];
        blake3::Hasher::new().update(row.as_bytes()).finalize_xof().fill(&mut wide);
        for (word, bytes) in self.0.iter_mut().zip(wide.chunks_exact(8)) {
            let mut raw = [0u8; 8];
            raw.copy_from_slice(bytes);
            *word = step(*word, u64::from_le_bytes(raw));
        }
    }

    /// The 128 bytes of the sum, to be stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// From stored bytes; `None` unless there are 128.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut out = State::default();
        if bytes.len() != 128 {
            return None;
        }
        for (word, raw) in out.0.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(raw.try_into().ok()?);
        }
        Some(out)
    }

    /// 64 hex digits that stand for the sum.
    pub fn hex(&self) -> String {
        blake3::hash(&self.to_bytes()).to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_removal_undoes() {
        let (mut a, mut b) = (State::default(), State::default());
        for row in ["x", "y", "z", "x"] {
            a.add(row);
        }
        for row in ["x", "z", "w", "x", "y"] {
            b.add(row);
        }
        assert_ne!(a, b);
        b.remove("w");
        assert_eq!(a, b);
        assert_eq!(State::from_bytes(&a.to_bytes()), Some(a));
    }
}
