//! Agents that are programs: what a file in `agents` with `runtime: command` says, and what becomes of what one gives.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::Shape;
use crate::failure::{Class, Failure, read_span};
use crate::mistake::{At, Mistakes};
use crate::node::{Front, Node};
use crate::sandbox::Sandbox;
use crate::span::{self, Millis};

/// What stands in `command` for the file that the script of the agent is in.
pub const SCRIPT: &str = "{script}";
/// A program ends like that when it may work later (`EX_TEMPFAIL` of sysexits.h).
const TRY_AGAIN: i32 = 75;
/// So much of what a program said is told.
const MOST_SAID: usize = 300;

/// A program.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// Its name or path, then its arguments. Never empty.
    pub command: Vec<String>,
    /// What is written into a file for it.
    pub script: Option<String>,
    /// How much it may use.
    pub limits: Limits,
    /// What it may reach.
    pub sandbox: Sandbox,
    /// What it has to give.
    pub output: Shape,
}

/// How much a program may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// How long it may take, ms.
    pub time: Millis,
    /// The most bytes that it may print.
    pub output: u64,
    /// The most bytes of memory of its own, in each of its processes.
    pub memory: u64,
    /// The most processes at once.
    pub processes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { time: 60_000, output: 1 << 20, memory: 1 << 30, processes: 32 }
    }
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// By itself, with this status.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// It was ended: its time was over.
    Late,
    /// It was ended: it printed too much.
    Flooded,
    /// It was ended: it had too many processes.
    Crowded,
    /// It was ended: nobody waits for it any more.
    Stopped,
    /// It could not be started; the kind is whether that may pass.
    NotStarted {
        /// Why.
        what: String,
        /// Whether that may pass.
        passes: bool,
    },
    /// It was not started: nothing here keeps it to what it may reach.
    Open {
        /// Why.
        what: String,
    },
    /// Nobody knows: who watched it is gone.
    Lost,
}

/// What came of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub ended: Ended,
    /// What it printed, as far as that was allowed.
    pub output: Vec<u8>,
    /// The end of what it complained of.
    pub complaint: String,
}

impl Program {
    /// Reads what a file of agents says of its program, which has to give `output`.
    pub fn read(front: &Front, output: Shape, out: &mut Mistakes) -> Option<Program> {
        let root = &front.root;
        let script = script(&front.body);
        let command = match root.get("command") {
            Some(node) => words(node, script.is_some(), out),
            None => {
                out.hint(
                    At::START,
                    "`runtime: command` needs `command`",
                    "such as `command: [python3, '{script}']`",
                );
                None
            }
        };
        let limits = root.get("limits").map_or_else(|| Some(Limits::default()), |node| limits(node, out));
        let sandbox = root.get("sandbox").map_or_else(Sandbox::default, |node| Sandbox::read(node, out));
        let command = command?;
        let script = script.filter(|_| command.iter().any(|word| word == SCRIPT));
        Some(Program { command, script, limits: limits?, sandbox, output })
    }

