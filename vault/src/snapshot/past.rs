//! What lies before the snapshot that a device began from. It comes as records, from whoever has them, and waits beside the log; once
//! all of it is there the index is made again from the log, which shows whether the snapshot was true.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aios_core::frontier::{Frontier, Place, View};
use aios_core::id::{DeviceId, GitId};
use aios_core::record::Record;
use serde::{Deserialize, Serialize};

use super::{Signed, forget_begun};
use crate::disk::{Lock, durable};
use crate::error::Error;
use crate::git;
use crate::layout::{Layout, Replica};
use crate::log::{Log, Spot};
use crate::project::git_id;
use crate::rebuild;
use crate::vault::{Progress, Vault, git_error};

/// The records that came so far, of those that a device lacks.
#[derive(Debug)]
pub struct Past {
    log: Log,
    ends: BTreeMap<DeviceId, (u64, Option<Spot>)>,
    upto: View,
}

impl Past {
    /// The records that are here.
    pub fn have(&self) -> View {
        self.ends.iter().map(|(device, (seq, _))| Place { device: *device, seq: *seq }).collect()
    }

    /// All that there are.
    pub fn upto(&self) -> &View {
        &self.upto
    }

    /// Whether none is lacking.
    pub fn is_whole(&self) -> bool {
        self.have().covers(&self.upto)
    }
}

/// `.aios/whole.json`: all of the past is here, and the index is to be made again from it.
#[derive(Debug, Serialize, Deserialize)]
struct Whole {
    signed: Signed,
    /// What the device showed until then, where it had all it needed for that.
    frontier: Frontier,
    state: Option<String>,
    head: Option<GitId>,
}

/// Where the records wait.
fn folder(layout: &Layout) -> PathBuf {
    layout.own().join("past")
}

fn whole(layout: &Layout) -> PathBuf {
    layout.own().join("whole.json")
}

/// Whether a device has all of its past and was cut short before its index was made again from it.
pub(crate) fn is_whole(layout: &Layout) -> bool {
    whole(layout).exists()
}

impl Vault {
    /// What came so far of what lies before the snapshot; `None` where nothing is lacking.
    ///
    /// # Errors
    /// [`Error::Segment`] where what came is damaged.
    pub fn lacking(&self) -> Result<Option<Past>, Error> {
        let Some(signed) = self.began_from()? else { return Ok(None) };
        let mut past = Past {
            log: Log::new(folder(&self.layout)),
            ends: BTreeMap::new(),
            upto: signed.snapshot.frontier.view(),
        };
        for device in past.log.devices()? {
            let mut seq = 0;
            let walked = past.log.walk(&device, None, |logged| {
                seq = logged.record.header.seq;
                Ok(())
            })?;
            if let Some(torn) = walked.torn {
                past.log.cut(&device, torn)?;
            }
            past.ends.insert(device, (seq, walked.end));
        }
        Ok(Some(past))
    }

    /// Takes records in that lie before the snapshot, in the order of each device. What the device shows does not change.
    ///
    /// # Errors
    /// [`Error::Snapshot`] for a sound record that is not the one of the snapshot: that was false then. [`Error::Record`] or
    /// [`Error::Usage`] for one that is not sound, or not the next.
    pub fn take_past(&self, past: &mut Past, records: &[Record]) -> Result<(), Error> {
        let by = self.began_from()?.map(|signed| signed.by).ok_or(Error::Past)?;
        let mut ready: BTreeMap<DeviceId, Vec<&Record>> = BTreeMap::new();
        for record in records {
            let place = record.header.place();
            let waiting = ready.entry(place.device).or_default();
            let last = past.ends.get(&place.device).map_or(0, |(seq, _)| *seq) + waiting.len() as u64;
            if place.seq != last + 1 || !past.upto.has(&place) || record.header.vault != self.id() {
                return Err(Error::Usage(format!("record {place} is not the next of what is lacking")));
            }
            record.verify_signature()?;
            record.check_payloads()?;
            let known = self.number(&place)?.map(|n| self.row(n)).transpose()?;
            if known.is_none_or(|known| known.id != record.id) {
                let why = format!("it names another record {place} than the one that device signed");
                return Err(Error::Snapshot { by, why });
            }
            waiting.push(record);
        }
        for (device, records) in ready {
            let Some(last) = records.last().map(|record| record.header.seq) else { continue };
            let end = past.ends.get(&device).and_then(|(_, end)| *end);
            let (_, end) = past.log.append(&device, end, &records)?;
            past.ends.insert(device, (last, end));
        }
        Ok(())
    }

