//! Byte patches of text, and the diff that makes them.
//!
//! A patch is what an `edit` item says about a file (`docs/formats.md`, Body). The diff is by line, then by
//! word inside the lines that changed: a word is replaced as a whole, so that two words written at the
//! same time stand one after the other and never interleave (I4). Its cost is bounded: what is too large
//! to compare by word is changed line by line where its lines are alike, else replaced.

use std::hash::Hash;
use std::ops::Range;

use imara_diff::{Algorithm, Diff, InternedInput, Interner};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::align::{align, split_lines};
use crate::alike::{Line, anchored, pair_each, words_of_lines};
use crate::word::{Class, extends, is_between_words, split_words};

/// The most pairs of tokens that one comparison may look at, some milliseconds' work.
const MAX_RUN_PAIRS: usize = 4_000_000;
/// The most pairs of tokens that all comparisons of one diff may look at.
const MAX_PAIRS: usize = 12 * MAX_RUN_PAIRS;
/// The most pairs of lines among which those that give way to each other are looked for.
const MAX_LINE_PAIRS: usize = 4096;
/// How many hunks lines too many to compare may come to: an edit of the document takes 0.7 s with so many.
const MAX_HUNKS: usize = 12_000;
/// One replacement in a base text. As JSON: `[at, delete, "insert"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hunk {
    /// Byte offset in the base.
    pub at: usize,
    /// Number of bytes of the base removed there.
    pub delete: usize,
    /// What is put in their place.
    pub insert: String,
}

impl Serialize for Hunk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.at, self.delete, &self.insert).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Hunk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (at, delete, insert) = Deserialize::deserialize(deserializer)?;
        Ok(Self { at, delete, insert })
    }
}

/// Replacements in one base text: offsets all in the base, ascending, not overlapping. As JSON, the list
/// of its hunks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Patch(pub Vec<Hunk>);

/// Why a patch does not apply to a text. `hunk` counts from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PatchError {
    /// A hunk begins before the one before it ends, or where that one begins.
    #[error("hunk {hunk} of the patch, at byte {at}, overlaps the one before it: the patch is malformed")]
    Order {
        /// Which hunk.
        hunk: usize,
        /// Its offset.
        at: usize,
    },
    /// A hunk reaches past the end of the text.
    #[error(
        "hunk {hunk} of the patch, {delete} bytes at byte {at}, ends past the text's {len} bytes: \
         it was made for another text"
    )]
    Range {
        /// Which hunk.
        hunk: usize,
        /// Its offset.
        at: usize,
        /// How many bytes it deletes.
        delete: usize,
        /// Length of the text in bytes.
        len: usize,
    },
    /// A hunk begins or ends inside a character.
    #[error("hunk {hunk} of the patch splits the character at byte {at}: it was made for another text")]
    Boundary {
        /// Which hunk.
        hunk: usize,
        /// The offset inside a character.
        at: usize,
    },
}

impl Patch {
    /// Applies the patch to `base`.
    ///
    /// # Errors
    ///
    /// When the hunks are not ascending, overlap, reach past the end of `base` or split a character of it.
    pub fn apply(&self, base: &str) -> Result<String, PatchError> {
        let mut text = String::with_capacity(base.len());
        let mut done = 0;
        let mut last = None;
        for (hunk, Hunk { at, delete, insert }) in self.0.iter().enumerate() {
            let (at, delete, len) = (*at, *delete, base.len());
            let end = at.checked_add(delete).filter(|&end| end <= len);
            let Some(end) = end else { return Err(PatchError::Range { hunk, at, delete, len }) };
            if at < done || last == Some(at) {
                return Err(PatchError::Order { hunk, at });
            }
            if let Some(at) = [at, end].into_iter().find(|&at| !base.is_char_boundary(at)) {
                return Err(PatchError::Boundary { hunk, at });
            }
            text.push_str(&base[done..at]);
            text.push_str(insert);
            (done, last) = (end, Some(at));
        }
        text.push_str(&base[done..]);
        Ok(text)
    }

