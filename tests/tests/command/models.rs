//! Agents that work with models, with real processes, against a provider that says what a test tells it to.

mod batch;
mod injection;
mod length;
mod rehearsal;
mod tools;
mod wire;

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use aios_tests::device::eventually;
use aios_tests::office::Office;
use serde_json::{Value, json};

use aios_tests::provider::{Provider, Say};

/// A key that must not be anywhere.
const KEY: &str = "sk-test-5ecret-0123456789abcdef";

const FLOW: &str = "---
type: workflow
input: {type: object, properties: {client: {type: string, default: bram}}}
steps:
  draft: {agent: writer, input: {client: '{{ input.client }}'}, retry: {attempts: 3, first: 10ms, most: 20ms}}
  send: {effect: mail.send, target: bram@example.org, args: {subject: '{{ steps.draft.subject }}', text: '{{ steps.draft.text }}'}}
---
";
const WRITER: &str = "---
type: agent
runtime: model
model: small
inputs: {type: object, required: [client], properties: {client: {type: string}}}
outputs: {type: object, required: [subject, text], properties: {subject: {type: string}, text: {type: string}}}
reads: ['clients/*']
writes: ['drafts/*']
tools: [read, search, write]
effects: [file.create, mail.send]
budget: {turns: 6}
---
Write a friendly mail to the client.
";
const DONE: &str = "{\"subject\": \"Hello\", \"text\": \"Dear Bram\"}";

fn models(provider: &Provider, api: &str) -> String {
    let path = if api == "chat" || api == "responses" { "/v1" } else { "" };
    format!(
        "---\ntype: models\nproviders:\n  test: {{api: {api}, url: 'http://{}{path}', key: true, silence: 2s}}\ntiers: {{small: [test/one, test/two]}}\nprices: {{'test/*': {{input: 0.25, output: 2}}}}\n---\n",
        provider.at
    )
}

/// A company with a writer whose model a provider is.
fn company(provider: &Provider, api: &str, writer: &str) -> Office {
    let models = models(provider, api);
    let office = Office::new(&[
        ("workflows/flow.md", FLOW),
        ("agents/writer.md", writer),
        ("agents/models.md", &models),
        ("clients/bram.md", "---\ntype: client\nname: Bram\niban: NL00\n---\nLikes short mails.\n"),
        ("private/bank.md", "The PIN is 4711.\n"),
    ]);
    connect(&office);
    office
}

fn connect(office: &Office) {
    let mut command = office.command(&["connect", "test"], "");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("aios runs");
    child.stdin.take().expect("its input").write_all(KEY.as_bytes()).expect("a pipe");
    let out = child.wait_with_output().expect("it ends");
    assert!(out.status.success());
    assert!(!String::from_utf8_lossy(&out.stdout).contains(KEY));
}

/// Has a task begin that does not come to its end by itself; how it stands then.
fn begins(office: &Office, task: &str) -> String {
    let out = office.aios(&["run", "flow", "--task", task], "");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(matches!(out.status.code(), Some(1 | 3)), "{task}: {said}");
    state(office, task)
}

/// How a task stands.
fn state(office: &Office, task: &str) -> String {
    let tasks = office.json(&["tasks"]);
    let found = tasks.as_array().expect("a list").iter().find(|it| it["task"] == task);
    found.map(|it| it["state"].as_str().expect("a state").to_owned()).unwrap_or_default()
}

/// The files below a folder in which a text stands.
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let mut open = vec![folder.to_owned()];
    let mut out = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            match entry.file_type().expect("a kind") {
                kind if kind.is_dir() => open.push(path),
                kind if kind.is_file() => {
                    let bytes = std::fs::read(&path).unwrap_or_default();
                    if bytes.windows(text.len()).any(|it| it == text.as_bytes()) {
                        out.push(path.display().to_string());
                    }
                }
                _ => {}
            }
        }
    }
    out
}

