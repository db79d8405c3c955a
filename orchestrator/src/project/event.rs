//! What is told while a project comes up or goes down.

use serde::Serialize;

/// A step of one sandbox of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProjectEvent {
    /// The service.
    pub service: String,
    /// The sandbox's name.
    pub sandbox: String,
    /// What happens to it.
    #[serde(flatten)]
    pub step: ServiceStep,
}

/// What happens to a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum ServiceStep {
    /// The sandbox is as the description says and runs.
    Kept,
    /// The sandbox waits until a service that it needs is ready.
    Waiting {
        /// That service.
        needed: String,
    },
    /// The image is looked up or fetched, and the sandbox is written down.
    Creating,
    /// The sandbox is written down.
    Created,
    /// The machine boots.
    Starting,
    /// The command runs.
    Started,
    /// The health check has passed.
    Healthy,
    /// The command has ended with status 0.
    Completed,
    /// The command is being ended.
    Stopping,
    /// The command has ended.
    Stopped,
    /// What of the description can be changed without a restart was changed.
    Updated,
    /// Files that changed on this host were copied into the sandbox or removed there.
    Synced {
        /// How many.
        files: usize,
    },
    /// The sandbox is gone.
    Removed,
    /// The step failed.
    Failed {
        /// Why.
        message: String,
    },
}

impl ServiceStep {
    /// The step in a word, for people.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Kept => "Running",
            Self::Waiting { .. } => "Waiting",
            Self::Creating => "Creating",
            Self::Created => "Created",
            Self::Starting => "Starting",
            Self::Started => "Started",
            Self::Healthy => "Healthy",
            Self::Completed => "Completed",
            Self::Stopping => "Stopping",
            Self::Stopped => "Stopped",
            Self::Updated => "Updated",
            Self::Synced { .. } => "Synced",
            Self::Removed => "Removed",
            Self::Failed { .. } => "Error",
        }
    }
}
