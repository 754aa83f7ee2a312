//! Memory that was freed goes back to the system.
#![allow(unsafe_code)] // `malloc_trim` has no safe wrapper; see the call.

/// Has glibc's allocator give back what is free: by itself it keeps nearly the most that was ever needed, so that a daemon would hold
/// after a first sync of 10,000 files twice what it uses. Fewer heaps from the start hold less, and make threads wait for each other.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes a number of bytes to leave at the end of the heap, and may be called at any time from any thread.
    let _ = unsafe { libc::malloc_trim(0) };
}
