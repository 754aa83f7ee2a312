//! Signing keys (ed25519, RFC 8032) and what they sign.

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

use crate::frontier::Place;
use crate::id::{ContentHash, DeviceId, DocId, RecordId, VaultId};

/// A secret ed25519 key: a device's, or an operator's. Its bytes never enter the vault.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretKey({})", self.public().short(8))
    }
}

impl DeviceId {
    /// The public key for X25519 (RFC 7748, 4.1); `None` where these bytes are no key.
    pub(crate) fn montgomery(&self) -> Option<[u8; 32]> {
        Some(VerifyingKey::from_bytes(&self.0).ok()?.to_montgomery().to_bytes())
    }
}

/// A signature: 64 bytes.
pub type Signature = [u8; 64];

impl SecretKey {
    /// The key of these 32 secret bytes.
    pub fn from_bytes(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// The secret bytes, to be stored outside the vault.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half.
    pub fn public(&self) -> DeviceId {
        DeviceId(self.0.verifying_key().to_bytes())
    }

    /// The scalar of the key for X25519 (RFC 7748): of the same pair as the public key in its Montgomery form.
    pub(crate) fn montgomery(&self) -> [u8; 32] {
        self.0.to_scalar_bytes()
    }

    fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message).to_bytes()
    }

    /// Signs a record.
    pub fn sign_record(&self, id: &RecordId) -> Signature {
        self.sign(&record_message(id))
    }

    /// Signs a statement, as operator or as the device it is about.
    pub fn sign_statement(&self, statement: &impl Statement) -> Signature {
        self.sign(statement.message().as_bytes())
    }

    /// Signs a statement as root key of the vault, for the record at `place` alone.
    pub fn sign_as_root(&self, place: &Place, statement: &impl Statement) -> Signature {
        self.sign(root_message(place, statement).as_bytes())
    }

    /// Signs, as operator, that what has this consent digest may happen once (I11).
    pub fn sign_consent(&self, vault: &VaultId, digest: &ContentHash) -> Signature {
        self.sign(consent_message(vault, digest).as_bytes())
    }
}

fn record_message(id: &RecordId) -> Vec<u8> {
    [b"aios-record-v1\n".as_slice(), id.as_bytes()].concat()
}

/// Something that is signed about members, or about what is in force. Each kind begins with a name of its own, so that none can
/// be taken for another, and names the record it stands in, so that nobody says it again elsewhere.
pub trait Statement {
    /// The text that is signed.
    fn message(&self) -> String;

    /// Whether `signature` is `by`'s over this statement.
    fn verify(&self, by: &DeviceId, signature: &Signature) -> bool {
        verify(by, self.message().as_bytes(), signature)
    }

    /// Whether `signature` is the root key's over this statement, for the record at `place`.
    fn verify_root(&self, root: &DeviceId, place: &Place, signature: &Signature) -> bool
    where
        Self: Sized,
    {
        verify(root, root_message(place, self).as_bytes(), signature)
    }
}

fn root_message(place: &Place, statement: &impl Statement) -> String {
    format!("aios-root-v1\n{place}\n{}", statement.message())
}

fn consent_message(vault: &VaultId, digest: &ContentHash) -> String {
    format!("aios-approve-v1\n{vault}\n{digest}")
}

/// What an operator signs about a member.
#[derive(Debug, Clone, Copy)]
pub struct MemberStatement<'a> {
    /// The vault it is a member of.
    pub vault: &'a VaultId,
    /// The device.
    pub device: &'a DeviceId,
    /// Its name.
    pub name: &'a str,
    /// Its roles, in the order written.
    pub roles: &'a [String],
    /// The operator key that lives on it.
    pub operator: Option<&'a DeviceId>,
    /// The record that holds the event.
    pub place: Place,
}

impl Statement for MemberStatement<'_> {
    fn message(&self) -> String {
        let operator = self.operator.map(|key| key.hex()).unwrap_or_default();
        let MemberStatement { vault, device, name, place, .. } = self;
        format!("aios-member-v1\n{vault}\n{device}\n{name}\n{}\n{operator}\n{place}", self.roles.join(","))
    }
}

/// What an operator signs when a member gets other roles.
#[derive(Debug, Clone, Copy)]
pub struct RolesStatement<'a> {
    /// The vault it is a member of.
    pub vault: &'a VaultId,
    /// The device.
    pub device: &'a DeviceId,
    /// Its roles, in the order written.
    pub roles: &'a [String],
    /// The record that holds the event.
    pub place: Place,
}

impl Statement for RolesStatement<'_> {
    fn message(&self) -> String {
        let roles = self.roles.join(",");
        format!("aios-roles-v1\n{}\n{}\n{roles}\n{}", self.vault, self.device, self.place)
    }
}

