//! When a rule has things wait: quiet hours of a day, and so many in a minute or an hour.

use std::fmt;

use jiff::Zoned;
use jiff::civil::Time;

use super::{Since, Usage, millis};
use crate::span::Millis;

/// The most that a rule allows in any such time; what is beyond waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// So many effects.
    pub count: u64,
    /// In so many ms, wherever they begin.
    pub window: Millis,
    /// What such a time is called.
    pub per: &'static str,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {}", self.count, self.per)
    }
}

impl Rate {
    /// When one more is allowed, where that is not now.
    pub(super) fn wait(&self, now: &Zoned, usage: &dyn Fn(Since) -> Usage) -> Option<Millis> {
        let now = millis(now);
        let used = usage(Since::At((now + 1).saturating_sub(self.window)));
        let first = used.first.filter(|_| used.count >= self.count)?;
        Some(first.saturating_add(self.window).max(now + 1))
    }
}

/// Whether a moment is within part of a day, in minutes from and to.
pub(super) fn is_within((from, to): (i32, i32), now: &Zoned) -> bool {
    let minute = i32::from(now.hour()) * 60 + i32::from(now.minute());
    match from <= to {
        true => (from..to).contains(&minute),
        false => minute >= from || minute < to,
    }
}

/// When the part of a day ends that a moment is within; none where no such moment can be told.
pub(super) fn end((_, to): (i32, i32), now: &Zoned) -> Option<Millis> {
    let at = |days: i32| {
        let date = now.date().checked_add(jiff::Span::new().days(days + to / 1440)).ok()?;
        let minutes = to % 1440;
        let time =
            Time::new(i8::try_from(minutes / 60).ok()?, i8::try_from(minutes % 60).ok()?, 0, 0).ok()?;
        date.to_datetime(time).to_zoned(now.time_zone().clone()).ok()
    };
    [at(0), at(1)].into_iter().flatten().find(|end| end > now).map(|end| millis(&end))
}
