//! The files that the guest knows by number.
//!
//! A node is held by the guest's lookups, its open handles, the nodes below it, and by changes not yet written back. It is
//! not an open file: the host's descriptor that stands for it, its *anchor*, is taken when an operation needs it, by its
//! parent's anchor and its name, and believed only if device, inode number and birth are still the ones the guest saw.
//! So a million known files need no million descriptors. A node whose name is taken away keeps its anchor (it is
//! *pinned*), since no name leads to it any more.

mod anchors;
mod node;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

use crate::host::FileId;
use crate::share::Share;
use crate::wire::ROOT_ID;
use anchors::Anchors;
pub(crate) use node::{Node, Place};

/// How much a guest can make the server hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeLimits {
    /// Nodes known at once.
    pub(crate) nodes: usize,
    /// Anchors held at once, but for those of open files.
    pub(crate) anchors: usize,
}

/// All nodes, by number and by file.
#[derive(Debug)]
pub(crate) struct Nodes {
    by_id: HashMap<u64, Node>,
    by_file: HashMap<(u32, FileId), u64>,
    next: u64,
    anchors: Anchors,
    limits: NodeLimits,
}

impl Nodes {
    /// Only the root.
    pub(crate) fn new(limits: NodeLimits) -> Self {
        let by_id = HashMap::from([(ROOT_ID, Node::root())]);
        let anchors = Anchors::new(limits.anchors);
        Self { by_id, by_file: HashMap::new(), next: ROOT_ID + 1, anchors, limits }
    }

