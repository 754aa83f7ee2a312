//! Becoming a replica of a vault on another device: pairing, the first exchange, the files, and what the folder held.
//!
//! Killed at any point, the same command goes on: the keys made for a ticket are found again by the ticket, and a
//! replica that exists already only syncs.

use std::path::Path;

use aios_core::epoch::EpochKey;
use aios_core::id::{DeviceId, VaultId};
use aios_vault::chance::now_ms;
use aios_vault::create::machine_name;
use aios_vault::layout::Layout;
use aios_vault::profile::Profile;
use aios_vault::survey::Problem;
use aios_vault::{Error, Vault, admit};
use serde::{Deserialize, Serialize};

use crate::error::{Fault, Peer, SyncError};
use crate::net::Net;
use crate::node::{self, Node, Report, Settings};
use crate::pending::Pending;
use crate::replica::{Replica, ReplicaError};
use crate::session::{Trouble, blocking, finish, merged, round};
use crate::site::{Site, said};
use crate::ticket::{Ticket, TicketError};

/// How often a connection that breaks is taken up again.
const TRIES: usize = 3;

/// What a join came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinReport {
    /// The vault.
    pub vault: VaultId,
    /// Its name.
    pub vault_name: String,
    /// This device.
    pub device: DeviceId,
    /// Its name.
    pub name: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// The commit of all integrated records.
    pub head: Option<String>,
    /// The `state` hash.
    pub state: String,
    /// How many documents there are.
    pub files: u64,
    /// What is left to do: files that were not taken in or not written, and what the other device does not know yet.
    pub problems: Vec<Problem>,
    /// What else a person should know.
    pub warnings: Vec<String>,
}

/// Makes the folder `dir` a replica of the ticket's vault and fetches all of it. What `dir` held before becomes part of
/// the vault. `name` is what this device is to be called; the machine's name where absent. `profile` is what it is to be.
///
/// # Errors
/// Of the ticket, the vault, and the network; what was done stays, and the same call goes on from there.
pub async fn join(
    text: &str,
    dir: &Path,
    name: Option<String>,
    profile: Option<Profile>,
    settings: &Settings,
) -> Result<JoinReport, Trouble> {
    let ticket: Ticket = text.parse()?;
    let layout = Layout::new(dir);
    let here = match layout.replica() {
        Ok(here) if here.device == ticket.inviter => return Err(TicketError::Own.into()),
        Ok(here) if here.vault == ticket.vault => true,
        Ok(_) => return Err(Error::AlreadyAVault(dir.to_owned()).into()),
        Err(Error::NotAVault(_)) => false,
        Err(e) => return Err(e.into()),
    };
    let pending = Pending::join(&ticket.secret.id())?;
    let unused = here && !pending.is_begun();
    let (site, node, report) = match here {
        true => {
            let site = Site::find(dir)?;
            // What a join that was killed has written is known as such before anything newer comes.
            let written = site.clone();
            blocking(move || {
                written.finish()?;
                written
                    .keeper()
                    .work(move |vault| profile.map_or(Ok(()), |profile| vault.set_profile(profile)))
            })
            .await?;
            let settings = Settings { port: site.port(), ..settings.clone() };
            let node = Node::start(site.key(), site.opener(), settings).await?;
            let report = exchange(&site, &node, &ticket).await?;
            (site, node, report)
        }
        false => begin(&ticket, dir, (name, profile), &pending, settings).await?,
    };
    let mut done = complete(&site, &node, &ticket, report).await;
    if let (true, Ok(done)) = (unused, &mut done) {
        let dir = dir.display();
        done.warnings.push(format!(
            "{dir} was a replica of this vault already, so it only synced: the ticket is unused, and good for another folder"
        ));
    }
    node.close().await;
    if done.is_ok() {
        pending.done();
    }
    done
}