    /// Makes the index again from the log once all of the past is here: from then on the device has all that the others have.
    ///
    /// # Errors
    /// [`Error::Past`] while something is lacking; [`Error::Snapshot`] when the snapshot was not what the log gives, and whose it
    /// was. The vault shows what the log gives then.
    pub fn take_up_past(&mut self, past: Past, progress: Progress<'_>) -> Result<(), Error> {
        let signed = self.began_from()?.filter(|_| past.is_whole()).ok_or(Error::Past)?;
        let note = Whole {
            signed,
            frontier: self.frontier()?,
            state: (self.shown == self.view).then(|| self.state()).transpose()?,
            head: self.projected_head()?.as_ref().map(git_id),
        };
        let text = serde_json::to_vec_pretty(&note).map_err(|e| Error::Damaged(e.to_string()))?;
        durable::replace(&whole(&self.layout), &text)?;
        let Some(lock) = self.let_go() else { return Err(Error::Past) };
        let (vault, told) = take_up(self.layout.clone(), self.layout.replica()?, lock, progress)?;
        *self = vault;
        told
    }
}

impl Vault {
    /// The commit of the records that a frontier names, if all of them are here.
    fn commit_of(&mut self, frontier: &Frontier) -> Result<Option<GitId>, Error> {
        let mut tips = Vec::new();
        for (device, (seq, id)) in &frontier.0 {
            match self.number(&Place { device: *device, seq: *seq })? {
                Some(n) if self.row(n)?.id == *id => tips.push(n),
                _ => return Ok(None),
            }
        }
        let heads = self.commit_heads(&tips)?;
        let repo = git2::Repository::open(self.root()).map_err(git_error)?;
        let point = self.point(&heads, &mut git::Loose::new(&repo, true)?)?;
        Ok(point.map(|point| git_id(&point.commit)))
    }
}

/// Goes on where all of the past is here. Gives the vault, and whether the snapshot was true.
pub(crate) fn take_up(
    layout: Layout,
    replica: Replica,
    lock: Lock,
    progress: Progress<'_>,
) -> Result<(Vault, Result<(), Error>), Error> {
    let path = whole(&layout);
    let text = std::fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
    let note: Whole =
        serde_json::from_slice(&text).map_err(|e| Error::Damaged(format!("{}: {e}", path.display())))?;
    let log = Log::new(folder(&layout));
    for device in log.devices()? {
        let to = layout.logs().join(device.hex());
        std::fs::create_dir_all(&to).map_err(|e| Error::io("make", &to, e))?;
        for segment in log.segments(&device)? {
            let from = segment.path();
            if let Some(name) = from.file_name() {
                durable::rename(&from, &to.join(name))?;
            }
        }
        durable::sync_dir(&to)?;
    }
    durable::sync_dir(&layout.logs())?;
    forget_begun(&layout)?;
    let shallow = layout.root().join(".git/shallow");
    if shallow.exists() {
        durable::remove(&shallow)?;
    }
    let (mut vault, _) = rebuild::run(layout.clone(), replica, lock, progress)?;
    let Signed { snapshot, by, .. } = &note.signed;
    let false_for = |why: &str| Err(Error::Snapshot { by: *by, why: format!("{why}: it was false") });
    let head = vault.commit_of(&snapshot.frontier)?;
    let told = if head != Some(snapshot.head) {
        false_for("the log gives another commit for its records")
    } else if vault.frontier()? == note.frontier
        && (note.state.is_some_and(|state| vault.state().ok() != Some(state))
            || note
                .head
                .is_some_and(|head| vault.projected_head().ok().flatten().as_ref().map(git_id) != Some(head)))
    {
        false_for("what this device showed from it is not what the log gives")
    } else {
        Ok(())
    };
    durable::remove(&path)?;
    let _ = std::fs::remove_dir_all(folder(&layout));
    Ok((vault, told))
}
