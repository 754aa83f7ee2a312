//! The shapes of requests and streams, against servers that others wrote: they are installed from their registries and started here, on loopback.
//! Where one cannot be installed its test says so, and is skipped.
//!
//! `AIOS_LITELLM=1` tries LiteLLM, too, whose installation takes longer than a minute.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

/// Mock servers of all shapes.
const AIMOCK: &str = "@copilotkit/aimock@1.43.0";
/// A proxy between OpenAI's shapes and others'.
const LITELLM: &str = "litellm[proxy]==1.106.2";
/// A server that has not begun to serve after so long does not.
const STARTS: Duration = Duration::from_secs(120);

/// What the server says: a look at a file, then a text that comes in pieces, with letters of several bytes at their ends.
const FIXTURES: &str = r#"{"fixtures": [
  {"match": {"model": "busy"}, "response": {"error": {"message": "slow down", "type": "rate_limit_error"}, "status": 429}},
  {"match": {"model": "half"}, "response": {"content": "{\"subject\": \"Hello\", \"text\": \"Dear Bram\"}"}, "truncateAfterChunks": 2},
  {"match": {"hasToolResult": false}, "response": {
    "toolCalls": [{"name": "read", "arguments": {"path": "clients/bram.md"}}],
    "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "input_tokens": 100, "output_tokens": 20}}},
  {"match": {"hasToolResult": true}, "response": {
    "content": "{\"subject\": \"Hello\", \"text\": \"Dear Bram, äöü — “ünïcode” ✓ to the end\"}",
    "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "input_tokens": 100, "output_tokens": 20}}}
]}"#;

/// A server. It is ended when dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command that may take so long; what it said where it failed.
fn done(command: &mut Command, within: Duration) -> Result<(), String> {
    let name = format!("{:?}", command.get_program());
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|e| format!("{name}: {e}"))?;
    let until = Instant::now() + within;
    loop {
        match child.try_wait().expect("it can be waited for") {
            Some(status) if status.success() => return Ok(()),
            Some(_) => {
                let mut said = String::new();
                let _ = child.stderr.take().expect("its errors").read_to_string(&mut said);
                return Err(format!("{name}: {}", said.lines().last().unwrap_or_default()));
            }
            None if Instant::now() > until => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{name} took longer than {within:?}"));
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// A folder where something is installed once, by one test at a time.
fn installed(name: &str, install: impl FnOnce(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let lock = File::create(folder.join("lock")).map_err(|e| e.to_string())?;
    lock.lock().map_err(|e| e.to_string())?;
    let mark = folder.join("installed");
    if !mark.exists() {
        install(&folder)?;
        File::create(mark).map_err(|e| e.to_string())?;
    }
    Ok(folder)
}

/// Starts the mock server at a port that is free.
fn aimock(office: &Path) -> Result<Server, String> {
    let folder = installed("aimock-1.43.0", |folder| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts", "--prefix"]);
        done(npm.arg(folder).arg(AIMOCK), Duration::from_secs(60))
    })?;
    let fixtures = office.join("fixtures.json");
    std::fs::write(&fixtures, FIXTURES).map_err(|e| e.to_string())?;
    let mut node = Command::new("node");
    node.arg(folder.join("node_modules/.bin/llmock")).args(["-p", "0", "-f"]).arg(fixtures);
    let mut child =
        node.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|e| format!("node: {e}"))?;
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let (_, at) = line.split_once("listening on http://127.0.0.1:")?;
        at.trim().parse().ok()
    });
    // What it goes on to say nobody reads, and it is not to wait for that.
    std::thread::spawn(move || lines.for_each(drop));
    match port {
        Some(port) => Ok(Server { child, port }),
        None => {
            let _ = child.kill();
            let _ = child.wait();
            Err("it does not start".to_owned())
        }
    }
}

/// Starts the proxy before the mock server.
fn litellm(office: &Path, upstream: u16) -> Result<Server, String> {
    if std::env::var_os("AIOS_LITELLM").is_none() {
        return Err("its installation takes longer than a minute; AIOS_LITELLM=1 has it done".to_owned());
    }
    let folder = installed("litellm-1.106.2", |folder| {
        done(Command::new("python3").args(["-m", "venv"]).arg(folder), Duration::from_secs(60))?;
        let mut pip = Command::new(folder.join("bin/pip"));
        done(pip.args(["install", "-q", LITELLM]), Duration::from_secs(600))
    })?;
    let config = office.join("litellm.yaml");
    let text = format!(
        "model_list:
  - {{model_name: plain, litellm_params: {{model: openai/m, api_key: none, mock_response: '{{\"subject\": \"Hello\", \"text\": \"Dear Bram, ünïcode\"}}'}}}}
  - {{model_name: busy, litellm_params: {{model: openai/m, api_key: none, mock_response: litellm.RateLimitError}}}}
  - {{model_name: through, litellm_params: {{model: openai/m, api_key: none, api_base: 'http://127.0.0.1:{upstream}/v1'}}}}
  - {{model_name: across, litellm_params: {{model: anthropic/m, api_key: none, api_base: 'http://127.0.0.1:{upstream}'}}}}
general_settings: {{master_key: {KEY}}}
litellm_settings: {{telemetry: false, num_retries: 0}}
"
    );
    std::fs::write(&config, text).map_err(|e| e.to_string())?;
    // It takes no port of the system's choice: one that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    let port = free.map_err(|e| e.to_string())?.port();
    let said = File::create(office.join("litellm.log")).map_err(|e| e.to_string())?;
    let errors = said.try_clone().map_err(|e| e.to_string())?;
    let mut proxy = Command::new(folder.join("bin/litellm"));
    proxy.arg("--config").arg(&config).args(["--host", "127.0.0.1", "--port", &port.to_string()]);
    proxy.env("LITELLM_LOCAL_MODEL_COST_MAP", "True").stdin(Stdio::null()).stdout(said).stderr(errors);
    let mut server = Server { child: proxy.spawn().map_err(|e| format!("litellm: {e}"))?, port };
    let until = Instant::now() + STARTS;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > until || server.child.try_wait().expect("it can be waited for").is_some() {
            let said = std::fs::read_to_string(office.join("litellm.log")).unwrap_or_default();
            return Err(format!("it does not start: {}", said.lines().last().unwrap_or_default()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(server)
}

/// A company whose models are these, in turn, at a server.
fn at(server: &Server, api: &str, tier: &str) -> Office {
    let path = if api == "chat" || api == "responses" { "/v1" } else { "" };
    let models = format!(
        "---\ntype: models\nproviders:\n  test: {{api: {api}, url: 'http://127.0.0.1:{}{path}', key: true, silence: 20s}}\ntiers: {{small: [{tier}]}}\nprices: {{'test/*': {{input: 0.25, output: 2}}}}\n---\n",
        server.port
    );
    let office = Office::new(&[
        ("workflows/flow.md", FLOW),
        ("agents/writer.md", WRITER),
        ("agents/models.md", &models),
        ("clients/bram.md", "---\ntype: client\nname: Bram\n---\nLikes short mails.\n"),
    ]);
    connect(&office);
    office
}

/// Has a mail drafted; what it says, and what models took.
fn drafts(office: &Office, name: &str) -> (String, Value) {
    let out = office.aios(&["run", "flow", "--task", "one"], "");
    let inbox = office.ends(&["inbox"], 0);
    assert_eq!(out.status.code(), Some(3), "{name}: {inbox}");
    office.ends(&["approve", &office.asks("one").unwrap_or_else(|| panic!("{name}: {inbox}"))], 0);
    office.ends(&["replay", "one"], 0);
    (office.mails().concat(), office.json(&["cost", "--by", "model"])["models"].clone())
}

fn skips(name: &str, why: &str) {
    println!("skipped: {name} cannot be tried here: {why}");
}

/// Calls and texts come in pieces, from a server that has all four shapes; one that is busy is passed over.
#[test]
fn all_four_shapes_are_spoken_with_a_mock_server_of_others() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = match aimock(dir.path()) {
        Ok(server) => server,
        Err(why) => return skips("aimock", &why),
    };
    for api in ["chat", "responses", "anthropic", "ollama"] {
        let office = at(&server, api, "test/busy, test/one");
        let (mails, models) = drafts(&office, api);
        assert!(mails.contains("to the end"), "{api}: {mails}");
        let one = &models["test/one"];
        assert_eq!(one["answers"], 2, "{api}: {models}");
        let took = (one["input"].as_u64().unwrap_or(0), one["output"].as_u64().unwrap_or(0));
        match api {
            // It says that nothing was taken, which cannot be: the most counts.
            "ollama" => assert!(took.0 > 200 && took.1 > 40, "{models}"),
            _ => assert_eq!(took, (200, 40), "{api}: {models}"),
        }
    }
    // Half a stream is no answer, whatever it says.
    for api in ["chat", "responses", "anthropic", "ollama"] {
        let office = at(&server, api, "test/half");
        assert_eq!(begins(&office, "one"), "stuck", "{api}");
        let inbox = office.ends(&["inbox"], 0);
        assert!(inbox.contains("transient"), "{api}: {inbox}");
    }
}

/// LiteLLM with its own mock, and between us and a server whose shape is OpenAI's or Anthropic's.
#[test]
fn openais_shapes_are_spoken_with_litellm() {
    let dir = tempfile::tempdir().expect("a folder");
    let upstream = match aimock(dir.path()) {
        Ok(server) => server,
        Err(why) => return skips("LiteLLM", &format!("aimock: {why}")),
    };
    let server = match litellm(dir.path(), upstream.port) {
        Ok(server) => server,
        Err(why) => return skips("LiteLLM", &why),
    };
    let office = at(&server, "chat", "test/busy, test/plain");
    let (mails, models) = drafts(&office, "its own mock");
    assert!(mails.contains("Dear Bram"), "{mails}");
    assert_eq!(models["test/plain"]["answers"], 1, "{models}");
    // It mocks no responses: what it streams then is that it failed, and no answer.
    let office = at(&server, "responses", "test/plain");
    assert_eq!(begins(&office, "one"), "stuck");
    for (api, model) in [
        ("chat", "through"),
        ("chat", "across"),
        ("responses", "through"),
        ("responses", "across"),
        ("anthropic", "across"),
    ] {
        let name = format!("{api} {model}");
        let office = at(&server, api, &format!("test/{model}"));
        let (mails, models) = drafts(&office, &name);
        assert!(mails.contains("to the end"), "{name}: {mails}");
        assert_eq!(models[format!("test/{model}")]["answers"], 2, "{name}: {models}");
    }
}
