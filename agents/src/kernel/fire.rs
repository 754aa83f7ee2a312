//! Work that starts by itself, and where it is done.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{Action, ContentHash, DeviceId, Kernel, Need, Setting};
use crate::cron::Cron;
use crate::event::{Fired, WorkEvent, cron_task, entity_task, event_task};
use crate::span::Millis;
use crate::workflow::{Act, Change, Trigger, Workflow};

/// When a workflow starts by itself.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// The workflow.
    pub workflow: String,
    /// When.
    pub cron: Cron,
    /// In which time zone.
    pub zone: TimeZone,
    /// Since when: what was due before is not made up for.
    pub since: Millis,
}

/// An entity that was made or changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Saw {
    /// Its document.
    pub doc: String,
    /// The record that made or changed it.
    pub record: String,
    /// The record's time.
    pub at: Millis,
    /// Where it lies.
    pub path: String,
    /// Whether the record made it.
    pub made: bool,
    /// What its frontmatter says now.
    pub fields: Value,
    /// The run that the record belongs to: that of a task which wrote the file.
    pub run: Option<String>,
}

fn moment(at: Millis) -> Timestamp {
    i64::try_from(at).ok().and_then(|at| Timestamp::from_millisecond(at).ok()).unwrap_or(Timestamp::MAX)
}

fn millis(at: Timestamp) -> Millis {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}

impl Setting {
    /// The device that works on what starts by itself: the home of what its first effect with a home needs, else the coordinator.
    pub fn place(&self, workflow: &Workflow) -> Option<DeviceId> {
        let mut homes = Vec::new();
        workflow.steps.each_step(&mut |step| {
            if let Act::Effect { deed, .. } = &step.act {
                let home = self.connectors.get(&deed.capability).and_then(|connector| connector.home);
                homes.extend(home.map(|home| (step.at, home)));
            }
        });
        let first = homes.into_iter().min_by_key(|(at, _)| *at).map(|(_, home)| home);
        first.or(self.coordinator)
    }
}

impl Kernel {
    /// Starts what schedules say, once for all that was missed, and finds out when the next is due.
    pub(super) fn fire(&mut self, out: &mut Vec<Action>) {
        let mut made = Vec::new();
        let mut alarm: Option<Millis> = None;
        for schedule in &self.setting.schedules {
            let name = &schedule.workflow;
            let version = self.setting.current.get(name);
            let found = version.and_then(|version| Some((version, self.setting.versions.get(version)?)));
            let Some((version, workflow)) = found else { continue };
            // Only the device that works on it starts it: no other writes a record for that.
            if self.setting.place(workflow) != Some(self.device) {
                continue;
            }
            let after = moment(self.tables.fired(name).map_or(schedule.since, |at| at.max(schedule.since)));
            // By the clock as it is now: its record is never earlier than that, and one earlier than its instant is nothing.
            let now = moment(self.wall);
            let last = schedule.cron.last(after, now, &schedule.zone).map(|at| millis(at.timestamp()));
            let next = schedule.cron.next(now, &schedule.zone).map(|at| millis(at.timestamp()));
            alarm = alarm.into_iter().chain(next).min();
            let Some(at) = last else { continue };
            let task = cron_task(&self.vault, name, at);
            let key = format!("schedule of {name}");
            let input = workflow.input.complete(json!({}));
            if let Some(misfit) = workflow.input.misfits("input", &input).first() {
                let what = format!("a schedule gives it nothing, and {misfit}");
                let need = Need::Unfit { workflow: name.clone(), what };
                if self.needs.insert(key, vec![need.clone()]).is_none() {
                    out.push(Action::Show(need));
                }
                continue;
            }
            self.needs.remove(&key);
            if self.tables.task(&task).is_some() || self.pending.iter().any(|(other, _)| *other == task) {
                continue;
            }
            made.push((
                task.clone(),
                WorkEvent::TaskCreated {
                    task,
                    workflow: name.clone(),
                    version: *version,
                    input,
                    parent: None,
                    on: Some(self.device),
                    trigger: Some(Fired::Cron { at, late: self.wall.saturating_sub(at) }),
                },
            ));
        }
        self.alarm = alarm;
        // Two schedules of one workflow may name one instant; what is due at once is one record.
        made.sort_by(|(a, _), (b, _)| a.cmp(b));
        made.dedup_by(|(a, _), (b, _)| a == b);
        if let Some((first, _)) = made.first().cloned() {
            self.append(&first, made.into_iter().map(|(_, event)| event).collect(), out);
        }
    }

    /// Starts what events start that were heard of.
    pub(super) fn hear(&mut self, out: &mut Vec<Action>) {
        for (name, id) in std::mem::take(&mut self.heard) {
            let made = self.started_by(&name, &id);
            let about = format!("event {name} {id}");
            if !made.is_empty() && !self.pending.iter().any(|(other, _)| *other == about) {
                self.append(&about, made, out);
            }
        }
    }

