//! READ, WRITE, FALLOCATE, LSEEK, COPY_FILE_RANGE.

use std::sync::atomic::Ordering;

use rustix::fs::{FallocateFlags, OFlags, SeekFrom};
use rustix::io::Errno;

use super::Outcome;
use crate::host::Stat;
use crate::server::{Call, Done, Server};
use crate::share::CachePolicy;
use crate::wire::{CopyFileRangeIn, FallocateIn, LseekIn, LseekOut, ReadIn, SizeOut, WriteIn};

/// `FUSE_READ_CACHED` of our guest kernel (its patch 0018): the read fills the guest's cache.
const READ_CACHED: u32 = 1 << 31;
/// `FUSE_WRITE_CACHE`: the guest writes back its cache, where O_APPEND means nothing.
const WRITE_CACHE: u32 = 1 << 0;
/// `FUSE_WRITE_KILL_SUIDGID`: the writer has no right to keep set-id bits.
const WRITE_KILL_SUIDGID: u32 = 1 << 2;
/// Most bytes copied by one COPY_FILE_RANGE, since other requests wait meanwhile; the guest asks for the rest.
const MAX_COPY: u64 = 64 << 20;
const SEEK_DATA: u32 = 3;
const SEEK_HOLE: u32 = 4;

/// The error number in an error of the operating system; what has none is an impossible argument.
fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::INVAL)
}

impl Server {
    /// File content goes from the file straight into the guest's buffers.
    pub(super) fn read(&mut self, call: &mut Call<'_>) -> Outcome {
        let read: ReadIn = call.args.take()?;
        let id = call.head.nodeid;
        let file = self.open_file(read.fh, id)?;
        let size = usize::try_from(read.size).map_err(|_| Errno::INVAL)?;
        let count = call.room(size).read_at(&file, read.offset).map_err(errno)?;
        // Looked at after the read: what was changed before it shows.
        if read.read_flags & READ_CACHED != 0
            && self.nodes.share(id)?.cache == CachePolicy::Auto
            && self.nodes.refuses_read(id, &Stat::of(&file)?)
        {
            // The guest's kernel asks for the attributes, drops what it has cached, and reads again.
            return Err(Errno::STALE);
        }
        self.metrics.read_bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(Done::Data(count))
    }

    /// File content goes from the guest's buffers straight into the file.
    pub(super) fn write(&mut self, call: &mut Call<'_>) -> Outcome {
        let write: WriteIn = call.args.take()?;
        let id = call.head.nodeid;
        let data = call.data();
        if usize::try_from(write.size) != Ok(data.len_bytes()) {
            return Err(Errno::INVAL);
        }
        let share = self.writable_share(id)?;
        let file = self.open_file(write.fh, id)?;
        let cached = self.config.writeback || write.write_flags & WRITE_CACHE != 0;
        let append = !cached && write.flags & OFlags::APPEND.bits() != 0;
        let written = if append { data.append_to(&file) } else { data.write_at(&file, write.offset) };
        let count = written.map_err(errno)?;
        self.nodes.untell(id);
        self.drop_privileges(id, &share, &file, write.write_flags & WRITE_KILL_SUIDGID != 0)?;
        self.mark_dirty(id);
        self.metrics.written_bytes.fetch_add(count as u64, Ordering::Relaxed);
        call.reply(&SizeOut { size: u32::try_from(count).map_err(|_| Errno::INVAL)?, padding: 0 });
        Ok(Done::Reply)
    }

    pub(super) fn fallocate(&mut self, call: &mut Call<'_>) -> Outcome {
        let fallocate: FallocateIn = call.args.take()?;
        let id = call.head.nodeid;
        let known = FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE | FallocateFlags::ZERO_RANGE;
        let mode = FallocateFlags::from_bits_retain(fallocate.mode);
        if !known.contains(mode) {
            return Err(Errno::OPNOTSUPP);
        }
        let share = self.writable_share(id)?;
        let file = self.open_file(fallocate.fh, id)?;
        rustix::fs::fallocate(&file, mode, fallocate.offset, fallocate.length)?;
        self.nodes.untell(id);
        self.drop_privileges(id, &share, &file, true)?;
        self.mark_dirty(id);
        Ok(Done::Reply)
    }

    /// Only the search for data and holes needs the host; the guest knows every other position.
    pub(super) fn lseek(&mut self, call: &mut Call<'_>) -> Outcome {
        let lseek: LseekIn = call.args.take()?;
        let file = self.open_file(lseek.fh, call.head.nodeid)?;
        let target = match lseek.whence {
            SEEK_DATA => SeekFrom::Data(lseek.offset),
            SEEK_HOLE => SeekFrom::Hole(lseek.offset),
            _ => return Err(Errno::INVAL),
        };
        if i64::try_from(lseek.offset).is_err() {
            return Err(Errno::NXIO);
        }
        let offset = rustix::fs::seek(&file, target)?;
        call.reply(&LseekOut { offset });
        Ok(Done::Reply)
    }

    pub(super) fn copy_file_range(&mut self, call: &mut Call<'_>) -> Outcome {
        let copy: CopyFileRangeIn = call.args.take()?;
        let share = self.writable_share(copy.nodeid_out)?;
        if copy.flags != 0 || i64::try_from(copy.off_in.max(copy.off_out)).is_err() {
            return Err(Errno::INVAL);
        }
        let from = self.open_file(copy.fh_in, call.head.nodeid)?;
        let to = self.open_file(copy.fh_out, copy.nodeid_out)?;
        let len = usize::try_from(copy.len.min(MAX_COPY)).map_err(|_| Errno::INVAL)?;
        let (mut off_in, mut off_out) = (copy.off_in, copy.off_out);
        let count = rustix::fs::copy_file_range(&from, Some(&mut off_in), &to, Some(&mut off_out), len)?;
        self.nodes.untell(copy.nodeid_out);
        self.drop_privileges(copy.nodeid_out, &share, &to, true)?;
        self.mark_dirty(copy.nodeid_out);
        call.reply(&SizeOut { size: u32::try_from(count).map_err(|_| Errno::INVAL)?, padding: 0 });
        Ok(Done::Reply)
    }
}
