//! What needs the operator: one list, which `aios inbox` shows and `aios status` counts.

use aios_agents::kernel::Need;
use aios_vault::resolve::Listed;
use aios_vault::status::Status;
use aios_vault::survey::{NOT_IN_FORCE, Problem};
use serde::Serialize;

/// From this rank on what work needs is a mistake in a file, and less urgent than a conflict.
const LATER: u8 = 4;

/// One thing that needs the operator.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Matter {
    /// Work does.
    Work(Box<Need>),
    /// The vault does.
    Vault(Own),
}

/// What the vault needs the operator for.
#[derive(Debug, Serialize)]
#[serde(tag = "need", rename_all = "lowercase")]
pub enum Own {
    /// A conflict is open.
    Conflict(Listed),
    /// A version of a file waits to be put in force.
    Accept {
        /// The file.
        path: String,
    },
    /// Something stands in the way.
    Problem(Problem),
}

/// All of it, most urgent first.
pub fn matters(status: &Status, conflicts: Vec<Listed>, needs: Vec<Need>) -> Vec<Matter> {
    let work = |need| Matter::Work(Box::new(need));
    let (later, urgent): (Vec<Need>, Vec<Need>) = needs.into_iter().partition(|need| need.rank() >= LATER);
    let accept = status.waiting.iter().map(|path| Own::Accept { path: path.clone() });
    // That rules are not in force is the same as that they wait.
    let problems = status.problems.iter().filter(|problem| problem.problem != NOT_IN_FORCE).cloned();
    let mut out: Vec<Matter> = urgent.into_iter().map(work).collect();
    out.extend(conflicts.into_iter().map(Own::Conflict).map(Matter::Vault));
    out.extend(later.into_iter().map(work));
    out.extend(accept.chain(problems.map(Own::Problem)).map(Matter::Vault));
    out
}
