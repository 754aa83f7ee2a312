//! Coming back with the recovery phrase alone: the vault is found at a remote, fetched, and this device lets itself in.
//!
//! Killed at any point, the same command goes on: the keys made for a vault are found again by a note, and a replica that
//! exists already only goes on from where it is.

use std::path::{Path, PathBuf};

use aios_core::id::{DeviceId, VaultId};
use aios_core::phrase::Phrase;
use aios_vault::keys::data_dir;
use aios_vault::layout::Layout;
use aios_vault::recovery::{Found, Search};
use aios_vault::survey::Problem;
use aios_vault::{Error, Vault};
use serde::{Deserialize, Serialize};
use tokio::time::{Duration, timeout};

use crate::pending::Pending;
use crate::remote::{self, Kind, Remote, RemoteError, Remotes, Skipped, folder, program::Program};
use crate::session::{Trouble, blocking, finish, merged, round};
use crate::site::Site;

/// What the remote is called that a vault was fetched from.
const NAME: &str = "origin";

/// What a recovery came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoverReport {
    /// The vault.
    pub vault: VaultId,
    /// Its name.
    pub vault_name: String,
    /// This device.
    pub device: DeviceId,
    /// Its name.
    pub name: String,
    /// The name of the remote that `sync` uses from now on.
    pub remote: String,
    /// The commit of all integrated records.
    pub head: Option<String>,
    /// The `state` hash.
    pub state: String,
    /// How many documents there are.
    pub files: u64,
    /// The other members, each with the time of its newest record there: a place may hold back what is newer.
    pub members: Vec<(String, u64)>,
    /// What is left to do.
    pub problems: Vec<Problem>,
    /// What else a person should know.
    pub warnings: Vec<String>,
}

/// Finds the vault of `phrase` at `from`, makes `dir` a replica of it, lets this device in, and ends the membership of those
/// called `lost`. `name` is what it is to be called; the machine's name where absent. It has `total` time for what goes over
/// the network.
///
/// # Errors
/// Of the place, the phrase and the vault; what was done stays, and the same call goes on from there.
pub async fn recover(
    phrase: &Phrase,
    from: &str,
    kind: Option<Kind>,
    dir: &Path,
    name: Option<String>,
    lost: Vec<String>,
    total: Duration,
) -> Result<RecoverReport, Trouble> {
    let root = phrase.root_key();
    let remote = Remote::anywhere(NAME, from, kind)?;
    let late = || RemoteError::Late { name: from.to_owned(), seconds: total.as_secs() };
    let search = Search::new(root.clone());
    let Found { vault, name: vault_name, epochs } =
        timeout(total, find(&remote, search)).await.map_err(|_| late())??;
    let layout = Layout::new(dir);
    let pending = Pending::recovery(&vault, dir)?;
    match layout.replica() {
        Ok(here) if here.vault == vault => {}
        Ok(_) => return Err(Error::AlreadyAVault(dir.to_owned()).into()),
        Err(Error::NotAVault(_)) => {
            let (made, called, folder) = (pending.keys(true)?, vault_name.clone(), dir.to_owned());
            // Before records come: they are open from the start.
            epochs.iter().try_for_each(|key| made.keep_epoch(key))?;
            blocking(move || Vault::replicate(&folder, vault, &called, made).map(drop)).await?;
        }
        Err(e) => return Err(e.into()),
    }
    let site = Site::find(dir)?;
    let remote = added(&site, from, kind)?;
    let mut skipped = timeout(total, remote::take(&site, &remote)).await.map_err(|_| late())??;
    let here = site.clone();
    let come_in = move |vault: &mut Vault| {
        let lost = lost.iter().map(|name| vault.find_member(name)).collect::<Result<Vec<_>, _>>()?;
        vault.let_self_in(&root, name.as_deref())?;
        // Before anybody hears of this device: who stole one of those would revoke it, and what it had seen would stand.
        for device in lost {
            if vault.members().is_present(&device) {
                vault.revoke_device_as_root(&device, &root)?;
            }
        }
        Ok(())
    };
    blocking(move || here.keeper().work(come_in)).await?;
    pending.done();
    finish(&site).await?;
    let mut stand = round(&site).await?;
    let mut problems = std::mem::take(&mut stand.untaken);
    // The others hear of this device where they look, too.
    let report = remote::sync(&site, &remote, false, total).await;
    let warnings = std::mem::take(&mut stand.warnings);
    stand = finish(&site).await?;
    stand.warnings = merged(warnings, stand.warnings);
    problems.append(&mut stand.unwritten);
    skipped.extend(report.skipped);
    skipped.sort();
    skipped.dedup();
    let mut warnings: Vec<String> =
        skipped.into_iter().map(|Skipped { what, why }| format!("{what} was not used: {why}")).collect();
    if let Some(error) = report.error {
        let left = Problem {
            path: String::new(),
            problem: format!("{from} does not know of this device yet: {error}"),
            hint: error.hint().unwrap_or_else(|| "run `aios sync` when it can be reached".into()),
        };
        warnings.push(left.to_string());
        problems.push(left);
    }
    warnings.append(&mut stand.warnings);
    let here = site.clone();
    let (name, members, files) = blocking(move || {
        here.keeper().work(|vault| {
            let me = vault.device();
            let newest = vault.newest()?.into_iter();
            let others = newest.filter(|(device, _)| *device != me && vault.members().is_present(device));
            let others = others.map(|(device, time)| (vault.members().name(&device), time)).collect();
            Ok((vault.members().name(&me), others, vault.document_count()?))
        })
    })
    .await?;
    Ok(RecoverReport {
        vault,
        vault_name,
        device: site.device(),
        name,
        remote: remote.name,
        head: stand.head,
        state: stand.state,
        files,
        members,
        problems,
        warnings,
    })
}

