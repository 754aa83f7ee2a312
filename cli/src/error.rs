//! What a command can end with, in one line that says what is wrong and one that says what to do.

use std::io;

use crate::exit::Exit;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The vault said no.
    #[error(transparent)]
    Vault(#[from] aios_vault::Error),
    /// The network part said no.
    #[error(transparent)]
    Sync(#[from] aios_sync::error::SyncError),
    /// The command line makes no sense.
    #[error("{what}")]
    Usage {
        /// What is wrong with it.
        what: String,
        /// What to write instead, where that is known.
        hint: Option<String>,
    },
    /// It was not confirmed: a peer was unreachable, or the operator has something to decide.
    #[error("{what}")]
    Unconfirmed {
        /// What is missing.
        what: String,
        /// What to do.
        hint: Option<String>,
    },
    /// It failed for another reason.
    #[error("{what}")]
    Failed {
        /// What failed.
        what: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A file or stream failed.
    #[error("cannot {what}: {source}")]
    Io {
        /// The act, with its object.
        what: String,
        /// The system's words.
        source: io::Error,
    },
}

impl CliError {
    /// A [`CliError::Usage`] without hint.
    pub fn usage(what: impl Into<String>) -> Self {
        CliError::Usage { what: what.into(), hint: None }
    }

    /// A [`CliError::Failed`] with a hint.
    pub fn failed(what: impl Into<String>, hint: impl Into<String>) -> Self {
        CliError::Failed { what: what.into(), hint: Some(hint.into()) }
    }

    /// A [`CliError::Io`].
    pub fn io(what: impl Into<String>, source: io::Error) -> Self {
        CliError::Io { what: what.into(), source }
    }

    /// How the program ends.
    pub fn exit(&self) -> Exit {
        use aios_vault::Error;
        match self {
            CliError::Usage { .. }
            | CliError::Vault(
                Error::Usage(_)
                | Error::Unknown { .. }
                | Error::Home { .. }
                | Error::KeysWithin { .. }
                | Error::FolderHolds { .. },
            ) => Exit::Usage,
            CliError::Unconfirmed { .. }
            | CliError::Vault(Error::MassDeletion { .. } | Error::Emptied { .. } | Error::Paused(_)) => {
                Exit::Unconfirmed
            }
            _ => Exit::Failed,
        }
    }

    /// What to do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            CliError::Vault(e) => e.hint(),
            CliError::Usage { hint, .. }
            | CliError::Unconfirmed { hint, .. }
            | CliError::Failed { hint, .. } => hint.clone(),
            CliError::Sync(e) => e.hint().map(str::to_owned),
            CliError::Io { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_exit_code() {
        assert_eq!(CliError::usage("x").exit() as u8, 2);
        assert_eq!(CliError::failed("x", "y").exit() as u8, 1);
        assert_eq!(CliError::Unconfirmed { what: "x".into(), hint: None }.exit() as u8, 3);
        let brake = aios_vault::Error::MassDeletion { missing: 30, tracked: 40 };
        assert_eq!(CliError::from(brake).exit() as u8, 3);
        assert_eq!(CliError::from(aios_vault::Error::Emptied { tracked: 3 }).exit() as u8, 3);
        assert_eq!(CliError::from(aios_vault::Error::NotAVault("/x".into())).exit() as u8, 1);
    }
}
