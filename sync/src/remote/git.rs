//! A git repository that carries a vault: the mirrors of logs as `refs/aios/log/DEVICE`, and a sealed `main` that only
//! fast-forwards. Work that others push to it from a plain clone is taken in.

use std::collections::{BTreeMap, BTreeSet};

use aios_core::frontier::View;
use aios_core::id::{DeviceId, GitId};
use aios_core::record::Record;
use aios_vault::fetched::Unread as Unreadable;
use aios_vault::{Error, Vault};

use super::program::{Program, Push, Pushed};
use super::pull::{Reader, Run, Shelf, Unread, gaps};
use super::state::State;
use super::{Remote, RemoteError, RouteReport, Skipped, secret};
use crate::keeper::Keeper;
use crate::session::blocking;
use crate::site::Site;

const MAIN: &str = "refs/heads/main";
/// Where mirrors of logs lie.
pub(crate) const LOG: &str = "refs/aios/log/";
/// Where what is looked at once is put, in a repository that is no vault's.
pub(crate) const SCRATCH: &str = "refs/look/";
/// How often a push is tried again because somebody was faster, or reads back as something else.
const TRIES: usize = 8;

/// What was fetched of a remote, as a shelf.
struct Fetched {
    keeper: Keeper,
    runs: Vec<Run>,
}

/// What is to be published.
struct Plan {
    pushes: Vec<Push>,
    /// Records that go with it.
    records: u64,
    /// Why not all of what is here can be there after it.
    lacks: Option<String>,
    /// Whether a log there holds what was forgotten.
    tells: bool,
}

/// What one look at the fetched refs found.
struct Looked {
    plan: Plan,
    /// All that was here then.
    view: View,
    state: State,
    report: RouteReport,
}

/// The refs of the vault under which what `remote` has lies.
pub fn prefix(name: &str) -> String {
    format!("refs/aios/remote/{name}/")
}

/// Exchanges with the repository of `remote`.
///
/// # Errors
/// What stopped it. What came before that stays, here and there.
pub async fn sync(
    site: &Site,
    remote: &Remote,
    allow: bool,
    report: &mut RouteReport,
) -> Result<(), RemoteError> {
    let root = site.keeper().root().to_owned();
    let git = Program::new(&root, &remote.url);
    let mut state = State::load(&root, &remote.name, &remote.url);
    let (mut late, mut told) = (String::new(), false);
    for _ in 0..TRIES {
        let refs = git.refs().await?;
        report.reached = true;
        if fetched(site, &remote.name).await? != refs {
            let (here, old) = (site.clone(), prefix(&remote.name));
            // A ref that went away there is no delete of anything: it is pushed again.
            blocking(move || here.keeper().work(move |vault| vault.drop_refs(&old))).await?;
            git.fetch(refs.keys(), &prefix(&remote.name)).await?;
        }
        let (here, to, there) = (site.clone(), remote.clone(), refs.clone());
        let looked = tokio::task::spawn_blocking(move || look(&here, &to, &there, state, allow)).await;
        let looked = looked.map_err(|e| RemoteError::Absent(format!("the work was cut short: {e}")))??;
        report.received += looked.report.received;
        // What was mended by this very sync is named all the same.
        report.skipped.extend(looked.report.skipped);
        report.skipped.sort();
        report.skipped.dedup();
        report.secrets = looked.report.secrets;
        state = looked.state;
        if !report.secrets.is_empty() {
            return Err(RemoteError::Secrets(report.secrets.len()));
        }
        let Plan { pushes, records, lacks, tells } = looked.plan;
        told |= tells;
        let view = looked.view;
        if pushes.is_empty() {
            if told {
                // What was fetched before it was replaced there lies here still.
                let here = site.clone();
                blocking(move || here.keeper().work(|vault| vault.drop_again())).await?;
            }
            // Just read from there: all that is here is there (I12).
            state.main = refs.get(MAIN).copied();
            state.save(&root, &remote.name)?;
            report.holds = Some(view).filter(|_| lacks.is_none());
            return lacks.map_or(Ok(()), |why| Err(RemoteError::Incomplete(why)));
        }
        match git.push(&pushes).await? {
            Pushed::Done => {
                report.sent += records;
                late = "it did not keep what was pushed".into();
            }
            Pushed::Late(why) => late = why,
        }
    }
    Err(RemoteError::Refused {
        what: format!("{} was not brought up to date in {TRIES} tries: {late}", remote.url),
        hint: "others may push there at the same time; sync again".into(),
    })
}

