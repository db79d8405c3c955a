//! Which inode lies where.

use super::{directory, place_layers};
use crate::error::{Error, Result};
use crate::format::{BLOCK_BYTES, DataLayout, INODE_BYTES, NULL_BLOCK, ROOT_NID, SLOT_BYTES, blocks};
use crate::tree::{Content, Inode, NodeId, ROOT, Tree};
use crate::xattr;

/// Tails longer than this get a block of their own: they would leave larger gaps than they save.
const INLINE_MAX: u64 = 2048;
/// Place of an inode that cannot be reached.
const UNPLACED: u32 = u32::MAX;

/// A place for every inode that can be reached from the root.
#[derive(Debug)]
pub(super) struct Layout {
    /// Inodes in the order they are written, each with one of its names.
    pub(super) inodes: Vec<Placed>,
    /// Place in `inodes` by inode, [`UNPLACED`] for what cannot be reached.
    places: Vec<u32>,
    /// Names by inode.
    links: Vec<u32>,
    /// The directories' children, each directory's sorted.
    children: Vec<NodeId>,
    /// Blocks of metadata.
    pub(super) metadata_blocks: u64,
    /// Offset and length of each layer's data.
    pub(super) layers: Vec<(u64, u64)>,
}

/// One inode's place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) node: NodeId,
    /// Its number: offset in slots.
    pub(super) nid: u32,
    /// First block of what is not inlined, if anything.
    pub(super) block: u32,
    /// Directories: where the children begin, and how many there are.
    first_child: u32,
    child_count: u32,
}

impl Layout {
    pub(super) fn new(tree: &Tree) -> Result<Self> {
        let mut layout = Self {
            inodes: Vec::new(),
            places: vec![UNPLACED; tree.inode_count()],
            links: vec![0; tree.inode_count()],
            children: Vec::new(),
            metadata_blocks: 0,
            layers: Vec::new(),
        };
        layout.collect(tree);
        layout.place(tree)?;
        layout.layers = place_layers(layout.metadata_blocks * BLOCK_BYTES, tree.data_bytes());
        address(layout.device_bytes() / BLOCK_BYTES)?;
        for placed in &layout.inodes {
            layout.check_data(tree.inode(tree.inode_id(placed.node)))?;
        }
        Ok(layout)
    }

    /// Length of the whole device, the last layer's data included.
    pub(super) fn device_bytes(&self) -> u64 {
        let mut ends = self.layers.iter().filter(|(_, bytes)| *bytes > 0).map(|(start, bytes)| start + bytes);
        ends.next_back().unwrap_or(self.metadata_blocks * BLOCK_BYTES)
    }

    /// The inode number of a node.
    pub(super) fn nid(&self, tree: &Tree, node: NodeId) -> u64 {
        let place = self.places[tree.inode_id(node).index()];
        self.inodes.get(place as usize).map_or(0, |placed| placed.nid.into())
    }

    /// Sorted children of a directory.
    pub(super) fn children(&self, placed: &Placed) -> &[NodeId] {
        let first = placed.first_child as usize;
        &self.children[first..first + placed.child_count as usize]
    }

    /// Number of links of an inode.
    pub(super) fn nlink(&self, tree: &Tree, placed: &Placed) -> u32 {
        let id = tree.inode_id(placed.node);
        if !tree.inode(id).is_directory() {
            return self.links[id.index()];
        }
        let is_directory = |node: &&NodeId| tree.inode(tree.inode_id(**node)).is_directory();
        let below = self.children(placed).iter().filter(is_directory).count();
        u32::try_from(below).unwrap_or(u32::MAX - 2) + 2
    }

    /// The first block on the device of a layer's block.
    pub(super) fn data_block(&self, layer: u16, block: u32) -> u32 {
        // Layers count from 1. The device's last block was found to fit 32 bits.
        let start = self.layers[usize::from(layer) - 1].0 / BLOCK_BYTES;
        u32::try_from(start + u64::from(block)).unwrap_or(NULL_BLOCK)
    }

    /// Lists inodes breadth first and every directory's children sorted.
    fn collect(&mut self, tree: &Tree) {
        self.visit(tree, ROOT);
        let mut next = 0;
        while let Some(&Placed { node, .. }) = self.inodes.get(next) {
            if tree.inode(tree.inode_id(node)).is_directory() {
                let first = self.children.len();
                self.children.extend(tree.children(node));
                self.children[first..]
                    .sort_unstable_by(|left, right| tree.name(*left).cmp(tree.name(*right)));
                // Nodes are numbered with 32 bits.
                self.inodes[next].first_child = u32::try_from(first).unwrap_or(u32::MAX);
                self.inodes[next].child_count =
                    u32::try_from(self.children.len() - first).unwrap_or(u32::MAX);
                for child in first..self.children.len() {
                    self.visit(tree, self.children[child]);
                }
            }
            next += 1;
        }
    }

    fn visit(&mut self, tree: &Tree, node: NodeId) {
        let inode = tree.inode_id(node).index();
        self.links[inode] += 1;
        if self.places[inode] == UNPLACED {
            self.places[inode] = u32::try_from(self.inodes.len()).unwrap_or(UNPLACED);
            self.inodes.push(Placed { node, nid: 0, block: 0, first_child: 0, child_count: 0 });
        }
    }

