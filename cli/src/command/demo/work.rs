//! The company at work: mails come to the laptop and go out there, the worker keeps the files and does the work, the phone decides.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::device::Device;
use crate::error::CliError;
use crate::ui::{Ui, one_line};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Which device does what.
const HOMES: [(&str, &str); 3] =
    [("connectors/files.md", "worker"), ("connectors/mail.md", "laptop"), ("connectors/inbox.md", "laptop")];
const CLIENT: &str = "clients/ann-quay-example.md";
const PROJECT: &str = "projects/ann-quay-example-heat-map.md";
const INVOICE: &str = "invoices/2026-11-ann-quay-example.md";

/// What was seen of it, step by step.
struct Play<'p> {
    devices: &'p [Device; 3],
    wrong: &'p mut Vec<String>,
    steps: Vec<Value>,
}

/// Plays the whole chain, from the mail of a lead to the money.
pub fn play(devices: &[Device; 3], wrong: &mut Vec<String>, ui: &mut Ui) -> Result<Value, CliError> {
    let [laptop, _, worker] = devices;
    for (path, home) in HOMES {
        let file = laptop.root.join(path);
        let io = |e| CliError::io(format!("change {}", file.display()), e);
        let text = std::fs::read_to_string(&file).map_err(io)?;
        std::fs::write(&file, text.replacen("\nkind:", &format!("\nhome: {home}\nkind:"), 1)).map_err(io)?;
    }
    laptop.must(&["accept"])?;
    let mut play = Play { devices, wrong, steps: Vec::new() };
    play.say(ui, "laptop", "mails come here and go out here, files are the worker's: accepted")?;
    play.mail("1", "Heat map", "Could you draw our berths?")?;
    play.say(ui, "laptop", "a mail comes from ann@quay.example: Heat map")?;
    play.decides(ui, "question")?;
    play.decides(ui, "approval")?;
    play.file(ui, CLIENT, "status: proposal")?;
    play.mail("2", "Re: Proposal: Heat map", "Agreed.")?;
    play.say(ui, "laptop", "a mail comes from ann@quay.example: Agreed.")?;
    play.file(ui, PROJECT, "milestones:")?;
    for task in ["november", "november-again"] {
        play.bills(task)?;
    }
    play.say(ui, "phone", "has the worker bill November, twice")?;
    play.decides(ui, "approval")?;
    play.file(ui, INVOICE, "status: sent")?;
    worker.run(&[
        "emit",
        "bank.paid",
        "--id",
        "2026-11-30/1",
        "--data",
        "reference=2026-11-ann-quay-example",
        "--data",
        "amount:=4400",
        "--data",
        "date=2026-11-30",
    ])?;
    play.say(ui, "worker", "the bank says that 4400 EUR came")?;
    play.file(ui, INVOICE, "paid: 2026-11-30")?;
    let sent = play.sent(ui)?;
    Ok(json!({"steps": play.steps, "sent": sent}))
}

impl Play<'_> {
    fn say(&mut self, ui: &mut Ui, device: &str, what: &str) -> Result<(), CliError> {
        self.steps.push(json!({"device": device, "what": what}));
        ui.line(format!("{device:<8} {}", one_line(what)))?;
        ui.flush()
    }

    /// Waits for something; what never comes is wrong.
    fn awaits<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut() -> Result<Option<T>, CliError>,
    ) -> Result<Option<T>, CliError> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && self.wrong.is_empty() {
            if let Some(found) = look()? {
                return Ok(Some(found));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.wrong.push(format!("never: {what}"));
        Ok(None)
    }

    /// A mail lies in the laptop's letterbox, as if it had been fetched.
    fn mail(&self, name: &str, subject: &str, text: &str) -> Result<(), CliError> {
        let inbox = self.devices[0].root.with_file_name("laptop.inbox");
        let io = |e| CliError::io(format!("write to {}", inbox.display()), e);
        for folder in ["tmp", "new"] {
            std::fs::create_dir_all(inbox.join(folder)).map_err(io)?;
        }
        let mail = format!(
            "From: Ann Peeters <ann@quay.example>\r\nSubject: {subject}\r\nMessage-ID: <{name}@quay.example>\r\n\r\n{text}\r\n"
        );
        std::fs::write(inbox.join("tmp").join(name), mail).map_err(io)?;
        std::fs::rename(inbox.join("tmp").join(name), inbox.join("new").join(name)).map_err(io)
    }

    /// The operator has the worker bill the month, at the phone.
    fn bills(&self, task: &str) -> Result<(), CliError> {
        let input = ["--input", "month=2026-11"];
        let run = ["run", "billing", "--task", task, "--on", "worker"];
        self.devices[1].run(&[&run[..], &input[..]].concat()).map(drop)
    }

    /// The operator sees at the phone what needs him, and decides.
    fn decides(&mut self, ui: &mut Ui, kind: &str) -> Result<(), CliError> {
        let phone = &self.devices[1];
        let found = self.awaits(&format!("the phone shows that {kind}"), || {
            let (inbox, _) = phone.run(&["inbox"])?;
            Ok(inbox.as_array().and_then(|it| it.iter().find(|need| need["need"] == kind).cloned()))
        })?;
        let Some(need) = found else { return Ok(()) };
        let text = |key: &str| need[key].as_str().unwrap_or_default().to_owned();
        let what = match kind {
            "question" => {
                phone.run(&["answer", &text("task"), "5"])?;
                format!("asked: {} Answered: 5", text("question"))
            }
            _ => {
                phone.run(&["approve", &text("key")])?;
                let (target, subject) = (&need["content"]["target"], &need["content"]["args"]["subject"]);
                let plain = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                format!("approved the mail to {}: {}", plain(target), plain(subject))
            }
        };
        self.say(ui, "phone", &what)
    }

    /// Waits until a file on the phone says something.
    fn file(&mut self, ui: &mut Ui, path: &str, line: &str) -> Result<(), CliError> {
        let file = self.devices[1].root.join(path);
        let found = self.awaits(&format!("{path} says {line}"), || {
            Ok(std::fs::read_to_string(&file).is_ok_and(|text| text.contains(line)).then_some(()))
        })?;
        match found {
            Some(()) => self.say(ui, "worker", &format!("{path}: {line}")),
            None => Ok(()),
        }
    }

    /// What went out: each mail once, on the laptop alone.
    fn sent(&mut self, ui: &mut Ui) -> Result<Vec<String>, CliError> {
        let mut sent = Vec::new();
        for device in self.devices {
            for mail in outgoing(&device.root)? {
                let head =
                    |name: &str| mail.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
                sent.push(format!("{}: {}", head("To: "), head("Subject: ")));
                if device.name != "laptop" {
                    self.wrong.push(format!("a mail went out on the {}", device.name));
                }
            }
        }
        sent.sort();
        for mail in &sent {
            self.say(ui, "laptop", &format!("sent once: {mail}"))?;
        }
        if sent.len() != 2 || sent.first() == sent.last() {
            self.wrong.push(format!("two mails were to go out, and not {sent:?}"));
        }
        Ok(sent)
    }
}

/// The mails in the outbox of a vault.
fn outgoing(root: &Path) -> Result<Vec<String>, CliError> {
    let name = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let new = root.with_file_name(format!("{name}.outbox")).join("new");
    let mut out = Vec::new();
    for entry in std::fs::read_dir(&new).into_iter().flatten() {
        let io = |e| CliError::io(format!("read {}", new.display()), e);
        out.push(std::fs::read_to_string(entry.map_err(io)?.path()).map_err(io)?);
    }
    Ok(out)
}
