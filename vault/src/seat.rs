//! Which folder a device lies in. Where that folder is still there and this is another one, this one is a copy, whether or not
//! either has written anything since.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disk::durable;
use crate::error::Error;
use crate::layout::Layout;
use crate::vault::Vault;

/// A folder, whatever it is called: device and inode.
type Inode = (u64, u64);

/// What is remembered beside the keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seat {
    /// The vault.
    root: PathBuf,
    /// Its `.aios`.
    own: Inode,
    /// The folder of the keys: where that was copied along, what it says is said of another machine or another user.
    keys: Inode,
}

fn inode(path: &Path) -> Option<Inode> {
    path.metadata().ok().map(|found| (found.dev(), found.ino()))
}

impl Vault {
    fn seat_path(&self) -> PathBuf {
        self.keys.folder().join("seat.json")
    }

    fn seat(&self) -> Option<Seat> {
        serde_json::from_slice(&std::fs::read(self.seat_path()).ok()?).ok()
    }

    fn seat_here(&self) -> Option<Seat> {
        let root = self.root().canonicalize().ok()?;
        Some(Seat { root, own: inode(&self.layout.own())?, keys: inode(self.keys.folder())? })
    }

    /// Remembers that this device lies here, where nothing is remembered.
    pub(crate) fn take_seat(&self) {
        if let (None, Some(here)) = (self.seat(), self.seat_here()) {
            // Without it a copy is noticed when one of the two has written.
            let _ = self.keep_seat(&here);
        }
    }

    fn keep_seat(&self, here: &Seat) -> Result<(), Error> {
        let path = self.seat_path();
        let text =
            serde_json::to_vec(here).map_err(|e| Error::io("describe", &path, std::io::Error::other(e)))?;
        Ok(durable::replace(&path, &text)?)
    }

    /// The other folder that this device lies in, if this one is a copy of it. One that was moved is followed.
    pub(crate) fn elsewhere(&self) -> Result<Option<PathBuf>, Error> {
        let (Some(known), Some(here)) = (self.seat(), self.seat_here()) else { return Ok(None) };
        if known == here {
            return Ok(None);
        }
        let other = Layout::new(&known.root);
        let same = known.root == here.root || known.own == here.own || known.keys != here.keys;
        let lives = inode(&other.own()).is_some_and(|own| own != here.own)
            && other.replica().is_ok_and(|replica| replica.device == self.replica.device);
        if !same && lives {
            return Ok(Some(known.root));
        }
        self.keep_seat(&here)?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use crate::absorb::AbsorbOptions;
    use crate::vault::Vault;
    use crate::world::{World, quiet};

    #[test]
    fn a_copy_is_another_device_and_a_folder_that_was_moved_is_not() {
        let mut world = World::new(1);
        std::fs::write(world.root(0).join("a.md"), "one\n").unwrap();
        world.commit(0);
        let (root, device) = (world.root(0), world.replicas[0].device());
        let copied = |name: &str| {
            let to = world.dir.path().join(name);
            let done = std::process::Command::new("cp").arg("-a").arg(&root).arg(&to).status().unwrap();
            assert!(done.success());
            to
        };
        let copy = copied("copy");
        let mut second = Vault::open(&copy).unwrap();
        second.commit(&AbsorbOptions::default(), &mut quiet()).unwrap();
        assert_ne!(second.device(), device);
        world.restart(0);
        world.commit(0);
        assert_eq!(world.replicas[0].device(), device, "the first goes on as it was");
        world.replicas.clear();
        let moved = world.dir.path().join("moved");
        std::fs::rename(&root, &moved).unwrap();
        let mut moved = Vault::open(&moved).unwrap();
        moved.commit(&AbsorbOptions::default(), &mut quiet()).unwrap();
        assert_eq!(moved.device(), device);
    }
}
