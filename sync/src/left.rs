//! What a round could not do, which makes a command end as not confirmed (I12).

use aios_vault::round::Round;
use aios_vault::survey::Problem;
use aios_vault::{Error, Vault};
use serde::{Deserialize, Serialize};

/// Something that is left to do: a file that was not taken in or not written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Left {
    /// Where; empty for the vault as a whole.
    pub path: String,
    /// What stood in the way.
    pub problem: String,
    /// What to do.
    pub hint: String,
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Left { path, problem, hint } = self;
        let (colon, semicolon) =
            (if path.is_empty() { "" } else { ": " }, if hint.is_empty() { "" } else { "; " });
        write!(f, "{path}{colon}{problem}{semicolon}{hint}")
    }
}

impl From<&Problem> for Left {
    fn from(problem: &Problem) -> Self {
        let Problem { path, problem, hint } = problem.clone();
        Left { path, problem, hint }
    }
}

impl Left {
    /// That nothing at all was taken in.
    pub fn all(e: &Error) -> Self {
        Left { path: String::new(), problem: e.to_string(), hint: e.hint().unwrap_or_default() }
    }
}

/// What a round did not take in. That a version of ignore rules waits to be accepted is no such thing: its file is in.
///
/// # Errors
/// What the database answers.
pub fn untaken(vault: &mut Vault, round: &Round) -> Result<Vec<Left>, Error> {
    let problems = &round.absorbed.problems;
    if problems.is_empty() {
        return Ok(Vec::new());
    }
    let mut waiting: Vec<String> = vault.proposed(&[])?.into_iter().map(|proposed| proposed.path).collect();
    // Rules that cannot be read have that problem, too.
    waiting.retain(|path| problems.iter().filter(|problem| problem.path == *path).count() == 1);
    Ok(problems.iter().filter(|problem| !waiting.contains(&problem.path)).map(Left::from).collect())
}

/// What a round did not write.
pub fn unwritten(round: &Round) -> Vec<Left> {
    round.settled.problems.iter().map(Left::from).collect()
}