    /// This patch and `other`, of the same base, as one; a hunk that both have stands once. Gives besides whether a hunk
    /// of `other` is left out, since it meets another of this patch: both remove the same text, or one puts its
    /// own inside what the other removes.
    pub fn join(&self, other: &Patch) -> (Patch, bool) {
        let meets = |a: &Hunk, b: &Hunk| a.at < b.at + b.delete && b.at < a.at + a.delete;
        let (mut hunks, mut left) = (self.0.clone(), false);
        let mut mine = self.0.as_slice();
        for hunk in &other.0 {
            let ended = mine.partition_point(|own| own.at + own.delete < hunk.at);
            mine = &mine[ended..];
            let near = || mine.iter().take_while(|own| own.at <= hunk.at + hunk.delete);
            if near().any(|own| own == hunk) {
                continue;
            }
            match near().any(|own| meets(own, hunk)) {
                true => left = true,
                false => hunks.push(hunk.clone()),
            }
        }
        hunks.sort_by_key(|hunk| (hunk.at, hunk.delete));
        hunks.dedup_by(|next, hunk| {
            let same = next.at == hunk.at;
            if same {
                hunk.delete = next.delete;
                hunk.insert.push_str(&next.insert);
            }
            same
        });
        (Patch(hunks), left)
    }

    /// How far the patch moves a text: bytes deleted and bytes inserted.
    pub fn distance(&self) -> usize {
        self.0
            .iter()
            .fold(0, |sum: usize, hunk| sum.saturating_add(hunk.delete).saturating_add(hunk.insert.len()))
    }
}

/// Compares `old` with `new` by line, then by word: `diff(old, new).apply(old)` gives `new`.
///
/// Equal inputs give equal patches. A word (see the module's head) is replaced as a whole, and words
/// next to each other that both changed are one hunk.
pub fn diff(old: &str, new: &str) -> Patch {
    let (old, new) = (split_lines(old), split_lines(new));
    let mut differ = Differ { hunks: Vec::new(), pairs_left: MAX_PAIRS };
    differ.each(0, &old, &new, unmatched(&old, &new), |differ, at, old, new| {
        let runs =
            differ.compare(old, new).unwrap_or_else(|| vec![Run { old: 0..old.len(), new: 0..new.len() }]);
        differ.each(at, old, new, runs, Differ::similar_lines);
    });
    Patch(differ.hunks)
}

/// A run of tokens of the old text that gave way to a run of tokens of the new.
struct Run {
    old: Range<usize>,
    new: Range<usize>,
}

/// What [`align`] leaves unmatched, in order.
fn unmatched<T: Eq + Hash>(old: &[T], new: &[T]) -> Vec<Run> {
    let mut runs = Vec::new();
    let (mut i, mut j) = (0, 0);
    for (at_old, at_new) in align(old, new).into_iter().chain([(old.len(), new.len())]) {
        if i < at_old || j < at_new {
            runs.push(Run { old: i..at_old, new: j..at_new });
        }
        (i, j) = (at_old + 1, at_new + 1);
    }
    runs
}

/// A diff under way.
struct Differ {
    hunks: Vec<Hunk>,
    /// How many pairs of tokens may still be compared.
    pairs_left: usize,
}

impl Differ {
    /// Calls `change` for each of `runs` with its byte offset in the file, its old and its new tokens; `at`
    /// is the offset of `old`.
    fn each(
        &mut self,
        mut at: usize,
        old: &[&str],
        new: &[&str],
        runs: Vec<Run>,
        change: impl Fn(&mut Self, usize, &[&str], &[&str]),
    ) {
        let mut token = 0;
        for run in runs {
            at += text_len(&old[token..run.old.start]);
            change(self, at, &old[run.old.clone()], &new[run.new]);
            at += text_len(&old[run.old.clone()]);
            token = run.old.end;
        }
    }

