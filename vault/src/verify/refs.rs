//! Whether git's refs and its index are what aios and git rest on.

use std::path::Path;

use super::Report;
use crate::apart::Named;
use crate::error::Error;
use crate::git;
use crate::mirror;
use crate::project::oid;
use crate::vault::Vault;

/// Names the files of refs that cannot be read.
pub(super) fn unreadable(git: &Path, report: &mut Report) {
    for torn in git::torn(git) {
        report.find("I8", torn.name, format!("it cannot be read: {}", torn.why));
    }
}

impl Vault {
    /// Whether what the refs of aios name is here, and history that is here is named. The mirrors of logs are looked at with the log.
    pub(super) fn check_refs(&self, report: &mut Report) -> Result<(), Error> {
        let packed_is_torn = git::torn(self.repo.commondir()).iter().any(|torn| torn.name == "packed-refs");
        // Told already; git lists none then.
        let refs = if packed_is_torn { Vec::new() } else { git::own_refs(&self.repo)? };
        for (name, target) in refs {
            if name.starts_with(git::LOG_PREFIX) {
                continue;
            }
            match name.strip_prefix(git::HISTORY_PREFIX).filter(|named| *named != target.to_string()) {
                Some(_) => {
                    report.find("I8", name, format!("it is at {target}, which is not what it is named after"))
                }
                None => {
                    if let Err(why) = mirror::proven(&self.repo, target) {
                        report.find("I8", name, format!("object {target}: {why}"));
                    }
                }
            }
        }
        let odb = self.repo.odb().map_err(crate::vault::git_error)?;
        for named in self.apart_wanted()? {
            let Named::History(tip) = named else { continue };
            if odb.exists(oid(&tip)?) {
                let name = format!("{}{tip}", git::HISTORY_PREFIX);
                report.find(
                    "I8",
                    name,
                    "it is gone, and its commit is here: git would drop it one day".into(),
                );
            }
        }
        Ok(())
    }

    /// Whether git's index is there and can be read.
    pub(super) fn check_index(&self, report: &mut Report) -> Result<(), Error> {
        match git::Index::read(&self.repo) {
            Ok(_) if self.lacks_index().is_some() => {
                report.find("I8", "git index", "it is gone: git takes every file for deleted".into());
            }
            Ok(_) => {}
            Err(e) if e.is_damage() => report.find("I8", "git index", e.to_string()),
            // Nothing is lost: aios only does not know that form of it.
            Err(e) => report.tell("I8", "git index", e.to_string()),
        }
        Ok(())
    }
}
