//! How many ask a provider at once, and how often: who comes too soon waits for its turn.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aios_agents::model::settings::Provider;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

/// The turnstile of one provider, in this process.
#[derive(Debug)]
struct Turnstile {
    at_once: Option<Arc<Semaphore>>,
    /// How long it is from one to the next.
    apart: Duration,
    /// When the next one may pass.
    next: Mutex<Instant>,
}

/// Those of all providers, by address and what their file says.
static ALL: Mutex<BTreeMap<Key, Arc<Turnstile>>> = Mutex::new(BTreeMap::new());

type Key = (String, Option<u64>, Option<u64>);

/// Waits for a turn with a provider; it lasts as long as what is given.
pub async fn pass(provider: &Provider) -> Option<OwnedSemaphorePermit> {
    let key = (provider.url.clone(), provider.at_once, provider.per_minute);
    let turnstile = {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(key).or_insert_with(|| Arc::new(Turnstile::of(provider))).clone()
    };
    let permit = match &turnstile.at_once {
        // It is never closed.
        Some(at_once) => at_once.clone().acquire_owned().await.ok(),
        None => None,
    };
    sleep_until(turnstile.turn(Instant::now())).await;
    permit
}

impl Turnstile {
    fn of(provider: &Provider) -> Turnstile {
        let most = |most: u64| usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS).max(1);
        Turnstile {
            at_once: provider.at_once.map(|it| Arc::new(Semaphore::new(most(it)))),
            apart: provider.per_minute.map_or(Duration::ZERO, |it| {
                Duration::from_secs(60) / u32::try_from(it).unwrap_or(u32::MAX).max(1)
            }),
            next: Mutex::new(Instant::now()),
        }
    }

    /// When whoever comes now may pass.
    fn turn(&self, now: Instant) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = now.max(*next);
        *next = turn + self.apart;
        turn
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aios_agents::model::Api;

    use super::*;

    fn provider(url: &str, at_once: Option<u64>, per_minute: Option<u64>) -> Provider {
        Provider { api: Api::Chat, url: url.into(), key: false, silence: 1, at_once, per_minute, poll: 1 }
    }

    #[tokio::test]
    async fn only_so_many_are_inside() {
        let provider = provider("a", Some(2), None);
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let asks = (0..9).map(|_| {
            let (provider, inside, most) = (provider.clone(), inside.clone(), most.clone());
            tokio::spawn(async move {
                let _turn = pass(&provider).await;
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                tokio::time::sleep(Duration::from_millis(2)).await;
                inside.fetch_sub(1, Ordering::SeqCst);
            })
        });
        for ask in asks.collect::<Vec<_>>() {
            ask.await.unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn one_comes_after_another() {
        let turnstile = Turnstile::of(&provider("b", None, Some(60)));
        let now = Instant::now() + Duration::from_secs(1);
        let turns: Vec<u64> = (0..3).map(|_| (turnstile.turn(now) - now).as_secs()).collect();
        assert_eq!(turns, [0, 1, 2]);
        // Who was idle has no turns left over.
        let later = now + Duration::from_secs(90);
        assert_eq!((turnstile.turn(later), turnstile.turn(later)), (later, later + Duration::from_secs(1)));
        let free = Turnstile::of(&provider("c", None, None));
        assert_eq!((free.turn(now), free.turn(now)), (now, now));
    }
}
