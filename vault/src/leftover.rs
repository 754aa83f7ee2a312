//! What a crash, or a program that went on writing, left in `.aios/tmp`: ours is dropped, a person's is taken in or shown (I2).

use aios_core::id::DocId;

use crate::db;
use crate::disk::{Leftover, Origin, ReadError, path_key, read::LARGE};
use crate::error::Error;
use crate::survey::{Problem, Saved};
use crate::vault::Vault;

impl Vault {
    /// After a crash: content of ours that never got to its place is dropped, a person's is taken in. What cannot be taken in stays
    /// where it is, and [`Vault::left_aside`] names it.
    pub(crate) fn recover(&mut self) -> Result<(), Error> {
        if self.check_writes().is_err() {
            return Ok(());
        }
        if self.has_open_parts()? {
            self.transaction(|vault| vault.abort_open())?;
        }
        // A disk that is full must not keep the vault from being opened: it is said with the next opening.
        if !self.is_left_behind()?
            && !self.just_made()?.is_empty()
            && let Err(error) = self.transaction(|vault| vault.name_left())
        {
            tracing::warn!(%error, "what was merged last is not named yet");
        }
        for left in self.writer.leftovers()? {
            match left.origin {
                Origin::Own => {
                    if let Err(error) = self.writer.discard(&left.name) {
                        tracing::warn!(name = left.name, %error, "what is of no use any more stays aside");
                    }
                }
                Origin::Unknown => {}
                Origin::Displaced => {
                    if let Err(error) = self.take_leftover(&left) {
                        tracing::warn!(name = left.name, %error, "what was saved while it was written stays aside");
                    }
                }
            }
        }
        Ok(())
    }

