//! One entry applied to the tree, with the results umoci's unpacking has on disk.
//!
//! Directories keep their metadata while children come and go; only their own entries change it. A whiteout spares
//! what its own layer has put in place, whatever the order.

use super::{Content, Inode, NodeId, ROOT, Tree};
use crate::check;
use crate::entry::{Entry, Kind, Metadata};
use crate::error::{Error, Result};
use crate::format::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG};

impl Tree {
    pub(super) fn apply_entry(&mut self, entry: Entry) -> Result<()> {
        check::entry(&entry, &self.limits)?;
        let Entry { path, kind } = entry;
        let layer = self.layer;
        let inode = |kind, metadata, content| Inode::new(kind, metadata, layer, content);
        match kind {
            Kind::Directory(metadata) => self.directory(&path, metadata),
            Kind::File(metadata, data) => self.put(&path, inode(S_IFREG, metadata, data.into())),
            Kind::Symlink(metadata, target) => {
                self.put(&path, inode(S_IFLNK, metadata, Content::Target(target.into_boxed_slice())))
            }
            Kind::CharDevice(metadata, number) => {
                self.put(&path, inode(S_IFCHR, metadata, Content::Device(number)))
            }
            Kind::BlockDevice(metadata, number) => {
                self.put(&path, inode(S_IFBLK, metadata, Content::Device(number)))
            }
            Kind::Fifo(metadata) => self.put(&path, inode(S_IFIFO, metadata, Content::None)),
            Kind::HardLink(target) => self.hard_link(&path, &target),
            Kind::Whiteout => {
                if let Some(node) = self.find(&path)? {
                    self.whiteout(node);
                }
                Ok(())
            }
            Kind::Opaque => {
                if let Some(node) = self.resolve(&path)?.existing() {
                    self.whiteout_children(node);
                }
                Ok(())
            }
        }
    }

    fn directory(&mut self, path: &[u8], metadata: Metadata) -> Result<()> {
        let inode = Inode::new(S_IFDIR, metadata, self.layer, Content::None);
        match self.find(path)?.filter(|node| self.is_directory(*node)) {
            Some(node) => {
                self.charge(inode.memory())?;
                let id = self.inode_id(node);
                self.inodes[id.index()] = inode;
                self.touch(node);
                Ok(())
            }
            None => self.put(path, inode),
        }
    }

    /// Puts a new inode at a path, in place of whatever is there.
    fn put(&mut self, path: &[u8], inode: Inode) -> Result<()> {
        let (parent, name) = self.clear(path)?;
        let inode = self.add_inode(inode)?;
        let node = self.link(parent, name, inode)?;
        self.touch(node);
        Ok(())
    }

    fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        // In this order: a link to itself has lost its target by now, as on disk.
        let (parent, name) = self.clear(path)?;
        let target = self
            .find(target)?
            .ok_or_else(|| Error::refused(path, "hard link to a file that is not there"))?;
        if self.is_directory(target) {
            return Err(Error::refused(path, "hard link to a directory"));
        }
        let node = self.link(parent, name, self.inode_id(target))?;
        self.touch(node);
        Ok(())
    }

    /// Makes the way to a path and removes what is there.
    fn clear<'p>(&mut self, path: &'p [u8]) -> Result<(NodeId, &'p [u8])> {
        let (place, name) =
            self.resolve_parent(path)?.ok_or_else(|| Error::refused(path, "the root must be a directory"))?;
        let parent = self.make_directories(place, path)?;
        if let Some(old) = self.lookup(parent, name) {
            self.unlink(old);
        }
        Ok((parent, name))
    }

    /// Marks a node and its ancestors as this layer's.
    fn touch(&mut self, node: NodeId) {
        let layer = self.layer;
        let mut node = node;
        loop {
            self.node_mut(node).layer = layer;
            if node == ROOT {
                return;
            }
            node = self.parent(node);
        }
    }

    /// Removes a node unless this layer has touched it; then, what is below it and was not touched.
    fn whiteout(&mut self, node: NodeId) {
        if node != ROOT && self.nodes[node.0 as usize].layer != self.layer {
            self.unlink(node);
        } else {
            self.whiteout_children(node);
        }
    }

    fn whiteout_children(&mut self, node: NodeId) {
        let layer = self.layer;
        let mut pending = vec![node];
        while let Some(directory) = pending.pop() {
            // What this layer cleared once has had only its own additions since.
            if std::mem::replace(&mut self.node_mut(directory).cleared, layer) == layer {
                continue;
            }
            let children: Vec<NodeId> = self.children(directory).collect();
            for child in children {
                if self.nodes[child.0 as usize].layer == layer {
                    pending.push(child);
                } else {
                    self.unlink(child);
                }
            }
        }
    }
}
