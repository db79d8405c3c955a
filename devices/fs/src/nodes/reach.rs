//! How an operation reaches the file of a node.
//!
//! A named node holds no descriptor. Each operation walks from the share's root, by the names the nodes have now, and
//! believes what it finds only if device, inode number and birth are those of the node. So whatever the host moves out of
//! a share cannot be reached any more. Two kinds of nodes have a descriptor: files that are open, and nodes whose name was
//! taken away through this server (*pinned*).

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

use super::{Nodes, Place};
use crate::host::{Stat, hold, hold_path, lies_below};
use crate::share::Share;
use crate::wire::Name;

/// Deepest tree that is walked down.
pub(super) const MAX_DEPTH: usize = 4096;

impl Nodes {
    /// A descriptor of a node's file, `O_PATH` or one that the guest has open.
    ///
    /// # Errors
    /// ESTALE where the host has another file at the node's place, or none; the operating system's.
    pub(crate) fn reach(&self, id: u64) -> Result<Arc<OwnedFd>, Errno> {
        match self.held(id)? {
            Some(held) => Ok(held),
            None => self.walk(id).map(|(held, _)| Arc::new(held)),
        }
    }

    /// As [`reach`](Self::reach), with what the host says of the file.
    ///
    /// # Errors
    /// As for [`reach`](Self::reach).
    pub(crate) fn reach_seen(&self, id: u64) -> Result<(Arc<OwnedFd>, Stat), Errno> {
        if let Some(held) = self.held(id)? {
            let stat = Stat::of(&held)?;
            return Ok((held, stat));
        }
        self.walk(id).map(|(held, stat)| (Arc::new(held), stat))
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

    /// Walks to a node from its share's root.
    fn walk(&self, id: u64) -> Result<(OwnedFd, Stat), Errno> {
        let file = self.get(id)?.file;
        let mut names = Vec::with_capacity(16);
        let mut at = id;
        let root = loop {
            let node = self.get(at)?;
            match (&node.place, &node.share) {
                (Place::At { parent, name }, _) if names.len() < MAX_DEPTH => {
                    names.push(name.as_c_str());
                    at = *parent;
                }
                (Place::ShareRoot, Some(share)) => break &share.root,
                _ => return Err(Errno::STALE),
            }
        };
        let held = match hold_path(root, names.into_iter().rev()) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(Errno::STALE),
            held => held?,
        };
        let stat = Stat::of(&held)?;
        if stat.id() == file { Ok((held, stat)) } else { Err(Errno::STALE) }
    }

    /// Whether the guest may go on with a directory that it has open: it was removed, or lies in the share still, under
    /// whatever name.
    ///
    /// # Errors
    /// ESTALE where not; the operating system's.
    pub(crate) fn check_open_dir(&self, id: u64, dir: &OwnedFd) -> Result<(), Errno> {
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

    /// The memory counted for all nodes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
