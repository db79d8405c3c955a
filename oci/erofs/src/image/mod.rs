//! A merged tree laid out as EROFS metadata.
//!
//! The metadata is written front to back in one pass:
//!
//! ```text
//! superblock │ inodes, each with its attributes, then its inline tail or its chunk array │ blocks
//! ```
//!
//! Inodes come breadth first, the root as number 36 behind the superblock, so that a directory's children lie side
//! by side. *Blocks* hold what is too large to be inlined: directories and long link targets. Contents of files lie
//! beyond the metadata, in the layers' data.

mod directory;
mod layout;
mod write;

use std::io::{BufWriter, Write};

use crate::error::Result;
use crate::format::{BLOCK_BYTES, align_layer};
use crate::tree::Tree;

use layout::Layout;

/// A tree with a place for everything, ready to be written.
#[derive(Debug)]
pub struct Image<'t> {
    tree: &'t Tree,
    layout: Layout,
}

/// Where the parts of the device lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// Length of the metadata in bytes, a multiple of [`BLOCK_BYTES`].
    pub metadata_bytes: u64,
    /// Offset on the device and length of each layer's data in bytes, in the order of the layers.
    pub layers: Vec<(u64, u64)>,
    /// Inodes in the image.
    pub inodes: u64,
}

impl<'t> Image<'t> {
    /// Lays out a tree.
    ///
    /// # Errors
    /// [`Error::Limit`](crate::Error::Limit) if the device would have more blocks than EROFS can address;
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a file lies outside its layer's data.
    pub fn new(tree: &'t Tree) -> Result<Self> {
        Ok(Self { tree, layout: Layout::new(tree)? })
    }

    /// Where the parts of the device lie.
    pub fn summary(&self) -> ImageSummary {
        ImageSummary {
            metadata_bytes: self.layout.metadata_blocks * BLOCK_BYTES,
            layers: self.layout.layers.clone(),
            inodes: self.layout.inodes.len() as u64,
        }
    }

    /// Writes the metadata. The same tree and `uuid` give the same bytes.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, uuid: [u8; 16], out: impl Write) -> Result<()> {
        let mut out = BufWriter::with_capacity(256 << 10, out);
        write::write(self.tree, &self.layout, uuid, &mut out)?;
        out.flush()?;
        Ok(())
    }
}

/// Places the layers' data behind the metadata.
fn place_layers(metadata_bytes: u64, data_bytes: &[u64]) -> Vec<(u64, u64)> {
    let mut end = metadata_bytes;
    let mut place = |bytes: &u64| {
        let start = align_layer(end);
        if *bytes > 0 {
            end = start + bytes;
        }
        (start, *bytes)
    };
    data_bytes.iter().map(&mut place).collect()
}
