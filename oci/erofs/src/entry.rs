//! One entry of a layer, as the tree log keeps it.

use serde::{Deserialize, Serialize};

/// What a layer says about one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path relative to the image's root: no empty, `.` or `..` component; empty for the root itself.
    pub path: Vec<u8>,
    /// What is there.
    pub kind: Kind,
}

/// What an entry does to its path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A directory; an existing one keeps its children.
    Directory(Metadata),
    /// A regular file.
    File(Metadata, FileData),
    /// A symbolic link and its target.
    Symlink(Metadata, Vec<u8>),
    /// A character device and its number as `new_encode_dev` has it.
    CharDevice(Metadata, u32),
    /// A block device and its number as `new_encode_dev` has it.
    BlockDevice(Metadata, u32),
    /// A named pipe.
    Fifo(Metadata),
    /// A further name of the file at this path (cleaned like [`Entry::path`]).
    HardLink(Vec<u8>),
    /// Whatever lower layers have at the path is gone.
    Whiteout,
    /// Whatever lower layers have in the directory at the path is gone.
    Opaque,
}

/// Owner, mode, times and attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Permission bits with setuid, setgid and sticky: 12 bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time, seconds since the epoch.
    pub mtime: i64,
    /// And nanoseconds, below 10⁹.
    pub mtime_nsec: u32,
    /// Extended attributes, sorted, each name once.
    pub xattrs: Vec<Xattr>,
}

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Xattr {
    /// Number of the name's prefix (`EROFS_XATTR_INDEX_*`).
    pub index: u8,
    /// The name behind that prefix, at most 255 bytes.
    pub suffix: Vec<u8>,
    /// The value, at most 65,535 bytes.
    pub value: Vec<u8>,
}

/// Where a regular file's content lies in its layer's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileData {
    /// Contiguous from a block of the layer's data on.
    Plain {
        /// Size in bytes.
        size: u64,
        /// First block; without meaning for an empty file.
        block: u32,
    },
    /// In chunks of which some are holes.
    Chunked {
        /// Size in bytes.
        size: u64,
        /// A chunk is this power of two blocks long.
        chunk_bits: u8,
        /// The chunks that are not holes, in order, adjacent ones joined.
        extents: Vec<Extent>,
    },
}

impl FileData {
    /// Size of the file in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Plain { size, .. } | Self::Chunked { size, .. } => *size,
        }
    }
}

/// A run of chunks with content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// First chunk of the file.
    pub chunk: u32,
    /// Number of chunks.
    pub chunks: u32,
    /// First block in the layer's data.
    pub block: u32,
}
