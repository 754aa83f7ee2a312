//! The lossless codec of Markdown files: frontmatter in parts, body as text.
//!
//! `docs/formats.md`, Markdown, is normative. A file is cut into pieces that joined give the same bytes
//! (I3); each frontmatter entry keeps its raw source, and a simple list keeps its items apart, so that
//! concurrent edits merge by key and by item (I4). Whatever does not fit the rule stays body text. Lines alone
//! decide; that an entry is YAML is checked only to warn people.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::options::{MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Spanned, alias_limits, budget, options};
use thiserror::Error;

/// The most bytes between the fences that are looked at as YAML.
const MAX_FRONT_BYTES: usize = 256 * 1024;
/// How deep collections may lie in each other, with aliases expanded.
const MAX_DEPTH: usize = 64;
/// The most parser events that aliases may stand for in all.
const MAX_ALIAS_EVENTS: usize = 10_000;
/// The most parser events that may be kept for anchors in all.
const MAX_ANCHOR_EVENTS: usize = 100_000;

const BOM: char = '\u{feff}';

/// A file in its parts. Without frontmatter all of it is `body`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// The BOM, if any, and the first fence with its line end; empty without frontmatter.
    pub open: String,
    /// The frontmatter's entries in file order.
    pub entries: Vec<Entry>,
    /// The lines after the last entry and the last fence with its line end, if it has one.
    pub close: String,
    /// What follows the frontmatter.
    pub body: String,
}

/// One top-level key of the frontmatter with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key as written, without quotes around it; never empty, unique in its file.
    pub name: String,
    /// The entry's source, comments and blank lines before it included.
    pub value: Value,
}

/// The source of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Raw source, merged as one value.
    Scalar(String),
    /// A list whose items merge apart: `head`, the items as `sep` says, `tail`. How it is written is the frame's alone, so that
    /// whoever indents it anew or makes lines of `[a, b]` changes no item.
    List {
        /// All before the first item.
        head: String,
        /// What stands between two items, a comma and spaces; or, of a list by lines, what each begins with, spaces and `- `.
        sep: String,
        /// The items' source, without what `sep` puts there and the last line end.
        items: Vec<String>,
        /// All after the last item.
        tail: String,
    },
}

impl Value {
    /// The entry's source text.
    pub fn raw(&self) -> String {
        match self {
            Self::Scalar(raw) => raw.clone(),
            Self::List { head, sep, items, tail } => match indent(sep) {
                None => [head, items.join(sep).as_str(), tail].concat(),
                Some(indent) => {
                    let lines =
                        |item: &String| format!("{sep}{}\n", item.replace('\n', &format!("\n{indent}")));
                    [head.clone(), items.iter().map(lines).collect(), tail.clone()].concat()
                }
            },
        }
    }

    /// The register `front[name]`: `=` and the raw source, or for a list `[` HEAD U+0000 SEP U+0000 TAIL,
    /// its items kept apart.
    pub fn register(&self) -> String {
        match self {
            Self::Scalar(raw) => format!("={raw}"),
            Self::List { head, sep, tail, .. } => format!("[{head}\0{sep}\0{tail}"),
        }
    }

    /// What stands around the items of a list, in whatever form it is written: the key, and comments.
    pub fn frame(&self) -> Option<String> {
        let Self::List { head, tail, .. } = self else { return None };
        Some(head_by_lines(head, tail).as_deref().unwrap_or(head).trim_end().to_owned())
    }

    /// The value of a register and the items kept beside it (ignored where it is no list). A list in brackets with an item that only
    /// stands by lines is one by lines.
    ///
    /// Tolerant, for what a foreign writer may have put there: a register that is malformed is a scalar
    /// of the text after its first character.
    pub fn from_register(register: &str, items: Vec<String>) -> Self {
        let mut chars = register.chars();
        let kind = chars.next();
        let text = chars.as_str();
        let fields: Vec<&str> = text.split('\0').collect();
        match (kind, fields.as_slice()) {
            (Some('['), &[head, sep, tail]) => {
                let by_lines = match sep.starts_with(',') && !items.iter().all(|item| fits_brackets(item)) {
                    true => head_by_lines(head, tail),
                    false => None,
                };
                match by_lines {
                    Some(head) => Self::List { head, sep: SEP_BY_LINES.into(), items, tail: String::new() },
                    None => Self::List {
                        head: head.to_owned(),
                        sep: sep.to_owned(),
                        items,
                        tail: tail.to_owned(),
                    },
                }
            }
            _ => Self::Scalar(text.to_owned()),
        }
    }
}

