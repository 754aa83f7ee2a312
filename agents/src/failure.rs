//! Why work fails, and what is done about it.

use serde::{Deserialize, Serialize};

use crate::mistake::Mistakes;
use crate::node::Node;
use crate::span::{self, Millis};

/// The kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// It may work in a moment.
    Transient,
    /// It works again after some time.
    RateLimited,
    /// It will not work as it is.
    Permanent,
    /// What came out is not what was asked for.
    InvalidOutput,
    /// A cap is reached.
    Budget,
    /// A policy or the operator said no.
    Denied,
    /// What it needs to know is no longer there.
    LostContext,
    /// It ended without saying how.
    Crashed,
}

impl Class {
    /// Whether trying again may help.
    pub fn passes(self) -> bool {
        match self {
            Class::Transient | Class::RateLimited | Class::InvalidOutput | Class::Crashed => true,
            Class::Permanent | Class::Budget | Class::Denied | Class::LostContext => false,
        }
    }

    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Class::Transient => "transient",
            Class::RateLimited => "rate-limited",
            Class::Permanent => "permanent",
            Class::InvalidOutput => "invalid-output",
            Class::Budget => "budget",
            Class::Denied => "denied",
            Class::LostContext => "lost-context",
            Class::Crashed => "crashed",
        }
    }
}

/// A failure, as whoever did the work tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {what}", .class.name())]
pub struct Failure {
    /// Its kind.
    pub class: Class,
    /// What happened, in one line.
    pub what: String,
    /// How long to wait at least, where the other side said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Millis>,
}

impl Failure {
    /// A failure without a time to wait.
    pub fn new(class: Class, what: impl Into<String>) -> Self {
        Failure { class, what: what.into(), wait: None }
    }
}

/// How often and when a step is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all.
    pub attempts: u32,
    /// The pause after the first failure; it doubles.
    pub first: Millis,
    /// The longest pause.
    pub most: Millis,
    /// No attempt begins later than this after the first.
    pub within: Option<Millis>,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { attempts: 4, first: 5_000, most: 15 * 60_000, within: None }
    }
}

impl Retry {
    /// Reads `retry:`: a number of attempts, or a map.
    pub fn read(node: &Node, out: &mut Mistakes) -> Retry {
        let mut retry = Retry::default();
        let attempts = |node: &Node, out: &mut Mistakes| {
            let count = node.whole("attempts", 1, 100, out)?;
            u32::try_from(count).ok()
        };
        if node.get("attempts").is_none() && node.kind() == "a number" {
            retry.attempts = attempts(node, out).unwrap_or(retry.attempts);
            return retry;
        }
        if node.map("retry", out).is_none() {
            return retry;
        }
        node.only("`retry`", &["attempts", "first", "most", "within"], out);
        if let Some(count) = node.get("attempts").and_then(|it| attempts(it, out)) {
            retry.attempts = count;
        }
        if let Some(first) = read_span(node, "first", out) {
            retry.first = first;
        }
        retry.most = read_span(node, "most", out).unwrap_or(retry.most).max(retry.first);
        retry.within = read_span(node, "within", out);
        retry
    }

    /// When to try again after attempt number `attempt` (from 1) failed at `now`; nothing if it was the last.
    ///
    /// `chance` is a random number: pauses are spread over their upper half, so that what failed together does not come back together.
    pub fn next(
        &self,
        failure: &Failure,
        attempt: u32,
        began: Millis,
        now: Millis,
        chance: u64,
    ) -> Option<Millis> {
        if !failure.class.passes() || attempt >= self.attempts {
            return None;
        }
        let doubled = self.first.saturating_mul(1 << attempt.saturating_sub(1).min(30));
        let pause = doubled.min(self.most);
        let pause = pause / 2 + chance % (pause / 2 + 1);
        let at = now.saturating_add(pause.max(failure.wait.unwrap_or(0)));
        match self.within {
            Some(within) if at > began.saturating_add(within) => None,
            _ => Some(at),
        }
    }
}

/// The span that the key `name` of a map gives.
pub(crate) fn read_span(node: &Node, name: &str, out: &mut Mistakes) -> Option<Millis> {
    let node = node.get(name)?;
    let text = node.text(name, out)?;
    match span::parse(&text) {
        Ok(span) => Some(span),
        Err(error) => {
            out.add(node.at, error.to_string());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pauses_grow_and_keep_their_bounds(attempt in 1u32..99, chance: u64, now in 0u64..1 << 50, wait in proptest::option::of(0u64..1 << 40)) {
            let retry = Retry { attempts: 100, first: 100, most: 10_000, within: None };
            let failure = Failure { class: Class::Transient, what: "x".into(), wait };
            let at = retry.next(&failure, attempt, 0, now, chance).unwrap();
            let pause = at - now;
            let full = (100u64 << (attempt - 1).min(30)).min(10_000);
            prop_assert!(pause >= full / 2 && pause >= wait.unwrap_or(0));
            prop_assert!(pause <= full.max(wait.unwrap_or(0)));
        }
    }

    #[test]
    fn what_cannot_pass_and_what_comes_too_late_is_not_tried_again() {
        let retry = Retry { attempts: 3, first: 1000, most: 1000, within: Some(5000) };
        let transient = Failure::new(Class::Transient, "x");
        assert!(retry.next(&transient, 1, 0, 0, 7).is_some());
        assert_eq!(retry.next(&transient, 3, 0, 0, 7), None);
        assert_eq!(retry.next(&transient, 1, 0, 4990, 7), None);
        assert_eq!(retry.next(&Failure::new(Class::Denied, "x"), 1, 0, 0, 7), None);
    }
}
