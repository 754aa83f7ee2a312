//! Work that takes another turn: it goes back, fails for good, or starts because something happened.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Stdio;

use aios_tests::device::eventually;
use serde_json::Value;

use super::{GREET, WRITER, said};
use aios_tests::office::{Daemon, Office};

/// The operator does not like the draft: it is made anew, the mail of before is wanted no more, and what happened is not done again.
#[test]
fn a_task_goes_back_to_a_step() {
    let office = Office::new(&[("workflows/greet.md", GREET), ("agents/writer.md", WRITER)]);
    office.ends(&["run", "greet", "--task", "first", "--input", "client=bram"], 3);
    let before = office.asks("first").expect("it asks");
    office.write(&[("agents/writer.md", &WRITER.replace("Dear", "Hello"))]);
    office.ends(&["accept", "-q"], 0);
    let daemon = office.up("");
    office.ends(&["task", "retry", "first", "--from", "draft"], 3);
    let now = office.asks("first").expect("it asks anew");
    assert_ne!(before, now);
    assert!(!office.aios(&["approve", &before], "").status.success());
    office.ends(&["approve", &now], 0);
    drop(daemon);
    assert!(office.mails().iter().all(|mail| mail.contains("Hello Bram")), "{:?}", office.mails());
    assert_eq!(office.sent_to("bram"), 1);
    // It is over, and stays so.
    let out = office.aios(&["task", "retry", "first", "--from", "draft"], "");
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    assert!(said(&out).contains("is over"), "{}", said(&out));
}

