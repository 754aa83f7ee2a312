//! A provider of models that takes batches, in OpenAI's shape and in Anthropic's: it keeps what it was sent, and answers when a test says so.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::provider::{Say, request};

/// What is said to a question: status and body.
pub type Says = fn(&Value) -> (u16, Value);

/// A batch.
#[derive(Debug, Clone)]
pub struct Batch {
    /// What it is called.
    pub id: String,
    /// By question, what was asked.
    pub asked: BTreeMap<String, Value>,
    /// `validating`, `completed`, `expired`, `cancelled`.
    pub status: &'static str,
    metadata: Value,
    made: u64,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, String>,
    batches: Vec<Batch>,
    /// First lines of what it was told.
    told: Vec<String>,
    /// What it says to each question.
    says: Option<Says>,
    /// Whether it has no batches.
    none: bool,
    /// Whether batches are over as soon as they are made.
    quick: bool,
    /// Whether it makes a batch and hangs up without saying so, once.
    hangs_up: bool,
}

/// The provider. Its thread ends with the test's process.
#[derive(Clone)]
pub struct Batches {
    /// Where it listens.
    pub at: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Batches {
    /// Starts one that says this to each question.
    pub fn says(says: Says) -> Batches {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = listener.local_addr().expect("its address");
        let state = Arc::new(Mutex::new(State { says: Some(says), ..State::default() }));
        let batches = Batches { at, state: state.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = state.clone();
                std::thread::spawn(move || drop(answer(stream, &state)));
            }
        });
        batches
    }

    fn with<T>(&self, does: impl FnOnce(&mut State) -> T) -> T {
        does(&mut self.state.lock().expect("no test panicked"))
    }

    /// Has no batches from now on.
    pub fn has_none(&self) {
        self.with(|state| state.none = true);
    }

    /// Has each batch that is made be over at once.
    pub fn is_quick(&self) {
        self.with(|state| state.quick = true);
    }

    /// Makes the next batch and hangs up without saying so.
    pub fn hangs_up(&self) {
        self.with(|state| state.hangs_up = true);
    }

    /// Has all batches come to this.
    pub fn end(&self, status: &'static str) {
        self.with(|state| state.batches.iter_mut().for_each(|batch| batch.status = status));
    }

    /// The batches that were made.
    pub fn made(&self) -> Vec<Batch> {
        self.with(|state| state.batches.clone())
    }

    /// How often it was told something that begins like this.
    pub fn told(&self, start: &str) -> usize {
        self.with(|state| state.told.iter().filter(|line| line.starts_with(start)).count())
    }
}

/// An answer of OpenAI's chat completions, as one whole.
pub fn chat(text: &str) -> (u16, Value) {
    let message = json!({"role": "assistant", "content": text});
    let usage = json!({"prompt_tokens": 100, "completion_tokens": 20});
    (200, json!({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}))
}

/// An answer of Anthropic's messages, as one whole.
pub fn message(text: &str) -> (u16, Value) {
    let usage = json!({"input_tokens": 100, "output_tokens": 20});
    let content = json!([{"type": "text", "text": text}]);
    (200, json!({"type": "message", "content": content, "stop_reason": "end_turn", "usage": usage}))
}

impl State {
    fn make(&mut self, asked: BTreeMap<String, Value>, metadata: Value) -> usize {
        let id = format!("batch_{}", self.batches.len() + 1);
        let made = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let made = made.map_or(0, |it| it.as_secs());
        let status = if self.quick { "completed" } else { "validating" };
        self.batches.push(Batch { id, asked, status, metadata, made });
        self.batches.len() - 1
    }

    /// A batch of OpenAI's; of what failed there is another file.
    fn shown(batch: &Batch) -> Value {
        let over = ["completed", "expired", "cancelled"].contains(&batch.status);
        let file = |kind: &str| over.then(|| format!("{kind}-{}", batch.id));
        json!({
            "id": batch.id, "object": "batch", "status": batch.status, "metadata": batch.metadata,
            "created_at": batch.made, "output_file_id": file("out"), "error_file_id": file("err"),
        })
    }

    fn results(&self, batch: &Batch, fine: bool) -> String {
        let mut lines = String::new();
        for (key, body) in &batch.asked {
            let (status, said) = self.says.map_or((500, Value::Null), |says| says(body));
            let line = match batch.status {
                "completed" if (status == 200) == fine => {
                    json!({"custom_id": key, "response": {"status_code": status, "body": said}, "error": null})
                }
                "expired" if !fine => {
                    json!({"custom_id": key, "response": null, "error": {"code": "batch_expired", "message": "This request could not be executed before the completion window expired."}})
                }
                _ => continue,
            };
            lines.push_str(&format!("{line}\n"));
        }
        lines
    }

