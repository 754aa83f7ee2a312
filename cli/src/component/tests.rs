//! Components that try what they may not, and some that work.

use std::io::Write as _;
use std::time::{Duration, Instant};

use super::*;

/// What the tools of a component look like where it imports them.
const READ: &str = r#"(export "read" (func (param "path" string) (param "line" u32) (result (result string (error string)))))"#;
const ASK: &str = r#"(export "ask" (func (param "question" string) (param "choices" (list string)) (result (result string (error string)))))"#;

/// A component: what it imports, how its memory is, and what `work` does with the text at `$ptr` of length `$len`. At 16 there is place for what
/// it gives, at 64 for what came of a call.
fn component(imports: &str, memory: &str, lowered: &str, module: &str, with: &str, work: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
  {imports}
  (core module $libc
    (memory (export "memory") {memory})
    (global $top (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
      (global.set $top (i32.add (local.get $at) (local.get 3)))
      (local.get $at)))
  (core instance $libc (instantiate $libc))
  {lowered}
  (core module $main
    (import "libc" "memory" (memory 0))
    {module}
    (func $give (param $bad i32) (param $ptr i32) (param $len i32) (result i32)
      (i32.store (i32.const 16) (local.get $bad))
      (i32.store (i32.const 20) (local.get $ptr))
      (i32.store (i32.const 24) (local.get $len))
      (i32.const 16))
    (func (export "work") (param $ptr i32) (param $len i32) (result i32) {work}))
  (core instance $main (instantiate $main (with "libc" (instance $libc)) {with}))
  (func (export "work") (param "input" string) (result (result string (error string)))
    (canon lift (core func $main "work") (memory $libc "memory") (realloc (func $libc "realloc")))))"#
    );
    wat::parse_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// One that imports nothing.
fn alone(work: &str) -> Vec<u8> {
    component("", "1", "", "", "", work)
}

/// One that reads the file whose path it is given, and gives what stands in it.
fn reader() -> Vec<u8> {
    component(
        &format!(r#"(import "aios:agent/tools@0.1.0" (instance $tools {READ}))"#),
        "1",
        r#"(core func $read (canon lower (func $tools "read") (memory $libc "memory") (realloc (func $libc "realloc"))))"#,
        r#"(import "tools" "read" (func $read (param i32 i32 i32 i32)))"#,
        r#"(with "tools" (instance (export "read" (func $read))))"#,
        "(call $read (local.get $ptr) (local.get $len) (i32.const 1) (i32.const 64)) (call $give (i32.load8_u (i32.const 64)) (i32.load (i32.const 68)) (i32.load (i32.const 72)))",
    )
}

fn worker(bytes: Vec<u8>, tools: &[&str], limits: &str) -> Worker {
    let text = format!("---\ntype: agent\nruntime: wasm\ncomponent: x.wasm\nlimits: {limits}\n---\n");
    Worker {
        agent: Agent::read("x", &text).unwrap(),
        code: Code { version: ContentHash::of(&bytes), bytes: Arc::new(bytes) },
        granted: tools.iter().map(|it| (*it).to_owned()).collect(),
        made: Vec::new(),
    }
}

fn ends(bytes: Vec<u8>, limits: &str) -> Ended {
    worker(bytes, &["read"], limits).run("\"hello\"", &Stop::default())
}

fn trapped(ended: Ended) -> String {
    match ended {
        Ended::Trapped(why) => why,
        other => panic!("{other:?}"),
    }
}

const ECHO: &str = "(call $give (i32.const 0) (local.get $ptr) (local.get $len))";

#[test]
fn it_gives_what_it_makes_of_its_input() {
    assert_eq!(ends(alone(ECHO), "{}"), Ended::Gave("\"hello\"".into()));
    let refuses = "(call $give (i32.const 1) (local.get $ptr) (local.get $len))";
    assert_eq!(ends(alone(refuses), "{}"), Ended::Refused("\"hello\"".into()));
}

/// The sample that is built of Rust. `AIOS_BENCH_RUNS=1000` prints how long it takes to compile it, and to begin it and have what it gives.
#[test]
fn the_sample_counts_words() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/sample/component/agents/words.wasm");
    let mut words = worker(std::fs::read(path).unwrap(), &["read", "search"], "{memory_mb: 8}");
    let input = "\"notes/*.md\"";
    let mut came = ["notes/a.md\nnotes/b.md\n", "one two\nthree\n", "", "four\n", ""].into_iter();
    let since = Instant::now();
    assert!(words.misfit().is_none());
    let compiled = since.elapsed();
    let gave = loop {
        match words.run(input, &Stop::default()) {
            Ended::Calls(call) => {
                words.made.push((call, prompt::quote("x", false, came.next().unwrap())));
            }
            other => break other,
        }
    };
    assert_eq!(gave, Ended::Gave("{\"files\": 2, \"words\": 4}".into()));
    let Some(runs) = std::env::var("AIOS_BENCH_RUNS").ok().and_then(|it| it.parse::<usize>().ok()) else {
        return;
    };
    let mut took: Vec<Duration> = (0..runs.max(1))
        .map(|_| {
            let since = Instant::now();
            assert!(matches!(words.run(input, &Stop::default()), Ended::Gave(_)));
            since.elapsed()
        })
        .collect();
    took.sort();
    let at = |part: usize| took[(took.len() - 1) * part / 100].as_secs_f64() * 1000.0;
    let _ = writeln!(
        std::io::stderr(),
        "compiled in {:.1} ms; warm, with five calls told: p50 {:.3} ms, p99 {:.3} ms",
        compiled.as_secs_f64() * 1000.0,
        at(50),
        at(99)
    );
}

