//! The local ends of a command's standard streams.

use std::fmt;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use monocore_protocol::TermSize;

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