    /// What it gave, held to what it has to give.
    ///
    /// # Errors
    /// How it failed.
    pub fn judge(&self, outcome: &Outcome) -> Result<Value, Failure> {
        let Outcome { ended, output, complaint } = outcome;
        let name = &self.command[0];
        let said = match last_line(complaint) {
            "" => String::new(),
            line => format!(": {line}"),
        };
        let fail = |class, what: String| Err(Failure::new(class, format!("`{name}` {what}")));
        let limits = &self.limits;
        match ended {
            Ended::Exit(0) => {}
            Ended::Exit(TRY_AGAIN) => return fail(Class::Transient, format!("cannot do it now{said}")),
            Ended::Exit(status) => return fail(Class::Permanent, format!("ended with {status}{said}")),
            Ended::Signal(signal) => return fail(Class::Crashed, format!("died of signal {signal}{said}")),
            Ended::Late => {
                let what = format!("was ended after {}{said}", span::show(limits.time));
                return fail(Class::Transient, what);
            }
            Ended::Flooded => {
                return fail(Class::InvalidOutput, format!("printed more than {} bytes", limits.output));
            }
            Ended::Crowded => {
                let what = format!("had more than {} processes at once", limits.processes);
                return fail(Class::Permanent, what);
            }
            Ended::Stopped => return fail(Class::Transient, "was stopped".into()),
            Ended::NotStarted { what, passes } => {
                let class = if *passes { Class::Transient } else { Class::Permanent };
                return fail(class, format!("could not be started: {what}"));
            }
            Ended::Open { what } => {
                let what = format!(
                    "was not started, for nothing keeps it apart: {what}; `sandbox: none` in its agent's file has it run all the same"
                );
                return fail(Class::Denied, what);
            }
            Ended::Lost => return fail(Class::Crashed, "ended, and nobody knows how".into()),
        }
        let value: Value = match serde_json::from_slice(output) {
            Ok(value) => value,
            Err(e) => return fail(Class::InvalidOutput, format!("did not print one JSON value: {e}{said}")),
        };
        match self.output.misfit("output", &value) {
            None => Ok(value),
            Some(misfit) => fail(Class::InvalidOutput, format!("printed something else: {misfit}")),
        }
    }
}

fn words(node: &Node, has_script: bool, out: &mut Mistakes) -> Option<Vec<String>> {
    let items = node.list("command", out)?;
    let words: Vec<String> = items.iter().filter_map(|item| item.text("command", out)).collect();
    let Some(name) = words.first() else {
        out.add(node.at, "`command` is empty");
        return None;
    };
    // What decides what is run is in force at the version that was accepted, and files beside this one are not (I11).
    if name.contains('/') && !name.starts_with('/') {
        out.hint(
            items[0].at,
            "a program is a name that is looked for in `PATH`, or an absolute path",
            "what belongs to the vault stands in this file, in a block of code, and is named by `{script}`",
        );
    }
    if words.iter().any(|word| word.contains('\0')) {
        out.add(node.at, "`command` has a byte in it that no argument may have");
    }
    if words.iter().any(|word| word == SCRIPT) && !has_script {
        out.hint(
            node.at,
            "there is no script",
            "write it below, in a block of code between lines of ``` or ~~~",
        );
    }
    Some(words)
}

fn limits(node: &Node, out: &mut Mistakes) -> Option<Limits> {
    node.map("limits", out)?;
    node.only("`limits`", &["time", "output_kb", "memory_mb", "processes"], out);
    let mut limits = Limits::default();
    if let Some(time) = read_span(node, "time", out) {
        limits.time = time;
    }
    let mut whole = |name: &str, most| Some(node.get(name)?.whole(name, 1, most, out).unwrap_or(1));
    if let Some(size) = whole("output_kb", 16 << 10) {
        limits.output = size << 10;
    }
    if let Some(size) = whole("memory_mb", 1 << 20) {
        limits.memory = size << 20;
    }
    limits.processes = whole("processes", 1000).unwrap_or(limits.processes);
    Some(limits)
}

/// The first block of code in a text: fenced, as CommonMark has it.
fn script(body: &str) -> Option<String> {
    let mut lines = body.split_inclusive('\n');
    let fence = lines.by_ref().find(|line| line.starts_with("```") || line.starts_with("~~~"))?;
    let mark = fence.bytes().next()?;
    let fence = &fence[..fence.bytes().take_while(|byte| *byte == mark).count()];
    let mut out = String::new();
    for line in lines {
        if line.starts_with(fence) && line.trim_end().bytes().all(|byte| byte == mark) {
            return Some(out);
        }
        out.push_str(line);
    }
    None
}

