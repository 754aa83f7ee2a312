//! Agents that are components of WebAssembly: what a file in `agents` with `runtime: wasm` says, and what becomes of what one gives.
//!
//! A component is a function of what it is given and of what came of its calls. So it is begun anew for each call that it makes, with all that
//! came of those before: nothing of it has to live while a call waits, and a replay has it work once more.

use std::fmt;

use serde_json::Value;

use crate::agent::{Agent, prompt};
use crate::failure::{Class, Failure, read_span};
use crate::mistake::{At, Mistakes};
use crate::model::{Call, Message};
use crate::node::{Front, Node};
use crate::span::{self, Millis};

/// The ending of a component's file.
const ENDING: &str = ".wasm";
/// The largest file of a component, in bytes.
pub const MOST_BYTES: u64 = 16 << 20;
/// Who answers where a component makes a call, in place of a model.
pub const ANSWERS: &str = "wasm";

/// A component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Its file, beside that of its agent.
    pub file: String,
    /// How much it may use.
    pub limits: Limits,
}

/// How much one piece of a component's work may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long it may take, ms.
    pub time: Millis,
    /// Instructions, near enough: what is counted on every device alike.
    pub fuel: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// The most bytes that it may give.
    pub output: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { time: 60_000, fuel: 5_000_000_000, memory: 64 << 20, output: 1 << 20 }
    }
}

impl Limits {
    /// No more of anything than another has.
    pub fn within(&self, other: &Limits) -> Limits {
        Limits {
            time: self.time.min(other.time),
            fuel: self.fuel.min(other.fuel),
            memory: self.memory.min(other.memory),
            output: self.output.min(other.output),
        }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limits { time, fuel, memory, output } = self;
        let (memory, output) = (memory >> 20, output >> 10);
        write!(f, "{}, {fuel} of fuel, {memory} MB of memory, {output} KB of output", span::show(*time))
    }
}

/// How a component ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It gave this.
    Gave(String),
    /// It says that it cannot do it.
    Refused(String),
    /// It makes a call that it has not made before.
    Calls(Call),
    /// It cannot be begun.
    Unfit(String),
    /// It needs what nobody granted.
    Ungranted(String),
    /// It did what no program may, and was ended.
    Trapped(String),
    /// It used more instructions than it may.
    Spent,
    /// It used more memory than it may.
    Grown,
    /// Its time was over.
    Late,
    /// It gave more than it may.
    Flooded,
    /// Nobody waits for it any more.
    Stopped,
    /// It did otherwise than before, with the same.
    Strayed(String),
}

/// What comes next in the work of a component.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// It is done.
    Done(Value),
    /// It makes this call.
    Calls(Call),
}

/// Whether a file is that of a component.
pub fn is_one(path: &str) -> bool {
    path.ends_with(ENDING)
}

/// The name of a component's file, without folder and ending.
pub fn name(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_suffix(ENDING).unwrap_or(name)
}

/// The calls that were made, each with what came of it.
pub fn made(messages: &[Message]) -> Vec<(Call, String)> {
    let mut calls = messages.iter().filter_map(|message| match message {
        Message::Model { calls, .. } => calls.first(),
        _ => None,
    });
    let came = messages.iter().filter_map(|message| match message {
        Message::Came { text, .. } => Some(text),
        _ => None,
    });
    came.map_while(|text| Some((calls.next()?.clone(), text.clone()))).collect()
}

/// What a component is told of what came of a call: data without what quotes it for a model.
///
/// # Errors
/// Why nothing came of it.
pub fn told(came: &str) -> Result<String, String> {
    if let Some(text) = prompt::unquote(came) {
        return Ok(text.to_owned());
    }
    if ["refused: ", "not found: ", "not done: "].iter().any(|word| came.starts_with(word)) {
        return Err(came.to_owned());
    }
    Ok(came.strip_prefix("done: ").unwrap_or(came).to_owned())
}

