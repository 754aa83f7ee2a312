//! Schedules: five fields as in crontab(5), in a time zone.
//!
//! A wall-clock time that a day does not have (clocks go forward) comes once, right after the gap; one that a day
//! has twice (clocks go back) comes the first time only.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both kinds of day were restricted: either will do, as in crontab(5).
    either_day: bool,
}

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Another number of fields.
    #[error("a schedule has five fields (minute hour day month weekday), and this has {0}")]
    Fields(usize),
    /// A field does not parse.
    #[error(
        "`{text}` is no {field}: from {least} to {most}, such as `*`, `{least}`, `{least}-{most}`, `*/2`"
    )]
    Field {
        /// The field.
        field: &'static str,
        /// What stands there.
        text: String,
        /// The least value.
        least: u64,
        /// The largest.
        most: u64,
    },
    /// No date is ever like that.
    #[error("it never comes: no year has such a date")]
    Never,
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A field: its name, its least and largest value, and names for the values from the least on.
struct Field {
    name: &'static str,
    least: u64,
    most: u64,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, most: 59, names: &[] },
    Field { name: "hour", least: 0, most: 23, names: &[] },
    Field { name: "day of a month", least: 1, most: 31, names: &[] },
    Field { name: "month", least: 1, most: 12, names: &MONTHS },
    Field { name: "weekday", least: 0, most: 7, names: &WEEKDAYS },
];

impl Field {
    /// The bits of the values that `text` names.
    fn bits(&self, text: &str) -> Option<u64> {
        let mut bits = 0;
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, Some(step.parse::<u64>().ok().filter(|step| *step > 0)?)),
                None => (part, None),
            };
            let (from, to) = match range.split_once('-') {
                _ if range == "*" => (self.least, self.most),
                Some((from, to)) => (self.value(from)?, self.value(to)?),
                None => {
                    let value = self.value(range)?;
                    (value, if step.is_some() { self.most } else { value })
                }
            };
            if from > to {
                return None;
            }
            // A step beyond the range takes its first value alone: that is not what anybody means.
            if step.is_some_and(|step| step > 1 && step > to - from) {
                return None;
            }
            let steps = usize::try_from(step.unwrap_or(1)).ok()?;
            (from..=to).step_by(steps).for_each(|value| bits |= 1 << value);
        }
        Some(bits)
    }

    fn value(&self, text: &str) -> Option<u64> {
        let lower = text.to_ascii_lowercase();
        let named = self.names.iter().position(|name| *name == lower);
        let value = match named {
            Some(place) => self.least + u64::try_from(place).ok()?,
            None if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().ok()?
            }
            None => return None,
        };
        (self.least..=self.most).contains(&value).then_some(value)
    }
}

/// The bits of the days of a week that a text such as `mon-fri` names, Sunday first.
pub fn weekdays(text: &str) -> Option<u64> {
    let bits = FIELDS[4].bits(text)?;
    // Sunday is 0 and 7.
    Some(bits | bits >> 7 & 1)
}