    /// The runs of tokens that differ, or `None` when finding them might cost too much: the comparison
    /// takes time up to the product of the lengths.
    fn compare(&mut self, old: &[&str], new: &[&str]) -> Option<Vec<Run>> {
        let pairs = old.len().saturating_mul(new.len());
        if pairs > MAX_RUN_PAIRS {
            return None;
        }
        self.pairs_left = self.pairs_left.checked_sub(pairs)?;
        let mut input = InternedInput {
            before: Vec::with_capacity(old.len()),
            after: Vec::with_capacity(new.len()),
            interner: Interner::new(old.len()),
        };
        input.update_before(old.iter());
        input.update_after(new.iter());
        let mut diff = Diff::compute(Algorithm::Histogram, &input);
        diff.postprocess_no_heuristic(&input);
        let range = |tokens: Range<u32>| tokens.start as usize..tokens.end as usize;
        Some(diff.hunks().map(|hunk| Run { old: range(hunk.before), new: range(hunk.after) }).collect())
    }

    /// Changes lines: those that differ only in spaces around them or in their line end change one by
    /// one, so that a new indent or line end touches nothing else.
    fn similar_lines(&mut self, at: usize, old: &[&str], new: &[&str]) {
        self.by_pairs(at, old, new, &align(&trimmed(old), &trimmed(new)), Self::lines);
    }

    /// Changes the lines of each of `pairs` by word, each for itself, and what stands between them by `rest`.
    fn by_pairs(
        &mut self,
        mut at: usize,
        old: &[&str],
        new: &[&str],
        pairs: &[(usize, usize)],
        rest: impl Fn(&mut Self, usize, &[&str], &[&str]),
    ) {
        let (mut i, mut j) = (0, 0);
        for &(at_old, at_new) in pairs {
            rest(self, at, &old[i..at_old], &new[j..at_new]);
            at += text_len(&old[i..at_old]);
            self.words(at, &old[at_old..=at_old], &new[at_new..=at_new], true);
            at += old[at_old].len();
            (i, j) = (at_old + 1, at_new + 1);
        }
        rest(self, at, &old[i..], &new[j..]);
    }

    /// Changes lines; those too many to compare as one text are told apart by words that stand once in each.
    fn lines(&mut self, at: usize, old: &[&str], new: &[&str]) {
        if self.few_lines(at, old, new, false) {
            return;
        }
        let mut apart = Differ { hunks: Vec::new(), pairs_left: self.pairs_left };
        apart.by_pairs(at, old, new, &anchored(old, new), |differ, at, old, new| {
            differ.few_lines(at, old, new, true);
        });
        self.pairs_left = apart.pairs_left;
        if self.hunks.len() + apart.hunks.len() > MAX_HUNKS {
            self.few_lines(at, old, new, true);
        } else {
            apart.hunks.into_iter().for_each(|hunk| self.add(hunk));
        }
    }

    /// Changes lines: one by one where it is plain which of them came or went, else as one text. `whole` and what is
    /// returned are those of [`Differ::words`].
    fn few_lines(&mut self, at: usize, old: &[&str], new: &[&str], whole: bool) -> bool {
        match self.plain_pairs(old, new) {
            Some(pairs) => self.by_pairs(at, old, new, &pairs, Self::push),
            None => return self.words(at, old, new, whole),
        }
        true
    }