/// The last line that says something, without what a terminal would obey.
fn last_line(text: &str) -> &str {
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let sound = line.split(char::is_control).next().unwrap_or_default();
    sound.char_indices().nth(MOST_SAID).map_or(sound, |(at, _)| &sound[..at])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FILE: &str = "---\ntype: agent\nruntime: command\ncommand: [python3, '{script}']\nlimits: {time: 5s, output_kb: 2}\noutputs: {type: object, required: [sum], properties: {sum: {type: integer}}}\n---\nAdds.\n\n```python\nimport sys\n\nprint(1)\n```\nMore.\n";

    fn read(text: &str) -> Result<Program, Vec<String>> {
        let shown = |it: crate::mistake::Mistake| format!("{} {}", it.at, it.what);
        let agent = crate::agent::Agent::read("adder", text);
        agent.map(|it| it.program.unwrap()).map_err(|mistakes| mistakes.into_iter().map(shown).collect())
    }

    #[test]
    fn a_file_says_what_is_run_and_how_much_it_may_use() {
        let program = read(FILE).unwrap();
        assert_eq!(program.command, ["python3", SCRIPT]);
        assert_eq!(program.script.as_deref(), Some("import sys\n\nprint(1)\n"));
        assert_eq!((program.limits.time, program.limits.output), (5_000, 2048));
        assert_eq!(program.limits.processes, Limits::default().processes);
        let tildes = read(&FILE.replace("```", "~~~").replace("print(1)", "```")).unwrap();
        assert_eq!(tildes.script.as_deref(), Some("import sys\n\n```\n"));
        let unused = read(&FILE.replace(", '{script}'", "")).unwrap();
        assert_eq!(unused.script, None);
    }

    #[test]
    fn mistakes_have_places_and_a_program_of_the_vault_is_one() {
        for (from, to, what) in [
            ("command: [python3, '{script}']", "command: [tools/add.py]", "4:11 a program is a name"),
            ("command: [python3, '{script}']", "command: []", "4:10 `command` is empty"),
            ("command: [python3, '{script}']\n", "", "1:1 `runtime: command` needs `command`"),
            ("```python\nimport sys\n\nprint(1)\n```", "no code", "4:10 there is no script"),
            ("time: 5s", "time: soon", "5:16 `soon` is no length of time"),
            ("output_kb: 2", "output_kb: 99999999", "5:31 `output_kb` must be a whole number"),
            ("type: object", "type: thing", "6:17 that is no type"),
        ] {
            let mistakes = read(&FILE.replacen(from, to, 1)).unwrap_err();
            assert!(mistakes[0].starts_with(what), "{mistakes:?}");
        }
    }

    #[test]
    fn every_end_has_its_class() {
        let program = read(FILE).unwrap();
        let judge = |ended: Ended, output: &str| {
            let complaint = "Traceback:\n  boom \x1b[31m\n\n".to_owned();
            program.judge(&Outcome { ended, output: output.into(), complaint })
        };
        assert_eq!(judge(Ended::Exit(0), "{\"sum\": 3}\n"), Ok(json!({"sum": 3})));
        for (ended, output, class) in [
            (Ended::Exit(0), "{\"sum\": \"3\"}", Class::InvalidOutput),
            (Ended::Exit(0), "{\"sum\": 3} and more", Class::InvalidOutput),
            (Ended::Exit(0), "", Class::InvalidOutput),
            (Ended::Exit(1), "{\"sum\": 3}", Class::Permanent),
            (Ended::Exit(TRY_AGAIN), "", Class::Transient),
            (Ended::Signal(9), "", Class::Crashed),
            (Ended::Late, "", Class::Transient),
            (Ended::Flooded, "", Class::InvalidOutput),
            (Ended::Crowded, "", Class::Permanent),
            (Ended::Lost, "", Class::Crashed),
            (Ended::NotStarted { what: "x".into(), passes: false }, "", Class::Permanent),
            (Ended::NotStarted { what: "x".into(), passes: true }, "", Class::Transient),
            (Ended::Open { what: "x".into() }, "", Class::Denied),
        ] {
            let failure = judge(ended.clone(), output).unwrap_err();
            assert_eq!(failure.class, class, "{ended:?}");
            assert!(!failure.what.contains('\x1b'));
        }
        assert_eq!(judge(Ended::Exit(1), "").unwrap_err().what, "`python3` ended with 1: boom ");
    }
}
