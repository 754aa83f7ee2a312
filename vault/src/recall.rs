//! Which vault and device a folder is when `.aios/replica.json` is gone: git still holds the mirror of the log, and the
//! keys lie outside the vault.

use aios_core::event::Event;
use aios_core::id::{DeviceId, VaultId};
use aios_core::item::Item;
use aios_core::record::Record;

use crate::create::folder_name;
use crate::error::Error;
use crate::git;
use crate::keys::Keys;
use crate::layout::{FORMAT, Layout, Replica};
use crate::mirror;

/// What the replica's name was. Of the devices whose log is here it is the one whose key is on this machine; where
/// there are several, the one called `device`.
pub(crate) fn recall(layout: &Layout, device: Option<&str>) -> Result<Replica, Error> {
    let repo = git::open_or_init(layout.root())?;
    let mut names = Names::default();
    let mut mine: Vec<(DeviceId, VaultId)> = Vec::new();
    for id in mirror::devices(&repo)? {
        let records = mirror::sound(&repo, &id)?;
        let Some(vault) = records.first().map(|record| record.header.vault) else { continue };
        records.iter().for_each(|record| names.learn(record));
        if Keys::load(&id).is_ok() {
            mine.push((id, vault));
        }
    }
    if let Some(wanted) = device {
        let called = names.called(wanted, mine.iter().map(|(id, _)| *id));
        mine.retain(|(id, _)| called.contains(id));
    }
    match mine[..] {
        [(device, vault)] => {
            let name = names.vault(&vault).map_or_else(|| folder_name(layout.root()), str::to_owned);
            Ok(Replica { format: FORMAT, vault, device, name })
        }
        [] => Err(Error::NoReplica { root: layout.root().to_owned(), device: device.map(str::to_owned) }),
        _ => {
            let shown = mine.iter().map(|(id, _)| match names.device(id) {
                Some(name) => format!("{name} ({})", id.short(8)),
                None => id.short(8),
            });
            Err(Error::Usage(format!(
                "this machine has the keys of several devices whose logs are here: {}; say which of them this folder \
                 was with `aios rebuild --device NAME`",
                shown.collect::<Vec<_>>().join(", ")
            )))
        }
    }
}

/// What records say vaults and devices are called.
#[derive(Default)]
struct Names {
    vaults: Vec<(VaultId, String)>,
    devices: Vec<(DeviceId, String)>,
}

impl Names {
    fn learn(&mut self, record: &Record) {
        for item in record.body().map(|body| body.items).unwrap_or_default() {
            match item {
                Item::Event(Event::VaultCreated { name, device_name, .. }) => {
                    self.vaults.push((record.header.vault, name));
                    self.devices.push((record.header.device, device_name));
                }
                Item::Event(
                    Event::DeviceAdded { device, name, .. } | Event::DeviceRenamed { device, name },
                ) => self.devices.push((device, name)),
                Item::Event(Event::DeviceRotated { device, .. }) => {
                    let old = self.device(&record.header.device).map(str::to_owned);
                    self.devices.extend(old.map(|name| (device, name)));
                }
                _ => {}
            }
        }
    }

    fn vault(&self, vault: &VaultId) -> Option<&str> {
        self.vaults.iter().find(|(id, _)| id == vault).map(|(_, name)| name.as_str())
    }

    fn device(&self, device: &DeviceId) -> Option<&str> {
        self.devices.iter().rev().find(|(id, _)| id == device).map(|(_, name)| name.as_str())
    }

    /// Those of `devices` that go by the name `wanted`, or else whose id begins with it.
    fn called(&self, wanted: &str, devices: impl Iterator<Item = DeviceId> + Clone) -> Vec<DeviceId> {
        let named: Vec<_> = devices.clone().filter(|id| self.device(id) == Some(wanted)).collect();
        match named.is_empty() {
            true => devices.filter(|id| id.hex().starts_with(&wanted.to_lowercase())).collect(),
            false => named,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_before_the_start_of_an_id() {
        let [one, other] = [0xd0, 0x11].map(|byte| DeviceId([byte; 32]));
        let names =
            Names { devices: vec![(one, "desk".to_owned()), (other, "d0".to_owned())], ..Names::default() };
        let called = |wanted| names.called(wanted, [one, other].into_iter());
        assert_eq!(called("d0"), [other]);
        assert_eq!(called("D0D0"), [one]);
        assert_eq!(called("desk"), [one]);
        assert_eq!(called("d1"), []);
    }
}
