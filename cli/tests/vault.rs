//! The vault's commands, driven as a script would: the built program, its JSON, its exit codes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A folder with a vault in it and a place for its keys beside it.
struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    /// An empty folder, no vault yet.
    fn bare() -> Self {
        let site = Site { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(site.root()).unwrap();
        site
    }

    /// A vault of these files.
    fn with(files: &[(&str, &str)]) -> Self {
        let site = Self::bare();
        for (path, text) in files {
            site.write(path, text);
        }
        site.ok(&["init", "--name", "acme", "--device", "desk"]);
        site
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("vault")
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aios"));
        command.args(args).current_dir(self.root()).stdin(Stdio::null());
        for name in ["AIOS_FAULT", "AIOS_LOG", "NO_COLOR", "GIT_DIR"] {
            command.env_remove(name);
        }
        command.env("AIOS_DATA_DIR", self.dir.path().join("data")).env("GIT_CONFIG_GLOBAL", "/dev/null");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that must succeed and gives its JSON.
    fn ok(&self, args: &[&str]) -> Value {
        self.ends(0, args)
    }

    /// Runs a command that must end with `code` and gives its JSON.
    fn ends(&self, code: i32, args: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(args);
        let out = self.run(&all);
        let (stdout, stderr) = (text(&out.stdout), text(&out.stderr));
        assert_eq!(out.status.code(), Some(code), "{args:?}\n{stdout}\n{stderr}");
        serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{args:?}: {e}\n{stdout}\n{stderr}"))
    }

    /// Runs a command that must fail with `code`, saying nothing on stdout; gives what it says on stderr.
    fn fails(&self, code: i32, args: &[&str]) -> String {
        let mut all = vec!["--json"];
        all.extend(args);
        let out = self.run(&all);
        let stderr = text(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{args:?}\n{}\n{stderr}", text(&out.stdout));
        assert_eq!(text(&out.stdout), "", "{args:?}");
        let lines: Vec<&str> = stderr.lines().filter(|line| !line.starts_with("hint: ")).collect();
        assert!(lines.len() == 1 && lines[0].starts_with("error: "), "{args:?}: {stderr}");
        stderr
    }

    fn git(&self, args: &[&str]) -> String {
        let out = Command::new("git").arg("-C").arg(self.root()).args(args).output().unwrap();
        assert!(out.status.success(), "git {args:?}: {}", text(&out.stderr));
        text(&out.stdout).trim().to_owned()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn has(value: &Value, fields: &[&str]) {
    for field in fields {
        assert!(value.get(field).is_some(), "no `{field}` in {value}");
    }
}

fn snapshot(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut out = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                waiting.push(entry.path());
            } else if !entry.path().to_string_lossy().contains("/.aios/") {
                out.push((entry.path(), meta.len()));
            }
        }
    }
    out.sort();
    out
}

#[test]
fn init_status_commit_log_have_their_json() {
    let site = Site::bare();
    site.write("a.md", "---\ntitle: A\n---\nHello\n");
    let made = site.ok(&["init", "--name", "acme", "--device", "desk"]);
    has(&made, &["vault", "device", "head", "files"]);
    assert_eq!(made["files"], 1);
    assert_eq!(made["head"], site.git(&["rev-parse", "HEAD"]));

    let status = site.ok(&["status"]);
    has(
        &status,
        &[
            "vault",
            "name",
            "device",
            "head",
            "state",
            "frontier",
            "held",
            "paused",
            "files",
            "pending",
            "conflicts",
        ],
    );
    has(&status, &["inbox", "problems", "peers", "synced"]);
    assert_eq!(
        (&status["name"], &status["device"]["name"], &status["files"]),
        (&"acme".into(), &"desk".into(), &1.into())
    );
    assert_eq!(status["head"], made["head"]);
    assert_eq!(status["synced"], Value::Null, "nobody to be in sync with");
    let device = made["device"].as_str().unwrap();
    assert_eq!(status["frontier"][device][0], 1);

    site.write("a.md", "---\ntitle: B\n---\nHello\n");
    site.write("b.md", "new\n");
    let before = snapshot(&site.root());
    let status = site.ok(&["status"]);
    assert_eq!(status["pending"].as_array().unwrap().len(), 2);
    assert_eq!(status["pending"][0], serde_json::json!({"path": "a.md", "change": "modified"}));
    assert_eq!(snapshot(&site.root()), before, "status changes nothing");
    assert_eq!(site.ok(&["status"])["frontier"][device][0], 1);

    let round = site.ok(&["commit", "-m", "two things"]);
    has(&round, &["head", "record", "changed"]);
    assert_eq!(round["head"], site.git(&["rev-parse", "HEAD"]));
    assert_eq!(round["changed"].as_array().unwrap().len(), 2);
    assert_eq!(site.ok(&["commit"])["record"], Value::Null);

    let log = site.ok(&["log"]);
    let log = log.as_array().unwrap();
    assert_eq!(log.len(), 2);
    has(&log[0], &["record", "commit", "time", "device", "actor", "message", "changed", "events"]);
    assert_eq!((&log[0]["message"], &log[0]["actor"]), (&"two things".into(), &"operator".into()));
    assert_eq!(log[0]["commit"], round["head"]);
    assert_eq!(log[0]["changed"], round["changed"]);
    assert_eq!(log[1]["events"][0]["type"], "vault.created");
    assert_eq!(site.ok(&["log", "-n", "1"]).as_array().unwrap().len(), 1);
    assert_eq!(site.ok(&["log", "b.md"]).as_array().unwrap().len(), 1);
    assert_eq!(site.ok(&["log", "--actor", "agent:x"]).as_array().unwrap().len(), 0);
    assert_eq!(site.ok(&["log", "--since", "1h"]).as_array().unwrap().len(), 2);
    assert!(site.fails(2, &["log", "--since", "whenever"]).contains("hint:"));
    assert!(site.fails(2, &["log", "none.md"]).contains("none.md"));
}

#[test]
fn errors_are_one_line_with_the_right_code() {
    let site = Site::bare();
    assert!(site.fails(1, &["status"]).contains("hint: run `aios init`"));
    site.fails(2, &["frobnicate"]);
    site.fails(2, &["status", "--nonsense"]);
    site.fails(2, &["restore", "a.md"]);
    site.ok(&["init"]);
    site.fails(1, &["init"]);
    site.fails(2, &["show", "HEAD~99"]);
    site.fails(2, &["show", "zzzz"]);
    site.fails(2, &["blame", "none.md"]);
    site.fails(2, &["conflicts", "resolve", "abcdef", "--keep", "0"]);
    let replica = site.root().join(".aios/replica.json");
    let newer = fs::read_to_string(&replica).unwrap().replace("\"format\": 1", "\"format\": 99");
    fs::write(&replica, newer).unwrap();
    assert!(site.fails(1, &["status"]).contains("upgrade aios"));
}

#[test]
fn a_vault_is_found_from_below_and_by_flag() {
    let site = Site::with(&[("sub/a.md", "x\n")]);
    let below =
        site.command(&["--json", "blame", "a.md"]).current_dir(site.root().join("sub")).output().unwrap();
    assert!(below.status.success(), "{}", text(&below.stderr));
    let root = site.root().to_string_lossy().into_owned();
    let out = site.command(&["blame", "sub/a.md", "-C", &root, "--json"]).current_dir("/").output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
}

#[test]
fn show_diff_and_blame_follow_a_file_through_renames() {
    let site = Site::with(&[("a.md", "one\ntwo\nthree\n")]);
    fs::rename(site.root().join("a.md"), site.root().join("b.md")).unwrap();
    site.ok(&["commit"]);
    site.write("b.md", "one\nTWO\nthree\n");
    let third = site.ok(&["commit", "-m", "shout"]);

    let lines = site.ok(&["blame", "b.md"]);
    let lines = lines.as_array().unwrap();
    assert_eq!(lines.len(), 3);
    has(&lines[0], &["line", "record", "actor", "time"]);
    assert_eq!(lines[1]["record"], third["record"]);
    assert_eq!(lines[0]["record"], lines[2]["record"]);
    assert_ne!(lines[0]["record"], lines[1]["record"]);
    assert_eq!(site.ok(&["log", "b.md"]).as_array().unwrap().len(), 3);

    let record = third["record"].as_str().unwrap();
    let commit = third["head"].as_str().unwrap();
    for rev in [record, &record[..10], commit, &commit[..10], "HEAD", "desk:3"] {
        let shown = site.ok(&["show", rev]);
        assert_eq!(shown["record"], third["record"], "{rev}");
        assert!(shown["diff"][0]["patch"].as_str().unwrap().contains("-two\n+TWO\n"), "{shown}");
    }
    let diff = site.ok(&["diff", "HEAD~2", "HEAD"]);
    assert_eq!(diff[0]["change"], "renamed");
    assert_eq!((&diff[0]["from"], &diff[0]["path"]), (&"a.md".into(), &"b.md".into()));
    assert_eq!(site.ok(&["diff"]).as_array().unwrap().len(), 0);
    site.write("b.md", "one\nTWO\nfour\n");
    site.write("c.md", "c\n");
    let diff = site.ok(&["diff"]);
    assert_eq!(diff.as_array().unwrap().len(), 2, "{diff}");
    assert!(diff[0]["patch"].as_str().unwrap().contains("-three\n+four\n"));
    assert!(site.ok(&["diff", "HEAD~2"])[0]["patch"].as_str().unwrap().contains("-two"));
}

#[test]
fn history_from_before_aios_can_be_shown() {
    let site = Site::bare();
    site.git(&["init", "-q", "-b", "main"]);
    site.write("a.md", "one\n");
    site.git(&["add", "."]);
    site.git(&["-c", "user.name=A", "-c", "user.email=a@x", "commit", "-qm", "before"]);
    let old = site.git(&["rev-parse", "HEAD"]);
    site.ok(&["init"]);
    let shown = site.ok(&["show", &old]);
    assert_eq!((&shown["record"], &shown["diff"][0]["change"]), (&Value::Null, &"added".into()));
    site.fails(2, &["undo", &old]);
}

#[test]
fn undo_reverses_one_record_and_keeps_what_came_after() {
    let site = Site::with(&[("a.md", "one\n\ntwo\n\nthree\n")]);
    site.write("a.md", "ONE\n\ntwo\n\nthree\n");
    let second = site.ok(&["commit"]);
    site.write("a.md", "ONE\n\ntwo\n\nTHREE\n");
    site.ok(&["commit"]);
    let undone = site.ok(&["undo", second["record"].as_str().unwrap()]);
    has(&undone, &["head", "record"]);
    assert_eq!(site.read("a.md"), "one\n\ntwo\n\nTHREE\n");
    assert_eq!(undone["head"], site.git(&["rev-parse", "HEAD"]));
    assert_eq!(site.ok(&["conflicts"]), serde_json::json!([]), "asked for, so no question");
    assert_eq!(site.ok(&["status"])["pending"], serde_json::json!([]));
    assert_eq!(site.git(&["status", "--porcelain"]), "");
    // Undoing the undo brings it back.
    site.ok(&["undo"]);
    assert_eq!(site.read("a.md"), "ONE\n\ntwo\n\nTHREE\n");
    site.fails(2, &["undo", "desk:99"]);
}

#[test]
fn undo_reverses_creates_deletes_moves_and_folders() {
    let site = Site::with(&[("d/a.md", "a\n"), ("d/b.md", "b\n"), ("c.md", "c\n")]);
    fs::rename(site.root().join("d"), site.root().join("e")).unwrap();
    site.ok(&["commit"]);
    site.ok(&["undo"]);
    assert!(site.root().join("d/a.md").exists() && !site.root().join("e").exists());

    fs::remove_file(site.root().join("c.md")).unwrap();
    site.write("new.md", "new\n");
    site.ok(&["commit"]);
    site.ok(&["undo"]);
    assert_eq!(site.read("c.md"), "c\n");
    assert!(!site.root().join("new.md").exists());

    fs::rename(site.root().join("c.md"), site.root().join("d/c.md")).unwrap();
    let moved = site.ok(&["commit"]);
    site.write("d/c.md", "c\nmore\n");
    site.ok(&["commit"]);
    site.ok(&["undo", moved["record"].as_str().unwrap()]);
    assert_eq!(site.read("c.md"), "c\nmore\n");
    site.fails(2, &["undo", "desk:1:2"]);
}

#[test]
fn an_edited_new_file_survives_the_undo_of_its_making() {
    let site = Site::with(&[("a.md", "a\n")]);
    site.write("n.md", "first\n");
    let made = site.ok(&["commit"]);
    site.write("n.md", "first\nsecond\n");
    site.ok(&["commit"]);
    let undone = site.ends(3, &["undo", made["record"].as_str().unwrap()]);
    assert_eq!(undone["record"], Value::Null);
    assert!(undone["left"][0].as_str().unwrap().contains("n.md"));
    assert_eq!(site.read("n.md"), "first\nsecond\n");
}

#[test]
fn restore_brings_back_content_and_deleted_files() {
    let site = Site::with(&[("a.md", "one\n"), ("d/x.md", "x\n"), ("d/y.md", "y\n")]);
    let first = site.ok(&["log"])[0]["record"].as_str().unwrap().to_owned();
    site.write("a.md", "two\n");
    site.ok(&["commit"]);
    // What is on disk and not taken in yet is not lost either.
    site.write("a.md", "three\n");
    let restored = site.ok(&["restore", "a.md", "--at", &first]);
    has(&restored, &["head", "record"]);
    assert_eq!(site.read("a.md"), "one\n");
    assert_eq!(site.git(&["show", "HEAD~1:a.md"]), "three");
    assert_eq!(site.ok(&["restore", "a.md", "--at", &first])["record"], Value::Null);

    fs::remove_dir_all(site.root().join("d")).unwrap();
    fs::remove_file(site.root().join("a.md")).unwrap();
    site.ok(&["commit"]);
    site.ok(&["restore", "d", "--at", &first]);
    site.ok(&["restore", "a.md", "--at", &first]);
    assert_eq!(
        (site.read("a.md"), site.read("d/x.md"), site.read("d/y.md")),
        ("one\n".into(), "x\n".into(), "y\n".into())
    );
    // The same document lives again: its history goes on.
    assert!(site.ok(&["log", "a.md"]).as_array().unwrap().len() >= 5);
    assert_eq!(site.ok(&["conflicts"]), serde_json::json!([]));
    site.fails(2, &["restore", "none.md", "--at", "HEAD"]);
    site.fails(2, &["restore", "../outside.md", "--at", "HEAD"]);
}

#[test]
fn a_mass_deletion_stops_and_can_be_meant_or_reversed() {
    let names: Vec<String> = (0..30).map(|n| format!("n{n}.md")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "text\n")).collect();
    let site = Site::with(&files);
    let clear = || names.iter().take(25).for_each(|name| fs::remove_file(site.root().join(name)).unwrap());
    clear();
    assert!(site.fails(3, &["commit"]).contains("hint: if you meant it, run `aios commit --deletions`"));
    let status = site.ok(&["status"]);
    assert_eq!(status["pending"].as_array().unwrap().len(), 25);
    assert!(status["problems"].to_string().contains("25 of 30 files are gone"));
    site.ok(&["restore", ".", "--at", "HEAD"]);
    assert_eq!(site.read("n3.md"), "text\n");
    assert_eq!(site.ok(&["status"])["pending"], serde_json::json!([]));
    clear();
    assert_eq!(site.ok(&["commit", "--deletions"])["changed"].as_array().unwrap().len(), 25);
}

