//! Which lines of two texts are one line that changed, told by the words they share.

use std::collections::HashSet;

use imara_diff::Interner;

use crate::align::align;
use crate::word::split_words;

/// From which likeness on two lines are one that changed.
const ALIKE: u32 = 600;

/// A line and the numbers of its words.
pub(crate) struct Line<'a> {
    text: &'a str,
    pub(crate) words: Vec<u32>,
}

impl Line<'_> {
    /// Whether two lines, words ascending, are one that changed. What is of quite another length is told at once, so that
    /// a long line may be held against many short ones.
    fn is_like(&self, other: &Line<'_>) -> bool {
        let (few, many) = (self.words.len().min(other.words.len()), self.words.len().max(other.words.len()));
        2000 * few >= ALIKE as usize * (few + many) && self.likeness(other) >= ALIKE
    }

    /// How alike two lines, words ascending, are, in thousandths: the share of their words that both have.
    fn likeness(&self, other: &Line<'_>) -> u32 {
        let all = self.words.len() + other.words.len();
        if all == 0 {
            return if self.text == other.text { 1000 } else { 0 };
        }
        let gone = self.without(other).len();
        (2000 * (self.words.len() - gone) / all) as u32
    }

    /// The words, ascending in both, that `other` does not have.
    fn without(&self, other: &Line<'_>) -> Vec<u32> {
        let mut others = other.words.iter().peekable();
        let is_left = |word: &&u32| {
            while others.next_if(|other| other < word).is_some() {}
            others.next_if_eq(word).is_none()
        };
        self.words.iter().filter(is_left).copied().collect()
    }
}

/// The words of the lines of two texts, in order; equal words have one number. A single letter or digit is none: it is
/// the mark of a box or of a list.
pub(crate) fn words_of_lines<'a>(old: &[&'a str], new: &[&'a str]) -> (Vec<Line<'a>>, Vec<Line<'a>>) {
    let mut numbers = Interner::new(old.len());
    let mut side = |lines: &[&'a str]| {
        let line = |line: &&'a str| {
            let words = split_words(line).into_iter();
            let words = words.filter(|word| word.len() > 1 && word.contains(char::is_alphanumeric));
            Line { text: line.trim(), words: words.map(|word| numbers.intern(word).0).collect() }
        };
        lines.iter().map(line).collect()
    };
    (side(old), side(new))
}

/// Pairs of like lines of two texts too large to compare, in time that grows with their length: those that share a word
/// which stands once in each text, or what is beside it, and those between that are as many.
pub(crate) fn anchored(old: &[&str], new: &[&str]) -> Vec<(usize, usize)> {
    let (mut old, mut new) = words_of_lines(old, new);
    if [&old, &new].iter().any(|lines| lines.iter().all(|line| line.words.is_empty())) {
        return Vec::new();
    }
    let words = |lines: &[Line<'_>]| lines.iter().flat_map(|line| line.words.clone()).collect::<Vec<_>>();
    let line_of = |lines: &[Line<'_>]| {
        lines.iter().enumerate().flat_map(|(at, line)| vec![at; line.words.len()]).collect::<Vec<_>>()
    };
    let (old_lines, new_lines) = (line_of(&old), line_of(&new));
    let matches = align(&words(&old), &words(&new));
    old.iter_mut().chain(&mut new).for_each(|line| line.words.sort_unstable());
    let mut pairs = Vec::new();
    // The first lines of which nothing is paired, and the last lines that were compared.
    let (mut next, mut last) = ((0, 0), None);
    for (i, j) in matches {
        let (i, j) = (old_lines[i], new_lines[j]);
        if i < next.0 || j < next.1 || last == Some((i, j)) {
            continue;
        }
        last = Some((i, j));
        if old[i].is_like(&new[j]) {
            pair_between(&old, &new, next, (i, j), &mut pairs);
            pairs.push((i, j));
            next = (i + 1, j + 1);
        }
    }
    pair_between(&old, &new, next, (old.len(), new.len()), &mut pairs);
    pairs
}

/// Appends to `pairs` the like lines between two places, one by one where they are as many and nearly all alike.
fn pair_between(
    old: &[Line<'_>],
    new: &[Line<'_>],
    from: (usize, usize),
    to: (usize, usize),
    pairs: &mut Vec<(usize, usize)>,
) {
    let count = to.0 - from.0;
    if count != to.1 - from.1 {
        return;
    }
    let before = pairs.len();
    pairs.extend((from.0..to.0).zip(from.1..to.1).filter(|&(i, j)| old[i].is_like(&new[j])));
    if (pairs.len() - before) * 10 < count * 9 {
        pairs.truncate(before);
    }
}

/// For each of the `few` lines the one of `many` that is it, changed; the others are new. `None` where that is not plain: a line
/// has no like, another is as like, or its words are in other lines now, as those of a line parted or a paragraph reflowed.
pub(crate) fn pair_each(few: &[Line<'_>], many: &[Line<'_>]) -> Option<Vec<usize>> {
    let likeness: Vec<Vec<u32>> =
        few.iter().map(|line| many.iter().map(|other| line.likeness(other)).collect()).collect();
    let pairs = likest(&likeness, many.len())?;
    let alone = || (0..many.len()).filter(|at| pairs.binary_search(at).is_err());
    let rivals = |(line, at): (usize, &usize)| {
        !few[line].words.is_empty() && alone().any(|other| likeness[line][other] >= likeness[line][*at])
    };
    if pairs.iter().enumerate().any(rivals) {
        return None;
    }
    let gone: Vec<Vec<u32>> = pairs.iter().zip(few).map(|(&at, line)| line.without(&many[at])).collect();
    let fresh: Vec<Vec<u32>> = pairs.iter().zip(few).map(|(&at, line)| many[at].without(line)).collect();
    let added: HashSet<u32> = alone().flat_map(|at| many[at].words.iter().copied()).collect();
    let shares = |a: &[u32], b: &[u32]| a.iter().any(|word| b.binary_search(word).is_ok());
    let moved = gone.iter().flatten().any(|word| added.contains(word))
        || gone.iter().zip(fresh.iter().skip(1)).any(|(gone, next)| shares(gone, next))
        || fresh.iter().zip(gone.iter().skip(1)).any(|(fresh, next)| shares(fresh, next));
    (!moved).then_some(pairs)
}

/// The ascending choice of one of `many` for each row of `likeness` that is likest in all, none of it below [`ALIKE`].
fn likest(likeness: &[Vec<u32>], many: usize) -> Option<Vec<usize>> {
    // The most that the rows so far have with the first so many of the others.
    let mut best = vec![vec![Some(0u32); many + 1]];
    for row in likeness {
        let before = &best[best.len() - 1];
        let mut sums = vec![None; many + 1];
        for at in 0..many {
            let with = before[at].filter(|_| row[at] >= ALIKE).map(|sum| sum + row[at]);
            sums[at + 1] = sums[at].max(with);
        }
        best.push(sums);
    }
    let mut at = many;
    let mut choice = Vec::with_capacity(likeness.len());
    for sums in best[1..].iter().rev() {
        let sum = sums[at]?;
        at = sums.iter().position(|&first| first == Some(sum))? - 1;
        choice.push(at);
    }
    choice.reverse();
    Some(choice)
}
