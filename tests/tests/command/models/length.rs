//! Work that grows too long for its model: what happened first is summed up, once, and nothing is lost of it.

use aios_tests::office::Office;
use aios_tests::provider::{Provider, Say};
use serde_json::{Value, json};

use super::{DONE, FLOW, connect, models, state};

const WRITER: &str = "---
type: agent
runtime: model
model: large
inputs: {type: object, required: [client], properties: {client: {type: string}}}
outputs: {type: object, required: [subject, text], properties: {subject: {type: string}, text: {type: string}}}
reads: ['clients/*']
tools: [read]
effects: [mail.send]
---
Write a friendly mail to the client.
";

/// A company with three long files about clients, whose models see so many tokens at once.
fn company(provider: &Provider, window: Option<u64>) -> Office {
    let mut models = models(provider, "chat")
        .replace("small: [test/one, test/two]", "small: [test/one], large: [test/two]");
    if let Some(window) = window {
        models = models.replace("prices:", &format!("windows: {{'test/*': {window}}}\nprices:"));
    }
    let long = |word: &str| format!("{word}\n").repeat(9_000 / (word.len() + 1));
    let office = Office::new(&[
        ("workflows/flow.md", FLOW),
        ("agents/writer.md", WRITER),
        ("agents/models.md", &models),
        ("clients/a.md", &long("alpha")),
        ("clients/b.md", &long("beta")),
        ("clients/c.md", &long("gamma")),
    ]);
    connect(&office);
    office
}

fn read(name: &str) -> Say {
    Say::chat("", &[("read", json!({"path": format!("clients/{name}.md")}))])
}

/// What a model says in turn that reads all three, where two are too long for it.
fn script() -> Vec<Say> {
    let notes = |text: &str| Say::chat(text, &[]);
    vec![read("a"), read("b"), notes("NOTE-A"), read("c"), notes("NOTE-B"), Say::chat(DONE, &[])]
}

fn text(body: &Value) -> String {
    body["messages"].to_string()
}

#[test]
fn what_happened_first_is_summed_up_by_the_small_model() {
    let provider = Provider::says(script());
    let office = company(&provider, Some(8_000));
    office.ends(&["run", "flow", "--task", "one"], 3);
    assert!(office.asks("one").is_some(), "it comes to its end");
    let asked: Vec<Value> = provider.asked().into_iter().map(|it| it.body).collect();
    let by: Vec<&str> = asked.iter().map(|it| it["model"].as_str().expect("a model")).collect();
    assert_eq!(by, ["two", "two", "one", "two", "one", "two"]);
    // Who sums up has no tools, and is shown what is left out.
    assert!(
        asked[2].get("tools").is_none()
            && text(&asked[2]).contains("alpha")
            && !text(&asked[2]).contains("beta")
    );
    // What goes on has the notes, which calls they are of, and what came last to the letter.
    let next = text(&asked[3]);
    assert!(
        next.contains("NOTE-A") && next.contains("- turn 1: read") && next.contains("clients/a.md"),
        "{next}"
    );
    assert!(next.matches("beta").count() > 1_000 && !next.contains("alpha"));
    let last = text(&asked[5]);
    assert!(
        last.contains("NOTE-B")
            && last.contains("gamma")
            && !last.contains("NOTE-A")
            && !last.contains("beta\\n")
    );
    assert!(text(&asked[4]).contains("NOTE-A"), "what was noted before is noted on");
    // Each of them is paid, the journal has all of it, and nobody is asked for it again.
    let cost = office.json(&["cost", "--by", "model"]);
    assert_eq!(
        (&cost["models"]["test/one"]["cost"], &cost["models"]["test/two"]["cost"]),
        (&json!(130_000_000), &json!(260_000_000))
    );
    office.ends(&["replay", "one"], 0);
    let shown = office.ends(&["task", "show", "one"], 0);
    assert!(shown.contains("sums up what became too long, the first 1 answer: NOTE-A"), "{shown}");
    let prompts: Value = office.json(&["task", "show", "one", "--prompts"]);
    let prompts = prompts[0]["asked"].as_array().expect("a list");
    assert_eq!(prompts.len(), 6);
    assert!(prompts.iter().all(|it| it["request"].is_object()), "each is made again");
    assert!(prompts[2]["request"].to_string().contains("alpha"), "what was left out is there");
    assert_eq!(provider.asked().len(), 6);
}

