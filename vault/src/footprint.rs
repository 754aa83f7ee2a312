//! The footprint of a transaction: the entries of git's tree that its items change, where each document gets the name it claims.

use std::collections::BTreeMap;

use aios_core::id::{DocId, GitId};
use aios_core::item::{Item, Kind, Mode};
use aios_core::namespace::Namespace;
use aios_core::path;
use git2::Oid;

use crate::error::Error;
use crate::git;
use crate::project::oid;
use crate::vault::Vault;

/// Mode and blob of each path after; `None` for one that is gone.
type Footprint = BTreeMap<Vec<u8>, Option<(u32, Oid)>>;

/// What one document is in a tree.
#[derive(Clone, PartialEq, Eq)]
struct Entry {
    path: String,
    kind: Kind,
    mode: Mode,
    git: GitId,
}

impl Entry {
    fn bits(&self) -> u32 {
        match (self.kind, self.mode) {
            (Kind::Link, _) => Mode::Link.bits(),
            (_, Mode::Link) => Mode::File.bits(),
            (_, mode) => mode.bits(),
        }
    }
}

impl Vault {
    /// Whether these items change the tree just as a commit did. Only then may the commit be that of their record: any other
    /// is an ancestor whose objects must travel.
    pub(crate) fn changes_as<'i>(
        &self,
        diffs: &[git::Diff],
        items: impl Iterator<Item = &'i Item>,
    ) -> Result<bool, Error> {
        let wanted: Footprint = diffs.iter().map(|diff| (diff.path.clone(), diff.new)).collect();
        Ok(self.footprint(items)?.is_some_and(|made| made == wanted))
    }

    /// `None` where it cannot be told of an item alone.
    fn footprint<'i>(&self, items: impl Iterator<Item = &'i Item>) -> Result<Option<Footprint>, Error> {
        let mut docs: BTreeMap<DocId, (Option<Entry>, Option<Entry>)> = BTreeMap::new();
        let entry = |doc: &DocId| -> Result<Option<Entry>, Error> {
            Ok(self.placement(doc)?.map(|now| Entry {
                path: now.path,
                kind: now.kind,
                mode: now.mode,
                git: now.content.git,
            }))
        };
        let history = self.history();
        for item in items {
            if let Item::MoveDir { from, to } = item {
                let below = Namespace::new(&history, self.view.clone())?.below(&path::fold(from))?;
                for doc in below.into_iter().filter(|doc| !docs.contains_key(doc)).collect::<Vec<_>>() {
                    let now = entry(&doc)?;
                    docs.insert(doc, (now.clone(), now));
                }
                for entry in docs.values_mut().filter_map(|(_, after)| after.as_mut()) {
                    if let Some(path) = path::rebase(&entry.path, from, to) {
                        entry.path = path;
                    }
                }
                continue;
            }
            let (Item::Create { doc, .. }
            | Item::Edit { doc, .. }
            | Item::Replace { doc, .. }
            | Item::Move { doc, .. }
            | Item::Mode { doc, .. }
            | Item::Delete { doc }) = item
            else {
                return Ok(None);
            };
            if !docs.contains_key(doc) {
                let now = entry(doc)?;
                docs.insert(*doc, (now.clone(), now));
            }
            let Some((_, entry)) = docs.get_mut(doc) else { continue };
            match (item, entry.as_mut()) {
                (Item::Create { path, kind, mode, content, .. }, None) => {
                    *entry = Some(Entry { path: path.clone(), kind: *kind, mode: *mode, git: content.git });
                }
                (Item::Edit { content, .. }, Some(entry)) => entry.git = content.git,
                (Item::Replace { kind, content, .. }, Some(entry)) => {
                    (entry.kind, entry.git) = (*kind, content.git);
                }
                (Item::Move { path, .. }, Some(entry)) => entry.path.clone_from(path),
                (Item::Mode { mode, .. }, Some(entry)) => entry.mode = *mode,
                (Item::Delete { .. }, _) => *entry = None,
                // Joined, or brought back: what it is then is for the fold to say.
                _ => return Ok(None),
            }
        }
        let changed = docs.into_values().filter(|(before, after)| before != after);
        let (before, after): (Vec<_>, Vec<_>) = changed.unzip();
        let mut out: Footprint =
            before.into_iter().flatten().map(|entry| (entry.path.into_bytes(), None)).collect();
        for entry in after.into_iter().flatten() {
            let made = (entry.bits(), oid(&entry.git)?);
            out.insert(entry.path.into_bytes(), Some(made));
        }
        Ok(Some(out))
    }
}
