//! What keeps a program from the rest of the machine, as the file of its agent says.

use std::fmt;

use serde::Serialize;

use crate::mistake::Mistakes;
use crate::node::{Data, Node};

/// What a program may reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sandbox {
    /// No network and no other process; of the files its own folder, what programs need of the system, and these.
    Closed {
        /// Absolute paths of files and folders that it may read and run.
        read: Vec<String>,
    },
    /// All that the user may.
    None,
}

impl Default for Sandbox {
    fn default() -> Self {
        Sandbox::Closed { read: Vec::new() }
    }
}

impl Sandbox {
    /// Reads what stands at `sandbox`.
    pub fn read(node: &Node, out: &mut Mistakes) -> Sandbox {
        match &node.data {
            Data::Map(_) => {
                node.only("`sandbox`", &["read"], out);
                let items = node.get("read").and_then(|it| it.list("read", out)).unwrap_or_default();
                Sandbox::Closed { read: items.iter().filter_map(|item| path(item, out)).collect() }
            }
            Data::Scalar(_) if node.as_text() == Some("none") => Sandbox::None,
            _ => {
                let hint = "leave it out, grant paths with `{read: [/opt/tools]}`, or write `none` to have it run without";
                out.hint(node.at, "that is no sandbox", hint);
                Sandbox::default()
            }
        }
    }
}

fn path(item: &Node, out: &mut Mistakes) -> Option<String> {
    let path = item.text("read", out)?;
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    if !path.strip_prefix('/').is_some_and(|rest| rest.trim_end_matches('/').split('/').all(plain)) {
        let hint = "an absolute path of a file or a folder, such as `/opt/tools`, and not all of the machine";
        out.hint(item.at, format!("`{path}` cannot be granted"), hint);
    }
    Some(path)
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sandbox::None => f.write_str("none: it may do all that you may"),
            Sandbox::Closed { read } if read.is_empty() => f.write_str("no network, no files but its own"),
            Sandbox::Closed { read } => {
                write!(f, "no network, no files but its own; may read {}", read.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(written: &str) -> Result<Sandbox, Vec<String>> {
        let text = format!("---\ntype: agent\nruntime: command\ncommand: [sh]\n{written}---\n");
        let shown = |it: crate::mistake::Mistake| format!("{} {}", it.at, it.what);
        let agent = crate::agent::Agent::read("x", &text);
        agent.map(|it| it.program.unwrap().sandbox).map_err(|all| all.into_iter().map(shown).collect())
    }

    #[test]
    fn whoever_says_nothing_is_shut_in() {
        assert_eq!(of(""), Ok(Sandbox::Closed { read: Vec::new() }));
        assert_eq!(of("sandbox: none\n"), Ok(Sandbox::None));
        let granted = Sandbox::Closed { read: vec!["/opt/tools".into(), "/srv/data.csv".into()] };
        assert_eq!(of("sandbox: {read: [/opt/tools, /srv/data.csv]}\n"), Ok(granted));
    }

    #[test]
    fn nothing_opens_it_by_mistake() {
        for (written, what) in [
            ("sandbox: off\n", "5:10 that is no sandbox"),
            ("sandbox:\n", "5:8 that is no sandbox"),
            ("sandbox: false\n", "5:10 that is no sandbox"),
            ("sandbox: {read: [/]}\n", "5:18 `/` cannot be granted"),
            ("sandbox: {read: [tools]}\n", "5:18 `tools` cannot be granted"),
            ("sandbox: {read: [/opt/../root]}\n", "5:18 `/opt/../root` cannot be granted"),
            ("sandbox: {write: [/opt]}\n", "5:11 `sandbox` has no key `write`"),
        ] {
            let mistakes = of(written).unwrap_err();
            assert!(mistakes[0].starts_with(what), "{written}: {mistakes:?}");
        }
    }
}
