//! Reading agents' files.

use serde_json::Value;

use super::{Agent, Budget, Choice, Example, Runtime, Shape, Tool};
use crate::address::Reach;
use crate::component::Component;
use crate::expression::{Names, Template};
use crate::failure::{Retry, read_span};
use crate::mistake::{At, Mistake, Mistakes, nearest};
use crate::model::settings::is_tier;
use crate::money::Money;
use crate::node::{Data, Front, Node};
use crate::program::Program;
use crate::schema::Schema;
use crate::workflow::is_capability;

const KEYS: [&str; 34] = [
    "type",
    "name",
    "title",
    "description",
    "runtime",
    "command",
    "component",
    "limits",
    "sandbox",
    "model",
    "inputs",
    "outputs",
    "reads",
    "writes",
    "fetches",
    "agents",
    "cache",
    "urgency",
    "tools",
    "effects",
    "idempotent",
    "approval",
    "budget",
    "timeout",
    "retry",
    "placement",
    "expose_fields",
    "examples",
    "retrieval",
    "context",
    "skills",
    "template",
    "zone",
    "tags",
];

/// Keys that only agents of some runtimes have.
const OF_RUNTIMES: [(&str, &[Runtime]); 15] = [
    ("model", &[Runtime::Model]),
    ("tools", &[Runtime::Model, Runtime::Wasm]),
    ("skills", &[Runtime::Model]),
    ("retrieval", &[Runtime::Model]),
    ("context", &[Runtime::Model]),
    ("template", &[Runtime::Model]),
    ("budget", &[Runtime::Model, Runtime::Wasm]),
    ("fetches", &[Runtime::Model, Runtime::Wasm]),
    ("agents", &[Runtime::Model, Runtime::Wasm]),
    ("cache", &[Runtime::Model]),
    ("urgency", &[Runtime::Model]),
    ("command", &[Runtime::Command]),
    ("component", &[Runtime::Wasm]),
    ("limits", &[Runtime::Command, Runtime::Wasm]),
    ("sandbox", &[Runtime::Command]),
];
/// So many calls of tools a component has where its file says nothing else: each is cheap.
const CALLS: u32 = 100;

/// Reads an agent.
pub fn agent(name: &str, text: &str, front: Front, out: &mut Mistakes) -> Option<Agent> {
    let root = &front.root;
    root.map("the frontmatter", out)?;
    root.only("an agent", &KEYS, out);
    match root.get("type") {
        Some(kind) if kind.as_text() == Some("agent") => {}
        Some(kind) => out.hint(
            kind.at,
            "this is no agent",
            "`type` is `agent`; beside agents there may be `models`, `context` and `skill`",
        ),
        None => out.hint(At::START, "it has no `type`", "write `type: agent`"),
    }
    if let Some(node) = root.get("name")
        && let Some(own) = node.text("name", out)
        && own != name
    {
        let hint = format!("others know it by the name of its file, `{name}`");
        out.hint(node.at, format!("it calls itself `{own}`"), hint);
    }
    let runtime = runtime(root, out);
    let model = root.get("model").and_then(|it| choice(it, out));
    let shape = |name: &str, out: &mut Mistakes| root.get(name).map_or(Shape::Any, |it| shape(it, out));
    let (inputs, outputs) = (shape("inputs", out), shape("outputs", out));
    let program = match runtime {
        Some(Runtime::Command) => Program::read(&front, outputs.clone(), out),
        _ => None,
    };
    let component = match runtime {
        Some(Runtime::Wasm) => Component::read(&front, out),
        _ => None,
    };
    let urgency = root.get("urgency").and_then(|it| word(it, "urgency", &["low", "normal"], out));
    let approval = root.get("approval").and_then(|it| word(it, "approval", &["policy", "always"], out));
    let agent = Agent {
        description: root.get("description").and_then(|it| it.text("description", out)),
        runtime: runtime?,
        program,
        component,
        model: model.unwrap_or_else(|| Choice::Tier("small".into())),
        examples: examples(root, &inputs, &outputs, out),
        inputs,
        outputs,
        reads: globs(root, "reads", out),
        writes: globs(root, "writes", out),
        fetches: fetches(root, out),
        agents: texts(root, "agents", out),
        tools: tools(root, out),
        effects: root.get("effects").map(|it| effects(it, out)),
        idempotent: root.get("idempotent").and_then(|it| it.boolean("idempotent", out)).unwrap_or(false),
        cache: root.get("cache").and_then(|it| it.boolean("cache", out)).unwrap_or(false),
        patient: urgency.as_deref() == Some("low"),
        always_asks: approval.as_deref() == Some("always"),
        budget: {
            let turns = if runtime == Some(Runtime::Wasm) { CALLS } else { Budget::default().turns };
            let most = Budget { turns, ..Budget::default() };
            root.get("budget").map_or(most, |it| budget(it, most, out))
        },
        timeout: read_span(root, "timeout", out),
        retry: root.get("retry").map(|it| Retry::read(it, out)),
        placement: texts(root, "placement", out),
        expose_fields: texts(root, "expose_fields", out),
        retrieval: root.get("retrieval").and_then(|it| it.whole("retrieval", 1, 100_000, out)),
        context: texts(root, "context", out),
        skills: texts(root, "skills", out),
        template: root.get("template").and_then(|it| it.text("template", out)),
        body: front.body,
    };
    fits(root, &agent, out);
    if agent.runtime == Runtime::Template {
        let line = (text.lines().count() + 1).saturating_sub(agent.body.lines().count());
        let at = At { line: u64::try_from(line).unwrap_or(1).max(1), column: 1 };
        template(&agent, &agent.body, at, out);
    }
    if let (Some(text), Some(node)) = (&agent.template, root.get("template")) {
        template(&agent, text, node.at, out);
    }
    Some(agent)
}

