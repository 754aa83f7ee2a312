//! Watches the working files: tells where something was saved, and when only a look at all will do.
//!
//! A watcher only makes taking in sooner. It may miss what happens in a folder just made, and says nothing of links made
//! or of a file that stays open, so a scan of everything goes on beside it, slowly.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::disk::Rules;
use crate::error::Error;
use crate::vault::Vault;

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Where a save has ended.
    pub saved: BTreeSet<String>,
    /// Something came, went or was moved: what, only a look at all tells.
    pub moved: bool,
    /// Folders that came, to be watched too.
    pub folders: BTreeSet<String>,
}

impl Seen {
    /// Whether it is nothing.
    pub fn is_empty(&self) -> bool {
        self.saved.is_empty() && !self.moved && self.folders.is_empty()
    }

    /// Adds what was seen later.
    pub fn add(&mut self, later: Seen) {
        self.saved.extend(later.saved);
        self.moved |= later.moved;
        self.folders.extend(later.folders);
    }

    /// What an event of the system says; paths are below `root`.
    fn of(root: &Path, event: &Event) -> Seen {
        let mut seen = Seen { moved: event.need_rescan(), ..Seen::default() };
        let paths = || {
            let below = event.paths.iter().filter_map(|path| path.strip_prefix(root).ok()?.to_str());
            below.filter(|path| !path.is_empty() && !is_own(path)).map(str::to_owned)
        };
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Metadata(_)) => {
                seen.saved.extend(paths());
            }
            // Half of a save: its end tells. Where the system does not tell of ends, this must do.
            EventKind::Modify(ModifyKind::Data(_)) | EventKind::Create(CreateKind::File)
                if cfg!(target_os = "linux") => {}
            EventKind::Access(_) => {}
            EventKind::Modify(ModifyKind::Name(_)) | EventKind::Create(_) => {
                for path in paths() {
                    if root.join(&path).is_dir() {
                        seen.moved = true;
                        seen.folders.insert(path);
                    } else {
                        seen.saved.insert(path);
                    }
                }
            }
            EventKind::Modify(_) | EventKind::Any | EventKind::Other => seen.saved.extend(paths()),
            EventKind::Remove(_) => seen.saved.extend(paths()),
        }
        seen
    }
}

/// Whether a path is git's or aios's own.
fn is_own(path: &str) -> bool {
    matches!(path.split('/').next(), Some(".git" | ".aios"))
}

/// A watcher at work. Dropping it ends it.
#[derive(Debug)]
pub struct Watcher {
    root: PathBuf,
    inner: RecommendedWatcher,
}

impl Watcher {
    /// Begins to watch the folders of `root` that `rules` do not ignore; `see` is told on a thread of its own.
    ///
    /// # Errors
    /// When the system has no room for more watches, or cannot watch: changes are then found by looking.
    pub fn start(root: &Path, rules: &Rules, see: impl Fn(Seen) + Send + 'static) -> Result<Watcher, Error> {
        let at = root.to_owned();
        let handler = move |event: notify::Result<Event>| {
            let seen = match event {
                Ok(event) => Seen::of(&at, &event),
                Err(_) => Seen { moved: true, ..Seen::default() },
            };
            if !seen.is_empty() {
                see(seen);
            }
        };
        let inner = notify::recommended_watcher(handler).map_err(|e| failed(root, e))?;
        let mut watcher = Watcher { root: root.to_owned(), inner };
        watcher.add("", rules)?;
        Ok(watcher)
    }

    /// Watches a folder and those below it.
    ///
    /// # Errors
    /// As [`Watcher::start`].
    pub fn add(&mut self, folder: &str, rules: &Rules) -> Result<(), Error> {
        let mut waiting = vec![folder.to_owned()];
        while let Some(path) = waiting.pop() {
            let at = self.root.join(&path);
            match self.inner.watch(&at, RecursiveMode::NonRecursive) {
                Ok(()) => {}
                Err(e) if matches!(e.kind, notify::ErrorKind::PathNotFound) => continue,
                Err(e) if is_gone(&e) => continue,
                Err(e) => return Err(failed(&at, e)),
            }
            // Gone since, or not to be read, which the scan says.
            let Ok(entries) = std::fs::read_dir(&at) else { continue };
            for entry in entries.flatten() {
                let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
                let below = if path.is_empty() { name } else { format!("{path}/{name}") };
                let other = || [".git", ".aios"].iter().any(|own| self.root.join(&below).join(own).exists());
                if folder && !is_own(&below) && !rules.ignored_itself(&below, true) && !other() {
                    waiting.push(below);
                }
            }
        }
        Ok(())
    }
}

fn is_gone(e: &notify::Error) -> bool {
    matches!(&e.kind, notify::ErrorKind::Io(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory))
}

fn failed(path: &Path, e: notify::Error) -> Error {
    let source = match e.kind {
        notify::ErrorKind::Io(source) => source,
        notify::ErrorKind::MaxFilesWatch => std::io::Error::other(
            "the system's limit of watched folders is reached; raise fs.inotify.max_user_watches",
        ),
        other => std::io::Error::other(format!("{other:?}")),
    };
    Error::io("watch", path, source)
}

impl Vault {
    /// Begins to watch the working files.
    ///
    /// # Errors
    /// As [`Watcher::start`].
    pub fn watch(&mut self, see: impl Fn(Seen) + Send + 'static) -> Result<Watcher, Error> {
        let rules = self.rules()?.0;
        Watcher::start(self.root(), &rules, see)
    }

    /// Has folders that came watched too.
    ///
    /// # Errors
    /// As [`Watcher::start`].
    pub fn watch_also(&mut self, watcher: &mut Watcher, folders: &BTreeSet<String>) -> Result<(), Error> {
        let rules = self.rules()?.0;
        folders.iter().try_for_each(|folder| match rules.ignored(folder, true) {
            true => Ok(()),
            false => watcher.add(folder, &rules),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    fn next(told: &Receiver<Seen>, wanted: impl Fn(&Seen) -> bool) -> Seen {
        let mut all = Seen::default();
        while !wanted(&all) {
            all.add(told.recv_timeout(Duration::from_secs(10)).unwrap());
        }
        all
    }

    #[test]
    fn saves_moves_and_new_folders_are_told_and_own_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a")).unwrap();
        std::fs::create_dir_all(root.join(".git")).unwrap();
        let (tell, told) = channel();
        let rules = Rules::new(&[]);
        let mut watcher = Watcher::start(&root, &rules, move |seen| _ = tell.send(seen)).unwrap();
        std::fs::write(root.join(".git/x"), "x").unwrap();
        std::fs::write(root.join("a/b.md"), "x").unwrap();
        let seen = next(&told, |seen| seen.saved.contains("a/b.md"));
        assert!(!seen.moved && seen.saved.len() == 1, "{seen:?}");
        std::fs::rename(root.join("a/b.md"), root.join("a/c.md")).unwrap();
        next(&told, |seen| seen.saved.contains("a/b.md") && seen.saved.contains("a/c.md"));
        std::fs::create_dir(root.join("new")).unwrap();
        let seen = next(&told, |seen| seen.folders.contains("new"));
        assert!(seen.moved);
        watcher.add("new", &rules).unwrap();
        std::fs::write(root.join("new/d.md"), "x").unwrap();
        next(&told, |seen| seen.saved.contains("new/d.md"));
        std::fs::remove_file(root.join("new/d.md")).unwrap();
        next(&told, |seen| seen.saved.contains("new/d.md"));
    }
}
