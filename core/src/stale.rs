//! Stale saves: a text that was written on top of an older version than the newest (I6), told by the text alone.

use std::collections::HashSet;

use crate::align::split_lines;
use crate::patch::{Hunk, Patch, diff};

/// What a save tells of the changes that came since an older version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// It has some of them as they came: its writer had them in front of them.
    Seen,
    /// It has some of them, each of a word at most: its writer may have done the same.
    Hinted,
    /// It has none of them as it came, and at some places exactly what was there before.
    Unseen,
    /// Neither.
    Unclear,
}

/// What `saved` tells of the changes from `old` to `newest`.
///
/// Each change is looked at by itself, in the edits that would make `saved` of either: whether they leave it as it came, leave what was
/// there before, or put a third text there, which tells nothing. Whoever changes again what came (`Plan`, then `Plan B`, then
/// `Plan C`) has nearly as many bytes in common with the older version, and means the newest.
pub fn sight(old: &str, newest: &str, saved: &str) -> Sight {
    let (of_old, of_newest) = (diff(old, saved), diff(newest, saved));
    let (mut inserted, mut removed) = (0, 0);
    let (mut seen, mut hinted, mut unseen) = (false, false, false);
    for Hunk { at, delete, insert } in &diff(old, newest).0 {
        let now = at + inserted - removed;
        inserted += insert.len();
        removed += delete;
        match (keeps(&of_newest, now, now + insert.len()), keeps(&of_old, *at, at + delete)) {
            (true, false) if !insert.is_empty() && words(insert) < 2 => hinted = true,
            (true, false) => seen = true,
            (false, true) => unseen = true,
            _ => {}
        }
    }
    match (seen, hinted, unseen) {
        (true, ..) => Sight::Seen,
        (_, true, _) => Sight::Hinted,
        (_, _, true) => Sight::Unseen,
        _ => Sight::Unclear,
    }
}

fn words(text: &str) -> usize {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).count()
}

/// Whether an edit leaves all of the bytes `from..to`, whatever it puts between them; of a place without bytes, whether it
/// leaves what meets there.
fn keeps(edit: &Patch, from: usize, to: usize) -> bool {
    let before = edit.0.partition_point(|hunk| hunk.at + hunk.delete < from);
    !edit.0[before..].iter().take_while(|hunk| hunk.at <= to).any(|hunk| {
        let end = hunk.at + hunk.delete;
        match from == to {
            true => hunk.at <= to && end >= from,
            false => hunk.delete > 0 && hunk.at < to && end > from,
        }
    })
}

/// Whether `saved` seems to be made from `old` by somebody who never saw the lines that `newest` has more: none of them
/// stands in it, as an edit of `newest` it takes out words, and as an edit of `old` fewer.
///
/// By the number of changed bytes alone a line that was put where another one came is taken for a change of that one, when
/// the two are alike: `- two` beside `- three`.
pub fn beside(old: &str, newest: &str, saved: &str) -> bool {
    let lines = |text| split_lines(text).into_iter().map(|line| line.trim_end_matches(['\r', '\n']));
    let known: HashSet<&str> = lines(old).collect();
    let kept: HashSet<&str> = lines(saved).collect();
    let mut rest = lines(newest);
    // What came may run into a word that was there.
    let around = |Hunk { at, delete, insert }: &Hunk| {
        let was = old.get(*at..at + delete).unwrap_or_default();
        insert.contains('\n') && (insert.starts_with(was) || insert.ends_with(was))
    };
    let only_more =
        lines(old).all(|line| rest.any(|other| other == line)) || diff(old, newest).0.iter().all(around);
    let mut came = lines(newest).filter(|line| !known.contains(line) && !line.trim().is_empty());
    // Who writes all of it anew has nothing that tells.
    let of_old = known.iter().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>();
    let based = of_old.is_empty() || of_old.iter().any(|line| kept.contains(*line));
    only_more
        && based
        && came.clone().next().is_some()
        && came.all(|line| !kept.contains(line))
        && taken_out(newest, saved) > taken_out(old, saved)
}

