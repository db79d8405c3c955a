//! Whether an entry is one that a conversion could have written: a store's files may be damaged.

use crate::data::chunks_max;
use crate::entry::{Entry, Extent, FileData, Kind, Metadata};
use crate::error::{Error, Result};
use crate::format::{BLOCK_BYTES, MAX_CHUNK_BITS, NAME_MAX, NULL_BLOCK, blocks};
use crate::limits::Limits;
use crate::log::Summary;
use crate::xattr;

/// Checks an entry of a log.
///
/// # Errors
/// [`Error::Corrupt`], naming the part.
pub(crate) fn entry(entry: &Entry, limits: &Limits) -> Result<()> {
    require(is_path(&entry.path, limits), "path in a tree log")?;
    match &entry.kind {
        Kind::Directory(metadata)
        | Kind::CharDevice(metadata, _)
        | Kind::BlockDevice(metadata, _)
        | Kind::Fifo(metadata) => require(is_metadata(metadata), "metadata in a tree log"),
        Kind::File(metadata, data) => {
            require(is_metadata(metadata), "metadata in a tree log")?;
            require(is_placed(data, limits), "file in a tree log")
        }
        Kind::Symlink(metadata, target) => {
            require(is_metadata(metadata), "metadata in a tree log")?;
            let fits = !target.is_empty() && target.len() < limits.path_bytes && !target.contains(&0);
            require(fits, "link target in a tree log")
        }
        Kind::HardLink(target) => require(is_path(target, limits), "path in a tree log"),
        Kind::Whiteout | Kind::Opaque => Ok(()),
    }
}

/// Checks what closes a log of so many entries.
///
/// # Errors
/// [`Error::Corrupt`].
pub(crate) fn summary(summary: &Summary, entries: u64) -> Result<()> {
    let data =
        summary.data_bytes.is_multiple_of(BLOCK_BYTES) && blocks(summary.data_bytes) < NULL_BLOCK.into();
    require(data && summary.entries == entries, "summary of a tree log")
}

fn require(holds: bool, what: &'static str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Corrupt { what }) }
}

/// Whether a path is clean; the empty one is the root.
fn is_path(path: &[u8], limits: &Limits) -> bool {
    let is_name = |name: &[u8]| {
        (1..=NAME_MAX).contains(&name.len()) && !matches!(name, b"." | b"..") && !name.contains(&0)
    };
    path.len() < limits.path_bytes && (path.is_empty() || path.split(|byte| *byte == b'/').all(is_name))
}

fn is_metadata(metadata: &Metadata) -> bool {
    let sorted =
        metadata.xattrs.is_sorted_by(|left, right| (left.index, &left.suffix) < (right.index, &right.suffix));
    metadata.mode < 0o10000
        && metadata.mtime_nsec < 1_000_000_000
        && sorted
        && metadata.xattrs.iter().all(xattr::fits)
        && xattr::inline_bytes(&metadata.xattrs) <= xattr::INLINE_MAX
}

/// Whether a file can be laid out: chunks ascend, none lies past the end, and there are not more of them than its
/// content may have brought.
fn is_placed(data: &FileData, limits: &Limits) -> bool {
    if data.size() > limits.file_bytes {
        return false;
    }
    let FileData::Chunked { size, chunk_bits, extents } = data else { return true };
    if *chunk_bits > MAX_CHUNK_BITS {
        return false;
    }
    let chunks = size.div_ceil(BLOCK_BYTES << chunk_bits);
    let most = chunks_max(limits.sparse_segments, limits.layer_bytes);
    let mut end = 0;
    let ascend = extents.iter().all(|Extent { chunk, chunks, .. }| {
        let begins = u64::from(*chunk) >= end && *chunks > 0;
        end = u64::from(*chunk) + u64::from(*chunks);
        begins
    });
    ascend && end <= chunks && (chunks <= most || *chunk_bits == MAX_CHUNK_BITS)
}
