//! Moves of folders in a view: which of them stand, and where each takes what lies in its folder (I5).
//!
//! See `docs/formats.md`, Documents.

use std::collections::{BTreeMap, HashMap};

use crate::frontier::{Place, View};
use crate::history::{FolderMove, Touch};
use crate::id::DeviceId;
use crate::path;

/// A move of a folder that stands in a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The move.
    pub moved: FolderMove,
    /// Its rivals, which yield to it: moves of the same folder, made without it and it without them. Each leads where the later moves
    /// of its record take that.
    pub over: Vec<FolderMove>,
}

impl Step {
    /// The folders from which it takes something: its own, and where its rivals brought that.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.moved.from.as_str()).chain(self.over.iter().map(|rival| rival.to.as_str()))
    }
}

/// The moves that stand in a view, in order of stamp and index: those with no rival in it of greater stamp.
pub fn standing(mut moves: Vec<FolderMove>, view: &View) -> Vec<Step> {
    moves.retain(|step| view.has(&step.place));
    moves.sort_by_key(|step| (step.stamp, step.index));
    let mut groups: HashMap<String, Vec<usize>> = HashMap::new();
    for (n, step) in moves.iter().enumerate() {
        groups.entry(path::fold(&step.from)).or_default().push(n);
    }
    let mut rivals: HashMap<usize, Vec<usize>> = HashMap::new();
    for group in groups.into_values().filter(|group| group.len() > 1) {
        let mut of: BTreeMap<DeviceId, Vec<usize>> = BTreeMap::new();
        for n in &group {
            of.entry(moves[*n].place.device).or_default().push(*n);
        }
        for n in group {
            let one = &moves[n];
            for (device, some) in of.iter().filter(|(device, _)| **device != one.place.device) {
                // Of one device's moves those after what this one has seen, up to the first that has seen it.
                let first = some.partition_point(|n| moves[*n].place.seq <= one.seen.get(device));
                let unaware = some[first..].iter().take_while(|n| !moves[**n].seen.has(&one.place));
                rivals.entry(n).or_default().extend(unaware);
            }
        }
    }
    let mut out = Vec::with_capacity(moves.len());
    for (n, moved) in moves.iter().enumerate() {
        let mut over = rivals.remove(&n).unwrap_or_default();
        over.sort_unstable();
        if over.iter().all(|rival| *rival < n) {
            let end = |n: usize| FolderMove { to: end(&moves, &moves[n]), ..moves[n].clone() };
            let over = over.into_iter().map(end).collect();
            out.push(Step { moved: moved.clone(), over });
        }
    }
    out
}

/// Where the later moves of its record take what a move took: a folder that changes places with another goes by way of a third.
fn end(moves: &[FolderMove], one: &FolderMove) -> String {
    let later = moves.iter().filter(|step| step.place == one.place && step.index > one.index);
    later.fold(one.to.clone(), |at, step| {
        let inside = path::rebase(&format!("{at}/_"), &step.from, &step.to);
        inside.and_then(|at| at.strip_suffix("/_").map(str::to_owned)).unwrap_or(at)
    })
}

/// Where a claim leads by the moves that it has not seen; and the paths that moves which yielded would have given it, with theirs.
pub fn led(touch: &Touch, claim: &str, steps: &[Step]) -> (String, Vec<(String, Place)>) {
    let mut path = claim.to_owned();
    let mut lost: Vec<(String, Place)> = Vec::new();
    let mut last: Option<&FolderMove> = None;
    for Step { moved, over } in steps.iter().filter(|step| !step.moved.known_to(touch)) {
        // Whoever brought it where it is may have known that the folder was moved: what lies there now is another.
        let knew = |rival: &&FolderMove| match last {
            None => rival.known_to(touch),
            Some(step) => step.knows(rival),
        };
        let mut aware = over.iter().filter(knew).peekable();
        let (new, instead) = match aware.peek() {
            None => {
                let Some(new) = path::rebase(&path, &moved.from, &moved.to) else { continue };
                let instead = |rival: &FolderMove| {
                    path::rebase(&path, &moved.from, &rival.to).map(|path| (path, rival.place))
                };
                (new, over.iter().rev().filter_map(instead).collect::<Vec<_>>())
            }
            Some(_) => {
                let along = aware.find_map(|rival| {
                    path::rebase(&path, &rival.to, &moved.to).map(|new| (new, rival.place))
                });
                let Some((new, place)) = along else { continue };
                (new, vec![(path.clone(), place)])
            }
        };
        lost.retain(|(_, place)| !moved.seen.has(place));
        lost.extend(instead);
        path = new;
        last = Some(moved);
    }
    let mut known = std::collections::HashSet::from([path.clone()]);
    lost.retain(|(path, _)| known.insert(path.clone()));
    (path, lost)
}
