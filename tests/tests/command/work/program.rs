//! Agents that are programs: what they give is held to what they have to give, and whatever they do, nothing of them is left.

use std::path::Path;

use aios_tests::device::eventually;
use serde_json::Value;

use super::ALLOW;
use aios_tests::office::Office;

/// A workflow that has the agent `worker` work and mails what it gives.
const ASK: &str = "---
type: workflow
input: {type: object, properties: {client: {type: string, default: ann}}}
steps:
  work: {agent: worker, input: {client: '{{ input.client }}'}, retry: {attempts: 3, first: 10ms, most: 10ms}}
  send: {effect: mail.send, target: '{{ input.client }}@example.org', args: {text: '{{ steps.work.text }}'}}
---
";

/// What lets a script leave its marks where a test looks for them.
const OUT: &str = "sandbox: none\n";

/// An agent that is a script for `sh`.
fn worker(keys: &str, script: &str) -> String {
    format!(
        "---\ntype: agent\nruntime: command\ncommand: [sh, '{{script}}']\n{keys}outputs: {{type: object, required: [text], properties: {{text: {{type: string}}}}}}\n---\nWorks.\n\n```sh\n{script}\n```\n"
    )
}

fn office(agent: &str) -> Office {
    Office::new(&[("workflows/ask.md", ASK), ("policies/all.md", ALLOW), ("agents/worker.md", agent)])
}

/// How a task failed for good.
fn failure(office: &Office, task: &str) -> Value {
    let inbox = office.json(&["inbox"]);
    let dead = inbox.as_array().expect("a list").iter().find(|it| it["need"] == "dead" && it["task"] == task);
    dead.unwrap_or_else(|| panic!("it is no dead letter: {inbox}"))["failure"].clone()
}

fn lives(pid: &Path) -> bool {
    let pid = std::fs::read_to_string(pid).expect("its number");
    // One that is over and not buried has no memory.
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim()));
    status.is_ok_and(|status| status.contains("VmSize"))
}

#[test]
fn a_program_gets_json_and_gives_json_and_sees_nothing_else() {
    let script = r#"read input
names=$(env | cut -d= -f1 | sort | tr '\n' ' ')
echo half > "$HOME/own"
printf '{"text": "%s %s in %s, %s of it"}' "$(printf %s "$input" | tr -d '"')" "$names" "$HOME" "$(pwd)""#;
    let office = office(&worker("", script));
    office.ends(&["run", "ask", "--task", "one"], 0);
    let mail = office.mails().concat();
    let line = mail.lines().find(|line| line.contains("{client:ann}")).unwrap_or_else(|| panic!("{mail}"));
    assert!(!line.contains("AIOS") && !line.contains("GIT_") && line.contains("HOME"), "{line}");
    let home = line.split(" in ").nth(1).and_then(|it| it.split(',').next()).expect("its folder");
    assert!(line.contains(&format!("{home} of it")), "it works in its folder: {line}");
    assert!(!Path::new(home).exists(), "{home} is gone");
    assert!(office.aios(&["verify", "--deep"], "").status.success());
    // What a program gave is not worked out anew.
    office.ends(&["replay", "one"], 0);
}

#[test]
fn whatever_a_program_does_its_failure_has_a_class() {
    let office = office(&worker("", "true"));
    let dir = office.dir.path().to_owned();
    let away = |name: &str| {
        format!(
            "setsid sh -c 'echo $$ > {0}/{name}.new; mv {0}/{name}.new {0}/{name}; exec sleep 600' & while [ ! -e {0}/{name} ]; do sleep 0.01; done",
            dir.display()
        )
    };
    for (task, keys, script, class, what) in [
        (
            "endless",
            "limits: {time: 1s}\n",
            away("endless") + "; sleep 600",
            "transient",
            "was ended after 1s",
        ),
        (
            "floods",
            "limits: {output_kb: 64}\n",
            away("floods") + "; yes",
            "invalid-output",
            "more than 65536 bytes",
        ),
        (
            "forks",
            "limits: {processes: 12}\n",
            away("forks") + "; for n in $(seq 40); do sleep 600 & done; sleep 600",
            "permanent",
            "more than 12 processes",
        ),
        ("dies", "", away("dies") + "; kill -9 $$", "crashed", "signal 9"),
        ("busy", "", "echo later >&2; exit 75".into(), "transient", "later"),
        (
            "refuses",
            "",
            "echo 'no such client' >&2; exit 3".into(),
            "permanent",
            "ended with 3: no such client",
        ),
        ("babbles", "", "echo hello".into(), "invalid-output", "one JSON value"),
        ("other", "", "echo '{\"text\": 3}'".into(), "invalid-output", "output.text: must be of type string"),
        ("mute", "", "exec 1>&-; cat > /dev/null".into(), "invalid-output", "one JSON value"),
        ("deaf", "", "exec 0<&-; exit 4".into(), "permanent", "ended with 4"),
    ] {
        office.write(&[("agents/worker.md", &worker(&format!("{OUT}{keys}"), &script))]);
        office.ends(&["accept", "-q"], 0);
        office.ends(&["run", "ask", "--task", task], 1);
        let failure = failure(&office, task);
        let told = failure["what"].as_str().unwrap_or_default();
        assert!(failure["class"] == class && told.contains(what), "{task}: {failure}");
        let pid = dir.join(task);
        assert!(!pid.exists() || !lives(&pid), "{task} left somebody");
    }
    assert_eq!(office.mails(), Vec::<String>::new());
    let none = "---\ntype: agent\nruntime: command\ncommand: [no-such-program-anywhere]\n---\n";
    office.write(&[("agents/worker.md", none)]);
    office.ends(&["accept", "-q"], 0);
    office.ends(&["run", "ask", "--task", "none"], 1);
    assert_eq!(failure(&office, "none")["class"], "permanent");
}

