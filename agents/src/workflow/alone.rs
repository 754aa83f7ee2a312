//! The workflow of an agent that is started by itself: one step, in which it works on the input.

use aios_core::id::ContentHash;
use serde_json::Value;

use super::{Known, Workflow};

/// The workflow, and its version, which the agent's name alone gives: whoever has the task has both. Nothing for what can be no agent's
/// name.
pub fn workflow(agent: &str) -> Option<(ContentHash, Workflow)> {
    let name = Value::from(agent);
    let text =
        format!("---\ntype: workflow\nsteps:\n  work: {{agent: {name}, input: '{{{{ input }}}}'}}\n---\n");
    let workflow = Workflow::read(&text, &Known::default()).ok()?;
    Some((ContentHash::of(text.as_bytes()), workflow))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::Act;

    #[test]
    fn it_is_one_step_whatever_the_agent_is_called() {
        for name in ["writer", "it's", "a \"b\"", "läuft: [1, 2] # so"] {
            let (version, found) = workflow(name).expect(name);
            assert!(matches!(&found.steps.0[0].act, Act::Agent { agent, .. } if agent == name), "{name}");
            assert_eq!(workflow(name).map(|(again, _)| again), Some(version));
        }
    }
}
