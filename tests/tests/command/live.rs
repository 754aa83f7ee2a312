//! Two daemons at work: saves arrive by themselves, both sides' merge, and whoever reads never sees half of one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aios_tests::device::{Device, Running, agree, eventually, pair};

/// Two paired devices whose daemons have found each other.
fn live(dir: &Path, files: &[(&str, &[u8])]) -> (Device, Device, Vec<Running>) {
    let laptop = Device::first(dir, files);
    let phone = Device::new(dir, "phone");
    pair(&laptop, &phone, "phone", "phone");
    let daemons = vec![laptop.up(), phone.up()];
    let both = [(&laptop, &phone), (&phone, &laptop)];
    for (n, (from, to)) in both.into_iter().enumerate() {
        let name = format!("hello {n}.md");
        from.write(&[(&name, b"hello\n")]);
        eventually("the daemons have found each other", || to.read(&name) == "hello\n");
    }
    (laptop, phone, daemons)
}

/// Another handle of a device, for another thread.
fn twin(device: &Device) -> Device {
    let folder = device.root.parent().unwrap();
    Device::new(folder, device.root.file_name().unwrap().to_str().unwrap())
}

fn end(daemons: Vec<Running>) {
    daemons.into_iter().for_each(|daemon| assert_eq!(daemon.terminate(), 0));
}

/// How an editor saves.
#[derive(Debug, Clone, Copy)]
enum Save {
    InPlace,
    Atomic,
    Halves,
}

fn save(path: &Path, text: &str, how: Save) {
    use std::io::Write as _;
    match how {
        Save::InPlace => fs::write(path, text).unwrap(),
        Save::Atomic => {
            let beside = path.with_extension("tmp");
            fs::write(&beside, text).unwrap();
            fs::rename(&beside, path).unwrap();
        }
        Save::Halves => {
            let mut file = fs::OpenOptions::new().write(true).truncate(true).open(path).unwrap();
            let half = text.len() / 2;
            file.write_all(&text.as_bytes()[..half]).unwrap();
            std::thread::sleep(Duration::from_millis(3));
            file.write_all(&text.as_bytes()[half..]).unwrap();
        }
    }
}

#[test]
fn what_is_saved_created_renamed_and_deleted_arrives_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone, daemons) = live(dir.path(), &[("a.md", b"one\ntwo\n")]);
    laptop.write(&[("a.md", b"one\ntwo!\n")]);
    eventually("the save is there", || phone.read("a.md") == "one\ntwo!\n");
    phone.write(&[("new folder/sub/b.md", b"b\n")]);
    eventually("the new file is there", || laptop.read("new folder/sub/b.md") == "b\n");
    // In a folder that this device's watcher has seen appear, and in one that sync has made.
    phone.write(&[("new folder/sub/b.md", b"b, edited\n")]);
    eventually("a save in a new folder is there", || laptop.read("new folder/sub/b.md") == "b, edited\n");
    laptop.write(&[("new folder/sub/b.md", b"b, edited here\n")]);
    eventually("and back", || phone.read("new folder/sub/b.md") == "b, edited here\n");
    fs::rename(laptop.root.join("new folder"), laptop.root.join("folder")).unwrap();
    eventually("the folder is renamed", || {
        phone.read("folder/sub/b.md") == "b, edited here\n" && !phone.root.join("new folder").exists()
    });
    fs::remove_file(phone.root.join("a.md")).unwrap();
    eventually("the file is gone", || !laptop.root.join("a.md").exists());
    // A command of another process works beside the daemon, and the daemon goes on from there.
    laptop.write(&[("c.md", b"c\n")]);
    laptop.json(&["commit", "-m", "by hand"]);
    eventually("what was committed by hand is there", || phone.read("c.md") == "c\n");
    phone.write(&[("c.md", b"c, again\n")]);
    eventually("and what came after", || laptop.read("c.md") == "c, again\n");
    eventually("git has it all", || laptop.stand() == phone.stand());
    end(daemons);
    agree(&[&laptop, &phone]);
    let renamed = laptop.json(&["log", "folder/sub/b.md"]);
    assert_eq!(renamed.as_array().unwrap().len(), 4, "{renamed}");
}

/// Whether a text holds both lines, each once.
fn whole(text: &str) -> bool {
    let line = |start: &str| text.lines().filter(|line| line.starts_with(start)).count() == 1;
    line("first: ") && line("last: ") && text.ends_with('\n')
}

/// How an editor saves that is never caught in the middle, and how all of them do.
const WHOLE: &[Save] = &[Save::Atomic];
const ALL: &[Save] = &[Save::InPlace, Save::Atomic, Save::Halves];

