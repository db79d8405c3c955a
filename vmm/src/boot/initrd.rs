//! The initramfs: archives one behind the other at the end of RAM below the hole.
//!
//! There, because Linux takes its first memory from that end too, so both share the host's huge pages.

use monocore_hypervisor::memory::copy_file;
use monocore_hypervisor::{Gpa, GuestRam};
use monocore_spec::FileRef;

use super::kernel::{low_ram_end, ram_mib};
use crate::{Error, files};

const PAGE: u64 = 4096;
/// Archives begin at multiples of this; Linux skips zeroes between them.
const ARCHIVE_ALIGN: u64 = 4;

/// Where the initramfs lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Initrd {
    pub(super) gpa: Gpa,
    pub(super) len_bytes: u64,
}

/// Copies `archives` to the end of RAM, behind the kernel's end at `kernel_end`.
pub(super) fn load(archives: &[FileRef], ram: &GuestRam, kernel_end: Gpa) -> Result<Option<Initrd>, Error> {
    let mut opened = Vec::with_capacity(archives.len());
    let mut len_bytes = 0u64;
    let too_large = || Error::TooLarge { what: "the initramfs", ram_mib: ram_mib(ram) };
    for archive in archives {
        let file = files::open(archive)?;
        let len = file
            .metadata()
            .map_err(|source| Error::File { file: files::Named(archive).to_string(), source })?
            .len();
        let at = len_bytes.next_multiple_of(ARCHIVE_ALIGN);
        len_bytes = at.checked_add(len).filter(|total| *total < 1 << 40).ok_or_else(too_large)?;
        opened.push((file, at, len));
    }
    if len_bytes == 0 {
        return Ok(None);
    }
    let start = low_ram_end(ram).checked_sub(len_bytes.next_multiple_of(PAGE)).ok_or_else(too_large)?;
    if start < kernel_end.0 {
        return Err(too_large());
    }
    for (file, at, len) in opened.iter().filter(|(_, _, len)| *len > 0) {
        let len = usize::try_from(*len).map_err(|_| too_large())?;
        copy_file(ram, start + at, file, 0, len)?;
    }
    Ok(Some(Initrd { gpa: Gpa(start), len_bytes }))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use monocore_hypervisor::memory::Backing;
    use monocore_hypervisor::{layout, memory};
    use vm_memory::{Bytes, GuestAddress};

    use super::super::elf::tests::file;
    use super::*;

    #[test]
    fn archives_follow_each_other_at_the_end_of_ram() {
        let ram = memory::allocate(&layout::ram_ranges(32 << 20), Backing::Private).unwrap();
        let files = [file(b"abcde"), file(b"xyz")];
        let refs: Vec<_> = files.iter().map(|f| FileRef::Fd(f.as_raw_fd())).collect();
        let initrd = load(&refs, &ram, Gpa(0)).unwrap().unwrap();
        assert_eq!(initrd, Initrd { gpa: Gpa((32 << 20) - 4096), len_bytes: 11 });
        let mut bytes = [0; 11];
        ram.read_slice(&mut bytes, GuestAddress(initrd.gpa.0)).unwrap();
        assert_eq!(&bytes, b"abcde\0\0\0xyz");
    }

    #[test]
    fn an_initramfs_that_meets_the_kernel_is_refused() {
        let ram = memory::allocate(&layout::ram_ranges(32 << 20), Backing::Private).unwrap();
        let file = file(&[1; 8192]);
        let refs = [FileRef::Fd(file.as_raw_fd())];
        assert!(load(&refs, &ram, Gpa((32 << 20) - 4096)).is_err());
        assert_eq!(load(&[], &ram, Gpa(0)).unwrap(), None);
    }
}
