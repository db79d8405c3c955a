//! A read-only disk made of pieces of files, one after the other.

use std::fs::File;
use std::io;

use monocore_virtio::Buffers;

use crate::disk::{DiskError, SECTOR_BYTES};

/// A piece of a disk.
#[derive(Debug)]
pub struct Part {
    /// The file it lies in, opened for reading, or nothing for zeroes.
    pub file: Option<File>,
    /// Where it begins in the file, in bytes.
    pub offset_bytes: u64,
    /// Its length, a multiple of [`SECTOR_BYTES`]; what lies past the file's end reads as zeroes.
    pub len_bytes: u64,
}

/// Pieces of files, read as one disk.
#[derive(Debug)]
pub struct Concat {
    /// Each piece with the disk's offset at which it ends, in bytes; none is empty.
    parts: Vec<(u64, Part)>,
}

impl Concat {
    /// A disk of `parts` in order.
    ///
    /// # Errors
    /// [`DiskError::Unaligned`] and [`DiskError::TooLarge`].
    pub fn new(parts: impl IntoIterator<Item = Part>) -> Result<Self, DiskError> {
        let mut end = 0u64;
        let mut ends = Vec::new();
        for part in parts.into_iter().filter(|part| part.len_bytes > 0) {
            if !part.len_bytes.is_multiple_of(SECTOR_BYTES) {
                return Err(DiskError::Unaligned(part.len_bytes));
            }
            let in_file = part.offset_bytes.checked_add(part.len_bytes);
            end = end.checked_add(part.len_bytes).ok_or(DiskError::TooLarge)?;
            if end > i64::MAX as u64 || in_file.is_none_or(|end| end > i64::MAX as u64) {
                return Err(DiskError::TooLarge);
            }
            ends.push((end, part));
        }
        Ok(Self { parts: ends })
    }

    /// Length of the disk, in bytes.
    pub fn len_bytes(&self) -> u64 {
        self.parts.last().map_or(0, |(end, _)| *end)
    }

    pub(crate) fn read<'m>(
        &self,
        offset_bytes: u64,
        data: &Buffers<'m>,
        scratch: &mut Buffers<'m>,
    ) -> io::Result<()> {
        let mut at = offset_bytes;
        let mut done = 0;
        let first = self.parts.partition_point(|(end, _)| *end <= at);
        for (end, part) in &self.parts[first..] {
            let left = data.len_bytes() - done;
            if left == 0 {
                break;
            }
            let count = usize::try_from(end - at).unwrap_or(usize::MAX).min(left);
            let in_part = part.len_bytes - (end - at);
            scratch.clear();
            scratch.append_range(data, done, count);
            match &part.file {
                Some(file) => read_full(file, part.offset_bytes + in_part, scratch)?,
                None => scratch.zero(0, count),
            }
            done += count;
            at += count as u64;
        }
        Ok(())
    }
}

/// Fills all of `data` from `file`, with zeroes past its end; empties the list on the way.
pub(crate) fn read_full(file: &File, offset_bytes: u64, data: &mut Buffers<'_>) -> io::Result<()> {
    let mut at = offset_bytes;
    while !data.is_empty() {
        let count = data.read_at(file, at)?;
        if count == 0 {
            data.zero(0, data.len_bytes());
            return Ok(());
        }
        at += count as u64;
        data.advance(count);
    }
    Ok(())
}