#[test]
fn both_sides_save_lines_of_one_file_at_all_gaps() {
    both_sides_save(ALL, WHOLE);
}

#[test]
fn both_sides_save_lines_of_one_file_at_all_gaps_the_other_way_round() {
    both_sides_save(WHOLE, ALL);
}

#[test]
fn both_sides_save_lines_of_one_file_at_all_gaps_and_in_all_ways() {
    both_sides_save(ALL, ALL);
}

/// Both save their own line of one file, so many times as `AIOS_LIVE_SAVES` says, each in these ways. Where one's saves are always
/// whole, somebody reads there all the time.
fn both_sides_save(on_laptop: &'static [Save], on_phone: &'static [Save]) {
    let rounds: u32 = std::env::var("AIOS_LIVE_SAVES").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    let dir = tempfile::tempdir().unwrap();
    let middle: String = (0..20).map(|n| format!("line {n} stays as it is\n")).collect();
    let text = |first: u32, last: u32| format!("first: {first}\n{middle}last: {last}\n");
    let start = text(0, 0);
    let (laptop, phone, daemons) = live(dir.path(), &[("a.md", start.as_bytes())]);
    eventually("the file is there", || phone.read("a.md") == start);
    let (over, seen) = (AtomicBool::new(false), std::sync::Mutex::new(BTreeMap::<String, u32>::new()));
    let path = |device: &Device| device.root.join("a.md");
    std::thread::scope(|scope| {
        for (device, ways) in [(&laptop, on_laptop), (&phone, on_phone)] {
            // Where somebody saves in place, a reader may see that one at it.
            if ways.len() > 1 {
                continue;
            }
            let (over, seen) = (&over, &seen);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let now = fs::read_to_string(path(device)).unwrap_or_else(|e| format!("<{e}>"));
                    if !whole(&now) {
                        *seen.lock().unwrap().entry(now).or_default() += 1;
                    }
                    std::thread::sleep(Duration::from_micros(200));
                }
            });
        }
        let writer = |device: Device, line: &'static str, ways: &'static [Save]| {
            move || {
                for n in 1..=rounds {
                    // An editor that reads the file again before each change, as most do when it changes under them.
                    let now = device.read("a.md");
                    let new: String = now
                        .split_inclusive('\n')
                        .map(
                            |old| if old.starts_with(line) { format!("{line}{n}\n") } else { old.to_owned() },
                        )
                        .collect();
                    save(&device.root.join("a.md"), &new, ways[n as usize % ways.len()]);
                    let gaps = [0, 5, 20, 50, 100, 200, 500];
                    std::thread::sleep(Duration::from_millis(gaps[n as usize % gaps.len()]));
                }
            }
        };
        let one = scope.spawn(writer(twin(&laptop), "first: ", on_laptop));
        let two = scope.spawn(writer(twin(&phone), "last: ", on_phone));
        one.join().unwrap();
        two.join().unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while laptop.read("a.md") != text(rounds, rounds) || phone.read("a.md") != text(rounds, rounds) {
            let (a, b) = (laptop.read("a.md"), phone.read("a.md"));
            assert!(Instant::now() < until, "never the last of both:\n{a}\n{b}");
            std::thread::sleep(Duration::from_millis(20));
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(seen.into_inner().unwrap(), BTreeMap::new(), "seen and not whole");
    eventually("git has it all", || laptop.stand() == phone.stand());
    end(daemons);
    agree(&[&laptop, &phone]);
    assert_eq!(laptop.read("a.md"), text(rounds, rounds));
}

/// Numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// `AIOS_LIVE_KILLS` sets how often, `AIOS_SEED` when.
#[test]
fn daemons_that_are_killed_or_stopped_while_both_sides_save_lose_nothing() {
    let number = |name: &str, default| {
        std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(default)
    };
    let (kills, seed) = (number("AIOS_LIVE_KILLS", 6), number("AIOS_SEED", 11));
    println!("AIOS_LIVE_KILLS={kills} AIOS_SEED={seed}");
    let mut random = Random(seed);
    let dir = tempfile::tempdir().unwrap();
    let middle: String = (0..20).map(|n| format!("line {n} stays as it is\n")).collect();
    let start = format!("first: 0\n{middle}last: 0\n");
    let (laptop, phone, mut daemons) = live(dir.path(), &[("a.md", start.as_bytes())]);
    eventually("the file is there", || phone.read("a.md") == start);
    let over = AtomicBool::new(false);
    let writer = |device: Device, line: &'static str| {
        let over = &over;
        move || {
            let mut n = 0;
            while !over.load(Ordering::Relaxed) {
                n += 1;
                let now = device.read("a.md");
                let change = |old: &str| {
                    if old.starts_with(line) { format!("{line}{n}\n") } else { old.to_owned() }
                };
                save(
                    &device.root.join("a.md"),
                    &now.split_inclusive('\n').map(change).collect::<String>(),
                    Save::Atomic,
                );
                save(&device.root.join(format!("{} {n}.md", &line[..line.len() - 2])), line, Save::Atomic);
                std::thread::sleep(Duration::from_millis(40));
            }
            n
        }
    };
    let (first, last) = std::thread::scope(|scope| {
        let one = scope.spawn(writer(twin(&laptop), "first: "));
        let two = scope.spawn(writer(twin(&phone), "last: "));
        for _ in 0..kills {
            std::thread::sleep(Duration::from_millis(random.below(400)));
            let n = random.below(2) as usize;
            if random.below(3) == 0 {
                let daemon = &daemons[n];
                daemon.signal("STOP");
                std::thread::sleep(Duration::from_millis(random.below(400)));
                daemon.signal("CONT");
            } else {
                let device = if n == 0 { &laptop } else { &phone };
                drop(daemons.remove(n));
                std::thread::sleep(Duration::from_millis(random.below(200)));
                daemons.insert(n, device.up());
            }
        }
        over.store(true, Ordering::Relaxed);
        (one.join().unwrap(), two.join().unwrap())
    });
    let text = format!("first: {first}\n{middle}last: {last}\n");
    let names: Vec<String> = (1..=first)
        .map(|n| format!("first {n}.md"))
        .chain((1..=last).map(|n| format!("last {n}.md")))
        .collect();
    for device in [&laptop, &phone] {
        eventually("the last of both is there", || device.read("a.md") == text);
        eventually("every new file is there", || names.iter().all(|name| !device.read(name).is_empty()));
    }
    eventually("git has it all", || laptop.stand() == phone.stand());
    end(daemons);
    agree(&[&laptop, &phone]);
}

#[test]
fn who_was_away_has_all_within_a_second_of_coming_back() {
    let dir = tempfile::tempdir().unwrap();
    let (laptop, phone, mut daemons) = live(dir.path(), &[("a.md", b"0\n\nmiddle\n\n0\n")]);
    let text = |first: u32, last: u32| format!("{first}\n\nmiddle\n\n{last}\n");
    let mut fastest = Duration::MAX;
    // Other tests keep the machine busy: one time of several tells what it takes.
    for n in 1..=8 {
        assert_eq!(daemons.pop().unwrap().terminate(), 0);
        laptop.write(&[("a.md", text(n, n - 1).as_bytes())]);
        phone.write(&[("a.md", text(n - 1, n).as_bytes())]);
        let back = Instant::now();
        daemons.push(phone.up());
        let until = back + Duration::from_secs(60);
        while [&laptop, &phone].iter().any(|device| device.read("a.md") != text(n, n)) {
            assert!(Instant::now() < until, "never both: {} {}", laptop.read("a.md"), phone.read("a.md"));
            std::thread::sleep(Duration::from_millis(2));
        }
        fastest = fastest.min(back.elapsed());
        if n > 1 && fastest < Duration::from_secs(1) {
            break;
        }
    }
    println!("in sync {fastest:?} after it began again");
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
    eventually("git has it all", || laptop.stand() == phone.stand());
    end(daemons);
    agree(&[&laptop, &phone]);
}

#[test]
fn a_daemon_whose_warnings_nobody_reads_goes_on() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let dir = tempfile::tempdir().unwrap();
    let laptop = Device::first(dir.path(), &[("a.md", b"a\n")]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut up = laptop.command(&["up", "--no-ui"]);
    let mut up = up.stdout(Stdio::piped()).stderr(writer).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(up.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("ready"), "{line}");
    let second = laptop.fails(&["up"], 1);
    assert!(second.starts_with("error: `aios up` runs") && second.contains("hint: "), "{second}");
    laptop.write(&[("a.md", b"---\nkey: [1\n---\n")]);
    let problem = || laptop.json(&["status"])["problems"].to_string();
    eventually("the save is taken in, and what is wrong with it told", || problem().contains("frontmatter"));
    laptop.write(&[("a.md", b"---\nkey: [1]\n---\n")]);
    eventually("it is still there", || !problem().contains("frontmatter"));
    let late = String::from_utf8_lossy(&laptop.run(&["commit", "-m", "my words"]).stderr).into_owned();
    assert!(late.contains("the message was not used"), "{late}");
    assert!(up.try_wait().unwrap().is_none(), "it ended");
    let sent = std::process::Command::new("kill").arg(up.id().to_string()).status();
    assert!(sent.unwrap().success());
    assert_eq!(up.wait().unwrap().code(), Some(0));
}