/// A provider says what it takes where the file does not.
#[test]
fn what_a_provider_refuses_for_its_length_is_summed_up() {
    let long = r#"{"error":{"message":"This model's maximum context length is 5000 tokens","code":"context_length_exceeded"}}"#;
    let refuse = || Say::refuse(400, "", long);
    // What is learned lasts: the third file is asked about with what fits.
    let notes = Say::chat("NOTE-A", &[]);
    let says = vec![read("a"), read("b"), refuse(), notes.clone(), read("c"), Say::chat(DONE, &[])];
    let provider = Provider::says(says);
    let office = company(&provider, None);
    office.ends(&["run", "flow", "--task", "one"], 3);
    assert!(office.asks("one").is_some(), "it comes to its end");
    let asked: Vec<(Value, bool, usize)> = provider
        .asked()
        .iter()
        .map(|it| (it.body["model"].clone(), it.body.get("tools").is_some(), text(&it.body).len()))
        .collect();
    assert_eq!(asked.len(), 6, "{asked:?}");
    office.ends(&["replay", "one"], 0);
    // A summary that is too long itself is asked for of less; where nothing is left to leave out, it says so.
    provider.then(vec![read("a"), refuse(), refuse(), notes, Say::chat(DONE, &[])]);
    let before = provider.asked().len();
    office.ends(&["run", "flow", "--task", "two"], 3);
    assert!(office.asks("two").is_some(), "it comes to its end");
    let asked: Vec<usize> = provider.asked()[before..].iter().map(|it| text(&it.body).len()).collect();
    assert!(asked.len() == 5 && asked[3] < asked[2], "{asked:?}");
    provider.then(vec![refuse()]);
    let before = provider.asked().len();
    office.ends(&["run", "flow", "--task", "three"], 1);
    assert_eq!((state(&office, "three").as_str(), provider.asked().len() - before), ("stuck", 1));
    assert!(office.ends(&["inbox"], 0).contains("too long"));
}

/// Killed anywhere: no answer and no summary that was recorded is asked for again.
#[test]
fn a_kill_costs_no_summary_again() {
    let provider = Provider::says(script());
    let office = company(&provider, Some(8_000));
    let traced = office.aios(&["run", "flow", "--task", "trace"], "trace");
    let total =
        String::from_utf8_lossy(&traced.stderr).lines().filter(|it| it.starts_with("fault: ")).count();
    let mut killed = 0;
    for point in (1..=total).step_by(total.div_ceil(5)) {
        let before = provider.asked().len();
        let task = format!("t{point}");
        // Who asks once more is told the same: what is said follows from what is asked.
        provider.answers(|body| {
            let text = body["messages"].to_string();
            let sums = body.get("tools").is_none();
            let has = |word: &str| text.contains(word);
            match (sums, has("NOTE-A"), has("NOTE-B")) {
                (true, false, _) => Say::chat("NOTE-A", &[]),
                (true, true, _) => Say::chat("NOTE-B", &[]),
                (_, _, true) => Say::chat(DONE, &[]),
                (_, true, _) => read("c"),
                _ if has("alpha") => read("b"),
                _ => read("a"),
            }
        });
        let out = office.aios(&["run", "flow", "--task", &task], &format!("*=crash@{point}"));
        killed += usize::from(out.status.code().is_none());
        office.ends(&["run", "flow", "--task", &task], 3);
        assert!(office.asks(&task).is_some(), "killed at {point}");
        let asked = provider.asked().len() - before;
        assert!(asked <= 7, "killed at {point}: asked {asked} times");
        office.ends(&["replay", &task], 0);
    }
    assert!(killed > 2, "only {killed} processes were killed");
}
