//! One vault on this machine, with what sync keeps beside its keys.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aios_core::frontier::View;
use aios_core::id::{DeviceId, VaultId};
use aios_core::key::SecretKey;
use aios_vault::absorb::{AbsorbOptions, Absorbed};
use aios_vault::disk::durable;
use aios_vault::keys::Keys;
use aios_vault::layout::Layout;
use aios_vault::peer;
use aios_vault::survey::Problem;
use aios_vault::watch::{Seen, Watcher};
use aios_vault::{Error, Vault};

use crate::daemon::Notice;
use crate::error::Peer;
use crate::keeper::Keeper;
use crate::node::Open;
use crate::offer::Offers;
use crate::replica::Replica;
use crate::vault::{Shared, VaultReplica};
use crate::work::{Carried, Worker};

/// A vault on this machine. Clones share one open vault.
#[derive(Debug, Clone)]
pub struct Site {
    shared: Arc<Shared>,
    keys: Keys,
    /// What was done when it was found that its owner should know.
    said: Option<String>,
}

/// Where a vault stands after its files were taken in and written.
#[derive(Debug, Clone, Default)]
pub struct Stand {
    /// The commit of all integrated records; absent in an empty vault.
    pub head: Option<String>,
    /// The `state` hash (I1).
    pub state: String,
    /// Whether something was taken in.
    pub absorbed: bool,
    /// What was not taken in.
    pub untaken: Vec<Problem>,
    /// What was not written.
    pub unwritten: Vec<Problem>,
    /// What a person should know: all of that, and rules that wait to be accepted.
    pub warnings: Vec<String>,
}

/// What came of taking in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// All that was asked for is in.
    Done {
        /// All integrated records.
        view: View,
        /// What a person should know.
        warnings: Vec<String>,
        /// Whether there is something new that only a look at all takes in.
        came: bool,
    },
    /// Something went or changed places: only a look at all tells what, and is to come first.
    Unclear,
}

/// What the vault knows of the other members.
#[derive(Debug, Clone, Default)]
pub struct Company {
    /// All integrated records.
    pub view: View,
    /// The other members, with what is known of each.
    pub others: Vec<(Peer, peer::Peer)>,
    /// Whether bytes are missing here that records name: whoever had them not may have them now.
    pub lacks: bool,
    /// Whether what was held for its clock counts when it comes once more.
    pub lets_in: bool,
    /// Whether this device's clock was set back, which the others are to be told.
    pub set_back: bool,
}

impl Company {
    /// The others who are not known to have applied all of it durably.
    pub fn behind(&self) -> impl Iterator<Item = &(Peer, peer::Peer)> {
        let has_all =
            |known: &peer::Peer| known.acknowledged.as_ref().is_some_and(|acked| acked.covers(&self.view));
        self.others.iter().filter(move |(_, known)| !has_all(known))
    }
}

impl Site {
    /// The vault that `from` lies in. It is not opened before there is work.
    ///
    /// # Errors
    /// When there is none, or its device's keys are not on this machine.
    pub fn find(from: &Path) -> Result<Site, Error> {
        Site::with(from, Keeper::new)
    }

    /// As [`Site::find`], with all work done on the thread that asks.
    ///
    /// # Errors
    /// As [`Site::find`].
    #[cfg(feature = "simulated")]
    pub fn here(from: &Path) -> Result<Site, Error> {
        Site::with(from, |root| Ok(Keeper::here(root)))
    }

    fn with(from: &Path, keeper: impl FnOnce(&Path) -> Result<Keeper, Error>) -> Result<Site, Error> {
        let layout = Layout::find(from)?;
        // The network is opened under the device's key: which device this is must be known before. What goes wrong here is told by
        // whoever works on the vault next; but that would be the daemon of another folder where this one is a copy of it.
        let said = match Vault::open(layout.root()).and_then(|mut vault| vault.go_on()) {
            Err(e @ Error::Elsewhere { .. }) => return Err(e),
            said => said.unwrap_or_default(),
        };
        let replica = layout.replica()?;
        let keys = Keys::load(&replica.device)?;
        let shared = Shared {
            keeper: keeper(layout.root())?,
            vault: replica.vault,
            name: replica.name,
            device: replica.device,
            offers: Offers::new(&keys.folder().join("offers")),
            partial: layout.partial(),
            fetching: Default::default(),
            remotes: Default::default(),
        };
        Ok(Site { shared: Arc::new(shared), keys, said })
    }

