//! One sync from beginning to end: take in, exchange with every reachable member, write, and once more where something
//! came in meanwhile, so that what is reported as applied is all there is (I12).

use std::collections::BTreeMap;
use std::time::Duration;

use aios_core::frontier::View;
use aios_core::id::DeviceId;
use aios_vault::Error;
use aios_vault::survey::Problem;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::error::{Fault, Peer, SyncError};
use crate::node::{Node, Report, Settings};
use crate::remote::secret::Finding;
use crate::remote::{self, Kind, Remote, RemoteError, Remotes, RouteReport, Skipped};
use crate::replica::ReplicaError;
use crate::site::{Site, Stand};

/// How often an exchange is repeated because something new came in.
const ROUNDS: usize = 5;

/// Why a command of sync failed.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The vault.
    #[error(transparent)]
    Vault(#[from] Error),
    /// The network, the other device, or the ticket.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// The list of remotes.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// What the daemon answered.
    #[error("{what}")]
    Daemon {
        /// What is wrong.
        what: String,
        /// What to do.
        hint: Option<String>,
        /// The exit code that the daemon's own command would have had.
        exit: u8,
    },
}

impl From<crate::ticket::TicketError> for Trouble {
    fn from(e: crate::ticket::TicketError) -> Self {
        Trouble::Sync(e.into())
    }
}

/// How it went with one member, or one remote.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PeerReport {
    /// The member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<DeviceId>,
    /// What the remote is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Its name.
    pub name: String,
    /// Whether there was a connection.
    pub reached: bool,
    /// Whether it has durably applied all that is here now, and said so in this sync (I12).
    pub acknowledged: bool,
    /// Records sent to it.
    pub sent: u64,
    /// Records received from it.
    pub received: u64,
    /// What went wrong.
    pub error: Option<String>,
    /// What to do about it, where the error does not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whose fault that is: `unreachable`, `refused`, `lying`, `local`.
    pub fault: Option<String>,
    /// What lies at the remote and was not used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// What looks like a secret and would be published there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Finding>,
}

/// What a sync is to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Only with the member or remote of this name.
    pub peer: Option<String>,
    /// Whether what looks like a secret may be published to remotes, now and later.
    pub allow_secrets: bool,
}

/// What a sync did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncReport {
    /// The commit of all integrated records.
    pub head: Option<String>,
    /// The `state` hash.
    pub state: String,
    /// Records sent.
    pub sent: u64,
    /// Records received.
    pub received: u64,
    /// The members and remotes that were to be reached.
    pub peers: Vec<PeerReport>,
    /// Whether all that were asked were reached and hold all that is here, and nothing is left to do here. Where members were
    /// asked, every other member must have durably applied it.
    pub synced: bool,
    /// What is left to do here: files that were not taken in or not written.
    pub problems: Vec<Problem>,
    /// What else a person should know.
    pub warnings: Vec<String>,
}

/// Runs blocking work on its own thread.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Trouble> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(e) => {
            Err(SyncError::from(ReplicaError::Storage(format!("work on the vault failed: {e}"))).into())
        }
    }
}

pub(crate) async fn round(site: &Site) -> Result<Stand, Trouble> {
    let site = site.clone();
    blocking(move || site.round()).await
}

pub(crate) async fn finish(site: &Site) -> Result<Stand, Trouble> {
    let site = site.clone();
    blocking(move || site.finish()).await
}

fn fault(error: &SyncError) -> &'static str {
    match error.fault() {
        Fault::Unreachable => "unreachable",
        Fault::Refused => "refused",
        Fault::Lying => "lying",
        Fault::Input | Fault::Local => "local",
    }
}

#[derive(Default)]
struct Tally {
    reached: bool,
    sent: u64,
    received: u64,
    error: Option<SyncError>,
}

impl Tally {
    fn add(&mut self, report: Report) {
        self.reached |= report.reached;
        self.sent += report.outcome.progress.sent;
        self.received += report.outcome.progress.received;
        self.error = report.error;
    }
}

/// One remote while a sync goes on.
struct Route {
    remote: Remote,
    report: PeerReport,
    /// All that was here when it was last found to hold everything.
    holds: Option<View>,
}

impl Route {
    fn new(remote: &Remote) -> Self {
        let report =
            PeerReport { name: remote.name.clone(), kind: Some(remote.kind), ..PeerReport::default() };
        Route { remote: remote.clone(), report, holds: None }
    }

    fn add(&mut self, done: RouteReport) {
        self.report.reached |= done.reached;
        self.report.sent += done.sent;
        self.report.received += done.received;
        self.report.skipped.extend(done.skipped);
        self.report.skipped.sort();
        self.report.skipped.dedup();
        self.report.secrets = done.secrets;
        self.report.fault = done.error.as_ref().map(|error| error.fault().to_owned());
        self.report.hint = done.error.as_ref().and_then(RemoteError::hint);
        self.report.error = done.error.map(|error| error.to_string());
    }
}

/// The remotes of `site` that are meant, and whether members are too.
fn routes(site: &Site, peer: Option<&str>) -> Result<(Vec<Route>, bool), Trouble> {
    let remotes = Remotes::load(site.keeper().root())?;
    Ok(match peer.and_then(|name| remotes.find(name)) {
        Some(remote) => (vec![Route::new(remote)], false),
        None if peer.is_some() => (Vec::new(), true),
        None => (remotes.all().iter().map(Route::new).collect(), true),
    })
}

