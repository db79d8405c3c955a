//! Guest RAM: anonymous, file-backed or shared mappings seen by devices through `vm-memory`.

use vm_memory::{GuestMemoryMmap, GuestRegionMmap};

/// One contiguous range of guest RAM.
pub type GuestRegion = GuestRegionMmap<()>;

/// All of a guest's RAM; cloning is cheap and gives the same memory.
pub type GuestRam = GuestMemoryMmap<()>;
