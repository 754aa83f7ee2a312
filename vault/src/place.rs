//! Where a vault may lie: not around the home folder, not around the keys, and better not where another program syncs.

use std::path::{Component, Path, PathBuf};

use crate::error::Error;
use crate::keys;
use crate::survey::Problem;

/// Refuses a folder that must not be a vault, whatever links and `..` it is named through, before anything is made there.
///
/// # Errors
/// [`Error::Home`] and [`Error::KeysWithin`].
pub fn check(root: &Path) -> Result<(), Error> {
    let root = real(root)?;
    let home = directories::BaseDirs::new().map(|dirs| real(dirs.home_dir())).transpose()?;
    if let Some(home) = home.filter(|home| home.starts_with(&root)) {
        return Err(Error::Home { root, home });
    }
    let data = real(&keys::data_dir()?)?;
    match data.starts_with(&root) {
        true => Err(Error::KeysWithin { root, data }),
        false => Ok(()),
    }
}

/// Refuses to have keys made in a vault.
pub(crate) fn check_keys(folder: &Path) -> Result<(), Error> {
    let data = real(folder)?;
    match data.ancestors().find(|folder| folder.join(".aios/replica.json").is_file()) {
        Some(root) => Err(Error::KeysWithin { root: root.to_owned(), data }),
        None => Ok(()),
    }
}

/// The path in the vault at `root` of the folder with this user's keys, where it lies in there all the same.
pub(crate) fn keys_in(root: &Path) -> Option<String> {
    let data = real(&keys::data_dir().ok()?).ok()?;
    let root = real(root).ok()?;
    // Where the two are one folder, the keys are in this one of it.
    let data = if data == root { data.join("devices") } else { data };
    data.strip_prefix(root).ok()?.to_str().map(str::to_owned)
}

/// That another program syncs the folder `root` lies in, where one does.
pub fn clouded(root: &Path) -> Option<Problem> {
    let name = cloud_folder(&real(root).ok()?)?;
    Some(Problem {
        path: String::new(),
        problem: format!("the vault lies in a folder that {name} syncs"),
        hint: format!(
            "move it elsewhere: {name} copies .git and .aios half-written, and two devices would fight over them"
        ),
    })
}

/// A path without links, `.` and `..`; what of it does not exist yet stands as it is written.
fn real(path: &Path) -> Result<PathBuf, Error> {
    if let Ok(found) = std::fs::canonicalize(path) {
        return Ok(found);
    }
    let mut out = PathBuf::new();
    for part in std::path::absolute(path).map_err(|e| Error::io("find", path, e))?.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => {
                out.push(other);
                if let Ok(found) = std::fs::canonicalize(&out) {
                    out = found;
                }
            }
        }
    }
    Ok(out)
}

/// The service whose folder `root` lies in, by the names and marks these services use.
fn cloud_folder(root: &Path) -> Option<&'static str> {
    for folder in root.ancestors() {
        let name = folder.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        let marked = |mark: &str| folder.join(mark).exists();
        if marked(".stfolder") {
            return Some("Syncthing");
        }
        if marked(".dropbox.cache") || name == "dropbox" || name.starts_with("dropbox (") {
            return Some("Dropbox");
        }
        if name == "mobile documents" || name == "com~apple~clouddocs" || name == "icloud drive" {
            return Some("iCloud");
        }
        if name == "onedrive" || name.starts_with("onedrive - ") {
            return Some("OneDrive");
        }
        if name == "google drive" || name == "googledrive" {
            return Some("Google Drive");
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synced_folders_are_known_by_name_and_by_mark() {
        assert_eq!(cloud_folder(Path::new("/home/a/Dropbox/notes")), Some("Dropbox"));
        assert_eq!(cloud_folder(Path::new("/Users/a/Library/Mobile Documents/x")), Some("iCloud"));
        assert_eq!(cloud_folder(Path::new("/home/a/OneDrive - Firm/x")), Some("OneDrive"));
        assert_eq!(cloud_folder(Path::new("/no/such/notes")), None);
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("s/.stfolder")).unwrap();
        assert_eq!(cloud_folder(&dir.path().join("s/vault")), Some("Syncthing"));
    }

    #[test]
    fn a_path_is_resolved_as_far_as_it_exists() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap();
        std::fs::create_dir(at.join("a")).unwrap();
        std::os::unix::fs::symlink(at.join("a"), at.join("link")).unwrap();
        assert_eq!(real(&at.join("link/new/../b")).unwrap(), at.join("a/b"));
        assert_eq!(real(&at.join("a/..")).unwrap(), at);
    }
}
