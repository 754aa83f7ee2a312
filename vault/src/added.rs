//! Taking in files that stand where aios knew of none: new documents, second beginnings of documents that others made under the same
//! name, and what aios or somebody wrote of a document before that was noted.

use std::collections::{HashMap, HashSet};

use aios_core::fold;
use aios_core::frontier::{Place, View};
use aios_core::history::{Act, History};
use aios_core::id::DocId;
use aios_core::item::{Base, Item, Kind, Mode};
use aios_core::namespace::Namespace;
use aios_core::path;

use crate::absorb::{Absorbed, After, SavedFile, changing, untold};
use crate::author::Draft;
use crate::change::PathChange;
use crate::disk;
use crate::error::Error;
use crate::file::By;
use crate::survey::Saved;
use crate::vault::Vault;
use crate::written::Written;

impl Vault {
    /// Adds new files to a transaction.
    pub(crate) fn absorb_added(
        &mut self,
        added: Vec<Saved>,
        draft: &mut Draft,
        after: &mut Vec<After>,
        out: &mut Absorbed,
    ) -> Result<(), Error> {
        if added.is_empty() {
            return Ok(());
        }
        let mut counts: HashMap<String, usize> = HashMap::new();
        // The number of the closing record is not known before all parts are: none but very large imports have several.
        let total: u64 = added.iter().map(|saved| saved.found.size).sum();
        let author = Place { device: self.replica.device, seq: self.next_seq()? + total / (6 << 20) };
        let empty = self.view.is_empty()
            || self.db.query_row("SELECT NOT EXISTS(SELECT 1 FROM item)", [], |row| row.get(0))?;
        let mut folded_seen: HashSet<String> = HashSet::with_capacity(added.len());
        for saved in added {
            let claim = saved.found.path.clone();
            // A document that has a file here already is none that this one was made in ignorance of.
            let here = self.doc_at(&claim)?;
            let here = here.map(|doc| Ok::<_, Error>(self.files_of(&doc)?.is_empty().then_some(doc)));
            let here = here.transpose()?.flatten();
            if let Some(doc) = &here
                && self.lacks_text(doc)?
            {
                out.problems.push(untold(&claim));
                continue;
            }
            if let Some(doc) = &here
                && let Some(made) = self.made_at(doc, &claim)?
            {
                self.absorb_beside(doc, made, saved, draft, after, out)?;
                continue;
            }
            let found = saved.found.clone();
            let Some(written) = self.take_content(saved)? else {
                out.problems.push(changing(&found.path));
                continue;
            };
            // One that came here by a move, or was given this name: a write of it that was cut off before it was noted (I9).
            if let Some(doc) = &here
                && self.was_written(doc, &written, &found, after)?
            {
                continue;
            }
            let folded = path::fold(&claim);
            let again = !folded_seen.insert(folded.clone());
            let name = match (empty, again) {
                (true, false) => String::new(),
                (_, true) => {
                    let count = counts.entry(folded.clone()).or_default();
                    *count += 1;
                    match *count {
                        1 => author.to_string(),
                        n => format!("{author}:{}", n - 1),
                    }
                }
                (false, false) => {
                    let history = self.history();
                    let mut space = Namespace::new(&history, self.view.clone())?;
                    let name = space.after(&claim, author, 0)?;
                    if name == author.to_string() {
                        counts.insert(folded.clone(), 1);
                    }
                    name
                }
            };
            let doc = DocId::of(&self.replica.vault, &folded, &name);
            let kind = written.kind(&claim);
            let Written { content, bytes, .. } = written;
            let mode = match (found.kind, found.exec) {
                (disk::Kind::Link, _) => Mode::Link,
                (_, true) => Mode::Executable,
                _ => Mode::File,
            };
            let payload = if kind.inline() { bytes.unwrap_or_default() } else { Vec::new() };
            let base = Base::default();
            draft.items.push((
                Item::Create { doc, path: claim.clone(), after: name, kind, mode, content, base },
                payload,
            ));
            out.changed.push(PathChange::new(&claim, "added"));
            after.push(After::Saved {
                doc,
                saved: SavedFile { found, hash: content.hash, git: content.git },
                stale: None,
            });
        }
        Ok(())
    }

