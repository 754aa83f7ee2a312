//! Policies: files that say which effects are allowed, asked about or denied (I11).
//!
//! Rules are looked at in order, files by name; the first that fits decides. With no rule that fits, and with any
//! file that cannot be read, effects ask.

mod read;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};

use crate::mistake::Mistake;
use crate::money::Money;
use crate::span::Millis;

/// What is done with an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It happens.
    Allow,
    /// The operator is asked.
    Ask,
    /// It does not happen.
    Deny,
}

impl Verdict {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Allow => "allow",
            Verdict::Ask => "ask",
            Verdict::Deny => "deny",
        }
    }
}

/// What a policy is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proposal {
    /// Such as `mail.send`.
    pub capability: String,
    /// To whom or what.
    pub target: String,
    /// The money it moves or costs.
    pub amount: Option<Money>,
    /// The agent whose work it is.
    pub agent: Option<String>,
    /// What its step calls it.
    pub tags: Vec<String>,
}

/// The time over which a cap counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// A run.
    Run,
    /// A day in the rule's time zone.
    Day,
    /// A month in the rule's time zone.
    Month,
}

impl Per {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Per::Run => "run",
            Per::Day => "day",
            Per::Month => "month",
        }
    }
}

/// The most that a rule allows by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cap {
    /// So many effects.
    pub count: Option<u64>,
    /// So much money.
    pub money: Option<Money>,
    /// In that time.
    pub per: Per,
}

/// What a rule allowed so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Usage {
    /// So many effects.
    pub count: u64,
    /// So much money.
    pub money: Money,
}

impl Usage {
    /// One effect more, with its amount.
    pub fn add(&mut self, amount: Option<Money>) {
        self.count += 1;
        self.money = self.money.plus(amount.unwrap_or_default());
    }
}

/// Which of a rule's effects count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Those of the same run.
    SameRun,
    /// Those from that moment on.
    At(Millis),
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its file and name, such as `policies/mail.md#reminders`.
    pub id: String,
    verdict: Verdict,
    capabilities: Vec<String>,
    targets: Vec<String>,
    amount: Option<(Money, Money)>,
    agents: Vec<String>,
    tags: Vec<String>,
    /// Minutes of a day: from, to.
    hours: Option<(i32, i32)>,
    weekdays: Option<u64>,
    zone: TimeZone,
    caps: Vec<Cap>,
}

/// The rules of one file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policy {
    /// In the order of the file.
    pub rules: Vec<Rule>,
}

/// All policies in force.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policies {
    rules: Vec<Rule>,
    broken: Vec<String>,
}

/// What is decided, and how it came to that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// What is done.
    pub verdict: Verdict,
    /// The rule that decided; none: the default.
    pub rule: Option<String>,
    /// Why, in one line.
    pub why: String,
    /// The rules before it and why they did not fit.
    pub passed: Vec<Passed>,
}

/// A rule that did not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Passed {
    /// The rule.
    pub rule: String,
    /// What did not fit.
    pub why: String,
}

impl Cap {
    /// Which effects count at a time; none where that cannot be told.
    fn since(&self, now: &Zoned) -> Option<Since> {
        match self.per {
            Per::Run => Some(Since::SameRun),
            Per::Day => now.start_of_day().ok().map(|it| Since::At(millis(&it))),
            Per::Month => {
                let first = now.first_of_month().and_then(|it| it.start_of_day());
                first.ok().map(|it| Since::At(millis(&it)))
            }
        }
    }
}

impl Policy {
    /// Reads a policy file called `path`; `zones` has the time zones of the system.
    pub fn read(path: &str, text: &str, zones: &jiff::tz::TimeZoneDatabase) -> Result<Policy, Vec<Mistake>> {
        read::policy(path, text, zones)
    }
}

impl Policies {
    /// Those of files, which go by their paths.
    pub fn of(mut files: Vec<(String, Result<Policy, Vec<Mistake>>)>) -> Policies {
        files.sort_by(|a, b| a.0.cmp(&b.0));
        let mut out = Policies::default();
        for (path, policy) in files {
            match policy {
                Ok(policy) => out.rules.extend(policy.rules),
                Err(_) => out.broken.push(path),
            }
        }
        out
    }

    /// All caps, each with its rule and the effects that count now.
    pub fn caps(&self, now: Millis) -> impl Iterator<Item = (&str, &Cap, Option<Since>)> {
        let at = moment(now);
        self.rules.iter().flat_map(move |rule| {
            let now = at.to_zoned(rule.zone.clone());
            rule.caps.iter().map(move |cap| (rule.id.as_str(), cap, cap.since(&now)))
        })
    }

