//! Lengths of time as people write them: `90s`, `15m`, `2h`, `14d`, `1w`, `1h30m`.

/// Milliseconds since the Unix epoch, or between two instants.
pub type Millis = u64;

/// The longest span: ten years.
const MOST: Millis = 3660 * DAY;

/// A day.
pub const DAY: Millis = 24 * 60 * 60 * 1000;

/// Why a text is no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// A number without a unit, a unit without a number, or another character.
    #[error("`{0}` is no length of time: write 90s, 15m, 2h, 14d, 1w or 1h30m")]
    Form(String),
    /// More than ten years.
    #[error("`{0}` is longer than ten years")]
    TooLong(String),
    /// No time at all.
    #[error("`{0}` is no time at all")]
    Zero(String),
}

/// Reads a span.
pub fn parse(text: &str) -> Result<Millis, SpanError> {
    let shown = || text.chars().take(40).collect::<String>();
    let mut total: Millis = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(SpanError::Form(shown()));
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: Millis = rest[..digits].parse().map_err(|_| SpanError::Form(shown()))?;
        let after = &rest[digits..];
        let units = after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let unit = match &after[..units] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60 * 1000,
            "h" => 60 * 60 * 1000,
            "d" => DAY,
            "w" => 7 * DAY,
            _ => return Err(SpanError::Form(shown())),
        };
        let part = number.checked_mul(unit).ok_or_else(|| SpanError::TooLong(shown()))?;
        total =
            total.checked_add(part).filter(|it| *it <= MOST).ok_or_else(|| SpanError::TooLong(shown()))?;
        rest = after[units..].trim_start();
    }
    if total == 0 { Err(SpanError::Zero(shown())) } else { Ok(total) }
}

/// A span for people: its two largest units.
pub fn show(span: Millis) -> String {
    let units = [(DAY, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
    let mut rest = span;
    let mut out = String::new();
    let mut parts = 0;
    for (size, unit) in units {
        let count = rest / size;
        if count > 0 && parts < 2 {
            out.push_str(&format!("{count}{unit}"));
            parts += 1;
        } else if parts > 0 {
            break;
        }
        rest %= size;
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_shown() {
        for (text, millis) in [("90s", 90_000), ("1h30m", 5_400_000), ("2w", 14 * DAY), (" 5m ", 300_000)] {
            assert_eq!(parse(text), Ok(millis), "{text}");
        }
        for text in ["", "5", "m", "-1s", "1y", "5 m", "1.5h", "0s", "99999999999999999999s", "9999w"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(
            [show(5_400_000), show(90_061_000), show(0), show(1500)],
            ["1h30m", "1d1h", "0s", "1s500ms"]
        );
    }
}
