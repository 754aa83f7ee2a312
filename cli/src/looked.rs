//! When this device last looked into its letterbox: a file beside the keys. Nobody else can know, and a record for each look would be
//! thousands a day.

use std::path::Path;

use aios_vault::disk::durable;

const NAME: &str = "looked";
/// It is not written again before so much time has passed, in ms.
const GRAIN: u64 = 60_000;

/// When that was, in ms since the Unix epoch; `None` where it never was, or cannot be read.
pub fn last(folder: &Path) -> Option<u64> {
    std::fs::read_to_string(folder.join(NAME)).ok()?.trim().parse().ok()
}

/// Remembers that it looks now; `before` is what was last remembered, and is it now.
pub fn note(folder: &Path, before: &mut Option<u64>, now: u64) -> std::io::Result<()> {
    let known = *before.get_or_insert_with(|| last(folder).unwrap_or(0));
    // A clock that was set back is written down, too.
    if now.abs_diff(known) >= GRAIN {
        durable::replace(&folder.join(NAME), now.to_string().as_bytes()).map_err(std::io::Error::other)?;
        *before = Some(now);
    }
    Ok(())
}