/// What ends well leaves nobody, either.
#[test]
fn who_a_program_leaves_behind_is_ended() {
    let pid = tempfile::NamedTempFile::new().expect("a file");
    let script =
        format!("setsid sleep 600 & echo $! > {}; echo '{{\"text\": \"done\"}}'", pid.path().display());
    let office = office(&worker(OUT, &script));
    office.ends(&["run", "ask", "--task", "one"], 0);
    assert_eq!(office.sent_to("ann"), 1);
    assert!(!lives(pid.path()));
}

/// What is run is what was accepted (I11).
#[test]
fn a_program_is_in_force_only_as_it_was_accepted() {
    let says = |word: &str| worker("", &format!("echo '{{\"text\": \"{word}\"}}'"));
    let office = office(&says("before"));
    office.write(&[("agents/worker.md", &says("after"))]);
    office.ends(&["run", "ask", "--task", "one"], 0);
    assert!(office.mails().concat().contains("before"));
    office.ends(&["accept", "-q"], 0);
    office.ends(&["run", "ask", "--task", "two"], 0);
    assert!(office.mails().concat().contains("after"));
    // A file of the vault can be changed without being accepted.
    let path = office.root().join("tool.sh");
    let agent = format!(
        "---\ntype: agent\nruntime: command\ncommand: [sh, {}]\nsandbox: none\n---\n",
        path.display()
    );
    office.write(&[("tool.sh", "echo '{\"text\": \"own\"}'"), ("agents/worker.md", &agent)]);
    office.ends(&["accept", "-q"], 0);
    let out = office.aios(&["run", "ask", "--task", "three"], "");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("is a file of the vault"), "{said}");
    assert_eq!(failure(&office, "three")["class"], "lost-context");
}

/// While a program works the daemon does other work, and whoever kills the daemon ends the program.
#[test]
fn a_daemon_does_other_work_meanwhile_and_takes_its_programs_along() {
    let marks = tempfile::tempdir().expect("a folder");
    let (pid, go) = (marks.path().join("pid"), marks.path().join("go"));
    let script = format!(
        "echo $$ > {0}.new; mv {0}.new {0}\nwhile [ ! -e {1} ]; do sleep 0.02; done\necho '{{\"text\": \"at last\"}}'",
        pid.display(),
        go.display()
    );
    let quick = "---\ntype: workflow\nsteps:\n  send: {effect: mail.send, target: quick@example.org, args: {text: x}}\n---\n";
    let office = office(&worker("sandbox: none\nlimits: {time: 10m}\n", &script));
    office.write(&[("workflows/quick.md", quick)]);
    office.ends(&["accept", "-q"], 0);
    let daemon = office.up("");
    let mut slow = office.command(&["run", "ask", "--task", "slow"], "").spawn().expect("aios runs");
    eventually("it works", || pid.exists());
    office.ends(&["run", "quick", "--task", "quick"], 0);
    assert_eq!((office.sent_to("quick"), office.sent_to("ann")), (1, 0));
    // Rules that change meanwhile end nothing.
    office.write(&[("policies/more.md", ALLOW)]);
    office.ends(&["accept", "-q"], 0);
    assert!(lives(&pid));
    drop(daemon);
    slow.kill().and_then(|()| slow.wait()).expect("it can be killed");
    eventually("its program is gone with it", || !lives(&pid));
    std::fs::remove_file(&pid).expect("it is there");
    let daemon = office.up("");
    eventually("it is tried again", || pid.exists());
    std::fs::write(&go, "").expect("a file");
    eventually("it is done", || office.sent_to("ann") == 1);
    drop(daemon);
    office.is_sound();
}

/// A step whose time is over, and a task that nobody wants any more, end their program.
#[test]
fn a_program_that_nobody_waits_for_is_ended() {
    let marks = tempfile::tempdir().expect("a folder");
    let pid = marks.path().join("pid");
    let script = format!("echo $$ > {0}.new; mv {0}.new {0}; sleep 600", pid.display());
    let office = office(&worker("sandbox: none\nlimits: {time: 10m}\n", &script));
    office.write(&[(
        "workflows/ask.md",
        &ASK.replace("retry: {attempts: 3", "timeout: 1s, retry: {attempts: 1"),
    )]);
    office.ends(&["accept", "-q"], 0);
    office.ends(&["run", "ask", "--task", "late"], 1);
    assert_eq!(failure(&office, "late")["what"], "it took longer than 1s");
    eventually("its program is gone", || !lives(&pid));
    std::fs::remove_file(&pid).expect("it is there");
    office.write(&[("workflows/ask.md", ASK)]);
    office.ends(&["accept", "-q"], 0);
    let _daemon = office.up("");
    let mut run = office.command(&["run", "ask", "--task", "dropped"], "").spawn().expect("aios runs");
    eventually("it works", || pid.exists());
    office.ends(&["task", "cancel", "dropped"], 0);
    eventually("its program is gone", || !lives(&pid));
    run.kill().and_then(|()| run.wait()).expect("it can be killed");
}
