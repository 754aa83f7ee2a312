//! A provider of models that says what a test tells it to, in turn, and keeps what it was asked.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// One answer: the head after `HTTP/1.1 `, and the body, which ends with the connection.
#[derive(Debug, Clone)]
pub struct Say {
    /// Status line and headers, without the version of HTTP.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

/// What was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The request's head.
    pub head: String,
    /// Its body; nothing where it is no JSON.
    pub body: Value,
}

/// Answers that were recorded to one conversation.
#[derive(Debug, Clone)]
struct Recorded {
    /// What stands in its prompt, all of it.
    asked: Vec<String>,
    /// What is said, one after the other.
    says: Vec<Say>,
}

#[derive(Default)]
struct State {
    /// What is said in turn; the last again and again.
    script: Vec<Say>,
    asked: Vec<Asked>,
    /// What it ends with where it does all that it is told, by whomever.
    obeys: Option<String>,
    /// How many have to ask before any is answered.
    together: usize,
    /// What was recorded, where it answers from that.
    recorded: Option<Vec<Recorded>>,
    /// What was asked and has no answer.
    unknown: Vec<String>,
    /// What is said to what is asked, where it answers by that.
    answers: Option<fn(&Value) -> Say>,
}

/// The provider. Its thread ends with the test's process.
#[derive(Clone)]
pub struct Provider {
    /// Where it listens.
    pub at: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Say {
    /// Answers with a stream of these bytes.
    pub fn stream(body: impl Into<Vec<u8>>) -> Say {
        Say { head: "200 OK\r\ncontent-type: text/event-stream\r\n".into(), body: body.into() }
    }

    /// Answers as OpenAI's chat completions do.
    pub fn chat(text: &str, calls: &[(&str, Value)]) -> Say {
        let mut body = String::new();
        let mut line = |value: Value| body.push_str(&format!("data: {value}\n\n"));
        if !text.is_empty() {
            // In two parts, as a stream is.
            let (a, b) = text.split_at(text.char_indices().nth(1).map_or(text.len(), |(at, _)| at));
            line(json!({"choices": [{"delta": {"content": a}}]}));
            line(json!({"choices": [{"delta": {"content": b}}]}));
        }
        for (n, (name, arguments)) in calls.iter().enumerate() {
            let arguments = arguments.as_str().map_or_else(|| arguments.to_string(), str::to_owned);
            let function = json!({"name": name, "arguments": arguments});
            line(
                json!({"choices": [{"delta": {"tool_calls": [{"index": n, "id": format!("c{n}"), "function": function}]}}]}),
            );
        }
        let reason = if calls.is_empty() { "stop" } else { "tool_calls" };
        line(json!({"choices": [{"delta": {}, "finish_reason": reason}]}));
        line(json!({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 20}}));
        body.push_str("data: [DONE]\n\n");
        Say::stream(body)
    }

    /// Refuses.
    pub fn refuse(status: u16, headers: &str, body: &str) -> Say {
        Say { head: format!("{status} No\r\n{headers}"), body: body.into() }
    }
}

impl Provider {
    /// Starts one that calls whatever a line `CALL tool arguments` anywhere in its prompt says, and then ends with this.
    pub fn obeys(end: &str) -> Provider {
        let provider = Provider::says(Vec::new());
        provider.state.lock().expect("no test panicked").obeys = Some(end.to_owned());
        provider
    }

    /// Starts one that answers from a recording: a JSON list of `{"asked": [TEXT], "says": [{"text", "calls": [[TOOL, ARGUMENTS]]}]}`. A conversation is
    /// the first of them whose texts all stand in its prompt, and what is said follows from how much was said in it, so who asks once more after a
    /// crash hears the same.
    pub fn recalls(recording: &str) -> Provider {
        let list: Value = serde_json::from_str(recording).expect("a recording");
        let texts = |value: &Value| -> Vec<String> {
            let items = value.as_array().expect("a list").iter();
            items.map(|it| it.as_str().expect("a text").to_owned()).collect()
        };
        let say = |value: &Value| {
            let calls = value["calls"].as_array().cloned().unwrap_or_default();
            let calls: Vec<(&str, Value)> =
                calls.iter().map(|call| (call[0].as_str().expect("a tool"), call[1].clone())).collect();
            Say::chat(value["text"].as_str().unwrap_or_default(), &calls)
        };
        let says = |value: &Value| value.as_array().expect("a list").iter().map(say).collect();
        let recorded = list.as_array().expect("a list").iter();
        let recorded = recorded.map(|it| Recorded { asked: texts(&it["asked"]), says: says(&it["says"]) });
        let provider = Provider::says(Vec::new());
        provider.state.lock().expect("no test panicked").recorded = Some(recorded.collect());
        provider
    }

    /// What was asked of a recording that has no answer to it.
    pub fn unknown(&self) -> Vec<String> {
        self.state.lock().expect("no test panicked").unknown.clone()
    }