    /// This vault as the device whose folder it was before it was found to be a copy, while none of the others is known to have heard of
    /// that: they serve only whom they know.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn former(&self) -> Result<Option<Site>, Error> {
        let Some(device) = self.keys.was()? else { return Ok(None) };
        let keys = Keys::load(&device)?;
        let Shared { keeper, vault, name, partial, remotes, .. } = &*self.shared;
        let shared = Shared {
            keeper: keeper.clone(),
            vault: *vault,
            name: name.clone(),
            device,
            offers: Offers::new(&keys.folder().join("offers")),
            partial: partial.clone(),
            fetching: Default::default(),
            remotes: remotes.clone(),
        };
        Ok(Some(Site { shared: Arc::new(shared), keys, said: None }))
    }

    /// Others have heard which device this is.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn introduced(&self) -> Result<(), Error> {
        self.keys.set_was(None)
    }

    /// Runs work on the vault.
    pub fn keeper(&self) -> &Keeper {
        &self.shared.keeper
    }

    /// Waits until no other remote of this vault is synced by this process.
    pub(crate) async fn alone(&self) -> tokio::sync::OwnedMutexGuard<()> {
        self.shared.remotes.clone().lock_owned().await
    }

    /// The vault.
    pub fn vault(&self) -> VaultId {
        self.shared.vault
    }

    /// The vault's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// This device.
    pub fn device(&self) -> DeviceId {
        self.shared.device
    }

    /// This device's key.
    pub fn key(&self) -> &SecretKey {
        &self.keys.device
    }

    /// The folder of this device's own state, outside the vault.
    pub fn folder(&self) -> &Path {
        self.keys.folder()
    }

    /// A handle of the replica.
    pub fn handle(&self) -> VaultReplica {
        VaultReplica::new(self.shared.clone())
    }

    /// Gives handles to a [`Node`](crate::node::Node).
    pub fn opener(&self) -> Open {
        let site = self.clone();
        Arc::new(move || Ok(Box::new(site.handle()) as Box<dyn Replica>))
    }

    /// As [`Site::opener`], and takes in what changed on disk before each exchange. `notice` is told what a person should know.
    pub fn absorbing_opener(&self, notice: Notice) -> Open {
        let site = self.clone();
        Arc::new(move || {
            match site.round() {
                Ok(stand) => stand.warnings.iter().for_each(|warning| notice(warning)),
                Err(e) => tracing::warn!(error = %e, "the working files were not taken in"),
            }
            Ok(Box::new(site.handle()) as Box<dyn Replica>)
        })
    }

    /// Takes in what changed on disk, writes what merged, projects to git. Where taking in must wait for the operator,
    /// the rest is done, and a warning says so.
    ///
    /// # Errors
    /// What the vault answers.
    pub fn round(&self) -> Result<Stand, Error> {
        let said = self.said.clone();
        self.keeper().work(|vault| {
            let (absorbed, stopped) = match vault.absorb(&AbsorbOptions::default(), &mut |_, _, _| {}) {
                Ok(absorbed) => (absorbed, None),
                // It never takes anything in, and nobody waits for that.
                Err(Error::Carrier) => (Absorbed::default(), None),
                Err(e) if e.is_standing() => (Absorbed::default(), Some(e)),
                Err(e) => return Err(e),
            };
            let mut stand = stand(vault, absorbed)?;
            if let Some(left) =
                stopped.map(|e| Problem::of_all(&e)).filter(|left| !stand.untaken.contains(left))
            {
                stand.warnings.push(left.to_string());
                stand.untaken.push(left);
            }
            stand.warnings.extend(said);
            Ok(stand)
        })
    }

    /// Takes in what was saved at `paths`, or else all that changed, and writes what merged; git follows with [`Site::finish`].
    ///
    /// # Errors
    /// What the vault answers.
    pub fn take_in(&self, paths: Option<BTreeSet<String>>) -> Result<Taken, Error> {
        self.keeper().work(move |vault| {
            let absorbed = match &paths {
                Some(paths) => vault.absorb_at(paths, &mut |_, _, _| {}),
                None => vault.absorb(&AbsorbOptions::default(), &mut |_, _, _| {}).map(Some),
            };
            let (absorbed, mut warnings) = match absorbed {
                Ok(Some(absorbed)) => (absorbed, Vec::new()),
                Ok(None) => return Ok(Taken::Unclear),
                Err(Error::Carrier) => (Absorbed::default(), Vec::new()),
                Err(e) if e.is_standing() => (Absorbed::default(), vec![Problem::of_all(&e).to_string()]),
                Err(e) => return Err(e),
            };
            let came = absorbed.came;
            let round = vault.show_on_disk(absorbed, &mut |_, _, _| {})?;
            warnings.extend(round.problems().map(Problem::to_string));
            Ok(Taken::Done { view: vault.view().clone(), warnings, came })
        })
    }

    /// Writes what merged; git follows with [`Site::finish`].
    ///
    /// # Errors
    /// What the vault answers.
    pub fn write(&self) -> Result<Taken, Error> {
        self.keeper().work(|vault| {
            let round = vault.show_on_disk(Absorbed::default(), &mut |_, _, _| {})?;
            let warnings = round.problems().map(Problem::to_string).collect();
            Ok(Taken::Done { view: vault.view().clone(), warnings, came: false })
        })
    }

    /// Carries on work.
    ///
    /// # Errors
    /// What the vault answers.
    pub fn carry_on(&self, worker: &Worker) -> Result<Carried, Error> {
        let worker = worker.clone();
        self.keeper().work(move |vault| worker.carry_on(vault))
    }

    /// Begins to watch the working files.
    ///
    /// # Errors
    /// As [`Watcher::start`].
    pub fn watch(&self, see: impl Fn(Seen) + Send + 'static) -> Result<Watcher, Error> {
        self.keeper().work(|vault| vault.watch(see))
    }

    /// Has folders that came watched too.
    ///
    /// # Errors
    /// As [`Watcher::start`].
    pub fn watch_also(&self, watcher: &Arc<Mutex<Watcher>>, folders: BTreeSet<String>) -> Result<(), Error> {
        let watcher = watcher.clone();
        self.keeper().work(move |vault| {
            let mut watcher = watcher.lock().unwrap_or_else(PoisonError::into_inner);
            vault.watch_also(&mut watcher, &folders)
        })
    }

    /// Writes what merged and projects to git.
    ///
    /// # Errors
    /// What the vault answers.
    pub fn finish(&self) -> Result<Stand, Error> {
        self.keeper().work(|vault| stand(vault, Absorbed::default()))
    }

    /// The other members.
    ///
    /// # Errors
    /// What the vault answers.
    pub fn company(&self) -> Result<Company, Error> {
        self.keeper().work(|vault| {
            let (me, mut known) = (vault.device(), vault.peers()?);
            let members = vault.members().present().filter(|(device, _)| **device != me);
            let others = members.map(|(device, member)| {
                (Peer::new(*device, &member.name), known.remove(device).unwrap_or_default())
            });
            let others = others.collect();
            let view = vault.view().clone();
            let lacks = !vault.apart_wanted()?.is_empty();
            let (lets_in, set_back) = (vault.may_let_in()?, vault.set_back()?.is_some());
            Ok(Company { view, others, lacks, lets_in, set_back })
        })
    }

    fn port_path(&self) -> PathBuf {
        self.keys.folder().join("port")
    }

    /// The UDP port on which this replica listened first, which others may remember.
    pub fn port(&self) -> Option<u16> {
        std::fs::read_to_string(self.port_path()).ok()?.trim().parse().ok()
    }

    /// Keeps the port for good, if none was kept before.
    ///
    /// # Errors
    /// What the disk answers.
    pub fn keep_port(&self, port: Option<u16>) -> Result<(), Error> {
        match (self.port(), port) {
            (None, Some(port)) => Ok(durable::replace(&self.port_path(), format!("{port}\n").as_bytes())?),
            _ => Ok(()),
        }
    }
}

fn stand(vault: &mut Vault, absorbed: Absorbed) -> Result<Stand, Error> {
    let round = vault.finish(absorbed, &mut |_, _, _| {})?;
    let mut stand = Stand {
        head: round.head.map(|head| head.to_string()),
        state: vault.state()?,
        absorbed: round.absorbed.record.is_some(),
        untaken: vault.untaken(&round)?,
        unwritten: round.settled.problems.iter().cloned().chain(vault.not_come()?).collect(),
        warnings: round.problems().map(Problem::to_string).collect(),
    };
    // That may just have come: then nothing was taken in, and nothing will be.
    if let Err(e) = vault.check_writes()
        && !matches!(e, Error::Carrier)
    {
        let left = Problem::of_all(&e);
        stand.warnings.push(left.to_string());
        stand.untaken.push(left);
    }
    Ok(stand)
}

/// An error and what to do about it, as one line.
pub(crate) fn said(e: &Error) -> String {
    match e.hint() {
        Some(hint) => format!("{e}; {hint}"),
        None => e.to_string(),
    }
}
