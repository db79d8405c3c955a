//! How an operation reaches the file of a node.
//!
//! An operation finds a file by the names that the nodes have now, and believes what it finds only if device, inode number
//! and birth are those of the node. The walk begins at the share's root, or at a directory used before whose descriptor was
//! kept: one look, as many steps up as it lay deep, tells whether it lies below the root still. So whatever the host moves
//! out of a share cannot be reached any more. Two kinds of nodes have a descriptor that counts without a walk: files that
//! are open, and nodes whose name was taken away through this server (*pinned*).

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

use super::{Nodes, Place};
use crate::host::{Stat, ancestor, hold, hold_path, lies_below};
use crate::share::Share;
use crate::wire::Name;

/// Deepest tree that is walked down.
pub(super) const MAX_DEPTH: usize = 4096;
/// Directories whose descriptors are kept.
const RECENT: usize = 64;

/// The directories used last, one for each remainder of their numbers.
#[derive(Debug)]
pub(super) struct RecentDirs {
    slots: Vec<Option<Recent>>,
}

#[derive(Debug)]
struct Recent {
    id: u64,
    dir: Arc<OwnedFd>,
    /// Steps from the share's root.
    depth: usize,
}

impl RecentDirs {
    pub(super) fn new() -> Self {
        Self { slots: std::iter::repeat_with(|| None).take(RECENT).collect() }
    }

    fn slot(&mut self, id: u64) -> &mut Option<Recent> {
        let at = usize::try_from(id % RECENT as u64).unwrap_or(0);
        &mut self.slots[at]
    }

    fn get(&mut self, id: u64) -> Option<(Arc<OwnedFd>, usize)> {
        let recent = self.slot(id).as_ref().filter(|recent| recent.id == id)?;
        Some((Arc::clone(&recent.dir), recent.depth))
    }

    fn put(&mut self, id: u64, dir: Arc<OwnedFd>, depth: usize) {
        *self.slot(id) = Some(Recent { id, dir, depth });
    }

    pub(super) fn remove(&mut self, id: u64) {
        let slot = self.slot(id);
        if slot.as_ref().is_some_and(|recent| recent.id == id) {
            *slot = None;
        }
    }
}

impl Nodes {
    /// A descriptor of a node's file, `O_PATH` or one that the guest has open.
    ///
    /// # Errors
    /// ESTALE where the host has another file at the node's place, or none; the operating system's.
    pub(crate) fn reach(&mut self, id: u64) -> Result<Arc<OwnedFd>, Errno> {
        if let Some(held) = self.held(id)? {
            return Ok(held);
        }
        match self.recent(id) {
            Some((dir, _)) => Ok(dir),
            None => self.walk(id).map(|(held, _)| held),
        }
    }

    /// As [`reach`](Self::reach), with what the host says of the file.
    ///
    /// # Errors
    /// As for [`reach`](Self::reach).
    pub(crate) fn reach_seen(&mut self, id: u64) -> Result<(Arc<OwnedFd>, Stat), Errno> {
        let held = match self.held(id)? {
            None => self.recent(id).map(|(dir, _)| dir),
            held => held,
        };
        match held {
            Some(held) => Stat::of(&held).map(|stat| (held, stat)),
            None => self.walk(id),
        }
    }

    /// A directory used before, if it lies below its share's root still, with its depth.
    fn recent(&mut self, id: u64) -> Option<(Arc<OwnedFd>, usize)> {
        let root = self.get(id).ok()?.share.as_ref()?.root_id;
        let (dir, depth) = self.recent.get(id)?;
        if ancestor(&dir, depth).is_ok_and(|stat| stat.id() == root) {
            return Some((dir, depth));
        }
        self.recent.remove(id);
        None
    }

