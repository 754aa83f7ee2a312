//! What failed silently: found in the tables, by a clock. No I/O, and nothing is changed.

mod finding;
mod look;

use aios_core::id::DeviceId;

use crate::kernel::Setting;
use crate::span::Millis;
use crate::table::{GRACE, LATE, Tables};

pub use finding::{Finding, Kind};

/// A question that is open for so long may have been overlooked.
const PATIENCE: Millis = 24 * 3_600_000;
/// A member of which nothing was heard for so long may be gone.
const SILENCE: Millis = 3 * 24 * 3_600_000;
/// So long a device that is to look for what comes from outside may not have looked.
const IDLE: Millis = 3_600_000;
/// So many failed attempts at a step are worth a word, where they are twice those of the time before.
const MANY: usize = 3;

/// When a member was last heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// The member.
    pub device: DeviceId,
    /// What it is called.
    pub name: String,
    /// When; absent where that is not known.
    pub at: Option<Millis>,
}

/// Where something comes from outside, and one device is to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What comes there, such as `mail.received`.
    pub name: String,
    /// The device that is to look.
    pub device: DeviceId,
    /// When it last did, or, where only that device knows, when it was last heard of; absent: nobody looks.
    pub at: Option<Millis>,
}

/// From where health is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The device.
    pub here: DeviceId,
    /// Every member, this device too.
    pub members: Vec<Sight>,
    /// What comes from outside.
    pub sources: Vec<Source>,
    /// Now.
    pub now: Millis,
    /// What is over is told from this time on; what still stands is told whenever it began.
    pub since: Millis,
}

/// All that failed, was late, did nothing or stands still, the gravest first.
pub fn health(tables: &Tables, setting: &Setting, place: &Place) -> Vec<Finding> {
    let mut look = look::Look { tables, setting, place, out: Vec::new() };
    look.schedules();
    look.tasks();
    look.effects();
    look.refusals();
    look.breakers();
    look.canaries();
    look.sources();
    look.retries();
    look.members();
    let mut out = look.out;
    out.sort_by(|a, b| (a.kind, a.at, &a.task, &a.step).cmp(&(b.kind, b.at, &b.task, &b.step)));
    out
}
