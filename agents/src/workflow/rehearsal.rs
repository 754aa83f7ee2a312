//! The workflow of a rehearsal: one step, in which an agent works on what is given.

use aios_core::id::ContentHash;
use serde_json::Value;

use super::{Known, Workflow};

/// Its one step.
pub const STEP: &str = "work";

/// The name by which a rehearsal is listed.
pub fn title(agent: &str) -> String {
    format!("rehearsal of {agent}")
}

/// The workflow, and its version; nothing for what can be no agent's name.
pub fn workflow(agent: &str) -> Option<(ContentHash, Workflow)> {
    let name = Value::from(agent);
    let text = format!(
        "---\ntype: workflow\ninput: {{type: object, properties: {{given: {{}}}}}}\nsteps:\n  {STEP}: {{agent: {name}, input: '{{{{ input.given }}}}'}}\n---\n"
    );
    let workflow = Workflow::read(&text, &Known::default()).ok()?;
    Some((ContentHash::of(text.as_bytes()), workflow))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::Act;

    #[test]
    fn it_names_its_agent() {
        for agent in ["writer", "a b", "it's", "\"x\": {y}"] {
            let (_, workflow) = workflow(agent).expect(agent);
            let Some(Act::Agent { agent: of, .. }) = workflow.steps.at(STEP).map(|step| &step.act) else {
                panic!("{agent}")
            };
            assert_eq!(of, agent);
        }
        assert_ne!(workflow("a").unwrap().0, workflow("b").unwrap().0);
    }
}