/// What each item begins with in a list that was in brackets and has to be one by lines.
const SEP_BY_LINES: &str = "  - ";

/// The spaces before each item, if `sep` is that of a list by lines.
fn indent(sep: &str) -> Option<&str> {
    sep.strip_suffix("- ").filter(|spaces| spaces.chars().all(|c| c == ' '))
}

/// Whether an item can stand in brackets and be told from its neighbours there.
fn fits_brackets(item: &str) -> bool {
    !item.is_empty()
        && item == item.trim_matches([' ', '\t'])
        && !item.contains([',', '[', ']', '{', '}', '"', '\'', '#', '\\', '\n', '\r'])
}

/// What stands before the items of a list by lines that was in brackets between `head` and `tail`: the key, and the comment.
fn head_by_lines(head: &str, tail: &str) -> Option<String> {
    let key = head.trim_end_matches(' ').strip_suffix('[')?.trim_end_matches([' ', '\t']);
    let comment = tail.trim_start_matches(' ').strip_prefix(']')?.trim();
    let gap = if comment.is_empty() { "" } else { " " };
    key.ends_with(':').then(|| format!("{key}{gap}{comment}\n"))
}

impl Parts {
    /// The file's text: `split(text).render() == text` for every text (I3).
    pub fn render(&self) -> String {
        let mut text = self.open.clone();
        for entry in &self.entries {
            text.push_str(&entry.value.raw());
        }
        text + &self.close + &self.body
    }

    /// Whether the file has frontmatter (it may have no entries).
    pub fn has_front(&self) -> bool {
        !self.open.is_empty()
    }
}

/// Splits a file into its parts. Never fails: what is not frontmatter is body.
///
/// Lines alone decide, in linear time; an entry need not be YAML.
pub fn split(text: &str) -> Parts {
    let whole = || Parts { body: text.to_owned(), ..Parts::default() };
    let Ok(block) = Block::of(text) else { return whole() };
    let end = block.drafts.last().map_or(0, |draft| draft.text.end);
    Parts {
        open: block.open.to_owned(),
        entries: block.drafts.iter().map(|draft| draft.entry(block.front)).collect(),
        close: [&block.front[end..], block.fence].concat(),
        body: block.body.to_owned(),
    }
}

/// What is wrong with the frontmatter of a file, in one line: that a block meant as frontmatter is none, or
/// that it is no YAML, or YAML with other keys than the entries. `None` if nothing is.
///
/// A block was meant when the first line is a fence and either a closing fence follows or the second line
/// looks like `key: value`. Time and memory are bounded for every text.
pub fn front_problem(text: &str) -> Option<String> {
    match Block::of(text).and_then(|block| check(block.front, &block.drafts)) {
        Ok(()) | Err(Problem::Absent) => None,
        Err(Problem::Unclosed { meant: false }) => None,
        Err(problem) => Some(problem.to_string()),
    }
}

/// What is wrong with frontmatter. Lines count from 1 in the file.
#[derive(Debug, PartialEq, Eq, Error)]
enum Problem {
    #[error("the first line is no fence")]
    Absent,
    #[error("no closing fence: a line `---` must end the frontmatter")]
    Unclosed { meant: bool },
    #[error(
        "the frontmatter is {size} bytes long; above {MAX_FRONT_BYTES} it is not checked: keep long text in the body"
    )]
    Size { size: usize },
    #[error("line {line}: a NUL or a carriage return inside a line")]
    Character { line: usize },
    #[error("line {line}: neither a key, nor part of an entry, nor a comment")]
    Stray { line: usize },
    #[error("line {line}: the key is empty")]
    Nameless { line: usize },
    #[error("line {line}: duplicate key {name:?}")]
    Duplicate { line: usize, name: String },
    #[error("line {line}: {message}")]
    Yaml { line: usize, message: String },
    #[error("line {line}: a key that does not stand alone at the start of its line, or a value read as one")]
    Keys { line: usize },
}

/// Frontmatter and what follows it.
struct Block<'a> {
    /// The BOM, if any, and the first fence.
    open: &'a str,
    /// The lines between the fences.
    front: &'a str,
    /// The last fence.
    fence: &'a str,
    body: &'a str,
    drafts: Vec<Draft<'a>>,
}

