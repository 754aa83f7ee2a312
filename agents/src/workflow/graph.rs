//! What is wrong with the way steps lead to each other.

use std::collections::{BTreeMap, BTreeSet};

use super::{Step, Steps, Target};
use crate::mistake::{At, Mistake, Mistakes, nearest};

/// Notes targets that are no steps, steps that nothing leads to, and circles without a rest.
pub fn check(steps: &Steps, out: &mut Mistakes) {
    let before = out.count();
    for step in &steps.0 {
        for target in step.targets() {
            if let Target::Step(name) = target
                && steps.get(name).is_none()
            {
                let what = format!("`{}` leads to `{name}`, and there is no such step", step.name);
                match nearest(name, steps.0.iter().map(|step| step.name.as_str()).chain(["end"])) {
                    Some(near) => out.hint(step.at, what, format!("`{near}` is meant?")),
                    None => out.add(step.at, what),
                }
            }
        }
        step.inner().into_iter().for_each(|inner| check(inner, out));
    }
    if out.count() == before {
        unreachable(steps, out);
        circles(steps, out);
    }
}

fn following<'s>(steps: &'s Steps, step: &'s Step) -> impl Iterator<Item = &'s Step> {
    step.targets().into_iter().filter_map(|target| match target {
        Target::Step(name) => steps.get(name),
        Target::End => None,
    })
}

fn unreachable(steps: &Steps, out: &mut Mistakes) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&Step> = steps.0.first().into_iter().collect();
    while let Some(step) = open.pop() {
        if seen.insert(&step.name) {
            open.extend(following(steps, step));
        }
    }
    for step in steps.0.iter().filter(|step| !seen.contains(step.name.as_str())) {
        out.hint(
            step.at,
            format!("nothing leads to `{}`", step.name),
            "name it in a `next`, `go` or `on_error`",
        );
    }
}

/// Each circle in which nothing rests is noted once, at its step that stands first in the file.
fn circles(steps: &Steps, out: &mut Mistakes) {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for step in steps.0.iter().filter(|step| !step.rests()) {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut open: Vec<&Step> = following(steps, step).filter(|next| !next.rests()).collect();
        while let Some(next) = open.pop() {
            if !done.contains(next.name.as_str()) && seen.insert(&next.name) {
                open.extend(following(steps, next).filter(|next| !next.rests()));
            }
        }
        if seen.contains(step.name.as_str()) {
            out.hint(
                step.at,
                format!("`{}` comes back to itself without a rest", step.name),
                "a circle needs a step that waits or asks",
            );
        }
        done.insert(&step.name);
    }
}

/// The mistakes of workflows that start each other in a circle, by name.
pub fn check_calls(calls: &BTreeMap<String, Vec<(String, At)>>) -> BTreeMap<String, Vec<Mistake>> {
    let mut out: BTreeMap<String, Vec<Mistake>> = BTreeMap::new();
    for (name, own) in calls {
        for (called, at) in own {
            let mut seen: BTreeSet<&str> = BTreeSet::new();
            let mut open: Vec<&str> = vec![called];
            while let Some(next) = open.pop() {
                if seen.insert(next) {
                    open.extend(calls.get(next).into_iter().flatten().map(|(name, _)| name.as_str()));
                }
            }
            if seen.contains(name.as_str()) {
                out.entry(name.clone()).or_default().push(Mistake {
                    at: *at,
                    what: format!("starting `{called}` comes back to starting `{name}`"),
                    hint: None,
                });
            }
        }
    }
    out
}
