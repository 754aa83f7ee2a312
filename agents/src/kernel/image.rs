//! A kernel as bytes: what it knows of all work, for the next process to begin with.
//!
//! Nothing of it says what is under way: whoever begins with it looks at all that is not over, as whoever loads all records does.

use std::collections::{BTreeMap, BTreeSet};

use aios_core::id::{ContentHash, DeviceId, VaultId};

use super::{Kernel, Setting};
use crate::span::Millis;
use crate::table::{Effect, NoImage, Run, Stand, Tables, Task};
use crate::workflow::rehearsal;

/// What stands before the tables.
type Front =
    (BTreeMap<DeviceId, Millis>, BTreeSet<String>, BTreeSet<String>, BTreeSet<(String, ContentHash)>);

/// What an image holds, before the kernel is made of it.
#[derive(Debug)]
pub struct Image {
    seen: BTreeMap<DeviceId, Millis>,
    loud: BTreeSet<String>,
    rehearsed: BTreeSet<String>,
    began: BTreeSet<(String, ContentHash)>,
    tables: Tables,
}

impl Image {
    /// Reads an image.
    ///
    /// # Errors
    /// Bytes that are none, or of which some are left.
    pub fn read(bytes: &[u8]) -> Result<Image, NoImage> {
        let (front, mut rest): (Front, &[u8]) = postcard::take_from_bytes(bytes)?;
        let (seen, loud, rehearsed, began) = front;
        let tables = Tables::restore(&mut rest)?;
        match rest.is_empty() {
            true => Ok(Image { seen, loud, rehearsed, began, tables }),
            false => Err(NoImage(format!("{} bytes are left", rest.len()))),
        }
    }

    /// Which version of which workflow runs began or went on with: a [`Setting`] has them all.
    pub fn began(&self) -> impl Iterator<Item = (&str, &ContentHash)> {
        self.began.iter().map(|(workflow, version)| (workflow.as_str(), version))
    }
}

impl Kernel {
    /// All that is known of work, as [`Image::read`] reads it. What the kernel was told of a record that is not written is in it, too.
    ///
    /// # Errors
    /// An event that cannot be written.
    pub fn image(&self) -> Result<Vec<u8>, NoImage> {
        let (mut loud, mut rehearsed, mut began) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (id, task) in self.tables.tasks() {
            let versions = task.version.iter().chain(task.migrations.values());
            let workflow = task.workflow.iter();
            began.extend(workflow.flat_map(|name| versions.clone().map(|it| (name.clone(), *it))));
            if !self.is_over(id, &task) {
                loud.insert(id.to_owned());
            }
            rehearsed.extend(task.rehearsal.as_ref().map(|it| it.agent.clone()));
        }
        let mut out = postcard::to_stdvec(&(&self.seen, loud, rehearsed, began))?;
        self.tables.save(&mut out)?;
        Ok(out)
    }

    /// The kernel of `device` that knows what an image holds; `seed` as in [`Kernel::new`]. The next input acts on it.
    pub fn from_image(vault: VaultId, device: DeviceId, setting: Setting, seed: u64, image: Image) -> Kernel {
        let Image { seen, loud, rehearsed, began: _, tables } = image;
        let mut kernel = Kernel { tables, seen, dirty: loud, ..Kernel::new(vault, device, setting, seed) };
        for (version, workflow) in rehearsed.iter().filter_map(|agent| rehearsal::workflow(agent)) {
            kernel.setting.versions.entry(version).or_insert(workflow);
        }
        let versions = &kernel.setting.versions;
        let leased = |task: &Task| {
            task.version.and_then(|it| versions.get(&it)).is_some_and(|it| it.needs.lease.is_some())
        };
        let open = kernel.tables.open().filter(|(_, task)| leased(task));
        kernel.leased = open.map(|(id, _)| id.to_owned()).collect();
        kernel.heard = kernel.tables.all_outside().map(|(name, id)| (name.into(), id.into())).collect();
        let released: Vec<String> = kernel.tables.released().map(|(agent, _)| agent.to_owned()).collect();
        released.iter().for_each(|agent| kernel.release(agent));
        kernel
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
        let mut effects = self.tables.proposals(id).filter_map(|key| self.tables.seen(key));
        let reserved = format!("{id}\n");
        task.runs.values().all(over)
            && effects.all(|effect| settled(&effect))
            && self.tables.reserved(&reserved).next().is_none()
    }
}
