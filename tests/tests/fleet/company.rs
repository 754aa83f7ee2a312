//! What the company does, and by which rules.

use std::collections::BTreeMap;

use aios_agents::connector::is_of_files;
use aios_agents::cron::Cron;
use aios_agents::event::Content;
use aios_agents::kernel::{Connector, Schedule, Setting, Terms};
use aios_agents::money::Money;
use aios_agents::policy::{Policies, Policy, Verdict};
use aios_agents::workflow::{Known, Trigger, Workflow};
use aios_core::id::{ContentHash, DeviceId, VaultId};
use aios_core::key::SecretKey;
use jiff::tz::TimeZone;

use crate::flows;

pub const VAULT: VaultId = VaultId([7; 32]);
pub const START: u64 = 1_790_000_000_000;
/// Whose work offers are, and who may be delegated to send them.
pub const SALES: &str = "sales";
/// The most mails of the newsletter in a day.
pub const NEWSLETTERS: usize = 2;

pub const CAPABILITIES: [&str; 6] =
    ["mail.send", "bank.pay", "file.write", "mail.spam", "file.create", "file.set"];
/// The agent that calls models.
pub const WRITER: &str = "writer";
/// The most that a piece of its work costs, in cents.
pub const COSTS: u64 = 5;
/// The most that models cost in a day, in cents.
pub const MODEL_CAP: u64 = 100;
/// The most money for wages in a day, in cents.
pub const WAGE_CAP: u64 = 3000;

pub fn device(n: usize) -> DeviceId {
    DeviceId([n as u8 + 1; 32])
}

pub fn operator() -> SecretKey {
    SecretKey::from_bytes(&[5; 32])
}

/// What the policy says of an effect, caps aside.
pub fn verdict(content: &Content) -> Verdict {
    match content.capability.as_str() {
        "mail.spam" => Verdict::Deny,
        "file.write" | "file.create" | "file.set" => Verdict::Allow,
        "mail.send" | "bank.pay" if !content.tags.is_empty() => Verdict::Allow,
        _ => Verdict::Ask,
    }
}

/// What changes by records: the device that coordinates, and the homes of connectors.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub coordinator: usize,
    pub homes: BTreeMap<String, Option<usize>>,
    /// Whether the second version of offers is in force.
    pub next_offer: bool,
}

/// What every device knows, read once.
#[derive(Debug, Clone)]
pub struct Company {
    setting: Setting,
    /// Whether its writer calls models, which costs money that is capped.
    pub calls_models: bool,
    next_offer: ContentHash,
}

impl Company {
    /// `knows_keys` are the capabilities of which the far side knows keys.
    pub fn new(knows_keys: &[&str], calls_models: bool) -> Company {
        let mut setting =
            Setting { operators: [operator().public()].into(), maker: Some(device(0)), ..Setting::default() };
        let next_offer = flows::next_offer();
        for (name, text) in [
            // The first of a name is replaced by the next.
            ("offer", next_offer.as_str()),
            ("offer", flows::OFFER),
            ("news", flows::NEWS),
            ("chase", flows::CHASE),
            ("thank", flows::THANK),
            ("receipt", flows::RECEIPT),
            ("books", flows::BOOKS),
            ("bill", flows::BILL),
            ("collect", flows::COLLECT),
            ("wages", flows::WAGES),
            ("report", flows::REPORT),
            ("book", flows::BOOK),
        ] {
            let version = ContentHash::of(text.as_bytes());
            let workflow =
                Workflow::read(text, &Known::default()).unwrap_or_else(|e| panic!("{name}: {e:?}"));
            for trigger in &workflow.triggers {
                let Trigger::Cron { cron, .. } = trigger else { continue };
                let (workflow, cron): (String, Cron) = (name.to_owned(), cron.clone());
                setting.schedules.push(Schedule { workflow, cron, zone: TimeZone::UTC, since: START });
            }
            setting.versions.insert(version, workflow);
            setting.current.insert(name.to_owned(), version);
        }
        let policy =
            Policy::read("p", flows::POLICY, jiff::tz::db()).unwrap_or_else(|e| panic!("policy: {e:?}"));
        setting.policies = Policies::of(vec![("p".to_owned(), Ok(policy))]);
        let money = Some(Money(COSTS));
        let terms = Terms {
            version: ContentHash([9; 32]),
            effects: None,
            always_asks: false,
            retry: None,
            calls_models,
            money,
        };
        setting.agents.insert(WRITER.to_owned(), terms);
        for name in CAPABILITIES {
            let files = is_of_files(name);
            let knows_keys = files || knows_keys.contains(&name);
            let connector = Connector { knows_keys, inward: files, ..Connector::default() };
            setting.connectors.insert(name.to_owned(), connector);
        }
        Company { setting, calls_models, next_offer: ContentHash::of(next_offer.as_bytes()) }
    }

    pub fn setting(&self, rules: &Rules) -> Setting {
        let mut setting = self.setting.clone();
        setting.coordinator = Some(device(rules.coordinator));
        if rules.next_offer {
            setting.current.insert("offer".into(), self.next_offer);
        }
        for (name, home) in &rules.homes {
            if let Some(connector) = setting.connectors.get_mut(name) {
                connector.home = home.map(device);
            }
        }
        setting
    }
}
