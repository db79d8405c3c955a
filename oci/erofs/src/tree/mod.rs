//! The merged tree of an image, built by replaying its layers' logs.
//!
//! Nodes are names, inodes what they name; hard links are several nodes of one inode. Both live in vectors and are
//! never freed: what a later layer removes is merely unlinked. Memory is therefore bounded by what was ever
//! entered, and that is bounded by [`Limits::tree_bytes`].

mod apply;
mod resolve;

use std::io::BufRead;

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

use crate::check;
use crate::entry::{Extent, FileData, Metadata, Xattr};
use crate::error::{Error, Result};
use crate::format::{S_IFDIR, S_IFMT};
use crate::limits::Limits;
use crate::log::LogReader;

/// Index of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(u32);

/// Index of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct InodeId(u32);

/// The node of the root directory.
pub(crate) const ROOT: NodeId = NodeId(0);
/// Ends a list of children.
const NONE: u32 = u32::MAX;

/// A name in a directory.
#[derive(Debug)]
struct Node {
    parent: NodeId,
    inode: InodeId,
    name_start: u32,
    name_len: u8,
    /// Depth below the root.
    depth: u16,
    /// The last layer that put something at or below this node.
    layer: u16,
    /// The last layer that whited out what is below this node.
    cleared: u16,
    first_child: u32,
    next_sibling: u32,
    previous_sibling: u32,
}

/// What a name refers to.
#[derive(Debug)]
pub(crate) struct Inode {
    /// Type and permission bits.
    pub(crate) mode: u16,
    /// The layer whose data holds the content.
    pub(crate) layer: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime_nsec: u32,
    pub(crate) mtime: i64,
    pub(crate) xattrs: Option<Box<[Xattr]>>,
    pub(crate) content: Content,
}

/// What an inode holds besides its metadata.
#[derive(Debug)]
pub(crate) enum Content {
    None,
    Device(u32),
    Target(Box<[u8]>),
    Plain { size: u64, block: u32 },
    Chunked(Box<Chunked>),
}

/// A file with holes.
#[derive(Debug)]
pub(crate) struct Chunked {
    pub(crate) size: u64,
    pub(crate) chunk_bits: u8,
    pub(crate) extents: Box<[Extent]>,
}

/// The merged tree of an image's layers.
#[derive(Debug)]
pub struct Tree {
    limits: Limits,
    nodes: Vec<Node>,
    inodes: Vec<Inode>,
    names: Vec<u8>,
    /// Nodes by parent and name.
    index: HashTable<NodeId>,
    hasher: DefaultHashBuilder,
    /// The layer being applied; the empty tree is layer 0's predecessor.
    layer: u16,
    /// Lengths of the layers' data in bytes, by layer.
    data_bytes: Vec<u64>,
    /// Bytes of memory accounted for.
    used_bytes: u64,
    /// Path components looked up so far.
    lookups: u64,
}

impl Tree {
    /// An empty tree: a root directory of root's, mode 0755, as old as the epoch (what umoci makes of images that
    /// do not describe their root).
    pub fn new(limits: Limits) -> Self {
        let root = Metadata { mode: 0o755, ..Metadata::default() };
        Self {
            limits,
            nodes: vec![Node {
                parent: ROOT,
                inode: InodeId(0),
                name_start: 0,
                name_len: 0,
                depth: 0,
                layer: 0,
                cleared: 0,
                first_child: NONE,
                next_sibling: NONE,
                previous_sibling: NONE,
            }],
            inodes: vec![Inode::new(S_IFDIR, root, 0, Content::None)],
            names: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            layer: 0,
            data_bytes: Vec::new(),
            used_bytes: 0,
            lookups: 0,
        }
    }

    /// Replays a layer on top of what is there.
    ///
    /// # Errors
    /// [`Error::Refused`] if an entry cannot be placed, [`Error::Limit`], [`Error::Corrupt`] for what no conversion
    /// writes, or the log's. The tree is then worthless.
    pub fn apply<R: BufRead>(&mut self, log: &mut LogReader<R>) -> Result<()> {
        // Layer numbers start at 1, so that nothing in an empty tree counts as touched.
        self.layer = u16::try_from(self.data_bytes.len() + 1)
            .map_err(|_| Error::Limit { what: "layers", limit: u16::MAX.into() })?;
        let mut entries = 0;
        while let Some(entry) = log.next_entry()? {
            self.apply_entry(entry)?;
            entries += 1;
        }
        let summary = log.summary().ok_or(Error::Corrupt { what: "tree log" })?;
        check::summary(summary, entries)?;
        self.data_bytes.push(summary.data_bytes);
        Ok(())
    }

    /// Lengths in bytes of the layers' data, in order.
    pub(crate) fn data_bytes(&self) -> &[u64] {
        &self.data_bytes
    }

    pub(crate) fn inode_id(&self, node: NodeId) -> InodeId {
        self.nodes[node.0 as usize].inode
    }

    pub(crate) fn inode(&self, inode: InodeId) -> &Inode {
        &self.inodes[inode.index()]
    }

    /// Number of inodes ever made; every [`InodeId`] is below it.
    pub(crate) fn inode_count(&self) -> usize {
        self.inodes.len()
    }

    pub(crate) fn parent(&self, node: NodeId) -> NodeId {
        self.nodes[node.0 as usize].parent
    }

    pub(crate) fn name(&self, node: NodeId) -> &[u8] {
        let node = &self.nodes[node.0 as usize];
        let start = node.name_start as usize;
        &self.names[start..start + usize::from(node.name_len)]
    }

