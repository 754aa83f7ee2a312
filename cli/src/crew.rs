//! Agents that take their time beside the desk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use aios_agents::component::Step;
use aios_agents::failure::Failure;
use aios_agents::kernel::Work;
use aios_agents::runtime::{Runtime, Stop};
use serde_json::Value;

/// How many work beside the desk at once; the others wait.
const MOST: usize = 4;
/// How soon it is looked whether work has ended: at first, and at the latest.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// What an agent gave.
type Came = Result<Step, Failure>;

/// One that works beside the desk.
struct Job {
    stop: Stop,
    since: Instant,
}

/// Who is at work, and at what.
pub struct Crew {
    at_work: BTreeMap<Work, Job>,
    waiting: VecDeque<(Work, Arc<dyn Runtime>, Value)>,
    tell: Sender<(Work, Came)>,
    told: Receiver<(Work, Came)>,
}

impl Default for Crew {
    fn default() -> Self {
        let (tell, told) = channel();
        Crew { at_work: BTreeMap::new(), waiting: VecDeque::new(), tell, told }
    }
}

impl Crew {
    /// Has one work beside the desk, in its turn.
    pub fn begin(&mut self, work: &Work, runtime: Arc<dyn Runtime>, input: Value) {
        self.waiting.push_back((work.clone(), runtime, input));
        self.go_on();
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
