//! What somebody goes on with after it was forgotten: a file of its own, and not a version of what cannot be read any more.

use crate::absorb::{Absorbed, Aside};
use crate::author::Draft;
use crate::disk::Found;
use crate::error::Error;
use crate::survey::{Saved, Survey};
use crate::vault::Vault;

impl Vault {
    /// Takes files of documents that were forgotten for new ones.
    pub(crate) fn regain(&self, survey: &mut Survey) -> Result<(), Error> {
        let mut other = Vec::new();
        for (row, saved) in std::mem::take(&mut survey.modified) {
            match self.is_forgotten(&row.doc)? {
                true => other.push((row, saved)),
                false => survey.modified.push((row, saved)),
            }
        }
        for moved in std::mem::take(&mut survey.moved) {
            // What was only given another name nobody went on with.
            match moved.row.hash != moved.to.hash && self.is_forgotten(&moved.row.doc)? {
                true => other.push((moved.row, moved.to)),
                false => survey.moved.push(moved),
            }
        }
        for (row, saved) in other {
            self.drop_file(&row.path)?;
            survey.added.push(saved);
        }
        Ok(())
    }

    /// As [`Vault::absorb_aside`], where the document was forgotten meanwhile.
    pub(crate) fn regain_aside(&mut self, path: &str, saved: Saved) -> Result<Option<Aside>, Error> {
        let (found, hash) = (Found { path: path.to_owned(), ..saved.found.clone() }, saved.hash);
        let Some(written) = self.take_content(saved)? else { return Ok(None) };
        let content = written.content;
        let git = written.bytes.is_none().then_some(content.git);
        let saved = Saved { found, hash, bytes: written.bytes, git, aside: true };
        let mut draft = Draft::operator(format!("Keep what was saved to {path} while it was written"));
        let mut out = Absorbed::default();
        self.absorb_added(vec![saved], &mut draft, &mut Vec::new(), &mut out)?;
        if !out.problems.is_empty() {
            return Ok(None);
        }
        if !draft.items.is_empty() {
            self.author_records(draft)?;
            self.refresh(&mut |_, _, _| {})?;
        }
        Ok(Some(Aside { content, stale: None, news: false }))
    }
}
