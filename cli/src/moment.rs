//! Times and ages on the command line.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

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
