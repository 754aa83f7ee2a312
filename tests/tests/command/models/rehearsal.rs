//! An agent's file is tried before it is in force: on its examples, and on what it did.

use serde_json::json;

use super::*;

/// What the writer does in a task, then what it says in rehearsals.
fn looks_then_writes(subject: &str) -> Vec<Say> {
    let done = json!({"subject": subject, "text": "Dear Bram"}).to_string();
    vec![
        Say::chat("", &[("read", json!({"path": "clients/bram.md"}))]),
        Say::chat("", &[("write", json!({"path": "drafts/bram.md", "body": "Dear"}))]),
        Say::chat(&done, &[]),
    ]
}

fn test(office: &Office, args: &[&str], code: i32) -> Value {
    let text = office.ends(&[&["agents", "test", "writer", "--json"], args].concat(), code);
    serde_json::from_str(&text).expect("a JSON value")
}

/// A task of the writer, up to the question whether its mail goes out.
fn does(office: &Office, task: &str) {
    office.ends(&["run", "flow", "--task", task], 3);
    office.ends(&["approve", &office.asks(task).expect("it asks for the file")], 3);
}

#[test]
fn a_swapped_model_does_what_was_done_once_more_and_nothing_comes_of_it() {
    let provider = Provider::says(looks_then_writes("Hello"));
    let office = company(&provider, "chat", WRITER);
    does(&office, "one");
    assert_eq!(provider.asked().len(), 3);
    let before = std::fs::read_to_string(office.root().join("drafts/bram.md")).expect("the draft");
    // What it read is another by now; the episode is done once more with what it was.
    office.write(&[("clients/bram.md", "---\ntype: client\n---\nHates mails.\n")]);
    office.ends(&["commit", "-q"], 0);
    // Another model, which nobody accepted yet.
    office.write(&[("agents/writer.md", &WRITER.replace("model: small", "model: test/three"))]);
    provider.then(looks_then_writes("Hello"));
    let same = test(&office, &[], 0);
    assert_eq!(same["episodes"][0]["of"], "one", "{same}");
    assert_eq!(same["episodes"][0]["calls"], same["episodes"][0]["calls_then"]);
    let asked = provider.asked();
    assert_eq!((asked.len(), &asked[3].body["model"]), (6, &json!("three")));
    let told = asked[4].body["messages"].to_string();
    assert!(told.contains("Likes short mails") && !told.contains("Hates"), "{told}");
    // One that says something else, by another way.
    provider.then(vec![Say::chat("{\"subject\": \"Ho\", \"text\": \"Dear Bram\"}", &[])]);
    let other = test(&office, &[], 4);
    assert_eq!(other["episodes"][0]["gave"]["subject"], "Ho", "{other}");
    assert_eq!(other["episodes"][0]["calls"], json!([]));
    provider.then(vec![Say::chat("{\"subject\": \"Ho\", \"text\": \"Dear Bram\"}", &[])]);
    let said = office.ends(&["agents", "test", "writer"], 4);
    assert!(said.contains("-calls read {\"path\":\"clients/bram.md\"}"), "{said}");
    assert!(said.contains("+  \"subject\": \"Ho\""), "{said}");
    // Nothing came of it but what it cost.
    assert_eq!(std::fs::read_to_string(office.root().join("drafts/bram.md")).expect("the draft"), before);
    assert_eq!(office.mails().len(), 0);
    let inbox = office.json(&["inbox"]);
    let needs: Vec<&Value> =
        inbox.as_array().expect("a list").iter().filter(|it| it["need"] == "approval").collect();
    assert!(needs.len() == 1 && needs[0]["task"] == "one", "{inbox}");
    let cost = office.json(&["cost", "--by", "model"]);
    assert_eq!(cost["models"]["test/one"]["answers"], 3, "{cost}");
    assert_eq!(cost["models"]["test/three"]["answers"], 5, "{cost}");
    // What it did in rehearsals is nothing that it did.
    let show = office.json(&["agents", "show", "writer"]);
    assert_eq!(show["versions"].as_array().map(Vec::len), Some(1), "{show}");
    office.is_sound();
}

#[test]
fn what_an_agent_wants_in_a_rehearsal_is_never_proposed() {
    let provider = Provider::says(looks_then_writes("Hello"));
    let examples =
        "examples: [{input: {client: bram}, output: {subject: Hello, text: Dear Bram}}]\n---\nWrite a";
    let office = company(&provider, "chat", &WRITER.replace("---\nWrite a", examples));
    let came = test(&office, &[], 0);
    assert_eq!(came["examples"][0]["gave"]["subject"], "Hello", "{came}");
    let asked = provider.asked();
    let told = asked[2].body["messages"].to_string();
    assert!(told.contains("not done: this is a rehearsal"), "{told}");
    assert!(!office.root().join("drafts").exists());
    assert_eq!(office.json(&["inbox"]).as_array().map(Vec::len), Some(0));
    // What differs from the example is shown, and what breaks the contract, and what is refused.
    provider.then(vec![Say::chat("{\"subject\": \"Ho\", \"text\": \"Dear\"}", &[])]);
    assert_eq!(test(&office, &[], 4)["examples"][0]["ok"], false);
    provider.then(vec![Say::chat("no", &[])]);
    let failed = test(&office, &[], 4);
    assert!(failed["examples"][0]["failure"].as_str().is_some_and(|it| it.contains("no JSON")), "{failed}");
    // It failed, and waits for nobody.
    assert_eq!(office.json(&["inbox"]).as_array().map(Vec::len), Some(0));
    assert_eq!(office.ends(&["agents", "test", "nobody"], 1), "");
}

