//! New files that ignore rules on disk would leave out which are not in force yet (I11): they are not taken in before the operator has
//! accepted the rules or taken them away. What is in the log once, a secret too, is there for good; a file left out can be taken in later.

use std::collections::BTreeMap;

use crate::accept::is_rules;
use crate::disk::{RuleSource, Rules};
use crate::error::Error;
use crate::survey::{Problem, Saved, Survey};
use crate::vault::Vault;

/// So many of them are named.
const NAMED: usize = 3;

fn text(saved: &Saved) -> Option<String> {
    Some(String::from_utf8_lossy(saved.bytes.as_deref()?).into_owned())
}

impl Vault {
    /// Takes out of what was added all that such rules would leave out, and says so.
    pub(crate) fn withhold(&mut self, survey: &mut Survey) -> Result<(), Error> {
        if survey.added.is_empty() {
            return Ok(());
        }
        let Some(rules) = self.proposed_rules(survey)? else { return Ok(()) };
        let (held, added): (Vec<Saved>, Vec<Saved>) = std::mem::take(&mut survey.added)
            .into_iter()
            .partition(|saved| !is_rules(&saved.found.path) && rules.ignored(&saved.found.path, false));
        survey.added = added;
        let Some(first) = held.first() else { return Ok(()) };
        let mut named: Vec<&str> = held.iter().map(|saved| saved.found.path.as_str()).collect();
        named.sort_unstable();
        let more = named.len().saturating_sub(NAMED);
        named.truncate(NAMED);
        let others = if more == 0 { String::new() } else { format!(" and {more} more") };
        survey.problems.push(Problem {
            path: if held.len() == 1 { first.found.path.clone() } else { String::new() },
            problem: match held.len() {
                1 => "is not taken in: ignore rules that are not in force yet leave it out".into(),
                _ => format!(
                    "{}{others} are not taken in: ignore rules that are not in force yet leave them out",
                    named.join(", ")
                ),
            },
            hint: "`aios accept` puts the rules in force; without them the files are taken in".into(),
        });
        Ok(())
    }