impl<'a> Block<'a> {
    fn of(text: &'a str) -> Result<Self, Problem> {
        let after_bom = text.strip_prefix(BOM).unwrap_or(text);
        let first = after_bom.split_inclusive('\n').next().unwrap_or_default();
        if !matches!(first, "---\n" | "---\r\n") {
            return Err(Problem::Absent);
        }
        let (open, rest) = text.split_at(text.len() - after_bom.len() + first.len());

        let mut front_end = 0;
        let fence = rest.split_inclusive('\n').find(|line| {
            let is_fence = matches!(*line, "---" | "---\n" | "---\r\n" | "..." | "...\n" | "...\r\n");
            front_end += if is_fence { 0 } else { line.len() };
            is_fence
        });
        let Some(fence) = fence else {
            let second = rest.split_inclusive('\n').next().unwrap_or_default();
            return Err(Problem::Unclosed { meant: Key::of(second).is_some() });
        };
        let front = &rest[..front_end];
        if let Some(at) = stray_character(front) {
            return Err(Problem::Character { line: line_of(front, at) });
        }
        let drafts = group(front)?;
        Ok(Block { open, front, fence, body: &rest[front_end + fence.len()..], drafts })
    }
}

/// Where a NUL, which separates the fields of registers, or a `\r` outside a line end, which YAML would
/// read as one, stands.
fn stray_character(front: &str) -> Option<usize> {
    let bytes = front.as_bytes();
    (0..bytes.len()).find(|&at| match bytes[at] {
        0 => true,
        b'\r' => bytes.get(at + 1) != Some(&b'\n'),
        _ => false,
    })
}

/// The line in the file of byte `at` of the frontmatter, which begins in line 2.
fn line_of(front: &str, at: usize) -> usize {
    2 + front.as_bytes().iter().take(at).filter(|&&byte| byte == b'\n').count()
}

/// A line without its line end.
fn content(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

fn is_blank(text: &str) -> bool {
    text.chars().all(|c| matches!(c, ' ' | '\t'))
}

/// The key at the start of a key line.
struct Key<'a> {
    /// The key as written, with its quotes.
    token: &'a str,
    /// The rest of the line after the `:`, without the line end.
    value: &'a str,
}

impl<'a> Key<'a> {
    /// The key of `line`, if it is a key line.
    fn of(line: &'a str) -> Option<Self> {
        let line = content(line);
        if line.starts_with([
            ' ', '\t', '#', '-', '[', ']', '{', '}', ',', '&', '*', '!', '|', '>', '%', '@', '`', '?', ':',
        ]) {
            return None;
        }
        let ends_key = |at: &usize| matches!(line.as_bytes().get(at + 1), None | Some(b' ' | b'\t'));
        let colon = line.match_indices(':').map(|(at, _)| at).find(ends_key)?;
        Some(Self { token: line[..colon].trim_end_matches([' ', '\t']), value: &line[colon + 1..] })
    }

    /// The key without one pair of quotes around it.
    fn name(&self) -> &'a str {
        let unquoted = |quote| self.token.strip_prefix(quote)?.strip_suffix(quote);
        unquoted('"').or_else(|| unquoted('\'')).unwrap_or(self.token)
    }
}

/// Where an entry lies in the frontmatter, in bytes.
struct Draft<'a> {
    /// All of it, with the comments and blank lines before it.
    text: Range<usize>,
    /// Where its key line begins.
    at: usize,
    key: Key<'a>,
}

/// Groups the lines between the fences into entries; what follows the last entry is in none.
fn group(front: &str) -> Result<Vec<Draft<'_>>, Problem> {
    let mut drafts: Vec<Draft> = Vec::new();
    let mut names = HashSet::new();
    let mut at = 0;
    for (number, line) in front.split_inclusive('\n').enumerate() {
        let number = number + 2;
        let end = at + line.len();
        let text = content(line);
        if let Some(key) = Key::of(line) {
            let name = key.name();
            if name.is_empty() {
                return Err(Problem::Nameless { line: number });
            }
            if !names.insert(name) {
                return Err(Problem::Duplicate { line: number, name: name.to_owned() });
            }
            let start = drafts.last().map_or(0, |draft| draft.text.end);
            drafts.push(Draft { text: start..end, at, key });
        } else if !is_blank(text) && !text.starts_with('#') {
            match drafts.last_mut() {
                Some(draft) if text.starts_with([' ', '\t', '-']) => draft.text.end = end,
                _ => return Err(Problem::Stray { line: number }),
            }
        }
        at = end;
    }
    Ok(drafts)
}

