//! The note of a day, written when the day is over by a clock that says so.

use aios_tests::device::Device;

use super::clock::Clock;
use super::skip;

const GREET: &str = "---
type: workflow
input: {type: object, properties: {client: {type: string}}}
steps:
  send: {effect: mail.send, target: '{{ input.client }}@example.org', args: {text: Hello}}
---
";
const ALLOW: &str = "---
type: policy
rules: [{name: all, verdict: allow, capability: mail.send}]
---
";
const JOURNAL: &str = "---\ntype: agent\nruntime: journal\nzone: UTC\n---\nWrites down what was done.\n";
const DAY: i64 = 24 * 60 * 60;

#[test]
fn the_day_that_is_over_has_its_note_among_the_words_of_the_operator() {
    let dir = tempfile::tempdir().unwrap();
    let clock = match Clock::new(dir.path()) {
        Ok(clock) => clock,
        Err(why) => return skip(&why),
    };
    let laptop = clock.of(Device::new(dir.path(), "laptop"));
    laptop.init(&[
        ("workflows/greet.md", GREET.as_bytes()),
        ("policies/all.md", ALLOW.as_bytes()),
        ("agents/journal.md", JOURNAL.as_bytes()),
    ]);
    laptop.fails(&["run", "greet", "--task", "one", "--input", "client=ann"], 0);
    let log = laptop.json(&["log"]);
    let day = log[0]["time"].as_str().expect("a time")[..10].to_owned();
    let path = format!("journal/{day}.md");
    assert!(!laptop.root.join(&path).exists(), "the day is not over");
    laptop.write(&[(path.as_str(), b"# A long day\n\nAnn called.\n")]);

    clock.jump(DAY);
    // What is not saved in the vault yet merges with what is written.
    laptop.fails(&["run"], 0);
    laptop.fails(&["commit"], 0);
    let note = laptop.read(&path);
    assert!(note.starts_with("# A long day\n\nAnn called.\n"), "{note}");
    let lines = |note: &str| note.lines().filter(|line| line.starts_with("- ")).count();
    assert_eq!(lines(&note), 2, "the mail and the task: {note}");
    assert!(
        note.contains(
            "`ann@example.org` for [greet](../workflows/greet.md) `one`: allowed by [all](../policies/all.md)"
        ),
        "{note}"
    );

    // Said once, and not again where it is taken out, whoever looks, and whatever happens later.
    let own = "# A long day\n\nAnn called.\n\n## What was done\n\nWhat aios says is right.\n";
    laptop.write(&[(path.as_str(), own.as_bytes())]);
    laptop.fails(&["commit"], 0);
    laptop.fails(&["run", "greet", "--task", "two", "--input", "client=bob"], 0);
    assert_eq!(laptop.read(&path), own);
    clock.jump(2 * DAY);
    laptop.fails(&["run"], 0);
    assert_eq!(laptop.read(&path), own);
    let notes = std::fs::read_dir(laptop.root.join("journal")).unwrap().count();
    assert_eq!(notes, 2, "the next day has its own");
    assert_eq!(laptop.json(&["status"])["pending"].as_array().map(Vec::len), Some(0));
    laptop.fails(&["verify", "--deep"], 0);
}