    /// What is done with an effect at `now`; `usage` says what a rule allowed so far.
    pub fn decide(&self, proposal: &Proposal, now: Millis, usage: &dyn Fn(&str, Since) -> Usage) -> Decision {
        let at = moment(now);
        let mut passed = Vec::new();
        let mut decision = None;
        for rule in &self.rules {
            match rule.misfit(proposal, &at.to_zoned(rule.zone.clone())) {
                Some(why) => passed.push(Passed { rule: rule.id.clone(), why }),
                None => {
                    decision = Some(rule.verdict_within(proposal, &at.to_zoned(rule.zone.clone()), usage));
                    break;
                }
            }
        }
        let (mut verdict, rule, mut why) =
            decision.unwrap_or((Verdict::Ask, None, "no rule fits, and effects ask by default".to_owned()));
        if let (Verdict::Allow, Some(broken)) = (verdict, self.broken.first()) {
            verdict = Verdict::Ask;
            why = format!("{broken} cannot be read, so nothing is allowed by itself");
        }
        Decision { verdict, rule, why, passed }
    }
}

impl Rule {
    /// Why the rule is not about that; nothing if it is.
    fn misfit(&self, proposal: &Proposal, now: &Zoned) -> Option<String> {
        let any = |patterns: &[String], text: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| fits(pattern, text))
        };
        if !any(&self.capabilities, &proposal.capability) {
            return Some(format!("it is about {}", self.capabilities.join(", ")));
        }
        if !any(&self.targets, &proposal.target) {
            return Some(format!("the target is not {}", self.targets.join(", ")));
        }
        if !any(&self.agents, proposal.agent.as_deref().unwrap_or_default()) {
            return Some(format!("the agent is not {}", self.agents.join(", ")));
        }
        if let Some(tag) = self.tags.iter().find(|tag| !proposal.tags.contains(tag)) {
            return Some(format!("it has no tag {tag}"));
        }
        if let Some((least, most)) = self.amount {
            match proposal.amount {
                None => return Some("it has no amount".to_owned()),
                Some(amount) if amount < least => return Some(format!("{amount} is less than {least}")),
                Some(amount) if amount > most => return Some(format!("{amount} is more than {most}")),
                Some(_) => {}
            }
        }
        let weekday = now.weekday().to_sunday_zero_offset();
        if self.weekdays.is_some_and(|days| days >> weekday & 1 == 0) {
            return Some("it is not one of its days".to_owned());
        }
        if let Some((from, to)) = self.hours {
            let minute = i32::from(now.hour()) * 60 + i32::from(now.minute());
            let inside = match from <= to {
                true => (from..to).contains(&minute),
                false => minute >= from || minute < to,
            };
            if !inside {
                return Some(format!("{} is not within its hours", now.strftime("%H:%M")));
            }
        }
        None
    }

    /// What the rule says within its caps; beyond them it asks.
    fn verdict_within(
        &self,
        proposal: &Proposal,
        now: &Zoned,
        usage: &dyn Fn(&str, Since) -> Usage,
    ) -> (Verdict, Option<String>, String) {
        let rule = Some(self.id.clone());
        for cap in &self.caps {
            let used = cap.since(now).map(|start| usage(&self.id, start));
            let money = used.map(|used| used.money.plus(proposal.amount.unwrap_or_default()));
            let count = used.map(|used| used.count.saturating_add(1));
            // Where the time is not known, the cap counts as reached.
            let over_count = cap.count.is_some_and(|most| count.is_none_or(|count| count > most));
            let over_money = cap.money.is_some_and(|most| money.is_none_or(|money| money > most));
            if over_count || over_money {
                let most = match (cap.count.filter(|_| over_count), cap.money) {
                    (Some(count), _) => format!("{count} effects"),
                    (None, Some(money)) => money.to_string(),
                    (None, None) => String::new(),
                };
                return (Verdict::Ask, rule, format!("its cap of {most} per {} is reached", cap.per.name()));
            }
        }
        (self.verdict, rule, format!("the first rule that fits says {}", self.verdict.name()))
    }
}

fn moment(at: Millis) -> Timestamp {
    Timestamp::from_millisecond(i64::try_from(at).unwrap_or(i64::MAX)).unwrap_or(Timestamp::MAX)
}

fn millis(at: &Zoned) -> Millis {
    u64::try_from(at.timestamp().as_millisecond()).unwrap_or(0)
}

