//! Circuit breakers: where effects of a capability fail one after the other, they wait instead of failing on.
//!
//! What a breaker says follows from what came of the effects before, so it is the same after a restart, and on every device.

use std::cmp::Reverse;

use aios_core::id::DeviceId;

use super::{Order, Tables};
use crate::failure::{Class, Failure};
use crate::span::Millis;

/// So many failures in a row open it.
const OPENS: u32 = 5;
/// How long it stays open the first time; twice as long after each further failure.
const FIRST: Millis = 60_000;
/// The longest that it stays open.
const MOST: Millis = 3_600_000;

/// How the last effects of a capability ended where they happen now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breaker {
    /// How many failed in a row.
    pub failures: u32,
    /// The last of them, and when that was.
    pub last: Option<(Millis, Failure)>,
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Passage {
    /// Effects happen.
    Closed,
    /// Effects wait.
    Open,
    /// One is tried.
    HalfOpen,
}

impl Breaker {
    /// When one is tried again; nothing while it is closed.
    pub fn until(&self) -> Option<Millis> {
        let (at, failure) = self.last.as_ref()?;
        let over = self.failures.checked_sub(OPENS)?;
        let pause = FIRST.saturating_mul(1 << over.min(30)).min(MOST);
        Some(at.saturating_add(pause.max(failure.wait.unwrap_or(0))))
    }

    /// Where it stands.
    pub fn passage(&self, now: Millis) -> Passage {
        match self.until() {
            None => Passage::Closed,
            Some(until) if until > now => Passage::Open,
            Some(_) => Passage::HalfOpen,
        }
    }
}

/// Whether a failure says something of the other side, and not of what was asked here.
fn counts(class: Class) -> bool {
    match class {
        Class::Transient | Class::RateLimited | Class::Permanent | Class::InvalidOutput | Class::Crashed => {
            true
        }
        Class::Budget | Class::Denied | Class::LostContext => false,
    }
}

impl Tables {
    /// The breaker of a capability on the device where its effects happen now: how it goes elsewhere says nothing of here.
    pub fn breaker(&self, capability: &str) -> Breaker {
        let home: Option<DeviceId> = self.homes.now(capability);
        let mut breaker = Breaker::default();
        let ends = self.ends.range(Some((capability.to_owned(), Reverse(Order::MAX))));
        let ends = ends.take_while(|((of, _), _)| of == capability).map(|((_, order), key)| (order.0, key));
        for (order, key) in ends.filter(|(order, _)| home.is_none_or(|home| home == order.0.2)) {
            let Some(effect) = self.seen(&key) else { continue };
            match effect.tried(&order) {
                Some(Some(failure)) if counts(failure.class) => {
                    breaker.failures += 1;
                    breaker.last.get_or_insert_with(|| (order.time(), failure.clone()));
                }
                Some(None) => break,
                // Nobody knows what came of it, or it was never begun.
                Some(Some(_)) | None => {}
            }
        }
        breaker
    }
}