    /// The tasks that an event starts here and that are not there yet.
    fn started_by(&self, name: &str, id: &str) -> Vec<WorkEvent> {
        let mut out = Vec::new();
        let Some((order, emitted)) = self.tables.outside(name, id) else { return out };
        let scope = json!({"event": emitted.data});
        for (workflow, version) in &self.setting.current {
            let Some(definition) = self.setting.versions.get(version) else { continue };
            let starts = definition.triggers.iter().any(|trigger| match trigger {
                Trigger::Event { name: it, filter } => {
                    // An event for which the filter makes no sense is another's.
                    it == name && filter.as_ref().is_none_or(|filter| filter.holds(&scope).unwrap_or(false))
                }
                Trigger::Webhook { path } => path == name,
                _ => false,
            });
            let since = self.setting.since.get(workflow).copied().unwrap_or(0);
            if !starts || order.time() <= since || self.setting.place(definition) != Some(self.device) {
                continue;
            }
            let task = event_task(&self.vault, workflow, name, id);
            if self.tables.task(&task).is_some() {
                continue;
            }
            out.push(WorkEvent::TaskCreated {
                task,
                workflow: workflow.clone(),
                version: *version,
                input: definition.input.complete(definition.input.pick_typed(&emitted.data)),
                parent: None,
                on: Some(self.device),
                trigger: Some(Fired::Event {
                    name: name.to_owned(),
                    id: id.to_owned(),
                    data: emitted.data.clone(),
                    untrusted: emitted.untrusted,
                    hops: emitted.hops,
                }),
            });
        }
        out
    }

    /// Whether what a task works with came from outside: what it, or one that it is part of, was given, or what it started got.
    pub(super) fn is_untrusted(&self, id: &str) -> bool {
        let mut open = vec![id.to_owned()];
        let mut is = self.tables.is_given_untrusted(id);
        while let Some(task) = open.pop().filter(|_| !is) {
            let Some(found) = self.tables.task(&task) else { continue };
            is |= found.has_untrusted();
            let steps = found.runs.values().flat_map(|run| run.steps.keys());
            let children = steps.map(|step| self.child_of(&task, step));
            open.extend(children.filter(|child| self.tables.task(child).is_some()));
        }
        is
    }

    /// Whether what is in a file came from outside: work that rests on that wrote there. The mark stays with the document.
    pub fn is_file_untrusted(&self, path: &str, doc: &str) -> bool {
        self.tables.writers(path, doc).any(|task| self.is_untrusted(&task))
    }

    /// The task that a step which is a workflow starts.
    pub(super) fn child_of(&self, task: &str, step: &str) -> String {
        let text = format!("aios-child-v1\n{}\n{task}\n{step}", self.vault);
        ContentHash::of(text.as_bytes()).short(32)
    }

    /// When the first of the workflows came in force that entities start here; `None` for none.
    pub fn watches(&self) -> Option<Millis> {
        let started = self.setting.current.iter().filter_map(|(name, version)| {
            let workflow = self.setting.versions.get(version)?;
            let by = workflow.triggers.iter().any(|trigger| matches!(trigger, Trigger::Entity { .. }));
            let here = self.setting.place(workflow) == Some(self.device);
            (by && here).then(|| self.setting.since.get(name).copied().unwrap_or(0))
        });
        started.min()
    }

    /// The tasks that an entity starts and that are not there yet. They count once they are recorded.
    pub fn saw(&self, saw: &Saw) -> Vec<WorkEvent> {
        let mut out = Vec::new();
        let scope = json!({"entity": saw.fields});
        let hops = self.tables.writers(&saw.path, &saw.doc).filter(|task| {
            let task = self.tables.task(task);
            saw.run.as_ref().is_some_and(|run| task.is_some_and(|task| task.runs.contains_key(run)))
        });
        let hops = hops.map(|task| self.tables.hops(&task) + 1).max().unwrap_or(0);
        for (name, version) in &self.setting.current {
            let Some(workflow) = self.setting.versions.get(version) else { continue };
            let since = self.setting.since.get(name).copied().unwrap_or(0);
            if saw.at <= since || self.setting.place(workflow) != Some(self.device) {
                continue;
            }
            let starts = |trigger: &Trigger| match trigger {
                Trigger::Entity { change, kind, filter } => {
                    (*change == Change::Created) == saw.made
                        && saw.fields["type"] == kind.as_str()
                        // An entity for which the filter makes no sense is another's.
                        && filter.as_ref().is_none_or(|filter| filter.holds(&scope).unwrap_or(false))
                }
                _ => false,
            };
            if !workflow.triggers.iter().any(starts) {
                continue;
            }
            let record = (!saw.made).then_some(saw.record.as_str());
            let task = entity_task(&self.vault, name, &saw.doc, record);
            if self.tables.task(&task).is_some() {
                continue;
            }
            out.push(WorkEvent::TaskCreated {
                task,
                workflow: name.clone(),
                version: *version,
                input: workflow.input.complete(workflow.input.pick(&saw.fields)),
                parent: None,
                on: Some(self.device),
                trigger: Some(Fired::Entity {
                    path: saw.path.clone(),
                    made: saw.made,
                    untrusted: self.is_file_untrusted(&saw.path, &saw.doc),
                    hops,
                }),
            });
        }
        out
    }
}
