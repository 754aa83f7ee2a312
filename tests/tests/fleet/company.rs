//! What the company does, and by which rules.

use std::collections::BTreeMap;

use aios_agents::cron::Cron;
use aios_agents::event::Content;
use aios_agents::kernel::{Connector, Schedule, Setting};
use aios_agents::policy::{Policies, Policy, Verdict};
use aios_agents::workflow::{Known, Trigger, Workflow};
use aios_core::id::{ContentHash, DeviceId, VaultId};
use aios_core::key::SecretKey;
use jiff::tz::TimeZone;

pub const VAULT: VaultId = VaultId([7; 32]);
pub const START: u64 = 1_790_000_000_000;
/// Whose work offers are, and who may be delegated to send them.
pub const SALES: &str = "sales";
/// The most mails of the newsletter in a day.
pub const NEWSLETTERS: usize = 2;

/// Client by client, with what takes it back; started by hand.
const OFFER: &str = "---
type: workflow
input: {type: object, required: [clients], properties: {clients: {type: array}}}
steps:
  draft: {agent: writer, input: '{{ input.clients }}', retry: {attempts: 4, first: 1m}}
  sure: {ask: 'Send it?', choices: [send, stop], timeout: 5d}
  way:
    choose:
      - when: steps.sure.answer == 'send'
        go: all
      - else: end
  all:
    each: input.clients
    as: client
    at_once: 2
    steps:
      send:
        effect: mail.send
        target: '{{ client }} of {{ task }}'
        args: {text: offer}
        agent: sales
        retry: {attempts: 3, first: 1m}
        compensate: {effect: mail.send, target: '{{ client }} of {{ task }}', args: {text: sorry}, tags: [sorry]}
  book: {effect: bank.pay, target: '{{ task }}', amount: 12, args: {}, retry: {attempts: 2, first: 1m}}
---
";
/// By a schedule: allowed up to a cap.
const NEWS: &str = "---
type: workflow
on: {cron: '0 */6 * * *', zone: UTC}
steps:
  send: {effect: mail.send, target: 'readers {{ task }}', args: {text: news}, tags: [news]}
  rest: {wait: 2h}
  note: {effect: file.write, target: 'note {{ task }}', args: {}}
---
";
/// For every invoice.
const CHASE: &str = "---
type: workflow
on:
  - {entity: created, type: invoice}
input: {type: object, required: [client], properties: {client: {type: string}}}
steps:
  paid: {wait: {event: bank.paid, where: event.client == input.client, deadline: 2d}}
  both:
    parallel:
      one: {file: {effect: file.write, target: 'file {{ input.client }}', args: {}}}
      two: {sub: {workflow: thank, input: {client: '{{ input.client }}'}}}
  spam: {effect: mail.spam, target: '{{ input.client }}', args: {}, on_error: end}
---
";
const THANK: &str = "---
type: workflow
input: {type: object, required: [client], properties: {client: {type: string}}}
steps:
  send: {effect: mail.send, target: 'thanks {{ input.client }}', args: {}, tags: [thanks], timeout: 4d}
---
";
/// For what is paid, and tells of it.
const RECEIPT: &str = "---
type: workflow
on: {event: bank.paid, where: event.client != 'client 1'}
input: {type: object, properties: {client: {type: string}}}
steps:
  write: {effect: file.write, target: 'receipt {{ trigger.id }}', args: {}}
  tell: {emit: books.changed, data: {client: '{{ input.client }}'}}
---
";
const BOOKS: &str = "---
type: workflow
on: {event: books.changed}
steps: {note: {effect: file.write, target: 'books {{ trigger.id }}', args: {}}}
---
";
const POLICY: &str = "---
type: policy
rules:
  - {name: spam, verdict: deny, capability: mail.spam}
  - {name: news, verdict: allow, capability: mail.send, tags: [news], zone: UTC, caps: [{count: 2, per: day}], rate: {count: 1, per: hour}}
  - {name: sorry, verdict: allow, capability: mail.send, tags: [sorry]}
  - {name: thanks, verdict: allow, capability: mail.send, tags: [thanks]}
  - {name: files, verdict: allow, capability: file.write, zone: UTC, quiet: '02:00-05:00'}
  - {name: offers, verdict: ask, capability: mail.send, escalate: [{after: 6h, ask: 'Now?'}, {after: 3d, deny: nobody decided}]}
---
";

pub const CAPABILITIES: [&str; 4] = ["mail.send", "bank.pay", "file.write", "mail.spam"];

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
        "file.write" => Verdict::Allow,
        "mail.send" if !content.tags.is_empty() => Verdict::Allow,
        _ => Verdict::Ask,
    }
}

/// What changes by records: the device that coordinates, and the homes of connectors.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub coordinator: usize,
    pub homes: BTreeMap<String, Option<usize>>,
}

/// What every device knows, read once.
#[derive(Debug, Clone)]
pub struct Company {
    setting: Setting,
}

impl Company {
    /// `knows_keys` are the capabilities of which the far side knows keys.
    pub fn new(knows_keys: &[&str]) -> Company {
        let mut setting =
            Setting { operators: [operator().public()].into(), maker: Some(device(0)), ..Setting::default() };
        for (name, text) in [
            ("offer", OFFER),
            ("news", NEWS),
            ("chase", CHASE),
            ("thank", THANK),
            ("receipt", RECEIPT),
            ("books", BOOKS),
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
        let policy = Policy::read("p", POLICY, jiff::tz::db()).unwrap_or_else(|e| panic!("policy: {e:?}"));
        setting.policies = Policies::of(vec![("p".to_owned(), Ok(policy))]);
        for name in CAPABILITIES {
            let connector = Connector { knows_keys: knows_keys.contains(&name), ..Connector::default() };
            setting.connectors.insert(name.to_owned(), connector);
        }
        Company { setting }
    }

    pub fn setting(&self, rules: &Rules) -> Setting {
        let mut setting = self.setting.clone();
        setting.coordinator = Some(device(rules.coordinator));
        for (name, home) in &rules.homes {
            if let Some(connector) = setting.connectors.get_mut(name) {
                connector.home = home.map(device);
            }
        }
        setting
    }
}
