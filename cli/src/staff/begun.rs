//! Components at work.

use aios_agents::agent::talk::{Next, Talk};
use aios_agents::agent::{Entry, Turn};
use aios_agents::component::{ANSWERS, Step};
use aios_agents::failure::{Class, Failure};
use aios_agents::kernel::Input;
use aios_agents::model::price::Fine;
use aios_agents::model::{Answer, Call, Request, Stop, Usage};
use aios_agents::runtime;
use aios_core::id::ContentHash;
use serde_json::Value;

use super::{Order, Staff};
use crate::component;

/// A component that is at work.
pub(super) struct Begun {
    pub order: Order,
    /// Digest of what it was told.
    pub asked: ContentHash,
    /// Whether it may make another call.
    pub may_call: bool,
}

impl Begun {
    /// It makes a call.
    pub fn calls(self, call: Call) -> (Input, Option<Order>) {
        if !self.may_call {
            let what = "it made all the calls that its `budget` has, and makes another";
            let failure = Failure::new(Class::Budget, what);
            return (Input::Worked { work: self.order.work, came: Err(failure) }, None);
        }
        let turn = Turn::Answered {
            model: ANSWERS.into(),
            asked: self.asked,
            outside: self.order.outside,
            answer: Answer { text: String::new(), calls: vec![call], usage: None, stop: Stop::Tools },
            counted: Usage::default(),
            cost: Fine::default(),
            kept: false,
        };
        (Input::Took { work: self.order.work.clone(), turns: vec![turn] }, Some(self.order))
    }
}

impl Staff {
    /// The component that does an agent's work, as far as that is.
    pub(super) fn component(&self, entry: &Entry, request: &Request) -> Result<component::Worker, Failure> {
        let lost = |what: String| Failure::new(Class::LostContext, what);
        let (path, version) =
            entry.component().ok_or_else(|| lost(format!("{} names no component", entry.path)))?;
        let code = self.components.get(&version);
        let code = code.ok_or_else(|| lost(format!("{path}: version {} is not here", version.short(12))))?;
        Ok(component::Worker::of(entry, code.clone(), &request.messages))
    }

    /// What a component gives when it works once more, told what came of its calls then; nothing where it is not here.
    pub(super) fn component_again(&self, talk: &Talk<'_>) -> Option<Result<Value, Failure>> {
        let (_, version) = talk.entry.component()?;
        self.components.get(&version)?;
        let request = match talk.next() {
            Next::Ask(request) => request,
            Next::Failed(failure) => return Some(Err(failure)),
            _ => return Some(Err(Failure::new(Class::LostContext, "its journal ends before it was done"))),
        };
        let step = self
            .component(talk.entry, &request)
            .and_then(|it| runtime::Runtime::work(&it, talk.input, &runtime::Stop::default()));
        Some(step.and_then(|step| match step {
            Step::Done(value) => Ok(value),
            Step::Calls(call) => {
                let what = format!("it calls `{}` now, where it was done", call.name);
                Err(Failure::new(Class::LostContext, what))
            }
        }))
    }
}