#[test]
fn a_model_drafts_what_the_operator_sends_whoever_provides_it() {
    let anthropic = "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":100,\"output_tokens\":1}}}\n\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":TEXT}}\n\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":20}}\n\ndata: {\"type\":\"message_stop\"}\n\n";
    let responses = "data: {\"type\":\"response.output_text.delta\",\"delta\":TEXT}\n\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":100,\"output_tokens\":20}}}\n\n";
    let ollama = "{\"message\":{\"content\":TEXT},\"done\":false}\n{\"message\":{\"content\":\"\"},\"done\":true,\"prompt_eval_count\":100,\"eval_count\":20}\n";
    let said = |stream: &str| Say::stream(stream.replace("TEXT", &json!(DONE).to_string()));
    for (api, say, path) in [
        ("chat", Say::chat(DONE, &[]), "POST /v1/chat/completions "),
        ("responses", said(responses), "POST /v1/responses "),
        ("anthropic", said(anthropic), "POST /v1/messages "),
        ("ollama", said(ollama), "POST /api/chat "),
    ] {
        let provider = Provider::says(vec![say]);
        let office = company(&provider, api, WRITER);
        office.ends(&["run", "flow", "--task", "one"], 3);
        office.ends(&["approve", &office.asks("one").expect("it asks")], 0);
        assert!(office.mails()[0].contains("Dear Bram"), "{api}");
        let asked = provider.asked();
        assert_eq!(asked.len(), 1, "{api}");
        assert!(asked[0].head.starts_with(path), "{api}: {}", asked[0].head);
        assert!(asked[0].head.contains(KEY), "{api} is sent the key");
        assert_eq!(asked[0].body["model"], "one");
        let cost = office.json(&["cost", "--by", "model"]);
        // 100 at 0.25 and 20 at 2 for a million.
        assert_eq!(cost["models"]["test/one"]["cost"], 65_000_000, "{api}: {cost}");
        // It is worked out once more without asking anybody.
        office.ends(&["replay", "one"], 0);
        assert_eq!(provider.asked().len(), 1);
        let show = office.json(&["agents", "show", "writer"]);
        assert_eq!(show["versions"][0]["work"]["done"], 1, "{show}");
        assert_eq!(show["versions"][0]["version"], show["version"]);
    }
}

/// The key is in no file of the vault, in no log and in no word; only where it is kept.
#[test]
fn the_key_is_nowhere_else() {
    let echo = format!("{{\"error\": {{\"message\": \"bad key {KEY}\"}}}}");
    let provider = Provider::says(vec![
        Say::refuse(400, "", &echo),
        Say::refuse(401, "", &echo),
        Say::refuse(503, "", &echo),
        Say::stream(format!("data: {echo}\n\n")),
        Say::chat(DONE, &[]),
    ]);
    let office = company(&provider, "chat", WRITER);
    let mut said = String::new();
    for _ in 0..3 {
        let out =
            office.command(&["-v", "run", "flow"], "").env("AIOS_LOG", "trace").output().expect("it runs");
        said.push_str(&String::from_utf8_lossy(&out.stdout));
        said.push_str(&String::from_utf8_lossy(&out.stderr));
    }
    for args in [
        vec!["inbox"],
        vec!["tasks", "--json"],
        vec!["log", "--json"],
        vec!["agents", "show", "writer"],
        vec!["health"],
        vec!["inbox", "--json"],
    ] {
        let out = office.aios(&args, "");
        said.push_str(&String::from_utf8_lossy(&out.stdout));
        said.push_str(&String::from_utf8_lossy(&out.stderr));
    }
    assert!(provider.asked().len() >= 4);
    assert!(said.contains("test/one"), "{said}");
    assert!(!said.contains(KEY), "it was said");
    office.ends(&["export", &office.dir.path().join("out").display().to_string()], 0);
    let found = holding(office.dir.path(), KEY);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with("/providers.json"), "{found:?}");
    office.ends(&["connect", "test", "--remove"], 0);
    assert_eq!(holding(office.dir.path(), KEY), Vec::<String>::new());
}

/// A file that says another address later is not given the key, also where it was accepted.
#[test]
fn a_key_goes_where_it_was_given_for() {
    let (provider, other) =
        (Provider::says(vec![Say::chat(DONE, &[])]), Provider::says(vec![Say::chat(DONE, &[])]));
    let office = company(&provider, "chat", WRITER);
    office.write(&[("agents/models.md", &models(&other, "chat"))]);
    office.ends(&["accept", "-q"], 0);
    assert_eq!(begins(&office, "one"), "stuck");
    assert_eq!((provider.asked().len(), other.asked().len()), (0, 0));
    assert!(office.ends(&["inbox"], 0).contains("aios connect test"));
}

