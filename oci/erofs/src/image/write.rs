//! The metadata, front to back.

use std::io::Write;

use super::directory::{self, Entry};
use super::layout::{Layout, Placed, Shape, sorted_names};
use crate::error::{Error, Result};
use crate::format::{
    BLOCK_BYTES, BLOCK_LEN, FEATURE_INCOMPAT_CHUNKED_FILE, NULL_BLOCK, ROOT_NID, RawInode, SLOT_BYTES,
    SUPER_OFFSET, SuperBlock, file_type,
};
use crate::tree::{Chunked, Content, Inode, NodeId, Tree};
use crate::xattr;

/// An output that knows its position.
struct Output<W> {
    out: W,
    position: u64,
}

impl<W: Write> Output<W> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Addresses of so many chunks that are holes.
    fn holes(&mut self, count: u64) -> Result<()> {
        const HOLES: [u8; BLOCK_LEN] = [0xff; BLOCK_LEN];
        let mut left = count * 4;
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(BLOCK_LEN).min(BLOCK_LEN);
            self.bytes(&HOLES[..now])?;
            left -= now as u64;
        }
        Ok(())
    }

    fn zeroes_to(&mut self, position: u64) -> Result<()> {
        const ZEROES: [u8; BLOCK_LEN] = [0; BLOCK_LEN];
        let gap =
            position.checked_sub(self.position).ok_or(Error::Corrupt { what: "layout of the image" })?;
        let mut left = usize::try_from(gap).map_err(|_| Error::Corrupt { what: "layout of the image" })?;
        while left > 0 {
            let now = left.min(ZEROES.len());
            self.bytes(&ZEROES[..now])?;
            left -= now;
        }
        Ok(())
    }
}

pub(super) fn write(tree: &Tree, layout: &Layout, uuid: [u8; 16], out: impl Write) -> Result<()> {
    let mut out = Output { out, position: 0 };
    let chunked =
        |placed: &Placed| matches!(tree.inode(tree.inode_id(placed.node)).content, Content::Chunked(_));
    let superblock = SuperBlock {
        root_nid: ROOT_NID,
        inodes: layout.inodes.len() as u64,
        // Found to fit when the device was laid out.
        blocks: u32::try_from(layout.device_bytes().div_ceil(BLOCK_BYTES)).unwrap_or(NULL_BLOCK),
        uuid,
        incompat: if layout.inodes.iter().any(chunked) { FEATURE_INCOMPAT_CHUNKED_FILE } else { 0 },
    };
    out.zeroes_to(SUPER_OFFSET)?;
    out.bytes(&superblock.encode())?;
    let mut content = Vec::new();
    for (index, placed) in layout.inodes.iter().enumerate() {
        out.zeroes_to(u64::from(placed.nid) * SLOT_BYTES)?;
        let shape = layout.shape(tree, placed);
        let inode = tree.inode(tree.inode_id(placed.node));
        let ino = u32::try_from(index + 1).unwrap_or(u32::MAX);
        out.bytes(&raw_inode(tree, layout, placed, &shape, ino).encode())?;
        content.clear();
        xattr::encode(inode.xattrs(), &mut content);
        out.bytes(&content)?;
        if shape.inline_bytes > 0 {
            own_content(tree, layout, placed, &mut content);
            let start = usize::try_from(shape.blocks * BLOCK_BYTES).unwrap_or(usize::MAX);
            out.bytes(content.get(start..).unwrap_or_default())?;
        }
        if let Content::Chunked(file) = &inode.content {
            chunk_array(layout, inode.layer, file, &mut out)?;
        }
    }
    for placed in &layout.inodes {
        let shape = layout.shape(tree, placed);
        if shape.blocks > 0 {
            out.zeroes_to(u64::from(placed.block) * BLOCK_BYTES)?;
            own_content(tree, layout, placed, &mut content);
            let end = usize::try_from(shape.blocks * BLOCK_BYTES).unwrap_or(usize::MAX).min(content.len());
            out.bytes(&content[..end])?;
        }
    }
    out.zeroes_to(layout.metadata_blocks * BLOCK_BYTES)
}

fn raw_inode(tree: &Tree, layout: &Layout, placed: &Placed, shape: &Shape, ino: u32) -> RawInode {
    let inode = tree.inode(tree.inode_id(placed.node));
    let data = match &inode.content {
        Content::Device(number) => *number,
        Content::Plain { size: 0, .. } => 0,
        Content::Plain { block, .. } => layout.data_block(inode.layer, *block),
        Content::Chunked(file) => file.chunk_bits.into(),
        Content::None | Content::Target(_) if shape.blocks > 0 => placed.block,
        Content::None | Content::Target(_) => 0,
    };
    RawInode {
        layout: shape.layout,
        xattr_icount: xattr_icount(inode),
        mode: inode.mode,
        size: shape.size,
        data,
        ino,
        uid: inode.uid,
        gid: inode.gid,
        mtime: inode.mtime,
        mtime_nsec: inode.mtime_nsec,
        nlink: layout.nlink(tree, placed),
    }
}

/// `i_xattr_icount`: one for the header, one for each word behind it.
fn xattr_icount(inode: &Inode) -> u16 {
    match xattr::inline_bytes(inode.xattrs()) {
        0 => 0,
        // Bounded when the attributes were taken in.
        bytes => u16::try_from((bytes - 12) / 4 + 1).unwrap_or(u16::MAX),
    }
}

/// Replaces `content` with what a directory or link holds.
fn own_content(tree: &Tree, layout: &Layout, placed: &Placed, content: &mut Vec<u8>) {
    content.clear();
    match &tree.inode(tree.inode_id(placed.node)).content {
        Content::Target(target) => content.extend_from_slice(target),
        _ => directory::encode(&entries(tree, layout, placed), content),
    }
}

fn entries<'t>(tree: &'t Tree, layout: &Layout, placed: &Placed) -> Vec<Entry<'t>> {
    let entry = |name, node: NodeId| Entry {
        name,
        nid: layout.nid(tree, node),
        file_type: file_type(tree.inode(tree.inode_id(node)).mode),
    };
    let children = layout.children(placed);
    let mut nodes = children.iter();
    sorted_names(children.iter().map(|node| tree.name(*node)))
        .filter_map(|name| match name {
            b"." => Some(entry(name, placed.node)),
            b".." => Some(entry(name, tree.parent(placed.node))),
            name => Some(entry(name, *nodes.next()?)),
        })
        .collect()
}

/// Writes the addresses of a file's chunks, holes included; in pieces, for a file may have millions.
fn chunk_array(layout: &Layout, layer: u16, file: &Chunked, out: &mut Output<impl Write>) -> Result<()> {
    let chunks = file.size.div_ceil(BLOCK_BYTES << file.chunk_bits);
    let mut written = 0;
    for extent in &file.extents {
        // Extents were found to ascend.
        out.holes(u64::from(extent.chunk).saturating_sub(written))?;
        for index in 0..extent.chunks {
            // An extent's blocks were found to lie in its layer's data, so this stays within 32 bits.
            let block = extent.block.wrapping_add(index.wrapping_shl(file.chunk_bits.into()));
            out.bytes(&layout.data_block(layer, block).to_le_bytes())?;
        }
        written = u64::from(extent.chunk) + u64::from(extent.chunks);
    }
    out.holes(chunks.saturating_sub(written))
}
