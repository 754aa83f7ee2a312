//! Whether a new version of an agent does worse than the old one: a rule about counts, and nothing else.

use serde::{Deserialize, Serialize};

/// So many tasks have to have gone wrong before anything is stopped: one or two are bad luck.
const LEAST: u64 = 3;
/// How unlikely it has to be that a version as good as the old one did no better.
const DOUBT: f64 = 0.01;

/// What came of the tasks in which a version of an agent worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// It did what it was to do.
    pub done: u64,
    /// It failed for good, by its own fault.
    pub failed: u64,
    /// It was done, and the operator changed or refused what it proposed.
    pub changed: u64,
}

impl Tally {
    /// How many tasks.
    pub fn tasks(&self) -> u64 {
        self.done.saturating_add(self.wrong())
    }

    /// How many of them went wrong.
    pub fn wrong(&self) -> u64 {
        self.failed.saturating_add(self.changed)
    }

    /// With others.
    pub fn plus(self, other: Tally) -> Tally {
        Tally {
            done: self.done.saturating_add(other.done),
            failed: self.failed.saturating_add(other.failed),
            changed: self.changed.saturating_add(other.changed),
        }
    }

    /// Without others that were counted before.
    pub fn minus(self, other: Tally) -> Tally {
        Tally {
            done: self.done.saturating_sub(other.done),
            failed: self.failed.saturating_sub(other.failed),
            changed: self.changed.saturating_sub(other.changed),
        }
    }
}

/// Why the new version does worse than the old one; nothing where that is not to be said yet.
///
/// At least three of its tasks went wrong, and that many or more would go wrong with a chance below one in a hundred if each did so as often as
/// with the old version. How often that is, is `(wrong + 1) / (tasks + 2)`: of a version that nobody knows, half.
pub fn worse(old: &Tally, new: &Tally) -> Option<String> {
    if new.wrong() < LEAST {
        return None;
    }
    let often = (old.wrong() + 1) as f64 / (old.tasks() + 2) as f64;
    (at_least(new.wrong(), new.tasks(), often) < DOUBT).then(|| {
        format!(
            "{} of its {} tasks went wrong, and {} of {} of the old version",
            new.wrong(),
            new.tasks(),
            old.wrong(),
            old.tasks()
        )
    })
}

/// The chance that `most` or more of `tasks` go wrong, where each does so this often.
fn at_least(most: u64, tasks: u64, often: f64) -> f64 {
    // The chance of none, one, two and so on, in logarithms: that of none may be smaller than any number.
    let odds = (often / (1.0 - often)).ln();
    let mut chance = tasks as f64 * (1.0 - often).ln();
    let mut fewer = 0.0;
    for wrong in 0..most {
        fewer += chance.exp();
        chance += odds + ((tasks - wrong) as f64 / (wrong + 1) as f64).ln();
    }
    (1.0 - fewer).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(tasks: u64, wrong: u64) -> Tally {
        Tally { done: tasks - wrong, failed: wrong, changed: 0 }
    }

    #[test]
    fn what_does_worse_is_known_by_counts() {
        let stops =
            |old: (u64, u64), new: (u64, u64)| worse(&tally(old.0, old.1), &tally(new.0, new.1)).is_some();
        // Bad luck is none, however good the old one is.
        assert!(!stops((1000, 0), (2, 2)));
        assert!(stops((100, 0), (3, 3)));
        assert!(stops((20, 0), (10, 3)));
        assert!(!stops((20, 0), (40, 3)));
        // As bad as the old one is not worse.
        assert!(!stops((50, 25), (20, 10)));
        assert!(stops((50, 25), (20, 18)));
        // Of a version that nobody knows only much says that it is bad.
        assert!(!stops((0, 0), (6, 6)));
        assert!(stops((0, 0), (7, 7)));
        // What the operator changes is as wrong as what fails.
        assert!(worse(&tally(100, 0), &Tally { done: 1, failed: 1, changed: 2 }).is_some());
        assert_eq!(
            worse(&tally(100, 1), &tally(3, 3)).unwrap(),
            "3 of its 3 tasks went wrong, and 1 of 100 of the old version"
        );
        // Many tasks are no trouble.
        assert!(stops((1_000_000, 10_000), (1_000_000, 20_000)));
        assert!(!stops((1_000_000, 10_000), (1_000_000, 10_000)));
    }

    #[test]
    fn the_chance_is_that_of_the_binomial() {
        for (most, tasks, often, chance) in
            [(0, 5, 0.5, 1.0), (5, 5, 0.5, 0.031_25), (1, 2, 0.1, 0.19), (3, 10, 1.0 / 22.0, 0.0089)]
        {
            let found = at_least(most, tasks, often);
            assert!((found - chance).abs() < 0.0005, "{most} of {tasks} at {often}: {found}");
        }
    }

    /// It is looked after every task, so it is wrong more often than one look would be; how often is counted, with numbers that are the same
    /// each time.
    #[test]
    fn a_version_that_is_as_good_is_seldom_stopped_and_a_bad_one_soon() {
        let mut seed = 7_u64;
        let mut next = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as f64 / (1_u64 << 31) as f64
        };
        // How many of 1000 canaries of 100 tasks are stopped, and after how many tasks, half of them.
        let mut stopped = |often: f64| {
            let mut after = Vec::new();
            for _ in 0..1000 {
                let mut new = Tally::default();
                for _ in 0..100 {
                    let wrong = next() < often;
                    new = new.plus(tally(1, u64::from(wrong)));
                    if worse(&tally(200, 10), &new).is_some() {
                        after.push(new.tasks());
                        break;
                    }
                }
            }
            after.sort_unstable();
            (after.len(), after.get(after.len() / 2).copied().unwrap_or(0))
        };
        let (same, (worse, after)) = (stopped(0.05).0, stopped(0.3));
        println!("as good: {same} of 1000 stopped; bad: {worse}, after {after}");
        assert!(same < 80, "{same}");
        assert!(worse > 990 && after <= 20, "{worse} {after}");
    }
}
