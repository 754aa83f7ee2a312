//! What starts a workflow.

use super::Known;
use crate::cron::Cron;
use crate::event::is_event_name;
use crate::expression::{Expression, Names};
use crate::mistake::{Mistakes, nearest};
use crate::node::Node;

/// What becomes of an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was made.
    Created,
    /// It was changed.
    Changed,
}

/// What starts a workflow.
#[derive(Debug, Clone, PartialEq)]
pub enum Trigger {
    /// The operator, with `aios run`.
    Manual,
    /// A schedule.
    Cron {
        /// The schedule.
        cron: Cron,
        /// Its time zone.
        zone: String,
    },
    /// An entity in the vault.
    Entity {
        /// What becomes of it.
        change: Change,
        /// Its `type:`.
        kind: String,
        /// Which of them.
        filter: Option<Expression>,
    },
    /// An event from outside, such as `mail.received`.
    Event {
        /// Its type.
        name: String,
        /// Which of them.
        filter: Option<Expression>,
    },
    /// A call over HTTP.
    Webhook {
        /// The path, such as `/stripe`.
        path: String,
    },
}

const KINDS: [&str; 5] = ["manual", "cron", "entity", "event", "webhook"];

impl Trigger {
    /// Reads `on:`: one trigger or a list of them.
    pub(super) fn read_all(node: &Node, known: &Known, out: &mut Mistakes) -> Vec<Trigger> {
        node.items().iter().filter_map(|item| Trigger::read(item, known, out)).collect()
    }

    fn read(node: &Node, known: &Known, out: &mut Mistakes) -> Option<Trigger> {
        let kinds = format!("it may be {}", KINDS.join(", "));
        if let Some(text) = node.as_text() {
            if text == "manual" {
                return Some(Trigger::Manual);
            }
            match nearest(text, KINDS) {
                Some(near) if near != text => {
                    out.hint(
                        node.at,
                        format!("nothing is started by `{text}`"),
                        format!("`{near}` is meant?"),
                    );
                }
                Some(_) => out.add(node.at, format!("`{text}` needs to say more: write `{text}: ...`")),
                None => out.hint(node.at, format!("nothing is started by `{text}`"), kinds),
            }
            return None;
        }
        node.map("on", out)?;
        match KINDS.iter().find(|kind| node.get(kind).is_some()) {
            Some(&"manual") => Some(Trigger::Manual),
            Some(&"cron") => read_cron(node, known, out),
            Some(&"entity") => {
                node.only("an entity trigger", &["entity", "type", "where"], out);
                let change = node.get("entity")?;
                let change = match change.as_text() {
                    Some("created") => Some(Change::Created),
                    Some("changed") => Some(Change::Changed),
                    _ => {
                        out.hint(
                            change.at,
                            "that does not happen to entities",
                            "write `created` or `changed`",
                        );
                        None
                    }
                };
                let Some(kind) = node.get("type") else {
                    out.add(node.at, "an entity trigger needs `type`, the entity's type");
                    return None;
                };
                let filter = filter(node, "entity", out);
                Some(Trigger::Entity { change: change?, kind: kind.text("type", out)?, filter })
            }
            Some(&"event") => {
                node.only("an event trigger", &["event", "where"], out);
                let at = node.get("event")?;
                let name = at.text("event", out)?;
                if !is_event_name(&name) && !is_hook_path(&name) {
                    out.hint(at.at, format!("`{name}` cannot name an event"), "such as `bank.paid`");
                }
                Some(Trigger::Event { name, filter: filter(node, "event", out) })
            }
            Some(&"webhook") => {
                node.only("a webhook trigger", &["webhook"], out);
                let at = node.get("webhook")?;
                let path = at.text("webhook", out)?;
                if !is_hook_path(&path) {
                    out.add(
                        at.at,
                        "a webhook's path begins with `/` and has letters, digits, `-`, `_`, `.`, `/`",
                    );
                    return None;
                }
                Some(Trigger::Webhook { path })
            }
            _ => {
                out.hint(node.at, "that starts nothing", kinds);
                None
            }
        }
    }
}

/// Whether a text can be the path of a webhook.
pub fn is_hook_path(path: &str) -> bool {
    let sound = path.len() > 1 && path.len() <= 80 && path.starts_with('/') && !path.contains("..");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
    sound && path.bytes().all(plain)
}

fn read_cron(node: &Node, known: &Known, out: &mut Mistakes) -> Option<Trigger> {
    node.only("a schedule", &["cron", "zone"], out);
    let at = node.get("cron")?;
    let cron = match Cron::parse(&at.text("cron", out)?) {
        Ok(cron) => Some(cron),
        Err(error) => {
            out.add(at.at, error.to_string());
            None
        }
    };
    let Some(zone) = node.get("zone") else {
        out.hint(node.at, "a schedule needs `zone`", "write `zone: Europe/Amsterdam` or `zone: UTC`");
        return None;
    };
    let name = zone.text("zone", out)?;
    let there = known.zones.as_ref().is_none_or(|zones| name == "UTC" || zones.get(&name).is_ok());
    if !there {
        out.hint(zone.at, format!("there is no time zone `{name}`"), "names are those of the IANA database");
    }
    Some(Trigger::Cron { cron: cron?, zone: name })
}

/// The filter under `where`, over the one name it may use.
fn filter(node: &Node, root: &str, out: &mut Mistakes) -> Option<Expression> {
    let names = Names { roots: vec![root.to_owned()], ..Names::default() };
    Expression::read(node.get("where")?, "where", &names, out)
}
