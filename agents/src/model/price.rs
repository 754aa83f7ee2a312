//! What models cost. Tokens are cheap: amounts are kept in millionths of a millionth, and sums never round.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Usage;
use crate::money::Money;

/// How many of [`Fine`] make a hundredth.
const PER_CENT: u64 = 10_000_000_000;

/// An amount in millionths of a millionth of the vault's currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fine(pub u64);

/// What a million tokens cost, in millionths of the vault's currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Price {
    /// Read.
    pub input: u64,
    /// Written.
    pub output: u64,
    /// Read from a cache.
    pub cached: u64,
    /// What of it is paid by batch, in millionths; nothing where nobody said.
    pub batch: Option<u64>,
}

impl Fine {
    /// The sum; the largest amount if it is larger still.
    #[must_use]
    pub fn plus(self, other: Fine) -> Fine {
        Fine(self.0.saturating_add(other.0))
    }

    /// The amount in whole hundredths, rounded up.
    pub fn money(self) -> Money {
        Money(self.0.div_ceil(PER_CENT))
    }
}

impl From<Money> for Fine {
    fn from(money: Money) -> Fine {
        Fine(money.0.saturating_mul(PER_CENT))
    }
}

impl fmt::Display for Fine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micro = self.0.div_ceil(1_000_000);
        let text = format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000);
        // Hundredths are always shown.
        let least = text.find('.').map_or(text.len(), |point| point + 3);
        let end = text.trim_end_matches('0').len().max(least);
        f.write_str(&text[..end])
    }
}

impl Price {
    /// What tokens cost.
    pub fn of(&self, usage: &Usage) -> Fine {
        let fresh = usage.input.saturating_sub(usage.cached);
        let cost = |tokens: u64, price: u64| Fine(tokens.saturating_mul(price));
        let input = cost(fresh, self.input).plus(cost(usage.cached.min(usage.input), self.cached));
        input.plus(cost(usage.output, self.output))
    }

    /// What is paid by batch; nothing where nobody said.
    pub fn by_batch(&self) -> Option<Price> {
        let part = self.batch?;
        let of = |whole: u64| {
            u64::try_from((u128::from(whole) * u128::from(part)).div_ceil(1_000_000)).unwrap_or(u64::MAX)
        };
        let (input, output, cached) = (of(self.input), of(self.output), of(self.cached));
        Some(Price { input, output, cached, batch: self.batch })
    }

    /// The price that a number stands for: with at most six places.
    pub fn part(value: &Value) -> Option<u64> {
        let text = match value {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.trim().to_owned(),
            _ => return None,
        };
        let (whole, part) = text.split_once('.').unwrap_or((&text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 6 {
            return None;
        }
        let micro: u64 = format!("{part:0<6}").parse().ok()?;
        whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micro)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tokens_have_exact_prices() {
        let part = |value: Value| Price::part(&value);
        assert_eq!(
            (part(json!(0.25)), part(json!("2")), part(json!(0))),
            (Some(250_000), Some(2_000_000), Some(0))
        );
        assert_eq!((part(json!(-1)), part(json!("0.1234567")), part(json!("free"))), (None, None, None));
        let price = Price { input: 250_000, output: 2_000_000, cached: 25_000, batch: Some(500_000) };
        let usage = Usage { input: 1_000, output: 100, cached: 400 };
        // 600 at 0.25, 400 at 0.025, 100 at 2 for a million each.
        let cost = price.of(&usage);
        assert_eq!(cost, Fine(360_000_000));
        assert_eq!(cost.to_string(), "0.00036");
        assert_eq!(cost.money(), Money(1), "a cap counts what was begun");
        let half = price.by_batch().unwrap();
        assert_eq!(half.of(&usage), Fine(180_000_000));
        assert_eq!(Price { input: 1, ..half }.by_batch().unwrap().input, 1, "never nothing");
        assert_eq!(Price { batch: None, ..price }.by_batch(), None, "what nobody said is not zero");
        assert_eq!(Fine::from(Money(150)).to_string(), "1.50");
    }
}
