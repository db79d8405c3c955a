//! The mapping calls below `vm-memory`'s safe surface: files over RAM, advice, memfd.
#![allow(unsafe_code, reason = "mmap, madvise and pread act on raw addresses")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap};
use vm_memory::mmap::MmapRegion;
use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::{GuestRam, MemoryError};

pub(super) const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;
pub(super) const ANONYMOUS_NO_RESERVE: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
pub(super) const SHARED_NO_RESERVE: i32 = libc::MAP_SHARED | libc::MAP_NORESERVE;

/// Asks for huge pages; a host without them serves small ones.
pub(super) fn advise_huge_pages(region: &MmapRegion<()>) {
    // SAFETY: the range is exactly one mapping, which `region` keeps; this advice never changes its content.
    if let Err(error) = unsafe { madvise(region.as_ptr().cast(), region.size(), Advice::LinuxHugepage) } {
        tracing::debug!(%error, "no huge pages for guest RAM");
    }
}

/// A sealed-off file in memory of `len_bytes`.
pub(super) fn memfd(len_bytes: u64) -> Result<File, MemoryError> {
    let file = memfd_create("guest-ram", MemfdFlags::CLOEXEC)
        .map_err(|e| MemoryError::Os { what: "create a memfd", source: e.into() })?;
    let file = File::from(file);
    file.set_len(len_bytes).map_err(|source| MemoryError::Os { what: "size the memfd", source })?;
    Ok(file)
}

/// The host's view of `len_bytes` of RAM at `gpa`, all in one region.
fn host_range(ram: &GuestRam, gpa: u64, len_bytes: usize) -> Result<*mut u8, MemoryError> {
    let out_of_range = || MemoryError::OutOfRange { gpa, len_bytes };
    let slice = ram.get_slices(GuestAddress(gpa), len_bytes).next().ok_or_else(out_of_range)?;
    let slice = slice.map_err(|_| out_of_range())?;
    if slice.len() != len_bytes {
        return Err(out_of_range());
    }
    Ok(slice.ptr_guard_mut().as_ptr())
}

/// Maps `len_bytes` of `file` from `offset_bytes` privately over the RAM at `gpa`: the guest reads the file's pages without
/// a copy, and its writes go to pages of its own. All three numbers are multiples of the page size.
///
/// The file must not shrink while the machine lives: the guest would then end the process with SIGBUS. So it is for
/// the kernel in the store, which is written once under its hash, never for a file someone else may truncate.
///
/// # Errors
/// [`MemoryError::OutOfRange`] where that is no RAM or the file is shorter, [`MemoryError::Os`] where mapping fails.
pub fn map_file(
    ram: &GuestRam,
    gpa: u64,
    file: &File,
    offset_bytes: u64,
    len_bytes: usize,
) -> Result<(), MemoryError> {
    let host = host_range(ram, gpa, len_bytes)?;
    let end = offset_bytes.checked_add(len_bytes as u64).ok_or(MemoryError::OutOfRange { gpa, len_bytes })?;
    let file_len =
        file.metadata().map_err(|source| MemoryError::Os { what: "size the file to map", source })?.len();
    if end > file_len.next_multiple_of(4096) {
        return Err(MemoryError::OutOfRange { gpa, len_bytes });
    }
    // SAFETY: the range lies within one mapping that `ram` owns, so nothing else of this process is replaced, and the
    // drop of that mapping unmaps these pages too; guest RAM is only ever accessed as volatile memory.
    let mapped = unsafe {
        mmap(
            host.cast(),
            len_bytes,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE,
            file,
            offset_bytes,
        )
    };
    mapped.map_err(|e| MemoryError::Os { what: "map a file into guest RAM", source: e.into() })?;
    Ok(())
}

/// Copies `len_bytes` of `file` from `offset_bytes` into the RAM at `gpa`, without moving the file's position.
///
/// # Errors
/// [`MemoryError::OutOfRange`] where that is no RAM, [`MemoryError::Os`] where reading fails or the file ends early.
pub fn copy_file(
    ram: &GuestRam,
    gpa: u64,
    file: &File,
    offset_bytes: u64,
    len_bytes: usize,
) -> Result<(), MemoryError> {
    let host = host_range(ram, gpa, len_bytes)?;
    let fail = |source| MemoryError::Os { what: "read a file into guest RAM", source };
    let mut done = 0;
    while done < len_bytes {
        let offset = offset_bytes.checked_add(done as u64).and_then(|o| i64::try_from(o).ok());
        let offset = offset.ok_or(MemoryError::OutOfRange { gpa, len_bytes })?;
        // SAFETY: `host..host + len_bytes` lies within one mapping that `ram` owns and `done < len_bytes`; the kernel
        // writes at most the rest of it. Guest RAM is only ever accessed as volatile memory.
        let read = unsafe { libc::pread(file.as_raw_fd(), host.add(done).cast(), len_bytes - done, offset) };
        match usize::try_from(read) {
            Ok(0) => return Err(fail(io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => done += n,
            Err(_) => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e => return Err(fail(e)),
            },
        }
    }
    Ok(())
}