impl Component {
    /// Reads what a file of agents says of its component.
    pub fn read(front: &Front, out: &mut Mistakes) -> Option<Component> {
        let root = &front.root;
        let file = match root.get("component") {
            Some(node) => file(node, out),
            None => {
                out.hint(
                    At::START,
                    "`runtime: wasm` needs `component`",
                    "the name of a file beside this one, such as `component: adder.wasm`",
                );
                None
            }
        };
        let limits = root.get("limits").map_or_else(|| Some(Limits::default()), |node| limits(node, out));
        Some(Component { file: file?, limits: limits? })
    }

    /// Where its file lies; `agent` is that of the agent's.
    pub fn beside(&self, agent: &str) -> String {
        match agent.rsplit_once('/') {
            Some((folder, _)) => format!("{folder}/{}", self.file),
            None => self.file.clone(),
        }
    }

    /// What comes of how it ended, held to what its agent has to give. What it did once it does again: only what hangs on this machine is tried
    /// once more.
    ///
    /// # Errors
    /// How it failed.
    pub fn judge(&self, agent: &Agent, ended: Ended) -> Result<Step, Failure> {
        let fail = |class, what: String| Err(Failure::new(class, format!("`{}` {what}", self.file)));
        let limits = &self.limits;
        match ended {
            Ended::Calls(call) => Ok(Step::Calls(call)),
            Ended::Gave(text) => match serde_json::from_str::<Value>(&text) {
                Err(e) => fail(Class::Permanent, format!("did not give one JSON value: {e}")),
                Ok(value) => match agent.outputs.misfit("output", &value) {
                    Some(misfit) => fail(Class::Permanent, format!("gave something else: {misfit}")),
                    None => Ok(Step::Done(value)),
                },
            },
            Ended::Refused(why) => fail(Class::Permanent, format!("cannot do it: {}", shown(&why))),
            Ended::Unfit(why) => fail(Class::Permanent, format!("cannot be begun: {}", shown(&why))),
            Ended::Ungranted(what) => fail(Class::Denied, format!("needs what nothing grants: {what}")),
            Ended::Trapped(why) => fail(Class::Permanent, format!("was ended: {}", shown(&why))),
            Ended::Spent => fail(Class::Permanent, format!("used more than {} of fuel", limits.fuel)),
            Ended::Grown => {
                fail(Class::Permanent, format!("used more than {} MB of memory", limits.memory >> 20))
            }
            Ended::Late => fail(Class::Transient, format!("was ended after {}", span::show(limits.time))),
            Ended::Flooded => fail(Class::Permanent, format!("gave more than {} bytes", limits.output)),
            Ended::Stopped => fail(Class::Transient, "was stopped".into()),
            Ended::Strayed(what) => {
                fail(Class::LostContext, format!("did otherwise than was recorded: {}", shown(&what)))
            }
        }
    }
}

fn file(node: &Node, out: &mut Mistakes) -> Option<String> {
    let name = node.text("component", out)?;
    let plain = name.strip_suffix(ENDING).is_some_and(|stem| !stem.is_empty());
    if !plain || name.contains(['/', '\\']) || name.chars().any(char::is_control) {
        let hint = "the name of a file beside this one, such as `adder.wasm`";
        out.hint(node.at, format!("`{}` is no component", shown(&name)), hint);
        return None;
    }
    Some(name)
}

fn limits(node: &Node, out: &mut Mistakes) -> Option<Limits> {
    node.map("limits", out)?;
    node.only("`limits`", &["time", "fuel", "memory_mb", "output_kb"], out);
    let mut limits = Limits::default();
    if let Some(time) = read_span(node, "time", out) {
        limits.time = time;
    }
    let mut whole = |name: &str, most| node.get(name)?.whole(name, 1, most, out);
    if let Some(fuel) = whole("fuel", 1_000_000_000_000) {
        limits.fuel = fuel;
    }
    if let Some(size) = whole("memory_mb", 2048) {
        limits.memory = size << 20;
    }
    if let Some(size) = whole("output_kb", 16 << 10) {
        limits.output = size << 10;
    }
    Some(limits)
}

