//! The guest's memory, mapped from the front end's descriptors, and its addresses as the front end names them.

use std::fs::File;
use std::sync::Arc;

use monocore_hypervisor::{GuestRam, GuestRegion};
use rustix::fs::FileType;
use vhost::vhost_user::message::VhostUserMemoryRegion;
use vhost::vhost_user::{Error, Result};
use vm_memory::{FileOffset, GuestAddress, MmapRegion};

/// What the front end shares of its guest's memory.
#[derive(Default)]
pub(crate) struct Memory {
    ram: Option<GuestRam>,
    ranges: Vec<Range>,
}

/// A piece of memory in the front end's own address space.
struct Range {
    user: u64,
    gpa: u64,
    len_bytes: u64,
}

impl Memory {
    /// Maps `regions`, each from its file.
    ///
    /// # Errors
    /// Where regions overlap or a file cannot be mapped.
    pub(crate) fn map(regions: &[VhostUserMemoryRegion], files: Vec<File>) -> Result<Self> {
        if regions.len() != files.len() {
            return Err(Error::InvalidParam);
        }
        let mut mapped = Vec::with_capacity(regions.len());
        let mut ranges = Vec::with_capacity(regions.len());
        for (region, file) in regions.iter().zip(files) {
            let len = usize::try_from(region.memory_size).map_err(|_| Error::InvalidParam)?;
            // Not `File::metadata`, which makes a call that could name a path: the jail denies it.
            let stat = rustix::fs::fstat(&file).map_err(|errno| Error::ReqHandlerError(errno.into()))?;
            let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            let file_bytes = u64::try_from(stat.st_size).unwrap_or(0);
            // Touching what lies past a file's end would kill this process.
            let end = region.mmap_offset.checked_add(region.memory_size);
            if is_file && end.is_none_or(|end| end > file_bytes) {
                return Err(Error::InvalidParam);
            }
            let mapping = MmapRegion::from_file(FileOffset::new(file, region.mmap_offset), len)
                .map_err(|error| Error::ReqHandlerError(std::io::Error::other(error)))?;
            let region_at = GuestRegion::new(mapping, GuestAddress(region.guest_phys_addr));
            mapped.push(Arc::new(region_at.ok_or(Error::InvalidParam)?));
            ranges.push(Range {
                user: region.user_addr,
                gpa: region.guest_phys_addr,
                len_bytes: region.memory_size,
            });
        }
        mapped.sort_by_key(|region| vm_memory::GuestMemoryRegion::start_addr(region.as_ref()));
        let ram = GuestRam::from_arc_regions(mapped)
            .map_err(|error| Error::ReqHandlerError(std::io::Error::other(error)))?;
        Ok(Self { ram: Some(ram), ranges })
    }

    pub(crate) fn ram(&self) -> Option<&GuestRam> {
        self.ram.as_ref()
    }

    /// The guest physical address of the front end's address `user`.
    pub(crate) fn to_gpa(&self, user: u64) -> Option<u64> {
        self.ranges.iter().find_map(|range| {
            let offset = user.checked_sub(range.user)?;
            (offset < range.len_bytes).then(|| range.gpa + offset)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_their_range_only() {
        let ranges = vec![
            Range { user: 0x7000, gpa: 0, len_bytes: 0x1000 },
            Range { user: 0, gpa: 0x9000, len_bytes: 1 },
        ];
        let memory = Memory { ram: None, ranges };
        assert_eq!(memory.to_gpa(0x7fff), Some(0xfff));
        assert_eq!(memory.to_gpa(0x8000), None);
        assert_eq!(memory.to_gpa(0), Some(0x9000));
        assert_eq!(memory.to_gpa(1), None);
    }

    #[test]
    fn regions_that_overlap_or_do_not_fit_their_file_are_refused() {
        let file = |len| {
            let file = tempfile::tempfile().unwrap();
            file.set_len(len).unwrap();
            file
        };
        let region = |gpa| VhostUserMemoryRegion {
            guest_phys_addr: gpa,
            memory_size: 0x2000,
            user_addr: gpa,
            mmap_offset: 0,
        };
        assert!(Memory::map(&[region(0), region(0x2000)], vec![file(0x2000), file(0x2000)]).is_ok());
        assert!(Memory::map(&[region(0), region(0x1000)], vec![file(0x2000), file(0x2000)]).is_err());
        assert!(Memory::map(&[region(0)], vec![file(0x1000)]).is_err());
        assert!(Memory::map(&[region(0)], vec![]).is_err());
    }
}
