use serde_json::json;

use super::*;
use crate::failure::{Class, Failure};

const CHAT: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"Dear \"}}]}\n\n\
data: {\"choices\":[{\"delta\":{\"content\":\"Zoë\"}}]}\n\n\
data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c1\",\"function\":{\"name\":\"read\",\"arguments\":\"{\\\"pa\"}}]}}]}\n\n\
data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"th\\\":1}\"}}]}}]}\n\n\
data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n\
data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4,\"prompt_tokens_details\":{\"cached_tokens\":3}}}\n\n\
data: [DONE]\n\n";
const RESPONSES: &str = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{}}\n\n\
data: {\"type\":\"response.output_text.delta\",\"delta\":\"Dear \"}\n\n\
data: {\"type\":\"response.output_text.delta\",\"delta\":\"Zoë\"}\n\n\
data: {\"type\":\"response.output_item.added\",\"output_index\":1,\"item\":{\"type\":\"function_call\",\"call_id\":\"c1\",\"name\":\"read\"}}\n\n\
data: {\"type\":\"response.function_call_arguments.delta\",\"output_index\":1,\"delta\":\"{\\\"path\\\":1}\"}\n\n\
data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":9,\"output_tokens\":4,\"input_tokens_details\":{\"cached_tokens\":3}}}}\n\n";
const ANTHROPIC: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":6,\"output_tokens\":1,\"cache_read_input_tokens\":3}}}\n\n\
data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
data: {\"type\":\"ping\"}\n\n\
data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Dear Zoë\"}}\n\n\
data: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"c1\",\"name\":\"read\",\"input\":{}}}\n\n\
data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"path\\\":\"}}\n\n\
data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"1}\"}}\n\n\
data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":4}}\n\n\
data: {\"type\":\"message_stop\"}\n\n";
const OLLAMA: &str = "{\"message\":{\"role\":\"assistant\",\"content\":\"Dear \"},\"done\":false}\n\
{\"message\":{\"content\":\"Zoë\",\"tool_calls\":[{\"function\":{\"name\":\"read\",\"arguments\":{\"path\":1}}}]},\"done\":false}\n\
{\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":9,\"eval_count\":4}\n";

const ALL: [(Api, &str); 4] =
    [(Api::Chat, CHAT), (Api::Responses, RESPONSES), (Api::Anthropic, ANTHROPIC), (Api::Ollama, OLLAMA)];

fn answer(api: Api, bytes: &[u8], size: usize) -> Result<Answer, WireError> {
    let mut reader = Reader::new(api);
    for part in bytes.chunks(size) {
        reader.feed(part)?;
    }
    reader.end()
}

#[test]
fn an_answer_is_the_same_however_its_bytes_come() {
    for (api, stream) in ALL {
        for size in [1, 2, 7, 64, stream.len()] {
            let answer = answer(api, stream.as_bytes(), size).unwrap();
            assert_eq!(answer.text, "Dear Zoë", "{api:?}");
            assert_eq!((answer.calls.len(), answer.calls[0].name.as_str()), (1, "read"), "{api:?}");
            assert_eq!(arguments(&answer.calls[0]), json!({"path": 1}), "{api:?}");
            assert_eq!(answer.stop, Stop::Tools, "{api:?}");
            let cached = if api == Api::Ollama { 0 } else { 3 };
            assert_eq!(answer.usage, Some(Usage { input: 9, output: 4, cached }), "{api:?}");
        }
    }
}

/// Wherever it breaks off, it is no answer, and never a shorter one.
#[test]
fn half_an_answer_is_none() {
    for (api, stream) in ALL {
        for end in 0..stream.len() {
            match answer(api, &stream.as_bytes()[..end], 32) {
                // Why the model stopped was said, and all before it; how much it took may be missing.
                Ok(short) => {
                    assert_eq!(short.calls.len(), 1, "{api:?} {end}");
                    assert_eq!(short.text, "Dear Zoë", "{api:?} {end}");
                }
                Err(WireError::BrokenOff | WireError::Malformed(_) | WireError::NotText) => {}
                Err(other) => panic!("{api:?} {end}: {other}"),
            }
        }
        let broken = answer(api, &stream.as_bytes()[..stream.find("Zo").unwrap()], 9).unwrap_err();
        let class = Failure::from(broken).class;
        assert!(matches!(class, Class::Transient | Class::InvalidOutput), "{api:?}: {class:?}");
    }
}

#[test]
fn what_is_no_answer_is_refused() {
    for (api, _) in ALL {
        let frame =
            |text: &str| if api == Api::Ollama { format!("{text}\n") } else { format!("data: {text}\n\n") };
        for wrong in ["{", "[]", "7", "\"x\"", "null", "{}"] {
            let came = answer(api, frame(wrong).as_bytes(), 8);
            assert!(matches!(came, Err(WireError::Malformed(_))), "{api:?} {wrong}: {came:?}");
        }
        let came = answer(api, b"data: \xff\xff\n\n", 8);
        assert_eq!(came, Err(WireError::NotText), "{api:?}");
        // Ten megabytes, as one message and as many.
        let long = frame(&json!({"x": "y".repeat(10 << 20)}).to_string());
        assert_eq!(answer(api, long.as_bytes(), 65_536), Err(WireError::Long), "{api:?}");
        let part = match api {
            Api::Chat => json!({"choices": [{"delta": {"content": "y".repeat(1000)}}]}),
            Api::Responses => json!({"type": "response.output_text.delta", "delta": "y".repeat(1000)}),
            Api::Anthropic => {
                json!({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "y".repeat(1000)}})
            }
            Api::Ollama => json!({"message": {"content": "y".repeat(1000)}}),
        };
        let many = frame(&part.to_string()).repeat(10_000);
        assert_eq!(answer(api, many.as_bytes(), 65_536), Err(WireError::Long), "{api:?}");
    }
}