    fn place(&mut self, tree: &Tree) -> Result<()> {
        let mut end = u64::from(ROOT_NID) * SLOT_BYTES;
        let mut extra_blocks = 0;
        for index in 0..self.inodes.len() {
            let placed = self.inodes[index];
            let shape = self.shape(tree, &placed);
            let head = INODE_BYTES + xattr::inline_bytes(tree.inode(tree.inode_id(placed.node)).xattrs());
            let mut start = end.next_multiple_of(SLOT_BYTES);
            let tail = start + head;
            // Neither the fixed part nor an inline tail may cross a block's end.
            let crosses =
                |from: u64, bytes: u64| bytes > 0 && from / BLOCK_BYTES != (from + bytes - 1) / BLOCK_BYTES;
            if crosses(start, INODE_BYTES) || crosses(tail, shape.inline_bytes) {
                start = start.next_multiple_of(BLOCK_BYTES);
            }
            end = start + head + shape.inline_bytes + shape.chunk_array_bytes;
            let placed = &mut self.inodes[index];
            placed.nid = u32::try_from(start / SLOT_BYTES).map_err(|_| too_many_blocks())?;
            placed.block = address(extra_blocks)?;
            extra_blocks += shape.blocks;
        }
        let first = blocks(end);
        for placed in &mut self.inodes {
            placed.block = address(first + u64::from(placed.block))?;
        }
        self.metadata_blocks = first + extra_blocks;
        address(self.metadata_blocks)?;
        Ok(())
    }

    /// How an inode's own content (not a file's) is stored.
    pub(super) fn shape(&self, tree: &Tree, placed: &Placed) -> Shape {
        let inode = tree.inode(tree.inode_id(placed.node));
        let head = INODE_BYTES + xattr::inline_bytes(inode.xattrs());
        match &inode.content {
            Content::Target(target) => Shape::of(head, target.len() as u64),
            Content::None if inode.is_directory() => {
                let names = sorted_names(self.children(placed).iter().map(|node| tree.name(*node)));
                Shape::of(head, directory::encoded_bytes(names))
            }
            Content::Chunked(file) => {
                let chunks = file.size.div_ceil(BLOCK_BYTES << file.chunk_bits);
                Shape { chunk_array_bytes: chunks * 4, ..Shape::new(DataLayout::Chunked, file.size) }
            }
            Content::Plain { size, .. } => Shape::new(DataLayout::Plain, *size),
            Content::None | Content::Device(_) => Shape::new(DataLayout::Plain, 0),
        }
    }

    fn check_data(&self, inode: &Inode) -> Result<()> {
        let fits = |block: u32, count: u64| {
            let layer = usize::from(inode.layer).checked_sub(1).and_then(|layer| self.layers.get(layer));
            layer.is_some_and(|(_, bytes)| u64::from(block) + count <= bytes / BLOCK_BYTES)
        };
        let inside = match &inode.content {
            Content::Plain { size, block } => *size == 0 || fits(*block, blocks(*size)),
            Content::Chunked(file) => file.extents.iter().all(|extent| {
                // The last chunk may be cut where the file ends.
                let start = u64::from(extent.chunk) << file.chunk_bits;
                let end = (u64::from(extent.chunk) + u64::from(extent.chunks)) << file.chunk_bits;
                fits(extent.block, end.min(blocks(file.size)).saturating_sub(start))
            }),
            _ => true,
        };
        if inside { Ok(()) } else { Err(Error::Corrupt { what: "place of a file in its layer's data" }) }
    }
}

/// How much of an inode's content goes where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) layout: DataLayout,
    /// Size that the inode announces.
    pub(super) size: u64,
    /// Bytes directly behind the inode.
    pub(super) inline_bytes: u64,
    /// Bytes of chunk addresses behind the inode.
    chunk_array_bytes: u64,
    /// Blocks behind all inodes.
    pub(super) blocks: u64,
}

impl Shape {
    fn new(layout: DataLayout, size: u64) -> Self {
        Self { layout, size, inline_bytes: 0, chunk_array_bytes: 0, blocks: 0 }
    }

    /// Of content that is stored in the metadata, behind a head of so many bytes.
    fn of(head: u64, size: u64) -> Self {
        let tail = size % BLOCK_BYTES;
        // A tail on a fresh block at worst; attributes may be longer than one.
        let fits = tail <= INLINE_MAX && head + tail <= BLOCK_BYTES;
        if tail > 0 && fits {
            Self { inline_bytes: tail, blocks: size / BLOCK_BYTES, ..Self::new(DataLayout::Inline, size) }
        } else {
            Self { blocks: blocks(size), ..Self::new(DataLayout::Plain, size) }
        }
    }
}

/// `.` and `..` among the names of a directory, which come sorted, in their places.
pub(super) fn sorted_names<'n>(names: impl Iterator<Item = &'n [u8]>) -> impl Iterator<Item = &'n [u8]> {
    let mut names = names.peekable();
    let mut dots: &[&'n [u8]] = &[b".", b".."];
    std::iter::from_fn(move || match (dots.split_first(), names.peek()) {
        (Some((dot, rest)), next) if next.is_none_or(|name| dot < name) => {
            dots = rest;
            Some(*dot)
        }
        _ => names.next(),
    })
}

/// A block number, if 32 bits hold it.
fn address(block: u64) -> Result<u32> {
    u32::try_from(block).ok().filter(|block| *block != NULL_BLOCK).ok_or_else(too_many_blocks)
}

fn too_many_blocks() -> Error {
    Error::Limit { what: "blocks of 4 KiB in one image", limit: NULL_BLOCK.into() }
}
