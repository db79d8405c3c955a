//! The local ends of a command's standard streams.

use std::fmt;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use monocore_protocol::{ExitStatus, Stdio, Stream, TermSize};

use super::SessionError;

/// What a command's standard streams lead to.
#[derive(Debug)]
pub enum Streams {
    /// Three streams apart.
    Pipes {
        /// What it reads.
        stdin: Input,
        /// Where its output goes.
        stdout: Output,
        /// Where its diagnostics go.
        stderr: Output,
    },
    /// One terminal in the guest.
    Terminal {
        /// Its first size.
        size: TermSize,
        /// What is typed.
        input: Input,
        /// What is shown.
        output: Output,
    },
    /// Streams that another process carries.
    Remote {
        /// What the command's streams are.
        stdio: Stdio,
        /// Who gets each stream's connection.
        peer: Arc<dyn Remote>,
    },
}

/// Another process that a command runs for. The session's thread calls it: no method may wait.
pub trait Remote: fmt::Debug + Send + Sync {
    /// Takes over a stream's connection into the guest.
    fn stream(&self, stream: Stream, connection: OwnedFd);

    /// The command runs, as this process of the guest.
    fn started(&self, pid: u32);

    /// The command has ended, or could not be started. Its streams may still hold output.
    fn ended(&self, result: &Result<ExitStatus, SessionError>);
}

/// Where bytes for a command come from.
pub enum Input {
    /// There are none: it reads end of file at once.
    Empty,
    /// A descriptor; it stays blocking or not, as it is. Its end is the command's end of file.
    Fd(OwnedFd),
    /// Anything; read on a thread of its own, which is left behind if it still reads when the command ends.
    Reader(Box<dyn Read + Send>),
}

/// Where a command's bytes go.
pub enum Output {
    /// Nowhere.
    Discard,
    /// A descriptor. When it takes no more, the command's next write fails.
    Fd(OwnedFd),
    /// Anything; written on a thread of its own.
    Writer(Box<dyn Write + Send>),
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Fd(fd) => f.debug_tuple("Fd").field(fd).finish(),
            Self::Reader(_) => f.write_str("Reader"),
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discard => f.write_str("Discard"),
            Self::Fd(fd) => f.debug_tuple("Fd").field(fd).finish(),
            Self::Writer(_) => f.write_str("Writer"),
        }
    }
}
