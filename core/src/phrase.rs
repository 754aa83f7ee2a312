//! The recovery phrase: twelve words that a person keeps on paper, from which the vault's root key follows. Neither is ever
//! stored on a device.

use std::fmt;
use std::str::FromStr;

use bip39::{Language, Mnemonic};

use crate::key::SecretKey;

/// What the root key is derived for: BLAKE3's context, so that the same words used elsewhere give another key.
const CONTEXT: &str = "aios recovery v1 root key";

/// How many words there are.
pub const WORDS: usize = 12;

/// Why words are no recovery phrase.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PhraseError {
    /// Too few or too many.
    #[error("a recovery phrase has {WORDS} words, not {0}")]
    Count(usize),
    /// Not in the list. The word itself is not told: it may be shown where the phrase must not be.
    #[error("word {0} of the recovery phrase is in no list of words: look for a slip of the pen")]
    Word(usize),
    /// The words do not belong together.
    #[error("the words of the recovery phrase do not fit together: one is wrong, or two are swapped")]
    Checksum,
}

/// A recovery phrase.
#[derive(Clone, PartialEq, Eq)]
pub struct Phrase([u8; 16]);

impl fmt::Debug for Phrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phrase")
    }
}

impl Phrase {
    /// The phrase of 16 random bytes.
    pub fn from_entropy(entropy: [u8; 16]) -> Self {
        Phrase(entropy)
    }

    /// Its words, with a space between them.
    pub fn words(&self) -> String {
        // 16 bytes are one of the sizes that there are.
        Mnemonic::from_entropy_in(Language::English, &self.0)
            .map_or_else(|_| String::new(), |words| words.to_string())
    }

    /// The root key.
    pub fn root_key(&self) -> SecretKey {
        SecretKey::from_bytes(&blake3::derive_key(CONTEXT, &self.0))
    }
}

impl FromStr for Phrase {
    type Err = PhraseError;

    /// Takes capital letters and any white space.
    fn from_str(text: &str) -> Result<Self, PhraseError> {
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        if words.len() != WORDS {
            return Err(PhraseError::Count(words.len()));
        }
        if let Some(at) = words.iter().position(|word| Language::English.find_word(word).is_none()) {
            return Err(PhraseError::Word(at + 1));
        }
        let read = Mnemonic::parse_in_normalized(Language::English, &words.join(" "));
        let (entropy, length) = read.map_err(|_| PhraseError::Checksum)?.to_entropy_array();
        entropy[..length].try_into().map(Phrase).map_err(|_| PhraseError::Checksum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: &str =
        "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    #[test]
    fn words_give_the_key_and_come_back() {
        let phrase = Phrase::from_entropy([0; 16]);
        assert_eq!(phrase.words(), ZERO);
        assert_eq!(ZERO.parse(), Ok(phrase.clone()));
        assert_eq!("\n Abandon".parse::<Phrase>(), Err(PhraseError::Count(1)));
        assert_eq!(ZERO.replace(' ', " \n").to_uppercase().parse(), Ok(phrase.clone()));
        let other = Phrase::from_entropy([1; 16]);
        assert_ne!(phrase.root_key().public(), other.root_key().public());
        assert_eq!(other.words().parse(), Ok(other));
        // Pinned: another derivation would lose every vault.
        assert_eq!(phrase.root_key().public().short(16), "7d7368f8135e088b");
    }

    #[test]
    fn slips_are_told() {
        assert_eq!(ZERO.replacen("abandon", "abandn", 1).parse::<Phrase>(), Err(PhraseError::Word(1)));
        assert_eq!(ZERO.replace("about", "abandon").parse::<Phrase>(), Err(PhraseError::Checksum));
        assert_eq!("".parse::<Phrase>(), Err(PhraseError::Count(0)));
        assert!(!format!("{:?}", Phrase::from_entropy([0; 16])).contains("abandon"));
    }
}
