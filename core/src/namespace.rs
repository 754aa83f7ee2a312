//! Where documents lie: claims that collide are told apart by a pure function of (id, claim) (I1, I5).
//!
//! See `docs/formats.md`, Paths. Everything here looks up only what shares a folded path with the document
//! at hand, so the cost follows the change and not the vault (I13).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::fold::{Doc, fold};
use crate::frontier::{Place, View};
use crate::history::{Act, FolderMove, History};
use crate::id::DocId;
use crate::moves::{Step, standing};
use crate::path;

/// A living document with the path it has in a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The folded document.
    pub doc: Arc<Doc>,
    /// Its path: its claim, or its claim with a suffix.
    pub path: String,
}

/// The documents of one view, folded on demand and remembered.
pub struct Namespace<'h, H: History> {
    history: &'h H,
    view: View,
    moves: Vec<Step>,
    folded: HashMap<DocId, Option<Arc<Doc>>>,
    claimed: HashMap<String, Vec<DocId>>,
}

impl<'h, H: History> Namespace<'h, H> {
    /// The documents of `view`.
    pub fn new(history: &'h H, view: View) -> Result<Self, H::Error> {
        let moves = standing(history.folder_moves()?, &view);
        Ok(Self { history, view, moves, folded: HashMap::new(), claimed: HashMap::new() })
    }

    /// The view.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The document, if it lives in this view.
    pub fn doc(&mut self, id: &DocId) -> Result<Option<&Arc<Doc>>, H::Error> {
        if !self.folded.contains_key(id) {
            let doc = fold(&self.history.touches(id)?, &self.moves, &self.view);
            self.folded.insert(*id, doc.map(Arc::new));
        }
        Ok(self.folded.get(id).and_then(Option::as_ref))
    }

    /// The living documents whose claim folds to `folded`, in order of id.
    pub fn claiming(&mut self, folded: &str) -> Result<Vec<DocId>, H::Error> {
        if let Some(known) = self.claimed.get(folded) {
            return Ok(known.clone());
        }
        let mut candidates = BTreeSet::new();
        for path in self.origins(folded) {
            candidates.extend(self.history.claimants(&path)?);
        }
        let mut out = Vec::new();
        for id in candidates {
            if self.doc(&id)?.is_some_and(|doc| path::fold(&doc.claim) == folded) {
                out.push(id);
            }
        }
        self.claimed.insert(folded.to_owned(), out.clone());
        Ok(out)
    }

    /// Folded paths from which the folder moves of this view may lead to `folded`, with itself.
    fn origins(&self, folded: &str) -> BTreeSet<String> {
        let mut out = BTreeSet::from([folded.to_owned()]);
        for step in self.moves.iter().rev() {
            let to = path::fold(&step.moved.to);
            for from in step.sources().map(path::fold) {
                let back: Vec<String> = out.iter().filter_map(|at| path::rebase(at, &to, &from)).collect();
                out.extend(back);
            }
        }
        out
    }

    /// Documents that may claim something below `folded` in this view.
    fn candidates_below(&self, folded: &str) -> Result<BTreeSet<DocId>, H::Error> {
        let mut folders = BTreeSet::from([folded.to_owned()]);
        for step in self.moves.iter().rev() {
            let to = path::fold(&step.moved.to);
            for from in step.sources().map(path::fold) {
                let mut back: Vec<String> =
                    folders.iter().filter_map(|at| path::rebase(at, &to, &from)).collect();
                if folders.iter().any(|at| to == *at || path::below(&to, at).is_some()) {
                    back.push(from);
                }
                folders.extend(back);
            }
        }
        let mut out = BTreeSet::new();
        for folder in folders {
            out.extend(self.history.claimants_below(&folder)?);
        }
        Ok(out)
    }

