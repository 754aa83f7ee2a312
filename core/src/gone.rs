//! Which payloads of a record are not with it: left to git, which has them as blobs, or forgotten. See `docs/formats.md`, Log.

use std::fmt;
use std::str::FromStr;

/// The longest text accepted, in bytes.
pub const MAX_TEXT: usize = 128 << 10;

/// A set of payloads of one record, counted from 0 among its payloads, as ranges that ascend and do not touch. Written `0-3,7`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gone(Vec<(u32, u32)>);

impl Gone {
    /// Whether it is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether payload `n` is in it.
    pub fn has(&self, n: u32) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= n);
        after > 0 && self.0[after - 1].1 >= n
    }

    /// The last of them.
    pub fn last(&self) -> Option<u32> {
        self.0.last().map(|(_, last)| *last)
    }
}

impl FromIterator<u32> for Gone {
    /// From numbers that ascend.
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut out: Vec<(u32, u32)> = Vec::new();
        for n in numbers {
            match out.last_mut() {
                Some((_, last)) if *last >= n => {}
                Some((_, last)) if *last + 1 == n => *last = n,
                _ => out.push((n, n)),
            }
        }
        Gone(out)
    }
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (first, last)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Gone {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut out: Vec<(u32, u32)> = Vec::new();
        for range in text.split(',').filter(|_| !text.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.parse::<u32>().map_err(|_| "it is no list of numbers");
            let (first, last) = (number(first)?, number(last)?);
            if first > last || last == u32::MAX || out.last().is_some_and(|(_, before)| before + 1 >= first) {
                return Err("its numbers do not ascend");
            }
            out.push((first, last));
        }
        let gone = Gone(out);
        // One set has one text: what is stored is what was sent.
        match gone.to_string() == text {
            true => Ok(gone),
            false => Err("it is not as short as it can be"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_one_text() {
        let set: Gone = [0, 1, 2, 3, 7, 9].into_iter().collect();
        assert_eq!(set.to_string(), "0-3,7,9");
        assert_eq!("0-3,7,9".parse(), Ok(set.clone()));
        assert_eq!("".parse(), Ok(Gone::default()));
        let had: Vec<u32> = (0..12).filter(|n| set.has(*n)).collect();
        assert_eq!((had, set.last()), (vec![0, 1, 2, 3, 7, 9], Some(9)));
        for bad in
            ["1-1", "2,1", "1,2", "0-3,4", "01", "+1", "1,", ",1", "-", "a", "3-1", "4294967295", "1-1-1"]
        {
            assert!(bad.parse::<Gone>().is_err(), "{bad}");
        }
    }
}