/// Checks that the frontmatter is YAML, and that the keys YAML sees are, in the source, those of `drafts`.
fn check(front: &str, drafts: &[Draft]) -> Result<(), Problem> {
    if front.len() > MAX_FRONT_BYTES {
        return Err(Problem::Size { size: front.len() });
    }
    let keys = keys(front).map_err(|error| yaml_problem(&error))?;
    let ours: Vec<_> = drafts.iter().map(|draft| draft.at..draft.at + draft.key.token.len()).collect();
    if keys == ours {
        return Ok(());
    }
    let same = keys.iter().zip(&ours).take_while(|(key, ours)| key == ours).count();
    let at = [&keys, &ours].into_iter().filter_map(|keys| Some(keys.get(same)?.start)).min();
    Err(Problem::Keys { line: line_of(front, at.unwrap_or(0)) })
}

/// The byte ranges of the top-level keys of a YAML mapping, in its source.
fn keys(yaml: &str) -> Result<Vec<Range<usize>>, serde_saphyr::Error> {
    // Keys are compared by place, so they need no type; `<<` is a key like any other. Within these limits
    // time and memory are linear in the text.
    let options = options! {
        with_snippet: false,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        budget: budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_recorded_anchor_events: MAX_ANCHOR_EVENTS,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: alias_limits! { max_total_replayed_events: MAX_ALIAS_EVENTS },
    };
    serde_saphyr::with_deserializer_from_str_with_options(yaml, options, |yaml| yaml.deserialize_map(Keys))
}

/// Reads a mapping for the places of its keys.
struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Vec<Range<usize>>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("keys with values")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut keys = Vec::new();
        while let Some(key) = map.next_key::<Spanned<IgnoredAny>>()? {
            let span = key.referenced.span();
            let start = span.byte_offset().and_then(|start| usize::try_from(start).ok());
            let len = span.byte_len().and_then(|len| usize::try_from(len).ok());
            let range = start.zip(len).and_then(|(start, len)| Some(start..start.checked_add(len)?));
            keys.push(range.ok_or_else(|| A::Error::custom("a key without a place in the source"))?);
            map.next_value::<IgnoredAny>()?;
        }
        Ok(keys)
    }
}

/// The problem of a text that is not YAML, in one line.
fn yaml_problem(error: &serde_saphyr::Error) -> Problem {
    use serde_saphyr::Error;
    let mut cause = error;
    while let Error::AliasError { error, .. } | Error::WithSnippet { error, .. } = cause {
        cause = error;
    }
    let message = match cause {
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("duplicate key {key:?}"),
        Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } => {
            "nested too deep, or aliases stand for too much".to_owned()
        }
        cause => cause.to_string(),
    };
    let message = message.lines().next().unwrap_or_default();
    let message = message.split(" at line ").next().unwrap_or_default().replace(char::is_control, " ");
    let line = error.location().and_then(|location| usize::try_from(location.line()).ok());
    Problem::Yaml { line: line.unwrap_or(1) + 1, message }
}

