//! A program tries to get out of its sandbox in all ways that are known here. Each fails, and does not without the sandbox.

use std::collections::BTreeMap;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::process::{Child, Command, Output, Stdio};

use aios_tests::binary;
use aios_tests::office::Office;

use super::attempts::{APPROVE, ATTEMPTS, Attempt, Language, PYTHON, Without};

/// Mails to the operator's own address go out; all others ask.
const RULES: &str = "---
type: policy
rules:
  - {name: own, verdict: allow, capability: mail.send, target: me@example.org}
---
";
const PAY: &str = "---
type: workflow
steps:
  pay: {effect: mail.send, target: stranger@example.org, args: {text: x}}
---
";

fn agent(keys: &str, language: Language, script: &str) -> String {
    let name = match language {
        Language::Sh => "sh",
        Language::Python => "python3",
    };
    format!(
        "---\ntype: agent\nruntime: command\ncommand: [{name}, '{{script}}']\n{keys}---\n~~~\n{script}\n~~~\n"
    )
}

/// A script that says whether it got out.
fn script(attempt: &Attempt) -> String {
    match attempt.language {
        Language::Sh => format!(
            "try() {{\n{}\n}}\nif try > said 2>&1 < /dev/null; then got=out; else got=\"kept: $(tail -n 1 said | tr -d '\\\\\\\"' | tr -d '\\000-\\037')\"; fi\nprintf '{{\"text\": \"%s\"}}' \"$got\"",
            attempt.script
        ),
        Language::Python => format!(
            "{}{}\n\ntry:\n    attempt()\n    got = 'out'\nexcept BaseException as e:\n    got = 'kept: %s' % e\nprint(json.dumps({{'text': got}}))",
            PYTHON.trim_start(),
            attempt.script
        ),
    }
}

/// Where a process listens for those on its machine.
fn socket_of(process: u32) -> String {
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).expect("its files");
    let links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    let open: Vec<String> = links
        .filter_map(|link| {
            let link = link.to_str()?;
            Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    // proc_pid_net(5): the inode, and then the path.
    let all = std::fs::read_to_string("/proc/net/unix").expect("the sockets");
    let mut found = all.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(6);
        let inode = words.next()?;
        Some(words.next()?.to_owned())
            .filter(|path| path.ends_with("control.sock") && open.iter().any(|it| it == inode))
    });
    found.next().expect("the daemon listens")
}

