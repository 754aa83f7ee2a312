//! Words: what a diff changes as a whole.

/// What a character is to the word diff.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Part of a run of letters, digits and underscores.
    Word,
    /// Part of a run of spaces and tabs.
    Space,
    /// A token of its own: punctuation, and letters of scripts that write no spaces between words.
    Single,
}

impl Class {
    pub(crate) fn of(c: char) -> Self {
        match c {
            ' ' | '\t' => Self::Space,
            // Thai, Lao, Myanmar, Khmer, kana, Han: a whole sentence would be one word.
            '\u{e00}'..='\u{eff}'
            | '\u{1000}'..='\u{109f}'
            | '\u{1780}'..='\u{17ff}'
            | '\u{3040}'..='\u{30ff}'
            | '\u{31f0}'..='\u{31ff}'
            | '\u{3400}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{3ffff}' => Self::Single,
            c if c.is_alphanumeric() || c == '_' => Self::Word,
            _ => Self::Single,
        }
    }
}

/// Whether `c` is drawn as one with the character before it: combining marks, the zero-width joiner,
/// variation selectors, emoji skin tones.
pub(crate) fn extends(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}')
}

/// Splits `text` into tokens: words, runs of spaces, single other characters, `\r\n` as one.
pub(crate) fn split_words(text: &str) -> Vec<&str> {
    let mut tokens = Vec::with_capacity(text.len() / 3);
    let mut start = 0;
    let mut before: Option<char> = None;
    let mut class = Class::Single;
    for (at, c) in text.char_indices() {
        let next = Class::of(c);
        if let Some(before) = before {
            let joined = extends(c)
                || before == '\u{200d}'
                || (before == '\r' && c == '\n')
                || (next == class && next != Class::Single);
            if !joined {
                tokens.push(&text[start..at]);
                start = at;
            }
            // A token that a mark extends keeps its class, so that the rest of the word still joins it.
            if at == start {
                class = next;
            }
        } else {
            class = next;
        }
        before = Some(c);
    }
    if start < text.len() {
        tokens.push(&text[start..]);
    }
    tokens
}

/// Whether a token kept between two hunks is too little to keep them apart: neither a word nor a line end.
pub(crate) fn is_between_words(token: &str) -> bool {
    token.chars().all(|c| !c.is_alphanumeric() && !matches!(c, '_' | '\n' | '\r'))
}
