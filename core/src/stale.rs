//! Stale saves: a text that was written on top of an older version than the newest (I6), told by the text alone.

use std::collections::HashSet;

use crate::align::split_lines;
use crate::patch::diff;

/// Whether `saved` seems to be made from `old` by somebody who never saw the lines that `newest` brought since: none of them
/// stands in it, as an edit of `newest` it takes out words, and as an edit of `old` fewer.
///
/// By the number of changed bytes alone a line that was put where another one came is taken for a change of that one, when
/// the two are alike: `- two` beside `- three`.
pub fn unseen(old: &str, newest: &str, saved: &str) -> bool {
    let known: HashSet<&str> = split_lines(old).into_iter().collect();
    let kept: HashSet<&str> = split_lines(saved).into_iter().collect();
    let mut came =
        split_lines(newest).into_iter().filter(|line| !known.contains(line) && !line.trim().is_empty());
    came.clone().next().is_some()
        && came.all(|line| !kept.contains(line))
        && taken_out(newest, saved) > taken_out(old, saved)
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
            assert!(unseen(OLD, &newest, &saved), "{came}");
        }
        // With something else done to the old text besides.
        assert!(unseen(OLD, NEWEST, "# Inbox\n\n- [x] Call Bram now\n- [ ] Buy eggs\n"));
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
            assert!(!unseen(OLD, NEWEST, saved), "{saved}");
        }
        // What came changed a line that the save changes too.
        assert!(!unseen("rate: 1\n", "rate: 2\n", "rate: 3\n"));
    }
}
