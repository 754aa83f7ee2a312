//! OpenAI's chat completions, as its reference says (platform.openai.com/docs/api-reference/chat), streaming.

use serde_json::{Value, json};

use super::answer::{WireError, failed, number, text};
use super::{Call, Event, Message, Request, Stop, Usage};

/// What is sent.
pub fn body(request: &Request) -> Value {
    let mut messages = vec![json!({"role": "system", "content": request.system})];
    for message in &request.messages {
        messages.push(match message {
            Message::User(text) => json!({"role": "user", "content": text}),
            Message::Model { text, calls } => {
                let mut said = json!({"role": "assistant", "content": text});
                if !calls.is_empty() {
                    said["tool_calls"] = calls.iter().map(call).collect();
                }
                said
            }
            Message::Came { id, text, .. } => json!({"role": "tool", "tool_call_id": id, "content": text}),
        });
    }
    let mut body = json!({
        "model": request.model,
        "messages": messages,
        "stream": true,
        "stream_options": {"include_usage": true},
        "max_tokens": request.most,
    });
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(|tool| {
            json!({"type": "function", "function": {
                "name": tool.name, "description": tool.description, "parameters": tool.schema,
            }})
        });
        body["tools"] = tools.collect();
    }
    if let Some(schema) = &request.schema {
        body["response_format"] =
            json!({"type": "json_schema", "json_schema": {"name": "output", "schema": schema}});
    }
    body
}

fn call(call: &Call) -> Value {
    json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
}

/// What a message of the stream says.
pub fn read(value: &Value) -> Result<Vec<Event>, WireError> {
    if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
        return Err(failed(error));
    }
    let mut out = Vec::new();
    if let Some(usage) = value.get("usage").filter(|usage| usage.is_object()) {
        let cached = usage.get("prompt_tokens_details").map_or(0, |it| number(it, "cached_tokens"));
        let (input, output) = (number(usage, "prompt_tokens"), number(usage, "completion_tokens"));
        out.push(Event::Usage(Usage { input, output, cached }));
    }
    let choices = value.get("choices").and_then(Value::as_array);
    let Some(choices) = choices else {
        return match out.is_empty() {
            true => Err(WireError::Malformed("it has no `choices`".into())),
            false => Ok(out),
        };
    };
    let Some(choice) = choices.first() else { return Ok(out) };
    let delta = choice.get("delta").unwrap_or(&Value::Null);
    let said = text(delta, "content");
    if !said.is_empty() {
        out.push(Event::Text(said));
    }
    let refused = !text(delta, "refusal").is_empty();
    for (place, part) in delta.get("tool_calls").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let function = part.get("function").unwrap_or(&Value::Null);
        out.push(Event::Call {
            index: part.get("index").and_then(Value::as_u64).unwrap_or(place as u64),
            id: text(part, "id"),
            name: text(function, "name"),
            arguments: text(function, "arguments"),
        });
    }
    let stop = match choice.get("finish_reason").and_then(Value::as_str) {
        _ if refused => Some(Stop::Refused),
        None => None,
        Some("length") => Some(Stop::Length),
        Some("content_filter") => Some(Stop::Refused),
        Some("tool_calls" | "function_call") => Some(Stop::Tools),
        Some(_) => Some(Stop::End),
    };
    out.extend(stop.map(Event::Stop));
    Ok(out)
}

/// What an answer says that came whole.
pub fn whole(value: &Value) -> Result<Vec<Event>, WireError> {
    let mut value = value.clone();
    // It is one message of a stream, under another name.
    for choice in value.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(message) = choice.get_mut("message").map(Value::take) {
            choice["delta"] = message;
        }
    }
    read(&value)
}
