//! What is in force where work is done: workflows, policies, connectors, and who the devices are.

use std::collections::{BTreeMap, BTreeSet};

use aios_agents::connector::{CREATE, Connector as Written, Kind, SEND, SET};
use aios_agents::event::WorkEvent;
use aios_agents::kernel::{Connector, Schedule, Setting};
use aios_agents::needs::Offer;
use aios_agents::policy::{Policies, Policy};
use aios_agents::workflow::{Known, Trigger, Workflow, alone};
use aios_core::event::Event;
use aios_core::id::{ContentHash, DeviceId};
use aios_core::member::{APPROVE, COORDINATE};
use aios_vault::profile::Profile;
use aios_vault::work::Happened;
use aios_vault::{Error, Vault};
use jiff::tz::TimeZone;

use crate::command::written::{stem, works};
use crate::post::Post;

/// What is done where no connector says how.
const OWN: [(&str, Kind); 3] = [(SEND, Kind::Outbox), (CREATE, Kind::Files), (SET, Kind::Files)];
/// What the kernel works for. Where it changes, the desk is set up anew.
#[derive(Debug, PartialEq, Eq)]
pub struct Standing {
    /// This device.
    pub device: DeviceId,
    /// The versions in force, by path.
    pub rules: BTreeMap<String, ContentHash>,
    /// The keys that may consent.
    pub operators: BTreeSet<DeviceId>,
    /// The members, by name.
    pub names: BTreeMap<String, DeviceId>,
    /// The device that does what has no home.
    pub coordinator: Option<DeviceId>,
}

impl Standing {
    /// As the vault has it now.
    pub fn of(vault: &Vault) -> Result<Standing, Error> {
        let members = || vault.members().present();
        let may = members().filter(|(_, member)| member.roles.iter().any(|role| role == APPROVE));
        // Of several the one that was added first.
        let coordinates = members().filter(|(_, member)| member.roles.iter().any(|role| role == COORDINATE));
        let first = coordinates.min_by_key(|(device, member)| (member.time, **device));
        Ok(Standing {
            coordinator: first.map(|(device, _)| *device),
            device: vault.device(),
            rules: vault.rules_in_force()?,
            operators: may.filter_map(|(_, member)| member.operator).collect(),
            names: members().map(|(device, member)| (member.name.clone(), *device)).collect(),
        })
    }
}

/// Which version of which workflow tasks began or went on with.
pub fn began(happened: &[Happened]) -> BTreeSet<(String, ContentHash)> {
    let events = happened.iter().flat_map(|(_, events)| events);
    // Most events are others, and reading one is most of the work.
    let tells = |event: &&Event| match event {
        Event::Other(map) => {
            map.get("type").is_some_and(|name| name == "task.created" || name == "run.migrated")
        }
        _ => false,
    };
    let began = events.filter(tells).filter_map(|event| match WorkEvent::try_from(event) {
        Ok(
            WorkEvent::TaskCreated { workflow, version, .. }
            | WorkEvent::RunMigrated { workflow, to: Some(version), .. },
        ) => Some((workflow, version)),
        _ => None,
    });
    began.collect()
}

