//! A folder of its own for one program.

use std::fs::{DirBuilder, OpenOptions, remove_dir_all};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;

/// A folder that nobody else may look into. It is gone when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes one.
    pub fn make() -> io::Result<Scratch> {
        let mut name = [0; 12];
        getrandom::fill(&mut name)?;
        let path = std::env::temp_dir().join(format!("aios-work-{}", HEXLOWER.encode(&name)));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Scratch(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Puts a file into it that can be run.
    pub fn put(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o700).open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = remove_dir_all(&self.0);
    }
}
