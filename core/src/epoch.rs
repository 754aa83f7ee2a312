//! Epochs of a sealed vault. What is written in an epoch is encrypted under its key, which every reader was handed: so a place
//! or a member that only carries stores, checks and forwards what it cannot read. Whose rights end is in no epoch that begins
//! afterwards.
//!
//! A key is handed to a device as libsodium's sealed boxes are: X25519 (RFC 7748) with a key of one use and the ed25519 key of
//! the device in its Montgomery form (RFC 7748, 4.1), then XChaCha20-Poly1305.

use std::collections::{BTreeMap, BTreeSet};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::clock::Stamp;
use crate::event::Event;
use crate::id::{ContentHash, DeviceId, EpochId};
use crate::item::Bytes;
use crate::key::SecretKey;

/// The length in bytes of a key that is handed to somebody: a public key of one use, the key, a tag.
const HANDED: usize = 32 + 32 + 16;
/// Bytes of a blob that are encrypted at once.
pub const PIECE: usize = 1 << 20;
/// What the tag of a piece adds to it.
pub const TAG: usize = 16;

/// The key of an epoch: 32 secret bytes, on readers alone.
#[derive(Clone, PartialEq, Eq)]
pub struct EpochKey([u8; 32]);

impl std::fmt::Debug for EpochKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EpochKey({})", self.id().short(8))
    }
}

impl EpochKey {
    /// The key of these secret bytes.
    pub fn from_bytes(secret: [u8; 32]) -> Self {
        EpochKey(secret)
    }

    /// The secret bytes, to be stored outside the vault.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    /// The epoch's name: who is handed another key sees it.
    pub fn id(&self) -> EpochId {
        EpochId(*blake3::hash(&[b"aios-epoch-v1\n".as_slice(), &self.0].concat()).as_bytes())
    }

    /// Hands the key to `reader`; `once` are 32 random bytes that nothing else uses. `None` where `reader` is no key.
    pub fn hand(&self, reader: &DeviceId, once: [u8; 32]) -> Option<Bytes> {
        let secret = StaticSecret::from(once);
        let (own, theirs) = (PublicKey::from(&secret), PublicKey::from(reader.montgomery()?));
        let cipher = between(&secret, &theirs, &own, &theirs)?;
        let sealed = cipher.encrypt(&XNonce::default(), self.0.as_slice()).ok()?;
        Some(Bytes([own.as_bytes().as_slice(), &sealed].concat()))
    }

    /// Takes a key that was handed to the holder of `own`; `None` where it was not, or is not that of `epoch`.
    pub fn take(epoch: &EpochId, handed: &Bytes, own: &SecretKey) -> Option<EpochKey> {
        let (once, sealed) = handed.0.split_at_checked(32).filter(|_| handed.0.len() == HANDED)?;
        let once = PublicKey::from(<[u8; 32]>::try_from(once).ok()?);
        let secret = StaticSecret::from(own.montgomery());
        let cipher = between(&secret, &once, &once, &PublicKey::from(&secret))?;
        let key = cipher.decrypt(&XNonce::default(), sealed).ok()?;
        Some(EpochKey(key.try_into().ok()?)).filter(|key| key.id() == *epoch)
    }

    /// Encrypts what a record holds. `body` is the hash of its body, which has a salt: no two records have one, so that it gives
    /// the nonce. The same record gives the same bytes, on every device that reads it.
    pub fn encrypt(&self, body: &ContentHash, plain: &[u8]) -> Vec<u8> {
        let (cipher, nonce) = self.cipher("aios record v1 key", body);
        // It fails for more than 256 GiB alone, and no record is as large.
        cipher.encrypt(&nonce, Payload { msg: plain, aad: body.as_bytes() }).unwrap_or_default()
    }

    /// Decrypts what a record holds; `None` where that was not encrypted with this key for this body.
    pub fn decrypt(&self, body: &ContentHash, sealed: &[u8]) -> Option<Vec<u8>> {
        let (cipher, nonce) = self.cipher("aios record v1 key", body);
        cipher.decrypt(&nonce, Payload { msg: sealed, aad: body.as_bytes() }).ok()
    }

    /// What encrypts the bytes of a blob with this hash, and decrypts them, piece by piece.
    pub fn blob(&self, hash: &ContentHash) -> BlobCipher {
        let (cipher, nonce) = self.cipher("aios blob v1 key", hash);
        BlobCipher { cipher, nonce, next: 0 }
    }

    /// A cipher with a key of its own for what has this hash.
    fn cipher(&self, context: &str, hash: &ContentHash) -> (XChaCha20Poly1305, XNonce) {
        let mut derive = blake3::Hasher::new_derive_key(context);
        derive.update(&self.0).update(hash.as_bytes());
        let mut out = [0; 56];
        derive.finalize_xof().fill(&mut out);
        let (mut key, mut nonce) = ([0; 32], XNonce::default());
        key.copy_from_slice(&out[..32]);
        nonce.copy_from_slice(&out[32..]);
        (XChaCha20Poly1305::new(&key.into()), nonce)
    }
}

