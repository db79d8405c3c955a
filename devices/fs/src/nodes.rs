//! The files that the guest knows by number.
//!
//! A node is held by the guest's lookups, its open handles, the nodes below it, and by changes not yet written back. It is
//! not an open file but a place: a name below its parent. The host's descriptor is taken when an operation needs it
//! (`reach`). So a million known files need no million descriptors.

mod node;
mod reach;
mod told;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use hashbrown::HashTable;
use rustix::io::Errno;

use crate::host::FileId;
use crate::share::Share;
use crate::wire::ROOT_ID;
pub(crate) use node::{Node, Place};
use reach::RecentDirs;

/// How much a guest can make the server hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeLimits {
    /// Memory of all nodes, in bytes, as [`Node::cost_bytes`] counts it.
    pub(crate) bytes: usize,
    /// Descriptors held for nodes that have lost their name.
    pub(crate) pins: usize,
}

/// All nodes, by number and by file.
#[derive(Debug)]
pub(crate) struct Nodes {
    // Boxed: a table that has grown is half empty.
    by_id: HashMap<u64, Box<Node>>,
    /// Numbers, found by the share and the file of their nodes.
    by_file: HashTable<u64>,
    hasher: RandomState,
    next: u64,
    /// Memory of all nodes.
    bytes: usize,
    pins: usize,
    recent: RecentDirs,
    limits: NodeLimits,
}

impl Nodes {
    /// Only the root.
    pub(crate) fn new(limits: NodeLimits) -> Self {
        let root = Box::new(Node::root());
        let bytes = root.cost_bytes();
        Self {
            by_id: HashMap::from([(ROOT_ID, root)]),
            by_file: HashTable::new(),
            hasher: RandomState::new(),
            next: ROOT_ID + 1,
            bytes,
            pins: 0,
            recent: RecentDirs::new(),
            limits,
        }
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
        self.by_id.get(&id).map(Box::as_ref).filter(|node| !node.is_gone()).ok_or(Errno::STALE)
    }

    /// As [`get`](Self::get).
    pub(crate) fn get_mut(&mut self, id: u64) -> Result<&mut Node, Errno> {
        self.by_id.get_mut(&id).map(Box::as_mut).filter(|node| !node.is_gone()).ok_or(Errno::STALE)
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
        let hash = self.hasher.hash_one((share.id, file));
        self.by_file.find(hash, |id| self.by_id.get(id).is_some_and(|node| node.is_of(share, file))).copied()
    }

    /// Lets [`find`](Self::find) find a node by its file; another node that was found by it is found no more.
    fn index(&mut self, share: &Share, file: FileId, id: u64) {
        let Self { by_id, by_file, hasher, .. } = self;
        let hash = hasher.hash_one((share.id, file));
        let known = by_file.find_mut(hash, |id| by_id.get(id).is_some_and(|node| node.is_of(share, file)));
        if let Some(known) = known {
            *known = id;
            return;
        }
        by_file.insert_unique(hash, id, |id| hash_of(hasher, by_id.get(id).map(Box::as_ref)));
    }

    /// Whether the guest may know one more file.
    ///
    /// # Errors
    /// ENFILE where not.
    pub(crate) fn check_room(&self) -> Result<(), Errno> {
        if self.bytes < self.limits.bytes { Ok(()) } else { Err(Errno::NFILE) }
    }

    /// Counts one more lookup of the file seen at `place`, making its node where there is none.
    ///
    /// # Errors
    /// ENFILE where the guest knows too many files.
    pub(crate) fn enter(&mut self, share: &Arc<Share>, place: Place, file: FileId) -> Result<u64, Errno> {
        let known = self.find(share, file);
        if let Some((id, node)) = known.and_then(|id| Some((id, self.get(id).ok()?))) {
            // Another name can be a longer one.
            if node.place != place {
                self.check_room()?;
            }
            let node = self.get_mut(id)?;
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
        self.insert(id, Node::new(share.clone(), file, place));
        self.index(share, file, id);
        Ok(id)
    }

    fn insert(&mut self, id: u64, node: Node) {
        self.bytes += node.cost_bytes();
        self.by_id.insert(id, Box::new(node));
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
        self.set_place(id, place);
        self.unpin(id);
        self.release_parent(old);
    }

    fn set_place(&mut self, id: u64, place: Place) {
        if let Some(node) = self.by_id.get_mut(&id) {
            self.bytes -= node.cost_bytes();
            node.place = place;
            self.bytes += node.cost_bytes();
        }
    }

    /// The name that a node was known by is gone: if it was pinned, it stays so until it is forgotten.
    pub(crate) fn lost_name(&mut self, id: u64) {
        let Some(node) = self.by_id.get_mut(&id) else { return };
        let old = node.parent();
        node.dirty = false;
        self.set_place(id, Place::Nowhere);
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
        let by_id = &self.by_id;
        self.by_file.retain(|id| by_id.get(id).is_some_and(|node| !node.is_gone()));
        let gone: Vec<u64> =
            self.by_id.iter().filter(|(_, node)| node.is_gone()).map(|(id, _)| *id).collect();
        for id in gone {
            self.remove(id);
        }
    }

    /// Takes a node out, with what it holds.
    fn remove(&mut self, id: u64) -> Option<Box<Node>> {
        self.unpin(id);
        self.recent.remove(id);
        let node = self.by_id.get(&id)?;
        if let Some(share) = &node.share {
            let hash = self.hasher.hash_one((share.id, node.file));
            if let Ok(entry) = self.by_file.find_entry(hash, |other| *other == id) {
                entry.remove();
            }
        }
        let node = self.by_id.remove(&id)?;
        self.bytes -= node.cost_bytes();
        Some(node)
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
        let found = place != Place::Nowhere;
        let node = Node { lookups, ..Node::new(share.clone(), file, place) };
        if let Some(parent) = node.parent().and_then(|parent| self.by_id.get_mut(&parent)) {
            parent.children += 1;
        }
        self.insert(id, node);
        if found {
            self.index(&share, file, id);
        }
        true
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Node)> {
        self.by_id.iter().map(|(id, node)| (*id, node.as_ref()))
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
            if id == ROOT_ID || self.by_id.get(&id).is_none_or(|node| node.is_held()) {
                return;
            }
            if let Some(node) = self.remove(id) {
                next = node.parent();
                if let Some(parent) = next.and_then(|id| self.by_id.get_mut(&id)) {
                    parent.children = parent.children.saturating_sub(1);
                }
            }
        }
    }
}

fn hash_of(hasher: &RandomState, node: Option<&Node>) -> u64 {
    node.and_then(|node| Some(hasher.hash_one((node.share.as_ref()?.id, node.file)))).unwrap_or_default()
}