#[test]
fn problems_are_told_and_leave_exit_code_3() {
    let site = Site::with(&[("a.md", "a\n"), ("b.md", "b\n")]);
    // Root may read everything, so the failure is made where the file is read.
    site.write("a.md", "changed\n");
    let out = site.command(&["--json", "commit"]).env("AIOS_FAULT", "disk.read=eacces").output().unwrap();
    assert_eq!(out.status.code(), Some(3), "{}", text(&out.stderr));
    let round: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(round["problems"][0]["path"], "a.md");
    assert_eq!(round["record"], Value::Null, "a disk error is never read as a change");
    assert!(text(&out.stderr).contains("warning: a.md:"));
    assert_eq!(site.ok(&["commit"])["changed"][0]["path"], "a.md");

    site.write("b.md", "---\nkey: [unclosed\n---\nbody\n");
    let status = site.ok(&["status"]);
    assert_eq!(status["problems"][0]["path"], "b.md");
    let round = site.ok(&["commit"]);
    assert!(round["problems"][0]["problem"].as_str().unwrap().contains("frontmatter"));
}

#[test]
fn a_file_that_cannot_be_written_leaves_exit_code_3() {
    let site = Site::with(&[("a.md", "a\n")]);
    site.write("a.md", "changed\n");
    site.ok(&["commit"]);
    // The record stands; the file waits for the next command.
    let out = site.command(&["--json", "undo"]).env("AIOS_FAULT", "disk.exchange*=enospc").output().unwrap();
    assert_eq!(out.status.code(), Some(3), "{}", text(&out.stderr));
    let done: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(done["problems"][0]["path"], "a.md");
    assert!(done["record"].is_string());
    assert!(text(&out.stderr).contains("warning: a.md:"));
    assert_eq!(site.read("a.md"), "changed\n");
    assert_eq!(site.ok(&["commit"])["problems"], serde_json::json!([]));
    assert_eq!(site.read("a.md"), "a\n");
}

