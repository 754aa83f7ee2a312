//! Members of a vault, folded from events (I7).

use std::collections::BTreeMap;

use crate::event::Event;
use crate::frontier::{Place, View};
use crate::id::{DeviceId, VaultId};
use crate::key::MemberStatement;

/// The role whose holder may change who is a member.
pub const ADMINISTER: &str = "administer";

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its roles: `write carry approve coordinate credentials administer`.
    pub roles: Vec<String>,
    /// The operator key kept on it.
    pub operator: Option<DeviceId>,
    /// Whether it was added with the role `administer`: only then does its operator key change who is a member. What became of
    /// its roles later may come in another order elsewhere, and decides nothing here (I7).
    pub administers: bool,
    /// The record that added it.
    pub added: Place,
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
    #[error("record {0} adds or changes a member without a valid signature of an operator who may")]
    Unsigned(Place),
    /// The record's device was not a member in its past.
    #[error("record {0} is by a device that was not a member when it was made")]
    Stranger(Place),
    /// The event is about a device nobody added.
    #[error("record {0} is about a device that is no member")]
    Unknown(Place),
}

/// The members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members(pub BTreeMap<DeviceId, Member>);

impl Members {
    /// Whether the record at `place`, with this `past`, is by a member (I7). The vault's first record passes when
    /// its events prove it.
    pub fn admits(&self, place: Place, past: &View) -> bool {
        self.0.get(&place.device).is_some_and(|member| past.has(&member.added) || member.added == place)
    }

    /// Applies an event of the record at `place`.
    pub fn apply(
        &mut self,
        vault: &VaultId,
        place: Place,
        past: &View,
        wall: u64,
        event: &Event,
    ) -> Result<(), MemberError> {
        match event {
            Event::VaultCreated { nonce, device_name, operator, roles, .. } => {
                if place.seq != 1 || VaultId::of(&place.device, nonce) != *vault {
                    return Err(MemberError::Maker(place.device));
                }
                let member = Member {
                    name: device_name.clone(),
                    roles: roles.clone(),
                    operator: Some(*operator),
                    administers: true,
                    added: place,
                    time: wall,
                };
                self.0.insert(place.device, member);
            }
            Event::DeviceAdded { device, name, roles, operator, sig, by } => {
                let statement = MemberStatement { vault, device, name, roles, operator: operator.as_ref() };
                self.signed(&statement, by, &sig.0, place, past)?;
                let administers = roles.iter().any(|role| role == ADMINISTER);
                let (name, roles, operator) = (name.clone(), roles.clone(), *operator);
                let member = Member { name, roles, operator, administers, added: place, time: wall };
                // Added twice, by two members at once: the earlier record stands, so that its past stays enough.
                self.0.entry(*device).or_insert(member);
            }
            Event::DeviceRenamed { device, name } => {
                self.0.get_mut(device).ok_or(MemberError::Unknown(place))?.name = name.clone();
            }
            Event::DeviceRoles { device, roles, sig, by } => {
                let member = self.0.get(device).ok_or(MemberError::Unknown(place))?;
                let (name, operator) = (member.name.clone(), member.operator);
                let statement =
                    MemberStatement { vault, device, name: &name, roles, operator: operator.as_ref() };
                self.signed(&statement, by, &sig.0, place, past)?;
                if let Some(member) = self.0.get_mut(device) {
                    member.roles = roles.clone();
                }
            }
            Event::ConflictSettled { .. } | Event::RulesAccepted { .. } | Event::Other(_) => {}
        }
        Ok(())
    }

    /// Whether `key` is an operator key of a member known in `past`.
    pub fn is_operator(&self, key: &DeviceId, past: &View) -> bool {
        self.0.values().any(|member| member.operator == Some(*key) && past.has(&member.added))
    }

    /// Whether `key` is an operator key known in `past` that may change who is a member.
    pub fn is_administrator(&self, key: &DeviceId, past: &View) -> bool {
        let mut members = self.0.values();
        members.any(|member| member.administers && member.operator == Some(*key) && past.has(&member.added))
    }

    fn signed(
        &self,
        statement: &MemberStatement<'_>,
        by: &DeviceId,
        signature: &[u8],
        place: Place,
        past: &View,
    ) -> Result<(), MemberError> {
        let valid = signature.try_into().is_ok_and(|signature| statement.verify(by, &signature));
        match valid && self.is_administrator(by, past) {
            true => Ok(()),
            false => Err(MemberError::Unsigned(place)),
        }
    }

    /// The name of a device, or the start of its id.
    pub fn name(&self, device: &DeviceId) -> String {
        self.0.get(device).map_or_else(|| device.short(8), |member| member.name.clone())
    }
}
