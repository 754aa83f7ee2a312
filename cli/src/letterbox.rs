//! Mails that come: files in the maildir `NAME.inbox` beside the vault. Whatever fetches mail puts them into `new`; told, they lie in `cur`.

use std::io;
use std::path::{Path, PathBuf};

use aios_agents::letter::Letter;
use aios_vault::disk::durable;

/// The largest mail that is read.
const MOST: u64 = 32 << 20;
/// The most mails that are taken at once.
const AT_ONCE: usize = 50;

/// The letterbox of a vault.
#[derive(Debug, Clone)]
pub struct Letterbox {
    folder: PathBuf,
}

/// A mail that lies in it.
pub struct New {
    /// Its name among the new ones.
    pub name: String,
    /// What it says; `None` if it is no mail, or a larger one than is read.
    pub letter: Option<Letter>,
}

impl Letterbox {
    /// The one of the vault at `root`.
    pub fn of(root: &Path) -> io::Result<Letterbox> {
        let root = std::path::absolute(root)?;
        let name = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Letterbox { folder: root.with_file_name(format!("{name}.inbox")) })
    }

    /// The mails that came and were not told of, in the order of their names; some of them where they are many.
    pub fn new_ones(&self) -> io::Result<Vec<New>> {
        let new = self.folder.join("new");
        let entries = match std::fs::read_dir(&new) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            // As maildir(5) says: what begins with a point is no mail.
            if let Ok(name) = entry.file_name().into_string()
                && !name.starts_with('.')
                && entry.file_type()?.is_file()
            {
                names.push(name);
            }
        }
        names.sort();
        names.truncate(AT_ONCE);
        let read = |name: String| {
            let path = new.join(&name);
            let letter = match path.metadata()?.len() > MOST {
                true => None,
                false => Letter::read(&std::fs::read(&path)?),
            };
            Ok(New { name, letter })
        };
        names.into_iter().map(read).collect()
    }

    /// Has a mail lie among those that were told of.
    pub fn told(&self, name: &str) -> io::Result<()> {
        let (new, cur) = (self.folder.join("new"), self.folder.join("cur"));
        match std::fs::create_dir(&cur) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        // What a mail program named with flags already keeps them.
        let seen = if name.contains(":2,") { name.to_owned() } else { format!("{name}:2,") };
        durable::rename(&new.join(name), &cur.join(seen)).map_err(io::Error::other)?;
        durable::sync_dir(&cur).and_then(|()| durable::sync_dir(&new)).map_err(io::Error::other)
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}
