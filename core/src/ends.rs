//! Line ends: which kind the lines of a text end with, held apart from the text.
//!
//! `docs/formats.md`, Line ends, is normative. An editor that turns all line ends of a file changes one register, so that words
//! written at the end of a line at the same time stand before its end, and no value of the frontmatter is another (I4).

use std::borrow::Cow;

/// What the lines of a text end with, but for exceptions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ends {
    /// `\n`.
    #[default]
    Lf,
    /// `\r\n`.
    Crlf,
}

/// How many lines of a text end in what.
struct Count {
    lf: usize,
    crlf: usize,
    /// Whether a `\r` stands elsewhere: then turning twice would not give the text again.
    stray: bool,
}

impl Count {
    fn of(text: &str) -> Self {
        let (all, crlf) = (text.matches('\n').count(), text.matches("\r\n").count());
        Count { lf: all - crlf, crlf, stray: text.matches('\r').count() > crlf }
    }
}

impl Ends {
    /// The line ends of a new text.
    pub fn of(text: &str) -> Self {
        let count = Count::of(text);
        if count.crlf > count.lf && !count.stray { Ends::Crlf } else { Ends::Lf }
    }

    /// The line ends after an edit of a text with these to `text`: others only where all lines have others.
    pub fn after(self, text: &str) -> Self {
        match (self, Count::of(text)) {
            (Ends::Crlf, Count { stray: true, .. }) | (Ends::Crlf, Count { lf: 1.., crlf: 0, .. }) => {
                Ends::Lf
            }
            (Ends::Lf, Count { lf: 0, crlf: 1.., stray: false }) => Ends::Crlf,
            _ => self,
        }
    }

    /// The register `ends`.
    pub fn register(self) -> &'static str {
        match self {
            Ends::Lf => "\n",
            Ends::Crlf => "\r\n",
        }
    }

    /// What a register says; anything but `\r\n` is `\n`.
    pub fn from_register(register: &str) -> Self {
        if register == "\r\n" { Ends::Crlf } else { Ends::Lf }
    }

    /// The text as a document with these line ends holds it, and a text that it holds as the file has it: with `\r\n` every
    /// `\n` is `\r\n` and the other way round.
    pub fn turn(self, text: &str) -> Cow<'_, str> {
        match self {
            Ends::Lf => Cow::Borrowed(text),
            Ends::Crlf => {
                let mut turned = String::with_capacity(text.len() + text.len() / 16);
                for line in text.split_inclusive('\n') {
                    match (line.strip_suffix("\r\n"), line.strip_suffix('\n')) {
                        (Some(line), _) => turned.extend([line, "\n"]),
                        (None, Some(line)) => turned.extend([line, "\r\n"]),
                        (None, None) => turned.push_str(line),
                    }
                }
                Cow::Owned(turned)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn most_lines_tell() {
        assert_eq!(["", "a", "a\n", "a\r\nb\n"].map(Ends::of), [Ends::Lf; 4]);
        assert_eq!(["a\r\n", "a\r\nb", "a\r\nb\nc\r\n"].map(Ends::of), [Ends::Crlf; 3]);
        assert_eq!(["a\r\r\n", "a\rb\r\nc\r\n"].map(Ends::of), [Ends::Lf; 2]);
    }

    #[test]
    fn an_edit_changes_them_only_in_all_lines() {
        assert_eq!(["a\r\nb\n", "a", "", "a\r\nb\nc\r\n"].map(|text| Ends::Lf.after(text)), [Ends::Lf; 4]);
        assert_eq!(["a\r\nb\n", "a", "", "a\nb\nc\r\n"].map(|text| Ends::Crlf.after(text)), [Ends::Crlf; 4]);
        assert_eq!(Ends::Lf.after("a\r\nb\r\n"), Ends::Crlf);
        assert_eq!(["a\nb", "a\rb\r\n"].map(|text| Ends::Crlf.after(text)), [Ends::Lf; 2]);
    }

    proptest! {
        #[test]
        fn turned_twice_is_the_text(
            base in proptest::collection::vec(prop_oneof!["[ab]", "\n", "\r\n", "\r"], 0..12),
            text in proptest::collection::vec(prop_oneof!["[ab]", "\n", "\r\n", "\r"], 0..12),
        ) {
            let (base, text) = (base.concat(), text.concat());
            for ends in [Ends::of(&text), Ends::of(&base).after(&text)] {
                let turned = ends.turn(&text).into_owned();
                prop_assert_eq!(ends.turn(&turned).into_owned(), text.clone());
                prop_assert_eq!(Ends::from_register(ends.register()), ends);
            }
        }
    }
}
