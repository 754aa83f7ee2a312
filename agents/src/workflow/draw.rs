//! Workflows as Mermaid flowcharts.

use super::{Act, Step, Steps, Target, Wait};

/// The steps as a flowchart.
pub fn flowchart(steps: &Steps) -> String {
    let mut out = String::from("flowchart TD\n");
    draw(steps, "", 1, &mut out);
    out
}

/// Draws the steps whose ids begin with `prefix`.
fn draw(steps: &Steps, prefix: &str, depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    let id = |name: &str| format!("{prefix}{}", plain(name));
    let end = format!("{prefix}end_");
    let mut line = |text: String| {
        out.push_str(&pad);
        out.push_str(&text);
        out.push('\n');
    };
    line(format!("{prefix}start_((start))"));
    line(format!("{end}((end))"));
    if let Some(first) = steps.0.first() {
        line(format!("{prefix}start_ --> {}", id(&first.name)));
    }
    for step in &steps.0 {
        let own = id(&step.name);
        match &step.act {
            Act::Each { steps, variable, at_once, .. } => {
                let title = format!("{}: each {variable}, {at_once} at once", step.name);
                out.push_str(&format!("{pad}subgraph {own}[\"{}\"]\n", quoted(&title)));
                draw(steps, &format!("{own}__"), depth + 1, out);
                out.push_str(&format!("{pad}end\n"));
            }
            Act::Parallel(branches) => {
                out.push_str(&format!("{pad}subgraph {own}[\"{}: at once\"]\n", quoted(&step.name)));
                for (name, steps) in branches {
                    let branch = format!("{own}__{}", plain(name));
                    out.push_str(&format!("{pad}  subgraph {branch}[\"{}\"]\n", quoted(name)));
                    draw(steps, &format!("{branch}__"), depth + 2, out);
                    out.push_str(&format!("{pad}  end\n"));
                }
                out.push_str(&format!("{pad}end\n"));
            }
            _ => out.push_str(&format!("{pad}{own}{}\n", shape(step))),
        }
        let mut arrow = |label: &str, target: &Target| {
            let to = match target {
                Target::Step(name) => id(name),
                Target::End => end.clone(),
            };
            let label = match label {
                "" => String::new(),
                label => format!("|\"{}\"|", quoted(label)),
            };
            out.push_str(&format!("{pad}{own} -->{label} {to}\n"));
        };
        match &step.act {
            Act::Choose { cases, otherwise } => {
                cases.iter().for_each(|(when, target)| arrow(when.source(), target));
                arrow("else", otherwise);
            }
            _ => arrow("", &step.next),
        }
        if let Some(target) = &step.on_error {
            arrow("error", target);
        }
    }
}

fn shape(step: &Step) -> String {
    let name = &step.name;
    let label = |text: String| quoted(&text);
    match &step.act {
        Act::Agent { agent, .. } => format!("[\"{}\"]", label(format!("{name}: {agent}"))),
        Act::Find { .. } => format!("[(\"{}\")]", label(format!("{name}: find"))),
        Act::Effect { deed, .. } => format!("[/\"{}\"/]", label(format!("{name}: {}", deed.capability))),
        Act::Ask { .. } => format!("{{{{\"{}\"}}}}", label(format!("{name}: ask"))),
        Act::Wait(Wait::Event { name: event, .. }) => {
            format!("([\"{}\"])", label(format!("{name}: wait for {event}")))
        }
        Act::Emit { name: event, .. } => format!("[/\"{}\"/]", label(format!("{name}: emit {event}"))),
        Act::Wait(_) => format!("([\"{}\"])", label(format!("{name}: wait"))),
        Act::Choose { .. } => format!("{{\"{}\"}}", label(name.clone())),
        Act::Workflow { workflow, .. } => format!("[[\"{}\"]]", label(format!("{name}: {workflow}"))),
        Act::Each { .. } | Act::Parallel(_) => format!("[\"{}\"]", label(name.clone())),
    }
}

/// A name as part of an id: Mermaid takes letters, digits and `_`, and `end` is a word of its own.
fn plain(name: &str) -> String {
    name.replace('-', "_") + if name == "end" { "_" } else { "" }
}

/// A label in quotes: Mermaid's own way to write what would end it.
fn quoted(text: &str) -> String {
    text.replace('#', "#35;").replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;")
}
