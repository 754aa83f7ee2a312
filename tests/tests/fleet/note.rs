//! The notes of days, as the device that coordinates writes them: a text that merges, and a record of what stands in it.

use std::collections::BTreeMap;

use aios_agents::kernel::Page;
use aios_core::event::Event;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::company::START;
use crate::world::World;

/// The lines that one text has and the other lacks, each as often.
fn more(one: &str, other: &str) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    other.lines().for_each(|line| *counts.entry(line).or_default() += 1);
    let mut out = Vec::new();
    for line in one.lines() {
        match counts.get_mut(line).filter(|count| **count > 0) {
            Some(count) => *count -= 1,
            None => out.push(line.to_owned()),
        }
    }
    out
}

fn lines(map: &serde_json::Map<String, Value>, name: &str) -> Vec<String> {
    let list = map[name].as_array().expect("lines");
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

impl World {
    /// The note of a day as a device has it. Two who write the same line apart may have it there twice.
    pub fn note(&self, n: usize, day: &str) -> Option<String> {
        let mut out: Option<Vec<String>> = None;
        for record in self.devices[n].writes.values() {
            for event in &self.records[*record].events {
                let Event::Other(map) = event else { continue };
                if map.get("type").is_none_or(|it| it != "sim.note") || map["day"] != day {
                    continue;
                }
                let text = out.get_or_insert_default();
                for line in lines(map, "drop") {
                    if let Some(place) = text.iter().rposition(|it| *it == line) {
                        text.remove(place);
                    }
                }
                let head = text.is_empty();
                // What stands above is the same, whoever began the note.
                text.extend(lines(map, "add").into_iter().filter(|line| head || line.starts_with("- ")));
            }
        }
        out.map(|lines| lines.iter().map(|line| format!("{line}\n")).collect())
    }

    /// Has the notes of days that are over say what was done; now and then the process is killed between note and record.
    pub fn keep_journal(&mut self, n: usize) {
        if !self.devices[n].round.is_over() {
            return;
        }
        let wall = self.wall(n);
        let Some(kernel) = &self.devices[n].kernel else { return };
        let pages: Vec<Page> = kernel.pages(&TimeZone::UTC, START, wall);
        for page in pages {
            let before = self.note(n, &page.day);
            if let Some(after) = page.write(before.as_deref()) {
                let before = before.unwrap_or_default();
                let (add, drop) = (more(&after, &before), more(&before, &after));
                self.tally.tidied += u64::from(!drop.is_empty());
                self.outside(n, json!({"type": "sim.note", "day": page.day, "add": add, "drop": drop}));
                if self.dies(n, 20, "after a note was written") {
                    return;
                }
            }
            self.tally.notes += 1;
            self.command(n, &page.written);
        }
    }

    /// Every note says each thing once, and nothing that is over and done is missing.
    pub fn check_notes(&self) {
        let days: Vec<String> = (self.records.iter())
            .flat_map(|record| &record.events)
            .filter_map(|event| match event {
                Event::Other(map) if event.name() == "sim.note" => map["day"].as_str().map(str::to_owned),
                _ => None,
            })
            .collect();
        for day in days {
            let note = self.note(0, &day).unwrap_or_default();
            for line in note.lines().filter(|line| line.starts_with("- ")) {
                let times = note.lines().filter(|other| *other == line).count();
                assert_eq!(times, 1, "the note of {day} says it {times} times: {line}");
            }
        }
        for n in 0..self.devices.len() {
            let kernel = self.devices[n].kernel.as_ref().expect("a process");
            let pages = kernel.pages(&TimeZone::UTC, START, self.now);
            assert!(pages.is_empty(), "device {n} has not written {pages:#?}");
        }
    }
}
