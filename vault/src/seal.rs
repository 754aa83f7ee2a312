//! Sealing: the merge of several lines of work becomes an ancestor of all that follows, so that a published `main` only
//! fast-forwards.

use aios_core::id::RecordId;
use aios_core::item::Item;
use aios_core::member::WRITE;
use git2::Oid;

use crate::author::Draft;
use crate::error::Error;
use crate::vault::{Progress, Vault};

impl Vault {
    /// Whether the commit of all integrated records stays an ancestor of all that follows.
    ///
    /// # Errors
    /// What the database answers.
    pub fn is_sealed(&self) -> Result<bool, Error> {
        Ok(self.commit_heads(&self.heads()?)?.len() < 2)
    }

    /// Whether this device is a member that may write.
    pub(crate) fn may_write(&self) -> bool {
        let device = &self.replica.device;
        let member = self.members().0.get(device).filter(|_| self.members().is_present(device));
        member.is_some_and(|member| member.roles.iter().any(|role| role == WRITE))
    }

    /// Goes on from a commit that only held records stand for, as if it had been merged and nothing of it kept, so that a branch
    /// which shows it fast-forwards.
    pub(crate) fn seal_over(&mut self, tip: Oid, progress: Progress<'_>) -> Result<RecordId, Error> {
        let mut draft =
            Draft { actor: "aios".into(), message: "Seal without what is held".into(), ..Draft::default() };
        draft.push(Item::Seal);
        self.transaction(|vault| {
            vault.push_history(tip, &mut draft)?;
            let record = vault.author_records(draft)?;
            vault.refresh(progress)?;
            vault.project(progress)?;
            Ok(record)
        })
    }

    /// Where the commit of all integrated records is a merge that no record builds on, writes an empty record that does, if
    /// this device may write. Says whether it did. The record has to be projected afterwards.
    ///
    /// # Errors
    /// What disk and database answer.
    pub fn seal(&mut self, progress: Progress<'_>) -> Result<bool, Error> {
        if !self.may_write() || self.is_sealed()? || self.has_open_parts()? {
            return Ok(false);
        }
        let mut draft = Draft { actor: "aios".into(), message: "Seal".into(), ..Draft::default() };
        draft.push(Item::Seal);
        self.transaction(|vault| {
            vault.author_records(draft)?;
            vault.refresh(progress)
        })?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use crate::world::{World, quiet};

    #[test]
    fn a_merge_is_sealed_once_and_stays_an_ancestor() {
        let mut world = World::new(2);
        for one in 0..2 {
            std::fs::write(world.root(one).join(format!("{one}.md")), "text\n").unwrap();
            world.replicas[one].commit(&Default::default(), &mut quiet()).unwrap();
        }
        world.sync();
        let vault = &mut world.replicas[0];
        let merge = vault.finish(Default::default(), &mut quiet()).unwrap().head.unwrap();
        assert!(vault.seal(&mut quiet()).unwrap() && !vault.seal(&mut quiet()).unwrap());
        let sealed = vault.finish(Default::default(), &mut quiet()).unwrap().head.unwrap();
        assert!(vault.repo.graph_descendant_of(sealed, merge).unwrap());
        assert_eq!(vault.root_of(sealed).unwrap(), vault.root_of(merge).unwrap());
        // What was made without knowing of it merges into what descends from it.
        std::fs::write(world.root(1).join("later.md"), "later\n").unwrap();
        world.replicas[1].commit(&Default::default(), &mut quiet()).unwrap();
        world.sync();
        let heads: Vec<_> = world
            .replicas
            .iter_mut()
            .map(|vault| vault.finish(Default::default(), &mut quiet()).unwrap().head.unwrap())
            .collect();
        assert_eq!(heads[0], heads[1]);
        assert!(world.replicas[0].repo.graph_descendant_of(heads[0], sealed).unwrap());
    }
}
