//! Events of work as events of records.

use aios_core::event::Event;
use serde::Deserialize;
use serde_json::Value;

use super::WorkEvent;

/// An event that is not one of work, or not as this program knows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the event is not one of work: {0}")]
pub struct NotWork(String);

impl TryFrom<&WorkEvent> for Event {
    type Error = NotWork;

    fn try_from(event: &WorkEvent) -> Result<Event, NotWork> {
        match serde_json::to_value(event) {
            Ok(Value::Object(map)) => Ok(Event::Other(map)),
            Ok(_) => Err(NotWork("it is no object".into())),
            Err(e) => Err(NotWork(e.to_string())),
        }
    }
}

impl TryFrom<&Event> for WorkEvent {
    type Error = NotWork;

    fn try_from(event: &Event) -> Result<WorkEvent, NotWork> {
        match event {
            Event::Other(map) => WorkEvent::deserialize(map).map_err(|e| NotWork(e.to_string())),
            other => Err(NotWork(other.name())),
        }
    }
}
