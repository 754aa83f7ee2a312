//! Programs of the user that give keys: the keychain's, a password store, what opens an encrypted file. What they give is in memory alone.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::keyring::Secret;

/// How long a program may take: somebody may have to touch something.
const WITHIN: Duration = Duration::from_secs(30);
/// How long what it gave is good for: a key that was changed is asked for anew.
const GOOD_FOR: Duration = Duration::from_secs(600);
/// The most that it gives, in bytes.
const MOST: u64 = 16 * 1024;
/// How often it is looked whether it has ended.
const GLANCE: Duration = Duration::from_millis(5);

/// What programs gave, and when.
static GAVE: Mutex<BTreeMap<Vec<String>, (Instant, Secret)>> = Mutex::new(BTreeMap::new());

/// The key that a program gives: what it prints, without the line's end.
///
/// # Errors
/// Why it gives none. Nothing of what it printed is in that.
pub fn key(command: &[String]) -> Result<Secret, String> {
    let gave = |known: &BTreeMap<Vec<String>, (Instant, Secret)>| {
        let (at, secret) = known.get(command)?;
        (at.elapsed() < GOOD_FOR).then(|| secret.clone())
    };
    if let Some(secret) = gave(&GAVE.lock().unwrap_or_else(PoisonError::into_inner)) {
        return Ok(secret);
    }
    let secret = ask(command)?;
    let mut known = GAVE.lock().unwrap_or_else(PoisonError::into_inner);
    known.insert(command.to_vec(), (Instant::now(), secret.clone()));
    Ok(secret)
}

fn ask(command: &[String]) -> Result<Secret, String> {
    let (program, args) = command.split_first().ok_or("no program is named")?;
    let mut asked = Command::new(program);
    // What it complains of may hold what it should not say.
    asked.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = asked.spawn().map_err(|e| format!("`{program}` cannot be started: {e}"))?;
    let output = child.stdout.take();
    let reads = thread::spawn(move || {
        let mut bytes = Vec::new();
        output.and_then(|output| output.take(MOST).read_to_end(&mut bytes).ok()).map(|_| bytes)
    });
    let until = Instant::now() + WITHIN;
    let ended = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => thread::sleep(GLANCE),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("`{program}` gave no key within {} s", WITHIN.as_secs()));
            }
        }
    };
    if !ended.success() {
        return Err(format!("`{program}` gave no key: {ended}"));
    }
    let bytes = reads.join().ok().flatten().unwrap_or_default();
    let text = String::from_utf8(bytes).unwrap_or_default();
    Secret::of(&text).ok_or_else(|| format!("what `{program}` printed is no key: that is one word"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        vec!["sh".into(), "-c".into(), text.into()]
    }

    #[test]
    fn a_program_gives_a_key_or_says_why_not() {
        assert_eq!(key(&words("echo sk-one")).map(|it| it.reveal().to_owned()), Ok("sk-one".into()));
        for (command, why) in [
            (words("echo sk-two >&2; echo sk-two; exit 3"), "exit status: 3"),
            (words("echo sk-two and more"), "no key"),
            (words("true"), "no key"),
            (vec!["/no/such/program".into()], "cannot be started"),
            (Vec::new(), "no program"),
        ] {
            let said = key(&command).unwrap_err();
            assert!(said.contains(why) && !said.contains("sk-two"), "{said}");
        }
    }

    #[test]
    fn it_is_not_asked_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let count = dir.path().join("count");
        let command = words(&format!("echo x >> {}; echo sk-three", count.display()));
        for _ in 0..3 {
            assert!(key(&command).is_ok());
        }
        assert_eq!(std::fs::read_to_string(count).unwrap(), "x\n");
    }
}
