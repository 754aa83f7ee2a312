//! Git's refs, made again where they cannot be read or name what is gone.

use super::{Mend, Rebuilt, set_aside};
use crate::chance::now_ms;
use crate::error::Error;
use crate::git;
use crate::layout::Layout;
use crate::mirror;

/// Takes files of refs that cannot be read out of git's way. What aios keeps there is made again from the log.
pub(super) fn readable(layout: &Layout, out: &mut Rebuilt) -> Result<(), Error> {
    let folder = layout.root().join(".git");
    for git::Torn { name, path, why } in git::torn(&folder) {
        let old = std::fs::read(&path).unwrap_or_default();
        let kept = set_aside(layout, &path)?;
        let done = match name.as_str() {
            "HEAD" => format!("at {} again", git::head_again(&folder)?),
            "packed-refs" => {
                git::pack_again(&folder, &old)?;
                "what could be read of it is there again".to_owned()
            }
            _ => "made again".to_owned(),
        };
        out.mended.push(format!("{name}: {why}; {done}, the old one is {}", kept.display()));
    }
    Ok(())
}

impl Mend<'_> {
    /// Sets aside mirrors that do not hold what the logs hold, a `main` whose commit is gone, and what else names nothing that is
    /// here: what follows from the log is made again.
    pub(super) fn refs(&mut self) -> Result<(), Error> {
        for device in mirror::devices(&self.repo)? {
            let (_, wrong) = mirror::read(&self.repo, &self.replica.vault, &device)?;
            if !wrong.is_empty() {
                self.drop_ref(&format!("{}{device}", git::LOG_PREFIX))?;
                self.out.mended.push(format!(
                    "mirror of the log of device {}: {}; made again",
                    device.short(8),
                    wrong.join("; ")
                ));
            }
        }
        for (name, target) in git::own_refs(&self.repo)? {
            let other =
                name.strip_prefix(git::HISTORY_PREFIX).is_some_and(|named| named != target.to_string());
            let why = match mirror::proven(&self.repo, target) {
                Ok(_) if name.starts_with(git::LOG_PREFIX) || !other => continue,
                Ok(_) => "it is not what the ref is named after".to_owned(),
                Err(why) => why,
            };
            self.drop_ref(&name)?;
            self.out.mended.push(format!("{name}: object {target}: {why}; taken out of the way"));
        }
        let main = git::read_ref(&self.repo, git::MAIN);
        let lost = match &main {
            Ok(None) => None,
            Ok(Some(tip)) => mirror::proven(&self.repo, *tip).err().map(|why| format!("commit {tip}: {why}")),
            Err(e) => Some(e.to_string()),
        };
        if let Some(why) = lost {
            self.drop_ref(git::MAIN)?;
            self.out.mended.push(format!("{}: {why}; made again", git::MAIN));
        }
        Ok(())
    }

    /// Takes a ref out of the way, under `refs/aios/aside` where what it names is an object that is here.
    fn drop_ref(&self, name: &str) -> Result<(), Error> {
        match self.repo.find_reference(name) {
            Ok(mut found) => {
                let tip = found.target().filter(|tip| mirror::proven(&self.repo, *tip).is_ok());
                if let (Some(tip), Some(rest)) = (tip, name.strip_prefix("refs/")) {
                    let kept = format!("{}{}/{rest}", git::ASIDE_PREFIX, now_ms());
                    let by = git::Signature::new("aios", "aios@localhost", 0);
                    git::set_ref(&self.repo, &kept, tip, None, &by, "aios")?;
                }
                Ok(found.delete().map_err(git::Error::git(format!("removing {name}")))?)
            }
            // Its file holds no ref: set aside as a file.
            Err(_) => {
                let path = self.repo.commondir().join(name);
                if path.is_file() {
                    self.set_aside(&path)?;
                }
                Ok(())
            }
        }
    }
}
