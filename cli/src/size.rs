//! Numbers of bytes on the command line.

use crate::error::CliError;

/// A number of bytes: a number alone, or with `kB`, `MB` or `GB` (also `k`, `M`, `G`).
pub fn bytes(text: &str) -> Result<u64, CliError> {
    let fail = || CliError::Usage {
        what: format!("`{text}` is no number of bytes"),
        hint: Some("write a number and kB, MB or GB, such as 500kB or 2MB".into()),
    };
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| fail())?;
    let unit = match unit.trim().to_ascii_lowercase().trim_end_matches('b') {
        "" => 1,
        "k" => 1_000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        _ => return Err(fail()),
    };
    number.checked_mul(unit).ok_or_else(fail)
}

/// So many bytes, for people.
pub fn said(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.0} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_said() {
        let read = |text: &str| bytes(text).ok();
        assert_eq!(
            ["7", "7b", "2k", "2 kB", "3MB", "1G"].map(read),
            [7, 7, 2_000, 2_000, 3_000_000, 1_000_000_000].map(Some)
        );
        assert!(
            ["", "MB", "1.5MB", "-1", "2 miles", "99999999999GB"].iter().all(|text| bytes(text).is_err())
        );
        assert_eq!([12, 1_500, 2_340_000].map(said), ["12 bytes", "2 kB", "2.3 MB"].map(str::to_owned));
    }
}
