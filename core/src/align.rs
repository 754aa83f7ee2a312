//! Alignment of two lists of lines, and the three-way merge of texts by line.
//!
//! Both are normative (`docs/formats.md`, Alignment and Line merge): every device computes the same
//! matches and the same merged text (I1). Time is O(n log n) in the number of lines.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

/// Splits `text` into lines, each with its line end (`\n`); only the last may lack one.
///
/// The lines joined give `text` back; the empty text has no lines.
pub fn split_lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// Aligns `a` with `b`: the pairs of positions `(in a, in b)` that match, ascending in both.
///
/// Common prefix and suffix first; in the middle, a longest increasing subsequence of the elements that
/// occur exactly once in each middle (patience diff, Bram Cohen); then the common prefix and suffix of
/// each gap. `docs/formats.md`, Alignment, fixes every choice.
pub fn align<T: Eq + Hash>(a: &[T], b: &[T]) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let whole = Region { a: 0..a.len(), b: 0..b.len() };
    let (middle, suffix) = strip(a, b, whole, &mut pairs);
    if !middle.a.is_empty() && !middle.b.is_empty() {
        let mut gap = Region { a: middle.a.start..middle.a.start, b: middle.b.start..middle.b.start };
        let end = (middle.a.end, middle.b.end);
        for (i, j) in unique_matches(a, b, &middle).into_iter().chain([end]) {
            gap.a.end = i;
            gap.b.end = j;
            let (_, tail) = strip(a, b, gap, &mut pairs);
            pairs.extend(tail.a.zip(tail.b));
            if (i, j) != end {
                pairs.push((i, j));
            }
            gap = Region { a: i + 1..i + 1, b: j + 1..j + 1 };
        }
    }
    pairs.extend(suffix.a.zip(suffix.b));
    pairs
}

/// A range of positions in each of two lists.
struct Region {
    a: Range<usize>,
    b: Range<usize>,
}

/// Pushes the common prefix of `region` to `pairs`; returns what is left between it and the common
/// suffix, and that suffix.
fn strip<T: Eq>(a: &[T], b: &[T], region: Region, pairs: &mut Vec<(usize, usize)>) -> (Region, Region) {
    let prefix = common_prefix(&a[region.a.clone()], &b[region.b.clone()]);
    let (start_a, start_b) = (region.a.start + prefix, region.b.start + prefix);
    pairs.extend((region.a.start..start_a).zip(region.b.start..start_b));
    let suffix = common_suffix(&a[start_a..region.a.end], &b[start_b..region.b.end]);
    let (end_a, end_b) = (region.a.end - suffix, region.b.end - suffix);
    let middle = Region { a: start_a..end_a, b: start_b..end_b };
    (middle, Region { a: end_a..region.a.end, b: end_b..region.b.end })
}

