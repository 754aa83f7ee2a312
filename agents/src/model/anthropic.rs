//! Anthropic's messages, as its reference says (docs.anthropic.com/en/api/messages), streaming.

use serde_json::{Value, json};

use super::answer::{WireError, failed, number, text};
use super::{Event, Message, Request, Stop, Usage, arguments};

/// What is sent.
pub fn body(request: &Request) -> Value {
    let mut messages: Vec<Value> = Vec::new();
    for message in &request.messages {
        match message {
            Message::User(text) => messages.push(json!({"role": "user", "content": text})),
            Message::Model { text, calls } => {
                let mut parts = Vec::new();
                if !text.is_empty() {
                    parts.push(json!({"type": "text", "text": text}));
                }
                parts.extend(calls.iter().map(|call| {
                    // The wire takes a map here and nothing else.
                    let input = Some(arguments(call)).filter(Value::is_object).unwrap_or_else(|| json!({}));
                    json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
                }));
                messages.push(json!({"role": "assistant", "content": parts}));
            }
            Message::Came { id, text, .. } => {
                let part = json!({"type": "tool_result", "tool_use_id": id, "content": text});
                // What came of the calls of one answer is one message.
                match messages.last_mut().filter(|last| last["content"][0]["type"] == "tool_result") {
                    Some(last) => {
                        if let Some(parts) = last["content"].as_array_mut() {
                            parts.push(part);
                        }
                    }
                    None => messages.push(json!({"role": "user", "content": [part]})),
                }
            }
        }
    }
    let system = json!([{"type": "text", "text": request.system, "cache_control": {"type": "ephemeral"}}]);
    let mut body = json!({
        "model": request.model,
        "system": system,
        "messages": messages,
        "stream": true,
        "max_tokens": request.most,
    });
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(
            |tool| json!({"name": tool.name, "description": tool.description, "input_schema": tool.schema}),
        );
        body["tools"] = tools.collect();
    }
    body
}

/// What a message of the stream says.
pub fn read(value: &Value) -> Result<Vec<Event>, WireError> {
    let kind = value.get("type").and_then(Value::as_str);
    let kind = kind.ok_or_else(|| WireError::Malformed("it has no `type`".into()))?;
    let delta = value.get("delta").unwrap_or(&Value::Null);
    let index = number(value, "index");
    Ok(match kind {
        "message_start" => {
            let usage = value.get("message").and_then(|it| it.get("usage"));
            usage.map(|usage| Event::Usage(read_usage(usage))).into_iter().collect()
        }
        "content_block_start" => {
            let block = value.get("content_block").unwrap_or(&Value::Null);
            match block.get("type").and_then(Value::as_str) {
                Some("tool_use") => vec![Event::Call {
                    index,
                    id: text(block, "id"),
                    name: text(block, "name"),
                    arguments: String::new(),
                }],
                Some("text") => vec![Event::Text(text(block, "text"))],
                _ => Vec::new(),
            }
        }
        "content_block_delta" => match delta.get("type").and_then(Value::as_str) {
            Some("text_delta") => vec![Event::Text(text(delta, "text"))],
            Some("input_json_delta") => vec![Event::Call {
                index,
                id: String::new(),
                name: String::new(),
                arguments: text(delta, "partial_json"),
            }],
            _ => Vec::new(),
        },
        "message_delta" => {
            let mut out = Vec::new();
            if let Some(usage) = value.get("usage").filter(|usage| usage.is_object()) {
                out.push(Event::Usage(read_usage(usage)));
            }
            out.extend(delta.get("stop_reason").and_then(Value::as_str).map(|reason| {
                Event::Stop(match reason {
                    "max_tokens" | "model_context_window_exceeded" => Stop::Length,
                    "tool_use" => Stop::Tools,
                    "refusal" => Stop::Refused,
                    _ => Stop::End,
                })
            }));
            out
        }
        "message_stop" => vec![Event::End],
        "error" => return Err(failed(value.get("error").unwrap_or(&Value::Null))),
        _ => Vec::new(),
    })
}

/// What was read from the cache, and what was put there, is counted apart from the rest there, and with it here.
fn read_usage(usage: &Value) -> Usage {
    let cached = number(usage, "cache_read_input_tokens");
    let input = number(usage, "input_tokens") + cached + number(usage, "cache_creation_input_tokens");
    Usage { input, output: number(usage, "output_tokens"), cached }
}

/// What an answer says that came whole.
pub fn whole(value: &Value) -> Result<Vec<Event>, WireError> {
    if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
        return Err(failed(error));
    }
    let content = value.get("content").and_then(Value::as_array);
    let content = content.ok_or_else(|| WireError::Malformed("it has no `content`".into()))?;
    let mut out = Vec::new();
    for (index, block) in content.iter().enumerate() {
        match block.get("type").and_then(Value::as_str) {
            Some("text") => out.push(Event::Text(text(block, "text"))),
            Some("tool_use") => out.push(Event::Call {
                index: index as u64,
                id: text(block, "id"),
                name: text(block, "name"),
                arguments: block.get("input").map(Value::to_string).unwrap_or_default(),
            }),
            _ => {}
        }
    }
    let ends = json!({
        "type": "message_delta",
        "delta": {"stop_reason": value.get("stop_reason")},
        "usage": value.get("usage"),
    });
    out.extend(read(&ends)?);
    out.push(Event::End);
    Ok(out)
}
