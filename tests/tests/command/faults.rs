//! What breaks around real daemons: the network, the process, the disk, the clock, the folder itself.

mod clock;
mod copy;
mod disk;
mod halt;
mod journal;
mod native;
mod network;
mod wire;

use aios_tests::device::{Device, eventually};

/// Says why a test does not run here.
fn skip(why: &str) {
    println!("skipped: {why}");
}

/// Why what only root may do cannot be done.
fn not_root() -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let own = std::fs::metadata("/proc/self").ok()?;
    (own.uid() != 0).then(|| "only root can".to_owned())
}

/// Waits until two daemons have found each other: a file goes from each to the other.
fn met(one: &Device, two: &Device) {
    for (n, (from, to)) in [(one, two), (two, one)].into_iter().enumerate() {
        let name = format!("hello {n}.md");
        from.write(&[(&name, b"hello\n")]);
        eventually("the daemons have found each other", || to.read(&name) == "hello\n");
    }
}

/// Waits until git has all everywhere, too.
fn settled(devices: &[&Device]) {
    eventually("all stand at the same", || {
        let stand = devices[0].stand();
        devices[1..].iter().all(|device| device.stand() == stand)
    });
}