#[test]
fn a_call_ends_it_until_what_came_of_it_is_known() {
    let mut reads = worker(reader(), &["read"], "{}");
    let Ended::Calls(call) = reads.run("notes/a.md", &Stop::default()) else { panic!("it calls") };
    assert_eq!((call.name.as_str(), call.id.as_str()), ("read", "c1"));
    assert_eq!(call.arguments, r#"{"from":1,"path":"notes/a.md"}"#);
    reads.made.push((call, prompt::quote("notes/a.md", false, "one\ntwo")));
    assert_eq!(reads.run("notes/a.md", &Stop::default()), Ended::Gave("one\ntwo".into()));
    reads.made[0].1 = "refused: you may not read notes/a.md".into();
    assert!(matches!(reads.run("notes/a.md", &Stop::default()), Ended::Refused(_)));
    // Given something else it does something else, and that is no way to go on.
    assert!(matches!(reads.run("notes/b.md", &Stop::default()), Ended::Strayed(_)));
}

#[test]
fn whatever_never_ends_is_ended() {
    let endless = || alone("(loop $again (br $again)) (unreachable)");
    assert_eq!(ends(endless(), "{fuel: 1000000}"), Ended::Spent);
    assert_eq!(ends(endless(), "{fuel: 1000000000000, time: 50ms}"), Ended::Late);
    let stop = Stop::default();
    stop.stop();
    assert_eq!(worker(endless(), &[], "{fuel: 1000000000000}").run("", &stop), Ended::Stopped);
    // Also what never ends before it has begun.
    let begins =
        r#"(core module $m (func $f (loop $again (br $again))) (start $f)) (core instance (instantiate $m))"#;
    assert_eq!(ends(component(begins, "1", "", "", "", ECHO), "{fuel: 1000000}"), Ended::Spent);
}

#[test]
fn memory_has_an_end() {
    let bomb =
        "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (unreachable)";
    assert_eq!(ends(alone(bomb), "{memory_mb: 2}"), Ended::Grown);
    assert_eq!(ends(component("", "40", "", "", "", ECHO), "{memory_mb: 2}"), Ended::Grown);
    // Several memories are no way to more than one has.
    let more = r#"(core module $big (memory 20)) (core instance (instantiate $big)) (core instance (instantiate $big))"#;
    assert_eq!(ends(component(more, "1", "", "", "", ECHO), "{memory_mb: 2}"), Ended::Grown);
    let table = "(table $t 1 funcref)";
    let grows = "(drop (table.grow $t (ref.null func) (i32.const 100000000))) (unreachable)";
    assert_eq!(ends(component("", "1", "", table, "", grows), "{}"), Ended::Grown);
}

#[test]
fn what_it_gives_has_an_end() {
    let gigabyte = "(call $give (i32.const 0) (i32.const 0) (i32.const 1073741824))";
    trapped(ends(alone(gigabyte), "{}"));
    let most = "(call $give (i32.const 0) (i32.const 4096) (i32.const 2048))";
    assert_eq!(ends(alone(most), "{output_kb: 1}"), Ended::Flooded);
    assert!(matches!(ends(alone(most), "{output_kb: 2}"), Ended::Gave(_)));
    let bytes = "(i32.store8 (i32.const 4096) (i32.const 255)) (call $give (i32.const 0) (i32.const 4096) (i32.const 1))";
    trapped(ends(alone(bytes), "{}"));
}

#[test]
fn a_list_of_the_same_text_over_and_over_is_not_read() {
    // 8000 texts of 32 KB each in a page of memory would be 256 MB here.
    let bytes = component(
        &format!(r#"(import "aios:agent/tools@0.1.0" (instance $tools {ASK}))"#),
        "2",
        r#"(core func $ask (canon lower (func $tools "ask") (memory $libc "memory") (realloc (func $libc "realloc"))))"#,
        r#"(import "tools" "ask" (func $ask (param i32 i32 i32 i32 i32)))"#,
        r#"(with "tools" (instance (export "ask" (func $ask))))"#,
        "(local $n i32) (local.set $n (i32.const 65536))
         (loop $more
           (i32.store (i32.add (local.get $n) (i32.const 4)) (i32.const 32768))
           (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 8))) (i32.const 129536))))
         (call $ask (local.get $ptr) (local.get $len) (i32.const 65536) (i32.const 8000) (i32.const 64))
         (unreachable)",
    );
    assert_eq!(worker(bytes, &["ask"], "{}").run("\"why\"", &Stop::default()), Ended::Flooded);
}

