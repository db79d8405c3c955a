//! Tar archives: read from strangers, packed from a tree of files, unpacked into one.
//!
//! [`TarReader`] reads every dialect of tar and never trusts a length. [`pack()`] writes a tree in PAX form with
//! owners, modes, times, links, extended attributes and holes. [`unpack()`] makes files below one directory and never
//! outside of it, whatever the archive says. Both ends of `monocore cp` use them, one in the guest, one on the host.

mod pack;
mod reader;
mod unpack;
mod xattr;

use std::io;

pub use pack::{PackOptions, pack};
pub use reader::{Member, Segment, TarReader, Type};
pub use unpack::{Placement, UnpackOptions, unpack};

/// What reading one archive may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Bytes of the whole stream.
    pub stream_bytes: u64,
    /// Bytes of one PAX or GNU long-name header.
    pub header_bytes: u64,
    /// Data segments of one sparse file.
    pub sparse_segments: usize,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self { stream_bytes: u64::MAX, header_bytes: 1 << 20, sparse_segments: 65_536 }
    }
}

/// Why an archive could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading the stream failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The stream is not a tar archive, or is damaged.
    #[error("not a valid tar archive at byte {offset}: {what}")]
    Tar {
        /// Bytes of the stream before the header at fault.
        offset: u64,
        /// What was found wrong.
        what: &'static str,
    },
    /// A bound of [`ArchiveLimits`] was passed.
    #[error("archive exceeds the limit of {limit} {what}")]
    Limit {
        /// What is bounded, with its unit.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
}

pub(crate) type Result<T> = std::result::Result<T, Error>;
