//! Ollama's chat, as its reference says (docs.ollama.com/api/chat), streaming: a line of JSON each.

use serde_json::{Value, json};

use super::answer::{WireError, failed, number, text};
use super::{Event, Message, Request, Stop, Usage, arguments};

/// What is sent.
pub fn body(request: &Request) -> Value {
    let mut messages = vec![json!({"role": "system", "content": request.system})];
    for message in &request.messages {
        messages.push(match message {
            Message::User(text) => json!({"role": "user", "content": text}),
            Message::Model { text, calls } => {
                let calls: Vec<Value> = calls
                    .iter()
                    .map(|call| json!({"function": {"name": call.name, "arguments": arguments(call)}}))
                    .collect();
                json!({"role": "assistant", "content": text, "tool_calls": calls})
            }
            Message::Came { name, text, .. } => json!({"role": "tool", "tool_name": name, "content": text}),
        });
    }
    let mut body = json!({
        "model": request.model,
        "messages": messages,
        "stream": true,
        "options": {"num_predict": request.most},
    });
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(|tool| {
            json!({"type": "function", "function": {
                "name": tool.name, "description": tool.description, "parameters": tool.schema,
            }})
        });
        body["tools"] = tools.collect();
    }
    // A schema would forbid the calls.
    if let Some(schema) = request.schema.as_ref().filter(|_| request.tools.is_empty()) {
        body["format"] = schema.clone();
    }
    body
}

/// What a line of the stream says; `calls` is how many calls there were before it.
pub fn read(value: &Value, calls: u64) -> Result<Vec<Event>, WireError> {
    if let Some(error) = value.get("error") {
        return Err(failed(error));
    }
    let message = value.get("message").filter(|message| message.is_object());
    let message = message.ok_or_else(|| WireError::Malformed("it has no `message`".into()))?;
    let mut out = Vec::new();
    let said = text(message, "content");
    if !said.is_empty() {
        out.push(Event::Text(said));
    }
    for (place, call) in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten().enumerate()
    {
        let function = call.get("function").unwrap_or(&Value::Null);
        let arguments = match function.get("arguments") {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let index = calls + place as u64;
        out.push(Event::Call { index, id: format!("call-{index}"), name: text(function, "name"), arguments });
    }
    if value.get("done") == Some(&Value::Bool(true)) {
        if value.get("prompt_eval_count").is_some() || value.get("eval_count").is_some() {
            let (input, output) = (number(value, "prompt_eval_count"), number(value, "eval_count"));
            out.push(Event::Usage(Usage { input, output, cached: 0 }));
        }
        let stop = match value.get("done_reason").and_then(Value::as_str) {
            Some("length") => Stop::Length,
            _ => Stop::End,
        };
        out.extend([Event::Stop(stop), Event::End]);
    }
    Ok(out)
}
