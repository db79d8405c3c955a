//! Why a session fails.

use std::io;
use std::sync::Arc;

use monocore_protocol::DecodeError;

/// The exit code of a command whose machine ended first: 128 and SIGKILL's number.
const LOST: u8 = 137;

/// Why a session, or one command or request in it, failed. One cause may be told to many callers: it is cheap to
/// clone.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SessionError {
    /// The guest's end of the session went away: the machine ended, or its agent did.
    #[error("the guest ended before its command did")]
    Lost,
    /// The agent in the guest is not of this version.
    #[error(
        "the guest's agent speaks version {guest} of the protocol, this program version {host}; \
         use the initramfs that belongs to this program"
    )]
    Version {
        /// The guest's.
        guest: u32,
        /// Ours.
        host: u32,
    },
    /// The guest sent what is no message.
    #[error("the guest's agent sent nonsense: {0}")]
    Nonsense(#[from] DecodeError),
    /// The guest reads so slowly that what is to be sent piles up.
    #[error("the guest's agent does not read its requests")]
    Stuck,
    /// The guest could not become what it was told to.
    #[error("the guest could not be set up: {0}")]
    Setup(String),
    /// The command could not be started.
    #[error("{message}")]
    Exec {
        /// 127 not found, 126 not executable, 125 otherwise.
        code: u8,
        /// The guest's reason, naming the program, user or directory.
        message: String,
    },
    /// The guest refused a request.
    #[error("{0}")]
    Refused(String),
    /// The guest answered something else than was asked.
    #[error("the guest's agent gave the wrong answer: {0}")]
    Answer(String),
    /// No answer in time.
    #[error("the guest's agent did not answer in time")]
    Timeout,
    /// What was to be sent is too long.
    #[error("{0}")]
    TooLong(monocore_protocol::EncodeError),
    /// The operating system's.
    #[error("{doing}: {error}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        error: Arc<io::Error>,
    },
}

impl SessionError {
    /// What is reported as the exit code of a command that failed with this.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Exec { code, .. } => *code,
            Self::Lost => LOST,
            _ => 125,
        }
    }

    pub(crate) fn io(doing: &'static str, error: impl Into<io::Error>) -> Self {
        Self::Io { doing, error: Arc::new(error.into()) }
    }
}
