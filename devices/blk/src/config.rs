//! The configuration space (VIRTIO 1.3 §5.2.4), as the driver reads it.

use monocore_virtio::features;

use crate::disk::{Disk, SECTOR_BYTES};

/// Largest segment, in bytes.
pub(crate) const SIZE_MAX: u32 = 1 << 20;
/// Most segments of a request; header and status come beside them.
pub(crate) const SEG_MAX: u16 = QUEUE_SIZE - 2;
/// Descriptors of the queue.
pub(crate) const QUEUE_SIZE: u16 = 128;
/// Most sectors of one discard or zeroing, 2 GiB.
pub(crate) const RANGE_SECTORS: u32 = 1 << 22;
/// Most ranges of one discard or zeroing.
pub(crate) const RANGES: u32 = 16;
/// Where holes may begin without splitting a block of the host's, in sectors.
const DISCARD_ALIGNMENT: u32 = 8;

const LEN_BYTES: usize = 60;

const F_SIZE_MAX: u64 = 1 << 1;
const F_SEG_MAX: u64 = 1 << 2;
const F_RO: u64 = 1 << 5;
/// VIRTIO_BLK_F_FLUSH: the driver says when writes must be safe.
pub(crate) const F_FLUSH: u64 = 1 << 9;
const F_DISCARD: u64 = 1 << 13;
const F_WRITE_ZEROES: u64 = 1 << 14;

/// The feature bits offered for `disk`; a read-only one offers little, as each costs its driver accesses.
pub(crate) fn features(disk: &Disk) -> u64 {
    let kind = match disk.writable() {
        Some(_) => F_FLUSH | F_DISCARD | F_WRITE_ZEROES,
        None => F_RO,
    };
    features::RING_FEATURES | F_SIZE_MAX | F_SEG_MAX | kind
}

/// Fills `data` from `offset_bytes` on.
pub(crate) fn read(disk: &Disk, offset_bytes: u64, data: &mut [u8]) {
    let mut space = [0u8; LEN_BYTES];
    let mut put = |at: usize, bytes: &[u8]| space[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &(disk.len_bytes() / SECTOR_BYTES).to_le_bytes());
    put(8, &SIZE_MAX.to_le_bytes());
    put(12, &u32::from(SEG_MAX).to_le_bytes());
    if disk.writable().is_some() {
        put(36, &RANGE_SECTORS.to_le_bytes());
        put(40, &RANGES.to_le_bytes());
        put(44, &DISCARD_ALIGNMENT.to_le_bytes());
        put(48, &RANGE_SECTORS.to_le_bytes());
        put(52, &RANGES.to_le_bytes());
        put(56, &[1]); // zeroed ranges may become holes
    }
    monocore_virtio::read_config_bytes(&space, offset_bytes, data);
}
