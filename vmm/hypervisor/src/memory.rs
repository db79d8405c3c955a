//! Guest RAM: anonymous, file-backed or shared mappings seen by devices through `vm-memory`.
//!
//! RAM is reserved, never committed: pages come with the guest's first touch. Private RAM asks for huge pages and
//! for addresses that are congruent to the guest's modulo 2 MiB, without which the host cannot use them.

use std::fs::File;
use std::io;

use vm_memory::mmap::{MmapRegion, MmapRegionBuilder, MmapRegionError};
use vm_memory::{
    FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    GuestRegionCollectionError, GuestRegionMmap,
};

mod map;

pub use map::{advise_small_pages, copy_file, map_file};

/// One contiguous range of guest RAM.
pub type GuestRegion = GuestRegionMmap<()>;

/// All of a guest's RAM; cloning is cheap and gives the same memory.
pub type GuestRam = GuestMemoryMmap<()>;

/// The size of the pages RAM is aligned to, in bytes.
pub const HUGE_PAGE_BYTES: usize = 2 << 20;

/// What backs guest RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Private anonymous memory with huge pages.
    Private,
    /// A memfd that a vhost-user back end or a template's clones can map as well.
    Shared,
}

impl Backing {
    /// What backs `ram`.
    pub fn of(ram: &GuestRam) -> Self {
        let is_shared = ram.iter().any(|region| region.file_offset().is_some());
        if is_shared { Self::Shared } else { Self::Private }
    }
}

/// Why guest RAM could not be had or filled.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The operating system has no room for it.
    #[error("cannot map {len_bytes} bytes of guest RAM: {source}")]
    Map {
        /// How much was asked for.
        len_bytes: usize,
        /// What the operating system said.
        source: MmapRegionError,
    },
    /// The ranges overlap or are not sorted.
    #[error("guest RAM ranges do not fit together: {0}")]
    Ranges(#[from] GuestRegionCollectionError),
    /// A range that does not lie in guest RAM, or a file range that does not lie in the file.
    #[error("{len_bytes} bytes at {gpa:#x} do not lie within one range of guest RAM")]
    OutOfRange {
        /// Guest physical address of the range.
        gpa: u64,
        /// Its length.
        len_bytes: usize,
    },
    /// Reading or mapping a file failed, or it ended early.
    #[error("cannot {what}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Reserves RAM for `ranges` of (guest physical address, length in bytes), sorted and page-aligned.
///
/// # Errors
/// [`MemoryError::Map`] or [`MemoryError::Os`] where the host has no room, [`MemoryError::Ranges`] where the ranges overlap.
pub fn allocate(ranges: &[(GuestAddress, usize)], backing: Backing) -> Result<GuestRam, MemoryError> {
    let regions = match backing {
        Backing::Private => ranges
            .iter()
            .map(|&(base, len)| Ok((base, private_region(len)?)))
            .collect::<Result<Vec<_>, MemoryError>>()?,
        Backing::Shared => shared_regions(ranges)?,
    };
    let regions = regions
        .into_iter()
        .map(|(base, mapping)| {
            GuestRegion::new(mapping, base).ok_or(GuestRegionCollectionError::NoMemoryRegion)
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(GuestRam::from_regions(regions)?)
}

fn build(builder: MmapRegionBuilder<()>, len_bytes: usize) -> Result<MmapRegion<()>, MemoryError> {
    builder.build().map_err(|source| MemoryError::Map { len_bytes, source })
}

/// Anonymous memory at a 2 MiB boundary of the host's address space, with huge pages.
///
/// Kernels from 6.7 on align large anonymous mappings by themselves. Older ones place a mapping right below the last
/// one, so a spacer of the missing length moves the second try onto the boundary. A miss costs speed only.
fn private_region(len_bytes: usize) -> Result<MmapRegion<()>, MemoryError> {
    let mut region = anonymous(len_bytes, READ_WRITE)?;
    let excess = region.as_ptr() as usize % HUGE_PAGE_BYTES;
    if excess != 0 {
        drop(region);
        let _spacer = anonymous(excess, 0)?;
        region = anonymous(len_bytes, READ_WRITE)?;
    }
    map::advise_huge_pages(&region);
    Ok(region)
}

const READ_WRITE: i32 = map::READ_WRITE;

fn anonymous(len_bytes: usize, protection: i32) -> Result<MmapRegion<()>, MemoryError> {
    let builder = MmapRegionBuilder::new(len_bytes)
        .with_mmap_prot(protection)
        .with_mmap_flags(map::ANONYMOUS_NO_RESERVE);
    build(builder, len_bytes)
}

fn shared_regions(
    ranges: &[(GuestAddress, usize)],
) -> Result<Vec<(GuestAddress, MmapRegion<()>)>, MemoryError> {
    let file = map::memfd(ranges.iter().map(|&(_, len)| len as u64).sum())?;
    let mut offset = 0;
    let mut regions = Vec::with_capacity(ranges.len());
    for &(base, len) in ranges {
        let builder = MmapRegionBuilder::new(len)
            .with_mmap_prot(READ_WRITE)
            .with_mmap_flags(map::SHARED_NO_RESERVE)
            .with_file_offset(FileOffset::new(clone_file(&file)?, offset));
        let region = build(builder, len)?;
        map::advise_huge_pages(&region);
        regions.push((base, region));
        offset += len as u64;
    }
    Ok(regions)
}

fn clone_file(file: &File) -> Result<File, MemoryError> {
    file.try_clone().map_err(|source| MemoryError::Os { what: "duplicate the memfd", source })
}

#[cfg(test)]
mod tests;