    /// The children of a directory, in no order.
    pub(crate) fn children(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        let mut next = self.nodes[node.0 as usize].first_child;
        std::iter::from_fn(move || {
            let current = (next != NONE).then_some(NodeId(next))?;
            next = self.nodes[current.0 as usize].next_sibling;
            Some(current)
        })
    }

    fn node_mut(&mut self, node: NodeId) -> &mut Node {
        &mut self.nodes[node.0 as usize]
    }

    fn is_directory(&self, node: NodeId) -> bool {
        self.inode(self.inode_id(node)).is_directory()
    }

    fn lookup(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        let hash = self.hasher.hash_one((parent, name));
        self.index.find(hash, |node| self.parent(*node) == parent && self.name(*node) == name).copied()
    }

    /// Enters a name that is not there yet.
    fn link(&mut self, parent: NodeId, name: &[u8], inode: InodeId) -> Result<NodeId> {
        self.charge((size_of::<Node>() + name.len() + 8) as u64)?;
        let depth = self.nodes[parent.0 as usize].depth + 1;
        if depth > self.limits.depth {
            return Err(Error::Limit { what: "directories in one path", limit: self.limits.depth.into() });
        }
        let full = || Error::Limit { what: "bytes of names", limit: u32::MAX.into() };
        let node = NodeId(u32::try_from(self.nodes.len()).map_err(|_| full())?);
        let name_start = u32::try_from(self.names.len()).map_err(|_| full())?;
        let name_len =
            u8::try_from(name.len()).map_err(|_| Error::refused(name, "name longer than 255 bytes"))?;
        let next_sibling = std::mem::replace(&mut self.node_mut(parent).first_child, node.0);
        if next_sibling != NONE {
            self.node_mut(NodeId(next_sibling)).previous_sibling = node.0;
        }
        self.names.extend_from_slice(name);
        let layer = self.layer;
        self.nodes.push(Node {
            parent,
            inode,
            name_start,
            name_len,
            depth,
            layer,
            cleared: 0,
            first_child: NONE,
            next_sibling,
            previous_sibling: NONE,
        });
        let hash = self.hasher.hash_one((parent, name));
        let (nodes, names, hasher) = (&self.nodes, &self.names, &self.hasher);
        self.index.insert_unique(hash, node, |node| {
            let node = &nodes[node.0 as usize];
            let start = node.name_start as usize;
            hasher.hash_one((node.parent, &names[start..start + usize::from(node.name_len)]))
        });
        Ok(node)
    }

    /// Removes a name and, with it, all that is only reachable through it.
    fn unlink(&mut self, node: NodeId) {
        let Node { parent, previous_sibling, next_sibling, .. } = self.nodes[node.0 as usize];
        match previous_sibling {
            NONE => self.node_mut(parent).first_child = next_sibling,
            previous => self.node_mut(NodeId(previous)).next_sibling = next_sibling,
        }
        if next_sibling != NONE {
            self.node_mut(NodeId(next_sibling)).previous_sibling = previous_sibling;
        }
        let hash = self.hasher.hash_one((parent, self.name(node)));
        if let Ok(found) = self.index.find_entry(hash, |other| *other == node) {
            found.remove();
        }
    }

    fn add_inode(&mut self, inode: Inode) -> Result<InodeId> {
        self.charge(inode.memory())?;
        let limit = self.limits.entries;
        let id = u32::try_from(self.inodes.len()).ok().filter(|id| u64::from(*id) <= limit);
        let id = InodeId(id.ok_or(Error::Limit { what: "entries in one image", limit })?);
        self.inodes.push(inode);
        Ok(id)
    }

    fn charge(&mut self, bytes: u64) -> Result<()> {
        self.used_bytes += bytes;
        if self.used_bytes > self.limits.tree_bytes {
            return Err(Error::Limit {
                what: "bytes of names and attributes",
                limit: self.limits.tree_bytes,
            });
        }
        Ok(())
    }
}

impl InodeId {
    /// For tables by inode.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

impl Inode {
    fn new(kind: u16, metadata: Metadata, layer: u16, content: Content) -> Self {
        Self {
            mode: kind | (metadata.mode & !S_IFMT),
            layer,
            uid: metadata.uid,
            gid: metadata.gid,
            mtime_nsec: metadata.mtime_nsec,
            mtime: metadata.mtime,
            xattrs: (!metadata.xattrs.is_empty()).then(|| metadata.xattrs.into_boxed_slice()),
            content,
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }

    pub(crate) fn xattrs(&self) -> &[Xattr] {
        self.xattrs.as_deref().unwrap_or_default()
    }

    /// Bytes of memory it takes.
    fn memory(&self) -> u64 {
        let xattrs: usize =
            self.xattrs().iter().map(|x| size_of::<Xattr>() + x.suffix.len() + x.value.len() + 32).sum();
        let content = match &self.content {
            Content::Target(target) => target.len() + 16,
            Content::Chunked(chunked) => size_of::<Chunked>() + size_of_val(&*chunked.extents) + 32,
            Content::None | Content::Device(_) | Content::Plain { .. } => 0,
        };
        (size_of::<Self>() + xattrs + content) as u64
    }
}

impl From<FileData> for Content {
    fn from(data: FileData) -> Self {
        match data {
            FileData::Plain { size, block } => Self::Plain { size, block },
            FileData::Chunked { size, chunk_bits, extents } => {
                Self::Chunked(Box::new(Chunked { size, chunk_bits, extents: extents.into_boxed_slice() }))
            }
        }
    }
}