/// Some servers give the whole at once, whatever they are asked for.
#[test]
fn an_answer_may_come_whole() {
    let usage = json!({"prompt_tokens": 9, "completion_tokens": 4, "input_tokens": 9, "output_tokens": 4});
    let call = json!({"id": "c1", "function": {"name": "read", "arguments": "{\"path\":1}"}});
    for (api, value) in [
        (
            Api::Chat,
            json!({"choices": [{"message": {"content": "Hi", "tool_calls": [call]}, "finish_reason": "tool_calls"}], "usage": usage}),
        ),
        (
            Api::Responses,
            json!({"status": "completed", "error": null, "usage": usage, "output": [
            {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]},
            {"type": "function_call", "call_id": "c1", "name": "read", "arguments": "{\"path\":1}"}]}),
        ),
        (
            Api::Anthropic,
            json!({"type": "message", "stop_reason": "tool_use", "usage": usage, "content": [
            {"type": "text", "text": "Hi"}, {"type": "tool_use", "id": "c1", "name": "read", "input": {"path": 1}}]}),
        ),
        (
            Api::Ollama,
            json!({"done": true, "prompt_eval_count": 9, "eval_count": 4, "message": {
            "content": "Hi", "tool_calls": [{"function": {"name": "read", "arguments": {"path": 1}}}]}}),
        ),
    ] {
        let answer =
            Reader::whole(api, value.to_string().as_bytes()).unwrap_or_else(|e| panic!("{api:?}: {e}"));
        assert_eq!((answer.text.as_str(), answer.stop), ("Hi", Stop::Tools), "{api:?}");
        assert_eq!(arguments(&answer.calls[0]), json!({"path": 1}), "{api:?}");
        assert_eq!(answer.usage, Some(Usage { input: 9, output: 4, cached: 0 }), "{api:?}");
        for wrong in [&b"{"[..], b"[]", b"{}", b"7", b"\xff"] {
            assert!(Reader::whole(api, wrong).is_err(), "{api:?}");
        }
    }
}

#[test]
fn an_error_in_the_middle_has_its_class() {
    let class = |api, text: &str| Failure::from(answer(api, text.as_bytes(), 16).unwrap_err()).class;
    let overloaded =
        "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}\n\n";
    assert_eq!(class(Api::Anthropic, overloaded), Class::Transient);
    let limited = "data: {\"error\":{\"code\":\"rate_limit_exceeded\"}}\n\n";
    assert_eq!(class(Api::Chat, limited), Class::RateLimited);
    let failed =
        "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"invalid_prompt\"}}}\n\n";
    assert_eq!(class(Api::Responses, failed), Class::Permanent);
    assert_eq!(class(Api::Ollama, "{\"error\":\"model not found\"}\n"), Class::Transient);
}