    /// The rules as they lie on disk; `None` where these are the ones in force.
    fn proposed_rules(&mut self, survey: &Survey) -> Result<Option<Rules>, Error> {
        let mut texts: BTreeMap<String, String> = BTreeMap::new();
        let mut differs = false;
        for (path, accepted, present) in self.gated()? {
            if !is_rules(&path) {
                continue;
            }
            differs |= accepted != present.map(|(hash, _)| hash);
            if let Some((hash, _)) = present
                && let Some(bytes) = self.version_bytes(&path, &hash)?
            {
                texts.insert(path, String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        let saved = survey.added.iter().chain(survey.modified.iter().map(|(_, saved)| saved));
        for saved in saved.filter(|saved| is_rules(&saved.found.path)) {
            differs = true;
            texts.extend(text(saved).map(|text| (saved.found.path.clone(), text)));
        }
        let sources: Vec<RuleSource<'_>> =
            texts.iter().map(|(path, text)| RuleSource { path, text }).collect();
        Ok(differs.then(|| Rules::new(&sources)))
    }
}

#[cfg(test)]
mod tests {
    use crate::absorb::AbsorbOptions;
    use crate::vault::Vault;
    use crate::world::{World, quiet};

    fn taken(vault: &mut Vault) -> (Vec<String>, Vec<String>) {
        let round = vault.commit(&AbsorbOptions::default(), &mut quiet()).unwrap();
        let problems = round.problems().map(ToString::to_string).collect();
        (round.absorbed.changed.into_iter().map(|change| change.path).collect(), problems)
    }

    #[test]
    fn rules_that_merged_hold_once_they_are_accepted_and_after_their_folder_moved() {
        let mut world = World::new(2);
        std::fs::create_dir(world.root(0).join("sub")).unwrap();
        for path in [".gitignore", "sub/.gitignore"] {
            std::fs::write(world.root(0).join(path), "x.txt\n").unwrap();
        }
        std::fs::write(world.root(0).join("sub/a.md"), "a\n").unwrap();
        world.sync();
        for path in [".gitignore", "sub/.gitignore"] {
            std::fs::write(world.root(0).join(path), "x.txt\n.env\n").unwrap();
            std::fs::write(world.root(1).join(path), "y.txt\nx.txt\n").unwrap();
        }
        world.sync();
        let accept = |world: &mut World| {
            let proposed = world.replicas[0].proposed(&[]).unwrap();
            world.replicas[0].accept(&proposed).unwrap();
        };
        accept(&mut world);
        world.sync();
        for n in [0, 1] {
            std::fs::write(world.root(n).join(".env"), "secret\n").unwrap();
            std::fs::write(world.root(n).join("sub/y.txt"), "secret\n").unwrap();
            // What is in force next does not take the place of what is now.
            let (changed, problems) = taken(&mut world.replicas[n]);
            assert!(changed.is_empty() && problems.is_empty(), "{changed:?} {problems:?}");
        }
        for path in [".gitignore", "sub/.gitignore"] {
            std::fs::write(world.root(1).join(path), "none\n").unwrap();
        }
        world.sync();
        assert_eq!(taken(&mut world.replicas[0]).0, [""; 0]);
        for path in [".gitignore", "sub/.gitignore"] {
            std::fs::write(world.root(1).join(path), "y.txt\nx.txt\n.env\n").unwrap();
        }
        world.sync();
        std::fs::rename(world.root(0).join("sub"), world.root(0).join("new")).unwrap();
        taken(&mut world.replicas[0]);
        accept(&mut world);
        std::fs::write(world.root(0).join("new/x.txt"), "secret\n").unwrap();
        let (changed, problems) = taken(&mut world.replicas[0]);
        assert!(changed.is_empty() && problems.is_empty(), "{changed:?} {problems:?}");
        world.rebuild(0);
        assert_eq!(taken(&mut world.replicas[0]).0, [""; 0]);
    }

    #[test]
    fn a_secret_saved_together_with_the_rule_that_hides_it_is_not_taken_in() {
        let mut world = World::new(1);
        let root = world.root(0);
        std::fs::write(root.join("a.md"), "a\n").unwrap();
        world.commit(0);
        std::fs::write(root.join(".gitignore"), "passwords.txt\n").unwrap();
        std::fs::write(root.join("passwords.txt"), "hunter2\n").unwrap();
        std::fs::write(root.join("b.md"), "b\n").unwrap();
        let vault = &mut world.replicas[0];
        let (changed, problems) = taken(vault);
        assert_eq!(changed, [".gitignore", "b.md"]);
        assert!(
            problems.iter().any(|problem| problem.starts_with("passwords.txt: is not taken in")),
            "{problems:?}"
        );
        let status = vault.status(&mut quiet()).unwrap();
        assert!(status.problems.iter().any(|problem| problem.path == "passwords.txt"));
        // As long as nobody decides it waits.
        assert_eq!(taken(vault).0, [""; 0]);
        let proposed = vault.proposed(&[]).unwrap();
        vault.accept(&proposed).unwrap();
        let (changed, problems) = taken(vault);
        assert!(changed.is_empty() && problems.is_empty(), "{changed:?} {problems:?}");
        // Rules that are taken away again keep nothing out, and a renamed document stays one.
        std::fs::write(root.join(".gitignore"), "").unwrap();
        taken(vault);
        let proposed = vault.proposed(&[]).unwrap();
        vault.accept(&proposed).unwrap();
        assert_eq!(taken(vault).0, ["passwords.txt"]);
        std::fs::write(root.join(".gitignore"), "c.md\n").unwrap();
        std::fs::rename(root.join("a.md"), root.join("c.md")).unwrap();
        let doc = vault.doc_at("a.md").unwrap();
        taken(vault);
        assert_eq!(vault.doc_at("c.md").unwrap(), doc);
    }
}