/// What a dead letter says to do can be done, each of it as it is written there.
#[test]
fn the_commands_of_a_dead_letter_work() {
    let office = Office::new(&[("workflows/greet.md", GREET), ("agents/writer.md", WRITER)]);
    office.write(&[(
        "agents/writer.md",
        "---\ntype: agent\nruntime: template\n---\n{{ input.nobody.name }}\n",
    )]);
    office.ends(&["accept", "-q"], 0);
    for task in ["first", "second"] {
        office.ends(&["run", "greet", "--task", task, "--input", "client=bram"], 1);
    }
    let packet = office.json(&["task", "show", "first"]);
    assert_eq!((&packet["state"], &packet["dead"]["step"]), (&"stuck".into(), &"draft".into()), "{packet}");
    assert_eq!(packet["steps"][0]["failed"][0]["failure"]["class"], "permanent", "{packet}");
    let inbox = office.json(&["inbox"]);
    let dead = inbox.as_array().expect("a list").iter().find(|need| need["task"] == "first");
    assert_eq!(dead.expect("a dead letter")["next"], packet["next"]);
    let next: Vec<&str> =
        packet["next"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(next, ["aios task retry first", "aios task cancel first"]);
    office.write(&[("agents/writer.md", WRITER)]);
    office.ends(&["accept", "-q"], 0);
    office.ends(&next[0].split(' ').skip(1).collect::<Vec<_>>(), 3);
    assert!(office.asks("first").is_some());
    let cancel = next[1].replace("first", "second");
    office.ends(&cancel.split(' ').skip(1).collect::<Vec<_>>(), 0);
    assert_eq!(office.json(&["task", "show", "second"])["state"], "cancelled");
}

/// An event that is told twice, beside the daemon and through it, starts one task.
#[test]
fn an_event_starts_one_task() {
    let paid = "---\ntype: workflow\non: {event: bank.paid, where: event.amount > 10}\ninput: {type: object, required: [client], properties: {client: {type: string}}}\nsteps:\n  sub: {workflow: greet, input: {client: '{{ input.client }}'}}\n---\n";
    let files = [("workflows/greet.md", GREET), ("workflows/paid.md", paid), ("agents/writer.md", WRITER)];
    let office = Office::new(&files);
    let told = ["emit", "bank.paid", "--id", "7", "--data", "client=bram", "--data", "amount:=12"];
    let first = office.json(&told);
    assert_eq!((&first["known"], &first["tasks"][0]["workflow"]), (&false.into(), &"paid".into()), "{first}");
    let _daemon = office.up("");
    let again = office.json(&told);
    assert_eq!((&again["known"], &again["tasks"]), (&true.into(), &first["tasks"]));
    let little = office.json(&["emit", "bank.paid", "--data", "client=sofie", "--data", "amount:=1"]);
    assert_eq!(little["tasks"], serde_json::json!([]));
    assert_eq!(office.aios(&["emit", "Bank paid"], "").status.code(), Some(2));
    let tasks: Value = serde_json::from_str(&office.ends(&["tasks", "--json"], 0)).expect("a JSON value");
    assert_eq!(tasks.as_array().expect("a list").len(), 2, "{tasks}");
}

/// Calls a hook, and gives the status and what it says.
fn call(addr: &str, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).expect("it listens");
    let length = body.len();
    stream
        .write_all(format!("{head} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes())
        .expect("it reads");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("it answers");
    let status = said.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, said.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned())
}

/// What is delivered twice is one task, through a daemon that is killed in between; what it brings asks, though the policy allows all.
#[test]
fn a_hook_starts_one_task_that_asks() {
    let paid = "---\ntype: workflow\non: {webhook: /pay}\ninput: {type: object, properties: {client: {type: string}}}\nsteps:\n  send: {effect: mail.send, target: '{{ input.client }}@example.org', args: {text: thanks}}\n---\n";
    let allow = "---\ntype: policy\nrules: [{name: all, verdict: allow}]\n---\n";
    let office = Office::new(&[("workflows/paid.md", paid), ("policies/all.md", allow)]);
    let hook = office.json(&["hook", "add", "/pay", "--listen", "127.0.0.1:0"]);
    let token = hook["token"].as_str().expect("a token");
    let up = || {
        let mut child =
            office.command(&["up", "--no-ui"], "").stdout(Stdio::piped()).spawn().expect("aios runs");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let addr = lines
            .by_ref()
            .map(|line| line.expect("text"))
            .find_map(|line| line.strip_prefix("hooks http://").map(str::to_owned));
        (Daemon { child, said: PathBuf::new() }, addr.expect("it listens for hooks"), lines)
    };
    let (daemon, addr, _lines) = up();
    let mine = format!("POST /pay?token={token}");
    let body = "{\"id\":\"evt 1\",\"client\":\"bram\"}";
    assert_eq!(call(&addr, "POST /pay?token=00", body).0, 401);
    assert_eq!(call(&addr, "POST /pay", body).0, 401);
    assert_eq!(call(&addr, &mine, "client=bram").0, 400);
    assert_eq!(call(&addr, &format!("GET /pay?token={token}"), "").0, 405);
    assert_eq!(call(&addr, &mine, body), (202, "{\"id\":\"evt 1\"}".into()));
    // What was answered so lasts, whatever becomes of the daemon.
    drop(daemon);
    let (_daemon, addr, _lines) = up();
    assert_eq!(call(&addr, &mine, body).0, 202);
    eventually("the task asks", || !office.json(&["inbox"]).as_array().expect("a list").is_empty());
    let tasks: Value = serde_json::from_str(&office.ends(&["tasks", "--json"], 0)).expect("a JSON value");
    assert_eq!(
        (tasks.as_array().expect("a list").len(), &tasks[0]["trigger"]["untrusted"]),
        (1, &true.into())
    );
    assert_eq!(office.sent_to("bram"), 0);
    let task = tasks[0]["task"].as_str().expect("an id");
    office.ends(&["approve", &office.asks(task).expect("it asks")], 0);
    assert_eq!(office.sent_to("bram"), 1);
    // Closed at once, also where the daemon goes on.
    office.ends(&["hook", "remove", "/pay"], 0);
    assert_eq!(call(&addr, &mine, body).0, 401);
}

/// Where an outbox cannot be written to, what it should do waits after five failures, and burns nothing; each process knows it.
#[test]
fn a_connector_that_fails_and_fails_is_left_alone() {
    let many = "---\ntype: workflow\nsteps:\n  all:\n    each: 'range(1, 8) | list'\n    as: n\n    at_once: 8\n    steps:\n      send: {effect: mail.send, target: '{{ n }}@example.org', args: {text: hi}, retry: {attempts: 3, first: 10ms, most: 10ms}}\n---\n";
    let allow = "---\ntype: policy\nrules: [{name: all, verdict: allow}]\n---\n";
    let office = Office::new(&[("workflows/many.md", many), ("policies/all.md", allow)]);
    std::fs::write(office.dir.path().join("company.outbox"), "in the way").expect("a file");
    office.ends(&["run", "many", "--task", "first"], 3);
    let health =
        || -> Value { serde_json::from_str(&office.ends(&["health", "--json"], 4)).expect("a JSON value") };
    let mail = |health: &Value| {
        let mut connectors = health["connectors"].as_array().expect("a list").iter();
        connectors.find(|it| it["capability"] == "mail.send").expect("mails go out").clone()
    };
    let first = health();
    assert_eq!((&mail(&first)["breaker"], &mail(&first)["failures"]), (&"open".into(), &7.into()), "{first}");
    assert!(
        first["findings"].as_array().expect("a list").iter().any(|it| it["finding"] == "open"),
        "{first}"
    );
    let dead = office.json(&["inbox"]);
    assert_eq!(dead, serde_json::json!([]), "attempts are left");
    // The next process leaves it alone, too, though there is room now.
    std::fs::remove_file(office.dir.path().join("company.outbox")).expect("the file");
    office.ends(&["run"], 3);
    assert_eq!((mail(&health()), office.mails().len()), (mail(&first), 0));
}
