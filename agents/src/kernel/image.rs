//! A kernel as bytes: what it knows of all work, for the next process to begin with.
//!
//! Nothing of it says what is under way: whoever begins with it looks at all that is not over, as whoever loads all records does.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, Write};
use std::sync::Arc;

use aios_core::id::{ContentHash, DeviceId, VaultId};

use serde::{Deserialize, Serialize};

use super::{Flight, Kernel, Setting};
use crate::span::Millis;
use crate::table::{Bytes, Effect, NoImage, Run, Stand, Tables, Task, Title, at_once};
use crate::workflow::rehearsal;

/// What stands before the tables.
#[derive(Debug, Serialize, Deserialize)]
struct Front {
    seen: BTreeMap<DeviceId, Millis>,
    /// The tasks that are to be looked at.
    #[serde(deserialize_with = "at_once")]
    loud: BTreeSet<String>,
    /// The tasks that only wait for their time to come, and when it does.
    resting: Vec<(Millis, String)>,
    /// Under which setting they do.
    setting: ContentHash,
    leased: BTreeSet<String>,
    rehearsed: BTreeSet<String>,
    began: BTreeSet<(String, ContentHash)>,
}

/// What is to be kept.
#[derive(Debug)]
pub struct Remembered {
    /// What [`Image::read`] reads.
    pub head: Vec<u8>,
    /// The runs that it names: the first is the one that was written.
    pub runs: Vec<Title>,
}

/// What an image holds, before the kernel is made of it.
#[derive(Debug)]
pub struct Image {
    front: Front,
    tables: Tables,
}

impl Image {
    /// Reads an image; `open` gives the runs that it names.
    ///
    /// # Errors
    /// Bytes that are none, or of which some are left; runs that are not there, or are others.
    pub fn read(bytes: &[u8], open: &dyn Fn(&Title) -> io::Result<Arc<dyn Bytes>>) -> Result<Image, NoImage> {
        let (front, mut rest): (Front, &[u8]) = postcard::take_from_bytes(bytes)?;
        let tables = Tables::restore(&mut rest, open)?;
        match rest.is_empty() {
            true => Ok(Image { front, tables }),
            false => Err(NoImage(format!("{} bytes are left", rest.len()))),
        }
    }

    /// Which version of which workflow runs began or went on with: a [`Setting`] has them all.
    pub fn began(&self) -> impl Iterator<Item = (&str, &ContentHash)> {
        self.front.began.iter().map(|(workflow, version)| (workflow.as_str(), version))
    }
}

impl Setting {
    /// What tells it from others under which work that only waits may have to do something. What a version of a workflow says never changes,
    /// and which version of an agent works matters to what is begun.
    fn digest(&self) -> ContentHash {
        let Setting { versions: _, editions: _, rehearsed: _, .. } = self;
        let files = (&self.current, &self.policies, &self.connectors, &self.since, &self.agents);
        let here = (&self.schedules, self.coordinator, self.maker, &self.offer);
        let who = (&self.members, &self.operators);
        ContentHash::of(format!("{files:?} {here:?} {who:?}").as_bytes())
    }
}

impl Kernel {
    /// All that is known of work, as [`Image::read`] reads it. What came since this kernel's own image is written as a run to `run`, with what
    /// it is good to write anew, or all if `whole`. What the kernel was told of a record that is not written is in it, too.
    ///
    /// # Errors
    /// An event that cannot be written, or the run.
    pub fn image(&self, run: &mut dyn Write, whole: bool) -> Result<Remembered, NoImage> {
        let tables = &self.tables;
        let (mut rehearsed, mut began) = (self.rehearsed.clone(), self.began.clone());
        for task in tables.recent_tasks().filter_map(|id| tables.seen_task(id)) {
            let versions = task.version.iter().chain(task.migrations.values());
            let workflow = task.workflow.iter();
            began.extend(workflow.flat_map(|name| versions.clone().map(|it| (name.clone(), *it))));
            rehearsed.extend(task.rehearsal.as_ref().map(|it| it.agent.clone()));
        }
        // Of the others nothing happened since it was found that there is nothing to do about them.
        let of_effects = tables.recent_effects();
        let of_effects: BTreeSet<String> =
            of_effects.filter_map(|effect| Some(effect.proposed.as_ref()?.task.clone())).collect();
        let set_aside = tables.reserved("").filter_map(|(_, id, _)| Some(id.split_once('\n')?.0));
        let known = tables.open_ids().chain(tables.recent_tasks()).chain(set_aside);
        let asked = self.loud.iter().chain(self.needs.keys()).chain(&of_effects).map(String::as_str);
        let may: BTreeSet<&str> = known.chain(asked).collect();
        let is_loud = |id: &&str| tables.seen_task(id).is_some_and(|task| !self.is_over(id, &task));
        let loud: BTreeSet<String> = may.into_iter().filter(is_loud).map(str::to_owned).collect();
        let resting = self.resting();
        let leased = self.leased.iter().filter(|id| tables.is_open(id)).cloned().collect();
        let (seen, setting) = (self.seen.clone(), self.setting.digest());
        let front = Front { seen, loud, resting, setting, leased, rehearsed, began };
        let mut head = postcard::to_stdvec(&front)?;
        let runs = tables.save(&mut head, run, whole)?;
        Ok(Remembered { head, runs })
    }

