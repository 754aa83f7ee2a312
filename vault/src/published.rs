//! What publishing shows to others: every version of every file since a commit that they have.

use std::collections::HashSet;

use aios_core::id::GitId;
use git2::{ObjectType, Oid};

use crate::error::Error;
use crate::git::{self, Loose};
use crate::project::{git_id, oid};
use crate::vault::{Vault, git_error};

/// A file above this many bytes is not looked into.
const LARGEST: usize = 4 << 20;

/// One version of a file, as text.
#[derive(Debug)]
pub struct Version<'v> {
    /// Where it lies.
    pub path: &'v str,
    /// The first commit found that brings it.
    pub commit: GitId,
    /// What it holds.
    pub text: &'v str,
}

impl Vault {
    /// Shows every text that the history of `head` brings, and that of `known` does not, to `see`: each version once.
    ///
    /// # Errors
    /// What git answers.
    pub fn each_version(
        &self,
        head: &GitId,
        known: Option<&GitId>,
        see: &mut dyn FnMut(Version<'_>),
    ) -> Result<(), Error> {
        let walking = || git::Error::git("walking history");
        let mut walk = self.repo.revwalk().map_err(walking())?;
        walk.push(oid(head)?).map_err(walking())?;
        if let Some(known) = known.map(oid).transpose()?
            && self.repo.odb().map_err(git_error)?.exists(known)
        {
            walk.hide(known).map_err(walking())?;
        }
        let mut seen: HashSet<Oid> = HashSet::new();
        let mut objects = Loose::new(&self.repo, false)?;
        for commit in walk {
            let commit = commit.map_err(walking())?;
            let parsed = git::commit(&self.repo, commit)?;
            let parent = parsed.parents.first().map(|parent| self.root_of(*parent)).transpose()?;
            for diff in git::diff_trees(&mut objects, parent, Some(parsed.tree))? {
                let Some((mode, blob)) = diff.new else { continue };
                if mode == 0o160_000 || !seen.insert(blob) {
                    continue;
                }
                let header = self.repo.odb().and_then(|odb| odb.read_header(blob));
                if !header.is_ok_and(|(size, kind)| kind == ObjectType::Blob && size <= LARGEST) {
                    continue;
                }
                let (_, bytes) = git::read(&self.repo, blob)?;
                if let Ok(text) = std::str::from_utf8(&bytes) {
                    let path = String::from_utf8_lossy(&diff.path);
                    see(Version { path: &path, commit: git_id(&commit), text });
                }
            }
        }
        Ok(())
    }
}