/// Whether `saved` lacks whole lines that `newest` has more than `old`, and has words that `newest` has not: who only takes lines out has
/// seen them.
pub fn overlooks(old: &str, newest: &str, saved: &str) -> bool {
    let kept: HashSet<&str> = split_lines(saved).into_iter().collect();
    let lacks = |came: &Hunk| {
        let whole = came.insert.starts_with('\n') || came.insert.ends_with('\n');
        let mut lines = split_lines(&came.insert).into_iter().filter(|line| words(line) > 0).peekable();
        came.delete == 0 && whole && lines.peek().is_some() && lines.all(|line| !kept.contains(line))
    };
    diff(old, newest).0.iter().any(lacks) && diff(newest, saved).0.iter().any(|hunk| words(&hunk.insert) > 0)
}

/// How many bytes of words the edit from `old` to `new` takes out.
fn taken_out(old: &str, new: &str) -> usize {
    let words = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).map(char::len_utf8).sum::<usize>();
    let gone = diff(old, new).0.into_iter().filter_map(|hunk| old.get(hunk.at..hunk.at + hunk.delete));
    gone.map(words).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "# Inbox\n\n- [ ] Call Bram\n";
    const NEWEST: &str = "# Inbox\n\n- [ ] Call Bram\n- [ ] Buy milk\n";

    #[test]
    fn a_line_where_another_came_is_no_change_of_it() {
        for (came, saved) in [
            ("- [ ] Buy milk", "- [ ] Buy eggs"),
            ("- two", "- three"),
            ("invoice 41", "invoice 42"),
            ("7", "8"),
        ] {
            let (newest, saved) = (format!("{OLD}{came}\n"), format!("{OLD}{saved}\n"));
            assert!(beside(OLD, &newest, &saved), "{came}");
        }
        // Where the last line has no end, or the last that came runs into what was there.
        assert!(beside("one", "one\ntwo of another", "one\nthree of mine"));
        assert!(beside("a one\nb two\n", "h1 x\nh2 x\nh3a one\nb two\n", "my own\na one\nb two\n"));
        // With something else done to the old text besides.
        assert!(beside(OLD, NEWEST, "# Inbox\n\n- [x] Call Bram now\n- [ ] Buy eggs\n"));
    }

    #[test]
    fn whoever_keeps_or_ticks_what_came_has_seen_it() {
        let seen = [
            "# Inbox\n\n- [ ] Call Bram\n- [x] Buy milk\n",
            "# Inbox\n\n- [ ] Call Bram\n- [ ] Buy oat milk\n",
            "# Inbox\n\n- [ ] Call Bram\n- [ ] Buy milk\n- [ ] Buy eggs\n",
            "# Inbox\n\n- [x] Call Bram\n- [ ] Buy milk\n",
            "# Inbox\n\n- [ ] Buy milk\n",
        ];
        for saved in seen {
            assert!(!beside(OLD, NEWEST, saved), "{saved}");
        }
        // What came changed a line that the save changes too.
        assert!(!beside("rate: 1\n", "rate: 2\n", "rate: 3\n"));
        assert!(!beside("# Plan\n", "# Plan B\n", "# Plan C\n"));
    }

    #[test]
    fn who_changes_again_what_came_tells_nothing_of_the_older_version() {
        for [old, newest, saved] in [
            ["# Plan\n\ntext\n", "# Plan B\n\ntext\n", "# Plan C\n\ntext\n"],
            ["The door is blue today.\n", "The door is green today.\n", "The door is red today.\n"],
            ["status: open\n", "status: reopened soon\n", "status: won\n"],
            [
                "First text of the file.\nTwo.\n",
                "Other text entirely here.\nMore.\n",
                "Third, nothing alike.\nQ.\n",
            ],
            ["some text\n", "some text\nmore\n", ""],
            ["tags: [b]\n", "tags: [b, c]\n", "tags: []\n"],
        ] {
            assert_eq!(sight(old, newest, saved), Sight::Unclear, "{old:?} {newest:?} {saved:?}");
            assert!(!beside(old, newest, saved), "{saved:?}");
        }
    }

    #[test]
    fn one_edit_that_both_made_says_little() {
        let tasks = "- [ ] pay rent\n- [ ] call bank\n";
        let came = "- [x] pay rent\n- [ ] call bank\n- [ ] buy milk\n";
        let saved = "- [x] pay rent\n- [ ] call bank\n- [ ] ask Bo\n";
        assert_eq!(sight(tasks, came, saved), Sight::Hinted);
        assert!(overlooks(tasks, came, saved));
        // Who takes out what came, or writes below it, has seen it.
        for saved in [
            "- [x] pay rent\n- [ ] call bank\n",
            "- [x] pay rent\n- [x] call bank\n- [ ] buy milk\n- [ ] ask Bo\n",
        ] {
            assert!(!overlooks(tasks, came, saved), "{saved}");
        }
        // Who changes again what came has seen it.
        let (note, came) = ("# A\n\none\ntwo\n", "# B\n\nfirst\ntwo\n");
        assert!(!overlooks(note, came, "# B\n\nvery first\ntwo\n"));
        let note = "# Untitled\n\na one\nb two\nc three\n";
        let came = "# Report\n\na one\na line that came\nb two\nc three\n";
        let saved = "# Report\n\na one\nb two\nc three, and more\n";
        assert_eq!(sight(note, came, saved), Sight::Hinted);
        assert!(overlooks(note, came, saved));
        let saved = "# Report\n\na one\na line that came\nb two\nc three, and more\n";
        assert_eq!(sight(note, came, saved), Sight::Seen);
    }

    #[test]
    fn a_line_put_between_two_that_were_replaced_leaves_them() {
        for (old, newest, saved) in [
            ("a\nb x y z\nc x y z\nd\n", "a\nwords of another\nd\n", "a\nb x y z\nmine\nc x y z\nd\n"),
            (
                "Agenda\nCall Ann on Monday.\nWrite the offer.\nEnd\n",
                "Agenda\nAll done by phone.\nEnd\n",
                "Agenda\nCall Ann on Monday.\nAsk Bob too.\nWrite the offer.\nEnd\n",
            ),
            (
                "head\n\nb1 x y z\nb2 x y z\ntail\n",
                "head\nwords of another\ntail\n",
                "head\n\nn1 aa bb\nn2 aa bb\nb1 x y z\nb2 x y z\ntail\n",
            ),
        ] {
            assert_eq!(sight(old, newest, saved), Sight::Unseen, "{saved:?}");
        }
    }

    #[test]
    fn a_buffer_from_before_has_what_was_there() {
        let old = "- [ ] one\n- [ ] two\n\nLast words.\n";
        for newest in [
            "- [x] one\n- [ ] two\n\nLast words.\n",
            "- [ ] one\n- [ ] one and a half\n- [ ] two\n\nLast words.\n",
            "- [ ] two\n\nLast words.\n",
        ] {
            let saved = old.replace("words", "words and more");
            assert_eq!(sight(old, newest, &saved), Sight::Unseen, "{newest:?}");
            let saved = newest.replace("words", "words and more");
            assert!(matches!(sight(old, newest, &saved), Sight::Seen | Sight::Hinted), "{newest:?}");
            assert!(!overlooks(old, newest, &saved), "{newest:?}");
        }
        // One of two changes taken back, with the other in front of them.
        let both = "- [x] one\n- [x] two\n\nLast words.\n";
        let saved = "- [ ] one\n- [x] two\n\nLast words, and more.\n";
        assert!(sight(old, both, saved) == Sight::Hinted && !overlooks(old, both, saved));
    }
}
