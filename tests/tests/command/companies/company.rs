//! A company on one device: what happens to it, its operator, and what comes of it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use aios_tests::device::Device;
use aios_tests::provider::Provider;
use aios_tests::reader;
use serde_json::Value;

use super::far::Far;
use super::models;
use super::scenario::{Act, Scenario};

/// What breaks.
#[derive(Debug, Clone)]
pub enum Faults {
    /// Nothing; how many points each command passes is counted.
    Trace,
    /// Each command dies where it first comes to this point.
    Named(&'static str),
    /// The n-th command dies at one of the points that it passed before.
    At { points: Vec<u64>, round: u64 },
}

/// What came of it, whatever the ids.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub files: BTreeMap<String, String>,
    pub tasks: Vec<(String, String)>,
    pub mails: BTreeMap<(String, String), usize>,
}

/// A company.
pub struct Company {
    scenario: &'static Scenario,
    dir: tempfile::TempDir,
    device: Device,
    far: Far,
    faults: Faults,
    points: RefCell<Vec<u64>>,
    killed: Cell<usize>,
}

/// A mail as a file.
pub fn mail(from: &str, subject: &str, text: &str) -> String {
    let id = subject.to_lowercase().replace(|c: char| !c.is_alphanumeric(), "-");
    format!(
        "From: {from}\r\nTo: me@company.example\r\nSubject: {subject}\r\nMessage-ID: <{id}@example>\r\nDate: Fri, 20 Nov 2026 09:00:00 +0000\r\n\r\n{text}\r\n"
    )
}

/// Lays a mail into the letterbox of a vault, as whatever fetches mail does.
pub fn lay(root: &Path, name: &str, mail: &str) {
    let file = root.file_name().expect("a name").to_string_lossy().into_owned();
    let inbox = root.with_file_name(format!("{file}.inbox"));
    for folder in ["tmp", "new"] {
        fs::create_dir_all(inbox.join(folder)).expect("a folder");
    }
    fs::write(inbox.join("tmp").join(name), mail).expect("a mail");
    fs::rename(inbox.join("tmp").join(name), inbox.join("new").join(name)).expect("it lies there");
}

impl Company {
    /// Makes it from its template, whose files are accepted.
    pub fn new(scenario: &'static Scenario, faults: Faults) -> Company {
        Company::with(scenario, faults, None)
    }

    /// The same; with a provider its model does what templates do.
    pub fn with(scenario: &'static Scenario, faults: Faults, provider: Option<&Provider>) -> Company {
        let dir = tempfile::tempdir().expect("a folder");
        let device = Device::new(dir.path(), "laptop");
        let root = device.root.to_string_lossy().into_owned();
        device.json(&["init", "--template", scenario.template, "--name", "Company", &root]);
        if let Some(provider) = provider {
            models::switch(&device.root, provider);
        }
        device.json(&["accept"]);
        let far = Far::of(&device.root);
        let (points, killed) = (RefCell::default(), Cell::new(0));
        Company { scenario, dir, device, far, faults, points, killed }
    }

    /// Runs a command under the faults; where it is killed, that is all.
    fn command(&self, args: &[&str]) -> Output {
        let mut command = self.device.command(args);
        let n = self.points.borrow().len();
        match &self.faults {
            Faults::Trace => {
                command.env("AIOS_FAULT", "trace");
            }
            Faults::Named(name) => {
                command.env("AIOS_FAULT", format!("{name}=crash"));
            }
            Faults::At { points, round } => {
                let total = points.get(n).copied().unwrap_or(60).max(1);
                let at = (round * 37 + n as u64 * 11) % total + 1;
                command.env("AIOS_FAULT", format!("*=crash@{at}"));
            }
        }
        // As with a power cut, what was not synced is lost.
        command.env("AIOS_FAULT_JOURNAL", self.dir.path().join("lost"));
        let out = command.output().expect("aios runs");
        let said = String::from_utf8_lossy(&out.stderr);
        let passed = said.lines().filter(|line| line.starts_with("fault: ")).count();
        self.points.borrow_mut().push(passed as u64);
        self.killed.set(self.killed.get() + usize::from(out.status.code().is_none()));
        self.far.take();
        out
    }

    /// Gives a command, and gives it once more if it was killed.
    fn gives(&self, args: &[&str]) {
        if self.command(args).status.code().is_none() {
            self.calmly(args);
        }
    }

    fn calmly(&self, args: &[&str]) -> Output {
        let out = self.device.run(args);
        self.far.take();
        out
    }

    /// Plays the whole scenario.
    pub fn play(&self) {
        for (n, (act, (path, line))) in self.scenario.steps.iter().enumerate() {
            self.happens(n, act);
            self.operate();
            self.shows(path, line, act);
        }
    }

    /// Something happens, as the n-th.
    pub fn happens(&self, n: usize, act: &Act) {
        match act {
            Act::Mail(from, subject, text) => {
                lay(&self.device.root, &format!("{n}.eml"), &mail(from, subject, text));
                self.gives(&["run"]);
            }
            Act::Emit(name, id, data) => {
                let data = data.iter().flat_map(|pair| ["--data", *pair]);
                self.gives(&["emit", name, "--id", id].into_iter().chain(data).collect::<Vec<_>>());
            }
            Act::Run(workflow, task, input) => {
                let input = input.iter().flat_map(|pair| ["--input", *pair]);
                self.gives(&["run", workflow, "--task", task].into_iter().chain(input).collect::<Vec<_>>());
            }
            Act::Write(path, text) => {
                self.device.write(&[(path, text.as_bytes())]);
                self.gives(&["commit"]);
            }
            Act::Change(path, from, to) => {
                let text = self.device.read(path);
                assert!(text.contains(from), "{path}: {text}");
                self.device.write(&[(path, text.replace(from, to).as_bytes())]);
                self.gives(&["commit"]);
            }
        }
    }