    /// The living documents below a folded folder, in order of id.
    pub fn below(&mut self, folded: &str) -> Result<Vec<DocId>, H::Error> {
        let mut out = Vec::new();
        for id in self.candidates_below(folded)? {
            if self.doc(&id)?.is_some_and(|doc| path::below(&path::fold(&doc.claim), folded).is_some()) {
                out.push(id);
            }
        }
        Ok(out)
    }

    /// The document and its path, if it lives in this view.
    pub fn place(&mut self, id: &DocId) -> Result<Option<Placed>, H::Error> {
        let Some(doc) = self.doc(id)?.cloned() else { return Ok(None) };
        let folded = path::fold(&doc.claim);
        let first = self.claiming(&folded)?.first() == Some(id);
        if first && self.below(&folded)?.is_empty() {
            return Ok(Some(Placed { path: doc.claim.clone(), doc }));
        }
        for digits in [6, 12, 24] {
            let path = path::suffixed(&doc.claim, id, digits);
            if self.claiming(&path::fold(&path))?.is_empty() {
                return Ok(Some(Placed { path, doc }));
            }
        }
        Ok(Some(Placed { path: path::suffixed(&doc.claim, id, 64), doc }))
    }

    /// What a new document at `claim` must name as `after`, made by the record `author` after `count` others of it
    /// that needed the same. Empty where nothing ever was there.
    pub fn after(&mut self, claim: &str, author: Place, count: usize) -> Result<String, H::Error> {
        let folded = path::fold(claim);
        if !self.claiming(&folded)?.is_empty() {
            return Ok(match count {
                0 => author.to_string(),
                n => format!("{author}:{n}"),
            });
        }
        let mut vacated = None;
        for origin in self.origins(&folded) {
            for id in self.history.claimants(&origin)? {
                for touch in self.history.touches(&id)?.iter() {
                    if self.view.has(&touch.place)
                        && matches!(touch.act, Act::Delete | Act::Forget | Act::Move { .. })
                    {
                        vacated = vacated.max(Some((touch.rank, touch.place)));
                    }
                }
                let left = |from: &str| path::below(&folded, &path::fold(from)).is_some();
                let moved = self.moves.iter().filter(|step| step.sources().any(left)).map(|step| &step.moved);
                vacated = moved.fold(vacated, |last, step| last.max(Some((step.stamp, step.place))));
            }
        }
        Ok(vacated.map(|(_, place)| place.to_string()).unwrap_or_default())
    }
}

/// Every document whose presence, path or content may differ between the two views, given those touched by
/// the records that only one of them holds and the folders such records moved.
pub fn affected<'h, H: History>(
    a: &mut Namespace<'h, H>,
    b: &mut Namespace<'h, H>,
    touched: &BTreeSet<DocId>,
    moved: &[FolderMove],
) -> Result<BTreeSet<DocId>, H::Error> {
    let mut out = touched.clone();
    let mut folders: BTreeSet<String> = moved.iter().map(|step| path::fold(&step.from)).collect();
    // Where one stands or yields, what its rivals brought elsewhere goes another way too.
    let steps = a.moves.iter().chain(&b.moves);
    let rivals = steps.filter(|step| folders.contains(&path::fold(&step.moved.from)));
    let others: Vec<String> = rivals.flat_map(|step| step.sources().map(path::fold)).collect();
    folders.extend(others);
    for folder in folders {
        for space in [&mut *a, &mut *b] {
            out.extend(space.candidates_below(&folder)?);
        }
    }
    let mut claims = BTreeSet::new();
    for id in &out {
        for space in [&mut *a, &mut *b] {
            claims.extend(space.doc(id)?.map(|doc| path::fold(&doc.claim)));
        }
    }
    let mut shared = BTreeSet::new();
    for claim in &claims {
        shared.insert(claim.clone());
        shared.extend(path::ancestors(claim).map(str::to_owned));
        shared.extend(path::unsuffixed(claim));
    }
    for claim in shared {
        for space in [&mut *a, &mut *b] {
            out.extend(space.claiming(&claim)?);
        }
    }
    Ok(out)
}
