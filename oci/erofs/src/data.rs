//! A layer's data file: contents of regular files, each distinct content once, aligned to blocks.
//!
//! A file is written while its stream passes. What turns out to be a duplicate is taken back. Chunks that are all
//! zero are not written at all; they become holes.

use std::collections::HashMap;
use std::fs::File;
use std::hash::Hasher;
use std::io;
use std::os::unix::fs::FileExt;

use twox_hash::XxHash64;

use crate::entry::{Extent, FileData};
use crate::error::{Error, Result};
use crate::format::{BLOCK_BYTES, MAX_CHUNK_BITS, NULL_BLOCK, blocks};

/// Where a layer's data goes.
pub trait DataStore {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// Those of the medium.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Fills `bytes` from `offset`.
    ///
    /// # Errors
    /// Those of the medium, and the end of it.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// Cuts or extends with zeroes to `bytes`.
    ///
    /// # Errors
    /// Those of the medium.
    fn set_len(&mut self, bytes: u64) -> io::Result<()>;
}

impl DataStore for File {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(bytes, offset)
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        Self::set_len(self, bytes)
    }
}

/// Data in memory, for tests and fuzzing: holes take their full size.
impl DataStore for Vec<u8> {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let end = start.checked_add(bytes.len()).ok_or(io::ErrorKind::OutOfMemory)?;
        if self.len() < end {
            self.resize(end, 0);
        }
        self[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        crate::reader::ReadAt::read_at(&self.as_slice(), bytes, offset)
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        self.resize(usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?, 0);
        Ok(())
    }
}

/// Small writes are gathered up to this many bytes.
const BUFFER_BYTES: usize = 1 << 20;
/// Pieces at least this long are written without being gathered.
const DIRECT_BYTES: usize = 64 << 10;
/// Zeroes are looked for in units of this many blocks: a hole must be worth its chunk.
const DENSE_CHUNK_BITS: u8 = 4;
/// Distinct contents remembered per layer: bounds memory, and past it contents are merely stored twice.
const REMEMBERED: usize = 448 << 10;

/// Writes a layer's data.
#[derive(Debug)]
pub(crate) struct DataWriter<S> {
    store: S,
    buffer: Vec<u8>,
    /// Bytes of the data that are in the store; the buffer follows.
    stored: u64,
    /// Contents written so far: hash → size and first block. A hash is a hint only, bytes are compared.
    contents: HashMap<u64, (u64, u32)>,
}

/// A file being written.
#[derive(Debug)]
pub(crate) struct FileWriter {
    size: u64,
    chunk_bits: u8,
    /// Where the file's first byte went.
    start: u64,
    /// Offset in the file up to which content or hole is settled.
    position: u64,
    /// Whether the current chunk has content; zeroes before it are owed.
    chunk_open: bool,
    extents: Vec<Extent>,
    hash: XxHash64,
}

impl<S: DataStore> DataWriter<S> {
    pub(crate) fn new(store: S) -> Self {
        Self { store, buffer: Vec::with_capacity(BUFFER_BYTES), stored: 0, contents: HashMap::new() }
    }

    /// Starts a file of `size` bytes whose content is at most `data_segments` runs with `data_bytes` in all
    /// (a dense file: one run of everything).
    pub(crate) fn begin(&self, size: u64, data_segments: usize, data_bytes: u64) -> FileWriter {
        FileWriter {
            size,
            chunk_bits: chunk_bits(size, data_segments, data_bytes),
            start: self.end(),
            position: 0,
            chunk_open: false,
            extents: Vec::new(),
            hash: XxHash64::with_seed(0),
        }
    }

