//! Which vault a command is about.

use std::path::{Path, PathBuf};

use aios_vault::{Vault, place};

use crate::error::CliError;

/// Where a command was started.
#[derive(Debug, Clone)]
pub struct Context {
    /// `--vault`, where given.
    pub vault_dir: Option<PathBuf>,
}

impl Context {
    /// The folder from which the vault is looked for, upwards.
    pub fn dir(&self) -> &Path {
        self.vault_dir.as_deref().unwrap_or(Path::new("."))
    }

    /// The folder that is to become a replica: `dir`, or else the one that `-C` names. Refused before a ticket is used or
    /// keys are made where no vault may lie.
    pub fn replica_dir(&self, dir: &Path) -> Result<PathBuf, CliError> {
        let dir = match (&self.vault_dir, dir == Path::new(".")) {
            (Some(vault), true) => vault.clone(),
            _ => dir.to_owned(),
        };
        place::check(&dir)?;
        std::path::absolute(&dir).map_err(|e| CliError::io(format!("find {}", dir.display()), e))
    }

    /// Opens the vault.
    pub fn open(&self) -> Result<Vault, CliError> {
        Ok(Vault::open(self.dir())?)
    }

    /// A path given on the command line, relative to the vault's root and `/`-separated: as it stands if it exists
    /// below the current folder or looks like such, with `..` and `.` resolved.
    pub fn path(&self, vault: &Vault, given: &str) -> Result<String, CliError> {
        relative(vault.root(), self.vault_dir.as_deref(), given)
    }
}

fn relative(root: &Path, vault_dir: Option<&Path>, given: &str) -> Result<String, CliError> {
    let io = |e| CliError::io("find the current folder", e);
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let root = real(&std::path::absolute(root).map_err(io)?);
    let given_path = Path::new(given);
    let start = match given_path.is_absolute() {
        true => PathBuf::new(),
        false => {
            let here = real(&std::env::current_dir().map_err(io)?);
            // With `-C` from outside the vault, paths are the vault's own.
            if vault_dir.is_some() && !here.starts_with(&root) { root.clone() } else { here }
        }
    };
    let mut out = start;
    for part in given_path.components() {
        match part {
            std::path::Component::ParentDir => {
                out.pop();
            }
            std::path::Component::CurDir => {}
            other => out.push(other),
        }
    }
    let inside = out.strip_prefix(&root).map(Path::to_owned).or_else(|_| {
        // The folder may be named through a link.
        let folder = out.parent().map(real).unwrap_or_default();
        let named = folder.join(out.file_name().unwrap_or_default());
        named.strip_prefix(&root).map(Path::to_owned)
    });
    match inside.ok().and_then(|path| path.to_str().map(str::to_owned)) {
        Some(path) => Ok(path),
        None => Err(CliError::usage(format!("`{given}` is not in the vault {}", root.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_the_vaults() {
        let dir = Path::new("/no/such/vault");
        assert_eq!(relative(dir, Some(dir), "a/./b/../c.md").unwrap(), "a/c.md");
        assert_eq!(relative(dir, Some(dir), "/no/such/vault/x").unwrap(), "x");
        assert!(relative(dir, Some(dir), "../x").is_err());
    }
}