#[test]
fn a_sync_that_could_not_read_a_file_leaves_exit_code_3() {
    let site = Site::with(&[("a.md", "a\n")]);
    site.write("a.md", "changed\n");
    let sync = |fault: &str| {
        let mut command = site.command(&["--json", "sync"]);
        command.env("AIOS_NET", "loopback").env("AIOS_FAULT", fault).output().unwrap()
    };
    let out = sync("disk.read=eio");
    assert_eq!(out.status.code(), Some(3), "{}", text(&out.stderr));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&report["problems"][0]["path"], &report["synced"]), (&"a.md".into(), &false.into()));
    assert!(text(&out.stderr).contains("warning: a.md:"));
    // Rules that wait to be accepted are told of, and nothing of theirs is left to do.
    site.write(".aiosignore", "*.tmp\n");
    site.ok(&["commit"]);
    let out = sync("");
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("warning: .aiosignore:"));
    // What waits for the operator is not done.
    site.git(&["switch", "-q", "-c", "elsewhere"]);
    let out = sync("");
    assert_eq!(out.status.code(), Some(3), "{}", text(&out.stderr));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(report["problems"][0]["problem"].as_str().unwrap().contains("branch elsewhere"), "{report}");
}

#[test]
fn an_export_into_the_vault_is_refused_and_leaves_nothing() {
    let site = Site::with(&[("a.md", "a\n")]);
    for folder in ["out", "deep/er/out", ".", ".aios/out", "./missing/../out"] {
        assert!(site.fails(2, &["export", folder]).contains("outside"), "{folder}");
    }
    for left in ["out", "deep", "missing", ".aios/out"] {
        assert!(!site.root().join(left).exists(), "{left}");
    }
    let done = site.ok(&["export", "../out/deep"]);
    assert_eq!((&done["files"], &done["problems"]), (&1.into(), &serde_json::json!([])));
}