fn runtime(root: &Node, out: &mut Mistakes) -> Option<Runtime> {
    let names: Vec<&str> = Runtime::NAMES.iter().map(|(name, _)| *name).collect();
    match root.get("runtime") {
        Some(node) => {
            let name = word(node, "runtime", &names, out)?;
            Runtime::NAMES.iter().find(|(other, _)| *other == name).map(|(_, runtime)| *runtime)
        }
        None => {
            let hint = format!("write `runtime:` and one of {}", names.join(", "));
            out.hint(At::START, "it has no `runtime`: nothing says what does its work", hint);
            None
        }
    }
}

/// What makes no sense together.
fn fits(root: &Node, agent: &Agent, out: &mut Mistakes) {
    let at = |name: &str| root.get(name).map_or(At::START, |it| it.at);
    for (name, runtimes) in OF_RUNTIMES {
        if root.get(name).is_some() && !runtimes.contains(&agent.runtime) {
            let names: Vec<String> = runtimes.iter().map(|it| format!("`runtime: {}`", it.name())).collect();
            let own = agent.runtime.name();
            out.add(at(name), format!("`{name}` is for {}, and this is `{own}`", names.join(" and ")));
        }
    }
    if agent.runtime != Runtime::Journal && root.get("zone").is_some() {
        out.add(at("zone"), "`zone` is for `runtime: journal`");
    }
    if agent.retrieval.is_some() && agent.reads.is_empty() {
        out.hint(at("retrieval"), "it is shown files, and may look at none", "`reads:` names the paths");
    }
    let looks = agent.tools.iter().any(|tool| matches!(tool, Tool::Read | Tool::Search));
    if looks && agent.reads.is_empty() {
        out.hint(at("tools"), "it may look at files, and at none", "`reads:` names the paths");
    }
    if agent.tools.contains(&Tool::Fetch) && agent.fetches.is_empty() {
        let hint = "`fetches:` names the addresses, such as `https://example.org/prices/*`";
        out.hint(at("tools"), "it may look at addresses, and at none", hint);
    }
    let acts = agent.tools.iter().find(|tool| !matches!(tool, Tool::Read | Tool::Search));
    let acts = acts.map(|tool| format!("the tool `{}`", tool.name()));
    let acts = acts.or_else(|| agent.effects.iter().flatten().next().map(|it| format!("the effect `{it}`")));
    let acts = acts.or_else(|| agent.agents.first().map(|it| format!("the agent `{it}`")));
    if let (true, Some(what)) = (agent.cache, acts) {
        let hint = "with `cache` an agent only reads";
        out.hint(at("cache"), format!("what it was answered once does not do for {what}"), hint);
    }
    let needs = [(Tool::Write, crate::connector::CREATE), (Tool::Set, crate::connector::SET)];
    for (tool, capability) in needs.into_iter().filter(|(tool, _)| agent.tools.contains(tool)) {
        if agent.writes.is_empty() {
            let what = format!("it has the tool `{}`, and may write nowhere", tool.name());
            out.hint(at("tools"), what, "`writes:` names the paths");
        }
        if !agent.effects.as_ref().is_some_and(|effects| effects.iter().any(|it| it == capability)) {
            let what = format!("the tool `{}` proposes `{capability}`", tool.name());
            out.hint(at("tools"), what, "name that in `effects:`");
        }
    }
}