/// Syncs with all other members and all remotes, or with the one called so, in `total` time. `node` is this device's.
///
/// # Errors
/// What the vault answers, and [`Error::Unknown`] for a name nobody has. What goes wrong with a member or remote is in its
/// report.
pub async fn sync(site: &Site, node: &Node, wanted: Wanted, total: Duration) -> Result<SyncReport, Trouble> {
    let Wanted { peer, allow_secrets } = wanted;
    let until = Instant::now() + total;
    let mut stand = round(site).await?;
    let mut problems = std::mem::take(&mut stand.untaken);
    let (mut routes, members) = routes(site, peer.as_deref())?;
    let here = site.clone();
    let (only, company) = blocking(move || {
        let name = peer.filter(|_| members);
        let only = name.map(|name| here.keeper().work(move |vault| vault.find_member(&name))).transpose()?;
        if only == Some(here.device()) {
            return Err(Error::Usage("this is that device: name another member".into()));
        }
        Ok((only, here.company()?))
    })
    .await?;
    let wanted = |peer: &Peer| members && only.is_none_or(|only| only == peer.device());
    let mut tallies: BTreeMap<DeviceId, Tally> = BTreeMap::new();
    let mut view = company.view.clone();
    let peers: Vec<_> = company.others.into_iter().filter(|(peer, _)| wanted(peer)).collect();
    let mut due: Vec<_> = peers.iter().map(|(peer, known)| (peer.clone(), known.addrs.clone())).collect();
    let mut behind: Vec<DeviceId> = Vec::new();
    for _ in 0..ROUNDS {
        let left = until.saturating_duration_since(Instant::now());
        let open = |route: &Route| route.report.error.is_none() && route.holds.as_ref() != Some(&view);
        if (due.is_empty() && !routes.iter().any(open)) || left.is_zero() {
            break;
        }
        // What comes by a remote goes on to the members, and the other way round in the next round.
        for route in routes.iter_mut().filter(|route| open(route)) {
            let left = until.saturating_duration_since(Instant::now());
            let done = remote::sync(site, &route.remote, allow_secrets, left).await;
            route.holds.clone_from(&done.holds);
            route.add(done);
        }
        for report in node.sync_all(std::mem::take(&mut due), Some(left)).await {
            tallies.entry(report.peer.device()).or_default().add(report);
        }
        let warnings = std::mem::take(&mut stand.warnings);
        stand = finish(site).await?;
        stand.warnings = merged(warnings, stand.warnings);
        let here = site.clone();
        let company = blocking(move || here.company()).await?;
        view = company.view.clone();
        behind = company.behind().map(|(peer, _)| peer.device()).collect();
        let again = |peer: &Peer| {
            behind.contains(&peer.device())
                && tallies.get(&peer.device()).is_some_and(|tally| tally.error.is_none())
        };
        due = company
            .others
            .iter()
            .filter(|(peer, _)| wanted(peer) && again(peer))
            .map(|(peer, known)| (peer.clone(), known.addrs.clone()))
            .collect();
    }
    let here = site.clone();
    let applied = blocking(move || here.keeper().work(|vault| vault.synced())).await?;
    // What was not written at first may have been since.
    problems.append(&mut stand.unwritten);
    let alone = peers.is_empty();
    let peers = peers.into_iter().map(|(peer, _)| {
        let tally = tallies.remove(&peer.device()).unwrap_or_default();
        PeerReport {
            id: Some(peer.device()),
            name: peer.name().to_owned(),
            reached: tally.reached,
            acknowledged: tally.reached && tally.error.is_none() && !behind.contains(&peer.device()),
            sent: tally.sent,
            received: tally.received,
            fault: tally.error.as_ref().map(|error| fault(error).to_owned()),
            hint: tally.error.as_ref().and_then(SyncError::hint).map(str::to_owned),
            error: tally.error.map(|error| error.to_string()),
            ..PeerReport::default()
        }
    });
    let remotes = routes.into_iter().map(|route| PeerReport {
        acknowledged: route.report.error.is_none() && route.holds.as_ref() == Some(&view),
        ..route.report
    });
    let peers: Vec<PeerReport> = peers.chain(remotes).collect();
    // Of a device that was not reached it is known what it has, not what it has to give.
    let reached = !peers.is_empty() && peers.iter().all(|peer| peer.acknowledged);
    Ok(SyncReport {
        head: stand.head,
        state: stand.state,
        sent: peers.iter().map(|peer| peer.sent).sum(),
        received: peers.iter().map(|peer| peer.received).sum(),
        peers,
        synced: (applied || alone) && problems.is_empty() && reached,
        problems,
        warnings: stand.warnings,
    })
}

/// Tells the others, as the device whose folder this was, which device it is now: where it was copied, they know only that one. Does nothing
/// once one of them has heard.
///
/// # Errors
/// What opening network or vault answers.
pub async fn introduce(site: &Site, settings: &Settings, total: Duration) -> Result<(), Trouble> {
    let here = site.clone();
    let Some(former) = blocking(move || here.former()).await? else { return Ok(()) };
    let here = site.clone();
    let company = blocking(move || here.company()).await?;
    let others = company.others.into_iter().filter(|(peer, _)| peer.device() != former.device());
    let peers = others.map(|(peer, known)| (peer, known.addrs)).collect();
    let settings = Settings { port: None, live: None, on_served: None, ..settings.clone() };
    let node = Node::start(former.key(), former.opener(), settings).await?;
    let reports = node.sync_all(peers, Some(total)).await;
    node.close().await;
    if reports.iter().any(|report| report.acknowledged) {
        let here = site.clone();
        blocking(move || here.introduced()).await?;
    }
    Ok(())
}

/// The warnings of two rounds in a row.
pub(crate) fn merged(mut old: Vec<String>, new: Vec<String>) -> Vec<String> {
    // What could not be written then may have been written now; what stands is said once.
    old.retain(|warning| !new.contains(warning) && !warning.contains("not on this device yet"));
    old.extend(new);
    old
}