#[test]
fn a_second_process_waits_for_the_first() {
    let site = Site::with(&[("a.md", "a\n")]);
    let started: Vec<_> = (0..4)
        .map(|n| {
            site.write(&format!("p{n}.md"), "x\n");
            site.command(&["--json", "commit"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in started {
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", text(&out.stderr));
    }
    assert_eq!(site.ok(&["status"])["files"], 5);
    assert_eq!(site.git(&["status", "--porcelain"]), "");
}

#[test]
fn paused_while_git_is_elsewhere() {
    let site = Site::with(&[("a.md", "a\n")]);
    site.git(&["checkout", "-q", "-b", "other"]);
    assert!(site.fails(3, &["commit"]).contains("git switch main"));
    assert!(site.ok(&["status"])["paused"].as_str().unwrap().contains("other"));
    site.git(&["checkout", "-q", "main"]);
    site.ok(&["commit"]);
}

#[test]
fn a_folder_that_cannot_be_written_fails_cleanly() {
    let site = Site::bare();
    // Root may write anywhere, so the vault is put where no folder can be.
    let file = site.dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let inside = file.join("vault").to_string_lossy().into_owned();
    site.fails(1, &["init", &inside]);
    let site = Site::with(&[("a.md", "a\n")]);
    site.write("a.md", "b\n");
    let out =
        site.command(&["--json", "commit"]).env("AIOS_FAULT", "disk.sync_file=enospc").output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stderr));
    assert_eq!(text(&out.stdout), "");
    // Whether the next run finds the record in the log or makes it again, the save is there.
    site.ok(&["commit"]);
    assert_eq!(site.git(&["show", "HEAD:a.md"]), "b");
}

#[test]
fn accept_shows_the_difference_and_puts_rules_in_force() {
    let site = Site::with(&[("a.md", "a\n")]);
    site.write(".aiosignore", "*.tmp\n");
    site.ok(&["commit"]);
    assert_eq!(site.ok(&["status"])["inbox"], 1);
    let out = site.run(&["accept"]);
    assert!(text(&out.stdout).contains("+*.tmp"), "{}", text(&out.stdout));
    assert_eq!(site.ok(&["accept"])["accepted"], serde_json::json!([]));
    site.write("x.tmp", "x\n");
    assert_eq!(site.ok(&["commit"])["record"], Value::Null);
    site.write(".aiosignore", "*.tmp\n*.bak\n");
    let accepted = site.ok(&["accept", ".aiosignore"]);
    assert_eq!(accepted["accepted"][0]["path"], ".aiosignore");
    has(&accepted["accepted"][0], &["version"]);
    site.fails(2, &["accept", "a.md"]);
}

#[test]
fn a_stale_save_is_listed_and_decided() {
    let site = Site::with(&[("a.md", "one\n\ntwo\n")]);
    site.write("a.md", "one\n\ntwo\n\nthree\n");
    let second = site.ok(&["commit"]);
    // aios writes the file; then an editor with the version before saves over it.
    site.ok(&["undo"]);
    assert_eq!(site.read("a.md"), "one\n\ntwo\n");
    site.write("a.md", "ONE\n\ntwo\n\nthree\n");
    site.ok(&["commit"]);
    let conflicts = site.ok(&["conflicts"]);
    for conflict in conflicts.as_array().unwrap() {
        has(conflict, &["id", "path", "key", "kind", "values", "kept", "reverse"]);
        assert_eq!(conflict["kind"], "stale");
        assert!(conflict["reverse"].as_str().unwrap().starts_with("aios conflicts resolve "));
        let resolved = site.ok(&["conflicts", "resolve", conflict["id"].as_str().unwrap(), "--keep", "0"]);
        has(&resolved, &["head", "record"]);
    }
    assert_eq!(site.ok(&["conflicts"]), serde_json::json!([]));
    assert!(second["record"].is_string());
}

#[test]
fn output_for_people_is_plain_without_a_terminal_and_survives_a_closed_pipe() {
    let names: Vec<String> = (0..400).map(|n| format!("n{n}.md")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "text\n")).collect();
    let site = Site::with(&files);
    let out = site.run(&["status"]);
    assert!(!text(&out.stdout).contains('\u{1b}') && out.stderr.is_empty());
    assert!(text(&site.run(&["status", "--color", "always"]).stdout).contains('\u{1b}'));
    let mut child =
        site.command(&["-v", "log"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert_eq!((out.status.code(), text(&out.stderr)), (Some(0), String::new()));
}

#[test]
fn completions_and_manual_pages() {
    let site = Site::bare();
    for shell in ["bash", "zsh", "fish"] {
        let out = site.run(&["completions", shell]);
        assert!(out.status.success() && text(&out.stdout).contains("conflicts"), "{shell}");
    }
    assert!(text(&site.run(&["man"]).stdout).contains(".TH aios"));
    let pages = site.dir.path().join("man");
    assert!(site.run(&["man", "--to", &pages.to_string_lossy()]).status.success());
    assert!(pages.join("aios-conflicts.1").exists());
    for args in [&["--help"][..], &["help"], &["--version"]] {
        let code = site.run(args).status.code();
        assert!(matches!(code, Some(0 | 2)), "{args:?}");
    }
}

#[test]
fn neither_the_home_folder_nor_what_holds_the_keys_becomes_a_vault() {
    let site = Site::bare();
    let real = site.root().canonicalize().unwrap();
    fs::create_dir(real.join("x")).unwrap();
    std::os::unix::fs::symlink(&real, real.parent().unwrap().join("link")).unwrap();
    let link = real.parent().unwrap().join("link");
    let home = real.join("home");
    fs::create_dir(&home).unwrap();
    let refused = |named: &Path, command: &mut Command| {
        let out = command.current_dir(&real).output().unwrap();
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{}: {said}", named.display());
        assert!(said.contains("\nhint: "), "{said}");
        assert!(!real.join(".aios").exists() && !real.join(".git").exists(), "{}", named.display());
    };
    // The home folder itself, by any name, and what is around it.
    for dir in [real.clone(), PathBuf::from("."), PathBuf::from("x/.."), link.clone(), real.join("./x/../")] {
        for args in [vec!["init"], vec!["join", "aios-no-ticket"], vec!["recover", "--from", "/nowhere"]] {
            let mut command = site.command(&args);
            command.arg(&dir).env("HOME", &real);
            refused(&dir, &mut command);
        }
    }
    refused(&real, site.command(&["init"]).env("HOME", &home));
    // The folder of the keys, whether there are any yet or not.
    for keys in [real.join("keys"), real.clone(), link.join("not/yet")] {
        refused(&keys, site.command(&["init"]).env("AIOS_DATA_DIR", &keys));
    }
    // A key is not made in a vault either.
    site.ok(&["init"]);
    let out = site.command(&["init", "../other"]).env("AIOS_DATA_DIR", real.join("x/keys")).output().unwrap();
    assert_eq!(out.status.code(), Some(2), "{}", text(&out.stderr));
    assert!(!real.join("x/keys").exists());
}

#[test]
fn keys_that_were_moved_into_the_vault_are_left_out_and_told() {
    let site = Site::with(&[("a.md", "a\n")]);
    let keys = site.root().join("deep/keys");
    fs::create_dir(site.root().join("deep")).unwrap();
    fs::rename(site.dir.path().join("data"), &keys).unwrap();
    site.write("b.md", "b\n");
    let run = |args: &[&str]| {
        let out = site.command(args).env("AIOS_DATA_DIR", &keys).output().unwrap();
        (out.status.code(), serde_json::from_slice::<Value>(&out.stdout).unwrap())
    };
    let (code, status) = run(&["--json", "status"]);
    assert_eq!(code, Some(0));
    assert_eq!(status["pending"].as_array().unwrap().len(), 1, "{status}");
    assert_eq!(status["problems"][0]["path"], "deep/keys", "{status}");
    let (_, done) = run(&["--json", "commit"]);
    assert_eq!(done["changed"].as_array().unwrap().len(), 1, "{done}");
    assert_eq!(site.git(&["ls-tree", "-r", "--name-only", "HEAD"]), "a.md\nb.md");
}

#[test]
fn names_that_git_keeps_for_itself_are_told() {
    let site = Site::with(&[("a.md", "a\n")]);
    site.write("sub/.GIT/x.md", "x\n");
    site.write("git~1/y.md", "y\n");
    let status = site.ok(&["status"]);
    let paths: Vec<&str> =
        status["problems"].as_array().unwrap().iter().map(|p| p["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["git~1", "sub/.GIT"], "{status}");
}

#[test]
fn a_vault_that_another_program_syncs_is_warned_about() {
    let site = Site::bare();
    fs::create_dir(site.dir.path().join(".stfolder")).unwrap();
    let out = site.run(&["init"]);
    assert!(text(&out.stderr).contains("Syncthing"), "{}", text(&out.stderr));
    let status = site.ok(&["status"]);
    assert!(status["problems"][0]["problem"].as_str().unwrap().contains("Syncthing"), "{status}");
}

/// A pipe that nobody reads.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_stream_that_nobody_reads_changes_no_exit_code() {
    let site = Site::with(&[("a.md", "a\n")]);
    let out = site.command(&["bogus"]).stderr(unread()).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    fs::write(site.root().join(".git/refs/heads/main"), format!("{}\n", "1".repeat(40))).unwrap();
    let plain = site.run(&["verify"]).status.code();
    assert_eq!(plain, Some(4));
    for args in [&["verify"][..], &["--json", "verify"]] {
        assert_eq!(site.command(args).stdout(unread()).status().unwrap().code(), Some(4));
    }
    assert_eq!(site.command(&["show", "nonsense"]).stdout(unread()).status().unwrap().code(), Some(2));
}

#[test]
fn a_name_taken_in_another_case_is_given_to_whom_the_operator_says() {
    let site = Site::with(&[("a.md", "small\n")]);
    site.write("A.md", "big\n");
    // Which of the two keeps its name hangs on their ids.
    let done = site.run(&["commit"]);
    let (told, said) = (text(&done.stdout), text(&done.stderr));
    let at = told.lines().find_map(|line| line.trim().strip_prefix("added ")).unwrap().to_owned();
    assert_eq!(site.read(&at), "big\n", "{told}");
    assert!(said.contains("another has its name") && said.contains("aios conflicts"), "{said}");
    let conflicts = site.ok(&["conflicts"]);
    let conflict = &conflicts[0];
    assert_eq!(conflict["kind"], "name", "{conflicts}");
    let (id, wanted) = (conflict["id"].as_str().unwrap(), conflict["values"][1]["value"].as_str().unwrap());
    let lost = conflict["values"][0]["value"].as_str().unwrap().to_owned();
    let content = site.read(&lost);
    site.ok(&["conflicts", "resolve", id, "--keep", "1"]);
    assert_eq!(site.read(wanted), content);
    assert!(!site.root().join(&lost).exists());
    assert_eq!(site.ok(&["conflicts"]), serde_json::json!([]));
    let names: Vec<String> = fs::read_dir(site.root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".md"))
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_file_does_not_take_the_name_of_a_folder() {
    let site = Site::with(&[("x/a.md", "a\n"), ("b.md", "b\n")]);
    let out = site.run(&["-q", "commit"]);
    assert!(out.status.success());
    site.write("X", "file\n");
    site.run(&["commit"]);
    let conflicts = site.ok(&["conflicts"]);
    let id = conflicts[0]["id"].as_str().unwrap_or_else(|| panic!("{conflicts}"));
    let said = site.fails(2, &["conflicts", "resolve", id, "--keep", "1"]);
    assert!(said.contains("hint: "), "{said}");
    assert_eq!(site.ok(&["conflicts"]), conflicts);
}

#[test]
fn frontmatter_that_cannot_be_read_is_told_until_it_is_mended() {
    let site = Site::with(&[("a.md", "a\n")]);
    site.write("a.md", "---\nkey: [1\n---\nbody\n");
    let done = site.ok(&["commit"]);
    assert_eq!(done["problems"][0]["path"], "a.md", "{done}");
    for _ in 0..2 {
        let status = site.ok(&["status"]);
        assert_eq!(status["problems"].as_array().unwrap().len(), 1, "{status}");
        assert!(status["problems"][0]["problem"].as_str().unwrap().contains("frontmatter"), "{status}");
        assert_eq!(status["inbox"], 1, "{status}");
    }
    site.ok(&["rebuild"]);
    assert_eq!(site.ok(&["status"])["problems"][0]["path"], "a.md");
    site.write("a.md", "---\nkey: [1]\n---\nbody\n");
    site.ok(&["commit"]);
    assert_eq!(site.ok(&["status"])["problems"], serde_json::json!([]));
}

#[test]
fn a_message_that_comes_too_late_is_not_dropped_without_a_word() {
    let site = Site::with(&[("a.md", "a\n")]);
    site.write("a.md", "b\n");
    let record = site.ok(&["commit"])["record"].as_str().unwrap().to_owned();
    let out = site.run(&["commit", "-m", "my words"]);
    let said = text(&out.stderr);
    assert!(said.contains(&record[..12]) && said.contains("message was not used"), "{said}");
    assert!(said.contains("hint: "), "{said}");
}

#[test]
fn the_inbox_lists_all_that_status_counts() {
    let site = Site::with(&[("a.md", "small\n")]);
    assert_eq!(site.ok(&["inbox"]), serde_json::json!([]));
    site.write("A.md", "big\n");
    site.write(".aiosignore", "*.log\n");
    site.write("b.md", "---\nkey: [1\n---\n");
    site.run(&["commit"]);
    let inbox = site.ok(&["inbox"]);
    let kinds: Vec<&str> = inbox.as_array().unwrap().iter().map(|it| it["need"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["conflict", "accept", "problem"], "{inbox}");
    assert_eq!(site.ok(&["status"])["inbox"], 3);
    let told = text(&site.run(&["inbox"]).stdout);
    assert!(told.contains("aios conflicts") && told.contains("aios accept"), "{told}");
    for n in 0..30 {
        site.write(&format!("many/{n}.md"), "text\n");
    }
    site.run(&["commit"]);
    fs::remove_dir_all(site.root().join("many")).unwrap();
    let inbox = site.ok(&["inbox"]);
    assert!(inbox.to_string().contains("30 of"), "{inbox}");
    assert_eq!(site.ok(&["status"])["inbox"], inbox.as_array().unwrap().len());
}

#[test]
fn what_is_named_wrongly_is_said_with_what_to_do() {
    let site = Site::with(&[("a.md", "a\n")]);
    let said = site.fails(1, &["-C", "a.md", "status"]);
    assert!(said.contains("a.md is a file") && said.contains("hint: "), "{said}");
    let said = site.fails(1, &["-C", "nowhere", "status"]);
    assert!(said.contains("does not exist") && said.contains("hint: "), "{said}");
    let said = site.fails(1, &["-C", "..", "import", "somewhere"]);
    assert!(said.contains("not in a vault") && said.contains("hint: "), "{said}");
    let record = site.ok(&["log"])[0]["record"].as_str().unwrap().to_owned();
    assert_eq!(site.ok(&["show", &record[..3]])["record"], record.as_str());
    let time = site.ok(&["log"])[0]["time"].as_str().unwrap().to_owned();
    assert_eq!(time.len(), "2026-01-31T12:00:00.000Z".len(), "{time}");
}

#[test]
fn an_import_says_what_was_changed_in_the_export() {
    let site = Site::with(&[("a.md", "a\n"), ("b.md", "b\n"), ("c.md", "c\n")]);
    let out = site.dir.path().join("out");
    let out = out.to_str().unwrap();
    site.ok(&["export", out]);
    assert_eq!(site.ok(&["import", out])["problems"], serde_json::json!([]));
    fs::write(format!("{out}/files/a.md"), "edited\n").unwrap();
    fs::remove_file(format!("{out}/files/b.md")).unwrap();
    let done = site.ends(3, &["import", out]);
    let paths: Vec<&Value> = done["problems"].as_array().unwrap().iter().map(|it| &it["path"]).collect();
    assert_eq!(paths, ["a.md", "b.md"], "{done}");
    assert_eq!(site.read("a.md"), "a\n");
}
