//! What can go wrong when a device is made or its shares change. A guest's mistakes are answered to the guest instead.

use std::io;

/// Why a device or a share could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// Not a tag: 1 to 36 bytes without NUL.
    #[error("`{0}` is no tag: it must have 1 to 36 bytes")]
    BadTag(String),
    /// Not a number of request queues from 1 to 64.
    #[error("{0} request queues are impossible: 1 to 64 are")]
    BadQueueCount(u16),
    /// Not the name of a directory entry.
    #[error(
        "`{0}` cannot be a share's name: it must have 1 to 255 bytes, no `/`, and be neither `.` nor `..`"
    )]
    BadName(String),
    /// Another share has the name.
    #[error("a share named `{0}` is there already")]
    NameTaken(String),
    /// Neither a directory nor a regular file.
    #[error("`{0}` is neither a directory nor a regular file; only these can be shared")]
    BadType(String),
    /// No share has the name.
    #[error("there is no share named `{0}`")]
    Unknown(String),
    /// All share numbers are used up.
    #[error("too many shares were added")]
    TooMany,
    /// The operating system refused.
    #[error("{what}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
}
