//! What has an agent work: a text that is filled in, or whatever else the desk knows.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::component::Step;
use crate::expression::render;
use crate::failure::{Class, Failure};

/// What has an agent work.
pub trait Runtime: Send + Sync {
    /// Works on what goes in until something comes out, a call is to be made, or nobody waits for it any more.
    ///
    /// # Errors
    /// How the work failed.
    fn work(&self, input: &Value, stop: &Stop) -> Result<Step, Failure>;
}

/// A text that is filled in: no model, nothing outside, always the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(pub String);

impl Template {
    /// The text, filled in.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn fill(&self, input: &Value) -> Result<String, Failure> {
        let text = render(&self.0, &json!({"input": input}));
        text.map_err(|e| Failure::new(Class::Permanent, e.to_string()))
    }
}

impl Runtime for Template {
    fn work(&self, input: &Value, _: &Stop) -> Result<Step, Failure> {
        Ok(Step::Done(json!({"text": self.fill(input)?})))
    }
}

/// Tells whoever works that nobody waits for it any more. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// Says so.
    pub fn stop(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Whether it was said, now or within that time.
    pub fn is_stopped(&self, within: Duration) -> bool {
        let said = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.1.wait_timeout_while(said, within, |said| !*said);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled_in_and_bounded() {
        let of = |text: &str| Template(text.into()).work(&json!({"name": "Ann"}), &Stop::default());
        assert_eq!(of("Dear {{ input.name }}"), Ok(Step::Done(json!({"text": "Dear Ann"}))));
        for endless in
            ["{{ 'x' * 1000000000 }}", "{% for a in range(100000000) %}x{% endfor %}", "{{ nobody }}"]
        {
            assert_eq!(of(endless).unwrap_err().class, Class::Permanent, "{endless}");
        }
    }

    #[test]
    fn whoever_waits_is_told_at_once() {
        let stop = Stop::default();
        assert!(!stop.is_stopped(Duration::ZERO));
        let other = stop.clone();
        let waits = std::thread::spawn(move || other.is_stopped(Duration::from_secs(60)));
        stop.stop();
        assert!(waits.join().unwrap());
    }
}
