//! Which files were changed and may not have reached the host's disk.

use std::collections::VecDeque;

/// Most files remembered; the memory of one more costs writing the oldest back.
const MAX_DIRTY: usize = 65536;

/// Numbers of changed nodes, oldest change first. A node knows itself whether it is in here.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    queue: VecDeque<u64>,
}

impl Dirty {
    /// Adds a node; gives out the oldest where there are too many.
    pub(crate) fn add(&mut self, id: u64) -> Option<u64> {
        self.queue.push_back(id);
        (self.queue.len() > MAX_DIRTY).then(|| self.queue.pop_front()).flatten()
    }

    /// Takes all.
    pub(crate) fn take(&mut self) -> VecDeque<u64> {
        std::mem::take(&mut self.queue)
    }

    /// Puts one back that was taken.
    pub(crate) fn keep(&mut self, id: u64) {
        self.queue.push_back(id);
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(u64) -> bool) {
        self.queue.retain(|id| keep(*id));
    }

    pub(crate) fn clear(&mut self) {
        self.queue.clear();
    }
}