impl Cron {
    /// Reads a schedule.
    pub fn parse(text: &str) -> Result<Cron, CronError> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        if parts.len() != FIELDS.len() {
            return Err(CronError::Fields(parts.len()));
        }
        let mut bits = [0u64; 5];
        for ((field, part), out) in FIELDS.iter().zip(&parts).zip(&mut bits) {
            *out = field.bits(part).ok_or_else(|| CronError::Field {
                field: field.name,
                text: part.chars().take(40).collect(),
                least: field.least,
                most: field.most,
            })?;
        }
        let [minutes, hours, days, months, weekdays] = bits;
        // Sunday is 0 and 7.
        let weekdays = weekdays | weekdays >> 7 & 1;
        let either_day = !parts[2].starts_with('*') && !parts[4].starts_with('*');
        let cron = Cron { minutes, hours, days, months, weekdays, either_day };
        match either_day || cron.comes() {
            true => Ok(cron),
            false => Err(CronError::Never),
        }
    }

    /// Whether some month of the schedule is long enough for some day of it.
    fn comes(&self) -> bool {
        let longest = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let first_day = self.days.trailing_zeros();
        (1..=12u32).zip(longest).any(|(month, days)| self.months >> month & 1 == 1 && first_day <= days)
    }

    fn has_date(&self, date: Date) -> bool {
        let has = |bits: u64, value: i8| u32::try_from(value).is_ok_and(|value| bits >> value & 1 == 1);
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let fits = if self.either_day { day || weekday } else { day && weekday };
        has(self.months, date.month()) && fits
    }

    /// The first instant after `after`; none within the next 30 years.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Zoned> {
        let start = after.to_zoned(zone.clone());
        // A gap moves a time forward by at most a day, so times of the day before may still come.
        let mut date = start.date().yesterday().unwrap_or(start.date());
        let last = start.date().checked_add(30.years()).unwrap_or(Date::MAX);
        while date <= last {
            if self.has_date(date) {
                let zoned = self.times(date).filter_map(|time| time.to_zoned(zone.clone()).ok());
                // A time that a gap moves forward may come after the next one.
                if let Some(found) = zoned.filter(|it| it.timestamp() > after).min_by_key(Zoned::timestamp) {
                    return Some(found);
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// The last instant after `after` and not after `until`.
    pub fn last(&self, after: Timestamp, until: Timestamp, zone: &TimeZone) -> Option<Zoned> {
        // Looked for near its end first: what comes every minute came many times in a year.
        for hours in [1, 24, 24 * 31, 24 * 366, 24 * 366 * 30] {
            let from = until.checked_sub(hours.hours()).unwrap_or(Timestamp::MIN).max(after);
            let mut last = None;
            let mut at = from;
            while let Some(next) = self.next(at, zone).filter(|next| next.timestamp() <= until) {
                at = next.timestamp();
                last = Some(next);
            }
            if last.is_some() || from == after {
                return last;
            }
        }
        None
    }

    fn times(&self, date: Date) -> impl Iterator<Item = DateTime> {
        let (hours, minutes) = (self.hours, self.minutes);
        (0..24i8).filter(move |hour| hours >> hour & 1 == 1).flat_map(move |hour| {
            let minutes = (0..60i8).filter(move |minute| minutes >> minute & 1 == 1);
            minutes.map(move |minute| date.at(hour, minute, 0, 0))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> Option<TimeZone> {
        let found = TimeZone::get(name).ok();
        if found.is_none() {
            println!("skipped: the system has no time zone {name}");
        }
        found
    }

    fn runs(cron: &str, from: &str, zone: &TimeZone, count: usize) -> Vec<String> {
        let cron = Cron::parse(cron).unwrap();
        let mut at: Timestamp = from.parse().unwrap();
        let mut out = Vec::new();
        for _ in 0..count {
            let next = cron.next(at, zone).unwrap();
            at = next.timestamp();
            out.push(next.strftime("%Y-%m-%d %H:%M %:z").to_string());
        }
        out
    }

    #[test]
    fn fields_mean_what_crontab_says() {
        let utc = TimeZone::UTC;
        let from = "2026-11-21T10:00:00Z";
        assert_eq!(runs("30 9 * * mon-fri", from, &utc, 1), ["2026-11-23 09:30 +00:00"]);
        assert_eq!(
            runs("*/20 0 1,15 * *", from, &utc, 2),
            ["2026-12-01 00:00 +00:00", "2026-12-01 00:20 +00:00"]
        );
        assert_eq!(runs("0 0 13 * 5", from, &utc, 2), ["2026-11-27 00:00 +00:00", "2026-12-04 00:00 +00:00"]);
        assert_eq!(runs("0 0 29 2 *", from, &utc, 1), ["2028-02-29 00:00 +00:00"]);
        assert_eq!(runs("0 8 * * 7", from, &utc, 1), ["2026-11-22 08:00 +00:00"]);
    }

    #[test]
    fn clocks_that_jump_neither_lose_nor_double_a_run() {
        let Some(zone) = zone("Europe/Amsterdam") else { return };
        assert_eq!(
            runs("30 2 * * *", "2026-03-28T12:00:00Z", &zone, 2),
            ["2026-03-29 03:30 +02:00", "2026-03-30 02:30 +02:00"]
        );
        assert_eq!(
            runs("30 2 * * *", "2026-10-24T12:00:00Z", &zone, 2),
            ["2026-10-25 02:30 +02:00", "2026-10-26 02:30 +01:00"]
        );
    }

    #[test]
    fn the_last_of_many_is_found() {
        let last = |cron: &str, after: &str, until: &str| {
            let (after, until) = (after.parse().unwrap(), until.parse().unwrap());
            Cron::parse(cron).unwrap().last(after, until, &TimeZone::UTC).map(|it| it.timestamp().to_string())
        };
        let (from, to) = ("2026-01-01T00:00:00Z", "2026-11-21T10:00:30Z");
        for (cron, at) in [
            ("* * * * *", "2026-11-21T10:00:00Z"),
            ("0 9 * * *", "2026-11-21T09:00:00Z"),
            ("0 9 * * mon", "2026-11-16T09:00:00Z"),
            ("0 0 1 3 *", "2026-03-01T00:00:00Z"),
        ] {
            assert_eq!(last(cron, from, to), Some(at.to_owned()), "{cron}");
            assert_eq!(last(cron, at, to), None, "{cron}");
        }
        assert_eq!(last("0 0 29 2 *", from, to), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "* * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "5-1 * * * *",
            "*/0 * * * *",
            "0-59/70 * * * *",
            "*/60 * * * *",
            "0 9-17/9 * * *",
            "a * * * *",
            "1,,2 * * * *",
            "-1 * * * *",
        ] {
            assert!(Cron::parse(text).is_err(), "{text}");
        }
        assert_eq!(Cron::parse("0 0 30 2 *"), Err(CronError::Never));
        assert_eq!(Cron::parse("0 0 31 4,6 *"), Err(CronError::Never));
    }
}
