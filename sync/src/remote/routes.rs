//! The remotes of a running daemon: synced when it starts, some time after something changed, and now and then for what
//! others put there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::{RemoteError, Remotes, sync};
use crate::daemon::Notice;
use crate::profile::Pause;
use crate::site::Site;

/// How long after a change, so that many go together.
const AFTER: Duration = Duration::from_secs(30);
/// How often at least.
const EVERY: Duration = Duration::from_secs(300);
/// How long one may take.
const LIMIT: Duration = Duration::from_secs(600);

/// Keeps the remotes of `site` up to date until it is dropped, but for while it is to pause. `changed` says that there is
/// something new here; `came` is told when something came.
pub(crate) async fn keep(
    site: Site,
    notice: Notice,
    mut pause: Pause,
    (changed, came): (Arc<Notify>, Arc<Notify>),
) {
    let mut due = Instant::now();
    let mut said: BTreeMap<String, String> = BTreeMap::new();
    loop {
        tokio::select! {
            () = sleep_until(due) => {}
            () = changed.notified() => {
                due = due.min(Instant::now() + AFTER);
                continue;
            }
        }
        if pause.holds().await {
            due = Instant::now() + AFTER;
            continue;
        }
        match Remotes::load(site.keeper().root()) {
            Ok(remotes) => {
                for remote in remotes.all() {
                    let report = sync(&site, remote, false, LIMIT).await;
                    if report.received > 0 {
                        came.notify_one();
                    }
                    tell(&notice, &mut said, &remote.name, report.error.as_ref());
                }
            }
            Err(error) => tell(&notice, &mut said, "", Some(&error)),
        }
        due = Instant::now() + EVERY;
    }
}

/// Says what is wrong with a remote once, for as long as it is the same. One that is not there is no news.
fn tell(notice: &Notice, said: &mut BTreeMap<String, String>, name: &str, error: Option<&RemoteError>) {
    let text = match error {
        None | Some(RemoteError::Absent(_)) => {
            said.remove(name);
            return;
        }
        Some(error) => match error.hint() {
            Some(hint) => format!("remote {name}: {error}; {hint}"),
            None => format!("remote {name}: {error}"),
        },
    };
    if said.get(name) != Some(&text) {
        notice(&text);
        said.insert(name.to_owned(), text);
    }
}