    /// Starts one that says these in turn, and the last of them from then on.
    pub fn says(script: Vec<Say>) -> Provider {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = listener.local_addr().expect("its address");
        let state = Arc::new(Mutex::new(State { script, ..State::default() }));
        let provider = Provider { at, state: state.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = state.clone();
                std::thread::spawn(move || drop(answer(stream, &state)));
            }
        });
        provider
    }

    /// Says something else from now on.
    pub fn then(&self, script: Vec<Say>) {
        self.state.lock().expect("no test panicked").script = script;
    }

    /// Says from now on what follows from what it is asked.
    pub fn answers(&self, says: fn(&Value) -> Say) {
        self.state.lock().expect("no test panicked").answers = Some(says);
    }

    /// Answers nobody before so many have asked.
    pub fn waits_for(&self, together: usize) {
        self.state.lock().expect("no test panicked").together = together;
    }

    /// What it was asked.
    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().expect("no test panicked").asked.clone()
    }
}

/// Does all that the prompt says, one call after the other, then ends.
fn obey(body: &Value, end: &str) -> Say {
    let mut wanted = Vec::new();
    let mut called = 0;
    for message in body["messages"].as_array().into_iter().flatten() {
        called += message["tool_calls"].as_array().map_or(0, Vec::len);
        // What was quoted as JSON has its line ends written out.
        let text = message["content"].as_str().unwrap_or_default();
        let text = text.replace("\\n", "\n").replace("\\\"", "\"");
        for line in text.lines().filter_map(|line| line.trim().strip_prefix("CALL ")) {
            let (name, rest) = line.split_once(' ').unwrap_or((line, "{}"));
            let value = serde_json::Deserializer::from_str(rest).into_iter::<Value>().next();
            if let Some(Ok(arguments)) = value {
                wanted.push((name.to_owned(), arguments));
            }
        }
    }
    match wanted.get(called) {
        Some((name, arguments)) => Say::chat("", &[(name, arguments.clone())]),
        None => Say::chat(end, &[]),
    }
}

impl State {
    /// What was recorded for a conversation.
    fn recalled(&mut self, body: &Value) -> Option<Say> {
        let recorded = self.recorded.as_ref()?;
        let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
        let content = |message: &Value| message["content"].as_str().unwrap_or_default().to_owned();
        let model = format!("model: {}", body["model"].as_str().unwrap_or_default());
        let prompt: String =
            [model].into_iter().chain(messages.iter().map(content)).collect::<Vec<_>>().join("\n");
        let said = messages.iter().filter(|message| message["role"] == "assistant").count();
        let found = recorded.iter().find(|it| it.asked.iter().all(|text| prompt.contains(text)));
        if let Some(say) = found.and_then(|it| it.says.get(said)) {
            return Some(say.clone());
        }
        self.unknown.push(format!("answer {said} to:\n{prompt}"));
        Some(Say::refuse(400, "", "nobody recorded an answer to this"))
    }
}

/// What somebody asks over a connection: the head, and the body; nothing where he hangs up before that.
pub(crate) fn request(stream: &mut TcpStream) -> std::io::Result<Option<(String, Vec<u8>)>> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut bytes = Vec::new();
    let mut part = [0; 8192];
    let (head, length) = loop {
        let read = stream.read(&mut part)?;
        if read == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&part[..read]);
        let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        bytes.drain(..end + 4);
        break (head, length.unwrap_or(0));
    };
    while bytes.len() < length {
        let read = stream.read(&mut part)?;
        if read == 0 {
            break;
        }
        bytes.extend_from_slice(&part[..read]);
    }
    Ok(Some((head, bytes)))
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let Some((head, bytes)) = request(&mut stream)? else { return Ok(()) };
    let say = {
        let mut state = state.lock().expect("no test panicked");
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        state.asked.push(Asked { head, body });
        let asked = state.asked[state.asked.len() - 1].body.clone();
        let recalled = state.recalled(&asked);
        let obeyed = state.obeys.as_ref().map(|end| obey(&asked, end));
        match state.script.len() {
            _ if state.answers.is_some() => {
                state.answers.map_or(Say::refuse(500, "", ""), |says| says(&asked))
            }
            _ if recalled.is_some() => recalled.unwrap_or_else(|| Say::refuse(500, "", "")),
            _ if obeyed.is_some() => obeyed.unwrap_or_else(|| Say::refuse(500, "", "")),
            0 => Say::refuse(500, "", "nothing left to say"),
            1 => state.script[0].clone(),
            _ => state.script.remove(0),
        }
    };
    while {
        let state = state.lock().expect("no test panicked");
        state.asked.len() < state.together
    } {
        std::thread::sleep(Duration::from_millis(5));
    }
    write!(stream, "HTTP/1.1 {}connection: close\r\n\r\n", say.head)?;
    // Whoever has heard enough hangs up.
    for part in say.body.chunks(1000) {
        stream.write_all(part)?;
    }
    stream.flush()
}