/// Whether a text fits a pattern in which `*` stands for anything, whatever the case of letters.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_lowercase(), text.to_lowercase());
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: &str = "2026-11-20T12:00:00Z";

    fn policies(files: &[(&str, &str)]) -> Policies {
        let read = |(path, rules): &(&str, &str)| {
            let text = format!("---\ntype: policy\nrules:\n{rules}---\n");
            ((*path).to_owned(), Policy::read(path, &text, jiff::tz::db()))
        };
        Policies::of(files.iter().map(read).collect())
    }

    fn millis_of(at: &str) -> Millis {
        u64::try_from(at.parse::<Timestamp>().unwrap().as_millisecond()).unwrap()
    }

    fn mail(target: &str) -> Proposal {
        Proposal { capability: "mail.send".into(), target: target.into(), ..Proposal::default() }
    }

    fn verdict(policies: &Policies, proposal: &Proposal, at: &str) -> (Verdict, Option<String>) {
        let decision = policies.decide(proposal, millis_of(at), &|_, _| Usage::default());
        (decision.verdict, decision.rule)
    }

    #[test]
    fn the_first_rule_that_fits_decides_and_without_one_effects_ask() {
        let rules = "  - {name: boss, verdict: deny, capability: 'mail.*', target: 'boss@*'}\n  - {name: own, verdict: allow, capability: mail.send, target: '*@example.org'}\n";
        let policies = policies(&[("policies/mail.md", rules)]);
        assert_eq!(
            verdict(&policies, &mail("Boss@example.org"), NOON),
            (Verdict::Deny, Some("policies/mail.md#boss".into()))
        );
        assert_eq!(verdict(&policies, &mail("me@example.org"), NOON).0, Verdict::Allow);
        assert_eq!(verdict(&policies, &mail("me@example.org.evil.example"), NOON), (Verdict::Ask, None));
        assert_eq!(verdict(&Policies::default(), &mail("x"), NOON), (Verdict::Ask, None));
    }

    #[test]
    fn a_broken_file_fails_closed() {
        let allow = "  - {name: all, verdict: allow}\n  - {name: never, verdict: deny}\n";
        let both =
            policies(&[("policies/a.md", allow), ("policies/b.md", "  - {name: x, verdict: perhaps}\n")]);
        assert_eq!(verdict(&both, &mail("x"), NOON).0, Verdict::Ask);
        let denies = policies(&[
            ("policies/a.md", "  - {name: no, verdict: deny}\n"),
            ("policies/b.md", "  - {name: x}\n"),
        ]);
        assert_eq!(verdict(&denies, &mail("x"), NOON).0, Verdict::Deny);
    }

    #[test]
    fn hours_days_amounts_agents_and_tags_narrow_a_rule() {
        let rules = "  - {name: r, verdict: allow, hours: '22:00-07:00', days: mon-fri, zone: UTC, amount: {from: 5, to: 50}, agent: news, tags: [a]}\n";
        let policies = policies(&[("policies/a.md", rules)]);
        let good = Proposal {
            amount: Some(Money(5000)),
            agent: Some("news".into()),
            tags: vec!["b".into(), "a".into()],
            ..mail("x")
        };
        let night = "2026-11-20T23:00:00Z";
        assert_eq!(verdict(&policies, &good, night).0, Verdict::Allow);
        assert_eq!(verdict(&policies, &good, NOON).0, Verdict::Ask);
        assert_eq!(verdict(&policies, &good, "2026-11-21T23:00:00Z").0, Verdict::Ask);
        for other in [
            Proposal { amount: Some(Money(5001)), ..good.clone() },
            Proposal { amount: None, ..good.clone() },
            Proposal { agent: None, ..good.clone() },
            Proposal { tags: vec![], ..good.clone() },
        ] {
            assert_eq!(verdict(&policies, &other, night).0, Verdict::Ask, "{other:?}");
        }
    }

    #[test]
    fn a_cap_that_is_reached_asks() {
        let rules = "  - {name: r, verdict: allow, zone: UTC, caps: [{count: 2, per: day}, {money: 10, per: month}]}\n";
        let policies = policies(&[("policies/a.md", rules)]);
        let proposal = Proposal { amount: Some(Money(400)), ..mail("x") };
        let now = millis_of(NOON);
        let decide = |day: u64, month: u64| {
            let usage = |_: &str, since: Since| match since {
                Since::At(at) if at == millis_of("2026-11-20T00:00:00Z") => {
                    Usage { count: day, money: Money(0) }
                }
                Since::At(at) if at == millis_of("2026-11-01T00:00:00Z") => {
                    Usage { count: 0, money: Money(month) }
                }
                other => panic!("{other:?}"),
            };
            policies.decide(&proposal, now, &usage).verdict
        };
        assert_eq!(decide(1, 600), Verdict::Allow);
        assert_eq!(decide(2, 0), Verdict::Ask);
        assert_eq!(decide(0, 601), Verdict::Ask);
    }

    #[test]
    fn mistakes_have_places() {
        let text = "---\ntype: policy\nrules:\n  - {name: a, verdict: alow}\n  - {name: a, verdict: ask, hours: '9-17', caps: [{count: 1, per: year}]}\n  - {verdict: deny, capabilty: x, target: []}\n---\n";
        let mistakes = Policy::read("policies/a.md", text, jiff::tz::db()).unwrap_err();
        let found: Vec<String> = mistakes.iter().map(|it| format!("{} {}", it.at, it.what)).collect();
        assert_eq!(
            found,
            [
                "4:24 that is no verdict",
                "5:12 there are two rules called `a`",
                "5:36 that is no part of a day",
                "5:67 that is no time to count over",
                "6:5 a rule needs a `name`",
                "6:21 a rule has no key `capabilty`",
                "6:43 with nothing in `target` it would be about nothing",
            ]
        );
    }

    #[test]
    fn patterns() {
        for (pattern, text, is) in [
            ("a*c", "abc", true),
            ("a*c", "ab", false),
            ("*", "", true),
            ("a", "ab", false),
            ("a*b*a", "aba", true),
            ("ab*ba", "aba", false),
            ("**x", "x", true),
        ] {
            assert_eq!(fits(pattern, text), is, "{pattern} {text}");
        }
    }
}
