//! Which nodes hold a descriptor of the host, and which let it go when there are too many.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

use super::{Node, Nodes, Place};
use crate::host::{Stat, hold};
use crate::wire::Name;

/// Deepest tree that is walked down to take an anchor again.
const MAX_DEPTH: usize = 4096;

/// The nodes with a descriptor held for its own sake, in the order in which they are asked to let go: one that was used
/// since it was asked last goes to the end instead (second chance).
#[derive(Debug)]
pub(super) struct Anchors {
    queue: VecDeque<u64>,
    held: usize,
    max: usize,
}

impl Anchors {
    pub(super) fn new(max: usize) -> Self {
        Self { queue: VecDeque::new(), held: 0, max }
    }

    /// A node's descriptor, where it has one now.
    fn of(node: &mut Node) -> Option<Arc<OwnedFd>> {
        node.used = true;
        node.cached.as_ref().or(node.opened.as_ref()).cloned()
    }

    /// The node is no longer pinned.
    pub(super) fn unpin(&mut self, id: u64, node: &mut Node) {
        if std::mem::take(&mut node.pinned) {
            self.enqueue(id, node);
        }
    }

    fn enqueue(&mut self, id: u64, node: &mut Node) {
        if !std::mem::replace(&mut node.queued, true) {
            self.queue.push_back(id);
        }
    }

    /// The node goes, and its descriptor with it. Its place in the queue, if it has one, means nothing then.
    pub(super) fn release(&mut self, node: &mut Node) {
        if node.cached.take().is_some() {
            self.held -= 1;
        }
    }
}

impl Nodes {
    /// The descriptor that stands for a node, `O_PATH` or one of its open files.
    ///
    /// # Errors
    /// ESTALE where the host has another file at the node's place, or none; the operating system's.
    pub(crate) fn anchor(&mut self, id: u64) -> Result<Arc<OwnedFd>, Errno> {
        let mut below = Vec::new();
        let mut at = id;
        let mut anchor = loop {
            let node = self.get_mut(at)?;
            if let Some(anchor) = Anchors::of(node) {
                break anchor;
            }
            match (&node.place, &node.share) {
                (Place::ShareRoot, Some(share)) => break share.root.clone(),
                (Place::At { parent, .. }, _) if below.len() < MAX_DEPTH => {
                    below.push(at);
                    at = *parent;
                }
                _ => return Err(Errno::STALE),
            }
        };
        while let Some(id) = below.pop() {
            anchor = self.descend(&anchor, id)?;
        }
        Ok(anchor)
    }

    /// Takes hold of a node by its name below its parent.
    fn descend(&mut self, parent: &OwnedFd, id: u64) -> Result<Arc<OwnedFd>, Errno> {
        let node = self.get(id)?;
        let Place::At { name, .. } = &node.place else { return Err(Errno::STALE) };
        let held = match hold(parent, Name::new(name)?) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(Errno::STALE),
            held => Arc::new(held?),
        };
        if Stat::of(&held)?.id() != node.file {
            return Err(Errno::STALE);
        }
        self.keep_anchor(id, held.clone());
        Ok(held)
    }

    /// Holds a descriptor for a node as long as there is room.
    pub(crate) fn keep_anchor(&mut self, id: u64, anchor: Arc<OwnedFd>) {
        if self.anchors.held >= self.anchors.max && !self.let_one_go() {
            return;
        }
        if self.anchors.queue.len() > 2 * self.anchors.max {
            // Forgotten nodes leave their places behind.
            let by_id = &self.by_id;
            self.anchors.queue.retain(|id| by_id.contains_key(id));
        }
        let Some(node) = self.by_id.get_mut(&id) else { return };
        if node.cached.replace(anchor).is_none() {
            node.used = true;
            self.anchors.held += 1;
            self.anchors.enqueue(id, node);
        }
    }

    /// Keeps a node's descriptor whatever happens to its name; where there is no room for that, it is lost with its name.
    ///
    /// # Errors
    /// As for [`anchor`](Self::anchor).
    pub(crate) fn pin(&mut self, id: u64) -> Result<(), Errno> {
        let anchor = self.anchor(id)?;
        if self.get(id)?.cached.is_none() {
            self.keep_anchor(id, anchor);
        }
        if let Ok(node) = self.get_mut(id) {
            node.pinned = node.cached.is_some();
        }
        Ok(())
    }

    /// Undoes [`pin`](Self::pin) for a node that kept its name.
    pub(crate) fn unpin(&mut self, id: u64) {
        if let Some(node) = self.by_id.get_mut(&id) {
            self.anchors.unpin(id, node);
        }
    }

    /// Lets one descriptor go; false where every one is pinned.
    fn let_one_go(&mut self) -> bool {
        // Each node is asked at most twice: the second time its use is forgotten.
        for _ in 0..2 * self.anchors.queue.len() {
            let Some(id) = self.anchors.queue.pop_front() else { break };
            let Some(node) = self.by_id.get_mut(&id) else { continue };
            node.queued = false;
            if node.cached.is_none() || node.pinned {
                continue;
            }
            if std::mem::take(&mut node.used) {
                self.anchors.enqueue(id, node);
                continue;
            }
            self.anchors.release(node);
            return true;
        }
        false
    }
}

#[cfg(test)]
impl Nodes {
    /// How many descriptors are held for their own sake.
    pub(crate) fn anchors_held(&self) -> usize {
        self.anchors.held
    }

    /// Lets every descriptor go that may be.
    pub(crate) fn drop_anchors(&mut self) {
        while self.let_one_go() {}
    }
}
