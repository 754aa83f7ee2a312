//! What may wait goes by batch, with real processes, against a provider that takes batches.

use aios_tests::batches::{Batches, Says, chat, message};
use aios_tests::device::eventually;
use aios_tests::office::Office;
use aios_tests::provider::{Provider, Say};
use serde_json::{Value, json};

use super::{KEY, connect, holding, state};

const NOTER: &str = "---
type: agent
runtime: model
model: small
urgency: low
timeout: 1s
inputs: {type: object, required: [of], properties: {of: {type: string}}}
effects: []
examples: [{input: {of: bram}}]
---
Write a note.
";
const ONE: &str = "---
type: workflow
steps:
  note: {agent: noter, input: {of: bram}, retry: {attempts: 3, first: 10ms, most: 20ms}}
---
";
const ALL: &str = "---
type: workflow
steps:
  all:
    each: '[\"ann\", \"bob\", \"cem\"]'
    at_once: 3
    steps:
      note: {agent: noter, input: {of: '{{ item }}'}}
---
";

fn company(at: impl std::fmt::Display, api: &str, more: &str) -> Office {
    let path = if api == "chat" || api == "responses" { "/v1" } else { "" };
    let models = format!(
        "---\ntype: models\nproviders:\n  test: {{api: {api}, url: 'http://{at}{path}', key: true, silence: 5s{more}}}\ntiers: {{small: [test/one]}}\nprices: {{'test/*': {{input: 0.25, output: 2, batch: 0.5}}}}\n---\n"
    );
    let office = Office::new(&[
        ("workflows/one.md", ONE),
        ("workflows/all.md", ALL),
        ("agents/noter.md", NOTER),
        ("agents/models.md", &models),
    ]);
    connect(&office);
    office
}

fn says_chat(_: &Value) -> (u16, Value) {
    chat("A note.")
}

/// What was spent on models, in millionths of a millionth.
fn spent(office: &Office) -> u64 {
    office.json(&["cost", "--by", "model"])["models"]["test/one"]["cost"].as_u64().unwrap_or(0)
}

#[test]
fn those_that_are_ready_together_are_one_batch_at_half_the_price() {
    let anthropic: Says = |_| message("A note.");
    let responses: Says = |_| {
        let output = json!([{"type": "message", "content": [{"type": "output_text", "text": "A note."}]}]);
        let usage = json!({"input_tokens": 100, "output_tokens": 20});
        (200, json!({"status": "completed", "error": null, "output": output, "usage": usage}))
    };
    for (api, says) in [("chat", says_chat as Says), ("responses", responses), ("anthropic", anthropic)] {
        let provider = Batches::says(says);
        provider.is_quick();
        let office = company(provider.at, api, ", poll: 50ms");
        office.ends(&["run", "all", "--task", "one"], 0);
        let made = provider.made();
        assert_eq!((made.len(), made[0].asked.len()), (1, 3), "{api}");
        for body in made[0].asked.values() {
            assert_eq!((&body["model"], &body["stream"]), (&json!("one"), &Value::Null), "{api}");
        }
        // Three times 100 at 0.25 and 20 at 2 for a million, by half.
        assert_eq!(spent(&office), 3 * 65_000_000 / 2, "{api}");
        let shown = office.ends(&["task", "show", "one"], 0);
        assert!(shown.contains("> is in batch batch_1") && !shown.contains("waits for"), "{api}: {shown}");
        office.ends(&["replay", "one"], 0);
        office.ends(&["task", "show", "one", "--prompts"], 0);
        // Somebody waits to see a rehearsal.
        office.ends(&["agents", "test", "noter", "--last", "0"], 0);
        assert_eq!(provider.made().len(), 1, "{api}");
        let held = holding(office.dir.path(), KEY);
        assert!(held.iter().all(|path| path.ends_with("providers.json")), "{api}: {held:?}");
    }
}

#[test]
fn a_batch_outlives_who_sent_it() {
    let provider = Batches::says(says_chat);
    let office = company(provider.at, "chat", "");
    let daemon = office.up("");
    office.ends(&["run", "one", "--task", "one"], 3);
    eventually("it is sent", || provider.made().len() == 1);
    let waits = || office.ends(&["task", "show", "one"], 0).contains("waits for batch batch_1 at test since");
    eventually("that is recorded", waits);
    drop(daemon);
    provider.end("completed");
    let daemon = office.up("");
    eventually("it is done", || state(&office, "one") == "done");
    drop(daemon);
    assert_eq!((provider.made().len(), spent(&office)), (1, 65_000_000 / 2));
    assert_eq!(provider.told("POST /v1/chat"), 0);
    office.ends(&["replay", "one"], 0);
}

/// Nobody heard that the batch was made: it is found by the names of its questions, and not made again.
#[test]
fn what_was_sent_unheard_is_found() {
    let provider = Batches::says(says_chat);
    provider.hangs_up();
    provider.is_quick();
    let office = company(provider.at, "chat", ", poll: 50ms");
    office.ends(&["run", "one", "--task", "one"], 0);
    assert_eq!((provider.made().len(), provider.told("GET /v1/batches?")), (1, 1));
    assert_eq!(spent(&office), 65_000_000 / 2);
}