/// Takes in what the repository of `remote` holds, and gives nothing. Says what was not used.
///
/// # Errors
/// What stopped it. What came before that stays.
pub async fn take(site: &Site, remote: &Remote) -> Result<Vec<Skipped>, RemoteError> {
    let git = Program::new(site.keeper().root(), &remote.url);
    let refs = git.refs().await?;
    git.fetch(refs.keys(), &prefix(&remote.name)).await?;
    let (site, name) = (site.clone(), remote.name.clone());
    let work = tokio::task::spawn_blocking(move || {
        let mut skipped = Vec::new();
        let shelf = Fetched::of(site.keeper(), &name, &mut skipped)?;
        let mut reader = Reader::new(&shelf, site.keeper(), site.vault(), BTreeSet::new());
        reader.pull()?;
        site.keeper().work(|vault| vault.adopt_fetched())?;
        skipped.extend(reader.all_skipped());
        Ok(skipped)
    });
    work.await.map_err(|e| RemoteError::Absent(format!("the work was cut short: {e}")))?
}

/// What was fetched of a remote, by the names that it has there.
async fn fetched(site: &Site, name: &str) -> Result<BTreeMap<String, GitId>, RemoteError> {
    let (here, prefix) = (site.clone(), prefix(name));
    let refs = blocking(move || {
        here.keeper().work(move |vault| {
            let logs = vault.log_refs(&format!("{prefix}log/"))?;
            let main = vault.ref_at(&format!("{prefix}main"))?;
            let logs = logs.into_iter().map(|(device, log)| (format!("{LOG}{device}"), log.commit));
            Ok(logs.chain(main.map(|main| (MAIN.to_owned(), main))).collect())
        })
    });
    Ok(refs.await?)
}

/// Takes in what was fetched, and finds what is to be pushed.
fn look(
    site: &Site,
    remote: &Remote,
    refs: &BTreeMap<String, GitId>,
    mut state: State,
    allow: bool,
) -> Result<Looked, RemoteError> {
    let keeper = site.keeper();
    let mut report = RouteReport::default();
    let shelf = Fetched::of(keeper, &remote.name, &mut report.skipped)?;
    let own: BTreeSet<String> = shelf.own(keeper)?;
    let known = state.proven.iter().cloned().chain(own).collect();
    let mut reader = Reader::new(&shelf, keeper, site.vault(), known);
    report.received = reader.pull()?;
    let view = keeper.work(|vault| Ok(vault.view().clone()))?;
    if reader.met_another_vault() && !shelf.runs.iter().any(|run| view.get(&run.device) > 0) {
        // Its `main` would be taken for work that somebody pushed.
        return Err(RemoteError::Refused {
            what: format!("{} carries another vault", remote.url),
            hint: "use another repository for this one".into(),
        });
    }
    keeper.work(|vault| vault.adopt_fetched())?;
    site.finish()?;
    // Of a sealed vault only the log is there: `main` would tell what it says.
    let closed = keeper.work(|vault| vault.is_sealed_vault())?;
    let (theirs, before) = (refs.get(MAIN).copied().filter(|_| !closed), state.main);
    let (head, view, sealed) = keeper.work(move |vault| {
        if let Some(theirs) = theirs {
            vault.absorb_pushed(&theirs, before.as_ref(), &mut |_, _, _| {})?;
        }
        let mut round = vault.finish(Default::default(), &mut |_, _, _| {})?;
        if !closed && vault.seal(&mut |_, _, _| {})? {
            round = vault.finish(Default::default(), &mut |_, _, _| {})?;
        }
        let head = round.head.filter(|_| !closed).and_then(|head| GitId::from_slice(head.as_bytes()));
        // All of one moment: something may come over another route at any time.
        Ok((head, vault.view().clone(), closed || vault.is_sealed()?))
    })?;
    state.main = theirs.or(before);
    report.secrets = secret::check(site, remote, &mut state, head, allow)?;
    let proven = reader.prove(&view)?;
    report.skipped.extend(reader.all_skipped());
    state.proven = reader.proven();
    let goes_beyond = |device: &DeviceId| reader.goes_beyond(device, &view);
    let tells = |device: &DeviceId| shelf.tells_what_was_forgotten(keeper, device);
    let plan = plan(keeper, refs, (head, sealed), &view, &proven, goes_beyond, tells)?;
    Ok(Looked { plan, view, state, report })
}

