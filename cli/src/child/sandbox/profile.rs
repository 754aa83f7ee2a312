//! The walls as a profile of macOS' `sandbox-exec`, in its own language (a Scheme; Apple's are in `/System/Library/Sandbox/Profiles`).

use std::path::Path;

use super::{DEVICES, SYSTEM, Walls};

/// What may be done: all that is not listed is not. `bsd.sb` is what Apple's own programs need before they do anything.
pub fn of(walls: &Walls, folder: &Path) -> String {
    let mut lines = vec![
        "(version 1)".to_owned(),
        "(deny default)".to_owned(),
        "(import \"bsd.sb\")".to_owned(),
        "(allow process-fork)".to_owned(),
        "(allow signal (target same-sandbox))".to_owned(),
        "(allow sysctl-read)".to_owned(),
        "(allow file-read-metadata)".to_owned(),
    ];
    let system = SYSTEM.iter().map(Path::new);
    for path in system.chain(walls.read.iter().map(|path| path.as_path())) {
        lines.push(format!("(allow file-read* process-exec (subpath {}))", quoted(path)));
    }
    for path in DEVICES {
        lines.push(format!("(allow file-read* file-write-data (literal {}))", quoted(Path::new(path))));
    }
    lines.push(format!("(allow file-read* file-write* process-exec (subpath {}))", quoted(folder)));
    lines.push("(deny network*)".to_owned());
    lines.join("\n")
}

fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_granted_is_denied_and_no_path_ends_its_quotes() {
        let walls = Walls { read: vec!["/opt/a\"b".into()] };
        let text = of(&walls, Path::new("/tmp/own"));
        assert!(text.contains("(deny default)") && text.ends_with("(deny network*)"));
        assert!(text.contains("(subpath \"/opt/a\\\"b\")"), "{text}");
        assert!(text.contains("(allow file-read* file-write* process-exec (subpath \"/tmp/own\"))"));
    }
}
