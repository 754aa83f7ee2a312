//! Every pair of routes, and all of them together: three devices that work on and exchange over these alone, in changing
//! order, come to the same; and so does a plain clone beside them. `AIOS_ROUTE_ROUNDS` sets how often they work.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use aios_tests::device::{Device, Running, agree, pair};
use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    /// At addresses that both know.
    Direct,
    /// Through a relay of one's own, at addresses that nobody knows.
    Relay,
    /// A bare repository.
    Git,
    /// A folder.
    Folder,
}

use Route::{Direct, Folder, Git, Relay};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vault {
    Open,
    /// What carries it cannot read it.
    Sealed,
}

/// The places in the text at which each writes.
const WRITERS: [&str; 4] = ["laptop", "phone", "worker", "clone"];
const CLONE: usize = 3;

struct Company {
    dir: tempfile::TempDir,
    devices: [Device; 3],
    /// Where each listened last, below 127.
    places: [Cell<u16>; 3],
    next: Cell<u16>,
    relay: Option<(Running, String)>,
}

impl Drop for Company {
    fn drop(&mut self) {
        if let Some((relay, _)) = self.relay.take() {
            // It serves until then.
            relay.signal("INT");
        }
    }
}

fn git(at: &Path, args: &[&str]) -> String {
    let who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
    let out = Command::new("git").arg("-C").arg(at).args(who).args(args).output().expect("git runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "git {args:?} in {}: {said}", at.display());
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// Changes the line of one writer.
fn write(at: &Path, writer: usize, round: u32) {
    let path = at.join("a.md");
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines[2 * writer] = format!("{} {round}", WRITERS[writer]);
    fs::write(&path, format!("{}\n", lines.join("\n"))).unwrap();
    fs::write(at.join(format!("{} {round}.md", WRITERS[writer])), "new\n").unwrap();
}

fn synced(report: &Value) -> bool {
    report["peers"][0]["acknowledged"] == true
}

impl Company {
    /// Three who met once, and have these routes from now on.
    fn new(routes: &[Route], kind: Vault) -> Company {
        let dir = tempfile::tempdir().unwrap();
        let text: Vec<String> = WRITERS.iter().map(|who| format!("{who} 0\n")).collect();
        let laptop = Device::new(dir.path(), "laptop");
        laptop.write(&[("a.md", text.join("\n").as_bytes())]);
        let root = laptop.root.to_string_lossy().into_owned();
        let sealed = (kind == Vault::Sealed).then_some("--sealed");
        let args = ["init", &root, "--name", "Acme", "--device", "laptop"];
        laptop.json(&args.into_iter().chain(sealed).collect::<Vec<_>>());
        let [phone, worker] = ["phone", "worker"].map(|name| Device::new(dir.path(), name));
        pair(&laptop, &phone, "laptop", "phone");
        pair(&laptop, &worker, "laptop", "worker");
        let (hub, usb) = (dir.path().join("hub.git"), dir.path().join("usb"));
        git(dir.path(), &["init", "-q", "--bare", "-b", "main", hub.to_str().unwrap()]);
        fs::create_dir(&usb).unwrap();
        for device in [&laptop, &phone, &worker] {
            for (route, name, place) in [(Git, "hub", &hub), (Folder, "usb", &usb)] {
                if routes.contains(&route) {
                    device.json(&["remote", "add", name, place.to_str().unwrap()]);
                }
            }
        }
        let relay = routes.contains(&Relay).then(|| {
            let mut relay = laptop.start(&["relay", "--listen", "127.0.0.1:0"]);
            let line = relay.line();
            let url = line.strip_prefix("ready ").unwrap_or_else(|| panic!("{line}")).to_owned();
            (relay, url)
        });
        let devices = [laptop, phone, worker];
        let places = [1, 1, 1].map(Cell::new);
        let company = Company { dir, devices, places, next: Cell::new(1), relay };
        // The phone has yet to hear of the worker.
        company.exchange(Direct, (0, 1));
        company
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A daemon of a device.
    fn up(&self, n: usize, route: Route) -> Running {
        let device = self.devices[n].at(self.devices[n].root.clone());
        let device = match (route, &self.relay) {
            (Relay, Some((_, url))) => {
                self.next.set(self.next.get() + 1);
                self.places[n].set(self.next.get());
                device.set("AIOS_NET", None).set("AIOS_RELAY", Some(url))
            }
            _ => device,
        };
        let [high, low] = self.places[n].get().to_be_bytes();
        device.up_with(&["--listen", &format!("127.0.{high}.{low}")])
    }

    /// Two exchange over one route: each has what the other had.
    fn exchange(&self, route: Route, (one, two): (usize, usize)) {
        let (first, second) = (&self.devices[one], &self.devices[two]);
        let by = |device: &Device, peer: &str| {
            let out = device.run(&["sync", "--json", "--peer", peer, "--timeout", "5s"]);
            serde_json::from_slice::<Value>(&out.stdout).unwrap_or_default()
        };
        match route {
            Git | Folder => {
                let name = if route == Git { "hub" } else { "usb" };
                for device in [first, second, first] {
                    let report = by(device, name);
                    assert!(synced(&report), "{name}: {report}");
                }
            }
            Direct | Relay => {
                let daemons = [self.up(one, route), self.up(two, route)];
                let until = Instant::now() + Duration::from_secs(60);
                loop {
                    // One of them may not know where the other has been since.
                    let reports = [by(first, WRITERS[two]), by(second, WRITERS[one])];
                    if reports.iter().any(synced) {
                        break;
                    }
                    assert!(Instant::now() < until, "{route:?}: {reports:?}");
                }
                for daemon in daemons {
                    assert_eq!(daemon.terminate(), 0);
                }
            }
        }
    }
}

/// What three have who exchange over these routes, each between two of them.
fn converge(routes: &[(Route, (usize, usize))], kind: Vault) {
    let company = Company::new(&routes.iter().map(|(route, _)| *route).collect::<Vec<_>>(), kind);
    let exchange = |n: usize| company.exchange(routes[n % routes.len()].0, routes[n % routes.len()].1);
    let clone = company.path("clone");
    // Nobody clones what is sealed.
    let cloned = routes.iter().position(|(route, _)| *route == Git && kind == Vault::Open);
    if let Some(first) = cloned {
        exchange(first);
        git(company.dir.path(), &["clone", "-q", company.path("hub.git").to_str().unwrap(), "clone"]);
    }
    let rounds: u32 = std::env::var("AIOS_ROUTE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    for round in 1..=rounds {
        for (n, device) in company.devices.iter().enumerate() {
            write(&device.root, n, round);
        }
        if cloned.is_some() {
            // Work on what was there when it looked last.
            write(&clone, CLONE, round);
            git(&clone, &["add", "."]);
            git(&clone, &["commit", "-qm", "By Ada"]);
        }
        // In another order each round, and one way round or the other.
        for n in 0..routes.len() {
            let turn = if round % 2 == 0 { routes.len() - 1 - n } else { n };
            exchange(turn + round as usize);
            if cloned.is_some() && n == 0 {
                git(&clone, &["pull", "-q", "--no-rebase", "--no-edit"]);
                git(&clone, &["push", "-q"]);
            }
        }
    }
    // Nobody writes any more: what is anywhere goes everywhere, and what git remotes are given is sealed once.
    let same = || {
        let stand = company.devices[0].stand();
        company.devices[1..].iter().all(|device| device.stand() == stand)
    };
    let mut times = 0;
    while times == 0 || !same() {
        assert!(times < 4, "it does not come to rest");
        (0..routes.len()).for_each(exchange);
        times += 1;
    }
    let last: Vec<String> = (0..4)
        .map(|n| format!("{} {}\n", WRITERS[n], if n == CLONE && cloned.is_none() { 0 } else { rounds }))
        .collect();
    for device in &company.devices {
        assert_eq!(device.read("a.md"), last.join("\n"));
        for round in 1..=rounds {
            let writers = if cloned.is_some() { 4 } else { 3 };
            assert!(
                WRITERS[..writers].iter().all(|who| device.read(&format!("{who} {round}.md")) == "new\n")
            );
        }
    }
    agree(&company.devices.each_ref());
    if cloned.is_some() {
        git(&clone, &["pull", "-q", "--ff-only"]);
        assert_eq!(git(&clone, &["rev-parse", "HEAD"]), company.devices[0].git(&["rev-parse", "HEAD"]));
    }
}

/// One route between the laptop and the phone, another between the phone and the worker.
fn both(one: Route, two: Route) {
    converge(&[(one, (0, 1)), (two, (1, 2))], Vault::Open);
}

#[test]
fn direct_and_relay() {
    both(Direct, Relay);
}

#[test]
fn direct_and_git() {
    both(Direct, Git);
}

#[test]
fn direct_and_folder() {
    both(Direct, Folder);
}

#[test]
fn relay_and_git() {
    both(Relay, Git);
}

#[test]
fn relay_and_folder() {
    both(Relay, Folder);
}

#[test]
fn git_and_folder() {
    both(Git, Folder);
}

const ALL: [(Route, (usize, usize)); 6] =
    [(Direct, (0, 1)), (Relay, (1, 2)), (Git, (0, 2)), (Folder, (1, 2)), (Git, (0, 1)), (Folder, (0, 2))];

#[test]
fn all_together() {
    converge(&ALL, Vault::Open);
}

#[test]
fn all_together_for_a_sealed_vault() {
    converge(&ALL, Vault::Sealed);
}
