//! Packs without an index, which are nothing to git: a program was killed after it gave a pack its name and before it gave the index
//! its own, or after it removed the index and before the pack. What they hold is elsewhere too; only their room is lost.

use std::fs::File;
use std::path::{Path, PathBuf};

use git2::Repository;

use super::{Error, durable};

/// Gives packs in `folder` that have no index one, so that they are packs like others. One that cannot be read stays as it is.
///
/// # Errors
/// [`Error::Io`] when the disk fails, [`Error::Git`] when the object database cannot be opened.
pub(super) fn index(
    repo: &Repository,
    folder: &Path,
    packs: &[PathBuf],
    temporary: &str,
) -> Result<(), Error> {
    for pack in packs {
        let place = pack.with_extension("idx");
        if pack.extension().is_none_or(|end| end != "pack") || place.exists() {
            continue;
        }
        let own = durable::create_temporary_folder(folder, temporary)?;
        let done = make(repo, pack, &own, &place).and_then(|made| match made {
            true => durable::sync_folder(folder),
            false => Ok(()),
        });
        // What is left of it goes once it is old, and the first error is the one to tell.
        let _ = std::fs::remove_dir_all(&own);
        done?;
    }
    Ok(())
}

/// Makes an index in the folder `own` and puts it at `place`; `false` where the pack is none.
fn make(repo: &Repository, pack: &Path, own: &Path, place: &Path) -> Result<bool, Error> {
    let odb = repo.odb().map_err(Error::git("opening the object database"))?;
    let mut indexer =
        git2::Indexer::new(Some(&odb), own, 0o444, false).map_err(Error::git("beginning an index"))?;
    let mut file = File::open(pack).map_err(Error::io("open", pack))?;
    let read = std::io::copy(&mut file, &mut indexer).map_err(|e| e.to_string());
    if let Err(why) = read.and_then(|_| indexer.commit().map_err(|e| e.message().to_owned())) {
        tracing::warn!(pack = %pack.display(), why, "a pack without an index is none");
        return Ok(false);
    }
    let listed = std::fs::read_dir(own).map_err(Error::io("list", own))?;
    for path in listed.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|end| end == "idx") {
            let file = File::open(&path).map_err(Error::io("open", &path))?;
            durable::sync_file(&file, &path)?;
            durable::rename(&path, place)?;
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::PathBuf;
    use crate::gc::Wanted;
    use crate::world::{World, quiet};

    fn packs(world: &World) -> Vec<PathBuf> {
        let folder = world.root(0).join(".git/objects/pack");
        let all = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
        all.filter(|path| path.extension().is_some_and(|end| end == "pack")).collect()
    }

    #[test]
    fn a_pack_that_a_crash_left_without_its_index_is_no_damage_and_its_room_comes_back() {
        let mut world = World::new(1);
        for n in 0..3 {
            std::fs::write(world.root(0).join("note.md"), format!("line {n}\n")).unwrap();
            world.commit(0);
        }
        world.replicas[0].gc(Wanted::default()).unwrap();
        let [pack] = <[PathBuf; 1]>::try_from(packs(&world)).unwrap();
        let bytes = std::fs::read(&pack).unwrap();
        std::fs::write(world.root(0).join("note.md"), "another\n").unwrap();
        world.commit(0);
        world.replicas[0].gc(Wanted::default()).unwrap();
        assert_ne!(packs(&world), std::slice::from_ref(&pack));
        // Killed just before the old pack went, whose index had gone.
        std::fs::write(&pack, bytes).unwrap();
        // One that was cut off is told.
        let torn = pack.with_file_name(format!("pack-{}.pack", "0".repeat(40)));
        std::fs::write(&torn, b"PACK").unwrap();
        let report = world.replicas[0].verify(true, &mut quiet()).unwrap();
        assert_eq!(report.findings.len(), 1, "{report:?}");
        assert!(report.findings[0].at.contains(&"0".repeat(40)), "{report:?}");
        std::fs::remove_file(&torn).unwrap();
        assert!(world.replicas[0].verify(true, &mut quiet()).unwrap().ok);
        world.replicas[0].gc(Wanted::default()).unwrap();
        assert!(!pack.exists() && packs(&world).len() == 1, "{:?}", packs(&world));
        assert!(world.replicas[0].verify(true, &mut quiet()).unwrap().ok);
    }
}