    /// Takes `bytes` of the file at `offset`, which lies at or behind all that was given before.
    pub(crate) fn write(&mut self, file: &mut FileWriter, offset: u64, mut bytes: &[u8]) -> Result<()> {
        if offset < file.position
            || file.size.checked_sub(offset).is_none_or(|room| room < bytes.len() as u64)
        {
            return Err(Error::Corrupt { what: "order of a sparse file's segments" });
        }
        self.skip_to(file, offset)?;
        while !bytes.is_empty() {
            let room = file.chunk_end() - file.position;
            let (now, rest) = bytes.split_at(bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            if !file.chunk_open && (file.always_solid() || now.iter().any(|byte| *byte != 0)) {
                self.open_chunk(file)?;
            }
            if file.chunk_open {
                file.hash.write(now);
                self.append(now)?;
            }
            file.position += now.len() as u64;
            self.settle(file)?;
            bytes = rest;
        }
        Ok(())
    }

    /// Completes the file and says where it lies.
    pub(crate) fn finish(&mut self, mut file: FileWriter) -> Result<FileData> {
        let size = file.size;
        self.skip_to(&mut file, size)?;
        self.settle(&mut file)?;
        if size == 0 {
            return Ok(FileData::Plain { size, block: 0 });
        }
        let chunks = size.div_ceil(file.chunk_bytes());
        match file.extents[..] {
            [Extent { chunk: 0, chunks: all, block }] if u64::from(all) == chunks => {
                let block = if file.may_be_duplicate() { self.deduplicate(&file, block)? } else { block };
                Ok(FileData::Plain { size, block })
            }
            _ => Ok(FileData::Chunked {
                size,
                chunk_bits: file.chunk_bits,
                extents: std::mem::take(&mut file.extents),
            }),
        }
    }

    /// Writes what is left and gives back the store and the length of the data in bytes.
    pub(crate) fn into_store(mut self) -> Result<(S, u64)> {
        self.flush()?;
        self.store.set_len(self.stored)?;
        Ok((self.store, self.stored))
    }

    fn end(&self) -> u64 {
        self.stored + self.buffer.len() as u64
    }

    /// Moves over bytes that are zero.
    fn skip_to(&mut self, file: &mut FileWriter, offset: u64) -> Result<()> {
        while file.position < offset {
            if file.position.is_multiple_of(file.chunk_bytes()) && !file.chunk_open && !file.always_solid() {
                // Whole chunks at once: a hole may be terabytes.
                let whole = (offset - file.position) / file.chunk_bytes() * file.chunk_bytes();
                file.position += whole;
                if whole > 0 {
                    continue;
                }
            }
            if file.always_solid() && !file.chunk_open {
                self.open_chunk(file)?;
            }
            let zeroes = file.chunk_end().min(offset) - file.position;
            if file.chunk_open {
                self.zeroes(file, zeroes)?;
            }
            file.position += zeroes;
            self.settle(file)?;
        }
        Ok(())
    }

    /// Gives the current chunk a place, and the zeroes of it that were passed over.
    fn open_chunk(&mut self, file: &mut FileWriter) -> Result<()> {
        let chunk = file.position / file.chunk_bytes();
        let owed = file.position % file.chunk_bytes();
        let block = block_number(self.end())?;
        let chunk = u32::try_from(chunk).map_err(|_| too_large())?;
        match file.extents.last_mut() {
            Some(last)
                if last.chunk + last.chunks == chunk
                    && u64::from(last.block) + (u64::from(last.chunks) << file.chunk_bits)
                        == u64::from(block) =>
            {
                last.chunks += 1;
            }
            _ => file.extents.push(Extent { chunk, chunks: 1, block }),
        }
        file.chunk_open = true;
        self.zeroes(file, owed)
    }

    /// At the end of a chunk or of the file: completes the last block and closes the chunk.
    fn settle(&mut self, file: &mut FileWriter) -> Result<()> {
        if file.position == file.size {
            let end = self.end();
            self.append_zeroes(end.next_multiple_of(BLOCK_BYTES) - end)?;
            file.chunk_open = false;
        } else if file.position.is_multiple_of(file.chunk_bytes()) {
            file.chunk_open = false;
        }
        Ok(())
    }

    /// Zeroes that are part of a chunk with content.
    fn zeroes(&mut self, file: &mut FileWriter, count: u64) -> Result<()> {
        if file.may_be_duplicate() {
            // At most a chunk of 64 KiB.
            for _ in 0..count {
                file.hash.write_u8(0);
            }
        }
        self.append_zeroes(count)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() >= DIRECT_BYTES {
            self.flush()?;
            self.store.write_at(bytes, self.stored)?;
            self.stored += bytes.len() as u64;
            return Ok(());
        }
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn append_zeroes(&mut self, count: u64) -> Result<()> {
        block_number(self.end().checked_add(count).ok_or_else(too_large)?)?;
        match usize::try_from(count).ok().filter(|count| *count <= DIRECT_BYTES) {
            Some(count) => {
                if self.buffer.len() + count > BUFFER_BYTES {
                    self.flush()?;
                }
                self.buffer.resize(self.buffer.len() + count, 0);
            }
            None => {
                // A hole in the data file; nothing was ever written behind the end.
                self.flush()?;
                self.stored += count;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if !self.buffer.is_empty() {
            self.store.write_at(&self.buffer, self.stored)?;
            self.stored += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }

    /// The block where this content lies already, its copy taken back; else `block`.
    fn deduplicate(&mut self, file: &FileWriter, block: u32) -> Result<u32> {
        let hash = file.hash.finish();
        match self.contents.get(&hash) {
            Some(&(size, first)) if size == file.size && self.same(first, block, blocks(size))? => {
                self.truncate(file.start)?;
                Ok(first)
            }
            Some(_) => Ok(block),
            None => {
                if self.contents.len() < REMEMBERED {
                    self.contents.insert(hash, (file.size, block));
                }
                Ok(block)
            }
        }
    }

    fn same(&self, first: u32, second: u32, count: u64) -> Result<bool> {
        let (mut left, mut right) = (vec![0; DIRECT_BYTES], vec![0; DIRECT_BYTES]);
        let bytes = count * BLOCK_BYTES;
        let mut done = 0;
        while done < bytes {
            let now = usize::try_from(bytes - done).unwrap_or(usize::MAX).min(DIRECT_BYTES);
            self.read(&mut left[..now], u64::from(first) * BLOCK_BYTES + done)?;
            self.read(&mut right[..now], u64::from(second) * BLOCK_BYTES + done)?;
            if left[..now] != right[..now] {
                return Ok(false);
            }
            done += now as u64;
        }
        Ok(true)
    }

    /// Reads data already appended, wherever it is.
    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        let in_store = self.stored.saturating_sub(offset).min(bytes.len() as u64);
        let (front, back) = bytes.split_at_mut(usize::try_from(in_store).unwrap_or(usize::MAX));
        if !front.is_empty() {
            self.store.read_at(front, offset)?;
        }
        if !back.is_empty() {
            let from = usize::try_from(offset + in_store - self.stored).unwrap_or(usize::MAX);
            let source =
                self.buffer.get(from..from + back.len()).ok_or(Error::Corrupt { what: "layer data" })?;
            back.copy_from_slice(source);
        }
        Ok(())
    }

    /// Takes back everything from `offset` on, so that a hole left there later reads as zeroes.
    fn truncate(&mut self, offset: u64) -> Result<()> {
        match offset.checked_sub(self.stored) {
            Some(kept) => self.buffer.truncate(usize::try_from(kept).unwrap_or(usize::MAX)),
            None => {
                self.buffer.clear();
                self.store.set_len(offset)?;
                self.stored = offset;
            }
        }
        Ok(())
    }
}

impl FileWriter {
    fn chunk_bytes(&self) -> u64 {
        BLOCK_BYTES << self.chunk_bits
    }

    /// End of the chunk that `position` lies in, in the file.
    fn chunk_end(&self) -> u64 {
        ((self.position / self.chunk_bytes() + 1) * self.chunk_bytes()).min(self.size)
    }

    /// In larger chunks zeroes are not hashed, lest a terabyte of them be.
    fn may_be_duplicate(&self) -> bool {
        self.chunk_bits <= DENSE_CHUNK_BITS
    }

    /// Files of less than a chunk are stored whole: a plain file is the cheapest to read.
    fn always_solid(&self) -> bool {
        self.size < BLOCK_BYTES << DENSE_CHUNK_BITS
    }
}

/// Chooses a file's chunk size so that its chunk array stays in proportion to the content that came over the wire,
/// however large the holes.
fn chunk_bits(size: u64, data_segments: usize, data_bytes: u64) -> u8 {
    let dense = data_bytes == size;
    let entries_max = chunks_max(data_segments, data_bytes);
    let least = if dense { DENSE_CHUNK_BITS } else { 0 };
    (least..MAX_CHUNK_BITS)
        .find(|bits| size.div_ceil(BLOCK_BYTES << bits) <= entries_max)
        .unwrap_or(MAX_CHUNK_BITS)
}

/// Most chunks of a file with so many data segments and bytes in them, unless its chunks are as large as can be.
pub(crate) fn chunks_max(data_segments: usize, data_bytes: u64) -> u64 {
    64 + 2 * blocks(data_bytes) + 256 * data_segments as u64
}

fn block_number(offset: u64) -> Result<u32> {
    u32::try_from(offset / BLOCK_BYTES).ok().filter(|block| *block != NULL_BLOCK).ok_or_else(too_large)
}

fn too_large() -> Error {
    Error::Limit { what: "blocks of data in one layer", limit: NULL_BLOCK.into() }
}

#[cfg(test)]
mod tests;
