//! A disk in one raw file, written in place; what is discarded becomes a hole.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use monocore_virtio::Buffers;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::concat::read_full;
use crate::disk::{DiskError, SECTOR_BYTES};

/// How much is zeroed by one write where the file system cannot do it itself.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// One file as a disk.
#[derive(Debug)]
pub struct Raw {
    file: File,
    len_bytes: u64,
    read_only: bool,
}

impl Raw {
    /// A disk as long as `file` is now, opened for reading and, unless `read_only`, for writing.
    ///
    /// # Errors
    /// [`DiskError::Unaligned`] and [`DiskError::Size`].
    pub fn new(file: File, read_only: bool) -> Result<Self, DiskError> {
        // A block device has no length in its metadata; its end says it.
        let len_bytes = rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0))
            .map_err(|error| DiskError::Size(error.into()))?;
        if !len_bytes.is_multiple_of(SECTOR_BYTES) {
            return Err(DiskError::Unaligned(len_bytes));
        }
        Ok(Self { file, len_bytes, read_only })
    }

    /// Length of the disk, in bytes.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Whether writes are refused.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    pub(crate) fn read<'m>(
        &self,
        offset_bytes: u64,
        data: &Buffers<'m>,
        scratch: &mut Buffers<'m>,
    ) -> io::Result<()> {
        scratch.clear();
        scratch.append_range(data, 0, data.len_bytes());
        read_full(&self.file, offset_bytes, scratch)
    }

    /// Writes all of `data`, emptying the list on the way.
    pub(crate) fn write(&self, offset_bytes: u64, data: &mut Buffers<'_>) -> io::Result<()> {
        let mut at = offset_bytes;
        while !data.is_empty() {
            let count = data.write_at(&self.file, at)?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            at += count as u64;
            data.advance(count);
        }
        Ok(())
    }

    pub(crate) fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Gives the range back to the host where it can take it; it then reads as zeroes, else as before.
    pub(crate) fn discard(&self, offset_bytes: u64, len_bytes: u64) -> io::Result<()> {
        match self.punch(offset_bytes, len_bytes) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            done => Ok(done?),
        }
    }

    /// Makes the range read as zeroes.
    pub(crate) fn write_zeroes(&self, offset_bytes: u64, len_bytes: u64) -> io::Result<()> {
        match self.punch(offset_bytes, len_bytes) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            done => return Ok(done?),
        }
        let end = offset_bytes + len_bytes;
        let mut at = offset_bytes;
        while at < end {
            let count = usize::try_from(end - at).unwrap_or(usize::MAX).min(ZEROES.len());
            self.file.write_all_at(&ZEROES[..count], at)?;
            at += count as u64;
        }
        Ok(())
    }

    fn punch(&self, offset_bytes: u64, len_bytes: u64) -> Result<(), Errno> {
        loop {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            match fallocate(&self.file, flags, offset_bytes, len_bytes) {
                Err(Errno::INTR) => {}
                done => return done,
            }
        }
    }
}