    fn openai(&mut self, post: bool, path: &str, bytes: &[u8]) -> Option<Value> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if post && path == "/v1/files" {
            let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("{\"")).collect();
            let id = format!("file-{}", self.files.len() + 1);
            self.files.insert(id.clone(), lines.join("\n"));
            return text.contains("name=\"purpose\"\r\n\r\nbatch\r\n").then(|| json!({"id": id}));
        }
        if post && path == "/v1/batches" {
            let file = self.files.get(body["input_file_id"].as_str()?)?.clone();
            let lines = file.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
            let asked = lines.map(|line| {
                assert_eq!(line["url"], body["endpoint"], "the line is for where the batch goes");
                (line["custom_id"].as_str().expect("a name").to_owned(), line["body"].clone())
            });
            let asked = asked.collect();
            let place = self.make(asked, body["metadata"].clone());
            return Some(State::shown(&self.batches[place]));
        }
        if let Some(rest) = path.strip_prefix("/v1/batches?") {
            assert!(rest.starts_with("limit="));
            let data: Vec<Value> = self.batches.iter().rev().map(State::shown).collect();
            return Some(json!({"data": data, "has_more": false}));
        }
        let rest = path.strip_prefix("/v1/batches/")?;
        let id = rest.strip_suffix("/cancel").unwrap_or(rest);
        let batch = self.batches.iter_mut().find(|batch| batch.id == id)?;
        if rest.ends_with("/cancel") && batch.status == "validating" {
            batch.status = "cancelled";
        }
        Some(State::shown(batch))
    }

    fn anthropic(&mut self, post: bool, path: &str, bytes: &[u8]) -> Option<Value> {
        let shown = |batch: &Batch| {
            let status = if batch.status == "validating" { "in_progress" } else { "ended" };
            json!({"id": batch.id, "type": "message_batch", "processing_status": status})
        };
        if post && path == "/v1/messages/batches" {
            let body: Value = serde_json::from_slice(bytes).ok()?;
            let asked = body["requests"]
                .as_array()?
                .iter()
                .map(|item| (item["custom_id"].as_str().expect("a name").to_owned(), item["params"].clone()));
            let asked = asked.collect();
            let place = self.make(asked, Value::Null);
            return Some(shown(&self.batches[place]));
        }
        let rest = path.strip_prefix("/v1/messages/batches/")?;
        let id = rest.split('/').next().unwrap_or_default();
        let batch = self.batches.iter_mut().find(|batch| batch.id == id)?;
        if rest.ends_with("/cancel") {
            batch.status = "cancelled";
        }
        Some(shown(batch))
    }

    /// What lies in the results.
    fn lines(&self, path: &str) -> Option<String> {
        if let Some(file) = path.strip_prefix("/v1/files/").and_then(|rest| rest.strip_suffix("/content")) {
            let (kind, id) = file.split_once('-')?;
            let batch = self.batches.iter().find(|batch| batch.id == id)?;
            return Some(self.results(batch, kind == "out"));
        }
        let id = path.strip_prefix("/v1/messages/batches/")?.strip_suffix("/results")?;
        let batch = self.batches.iter().find(|batch| batch.id == id)?;
        let line = |(key, body): (&String, &Value)| {
            let (status, said) = self.says.map_or((500, Value::Null), |says| says(body));
            let result = match (batch.status, status) {
                ("completed", 200) => json!({"type": "succeeded", "message": said}),
                ("completed", _) => json!({"type": "errored", "error": said}),
                _ => json!({"type": "expired"}),
            };
            format!("{}\n", json!({"custom_id": key, "result": result}))
        };
        Some(batch.asked.iter().map(line).collect())
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let Some((head, bytes)) = request(&mut stream)? else { return Ok(()) };
    let line = head.lines().next().unwrap_or_default().to_owned();
    let mut words = line.split(' ');
    let (post, path) = (words.next() == Some("POST"), words.next().unwrap_or_default().to_owned());
    let say = {
        let mut state = state.lock().expect("no test panicked");
        state.told.push(line.clone());
        let batch = path.contains("batches") || path.starts_with("/v1/files");
        let json = |value: Value| Say {
            head: "200 OK\r\ncontent-type: application/json\r\n".into(),
            body: value.to_string().into_bytes(),
        };
        if batch && state.none {
            Say::refuse(404, "", "no such thing")
        } else if batch {
            let made = state.batches.len();
            let said = match state.lines(&path) {
                Some(lines) => Some(Say { head: "200 OK\r\n".into(), body: lines.into_bytes() }),
                None if path.starts_with("/v1/messages") => state.anthropic(post, &path, &bytes).map(json),
                None => state.openai(post, &path, &bytes).map(json),
            };
            if state.hangs_up && state.batches.len() > made {
                state.hangs_up = false;
                return Ok(());
            }
            said.unwrap_or_else(|| Say::refuse(404, "", "no such thing"))
        } else {
            let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            let (status, said) = state.says.map_or((500, Value::Null), |says| says(&body));
            match status {
                200 => json(said),
                _ => Say::refuse(status, "", &said.to_string()),
            }
        }
    };
    write!(stream, "HTTP/1.1 {}connection: close\r\n\r\n", say.head)?;
    stream.write_all(&say.body)?;
    stream.flush()
}
