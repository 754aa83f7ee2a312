//! A device goes on under another key: one record ends the old device and makes the new one a member in its place. The new keys
//! are there before it is written, and a note beside the old ones says which they are; whoever is killed in between goes
//! on from there when the vault is next opened.

use aios_core::event::Event;
use aios_core::id::DeviceId;
use aios_core::item::Bytes;
use aios_core::key::RotationStatement;

use crate::chance::now_ms;
use crate::error::Error;
use crate::keys::{Keys, new_actor};
use crate::ledger::Ledger;
use crate::vault::Vault;

impl Vault {
    /// Goes on under new keys, with the same name, roles and rank. Gives the device that this is from now on.
    ///
    /// # Errors
    /// [`Error::Revoked`]; [`Error::Unknown`] when this device is no member; [`Error::NoOperator`] where the operator key that
    /// was kept here is gone.
    pub fn rotate(&mut self) -> Result<DeviceId, Error> {
        self.go_on()?;
        self.check_decides()?;
        let old = self.replica.device;
        let Some(member) = self.members().0.get(&old).cloned() else {
            return Err(Error::Unknown { what: "device", name: old.short(8) });
        };
        let operator = self.operator()?;
        if operator.as_ref().map(|key| key.public()) != member.operator {
            return Err(Error::NoOperator("go on under another key"));
        }
        let keys = self.next_keys(operator.is_some())?;
        let next = keys.operator()?.map(|key| key.public());
        let (vault, device, place) = (self.replica.vault, keys.device.public(), self.next_place()?);
        let statement = RotationStatement { vault: &vault, device: &device, operator: next.as_ref(), place };
        let proof = Bytes(keys.device.sign_statement(&statement).to_vec());
        let sig = operator.as_ref().map(|key| Bytes(key.sign_statement(&statement).to_vec()));
        let by = operator.map(|key| key.public());
        let event = Event::DeviceRotated { device, operator: next, proof, sig, by };
        self.tell(format!("Go on under another key as {}", member.name), event)?;
        self.follow()?;
        Ok(self.replica.device)
    }

    /// Keys for what comes next: those that were made before it was cut short, or new ones.
    fn next_keys(&self, operator: bool) -> Result<Keys, Error> {
        if let Some(next) = self.keys.next()?
            && let Ok(keys) = Keys::load(&next)
            && keys.operator()?.is_some() == operator
        {
            return Ok(keys);
        }
        let keys = Keys::create(operator)?;
        self.keys.set_next(&keys.device.public())?;
        Ok(keys)
    }

    /// Takes up the keys under which this device goes on, where it has said so.
    pub(crate) fn follow(&mut self) -> Result<(), Error> {
        let old = self.replica.device;
        let became = self.members().0.get(&old).and_then(|member| member.became);
        let Some(next) = self.keys.next()?.filter(|next| Some(*next) == became) else { return Ok(()) };
        let keys = Keys::load(&next)?;
        // The others serve the old device until they have heard of the new one.
        keys.set_was(Some(&self.keys.was()?.unwrap_or(old)))?;
        // What was begun under the old keys has begun (I10).
        Ledger::hand_on(&self.keys, &keys)?;
        self.keys.hand_epochs(&keys)?;
        for name in ["peers.json", "port"] {
            let from = self.keys.folder().join(name);
            if from.exists() {
                // Addresses are told again if this does not work.
                let _ = std::fs::copy(from, keys.folder().join(name));
            }
        }
        // The keys of others and of who calls here go along: nobody would look for them where they were, and somebody might find them.
        for name in ["providers.json", "hooks.json"] {
            let (from, to) = (self.keys.folder().join(name), keys.folder().join(name));
            if from.exists() {
                std::fs::rename(&from, &to).map_err(|e| Error::io("move", &from, e))?;
            }
        }
        // It decides nothing any more; afterwards nobody would look for it.
        self.keys.forget_operator()?;
        let mut replica = self.replica.clone();
        replica.device = next;
        self.layout.write_replica(&replica)?;
        (self.replica, self.keys) = (replica, keys);
        self.actor = new_actor(now_ms())?;
        self.remember(None)
    }
}