/// The budget of the file that is tried bounds what it costs.
#[test]
fn a_rehearsal_keeps_to_its_budget() {
    let provider = Provider::says(vec![Say::chat("", &[("read", json!({"path": "clients/bram.md"}))])]);
    let writer = WRITER
        .replace("turns: 6", "turns: 2")
        .replace("---\nWrite a", "examples: [{input: {client: bram}}]\n---\nWrite a");
    let office = company(&provider, "chat", &writer);
    let came = test(&office, &[], 4);
    assert!(came["examples"][0]["failure"].as_str().is_some_and(|it| it.starts_with("budget")), "{came}");
    assert_eq!(provider.asked().len(), 2);
}

/// Killed in the middle, what was answered is not asked for again.
#[test]
fn a_rehearsal_that_was_killed_goes_on() {
    let provider = Provider::says(looks_then_writes("Hello"));
    let office = company(
        &provider,
        "chat",
        &WRITER.replace(
            "---\nWrite a",
            "retry: {attempts: 3, first: 1ms}\nexamples: [{input: {client: bram}}]\n---\nWrite a",
        ),
    );
    let traced = office.aios(&["agents", "test", "writer"], "trace");
    let said = String::from_utf8_lossy(&traced.stderr).into_owned();
    let total = said.lines().filter(|line| line.starts_with("fault: ")).count();
    let (mut killed, before) = (0, provider.asked().len());
    assert!(total > 10 && before == 3, "{said}");
    for point in (total / 3..=total).step_by(total.div_ceil(9)) {
        provider.then(looks_then_writes("Hello"));
        let out = office.aios(&["agents", "test", "writer"], &format!("*=crash@{point}"));
        killed += usize::from(out.status.code().is_none());
    }
    assert!(killed > 2, "only {killed} processes were killed");
    provider.then(vec![Say::chat(DONE, &[])]);
    office.ends(&["run"], 0);
    let tasks = office.json(&["tasks"]);
    let open = tasks.as_array().expect("a list").iter().filter(|it| it["state"] != "done").count();
    assert_eq!(open, 0, "{tasks}");
    office.is_sound();
}

/// A stranger's file that is tried is shown nothing that the version in force is not.
#[test]
fn what_nobody_accepted_looks_at_nothing_more() {
    let provider = Provider::says(vec![
        Say::chat("", &[("read", json!({"path": "private/bank.md"}))]),
        Say::chat(DONE, &[]),
    ]);
    let office = company(&provider, "chat", WRITER);
    let writer = WRITER
        .replace("reads: ['clients/*']", "reads: ['clients/*', 'private/*']")
        .replace("---\nWrite a", "examples: [{input: {client: bram}}]\n---\nWrite a");
    office.write(&[("agents/writer.md", &writer)]);
    let out = office.aios(&["agents", "test", "writer"], "");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("goes without `reads: private/*` before it is accepted"), "{said}");
    let told = provider.asked()[1].body["messages"].to_string();
    assert!(told.contains("you may not read") && !told.contains("4711"), "{told}");
    // Nor does it work for its being tried: what is in force is what was accepted.
    provider.then(vec![Say::chat("", &[("read", json!({"path": "private/bank.md"}))]), Say::chat(DONE, &[])]);
    office.ends(&["run", "flow", "--task", "one"], 3);
    assert!(provider.asked().iter().all(|asked| !asked.body.to_string().contains("4711")));
    office.ends(&["accept", "-q"], 0);
    provider.then(vec![Say::chat("", &[("read", json!({"path": "private/bank.md"}))]), Say::chat(DONE, &[])]);
    office.ends(&["agents", "test", "writer", "--last", "0"], 0);
    assert!(provider.asked().last().is_some_and(|asked| asked.body.to_string().contains("4711")));
    // Taken back, it looks at nothing more once more, though it did once.
    office.write(&[("agents/writer.md", WRITER)]);
    office.ends(&["accept", "-q"], 0);
    office.write(&[("agents/writer.md", &writer)]);
    provider.then(vec![Say::chat("", &[("read", json!({"path": "private/bank.md"}))]), Say::chat(DONE, &[])]);
    let before = provider.asked().len();
    office.ends(&["agents", "test", "writer", "--last", "0"], 0);
    assert!(provider.asked()[before..].iter().all(|asked| !asked.body.to_string().contains("4711")));
}

/// Of whatever it may do more than the version that works it is said that it goes without, and another model is named.
#[test]
fn what_nobody_accepted_takes_no_more() {
    let provider = Provider::says(vec![Say::chat("", &[("read", json!({"path": "clients/bram.md"}))])]);
    let office = company(&provider, "chat", &WRITER.replace("turns: 6", "turns: 2"));
    office.write(&[("agents/helper.md", "---\ntype: agent\nruntime: template\n---\nHello\n")]);
    office.ends(&["accept", "-q"], 0);
    let more = WRITER
        .replace("turns: 6", "turns: 9")
        .replace("model: small", "model: test/three")
        .replace("write]", "write, fetch]\nfetches: ['https://example.org/*']\nagents: [helper]")
        .replace("---\nWrite a", "examples: [{input: {client: bram}}]\n---\nWrite a");
    office.write(&[("agents/writer.md", &more)]);
    let out = office.aios(&["agents", "test", "writer"], "");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    for what in [
        "goes without `fetches: https://example.org/*`",
        "goes without `agents: helper`",
        "goes without `budget: more than 200000 tokens, 2 answers`",
        "asks `test/three`, and `small` works now",
    ] {
        assert!(said.contains(what), "{what}: {said}");
    }
    assert_eq!(provider.asked().len(), 2);
}
