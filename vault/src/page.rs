//! Files that work reads and writes: of the log, and not of the folder, in which its user may be in the middle of something.

use aios_core::frontier::{Place, View};
use aios_core::history::History as _;
use aios_core::id::DocId;
use aios_core::item::{Base, Item, Mode};
use aios_core::namespace::Namespace;
use aios_core::path;
use rusqlite::params;

use crate::absorb::AbsorbOptions;
use crate::author::Draft;
use crate::db;
use crate::disk::{self, fault};
use crate::error::Error;
use crate::vault::Vault;
use crate::written::Written;

/// The largest file that is looked into.
const MOST: i64 = 1 << 20;
/// How far a record may seem older than what it was written after, where a clock was set.
const DAY: u64 = 24 * 60 * 60 * 1000;

/// A text file of the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its document.
    pub doc: DocId,
    /// Where it lies.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// What became of a file that was to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It is there now.
    New(DocId),
    /// Another lies there, and stays as it is.
    Taken(DocId),
}

impl Vault {
    /// The text files whose path is like `pattern`, in which `*` stands for any text, in order of path; `None` for more than `most`.
    ///
    /// # Errors
    /// What database and log answer.
    pub fn pages(&mut self, pattern: &str, most: usize) -> Result<Option<Vec<Page>>, Error> {
        let view = self.documented()?;
        let glob = pattern.replace('[', "[[]").replace('?', "[?]");
        let found: Vec<(Vec<u8>, String)> = {
            let mut get = self.db.prepare_cached(
                "SELECT id, path FROM doc WHERE path GLOB ? AND size <= ? ORDER BY path LIMIT ?",
            )?;
            let limit = i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1);
            let rows = get.query_map(params![glob, MOST, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<Result<_, _>>()?
        };
        if found.len() > most {
            return Ok(None);
        }
        let mut out = Vec::with_capacity(found.len());
        for (id, path) in found {
            let doc = db::id(id, DocId::from_slice)?;
            let text = self.page_text(&doc, &view)?;
            out.extend(text.map(|text| Page { doc, path, text }));
        }
        Ok(Some(out))
    }

    /// What a document says; `None` if it is no text, or its bytes are not here.
    fn page_text(&mut self, doc: &DocId, view: &View) -> Result<Option<String>, Error> {
        let touches = self.history().touches(doc)?;
        match self.bytes_in(doc, &touches, view) {
            Err(Error::Apart(_)) | Ok(None) => Ok(None),
            Ok(Some(bytes)) => Ok(std::str::from_utf8(&bytes).ok().map(str::to_owned)),
            Err(e) => Err(e),
        }
    }

    /// Whether documents changed that the folder may not show yet: a crash came between.
    ///
    /// # Errors
    /// What the database answers.
    pub fn owes_files(&self) -> Result<bool, Error> {
        Ok(self.db.query_row("SELECT EXISTS (SELECT 1 FROM dirty)", [], |row| row.get(0))?)
    }

    /// Whether git lacks what records did to files: who was killed between showing that in the folder and in git left it so.
    ///
    /// # Errors
    /// What the database answers.
    pub fn owes_git(&self) -> Result<bool, Error> {
        let waits = "SELECT EXISTS (SELECT 1 FROM record WHERE tree = 1 AND git IS NULL AND held = 0)";
        Ok(self.db.query_row(waits, [], |row| row.get(0))?)
    }

    /// The text file at a path.
    ///
    /// # Errors
    /// What database and log answer.
    pub fn page(&mut self, path: &str) -> Result<Option<Page>, Error> {
        self.take_in_at(path)?;
        let view = self.documented()?;
        let Some(doc) = self.doc_at(path)? else { return Ok(None) };
        let text = self.page_text(&doc, &view)?;
        Ok(text.map(|text| Page { doc, path: path.to_owned(), text }))
    }

    /// Makes a file, where none lies at its path. When it returns, the record is durable.
    ///
    /// # Errors
    /// For a path that no document can have; what database and log answer.
    pub fn make_page(&mut self, at: &str, text: &str, mut draft: Draft) -> Result<Made, Error> {
        path::check(at).map_err(|e| Error::Usage(e.to_string()))?;
        if let Some(folder) = self.nested_at(at) {
            return Err(Error::Usage(format!(
                "{folder} is a vault of its own, and this one writes nothing there"
            )));
        }
        self.take_in_at(at)?;
        self.documented()?;
        let folded = path::fold(at);
        let history = self.history();
        let mut space = Namespace::new(&history, self.view.clone())?;
        if let Some(doc) = space.claiming(&folded)?.first() {
            return Ok(Made::Taken(*doc));
        }
        let place = Place { device: self.replica.device, seq: self.next_seq()? };
        let after = space.after(at, place, 0)?;
        let doc = DocId::of(&self.replica.vault, &folded, &after);
        let written = Written::file(text.as_bytes().to_vec());
        let kind = written.kind(at);
        let item = Item::Create {
            doc,
            path: at.to_owned(),
            after,
            kind,
            mode: Mode::File,
            content: written.content,
            base: Base::default(),
        };
        draft.items.push((item, text.as_bytes().to_vec()));
        self.write_page(draft)?;
        Ok(Made::New(doc))
    }

    /// Changes a file from what it is now. When it returns, the record is durable; without a difference there is none.
    ///
    /// # Errors
    /// What database and log answer.
    pub fn change_page(&mut self, page: &Page, text: &str, mut draft: Draft) -> Result<(), Error> {
        let written = Written::file(text.as_bytes().to_vec());
        if page.text == text {
            return Ok(());
        }
        if let Some(edited) = self.edit_at(&page.doc, &page.path, written, None)? {
            draft.items.push((edited.item, edited.payload));
            self.write_page(draft)?;
        }
        Ok(())
    }

    /// The document that a record of this device wrote, among those whose message names `mark`, and that are not from before `since`.
    ///
    /// # Errors
    /// What database and log answer.
    pub fn wrote(&mut self, mark: &str, since: u64) -> Result<Option<DocId>, Error> {
        let numbers: Vec<i64> = {
            let mut get = self.db.prepare_cached(
                "SELECT n FROM record WHERE device = ? AND tree = 1 AND ends = n AND ms >= ? ORDER BY seq DESC",
            )?;
            let from = i64::try_from(since.saturating_sub(DAY)).unwrap_or(i64::MAX);
            let rows = get.query_map(params![self.replica.device.as_bytes(), from], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        for n in numbers {
            let row = self.row(n)?;
            let body = self.log.record(&row.place.device, row.spot)?.body()?;
            if body.message.lines().any(|line| line == mark) {
                return Ok(self.docs_of(n)?.into_iter().next());
            }
        }
        Ok(None)
    }

    fn write_page(&mut self, draft: Draft) -> Result<(), Error> {
        self.transaction(|vault| {
            vault.author_records(draft)?;
            vault.refresh(&mut |_, _, _| {})
        })?;
        // Where a test ends the process between the record and what is known of it.
        fault::point("page.written").map_err(|e| Error::io("write", self.root(), e))
    }

    /// What its user saved at a path comes first, so that it is not in the way of what is written there.
    fn take_in_at(&mut self, at: &str) -> Result<(), Error> {
        let paths = [at.to_owned()].into();
        let taken = match self.absorb_at(&paths, &mut |_, _, _| {}) {
            Ok(Some(taken)) if !taken.came => taken,
            Ok(_) if matches!(disk::scan::look(self.writer.root(), at), Ok(None)) => return Ok(()),
            Ok(_) => self.absorb(&AbsorbOptions::default(), &mut |_, _, _| {})?,
            // What lies in the folder is not to be looked at now.
            Err(Error::Paused(_)) => return Ok(()),
            Err(e) => return Err(e),
        };
        self.untold.extend(taken.problems.into_iter().chain(taken.notes));
        Ok(())
    }
}
