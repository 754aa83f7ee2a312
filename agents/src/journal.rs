//! The note of a day: lines that follow from the log, among the words of whoever else writes there.

use serde::Serialize;

/// The heading that the lines stand under.
const HEADING: &str = "## What was done";

/// One line of a day.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Entry {
    /// When, ms since the Unix epoch: the order of the lines.
    pub at: u64,
    /// What it is about: each is written once.
    pub id: String,
    /// The line.
    pub line: String,
}

/// The path of the note of a day, such as `2026-11-21`.
pub fn path(day: &str) -> String {
    format!("journal/{day}.md")
}

/// The note with the `missing` lines added, and none of `all` twice; nothing where it is so already. Not a word of anybody else is changed.
pub fn write(note: Option<&str>, day: &str, missing: &[&Entry], all: &[Entry]) -> Option<String> {
    let Some(note) = note else {
        if missing.is_empty() {
            return None;
        }
        let head = format!("---\ntype: journal\ndate: {day}\n---\n\n{HEADING}\n\n");
        return Some(head + &lines(missing, "\n"));
    };
    let end = if note.contains("\r\n") { "\r\n" } else { "\n" };
    let single = without_doubles(note, all);
    // Whoever was killed after the note was written and before that was recorded finds its lines there.
    let absent: Vec<&Entry> =
        missing.iter().filter(|entry| !single.lines().any(|line| line == entry.line)).copied().collect();
    let out = match absent.is_empty() {
        true => single,
        false => insert(&single, &absent, end),
    };
    (out != note).then_some(out)
}

fn lines(entries: &[&Entry], end: &str) -> String {
    entries.iter().map(|entry| format!("{}{end}", entry.line)).collect()
}

/// The note in which each line of ours stands once: two devices may have written it apart.
fn without_doubles(note: &str, all: &[Entry]) -> String {
    let mut seen: Vec<&str> = Vec::new();
    let mut out = String::with_capacity(note.len());
    for part in note.split_inclusive('\n') {
        let line = part.trim_end_matches(['\n', '\r']);
        let ours = all.iter().any(|entry| entry.line == line);
        if ours && seen.contains(&line) {
            continue;
        }
        if ours {
            seen.push(line);
        }
        out.push_str(part);
    }
    out
}

/// Puts lines at the end of our part, or begins it at the end of the note.
fn insert(note: &str, entries: &[&Entry], end: &str) -> String {
    let is_heading = |line: &str, heading: &str| line.trim_end() == heading;
    let mut at = 0;
    let mut place = None;
    let mut inside = false;
    for part in note.split_inclusive('\n') {
        let line = part.trim_end_matches(['\n', '\r']);
        if inside && (line.starts_with("# ") || line.starts_with("## ")) {
            break;
        }
        at += part.len();
        inside |= is_heading(line, HEADING);
        // Behind the last line that says something.
        if inside && !line.trim().is_empty() {
            place = Some((at, is_heading(line, HEADING), part.ends_with('\n')));
        }
    }
    match place {
        Some((at, bare, ended)) => {
            let (before, after) = note.split_at(at);
            let gap = match (ended, bare) {
                (true, true) => end.to_owned(),
                (true, false) => String::new(),
                (false, true) => end.repeat(2),
                (false, false) => end.to_owned(),
            };
            format!("{before}{gap}{}{after}", lines(entries, end))
        }
        None => {
            let gap = match (note.is_empty(), note.ends_with('\n')) {
                (true, _) => String::new(),
                (false, true) => end.to_owned(),
                (false, false) => end.repeat(2),
            };
            format!("{note}{gap}{HEADING}{end}{end}{}", lines(entries, end))
        }
    }
}

/// A text from the work as it may stand in a line of a note: on one line, and as nothing but itself.
pub(crate) fn quoted(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("`{}`", plain.replace('`', "'"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(n: u64) -> Entry {
        Entry { at: n, id: n.to_string(), line: format!("- line {n}") }
    }

    fn write_all(note: Option<&str>, missing: &[Entry], all: &[Entry]) -> Option<String> {
        write(note, "2026-11-21", &missing.iter().collect::<Vec<_>>(), all)
    }

    #[test]
    fn lines_stand_under_their_heading_and_words_of_others_stay() {
        let all = [entry(1), entry(2)];
        let fresh = write_all(None, &all[..1], &all).unwrap();
        assert_eq!(fresh, "---\ntype: journal\ndate: 2026-11-21\n---\n\n## What was done\n\n- line 1\n");
        assert_eq!(write_all(Some(&fresh), &all[1..], &all).unwrap(), format!("{fresh}- line 2\n"));
        let own = "I slept well.\n\n## What was done\n\n- line 1\nWhy so late?\n\n## Tomorrow\n\nrest\n";
        assert_eq!(
            write_all(Some(own), &all[1..], &all).unwrap(),
            "I slept well.\n\n## What was done\n\n- line 1\nWhy so late?\n- line 2\n\n## Tomorrow\n\nrest\n"
        );
        for (note, with) in [
            ("", "## What was done\n\n- line 1\n"),
            ("a", "a\n\n## What was done\n\n- line 1\n"),
            ("a\r\n", "a\r\n\r\n## What was done\r\n\r\n- line 1\r\n"),
            ("## What was done", "## What was done\n\n- line 1\n"),
        ] {
            assert_eq!(write_all(Some(note), &all[..1], &all).as_deref(), Some(with), "{note:?}");
        }
    }

    #[test]
    fn what_two_wrote_apart_stands_once_and_what_others_wrote_twice_twice() {
        let all = [entry(1), entry(2)];
        let note = "- mine\n- line 1\n- mine\n- line 2\n- line 1\n";
        assert_eq!(write_all(Some(note), &[], &all).unwrap(), "- mine\n- line 1\n- mine\n- line 2\n");
        assert_eq!(write_all(Some("- line 1\n"), &all[..1], &all), None, "it was written before");
        assert_eq!(write_all(None, &[], &all), None);
    }

    proptest! {
        /// Whatever stands there stays, in order; what is missing is there once; done again it changes nothing.
        #[test]
        fn nothing_is_lost(
            note in "([a-c#]{0,3}( |\r)?\n|## What was done\n|- line [1-3]\n){0,8}[a-c]{0,2}",
            missing in proptest::collection::btree_set(1u64..4, 0..4),
        ) {
            let all: Vec<Entry> = (1..4).map(entry).collect();
            let missing: Vec<Entry> = missing.into_iter().map(entry).collect();
            let out = write_all(Some(&note), &missing, &all).unwrap_or_else(|| note.clone());
            for it in &missing {
                prop_assert_eq!(out.lines().filter(|line| *line == it.line).count(), 1);
            }
            let others = |text: &str| -> Vec<String> {
                let ours = |line: &&str| !all.iter().any(|entry| entry.line == *line) && !line.trim().is_empty();
                text.lines().filter(ours).map(str::to_owned).collect()
            };
            let kept: Vec<String> = others(&out).into_iter().filter(|line| line != HEADING).collect();
            let had: Vec<String> = others(&note).into_iter().filter(|line| line != HEADING).collect();
            prop_assert_eq!(kept, had);
            prop_assert_eq!(write_all(Some(&out), &missing, &all), None);
        }
    }
}
