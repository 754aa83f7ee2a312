//! Programs that work for agents: they take time, fail in every way a program can, and die with the process that began them.

use aios_agents::agent::Shape;
use aios_agents::kernel::{Input, Work};
use aios_agents::program::{Ended, Limits, Outcome, Program};

use crate::world::World;

/// The agent that is a program.
pub const CRUNCHER: &str = "cruncher";
const HOUR: u64 = 3_600_000;

/// One that runs.
#[derive(Debug, Clone)]
pub struct Child {
    pub work: Work,
    /// When it ends, by the true time.
    until: u64,
    ended: Ended,
    output: &'static str,
}

fn program() -> Program {
    Program {
        command: vec!["crunch".into()],
        script: None,
        limits: Limits::default(),
        output: Shape::Any,
        sandbox: Default::default(),
    }
}

impl World {
    /// A program begins.
    pub fn begin(&mut self, n: usize, work: Work) {
        let (ended, output) = match self.chance.below(if self.calm { 1 } else { 12 }) {
            6 => (Ended::Exit(75), ""),
            7 => (Ended::Exit(3), ""),
            8 => (Ended::Signal(9), ""),
            9 => (Ended::Late, ""),
            10 => (Ended::Exit(0), "no JSON"),
            11 => (Ended::Lost, ""),
            _ => (Ended::Exit(0), "{\"sum\": 7}"),
        };
        let until = self.now + self.chance.next() % (4 * HOUR);
        self.tally.programs += 1;
        self.tally.programs_failed += u64::from(output.is_empty());
        self.devices[n].children.push(Child { work, until, ended, output });
    }

    /// A program that is at its end says so.
    pub fn program_ends(&mut self, n: usize) {
        let (now, calm) = (self.now, self.calm);
        let children = &mut self.devices[n].children;
        let Some(place) = children.iter().position(|child| calm || child.until <= now) else { return };
        let Child { work, ended, output, .. } = children.remove(place);
        let outcome = Outcome { ended, output: output.as_bytes().to_vec(), complaint: String::new() };
        self.give(n, Input::Worked { work, came: program().judge(&outcome) });
    }
}
