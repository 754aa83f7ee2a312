//! Reading workflow files.

use super::{Act, Deed, Expected, Known, Step, Steps, Target, Trigger, Wait, Workflow, is_hook_path};
use crate::event::is_event_name;
use crate::expression::{Expression, Names, Template};
use crate::failure::{Retry, read_span};
use crate::mistake::{At, Mistakes, nearest};
use crate::needs::Needs;
use crate::node::{Front, Key, Node};
use crate::schema::Schema;
use crate::span;

/// How deep steps may lie in steps.
const MAX_DEPTH: usize = 8;
const MAX_STEPS: usize = 500;

/// What a step can be, each with the keys that belong to it.
const KINDS: [(&str, &[&str]); 10] = [
    ("agent", &["input"]),
    ("find", &["match"]),
    ("effect", &["target", "args", "amount", "tags", "agent", "compensate"]),
    ("ask", &["choices"]),
    ("emit", &["data"]),
    ("wait", &[]),
    ("choose", &[]),
    ("each", &["as", "at_once", "steps"]),
    ("parallel", &[]),
    ("workflow", &["input"]),
];
/// What every step may have.
const COMMON: [&str; 4] = ["retry", "timeout", "on_error", "next"];
/// What expressions may name everywhere.
const ROOTS: [&str; 6] = ["input", "steps", "error", "trigger", "task", "began"];
const TOP: [&str; 8] = ["type", "title", "on", "input", "needs", "steps", "expect", "expect_by"];
/// What `expect` may name.
const OUTCOME: [&str; 6] = ["input", "result", "effects", "trigger", "task", "began"];

/// Reads a workflow.
pub fn workflow(front: Front, known: &Known, out: &mut Mistakes) -> Option<Workflow> {
    let root = &front.root;
    root.map("the frontmatter", out)?;
    root.only("a workflow", &TOP, out);
    match root.get("type") {
        Some(kind) if kind.as_text() == Some("workflow") => {}
        Some(kind) => out.add(kind.at, "this is no workflow: `type` must be `workflow`"),
        None => out.hint(At::START, "it has no `type`", "write `type: workflow`"),
    }
    let title = root.get("title").and_then(|it| it.text("title", out));
    let triggers = match root.get("on") {
        Some(on) => Trigger::read_all(on, known, out),
        None => vec![Trigger::Manual],
    };
    let input = root.get("input").map_or_else(Schema::default, |it| Schema::read(it, out));
    let needs = root.get("needs").map_or_else(Needs::default, |it| Needs::read(it, out));
    let Some(steps) = root.get("steps") else {
        out.hint(At::START, "it has no `steps`", "write `steps:` and below it one key for each step");
        return None;
    };
    let mut names =
        Names { roots: ROOTS.iter().map(ToString::to_string).collect(), steps: Vec::new(), input: None };
    names.input = Some(&input);
    let steps = Reader { known, out }.steps(steps, &names, 0)?;
    names.roots = OUTCOME.iter().map(ToString::to_string).collect();
    let that = root.get("expect").and_then(|it| Expression::read(it, "expect", &names, out));
    let expected = Expected { by: read_span(root, "expect_by", out), that };
    Some(Workflow { title, triggers, input, needs, steps, expected, prose: front.body })
}

struct Reader<'a> {
    known: &'a Known,
    out: &'a mut Mistakes,
}