/// The cipher that a key of one use and a reader's key have in common; `None` for a key that gives everybody the same one.
fn between(
    secret: &StaticSecret,
    other: &PublicKey,
    once: &PublicKey,
    reader: &PublicKey,
) -> Option<XChaCha20Poly1305> {
    let shared = secret.diffie_hellman(other);
    let parts = [shared.as_bytes().as_slice(), once.as_bytes(), reader.as_bytes()].concat();
    let key = blake3::derive_key("aios epoch v1 handing", &parts);
    shared.was_contributory().then(|| XChaCha20Poly1305::new(&key.into()))
}

/// Encrypts or decrypts a blob in pieces of [`PIECE`] bytes, so that none is in memory whole. Each piece has its number in its
/// nonce, and says whether it is the last: none is missing, and none is elsewhere.
pub struct BlobCipher {
    cipher: XChaCha20Poly1305,
    nonce: XNonce,
    next: u64,
}

impl std::fmt::Debug for BlobCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobCipher").field("next", &self.next).finish_non_exhaustive()
    }
}

impl BlobCipher {
    /// How many bytes a blob of `size` bytes has once it is encrypted.
    pub fn sealed_size(size: u64) -> u64 {
        size + size.div_ceil(PIECE as u64).max(1) * TAG as u64
    }

    fn step(&mut self) -> XNonce {
        let mut nonce = self.nonce;
        for (byte, count) in nonce[16..].iter_mut().zip(self.next.to_le_bytes()) {
            *byte ^= count;
        }
        self.next += 1;
        nonce
    }

    /// Encrypts the next piece: [`PIECE`] bytes, or what is left of the blob.
    pub fn encrypt(&mut self, plain: &[u8], last: bool) -> Vec<u8> {
        let nonce = self.step();
        self.cipher.encrypt(&nonce, Payload { msg: plain, aad: &[last.into()] }).unwrap_or_default()
    }

    /// Decrypts the next piece; `None` where it is not that.
    pub fn decrypt(&mut self, sealed: &[u8], last: bool) -> Option<Vec<u8>> {
        let nonce = self.step();
        self.cipher.decrypt(&nonce, Payload { msg: sealed, aad: &[last.into()] }).ok()
    }
}

/// An epoch that records name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// Where it was first named.
    pub since: Stamp,
    /// Who has its key: the devices and root keys that it was handed to, and who handed it on.
    pub holders: BTreeSet<DeviceId>,
}

/// The epochs that a set of records names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Epochs(pub BTreeMap<EpochId, Epoch>);

/// What has to be said before anything can be written that all readers, and nobody else, can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Epochs that some readers have no key of, with these.
    pub lacking: Vec<(EpochId, Vec<DeviceId>)>,
    /// The epoch to write in; `None` where one has to begin.
    pub current: Option<EpochId>,
}

impl Epochs {
    /// Takes in that `author` said `event` at `stamp`.
    pub fn add(&mut self, author: &DeviceId, stamp: Stamp, event: &Event) {
        let Event::EpochKeys { epoch, keys } = event else { return };
        let known = self.0.entry(*epoch).or_insert_with(|| Epoch { since: stamp, holders: BTreeSet::new() });
        known.since = known.since.min(stamp);
        known.holders.insert(*author);
        known.holders.extend(keys.keys());
    }

    /// What is due for these `readers`. The newest epoch counts that nobody else holds the key of.
    pub fn due(&self, readers: &BTreeSet<DeviceId>) -> Due {
        let lacking = self.0.iter().filter_map(|(id, epoch)| {
            let without: Vec<DeviceId> = readers.difference(&epoch.holders).copied().collect();
            (!without.is_empty()).then_some((*id, without))
        });
        let fit = self.0.iter().filter(|(_, epoch)| epoch.holders.is_subset(readers));
        let current = fit.max_by_key(|(id, epoch)| (epoch.since, **id)).map(|(id, _)| *id);
        Due { lacking: lacking.collect(), current }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Hlc;

    fn key(n: u8) -> SecretKey {
        SecretKey::from_bytes(&[n; 32])
    }

    #[test]
    fn a_key_reaches_whom_it_was_handed_to_and_nobody_else() {
        let epoch = EpochKey::from_bytes([5; 32]);
        let handed = epoch.hand(&key(1).public(), [9; 32]).unwrap();
        assert_eq!(handed.0.len(), HANDED);
        assert_eq!(EpochKey::take(&epoch.id(), &handed, &key(1)), Some(epoch.clone()));
        assert_eq!(EpochKey::take(&epoch.id(), &handed, &key(2)), None);
        assert_eq!(EpochKey::take(&EpochKey::from_bytes([6; 32]).id(), &handed, &key(1)), None);
        for at in 0..HANDED {
            let mut bent = handed.clone();
            bent.0[at] ^= 1;
            assert_eq!(EpochKey::take(&epoch.id(), &bent, &key(1)), None, "{at}");
        }
        assert_eq!(EpochKey::take(&epoch.id(), &Bytes(vec![0; 3]), &key(1)), None);
        // A key of small order would make the cipher known to all.
        let mut small = handed;
        small.0[..32].fill(0);
        assert_eq!(EpochKey::take(&epoch.id(), &small, &key(1)), None);
    }

    #[test]
    fn a_record_is_encrypted_the_same_way_everywhere_and_no_flip_passes() {
        let epoch = EpochKey::from_bytes([5; 32]);
        let body = ContentHash::of(b"body");
        let sealed = epoch.encrypt(&body, b"what it says");
        assert_eq!(sealed, epoch.encrypt(&body, b"what it says"));
        assert_eq!(epoch.decrypt(&body, &sealed).as_deref(), Some(b"what it says".as_slice()));
        assert_eq!(epoch.decrypt(&ContentHash::of(b"other"), &sealed), None);
        assert_eq!(EpochKey::from_bytes([6; 32]).decrypt(&body, &sealed), None);
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert_eq!(epoch.decrypt(&body, &bent), None, "{at}");
        }
    }

