//! An in-memory [`History`]: the index of items as plain maps. The vault uses it for bulk work, tests for all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;

use crate::clock::Stamp;
use crate::frontier::{Place, View};
use crate::history::{Act, FolderMove, History, Touch};
use crate::id::DocId;
use crate::item::Item;
use crate::path;

/// Items by document and by claimed path.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    touches: HashMap<DocId, Arc<Vec<Touch>>>,
    claims: BTreeMap<String, BTreeSet<DocId>>,
    moves: Vec<FolderMove>,
}

impl Ledger {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the items of a transaction that ends with the record at `place`, whose past is `past`.
    pub fn add(&mut self, place: Place, stamp: Stamp, past: &View, items: &[Item]) {
        let past = Arc::new(past.clone());
        for (index, item) in items.iter().enumerate() {
            let index = index as u32;
            if let Item::MoveDir { from, to } = item {
                let (seen, from, to) = (past.clone(), from.clone(), to.clone());
                self.push_move(FolderMove { place, index, stamp, seen, from, to });
            }
            if let Some((doc, act, base)) = Act::of(item) {
                let seen = base.base.map_or_else(|| past.clone(), Arc::new);
                self.push(doc, Touch { place, index, seen, rank: base.rank.unwrap_or(stamp), act });
            }
        }
    }

    /// Adds one touch.
    pub fn push(&mut self, doc: DocId, touch: Touch) {
        if let Some(claim) = touch.act.claim() {
            self.claims.entry(path::fold(claim)).or_default().insert(doc);
        }
        Arc::make_mut(self.touches.entry(doc).or_default()).push(touch);
    }

    /// Adds a folder move.
    pub fn push_move(&mut self, step: FolderMove) {
        self.moves.push(step);
        self.moves.sort_by_key(|step| (step.stamp, step.index));
    }

    /// Every document in it.
    pub fn docs(&self) -> impl Iterator<Item = DocId> + '_ {
        self.touches.keys().copied()
    }
}

impl History for Ledger {
    type Error = Infallible;

    fn touches(&self, doc: &DocId) -> Result<Arc<Vec<Touch>>, Infallible> {
        Ok(self.touches.get(doc).cloned().unwrap_or_default())
    }

    fn claimants(&self, folded: &str) -> Result<Vec<DocId>, Infallible> {
        Ok(self.claims.get(folded).map(|docs| docs.iter().copied().collect()).unwrap_or_default())
    }

    fn claimants_below(&self, folded: &str) -> Result<Vec<DocId>, Infallible> {
        let from = format!("{folded}/");
        let range = self.claims.range(from.clone()..).take_while(|(path, _)| path.starts_with(&from));
        Ok(range.flat_map(|(_, docs)| docs.iter().copied()).collect())
    }

