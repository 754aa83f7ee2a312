//! Where things stand: read, never written, and honest about what is not known (I12).

use std::collections::{BTreeMap, BTreeSet};

use aios_core::frontier::Frontier;
use aios_core::id::{DeviceId, VaultId};
use aios_core::item::Kind;
use aios_core::path;
use serde::Serialize;

use crate::audit::time;
use crate::away::Away;
use crate::change::PathChange;
use crate::db;
use crate::error::Error;
use crate::flaw;
use crate::git;
use crate::index;
use crate::judge::Held;
use crate::place;
use crate::survey::{Problem, Survey};
use crate::vault::{Progress, Vault};

/// A device, as status shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Its name.
    pub name: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// Whether its membership has ended.
    pub revoked: bool,
}

/// Another member, as status shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerStatus {
    /// Its id.
    pub id: DeviceId,
    /// Its name.
    pub name: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// Whether there is a connection now; only the daemon knows of any.
    pub online: bool,
    /// Whether it has said to have durably applied all integrated records.
    pub acknowledged: bool,
    /// When it was last heard from (RFC 3339).
    pub last_seen: Option<String>,
    /// Whether what it has and when it was heard from is not known since a rebuild.
    pub forgotten: bool,
    /// Whether it leaves the bytes of pictures and other blobs with the others until it is asked for them.
    pub on_demand: bool,
}

/// Where things stand.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The vault's id.
    pub vault: VaultId,
    /// The vault's name.
    pub name: String,
    /// This device.
    pub device: Device,
    /// The commit of all integrated records, if it is projected.
    pub head: Option<String>,
    /// The hash of all projected rows (I1).
    pub state: String,
    /// The last record of each device.
    pub frontier: Frontier,
    /// How many records are held: their device was revoked and nobody builds on them, or their clock is far ahead. What they
    /// are is among the problems.
    pub held: u64,
    /// Why aios neither reads nor writes the working files, if it does not.
    pub paused: Option<String>,
    /// Whether what leaves this device is encrypted for those who may read it.
    pub sealed: bool,
    /// How many records lie here that this device cannot read.
    pub closed: u64,
    /// How many documents live.
    pub files: u64,
    /// What differs on disk from what was taken in.
    pub pending: Vec<PathChange>,
    /// How many conflicts are open.
    pub conflicts: u64,
    /// Files of which a version waits to be put in force.
    pub waiting: Vec<String>,
    /// How many things need the operator: whoever knows of the work, too, counts them.
    pub inbox: u64,
    /// The files that are in the vault and not in this folder, as nobody asked for their bytes: `aios fetch` does.
    pub on_demand: Vec<Away>,
    /// How many pictures and other blobs no other member keeps by itself.
    pub only_here: u64,
    /// What the owner should look at.
    pub problems: Vec<Problem>,
    /// The other members.
    pub peers: Vec<PeerStatus>,
    /// Whether every other member has durably applied everything, changes on disk included; absent if there is none.
    pub synced: Option<bool>,
}

impl Vault {
    /// Where things stand.
    pub fn status(&mut self, progress: Progress<'_>) -> Result<Status, Error> {
        let device = self.replica.device;
        let member = self.members().0.get(&device);
        let device = Device {
            id: device,
            name: self.members().name(&device),
            roles: member.map(|member| member.roles.clone()).unwrap_or_default(),
            revoked: self.check_revoked().is_err(),
        };
        let (mut pending, mut problems) = (Vec::new(), Vec::new());
        let paused = match self.check_writes() {
            Ok(()) => self.paused()?,
            // There is nothing to take in.
            Err(Error::Carrier) => None,
            Err(e) => {
                problems.push(Problem::of_all(&e));
                Some(e.to_string())
            }
        };
        if paused.is_none() && !self.is_carrier()? {
            self.look(&mut pending, &mut problems, progress)?;
            problems.extend(self.lagging()?);
        }
        let waits = |path: &str| pending.iter().any(|change| change.path == path);
        problems.extend(self.flaws()?.into_iter().filter(|flaw| !waits(&flaw.path)));
        problems.extend(place::clouded(self.root()));
        problems.extend(self.left_aside()?);
        problems.extend(self.not_come()?);
        let mut ahead = 0;
        for (device, count) in self.early()? {
            ahead += count;
            let name = self.members().name(&device);
            problems.push(Problem {
                path: String::new(),
                problem: format!(
                    "{count} records of {name} are held: its clock was more than a day ahead of this device's when it wrote them"
                ),
                hint: format!("set the clock of {name}, or this device's, whichever is wrong; they count once both are right, or after `aios devices adopt {name}`"),
            });
        }
        let mut held = ahead;
        for Held { device, first, last } in self.held()? {
            held += last + 1 - first;
            let name = self.members().name(&device);
            problems.push(Problem {
                path: String::new(),
                problem: format!(
                    "{} records that {name} wrote after it was revoked are held: nobody who did not know of that builds on them",
                    last + 1 - first
                ),
                hint: format!("`aios devices adopt {name}` makes them count; else there is nothing to do"),
            });
        }
        let conflicts = self.count("SELECT count(*) FROM conflict")?;
        let waiting = self
            .gated()?
            .into_iter()
            .filter(|(_, accepted, present)| *accepted != present.map(|(hash, _)| hash))
            .map(|(path, _, _)| path)
            .collect();
        let peers = self.peer_status()?;
        let only_here = match peers.iter().any(|peer| !peer.on_demand) || peers.is_empty() {
            true => 0,
            false => {
                let mut get = self.db.prepare_cached(
                    "SELECT count(*) FROM doc WHERE kind = ? AND NOT EXISTS(SELECT 1 FROM away WHERE away.doc = doc.id)",
                )?;
                get.query_row([index::kind_number(Kind::Blob)], |row| row.get::<_, i64>(0))? as u64
            }
        };
        let synced = match peers.is_empty() {
            true => None,
            false => Some(pending.is_empty() && ahead == 0 && paused.is_none() && self.synced()?),
        };
        Ok(Status {
            vault: self.id(),
            name: self.name().to_owned(),
            device,
            head: self.projected_head()?.map(|oid| oid.to_string()),
            state: self.state()?,
            frontier: self.frontier()?,
            held,
            paused,
            sealed: self.is_sealed_vault()?,
            closed: self.closed_records()?,
            files: self.count("SELECT count(*) FROM doc")?,
            pending,
            conflicts,
            waiting,
            inbox: 0,
            on_demand: self.away()?,
            only_here,
            problems,
            peers,
            synced,
        })
    }

