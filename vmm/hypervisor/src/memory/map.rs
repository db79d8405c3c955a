//! The mapping calls below `vm-memory`'s safe surface: files over RAM, advice, memfd.
#![allow(unsafe_code, reason = "mmap and madvise act on raw addresses")]

use std::fs::File;
use std::io;
use std::ptr;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use vm_memory::mmap::MmapRegion;
use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::{GuestRam, MemoryError};

const PAGE: usize = 4096;

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
    if end > file_len.next_multiple_of(PAGE as u64) {
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
/// The file is mapped for it: its pages come from the page cache without a system call's copy, a third of the
/// instructions `pread` takes. So, as with [`map_file`], it must not shrink meanwhile.
///
/// # Errors
/// [`MemoryError::OutOfRange`] where that is no RAM, [`MemoryError::Os`] where mapping fails or the file ends early.
pub fn copy_file(
    ram: &GuestRam,
    gpa: u64,
    file: &File,
    offset_bytes: u64,
    len_bytes: usize,
) -> Result<(), MemoryError> {
    let host = host_range(ram, gpa, len_bytes)?;
    let fail = |source| MemoryError::Os { what: "read a file into guest RAM", source };
    let end = offset_bytes.checked_add(len_bytes as u64).ok_or(MemoryError::OutOfRange { gpa, len_bytes })?;
    if end > file.metadata().map_err(fail)?.len() {
        return Err(fail(io::ErrorKind::UnexpectedEof.into()));
    }
    let view = FileView::new(file, offset_bytes, len_bytes).map_err(fail)?;
    for at in (0..len_bytes).step_by(PAGE) {
        let count = PAGE.min(len_bytes - at);
        // SAFETY: both ranges hold `len_bytes` bytes, `at + count` at most that; they are different mappings. Guest
        // RAM is only ever accessed as volatile memory, and the file's pages only here.
        unsafe { ptr::copy_nonoverlapping(view.start().add(at), host.add(at), count) };
    }
    Ok(())
}

/// A file's range, mapped for reading.
struct FileView {
    mapping: *mut libc::c_void,
    mapping_len: usize,
    /// Where the range begins in the mapping, which begins at a page.
    skip: usize,
}

impl FileView {
    fn new(file: &File, offset_bytes: u64, len_bytes: usize) -> io::Result<Self> {
        let too_large = || io::Error::from(io::ErrorKind::InvalidInput);
        let first_page = offset_bytes - offset_bytes % PAGE as u64;
        let skip = usize::try_from(offset_bytes - first_page).map_err(|_| too_large())?;
        let mapping_len = len_bytes.checked_add(skip).ok_or_else(too_large)?;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let mapping = unsafe {
            mmap(
                ptr::null_mut(),
                mapping_len,
                ProtFlags::READ,
                MapFlags::PRIVATE | MapFlags::POPULATE,
                file,
                first_page,
            )
        }?;
        Ok(Self { mapping, mapping_len, skip })
    }

    fn start(&self) -> *const u8 {
        // SAFETY: `skip` lies within the mapping.
        unsafe { self.mapping.cast::<u8>().add(self.skip) }
    }
}

impl Drop for FileView {
    fn drop(&mut self) {
        // SAFETY: the mapping is this object's own and nothing borrows from it any more.
        let _ = unsafe { munmap(self.mapping, self.mapping_len) };
    }
}

/// Asks for small pages in `len_bytes` of RAM at `gpa`: where a guest touches little of a huge page, zeroing all of it costs more.
///
/// # Errors
/// [`MemoryError::OutOfRange`] where that is no RAM; a host that takes no advice is none.
pub fn advise_small_pages(ram: &GuestRam, gpa: u64, len_bytes: usize) -> Result<(), MemoryError> {
    let host = host_range(ram, gpa, len_bytes)?;
    // SAFETY: the range lies within one mapping that `ram` owns; this advice never changes its content.
    if let Err(error) = unsafe { madvise(host.cast(), len_bytes, Advice::LinuxNoHugepage) } {
        tracing::debug!(%error, "huge pages where small ones were better");
    }
    Ok(())
}
