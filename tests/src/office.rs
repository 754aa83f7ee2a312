//! A vault with work in it, and the commands that a person gives.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::binary;

/// An office. It is gone when dropped.
pub struct Office {
    /// Where it is: the vault in `company`, keys and all else beside it.
    pub dir: tempfile::TempDir,
}

impl Office {
    /// Makes a vault of these files.
    pub fn new(files: &[(&str, &str)]) -> Office {
        let office = Office { dir: tempfile::tempdir().expect("a folder") };
        std::fs::create_dir_all(office.root()).expect("a folder");
        office.write(files);
        assert!(office.aios(&["init", "-q"], "").status.success());
        office
    }

    /// Writes files into it.
    pub fn write(&self, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = self.root().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
    }

    /// The vault.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("company")
    }

    /// Runs a command, with a fault where one is named.
    pub fn aios(&self, args: &[&str], fault: &str) -> Output {
        self.command(args, fault).output().expect("aios runs")
    }

    /// Starts the daemon and waits until it serves.
    pub fn up(&self, fault: &str) -> Daemon {
        self.serve(self.command(&["up", "--no-ui"], fault), !fault.is_empty())
    }

    /// Starts what is to be a daemon and waits until it serves, or, where it may fail, says something.
    pub fn serve(&self, mut command: Command, may_fail: bool) -> Daemon {
        let said = self.dir.path().join("said");
        let errors = std::fs::File::create(&said).expect("a file");
        let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn().expect("aios runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output"))
            .read_line(&mut line)
            .expect("it prints text");
        assert!(line.starts_with("ready") || may_fail, "{line}");
        Daemon { child, said }
    }

    /// Proves what is there, whoever was killed at whatever point: the next command takes in what the log has beyond the database, and looking
    /// alone does not.
    pub fn is_sound(&self) {
        assert!(self.aios(&["commit", "-q"], "").status.success());
        let verified = self.aios(&["verify", "--deep"], "");
        assert!(verified.status.success(), "{verified:?}");
    }

    /// A command that is to be run, with a fault where one is named.
    pub fn command(&self, args: &[&str], fault: &str) -> Command {
        let mut command = Command::new(binary::aios());
        command.args(args).current_dir(self.root()).stdin(Stdio::null());
        command.env("AIOS_NET", "loopback").env("AIOS_DATA_DIR", self.dir.path().join("keys"));
        command
            .env("NO_COLOR", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null");
        command.env_remove("AIOS_FAULT");
        if !fault.is_empty() {
            command.env("AIOS_FAULT", fault);
        }
        if fault.contains("crash") {
            // As with a power cut, what was not synced is lost.
            command.env("AIOS_FAULT_JOURNAL", self.dir.path().join("lost"));
        }
        command
    }

    /// Runs a command that must end with `code`, and gives what it prints.
    pub fn ends(&self, args: &[&str], code: i32) -> String {
        let out = self.aios(args, "");
        let said = String::from_utf8_lossy(&out.stderr);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert_eq!(out.status.code(), Some(code), "aios {args:?}: {text}{said}");
        text
    }

    /// What a command that must be done says as JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ends(&[args, &["--json"]].concat(), 0)).expect("a JSON value")
    }

    /// The id of the effect of a task that asks for consent, if one does.
    pub fn asks(&self, task: &str) -> Option<String> {
        let inbox = self.json(&["inbox"]);
        let needs = inbox.as_array().expect("a list").iter();
        let found = needs.filter(|need| need["need"] == "approval" && need["task"] == task);
        found.map(|need| need["key"].as_str().expect("a key").to_owned()).next()
    }

    /// The id of what nobody knows the outcome of, if there is such.
    pub fn doubtful(&self, need: &str) -> Option<String> {
        let inbox = self.json(&["inbox"]);
        let found = inbox.as_array().expect("a list").iter().find(|it| it["need"] == need);
        found.map(|need| need["key"].as_str().expect("a key").to_owned())
    }

    /// The mails that went out.
    pub fn mails(&self) -> Vec<String> {
        let outbox = self.dir.path().join("company.outbox");
        let entries =
            [outbox.clone(), outbox.join("new")].into_iter().filter_map(|it| std::fs::read_dir(it).ok());
        let mails = entries.flatten().map(|entry| entry.expect("an entry").path());
        let mails = mails.filter(|path| path.extension().is_some_and(|it| it == "eml" || it == "aios"));
        mails.map(|path| std::fs::read_to_string(path).expect("a mail")).collect()
    }

    /// How many went to a client.
    pub fn sent_to(&self, client: &str) -> usize {
        let to = format!("To: {client}@example.org\r\n");
        self.mails().iter().filter(|mail| mail.contains(&to)).count()
    }
}

/// A daemon. It is killed when dropped.
pub struct Daemon {
    /// The process.
    pub child: Child,
    /// Where it says what is wrong.
    pub said: PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    /// What it said is wrong.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.said).expect("what it said")
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("it can be waited for").is_none()
    }
}
