//! Failures of the server, and of a call.

use std::io;
use std::path::PathBuf;

use monocore_orchestrator::session::SessionError;

/// The server cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The policy file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The policy file has a mistake.
    #[error("{}:{line}:{column}: {problem}", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What is wrong.
        problem: String,
    },
    /// An allowed path cannot be used.
    #[error("path {}: {problem}", path.display())]
    Path {
        /// The path as written.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The client's first message is not of the protocol.
    #[error("the client does not speak the Model Context Protocol: {0}")]
    Handshake(String),
    /// The threads cannot be started.
    #[error("cannot start the server's threads: {0}")]
    Runtime(#[source] io::Error),
    /// The state directory.
    #[error(transparent)]
    Home(#[from] monocore_orchestrator::Error),
}

/// A call that fails. The text is for the agent: what failed, on which input, and what to do.
#[derive(Debug)]
pub(crate) struct ToolError(pub(crate) String);

impl ToolError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A value that cannot be used; `field` is where it stands.
    pub(crate) fn value(field: &str, problem: impl std::fmt::Display) -> Self {
        Self(format!("{field}: {problem}"))
    }

    /// A value that the policy forbids.
    pub(crate) fn policy(field: &str, problem: impl std::fmt::Display) -> Self {
        Self(format!("{field}: {problem}. The server's policy decides this; only its owner can change it"))
    }

    pub(crate) fn cancelled() -> Self {
        Self::new("the call was cancelled; what it started was ended")
    }
}

impl From<monocore_orchestrator::Error> for ToolError {
    fn from(error: monocore_orchestrator::Error) -> Self {
        use monocore_orchestrator::Error as E;
        Self(match &error {
            E::NoSandbox(name) => {
                format!("no such sandbox: {name}. list_sandboxes shows those that you can use")
            }
            E::NotRunning(name) => {
                format!("sandbox {name} is not running: start it with start_sandbox")
            }
            E::StillRunning(name) => {
                format!("sandbox {name} is running: stop it with stop_sandbox, or remove it with force")
            }
            E::NameInUse { name, .. } => {
                format!("name: the name {name:?} is taken: choose another one or remove that sandbox")
            }
            E::NotStored(image) => format!("image: {image} is not in the store: fetch it with pull_image"),
            _ => error.to_string(),
        })
    }
}

impl From<SessionError> for ToolError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Lost => {
                Self::new("the sandbox ended before the command did; logs shows its last output")
            }
            error => Self(error.to_string()),
        }
    }
}

impl From<monocore_oci::Error> for ToolError {
    fn from(error: monocore_oci::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<io::Error> for ToolError {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}
