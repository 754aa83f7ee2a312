//! A disk without space: a small file system in memory, filled to the last byte.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use aios_tests::device::{Device, agree, eventually, pair};

use super::{met, not_root, settled, skip};

/// A small file system; unmounted when dropped.
struct Small(PathBuf);

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

impl Small {
    /// `Err` says why there is none.
    fn mount(at: &Path) -> Result<Small, String> {
        if let Some(why) = not_root() {
            return Err(why);
        }
        fs::create_dir(at).map_err(|e| e.to_string())?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(at);
        match mount.output() {
            Ok(out) if out.status.success() => Ok(Small(at.to_owned())),
            Ok(out) => Err(String::from_utf8_lossy(&out.stderr).into_owned()),
            Err(e) => Err(e.to_string()),
        }
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Takes all space there is.
    fn fill(&self) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.filler()).unwrap();
        let mut size = 1 << 20;
        while size > 0 {
            if file.write_all(&vec![7; size]).is_err() {
                size /= 2;
            }
        }
    }

    fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

/// A text of always the same length: what is written over an old one needs no space.
fn text(word: &str) -> String {
    format!("{word:<4000}\nend\n")
}

/// Writes over a file in place.
fn over(device: &Device, name: &str, text: &str) {
    let mut file = fs::OpenOptions::new().write(true).open(device.root.join(name)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let small = match Small::mount(&dir.path().join("small")) {
        Ok(small) => small,
        Err(why) => return skip(&why),
    };
    let laptop = Device::first(&small.0, &[("a.md", text("one").as_bytes()), ("b.md", b"b\n")]);
    let phone = Device::new(dir.path(), "phone");
    pair(&laptop, &phone, "phone", "phone");
    phone.write(&[("c.md", text("from the phone").as_bytes())]);
    let serving = phone.up();
    let stand = laptop.stand();
    small.fill();
    over(&laptop, "a.md", &text("two"));
    for args in [&["commit"][..], &["sync", "--timeout", "5s"], &["commit", "-m", "once more"]] {
        let said = laptop.fails(args, 1);
        assert!(said.contains("space") && said.contains("hint: "), "aios {args:?}: {said}");
        assert_eq!(laptop.read("a.md"), text("two"));
    }
    small.free();
    assert_eq!(laptop.stand(), stand, "nothing was half taken in");
    let report = laptop.json(&["sync"]);
    assert_eq!(report["synced"], true, "{report}");
    assert_eq!((laptop.read("c.md"), laptop.read("a.md")), (text("from the phone"), text("two")));
    eventually("the phone has it", || phone.read("a.md") == text("two"));
    assert_eq!(serving.terminate(), 0);
    agree(&[&laptop, &phone]);
}

#[test]
fn a_daemon_on_a_full_disk_goes_on_when_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let small = match Small::mount(&dir.path().join("small")) {
        Ok(small) => small,
        Err(why) => return skip(&why),
    };
    let laptop = Device::first(&small.0, &[("a.md", text("one").as_bytes()), ("b.md", text("b").as_bytes())]);
    let phone = Device::new(dir.path(), "phone");
    pair(&laptop, &phone, "phone", "phone");
    let said = dir.path().join("said");
    let (here, there) = (laptop.up_saying(&said), phone.up());
    met(&laptop, &phone);
    settled(&[&laptop, &phone]);
    small.fill();
    // What is saved there, what comes there, and what is there on both sides.
    over(&laptop, "a.md", &text("two"));
    phone.write(&[("b.md", text("b on the phone").as_bytes()), ("c.md", text("new").as_bytes())]);
    let warned = || fs::read_to_string(&said).unwrap_or_default();
    eventually("it says that there is no space", || warned().contains("space"));
    assert_eq!(laptop.read("a.md"), text("two"));
    // Whoever has not got it durably is not taken to have it.
    phone.fails(&["sync", "--timeout", "3s"], 3);
    assert_eq!(phone.json(&["status"])["synced"], false);
    small.free();
    for device in [&laptop, &phone] {
        eventually("both have all", || {
            device.read("a.md") == text("two")
                && device.read("b.md") == text("b on the phone")
                && device.read("c.md") == text("new")
        });
    }
    settled(&[&laptop, &phone]);
    for daemon in [here, there] {
        assert_eq!(daemon.terminate(), 0);
    }
    agree(&[&laptop, &phone]);
}
