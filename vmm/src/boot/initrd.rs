//! The initramfs: archives one behind the other, right behind the kernel.
//!
//! As with the kernel, whole pages of a file are mapped, not read.

use monocore_hypervisor::memory::Backing;
use monocore_hypervisor::{Gpa, GuestRam};
use monocore_spec::FileRef;

use super::kernel::{low_ram_end, place, ram_mib};
use crate::{Error, files};

/// Archives begin at pages; Linux skips zeroes between them.
const PAGE: u64 = 4096;

/// Where the initramfs lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Initrd {
    pub(super) gpa: Gpa,
    pub(super) len_bytes: u64,
}

/// Puts `archives` behind the kernel's end at `kernel_end`.
///
/// # Errors
/// [`Error::File`], [`Error::TooLarge`], [`Error::Memory`].
pub(super) fn load(
    archives: &[FileRef],
    ram: &GuestRam,
    backing: Backing,
    kernel_end: Gpa,
) -> Result<Option<Initrd>, Error> {
    let too_large = || Error::TooLarge { what: "the initramfs", ram_mib: ram_mib(ram) };
    let start = kernel_end.0.checked_next_multiple_of(PAGE).ok_or_else(too_large)?;
    let mut end = start;
    for archive in archives {
        let file = files::open(archive)?;
        let len = file
            .metadata()
            .map_err(|source| Error::File { file: files::Named(archive).to_string(), source })?
            .len();
        let at = end.checked_next_multiple_of(PAGE).ok_or_else(too_large)?;
        end = at.checked_add(len).filter(|end| *end <= low_ram_end(ram)).ok_or_else(too_large)?;
        place(ram, &file, backing, at, 0, len)?;
    }
    let len_bytes = end - start;
    Ok((len_bytes > 0).then_some(Initrd { gpa: Gpa(start), len_bytes }))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use monocore_hypervisor::{layout, memory};
    use vm_memory::{Bytes, GuestAddress};

    use super::super::elf::tests::file;
    use super::*;

    #[test]
    fn archives_follow_each_other_at_pages_behind_the_kernel() {
        for backing in [Backing::Private, Backing::Shared] {
            let ram = memory::allocate(&layout::ram_ranges(32 << 20), backing).unwrap();
            let files = [file(&[b'a'; 5000]), file(b"xyz")];
            let refs: Vec<_> = files.iter().map(|f| FileRef::Fd(f.as_raw_fd())).collect();
            let initrd = load(&refs, &ram, backing, Gpa(0x10_0001)).unwrap().unwrap();
            assert_eq!(initrd, Initrd { gpa: Gpa(0x10_1000), len_bytes: 8195 });
            let mut bytes = [1; 8195];
            ram.read_slice(&mut bytes, GuestAddress(initrd.gpa.0)).unwrap();
            assert!(bytes[..5000].iter().all(|b| *b == b'a') && bytes[5000..8192].iter().all(|b| *b == 0));
            assert_eq!(&bytes[8192..], b"xyz");
        }
    }

    #[test]
    fn an_initramfs_that_does_not_fit_is_refused() {
        let ram = memory::allocate(&layout::ram_ranges(32 << 20), Backing::Private).unwrap();
        let file = file(&[1; 8192]);
        let refs = [FileRef::Fd(file.as_raw_fd())];
        let behind = |end| load(&refs, &ram, Backing::Private, Gpa(end));
        assert!(behind((32 << 20) - 4096).is_err());
        assert!(behind(u64::MAX).is_err());
        assert_eq!(load(&[], &ram, Backing::Private, Gpa(0)).unwrap(), None);
    }
}
