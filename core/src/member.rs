//! Members of a vault: who they are and what they may do (I7). Who is one is decided in [`authority`](crate::authority).

use std::collections::BTreeMap;

use crate::frontier::Place;
use crate::id::DeviceId;

/// The role whose holder may change who is a member.
pub const ADMINISTER: &str = "administer";
/// The role whose holder's operator key may consent.
pub const APPROVE: &str = "approve";
/// The role whose holder stores and forwards what others write.
pub const CARRY: &str = "carry";
/// The role whose holder does what no other device has to.
pub const COORDINATE: &str = "coordinate";
/// The role whose holder may change documents.
pub const WRITE: &str = "write";

/// Whether these roles let a device read a sealed vault: any does but carrying.
pub fn reads(roles: &[String]) -> bool {
    roles.iter().any(|role| role != CARRY)
}

/// One member, or one that was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its roles: `write carry approve coordinate credentials administer`.
    pub roles: Vec<String>,
    /// The operator key kept on it.
    pub operator: Option<DeviceId>,
    /// The record that added it.
    pub added: Place,
    /// When, ms since the Unix epoch.
    pub time: u64,
    /// The end of its membership.
    pub revoked: Option<Revoked>,
    /// The device that took its place.
    pub became: Option<DeviceId>,
}

/// The end of a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked {
    /// The number of the device's last record that counts by itself.
    pub last: u64,
    /// The record that revoked it.
    pub place: Place,
    /// When, ms since the Unix epoch.
    pub time: u64,
}

/// Why an event about members counts nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// The vault's first record is not by the device in the vault id.
    #[error("the first record of device {0} says it made the vault, but the vault id says otherwise")]
    Maker(DeviceId),
    /// The signature is not by an operator key known at that point, or by one that may not administer.
    #[error("record {0} adds, changes or revokes a member without a valid signature of an operator who may")]
    Unsigned(Place),
    /// The event is about a device nobody added.
    #[error("record {0} is about a device that is no member")]
    Unknown(Place),
    /// A revocation names another last record than its author knew.
    #[error("record {0} revokes a device and names another last record of it than the one it follows")]
    CutOff(Place),
    /// A revocation says what its author has said before with the same key.
    #[error("record {0} revokes a device that its author has revoked with the same key before")]
    RevokedAlready(Place),
    /// Only the maker itself ends its membership.
    #[error("record {0} revokes the device that made the vault, which only that device and the root key may")]
    MakerStays(Place),
    /// A root key is named by somebody who may not, or does not hold it.
    #[error(
        "record {0} names a root key, which only the device that made the vault may, with that key's signature"
    )]
    Root(Place),
    /// A device goes on under a key that is a device already, or a second time.
    #[error("record {0} has a device go on under another key that is known already, or went on already")]
    Rotated(Place),
}

/// The members, those that were revoked included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members(pub BTreeMap<DeviceId, Member>);

impl Members {
    /// Those that are not revoked.
    pub fn present(&self) -> impl Iterator<Item = (&DeviceId, &Member)> {
        self.0.iter().filter(|(_, member)| member.revoked.is_none())
    }

    /// Whether this device is a member and not revoked.
    pub fn is_present(&self, device: &DeviceId) -> bool {
        self.0.get(device).is_some_and(|member| member.revoked.is_none())
    }

    /// How this device's membership ended, if it has.
    pub fn revoked(&self, device: &DeviceId) -> Option<&Revoked> {
        self.0.get(device)?.revoked.as_ref()
    }

    /// The device that goes on in the place of this one, or this one.
    pub fn now(&self, device: &DeviceId) -> DeviceId {
        let (mut at, mut left) = (*device, self.0.len());
        while let Some(next) = self.0.get(&at).and_then(|member| member.became)
            && left > 0
        {
            (at, left) = (next, left - 1);
        }
        at
    }

    /// The name of a device, or the start of its id.
    pub fn name(&self, device: &DeviceId) -> String {
        self.0.get(device).map_or_else(|| device.short(8), |member| member.name.clone())
    }
}