    /// Forgets everything but the root; numbers go on, none is used twice.
    pub(crate) fn clear(&mut self) {
        let next = self.next;
        *self = Self { next, ..Self::new(self.limits) };
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// A node.
    ///
    /// # Errors
    /// ESTALE for an unknown number, and for a share that was removed.
    pub(crate) fn get(&self, id: u64) -> Result<&Node, Errno> {
        self.by_id.get(&id).filter(|node| !node.is_gone()).ok_or(Errno::STALE)
    }

    /// As [`get`](Self::get).
    pub(crate) fn get_mut(&mut self, id: u64) -> Result<&mut Node, Errno> {
        self.by_id.get_mut(&id).filter(|node| !node.is_gone()).ok_or(Errno::STALE)
    }

    /// The share that a node lies in.
    ///
    /// # Errors
    /// ESTALE as for [`get`](Self::get), EPERM for the root, which lies in none.
    pub(crate) fn share(&self, id: u64) -> Result<Arc<Share>, Errno> {
        self.get(id)?.share.clone().ok_or(Errno::PERM)
    }

    /// The node of a file, where the guest knows it.
    pub(crate) fn find(&self, share: &Share, file: FileId) -> Option<u64> {
        self.by_file.get(&(share.id, file)).copied()
    }

    /// Whether the guest may know one more file.
    ///
    /// # Errors
    /// ENFILE where not.
    pub(crate) fn check_room(&self) -> Result<(), Errno> {
        if self.by_id.len() < self.limits.nodes { Ok(()) } else { Err(Errno::NFILE) }
    }

    /// Counts one more lookup of the file seen at `place`, making its node where there is none.
    ///
    /// # Errors
    /// ENFILE where the guest knows too many files.
    pub(crate) fn enter(&mut self, share: &Arc<Share>, place: Place, file: FileId) -> Result<u64, Errno> {
        let known = self.find(share, file);
        if let Some((id, node)) = known.and_then(|id| Some((id, self.get_mut(id).ok()?))) {
            node.lookups = node.lookups.saturating_add(1);
            self.move_to(id, place);
            return Ok(id);
        }
        self.check_room()?;
        let id = self.next;
        self.next += 1;
        if let Place::At { parent, .. } = &place {
            self.get_mut(*parent)?.children += 1;
        }
        self.by_id.insert(id, Node::new(share.clone(), file, place));
        self.by_file.insert((share.id, file), id);
        Ok(id)
    }

    /// The guest forgets `count` lookups.
    pub(crate) fn forget(&mut self, id: u64, count: u64) {
        if let Some(node) = self.by_id.get_mut(&id) {
            node.lookups = node.lookups.saturating_sub(count);
            self.drop_unused(id);
        }
    }

    /// Takes up where a node was seen last. One seen again has a name again, so it needs no pin.
    pub(crate) fn move_to(&mut self, id: u64, place: Place) {
        let Some(node) = self.by_id.get(&id).filter(|node| node.place != place) else { return };
        let old = node.parent();
        if let Place::At { parent, .. } = &place {
            // A directory in itself: only a host that moves things about under us can show this. The old place will
            // prove wrong when it is used.
            if *parent == id || !self.by_id.contains_key(parent) {
                return;
            }
            if let Some(parent) = self.by_id.get_mut(parent) {
                parent.children += 1;
            }
        }
        if let Some(node) = self.by_id.get_mut(&id) {
            node.place = place;
            self.anchors.unpin(id, node);
        }
        self.release_parent(old);
    }

    /// The node's name at `parent` is gone: it keeps its anchor until it is forgotten.
    pub(crate) fn lost_name(&mut self, id: u64) {
        let Some(node) = self.by_id.get_mut(&id) else { return };
        let old = node.parent();
        node.place = Place::Nowhere;
        node.dirty = false;
        self.release_parent(old);
        self.drop_unused(id);
    }

    /// One more open handle on a node; `file` is its descriptor.
    pub(crate) fn opened(&mut self, id: u64, file: Option<Arc<OwnedFd>>) {
        if let Some(node) = self.by_id.get_mut(&id) {
            node.handles += 1;
            if node.opened.is_none() {
                node.opened = file;
            }
        }
    }

    /// One open handle less.
    pub(crate) fn closed(&mut self, id: u64) {
        if let Some(node) = self.by_id.get_mut(&id) {
            node.handles = node.handles.saturating_sub(1);
            if node.handles == 0 {
                node.opened = None;
            }
            self.drop_unused(id);
        }
    }

    /// Notes that a node has nothing left to be written back.
    pub(crate) fn written_back(&mut self, id: u64) {
        if let Some(node) = self.by_id.get_mut(&id) {
            node.dirty = false;
            self.drop_unused(id);
        }
    }

    /// Lets go of everything that belongs to removed shares.
    pub(crate) fn sweep(&mut self) {
        let anchors = &mut self.anchors;
        self.by_id.retain(|_, node| {
            let gone = node.is_gone();
            if gone {
                anchors.release(node);
            }
            !gone
        });
        let by_id = &self.by_id;
        self.by_file.retain(|_, id| by_id.contains_key(id));
    }

    /// The number that the next node gets.
    pub(crate) fn next_id(&self) -> u64 {
        self.next
    }

    /// Gives out no number below `next` any more.
    pub(crate) fn continue_from(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// Puts a node back under the number it had, and says whether that was possible. Its parent is there already.
    pub(crate) fn put_back(
        &mut self,
        id: u64,
        share: Arc<Share>,
        place: Place,
        file: FileId,
        lookups: u64,
    ) -> bool {
        if id >= self.next || self.by_id.contains_key(&id) {
            return false;
        }
        if place != Place::Nowhere {
            self.by_file.insert((share.id, file), id);
        }
        let node = Node { lookups, ..Node::new(share, file, place) };
        if let Some(parent) = node.parent().and_then(|parent| self.by_id.get_mut(&parent)) {
            parent.children += 1;
        }
        self.by_id.insert(id, node);
        true
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Node)> {
        self.by_id.iter().map(|(id, node)| (*id, node))
    }

    fn release_parent(&mut self, parent: Option<u64>) {
        if let Some(parent) = parent {
            if let Some(node) = self.by_id.get_mut(&parent) {
                node.children = node.children.saturating_sub(1);
            }
            self.drop_unused(parent);
        }
    }

    /// Removes a node that nobody holds, then its parent where that was the last to hold it, and so on.
    fn drop_unused(&mut self, id: u64) {
        let mut next = Some(id);
        while let Some(id) = next.take() {
            if id == ROOT_ID || self.by_id.get(&id).is_none_or(Node::is_held) {
                return;
            }
            if let Some(mut node) = self.by_id.remove(&id) {
                self.anchors.release(&mut node);
                if let Some(share) = &node.share {
                    let file = (share.id, node.file);
                    if self.by_file.get(&file) == Some(&id) {
                        self.by_file.remove(&file);
                    }
                }
                next = node.parent();
                if let Some(parent) = next.and_then(|id| self.by_id.get_mut(&id)) {
                    parent.children = parent.children.saturating_sub(1);
                }
            }
        }
    }
}
