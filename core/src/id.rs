//! The names of things: 32-byte hashes and keys, and git object ids, written in lowercase hex.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A name that is not the hex text it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what} ({len} lowercase hex digits)")]
pub struct IdError {
    /// What was expected, such as `record id`.
    pub what: &'static str,
    /// How many hex digits it has.
    pub len: usize,
    /// The text found, cut to 80 characters.
    pub text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// The raw bytes.
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// From raw bytes of any length; `None` unless the length is right.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// All of it in lowercase hex.
            pub fn hex(&self) -> String {
                HEXLOWER.encode(&self.0)
            }

            /// The first `digits` hex digits, for people.
            pub fn short(&self, digits: usize) -> String {
                let mut hex = self.hex();
                hex.truncate(digits);
                hex
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short(8))
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut out = [0u8; $len];
                let fail = || IdError { what: $what, len: $len * 2, text: text.chars().take(80).collect() };
                if text.len() != $len * 2 {
                    return Err(fail());
                }
                HEXLOWER.decode_mut(text.as_bytes(), &mut out).map_err(|_| fail())?;
                Ok(Self(out))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.hex())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A device: its ed25519 public key (RFC 8032).
    DeviceId, 32, "device id"
);
id!(
    /// A vault: a hash that binds it to the device that made it.
    VaultId, 32, "vault id"
);
id!(
    /// A record: BLAKE3 of its header line.
    RecordId, 32, "record id"
);
id!(
    /// A document, whatever its path is now (I5).
    DocId, 32, "document id"
);
id!(
    /// BLAKE3 of some content's bytes.
    ContentHash, 32, "content hash"
);
id!(
    /// An epoch of a sealed vault: a hash of its key.
    EpochId, 32, "epoch id"
);
id!(
    /// A git object id (SHA-1).
    GitId, 20, "git object id"
);

impl ContentHash {
    /// What stands for the version of a file that is not to be.
    pub const NONE: ContentHash = ContentHash([0; 32]);

    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl GitId {
    /// The id git gives a blob of these bytes.
    pub fn blob(bytes: &[u8]) -> Self {
        Self::object("blob", bytes)
    }

    /// The id git gives an object of `kind` (`blob`, `tree`, `commit`).
    pub fn object(kind: &str, bytes: &[u8]) -> Self {
        use sha1::{Digest, Sha1};
        let mut sha = Sha1::new();
        sha.update(format!("{kind} {}\0", bytes.len()).as_bytes());
        sha.update(bytes);
        Self(sha.finalize().into())
    }
}

impl VaultId {
    /// The id of the vault that `maker` makes with `nonce` (any text, random), and with a root key or without one: nobody can
    /// say of a vault that it has another root key, or none.
    pub fn of(maker: &DeviceId, nonce: &str, root: Option<&DeviceId>) -> Self {
        let text = match root {
            None => format!("aios-vault-v1\n{maker}\n{nonce}"),
            Some(root) => format!("aios-vault-v2\n{maker}\n{nonce}\n{root}"),
        };
        Self(*blake3::hash(text.as_bytes()).as_bytes())
    }
}

impl DocId {
    /// The id of a document first made at the path folded to `folded`; see `docs/formats.md`, Documents.
    pub fn of(vault: &VaultId, folded: &str, after: &str) -> Self {
        Self(*blake3::hash(format!("aios-doc-v1\n{vault}\n{folded}\n{after}").as_bytes()).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_refuses_the_rest() {
        let id = ContentHash::of(b"x");
        assert_eq!(id.hex().parse::<ContentHash>().unwrap(), id);
        assert!(id.hex().to_uppercase().parse::<ContentHash>().is_err());
        assert!("ab".parse::<ContentHash>().is_err());
        assert!("zz".repeat(32).parse::<ContentHash>().is_err());
    }

    #[test]
    fn git_blob_id_is_gits() {
        assert_eq!(GitId::blob(b"hello\n").hex(), "ce013625030ba8dba906f756967f9e9ca394464a");
    }
}
