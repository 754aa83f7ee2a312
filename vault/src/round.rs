//! One round of a vault: take in what changed on disk, write what merged, project to git. Every command that changes
//! something ends with one, so that what it reports is what is there.

use git2::Oid;

use crate::absorb::{AbsorbOptions, Absorbed};
use crate::db;
use crate::error::Error;
use crate::git;
use crate::settle::Settled;
use crate::survey::Problem;
use crate::vault::{Progress, Vault};

/// How often a save that comes in between makes a round begin again.
const TRIES: usize = 8;
/// From this many objects on, what git keeps one by one is packed.
const LOOSE: usize = 4_000;
/// Where it is remembered how many of them the last packing had to leave.
const LEFT: &str = "loose";

/// What a round did.
#[derive(Debug, Clone, Default)]
pub struct Round {
    /// What was taken in.
    pub absorbed: Absorbed,
    /// What was written.
    pub settled: Settled,
    /// The commit of all integrated records, as git names it.
    pub head: Option<Oid>,
}

impl Round {
    /// All that stood in the way, and what else is to be known.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.absorbed.problems.iter().chain(&self.settled.problems).chain(&self.absorbed.notes)
    }
}

impl Vault {
    /// Of what stood in the way of a round, what was not taken in (I12). That a version of ignore rules waits to be
    /// accepted is no such thing: its file is in.
    ///
    /// # Errors
    /// What the database answers.
    pub fn untaken(&mut self, round: &Round) -> Result<Vec<Problem>, Error> {
        let problems = &round.absorbed.problems;
        if problems.is_empty() {
            return Ok(Vec::new());
        }
        let mut waiting: Vec<String> =
            self.proposed(&[])?.into_iter().map(|proposed| proposed.path).collect();
        // Rules that cannot be read have that problem, too.
        waiting.retain(|path| problems.iter().filter(|problem| problem.path == *path).count() == 1);
        Ok(problems.iter().filter(|problem| !waiting.contains(&problem.path)).cloned().collect())
    }

    /// Takes in what changed on disk, writes what merged, projects to git.
    pub fn commit(&mut self, options: &AbsorbOptions, progress: Progress<'_>) -> Result<Round, Error> {
        let absorbed = self.absorb(options, progress)?;
        self.finish(absorbed, progress)
    }

    /// Writes what merged and projects to git, after something was taken in or integrated.
    pub fn finish(&mut self, absorbed: Absorbed, progress: Progress<'_>) -> Result<Round, Error> {
        let mut out = self.show_on_disk(absorbed, progress)?;
        let (head, waits) = self.show_in_git(progress)?;
        out.head = head;
        out.settled.problems.extend(waits);
        Ok(out)
    }

    /// As [`Vault::finish`], leaving git for later: no head is reported before that.
    pub fn show_on_disk(&mut self, absorbed: Absorbed, progress: Progress<'_>) -> Result<Round, Error> {
        let mut out = Round { absorbed, ..Round::default() };
        // What came may be keys, or a reader that lacks them.
        self.open_closed(progress)?;
        self.transaction(Self::hand_keys_on)?;
        if self.is_sealed_vault()? {
            // Git may have dropped what no tree shows, and has its encrypted form still.
            self.adopt_fetched()?;
        }
        for _ in 0..TRIES {
            let settled = self.transaction(|vault| {
                vault.refresh(progress)?;
                vault.settle(progress)
            })?;
            out.settled.written += settled.written;
            out.settled.problems = settled.problems;
            if !settled.absorb {
                break;
            }
            let more = match self.absorb(&AbsorbOptions::default(), progress) {
                Ok(more) => more,
                // What somebody saved where nobody may, or before a gap is explained, stays as it is, and is told (I12).
                Err(e @ (Error::MayNot { .. } | Error::Untold)) => {
                    out.absorbed.problems.push(Problem::of_all(&e));
                    break;
                }
                Err(e) => return Err(e),
            };
            out.absorbed.changed.extend(more.changed);
            out.absorbed.notes.extend(more.notes);
            out.absorbed.record = more.record.or(out.absorbed.record);
        }
        Ok(out)
    }

    /// Projects to git and moves `main`; gives the head, and what `main` waits for.
    pub(crate) fn show_in_git(
        &mut self,
        progress: Progress<'_>,
    ) -> Result<(Option<Oid>, Option<Problem>), Error> {
        self.restore_index()?;
        let (point, waits) = self.transaction(|vault| {
            let point = match vault.check_understood(&vault.view) {
                Ok(()) => vault.project(progress)?,
                Err(_) => None,
            };
            let mut waits = None;
            // Before a ref names a tree that is not whole on purpose.
            vault.promise_absent()?;
            if let Some(point) = &point {
                waits = vault.publish(point)?;
                vault.keep_projected(point)?;
            }
            Ok((point, waits))
        })?;
        // After the commits, which follow from what goes, and before the log is mirrored.
        let projected = point.is_some();
        if projected {
            self.obey()?;
        }
        self.transaction(Self::mirror)?;
        if projected {
            self.drop_forgotten()?;
        }
        self.compared = None;
        self.open.rest();
        // Here and not only where rules are accepted: they come from other devices too, and a joined folder has none yet.
        self.exclude()?;
        match self.leave_nested_out() {
            // Tried again in the next round, and said above if it is in the way of more.
            Err(Error::Git(e)) if e.is_standing() => {}
            done => done?,
        }
        self.tidy()?;
        Ok((point.map(|point| point.commit), waits))
    }

    /// Packs git's objects when many lie loose.
    fn tidy(&mut self) -> Result<(), Error> {
        // What the last time had to leave counts for nothing, or each commit would try again.
        match git::loose_at_least(&self.repo, LOOSE + self.left_loose()?)? {
            true => self.repack(),
            false => Ok(()),
        }
    }

    /// How many loose objects the last packing had to leave.
    pub(crate) fn left_loose(&self) -> Result<usize, Error> {
        let left = db::meta(&self.db, LEFT)?.and_then(|bytes| bytes.try_into().ok());
        Ok(left.map_or(0, u64::from_le_bytes) as usize)
    }

    /// Packs git's objects now.
    pub fn repack(&mut self) -> Result<(), Error> {
        self.repack_by(&git::Limits::default())
    }

    pub(crate) fn repack_by(&mut self, limits: &git::Limits) -> Result<(), Error> {
        let mut limits = *limits;
        if self.apart_missing()? || self.projection_waits()? {
            // No ref names the commits that wait for it.
            limits.unreached = std::time::Duration::MAX;
        }
        let done = git::repack(&self.repo, &limits, &self.held_blobs()?)?;
        db::set_meta(&self.db, LEFT, &(done.left as u64).to_le_bytes())?;
        self.repo = git::open_or_init(self.root())?;
        Ok(())
    }
}