    fn count(&self, sql: &str) -> Result<u64, Error> {
        Ok(self.db.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0))? as u64)
    }

    /// Compares the working files and git with what was taken in.
    fn look(
        &mut self,
        pending: &mut Vec<PathChange>,
        problems: &mut Vec<Problem>,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let main = git::read_ref(&self.repo, git::MAIN)?;
        let ours = db::meta(&self.db, "main")?;
        if let (Some(main), Some(ours)) = (main, ours)
            && main.as_bytes() != ours
            && self.projected_head()? != Some(main)
        {
            pending.push(PathChange::new(".git", "commits on main"));
        }
        let survey = match self.survey(progress) {
            Ok(survey) => survey,
            Err(e @ (Error::Root(_) | Error::Emptied { .. })) => {
                problems.push(Problem::of_all(&e));
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        if survey.mass_deletion() {
            let e = Error::MassDeletion { missing: survey.missing.len(), tracked: survey.known };
            problems.push(Problem::of_all(&e));
        }
        problems.extend(survey.saved().filter_map(flaw::of));
        problems.extend(survey.problems.iter().cloned());
        problems.extend(self.spelled_twice()?);
        problems.sort();
        self.differences(&survey, pending)?;
        pending.sort();
        Ok(())
    }

    /// Folders that case alone, or the form of a letter, tells apart: not every computer can hold both.
    fn spelled_twice(&self) -> Result<Vec<Problem>, Error> {
        let mut get = self.db.prepare_cached("SELECT path FROM doc ORDER BY path")?;
        let mut rows = get.query([])?;
        let mut spelled: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut last = String::new();
        while let Some(row) = rows.next()? {
            let at: String = row.get(0)?;
            let above = at.rsplit_once('/').map_or("", |(above, _)| above);
            if above.is_empty() || above == last {
                continue;
            }
            for folder in path::ancestors(&at) {
                spelled.entry(path::fold(folder)).or_default().insert(folder.to_owned());
            }
            last = above.to_owned();
        }
        let name = |folder: &str| folder.rsplit('/').next().unwrap_or_default().to_owned();
        let mut out = Vec::new();
        for folders in spelled.into_values().filter(|folders| folders.len() > 1) {
            let names: BTreeSet<String> = folders.iter().map(|folder| name(folder)).collect();
            // Else it is a folder above that is spelled in two ways.
            if let (Some(folder), Some(other), true) = (folders.first(), folders.last(), names.len() > 1) {
                out.push(Problem {
                    path: folder.clone(),
                    problem: format!("is the same name as {other} to many computers, which hold only one of the two folders"),
                    hint: "move what is in the one into the other".into(),
                });
            }
        }
        Ok(out)
    }

    fn differences(&self, survey: &Survey, out: &mut Vec<PathChange>) -> Result<(), Error> {
        for (from, to) in &survey.folders.moved {
            out.push(PathChange::new(to, format!("folder renamed from {from}")));
        }
        for moved in &survey.moved {
            let path = &moved.to.found.path;
            if !survey.folders.along.contains(&moved.row.path) {
                out.push(PathChange::new(path, format!("renamed from {}", moved.row.path)));
            }
            if moved.row.hash != moved.to.hash {
                out.push(PathChange::new(path, "modified"));
            }
        }
        out.extend(survey.modified.iter().map(|(row, _)| PathChange::new(&row.path, "modified")));
        out.extend(survey.added.iter().map(|saved| PathChange::new(&saved.found.path, "added")));
        for row in &survey.missing {
            if self.placement(&row.doc)?.is_some() {
                out.push(PathChange::new(&row.path, "deleted"));
            }
        }
        for (row, found) in &survey.touched {
            let Some(placement) = self.placement(&row.doc)? else { continue };
            let exec = placement.mode == aios_core::item::Mode::Executable;
            if placement.mode != aios_core::item::Mode::Link && exec != found.exec {
                out.push(PathChange::new(&row.path, "mode"));
            }
        }
        Ok(())
    }

    fn peer_status(&self) -> Result<Vec<PeerStatus>, Error> {
        let known = self.peers()?;
        let mut out = Vec::new();
        for (id, member) in self.members().present().filter(|(id, _)| **id != self.replica.device) {
            let peer = known.get(id).cloned().unwrap_or_default();
            out.push(PeerStatus {
                id: *id,
                name: member.name.clone(),
                roles: member.roles.clone(),
                online: false,
                acknowledged: peer.acknowledged.is_some_and(|acked| acked.covers(&self.view)),
                last_seen: peer.seen.map(time),
                forgotten: peer.forgotten,
                on_demand: peer.lean,
            });
        }
        Ok(out)
    }
}
