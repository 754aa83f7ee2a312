//! The files of the vault: what records say of each path, in the total order. Work looks for them, writes them, and is started by them.

use std::collections::BTreeMap;

use aios_agents::connector::CREATE;
use aios_agents::event::{Came, Content, EffectKey};
use aios_agents::failure::{Class, Failure};
use aios_agents::kernel::{Input, Saw, Work};
use aios_agents::page;
use aios_agents::query::{Looked, Query};
use aios_core::event::Event;
use serde_json::{Map, Value, json};

use crate::device::Record;
use crate::world::World;

/// A file.
#[derive(Debug, Clone, Default)]
pub struct File {
    pub fields: Map<String, Value>,
    pub lines: Vec<String>,
    /// The keys of the effects that made it; there is one.
    pub makers: Vec<String>,
}

/// What of a record is about a file.
fn item(event: &Event) -> Option<&Map<String, Value>> {
    match event {
        Event::Other(map) if map.get("type").is_some_and(|it| it == "sim.file") => Some(map),
        _ => None,
    }
}

impl World {
    /// The files as a device has them.
    pub fn files(&self, n: usize) -> BTreeMap<String, File> {
        let mut out: BTreeMap<String, File> = BTreeMap::new();
        let records = self.devices[n].writes.values().map(|record| &self.records[*record]);
        for map in records.flat_map(|record| &record.events).filter_map(item) {
            let file = out.entry(map["path"].as_str().unwrap_or_default().to_owned()).or_default();
            let fields = map["fields"].as_object().cloned().unwrap_or_default();
            let line = map["line"].as_str().filter(|line| !line.is_empty()).map(str::to_owned);
            // Of two that were made at once the first stands.
            if map["make"] == true {
                file.makers.extend(map.get("key").and_then(Value::as_str).map(str::to_owned));
                fields.into_iter().for_each(|(name, value)| _ = file.fields.entry(name).or_insert(value));
            } else {
                file.fields.extend(fields);
            }
            file.lines.extend(line);
        }
        out
    }

    /// The operator makes a file.
    pub fn make_file(&mut self, n: usize, path: &str, fields: Value) {
        self.outside(
            n,
            json!({"type": "sim.file", "path": path, "make": true, "fields": fields, "line": ""}),
        );
    }

    /// Work looks for files; now and then it is killed over that.
    pub fn look(&mut self, n: usize, work: Work, query: &Query) {
        let (folder, _) = query.files.split_once('*').expect("a folder");
        let kernel = self.devices[n].kernel.as_ref().expect("a process");
        let looked =
            self.files(n).into_iter().filter(|(path, _)| path.starts_with(folder)).map(|(path, file)| {
                let text = page::render(&file.fields, &file.lines.join("\n")).expect("a file");
                let untrusted = kernel.is_file_untrusted(&path, &path);
                Looked { path, text, untrusted }
            });
        let came = query.among(&looked.collect::<Vec<_>>());
        if !self.dies(n, 40, "over a look") {
            self.tally.looks += 1;
            self.give(n, Input::Worked { work, came });
        }
    }

    /// Writes a file, unless a record says that this very effect has; nothing where the process is killed over it.
    pub fn write(&mut self, n: usize, key: EffectKey, content: &Content, before: bool) -> Option<Came> {
        let path = content.target.as_str();
        let told = |made: bool| Came::Done { result: json!({"path": path, "doc": path, "made": made}) };
        let mark = key.0.hex();
        let is_it = |record: &usize| {
            self.records[*record]
                .events
                .iter()
                .filter_map(item)
                .any(|map| map.get("key").is_some_and(|key| *key == mark))
        };
        if before && self.devices[n].writes.values().any(is_it) {
            return Some(told(true));
        }
        let there = self.files(n).contains_key(path);
        let make = content.capability == CREATE;
        self.far.files.insert(key);
        match (make, there) {
            (true, true) => {
                self.tally.claims_lost += 1;
                return Some(told(false));
            }
            (false, false) => {
                self.far.files.remove(&key);
                let what = format!("there is no file {path}");
                return Some(Came::Failed { failure: Failure::new(Class::LostContext, what) });
            }
            _ => {}
        }
        let kernel = self.devices[n].kernel.as_ref().expect("a process");
        let run = kernel.tables().effect(&key).and_then(|it| it.proposed.as_ref()).map(|it| it.run.clone());
        let fields = &content.args[if make { "fields" } else { "set" }];
        let line = content.args["append"].as_str().unwrap_or_default();
        let item = json!({"type": "sim.file", "path": path, "make": make, "fields": fields, "line": line, "key": mark, "run": run});
        let Value::Object(item) = item else { unreachable!("a map") };
        self.author(n, vec![Event::Other(item)]);
        self.tally.pages += 1;
        (!self.dies(n, 25, "after a file was written")).then(|| told(true))
    }

    /// What a record does to a file, as those see it who start work by that.
    pub fn saw_file(&self, n: usize, record: &Record, event: &Event) -> Option<Saw> {
        let map = item(event)?;
        let path = map["path"].as_str()?.to_owned();
        let mut fields = self.files(n).remove(&path)?.fields;
        fields.entry("type").or_insert("page".into());
        Some(Saw {
            doc: path.clone(),
            record: format!("{:?}", record.stamp),
            at: record.stamp.clock().0,
            path,
            made: map["make"] == true,
            fields: fields.into(),
            run: map.get("run").and_then(Value::as_str).map(str::to_owned),
        })
    }
}
