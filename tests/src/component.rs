//! Components for tests: each makes calls that are written down, and gives what came of them.

use std::fmt::Write as _;

/// One call of a tool.
#[derive(Debug, Clone, Copy)]
pub struct Calls<'a> {
    /// The tool.
    pub tool: &'a str,
    /// What it is called with, in the order of its parameters. `$0` is the text that the component is
    /// given, `$1` the one that came of the first call, and so on.
    pub with: &'a [&'a str],
}

/// Where the text lies that it is given, and after it what came of each call: whether it failed, where its text is, how long that is.
const GIVEN: usize = 48;
/// Where the texts lie that calls are made with.
const TEXTS: usize = 1024;

/// A component that makes these calls in turn and gives `{"came": "yn"}`, a letter for each: whether something came of it, or nothing.
///
/// # Panics
/// Where it is no component, or a tool is not known.
pub fn calling(calls: &[Calls<'_>]) -> Vec<u8> {
    let mut texts = String::new();
    let mut tools: Vec<&str> = calls.iter().map(|call| call.tool).collect();
    tools.sort_unstable();
    tools.dedup();
    let (mut imports, mut lowered, mut core, mut with) =
        (String::new(), String::new(), String::new(), String::new());
    for tool in &tools {
        let params = params(tool);
        let typed: String = params.iter().map(|(name, kind)| format!("(param \"{name}\" {kind}) ")).collect();
        let flat: usize = params.iter().map(|(_, kind)| if *kind == "u32" { 1 } else { 2 }).sum();
        let _ = write!(imports, r#"(export "{tool}" (func {typed}(result (result string (error string)))))"#);
        let _ = write!(
            lowered,
            r#"(core func ${tool} (canon lower (func $tools "{tool}") (memory $libc "memory") (realloc (func $libc "realloc"))))"#
        );
        let flat = "i32 ".repeat(flat + 1);
        let _ = write!(core, r#"(import "tools" "{tool}" (func ${tool} (param {flat})))"#);
        let _ = write!(with, r#"(export "{tool}" (func ${tool}))"#);
    }
    let given = r#"{"came":""#;
    let mut constant = |text: &str| {
        let at = TEXTS + texts.len();
        texts.push_str(text);
        (at, text.len())
    };
    let (gives, _) = constant(&format!("{given}{}\"}}", "n".repeat(calls.len())));
    let mut work = String::new();
    for (n, call) in calls.iter().enumerate() {
        let params = params(call.tool);
        assert_eq!(call.with.len(), params.len(), "{} takes {params:?}", call.tool);
        let _ = write!(work, "(call ${} ", call.tool);
        for (text, (_, kind)) in call.with.iter().zip(params) {
            let earlier = text.strip_prefix('$').and_then(|it| it.parse::<usize>().ok());
            let _ = match (earlier, *kind) {
                (Some(of), _) => {
                    let at = GIVEN + 16 * of;
                    write!(work, "(i32.load (i32.const {})) (i32.load (i32.const {})) ", at + 4, at + 8)
                }
                (None, "u32") => write!(work, "(i32.const {text}) "),
                // The choices of a question: any answer will do.
                (None, "(list string)") => work.write_str("(i32.const 0) (i32.const 0) "),
                (None, _) => {
                    let (at, length) = constant(text);
                    write!(work, "(i32.const {at}) (i32.const {length}) ")
                }
            };
        }
        let came = GIVEN + 16 * (n + 1);
        let letter = gives + given.len() + n;
        let _ = write!(
            work,
            "(i32.const {came})) (if (i32.eqz (i32.load8_u (i32.const {came}))) (then (i32.store8 (i32.const {letter}) (i32.const 121))))"
        );
    }
    let (given_at, given_long) = (GIVEN + 4, GIVEN + 8);
    let length = given.len() + calls.len() + 2;
    let hex: String = texts.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let text = format!(
        r#"(component
  (import "aios:agent/tools@0.1.0" (instance $tools {imports}))
  (core module $libc
    (memory (export "memory") 4)
    (global $top (mut i32) (i32.const 65536))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $top)
      (global.set $top (i32.add (global.get $top) (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8))))))
  (core instance $libc (instantiate $libc))
  {lowered}
  (core module $main
    (import "libc" "memory" (memory 0))
    {core}
    (data (i32.const {TEXTS}) "{hex}")
    (func (export "work") (param $ptr i32) (param $len i32) (result i32)
      (i32.store (i32.const {given_at}) (i32.add (local.get $ptr) (i32.const 1)))
      (i32.store (i32.const {given_long}) (i32.sub (local.get $len) (i32.const 2)))
      {work}
      (i32.store (i32.const 20) (i32.const {gives}))
      (i32.store (i32.const 24) (i32.const {length}))
      (i32.const 16)))
  (core instance $main (instantiate $main (with "libc" (instance $libc)) (with "tools" (instance {with}))))
  (func (export "work") (param "input" string) (result (result string (error string)))
    (canon lift (core func $main "work") (memory $libc "memory") (realloc (func $libc "realloc")))))"#
    );
    wat::parse_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// The parameters of a tool, as `docs/sample/component/wit/agent.wit` has them.
fn params(tool: &str) -> &'static [(&'static str, &'static str)] {
    match tool {
        "read" => &[("path", "string"), ("line", "u32")],
        "search" => &[("files", "string"), ("text", "string")],
        "write" => &[("path", "string"), ("fields", "string"), ("body", "string")],
        "set" => &[("path", "string"), ("fields", "string"), ("append", "string")],
        "ask" => &[("question", "string"), ("choices", "(list string)")],
        "propose" => {
            &[("capability", "string"), ("target", "string"), ("args", "string"), ("amount", "string")]
        }
        "agent" => &[("name", "string"), ("input", "string")],
        other => panic!("there is no tool `{other}`"),
    }
}
