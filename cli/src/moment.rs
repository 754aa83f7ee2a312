//! Times and ages on the command line.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::error::CliError;

/// A moment in the past, ms since the Unix epoch: an instant (RFC 3339), a local date or date and time, or an age.
pub fn past(text: &str) -> Result<u64, CliError> {
    let local = |at: DateTime| at.to_zoned(TimeZone::system()).map(|at| at.timestamp()).ok();
    let found = text
        .parse::<Timestamp>()
        .ok()
        .or_else(|| text.parse::<DateTime>().ok().and_then(local))
        .or_else(|| {
            text.parse::<Date>().ok().and_then(|date| local(date.to_datetime(jiff::civil::Time::midnight())))
        })
        .or_else(|| age(text).ok().and_then(|age| Timestamp::now().checked_sub(age).ok()));
    match found {
        Some(at) => Ok(u64::try_from(at.as_millisecond()).unwrap_or(0)),
        None => Err(CliError::Usage {
            what: format!("`{text}` is no time"),
            hint: Some("write a date such as 2026-01-31, a time such as 2026-01-31T12:00, or an age such as 90m, 12h or 7d".into()),
        }),
    }
}

/// A moment to come, ms since the Unix epoch: an instant (RFC 3339), a local date and time, the end of a local date or of the next day
/// of that name, or a length of time from now.
pub fn until(text: &str) -> Result<u64, CliError> {
    until_from(text, &Zoned::now())
}

fn until_from(text: &str, now: &Zoned) -> Result<u64, CliError> {
    let zone = now.time_zone();
    let end_of = |date: Date| {
        let next = date.tomorrow().ok()?.to_datetime(Time::midnight());
        next.to_zoned(zone.clone()).map(|at| at.timestamp()).ok()
    };
    let named = |day: Weekday| {
        let days = now.weekday().until(day);
        end_of(now.date().checked_add(jiff::Span::new().days(i64::from(days))).ok()?)
    };
    let found = text
        .parse::<Timestamp>()
        .ok()
        .or_else(|| {
            text.parse::<DateTime>()
                .ok()
                .filter(|_| text.contains(':'))
                .and_then(|at| at.to_zoned(zone.clone()).map(|at| at.timestamp()).ok())
        })
        .or_else(|| text.parse::<Date>().ok().and_then(end_of))
        .or_else(|| weekday(text).and_then(named))
        .or_else(|| age(text).ok().and_then(|age| now.timestamp().checked_add(age).ok()));
    let hint = "write friday, 2026-12-31, 2026-12-31T12:00, or a length such as 12h or 7d";
    match found {
        Some(at) if at > now.timestamp() => Ok(u64::try_from(at.as_millisecond()).unwrap_or(0)),
        Some(_) => Err(CliError::Usage { what: format!("`{text}` is over"), hint: Some(hint.into()) }),
        None => Err(CliError::Usage { what: format!("`{text}` is no time"), hint: Some(hint.into()) }),
    }
}

fn weekday(text: &str) -> Option<Weekday> {
    Some(match text.to_lowercase().as_str() {
        "monday" | "mon" => Weekday::Monday,
        "tuesday" | "tue" => Weekday::Tuesday,
        "wednesday" | "wed" => Weekday::Wednesday,
        "thursday" | "thu" => Weekday::Thursday,
        "friday" | "fri" => Weekday::Friday,
        "saturday" | "sat" => Weekday::Saturday,
        "sunday" | "sun" => Weekday::Sunday,
        _ => return None,
    })
}

/// A length of time: a number with `s`, `m`, `h` or `d`.
pub fn age(text: &str) -> Result<Duration, CliError> {
    let fail = || CliError::Usage {
        what: format!("`{text}` is no length of time"),
        hint: Some("write a number and s, m, h or d, such as 90s, 15m, 12h or 7d".into()),
    };
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(fail)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| fail())?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(fail()),
    };
    number.checked_mul(seconds).filter(|seconds| *seconds < 1 << 40).map(Duration::from_secs).ok_or_else(fail)
}

/// As [`age`], and longer than nothing.
pub fn span(text: &str) -> Result<Duration, CliError> {
    match age(text)? {
        Duration::ZERO => Err(CliError::Usage {
            what: format!("`{text}` is no time at all"),
            hint: Some("write a second or more, such as 90s, 15m or 12h".into()),
        }),
        span => Ok(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_to_come() {
        let now: Zoned = "2026-11-23T10:00:00+01:00[Europe/Amsterdam]".parse().unwrap();
        let until = |text: &str| {
            let at = until_from(text, &now).ok()?;
            Some(Timestamp::from_millisecond(i64::try_from(at).ok()?).ok()?.to_string())
        };
        for (text, at) in [
            ("friday", "2026-11-27T23:00:00Z"),
            ("Monday", "2026-11-23T23:00:00Z"),
            ("sun", "2026-11-29T23:00:00Z"),
            ("2026-11-23", "2026-11-23T23:00:00Z"),
            ("2026-12-31T12:00", "2026-12-31T11:00:00Z"),
            ("2026-12-31T12:00:00Z", "2026-12-31T12:00:00Z"),
            ("3d", "2026-11-26T09:00:00Z"),
        ] {
            assert_eq!(until(text).as_deref(), Some(at), "{text}");
        }
        for text in ["2026-11-22", "2026-11-23T09:00", "someday", ""] {
            assert_eq!(until(text), None, "{text}");
        }
    }

    #[test]
    fn ages_and_times() {
        assert_eq!(age("90m").unwrap(), Duration::from_secs(5_400));
        for text in ["", "m", "5", "5w", "-1s", "99999999999999999999d"] {
            assert!(age(text).is_err(), "{text}");
        }
        assert_eq!(past("1970-01-01T00:00:01Z").unwrap(), 1_000);
        assert!(span("1s").is_ok() && span("0m").is_err());
        assert!(past("7d").unwrap() < past("1h").unwrap());
        assert!(past("2026-01-31").is_ok() && past("2026-01-31T12:00").is_ok());
        assert!(past("yesterday").is_err());
    }
}
