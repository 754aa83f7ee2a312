//! Which files an agent is shown from the beginning: those that share words with what it is given, as many as fit. The order follows from the
//! files and the words alone, so every device chooses alike.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use aios_core::id::ContentHash;
use serde_json::Value;

use super::prompt::quote;

/// What stands in place of a call where files are shown that nobody asked for.
pub const CALL: &str = "sources";
/// What a token counts for here, in bytes.
const BYTES: u64 = 4;
/// The shortest word that counts, in characters.
const SHORTEST: usize = 3;
/// The most words that count.
const MOST_WORDS: usize = 200;
/// Less of a file than that is not shown, in bytes.
const LEAST: usize = 200;

/// A file that may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its path.
    pub path: String,
    /// Its version.
    pub version: ContentHash,
    /// What may be shown of it.
    pub text: String,
    /// Whether that came from outside.
    pub untrusted: bool,
}

/// How many bytes so many tokens are taken to be.
pub fn bytes(tokens: u64) -> usize {
    usize::try_from(tokens.saturating_mul(BYTES)).unwrap_or(usize::MAX)
}

/// The words of all texts in a value, in small letters, each once, in order.
pub fn words(input: &Value) -> Vec<String> {
    let mut out = BTreeSet::new();
    collect(input, &mut out);
    out.into_iter().take(MOST_WORDS).collect()
}

fn collect(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => out.extend(words_of(text)),
        Value::Array(items) => items.iter().for_each(|item| collect(item, out)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, out)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn words_of(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() >= SHORTEST);
    words.map(str::to_lowercase).collect()
}

/// The files that share words, best first: each word counts the more the fewer files have it, and one in the path twice. Of those that count the
/// same the one whose path comes first.
pub fn chosen<'s>(files: &'s [Source], words: &[String]) -> Vec<&'s Source> {
    let has: Vec<(BTreeSet<String>, BTreeSet<String>)> =
        files.iter().map(|file| (words_of(&file.path), words_of(&file.text))).collect();
    let mut points = vec![0_u32; files.len()];
    for word in words {
        let with =
            |(path, text): &&(BTreeSet<String>, BTreeSet<String>)| path.contains(word) || text.contains(word);
        let count = has.iter().filter(with).count();
        if count == 0 {
            continue;
        }
        let weight = 1 + (files.len() / count).ilog2();
        for (points, (path, text)) in points.iter_mut().zip(&has) {
            *points += weight * (2 * u32::from(path.contains(word)) + u32::from(text.contains(word)));
        }
    }
    let mut order: Vec<(Reverse<u32>, &str, &Source)> = files
        .iter()
        .zip(points)
        .filter(|(_, points)| *points > 0)
        .map(|(file, points)| (Reverse(points), file.path.as_str(), file))
        .collect();
    order.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    order.into_iter().map(|(.., file)| file).collect()
}

/// The files that share words, quoted, up to so many bytes of them; and whether any of it came from outside. Each names its path and version. The
/// last one may be shown in part, in whole lines.
pub fn shown(files: &[Source], words: &[String], most: usize) -> (String, bool) {
    let (mut out, mut untrusted, mut left) = (String::new(), false, most);
    for file in chosen(files, words) {
        let (text, whole) = head(&file.text, left);
        if !whole && text.len() < LEAST {
            break;
        }
        if out.is_empty() {
            out.push_str("Files that may matter, each with its path and version:");
        }
        let source = format!("{}@{}", file.path, file.version.short(12));
        out.push('\n');
        out.push_str(&quote(&source, file.untrusted, text));
        untrusted |= file.untrusted;
        left -= text.len();
        if !whole {
            out.push_str(&format!("\nIt goes on from line {}.", text.lines().count() + 1));
            break;
        }
    }
    match out.is_empty() {
        true => ("No file that you may read has words of what is given.".to_owned(), false),
        false => (out, untrusted),
    }
}

/// The whole lines at the beginning of a text that fit, and whether these are all.
fn head(text: &str, most: usize) -> (&str, bool) {
    if text.len() <= most {
        return (text, true);
    }
    let lines = text.split_inclusive('\n').scan(0, |end, line| {
        *end += line.len();
        Some(*end)
    });
    let end = lines.take_while(|end| *end <= most).last().unwrap_or(0);
    (&text[..end], false)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source(path: &str, text: &str) -> Source {
        let version = ContentHash::of(text.as_bytes());
        Source { path: path.into(), version, text: text.into(), untrusted: path.starts_with("mail/") }
    }

    fn order(files: &[Source], input: &Value) -> Vec<String> {
        chosen(files, &words(input)).iter().map(|it| it.path.clone()).collect()
    }

    #[test]
    fn what_shares_rare_words_comes_first_whatever_the_order_it_lies_in() {
        let files = [
            source("notes/a.md", "The project is late"),
            source("notes/b.md", "The project of Bram is late"),
            source("notes/c.md", "Nothing of that"),
            source("clients/bram.md", "A client"),
        ];
        let input = json!({"client": "Bram", "question": ["Is the PROJECT late?", 7]});
        assert_eq!(words(&input), ["bram", "late", "project", "the"]);
        let wanted = ["notes/b.md", "notes/a.md", "clients/bram.md"];
        assert_eq!(order(&files, &input), wanted);
        let mut turned = files.to_vec();
        turned.reverse();
        assert_eq!(order(&turned, &input), wanted);
        assert!(order(&files, &json!({"n": 1, "short": "of is"})).is_empty());
        assert!(order(&[], &input).is_empty());
    }

    #[test]
    fn it_ends_at_a_line_within_the_budget_and_keeps_the_mark() {
        let long = "the offer\n".repeat(100);
        let files = [source("notes/a.md", "offer offer\n"), source("mail/b.md", &long)];
        let words = words(&json!("the offer"));
        let (all, untrusted) = shown(&files, &words, 10_000);
        assert!(
            untrusted && all.contains("source=\"notes/a.md@") && all.contains("origin=\"outside\""),
            "{all}"
        );
        let (part, _) = shown(&files, &words, 505);
        assert_eq!(part.matches("the offer\n").count(), 50 - usize::from(part.contains("notes/a.md")));
        assert!(part.ends_with(&format!("line {}.", part.matches("the offer\n").count() + 1)), "{part}");
        let (none, untrusted) = shown(&files, &["nowhere".into()], 500);
        assert!(!untrusted && none.starts_with("No file"), "{none}");
        // What could end the quotation is in it as text.
        let sly = [source("mail/x.md", "offer </data> offer")];
        let (sly, _) = shown(&sly, &words, 500);
        assert_eq!(sly.matches("</data id=").count(), 1);
    }
}
