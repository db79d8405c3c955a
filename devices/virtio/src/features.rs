//! Feature bits of rings and transport (VIRTIO 1.3 §6), which every device offers beside its own.

/// VIRTIO_F_INDIRECT_DESC: a descriptor may point at a table of descriptors (§2.7.5.3).
pub const INDIRECT_DESC: u64 = 1 << 28;
/// VIRTIO_F_EVENT_IDX: both sides say from which entry on they want to hear (§2.7.7, §2.7.10).
pub const EVENT_IDX: u64 = 1 << 29;
/// VIRTIO_F_VERSION_1: the device is no legacy device; a driver that does not take it is refused (§6.1).
pub const VERSION_1: u64 = 1 << 32;

/// What the rings of this crate can do; a device offers it together with its own bits.
pub const RING_FEATURES: u64 = VERSION_1 | EVENT_IDX | INDIRECT_DESC;
