//! Files that somebody has forgotten: nobody is owed what stood in them, and nobody who heard of it has it.

use std::collections::BTreeSet;

use aios_core::history::Act;
use aios_core::id::{ContentHash, DocId, GitId};
use aios_core::record::Record;
use aios_vault::Error;

use crate::world::World;

/// What the records of all devices say of a document.
enum Word {
    /// What it held.
    Version { hash: ContentHash, git: GitId },
    /// It is to be forgotten, whether or not that counts.
    Forget,
}

impl World {
    /// Somebody has a file forgotten.
    pub fn forget(&mut self, n: usize) {
        let paths: Vec<String> = self.disk(n).into_keys().collect();
        if self.sealed {
            return;
        }
        let Some(path) = self.chance.pick(&paths).cloned() else { return };
        let at = path.clone();
        let done = self.at(n, "forget", |site| {
            site.keeper().work(move |vault| {
                let docs: Vec<DocId> = vault.forgettable(&at)?.into_iter().map(|found| found.doc).collect();
                vault.forget(&docs)?;
                vault.finish(Default::default(), &mut |_, _, _| {}).map(|_| ())
            })
        });
        match done {
            Some(Ok(())) => {
                self.stands(n, &format!("forgets {path}"));
                self.news(n);
            }
            // It was never taken in, git history from beside aios keeps a version of it, or nobody decides there.
            Some(Err(e @ (Error::Unknown { .. } | Error::Usage(_) | Error::NoOperator(_)))) => {
                self.tell(format!("d{n} does not forget {path}: {}", self.plain(&e.to_string())));
            }
            Some(Err(e)) => self.excused(n, "forgetting", &e),
            None => {}
        }
    }

    /// Where a word went with a device that was taken out or put back, an operator has forgotten what it was to explain. Says whether
    /// anything was.
    pub fn do_without(&mut self) -> bool {
        for n in 0..self.devices.len() {
            if !self.is_member(n) {
                continue;
            }
            let done = self.at(n, "forget", |site| {
                site.keeper().work(|vault| {
                    let docs: Vec<DocId> = vault.unexplained()?.into_iter().map(|found| found.doc).collect();
                    if !docs.is_empty() {
                        vault.forget(&docs)?;
                        vault.finish(Default::default(), &mut |_, _, _| {})?;
                    }
                    Ok::<_, Error>(docs)
                })
            });
            match done {
                Some(Ok(docs)) if docs.is_empty() => {}
                Some(Ok(docs)) => {
                    self.tell(format!("d{n} does without {docs:?}"));
                    return true;
                }
                // Whoever decides nothing leaves it to others.
                Some(Err(e @ (Error::NoOperator(_) | Error::Carrier | Error::Closed(_)))) => {
                    self.tell(format!("d{n} cannot do without: {}", self.plain(&e.to_string())));
                }
                other => self.fail(format!("d{n} cannot do without what is not explained: {other:?}")),
            }
        }
        false
    }

    fn words(&self) -> Vec<(DocId, Word)> {
        let mut out = Vec::new();
        for device in &self.devices {
            let logs = crate::peace::logs(&device.root);
            let mut rest = &logs[..];
            // The last entry of the log of a device that is off may be torn.
            while let Ok((record, len)) = Record::read_entry(rest) {
                rest = &rest[len..];
                for item in record.body().map(|body| body.items).unwrap_or_default() {
                    let Some((doc, act, _)) = Act::of(&item) else { continue };
                    let version = act.content().map(|of| Word::Version { hash: of.hash, git: of.git });
                    out.extend(version.map(|version| (doc, version)));
                    out.extend(matches!(act, Act::Forget).then_some((doc, Word::Forget)));
                }
            }
        }
        out
    }

    /// What was forgotten is owed to nobody, and where that counts for all who are here and agree, they do not have it.
    pub fn forgotten_is_gone(&mut self, here: &[usize]) {
        let words = self.words();
        let said = words.iter().filter(|(_, word)| matches!(word, Word::Forget));
        let said: BTreeSet<DocId> = said.map(|(doc, _)| *doc).collect();
        if said.is_empty() {
            return;
        }
        let counts = self.at(here[0], "look", |site| site.keeper().work(|vault| vault.forgotten()));
        let Some(Ok(counts)) = counts else {
            self.fail(format!("nobody says what is forgotten: {counts:?}"))
        };
        let counts: BTreeSet<DocId> = counts.into_iter().map(|found| found.doc).collect();
        self.tell(format!("forgotten: {} of {}", counts.len(), said.len()));
        let mut stays = BTreeSet::new();
        let mut gone = Vec::new();
        for (doc, word) in words {
            let Word::Version { hash, git } = word else { continue };
            match said.contains(&doc) {
                true => gone.push((doc, hash, git)),
                false => _ = stays.insert(hash),
            }
        }
        // What git has from beside aios travels whole.
        let whole = self.ledger.commits.is_empty() && !self.ledger.lost;
        for (doc, hash, git) in gone {
            if let Some(bytes) = self.ledger.saved_as.get(&hash).cloned() {
                self.ledger.touch(&bytes);
            }
            if stays.contains(&hash) || hash == ContentHash::of(b"") {
                continue;
            }
            self.ledger.blobs.remove(&hash);
            let n = here.iter().find(|n| crate::room::git_has(&self.devices[**n].root, &hash, &git));
            if let Some(n) = n.filter(|_| whole && counts.contains(&doc)) {
                self.fail(format!("git on d{n} has {git} of a file that was forgotten"));
            }
        }
    }
}
