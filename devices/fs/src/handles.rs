//! What the guest has open.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

use crate::locks::LockKind;

/// An open file or directory.
#[derive(Debug)]
pub(crate) enum Open {
    /// A regular file.
    File(Arc<OwnedFd>),
    /// A directory of the host; `at` is where its next entries are read from.
    Dir {
        /// Opened for this handle alone, since it has a position.
        file: Arc<OwnedFd>,
        /// The host's cookie of the position, nothing where it is not known.
        at: Option<u64>,
    },
    /// A directory of our own making.
    Synthetic,
    /// It was open in a machine that was saved, and its file was not found again.
    Lost,
}

/// One of the guest's handles.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) node: u64,
    pub(crate) open: Open,
    /// The flags it was opened with, for opening it again.
    pub(crate) flags: u32,
    /// The lock of the open file as a whole that it holds.
    pub(crate) flock: Option<LockKind>,
}

impl Handle {
    pub(crate) fn new(node: u64, open: Open, flags: u32) -> Self {
        Self { node, open, flags, flock: None }
    }
}

/// All handles, by number.
#[derive(Debug)]
pub(crate) struct Handles {
    by_id: HashMap<u64, Handle>,
    next: u64,
    max: usize,
}

impl Handles {
    pub(crate) fn new(max: usize) -> Self {
        Self { by_id: HashMap::new(), next: 1, max }
    }

    /// Whether one more can be opened.
    ///
    /// # Errors
    /// ENFILE where not.
    pub(crate) fn check_room(&self) -> Result<(), Errno> {
        if self.by_id.len() < self.max { Ok(()) } else { Err(Errno::NFILE) }
    }

    /// Adds a handle and returns its number.
    ///
    /// # Errors
    /// ENFILE where the guest has too much open.
    pub(crate) fn add(&mut self, handle: Handle) -> Result<u64, Errno> {
        self.check_room()?;
        let id = self.next;
        self.next += 1;
        self.by_id.insert(id, handle);
        Ok(id)
    }

    /// A handle of `node`.
    ///
    /// # Errors
    /// EBADF for an unknown number or another node's.
    pub(crate) fn get_mut(&mut self, id: u64, node: u64) -> Result<&mut Handle, Errno> {
        self.by_id.get_mut(&id).filter(|handle| handle.node == node).ok_or(Errno::BADF)
    }

    /// The open regular file behind a handle of `node`.
    ///
    /// # Errors
    /// As for [`get_mut`](Self::get_mut); EISDIR for a directory, EIO for a lost file.
    pub(crate) fn file(&mut self, id: u64, node: u64) -> Result<Arc<OwnedFd>, Errno> {
        match &self.get_mut(id, node)?.open {
            Open::File(file) => Ok(file.clone()),
            Open::Dir { .. } | Open::Synthetic => Err(Errno::ISDIR),
            Open::Lost => Err(Errno::IO),
        }
    }

    /// Closes a handle of `node`, and returns it.
    ///
    /// # Errors
    /// As for [`get_mut`](Self::get_mut).
    pub(crate) fn remove(&mut self, id: u64, node: u64) -> Result<Handle, Errno> {
        self.get_mut(id, node)?;
        self.by_id.remove(&id).ok_or(Errno::BADF)
    }

    /// Closes every handle whose node does not pass.
    pub(crate) fn retain(&mut self, keep: impl Fn(u64) -> bool) {
        self.by_id.retain(|_, handle| keep(handle.node));
    }

    pub(crate) fn clear(&mut self) {
        self.by_id.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Handle)> {
        self.by_id.iter().map(|(id, handle)| (*id, handle))
    }

    /// The number that the next handle gets.
    pub(crate) fn next_id(&self) -> u64 {
        self.next
    }

    /// Puts a handle back under the number it had.
    pub(crate) fn put_back(&mut self, id: u64, handle: Handle, next: u64) {
        self.next = self.next.max(next).max(id.saturating_add(1));
        self.by_id.insert(id, handle);
    }
}
