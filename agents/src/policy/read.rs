//! Reading policy files.

use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::{Cap, Per, Policy, Rate, Rule, Verdict, escalation};
use crate::cron;
use crate::mistake::{At, Mistake, Mistakes};
use crate::money::Money;
use crate::node::{Front, Node};

const KEYS: [&str; 16] = [
    "name",
    "verdict",
    "capability",
    "target",
    "amount",
    "agent",
    "tags",
    "workflow",
    "step",
    "hours",
    "days",
    "zone",
    "caps",
    "quiet",
    "rate",
    "escalate",
];

pub(super) fn policy(path: &str, text: &str, zones: &TimeZoneDatabase) -> Result<Policy, Vec<Mistake>> {
    let front = Front::read(text).map_err(|mistake| vec![mistake])?;
    let mut out = Mistakes::default();
    let mut policy = Policy::default();
    let root = &front.root;
    if root.map("the frontmatter", &mut out).is_some() {
        root.only("a policy", &["type", "title", "rules"], &mut out);
        match root.get("type") {
            Some(kind) if kind.as_text() == Some("policy") => {}
            Some(kind) => out.add(kind.at, "this is no policy: `type` must be `policy`"),
            None => out.hint(At::START, "it has no `type`", "write `type: policy`"),
        }
        match root.get("rules") {
            None => out.add(At::START, "it has no `rules`"),
            Some(rules) => {
                for node in rules.list("rules", &mut out).unwrap_or_default() {
                    if let Some(rule) = rule(path, node, zones, &mut out) {
                        if policy.rules.iter().any(|other| other.id == rule.id) {
                            let at = node.get("name").map_or(node.at, |name| name.at);
                            let name = rule.id.rsplit('#').next().unwrap_or_default();
                            out.add(at, format!("there are two rules called `{name}`"));
                        }
                        policy.rules.push(rule);
                    }
                }
            }
        }
    }
    match out.count() {
        0 => Ok(policy),
        _ => Err(out.into_vec()),
    }
}

fn rule(path: &str, node: &Node, zones: &TimeZoneDatabase, out: &mut Mistakes) -> Option<Rule> {
    node.map("a rule", out)?;
    node.only("a rule", &KEYS, out);
    let name = match node.get("name") {
        Some(name) => name.text("name", out),
        None => {
            out.add(node.at, "a rule needs a `name`");
            None
        }
    };
    let verdict = match node.get("verdict") {
        Some(it) => match it.as_text() {
            Some("allow") => Verdict::Allow,
            Some("ask") => Verdict::Ask,
            Some("deny") => Verdict::Deny,
            _ => {
                out.hint(it.at, "that is no verdict", "it is `allow`, `ask` or `deny`");
                Verdict::Ask
            }
        },
        None => {
            out.hint(node.at, "a rule needs a `verdict`", "it is `allow`, `ask` or `deny`");
            Verdict::Ask
        }
    };
    let mut texts = |name: &str| -> Vec<String> {
        let Some(list) = node.get(name) else { return Vec::new() };
        if list.items().is_empty() {
            out.add(list.at, format!("with nothing in `{name}` it would be about nothing"));
        }
        list.items().iter().filter_map(|item| item.text(name, out)).collect()
    };
    let (capabilities, targets) = (texts("capability"), texts("target"));
    let (agents, tags) = (texts("agent"), texts("tags"));
    let (workflows, steps) = (texts("workflow"), texts("step"));
    let amount = node.get("amount").and_then(|it| amount(it, out));
    let caps: Vec<Cap> =
        node.get("caps").map_or(&[][..], Node::items).iter().filter_map(|it| cap(it, out)).collect();
    let mut part_of_day = |name: &str| {
        let it = node.get(name)?;
        let found = it.as_text().and_then(hours);
        if found.is_none() {
            out.hint(it.at, "that is no part of a day", "write 09:00-17:30, or 22:00-07:00 over midnight");
        }
        found
    };
    let (hours, quiet) = (part_of_day("hours"), part_of_day("quiet"));
    let rates: Vec<Rate> =
        node.get("rate").map_or(&[][..], Node::items).iter().filter_map(|it| rate(it, out)).collect();
    let stages = node.get("escalate").map(|it| escalation::read(it, out)).unwrap_or_default();
    for (name, verdicts) in [
        ("rate", &[Verdict::Allow][..]),
        ("quiet", &[Verdict::Allow, Verdict::Ask]),
        ("escalate", &[Verdict::Allow, Verdict::Ask]),
    ] {
        if let Some(it) = node.get(name).filter(|_| !verdicts.contains(&verdict)) {
            out.add(it.at, format!("`{name}` says nothing of what is {}", verdict.participle()));
        }
    }
    let weekdays = node.get("days").and_then(|it| {
        let found = it.as_text().and_then(cron::weekdays);
        if found.is_none() {
            out.hint(it.at, "those are no days", "write mon-fri or sat,sun");
        }
        found
    });
    let zone = match node.get("zone") {
        Some(it) => {
            let name = it.text("zone", out)?;
            let zone = if name == "UTC" { Some(TimeZone::UTC) } else { zones.get(&name).ok() };
            if zone.is_none() {
                out.hint(
                    it.at,
                    format!("there is no time zone `{name}`"),
                    "names are those of the IANA database",
                );
            }
            zone
        }
        None => {
            let by_clock = caps.iter().any(|cap| cap.per != Per::Run);
            if hours.is_some() || quiet.is_some() || weekdays.is_some() || by_clock {
                out.hint(
                    node.at,
                    "hours, quiet hours, days and caps by time need `zone`",
                    "such as `zone: Europe/Amsterdam`",
                );
            }
            Some(TimeZone::UTC)
        }
    };
    Some(Rule {
        id: format!("{path}#{}", name?),
        verdict,
        capabilities,
        targets,
        amount,
        agents,
        tags,
        workflows,
        steps,
        hours,
        weekdays,
        zone: zone?,
        caps,
        quiet,
        rates,
        escalation: stages,
    })
}

