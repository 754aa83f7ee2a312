//! Domain events: what happened in the company that is not a change to a file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{ContentHash, DeviceId, DocId, EpochId, RecordId};
use crate::item::Bytes;

/// A root key that a vault names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootKey {
    /// The public key.
    pub key: DeviceId,
    /// Its signature over the recovery statement: nobody names a key as root that its holder did not make for this vault.
    pub sig: Bytes,
}

/// A domain event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    /// The vault was made; the first record of the device in the vault id.
    #[serde(rename = "vault.created")]
    VaultCreated {
        /// The vault's name.
        name: String,
        /// What the vault id was made with.
        nonce: String,
        /// The name of the device that made it.
        device_name: String,
        /// The operator key kept on that device.
        operator: DeviceId,
        /// Its roles.
        roles: Vec<String>,
        /// The root key, bound to the vault's id. Vaults made without a recovery phrase have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        root: Option<RootKey>,
    },
    /// The vault has a root key, or one more, ranking below those it has.
    #[serde(rename = "recovery.set")]
    RecoverySet {
        /// The root key.
        root: RootKey,
        /// Signature of the operator key over the recovery statement.
        sig: Bytes,
        /// The operator key that signed.
        by: DeviceId,
    },
    /// A device became a member.
    #[serde(rename = "device.added")]
    DeviceAdded {
        /// The device.
        device: DeviceId,
        /// Its name.
        name: String,
        /// Its roles.
        roles: Vec<String>,
        /// The operator key kept on it.
        operator: Option<DeviceId>,
        /// Signature over the member statement.
        sig: Bytes,
        /// The operator key that signed.
        by: DeviceId,
    },
    /// A member has another name.
    #[serde(rename = "device.renamed")]
    DeviceRenamed {
        /// The device.
        device: DeviceId,
        /// Its new name.
        name: String,
    },
    /// A member has other roles.
    #[serde(rename = "device.roles")]
    DeviceRoles {
        /// The device.
        device: DeviceId,
        /// Its roles from here on.
        roles: Vec<String>,
        /// Signature over the roles statement.
        sig: Bytes,
        /// The operator key that signed.
        by: DeviceId,
    },
    /// A device is no member any more.
    #[serde(rename = "device.revoked")]
    DeviceRevoked {
        /// The device.
        device: DeviceId,
        /// Its last record that the author had integrated: number and id; absent where there was none.
        last: Option<(u64, RecordId)>,
        /// Signature over the revocation statement.
        sig: Bytes,
        /// The operator key that signed.
        by: DeviceId,
    },
    /// The author's device goes on under another key: this ends the one, and makes the other a member in its place.
    #[serde(rename = "device.rotated")]
    DeviceRotated {
        /// The device from now on.
        device: DeviceId,
        /// The operator key kept on it, where one was.
        operator: Option<DeviceId>,
        /// Signature of the new device key over the rotation statement.
        proof: Bytes,
        /// Signature of the old operator key over it, where there is one.
        sig: Option<Bytes>,
        /// That operator key.
        by: Option<DeviceId>,
    },
    /// The key of an epoch of a sealed vault, for some who read it. The first makes the epoch.
    #[serde(rename = "epoch.keys")]
    EpochKeys {
        /// The epoch.
        epoch: EpochId,
        /// Whom it is handed to, a device or a root key, and the key that only they can take.
        keys: BTreeMap<DeviceId, Bytes>,
    },
    /// The operator has dealt with a conflict.
    #[serde(rename = "conflict.settled")]
    ConflictSettled {
        /// The conflict's id.
        id: String,
    },
    /// The operator put this version of a file that decides what is gated in force (I11).
    #[serde(rename = "rules.accepted")]
    RulesAccepted {
        /// The file.
        path: String,
        /// The version.
        hash: ContentHash,
        /// Signature over the acceptance statement.
        sig: Bytes,
        /// The operator key that signed.
        by: DeviceId,
    },
    /// The operator has what a document ever held forgotten: it lives nowhere that knows of this, whatever else is done to it.
    #[serde(rename = "document.forgotten")]
    DocumentForgotten {
        /// The document.
        doc: DocId,
        /// Signature over the forgetting statement.
        sig: Bytes,
        /// The operator key that signed, or a root key.
        by: DeviceId,
    },
    /// An event of another part, or of a newer program: kept, shown, and folded by whoever knows it.
    #[serde(untagged)]
    Other(serde_json::Map<String, serde_json::Value>),
}

impl Event {
    /// Whether whoever carries a sealed vault has to read it, to know who is a member.
    pub fn is_clear(&self) -> bool {
        match self {
            Event::VaultCreated { .. }
            | Event::RecoverySet { .. }
            | Event::DeviceAdded { .. }
            | Event::DeviceRenamed { .. }
            | Event::DeviceRoles { .. }
            | Event::DeviceRevoked { .. }
            | Event::DeviceRotated { .. }
            | Event::EpochKeys { .. } => true,
            Event::ConflictSettled { .. }
            | Event::RulesAccepted { .. }
            | Event::DocumentForgotten { .. }
            | Event::Other(_) => false,
        }
    }

    /// Its type name, such as `device.added`.
    pub fn name(&self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(map)) => match map.get("type") {
                Some(serde_json::Value::String(name)) => name.clone(),
                _ => "unknown".into(),
            },
            _ => "unknown".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Item;

    #[test]
    fn events_of_other_parts_are_kept_whole() {
        let text = r#"{"t":"event","type":"task.created","task":"t1"}"#;
        let item: Item = serde_json::from_str(text).unwrap();
        let Item::Event(event) = &item else { panic!("not an event: {item:?}") };
        assert_eq!(event.name(), "task.created");
        let known = Item::Event(Event::ConflictSettled { id: "c".into() });
        let text = serde_json::to_string(&known).unwrap();
        assert_eq!(text, r#"{"t":"event","type":"conflict.settled","id":"c"}"#);
        assert_eq!(serde_json::from_str::<Item>(&text).unwrap(), known);
    }
}
