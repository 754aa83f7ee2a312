//! Pages whose `console` blocks are run: each `$ command` in one shell for the whole page, its output compared.
//!
//! In expected output `[..]` stands for anything within a line, and a line `...` for any lines.

use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a page may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// One command of a page and what it should print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Line of the page, from 1.
    pub line: usize,
    /// The command.
    pub command: String,
    /// The lines it should print, stdout and stderr together.
    pub expected: Vec<String>,
}

/// The steps of a page.
pub fn steps(page: &str) -> Vec<Step> {
    let mut out: Vec<Step> = Vec::new();
    let mut inside = false;
    for (n, line) in page.lines().enumerate() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if inside {
            match (line.strip_prefix("$ "), line.strip_prefix("> "), out.last_mut()) {
                (Some(command), _, _) => {
                    out.push(Step { line: n + 1, command: command.to_owned(), expected: Vec::new() });
                }
                (None, Some(more), Some(step)) if step.expected.is_empty() => {
                    step.command.push('\n');
                    step.command.push_str(more);
                }
                (None, _, Some(step)) => step.expected.push(line.to_owned()),
                (None, _, None) => {}
            }
        }
    }
    out
}

/// Runs the steps in `folder` with the binary's folder first in PATH; gives what differs, for people.
pub fn run(steps: &[Step], folder: &Path, bin: &Path) -> Result<(), String> {
    const MARK: &str = "@@ aios step @@";
    let mut script = String::from("exec 2>&1\n");
    for step in steps {
        script.push_str(&format!("printf '\\n{MARK}\\n'\n{}\n", step.command));
    }
    script.push_str(&format!("printf '\\n{MARK}\\n'\nwait\n"));
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(&script)
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("AIOS_NET", "loopback")
        .env("TMPDIR", folder)
        .env("AIOS_DATA_DIR", folder.join(".keys"))
        .env("NO_COLOR", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null");
    let text = output(shell).map_err(|e| format!("cannot run sh: {e}"))?;
    let mark = format!("\n{MARK}\n");
    let mut parts = text.split(&mark);
    parts.next();
    for step in steps {
        let found: Vec<&str> = parts.next().unwrap_or_default().lines().collect();
        if !matches(&step.expected, &found) {
            return Err(format!(
                "line {}: `{}`\n--- expected\n{}\n--- found\n{}\n",
                step.line,
                step.command,
                step.expected.join("\n"),
                found.join("\n")
            ));
        }
    }
    Ok(())
}

/// What a shell and all it starts print; ended when it takes too long, as a page that waits for what never comes.
fn output(mut shell: Command) -> std::io::Result<String> {
    let mut printed = tempfile::tempfile()?;
    let mut child = shell.stdin(Stdio::null()).stdout(printed.try_clone()?).process_group(0).spawn()?;
    let until = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() > until {
            Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status()?;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut bytes = Vec::new();
    printed.rewind()?;
    printed.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn matches(expected: &[String], found: &[&str]) -> bool {
    let trimmed: Vec<&str> = {
        let end = found.iter().rposition(|line| !line.trim().is_empty()).map_or(0, |at| at + 1);
        found[..end].to_vec()
    };
    let end = expected.iter().rposition(|line| !line.trim().is_empty()).map_or(0, |at| at + 1);
    lines_match(&expected[..end], &trimmed)
}

fn lines_match(expected: &[String], found: &[&str]) -> bool {
    match expected.split_first() {
        None => found.is_empty(),
        Some((any, rest)) if any == "..." => (0..=found.len()).any(|skip| lines_match(rest, &found[skip..])),
        Some((line, rest)) => match found.split_first() {
            Some((first, others)) => {
                line_matches(line.trim_end(), first.trim_end()) && lines_match(rest, others)
            }
            None => false,
        },
    }
}

fn line_matches(pattern: &str, line: &str) -> bool {
    let mut pieces = pattern.split("[..]");
    let Some(first) = pieces.next() else { return line.is_empty() };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, middle)) = pieces.split_last() else { return rest.is_empty() };
    for piece in middle {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert!(line_matches("a [..] c", "a b c") && !line_matches("a [..] c", "a b d"));
        assert!(line_matches("x", "x") && !line_matches("x", "xy"));
        let expected: Vec<String> = ["a", "...", "z"].map(str::to_owned).to_vec();
        assert!(lines_match(&expected, &["a", "b", "c", "z"]) && !lines_match(&expected, &["a", "b"]));
    }

    #[test]
    fn pages() {
        let page = "text\n```console\n$ echo a\na\n$ cat <<E\n> x\n> E\nx\n```\n";
        let found = steps(page);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].command, "cat <<E\nx\nE");
        assert_eq!(found[1].expected, ["x"]);
    }
}