    fn take_leftover(&mut self, left: &Leftover) -> Result<(), Error> {
        let Some((doc, path)) = self.saved_to(left)? else { return Ok(()) };
        let read = match self.writer.content(&left.name, LARGE) {
            Ok(read) => read,
            Err(ReadError::Changing(_)) => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        self.transaction(|vault| {
            if vault.absorb_aside(&doc, &path, Saved::aside(read))?.is_some() {
                vault.spent.push(left.name.clone());
            }
            Ok(())
        })
    }

    /// The document that a leftover was saved to, and its path.
    fn saved_to(&self, left: &Leftover) -> Result<Option<(DocId, String)>, Error> {
        let path = match (&left.path, &left.key) {
            (Some(path), _) => path.clone(),
            // The path did not fit into the name.
            (None, Some(key)) => {
                let known = self.files()?.into_iter().map(|row| row.path);
                match known.chain(self.paths()?).find(|path| path_key(path) == *key) {
                    Some(path) => path,
                    None => return Ok(None),
                }
            }
            (None, None) => return Ok(None),
        };
        let here = match self.file(&path)? {
            Some(row) => Some(row.doc),
            None => self.doc_at(&path)?,
        };
        let doc = match &left.old {
            Some(old) => self.stood(old, here)?,
            None => here,
        };
        Ok(doc.map(|doc| (doc, path)))
    }

    /// The document of which a version stood where something was saved (I5): that of the path `here` by now, unless another alone had it.
    fn stood(&self, old: &str, here: Option<DocId>) -> Result<Option<DocId>, Error> {
        let mut get = self
            .db
            .prepare_cached("SELECT DISTINCT doc FROM shown WHERE lower(hex(substr(hash, 1, 16))) = ?")?;
        let rows = get.query_map([old], |row| row.get::<_, Vec<u8>>(0))?;
        let had: Vec<DocId> =
            rows.map(|doc| db::id(doc?, DocId::from_slice)).collect::<Result<_, Error>>()?;
        Ok(match had[..] {
            [doc] if here != Some(doc) => Some(doc),
            _ => here,
        })
    }

    fn paths(&self) -> Result<Vec<String>, Error> {
        let mut get = self.db.prepare_cached("SELECT path FROM doc")?;
        let rows = get.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What lies in `.aios/tmp` and is not ours.
    pub(crate) fn left_aside(&self) -> Result<Vec<Problem>, Error> {
        let theirs = self.writer.leftovers()?.into_iter().filter(|left| left.origin != Origin::Own);
        let told = theirs.map(|left| {
            let name = format!(".aios/tmp/{}", left.name);
            match left.path {
                Some(path) => Problem {
                    problem: format!(
                        "what was saved to it while it was written is still kept aside in {name}"
                    ),
                    hint: "it is taken in once nobody writes to it any more; else move it where it belongs"
                        .into(),
                    path,
                },
                None => Problem {
                    path: name,
                    problem: "aios did not make it, or cannot tell what was to be at its place".into(),
                    hint: "look at it, and move it where it belongs".into(),
                },
            }
        });
        Ok(told.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{World, quiet};

    /// Leaves `bytes` as what a person saved to `path` while aios wrote there.
    fn leave(world: &World, path: &str, bytes: &[u8]) -> std::path::PathBuf {
        leave_over(world, path, b"what aios meant to replace", bytes)
    }

    /// The same, over what stood there.
    fn leave_over(world: &World, path: &str, old: &[u8], bytes: &[u8]) -> std::path::PathBuf {
        let old = blake3::hash(old).to_hex();
        let mut name = format!("x.1-2-3.-.{}.{}.", &old.as_str()[..32], path_key(path));
        let escaped = path.replace('/', "%2F");
        if name.len() + escaped.len() < 240 {
            name.push_str(&escaped);
        }
        let at = world.root(0).join(".aios/tmp").join(name);
        std::fs::write(&at, bytes).unwrap();
        at
    }

    #[test]
    fn a_large_one_is_taken_in() {
        let mut world = World::new(2);
        let (old, new) = (vec![1; LARGE as usize + 1], vec![2; LARGE as usize + 2]);
        std::fs::write(world.root(0).join("big.bin"), &old).unwrap();
        world.commit(0);
        let at = leave(&world, "big.bin", &new);
        world.restart(0);
        world.commit(0);
        assert!(!at.exists());
        assert_eq!(std::fs::read(world.root(0).join("big.bin")).unwrap(), new);
    }

    #[test]
    fn one_of_a_path_too_long_for_its_name_is_taken_in() {
        let mut world = World::new(1);
        let path = format!("{}note.md", "folder/".repeat(25));
        std::fs::create_dir_all(world.root(0).join(&path).parent().unwrap()).unwrap();
        std::fs::write(world.root(0).join(&path), "one\n").unwrap();
        world.commit(0);
        let at = leave(&world, &path, b"one\ntwo\n");
        world.restart(0);
        world.commit(0);
        assert!(!at.exists());
        assert_eq!(std::fs::read_to_string(world.root(0).join(&path)).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn one_is_a_save_of_what_stood_there_not_of_what_took_its_place() {
        let mut world = World::new(2);
        for (name, text) in [("a.md", "one\n"), ("b.md", "other\n")] {
            std::fs::write(world.root(0).join(name), text).unwrap();
        }
        world.sync();
        for (from, to) in [("a.md", "c.md"), ("b.md", "a.md")] {
            std::fs::rename(world.root(1).join(from), world.root(1).join(to)).unwrap();
        }
        world.sync();
        let at = leave_over(&world, "a.md", b"one\n", b"one\ntwo\n");
        world.restart(0);
        world.sync();
        world.assert_equal();
        assert!(!at.exists());
        let read = |name| std::fs::read_to_string(world.root(1).join(name)).unwrap();
        assert_eq!((read("c.md").as_str(), read("a.md").as_str()), ("one\ntwo\n", "other\n"));
    }

    #[test]
    fn one_of_no_document_is_kept_and_shown() {
        let mut world = World::new(1);
        std::fs::write(world.root(0).join("a.md"), "a\n").unwrap();
        world.commit(0);
        let at = leave(&world, "gone.md", b"somebody's\n");
        world.restart(0);
        world.commit(0);
        let problems = world.replicas[0].status(&mut quiet()).unwrap().problems;
        assert!(problems.iter().any(|problem| problem.path == "gone.md"), "{problems:?}");
        assert_eq!(std::fs::read(at).unwrap(), b"somebody's\n");
    }
}