/// What an operator signs when a membership ends.
#[derive(Debug, Clone, Copy)]
pub struct RevocationStatement<'a> {
    /// The vault it was a member of.
    pub vault: &'a VaultId,
    /// The device.
    pub device: &'a DeviceId,
    /// Its last record that the one who revokes knows; absent where there is none.
    pub last: Option<(u64, RecordId)>,
    /// The record that holds the event.
    pub place: Place,
}

impl Statement for RevocationStatement<'_> {
    fn message(&self) -> String {
        let last = self.last.map(|(seq, id)| format!("{seq}:{id}")).unwrap_or_default();
        format!("aios-revoke-v1\n{}\n{}\n{last}\n{}", self.vault, self.device, self.place)
    }
}

/// What an operator signs when a version of a file that decides what is gated comes in force (I11).
#[derive(Debug, Clone, Copy)]
pub struct AcceptanceStatement<'a> {
    /// The vault.
    pub vault: &'a VaultId,
    /// The file.
    pub path: &'a str,
    /// The version.
    pub hash: &'a ContentHash,
    /// The record that holds the event.
    pub place: Place,
}

impl Statement for AcceptanceStatement<'_> {
    fn message(&self) -> String {
        format!("aios-accept-v1\n{}\n{}\n{}\n{}", self.vault, self.path, self.hash, self.place)
    }
}

/// What an operator signs to have a document forgotten.
#[derive(Debug, Clone, Copy)]
pub struct ForgettingStatement<'a> {
    /// The vault.
    pub vault: &'a VaultId,
    /// The document.
    pub doc: &'a DocId,
    /// The record that holds the event.
    pub place: Place,
}

impl Statement for ForgettingStatement<'_> {
    fn message(&self) -> String {
        format!("aios-forget-v1\n{}\n{}\n{}", self.vault, self.doc, self.place)
    }
}

/// What root key and operator key both sign where a vault names a root key: the one that it is to be this vault's, the other
/// that the operator of the device wants it.
#[derive(Debug, Clone, Copy)]
pub struct RecoveryStatement<'a> {
    /// The vault.
    pub vault: &'a VaultId,
    /// The root key.
    pub root: &'a DeviceId,
    /// The record that names it.
    pub place: Place,
}

impl Statement for RecoveryStatement<'_> {
    fn message(&self) -> String {
        format!("aios-recovery-v1\n{}\n{}\n{}", self.vault, self.root, self.place)
    }
}

/// What the new device key and the operator key of the old device both sign where a device goes on under another key.
#[derive(Debug, Clone, Copy)]
pub struct RotationStatement<'a> {
    /// The vault.
    pub vault: &'a VaultId,
    /// The device from now on.
    pub device: &'a DeviceId,
    /// The operator key from now on.
    pub operator: Option<&'a DeviceId>,
    /// The record that says so: the last of the old device.
    pub place: Place,
}

impl Statement for RotationStatement<'_> {
    fn message(&self) -> String {
        let operator = self.operator.map(|key| key.hex()).unwrap_or_default();
        format!("aios-rotate-v1\n{}\n{}\n{operator}\n{}", self.vault, self.device, self.place)
    }
}

/// Whether `signature` is `device`'s over the record.
pub fn verify_record(device: &DeviceId, id: &RecordId, signature: &Signature) -> bool {
    verify(device, &record_message(id), signature)
}

/// Whether `signature` is `by`'s consent to what has that digest.
pub fn verify_consent(by: &DeviceId, vault: &VaultId, digest: &ContentHash, signature: &Signature) -> bool {
    verify(by, consent_message(vault, digest).as_bytes(), signature)
}

fn verify(key: &DeviceId, message: &[u8], signature: &Signature) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(key.as_bytes()) else { return false };
    key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_for_one_message_and_one_key() {
        let (a, b) = (SecretKey::from_bytes(&[1; 32]), SecretKey::from_bytes(&[2; 32]));
        let id = RecordId([9; 32]);
        let sig = a.sign_record(&id);
        assert!(verify_record(&a.public(), &id, &sig));
        assert!(!verify_record(&b.public(), &id, &sig));
        assert!(!verify_record(&a.public(), &RecordId([8; 32]), &sig));
    }

    #[test]
    fn a_root_signature_is_for_one_record_and_no_operators() {
        let key = SecretKey::from_bytes(&[1; 32]);
        let (vault, device) = (VaultId([3; 32]), DeviceId([4; 32]));
        let (here, there) = (Place { device, seq: 1 }, Place { device, seq: 2 });
        let statement = RevocationStatement { vault: &vault, device: &device, last: None, place: here };
        let sig = key.sign_as_root(&here, &statement);
        assert!(statement.verify_root(&key.public(), &here, &sig));
        assert!(!statement.verify_root(&key.public(), &there, &sig));
        assert!(!statement.verify(&key.public(), &sig));
        let sig = key.sign_statement(&statement);
        assert!(!statement.verify_root(&key.public(), &here, &sig));
    }
}