/// A process that does nothing. It is ended when dropped.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Sleeper {
        let mut command = Command::new("sleep");
        command.arg("600").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Sleeper(command.spawn().expect("sleep runs"))
    }

    fn id(&self) -> u32 {
        self.0.id()
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().expect("it can be asked").is_none()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// Has them all tried.
fn run(office: &Office, mode: &str) {
    let out = office.aios(&["run", mode, "--task", mode], "");
    assert!(out.status.success(), "{out:?}: {:#}", office.json(&["inbox"]));
}

/// What one of them gave in each step.
fn results(office: &Office, mode: &str, steps: &[&Attempt]) -> BTreeMap<String, String> {
    let mails = office.mails();
    let mark = format!("mode {mode}");
    let mail = mails.iter().find(|mail| mail.contains(&mark)).unwrap_or_else(|| panic!("{mails:?}"));
    let plain = mail.replace("=\r\n", "").replace("\r\n", "\n").replace("=3D", "=");
    let lines = plain.lines().filter_map(|line| line.split_once(" = "));
    let found: BTreeMap<String, String> = lines.map(|(name, got)| (name.into(), got.into())).collect();
    assert_eq!(found.len(), steps.len(), "{plain}");
    found
}

#[test]
fn no_way_leads_out_and_each_would_without_walls() {
    let python = Command::new("/usr/bin/python3").arg("--version").output().is_ok();
    if !python {
        println!("skipped in part: there is no /usr/bin/python3");
    }
    let native = cfg!(target_arch = "x86_64");
    let mut attempts: Vec<&Attempt> = ATTEMPTS
        .iter()
        .filter(|it| python || it.language == Language::Sh)
        // Their numbers of calls are those of one processor.
        .filter(|it| native || it.without != Without::Perhaps)
        .collect();

    let office =
        Office::new(&[("policies/all.md", RULES), ("clients/ann.md", "---\ntype: client\n---\nAnn\n")]);
    office.write(&[("workflows/pay.md", PAY)]);
    office.ends(&["accept", "-q"], 0);
    let home = office.dir.path().join("home");
    std::fs::create_dir_all(home.join(".ssh")).expect("a folder");
    std::fs::write(home.join(".ssh/id_ed25519"), "a secret").expect("a file");
    std::fs::copy("/bin/true", home.join("tool")).expect("a copy");
    for mode in ["shut", "open"] {
        for name in ["removed", "moved", "cut", "mode", "times", "marked"] {
            std::fs::write(home.join(format!("{mode}.{name}")), "as it was").expect("a file");
        }
    }
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let tcp6 = TcpListener::bind("[::1]:0").ok();
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    udp.set_nonblocking(true).expect("it can be");
    let datagrams = office.dir.path().join("datagrams");
    let unix = UnixDatagram::bind(&datagrams).expect("a socket");
    let abstract_name = format!("aios-walls-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&abstract_name).expect("a name");
    let _abstract = UnixListener::bind_addr(&address).expect("a listener");
    let (looked, mut struck) = (Sleeper::new(), [Sleeper::new(), Sleeper::new()]);

    // The daemon holds a file that nobody closes for it, and a word in its environment.
    let handed = |to: &Command| {
        let mut command = Command::new("sh");
        command.args(["-c", "exec 9< \"$0\"; exec \"$@\""]).arg(home.join(".ssh/id_ed25519"));
        command.arg(to.get_program()).args(to.get_args()).current_dir(office.root()).stdin(Stdio::null());
        command.envs(to.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("WORD_OF_THE_OPERATOR", "sesame");
        command
    };
    let mut plain = Command::new("sh");
    plain.args(["-c", "cat <&9; env | grep WORD_OF_THE_OPERATOR"]);
    let seen = handed(&plain).output().expect("sh runs").stdout;
    assert_eq!(String::from_utf8_lossy(&seen), "a secretWORD_OF_THE_OPERATOR=sesame\n");
    let daemon = office.serve(handed(&office.command(&["up", "--no-ui"], "")), false);
    let socket = socket_of(daemon.child.id());

    office.ends(&["run", "pay", "--task", "first"], 3);
    office.ends(&["run", "pay", "--task", "second"], 3);
    let mut files = Vec::new();
    let mut approve = String::new();
    for (place, mode) in ["shut", "open"].into_iter().enumerate() {
        let keys = match mode {
            // It is granted the very program, so that what keeps it from consent is not that this lies elsewhere.
            "shut" => format!("sandbox: {{read: ['{}']}}\n", binary::aios().display()),
            _ => "sandbox: none\n".to_owned(),
        };
        let asked = office.asks(["first", "second"][place]).expect("it asks");
        let filled = |text: &str| {
            [
                ("home", home.display().to_string()),
                ("vault", office.root().display().to_string()),
                ("keys", office.dir.path().join("keys").display().to_string()),
                ("tmp", std::env::temp_dir().display().to_string()),
                ("mode", mode.to_owned()),
                ("daemon", daemon.child.id().to_string()),
                ("looked", looked.id().to_string()),
                ("struck", struck[place].id().to_string()),
                ("tcp", tcp.local_addr().expect("a port").port().to_string()),
                ("tcp6", tcp6.as_ref().map_or(0, |it| it.local_addr().expect("a port").port()).to_string()),
                ("udp", udp.local_addr().expect("a port").port().to_string()),
                ("daemons", socket.clone()),
                ("abstract", abstract_name.clone()),
                ("datagrams", datagrams.display().to_string()),
                ("aios", binary::aios().display().to_string()),
                ("asked", asked.clone()),
            ]
            .into_iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("@{name}@"), &value))
        };
        let mut steps = String::new();
        let mut lines = format!("mode {mode}");
        for attempt in attempts.iter().filter(|it| mode == "shut" || it.without != Without::Plain) {
            let name = attempt.name;
            let path = format!("agents/{mode}_{name}.md");
            files.push((path, filled(&agent(&keys, attempt.language, &script(attempt)))));
            steps += &format!("  {name}: {{agent: {mode}_{name}, retry: {{attempts: 1}}}}\n");
            lines += &format!("\\n{name} = {{{{ steps.{name}.text }}}}");
        }
        approve = filled(APPROVE);
        let workflow = format!(
            "---\ntype: workflow\nsteps:\n{steps}  tell: {{effect: mail.send, target: me@example.org, args: {{text: \"{lines}\"}}}}\n---\n"
        );
        files.push((format!("workflows/{mode}.md"), workflow));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    office.write(&files);
    office.ends(&["accept", "-q"], 0);

    run(&office, "shut");
    let got = results(&office, "shut", &attempts);
    let out: Vec<_> = got.iter().filter(|(_, got)| !got.starts_with("kept")).collect();
    assert!(out.is_empty(), "{out:#?}");
    // Nothing was done that only said it was not.
    for (name, was) in [("removed", true), ("moved", true), ("written", false), ("folder", false)] {
        assert_eq!(home.join(format!("shut.{name}")).exists(), was, "{name}");
    }
    assert_eq!(std::fs::read_to_string(home.join("shut.cut")).expect("it is there"), "as it was");
    let mode = home.join("shut.mode").metadata().expect("it is there").permissions().mode();
    assert_ne!(mode & 0o777, 0o777);
    assert!(!office.root().join("shut.md").exists());
    assert!(struck[0].lives(), "it was signalled");
    for nothing in [udp.recv(&mut [0; 8]).is_err(), {
        unix.set_nonblocking(true).expect("it can be");
        unix.recv(&mut [0; 8]).is_err()
    }] {
        assert!(nothing, "something came");
    }
    assert!(office.asks("first").is_some(), "it approved by itself");

    run(&office, "open");
    attempts.retain(|it| it.without != Without::Plain);
    let got = results(&office, "open", &attempts);
    for attempt in &attempts {
        let said = &got[attempt.name];
        let name = attempt.name;
        match (said == "out", attempt.without) {
            (false, Without::Perhaps) => println!("proves nothing here: {name}: {said}"),
            (false, Without::Out) => panic!("{name} fails without walls, too: {said}"),
            (true, Without::Kept) => panic!("{name} should be kept from every program"),
            _ => {}
        }
    }
    assert!(!struck[1].lives());
    let approved = Command::new("sh").args(["-c", &approve]).output().expect("sh runs");
    assert!(approved.status.success(), "{approved:?}");
    assert!(office.asks("second").is_none(), "without walls it has all that the user has");
    drop(daemon);
    office.is_sound();
}

/// What leaves its family is ended with it, within walls, too.
#[test]
fn nobody_stays_behind_the_walls() {
    let away = "import os\nread, write = os.pipe()\nif os.fork() == 0:\n    os.setsid()\n    if os.fork():\n        os._exit(0)\n    os.closerange(0, 3)\n    os.write(write, b'%d' % os.getpid())\n    os.execv('/bin/sleep', ['sleep', '600'])\nprint('{\"text\": \"%s\"}' % os.read(read, 20).decode())";
    let lives = |pid: &str| {
        // One that is over and not buried has no memory.
        std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.contains("VmSize"))
    };
    let Ok(plain) = Command::new("/usr/bin/python3").args(["-c", away]).output() else {
        println!("skipped: there is no /usr/bin/python3");
        return;
    };
    let number = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let left = number(&String::from_utf8_lossy(&plain.stdout));
    assert!(lives(&left), "without a keeper it stays: {plain:?}");
    let ended = Command::new("kill").arg(&left).status().expect("kill runs");
    assert!(ended.success());
    let workflow = "---\ntype: workflow\nsteps:\n  away: {agent: away}\n  tell: {effect: mail.send, target: me@example.org, args: {text: 'away = {{ steps.away.text }}'}}\n---\n";
    let office = Office::new(&[
        ("policies/all.md", RULES),
        ("workflows/away.md", workflow),
        ("agents/away.md", &agent("", Language::Python, away)),
    ]);
    office.ends(&["run", "away"], 0);
    let mails = office.mails().concat();
    let line = mails.lines().find(|line| line.starts_with("away = ")).unwrap_or_else(|| panic!("{mails}"));
    assert!(!number(line).is_empty() && !lives(&number(line)), "{line}");
}

/// Where the kernel cannot keep a program apart it is not started, unless the operator accepted that.
#[test]
fn without_walls_nothing_is_started_that_is_not_meant_to_be() {
    let quiet = |keys: &str| agent(keys, Language::Sh, "echo '{\"text\": \"done\"}'");
    let workflow = "---\ntype: workflow\nsteps:\n  work: {agent: worker}\n---\n";
    let office = Office::new(&[("workflows/work.md", workflow), ("agents/worker.md", &quiet(""))]);
    // A process can be in sixteen sandboxes of Landlock at once (`LANDLOCK_MAX_NUM_LAYERS`): there is no room for another.
    let nested = |args: &[&str]| {
        let command = office.command(args, "");
        std::thread::scope(|scope| scope.spawn(|| within(16, command)).join()).expect("no fault")
    };
    let Some(out) = nested(&["run", "work", "--task", "shut"]) else {
        println!("skipped: this kernel has no Landlock");
        return;
    };
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    let inbox = office.json(&["inbox"]);
    let dead = inbox.as_array().expect("a list").iter().find(|it| it["task"] == "shut").expect("it is told");
    assert_eq!(dead["failure"]["class"], "denied");
    let what = dead["failure"]["what"].as_str().unwrap_or_default();
    assert!(what.contains("was not started") && what.contains("`sandbox: none`"), "{what}");
    office.write(&[("agents/worker.md", &quiet("sandbox: none\n"))]);
    let checked = office.ends(&["agents", "check"], 0);
    assert!(checked.contains("agents/worker.md: `sandbox: none`"), "{checked}");
    let before = nested(&["run", "work", "--task", "waits"]).expect("as before");
    assert_eq!(before.status.code(), Some(1), "what is not accepted opens nothing");
    office.ends(&["accept", "-q"], 0);
    let shown = office.ends(&["agents", "show", "worker"], 0);
    assert!(shown.contains("sandbox    none: it may do all that you may"), "{shown}");
    let out = nested(&["run", "work", "--task", "open"]).expect("as before");
    assert_eq!(out.status.code(), Some(0), "{out:?}");
}

/// Runs a command within so many sandboxes that forbid nothing; nothing where there are none.
fn within(count: usize, mut command: Command) -> Option<Output> {
    use landlock::{AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus};
    let access = AccessFs::MakeChar | AccessFs::Refer;
    for _ in 0..count {
        let rules = Ruleset::default().handle_access(access).and_then(Ruleset::create).expect("a ruleset");
        let all = PathBeneath::new(PathFd::new("/").expect("the root"), access);
        let status = rules.add_rule(all).and_then(|it| it.restrict_self()).expect("a sandbox");
        if status.ruleset == RulesetStatus::NotEnforced {
            return None;
        }
    }
    Some(command.output().expect("aios runs"))
}