fn word(node: &Node, name: &str, known: &[&str], out: &mut Mistakes) -> Option<String> {
    let text = node.text(name, out)?;
    if known.contains(&text.as_str()) {
        return Some(text);
    }
    let hint = match nearest(&text, known.iter().copied()) {
        Some(near) => format!("`{near}` is meant?"),
        None => format!("it is one of {}", known.join(", ")),
    };
    out.hint(node.at, format!("there is no {name} `{text}`"), hint);
    None
}

fn choice(node: &Node, out: &mut Mistakes) -> Option<Choice> {
    let text = node.text("model", out)?;
    let word = |part: &str| !part.is_empty() && !part.contains(char::is_whitespace);
    match text.split_once('/') {
        Some((provider, model)) if word(provider) && word(model) => {
            Some(Choice::One(provider.to_owned(), model.to_owned()))
        }
        None if is_tier(&text) => Some(Choice::Tier(text)),
        _ => {
            let hint = "a tier such as `small` or `large`, or a provider and a model there: `openai/gpt-5`";
            out.hint(node.at, format!("`{text}` names no model"), hint);
            None
        }
    }
}

fn shape(node: &Node, out: &mut Mistakes) -> Shape {
    match &node.data {
        Data::Scalar(Value::String(name)) => {
            if name.is_empty() || name.contains(char::is_whitespace) {
                out.add(node.at, format!("`{name}` is no type of files"));
            }
            Shape::Entity(name.clone())
        }
        Data::Map(_) => Shape::Schema(Box::new(Schema::read(node, out)), node.to_value()),
        _ => {
            let hint = "write a JSON Schema, or the `type` of files, such as `invoice`";
            out.hint(node.at, format!("it must be a map or text, and is {}", node.kind()), hint);
            Shape::Any
        }
    }
}

fn texts(root: &Node, name: &str, out: &mut Mistakes) -> Vec<String> {
    let items = root.get(name).map_or(&[][..], Node::items);
    items.iter().filter_map(|item| item.text(name, out)).collect()
}

fn globs(root: &Node, name: &str, out: &mut Mistakes) -> Vec<String> {
    let items = root.get(name).map_or(&[][..], Node::items);
    let mut globs = Vec::new();
    for item in items {
        let Some(glob) = item.text(name, out) else { continue };
        if glob.starts_with('/') || glob.split('/').any(|part| part.is_empty() || part == "." || part == "..")
        {
            let hint = "a path below the vault, in which `*` stands for any text: `clients/*.md`";
            out.hint(item.at, format!("`{glob}` is no path of the vault"), hint);
        }
        globs.push(glob);
    }
    globs
}

fn fetches(root: &Node, out: &mut Mistakes) -> Vec<Reach> {
    let items = root.get("fetches").map_or(&[][..], Node::items);
    let mut reaches = Vec::new();
    for item in items {
        let Some(text) = item.text("fetches", out) else { continue };
        match Reach::read(&text) {
            Ok(reach) => reaches.push(reach),
            Err(what) => {
                let hint = "an address whose host is whole, such as `https://example.org/prices/*`";
                out.hint(item.at, format!("`{text}`: {what}"), hint);
            }
        }
    }
    reaches
}