fn money(node: &Node, out: &mut Mistakes) -> Option<Money> {
    match Money::of(&node.to_value()) {
        Ok(money) => Some(money),
        Err(error) => {
            out.add(node.at, error.to_string());
            None
        }
    }
}

fn amount(node: &Node, out: &mut Mistakes) -> Option<(Money, Money)> {
    node.map("amount", out)?;
    node.only("`amount`", &["from", "to"], out);
    let least = node.get("from").map_or(Some(Money(0)), |it| money(it, out));
    let most = node.get("to").map_or(Some(Money(u64::MAX)), |it| money(it, out));
    let (least, most) = least.zip(most)?;
    if least > most {
        out.add(node.at, format!("no amount is both at least {least} and at most {most}"));
    }
    Some((least, most))
}

fn cap(node: &Node, out: &mut Mistakes) -> Option<Cap> {
    node.map("caps", out)?;
    node.only("a cap", &["count", "money", "per"], out);
    let per = match node.get("per").map(|it| (it, it.as_text())) {
        Some((_, Some("run"))) => Per::Run,
        Some((_, Some("day"))) => Per::Day,
        Some((_, Some("month"))) => Per::Month,
        other => {
            let at = other.map_or(node.at, |(it, _)| it.at);
            out.hint(at, "that is no time to count over", "`per` is `run`, `day` or `month`");
            return None;
        }
    };
    let count = match node.get("count") {
        Some(it) => Some(it.whole("count", 0, u64::from(u32::MAX), out)?),
        None => None,
    };
    let money = match node.get("money") {
        Some(it) => Some(money(it, out)?),
        None => None,
    };
    if count.is_none() && money.is_none() {
        out.add(node.at, "a cap needs `count` or `money`");
    }
    Some(Cap { count, money, per })
}

fn rate(node: &Node, out: &mut Mistakes) -> Option<Rate> {
    node.map("rate", out)?;
    node.only("`rate`", &["count", "per"], out);
    let (window, per) = match node.get("per").map(|it| (it, it.as_text())) {
        Some((_, Some("minute"))) => (60_000, "minute"),
        Some((_, Some("hour"))) => (3_600_000, "hour"),
        other => {
            let at = other.map_or(node.at, |(it, _)| it.at);
            out.hint(at, "that is no time for a rate", "`per` is `minute` or `hour`");
            return None;
        }
    };
    let Some(count) = node.get("count") else {
        out.add(node.at, "a rate needs `count`");
        return None;
    };
    Some(Rate { count: count.whole("count", 1, u64::from(u32::MAX), out)?, window, per })
}

fn hours(text: &str) -> Option<(i32, i32)> {
    let minutes = |text: &str| {
        let (hour, minute) = text.trim().split_once(':')?;
        let (hour, minute): (i32, i32) = (hour.parse().ok()?, minute.parse().ok()?);
        let sound = (0..24).contains(&hour) && (0..60).contains(&minute) || (hour, minute) == (24, 0);
        sound.then_some(hour * 60 + minute)
    };
    let (from, to) = text.split_once('-')?;
    let (from, to) = (minutes(from)?, minutes(to)?);
    (from != to).then_some((from, to))
}
