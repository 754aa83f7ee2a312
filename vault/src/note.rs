//! Notes that aios writes itself: an edit of what the vault shows now, as anybody's is. What people wrote there stays, and what they have not
//! saved yet merges with it (I2, I4).

use aios_core::frontier::Place;
use aios_core::id::DocId;
use aios_core::item::{Base, Item, Mode};
use aios_core::namespace::Namespace;
use aios_core::path;

use crate::author::Draft;
use crate::error::Error;
use crate::vault::Vault;
use crate::written::Written;

/// What is at the path of a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// No file.
    Absent,
    /// A text.
    Text(String),
    /// Something that is no text.
    Other,
}

impl Vault {
    /// What is at a path now, by the log.
    ///
    /// # Errors
    /// What database and log answer.
    pub fn note_at(&mut self, path: &str) -> Result<Note, Error> {
        self.documented()?;
        let Some(doc) = self.doc_at(path)? else { return Ok(Note::Absent) };
        let view = self.view.clone();
        let Some(version) = self.version(&doc, &view)? else { return Ok(Note::Absent) };
        Ok(version.text()?.map_or(Note::Other, |text| Note::Text(text.to_owned())))
    }

    /// Has the file at a path be `text`, as a record with the actor and message of `draft`; whoever wants it on disk finishes a round.
    ///
    /// # Errors
    /// What the vault answers; [`Error::Usage`] where something is there that is no text.
    pub fn write_note(&mut self, path: &str, text: &str, mut draft: Draft) -> Result<(), Error> {
        self.go_on()?;
        match self.note_at(path)? {
            Note::Text(_) => self.edit_note(path, text, &mut draft)?,
            Note::Absent => self.create_note(path, text, &mut draft)?,
            Note::Other => {
                return Err(Error::Usage(format!("{path} is no text, so nothing is written there")));
            }
        }
        if draft.items.is_empty() {
            return Ok(());
        }
        self.transaction(|vault| {
            vault.author_records(draft)?;
            vault.refresh(&mut |_, _, _| {})
        })
    }

    fn edit_note(&mut self, path: &str, text: &str, draft: &mut Draft) -> Result<(), Error> {
        let Some(doc) = self.doc_at(path)? else { return Ok(()) };
        if let Some(edited) = self.edit_at(&doc, path, Written::file(text.as_bytes().to_vec()), None)? {
            draft.items.push((edited.item, edited.payload));
        }
        Ok(())
    }

    fn create_note(&mut self, path: &str, text: &str, draft: &mut Draft) -> Result<(), Error> {
        let author = Place { device: self.replica.device, seq: self.next_seq()? };
        let after = {
            let history = self.history();
            Namespace::new(&history, self.view.clone())?.after(path, author, 0)?
        };
        let doc = DocId::of(&self.replica.vault, &path::fold(path), &after);
        let bytes = text.as_bytes().to_vec();
        let written = Written::file(bytes.clone());
        let kind = written.kind(path);
        let content = written.content;
        let payload = if kind.inline() { bytes } else { Vec::new() };
        let mode = Mode::File;
        let item =
            Item::Create { doc, path: path.to_owned(), after, kind, mode, content, base: Base::default() };
        draft.items.push((item, payload));
        Ok(())
    }
}
