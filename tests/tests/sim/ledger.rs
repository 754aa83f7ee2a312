//! What was saved, by whom, and what of it must be found in the end (I2).

use std::collections::{BTreeMap, BTreeSet};

use aios_core::id::{ContentHash, GitId};

/// A number that stands in one saved line and nowhere else.
pub type Token = usize;

/// What the names of files end in that are no text.
pub const BLOB: &str = ".bin";

/// The line that holds a token.
pub fn line(token: Token) -> String {
    format!("k{token}x lorem{token}x ipsum{token}x")
}

/// The tokens in some bytes.
pub fn tokens(bytes: &[u8]) -> BTreeSet<Token> {
    let text = String::from_utf8_lossy(bytes);
    let mut out = BTreeSet::new();
    for (at, _) in text.match_indices('k') {
        let digits: String = text[at + 1..].chars().take_while(char::is_ascii_digit).collect();
        if text[at + 1 + digits.len()..].starts_with('x') {
            out.extend(digits.parse::<Token>());
        }
    }
    out
}

/// What the world owes its users.
#[derive(Debug, Default)]
pub struct Ledger {
    last: Token,
    /// Who saved each token first.
    pub by: BTreeMap<Token, usize>,
    /// Tokens that somebody who saw them took out, or whose fate nobody can tell.
    pub touched: BTreeSet<Token>,
    /// Whole files that were taken in, or overwritten by aios: where they were saved.
    pub owed: BTreeMap<ContentHash, (usize, String)>,
    /// Those of them that are no text, whose bytes must be somewhere.
    pub blobs: BTreeMap<ContentHash, GitId>,
    /// All bytes that somebody ever saved and that are no text.
    pub binaries: BTreeMap<ContentHash, GitId>,
    /// What was committed with git by hand.
    pub commits: BTreeSet<git2::Oid>,
    /// Whether some of either went with the only folder that had them.
    pub lost: bool,
    /// What was saved, by its hash.
    pub saved_as: BTreeMap<ContentHash, Vec<u8>>,
    /// Files that aios itself has shown somewhere.
    pub shown: BTreeSet<ContentHash>,
}

impl Ledger {
    pub fn token(&mut self, n: usize) -> Token {
        self.last += 1;
        self.by.insert(self.last, n);
        self.last
    }

    /// Somebody who had `base` in front of them saved `new`.
    pub fn saved(&mut self, base: &[u8], new: &[u8]) {
        self.note(new);
        let kept = tokens(new);
        self.touched.extend(tokens(base).difference(&kept));
    }

    /// These bytes were saved.
    pub fn note(&mut self, bytes: &[u8]) {
        self.saved_as.entry(ContentHash::of(bytes)).or_insert_with(|| bytes.to_vec());
    }

    pub fn touch(&mut self, bytes: &[u8]) {
        self.touched.extend(tokens(bytes));
    }

    /// These bytes are in the log, or must be.
    pub fn owe(&mut self, n: usize, path: &str, bytes: &[u8]) {
        self.note(bytes);
        let hash = ContentHash::of(bytes);
        if !bytes.is_empty() && !self.shown.contains(&hash) {
            self.owed.entry(hash).or_insert_with(|| (n, path.to_owned()));
            if path.ends_with(BLOB) {
                self.blobs.insert(hash, GitId::blob(bytes));
            }
        }
    }

    /// Tokens that must stand in a file in the end, given who was revoked.
    pub fn standing(&self, revoked: &BTreeSet<usize>) -> BTreeSet<Token> {
        let those = self.by.iter().filter(|(token, n)| !self.touched.contains(token) && !revoked.contains(n));
        those.map(|(token, _)| *token).collect()
    }
}
