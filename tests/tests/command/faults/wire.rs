//! Two network namespaces and a cable between them that loses, delays and is cut. Not with `tc netem`, which many kernels are
//! built without: a small program carries the frames.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use super::{native, not_root};

/// The namespaces and the cable; all of it goes when this is dropped.
pub struct Wire {
    program: Child,
    orders: ChildStdin,
    /// The namespaces at its two ends.
    pub ends: [String; 2],
}

fn ip(args: &[&str]) -> Result<(), String> {
    let out = Command::new("ip").args(args).output().map_err(|e| format!("ip does not run: {e}"))?;
    match out.status.success() {
        true => Ok(()),
        false => Err(format!("ip {args:?}: {}", String::from_utf8_lossy(&out.stderr).trim())),
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
        for end in &self.ends {
            let _ = ip(&["netns", "del", end]);
        }
    }
}

impl Wire {
    /// A good one; 10.77.0.1 and 10.77.0.2 are at its ends. `Err` says why there is none.
    pub fn new(dir: &Path, name: &str) -> Result<Wire, String> {
        if let Some(why) = not_root() {
            return Err(why);
        }
        let built = native::build(dir, "wire", include_str!("wire.c"), &[])?;
        let mark = std::process::id();
        let ends = [0, 1].map(|n| format!("aios-{name}-{mark}-{n}"));
        let cards = [0, 1].map(|n| format!("ai{}{mark}{n}", &name[..1]));
        let mut program = Command::new(built)
            .args(&cards)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        let orders = program.stdin.take().ok_or("no input")?;
        let mut line = String::new();
        let said = program.stdout.take().ok_or("no output")?;
        BufReader::new(said).read_line(&mut line).map_err(|e| e.to_string())?;
        let wire = Wire { program, orders, ends };
        if line.trim() != "ready" {
            return Err("no interfaces can be made".into());
        }
        for (n, (end, card)) in wire.ends.iter().zip(&cards).enumerate() {
            ip(&["netns", "add", end])?;
            ip(&["link", "set", card, "netns", end, "name", "eth0"])?;
            ip(&["-n", end, "link", "set", "lo", "up"])?;
            ip(&["-n", end, "link", "set", "eth0", "up"])?;
            wire.address(n, n as u8 + 1);
        }
        Ok(wire)
    }

    /// Loses so many of a hundred frames, each way, and delays the rest by so many milliseconds.
    pub fn weather(&mut self, loss: u32, delay: u32) {
        // In one piece: it is read as one.
        self.orders.write_all(format!("{loss} {delay}\n").as_bytes()).unwrap();
    }

    /// The end `n` has the address 10.77.0.`host` from now on, and no other.
    pub fn address(&self, n: usize, host: u8) {
        let end = &self.ends[n];
        ip(&["-n", end, "-4", "address", "flush", "dev", "eth0"]).unwrap();
        ip(&["-n", end, "address", "add", &format!("10.77.0.{host}/24"), "dev", "eth0"]).unwrap();
        // As where a router is: multicast needs a way too.
        ip(&["-n", end, "route", "replace", "default", "dev", "eth0"]).unwrap();
    }
}