    /// The bytes that go over the wire are those of every version.
    #[test]
    fn what_is_encrypted_is_pinned() {
        let epoch = EpochKey::from_bytes([5; 32]);
        let hash = ContentHash::of(b"body");
        let short = |bytes: &[u8]| ContentHash::of(bytes).short(16);
        let blob = epoch.blob(&hash).encrypt(b"bytes", true);
        let handed = epoch.hand(&key(1).public(), [9; 32]).unwrap();
        let found =
            [short(&epoch.encrypt(&hash, b"plain")), short(&blob), short(&handed.0), epoch.id().short(16)];
        assert_eq!(found, ["c41c9e22279999d1", "f2020a954aacf0f0", "061f3ab970d717d0", "25197e334d00cd16"]);
    }

    #[test]
    fn pieces_of_a_blob_stay_in_their_places() {
        let epoch = EpochKey::from_bytes([5; 32]);
        let hash = ContentHash::of(b"blob");
        let mut cipher = epoch.blob(&hash);
        let pieces = [cipher.encrypt(b"one", false), cipher.encrypt(b"two", true)];
        let read = |order: [usize; 2], last: [bool; 2]| {
            let mut cipher = epoch.blob(&hash);
            order
                .iter()
                .zip(last)
                .map(|(n, last)| cipher.decrypt(&pieces[*n], last))
                .collect::<Option<Vec<_>>>()
        };
        assert_eq!(read([0, 1], [false, true]).unwrap().concat(), b"onetwo");
        assert_eq!(read([1, 0], [false, true]), None);
        assert_eq!(read([0, 1], [true, true]), None);
        assert_eq!(BlobCipher::sealed_size(0), 16);
        assert_eq!(BlobCipher::sealed_size(PIECE as u64), PIECE as u64 + 16);
        assert_eq!(BlobCipher::sealed_size(PIECE as u64 + 1), PIECE as u64 + 33);
    }

    #[test]
    fn the_newest_epoch_that_only_readers_hold_is_written_in() {
        let (a, b, c) = (key(1).public(), key(2).public(), key(3).public());
        let [one, two, three] = [1, 2, 3].map(|n| EpochKey::from_bytes([n; 32]).id());
        let says = |epoch, to: &[DeviceId]| Event::EpochKeys {
            epoch,
            keys: to.iter().map(|reader| (*reader, Bytes(vec![]))).collect(),
        };
        let at = |ms| Stamp::new(Hlc(ms, 0), a, ms);
        let mut epochs = Epochs::default();
        let readers = |list: &[DeviceId]| list.iter().copied().collect::<BTreeSet<_>>();
        assert_eq!(epochs.due(&readers(&[a])), Due { lacking: vec![], current: None });
        epochs.add(&a, at(1), &says(one, &[a, b, c]));
        assert_eq!(epochs.due(&readers(&[a, b, c])), Due { lacking: vec![], current: Some(one) });
        // C's rights end: what is written from now on is not for it.
        assert_eq!(epochs.due(&readers(&[a, b])).current, None);
        // Two that began one at a time: the newer counts, and an old reader's own does not.
        epochs.add(&a, at(4), &says(two, &[a, b]));
        epochs.add(&c, at(5), &says(three, &[a, b]));
        assert_eq!(epochs.due(&readers(&[a, b])), Due { lacking: vec![], current: Some(two) });
        let d = key(4).public();
        let due = epochs.due(&readers(&[a, b, d]));
        assert_eq!(due.current, Some(two));
        assert_eq!(due.lacking.len(), 3);
    }
}
