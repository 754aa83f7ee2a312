//! Strongly connected components (Tarjan, Depth-first search and linear graph algorithms, 1972).

use std::collections::{BTreeMap, BTreeSet};

/// A graph: of each node those it leads to, all of which are nodes themselves.
pub(crate) type Graph = BTreeMap<usize, BTreeSet<usize>>;

/// The nodes from which one comes only to nodes from which one comes back: those of the rings at the end of all ways.
pub(crate) fn last_rings(graph: &Graph) -> BTreeSet<usize> {
    let rings = rings(graph);
    let ring_of: BTreeMap<usize, usize> = rings
        .iter()
        .enumerate()
        .flat_map(|(ring, nodes)| nodes.iter().map(move |node| (*node, ring)))
        .collect();
    let stays = |node: &usize| graph[node].iter().all(|next| ring_of[next] == ring_of[node]);
    rings.into_iter().filter(|nodes| nodes.iter().all(stays)).flatten().collect()
}

struct Visit {
    order: usize,
    /// The least order that is reached from here.
    low: usize,
    open: bool,
}

fn rings(graph: &Graph) -> Vec<Vec<usize>> {
    let mut visits: BTreeMap<usize, Visit> = BTreeMap::new();
    let (mut open, mut rings) = (Vec::new(), Vec::new());
    for start in graph.keys() {
        if visits.contains_key(start) {
            continue;
        }
        let mut way = Vec::new();
        let mut enter = Some(*start);
        loop {
            if let Some(node) = enter.take() {
                let order = visits.len();
                visits.insert(node, Visit { order, low: order, open: true });
                open.push(node);
                way.push((node, graph[&node].iter()));
            }
            let Some((node, next)) = way.last_mut() else { break };
            let node = *node;
            if let Some(next) = next.next() {
                match visits.get(next).map(|seen| (seen.open, seen.order)) {
                    None => enter = Some(*next),
                    Some((true, order)) => lower(&mut visits, node, order),
                    Some((false, _)) => {}
                }
                continue;
            }
            way.pop();
            let Visit { order, low, .. } = visits[&node];
            if let Some((before, _)) = way.last() {
                lower(&mut visits, *before, low);
            }
            if low == order {
                let from = open.iter().rposition(|other| *other == node).unwrap_or_default();
                let ring = open.split_off(from);
                for node in &ring {
                    visits.entry(*node).and_modify(|visit| visit.open = false);
                }
                rings.push(ring);
            }
        }
    }
    rings
}

fn lower(visits: &mut BTreeMap<usize, Visit>, node: usize, low: usize) {
    visits.entry(node).and_modify(|visit| visit.low = visit.low.min(low));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reach(graph: &Graph, from: usize) -> BTreeSet<usize> {
        let (mut all, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(at) = next.pop() {
            next.extend(graph[&at].iter().filter(|other| all.insert(**other)));
        }
        all
    }

    proptest! {
        #[test]
        fn the_last_rings_are_those_of_the_definition(edges in prop::collection::vec((0..9usize, 0..9usize), 0..20)) {
            let mut graph: Graph = (0..9).map(|node| (node, BTreeSet::new())).collect();
            for (from, to) in edges {
                graph.entry(from).or_default().insert(to);
            }
            let back = |node: &usize| reach(&graph, *node).iter().all(|other| reach(&graph, *other).contains(node));
            let want: BTreeSet<usize> = (0..9).filter(back).collect();
            prop_assert_eq!(last_rings(&graph), want);
        }
    }
}
