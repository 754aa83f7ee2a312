//! OpenAI's responses, as its reference says (platform.openai.com/docs/api-reference/responses), streaming. Nothing is kept there.

use serde_json::{Value, json};

use super::answer::{WireError, failed, number, text};
use super::{Event, Message, Request, Stop, Usage};

/// What is sent.
pub fn body(request: &Request) -> Value {
    let mut input = Vec::new();
    for message in &request.messages {
        match message {
            Message::User(text) => input.push(json!({"role": "user", "content": text})),
            Message::Model { text, calls } => {
                if !text.is_empty() {
                    input.push(json!({"role": "assistant", "content": text}));
                }
                input.extend(calls.iter().map(|call| {
                    json!({
                        "type": "function_call", "call_id": call.id,
                        "name": call.name, "arguments": call.arguments,
                    })
                }));
            }
            Message::Came { id, text, .. } => {
                input.push(json!({"type": "function_call_output", "call_id": id, "output": text}));
            }
        }
    }
    let mut body = json!({
        "model": request.model,
        "instructions": request.system,
        "input": input,
        "stream": true,
        "store": false,
        "max_output_tokens": request.most,
    });
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(|tool| {
            json!({
                "type": "function", "name": tool.name, "description": tool.description,
                "parameters": tool.schema, "strict": false,
            })
        });
        body["tools"] = tools.collect();
    }
    if let Some(schema) = &request.schema {
        body["text"] = json!({"format": {
            "type": "json_schema", "name": "output", "schema": schema, "strict": false,
        }});
    }
    body
}

/// What a message of the stream says.
pub fn read(value: &Value) -> Result<Vec<Event>, WireError> {
    let kind = value.get("type").and_then(Value::as_str);
    let kind = kind.ok_or_else(|| WireError::Malformed("it has no `type`".into()))?;
    let response = value.get("response").unwrap_or(&Value::Null);
    Ok(match kind {
        "response.output_text.delta" => vec![Event::Text(text(value, "delta"))],
        "response.refusal.delta" => vec![Event::Stop(Stop::Refused)],
        "response.output_item.added" => {
            let item = value.get("item").unwrap_or(&Value::Null);
            match item.get("type").and_then(Value::as_str) {
                Some("function_call") => vec![Event::Call {
                    index: number(value, "output_index"),
                    id: text(item, "call_id"),
                    name: text(item, "name"),
                    arguments: String::new(),
                }],
                _ => Vec::new(),
            }
        }
        "response.function_call_arguments.delta" => vec![Event::Call {
            index: number(value, "output_index"),
            id: String::new(),
            name: String::new(),
            arguments: text(value, "delta"),
        }],
        "response.completed" | "response.incomplete" => {
            let mut out = Vec::new();
            if let Some(usage) = response.get("usage").filter(|usage| usage.is_object()) {
                let cached = usage.get("input_tokens_details").map_or(0, |it| number(it, "cached_tokens"));
                let (input, output) = (number(usage, "input_tokens"), number(usage, "output_tokens"));
                out.push(Event::Usage(Usage { input, output, cached }));
            }
            let why = response.get("incomplete_details").map(|it| text(it, "reason")).unwrap_or_default();
            out.push(Event::Stop(match (kind, why.as_str()) {
                ("response.completed", _) => Stop::End,
                (_, "content_filter") => Stop::Refused,
                _ => Stop::Length,
            }));
            out.push(Event::End);
            out
        }
        "response.failed" => return Err(failed(response.get("error").unwrap_or(&Value::Null))),
        "error" => return Err(failed(value.get("error").unwrap_or(value))),
        _ => Vec::new(),
    })
}

/// What an answer says that came whole.
pub fn whole(value: &Value) -> Result<Vec<Event>, WireError> {
    if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
        return Err(failed(error));
    }
    let output = value.get("output").and_then(Value::as_array);
    let output = output.ok_or_else(|| WireError::Malformed("it has no `output`".into()))?;
    let mut out = Vec::new();
    for (index, item) in output.iter().enumerate() {
        match item.get("type").and_then(Value::as_str) {
            Some("function_call") => out.push(Event::Call {
                index: index as u64,
                id: text(item, "call_id"),
                name: text(item, "name"),
                arguments: text(item, "arguments"),
            }),
            Some("message") => {
                for part in item.get("content").and_then(Value::as_array).into_iter().flatten() {
                    out.push(Event::Text(text(part, "text")));
                }
            }
            _ => {}
        }
    }
    let kind = match value.get("status").and_then(Value::as_str) {
        Some("incomplete") => "response.incomplete",
        _ => "response.completed",
    };
    out.extend(read(&json!({"type": kind, "response": value}))?);
    Ok(out)
}