    fn folder_moves(&self) -> Result<Vec<FolderMove>, Infallible> {
        Ok(self.moves.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{DeviceId, VaultId};
    use crate::item::{Base, Content, Kind, Mode};
    use crate::namespace::{Namespace, affected};

    const VAULT: VaultId = VaultId([9; 32]);

    fn at(device: u8, seq: u64) -> Place {
        Place { device: DeviceId([device; 32]), seq }
    }

    fn view(places: &[Place]) -> View {
        places.iter().copied().collect()
    }

    fn create(path_: &str, after: &str) -> (DocId, Item) {
        let doc = DocId::of(&VAULT, &path::fold(path_), after);
        let content = Content::of(path_.as_bytes());
        let (path, after, base) = (path_.to_owned(), after.to_owned(), Base::default());
        (doc, Item::Create { doc, path, after, kind: Kind::Md, mode: Mode::File, content, base })
    }

    fn add(ledger: &mut Ledger, place: Place, clock: u64, past: &View, items: &[Item]) {
        ledger.add(place, Stamp(clock, 0, place.device, place.seq), past, items);
    }

    fn path_in(ledger: &Ledger, view: &View, doc: &DocId) -> Option<String> {
        let Ok(mut space) = Namespace::new(ledger, view.clone());
        let Ok(placed) = space.place(doc);
        placed.map(|placed| placed.path)
    }

    #[test]
    fn a_folder_move_takes_along_what_its_author_had_not_seen() {
        let mut log = Ledger::new();
        let (doc, item) = create("old/a.md", "");
        add(&mut log, at(1, 1), 1, &view(&[]), &[item]);
        add(
            &mut log,
            at(1, 2),
            2,
            &view(&[at(1, 1)]),
            &[Item::MoveDir { from: "old".into(), to: "new".into() }],
        );
        let (fresh, item) = create("old/b.md", "");
        add(&mut log, at(2, 1), 3, &view(&[at(1, 1)]), &[item]);
        let both = view(&[at(1, 2), at(2, 1)]);
        assert_eq!(path_in(&log, &both, &doc).as_deref(), Some("new/a.md"));
        assert_eq!(path_in(&log, &both, &fresh).as_deref(), Some("new/b.md"));
        let (later, item) = create("old/c.md", "");
        add(&mut log, at(2, 2), 4, &both, &[item]);
        let all = view(&[at(1, 2), at(2, 2)]);
        assert_eq!(path_in(&log, &all, &later).as_deref(), Some("old/c.md"));
    }

    fn movedir(from: &str, to: &str) -> Item {
        Item::MoveDir { from: from.into(), to: to.into() }
    }

    fn claim_in(log: &Ledger, view: &View, doc: &DocId) -> (String, Vec<(String, Place)>) {
        let Ok(mut space) = Namespace::new(log, view.clone());
        let Ok(found) = space.doc(doc);
        let found = found.unwrap();
        (found.claim.clone(), found.lost_claims.clone())
    }

    #[test]
    fn a_folder_renamed_twice_at_once_has_the_later_name() {
        let mut log = Ledger::new();
        let (a, item) = create("p/a.md", "");
        add(&mut log, at(1, 1), 1, &view(&[]), &[item]);
        let base = view(&[at(1, 1)]);
        add(&mut log, at(1, 2), 2, &base, &[movedir("p", "x")]);
        let (below, item) = create("x/b.md", "");
        add(&mut log, at(1, 3), 3, &view(&[at(1, 2)]), &[item]);
        let (anew, item) = create("p/c.md", &at(1, 2).to_string());
        add(&mut log, at(1, 4), 4, &view(&[at(1, 3)]), &[item]);
        add(&mut log, at(2, 1), 9, &base, &[movedir("P", "y")]);
        let all = view(&[at(1, 4), at(2, 1)]);
        assert_eq!(claim_in(&log, &all, &a), ("y/a.md".to_owned(), vec![("x/a.md".to_owned(), at(1, 2))]));
        assert_eq!(
            claim_in(&log, &all, &below),
            ("y/b.md".to_owned(), vec![("x/b.md".to_owned(), at(1, 2))])
        );
        // The folder of that name that was made after is another one.
        assert_eq!(claim_in(&log, &all, &anew), ("p/c.md".to_owned(), vec![]));
        let Ok(mut before) = Namespace::new(&log, view(&[at(1, 4)]));
        let Ok(mut after) = Namespace::new(&log, all.clone());
        let Ok(moves) = log.folder_moves();
        let news: Vec<FolderMove> = moves.into_iter().filter(|step| step.to == "y").collect();
        let Ok(hit) = affected(&mut before, &mut after, &BTreeSet::new(), &news);
        assert!(hit.contains(&a) && hit.contains(&below));
        let Ok(id) = after.after("x/b.md", at(3, 1), 0);
        assert_eq!(id, at(2, 1).to_string());
        // Whoever has seen both settles it.
        add(&mut log, at(3, 1), 10, &all, &[movedir("y", "z")]);
        let all = view(&[at(1, 4), at(3, 1), at(2, 1)]);
        assert_eq!(claim_in(&log, &all, &a), ("z/a.md".to_owned(), vec![]));
    }

    #[test]
    fn of_folders_that_change_places_one_renamed_meanwhile_goes_alone() {
        let mut log = Ledger::new();
        let ((p, one), (q, two)) = (create("p/a.md", ""), create("q/a.md", ""));
        add(&mut log, at(1, 1), 1, &view(&[]), &[one, two]);
        let base = view(&[at(1, 1)]);
        let swap = [movedir("p", "t"), movedir("q", "p"), movedir("t", "q")];
        add(&mut log, at(1, 2), 2, &base, &swap);
        add(&mut log, at(2, 1), 3, &base, &[movedir("p", "y")]);
        let all = view(&[at(1, 2), at(2, 1)]);
        assert_eq!(claim_in(&log, &all, &p), ("y/a.md".to_owned(), vec![("q/a.md".to_owned(), at(1, 2))]));
        assert_eq!(claim_in(&log, &all, &q), ("p/a.md".to_owned(), vec![]));
        // Two who let the same folders change places agree.
        add(&mut log, at(3, 1), 3, &base, &swap);
        let both = view(&[at(1, 2), at(3, 1)]);
        assert_eq!(claim_in(&log, &both, &p), ("q/a.md".to_owned(), vec![]));
        assert_eq!(claim_in(&log, &both, &q), ("p/a.md".to_owned(), vec![]));
    }

    #[test]
    fn delete_against_edit_keeps_the_edit() {
        let mut log = Ledger::new();
        let (doc, item) = create("a.md", "");
        add(&mut log, at(1, 1), 1, &view(&[]), &[item]);
        add(&mut log, at(1, 2), 2, &view(&[at(1, 1)]), &[Item::Delete { doc }]);
        assert_eq!(path_in(&log, &view(&[at(1, 2)]), &doc), None);
        add(&mut log, at(2, 1), 3, &view(&[at(1, 1)]), &[Item::Mode { doc, mode: Mode::Executable }]);
        assert_eq!(path_in(&log, &view(&[at(1, 2), at(2, 1)]), &doc).as_deref(), Some("a.md"));
    }

    #[test]
    fn colliding_claims_and_files_against_folders() {
        let mut log = Ledger::new();
        let (a, one) = create("x.md", "");
        let (b, two) = create("X.md", "p");
        add(&mut log, at(1, 1), 1, &view(&[]), &[one, two]);
        let v = view(&[at(1, 1)]);
        let (low, high) = if a < b { (a, b) } else { (b, a) };
        assert!(path_in(&log, &v, &low).unwrap().eq_ignore_ascii_case("x.md"));
        assert!(path_in(&log, &v, &high).unwrap().contains(&high.short(6)));

        let (file, one) = create("f", "");
        add(&mut log, at(1, 2), 2, &v, &[one]);
        let before = view(&[at(1, 2)]);
        let (_, inner) = create("f/g.md", "");
        add(&mut log, at(2, 1), 3, &v, &[inner]);
        let after = view(&[at(1, 2), at(2, 1)]);
        assert_eq!(path_in(&log, &before, &file).as_deref(), Some("f"));
        assert_eq!(path_in(&log, &after, &file), Some(format!("f-{}", file.short(6))));
        let Ok(mut s) = Namespace::new(&log, before);
        let Ok(mut t) = Namespace::new(&log, after);
        let touched = BTreeSet::from([DocId::of(&VAULT, "f/g.md", "")]);
        let Ok(hit) = affected(&mut s, &mut t, &touched, &[]);
        assert!(hit.contains(&file));
    }

    #[test]
    fn concurrent_renames_have_one_winner() {
        let mut log = Ledger::new();
        let (doc, item) = create("a.md", "");
        add(&mut log, at(1, 1), 1, &view(&[]), &[item]);
        add(&mut log, at(1, 2), 5, &view(&[at(1, 1)]), &[Item::Move { doc, path: "late.md".into() }]);
        add(&mut log, at(2, 1), 4, &view(&[at(1, 1)]), &[Item::Move { doc, path: "early.md".into() }]);
        let v = view(&[at(1, 2), at(2, 1)]);
        assert_eq!(path_in(&log, &v, &doc).as_deref(), Some("late.md"));
        let Ok(mut space) = Namespace::new(&log, v.clone());
        let Ok(found) = space.doc(&doc);
        assert_eq!(found.unwrap().lost_claims, [("early.md".to_owned(), at(2, 1))]);
        let Ok(after) = space.after("a.md", at(3, 1), 0);
        assert_eq!(after, at(1, 2).to_string());
    }
}