    /// The pairs of lines that give way to each other where all others only came, or only went; `None` where that is
    /// not plain, or finding it might cost too much.
    fn plain_pairs(&mut self, old: &[&str], new: &[&str]) -> Option<Vec<(usize, usize)>> {
        let pairs = old.len().saturating_mul(new.len());
        if old.len() == new.len() || pairs == 0 || pairs > MAX_LINE_PAIRS {
            return None;
        }
        let (mut old, mut new) = words_of_lines(old, new);
        old.iter_mut().chain(&mut new).for_each(|line| line.words.sort_unstable());
        let count = |lines: &[Line<'_>]| lines.iter().map(|line| line.words.len()).sum::<usize>();
        let cost = count(&old) * new.len() + count(&new) * old.len();
        if cost > MAX_RUN_PAIRS {
            return None;
        }
        self.pairs_left = self.pairs_left.checked_sub(cost)?;
        match old.len() < new.len() {
            true => Some(pair_each(&old, &new)?.into_iter().enumerate().collect()),
            false => Some(pair_each(&new, &old)?.into_iter().enumerate().map(|(j, i)| (i, j)).collect()),
        }
    }

    /// Changes lines by word. Where they are too large to compare, replaces them `whole`, or returns false.
    fn words(&mut self, mut at: usize, old: &[&str], new: &[&str], whole: bool) -> bool {
        if old.is_empty() || new.is_empty() {
            self.push(at, old, new);
            return true;
        }
        let (old, new) = (old.concat(), new.concat());
        let (old, new) = (split_words(&old), split_words(&new));
        let prefix = old.iter().zip(&new).take_while(|(x, y)| x == y).count();
        at += text_len(&old[..prefix]);
        let (old, new) = (&old[prefix..], &new[prefix..]);
        let suffix = old.iter().rev().zip(new.iter().rev()).take_while(|(x, y)| x == y).count();
        let (old, new) = (&old[..old.len() - suffix], &new[..new.len() - suffix]);
        let mut runs = match self.compare(old, new) {
            Some(runs) => runs,
            None if whole => vec![Run { old: 0..old.len(), new: 0..new.len() }],
            None => return false,
        };
        runs.dedup_by(|next, run| {
            let joined = old[run.old.end..next.old.start].iter().all(|kept| is_between_words(kept));
            if joined {
                run.old.end = next.old.end;
                run.new.end = next.new.end;
            }
            joined
        });
        self.each(at, old, new, runs, Self::word);
        true
    }

    /// Changes words; where that is only to put something between them, or to take it away, they stay as they are. So does a
    /// word that a line now begins or ends with, or no longer does, and one that words were glued to: retyped, it would be apart
    /// from the rest of its line, and what another writes there could come between.
    fn word(&mut self, at: usize, old: &[&str], new: &[&str]) {
        let (before, after) = (old.concat(), new.concat());
        let (head, tail) = beside_line_ends(&before, &after);
        let at = at + head;
        let (before, after) = (&before[head..before.len() - tail], &after[head..after.len() - tail]);
        let several = |words: &[&str]| words.iter().filter(|word| !is_between_words(word)).count() > 1;
        if let Some(glued) = several(old).then(|| beside(before, after)).flatten() {
            return self.push(at + glued.start, &[&before[glued]], &[]);
        }
        if let Some(glued) = several(new).then(|| beside(after, before)).flatten() {
            let place = if glued.start == 0 { at } else { at + before.len() };
            return self.push(place, &[], &[&after[glued]]);
        }
        let prefix = common(before.chars(), after.chars());
        let (rest_before, rest_after) = (&before[prefix..], &after[prefix..]);
        let suffix = common(rest_before.chars().rev(), rest_after.chars().rev());
        let gone = &rest_before[..rest_before.len() - suffix];
        let fresh = &rest_after[..rest_after.len() - suffix];
        let is_between =
            |text: &str| text.chars().next().is_some_and(|c| Class::of(c) != Class::Word && !extends(c));
        let divides = prefix > 0 && suffix > 0 && !rest_before[gone.len()..].starts_with(extends);
        if divides && (gone.is_empty() && is_between(fresh) || fresh.is_empty() && is_between(gone)) {
            return self.push(at + prefix, &[gone], &[fresh]);
        }
        self.push(at, &[before], &[after]);
    }

    /// Appends the hunk of tokens that give way to others, if there are any.
    fn push(&mut self, at: usize, old: &[&str], new: &[&str]) {
        if text_len(old) > 0 || text_len(new) > 0 {
            self.add(Hunk { at, delete: text_len(old), insert: new.concat() });
        }
    }

    /// Appends a hunk; one that begins where the last ends is part of it.
    fn add(&mut self, hunk: Hunk) {
        match self.hunks.last_mut() {
            Some(last) if last.at + last.delete == hunk.at => {
                last.delete += hunk.delete;
                last.insert.push_str(&hunk.insert);
            }
            _ => self.hunks.push(hunk),
        }
    }
}

/// How many bytes two texts share at their start and at their end, where that is all of a line's part in one of them that has
/// line ends.
fn beside_line_ends(a: &str, b: &str) -> (usize, usize) {
    let line_ends =
        |text: &str| Some((text.find(['\r', '\n'])?, text.rfind('\n').map_or(text.len(), |at| at + 1)));
    let mut shared = (0, 0);
    for (with, other) in [(a, b), (b, a)] {
        let Some((first, last)) = line_ends(with) else { continue };
        let (head, tail) = (&with[..first], &with[last..]);
        if other.starts_with(head) && !other[head.len()..].starts_with(extends) {
            shared.0 = shared.0.max(head.len());
        }
        if other.ends_with(tail) && !tail.starts_with(extends) {
            shared.1 = shared.1.max(tail.len());
        }
    }
    if shared.0 + shared.1 > a.len().min(b.len()) {
        shared.1 = 0;
    }
    shared
}

/// Where in `long` that stands which `short` lacks, if `short` is its end or its start.
fn beside(long: &str, short: &str) -> Option<Range<usize>> {
    let rest = long.len().checked_sub(short.len()).filter(|_| !short.is_empty())?;
    if long.ends_with(short) && !short.starts_with(extends) {
        return Some(0..rest);
    }
    (long.starts_with(short) && !long[short.len()..].starts_with(extends)).then_some(short.len()..long.len())
}

/// How many bytes of characters two texts have in common at their start.
fn common(a: impl Iterator<Item = char>, b: impl Iterator<Item = char>) -> usize {
    a.zip(b).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

/// Lines without the spaces and the line end around them.
fn trimmed<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    lines.iter().map(|line| line.trim()).collect()
}

/// The length in bytes of the tokens joined.
fn text_len(tokens: &[&str]) -> usize {
    tokens.iter().map(|token| token.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hunks(old: &str, new: &str) -> Vec<(usize, usize, String)> {
        let patch = diff(old, new);
        assert_eq!(patch.apply(old).as_deref(), Ok(new));
        patch.0.into_iter().map(|hunk| (hunk.at, hunk.delete, hunk.insert)).collect()
    }

    #[test]
    fn words_are_replaced_as_a_whole() {
        assert_eq!(hunks("state: open\n", "state: closed\n"), [(7, 4, "closed".into())]);
        assert_eq!(hunks("a\nnaïve x\n", "a\nnaive x\n"), [(2, 6, "naive".into())]);
        assert_eq!(hunks("e\u{301}tat", "e\u{300}tat"), [(0, 6, "e\u{300}tat".into())]);
        assert_eq!(hunks("xe\u{301}tat", "xe\u{301}tats"), [(0, 7, "xe\u{301}tats".into())]);
    }

    #[test]
    fn a_word_beside_a_new_or_lost_line_end_stays() {
        assert_eq!(hunks("a onetwo b\n", "a three\ntwo b\n"), [(2, 3, "three\n".into())]);
        assert_eq!(hunks("a three\ntwo b\n", "a onetwo b\n"), [(2, 6, "one".into())]);
        assert_eq!(hunks("a onetwo b\n", "a one\nthree b\n"), [(5, 3, "\nthree".into())]);
        assert_eq!(hunks("one", "one\none"), [(0, 0, "one\n".into())]);
        assert_eq!(hunks("one\r\none", "one"), [(0, 5, String::new())]);
    }

    #[test]
    fn a_word_that_others_were_glued_to_stays() {
        assert_eq!(hunks("one two sixthree four\n", "three four\n"), [(0, 11, String::new())]);
        assert_eq!(hunks("three four\n", "one two sixthree four\n"), [(0, 0, "one two six".into())]);
        assert_eq!(hunks("one twosix three\nfour\n", "one two\nfour\n"), [(7, 9, String::new())]);
        // One word is replaced as a whole.
        assert_eq!(hunks("of 10 now\n", "of 1 now\n"), [(3, 2, "1".into())]);
    }

    #[test]
    fn neighbouring_words_are_one_hunk() {
        assert_eq!(hunks("in New York now\n", "in Los Angeles now\n"), [(3, 8, "Los Angeles".into())]);
        assert_eq!(hunks("a b c d\n", "x b c y\n"), [(0, 1, "x".into()), (6, 1, "y".into())]);
        assert_eq!(hunks("a\nb\n", "x\ny\n"), [(0, 1, "x".into()), (2, 1, "y".into())]);
    }

    #[test]
    fn words_stay_when_they_are_only_parted_or_joined() {
        assert_eq!(hunks("onetwo\n", "one\ntwo\n"), [(3, 0, "\n".into())]);
        assert_eq!(hunks("a onetwo b\n", "a one two b\n"), [(5, 0, " ".into())]);
        assert_eq!(hunks("a one, two b\n", "a onetwo b\n"), [(5, 2, String::new())]);
        assert_eq!(hunks("one\n", "ones\n"), [(0, 3, "ones".into())]);
        assert_eq!(hunks("onetwo\n", "one\u{301} two\n"), [(0, 6, "one\u{301} two".into())]);
    }

    #[test]
    fn lines_come_and_go_whole() {
        assert_eq!(hunks("a\nc\n", "a\nb\nc\n"), [(2, 0, "b\n".into())]);
        assert_eq!(hunks("a\nb\nc\n", "a\nc\n"), [(2, 2, String::new())]);
        assert_eq!(hunks("same\n", "same\n"), []);
        assert_eq!(hunks("", "x"), [(0, 0, "x".into())]);
    }

    #[test]
    fn line_ends_change_alone() {
        assert_eq!(hunks("a\nb\n", "a\r\nb\n"), [(1, 1, "\r\n".into())]);
        assert_eq!(hunks("a\nb c\nd\n", "a\r\nb c\r\nd\r\n"), [1, 5, 7].map(|at| (at, 1, "\r\n".into())));
        assert_eq!(hunks("x\na\n", "y\nx\n  a\n"), [(0, 0, "y\n".into()), (2, 0, "  ".into())]);
        assert_eq!(hunks("a\n", "b\n  a\n"), [(0, 0, "b\n  ".into())]);
        assert_eq!(hunks("- [ ] pay\n", "- [x] pay\n"), [(3, 1, "x".into())]);
    }

    #[test]
    fn a_line_beside_a_changed_one_comes_and_goes_whole() {
        let (one, two) = ("- [ ] pay rent\n", "- [ ] Kphone thing\n- [x] pay rent\n");
        assert_eq!(hunks(one, two), [(0, 0, "- [ ] Kphone thing\n".into()), (3, 1, "x".into())]);
        assert_eq!(hunks(two, one), [(0, 19, String::new()), (22, 1, " ".into())]);
        let (before, after) = ("- [x] pay rent\n- [ ] thing\n", "- [ ] pay rent\n- [ ] thing\n- new\n");
        assert_eq!(hunks(before, after), [(3, 1, " ".into()), (27, 0, "- new\n".into())]);
        assert_eq!(
            hunks(
                "# T\n- [ ] one red\n- [ ] two blue",
                "# T\n- [x] one red\n- [ ] kin\n- [x] two blue\n- last"
            ),
            [
                (7, 1, "x".into()),
                (18, 0, "- [ ] kin\n".into()),
                (21, 1, "x".into()),
                (32, 0, "\n- last".into())
            ],
        );
        assert_eq!(
            hunks("1. buy milk\n2. pay rent\n", "1. new thing\n2. buy milk\n3. pay rent\n"),
            [(0, 1, "1. new thing\n2".into()), (12, 1, "3".into())],
        );
    }

    #[test]
    fn lines_parted_joined_or_reflowed_change_by_word() {
        // What moves to a new line is no word of another.
        assert_eq!(hunks("one two three four\n", "one two three\nfour\n"), [(13, 1, "\n".into())]);
        assert_eq!(hunks("one two three\nfour\n", "one two three four\n"), [(13, 1, " ".into())]);
        assert_eq!(
            hunks("aa bb cc dd ee\nff gg hh ii jj\n", "aa bb cc new dd\nee ff gg hh ii\njj\n"),
            [(9, 5, "new dd".into()), (15, 0, "ee ".into()), (26, 1, "\n".into())],
        );
        // Two that are as like: neither is the old one.
        assert_eq!(hunks("pay rent\n", "pay rent now\npay rent late\n").len(), 1);
    }

    #[test]
    fn scripts_without_spaces_change_by_character() {
        assert_eq!(hunks("私は猫が好き", "私は犬が好き"), [(6, 3, "犬".into())]);
        assert_eq!(hunks("hi 👩‍🚀!", "hi 👩‍🔬!"), [(3, 11, "👩‍🔬".into())]);
    }

    /// What `diff` makes of `lines`, each changed by `change`.
    fn large(lines: usize, line: fn(usize) -> String, change: impl Fn(usize, &str) -> String) -> Vec<Hunk> {
        let lines: Vec<String> = (0..lines).map(line).collect();
        let new: String = lines.iter().enumerate().map(|(n, line)| change(n, line)).collect();
        let patch = diff(&lines.concat(), &new);
        assert_eq!(patch.apply(&lines.concat()), Ok(new));
        patch.0
    }

    #[test]
    fn a_little_in_each_of_many_lines_changes_alone() {
        let numbered = |n| format!("x line {n} of the long file with some words\n");
        let prose = |n| format!("one of the {} lines that are here\n", ["good", "bad", "long"][n % 3]);
        for count in [150, 3000] {
            let first = |_, line: &str| line.replacen('x', "y", 1);
            let hunks = large(count, numbered, first);
            assert_eq!(hunks.len(), count);
            assert!(hunks.iter().all(|hunk| hunk.delete == 1 && hunk.insert == "y"));
            let words = |_, line: &str| line.replace("line", "row").replace("long", "short");
            assert_eq!(large(count, numbered, words).len(), 2 * count);
            assert_eq!(large(count, prose, |_, line| line.replace("one", "two")).len(), count, "all alike");
        }
    }

    #[test]
    fn many_lines_changed_and_some_come_and_gone_change_by_line() {
        let numbered = |n| format!("x line {n} of the long file with some words\n");
        let change = |n: usize, line: &str| match n {
            7 | 2500 => String::new(),
            70 | 71 => format!("quite something else\n{}", line.replacen('x', "y", 1)),
            _ => line.replacen('x', "y", 1),
        };
        let hunks = large(3000, numbered, change);
        assert!(hunks.len() > 2990, "{}", hunks.len());
        assert!(hunks.iter().all(|hunk| hunk.delete < 60 && hunk.insert.len() < 60));
        let much = |_, line: &str| line.replace('x', "y").replace("long", "short");
        assert_eq!(large(15_100, numbered, much).len(), 1, "too many hunks");
        let anew = large(3000, numbered, |n, _| format!("{n} is all that is left as it was\n"));
        assert_eq!(anew.len(), 1, "what has a word in common is not alike");
    }

    #[test]
    fn large_changes_replace_their_region() {
        let old = format!("head {}tail\n", "a ".repeat(2000));
        let new = format!("head {}tail\n", "b ".repeat(2000));
        let hunks = hunks(&old, &new);
        assert_eq!(hunks.len(), 1);
        assert_eq!((hunks[0].0, hunks[0].1), (5, old.len() - 11));
    }

    #[test]
    fn patches_of_one_base_join_where_they_do_not_meet() {
        let join = |base: &str, a: &str, b: &str| {
            let (patch, left) = diff(base, a).join(&diff(base, b));
            (patch.apply(base).unwrap(), left)
        };
        let whole = |text: &str| (text.to_owned(), false);
        assert_eq!(join("a\n\nb\n\nc\n", "A\n\nb\n\nc\n", "a\n\nb\n\nC\n"), whole("A\n\nb\n\nC\n"));
        assert_eq!(join("a\n\nb\n", "A\n\nb c\n", "A\n\nb\n"), whole("A\n\nb c\n"), "done already");
        assert_eq!(join("a b\n", "a b c\n", "a B\n"), whole("a B c\n"), "side by side");
        assert_eq!(join("a\nd\n", "a\nb\nd\n", "a\nc\nd\n"), whole("a\nb\nc\nd\n"), "at one place");
        assert_eq!(join("a\nb\n", "a\nx\nb\n", "a\n"), whole("a\nx\n"), "before what is removed");
        assert_eq!(join("a\n\nb\n", "x\n\nb\n", "y\n\nB\n"), ("x\n\nB\n".into(), true));
        assert_eq!(join("a\nb\nc\n", "a\nb x\nc\n", "a\n"), ("a\nb x\nc\n".into(), true));
    }

    #[test]
    fn bad_patches_say_why() {
        let apply = |hunks: &[(usize, usize)], base| {
            let hunk = |&(at, delete)| Hunk { at, delete, insert: String::new() };
            Patch(hunks.iter().map(hunk).collect()).apply(base)
        };
        assert_eq!(apply(&[(0, 4)], "abc"), Err(PatchError::Range { hunk: 0, at: 0, delete: 4, len: 3 }));
        assert!(matches!(apply(&[(2, usize::MAX)], "abc"), Err(PatchError::Range { .. })));
        assert_eq!(apply(&[(0, 2), (1, 1)], "abc"), Err(PatchError::Order { hunk: 1, at: 1 }));
        assert_eq!(apply(&[(1, 0), (1, 1)], "abc"), Err(PatchError::Order { hunk: 1, at: 1 }));
        assert_eq!(apply(&[(0, 1)], "é"), Err(PatchError::Boundary { hunk: 0, at: 1 }));
        assert_eq!(apply(&[(0, 1), (1, 1)], "abc").as_deref(), Ok("c"));
    }

    #[test]
    fn json_is_a_list_of_triples() {
        let patch = Patch(vec![Hunk { at: 7, delete: 4, insert: "closed".into() }]);
        assert_eq!(serde_json::to_string(&patch).unwrap(), r#"[[7,4,"closed"]]"#);
        assert_eq!(serde_json::from_str::<Patch>(r#"[[7,4,"closed"]]"#).unwrap(), patch);
        assert!(serde_json::from_str::<Patch>(r#"[[-1,4,"x"]]"#).is_err());
        assert_eq!(patch.distance(), 10);
    }

    fn text() -> impl Strategy<Value = String> {
        let token =
            prop_oneof!["[ab]{1,2}", " ", "\n", "\r\n", "\r", "é", "e\u{301}", "猫", "👩‍🚀", "[.,_*]", ".",];
        proptest::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat())
    }

    proptest! {
        #[test]
        fn diff_applies(old in text(), new in text()) {
            let patch = diff(&old, &new);
            prop_assert_eq!(patch.apply(&old), Ok(new.clone()));
            prop_assert_eq!(&patch, &diff(&old, &new));
            prop_assert!(patch.distance() <= old.len() + new.len());
            prop_assert_eq!(patch.0.is_empty(), old == new);
        }

        #[test]
        fn joined_patches_apply(base in text(), a in text(), b in text()) {
            let (mine, other) = (diff(&base, &a), diff(&base, &b));
            prop_assert!(mine.join(&other).0.apply(&base).is_ok());
            prop_assert_eq!(mine.join(&mine).0.apply(&base), Ok(a));
            prop_assert_eq!(Patch::default().join(&other), (other.clone(), false));
        }

        #[test]
        fn any_text_applies(old in any::<String>(), new in any::<String>()) {
            prop_assert_eq!(diff(&old, &new).apply(&old), Ok(new));
        }

        #[test]
        fn tokens_are_the_text(text in any::<String>()) {
            prop_assert_eq!(split_words(&text).concat(), text);
        }

        #[test]
        fn any_patch_is_applied_or_refused(
            base in any::<String>(),
            hunks in proptest::collection::vec((any::<u8>(), any::<u8>(), any::<String>()), 0..4),
        ) {
            let hunk = |(at, delete, insert)| Hunk { at: usize::from(at), delete: usize::from(delete), insert };
            let _ = Patch(hunks.into_iter().map(hunk).collect()).apply(&base);
        }
    }
}
