//! What is wrong with a file that a person wrote, and where.

use std::fmt;

use serde::Serialize;

/// A place in a file: line and column, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct At {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
}

impl At {
    /// The start of a file.
    pub const START: At = At { line: 1, column: 1 };
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Mistake {
    /// Where it is.
    #[serde(flatten)]
    pub at: At,
    /// What is wrong.
    pub what: String,
    /// What to write instead, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The mistakes of a file, collected while it is read: one mistake does not hide the next.
#[derive(Debug, Default)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// Notes a mistake.
    pub fn add(&mut self, at: At, what: impl Into<String>) {
        self.0.push(Mistake { at, what: what.into(), hint: None });
    }

    /// Notes a mistake and what to write instead.
    pub fn hint(&mut self, at: At, what: impl Into<String>, hint: impl Into<String>) {
        self.0.push(Mistake { at, what: what.into(), hint: Some(hint.into()) });
    }

    /// All of them, in the order of the file, each once.
    pub fn into_vec(mut self) -> Vec<Mistake> {
        self.0.sort();
        self.0.dedup();
        self.0
    }

    /// How many there are so far.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// The known word nearest to a mistyped one, if one is near.
pub fn nearest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let near = known.into_iter().map(|other| (distance(word, other), other)).min()?;
    (near.0 <= 1 + word.chars().count() / 4).then_some(near.1)
}

/// Edits between two words, a swap of neighbours counted as one (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let plain = change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                if swapped { plain.min(rows[i - 2][j - 2] + 1) } else { plain }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_word() {
        let known = ["effect", "agent", "wait", "choose"];
        assert_eq!(nearest("efect", known), Some("effect"));
        assert_eq!(nearest("wiat", known), Some("wait"));
        assert_eq!(nearest("spreadsheet", known), None);
    }
}
