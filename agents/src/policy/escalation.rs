//! What becomes of a question that nobody answers: it is asked louder by and by, and in the end denied.

use serde::Serialize;

use crate::mistake::Mistakes;
use crate::node::Node;
use crate::span::{self, Millis};

/// What is done after a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// So long after it was first asked.
    pub after: Millis,
    /// What.
    #[serde(flatten)]
    pub louder: Louder,
}

/// How it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Louder {
    /// It is asked above all else, in these words.
    Ask(String),
    /// It is denied, for this reason.
    Deny(String),
}

/// Reads the stages of a rule.
pub(super) fn read(node: &Node, out: &mut Mistakes) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    let nodes = node.list("escalate", out).unwrap_or_default();
    for (place, it) in nodes.iter().enumerate() {
        let Some(stage) = stage(it, out) else { continue };
        if stages.last().is_some_and(|before| before.after >= stage.after) {
            out.add(
                it.at,
                "each `after` is longer than the one before: all count from when it was first asked",
            );
        }
        if matches!(stage.louder, Louder::Deny(_)) != (place + 1 == nodes.len()) {
            out.hint(
                it.at,
                "an escalation ends in `deny`, and only there",
                "such as `{after: 3d, deny: nobody decided}`",
            );
        }
        stages.push(stage);
    }
    if nodes.is_empty() {
        out.hint(node.at, "an escalation has stages", "such as `{after: 3d, deny: nobody decided}`");
    }
    stages
}

fn stage(node: &Node, out: &mut Mistakes) -> Option<Stage> {
    node.map("a stage of `escalate`", out)?;
    node.only("a stage of `escalate`", &["after", "ask", "deny"], out);
    let after = match node.get("after") {
        Some(it) => match span::parse(&it.text("after", out)?) {
            Ok(after) => after,
            Err(error) => {
                out.add(it.at, error.to_string());
                return None;
            }
        },
        None => {
            out.hint(node.at, "a stage of `escalate` needs `after`", "such as `after: 4h`");
            return None;
        }
    };
    let louder = match (node.get("ask"), node.get("deny")) {
        (Some(ask), None) => Louder::Ask(ask.text("ask", out)?),
        (None, Some(deny)) => Louder::Deny(deny.text("deny", out)?),
        _ => {
            out.hint(
                node.at,
                "a stage of `escalate` either asks or denies",
                "write `ask: TEXT` or `deny: TEXT`",
            );
            return None;
        }
    };
    Some(Stage { after, louder })
}
