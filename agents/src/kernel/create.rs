//! New tasks.

use serde_json::Value;

use aios_core::id::DeviceId;

use super::Kernel;
use crate::event::WorkEvent;
use crate::schema::Misfit;
use crate::workflow::alone;

/// Why a task cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// No such workflow is in force.
    #[error("no workflow `{0}` is in force")]
    NoWorkflow(String),
    /// Its input is not what the workflow takes.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Input(Vec<Misfit>),
    /// It is given what the workflow does not take.
    #[error("workflow `{workflow}` takes no input `{name}`")]
    Unknown {
        /// The workflow.
        workflow: String,
        /// What it does not take.
        name: String,
        /// What it takes.
        takes: Vec<String>,
    },
    /// There is such a task.
    #[error("there is a task `{0}` already")]
    Exists(String),
}

impl Kernel {
    /// A text as the type that a workflow's input asks for.
    pub fn typed(&self, workflow: &str, key: &str, text: &str) -> Value {
        let version = self.setting.current.get(workflow);
        match version.and_then(|version| self.setting.versions.get(version)) {
            Some(definition) => definition.input.typed(key, text),
            None => text.into(),
        }
    }

    /// Whether that names an agent that is started by itself, and no workflow.
    pub fn is_alone(&self, name: &str) -> bool {
        let own = alone::workflow(name).map(|(version, _)| version);
        own.is_some() && self.setting.current.get(name) == own.as_ref()
    }

    /// The event that makes a task: a workflow in force, what it is given, and the device that works on it, if that is not this one. It
    /// counts once it is recorded.
    ///
    /// # Errors
    /// Why there can be no such task.
    pub fn create(
        &self,
        task: &str,
        workflow: &str,
        input: Value,
        on: Option<DeviceId>,
    ) -> Result<WorkEvent, CreateError> {
        let version = self.setting.current.get(workflow);
        let found = version.and_then(|version| Some((version, self.setting.versions.get(version)?)));
        let Some((version, definition)) = found else { return Err(CreateError::NoWorkflow(workflow.into())) };
        if self.tables.task(task).is_some() {
            return Err(CreateError::Exists(task.into()));
        }
        let mut names = input.as_object().into_iter().flatten().map(|(name, _)| name);
        if let Some(name) = names.find(|name| !definition.input.knows(name)) {
            let takes = definition.input.names().map(str::to_owned).collect();
            return Err(CreateError::Unknown { workflow: workflow.to_owned(), name: name.clone(), takes });
        }
        let input = definition.input.complete(input);
        let misfits = definition.input.misfits("input", &input);
        if !misfits.is_empty() {
            return Err(CreateError::Input(misfits));
        }
        Ok(WorkEvent::TaskCreated {
            task: task.to_owned(),
            workflow: workflow.to_owned(),
            version: *version,
            input,
            parent: None,
            on,
            trigger: None,
        })
    }
}
