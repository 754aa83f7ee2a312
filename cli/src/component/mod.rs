//! Components that do an agent's work: WebAssembly in this process, which reaches what its agent's file grants and nothing else.

#[cfg(feature = "wasm")]
mod engine;
#[cfg(feature = "wasm")]
mod host;
#[cfg(feature = "wasm")]
mod wasi;

use std::collections::BTreeSet;
use std::sync::Arc;

use aios_agents::agent::{Agent, Entry, prompt};
use aios_agents::component::{Ended, Step, made};
use aios_agents::failure::{Class, Failure};
use aios_agents::model::{Call, Message};
use aios_agents::runtime::{Runtime, Stop};
use aios_core::id::ContentHash;
use serde_json::Value;

/// The bytes of a component, by which its compiled form is known again.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "wasm"), expect(dead_code, reason = "nothing is compiled"))]
pub struct Code {
    /// Their hash.
    pub version: ContentHash,
    /// They themselves.
    pub bytes: Arc<Vec<u8>>,
}

/// A component as what has an agent work.
#[cfg_attr(not(feature = "wasm"), expect(dead_code, reason = "nothing is begun"))]
pub struct Worker {
    /// Its agent.
    pub agent: Agent,
    /// The component.
    pub code: Code,
    /// The tools that it is granted.
    pub granted: BTreeSet<String>,
    /// The calls that it made, each with what came of it.
    pub made: Vec<(Call, String)>,
}

impl Worker {
    /// That of an agent, in work in which this was said so far.
    pub fn of(entry: &Entry, code: Code, said: &[Message]) -> Worker {
        Worker {
            agent: entry.agent.clone(),
            code,
            granted: prompt::tools(entry).into_iter().map(|spec| spec.name).collect(),
            made: made(said),
        }
    }

    #[cfg(feature = "wasm")]
    fn run(&self, input: &str, stop: &Stop) -> Ended {
        engine::run(self, input, stop)
    }

    #[cfg(not(feature = "wasm"))]
    fn run(&self, _: &str, _: &Stop) -> Ended {
        Ended::Unfit("this aios was built without `wasm`".into())
    }

    /// What keeps it from being begun; nothing where it can be.
    pub fn misfit(&self) -> Option<Ended> {
        #[cfg(feature = "wasm")]
        return engine::check(&self.code, &self.granted).err();
        #[cfg(not(feature = "wasm"))]
        Some(Ended::Unfit("this aios was built without `wasm`".into()))
    }
}

impl Runtime for Worker {
    fn work(&self, input: &Value, stop: &Stop) -> Result<Step, Failure> {
        let Some(component) = &self.agent.component else {
            return Err(Failure::new(Class::LostContext, "its agent's file names no component"));
        };
        component.judge(&self.agent, self.run(&input.to_string(), stop))
    }
}

#[cfg(all(test, feature = "wasm"))]
mod tests;
