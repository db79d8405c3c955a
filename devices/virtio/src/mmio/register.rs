//! Offsets of the transport's registers, in bytes (VIRTIO 1.3 §4.2.2, table 4.1), and their fixed values.

pub(super) const MAGIC_VALUE: u64 = 0x000;
pub(super) const VERSION: u64 = 0x004;
pub(super) const DEVICE_ID: u64 = 0x008;
pub(super) const VENDOR_ID: u64 = 0x00c;
pub(super) const DEVICE_FEATURES: u64 = 0x010;
pub(super) const DEVICE_FEATURES_SEL: u64 = 0x014;
pub(super) const DRIVER_FEATURES: u64 = 0x020;
pub(super) const DRIVER_FEATURES_SEL: u64 = 0x024;
pub(super) const QUEUE_SEL: u64 = 0x030;
pub(super) const QUEUE_SIZE_MAX: u64 = 0x034;
pub(super) const QUEUE_SIZE: u64 = 0x038;
pub(super) const QUEUE_READY: u64 = 0x044;
pub(super) const QUEUE_NOTIFY: u64 = 0x050;
pub(super) const INTERRUPT_STATUS: u64 = 0x060;
pub(super) const INTERRUPT_ACK: u64 = 0x064;
pub(super) const STATUS: u64 = 0x070;
pub(super) const QUEUE_DESC_LOW: u64 = 0x080;
pub(super) const QUEUE_DESC_HIGH: u64 = 0x084;
pub(super) const QUEUE_DRIVER_LOW: u64 = 0x090;
pub(super) const QUEUE_DRIVER_HIGH: u64 = 0x094;
pub(super) const QUEUE_DEVICE_LOW: u64 = 0x0a0;
pub(super) const QUEUE_DEVICE_HIGH: u64 = 0x0a4;
/// Length and base of the selected shared memory region; there is none, so all four read as ones.
pub(super) const SHM_LEN_LOW: u64 = 0x0b0;
pub(super) const SHM_BASE_HIGH: u64 = 0x0bc;
pub(super) const CONFIG_GENERATION: u64 = 0x0fc;
/// From here on the device's own configuration space.
pub(super) const CONFIG: u64 = 0x100;

/// "virt"
pub(super) const MAGIC: u32 = 0x7472_6976;
pub(super) const MMIO_VERSION: u32 = 2;
/// "MO" in the upper half; in the lower one the I/O port that stands for [`QUEUE_NOTIFY`], or 0. Drivers look at it for known
/// defects only, but for our own guest kernel's.
pub(super) const VENDOR: u32 = 0x4f4d_0000;

/// The bits of [`STATUS`] (§2.1).
pub(super) mod status {
    pub(in crate::mmio) const ACKNOWLEDGE: u32 = 1;
    pub(in crate::mmio) const DRIVER: u32 = 2;
    pub(in crate::mmio) const DRIVER_OK: u32 = 4;
    pub(in crate::mmio) const FEATURES_OK: u32 = 8;
    pub(in crate::mmio) const NEEDS_RESET: u32 = 64;
    pub(in crate::mmio) const FAILED: u32 = 128;
    pub(in crate::mmio) const ALL: u32 =
        ACKNOWLEDGE | DRIVER | DRIVER_OK | FEATURES_OK | NEEDS_RESET | FAILED;
}
