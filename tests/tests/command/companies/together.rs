//! A company on three devices with their daemons: mails come to the laptop and go out there, the worker keeps the files and does the
//! work, and the operator has nothing but a phone.

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use aios_tests::device::{Device, agree, eventually, pair};
use serde_json::Value;

use super::company::{lay, mail};
use super::far::Far;
use super::scenario::{Act, Scenario};

/// A daemon that is begun anew when it dies.
struct Daemon {
    child: Child,
    /// Where the next one dies, and so on; without more, none dies.
    faults: Vec<&'static str>,
    died: usize,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Three devices.
pub struct Together {
    scenario: &'static Scenario,
    dir: tempfile::TempDir,
    laptop: Device,
    phone: Device,
    worker: Device,
    far: Far,
    daemons: RefCell<Vec<Daemon>>,
}

fn start(device: &Device, fault: Option<&str>, journal: PathBuf) -> Child {
    let mut command: Command = device.command(&["up", "--no-ui"]);
    if let Some(fault) = fault {
        command.env("AIOS_FAULT", fault).env("AIOS_FAULT_JOURNAL", journal);
    }
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("aios runs")
}

impl Together {
    /// Makes the company on the laptop, pairs the others, and has the worker keep the files; with faults for the daemons of laptop and
    /// worker, one after the other.
    pub fn new(scenario: &'static Scenario, faults: [&[&'static str]; 2]) -> Together {
        let dir = tempfile::tempdir().expect("a folder");
        let [laptop, phone, worker] = ["laptop", "phone", "worker"].map(|name| Device::new(dir.path(), name));
        let root = laptop.root.to_string_lossy().into_owned();
        laptop.json(&["init", "--template", scenario.template, "--device", "laptop", &root]);
        pair(&laptop, &phone, "phone", "phone");
        pair(&laptop, &worker, "worker", "worker");
        for (file, home) in [("files", "worker"), ("mail", "laptop"), ("inbox", "laptop")] {
            let path = format!("connectors/{file}.md");
            let text = laptop.read(&path).replace("\nkind:", &format!("\nhome: {home}\nkind:"));
            laptop.write(&[(&path, text.as_bytes())]);
        }
        laptop.json(&["accept"]);
        let far = Far::of(&laptop.root);
        let mut daemons = Vec::new();
        for (n, (device, faults)) in
            [(&laptop, faults[0]), (&worker, faults[1]), (&phone, &[][..])].into_iter().enumerate()
        {
            let mut faults = faults.to_vec();
            let first = if faults.is_empty() { None } else { Some(faults.remove(0)) };
            let journal = dir.path().join(format!("lost{n}"));
            daemons.push(Daemon { child: start(device, first, journal), faults, died: 0 });
        }
        Together { scenario, dir, laptop, phone, worker, far, daemons: RefCell::new(daemons) }
    }

    /// Has daemons that died begun anew.
    fn revive(&self) {
        let devices = [&self.laptop, &self.worker, &self.phone];
        for (n, daemon) in self.daemons.borrow_mut().iter_mut().enumerate() {
            if daemon.child.try_wait().expect("it can be waited for").is_some() {
                daemon.died += 1;
                let next = if daemon.faults.is_empty() { None } else { Some(daemon.faults.remove(0)) };
                daemon.child = start(devices[n], next, self.dir.path().join(format!("lost{n}")));
            }
        }
    }

    /// Plays the scenario: mails come to the laptop, events are told at the worker, the operator writes and decides at the phone.
    pub fn play(&self) {
        for (n, (act, (path, line))) in self.scenario.steps.iter().enumerate() {
            match act {
                Act::Mail(from, subject, text) => {
                    lay(&self.laptop.root, &format!("{n}.eml"), &mail(from, subject, text));
                }
                Act::Emit(name, id, data) => {
                    let data = data.iter().flat_map(|pair| ["--data", *pair]);
                    let args: Vec<&str> = ["emit", name, "--id", id].into_iter().chain(data).collect();
                    eventually("it is told", || self.worker.run(&args).status.success());
                }
                Act::Run(workflow, task, input) => {
                    let input = input.iter().flat_map(|pair| ["--input", *pair]);
                    let args = ["run", workflow, "--task", task, "--on", "worker"].into_iter().chain(input);
                    let args: Vec<&str> = args.collect();
                    eventually("it begins", || matches!(self.phone.run(&args).status.code(), Some(0 | 3)));
                }
                Act::Write(path, text) => self.phone.write(&[(path, text.as_bytes())]),
                Act::Change(path, from, to) => {
                    let text = self.phone.read(path);
                    assert!(text.contains(from), "{path}: {text}");
                    self.phone.write(&[(path, text.replace(from, to).as_bytes())]);
                }
            }
            eventually(&format!("after {act:?} {path} says {line}"), || {
                self.revive();
                self.far.take();
                self.operate();
                self.says(path, line)
            });
        }
        eventually("nothing is left to do", || {
            self.revive();
            self.far.take();
            !self.operate() && self.far.acts() == self.scenario.sends()
        });
    }

    fn says(&self, path: &str, line: &str) -> bool {
        let root = &self.phone.root;
        let paths = match path.ends_with('/') {
            false => vec![root.join(path)],
            true => {
                let entries = std::fs::read_dir(root.join(path)).into_iter().flatten();
                entries.map(|it| it.expect("an entry").path()).collect()
            }
        };
        paths.iter().any(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains(line)))
    }

    /// The operator sees to the first thing that needs him; whether there was any.
    fn operate(&self) -> bool {
        let out = self.phone.run(&["inbox", "--json"]);
        let Ok(Value::Array(needs)) = serde_json::from_slice(&out.stdout) else { return true };
        for need in &needs {
            let text = |key: &str| need[key].as_str().unwrap_or_default().to_owned();
            match need["need"].as_str() {
                Some("approval") => {
                    self.phone.run(&["approve", &text("key")]);
                }
                Some("question") => {
                    let question = text("question");
                    let found = self.scenario.answers.iter().find(|(words, _)| question.contains(words));
                    let (_, answer) = found.unwrap_or_else(|| panic!("nobody knows: {question}"));
                    self.phone.run(&["answer", &text("task"), answer]);
                }
                Some("unknown") => {
                    let word = if self.far.knows(&text("key")) { "--done" } else { "--not-done" };
                    self.phone.run(&["settle", &text("key"), word]);
                }
                Some("dead") => panic!("{}: {need}", self.scenario.template),
                _ => {}
            }
        }
        !needs.is_empty()
    }

    /// How many daemons died.
    pub fn died(&self) -> usize {
        self.daemons.borrow().iter().map(|daemon| daemon.died).sum()
    }

    /// All three have the same, and it is whole.
    pub fn agrees(self) {
        let same = || self.laptop.stand() == self.phone.stand() && self.phone.stand() == self.worker.stand();
        eventually("they agree", same);
        assert_eq!(self.far.acts(), self.scenario.sends());
        for other in [&self.phone, &self.worker] {
            let far = Far::of(&other.root);
            assert!(far.acts().is_empty(), "mails go out on the laptop alone: {:?}", far.acts());
        }
        let Together { laptop, phone, worker, daemons, .. } = self;
        drop(daemons);
        agree(&[&laptop, &phone, &worker]);
    }
}
