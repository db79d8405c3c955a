//! Locks of the guest's processes, held on the host, so that they exclude other guests and the host itself.
//!
//! POSIX locks belong to an owner, all of whose descriptors share them. Here an owner has one open file description for
//! each file, with open file description locks. flock(2) belongs to the guest's open file, which is one of the host's.

mod ranges;
pub(crate) mod sys;
mod waiters;

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

pub(crate) use ranges::{LockKind, LockedRange, LockedRanges};
pub(crate) use sys::Wish;
pub(crate) use waiters::{Claim, Results, Waiter, Waiters};

/// Most ranges locked at once. The host's kernel needs about 200 bytes for each, and limits nothing itself.
const MAX_RANGES: usize = 16_384;

/// POSIX locks, by node and owner.
#[derive(Debug)]
pub(crate) struct OwnerLocks {
    by_owner: HashMap<(u64, u64), Owner>,
    /// Of all owners.
    ranges: usize,
    max_owners: usize,
}

/// An owner's locks of one file.
#[derive(Debug)]
struct Owner {
    file: Arc<OwnedFd>,
    ranges: LockedRanges,
}

impl OwnerLocks {
    pub(crate) fn new(max_owners: usize) -> Self {
        Self { by_owner: HashMap::new(), ranges: 0, max_owners }
    }

    /// The description that carries an owner's locks of a file, opened by `open` where there is none.
    ///
    /// # Errors
    /// ENOLCK where there are too many owners; `open`'s.
    pub(crate) fn file(
        &mut self,
        node: u64,
        owner: u64,
        open: impl FnOnce() -> Result<OwnedFd, Errno>,
    ) -> Result<Arc<OwnedFd>, Errno> {
        if let Some(owner) = self.by_owner.get(&(node, owner)) {
            return Ok(Arc::clone(&owner.file));
        }
        if self.by_owner.len() >= self.max_owners {
            return Err(Errno::NOLCK);
        }
        let file = Arc::new(open()?);
        let ranges = LockedRanges::default();
        self.by_owner.insert((node, owner), Owner { file: Arc::clone(&file), ranges });
        Ok(file)
    }

    /// The description that carries an owner's locks of a file, if it has any.
    pub(crate) fn known_file(&self, node: u64, owner: u64) -> Option<Arc<OwnedFd>> {
        self.by_owner.get(&(node, owner)).map(|owner| Arc::clone(&owner.file))
    }

    /// What an owner would hold after a change.
    ///
    /// # Errors
    /// ENOLCK where the guest would hold too much.
    pub(crate) fn after(
        &self,
        node: u64,
        owner: u64,
        change: impl FnOnce(&mut LockedRanges),
    ) -> Result<LockedRanges, Errno> {
        let before = self.by_owner.get(&(node, owner)).map(|owner| owner.ranges.clone()).unwrap_or_default();
        let mut after = before.clone();
        change(&mut after);
        let grows = after.len() > before.len();
        if grows && self.ranges + after.len() - before.len() > MAX_RANGES {
            return Err(Errno::NOLCK);
        }
        Ok(after)
    }

    /// Notes what an owner holds now.
    pub(crate) fn set(&mut self, node: u64, owner: u64, ranges: LockedRanges) {
        if let Some(owner) = self.by_owner.get_mut(&(node, owner)) {
            self.ranges = self.ranges + ranges.len() - owner.ranges.len();
            owner.ranges = ranges;
        }
    }

    /// Closes an owner's description if it holds no lock.
    pub(crate) fn close_unused(&mut self, node: u64, owner: u64) {
        if self.by_owner.get(&(node, owner)).is_some_and(|owner| owner.ranges.len() == 0) {
            self.by_owner.remove(&(node, owner));
        }
    }

    /// Gives up all that an owner holds of a file.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn release(&mut self, node: u64, owner: u64) -> Result<(), Errno> {
        let Some(held) = self.by_owner.remove(&(node, owner)) else { return Ok(()) };
        self.ranges -= held.ranges.len();
        // A thread that waits for another lock of this owner keeps the description open.
        sys::unlock_range(held.file.as_fd(), 0, i64::MAX.unsigned_abs())
    }

    /// Gives up what was held of files that do not pass.
    pub(crate) fn retain(&mut self, keep: impl Fn(u64) -> bool) {
        self.by_owner.retain(|(node, _), _| keep(*node));
        self.ranges = self.by_owner.values().map(|owner| owner.ranges.len()).sum();
    }

    pub(crate) fn clear(&mut self) {
        self.by_owner.clear();
        self.ranges = 0;
    }

    /// The process of this guest that holds a lock in the way of `owner`'s, if it is one of this guest.
    pub(crate) fn holder(&self, node: u64, owner: u64, wanted: (u64, u64, LockKind)) -> Option<u32> {
        let (start, end, kind) = wanted;
        let others = self.by_owner.iter().filter(|((n, o), _)| *n == node && *o != owner);
        let mut ranges = others.flat_map(|(_, held)| held.ranges.iter());
        ranges.find(|range| range.excludes(start, end, kind)).map(|range| range.pid)
    }

    /// Every lock, with its node and owner.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64, &LockedRange)> {
        self.by_owner
            .iter()
            .flat_map(|((node, owner), held)| held.ranges.iter().map(move |range| (*node, *owner, range)))
    }
}
