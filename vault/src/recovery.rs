//! The recovery phrase at work: naming its root key, finding the vault that it is of, letting a device in with it. The phrase
//! itself is never stored (see `aios_core::phrase`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use aios_core::epoch::EpochKey;
use aios_core::event::{Event, RootKey};
use aios_core::frontier::Place;
use aios_core::id::{DeviceId, VaultId};
use aios_core::item::{Bytes, Item};
use aios_core::key::{MemberStatement, RecoveryStatement, SecretKey, Statement};
use aios_core::record::Record;

use crate::create::{MAKER_ROLES, machine_name};
use crate::epoch::EPOCH_KEYS;
use crate::error::Error;
use crate::mirror;
use crate::vault::Vault;

/// A vault that a phrase is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The vault.
    pub vault: VaultId,
    /// Its name.
    pub name: String,
    /// The keys of the epochs of a sealed vault.
    pub epochs: Vec<EpochKey>,
}

/// Looks through records that nobody proved for the vault that a root key belongs to. Only who has the phrase can sign
/// that a vault is its own, so a lying place can hide a vault and never put another in its place.
#[derive(Debug)]
pub struct Search {
    root: SecretKey,
    vaults: BTreeSet<VaultId>,
    names: BTreeMap<VaultId, String>,
    rooted: BTreeSet<VaultId>,
    found: Option<VaultId>,
    epochs: Vec<EpochKey>,
}

impl Search {
    /// For the vault of this root key.
    pub fn new(root: SecretKey) -> Self {
        let (vaults, names, rooted) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
        Search { root, vaults, names, rooted, found: None, epochs: Vec::new() }
    }