/// What a provider does wrong ends in a state that says so, and where it can pass, it is tried again.
#[test]
fn a_provider_may_do_anything() {
    let half = Say::stream("data: {\"choices\":[{\"delta\":{\"content\":\"{\\\"subj\"}}]}\n\n");
    let long = format!("data: {}\n\n", json!({"choices": [{"delta": {"content": "y".repeat(10 << 20)}}]}));
    let good = Say::chat(DONE, &[]);
    let usageless = Say::stream(format!(
        "data: {}\n\ndata: {}\n\ndata: [DONE]\n\n",
        json!({"choices": [{"delta": {"content": DONE}}]}),
        json!({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    ));
    let loops = Say::chat("", &[("read", json!({"path": "clients/bram.md"}))]);
    // What it says, how the task stands, how often it is asked at least, and a word of what is told.
    let cases: Vec<(&str, Vec<Say>, &str, usize, &str)> = vec![
        (
            "half a stream, then all of it",
            vec![half.clone(), half.clone(), good.clone()],
            "waits",
            3,
            "mail.send",
        ),
        ("always half", vec![half], "stuck", 3, "broke off"),
        ("no JSON", vec![Say::stream("data: {\"choices\": [\n\n")], "stuck", 3, "cannot be read"),
        ("no stream", vec![Say::stream("<html>hello</html>")], "stuck", 3, "broke off"),
        ("invalid UTF-8", vec![Say::stream(b"data: \xff\xfe{}\n\n".to_vec())], "stuck", 3, "not UTF-8"),
        ("ten megabytes", vec![Say::stream(long)], "stuck", 3, "longer than"),
        ("another schema", vec![Say::chat("{\"subject\": 7}", &[])], "stuck", 3, "output.text: is missing"),
        (
            "another schema once",
            vec![Say::chat("{\"subject\": 7}", &[]), good.clone()],
            "waits",
            2,
            "mail.send",
        ),
        (
            "too many calls with a time",
            vec![
                Say::refuse(429, "retry-after: 0.05\r\n", "{}"),
                Say::refuse(429, "retry-after: 0.05\r\n", "{}"),
                good.clone(),
            ],
            "waits",
            3,
            "mail.send",
        ),
        (
            "too many calls without",
            vec![Say::refuse(429, "", "{}"), Say::refuse(429, "", "{}"), good.clone()],
            "waits",
            3,
            "mail.send",
        ),
        ("no money", vec![Say::refuse(402, "", "{}")], "stuck", 1, "no money"),
        (
            "too long a prompt",
            vec![Say::refuse(400, "", "{\"error\":{\"message\":\"prompt is too long\"}}")],
            "stuck",
            1,
            "too long",
        ),
        ("elsewhere", vec![Say::refuse(302, "location: http://127.0.0.1:1/\r\n", "")], "stuck", 1, "302"),
        ("no usage", vec![usageless], "waits", 1, "mail.send"),
        (
            "an unknown tool",
            vec![Say::chat("", &[("shell", json!({}))]), good.clone()],
            "waits",
            2,
            "mail.send",
        ),
        (
            "what it may not read",
            vec![Say::chat("", &[("read", json!({"path": "private/bank.md"}))]), good.clone()],
            "waits",
            2,
            "mail.send",
        ),
        (
            "arguments that are none",
            vec![Say::chat("", &[("read", json!("{\"path\""))]), good],
            "waits",
            2,
            "mail.send",
        ),
        ("a loop without end", vec![loops], "stuck", 6, "after 6 answers"),
    ];
    let provider = Provider::says(vec![]);
    let office = company(&provider, "chat", WRITER);
    for (n, (name, script, stands, asked, told)) in cases.into_iter().enumerate() {
        let before = provider.asked().len();
        provider.then(script);
        let task = format!("t{n}");
        assert_eq!(begins(&office, &task), stands, "{name}: {}", office.ends(&["inbox"], 0));
        let times = provider.asked().len() - before;
        assert!(times >= asked, "{name}: asked {times} times");
        let inbox = office.ends(&["inbox"], 0);
        assert!(inbox.contains(told), "{name}: {inbox}");
        let bodies: Vec<Value> = provider.asked()[before..].iter().map(|it| it.body.clone()).collect();
        assert!(!json!(bodies).to_string().contains("4711"), "{name}");
        office.ends(&["task", "cancel", &task], 0);
    }
    assert!(office.aios(&["verify", "--deep"], "").status.success());
}

#[test]
fn what_has_no_price_asks_and_a_budget_is_never_passed() {
    let provider = Provider::says(vec![Say::chat(DONE, &[])]);
    let office = company(&provider, "chat", WRITER);
    let prices =
        |text: &str| models(&provider, "chat").replace("prices: {'test/*': {input: 0.25, output: 2}}", text);
    office.write(&[("agents/models.md", &prices("prices: {test/two: {input: 0, output: 0}}"))]);
    office.ends(&["accept", "-q"], 0);
    assert_eq!((begins(&office, "one").as_str(), provider.asked().len()), ("stuck", 0));
    assert!(office.ends(&["inbox"], 0).contains("nobody said what test/one costs"));
    office.write(&[("agents/models.md", &prices("prices: {'test/*': {input: 0, output: 0}}"))]);
    office.ends(&["accept", "-q"], 0);
    office.ends(&["task", "retry", "one"], 3);
    assert!(office.asks("one").is_some(), "what is free is named as that");
    // A hundred for a million: the first call may cost a quarter at most, and a second no more than what is left.
    let dear = WRITER.replace("budget: {turns: 6}", "budget: {money: 1.20}");
    office.write(&[
        ("agents/writer.md", &dear),
        ("agents/models.md", &prices("prices: {'test/*': {input: 100, output: 100}}")),
    ]);
    office.ends(&["accept", "-q"], 0);
    let greedy = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"read\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"tool_calls\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":4000,\"completion_tokens\":1000}}\n\ndata: [DONE]\n\n";
    provider.then(vec![Say::stream(greedy)]);
    let before = provider.asked().len();
    assert_eq!(begins(&office, "two"), "stuck");
    assert_eq!(provider.asked().len() - before, 1, "the next call might have passed it");
    assert!(office.ends(&["inbox"], 0).contains("its budget is 1.20"));
}

#[test]
fn where_one_model_cannot_the_next_is_asked() {
    let provider = Provider::says(vec![Say::refuse(503, "", ""), Say::chat(DONE, &[])]);
    let office = company(&provider, "chat", WRITER);
    office.ends(&["run", "flow", "--task", "one"], 3);
    let models: Vec<Value> = provider.asked().iter().map(|it| it.body["model"].clone()).collect();
    assert_eq!(models, ["one", "two"]);
    assert!(office.asks("one").is_some());
}

/// What it reads, looks for and writes; a file is written once the operator says so.
#[test]
fn tools_do_what_the_contract_says() {
    let provider = Provider::says(vec![
        Say::chat(
            "",
            &[
                ("search", json!({"files": "clients/*", "text": "short"})),
                ("read", json!({"path": "clients/bram.md"})),
            ],
        ),
        Say::chat(
            "",
            &[("write", json!({"path": "drafts/bram.md", "fields": {"type": "draft"}, "body": "Dear Bram"}))],
        ),
        Say::chat(DONE, &[]),
    ]);
    let office = company(&provider, "chat", &WRITER.replace("tools:", "expose_fields: [name]\ntools:"));
    office.ends(&["run", "flow", "--task", "one"], 3);
    let shown = json!(provider.asked()[1].body["messages"]).to_string();
    assert!(shown.contains("clients/bram.md: Likes short mails.") && shown.contains("name: Bram"), "{shown}");
    assert!(!shown.contains("NL00"), "a field that is not exposed");
    assert!(!office.root().join("drafts/bram.md").exists());
    office.ends(&["approve", &office.asks("one").expect("the file asks")], 3);
    let text = std::fs::read_to_string(office.root().join("drafts/bram.md")).expect("it is written");
    assert!(text.contains("Dear Bram"), "{text}");
    let came = json!(provider.asked()[2].body["messages"]).to_string();
    assert!(came.contains("done: "), "{came}");
    let blame = office.json(&["blame", "drafts/bram.md"]);
    assert_eq!(blame[0]["actor"], "agent:writer", "{blame}");
    office.ends(&["approve", &office.asks("one").expect("the mail asks")], 0);
    office.ends(&["replay", "one"], 0);
    office.ends(&["undo", "--run", "one"], 0);
    assert!(!office.root().join("drafts/bram.md").exists());
    assert_eq!(provider.asked().len(), 3);
}

/// Killed anywhere in the middle of it: no answer that was recorded is asked for again.
#[test]
fn a_kill_in_the_middle_costs_no_call_again() {
    let script = || {
        vec![
            Say::chat("", &[("read", json!({"path": "clients/bram.md"}))]),
            Say::chat("", &[("search", json!({"files": "clients/*"}))]),
            Say::chat(DONE, &[]),
        ]
    };
    let provider = Provider::says(script());
    let office = company(&provider, "chat", WRITER);
    let traced = office.aios(&["run", "flow", "--task", "trace"], "trace");
    let said = String::from_utf8_lossy(&traced.stderr).into_owned();
    let total = said.lines().filter(|line| line.starts_with("fault: ")).count();
    assert!(total > 10, "the command passes points");
    let mut killed = 0;
    for point in (1..=total).step_by(total.div_ceil(10)) {
        provider.then(script());
        let before = provider.asked().len();
        let task = format!("t{point}");
        let out = office.aios(&["run", "flow", "--task", &task], &format!("*=crash@{point}"));
        killed += usize::from(out.status.code().is_none());
        // What was killed in a call is begun again after its pause.
        office.ends(&["run", "flow", "--task", &task], 3);
        assert!(office.asks(&task).is_some(), "killed at {point}");
        let asked = provider.asked()[before..].to_vec();
        // The scripted answers go on in turn: with one lost the model would not come to its end.
        assert!(asked.len() <= 4, "killed at {point}: asked {} times", asked.len());
        office.ends(&["replay", &task], 0);
    }
    assert!(killed > 4, "only {killed} processes were killed");
}

/// A device that goes on under other keys takes the keys of providers along, and leaves none behind.
#[test]
fn a_key_goes_where_its_device_goes() {
    let provider = Provider::says(vec![Say::chat(DONE, &[])]);
    let office = company(&provider, "chat", WRITER);
    let before = holding(office.dir.path(), KEY);
    office.ends(&["devices", "rotate"], 0);
    office.ends(&["run", "flow", "--task", "one"], 3);
    assert!(provider.asked()[0].head.contains(KEY), "it is sent as before");
    let after = holding(office.dir.path(), KEY);
    assert_eq!((before.len(), after.len()), (1, 1), "{after:?}");
    assert_ne!(before, after);
}

/// A program of the user gives the key: it is nowhere but where that has it, and what it fails with is said without it.
#[test]
fn a_key_that_a_program_gives_is_kept_nowhere() {
    let provider = Provider::says(vec![Say::chat(DONE, &[])]);
    let office = company(&provider, "chat", WRITER);
    let store = office.dir.path().join("store");
    std::fs::write(&store, format!("{KEY}\n")).expect("a file");
    let path = store.display().to_string();
    // In place of the key that was given before.
    office.ends(&["connect", "test", "--", "cat", &path], 0);
    let out = office.command(&["-v", "run", "flow", "--task", "one"], "").env("AIOS_LOG", "trace").output();
    let out = out.expect("it runs");
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(!said.contains(KEY), "{said}");
    assert!(provider.asked()[0].head.contains(KEY));
    assert_eq!(holding(office.dir.path(), KEY), std::slice::from_ref(&path));
    std::fs::remove_file(&store).expect("it can go");
    assert_eq!(begins(&office, "two"), "stuck");
    let inbox = office.ends(&["inbox"], 0);
    assert!(inbox.contains("the key of `test`: `cat` gave no key: exit status: 1"), "{inbox}");
    office.ends(&["connect", "test", "--", "false"], 1);
}

/// With the daemon the vault is free while a model thinks, and what it says goes on by itself.
#[test]
fn a_daemon_waits_for_models_beside_its_work() {
    let provider = Provider::says(vec![Say::chat(DONE, &[])]);
    let office = company(&provider, "chat", WRITER);
    let daemon = office.up("");
    office.aios(&["run", "flow", "--task", "one"], "");
    eventually("the mail asks", || office.asks("one").is_some());
    drop(daemon);
    assert_eq!(provider.asked().len(), 1);
}

/// Those of an `each` that may go on at once do: nobody is answered before all have asked.
#[test]
fn several_are_asked_at_once() {
    const ALL: &str = "---
type: workflow
steps:
  all:
    each: '[1, 2, 3, 4]'
    at_once: 4
    steps:
      draft: {agent: writer, input: {client: 'c{{ item }}'}}
---
";
    let provider = Provider::says(vec![Say::chat(DONE, &[])]);
    provider.waits_for(4);
    let office = company(&provider, "chat", &WRITER.replace("budget:", "timeout: 60s\nbudget:"));
    office.write(&[("workflows/all.md", ALL)]);
    office.ends(&["accept", "-q"], 0);
    office.ends(&["run", "all", "--task", "one"], 0);
    assert_eq!(provider.asked().len(), 4);
}

/// A task that is cancelled while a model's wish waits wants nothing any more.
#[test]
fn what_is_cancelled_asks_no_more() {
    let wish = json!({"capability": "mail.send", "target": "bram@example.org", "args": {"subject": "x", "text": "y"}});
    let provider = Provider::says(vec![Say::chat("", &[("propose", wish)]), Say::chat(DONE, &[])]);
    let office = company(&provider, "chat", WRITER);
    begins(&office, "one");
    assert!(office.asks("one").is_some());
    office.ends(&["task", "cancel", "one"], 0);
    assert_eq!((office.asks("one"), state(&office, "one").as_str()), (None, "cancelled"));
    assert_eq!(provider.asked().len(), 1);
    // Gone back over, it is asked anew, and what waited is wanted no more.
    provider.then(vec![Say::chat("", &[("propose", json!({"capability": "mail.send", "target": "ann@example.org", "args": {"subject": "x", "text": "y"}}))]), Say::chat(DONE, &[])]);
    begins(&office, "two");
    let first = office.asks("two").expect("it asks");
    provider.then(vec![Say::chat("", &[("propose", json!({"capability": "mail.send", "target": "bob@example.org", "args": {"subject": "x", "text": "y"}}))]), Say::chat(DONE, &[])]);
    office.ends(&["task", "retry", "two", "--from", "draft"], 3);
    let second = office.asks("two").expect("it asks anew");
    assert_ne!(first, second);
    office.ends(&["approve", &second], 3);
    assert_eq!((office.sent_to("ann"), office.sent_to("bob")), (0, 1));
}

/// Without a model what has a template works, and says so; what has none waits with what to do.
#[test]
fn without_a_model_templates_work() {
    let template = WRITER.replace(
        "effects:",
        "template: '{\"subject\": \"Hi\", \"text\": \"Dear {{ input.client }}\"}'\neffects:",
    );
    let office = Office::new(&[("workflows/flow.md", FLOW), ("agents/writer.md", &template)]);
    let out = office.aios(&["run", "flow", "--task", "one"], "");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("works from its template"), "{said}");
    office.ends(&["approve", &office.asks("one").expect("it asks")], 0);
    assert!(office.mails()[0].contains("Dear bram"));
    office.ends(&["replay", "one"], 0);
    office.write(&[("agents/writer.md", WRITER)]);
    office.ends(&["accept", "-q"], 0);
    assert_eq!(begins(&office, "two"), "stuck");
    assert!(office.ends(&["inbox"], 0).contains("type: models"));
}

#[test]
fn agents_are_in_force_once_accepted_and_named_in_workflows() {
    let office = Office::new(&[
        ("workflows/flow.md", FLOW),
        ("agents/writer.md", "---\ntype: agent\nruntime: template\n---\nDear\n"),
    ]);
    office.ends(&["agents", "check"], 0);
    office.ends(&["workflow", "check"], 0);
    let list = office.json(&["agents"]);
    assert_eq!((&list[0]["name"], &list[0]["changed"]), (&json!("writer"), &json!(false)), "{list}");
    office.write(&[("agents/writer.md", "---\ntype: agent\nruntime: templat\nreads: [/x]\n---\nDear\n")]);
    let said = office.ends(&["agents", "check"], 4);
    assert!(said.contains("agents/writer.md:3:10: there is no runtime `templat`"), "{said}");
    office.ends(&["commit", "-q"], 0);
    let list = office.json(&["agents"]);
    assert_eq!((&list[0]["runtime"], &list[0]["changed"]), (&json!("template"), &json!(true)), "{list}");
    // What is no agent is none that a workflow can name.
    std::fs::remove_file(office.root().join("agents/writer.md")).expect("it can go");
    office.write(&[("agents/write.md", "---\ntype: context\n---\nBe kind.\n")]);
    let said = office.ends(&["workflow", "check"], 4);
    assert!(said.contains("there is no agent `writer`"), "{said}");
    // What others wrote comes in as a proposal.
    let claude = office.dir.path().join("reviewer.md");
    std::fs::write(&claude, "---\nname: reviewer\ndescription: Reviews\ntools: Read, Bash\n---\nReview.\n")
        .expect("a file");
    let said = office.ends(&["agents", "import", &claude.display().to_string()], 0);
    assert!(said.contains("agents/reviewer.md") && said.contains("the tool Bash"), "{said}");
    office.ends(&["agents", "import", &claude.display().to_string()], 1);
    assert_eq!(
        office
            .json(&["agents"])
            .as_array()
            .expect("a list")
            .iter()
            .filter(|it| it["name"] == "reviewer")
            .count(),
        0
    );
}
