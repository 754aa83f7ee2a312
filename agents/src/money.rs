//! Amounts of money in hundredths: sums never round.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An amount in hundredths of the vault's currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(pub u64);

/// A value that is no amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no amount of money: write 12, 12.5 or 12.50")]
pub struct NotMoney(String);

impl Money {
    /// The sum; the largest amount if it is larger still, so that no cap is passed by overflow.
    #[must_use]
    pub fn plus(self, other: Money) -> Money {
        Money(self.0.saturating_add(other.0))
    }

    /// The amount that a number or a text stands for.
    pub fn of(value: &Value) -> Result<Money, NotMoney> {
        match value {
            Value::Number(number) => number.to_string().parse(),
            Value::String(text) => text.parse(),
            other => Err(NotMoney(other.to_string())),
        }
    }
}

impl FromStr for Money {
    type Err = NotMoney;

    fn from_str(text: &str) -> Result<Money, NotMoney> {
        let wrong = || NotMoney(text.chars().take(40).collect());
        let (whole, part) = text.trim().split_once('.').unwrap_or((text.trim(), "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // What a computation leaves behind the second place is no money; zeros are.
        let (part, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        if !digits(whole) || !digits(part) || rest.bytes().any(|byte| byte != b'0') {
            return Err(wrong());
        }
        let cents: u64 = format!("{part:0<2}").parse().map_err(|_| wrong())?;
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        whole.checked_mul(100).and_then(|it| it.checked_add(cents)).map(Money).ok_or_else(wrong)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn amounts_are_exact() {
        for (value, cents) in
            [(json!(12), 1200), (json!(12.5), 1250), (json!("0.07"), 7), (json!("3.1000"), 310)]
        {
            assert_eq!(Money::of(&value), Ok(Money(cents)), "{value}");
        }
        for value in [json!(-1), json!("1.234"), json!("1,50"), json!(null), json!("99999999999999999999")] {
            assert!(Money::of(&value).is_err(), "{value}");
        }
        assert_eq!(Money(1205).to_string(), "12.05");
    }
}
