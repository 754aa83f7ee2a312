//! Changing who is a member: records that the operator key on this device signs (I7).

use aios_core::event::Event;
use aios_core::id::DeviceId;
use aios_core::item::{Bytes, Item};
use aios_core::key::{MemberStatement, SecretKey};
use aios_core::member::ADMINISTER;

use crate::author::Draft;
use crate::create::MAKER_ROLES;
use crate::error::Error;
use crate::vault::Vault;

/// The longest name of a device, in characters.
const MAX_NAME: usize = 64;

/// What a device is for, which decides its roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A device of the operator's own, with all roles and an operator key.
    Laptop,
    /// A device of the operator's own that coordinates nothing and holds no credentials; with an operator key.
    Phone,
    /// A headless device that works with credentials of its own; without an operator key.
    Worker,
}

impl Purpose {
    /// Its roles, in the order in which they are signed.
    pub fn roles(self) -> Vec<String> {
        let roles: &[&str] = match self {
            Purpose::Laptop => &MAKER_ROLES,
            Purpose::Phone => &["write", "carry", "approve"],
            Purpose::Worker => &["write", "carry", "credentials"],
        };
        roles.iter().map(|role| (*role).to_owned()).collect()
    }
}

/// Whether a device of these roles gets an operator key: if it may consent to anything.
pub fn holds_operator(roles: &[String]) -> bool {
    roles.iter().any(|role| role == "approve")
}

impl Vault {
    /// Makes `device` a member; does nothing when it is one. Durable when it returns.
    ///
    /// # Errors
    /// [`Error::NoOperator`]; [`Error::MayNot`]; [`Error::NameTaken`]; [`Error::Usage`] for a name nobody could use.
    pub fn admit(
        &mut self,
        device: &DeviceId,
        name: &str,
        roles: &[String],
        operator: Option<&DeviceId>,
    ) -> Result<(), Error> {
        if self.members.0.contains_key(device) {
            return Ok(());
        }
        self.check_name(device, name)?;
        let (sig, by) = self.sign_member("let devices in", device, name, roles, operator)?;
        let (name, roles, operator) = (name.to_owned(), roles.to_vec(), operator.copied());
        let message = format!("Let {name} in");
        self.tell(message, Event::DeviceAdded { device: *device, name, roles, operator, sig, by })
    }

    /// Gives a member another name.
    ///
    /// # Errors
    /// [`Error::NameTaken`]; [`Error::Usage`] for a name nobody could use.
    pub fn rename_device(&mut self, device: &DeviceId, name: &str) -> Result<(), Error> {
        self.check_name(device, name)?;
        let old = self.members.name(device);
        if old == name {
            return Ok(());
        }
        self.tell(
            format!("Rename device {old} to {name}"),
            Event::DeviceRenamed { device: *device, name: name.into() },
        )
    }

    /// Gives a member other roles.
    ///
    /// # Errors
    /// [`Error::NoOperator`]; [`Error::MayNot`]; [`Error::Unknown`] when it is no member.
    pub fn change_roles(&mut self, device: &DeviceId, roles: &[String]) -> Result<(), Error> {
        let Some(member) = self.members.0.get(device).cloned() else {
            return Err(Error::Unknown { what: "device", name: device.short(8) });
        };
        if member.roles == roles {
            return Ok(());
        }
        let (sig, by) =
            self.sign_member("change roles", device, &member.name, roles, member.operator.as_ref())?;
        let message = format!("Make {} {}", member.name, roles.join(", "));
        self.tell(message, Event::DeviceRoles { device: *device, roles: roles.to_vec(), sig, by })
    }

    /// The member that goes by this name, or whose id begins with it.
    ///
    /// # Errors
    /// [`Error::Unknown`]; [`Error::Usage`] when it could be several.
    pub fn find_member(&self, name: &str) -> Result<DeviceId, Error> {
        if let Some((device, _)) = self.members.0.iter().find(|(_, member)| member.name == name) {
            return Ok(*device);
        }
        let like = |device: &&DeviceId| name.len() >= 4 && device.hex().starts_with(name);
        let found: Vec<&DeviceId> = self.members.0.keys().filter(like).collect();
        match found[..] {
            [] => Err(Error::Unknown { what: "device", name: name.to_owned() }),
            [one] => Ok(*one),
            _ => Err(Error::Usage(format!("several devices have ids that begin with `{name}`"))),
        }
    }

    fn check_name(&self, device: &DeviceId, name: &str) -> Result<(), Error> {
        let length = name.chars().count();
        if length == 0 || length > MAX_NAME || name.chars().any(char::is_control) || name.trim() != name {
            return Err(Error::Usage(format!(
                "`{}` is no name for a device: it takes 1 to {MAX_NAME} characters, none of them a control character",
                name.escape_debug()
            )));
        }
        let folded = name.to_lowercase();
        let taken =
            self.members.0.iter().any(|(id, member)| id != device && member.name.to_lowercase() == folded);
        match taken {
            true => Err(Error::NameTaken(name.to_owned())),
            false => Ok(()),
        }
    }

    /// The operator key of this device, if it may change who is a member.
    ///
    /// # Errors
    /// [`Error::NoOperator`]; [`Error::MayNot`].
    pub fn administrator(&self, what: &'static str) -> Result<SecretKey, Error> {
        let Some(key) = self.operator()? else { return Err(Error::NoOperator(what)) };
        match self.members.is_administrator(&key.public(), &self.view) {
            true => Ok(key),
            false => Err(Error::MayNot { what, role: ADMINISTER }),
        }
    }

    fn sign_member(
        &self,
        what: &'static str,
        device: &DeviceId,
        name: &str,
        roles: &[String],
        operator: Option<&DeviceId>,
    ) -> Result<(Bytes, DeviceId), Error> {
        let key = self.administrator(what)?;
        let statement = MemberStatement { vault: &self.replica.vault, device, name, roles, operator };
        Ok((Bytes(key.sign_member(&statement).to_vec()), key.public()))
    }

    fn tell(&mut self, message: String, event: Event) -> Result<(), Error> {
        let mut draft = Draft::operator(message);
        draft.push(Item::Event(event));
        self.transaction(|vault| {
            vault.author_records(draft)?;
            vault.refresh(&mut |_, _, _| {})
        })
    }
}
