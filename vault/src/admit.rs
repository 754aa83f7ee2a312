//! Changing who is a member: records that the operator key on this device signs (I7).

use aios_core::authority::cut_off;
use aios_core::event::Event;
use aios_core::frontier::Place;
use aios_core::id::{DeviceId, RecordId};
use aios_core::item::{Bytes, Item};
use aios_core::key::{MemberStatement, RevocationStatement, RolesStatement, SecretKey, Statement};
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
    /// A device that stores and forwards, and changes nothing; of a sealed vault it reads nothing either.
    Carrier,
}

impl Purpose {
    /// Its roles, in the order in which they are signed.
    pub fn roles(self) -> Vec<String> {
        let roles: &[&str] = match self {
            Purpose::Laptop => &MAKER_ROLES,
            Purpose::Phone => &["write", "carry", "approve"],
            Purpose::Worker => &["write", "carry", "credentials"],
            Purpose::Carrier => &["carry"],
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
        self.go_on()?;
        match self.members().0.get(device) {
            None => {}
            Some(member) if member.revoked.is_none() => return Ok(()),
            Some(member) => {
                return Err(Error::Usage(format!(
                    "{} was revoked: it can only come back with new keys",
                    member.name
                )));
            }
        }
        self.check_name(device, name)?;
        let (vault, place) = (&self.replica.vault, self.next_place()?);
        let statement = MemberStatement { vault, device, name, roles, operator, place };
        let (sig, by) = self.signed("let devices in", None, &statement)?;
        let (name, roles, operator) = (name.to_owned(), roles.to_vec(), operator.copied());
        let message = format!("Let {name} in");
        self.tell(message, Event::DeviceAdded { device: *device, name, roles, operator, sig, by })
    }

    /// Gives a member another name.
    ///
    /// # Errors
    /// [`Error::NameTaken`]; [`Error::MayNot`]; [`Error::Usage`] for a name nobody could use.
    pub fn rename_device(&mut self, device: &DeviceId, name: &str) -> Result<(), Error> {
        self.go_on()?;
        self.check_name(device, name)?;
        let old = self.members().name(device);
        if old == name {
            return Ok(());
        }
        let own = self.authority.roles(&self.replica.device, &self.view);
        if !own.iter().any(|role| role == ADMINISTER) {
            return Err(Error::MayNot { what: "rename devices", role: ADMINISTER });
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
        self.change_roles_by(device, roles, None)
    }

    /// The same with the root key, by whichever device.
    ///
    /// # Errors
    /// As [`Vault::change_roles`]; [`Error::NoPhrase`], [`Error::OtherPhrase`].
    pub fn change_roles_as_root(
        &mut self,
        device: &DeviceId,
        roles: &[String],
        root: &SecretKey,
    ) -> Result<(), Error> {
        self.change_roles_by(device, roles, Some(root))
    }

    fn change_roles_by(
        &mut self,
        device: &DeviceId,
        roles: &[String],
        root: Option<&SecretKey>,
    ) -> Result<(), Error> {
        self.go_on()?;
        let member = self.present(device)?;
        if member.roles == roles {
            return Ok(());
        }
        let administers = |roles: &[String]| roles.iter().any(|role| role == ADMINISTER);
        if root.is_none() && administers(&member.roles) && !administers(roles) {
            self.check_others_administer(device)?;
        }
        let place = self.next_place()?;
        let statement = RolesStatement { vault: &self.replica.vault, device, roles, place };
        let (sig, by) = self.signed("change roles", root, &statement)?;
        let message = format!("Make {} {}", member.name, roles.join(", "));
        self.tell(message, Event::DeviceRoles { device: *device, roles: roles.to_vec(), sig, by })
    }

    /// Ends a member's membership. What it wrote up to now, as far as it is here, counts; what comes later counts only where somebody
    /// builds on it who does not know yet.
    ///
    /// # Errors
    /// [`Error::NoOperator`]; [`Error::MayNot`]; [`Error::Unknown`] when it is no member; [`Error::Usage`] when it made the vault and
    /// is not this device, or nobody would be left who may let devices in.
    pub fn revoke_device(&mut self, device: &DeviceId) -> Result<(), Error> {
        self.revoke_device_by(device, None)
    }

    /// The same with the root key: of any device, by whichever device, and nobody can say otherwise.
    ///
    /// # Errors
    /// [`Error::Unknown`] when it is no member; [`Error::NoPhrase`], [`Error::OtherPhrase`].
    pub fn revoke_device_as_root(&mut self, device: &DeviceId, root: &SecretKey) -> Result<(), Error> {
        self.revoke_device_by(device, Some(root))
    }

    fn revoke_device_by(&mut self, device: &DeviceId, root: Option<&SecretKey>) -> Result<(), Error> {
        self.go_on()?;
        let name = self.present(device)?.name;
        let own = *device == self.replica.device;
        if root.is_none() {
            if self.authority.is_maker(device) && !own {
                return Err(Error::Usage(format!(
                    "{name} made the vault: only it can end its membership, with `aios devices revoke {name}` there, or \
                     the recovery phrase, with `aios devices revoke {name} --phrase`"
                )));
            }
            self.check_others_administer(device)?;
        }
        let last = Place { device: *device, seq: self.view.get(device) };
        let last = cut_off(&self.view, device, self.id_at(&last)?);
        let (vault, place) = (&self.replica.vault, self.next_place()?);
        let statement = RevocationStatement { vault, device, last, place };
        let (sig, by) = self.signed("revoke devices", root, &statement)?;
        self.tell(format!("Revoke {name}"), Event::DeviceRevoked { device: *device, last, sig, by })
    }

    /// Makes what a revoked device wrote after its end count, by a record that builds on it. Gives that record; `None` when nothing
    /// of it is held.
    ///
    /// # Errors
    /// What the log answers; [`Error::Revoked`].
    pub fn adopt_device(&mut self, device: &DeviceId) -> Result<Option<RecordId>, Error> {
        self.go_on()?;
        let Some(held) = self.held()?.into_iter().find(|held| held.device == *device) else {
            return Ok(None);
        };
        let last = Place { device: *device, seq: held.last };
        let name = self.members().name(device);
        let mut draft = Draft::operator(format!("Adopt what {name} wrote after it was revoked"));
        draft.onto = self.number(&last)?;
        let event = serde_json::json!({"type": "device.adopted", "device": device, "first": held.first, "last": held.last});
        if let serde_json::Value::Object(event) = event {
            draft.push(Item::Event(Event::Other(event)));
        }
        self.transaction(|vault| {
            let record = vault.author_records(draft)?;
            vault.refresh(&mut |_, _, _| {})?;
            Ok(Some(record))
        })
    }

    fn present(&self, device: &DeviceId) -> Result<aios_core::member::Member, Error> {
        match self.members().0.get(device) {
            Some(member) if member.revoked.is_none() => Ok(member.clone()),
            Some(member) => Err(Error::Usage(format!("{} is revoked already", member.name))),
            None => Err(Error::Unknown { what: "device", name: device.short(8) }),
        }
    }

    /// Whether somebody but `device` may change who is a member.
    fn check_others_administer(&self, device: &DeviceId) -> Result<(), Error> {
        let administers = |roles: &[String]| roles.iter().any(|role| role == ADMINISTER);
        let mut others = self.members().present().filter(|(other, _)| *other != device);
        match others.any(|(_, member)| member.operator.is_some() && administers(&member.roles)) {
            true => Ok(()),
            false => Err(Error::Usage(format!(
                "no device but {} may let devices in or revoke them: give another that role first, with `aios devices role NAME laptop`",
                self.members().name(device)
            ))),
        }
    }

    /// The member that goes by this name, or whose id begins with it; one that was revoked only where nobody else does.
    ///
    /// # Errors
    /// [`Error::Unknown`]; [`Error::Usage`] when it could be several.
    pub fn find_member(&self, name: &str) -> Result<DeviceId, Error> {
        let members = &self.members().0;
        let start = name.to_lowercase();
        let like = |device: &DeviceId| start.len() >= 4 && device.hex().starts_with(&start);
        let mut found: Vec<&DeviceId> =
            members.iter().filter(|(_, member)| member.name == name).map(|(device, _)| device).collect();
        if found.is_empty() {
            found = members.keys().filter(|device| like(device)).collect();
        }
        if found.len() > 1 && found.iter().any(|device| self.members().is_present(device)) {
            found.retain(|device| self.members().is_present(device));
        }
        match found[..] {
            [] => Err(Error::Unknown { what: "device", name: name.to_owned() }),
            [one] => Ok(*one),
            _ => Err(Error::Usage(format!(
                "`{name}` could be several devices: say the start of the id that `aios devices` shows"
            ))),
        }
    }

    /// Refuses a name that no new device can have.
    ///
    /// # Errors
    /// [`Error::Usage`]; [`Error::NameTaken`].
    pub fn check_new_name(&self, name: &str) -> Result<(), Error> {
        self.check_name(&DeviceId([0; 32]), name)
    }

    pub(crate) fn check_name(&self, device: &DeviceId, name: &str) -> Result<(), Error> {
        let length = name.chars().count();
        if length == 0 || length > MAX_NAME || name.chars().any(char::is_control) || name.trim() != name {
            return Err(Error::Usage(format!(
                "`{}` is no name for a device: it takes 1 to {MAX_NAME} characters, none of them a control character",
                name.escape_debug()
            )));
        }
        let folded = name.to_lowercase();
        let taken =
            self.members().present().any(|(id, member)| id != device && member.name.to_lowercase() == folded);
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
        self.check_decides()?;
        match self.authority.may(&key.public(), ADMINISTER, &self.view) {
            true => Ok(key),
            false => Err(Error::MayNot { what, role: ADMINISTER }),
        }
    }

    /// A signature over a statement that the next record is to hold, and whose it is: the root key's, or else the operator key's of
    /// this device.
    fn signed(
        &self,
        what: &'static str,
        root: Option<&SecretKey>,
        statement: &impl Statement,
    ) -> Result<(Bytes, DeviceId), Error> {
        let Some(root) = root else {
            let key = self.administrator(what)?;
            return Ok((Bytes(key.sign_statement(statement).to_vec()), key.public()));
        };
        self.check_root(root)?;
        Ok((Bytes(root.sign_as_root(&self.next_place()?, statement).to_vec()), root.public()))
    }

    /// Where the next record of this device will stand.
    pub(crate) fn next_place(&self) -> Result<Place, Error> {
        Ok(Place { device: self.replica.device, seq: self.next_seq()? })
    }

    pub(crate) fn tell(&mut self, message: String, event: Event) -> Result<(), Error> {
        let mut draft = Draft::operator(message);
        draft.push(Item::Event(event));
        self.transaction(|vault| {
            vault.author_records(draft)?;
            vault.hand_keys_on()?;
            vault.refresh(&mut |_, _, _| {})
        })
    }
}
