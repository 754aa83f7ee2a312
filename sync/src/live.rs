//! Lasting connections: each is told when there is something new here, and tells when something came.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use aios_core::id::DeviceId;
use tokio::sync::{Notify, mpsc, watch};

/// The lasting connections of one device. Clones are the same.
#[derive(Debug, Clone)]
pub struct Live(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connected: Mutex<Connected>,
    came: mpsc::UnboundedSender<DeviceId>,
    over: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Connected {
    next: u64,
    changed: HashMap<u64, Held>,
}

/// What is known of a connection.
#[derive(Debug)]
struct Held {
    device: DeviceId,
    changed: Arc<Notify>,
    ended: Arc<Notify>,
}

impl Live {
    /// None yet; the other end hears from whom something came.
    pub fn new() -> (Live, mpsc::UnboundedReceiver<DeviceId>) {
        let (came, heard) = mpsc::unbounded_channel();
        let shared = Shared { connected: Mutex::default(), came, over: watch::Sender::new(false) };
        (Live(Arc::new(shared)), heard)
    }

    fn connected(&self) -> std::sync::MutexGuard<'_, Connected> {
        self.0.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection begins; it ends when the answer is dropped.
    pub fn begin(&self, device: DeviceId) -> Connection {
        let changed = Arc::new(Notify::new());
        let mut connected = self.connected();
        connected.next += 1;
        let number = connected.next;
        let ended = Arc::new(Notify::new());
        let held = Held { device, changed: changed.clone(), ended: ended.clone() };
        connected.changed.insert(number, held);
        drop(connected);
        Connection { live: self.clone(), number, device, changed, ended }
    }

    /// Whether there is a connection with this device.
    pub fn with(&self, device: &DeviceId) -> bool {
        self.connected().changed.values().any(|held| held.device == *device)
    }

    /// The devices there is a connection with.
    pub fn devices(&self) -> BTreeSet<DeviceId> {
        self.connected().changed.values().map(|held| held.device).collect()
    }

    /// There is something new here.
    pub fn changed(&self) {
        self.connected().changed.values().for_each(|held| held.changed.notify_one());
    }

    /// Ends the connections with devices that are not to have one any more.
    pub fn keep(&self, wanted: impl Fn(&DeviceId) -> bool) {
        let connected = self.connected();
        connected
            .changed
            .values()
            .filter(|held| !wanted(&held.device))
            .for_each(|held| held.ended.notify_one());
    }

    /// Ends all connections in good order, those that begin later too.
    pub fn stop(&self) {
        self.0.over.send_replace(true);
    }

    /// Lets connections begin again.
    pub fn resume(&self) {
        self.0.over.send_replace(false);
    }
}

/// One lasting connection.
#[derive(Debug)]
pub struct Connection {
    live: Live,
    number: u64,
    device: DeviceId,
    /// There is something new here.
    pub changed: Arc<Notify>,
    ended: Arc<Notify>,
}

impl Connection {
    /// Something came from the peer and is durable here.
    pub fn came(&self) {
        // Nobody listens any more only when all ends.
        let _ = self.live.0.came.send(self.device);
    }

    /// Waits until it is to end.
    pub async fn over(&self) {
        // The sender is gone only when all ends.
        let mut over = self.live.0.over.subscribe();
        tokio::select! {
            _ = over.wait_for(|over| *over) => {}
            () = self.ended.notified() => {}
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.live.connected().changed.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_not_to_be_connected_is_let_go() {
        let (live, _heard) = Live::new();
        let (stays, goes) = (live.begin(DeviceId([1; 32])), live.begin(DeviceId([2; 32])));
        live.keep(|device| *device == DeviceId([1; 32]));
        goes.over().await;
        drop(goes);
        assert!(live.with(&DeviceId([1; 32])) && !live.with(&DeviceId([2; 32])));
        live.stop();
        stays.over().await;
    }
}
