//! Work with real processes: a workflow from file to mail, killed at points of its commands, and gone on with.
//!
//! `AIOS_CRASH_ALL=1` takes every point in place of some.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use aios_tests::{binary, reader};
use serde_json::Value;

const GREET: &str = "---
type: workflow
input: {type: object, required: [client], properties: {client: {type: string, minLength: 2}}}
steps:
  draft: {agent: writer, input: {client: '{{ input.client }}'}, retry: {attempts: 5, first: 10ms}}
  send: {effect: mail.send, target: '{{ input.client }}@example.org', args: {subject: Hello, text: '{{ steps.draft.text }}'}}
---
";
const WRITER: &str = "---\ntype: agent\nruntime: template\n---\nDear {{ input.client | title }},\n";

struct Office {
    dir: tempfile::TempDir,
}

impl Office {
    fn new(files: &[(&str, &str)]) -> Office {
        let office = Office { dir: tempfile::tempdir().expect("a folder") };
        std::fs::create_dir_all(office.root()).expect("a folder");
        office.write(files);
        assert!(office.aios(&["init", "-q"], "").status.success());
        office
    }

    fn write(&self, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = self.root().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("company")
    }

    fn aios(&self, args: &[&str], fault: &str) -> Output {
        let mut command = Command::new(binary::aios());
        command.args(args).current_dir(self.root()).stdin(Stdio::null());
        command.env("AIOS_NET", "loopback").env("AIOS_DATA_DIR", self.dir.path().join("keys"));
        command
            .env("NO_COLOR", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null");
        command.env_remove("AIOS_FAULT");
        if !fault.is_empty() {
            command.env("AIOS_FAULT", fault);
        }
        command.output().expect("aios runs")
    }

    /// Runs a command that must end with `code`, and gives what it prints.
    fn ends(&self, args: &[&str], code: i32) -> String {
        let out = self.aios(args, "");
        let said = String::from_utf8_lossy(&out.stderr);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert_eq!(out.status.code(), Some(code), "aios {args:?}: {text}{said}");
        text
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ends(&[args, &["--json"]].concat(), 0)).expect("a JSON value")
    }

    /// The id of the effect of a task that asks for consent, if one does.
    fn asks(&self, task: &str) -> Option<String> {
        let inbox = self.json(&["inbox"]);
        let needs = inbox.as_array().expect("a list").iter();
        let found = needs.filter(|need| need["need"] == "approval" && need["task"] == task);
        found.map(|need| need["key"].as_str().expect("a key").to_owned()).next()
    }

    fn mails(&self) -> Vec<String> {
        let outbox = self.dir.path().join("company.outbox");
        let entries = std::fs::read_dir(outbox).into_iter().flatten();
        let mails = entries.map(|entry| entry.expect("an entry").path());
        let mails = mails.filter(|path| path.extension().is_some_and(|it| it == "eml"));
        mails.map(|path| std::fs::read_to_string(path).expect("a mail")).collect()
    }
}

/// How many points a command passes.
fn points(out: &Output) -> u64 {
    let said = String::from_utf8_lossy(&out.stderr);
    said.lines().filter(|line| line.starts_with("fault: ")).count() as u64
}

#[test]
fn nothing_is_sent_without_consent_and_once_with_it() {
    let office = Office::new(&[("agents/writer.md", WRITER)]);
    office.write(&[("workflows/greet.md", GREET)]);
    let said = office.aios(&["run", "greet", "--input", "client=ann"], "");
    assert_eq!(said.status.code(), Some(1), "a workflow that is not accepted is not in force");
    office.ends(&["accept", "-q"], 0);
    assert_eq!(office.aios(&["run", "greet"], "").status.code(), Some(1), "its input is checked");
    office.ends(&["run", "greet", "--task", "one", "--input", "client=ann"], 3);
    office.ends(&["run", "greet", "--task", "two", "--input", "client=bob"], 3);
    assert_eq!(office.mails(), Vec::<String>::new());
    let one = office.asks("one").expect("it asks");
    office.ends(&["approve", &one], 0);
    office.ends(&["deny", &office.asks("two").expect("it asks"), "--note", "not now"], 0);
    let mails = office.mails();
    assert_eq!(mails.len(), 1);
    assert!(mails[0].contains("To: ann@example.org\r\n") && mails[0].contains("Dear Ann,"), "{}", mails[0]);
    assert_eq!(office.aios(&["approve", &one], "").status.code(), Some(2), "consent is used once");
    let tasks = office.json(&["tasks"]);
    assert_eq!((&tasks[0]["state"], &tasks[1]["state"]), (&"done".into(), &"stuck".into()), "{tasks}");
    let trail = office.ends(&["log", "--json"], 0);
    assert!(trail.contains("approval.granted") && trail.contains("effect.intended"));
    assert!(office.aios(&["verify", "--deep"], "").status.success());
    reader::check(Path::new(&office.root()));
}

#[test]
fn a_kill_at_any_point_is_gone_on_from() {
    let office = Office::new(&[("workflows/greet.md", GREET), ("agents/writer.md", WRITER)]);
    let started = office.aios(&["run", "greet", "--task", "trace", "--input", "client=trace"], "trace");
    let approved = office.aios(&["approve", &office.asks("trace").expect("it asks")], "trace");
    let total = points(&started).max(points(&approved));
    assert!(total > 5, "the commands pass points");
    let step = if std::env::var_os("AIOS_CRASH_ALL").is_some() { 1 } else { total.div_ceil(8) };
    let mut killed = 0;
    for point in (1..=total).step_by(usize::try_from(step).expect("small")) {
        let (task, client) = (format!("t{point}"), format!("client=c{point}"));
        let run = ["run", "greet", "--task", &task, "--input", &client];
        let fault = format!("*=crash@{point}");
        killed += u64::from(office.aios(&run, &fault).status.code().is_none());
        office.ends(&run, 3);
        let key = office.asks(&task).expect("it asks");
        killed += u64::from(office.aios(&["approve", &key], &fault).status.code().is_none());
        if let Some(key) = office.asks(&task) {
            office.ends(&["approve", &key], 0);
        }
        office.ends(&["run", "greet", "--task", &task], 0);
        let to = format!("To: c{point}@example.org\r\n");
        let sent = office.mails().iter().filter(|mail| mail.contains(&to)).count();
        assert_eq!(sent, 1, "killed at point {point}");
    }
    assert!(killed > 3, "only {killed} processes were killed");
    assert!(office.aios(&["verify", "--deep"], "").status.success());
    reader::check(Path::new(&office.root()));
}
