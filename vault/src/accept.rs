//! Files that decide what is gated: in force only at the version the operator accepted (I11).

use aios_core::event::Event;
use aios_core::frontier::View;
use aios_core::id::{ContentHash, DocId, GitId};
use aios_core::item::{Bytes, Item};
use aios_core::key::AcceptanceStatement;
use serde::Serialize;

use crate::author::Draft;
use crate::db;
use crate::error::Error;
use crate::vault::Vault;

/// Folders whose Markdown files decide what is gated.
const FOLDERS: [&str; 4] = ["agents", "connectors", "policies", "workflows"];
/// The folder whose components do so, too, and their ending.
const COMPONENTS: (&str, &str) = ("agents", ".wasm");

/// A file put in force, or out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Accepted {
    /// The file.
    pub path: String,
    /// The version, as a content hash; absent if it is in force no more, as the file is gone.
    pub version: Option<ContentHash>,
}

/// A file whose present version is not the one in force.
#[derive(Debug, Clone)]
pub struct Proposed {
    /// The file.
    pub path: String,
    /// The text in force, if any; of a component, a line that tells it from others.
    pub old: Option<String>,
    /// The present text, or such a line; absent if the file is gone.
    pub new: Option<String>,
    hash: Option<ContentHash>,
}

/// A gated file: its path, the accepted version, and the present one.
pub(crate) type Gated = (String, Option<ContentHash>, Option<(ContentHash, GitId)>);

/// Whether a path is that of ignore rules.
pub(crate) fn is_rules(path: &str) -> bool {
    matches!(path.rsplit('/').next(), Some(".aiosignore" | ".gitignore"))
}

/// Whether a path is that of a file that decides what is gated.
pub fn is_gated(path: &str) -> bool {
    let folder = path.split('/').next().unwrap_or_default();
    let written = path.contains('/') && FOLDERS.contains(&folder) && path.ends_with(".md");
    is_rules(path) || written || is_component(path)
}

/// Whether a path is that of a component which does an agent's work: no text, and in force as text is.
pub fn is_component(path: &str) -> bool {
    let folder = path.split('/').next().unwrap_or_default();
    path.contains('/') && folder == COMPONENTS.0 && path.ends_with(COMPONENTS.1)
}

impl Vault {
    /// The gated files: accepted and present versions.
    pub(crate) fn gated(&self) -> Result<Vec<Gated>, Error> {
        let mut out = std::collections::BTreeMap::new();
        // CROSS fixes the order: a few rows are gated, and without statistics SQLite would go through every document.
        let mut get = self
            .db
            .prepare_cached("SELECT d.path, d.hash, d.git FROM gated g CROSS JOIN doc d ON d.id = g.doc")?;
        let mut rows = get.query([])?;
        while let Some(row) = rows.next()? {
            let hash = db::id(row.get(1)?, ContentHash::from_slice)?;
            out.insert(
                row.get::<_, String>(0)?,
                (None, Some((hash, db::id(row.get(2)?, GitId::from_slice)?))),
            );
        }
        let mut get = self.db.prepare_cached("SELECT path, hash FROM accepted")?;
        let mut rows = get.query([])?;
        while let Some(row) = rows.next()? {
            out.entry(row.get(0)?).or_insert((None, None)).0 =
                Some(db::id(row.get(1)?, ContentHash::from_slice)?);
        }
        Ok(out.into_iter().map(|(path, (accepted, present))| (path, accepted, present)).collect())
    }

    /// The bytes of a version of the document at `path`: its present one, one that somebody saved, or one that merged and was
    /// accepted, as it was to whoever accepted it.
    pub(crate) fn version_bytes(&mut self, path: &str, hash: &ContentHash) -> Result<Option<Vec<u8>>, Error> {
        let doc = self.doc_at(path)?;
        let present = match &doc {
            Some(doc) => self.placement(doc)?.map(|now| now.content).filter(|now| now.hash == *hash),
            None => None,
        };
        let saved = match present {
            Some(now) => Some(now.git),
            None => self.saved_by_hash(doc.as_ref(), path, hash)?,
        };
        if let Some(git) = saved {
            return Ok(self.blob(&git)?.map(|bytes| bytes.to_vec()));
        }
        for view in self.acceptances(path, hash)? {
            let Some(doc) = self.doc_in(path, Some(&view))? else { continue };
            let then = self.version(&doc, &view)?.filter(|then| then.content.hash == *hash);
            if let Some(bytes) = then.and_then(|then| then.bytes) {
                return Ok(Some(bytes.to_vec()));
            }
        }
        Ok(None)
    }