/// Pairs, makes the replica, and has the first exchange.
async fn begin(
    ticket: &Ticket,
    dir: &Path,
    (name, profile): (Option<String>, Option<Profile>),
    pending: &Pending,
    settings: &Settings,
) -> Result<(Site, Node, Report), Trouble> {
    ticket.check_time(now_ms())?;
    aios_vault::place::check(dir)?;
    let keys = pending.keys(admit::holds_operator(&ticket.roles))?;
    let net = Net::bind(&keys.device, settings.scope, &settings.reach, settings.port).await?;
    let operator = keys.operator()?.map(|key| key.public());
    let (root, made) = (dir.to_owned(), keys.clone());
    let make = move |welcomed: &node::Welcomed| {
        let storage = |e: Error| ReplicaError::Storage(said(&e));
        // Before records come: they are open from the start.
        for (epoch, key) in &welcomed.epochs {
            let taken = EpochKey::take(epoch, key, &made.device);
            taken.map_or(Ok(()), |key| made.keep_epoch(&key)).map_err(storage)?;
        }
        let mut vault =
            Vault::replicate(&root, welcomed.vault, &welcomed.vault_name, made).map_err(storage)?;
        // Before the first exchange: it fetches what this device is to have.
        profile.map_or(Ok(()), |profile| vault.set_profile(profile)).map_err(storage)?;
        drop(vault);
        Ok(Box::new(Site::find(&root).map_err(storage)?.handle()) as Box<dyn Replica>)
    };
    let name = name.unwrap_or_else(machine_name);
    let joined = node::join(&net, ticket, &name, operator, make, settings).await;
    let (_, report) = match joined {
        Ok(joined) => joined,
        Err(error) => {
            net.close().await;
            return Err(match error {
                SyncError::Unreachable { why, .. } => SyncError::NobodyWaits { why },
                error => error,
            }
            .into());
        }
    };
    let site = Site::find(dir)?;
    let node = Node::on(net, site.opener(), settings.clone());
    Ok((site, node, report))
}

/// Exchanges with the inviter, wherever it is known to listen.
async fn exchange(site: &Site, node: &Node, ticket: &Ticket) -> Result<Report, Trouble> {
    let (here, inviter) = (site.clone(), ticket.inviter);
    let mut addrs =
        blocking(move || here.keeper().work(move |vault| Ok(vault.peer_addrs().remove(&inviter))))
            .await?
            .unwrap_or_default();
    for addr in &ticket.addrs {
        if !addrs.contains(addr) {
            addrs.push(*addr);
        }
    }
    Ok(node.sync_with(Peer::from(ticket.inviter), &addrs).await)
}

/// Gets the rest if the first exchange broke, writes the files, takes in what the folder held, and brings that back.
async fn complete(site: &Site, node: &Node, ticket: &Ticket, first: Report) -> Result<JoinReport, Trouble> {
    site.keep_port(node.net().port())?;
    let mut report = first;
    for _ in 0..TRIES {
        let broken =
            report.error.as_ref().is_some_and(|error| error.fault() == Fault::Unreachable && report.reached);
        if !broken {
            break;
        }
        report = exchange(site, node, ticket).await?;
    }
    let mut warnings = Vec::new();
    match report.error {
        Some(error @ (SyncError::Held { .. } | SyncError::Unapplied { .. })) => warnings.push(error.said()),
        Some(error) => return Err(error.into()),
        None => {}
    }
    finish(site).await?;
    let mut stand = round(site).await?;
    let mut problems = std::mem::take(&mut stand.untaken);
    // Also where nothing is to be brought: the inviter then knows that all has arrived (I12).
    let last = exchange(site, node, ticket).await?;
    if last.outcome.integrated > 0 || last.outcome.apart_received > 0 {
        let warnings = std::mem::take(&mut stand.warnings);
        stand = finish(site).await?;
        stand.warnings = merged(warnings, stand.warnings);
    }
    problems.append(&mut stand.unwritten);
    if let Some(error) = last.error {
        let left = Problem {
            path: String::new(),
            problem: format!("the other device does not know yet what this folder held: {error}"),
            hint: "run `aios sync` while it is reachable".into(),
        };
        warnings.push(left.to_string());
        problems.push(left);
    }
    warnings.extend(stand.warnings);
    let here = site.clone();
    let (name, roles, files) = blocking(move || {
        here.keeper().work(|vault| {
            let me = vault.members().0.get(&vault.device()).cloned();
            let (name, roles) = me.map(|member| (member.name, member.roles)).unwrap_or_default();
            Ok((name, roles, vault.document_count()?))
        })
    })
    .await?;
    Ok(JoinReport {
        vault: ticket.vault,
        vault_name: ticket.vault_name.clone(),
        device: site.device(),
        name,
        roles,
        head: stand.head,
        state: stand.state,
        files,
        problems,
        warnings,
    })
}