/// What is to be pushed so that all that is here is there. `more` tells of whose log they have more than is here, `tells` whose log
/// there holds what was forgotten.
fn plan(
    keeper: &Keeper,
    refs: &BTreeMap<String, GitId>,
    (head, sealed): (Option<GitId>, bool),
    view: &View,
    proven: &[Run],
    more: impl Fn(&DeviceId) -> bool,
    tells: impl Fn(&DeviceId) -> Result<bool, RemoteError>,
) -> Result<Plan, RemoteError> {
    let mut out = Plan { pushes: Vec::new(), records: 0, lacks: None, tells: false };
    // A device that has only some of the bytes may find that all is there already.
    let there = head.is_some() && refs.get(MAIN).copied() == head;
    if !there && keeper.work(|vault| vault.lacks_bytes())? {
        out.lacks =
            Some("the bytes of some files are not on this device yet, so `main` was not pushed".into());
        return Ok(out);
    }
    if !sealed {
        out.lacks = Some("several lines of work wait to be sealed by a device that may write".into());
        return Ok(out);
    }
    let logs = keeper.work(|vault| vault.log_refs(LOG))?;
    for end in view.iter() {
        let missing = gaps(end.seq, proven.iter().filter(|run| run.device == end.device));
        let told = tells(&end.device)?;
        if missing.is_empty() && !told {
            continue;
        }
        if more(&end.device) {
            // Replacing it would take away what it has beyond this replica.
            out.lacks = Some(format!("not all of the log of {} has come there yet", end.device.short(8)));
            continue;
        }
        let Some(log) = logs.get(&end.device) else { continue };
        out.tells |= told;
        let name = format!("{LOG}{}", end.device);
        let seen = refs.get(&name).copied();
        out.records += missing.iter().map(|(first, last)| last - first + 1).sum::<u64>();
        out.pushes.push(Push { name, new: log.commit, replaces: Some(seen) });
    }
    let Some(head) = head else { return Ok(out) };
    let there = refs.get(MAIN).copied();
    let behind = match there {
        None => true,
        Some(there) if there == head => false,
        Some(there) => keeper.work(move |vault: &mut Vault| vault.descends(&head, &there))?,
    };
    let whole = keeper.work(move |vault| vault.is_publishable(&head, there.as_ref()))?;
    match (behind, there) {
        (true, _) if !whole => {
            out.lacks = Some(
                "versions were forgotten before they were published, so `main` cannot go there; the records do".into(),
            );
        }
        (true, _) => out.pushes.push(Push { name: MAIN.into(), new: head, replaces: None }),
        (false, Some(there)) if there != head => {
            out.lacks =
                Some(format!("the records of `main` there, at {}, have not come there yet", there.short(12)));
        }
        _ => {}
    }
    Ok(out)
}

impl Fetched {
    fn of(keeper: &Keeper, name: &str, skipped: &mut Vec<Skipped>) -> Result<Fetched, RemoteError> {
        let prefix = format!("{}log/", prefix(name));
        let logs = keeper.work(move |vault| vault.log_refs(&prefix))?;
        let mut runs = Vec::new();
        for (device, log) in &logs {
            match &log.stretches {
                Ok(stretches) => runs.extend(stretches.iter().map(|stretch| Run {
                    device: *device,
                    first: stretch.first,
                    last: stretch.last,
                    name: stretch.blob.to_string(),
                    size: 0,
                })),
                Err(why) => skipped.push(Skipped { what: format!("{LOG}{device}"), why: why.clone() }),
            }
        }
        Ok(Fetched { keeper: keeper.clone(), runs })
    }

    /// Whether the log of `device` there holds a text that was dropped here.
    fn tells_what_was_forgotten(&self, keeper: &Keeper, device: &DeviceId) -> Result<bool, RemoteError> {
        if keeper.work(|vault| vault.forgotten())?.is_empty() {
            return Ok(false);
        }
        let own = keeper.work(|vault| vault.log_refs(LOG))?.remove(device);
        let own = own.and_then(|log| log.stretches.ok()).unwrap_or_default();
        let made: BTreeSet<String> = own.into_iter().map(|stretch| stretch.blob.to_string()).collect();
        for run in self.runs.iter().filter(|run| run.device == *device && !made.contains(&run.name)) {
            // What cannot be read is named elsewhere.
            let Ok(records) = self.read(run) else { continue };
            if keeper.work(move |vault| vault.tells_what_was_forgotten(&records))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Marks of the runs that this replica's own mirror has too: it made them.
    fn own(&self, keeper: &Keeper) -> Result<BTreeSet<String>, Error> {
        let own = keeper.work(|vault| vault.log_refs(LOG))?;
        let stretches = own.into_values().filter_map(|log| log.stretches.ok()).flatten();
        let made: BTreeSet<(u64, u64, String)> =
            stretches.map(|stretch| (stretch.first, stretch.last, stretch.blob.to_string())).collect();
        let is_own = |run: &&Run| made.contains(&(run.first, run.last, run.name.clone()));
        Ok(self.runs.iter().filter(is_own).map(Run::mark).collect())
    }
}

impl Shelf for Fetched {
    fn runs(&self) -> &[Run] {
        &self.runs
    }

    fn read(&self, run: &Run) -> Result<Vec<Record>, Unread> {
        let blob: GitId = run.name.parse().map_err(|_| Unread::Lying("it has no name".into()))?;
        let read = self.keeper.work(move |vault| Ok(vault.stretch(&blob)));
        match read.map_err(|e| Unread::Failed(e.into()))? {
            Ok(records) => Ok(records),
            Err(Unreadable::Lying(why)) => Err(Unread::Lying(why)),
            Err(Unreadable::Waiting(why)) => Err(Unread::Waiting(why)),
        }
    }
}
