//! Policies: files that say which effects are allowed, asked about or denied (I11).
//!
//! Rules are looked at in order, files by name; the first that fits decides. With no rule that fits, and with any
//! file that cannot be read, effects ask.

mod escalation;
mod pace;
mod read;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};

use crate::mistake::Mistake;
use crate::money::Money;
use crate::span::Millis;

pub use escalation::{Louder, Stage};
pub use pace::Rate;

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

    /// What is done with what it is about.
    fn participle(self) -> &'static str {
        match self {
            Verdict::Allow => "allowed",
            Verdict::Ask => "asked about",
            Verdict::Deny => "denied",
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
    /// The workflow that does it.
    pub workflow: String,
    /// The step there, without which item it is of.
    pub step: String,
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
    /// When the first of them was allowed.
    #[serde(skip)]
    pub first: Option<Millis>,
}

impl Usage {
    /// One effect more, with its amount and when it was allowed.
    pub fn add(&mut self, amount: Option<Money>, at: Millis) {
        self.count += 1;
        self.money = self.money.plus(amount.unwrap_or_default());
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
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
    workflows: Vec<String>,
    steps: Vec<String>,
    /// Minutes of a day: from, to.
    hours: Option<(i32, i32)>,
    weekdays: Option<u64>,
    zone: TimeZone,
    caps: Vec<Cap>,
    /// Minutes of a day in which nothing is done and nobody is asked.
    quiet: Option<(i32, i32)>,
    rates: Vec<Rate>,
    escalation: Vec<Stage>,
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
    /// When that is decided, where it has to wait; then everything is looked at anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
    /// What is done by and by where nobody answers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub escalation: Vec<Stage>,
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

    /// The files that cannot be read: nobody knows what they deny.
    pub fn broken(&self) -> &[String] {
        &self.broken
    }

    /// All caps, each with its rule and the effects that count now.
    pub fn caps(&self, now: Millis) -> impl Iterator<Item = (&str, &Cap, Option<Since>)> {
        let at = moment(now);
        self.rules.iter().flat_map(move |rule| {
            let now = at.to_zoned(rule.zone.clone());
            rule.caps.iter().map(move |cap| (rule.id.as_str(), cap, cap.since(&now)))
        })
    }

    /// What rules that allow a capability by its name let it cost over a day or a month: the rule, the most, and from when on that counts.
    pub fn pots(&self, capability: &str, now: Millis) -> impl Iterator<Item = (&str, Money, Millis)> {
        let at = moment(now);
        let rules = self.rules.iter().filter(move |rule| {
            rule.verdict == Verdict::Allow && rule.capabilities.iter().any(|it| it == capability)
        });
        rules.flat_map(move |rule| {
            let now = at.to_zoned(rule.zone.clone());
            rule.caps.iter().filter_map(move |cap| match cap.since(&now) {
                Some(Since::At(from)) => Some((rule.id.as_str(), cap.money?, from)),
                _ => None,
            })
        })
    }

    /// What rules that allow a capability by its name let it cost in a run: the rule and the most.
    pub fn run_caps(&self, capability: &str) -> impl Iterator<Item = (&str, Money)> {
        let rules = self.rules.iter().filter(move |rule| {
            rule.verdict == Verdict::Allow && rule.capabilities.iter().any(|it| it == capability)
        });
        rules.flat_map(|rule| {
            let caps = rule.caps.iter().filter(|cap| cap.per == Per::Run);
            caps.filter_map(|cap| Some((rule.id.as_str(), cap.money?)))
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
        let nothing = "no rule fits, and effects ask by default";
        let Said { mut verdict, rule, mut why, until } = decision.unwrap_or_else(|| Said::ask(nothing));
        if let (Verdict::Allow, Some(broken)) = (verdict, self.broken.first()) {
            verdict = Verdict::Ask;
            why = format!("{broken} cannot be read, so nothing is allowed by itself");
        }
        let escalation =
            rule.as_deref().filter(|_| verdict == Verdict::Ask).map(|rule| self.escalation(rule));
        let escalation = escalation.map(<[Stage]>::to_vec).unwrap_or_default();
        Decision { verdict, rule, why, until, escalation, passed }
    }

    /// What is done by and by about what a rule has asked and nobody answers; nothing where no such rule is in force.
    pub fn escalation(&self, rule: &str) -> &[Stage] {
        self.rules.iter().find(|it| it.id == rule).map_or(&[], |it| &it.escalation)
    }
}

/// What a rule says of an effect.
struct Said {
    verdict: Verdict,
    rule: Option<String>,
    why: String,
    until: Option<Millis>,
}

impl Said {
    fn ask(why: &str) -> Said {
        Said { verdict: Verdict::Ask, rule: None, why: why.to_owned(), until: None }
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
        if !any(&self.workflows, &proposal.workflow) {
            return Some(format!("the workflow is not {}", self.workflows.join(", ")));
        }
        if !any(&self.steps, &proposal.step) {
            return Some(format!("the step is not {}", self.steps.join(", ")));
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
        if self.hours.is_some_and(|hours| !pace::is_within(hours, now)) {
            return Some(format!("{} is not within its hours", now.strftime("%H:%M")));
        }
        None
    }

    /// What the rule says within its caps; beyond them it asks. In quiet hours it says nothing yet, and beyond a rate it waits.
    fn verdict_within(&self, proposal: &Proposal, now: &Zoned, usage: &dyn Fn(&str, Since) -> Usage) -> Said {
        let said = |verdict, why, until| Said { verdict, rule: Some(self.id.clone()), why, until };
        let plain = format!("the first rule that fits says {}", self.verdict.name());
        if self.verdict == Verdict::Deny {
            return said(Verdict::Deny, plain, None);
        }
        if let Some(quiet) = self.quiet.filter(|quiet| pace::is_within(*quiet, now)) {
            return match pace::end(quiet, now) {
                Some(at) => {
                    said(self.verdict, "in its quiet hours nothing is done or asked".to_owned(), Some(at))
                }
                None => said(Verdict::Ask, "nobody can tell when its quiet hours end".to_owned(), None),
            };
        }
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
                let why = format!("its cap of {most} per {} is reached", cap.per.name());
                return said(Verdict::Ask, why, None);
            }
        }
        let used = |since| usage(&self.id, since);
        let waits = self.rates.iter().filter_map(|rate| Some((rate, rate.wait(now, &used)?)));
        match waits.max_by_key(|(_, at)| *at) {
            Some((rate, at)) if self.verdict == Verdict::Allow => {
                said(self.verdict, format!("its rate of {rate} is reached"), Some(at))
            }
            _ => said(self.verdict, plain, None),
        }
    }
}

fn moment(at: Millis) -> Timestamp {
    Timestamp::from_millisecond(i64::try_from(at).unwrap_or(i64::MAX)).unwrap_or(Timestamp::MAX)
}

fn millis(at: &Zoned) -> Millis {
    u64::try_from(at.timestamp().as_millisecond()).unwrap_or(0)
}

/// Whether a text fits a pattern in which `*` stands for anything, whatever the case of letters.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    like(&pattern.to_lowercase(), &text.to_lowercase())
}

/// Whether a text is like a pattern to the letter, in which `*` stands for any text.
pub(crate) fn like(pattern: &str, text: &str) -> bool {
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
mod tests;
