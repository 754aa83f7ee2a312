//! Runs and the versions of their workflows, what a run leaves behind, and how long it took.

use aios_tests::office::Office;

const GREET: &str = "---
type: workflow
input: {type: object, properties: {client: {type: string}}}
steps:
  sure: {ask: 'Send it?'}
  send:
    effect: mail.send
    target: '{{ input.client }}@example.org'
    args: {text: Hello}
    compensate: {effect: mail.send, target: '{{ input.client }}@example.org', args: {text: Sorry}}
---
";
const ALLOW: &str = "---
type: policy
rules: [{name: all, verdict: allow, capability: mail.send}]
---
";

#[test]
fn tasks_that_wait_go_on_with_the_version_in_force_where_it_matches() {
    let office = Office::new(&[("workflows/greet.md", GREET), ("policies/all.md", ALLOW)]);
    for task in ["one", "two"] {
        office.ends(&["run", "greet", "--task", task, "--input", &format!("client={task}")], 3);
    }
    assert!(office.ends(&["workflow", "migrate"], 0).contains("every task has the version in force"));
    office.ends(&["answer", "one", "yes"], 0);
    office.write(&[("workflows/greet.md", &GREET.replace("Hello", "Good day"))]);
    office.ends(&["workflow", "migrate"], 0);
    office.ends(&["accept", "-q"], 0);
    let would = office.ends(&["workflow", "migrate", "--dry-run"], 0);
    assert!(would.contains("task two greet: would go on"), "{would}");
    let moved = office.json(&["workflow", "migrate", "greet"]);
    assert_eq!(moved["moved"][0]["task"], "two", "{moved}");
    office.ends(&["answer", "two", "yes"], 0);
    let mails = office.mails();
    assert!(mails.iter().any(|mail| mail.contains("To: one@") && mail.contains("Hello")), "{mails:?}");
    assert!(mails.iter().any(|mail| mail.contains("To: two@") && mail.contains("Good day")), "{mails:?}");
    office.ends(&["replay", "two"], 0);

    office.ends(&["run", "greet", "--task", "three", "--input", "client=three"], 3);
    office.write(&[("workflows/greet.md", &GREET.replace("Send it?", "Really?"))]);
    office.ends(&["accept", "-q"], 0);
    let stays = office.ends(&["workflow", "migrate"], 3);
    assert!(
        stays.contains("task three greet: stays: with the new version it would have gone otherwise"),
        "{stays}"
    );
    assert!(office.aios(&["verify", "--deep"], "").status.success());
}

#[test]
fn what_a_run_did_to_the_world_lasts_and_undo_says_so() {
    let office = Office::new(&[("workflows/greet.md", GREET), ("policies/all.md", ALLOW)]);
    office.ends(&["run", "greet", "--task", "one", "--input", "client=ann"], 3);
    office.ends(&["answer", "one", "yes"], 0);
    let out = office.aios(&["undo", "--run", "one"], "");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        out.status.success() && said.contains("mail.send to ann@example.org of step send happened"),
        "{said}"
    );
    let undone = office.json(&["undo", "--run", "one"]);
    assert_eq!(undone["lasting"][0]["compensation"], "mail.send", "{undone}");
    assert_eq!(undone["record"], serde_json::Value::Null);
    assert_eq!(office.mails().len(), 1);
    assert_ne!(office.aios(&["undo", "--run", "none"], "").status.code(), Some(0));
}

#[test]
fn how_long_work_takes_is_told_by_workflow_and_step() {
    let office = Office::new(&[("workflows/greet.md", GREET), ("policies/all.md", ALLOW)]);
    assert!(office.ends(&["tasks", "--stats"], 0).contains("nothing ended since"));
    for task in ["one", "two"] {
        office.ends(&["run", "greet", "--task", task, "--input", "client=ann"], 3);
        office.ends(&["answer", task, "yes"], 0);
    }
    let stats = office.json(&["tasks", "--stats"]);
    let rows = stats["rows"].as_array().expect("a list");
    let steps: Vec<_> = rows.iter().map(|row| (row["step"].as_str(), row["count"].as_u64())).collect();
    assert_eq!(steps, [(None, Some(2)), (Some("send"), Some(2)), (Some("sure"), Some(2))]);
    for row in rows {
        assert!(row["p50"].as_u64() <= row["p99"].as_u64() && row["p99"].as_u64() <= row["most"].as_u64());
    }
    assert!(office.ends(&["tasks", "--stats"], 0).starts_with("greet: 2 times, p50 "));
}