    /// Looks at a record.
    pub fn look(&mut self, record: &Record) {
        let (vault, place) = (record.header.vault, record.header.place());
        if record.verify_signature().is_err() {
            return;
        }
        self.vaults.insert(vault);
        // Few records hold one, and a large body takes long to read.
        let text = |line: &[u8]| {
            std::str::from_utf8(line)
                .is_ok_and(|body| body.contains(r#""root":"#) || body.contains(EPOCH_KEYS))
        };
        if place.seq > 1 && !text(&record.body_line) {
            return;
        }
        for item in record.body().map(|body| body.items).unwrap_or_default() {
            let root = match item {
                Item::Event(Event::VaultCreated { name, nonce, root, .. }) if place.seq == 1 => {
                    if VaultId::of(&place.device, &nonce, root.as_ref().map(|root| &root.key)) != vault {
                        continue;
                    }
                    self.names.insert(vault, name);
                    root
                }
                Item::Event(Event::RecoverySet { root, .. }) => Some(root),
                Item::Event(Event::EpochKeys { epoch, keys }) => {
                    let handed = keys.get(&self.root.public());
                    self.epochs.extend(handed.and_then(|key| EpochKey::take(&epoch, key, &self.root)));
                    None
                }
                _ => None,
            };
            if let Some(root) = root {
                self.rooted.insert(vault);
                let statement = RecoveryStatement { vault: &vault, root: &root.key, place };
                let signed =
                    <[u8; 64]>::try_from(root.sig.0).is_ok_and(|sig| statement.verify(&root.key, &sig));
                if root.key == self.root.public() && signed {
                    self.found = Some(vault);
                }
            }
        }
    }

    /// Looks at the mirrors of logs in the repository at `root`, under refs that begin with `prefix`.
    ///
    /// # Errors
    /// When it is no repository.
    pub fn look_in_git(&mut self, root: &Path, prefix: &str) -> Result<(), Error> {
        let repo = git2::Repository::open(root).map_err(crate::git::Error::git("opening a repository"))?;
        for device in mirror::devices_at(&repo, prefix)? {
            for record in mirror::records_at(&repo, &format!("{prefix}{device}"))? {
                self.look(&record);
            }
        }
        Ok(())
    }

    /// The vault.
    ///
    /// # Errors
    /// [`Error::NoVaultThere`], [`Error::NoPhrase`], [`Error::OtherPhrase`].
    pub fn end(self) -> Result<Found, Error> {
        match self.found {
            Some(vault) => {
                let name = self.names.get(&vault).cloned().unwrap_or_else(|| vault.short(8));
                Ok(Found { vault, name, epochs: self.epochs })
            }
            None if self.vaults.is_empty() => Err(Error::NoVaultThere),
            None if self.rooted.is_empty() => Err(Error::NoPhrase),
            None => Err(Error::OtherPhrase),
        }
    }
}

/// The root key that a record names at `place`, with its own signature.
pub(crate) fn named(vault: &VaultId, root: &SecretKey, place: Place) -> RootKey {
    let key = root.public();
    let sig = root.sign_statement(&RecoveryStatement { vault, root: &key, place });
    RootKey { key, sig: Bytes(sig.to_vec()) }
}

impl Vault {
    /// Checks that a root key is one of this vault.
    ///
    /// # Errors
    /// [`Error::NoPhrase`], [`Error::OtherPhrase`].
    pub fn check_root(&self, root: &SecretKey) -> Result<(), Error> {
        let roots = self.authority.roots();
        match roots.iter().any(|(key, ..)| *key == root.public()) {
            true => Ok(()),
            false if roots.is_empty() => Err(Error::NoPhrase),
            false => Err(Error::OtherPhrase),
        }
    }

    /// When the phrases of this vault were made, the highest first, ms since the Unix epoch.
    pub fn phrases(&self) -> Vec<u64> {
        self.authority.roots().iter().map(|(_, _, time)| *time).collect()
    }

    /// Names a root key, or one more that ranks below those there are.
    ///
    /// # Errors
    /// [`Error::Usage`] on any device but the one that made the vault; [`Error::NoOperator`]; [`Error::Revoked`].
    pub fn name_root(&mut self, root: &SecretKey) -> Result<(), Error> {
        self.go_on()?;
        if !self.authority.is_maker(&self.replica.device) {
            let maker = self.authority.made_by().map(|device| self.members().now(device));
            let name = maker.map(|device| self.members().name(&device)).unwrap_or_default();
            return Err(Error::Usage(format!(
                "only the device that made the vault, {name}, makes a recovery phrase for it"
            )));
        }
        let operator = self.administrator("make a recovery phrase")?;
        let place = self.next_place()?;
        let (vault, key) = (self.replica.vault, root.public());
        let statement = RecoveryStatement { vault: &vault, root: &key, place };
        let sig = Bytes(operator.sign_statement(&statement).to_vec());
        let event = Event::RecoverySet { root: named(&vault, root, place), sig, by: operator.public() };
        self.tell("Make a recovery phrase".into(), event)
    }

    /// Lets this device in with the root key; does nothing where it is a member. `name` is what it is called, else after the
    /// machine.
    ///
    /// # Errors
    /// [`Error::NoPhrase`], [`Error::OtherPhrase`]; [`Error::NameTaken`] and [`Error::Usage`] for a name.
    pub fn let_self_in(&mut self, root: &SecretKey, name: Option<&str>) -> Result<(), Error> {
        let device = self.replica.device;
        if self.members().is_present(&device) {
            return Ok(());
        }
        self.check_root(root)?;
        let name = match name {
            Some(name) => name.to_owned(),
            None => self.free_name(&machine_name()),
        };
        self.check_name(&device, &name)?;
        let roles: Vec<String> = MAKER_ROLES.map(str::to_owned).to_vec();
        let operator = self.operator()?.map(|key| key.public());
        let (vault, place) = (self.replica.vault, self.next_place()?);
        let statement = MemberStatement {
            vault: &vault,
            device: &device,
            name: &name,
            roles: &roles,
            operator: operator.as_ref(),
            place,
        };
        let sig = Bytes(root.sign_as_root(&place, &statement).to_vec());
        let message = format!("Let {name} in with the recovery phrase");
        self.tell(message, Event::DeviceAdded { device, name, roles, operator, sig, by: root.public() })
    }

    /// `name`, or one like it that nobody has.
    fn free_name(&self, name: &str) -> String {
        let folded = name.to_lowercase();
        match self.members().0.values().any(|member| member.name.to_lowercase() == folded) {
            true => self.next_name(name),
            false => name.to_owned(),
        }
    }

    /// The time of the newest record of each device that is here, newest first, ms since the Unix epoch.
    ///
    /// # Errors
    /// What the database answers.
    pub fn newest(&self) -> Result<Vec<(DeviceId, u64)>, Error> {
        let mut out = Vec::new();
        for end in self.view.iter() {
            if let Some(n) = self.number(&end)? {
                out.push((end.device, self.row(n)?.wall));
            }
        }
        out.sort_by_key(|(device, wall)| (std::cmp::Reverse(*wall), *device));
        Ok(out)
    }
}