/// The number of leading elements that are equal.
fn common_prefix<T: Eq>(a: &[T], b: &[T]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// The number of trailing elements that are equal.
fn common_suffix<T: Eq>(a: &[T], b: &[T]) -> usize {
    a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count()
}

/// A longest increasing subsequence of the pairs of elements that occur once in each side of `middle`.
fn unique_matches<T: Eq + Hash>(a: &[T], b: &[T], middle: &Region) -> Vec<(usize, usize)> {
    /// How often an element occurs in each side, and where in `b` last.
    #[derive(Default)]
    struct Count {
        in_a: usize,
        in_b: usize,
        at_b: usize,
    }
    let mut counts: HashMap<&T, Count> = HashMap::with_capacity(middle.a.len());
    for element in &a[middle.a.clone()] {
        counts.entry(element).or_default().in_a += 1;
    }
    for (j, element) in middle.b.clone().zip(&b[middle.b.clone()]) {
        if let Some(count) = counts.get_mut(element) {
            count.in_b += 1;
            count.at_b = j;
        }
    }
    let pairs: Vec<(usize, usize)> = middle
        .a
        .clone()
        .zip(&a[middle.a.clone()])
        .filter_map(|(i, element)| {
            let count = counts.get(element)?;
            (count.in_a == 1 && count.in_b == 1).then_some((i, count.at_b))
        })
        .collect();

    // Patience sorting: `piles` holds the index of the pair on top of each pile, tops ascending.
    let mut piles: Vec<usize> = Vec::new();
    let mut back: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    for (index, &(_, j)) in pairs.iter().enumerate() {
        let pile = piles.partition_point(|&top| pairs[top].1 < j);
        back.push(pile.checked_sub(1).map(|before| piles[before]));
        if pile == piles.len() {
            piles.push(index);
        } else {
            piles[pile] = index;
        }
    }
    let mut chain = Vec::with_capacity(piles.len());
    let mut next = piles.last().copied();
    while let Some(index) = next {
        chain.push(pairs[index]);
        next = back[index];
    }
    chain.reverse();
    chain
}

/// Merges the texts `a` and `b`, both changed from `base`, by line.
///
/// Where only one side changed, its lines stand. Where both did: line by line if all three have equally many,
/// more than one; else the lines of `a` then those of `b`, with what they begin and end with in common once.
/// No line is ever joined with another.
pub fn merge_lines(base: &str, a: &str, b: &str) -> String {
    let (base, a, b) = (split_lines(base), split_lines(a), split_lines(b));
    let (in_a, in_b) = (positions(&base, &a), positions(&base, &b));
    let mut merged = Merged { text: String::with_capacity(a.iter().chain(&b).map(|line| line.len()).sum()) };
    // Where in base, a and b the output has got to.
    let (mut o, mut i, mut j) = (0, 0, 0);
    for at in 0..base.len() {
        let (Some(at_a), Some(at_b)) = (in_a[at], in_b[at]) else { continue };
        merged.chunk(&base[o..at], &a[i..at_a], &b[j..at_b]);
        merged.line(base[at]);
        (o, i, j) = (at + 1, at_a + 1, at_b + 1);
    }
    merged.chunk(&base[o..], &a[i..], &b[j..]);
    merged.text
}

/// For each line of `base`, the line of `side` it matches.
fn positions(base: &[&str], side: &[&str]) -> Vec<Option<usize>> {
    let mut positions = vec![None; base.len()];
    for (at, in_side) in align(base, side) {
        positions[at] = Some(in_side);
    }
    positions
}

/// The text a merge has made so far.
struct Merged {
    text: String,
}

impl Merged {
    /// Appends a line; one that lacked its line end and is no longer the last gets it.
    fn line(&mut self, line: &str) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        self.text.push_str(line);
    }

    fn lines(&mut self, lines: &[&str]) {
        lines.iter().for_each(|line| self.line(line));
    }

    /// Appends what an unstable chunk with the base lines `o` and the sides `a` and `b` gives.
    fn chunk(&mut self, o: &[&str], a: &[&str], b: &[&str]) {
        if a == o {
            self.lines(b);
        } else if b == o || a == b {
            self.lines(a);
        } else if o.len() > 1 && o.len() == a.len() && o.len() == b.len() {
            for at in 0..o.len() {
                self.chunk(&o[at..=at], &a[at..=at], &b[at..=at]);
            }
        } else {
            let prefix = common_prefix(a, b);
            let suffix = common_suffix(&a[prefix..], &b[prefix..]);
            self.lines(&a[..a.len() - suffix]);
            self.lines(&b[prefix..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_keep_their_ends() {
        assert_eq!(split_lines(""), Vec::<&str>::new());
        assert_eq!(split_lines("a\r\n\nb"), ["a\r\n", "\n", "b"]);
    }

    #[test]
    fn prefix_comes_before_suffix() {
        assert_eq!(align(&["x"], &["x", "x"]), [(0, 0)]);
        assert_eq!(align(&["x", "y", "x"], &["x"]), [(0, 0)]);
    }

    #[test]
    fn unique_lines_anchor_the_middle() {
        let (a, b): (Vec<char>, Vec<char>) = ("pabcdq".chars().collect(), "rcxabdr".chars().collect());
        assert_eq!(align(&a, &b), [(1, 3), (2, 4), (4, 5)]);
    }

    #[test]
    fn repeated_lines_match_next_to_anchors_only() {
        let (a, b): (Vec<char>, Vec<char>) = ("1--u--2".chars().collect(), "3-u-4".chars().collect());
        assert_eq!(align(&a, &b), [(2, 1), (3, 2), (4, 3)]);
    }

    #[test]
    fn of_equal_subsequences_the_last_pile_decides() {
        let (a, b): (Vec<char>, Vec<char>) = ("1abx2".chars().collect(), "3xba4".chars().collect());
        assert_eq!(align(&a, &b), [(3, 1)]);
    }

    #[test]
    fn one_sided_changes_stand() {
        let base = "one\ntwo\nthree\nfour\n";
        assert_eq!(merge_lines(base, "ONE\ntwo\nthree\nfour\n", base), "ONE\ntwo\nthree\nfour\n");
        assert_eq!(
            merge_lines(base, "ONE\ntwo\nthree\nfour\n", "one\ntwo\nthree\nFOUR\n"),
            "ONE\ntwo\nthree\nFOUR\n"
        );
        assert_eq!(merge_lines(base, "two\nthree\nfour\n", "one\ntwo\nthree\n"), "two\nthree\n");
    }

    #[test]
    fn two_sided_changes_stand_in_order_with_common_edges_once() {
        assert_eq!(merge_lines("o\n", "p\na\ns\n", "p\nb\ns\n"), "p\na\nb\ns\n");
        assert_eq!(merge_lines("", "same\n", "same\nmore\n"), "same\nmore\n");
        assert_eq!(merge_lines("x\n", "", "y\n"), "y\n");
        assert_eq!(merge_lines("o\n", "x\n", "x\nx\n"), "x\nx\n");
    }

    #[test]
    fn two_sided_changes_of_equal_length_merge_line_by_line() {
        assert_eq!(merge_lines("1\n2\n3\n", "1a\n2\n3\n", "1\n2b\n3b\n"), "1a\n2b\n3b\n");
        assert_eq!(merge_lines("1\n2\n3\n", "a\nb\n3\n", "x\n2\nz\n"), "a\nx\nb\nz\n");
        assert_eq!(merge_lines("1\n2\n", "a\nb\n", "x\n2"), "a\nx\nb\n2");
        assert_eq!(merge_lines("1\n2", "a\n2", "1\nb"), "a\nb");
        assert_eq!(merge_lines("1\n2\n", "a\nc\n", "b\nc\n"), "a\nb\nc\n");
    }

    #[test]
    fn lines_without_end_are_not_joined() {
        assert_eq!(merge_lines("o", "o\na", "o\nb"), "o\na\nb");
        assert_eq!(merge_lines("", "a", "b\n"), "a\nb\n");
    }

    #[test]
    fn insertions_at_one_place_both_stand() {
        assert_eq!(merge_lines("1\n2\n", "1\na\n2\n", "1\nb\n2\n"), "1\na\nb\n2\n");
    }

    fn text() -> impl Strategy<Value = String> {
        proptest::collection::vec(prop_oneof!["[a-d]\n", "[a-z]{2}\r?\n", "\n"], 0..20)
            .prop_flat_map(|lines| (Just(lines.concat()), prop_oneof!["", "x"]))
            .prop_map(|(text, tail)| text + &tail)
    }

    proptest! {
        #[test]
        fn alignment_matches_equal_lines_in_order(a in text(), b in text()) {
            let (a, b) = (split_lines(&a), split_lines(&b));
            let pairs = align(&a, &b);
            prop_assert!(pairs.iter().all(|&(i, j)| a[i] == b[j]));
            prop_assert!(pairs.is_sorted_by(|x, y| x.0 < y.0 && x.1 < y.1));
        }

        #[test]
        fn alignment_with_itself_is_whole(a in text()) {
            let a = split_lines(&a);
            prop_assert_eq!(align(&a, &a).len(), a.len());
        }

        #[test]
        fn merge_with_an_unchanged_side_is_the_other(base in text(), a in text()) {
            prop_assert_eq!(&merge_lines(&base, &a, &base), &a);
            prop_assert_eq!(&merge_lines(&base, &base, &a), &a);
            prop_assert_eq!(&merge_lines(&base, &a, &a), &a);
        }

        #[test]
        fn merge_keeps_every_line_new_on_a_side(base in text(), a in text(), b in text()) {
            let merged = merge_lines(&base, &a, &b);
            let lines: Vec<&str> = merged.lines().collect();
            let known: Vec<&str> = base.lines().collect();
            for line in a.lines().chain(b.lines()).filter(|line| !known.contains(line)) {
                prop_assert!(lines.contains(&line), "{line:?} lost in {merged:?}");
            }
        }
    }
}
