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

    /// The line ends after an edit of the file `old`, which has these, to `new`: others where all lines have others, or most have and
    /// more than half of the lines that had these are gone. Lines that only come do not turn the others.
    pub fn after(self, old: &str, new: &str) -> Self {
        let (was, is) = (Count::of(old), Count::of(new));
        let turns =
            |was: usize, own: usize, other: usize| other > own && (own == 0 || own.saturating_mul(2) < was);
        match self {
            Ends::Crlf if is.stray || turns(was.crlf, is.crlf, is.lf) => Ends::Lf,
            Ends::Lf if !is.stray && turns(was.lf, is.lf, is.crlf) => Ends::Crlf,
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
        let lf = |text: &str| Ends::Lf.after("a\nb\n", text);
        assert_eq!(["a\r\nb\n", "a", "", "a\nb\nc\r\nd\r\ne\r\n"].map(lf), [Ends::Lf; 4]);
        assert_eq!(["a\r\nb\r\n", "a\r\n"].map(lf), [Ends::Crlf; 2]);
        let crlf = |text: &str| Ends::Crlf.after("a\r\nb\r\n", text);
        assert_eq!(["a\r\nb\n", "a", "", "a\r\nb\nc\n"].map(crlf), [Ends::Crlf; 4]);
        assert_eq!(["a\nb\n", "a\rb\r\n"].map(crlf), [Ends::Lf; 2]);
        // One line had the other end before; all are turned but that one.
        assert_eq!(Ends::Crlf.after("a\r\nb\r\nc\r\nd\n", "a\nb\nc\nd\r\n"), Ends::Lf);
        assert_eq!(Ends::Lf.after("", "a\r\nb\r\n"), Ends::Crlf);
    }

    proptest! {
        #[test]
        fn turned_twice_is_the_text(
            base in proptest::collection::vec(prop_oneof!["[ab]", "\n", "\r\n", "\r"], 0..12),
            text in proptest::collection::vec(prop_oneof!["[ab]", "\n", "\r\n", "\r"], 0..12),
        ) {
            let (base, text) = (base.concat(), text.concat());
            for ends in [Ends::of(&text), Ends::of(&base).after(&base, &text)] {
                let turned = ends.turn(&text).into_owned();
                prop_assert_eq!(ends.turn(&turned).into_owned(), text.clone());
                prop_assert_eq!(Ends::from_register(ends.register()), ends);
            }
        }
    }
}