/// What was said and what came of calls is told as each of them wants it.
#[test]
fn a_request_has_the_shape_of_its_provider() {
    let call = Call { id: "c1".into(), name: "read".into(), arguments: "{\"path\":\"a\"}".into() };
    let request = Request {
        model: "m".into(),
        system: "Be brief".into(),
        messages: vec![
            Message::User("hello".into()),
            Message::Model {
                text: String::new(),
                calls: vec![call.clone(), Call { id: "c2".into(), ..call }],
            },
            Message::Came { id: "c1".into(), name: "read".into(), text: "one".into() },
            Message::Came { id: "c2".into(), name: "read".into(), text: "two".into() },
        ],
        tools: vec![Spec {
            name: "read".into(),
            description: "Reads".into(),
            schema: json!({"type": "object"}),
        }],
        schema: None,
        most: 100,
    };
    let chat = Api::Chat.body(&request);
    assert_eq!(chat["messages"][2]["tool_calls"][1]["id"], "c2");
    assert_eq!(chat["messages"][4], json!({"role": "tool", "tool_call_id": "c2", "content": "two"}));
    assert_eq!(chat["stream_options"]["include_usage"], true);
    let responses = Api::Responses.body(&request);
    assert_eq!(responses["input"][1]["type"], "function_call");
    assert_eq!(
        responses["input"][4],
        json!({"type": "function_call_output", "call_id": "c2", "output": "two"})
    );
    assert_eq!(responses["store"], false);
    let anthropic = Api::Anthropic.body(&request);
    assert_eq!(anthropic["messages"].as_array().unwrap().len(), 3, "both results are one message");
    assert_eq!(anthropic["messages"][2]["content"][1]["tool_use_id"], "c2");
    assert_eq!(anthropic["messages"][1]["content"][0]["input"], json!({"path": "a"}));
    let ollama = Api::Ollama.body(&request);
    assert_eq!(ollama["messages"][2]["tool_calls"][0]["function"]["arguments"], json!({"path": "a"}));
    assert_eq!(ollama["messages"][4], json!({"role": "tool", "tool_name": "read", "content": "two"}));
}

#[test]
fn models_are_set_up_with_places_for_mistakes() {
    let read = |yaml: &str| {
        let front = crate::node::Front::read(&format!("---\ntype: models\n{yaml}---\n")).unwrap();
        settings::Settings::read(&front)
    };
    let settings = read(
        "providers:\n  local: {api: ollama, url: 'http://127.0.0.1:11434/'}\n  far: {api: anthropic, url: https://api.example.org}\ntiers: {small: [local/tiny, far/mid]}\nprices: {'local/*': {input: 0, output: 0}, far/mid: {input: 0.25, output: 2, batch: 0.5}}\nwindows: {'local/*': 8000, local/big: 32000}\n",
    )
    .unwrap();
    let windows = ["tiny", "big"].map(|model| settings.window("local", model));
    assert_eq!((windows, settings.window("far", "mid")), ([8_000, 32_000], 128_000));
    assert_eq!(settings.providers["local"].url, "http://127.0.0.1:11434");
    assert_eq!((settings.providers["local"].key, settings.providers["far"].key), (false, true));
    assert_eq!(settings.providers["far"].origin(), "https://api.example.org");
    let small = crate::agent::Choice::Tier("small".into());
    assert_eq!(settings.models(&small).len(), 2);
    assert_eq!(settings.price("local", "anything").unwrap().output, 0);
    assert!(settings.price("far", "other").is_none(), "what nobody said is not zero");
    let by_batch = |provider, model| settings.price(provider, model).unwrap().by_batch();
    assert_eq!(by_batch("far", "mid").map(|price| price.output), Some(1_000_000));
    assert_eq!(by_batch("local", "tiny"), None, "what nobody said is not zero");
    assert_eq!(settings.providers["far"].poll, 60_000);
    let wrong = read(
        "providers:\n  far: {api: smoke, url: 'http://api.example.org', kee: true}\ntiers: {small: [fra/x]}\nprices: {far/x: {input: cheap, batch: 2}}\nwindows: {far/x: 100, near/x: 9000}\n",
    );
    let places: Vec<String> = wrong.unwrap_err().iter().map(|it| format!("{} {}", it.at, it.what)).collect();
    assert_eq!(places.len(), 11, "{places:#?}");
    assert!(places[0].starts_with("4:14 "), "{places:#?}");
    for url in
        ["ftp://x", "https://", "https://user@host", "http://10.0.0.1/v1", "http://localhost.evil.example"]
    {
        assert!(read(&format!("providers: {{far: {{api: chat, url: '{url}'}}}}\n")).is_err(), "{url}");
    }
}