fn tools(root: &Node, out: &mut Mistakes) -> Vec<Tool> {
    let names: Vec<&str> = Tool::NAMES.iter().map(|(name, _)| *name).collect();
    let items = root.get("tools").map_or(&[][..], Node::items);
    let read = |item: &Node| {
        let name = word(item, "tool", &names, out)?;
        Tool::NAMES.iter().find(|(other, _)| *other == name).map(|(_, tool)| *tool)
    };
    items.iter().filter_map(read).collect()
}

fn effects(node: &Node, out: &mut Mistakes) -> Vec<String> {
    let mut effects = Vec::new();
    for item in node.items() {
        let Some(capability) = item.text("effects", out) else { continue };
        if !is_capability(&capability) {
            out.hint(item.at, format!("`{capability}` is no capability"), "such as `mail.send`");
        }
        effects.push(capability);
    }
    effects
}

fn budget(node: &Node, mut budget: Budget, out: &mut Mistakes) -> Budget {
    let money = |node: &Node, out: &mut Mistakes| match Money::of(&node.to_value()) {
        Ok(money) => Some(money),
        Err(error) => {
            out.add(node.at, error.to_string());
            None
        }
    };
    if !matches!(node.data, Data::Map(_)) {
        budget.money = money(node, out);
        return budget;
    }
    node.only("`budget`", &["money", "tokens", "turns"], out);
    budget.money = node.get("money").and_then(|it| money(it, out));
    if let Some(tokens) = node.get("tokens").and_then(|it| it.whole("tokens", 1, 100_000_000, out)) {
        budget.tokens = tokens;
    }
    if let Some(turns) = node.get("turns").and_then(|it| it.whole("turns", 1, 100, out)) {
        budget.turns = u32::try_from(turns).unwrap_or(100);
    }
    budget
}

fn examples(root: &Node, inputs: &Shape, outputs: &Shape, out: &mut Mistakes) -> Vec<Example> {
    let Some(items) = root.get("examples").and_then(|it| it.list("examples", out)) else { return Vec::new() };
    let mut examples = Vec::new();
    for item in items {
        item.only("an example", &["input", "output"], out);
        let Some(input) = item.get("input") else {
            out.add(item.at, "an example needs `input`");
            continue;
        };
        let mut held = |shape: &Shape, name: &str, node: &Node| {
            if let Some(what) = shape.misfit(name, &node.to_value()) {
                out.add(node.at, what);
            }
        };
        held(inputs, "input", input);
        let output = item.get("output");
        if let Some(output) = output {
            held(outputs, "output", output);
        }
        examples.push(Example { input: input.to_value(), output: output.map(Node::to_value) });
    }
    examples
}

fn template(agent: &Agent, text: &str, at: At, out: &mut Mistakes) {
    let input = match &agent.inputs {
        Shape::Schema(schema, _) => Some(&**schema),
        _ => None,
    };
    let names = Names { roots: vec!["input".into()], steps: Vec::new(), input };
    let mut found = Mistakes::default();
    Template::read(&Node { at, data: Data::Scalar(text.into()) }, &names, &mut found);
    for mistake in found.into_vec() {
        let Mistake { at, what, hint } = mistake;
        let at = named(&what, text).map_or(at, |(line, column)| match at.column {
            // A body begins a line; a text in the frontmatter may be written in many ways.
            1 => At { line: at.line + line, column },
            _ => at,
        });
        match hint {
            Some(hint) => out.hint(at, what, hint),
            None => out.add(at, what),
        }
    }
}

/// Where in a text the name stands first that a mistake is about: lines before it, and its column.
fn named(what: &str, text: &str) -> Option<(u64, u64)> {
    let name = what.split('`').nth(1)?;
    let at = text.find(&format!("input.{name}")).or_else(|| text.find(name))?;
    let before = &text[..at];
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Some((u64::try_from(line).ok()?, u64::try_from(column).ok()?))
}