    /// The kernel of `device` that knows what an image holds; `seed` as in [`Kernel::new`]. The next input acts on it.
    pub fn from_image(vault: VaultId, device: DeviceId, setting: Setting, seed: u64, image: Image) -> Kernel {
        let Image { front: Front { seen, loud, resting, setting: under, leased, rehearsed, began }, tables } =
            image;
        // Under another setting they may have to do more.
        let resting = if under == setting.digest() { resting } else { Vec::new() };
        let rest: HashSet<&str> = resting.iter().map(|(_, id)| id.as_str()).collect();
        let dirty = loud.iter().filter(|id| !rest.contains(id.as_str())).cloned().collect();
        let due = resting.into_iter().collect();
        let new = Kernel::new(vault, device, setting, seed);
        let mut kernel = Kernel { tables, seen, dirty, due, loud, leased, rehearsed, began, ..new };
        for (version, workflow) in kernel.rehearsed.iter().filter_map(|agent| rehearsal::workflow(agent)) {
            kernel.setting.versions.entry(version).or_insert(workflow);
        }
        kernel.heard = kernel.tables.all_outside().map(|(name, id)| (name.into(), id.into())).collect();
        let released: Vec<String> = kernel.tables.released().map(|(agent, _)| agent.to_owned()).collect();
        released.iter().for_each(|agent| kernel.release(agent));
        kernel
    }

    /// The tasks that only wait for their time to come: a look at them finds nothing to do before, as the last one did.
    fn resting(&self) -> Vec<(Millis, String)> {
        let begun = self.fresh.iter().chain(&self.flying);
        let busy = begun.filter_map(|flight| match flight {
            Flight::Step(work) => Some(work.task.clone()),
            Flight::Effect(key, _) => self.proposed_for(key),
        });
        let lists = self.listening.values().chain(self.braked.values()).flatten();
        let lists =
            lists.chain(&self.held_up).chain(&self.dirty).chain(&self.leased).chain(self.needs.keys());
        let pending = self.pending.iter().map(|(task, _)| task);
        let unsettled =
            self.tables.unsettled().filter_map(|(_, it)| Some(it.proposed.as_ref()?.task.clone()));
        let others: BTreeSet<String> = lists.chain(pending).cloned().chain(busy).chain(unsettled).collect();
        let due = self.due.iter().filter(|(_, id)| self.tables.is_open(id) && !others.contains(id));
        due.cloned().collect()
    }

    /// The runs that it reads from.
    pub fn runs(&self) -> impl Iterator<Item = &Title> {
        self.tables.runs()
    }

    /// Goes on with what an image of it holds, and lets go of what lies in its runs.
    pub fn go_by(&mut self, image: Image) {
        let Image { front, tables } = image;
        (self.loud, self.rehearsed, self.began) = (front.loud, front.rehearsed, front.began);
        self.tables = tables.keeping(&self.tables);
    }

    /// Whether nothing is to be done about a task any more: it is over, the operator is not asked about it, and its effects have come to
    /// their end.
    pub(super) fn is_over(&self, id: &str, task: &Task) -> bool {
        if self.tables.is_open(id) || self.needs.contains_key(id) {
            return false;
        }
        let over = |run: &Run| run.ended.is_some() || run.device != self.device;
        let settled = |effect: &Effect| match effect.stand() {
            Stand::Done(_) | Stand::Failed(_) | Stand::Undone => true,
            Stand::Denied(_) => effect.is_closed(),
            _ => false,
        };
        let mut effects = self.tables.proposals(id).filter_map(|key| self.tables.seen(&key));
        let reserved = format!("{id}\n");
        task.runs.values().all(over)
            && effects.all(|effect| settled(&effect))
            && self.tables.reserved(&reserved).next().is_none()
    }
}