impl Reader<'_> {
    fn steps(&mut self, node: &Node, names: &Names<'_>, depth: usize) -> Option<Steps> {
        let entries = node.map("steps", self.out)?;
        if entries.is_empty() || depth > MAX_DEPTH || entries.len() > MAX_STEPS {
            let what = match entries.is_empty() {
                true => "there are no steps".to_owned(),
                false => format!("at most {MAX_STEPS} steps, at most {MAX_DEPTH} deep in each other"),
            };
            self.out.add(node.at, what);
            return None;
        }
        let mut names = names.clone();
        names.steps.extend(entries.iter().map(|(key, _)| key.name.clone()));
        let mut steps = Vec::new();
        for (place, (key, node)) in entries.iter().enumerate() {
            let following =
                entries.get(place + 1).map_or(Target::End, |(key, _)| Target::Step(key.name.clone()));
            check_name(key, "step", self.out);
            steps.extend(self.step(key, node, following, &names, depth));
        }
        // With one step missing, what is said of the rest would be noise.
        (steps.len() == entries.len()).then_some(Steps(steps))
    }

    fn step(
        &mut self,
        key: &Key,
        node: &Node,
        following: Target,
        names: &Names<'_>,
        depth: usize,
    ) -> Option<Step> {
        let entries = node.map(&key.name, self.out)?;
        let has = |kind: &str| entries.iter().any(|(key, _)| key.name == kind);
        // An effect may name the agent whose work it is.
        let found: Vec<_> =
            KINDS.iter().filter(|(kind, _)| has(kind) && !(*kind == "agent" && has("effect"))).collect();
        let [(kind, own)] = found[..] else {
            let kinds: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
            match found.is_empty() {
                true => {
                    let near = entries.iter().find_map(|(key, _)| {
                        nearest(&key.name, kinds.iter().copied()).map(|near| (key, near))
                    });
                    let hint = match near {
                        Some((key, near)) => format!("`{}`: is `{near}` meant?", key.name),
                        None => format!("give it one of {}", kinds.join(", ")),
                    };
                    self.out.hint(key.at, format!("`{}` does nothing", key.name), hint);
                }
                false => self.out.add(
                    key.at,
                    format!("`{}` is both {} and {}: make it two steps", key.name, found[0].0, found[1].0),
                ),
            }
            return None;
        };
        let keys: Vec<&str> = [*kind].into_iter().chain(own.iter().copied()).chain(COMMON).collect();
        node.only(&format!("a step that is `{kind}`"), &keys, self.out);
        let act = self.act(kind, key, node, names, depth);
        let retry = node.get("retry").map(|it| Retry::read(it, self.out));
        let timeout = read_span(node, "timeout", self.out);
        let on_error = node.get("on_error").and_then(|it| self.target(it, "on_error"));
        let next = match node.get("next") {
            Some(next) if *kind == "choose" => {
                self.out.add(next.at, "a choice has no `next`: each of its cases says where to `go`");
                following
            }
            Some(next) => self.target(next, "next").unwrap_or(following),
            None => following,
        };
        Some(Step { name: key.name.clone(), at: key.at, act: act?, retry, timeout, on_error, next })
    }

    fn target(&mut self, node: &Node, what: &str) -> Option<Target> {
        let text = node.text(what, self.out)?;
        Some(if text == "end" { Target::End } else { Target::Step(text) })
    }

    fn act(&mut self, kind: &str, key: &Key, node: &Node, names: &Names<'_>, depth: usize) -> Option<Act> {
        let main = node.get(kind)?;
        let template = |name: &str, out: &mut Mistakes| {
            node.get(name).map_or(Template::Map(Vec::new()), |it| Template::read(it, names, out))
        };
        match kind {
            "agent" => {
                let agent = self.known_name(main, "agent", self.known.agents.as_ref())?;
                Some(Act::Agent { agent, input: template("input", self.out) })
            }
            "find" => {
                let files = Template::read(main, names, self.out);
                Some(Act::Find { files, fields: template("match", self.out) })
            }
            "workflow" => {
                let workflow = self.known_name(main, "workflow", self.known.workflows.as_ref())?;
                Some(Act::Workflow { workflow, input: template("input", self.out) })
            }
            "effect" => {
                let deed = self.deed(node, names);
                let compensate = match node.get("compensate") {
                    Some(node) => {
                        node.only(
                            "`compensate`",
                            &["effect", "target", "args", "amount", "tags", "agent"],
                            self.out,
                        );
                        if node.get("effect").is_none() {
                            self.out.add(node.at, "`compensate` needs `effect`");
                        }
                        Some(self.deed(node, names)?)
                    }
                    None => None,
                };
                Some(Act::Effect { deed: deed?, compensate })
            }
            "ask" => {
                let choices = match node.get("choices") {
                    Some(node) => {
                        let items = node.list("choices", self.out)?;
                        if items.is_empty() {
                            let hint = "leave `choices` out where any answer will do";
                            self.out.hint(node.at, "there is nothing to choose from", hint);
                        }
                        items.iter().filter_map(|item| item.text("choices", self.out)).collect()
                    }
                    None => Vec::new(),
                };
                Some(Act::Ask { question: Template::read(main, names, self.out), choices })
            }
            "emit" => {
                let name = main.text("emit", self.out)?;
                if !is_event_name(&name) {
                    self.out.hint(main.at, format!("`{name}` cannot name an event"), "such as `bank.paid`");
                }
                Some(Act::Emit { name, data: template("data", self.out) })
            }
            "wait" => self.wait(main, names).map(Act::Wait),
            "choose" => self.choose(main, names),
            "each" => {
                let items = Expression::read(main, "each", names, self.out);
                let variable = match node.get("as") {
                    Some(node) => node.text("as", self.out)?,
                    None => "item".to_owned(),
                };
                let named = Key { at: node.get("as").map_or(key.at, |it| it.at), name: variable.clone() };
                check_name(&named, "item", self.out);
                let at_once = node.get("at_once").and_then(|it| it.whole("at_once", 1, 100, self.out));
                let Some(inner) = node.get("steps") else {
                    self.out.add(key.at, "`each` needs `steps`");
                    return None;
                };
                let mut inside = names.clone();
                inside.roots.extend([variable.clone(), "place".to_owned()]);
                let steps = self.steps(inner, &inside, depth + 1)?;
                let at_once = at_once.and_then(|it| usize::try_from(it).ok()).unwrap_or(1);
                Some(Act::Each { items: items?, variable, at_once, steps })
            }
            "parallel" => {
                let entries = main.map("parallel", self.out)?;
                let mut branches = Vec::new();
                for (key, node) in entries {
                    check_name(key, "branch", self.out);
                    branches.push((key.name.clone(), self.steps(node, names, depth + 1)?));
                }
                if branches.len() < 2 {
                    self.out.add(main.at, "`parallel` needs at least two branches");
                }
                Some(Act::Parallel(branches))
            }
            _ => None,
        }
    }

    fn known_name(
        &mut self,
        node: &Node,
        what: &str,
        known: Option<&std::collections::BTreeSet<String>>,
    ) -> Option<String> {
        let name = node.text(what, self.out)?;
        if let Some(known) = known.filter(|known| !known.contains(&name)) {
            let wrong = format!("there is no {what} `{name}`");
            match nearest(&name, known.iter().map(String::as_str)) {
                Some(near) => self.out.hint(node.at, wrong, format!("`{near}` is meant?")),
                None => self.out.add(node.at, wrong),
            }
        }
        Some(name)
    }

    fn deed(&mut self, node: &Node, names: &Names<'_>) -> Option<Box<Deed>> {
        let main = node.get("effect")?;
        let known = self.known.capabilities.as_ref();
        // What is not even shaped like one is told once.
        let known = known.filter(|_| main.as_text().is_some_and(is_capability));
        let capability = self.known_name(main, "capability", known)?;
        if !is_capability(&capability) {
            self.out.hint(main.at, format!("`{capability}` is no capability"), "such as `mail.send`");
        }
        let template =
            |name: &str, out: &mut Mistakes| node.get(name).map(|it| Template::read(it, names, out));
        let target = template("target", self.out);
        if target.is_none() {
            self.out.add(main.at, "an effect needs `target`: to whom or what");
        }
        let args = template("args", self.out).unwrap_or(Template::Map(Vec::new()));
        let amount = template("amount", self.out);
        if let (Some(Template::Fixed(value)), Some(at)) = (&amount, node.get("amount"))
            && let Err(error) = crate::money::Money::of(value)
        {
            self.out.add(at.at, error.to_string());
        }
        let tags = node.get("tags").map_or(&[][..], Node::items);
        let tags = tags.iter().filter_map(|tag| tag.text("tags", self.out)).collect();
        let agent = match node.get("agent") {
            Some(agent) => self.known_name(agent, "agent", self.known.agents.as_ref()),
            None => None,
        };
        Some(Box::new(Deed { capability, target: target?, args, amount, tags, agent }))
    }

    fn wait(&mut self, node: &Node, names: &Names<'_>) -> Option<Wait> {
        if let Some(text) = node.as_text() {
            return self.wait_for(node, text, names);
        }
        node.map("wait", self.out)?;
        node.only("`wait`", &["for", "until", "event", "where", "deadline"], self.out);
        match (node.get("for"), node.get("until"), node.get("event")) {
            (Some(span), None, None) => {
                let text = span.text("for", self.out)?;
                self.wait_for(span, &text, names)
            }
            (None, Some(moment), None) => {
                let until = Template::read(moment, names, self.out);
                if let Template::Fixed(value) = &until
                    && value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()).is_none()
                {
                    self.out.add(moment.at, "that is no moment: write 2026-11-21T09:00:00+01:00");
                }
                Some(Wait::Until(until))
            }
            (None, None, Some(event)) => {
                let name = event.text("event", self.out)?;
                if !is_event_name(&name) && !is_hook_path(&name) {
                    self.out.hint(event.at, format!("`{name}` cannot name an event"), "such as `bank.paid`");
                }
                let mut inside = names.clone();
                inside.roots.push("event".to_owned());
                let filter =
                    node.get("where").and_then(|it| Expression::read(it, "where", &inside, self.out));
                Some(Wait::Event { name, filter, deadline: read_span(node, "deadline", self.out) })
            }
            _ => {
                self.out.hint(
                    node.at,
                    "it must be clear what is waited for",
                    "one of `for`, `until`, `event`",
                );
                None
            }
        }
    }

    fn wait_for(&mut self, node: &Node, text: &str, names: &Names<'_>) -> Option<Wait> {
        let template = Template::read(node, names, self.out);
        if let Template::Fixed(_) = &template
            && let Err(error) = span::parse(text)
        {
            self.out.add(node.at, error.to_string());
        }
        Some(Wait::For(template))
    }

    fn choose(&mut self, node: &Node, names: &Names<'_>) -> Option<Act> {
        let items = node.list("choose", self.out)?;
        let mut cases = Vec::new();
        let mut otherwise = None;
        for item in items {
            if let Some(last) = item.get("else") {
                item.only("the last case", &["else"], self.out);
                if otherwise.is_some() {
                    self.out.add(item.at, "a choice has one `else`");
                }
                otherwise = self.target(last, "else");
                continue;
            }
            item.only("a case", &["when", "go"], self.out);
            let (Some(when), Some(go)) = (item.get("when"), item.get("go")) else {
                self.out.hint(item.at, "a case needs `when` and `go`", "or `else` alone, as the last");
                continue;
            };
            if otherwise.is_some() {
                self.out.add(item.at, "nothing comes after `else`");
            }
            let when = Expression::read(when, "when", names, self.out);
            let go = self.target(go, "go");
            cases.extend(when.zip(go));
        }
        let Some(otherwise) = otherwise else {
            self.out.hint(node.at, "a choice needs `else`", "write `- else: end` as the last case");
            return None;
        };
        Some(Act::Choose { cases, otherwise })
    }
}

/// Names are words that a path, a diagram and an expression can hold.
fn check_name(key: &Key, what: &str, out: &mut Mistakes) {
    let name = &key.name;
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let sound =
        name.len() <= 40 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(word);
    if !sound {
        out.hint(
            key.at,
            format!("`{name}` cannot be the name of {} {what}", if what == "item" { "an" } else { "a" }),
            "lowercase letters, digits and `_`, a letter first, at most 40",
        );
    } else if name == "end" || (what == "item" && ROOTS.contains(&name.as_str())) {
        out.add(key.at, format!("`{name}` means something else already"));
    }
}

/// Whether a text can name a capability: words with points between them.
pub fn is_capability(text: &str) -> bool {
    let word = |part: &str| {
        let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
        !part.is_empty() && part.bytes().all(inside)
    };
    text.contains('.') && text.len() <= 80 && text.split('.').all(word)
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
