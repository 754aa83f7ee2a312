//! What a process was handed by whoever started it: open files that nobody meant for a program.
#![allow(unsafe_code)] // A descriptor is only a number where it was not opened here; see the call.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::{FdFlags, fcntl_setfd};

/// The folder that lists a process's open files, itself included.
const OPEN: &str =
    if cfg!(any(target_os = "linux", target_os = "android")) { "/proc/self/fd" } else { "/dev/fd" };

/// Has all open files but the three that every program has be closed in whatever this process starts. Nobody else may open or close
/// any meanwhile: it is called before there are threads.
pub fn keep() -> io::Result<()> {
    for entry in std::fs::read_dir(OPEN)? {
        let Some(file) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if file > 2 {
            // SAFETY: it was listed as open just now, by this thread, and this process has no other.
            let file = unsafe { BorrowedFd::borrow_raw(file) };
            fcntl_setfd(file, FdFlags::CLOEXEC)?;
        }
    }
    Ok(())
}
