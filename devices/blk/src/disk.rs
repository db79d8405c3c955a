//! What a disk is to its device.

use std::io;

use monocore_virtio::Buffers;

use crate::{Concat, Raw};

/// Length of a sector, in bytes, whatever the disk (§5.2.4).
pub const SECTOR_BYTES: u64 = 512;

/// Why files make no disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A length that is no multiple of [`SECTOR_BYTES`].
    #[error("{0} bytes are no whole number of 512-byte sectors")]
    Unaligned(u64),
    /// The pieces are longer together than a disk can be.
    #[error("the pieces are longer than 2^63 bytes")]
    TooLarge,
    /// A serial that the driver could not read.
    #[error("serial {0:?} is not 1 to 20 bytes of ASCII")]
    Serial(String),
    /// The file's length cannot be had.
    #[error("reading the disk's size: {0}")]
    Size(#[source] io::Error),
}

/// A disk's content. Ranges handed to it lie within it.
#[derive(Debug)]
pub enum Disk {
    /// Pieces of files, read-only.
    Concat(Concat),
    /// One file.
    Raw(Raw),
}

impl Disk {
    /// Length, in bytes; a multiple of [`SECTOR_BYTES`].
    pub fn len_bytes(&self) -> u64 {
        match self {
            Self::Concat(concat) => concat.len_bytes(),
            Self::Raw(raw) => raw.len_bytes(),
        }
    }

    /// The raw file behind it, if it may be written.
    pub(crate) fn writable(&self) -> Option<&Raw> {
        match self {
            Self::Raw(raw) if !raw.is_read_only() => Some(raw),
            _ => None,
        }
    }

    /// Fills `data` from `offset_bytes` on; `scratch` is room for lists of buffers.
    pub(crate) fn read<'m>(
        &self,
        offset_bytes: u64,
        data: &Buffers<'m>,
        scratch: &mut Buffers<'m>,
    ) -> io::Result<()> {
        match self {
            Self::Concat(concat) => concat.read(offset_bytes, data, scratch),
            Self::Raw(raw) => raw.read(offset_bytes, data, scratch),
        }
    }
}

impl From<Concat> for Disk {
    fn from(concat: Concat) -> Self {
        Self::Concat(concat)
    }
}

impl From<Raw> for Disk {
    fn from(raw: Raw) -> Self {
        Self::Raw(raw)
    }
}