#[test]
fn what_it_does_wrong_is_its_own_end_alone() {
    for (work, what) in [
        ("(unreachable)", "unreachable"),
        ("(drop (i32.div_u (local.get $len) (i32.const 0))) (unreachable)", "divide by zero"),
        ("(i32.load (i32.const 2147483647))", "out of bounds"),
        ("(i32.store (i32.const -4) (i32.const 1)) (unreachable)", "out of bounds"),
        ("(call $give (i32.const 7) (i32.const 0) (i32.const 0))", ""),
        ("(i32.const -1)", ""),
    ] {
        let why = trapped(ends(alone(work), "{}"));
        assert!(why.contains(what), "{work}: {why}");
    }
    let deep = "(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))";
    let why = trapped(ends(component("", "1", "", deep, "", "(call $deep (i32.const 0))"), "{}"));
    assert!(why.contains("stack"), "{why}");
}

#[test]
fn what_is_no_component_or_needs_what_nobody_granted_is_not_begun() {
    for bytes in [&b""[..], b"hello", b"\0asm", &[0; 4096], &wat::parse_str("(module)").unwrap()] {
        assert!(matches!(ends(bytes.to_vec(), "{}"), Ended::Unfit(_)), "{bytes:?}");
    }
    let whole = alone(ECHO);
    for end in [8, 100, whole.len() - 1] {
        assert!(matches!(ends(whole[..end].to_vec(), "{}"), Ended::Unfit(_)), "{end}");
    }
    assert!(matches!(ends(wat::parse_str("(component)").unwrap(), "{}"), Ended::Unfit(_)));
    let asks = |import: &str| ends(component(import, "1", "", "", "", ECHO), "{}");
    for import in [
        r#"(import "other:world/things@1.0.0" (instance (export "take" (func))))"#,
        r#"(import "aios:agent/tools@9.0.0" (instance))"#,
        r#"(import "open" (func))"#,
        &format!(r#"(import "aios:agent/tools@0.1.0" (instance {ASK}))"#),
    ] {
        assert!(matches!(asks(import), Ended::Ungranted(_)), "{import}: {:?}", asks(import));
    }
    // A tool by another shape is none.
    let read = r#"(import "aios:agent/tools@0.1.0" (instance (export "read" (func (result string)))))"#;
    assert!(matches!(asks(read), Ended::Unfit(_)), "{:?}", asks(read));
}

/// A component that asks WASI for something that is there, and gives what came of it as a text of one letter.
#[test]
fn what_libraries_look_for_is_there_and_empty() {
    let import = r#"(import "wasi:cli/environment@0.2.3" (instance $env (export "get-environment" (func (result (list (tuple string string)))))))
        (import "wasi:random/random@0.2.3" (instance $random (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))"#;
    let bytes = |len: &str| {
        component(
            import,
            "1",
            r#"(core func $env (canon lower (func $env "get-environment") (memory $libc "memory") (realloc (func $libc "realloc"))))
               (core func $random (canon lower (func $random "get-random-bytes") (memory $libc "memory") (realloc (func $libc "realloc"))))"#,
            r#"(import "sys" "env" (func $env (param i32))) (import "sys" "random" (func $random (param i64 i32)))"#,
            r#"(with "sys" (instance (export "env" (func $env)) (export "random" (func $random))))"#,
            &format!(
                "(call $env (i32.const 64)) (call $random (i64.const {len}) (i32.const 80))
                 (i32.store8 (i32.const 128) (i32.add (i32.const 97) (i32.load (i32.const 68))))
                 (i32.store8 (i32.const 129) (i32.add (i32.const 97) (i32.and (i32.const 15) (i32.load8_u (i32.load (i32.const 80))))))
                 (call $give (i32.const 0) (i32.const 128) (i32.const 2))"
            ),
        )
    };
    let Ended::Gave(first) = ends(bytes("16"), "{}") else { panic!("it ends") };
    assert!(first.starts_with('a'), "nothing of the environment: {first}");
    assert_eq!(ends(bytes("16"), "{}"), Ended::Gave(first), "the same each time");
    trapped(ends(bytes("1000000000"), "{}"));
}

#[test]
fn a_system_is_there_and_does_nothing() {
    let import = r#"(import "wasi:sockets/instance-network@0.2.0" (instance $net (export "network" (type $n (sub resource))) (export "instance-network" (func (result (own $n))))))"#;
    let bytes = component(
        import,
        "1",
        r#"(core func $net (canon lower (func $net "instance-network")))"#,
        r#"(import "net" "net" (func $net (result i32)))"#,
        r#"(with "net" (instance (export "net" (func $net))))"#,
        "(drop (call $net)) (unreachable)",
    );
    let why = trapped(ends(bytes, "{}"));
    assert!(why.contains("wasi:sockets"), "{why}");
}