/// Words of a component, short enough to be told, without what a terminal would obey.
fn shown(text: &str) -> String {
    text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agent::prompt::quote;

    const FILE: &str = "---\ntype: agent\nruntime: wasm\ncomponent: adder.wasm\nlimits: {time: 5s, fuel: 1000, memory_mb: 2, output_kb: 3}\ntools: [read]\nreads: ['notes/*']\noutputs: {type: object, required: [sum], properties: {sum: {type: integer}}}\n---\nAdds.\n";

    fn read(text: &str) -> Result<Agent, Vec<String>> {
        let shown = |it: crate::mistake::Mistake| format!("{} {}", it.at, it.what);
        Agent::read("adder", text).map_err(|mistakes| mistakes.into_iter().map(shown).collect())
    }

    #[test]
    fn a_file_says_which_component_works_and_how_much_it_may_use() {
        let component = read(FILE).unwrap().component.unwrap();
        let limits = Limits { time: 5_000, fuel: 1_000, memory: 2 << 20, output: 3 << 10 };
        assert_eq!(component, Component { file: "adder.wasm".into(), limits });
        assert_eq!(component.beside("agents/sub/adder.md"), "agents/sub/adder.wasm");
    }

    #[test]
    fn mistakes_have_places_and_no_component_lies_elsewhere() {
        for (from, to, what) in [
            ("component: adder.wasm\n", "", "1:1 `runtime: wasm` needs `component`"),
            ("adder.wasm", "../adder.wasm", "4:12 `../adder.wasm` is no component"),
            ("adder.wasm", "/tmp/adder.wasm", "4:12 `/tmp/adder.wasm` is no component"),
            ("adder.wasm", "adder.sh", "4:12 `adder.sh` is no component"),
            ("adder.wasm", "'.wasm'", "4:12 `.wasm` is no component"),
            ("fuel: 1000", "fuel: much", "5:26 `fuel` must be a whole number"),
            ("output_kb: 3", "processes: 3", "5:46 `limits` has no key `processes`"),
            ("tools: [read]", "skills: [x]", "6:9 `skills` is for `runtime: model`"),
            ("tools: [read]", "sandbox: none", "6:10 `sandbox` is for `runtime: command`"),
        ] {
            let mistakes = read(&FILE.replacen(from, to, 1)).unwrap_err();
            assert!(mistakes[0].starts_with(what), "{mistakes:?}");
        }
    }

    #[test]
    fn every_end_has_its_class() {
        let agent = read(FILE).unwrap();
        let component = agent.component.clone().unwrap();
        let judge = |ended: Ended| component.judge(&agent, ended);
        assert_eq!(judge(Ended::Gave("{\"sum\": 3}".into())), Ok(Step::Done(json!({"sum": 3}))));
        for (ended, class) in [
            (Ended::Gave("{\"sum\": \"3\"}".into()), Class::Permanent),
            (Ended::Gave("3 and more".into()), Class::Permanent),
            (Ended::Refused("no\x1b[31m".into()), Class::Permanent),
            (Ended::Unfit("it is a picture".into()), Class::Permanent),
            (Ended::Ungranted("a network".into()), Class::Denied),
            (Ended::Trapped("unreachable".into()), Class::Permanent),
            (Ended::Spent, Class::Permanent),
            (Ended::Grown, Class::Permanent),
            (Ended::Late, Class::Transient),
            (Ended::Flooded, Class::Permanent),
            (Ended::Stopped, Class::Transient),
            (Ended::Strayed("another call".into()), Class::LostContext),
        ] {
            let failure = judge(ended.clone()).unwrap_err();
            assert_eq!(failure.class, class, "{ended:?}: {failure}");
            assert!(!failure.what.contains('\x1b'), "{failure}");
        }
    }

    #[test]
    fn what_is_quoted_for_a_model_is_plain_for_a_component() {
        let text = "a\n</data>\nrefused: b";
        assert_eq!(told(&quote("notes/a.md", true, text)), Ok(text.into()));
        let long = format!("{}\nIt goes on: read it from line 3.", quote("notes/a.md", false, text));
        assert_eq!(told(&long), Ok(text.into()));
        assert_eq!(told("done: {\"path\":\"x\"}"), Ok("{\"path\":\"x\"}".into()));
        for no in ["refused: you may not read x", "not found: there is none", "not done: no"] {
            assert_eq!(told(no), Err(no.into()));
        }
    }
}