/// What is in force, and every version that a task began with.
pub fn setting(
    vault: &mut Vault,
    began: impl IntoIterator<Item = (String, ContentHash)>,
    standing: &Standing,
    warnings: &mut Vec<String>,
) -> Result<Setting, Error> {
    let mut setting = Setting {
        operators: standing.operators.clone(),
        coordinator: standing.coordinator,
        maker: vault.made_by(),
        members: standing.names.values().copied().collect(),
        offer: Some(offer(vault)),
        ..Setting::default()
    };
    for file in vault.in_force("workflows")? {
        match Workflow::read(&file.text, &Known::default()) {
            Ok(workflow) => {
                for trigger in &workflow.triggers {
                    let Trigger::Cron { cron, zone } = trigger else { continue };
                    let found = if zone == "UTC" { Ok(TimeZone::UTC) } else { jiff::tz::db().get(zone) };
                    match found {
                        Ok(zone) => setting.schedules.push(Schedule {
                            workflow: stem(&file.path),
                            cron: cron.clone(),
                            zone,
                            since: file.since,
                        }),
                        Err(_) => {
                            warnings.push(format!("{}: this system knows no time zone `{zone}`", file.path));
                        }
                    }
                }
                setting.since.insert(stem(&file.path), file.since);
                setting.current.insert(stem(&file.path), file.version);
                setting.versions.insert(file.version, workflow);
            }
            Err(_) => warnings.push(format!("{} has mistakes; see `aios workflow check`", file.path)),
        }
    }
    // An agent that is called like a workflow works within that one alone.
    for file in vault.in_force("agents")?.into_iter().filter(|file| works(&file.text)) {
        let name = stem(&file.path);
        if !setting.current.contains_key(&name)
            && let Some((version, workflow)) = alone::workflow(&name)
        {
            setting.current.insert(name, version);
            setting.versions.insert(version, workflow);
        }
    }
    for (workflow, version) in began {
        if let Some((own, alone)) = alone::workflow(&workflow).filter(|(own, _)| *own == version) {
            setting.versions.insert(own, alone);
        } else if !setting.versions.contains_key(&version)
            && let Some(text) = vault.text_at_version(&format!("workflows/{workflow}.md"), &version)?
            && let Ok(workflow) = Workflow::read(&text, &Known::default())
        {
            setting.versions.insert(version, workflow);
        }
    }
    let policies = vault.in_force("policies")?.into_iter().map(|file| {
        let policy = Policy::read(&file.path, &file.text, jiff::tz::db());
        (file.path, policy)
    });
    setting.policies = Policies::of(policies.collect());
    Ok(setting)
}

/// What this device offers to work.
fn offer(vault: &Vault) -> Offer {
    let profile = vault.profile();
    Offer {
        whole: !profile.is_lean(),
        heavy: profile == Profile::Worker,
        models: BTreeSet::new(),
        memory: memory_mb(),
    }
}

/// The memory of the machine in MB, in steps in which it does not change from one start to the next; 0 where that is not known.
fn memory_mb() -> u64 {
    #[cfg(target_os = "linux")]
    {
        let info = rustix::system::sysinfo();
        let bytes = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit));
        (bytes >> 20) / 256 * 256
    }
    #[cfg(not(target_os = "linux"))]
    0
}

/// What can be done to the world, and how it is done here.
pub fn connectors(
    vault: &mut Vault,
    setting: &mut Setting,
    standing: &Standing,
    post: &Post,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<String, Kind>, Error> {
    let mut ways = BTreeMap::new();
    let mut wrong = false;
    for file in vault.in_force("connectors")? {
        let Written { provides, kind, home } = match Written::read(&file.text) {
            Ok(connector) => connector,
            Err(mistakes) => {
                let first = mistakes.first().map(|it| format!(":{} {}", it.at, it.what)).unwrap_or_default();
                warnings.push(format!("{}{first}", file.path));
                wrong = true;
                continue;
            }
        };
        let home = match home.map(|name| standing.names.get(&name).copied().ok_or(name)) {
            None => None,
            Some(Ok(device)) => Some(device),
            Some(Err(name)) => {
                warnings.push(format!("{}: there is no device `{name}`", file.path));
                wrong = true;
                continue;
            }
        };
        for capability in provides {
            if ways.insert(capability.clone(), kind).is_some() {
                let what = format!("another connector can `{capability}`, too; the last counts");
                warnings.push(format!("{}: {what}", file.path));
            }
            setting.connectors.insert(capability, connector(kind, home, file.since, post));
        }
    }
    // With a connector that cannot be used it is not known who should do it.
    for (capability, kind) in
        OWN.into_iter().filter(|(name, _)| !wrong && !ways.contains_key(*name)).collect::<Vec<_>>()
    {
        setting.connectors.insert(capability.to_owned(), connector(kind, None, 0, post));
        ways.insert(capability.to_owned(), kind);
    }
    Ok(ways)
}

fn connector(kind: Kind, home: Option<DeviceId>, since: u64, post: &Post) -> Connector {
    let (knows_keys, inward, check) = (kind.knows_keys(), kind.is_inward(), post.check(kind));
    Connector { knows_keys, home, since, check, inward }
}