/// The remote of the vault at `site` that lies at `from`: one it has, or a new one.
fn added(site: &Site, from: &str, kind: Option<Kind>) -> Result<Remote, RemoteError> {
    let mut remotes = Remotes::load(site.keeper().root())?;
    let there = Remote::anywhere(NAME, from, kind)?;
    if let Some(known) = remotes.all().iter().find(|remote| remote.url == there.url) {
        return Ok(known.clone());
    }
    let free = |name: &String| remotes.find(name).is_none();
    let name = std::iter::once(NAME.to_owned()).chain((2u64..).map(|n| format!("{NAME}-{n}"))).find(free);
    remotes.add(&name.unwrap_or_default(), from, kind, &[])
}

async fn find(remote: &Remote, mut search: Search) -> Result<Found, Trouble> {
    match remote.kind {
        Kind::Folder => {
            let base = PathBuf::from(&remote.url);
            let found = tokio::task::spawn_blocking(move || {
                folder::search(&base, &mut search)?;
                Ok::<_, RemoteError>(search.end()?)
            });
            let found =
                found.await.map_err(|e| RemoteError::Absent(format!("the work was cut short: {e}")))?;
            Ok(found?)
        }
        Kind::Git => {
            let scratch = Scratch::new()?;
            let git = Program::new(&scratch.0, &remote.url);
            git.init().await?;
            let refs = git.refs().await?;
            let logs: Vec<String> =
                refs.into_keys().filter(|name| name.starts_with(remote::git::LOG)).collect();
            git.fetch(logs.iter(), remote::git::SCRATCH).await?;
            let found = blocking(move || {
                search.look_in_git(&scratch.0, &format!("{}log/", remote::git::SCRATCH))?;
                search.end()
            });
            found.await
        }
    }
}

/// A repository for one look at what a remote holds, before it is known which vault that is.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Scratch, Error> {
        let folder = data_dir()?.join("recoveries");
        let path = folder.join(format!("look-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|e| Error::io("make", &path, e))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nobody looks there again.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
