//! One node.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::host::FileId;
use crate::share::Share;
use crate::wire::Name;

/// What the allocator adds to each allocation, before it rounds up to 16 bytes.
const ALLOCATION_BYTES: usize = 8;
/// Slots of a node in the tables, by number and by file: 17 and 9 bytes, and as many again and a little more, since a table
/// that has just grown is not half full and the smaller one is there until all is moved.
const SLOT_BYTES: usize = 96;
/// What a node costs without its name.
const FIXED_BYTES: usize = (size_of::<Node>() + ALLOCATION_BYTES).next_multiple_of(16) + SLOT_BYTES;

/// Where a node was seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The device's root, which lists the shares.
    Root,
    /// The directory that stands for a share of a single file.
    FileDir,
    /// The share's own directory or file.
    ShareRoot,
    /// An entry of a directory.
    At {
        /// The directory's node.
        parent: u64,
        /// A checked name.
        name: CString,
    },
    /// It has no name, or none that is known.
    Nowhere,
}

/// A file that the guest knows.
#[derive(Debug)]
pub(crate) struct Node {
    /// Nothing for the root.
    pub(crate) share: Option<Arc<Share>>,
    pub(crate) file: FileId,
    pub(crate) place: Place,
    /// The guest's references.
    pub(crate) lookups: u64,
    /// Nodes whose place is below this one.
    pub(super) children: u32,
    pub(crate) handles: u32,
    /// The descriptor of an open handle, as long as there is any handle.
    pub(super) opened: Option<Arc<OwnedFd>>,
    /// A descriptor of a file whose name was, or is about to be, taken away.
    pub(super) pinned: Option<Arc<OwnedFd>>,
    /// A digest of size and times as the guest was told them last; 0 where it knows none, or asks before it uses them.
    pub(super) told: u64,
    /// The process whose open was refused since, as the file was newer.
    pub(super) refused_pid: u32,
    /// Reads refused in a row for that reason.
    pub(super) refusals: u8,
    /// The guest has changed it and nothing was written back since.
    pub(crate) dirty: bool,
    /// Known to have neither set-id bits nor capabilities that a write would have to take away.
    pub(crate) unprivileged: bool,
}

impl Node {
    /// A `refused_pid` that no process has.
    pub(super) const NOBODY: u32 = u32::MAX;

    pub(super) fn root() -> Self {
        let file = FileId::default();
        Self { lookups: 1, ..Self::bare(None, file, Place::Root) }
    }

    pub(super) fn new(share: Arc<Share>, file: FileId, place: Place) -> Self {
        Self { lookups: 1, ..Self::bare(Some(share), file, place) }
    }

    fn bare(share: Option<Arc<Share>>, file: FileId, place: Place) -> Self {
        Self {
            share,
            file,
            place,
            lookups: 0,
            children: 0,
            handles: 0,
            opened: None,
            pinned: None,
            told: 0,
            refused_pid: Self::NOBODY,
            refusals: 0,
            dirty: false,
            unprivileged: false,
        }
    }

    /// Whether it is a directory of our own making.
    pub(crate) fn is_synthetic(&self) -> bool {
        matches!(self.place, Place::Root | Place::FileDir)
    }

    /// Whether the guest has a file of it open.
    pub(crate) fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    /// Whether it is this file of this share.
    pub(super) fn is_of(&self, share: &Share, file: FileId) -> bool {
        self.file == file && self.share.as_ref().is_some_and(|own| own.id == share.id)
    }

    /// What it costs in memory: itself and its name, each an allocation, and its slots in two tables.
    pub(super) fn cost_bytes(&self) -> usize {
        let name = if let Place::At { name, .. } = &self.place { name.as_bytes_with_nul().len() } else { 0 };
        FIXED_BYTES + if name > 0 { (name + ALLOCATION_BYTES).next_multiple_of(16).max(32) } else { 0 }
    }

    /// Whether it is known by this name.
    pub(crate) fn is_at(&self, dir: u64, entry: Name<'_>) -> bool {
        matches!(&self.place, Place::At { parent, name } if *parent == dir && **name == *entry.as_c_str())
    }

    pub(super) fn is_gone(&self) -> bool {
        self.share.as_ref().is_some_and(|share| share.is_gone())
    }

    pub(super) fn is_held(&self) -> bool {
        self.lookups > 0 || self.children > 0 || self.handles > 0 || self.dirty
    }

    pub(super) fn parent(&self) -> Option<u64> {
        match self.place {
            Place::At { parent, .. } => Some(parent),
            _ => None,
        }
    }
}
