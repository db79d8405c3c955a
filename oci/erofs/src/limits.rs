//! What one image may cost.

use monocore_archive::ArchiveLimits;

/// Bounds on what a layer or an image may make us store or hold in memory.
///
/// The defaults admit every image met in practice and keep a conversion's memory well under 256 MiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of an image's layers together: as they are fetched, and again as uncompressed tar streams.
    pub image_bytes: u64,
    /// Bytes of one layer's uncompressed tar stream.
    pub layer_bytes: u64,
    /// Entries in one layer, and in one image's merged tree.
    pub entries: u64,
    /// Bytes of memory the merged tree may take: names, attributes, extents, nodes.
    pub tree_bytes: u64,
    /// Bytes of one path or link target (Linux' PATH_MAX, its NUL included).
    pub path_bytes: usize,
    /// Path components looked up for all entries of one image, those of followed links included.
    pub lookups: u64,
    /// Depth of one path once symbolic links in it are resolved.
    pub depth: u16,
    /// Bytes of one PAX or GNU long-name header.
    pub header_bytes: u64,
    /// Size of one file in bytes, holes included (ext4's bound, so that an unpacking tool would agree).
    pub file_bytes: u64,
    /// Data segments of one sparse file.
    pub sparse_segments: usize,
}

impl Limits {
    /// The defaults, with another bound for an image's bytes, which may all be one layer's.
    pub fn with_image_bytes(image_bytes: u64) -> Self {
        Self { image_bytes, layer_bytes: image_bytes, ..Self::default() }
    }

    /// What of them concerns the reading of one layer.
    pub(crate) fn archive(&self) -> ArchiveLimits {
        ArchiveLimits {
            stream_bytes: self.layer_bytes,
            header_bytes: self.header_bytes,
            sparse_segments: self.sparse_segments,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            image_bytes: 128 << 30,
            layer_bytes: 64 << 30,
            entries: 2_000_000,
            tree_bytes: 144 << 20,
            path_bytes: 4096,
            lookups: 100_000_000,
            depth: 2048,
            header_bytes: 1 << 20,
            file_bytes: (16 << 40) - 4096,
            sparse_segments: 65_536,
        }
    }
}
