//! What can go wrong with a layer or an image.

use std::io;

/// Why a layer could not be converted or an image not be built or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading the stream or writing the result failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The stream is no tar archive, or is damaged.
    #[error("not a valid tar archive at byte {offset}: {what}")]
    Tar {
        /// Bytes of the uncompressed stream before the header at fault.
        offset: u64,
        /// What was found wrong.
        what: &'static str,
    },
    /// An entry asks for something an image may not have.
    #[error("refused entry {path:?}: {reason}")]
    Refused {
        /// The entry's path as the archive gives it.
        path: String,
        /// What is not allowed.
        reason: &'static str,
    },
    /// A bound of [`Limits`](crate::Limits) was passed.
    #[error("image exceeds the limit of {limit} {what}")]
    Limit {
        /// What is bounded, with its unit.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// A tree log or an EROFS image of the store is damaged.
    #[error("damaged {what}")]
    Corrupt {
        /// Which part.
        what: &'static str,
    },
}

impl From<monocore_archive::Error> for Error {
    fn from(error: monocore_archive::Error) -> Self {
        match error {
            monocore_archive::Error::Io(source) => Self::Io(source),
            monocore_archive::Error::Tar { offset, what } => Self::Tar { offset, what },
            monocore_archive::Error::Limit { what, limit } => Self::Limit { what, limit },
        }
    }
}

impl Error {
    pub(crate) fn refused(path: &[u8], reason: &'static str) -> Self {
        Self::Refused { path: String::from_utf8_lossy(path).into_owned(), reason }
    }
}

pub(crate) type Result<T> = std::result::Result<T, Error>;