    /// The item that made a document, if it was made at this very path.
    fn made_at(&mut self, doc: &DocId, claim: &str) -> Result<Option<Item>, Error> {
        let touches = self.history().touches(doc)?;
        let Some(create) = touches.iter().find(|touch| matches!(touch.act, Act::Create { .. })) else {
            return Ok(None);
        };
        let item = self.item(doc, &create.place, create.index)?;
        Ok(matches!(&item, Item::Create { path, .. } if path == claim).then_some(item))
    }

    /// Takes in a file that stands where a document was made, but that aios never wrote or read: both were made without
    /// the other, so it joins the document as a second beginning of it.
    fn absorb_beside(
        &mut self,
        doc: &DocId,
        made: Item,
        saved: Saved,
        draft: &mut Draft,
        after: &mut Vec<After>,
        out: &mut Absorbed,
    ) -> Result<(), Error> {
        let found = saved.found.clone();
        let Some(written) = self.take_content(saved)? else {
            out.problems.push(changing(&found.path));
            return Ok(());
        };
        if self.was_written(doc, &written, &found, after)? {
            return Ok(());
        }
        let kind = written.kind(&found.path);
        let file = SavedFile { found, hash: written.content.hash, git: written.content.git };
        let Written { content, bytes, .. } = written;
        let base = Base { base: Some(View::new()), rank: None };
        let item = match made {
            Item::Create { path: claim, after: name, kind: first, mode, .. }
                if kind.by_character() && first == kind =>
            {
                Item::Create { doc: *doc, path: claim, after: name, kind, mode, content, base }
            }
            _ => Item::Replace { doc: *doc, kind, content, base },
        };
        let payload = if kind.inline() { bytes.unwrap_or_default() } else { Vec::new() };
        draft.items.push((item, payload));
        out.changed.push(PathChange::new(&file.found.path, "added"));
        after.push(After::Saved { doc: *doc, saved: file, stale: Some(View::new()) });
        Ok(())
    }

    /// Takes a file for a document's that has none here and reads so, or once did; `false` where it never did.
    fn was_written(
        &mut self,
        doc: &DocId,
        written: &Written,
        found: &disk::Found,
        after: &mut Vec<After>,
    ) -> Result<bool, Error> {
        let content = &written.content;
        if self.placement(doc)?.is_some_and(|placement| written.stands(&placement)) {
            self.user_saved(doc, &content.hash, &content.git, &self.view.clone(), By::User)?;
        } else if let Some(view) = self.saved_once(doc, written)? {
            self.aios_wrote(doc, &content.hash, &content.git, &view)?;
            self.db.prepare_cached("INSERT OR IGNORE INTO dirty VALUES(?)")?.execute([doc.as_bytes()])?;
        } else {
            return Ok(false);
        }
        let saved = SavedFile { found: found.clone(), hash: content.hash, git: content.git };
        after.push(After::Same { doc: *doc, saved });
        Ok(true)
    }

    /// What was known when a document first had just this content: a copy of that version is not new, but old.
    fn saved_once(&self, doc: &DocId, written: &Written) -> Result<Option<View>, Error> {
        let touches = self.history().touches(doc)?;
        let same = touches.iter().filter(|touch| {
            self.view.has(&touch.place)
                && touch.act.content().is_some_and(|content| content.hash == written.content.hash)
        });
        let Some(place) =
            same.min_by_key(|touch| (touch.rank, touch.place, touch.index)).map(|touch| touch.place)
        else {
            return Ok(None);
        };
        let view = match self.number(&place)? {
            Some(n) => self.row(n)?.view,
            None => return Ok(None),
        };
        let then = fold::fold(&touches, &[], &view);
        Ok(then.filter(|then| (then.text.kind() == Kind::Link) == written.link).map(|_| view))
    }
}
