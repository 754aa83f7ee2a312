//! Devices with little room: what is fetched, what is left with others, what is made small; and that every blob is somewhere.

use std::time::Duration;

use aios_core::id::{ContentHash, GitId};
use aios_vault::chance::seeded;
use aios_vault::gc::Wanted;
use aios_vault::profile::Profile;

use crate::world::{World, files_of};

/// What blobs have bytes: some below what a lean device leaves away.
const SIZES: [usize; 4] = [0, 40, 900, 60_000];
/// How old files may be when what nobody needs is dropped: too young for anything, or too old for what mirrors held.
const AGES: [Duration; 2] = [Duration::ZERO, Duration::from_secs(7200)];
/// Older than this nothing goes on that nobody has gone on with.
const LONG: Duration = Duration::from_secs(30 * 24 * 3600);

/// Whether git at a folder has these very bytes.
pub fn git_has(root: &std::path::Path, hash: &ContentHash, git: &GitId) -> bool {
    let found = git2::Repository::open(root).and_then(|repo| {
        let blob = repo.find_blob(git2::Oid::from_bytes(git.as_bytes())?)?;
        Ok(ContentHash::of(blob.content()) == *hash)
    });
    found.unwrap_or(false)
}

impl World {
    /// What a device is to be that leaves blobs with others.
    pub fn lean(&mut self) -> Profile {
        Profile::Phone { blobs_below: [0, 100][self.chance.below(2)] }
    }

    /// How many bytes the next blob has beside its line.
    pub fn size(&mut self) -> usize {
        SIZES[self.chance.below(SIZES.len())]
    }

    /// Somebody wants the bytes of something that is away, or of all.
    pub fn fetch(&mut self, n: usize) {
        let pick = self.chance.next();
        let done = self.at(n, "fetch", |site| {
            site.keeper().work(move |vault| {
                let away = vault.away()?;
                let some = away.get(pick as usize % away.len().max(1)).map(|away| away.path.clone());
                let paths = if pick.is_multiple_of(3) { None } else { some };
                vault.ask(&[paths.unwrap_or_default()])
            })
        });
        match done {
            Some(Ok(asked)) if asked.is_empty() => {}
            Some(Ok(asked)) => {
                self.tell(format!("d{n} wants {asked:?}"));
                self.news(n);
            }
            Some(Err(e)) => self.excused(n, "fetch", &e),
            None => {}
        }
    }

    /// A device is told to be lean, or to be so no more.
    pub fn told(&mut self, n: usize) {
        let lean = self.lean();
        let done = self.at(n, "tell", |site| {
            site.keeper().work(move |vault| {
                let profile = if vault.profile().is_lean() { Profile::Laptop } else { lean };
                vault.set_profile(profile).map(|()| profile)
            })
        });
        match done {
            Some(Ok(profile)) => {
                self.tell(format!("d{n} is told to be {profile:?}"));
                self.news(n);
            }
            Some(Err(e)) => self.excused(n, "telling", &e),
            None => {}
        }
    }

    /// A device is made small.
    pub fn gc(&mut self, n: usize) {
        let age = AGES[self.chance.below(AGES.len())];
        let wanted = Wanted { dry_run: self.chance.one_in(8), aside: self.chance.one_in(4) };
        self.collect(n, age, wanted);
    }

    /// Once all agree, whatever nobody goes on with may go, however new it is.
    pub fn collect_all(&mut self) {
        for n in 0..self.devices.len() {
            self.collect(n, LONG, Wanted::default());
        }
    }

    fn collect(&mut self, n: usize, age: Duration, wanted: Wanted) {
        seeded::set_age(age);
        let done = self.at(n, "gc", |site| site.keeper().work(move |vault| vault.gc(wanted)));
        seeded::set_age(Duration::ZERO);
        match done {
            Some(Ok(done)) => {
                let what: Vec<_> = done.parts.iter().map(|part| part.what.as_str()).collect();
                self.tell(format!("d{n} gc: {}", what[..2].join("; ")));
            }
            Some(Err(e)) => self.excused(n, "gc", &e),
            None => {}
        }
    }

    /// Whether any device has these bytes.
    fn anywhere(&self, hash: &ContentHash, git: &GitId) -> bool {
        self.devices.iter().any(|device| {
            git_has(&device.root, hash, git)
                || files_of(&device.root).values().any(|bytes| ContentHash::of(bytes) == *hash)
        })
    }

    /// Whether git on any device has this commit.
    fn is_committed(&self, commit: git2::Oid) -> bool {
        let has = |root| git2::Repository::open(root).is_ok_and(|repo| repo.find_commit(commit).is_ok());
        self.devices.iter().any(|device| has(&device.root))
    }

    /// Blobs and commits that went with a folder that was put back are owed by nobody; nor is what stands in it as it was before it was
    /// taken in.
    pub fn forget_lost(&mut self) {
        let in_git = |hash, git| self.devices.iter().any(|device| git_has(&device.root, hash, git));
        let lost = self.ledger.blobs.iter().filter(|(hash, git)| !in_git(hash, git));
        let lost: Vec<_> = lost.map(|(hash, _)| *hash).collect();
        for hash in &lost {
            self.ledger.blobs.remove(hash);
        }
        let gone = self.ledger.commits.iter().copied().filter(|commit| !self.is_committed(*commit));
        let gone: Vec<_> = gone.collect();
        self.ledger.commits.retain(|commit| !gone.contains(commit));
        // A record may have gone to others without them, or be on its way.
        let nowhere = self.ledger.binaries.iter().any(|(hash, git)| !self.anywhere(hash, git));
        self.ledger.lost |= nowhere || !lost.is_empty() || !gone.is_empty();
    }

    /// Every blob that was taken in must be somewhere (I2).
    pub fn blobs_are_somewhere(&self) {
        for (hash, git) in &self.ledger.blobs {
            if !self.anywhere(hash, git) {
                self.fail(format!("the bytes of a blob are nowhere (I2): {hash} {git}"));
            }
        }
    }
}
