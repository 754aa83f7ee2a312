//! Writes that last: the calls by which aios creates, appends to, syncs and renames files by path.
//!
//! Together with [`Folder`], the only place that changes a disk. A file is durable when it is synced *and*
//! the folder that holds its name is; a caller that acknowledges anything must have done both (I9).

use super::{DiskError, Folder, fault, journal};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Makes the bytes and length of `file` durable.
///
/// # Errors
/// What the system answers. After an error nothing written since the last sync may be taken for durable,
/// and syncing again proves nothing (Linux reports a lost page once).
pub fn sync_file(file: &File) -> io::Result<()> {
    fault::point("disk.sync_file")?;
    file.sync_data()?;
    journal::synced_file(file);
    Ok(())
}

/// Makes the names in the folder `path` durable.
///
/// # Errors
/// What the system answers.
pub fn sync_dir(path: &Path) -> Result<(), DiskError> {
    Folder::open(path)?.sync()
}

/// Makes everything written to the file system of the folder `path` durable; elsewhere than on Linux, where
/// one call does it, the `files` and the folders that hold them are synced one by one.
///
/// # Errors
/// What the system answers.
pub fn sync_filesystem<'a>(path: &Path, files: impl IntoIterator<Item = &'a Path>) -> Result<(), DiskError> {
    let folder = Folder::open(path)?;
    let wrap = |e: io::Error| DiskError::new("sync the disk of", path, e);
    fault::point("disk.sync_filesystem").map_err(wrap)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        drop(files);
        rustix::fs::syncfs(folder.fd()).map_err(|e| wrap(e.into()))?;
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let mut folders = std::collections::BTreeSet::new();
        for file in files {
            match File::open(file).and_then(|file| file.sync_all()) {
                // A link to nowhere has no bytes, a file moved since has its own sync.
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(wrap(e)),
                _ => folders.extend(file.parent()),
            }
        }
        folders.into_iter().try_for_each(sync_dir)?;
        folder.sync()?;
    }
    journal::synced_all();
    Ok(())
}

/// Creates the file `path`, which must not exist, with `bytes`; not synced. Returns it open for appending.
///
/// # Errors
/// What the system answers. A file that could not be written whole is removed again.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<File, DiskError> {
    let (folder, name) = place(path)?;
    let mut file = folder.create(&name, false)?;
    if let Err(e) = append(&mut file, bytes) {
        // The error that matters is the first.
        let _ = folder.remove(&name);
        return Err(DiskError::new("write", path, e));
    }
    Ok(file)
}

/// Writes `bytes` at the position of `file`, its end; not synced.
///
/// # Errors
/// What the system answers; a part may then have been written, which the caller cuts off.
pub fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    fault::point("disk.write")?;
    journal::appending(file);
    file.write_all(bytes)
}

/// Puts `bytes` at `path` whole or not at all, durably: through `path` with `.new` added, synced and renamed.
///
/// # Errors
/// What the system answers; the old file then still stands.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let (folder, name) = place(path)?;
    let new = format!("{name}.new");
    if folder.stat(&new)?.is_some() {
        folder.remove(&new)?;
    }
    let mut file = folder.create(&new, false)?;
    append(&mut file, bytes)
        .and_then(|()| sync_file(&file))
        .map_err(|e| DiskError::new("write", folder.path().join(&new), e))?;
    folder.rename(&new, &folder, &name)?;
    folder.sync()
}

/// Renames `from` to `to`, replacing what is there; not synced.
///
/// # Errors
/// What the system answers.
pub fn rename(from: &Path, to: &Path) -> Result<(), DiskError> {
    let ((folder, name), (to, to_name)) = (place(from)?, place(to)?);
    folder.rename(&name, &to, &to_name)
}

/// Renames `from` to `to` unless something stands there; not synced. See [`Folder::rename_new`].
///
/// # Errors
/// What the system answers; `AlreadyExists` if something stands there.
pub fn rename_noreplace(from: &Path, to: &Path) -> Result<(), DiskError> {
    let ((folder, name), (to, to_name)) = (place(from)?, place(to)?);
    folder.rename_new(&name, &to, &to_name)
}

/// Exchanges what stands at `a` with what stands at `b`; not synced. See [`Folder::exchange`].
///
/// # Errors
/// What the system answers.
pub fn exchange(a: &Path, b: &Path) -> Result<(), DiskError> {
    let ((folder, name), (other, other_name)) = (place(a)?, place(b)?);
    folder.exchange(&name, &other, &other_name)
}

/// Removes the file `path`; not synced.
///
/// # Errors
/// What the system answers.
pub fn remove(path: &Path) -> Result<(), DiskError> {
    let (folder, name) = place(path)?;
    folder.remove(&name)
}

/// The folder of `path`, open, and its name there. For aios's own files, whose names are UTF-8.
fn place(path: &Path) -> Result<(Folder, String), DiskError> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
        DiskError::new(
            "use the path",
            path,
            io::Error::new(io::ErrorKind::InvalidFilename, "no UTF-8 name in it"),
        )
    })?;
    Ok((Folder::open(path.parent().unwrap_or(Path::new("")))?, name.to_owned()))
}
