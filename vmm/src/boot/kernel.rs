//! Loading a kernel: its read-only segments are the file's own pages, the rest is copied.
//!
//! Reading a whole kernel (18 MB) takes more instructions than everything else up to the guest's first. Mapped
//! privately, a page of it costs something when the guest first touches it, and the page cache holds it once for all machines.
//! RAM that is shared or will be a template holds a copy of its own.
//!
//! But nearly all of the text's first part, the kernel's core, runs while it boots, and some of it is patched: a fault for
//! each page. That part is copied into a huge page at once, which is no dearer. The huge page the kernel ends in stays small
//! ones if it holds little of the kernel, and so do the one with the boot tables and those a boot touches little of: zeroing a
//! huge page costs as much as 260 small ones.

use std::fs::File;

use monocore_hypervisor::memory::{Backing, HUGE_PAGE_BYTES, advise_small_pages, copy_file, map_file};
use monocore_hypervisor::{Gpa, GuestRam, layout};
use monocore_spec::FileRef;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use super::elf::{self, Segment};
use crate::{Error, files};

const PAGE: u64 = 4096;
/// How much of a read-only segment is copied. With twice as much a boot takes as many instructions, 5 million more of them
/// before the guest's first; with nothing it has 700 faults more.
const COPIED_BYTES: u64 = HUGE_PAGE_BYTES as u64;
/// Huge pages of which a boot of Linux touches a tenth: the first block of movable and the first of reclaimable memory. (The
/// first two, of memory that is neither, are filled.)
const SPARSE: [Gpa; 2] = [Gpa(8 << 20), Gpa(12 << 20)];
/// A kernel that reaches less than this into its last huge page leaves it to small pages.
const TAIL_BYTES: u64 = HUGE_PAGE_BYTES as u64 / 4;

/// A kernel in guest RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loaded {
    /// Where the boot processor begins.
    pub(super) entry: Gpa,
    /// First byte behind it.
    pub(super) end: Gpa,
}

/// Loads the kernel `image` into `ram`, which holds zeroes.
pub(super) fn load(image: &FileRef, ram: &GuestRam, backing: Backing) -> Result<Loaded, Error> {
    let file = files::open(image)?;
    let bad = |reason| Error::Kernel { file: files::Named(image).to_string(), reason };
    let headers = elf::read(&file).map_err(bad)?;
    let mut end = 0;
    for segment in &headers.segments {
        let last = segment.gpa.checked_add(segment.memory_len).ok_or_else(|| bad("strange addresses"))?;
        end = end.max(last);
    }
    if end > low_ram_end(ram) {
        return Err(Error::TooLarge { what: "the kernel", ram_mib: ram_mib(ram) });
    }
    if backing == Backing::Private {
        advise_small_pages(ram, 0, to_usize(layout::HIGH_RAM_START.0))?;
        for sparse in SPARSE {
            advise_small_pages(ram, sparse.0, HUGE_PAGE_BYTES)?;
        }
        spare_tail(ram, end)?;
    }
    for segment in &headers.segments {
        if backing == Backing::Private && can_be_mapped(segment) {
            map_segment(ram, &file, segment)?;
        } else {
            copy(ram, &file, segment.gpa, segment.offset, segment.file_len)?;
        }
    }
    Ok(Loaded { entry: Gpa(headers.entry), end: Gpa(end) })
}

/// Whether the segment's pages in the file are its pages in memory.
fn can_be_mapped(segment: &Segment) -> bool {
    !segment.writable && segment.gpa.is_multiple_of(PAGE) && segment.offset.is_multiple_of(PAGE)
}

/// Keeps the huge page the kernel ends in small where it holds little of it; done before anything is loaded there.
fn spare_tail(ram: &GuestRam, end: u64) -> Result<(), Error> {
    let huge = HUGE_PAGE_BYTES as u64;
    let start = end - end % huge;
    if end - start < TAIL_BYTES && start + huge <= low_ram_end(ram) {
        advise_small_pages(ram, start, HUGE_PAGE_BYTES)?;
    }
    Ok(())
}

/// Copies the first part and maps what is behind it.
fn map_segment(ram: &GuestRam, file: &File, segment: &Segment) -> Result<(), Error> {
    let copied = segment.file_len.min(COPIED_BYTES);
    copy(ram, file, segment.gpa, segment.offset, copied)?;
    let (gpa, offset) = (segment.gpa + copied, segment.offset + copied);
    place(ram, file, Backing::Private, gpa, offset, segment.file_len - copied)
}

/// Makes `len` bytes of `file` from `offset` on appear at `gpa`, both at a page: private RAM takes whole pages as they
/// are; the last, partial one is copied, so that nothing of the file behind it shows.
pub(super) fn place(
    ram: &GuestRam,
    file: &File,
    backing: Backing,
    gpa: u64,
    offset: u64,
    len: u64,
) -> Result<(), Error> {
    let mapped = if backing == Backing::Private { len - len % PAGE } else { 0 };
    if mapped > 0 {
        map_file(ram, gpa, file, offset, to_usize(mapped))?;
    }
    copy(ram, file, gpa + mapped, offset + mapped, len - mapped)
}

fn copy(ram: &GuestRam, file: &File, gpa: u64, offset: u64, len: u64) -> Result<(), Error> {
    if len > 0 {
        copy_file(ram, gpa, file, offset, to_usize(len))?;
    }
    Ok(())
}

/// Lengths here were found to lie within guest RAM, which is mapped, so they fit.
fn to_usize(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

/// End of the first range of RAM.
pub(super) fn low_ram_end(ram: &GuestRam) -> u64 {
    ram.iter().next().map_or(0, GuestMemoryRegion::len)
}

/// All RAM, for an error's text.
pub(super) fn ram_mib(ram: &GuestRam) -> u64 {
    ram.iter().map(GuestMemoryRegion::len).sum::<u64>() >> 20
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use monocore_hypervisor::memory;
    use vm_memory::{Bytes, GuestAddress};

    use super::super::elf::tests::{file, sample};
    use super::*;

    fn loaded(image: &[u8], backing: Backing) -> (GuestRam, Result<Loaded, Error>) {
        let ram = memory::allocate(&layout::ram_ranges(32 << 20), backing).unwrap();
        let file = file(image);
        let result = load(&FileRef::Fd(file.as_raw_fd()), &ram, backing);
        (ram, result)
    }

    #[test]
    fn mapped_or_copied_the_guest_sees_the_same() {
        for backing in [Backing::Private, Backing::Shared] {
            let (ram, result) = loaded(&sample(), backing);
            assert_eq!(result.unwrap(), Loaded { entry: Gpa(0x100_0030), end: Gpa(0x100_3000) });
            let at = |gpa| ram.read_obj::<u8>(GuestAddress(gpa)).unwrap();
            assert_eq!([at(0x100_0000), at(0x100_1000), at(0x100_2000)], [0x90, 0x91, 0]);
        }
    }

    #[test]
    fn a_segment_outside_ram_is_refused() {
        let mut image = sample();
        image[64 + 24 + 3] = 0x20;
        assert!(matches!(loaded(&image, Backing::Private).1, Err(Error::TooLarge { ram_mib: 32, .. })));
        image[64 + 24..64 + 32].fill(0xff);
        assert!(matches!(loaded(&image, Backing::Private).1, Err(Error::Kernel { .. })));
    }

    #[test]
    fn a_segment_beyond_the_file_is_refused() {
        let mut image = sample();
        image.truncate(8192 + 100);
        assert!(matches!(loaded(&image, Backing::Private).1, Err(Error::Memory(_))));
    }
}