#[test]
fn who_has_no_batches_is_asked_directly_and_that_is_said() {
    let provider = Batches::says(says_chat);
    provider.has_none();
    let office = company(provider.at, "chat", ", poll: 50ms");
    office.ends(&["run", "one", "--task", "one"], 0);
    let shown = office.ends(&["task", "show", "one"], 0);
    assert!(shown.contains("asks directly: test has no batches"), "{shown}");
    assert_eq!((provider.told("POST /v1/chat"), spent(&office)), (1, 65_000_000));
    office.ends(&["replay", "one"], 0);

    // Whom this device has no key of is not asked, and the next of its tier is.
    let models = std::fs::read_to_string(office.root().join("agents/models.md")).expect("a file");
    let models =
        models.replace("providers:\n", "providers:\n  near: {api: chat, url: 'https://near.example/v1'}\n");
    let models = models.replace("[test/one]", "[near/one, test/one]");
    let models = models.replace("prices: {", "prices: {near/one: {input: 1, output: 1}, ");
    office.write(&[("agents/models.md", &models)]);
    office.ends(&["accept", "-q"], 0);
    office.ends(&["run", "one", "--task", "two"], 0);
    let shown = office.ends(&["task", "show", "two"], 0);
    assert!(shown.contains("asks directly: this device has no key of `near`"), "{shown}");

    let ollama = Provider::says(vec![Say::stream(
        "{\"message\":{\"content\":\"A note.\"},\"done\":true,\"prompt_eval_count\":100,\"eval_count\":20}\n",
    )]);
    let office = company(ollama.at, "ollama", "");
    office.ends(&["run", "one", "--task", "one"], 0);
    assert!(office.ends(&["task", "show", "one"], 0).contains("asks directly: test has no batches"));
    assert_eq!(ollama.asked().len(), 1);
}

#[test]
fn what_expires_is_asked_directly_and_what_is_refused_fails() {
    let provider = Batches::says(says_chat);
    let office = company(provider.at, "chat", "");
    office.ends(&["run", "one", "--task", "late"], 3);
    provider.end("expired");
    // Who comes by looks at once.
    office.ends(&["run", "one", "--task", "late"], 0);
    let shown = office.ends(&["task", "show", "late"], 0);
    assert!(shown.contains("asks directly: This request could not be executed"), "{shown}");
    assert_eq!(spent(&office), 65_000_000);

    let refuses = Batches::says(|_| {
        (400, json!({"error": {"message": "no such model as sk-test-5ecret-0123456789abcdef"}}))
    });
    refuses.is_quick();
    let office = company(refuses.at, "chat", ", poll: 50ms");
    office.ends(&["run", "one", "--task", "one"], 1);
    let shown = office.ends(&["task", "show", "one"], 0);
    assert!(
        shown.contains("permanent: test/one, by batch: it answers 400: no such model as [key]"),
        "{shown}"
    );
    assert_eq!((refuses.made().len(), refuses.told("POST /v1/chat")), (1, 0));
}

#[test]
fn what_is_cancelled_is_given_up_at_the_provider_once_nobody_waits() {
    let provider = Batches::says(says_chat);
    let office = company(provider.at, "chat", "");
    office.ends(&["run", "one", "--task", "one"], 3);
    office.ends(&["task", "cancel", "one"], 0);
    assert_eq!(provider.told("POST /v1/batches/batch_1/cancel"), 1);
    assert_eq!(state(&office, "one"), "cancelled");
}

/// What nobody named a price for is not free.
#[test]
fn without_a_price_nothing_is_sent() {
    let provider = Batches::says(says_chat);
    let office = company(provider.at, "chat", "");
    let models = std::fs::read_to_string(office.root().join("agents/models.md")).expect("a file");
    office.write(&[("agents/models.md", &models.replace(", batch: 0.5", ""))]);
    office.ends(&["accept", "-q"], 0);
    office.ends(&["run", "one", "--task", "one"], 1);
    let shown = office.ends(&["task", "show", "one"], 0);
    assert!(shown.contains("nobody said what test/one costs by batch"), "{shown}");
    assert_eq!(provider.made().len(), 0);
    // A dear one is asked about with what it costs that way.
    let dear =
        models.replace("prices:", "asks_above: 0.01\nprices:").replace("input: 0.25", "input: 2500000");
    office.write(&[("agents/models.md", &dear)]);
    office.ends(&["accept", "-q"], 0);
    office.ends(&["run", "one", "--task", "two"], 3);
    let inbox = office.ends(&["inbox"], 0);
    assert!(inbox.contains("may it ask test/one by batch? That may cost up to"), "{inbox}");
    assert_eq!(provider.made().len(), 0);
}

/// Killed wherever it is, it goes on: nothing is lost, and nothing is sent twice.
#[test]
fn a_kill_at_any_point_sends_nothing_twice() {
    let provider = Batches::says(says_chat);
    provider.is_quick();
    let office = company(provider.at, "chat", ", poll: 20ms");
    let traced = office.aios(&["run", "one", "--task", "trace"], "trace");
    let said = String::from_utf8_lossy(&traced.stderr).into_owned();
    let total = said.lines().filter(|line| line.starts_with("fault: ")).count();
    assert!(total > 10, "the command passes points");
    let (mut killed, mut tasks) = (0, 1);
    for point in (1..=total).step_by(total.div_ceil(6)) {
        let task = format!("t{point}");
        let out = office.aios(&["run", "one", "--task", &task], &format!("*=crash@{point}"));
        killed += usize::from(out.status.code().is_none());
        office.ends(&["run", "one", "--task", &task], 0);
        tasks += 1;
        assert_eq!(provider.made().len(), tasks, "killed at {point}");
        office.ends(&["replay", &task], 0);
    }
    assert!(killed > 2, "only {killed} processes were killed");
    assert_eq!(provider.told("POST /v1/chat"), 0);
}