    /// The descriptor that a node has without a walk.
    ///
    /// # Errors
    /// ESTALE where it has neither that nor a place.
    fn held(&self, id: u64) -> Result<Option<Arc<OwnedFd>>, Errno> {
        let node = self.get(id)?;
        if let Some(file) = &node.opened {
            return Ok(Some(Arc::clone(file)));
        }
        match (&node.place, &node.share) {
            (Place::ShareRoot, Some(share)) => Ok(Some(Arc::clone(&share.root))),
            (Place::At { .. }, _) => Ok(None),
            (Place::Nowhere, _) => {
                let pinned = node.pinned.as_ref().ok_or(Errno::STALE)?;
                // The host may have moved the directory away just before another of its name was removed.
                let stat = Stat::of(pinned)?;
                if stat.is_dir() && !stat.is_removed() {
                    Err(Errno::STALE)
                } else {
                    Ok(Some(Arc::clone(pinned)))
                }
            }
            _ => Err(Errno::STALE),
        }
    }

    /// Walks to a node from its share's root, or from the next directory above it that was used before.
    fn walk(&mut self, id: u64) -> Result<(Arc<OwnedFd>, Stat), Errno> {
        let mut above = Vec::with_capacity(16);
        let mut at = id;
        let (from, depth) = loop {
            let node = self.get(at)?;
            match (&node.place, &node.share) {
                (Place::At { parent, .. }, _) if above.len() < MAX_DEPTH => {
                    above.push(at);
                    at = *parent;
                }
                (Place::ShareRoot, Some(share)) => break (Arc::clone(&share.root), 0),
                _ => return Err(Errno::STALE),
            }
            if let Some(recent) = self.recent(at) {
                break recent;
            }
        };
        let names = above.iter().rev().filter_map(|id| match &self.by_id.get(id)?.place {
            Place::At { name, .. } => Some(name.as_c_str()),
            _ => None,
        });
        let held = match hold_path(&from, names) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(Errno::STALE),
            held => Arc::new(held?),
        };
        let stat = Stat::of(&held)?;
        if stat.id() != self.get(id)?.file {
            return Err(Errno::STALE);
        }
        if stat.is_dir() {
            self.recent.put(id, Arc::clone(&held), depth + above.len());
        }
        Ok((held, stat))
    }

    /// Whether the guest may go on with a directory that it has open: it was removed, or lies in the share still, under
    /// whatever name.
    ///
    /// # Errors
    /// ESTALE where not; the operating system's.
    pub(crate) fn check_open_dir(&mut self, id: u64, dir: &OwnedFd) -> Result<(), Errno> {
        match self.reach(id) {
            Err(Errno::STALE) => {}
            reached => return reached.map(|_| ()),
        }
        let root = &self.share(id)?.root;
        if Stat::of(dir)?.is_removed() || lies_below(dir, root, MAX_DEPTH)? {
            Ok(())
        } else {
            Err(Errno::STALE)
        }
    }

    /// Keeps a descriptor for the node known by this name, where there is one, before the name is taken away. Returns the
    /// node; where there is no room, its file is lost with its name.
    pub(crate) fn pin(&mut self, share: &Share, parent: u64, dir: &OwnedFd, name: Name<'_>) -> Option<u64> {
        let held = hold(dir, name).ok()?;
        let id = self.find(share, Stat::of(&held).ok()?.id())?;
        let node = self.by_id.get_mut(&id).filter(|node| !node.is_gone() && node.is_at(parent, name))?;
        if node.pinned.is_none() && self.pins < self.limits.pins {
            self.pins += 1;
            node.pinned = Some(Arc::new(held));
        }
        Some(id)
    }

    /// Undoes [`pin`](Self::pin) for a node that kept its name.
    pub(crate) fn unpin(&mut self, id: u64) {
        if let Some(node) = self.by_id.get_mut(&id)
            && node.pinned.take().is_some()
        {
            self.pins -= 1;
        }
    }
}

#[cfg(test)]
impl Nodes {
    /// How many descriptors are held for nodes without a name.
    pub(crate) fn pins_held(&self) -> usize {
        self.pins
    }

    /// Lets the descriptors of directories go.
    pub(crate) fn forget_recent(&mut self) {
        self.recent = RecentDirs::new();
    }

    /// The memory counted for all nodes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