    /// The blob that somebody saved to `doc`, or to a document that claimed `path`.
    fn saved_by_hash(
        &self,
        doc: Option<&DocId>,
        path: &str,
        hash: &ContentHash,
    ) -> Result<Option<GitId>, Error> {
        let mut get = self.db.prepare_cached(
            "SELECT git FROM item WHERE doc IN (SELECT ?1 UNION SELECT doc FROM item WHERE folded = ?2) AND hash = ?3 LIMIT 1",
        )?;
        let of = (doc.map(DocId::as_bytes), aios_core::path::fold(path), hash.as_bytes());
        let mut rows = get.query(of)?;
        rows.next()?.map(|row| db::id(row.get(0)?, GitId::from_slice)).transpose()
    }

    /// What those had before them who accepted this version of the file at `path`.
    fn acceptances(&self, path: &str, hash: &ContentHash) -> Result<Vec<View>, Error> {
        let mut get = self.db.prepare_cached(
            "SELECT r.view, d.event FROM deed d JOIN record r ON r.n = d.n ORDER BY d.n DESC",
        )?;
        let mut rows = get.query([])?;
        let mut out = Vec::new();
        while let Some(row) = rows.next()? {
            let event: String = row.get(1)?;
            if let Ok(Event::RulesAccepted { path: of, hash: version, .. }) = serde_json::from_str(&event)
                && (of.as_str(), &version) == (path, hash)
            {
                out.push(db::read_view(&row.get::<_, Vec<u8>>(0)?)?);
            }
        }
        Ok(out)
    }

    /// Gated files whose present version waits for the operator, all or those named.
    pub fn proposed(&mut self, paths: &[String]) -> Result<Vec<Proposed>, Error> {
        let mut out = Vec::new();
        for path in paths {
            if !is_gated(path) {
                return Err(Error::Usage(format!(
                    "`{path}` decides nothing that is gated: only ignore rules, policies, agents, workflows and connectors are accepted"
                )));
            }
        }
        for (path, accepted, present) in self.gated()? {
            let wanted = paths.is_empty() || paths.contains(&path);
            if !wanted || accepted == present.map(|(hash, _)| hash) {
                continue;
            }
            let text = |bytes: &[u8]| match is_component(&path) {
                true => format!("component of {} bytes, {}\n", bytes.len(), ContentHash::of(bytes)),
                false => String::from_utf8_lossy(bytes).into_owned(),
            };
            let old = match accepted {
                Some(hash) => self.version_bytes(&path, &hash)?.map(|bytes| text(&bytes)),
                None => None,
            };
            let new = match present {
                Some((_, git)) => self.blob(&git)?.map(|bytes| text(&bytes)),
                None => None,
            };
            out.push(Proposed { path, old, new, hash: present.map(|(hash, _)| hash) });
        }
        Ok(out)
    }

    /// The item that accepts a version as the next one of `draft`, signed by the operator.
    pub(crate) fn acceptance(&self, draft: &Draft, path: &str, hash: &ContentHash) -> Result<Item, Error> {
        let Some(operator) = self.operator()? else { return Err(Error::NoOperator("accept")) };
        let place = draft.next_place(self.next_place()?);
        let statement = AcceptanceStatement { vault: &self.replica.vault, path, hash, place };
        let sig = Bytes(operator.sign_statement(&statement).to_vec());
        Ok(Item::Event(Event::RulesAccepted {
            path: path.to_owned(),
            hash: *hash,
            sig,
            by: operator.public(),
        }))
    }

    /// Puts the present versions in force.
    pub fn accept(&mut self, proposed: &[Proposed]) -> Result<Vec<Accepted>, Error> {
        self.go_on()?;
        self.transaction(Self::settle_keys)?;
        let mut out = Vec::new();
        let mut draft = Draft::operator(format!("Accept {} files", proposed.len()));
        for proposal in proposed {
            let hash = proposal.hash.unwrap_or(ContentHash::NONE);
            draft.push(self.acceptance(&draft, &proposal.path, &hash)?);
            out.push(Accepted { path: proposal.path.clone(), version: proposal.hash });
        }
        if !out.is_empty() {
            self.transaction(|vault| {
                vault.author_records(draft)?;
                vault.refresh(&mut |_, _, _| {})
            })?;
            self.exclude()?;
        }
        Ok(out)
    }

    /// Mirrors the ignore rules in force to `.git/info/exclude`.
    pub(crate) fn exclude(&mut self) -> Result<(), Error> {
        let (rules, _) = self.rules()?;
        let mut patterns = rules.exclude().to_vec();
        patterns.extend(self.nested_patterns()?);
        Ok(crate::git::write_excludes(&self.repo, &patterns)?)
    }
}
