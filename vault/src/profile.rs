//! What a device was told to be, for this folder alone: `.aios/profile.json`. It says which bytes the device fetches by itself.

use serde::{Deserialize, Serialize};

use crate::disk::durable;
use crate::error::Error;
use crate::layout::Layout;
use crate::vault::Vault;

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "profile", rename_all = "lowercase")]
pub enum Profile {
    /// A device with room for everything.
    #[default]
    Laptop,
    /// The same without a screen.
    Worker,
    /// One with little room: it has all records, and of the blobs that others saved only what it was asked to fetch.
    Phone {
        /// Blobs of fewer bytes than this it fetches by itself all the same.
        #[serde(default)]
        blobs_below: u64,
    },
}

impl Profile {
    /// Whether a blob of so many bytes is fetched although nobody asked for it.
    pub fn fetches(&self, size: u64) -> bool {
        match self {
            Profile::Laptop | Profile::Worker => true,
            Profile::Phone { blobs_below } => size < *blobs_below,
        }
    }

    /// Whether there are blobs that it leaves with the others.
    pub fn is_lean(&self) -> bool {
        matches!(self, Profile::Phone { .. })
    }
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Told {
    format: u32,
    #[serde(flatten)]
    profile: Profile,
}

impl Layout {
    /// What this device was told to be; nothing where nobody said so.
    ///
    /// # Errors
    /// [`Error::Profile`] when the file cannot be read: to take it for absent would fetch what there may be no room for.
    pub fn profile(&self) -> Result<Option<Profile>, Error> {
        let path = self.own().join("profile.json");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("read", &path, e)),
        };
        let told: Result<Told, _> = serde_json::from_slice(&text);
        let bad = |why: String| Error::Profile { path: path.clone(), why };
        match told {
            Ok(Told { format, profile }) if format <= 1 => Ok(Some(profile)),
            Ok(Told { format, .. }) => Err(bad(format!("it has format {format}"))),
            Err(e) => Err(bad(e.to_string())),
        }
    }
}

impl Vault {
    /// What this device is.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Tells this device what it is, from now on and for good. What it is to have besides comes with the next sync; what it has
    /// already stays.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn set_profile(&mut self, profile: Profile) -> Result<(), Error> {
        if self.layout.profile()? == Some(profile) {
            return Ok(());
        }
        let path = self.layout.own().join("profile.json");
        let text = serde_json::to_vec(&Told { format: 1, profile })
            .map_err(|e| Error::Profile { path: path.clone(), why: e.to_string() })?;
        durable::replace(&path, &text)?;
        self.profile = profile;
        Ok(())
    }
}