impl Draft<'_> {
    fn entry(&self, front: &str) -> Entry {
        let text = &front[self.text.clone()];
        let list = self.flow_list(front).or_else(|| self.block_list(front));
        Entry {
            name: self.key.name().to_owned(),
            value: list.unwrap_or_else(|| Value::Scalar(text.to_owned())),
        }
    }

    /// The entry as a list in brackets on its key line, if all of it can be rebuilt from the items.
    fn flow_list(&self, front: &str) -> Option<Value> {
        let value = self.key.value.trim_start_matches([' ', '\t']);
        let (inside, after) = value.strip_prefix('[')?.split_once(']')?;
        let is_one_line = front[self.at..self.text.end].split_inclusive('\n').nth(1).is_none();
        let comment = after.trim_start_matches([' ', '\t']);
        let is_end = comment.is_empty() || (comment.starts_with('#') && comment.len() < after.len());
        if !is_one_line || !is_end || inside.contains(['[', '{', '}', '"', '\'', '#', '\\']) {
            return None;
        }
        let from_items = inside.trim_start_matches(' ');
        let all_items = from_items.trim_end_matches(' ');
        let mut items = Vec::new();
        let mut spaces = None;
        if !all_items.is_empty() {
            for (n, part) in all_items.split(',').enumerate() {
                let item = part.trim_start_matches(' ');
                if item.is_empty() || item != item.trim_matches([' ', '\t']) {
                    return None;
                }
                let before = part.len() - item.len();
                if n > 0 && *spaces.get_or_insert(before) != before {
                    return None;
                }
                items.push(item.to_owned());
            }
        }
        let line_end = self.at + content(&front[self.at..self.text.end]).len();
        let items_at = line_end - after.len() - "]".len() - from_items.len();
        Some(Value::List {
            head: front[self.text.start..items_at].to_owned(),
            sep: format!(",{}", " ".repeat(spaces.unwrap_or(1))),
            items,
            tail: front[items_at + all_items.len()..self.text.end].to_owned(),
        })
    }

    /// The entry as a list of `- ` lines below its key line, if it is one without blank lines.
    fn block_list(&self, front: &str) -> Option<Value> {
        let mut lines = front[self.at..self.text.end].split_inclusive('\n');
        let key_line = lines.next()?;
        if !self.key.value.chars().all(|c| c == ' ') {
            return None;
        }
        let mut indent = None;
        let mut items: Vec<String> = Vec::new();
        let from = |line: &str, at: usize| line.get(at..).unwrap_or_default().to_owned();
        for line in lines {
            let text = content(line).trim_start_matches(' ');
            let depth = content(line).len() - text.len();
            let is_item = text.strip_prefix("- ").is_some_and(|item| !is_blank(item));
            match items.last_mut() {
                _ if is_item && depth == *indent.get_or_insert(depth) => items.push(from(line, depth + 2)),
                Some(item) if indent.is_some_and(|indent| depth > indent) && !is_blank(text) => {
                    item.push_str(&from(line, indent.unwrap_or_default()));
                }
                _ => return None,
            }
        }
        for item in &mut items {
            item.pop();
        }
        let head = front[self.text.start..self.at + key_line.len()].to_owned();
        let sep = format!("{}- ", " ".repeat(indent?));
        Some(Value::List { head, sep, items, tail: String::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    /// The entries of frontmatter between two fences.
    fn entries(front: &str) -> Vec<(String, Value)> {
        let text = format!("---\n{front}---\nbody\n");
        let parts = split(&text);
        assert_eq!(front_problem(&text), None, "{front:?}");
        assert!(parts.has_front(), "{front:?}");
        assert_eq!(parts.render(), text);
        assert_eq!(parts.body, "body\n");
        parts.entries.into_iter().map(|entry| (entry.name, entry.value)).collect()
    }

    fn names(front: &str) -> Vec<String> {
        entries(front).into_iter().map(|(name, _)| name).collect()
    }

    /// HEAD, SEP, items and TAIL of the only entry, `None` if it is no list.
    fn list(front: &str) -> Option<(String, String, Vec<String>, String)> {
        match entries(front).pop() {
            Some((_, Value::List { head, sep, items, tail })) => Some((head, sep, items, tail)),
            _ => None,
        }
    }

    /// The problem of a text that has no frontmatter.
    fn problem(text: &str) -> String {
        let parts = split(text);
        assert!(!parts.has_front() && parts.entries.is_empty() && parts.close.is_empty());
        assert_eq!(parts.body, text);
        front_problem(text).unwrap_or_default()
    }

    /// The problem of frontmatter whose entries stand all the same.
    fn warning(text: &str) -> String {
        let parts = split(text);
        assert!(parts.has_front(), "{text:?}");
        assert_eq!(parts.render(), text);
        front_problem(text).unwrap_or_default()
    }

    #[test]
    fn parts_of_a_plain_note() {
        let parts = split("\u{feff}---\r\n# top\r\ntitle: A\r\n\r\n# end\r\n---\r\nBody");
        assert_eq!(parts.open, "\u{feff}---\r\n");
        let value = Value::Scalar("# top\r\ntitle: A\r\n".into());
        assert_eq!(parts.entries, [Entry { name: "title".into(), value }]);
        assert_eq!(parts.close, "\r\n# end\r\n---\r\n");
        assert_eq!(parts.body, "Body");
    }

    #[test]
    fn fences() {
        for text in
            ["---\n---\n", "---\n---", "---\n...", "---\n...\n", "---\n# c\n\n---\r\n", "---\na: 1\n---"]
        {
            assert!(split(text).has_front(), "{text:?}");
            assert_eq!(front_problem(text), None);
        }
        for text in
            ["", "---", "--- \na: 1\n---\n", "----\n", "\n---\na: 1\n---\n", "---\nJust text.\n", "---\n"]
        {
            assert_eq!(problem(text), "", "{text:?}");
        }
        assert_eq!(problem("---\na: 1\n"), "no closing fence: a line `---` must end the frontmatter");
    }

    #[test]
    fn keys_are_compared_by_place_and_need_no_type() {
        let front = "007: a\ntrue: b\n2024-01-01: c\nnull: d\n~: e\n\"q r\" : f\n's': g\nü: h\n.nan: i\n<<: j\na:b: k\n";
        let expected = ["007", "true", "2024-01-01", "null", "~", "q r", "s", "ü", ".nan", "<<", "a:b"];
        assert_eq!(names(front), expected);
    }

    #[test]
    fn lines_group_into_entries() {
        let found = entries(
            "\n# of a\na: |\n  text\n\n  # text\n\n# of b\n\nb:\n  c: 1\n  # in b\nd: &x [1,\n  2]\ne: *x\n",
        );
        let raws: Vec<String> = found.iter().map(|(_, value)| value.raw()).collect();
        assert_eq!(
            raws,
            [
                "\n# of a\na: |\n  text\n\n  # text\n",
                "\n# of b\n\nb:\n  c: 1\n  # in b\n",
                "d: &x [1,\n  2]\n",
                "e: *x\n"
            ]
        );
        assert!(found.iter().all(|(_, value)| matches!(value, Value::Scalar(_))));
    }

    #[test]
    fn values_of_any_type_parse() {
        for value in [
            ".nan",
            "1e999",
            "99999999999999999999999999999999",
            "!x y",
            "2024-13-45",
            "!!set {a, b}",
            "${X}",
        ] {
            assert_eq!(names(&format!("a: {value}\n")), ["a"], "{value}");
        }
    }

    #[test]
    fn what_breaks_the_line_rule_is_body() {
        let stray = |line| format!("line {line}: neither a key, nor part of an entry, nor a comment");
        for (text, line) in [
            ("---\nSome text.\n---\n", 2),
            ("---\n{a: 1}\n---\n", 2),
            ("---\n- a\n---\n", 2),
            ("---\n  # indented\na: 1\n---\n", 2),
            ("---\na: 1\n? c\n---\n", 3),
            ("---\na: [\n1\n]\n---\n", 3),
            ("---\na: 1\n]\n---\n", 3),
            ("---\na: 1\n: d\n---\n", 3),
        ] {
            assert_eq!(problem(text), stray(line), "{text:?}");
        }
        assert_eq!(problem("---\na: 1\n\"a\": 2\n---\n"), "line 3: duplicate key \"a\"");
        assert_eq!(problem("---\n\"\": 1\n---\n"), "line 2: the key is empty");
        assert_eq!(problem("---\na: b\0\n---\n"), "line 2: a NUL or a carriage return inside a line");
        assert_eq!(problem("---\na: 1\r# x\n---\n"), "line 2: a NUL or a carriage return inside a line");
    }

    #[test]
    fn broken_yaml_is_an_entry_with_a_warning() {
        assert_eq!(
            warning("---\na: 1\nb: c: d\n---\n"),
            "line 3: mapping values are not allowed in this context"
        );
        assert_eq!(warning("---\na:\n  b: 1\n  b: 2\n---\n"), "line 4: duplicate key \"b\"");
        assert_eq!(warning("---\na: *b\n---\n"), "line 2: alias references unknown anchor");
        let keys = "a key that does not stand alone at the start of its line, or a value read as one";
        assert_eq!(warning("---\n\"a: b\": c\n---\n"), format!("line 2: {keys}"));
        let parts = split("---\nb: c: d\n  - [\n---\n");
        assert_eq!(parts.entries[0].value, Value::Scalar("b: c: d\n  - [\n".into()));
    }

    #[test]
    fn flow_lists() {
        let of = |head: &str, sep: &str, items: &[&str], tail: &str| {
            let items = items.iter().map(ToString::to_string).collect();
            Some((head.to_owned(), sep.to_owned(), items, tail.to_owned()))
        };
        assert_eq!(list("tags: [a, b c]\n"), of("tags: [", ", ", &["a", "b c"], "]\n"));
        assert_eq!(
            list("# x\ntags:  [ a,b ]  # [c]\r\n"),
            of("# x\ntags:  [ ", ",", &["a", "b"], " ]  # [c]\r\n")
        );
        assert_eq!(list("tags: []\n"), of("tags: [", ", ", &[], "]\n"));
        assert_eq!(list("tags: [  ] \n"), of("tags: [  ", ", ", &[], "] \n"));
        assert_eq!(list("tags: [ü ]\n"), of("tags: [", ", ", &["ü"], " ]\n"));
        for other in [
            "tags: [a,  b, c]\n",
            "tags: [a ,b]\n",
            "tags: [a, b,]\n",
            "tags: ['a']\n",
            "tags: [[a]]\n",
            "tags: [a\\b]\n",
            "tags: [a,\tb]\n",
            "tags: [a,\n  b]\n",
            "tags: [a]\n\n  # more\n",
            "tags: &x [a]\n",
            "tags: a [b]\n",
        ] {
            assert_eq!(list(other), None, "{other:?}");
        }
    }

    #[test]
    fn block_lists() {
        let of = |head: &str, sep: &str, items: &[&str]| {
            let items = items.iter().map(ToString::to_string).collect();
            Some((head.to_owned(), sep.to_owned(), items, String::new()))
        };
        assert_eq!(list("# x\ntags: \n- a\n-  b \n"), of("# x\ntags: \n", "- ", &["a", " b "]));
        assert_eq!(
            list("to:\n  - name: a\n    is:\n     b\n  - c # d\n"),
            of("to:\n", "  - ", &["name: a\n  is:\n   b", "c # d"])
        );
        assert_eq!(list("to:\r\n - a\r\n - b\r\n"), of("to:\r\n", " - ", &["a\r", "b\r"]));
        for other in [
            "tags:\n",
            "tags: # x\n- a\n",
            "tags:\n- a\n\n- b\n",
            "tags:\n-\n  a\n",
            "tags:\n- a\n# x\n- b\n",
            "tags:\n  a: b\n",
            "tags:\n  # x\n  - a\n",
            "tags: &x\n- a\n",
            "tags:\n- a\n-\n",
        ] {
            assert_eq!(list(other), None, "{other:?}");
        }
    }

    #[test]
    fn items_stand_as_their_list_is_written() {
        let text = |register: &str, items: &[&str]| {
            Value::from_register(register, items.iter().map(ToString::to_string).collect()).raw()
        };
        let (flow, lines) = ("[# x\nt: [ \0, \0 ] # c\n", "[t:\n\0 - \0");
        assert_eq!(text(flow, &["a", "b c"]), "# x\nt: [ a, b c ] # c\n");
        assert_eq!(text(lines, &["a", "b c"]), "t:\n - a\n - b c\n");
        assert_eq!(text(lines, &["n: a\n  m: b"]), "t:\n - n: a\n   m: b\n");
        assert_eq!(text(flow, &["a", "n: a\n  m: b"]), "# x\nt: # c\n  - a\n  - n: a\n    m: b\n");
        assert_eq!(text(flow, &["a, b"]), "# x\nt: # c\n  - a, b\n");
        assert_eq!(text("[t: [\0,\0]\n", &["'x'", "y"]), "t:\n  - 'x'\n  - y\n");
        assert_eq!(text("[\0,\0", &["'x'", "y"]), "'x',y", "no list that anybody wrote");
        let frame = |register: &str| Value::from_register(register, Vec::new()).frame();
        assert_eq!(frame("[t: [\0, \0]\n"), frame("[t: \n\0  - \0"));
        assert_ne!(frame("[t: [\0, \0] # c\n"), frame("[t:\n\0  - \0"));
        assert_eq!(frame("=t: 1\n"), None);
    }

    #[test]
    fn registers_round_trip_and_tolerate_damage() {
        for (_, value) in entries("a: 1\nb: [x,y]\nc:\n  - x\n  - y\nd: []\n") {
            let items = if let Value::List { items, .. } = &value { items.clone() } else { Vec::new() };
            assert_eq!(Value::from_register(&value.register(), items), value);
        }
        assert_eq!(entries("b: [x,y]\n")[0].1.register(), "[b: [\0,\0]\n");
        let scalar = |text: &str| Value::Scalar(text.into());
        for (register, text) in
            [("", ""), ("=", ""), ("[a\0b", "a\0b"), ("[a\0b\0c\0d", "a\0b\0c\0d"), ("éa", "a")]
        {
            assert_eq!(Value::from_register(register, vec!["x".into()]), scalar(text));
        }
    }

    #[test]
    fn bombs_are_entries_with_a_quick_warning() {
        let size = MAX_FRONT_BYTES - 100;
        let nested_anchors: String = (0..50).map(|n| format!("&a{n} [")).collect();
        let mut aliases = "x0: &x0 1\n".to_owned();
        for n in 1..40 {
            aliases += &format!("x{n}: &x{n} [{}]\n", vec![format!("*x{}", n - 1); 10].join(","));
        }
        let mut deep = "x0: &x0 1\n".to_owned();
        for n in 1..500 {
            deep += &format!("x{n}: &x{n} {}*x{}{}\n", "[".repeat(60), n - 1, "]".repeat(60));
        }
        let bombs = [
            aliases,
            deep,
            format!("a: {}\n", "[".repeat(size)),
            format!("a: {}\n", "{a: ".repeat(size / 4)),
            format!("a:\n  {}\n", "- ".repeat(size / 2)),
            format!("a: {nested_anchors}{}{}\n", "b,".repeat(size / 4), "]".repeat(50)),
            format!("a: &a 1\nb: [{}]\n", "*a,".repeat(size / 3)),
            "a: &a [*a]\n".to_owned(),
            format!("a: \"{}\n", "b\n  ".repeat(size / 4)),
            format!("a: {}\n", "b".repeat(MAX_FRONT_BYTES)),
        ];
        for bomb in bombs {
            let start = Instant::now();
            assert!(!warning(&format!("---\n{bomb}---\n")).is_empty(), "{:?}", &bomb[..40.min(bomb.len())]);
            // Generous: what is guarded against takes minutes or never ends.
            assert!(start.elapsed() < Duration::from_secs(20), "{:?}", &bomb[..40.min(bomb.len())]);
        }
    }

    /// Every Markdown file of the crates that cargo has unpacked: many authors' styles.
    #[test]
    fn files_in_the_wild_round_trip() {
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
        let mut folders: Vec<PathBuf> = home.map(|home| home.join("registry/src")).into_iter().collect();
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(path),
                    Ok(kind) if kind.is_file() && path.extension().is_some_and(|it| it == "md") => {
                        let Ok(text) = std::fs::read_to_string(&path) else { continue };
                        assert!(split(&text).render() == text, "{} changed", path.display());
                        files += 1;
                    }
                    _ => {}
                }
                if files == 3000 {
                    return;
                }
            }
        }
        if files == 0 {
            println!("skipped: no unpacked crates below CARGO_HOME or HOME/.cargo");
        }
    }

    fn yaml_like() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            3 => "(a|b|c|d|\"e f\"|'g'|007|true|ü|<<)( |)(:|: )(|x|1|\\[\\]|\\[a, b\\]|\\[a,b \\] # c|\\[a,  b, c\\]|\\{x: 1\\}|\\||>-|&x 1|\\*x|\"q\"|'r'|!t y| )",
            2 => "(|  |    )- (x|y|z: 1|\"é\"|\\[a, b\\])",
            1 => "(|  )# (note|---)",
            1 => "(|  |\t)",
            1 => "  (text|k: v|- x|猫)",
            1 => "(\\?|:|%|&a|\\*b|---|\\.\\.\\.|--- x|\\{|\\]|\\r|\0|\u{feff})",
        ];
        let end = prop_oneof![9 => Just("\n"), 1 => Just("\r\n")];
        let lines = proptest::collection::vec((line, end), 0..8)
            .prop_map(|lines| lines.into_iter().map(|(line, end)| line + end).collect::<String>());
        (
            prop_oneof![4 => Just(""), 1 => Just("\u{feff}")],
            prop_oneof![6 => Just("---\n"), 1 => Just("---\r\n"), 1 => Just("--- \n"), 1 => Just("")],
            lines,
            prop_oneof![4 => Just("---\n"), 1 => Just("...\n"), 1 => Just("---"), 1 => Just("---\r\n"), 1 => Just("")],
            prop_oneof![Just(""), Just("body\n"), Just("# T\r\n\r\n---\na: b\n---")],
        )
            .prop_map(|(bom, open, front, close, body)| [bom, open, &front, close, body].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn yaml_like_text_round_trips(text in yaml_like()) {
            let parts = split(&text);
            prop_assert_eq!(parts.render(), text.as_str());
            let problem = front_problem(&text);
            prop_assert!(parts.has_front() || parts.entries.is_empty());
            prop_assert!(problem.is_none_or(|problem| !problem.contains(char::is_control)));
            for entry in &parts.entries {
                prop_assert!(!entry.name.is_empty() && !entry.name.contains('\0'));
                let items = if let Value::List { items, .. } = &entry.value { items.clone() } else { Vec::new() };
                prop_assert_eq!(&Value::from_register(&entry.value.register(), items), &entry.value);
            }
        }

        #[test]
        fn any_text_round_trips(text in any::<String>(), front in any::<String>()) {
            prop_assert_eq!(split(&text).render(), text.as_str());
            let text = format!("---\n{front}\n---\n{text}");
            prop_assert_eq!(split(&text).render(), text.as_str());
            front_problem(&text);
        }
    }
}
