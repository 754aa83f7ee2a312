//! One device of the demo: a folder, keys of its own, and commands of this same program run on it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use super::cases::Act;
use crate::error::CliError;

/// A device.
#[derive(Debug)]
pub struct Device {
    /// Its name.
    pub name: &'static str,
    /// Its vault.
    pub root: PathBuf,
    keys: PathBuf,
    program: PathBuf,
}

/// A command that runs meanwhile; it is ended when this is dropped.
pub struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    what: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Its next line.
    pub fn line(&mut self) -> Result<String, CliError> {
        match self.lines.next() {
            Some(Ok(line)) => Ok(line),
            _ => Err(CliError::failed(format!("{} ended early", self.what), "see its message above")),
        }
    }

    /// The same once it has said its first line, as a daemon does that serves.
    pub fn ready(mut self) -> Result<Running, CliError> {
        self.line().map(|_| self)
    }

    /// Waits until it has ended well.
    pub fn end(mut self) -> Result<(), CliError> {
        let status = self.child.wait().map_err(|e| CliError::io(format!("wait for {}", self.what), e))?;
        match status.success() {
            true => Ok(()),
            false => {
                Err(CliError::failed(format!("{} failed: {status}", self.what), "see its message above"))
            }
        }
    }

    /// Asks it to end, and waits until it has ended well.
    pub fn terminate(self) -> Result<(), CliError> {
        let pid = rustix::process::Pid::from_child(&self.child);
        let asked = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        asked.map_err(|e| CliError::io(format!("end {}", self.what), e.into()))?;
        self.end()
    }
}

impl Device {
    /// A device whose vault is `NAME` and whose keys are `keys/NAME` in `dir`.
    pub fn new(dir: &Path, name: &'static str) -> Result<Device, CliError> {
        let program = std::env::current_exe().map_err(|e| CliError::io("find this program", e))?;
        Ok(Device { name, root: dir.join(name), keys: dir.join("keys").join(name), program })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).env("AIOS_NET", "loopback").env("AIOS_DATA_DIR", &self.keys).env("NO_COLOR", "1");
        command.stdin(Stdio::null());
        command
    }

    /// What to type to run a command on it by hand.
    pub fn to_look(&self, command: &str) -> String {
        let quoted = |path: &Path| format!("'{}'", path.display());
        format!(
            "AIOS_NET=loopback AIOS_DATA_DIR={} aios -C {} {command}",
            quoted(&self.keys),
            quoted(&self.root)
        )
    }

    /// Runs a command in the vault and gives its JSON value and exit code.
    pub fn run(&self, args: &[&str]) -> Result<(Value, i32), CliError> {
        let root = self.root.to_string_lossy();
        self.run_at(&[&["-C", &root, "--json"], args].concat())
    }

    /// Runs a command as given, which ends in JSON.
    pub fn run_at(&self, args: &[&str]) -> Result<(Value, i32), CliError> {
        let what = format!("`aios {}` on the {}", args.join(" "), self.name);
        let out = self.command(args).stderr(Stdio::piped()).output();
        let out = out.map_err(|e| CliError::io(format!("run {what}"), e))?;
        let value = serde_json::from_slice(&out.stdout).unwrap_or(Value::Null);
        match out.status.code() {
            Some(code) if code == 0 || !value.is_null() => Ok((value, code)),
            _ => {
                let said = String::from_utf8_lossy(&out.stderr);
                Err(CliError::failed(
                    format!("{what} failed: {}", said.trim()),
                    "run it by hand in the demo's folder",
                ))
            }
        }
    }

    /// Runs a command that must succeed.
    pub fn must(&self, args: &[&str]) -> Result<Value, CliError> {
        match self.run(args)? {
            (value, 0) => Ok(value),
            (value, code) => {
                let what =
                    format!("`aios {}` on the {} ended with {code}: {value}", args.join(" "), self.name);
                Err(CliError::failed(what, "run it by hand in the demo's folder"))
            }
        }
    }

    /// Starts a command in the vault.
    pub fn start(&self, args: &[&str]) -> Result<Running, CliError> {
        let what = format!("`aios {}` on the {}", args.join(" "), self.name);
        let root = self.root.to_string_lossy();
        let spawned = self.command(&[&["-C", &root], args].concat()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|e| CliError::io(format!("start {what}"), e))?;
        match child.stdout.take() {
            Some(out) => Ok(Running { child, lines: BufReader::new(out).lines(), what }),
            None => Err(CliError::failed(format!("{what} has no output"), "try again")),
        }
    }

    /// Does to the files what a person would.
    pub fn act(&self, act: &Act) -> Result<(), CliError> {
        let io = |path: &str| {
            let what = format!("change {path} on the {}", self.name);
            move |e| CliError::io(what, e)
        };
        match act {
            Act::Replace(path, from, to) => {
                let file = self.root.join(path);
                let text = fs::read_to_string(&file).map_err(io(path))?;
                match text.matches(from).count() {
                    1 => fs::write(&file, text.replacen(from, to, 1)).map_err(io(path)),
                    count => Err(CliError::failed(
                        format!("`{from}` stands {count} times in {path}"),
                        "use the sample as it is",
                    )),
                }
            }
            Act::Rename(from, to) => fs::rename(self.root.join(from), self.root.join(to)).map_err(io(from)),
            Act::Remove(path) => fs::remove_file(self.root.join(path)).map_err(io(path)),
            Act::Write(path, text) => fs::write(self.root.join(path), text).map_err(io(path)),
        }
    }

    /// All working files: path and content.
    pub fn files(&self) -> Result<Vec<(String, Vec<u8>)>, CliError> {
        let mut out = Vec::new();
        self.walk(&self.root, &mut out)?;
        out.sort();
        Ok(out)
    }

    fn walk(&self, folder: &Path, out: &mut Vec<(String, Vec<u8>)>) -> Result<(), CliError> {
        let io = |e| CliError::io(format!("read {}", folder.display()), e);
        for entry in fs::read_dir(folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            let path = entry.path();
            let name = path.strip_prefix(&self.root).unwrap_or(&path).to_string_lossy().into_owned();
            match entry.file_type().map_err(io)?.is_dir() {
                true if name == ".git" || name == ".aios" => {}
                true => self.walk(&path, out)?,
                false => out.push((name, fs::read(&path).map_err(io)?)),
            }
        }
        Ok(())
    }
}