    /// Work is carried on as far as it goes without the operator.
    pub fn works(&self) {
        self.gives(&["run"]);
    }

    /// A file, or one in a folder, says something.
    fn shows(&self, path: &str, line: &str, act: &Act) {
        let paths: Vec<String> = match path.ends_with('/') {
            false => vec![path.to_owned()],
            true => fs::read_dir(self.device.root.join(path))
                .into_iter()
                .flatten()
                .map(|it| format!("{path}{}", it.expect("an entry").file_name().to_string_lossy()))
                .collect(),
        };
        let texts: Vec<String> = paths.iter().map(|path| self.device.read(path)).collect();
        if !texts.iter().any(|text| text.contains(line)) {
            let tasks = self.calmly(&["tasks"]).stdout;
            panic!(
                "under {:?}, after {act:?}, {path} lacks `{line}`: {texts:?}\n{}",
                self.faults,
                String::from_utf8_lossy(&tasks)
            );
        }
    }

    /// The operator sees to all that needs him, until nothing does.
    pub fn operate(&self) {
        for _ in 0..40 {
            self.gives(&["run"]);
            let out = self.calmly(&["inbox", "--json"]);
            let inbox: Value = serde_json::from_slice(&out.stdout).expect("a JSON value");
            let needs = inbox.as_array().expect("a list").clone();
            let Some(need) = needs.first() else { return };
            let text = |key: &str| need[key].as_str().unwrap_or_default().to_owned();
            match need["need"].as_str() {
                Some("approval") => {
                    let _ = self.command(&["approve", &text("key")]);
                }
                Some("question") => {
                    let answer = self.answer(&text("question"));
                    let _ = self.command(&["answer", &text("task"), answer]);
                }
                Some("unknown") => {
                    let word = if self.far.knows(&text("key")) { "--done" } else { "--not-done" };
                    let _ = self.calmly(&["settle", &text("key"), word]);
                }
                _ => panic!("{}: {need}", self.scenario.template),
            }
        }
        panic!("{}: it does not end: {:?}", self.scenario.template, self.calmly(&["inbox"]));
    }

    fn answer(&self, question: &str) -> &'static str {
        let found = self.scenario.answers.iter().find(|(words, _)| question.contains(words));
        found.unwrap_or_else(|| panic!("nobody knows: {question}")).1
    }

    /// What came of it.
    pub fn outcome(&self) -> Outcome {
        let tasks: Value = serde_json::from_slice(&self.calmly(&["tasks", "--json"]).stdout).expect("JSON");
        let of = |task: &Value, key: &str| task[key].as_str().unwrap_or_default().to_owned();
        let mut tasks: Vec<(String, String)> = tasks
            .as_array()
            .expect("a list")
            .iter()
            .map(|task| (of(task, "workflow"), of(task, "state")))
            .collect();
        tasks.sort();
        let listed = self.device.git(&["-c", "core.quotepath=off", "ls-tree", "-r", "--name-only", "HEAD"]);
        let files = listed.lines().map(|path| (path.to_owned(), self.device.read(path))).collect();
        Outcome { files, tasks, mails: self.far.acts() }
    }

    /// Each of its tasks is worked out once more from its journal, and comes to the same; how many steps agents worked out.
    pub fn replays(&self) -> usize {
        let tasks: Value = serde_json::from_slice(&self.calmly(&["tasks", "--json"]).stdout).expect("JSON");
        let mut again = 0;
        for task in tasks.as_array().expect("a list") {
            let id = task["task"].as_str().expect("an id");
            let out = self.calmly(&["replay", id, "--json"]);
            let said = String::from_utf8_lossy(&out.stdout).into_owned();
            assert!(out.status.success(), "{}: {task}: {said}", self.scenario.template);
            let replay: Value = serde_json::from_str(&said).expect("JSON");
            again +=
                replay["steps"].as_array().expect("a list").iter().filter(|it| it["again"] == true).count();
        }
        again
    }

    /// How many pieces of work each agent came to an end with and failed in, by name.
    pub fn work(&self) -> BTreeMap<String, (u64, u64)> {
        let listed: Value = serde_json::from_slice(&self.calmly(&["agents", "--json"]).stdout).expect("JSON");
        let names = listed.as_array().expect("a list").iter().map(|it| it["name"].as_str().expect("a name"));
        let work = |name: &str| {
            let out = self.calmly(&["agents", "show", name, "--json"]);
            let shown: Value = serde_json::from_slice(&out.stdout).expect("JSON");
            let count = |key: &str| {
                let versions = shown["versions"].as_array().map_or(&[][..], Vec::as_slice);
                versions.iter().filter_map(|it| it["work"][key].as_u64()).sum::<u64>()
            };
            (name.to_owned(), (count("done"), count("failed")))
        };
        names.map(work).collect()
    }

    /// Vault and history are whole, and nothing in the folder is not in them.
    pub fn is_sound(&self) {
        let verified = self.calmly(&["verify", "--deep"]);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
        assert_eq!(self.device.git(&["status", "--porcelain"]), "");
        reader::check(&self.device.root);
    }

    /// How many points each command passed.
    pub fn points(&self) -> Vec<u64> {
        self.points.borrow().clone()
    }

    /// How many commands were killed.
    pub fn killed(&self) -> usize {
        self.killed.get()
    }

    /// Whether a point is one that the scenario comes by.
    pub fn must_die(&self) -> bool {
        let has_mail = self.scenario.steps.iter().any(|(act, _)| matches!(act, Act::Mail(..)));
        !matches!(self.faults, Faults::Named("inbox.told")) || has_mail
    }
}
