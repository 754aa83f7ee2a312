//! Agents at work: those that are done at once, and those that take their time beside the desk.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use aios_agents::failure::{Class, Failure};
use aios_agents::kernel::Work;
use aios_agents::node::Front;
use aios_agents::program::{Program, SCRIPT};
use aios_agents::runtime::{Runtime, Stop, Template};
use serde_json::Value;

use crate::child::Worker;

/// How many work beside the desk at once; the others wait.
const MOST: usize = 4;
/// How soon it is looked whether work has ended: at first, and at the latest.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// What an agent gave.
type Came = Result<Value, Failure>;

/// One that works beside the desk.
struct Job {
    stop: Stop,
    since: Instant,
}

/// The agents in force, and what they are at.
pub struct Crew {
    agents: BTreeMap<String, Arc<dyn Runtime>>,
    at_work: BTreeMap<Work, Job>,
    waiting: VecDeque<(Work, Arc<dyn Runtime>, Value)>,
    tell: Sender<(Work, Came)>,
    told: Receiver<(Work, Came)>,
}

/// Reads who works by a file of agents; nothing where that is not known here.
///
/// # Errors
/// What is wrong with it.
pub fn read(front: Front, root: &Path) -> Result<Option<Arc<dyn Runtime>>, String> {
    if Program::is_meant(&front) {
        let program = Program::read(&front).map_err(|mistakes| {
            mistakes.first().map(|it| format!("{}: {}", it.at, it.what)).unwrap_or_default()
        })?;
        return match program.command.iter().find(|word| Path::new(word).starts_with(root)) {
            // It would be run as it is there, whether it was accepted or not (I11).
            Some(word) => Err(format!(
                "{word} is a file of the vault: what is run stands in the agent's own file, as `{SCRIPT}`"
            )),
            None => Ok(Some(Arc::new(Worker(program)))),
        };
    }
    let is_template = front.root.get("runtime").and_then(|it| it.as_text()) == Some("template");
    Ok(is_template.then(|| Arc::new(Template(front.body)) as Arc<dyn Runtime>))
}

impl Crew {
    /// Nobody is at work yet.
    pub fn of(agents: BTreeMap<String, Arc<dyn Runtime>>) -> Crew {
        let (tell, told) = channel();
        Crew { agents, at_work: BTreeMap::new(), waiting: VecDeque::new(), tell, told }
    }

    /// The agents in force, by name.
    pub fn agents(&self) -> &BTreeMap<String, Arc<dyn Runtime>> {
        &self.agents
    }

    /// Has an agent work; what came of it where that is known at once.
    pub fn begin(&mut self, work: &Work, agent: &str, input: Value) -> Option<Came> {
        let Some(runtime) = self.agents.get(agent) else {
            let what = format!("no agent `{agent}` is in force here");
            return Some(Err(Failure::new(Class::LostContext, what)));
        };
        if runtime.repeats() {
            return Some(runtime.work(&input, &Stop::default()));
        }
        self.waiting.push_back((work.clone(), runtime.clone(), input));
        self.go_on();
        None
    }

    /// Has one stop that nobody waits for any more.
    pub fn stop(&mut self, work: &Work) {
        self.waiting.retain(|(other, ..)| other != work);
        if let Some(job) = self.at_work.get(work) {
            job.stop.stop();
        }
    }

    /// What has ended since this was last asked.
    pub fn ended(&mut self) -> Vec<(Work, Came)> {
        let ended: Vec<(Work, Came)> = self.told.try_iter().collect();
        for (work, _) in &ended {
            self.at_work.remove(work);
        }
        self.go_on();
        ended
    }

    /// What was begun and has not ended.
    pub fn under_way(&self) -> impl Iterator<Item = &Work> {
        self.at_work.keys().chain(self.waiting.iter().map(|(work, ..)| work))
    }

    /// In how long it should be looked whether something has ended; nothing where nobody is at work. What has taken long is looked at
    /// less often.
    pub fn patience(&self) -> Option<Duration> {
        let youngest = self.at_work.values().map(|job| job.since.elapsed()).min()?;
        Some((youngest / 8).clamp(LOOK.0, LOOK.1))
    }

    /// Goes on with what another was at.
    pub fn take_over(&mut self, other: &mut Crew) {
        self.at_work.append(&mut other.at_work);
        self.waiting.append(&mut other.waiting);
        // Those at work tell whoever listened when they began.
        std::mem::swap(&mut self.tell, &mut other.tell);
        std::mem::swap(&mut self.told, &mut other.told);
    }

    fn go_on(&mut self) {
        while self.at_work.len() < MOST
            && let Some((work, runtime, input)) = self.waiting.pop_front()
        {
            let job = Job { stop: Stop::default(), since: Instant::now() };
            let (stop, tell, about) = (job.stop.clone(), self.tell.clone(), work.clone());
            thread::spawn(move || {
                let came = runtime.work(&input, &stop);
                // Whoever is gone does not listen.
                let _ = tell.send((about, came));
            });
            self.at_work.insert(work, job);
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.at_work.values().for_each(|job| job.stop.stop());
    }
}
