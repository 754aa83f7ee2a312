//! Whether somebody still has a file open for writing: a save in place that has begun and not ended.
#![allow(unsafe_code)] // Leases have no safe wrapper in the crates at hand; see each call.

use std::fs::File;
use std::time::{Duration, Instant};

/// How long between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// Waits until nobody has `file` open for writing, but no longer than `most`: a program may keep it open for ever.
///
/// `file` is open for reading only. Where the system cannot tell (only Linux can, of its caller's own files, by `F_SETLEASE`,
/// fcntl(2)), it does not wait.
pub fn until_written(file: &File, most: Duration) {
    let began = Instant::now();
    while is_open_for_writing(file) && began.elapsed() < most {
        std::thread::sleep(PAUSE);
    }
}

/// From the kernel's `asm-generic/fcntl.h`; not in the crate.
#[cfg(target_os = "linux")]
const F_SETSIG: libc::c_int = 10;

#[cfg(target_os = "linux")]
fn is_open_for_writing(file: &File) -> bool {
    use std::os::fd::AsRawFd as _;
    let fd = file.as_raw_fd();
    // SAFETY: `fd` is open for as long as `file` is borrowed, and these calls take numbers only. Who opens the file while the
    // lease is held waits for its end; the signal that says so is SIGURG, which does nothing, in place of SIGIO, which ends
    // the process.
    unsafe {
        if libc::fcntl(fd, F_SETSIG, libc::SIGURG) != 0 {
            return false;
        }
        if libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) == 0 {
            libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK);
            return false;
        }
    }
    std::io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
}

#[cfg(not(target_os = "linux"))]
fn is_open_for_writing(_file: &File) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn who_writes_is_seen_and_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert!(is_open_for_writing(&reader));
        drop(writer);
        assert!(!is_open_for_writing(&reader));
        let other = File::options().append(true).open(&path).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(20));
                drop(other);
            });
            until_written(&reader, Duration::from_secs(20));
            assert!(!is_open_for_writing(&reader));
        });
    }
}
