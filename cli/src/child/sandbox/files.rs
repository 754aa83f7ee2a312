//! Which files a thread may touch: Landlock (<https://docs.kernel.org/userspace-api/landlock.html>).

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::{DEVICES, Refusal, SYSTEM, Walls};
use crate::child::sandbox::calls::Signals;

/// What this program knows of; a kernel that knows less does the rest as far as it can.
const KNOWN: ABI = ABI::V7;
/// What a kernel has to know: the rights of the first version. Calls of which it cannot tell where they lead are refused by
/// [seccomp](super::calls::shut) whole.
const NEEDED: ABI = ABI::V1;
/// The first that tells whom signals reach.
const SIGNALS: ABI = ABI::V6;

/// Shuts this thread in. Gives whom it may send signals to.
pub fn shut(walls: &Walls, folder: &Path) -> Result<Signals, Refusal> {
    let kernel = |e: landlock::RulesetError| Refusal::Kernel(e.to_string());
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(NEEDED))
        .map_err(kernel)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(KNOWN)))
        .and_then(|rules| rules.scope(Scope::from_all(KNOWN)))
        .and_then(|rules| rules.create())
        .map_err(kernel)?;
    let own = AccessFs::from_all(KNOWN) & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev);
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    let of_system = SYSTEM.iter().map(|path| (Path::new(path), AccessFs::from_read(KNOWN)));
    let devices = DEVICES.iter().map(|path| (Path::new(path), device));
    let there = of_system.chain(devices).filter(|(path, _)| path.exists());
    let granted = walls.read.iter().map(|path| (path.as_path(), AccessFs::from_read(KNOWN)));
    for (path, access) in there.chain(granted).chain([(folder, own)]) {
        rules = rules.add_rule(beneath(path, access)?).map_err(kernel)?;
    }
    let status = rules.restrict_self().map_err(kernel)?;
    if status.ruleset == RulesetStatus::NotEnforced || !status.no_new_privs {
        return Err(Refusal::Kernel("Landlock is not there".into()));
    }
    match status.landlock {
        LandlockStatus::Available { effective_abi, .. } if effective_abi >= SIGNALS => Ok(Signals::Within),
        _ => Ok(Signals::None),
    }
}

fn beneath(path: &Path, access: BitFlags<AccessFs>) -> Result<PathBeneath<PathFd>, Refusal> {
    let refusal = |reason: String| Refusal::Grant { path: path.to_owned(), reason };
    let found = PathFd::new(path).map_err(|e| refusal(e.to_string()))?;
    // What can be done in a folder cannot be granted for a file.
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(KNOWN) };
    Ok(PathBeneath::new(found, access))
}
