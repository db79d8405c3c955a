//! The x86_64 machine: RAM from 0 with a hole from 3 GiB to 4 GiB, in which devices and the interrupt controllers lie.
//!
//! ```text
//! 0          start info, memory map, kernel command line (below 640 KiB)
//! 0x9e000    MP table; its floating pointer at 0x9fc00 (last KiB of base memory)
//! 0x200000   kernel (at its ELF file's own addresses, 16 MiB), initramfs behind it
//! 0xd0000000 virtio-mmio windows, 4 KiB each
//! 0xfec00000 I/O APIC      0xfee00000 local APICs      0xfffbc000 KVM's identity map and TSS
//! 4 GiB      the rest of RAM
//! ```

use vm_memory::GuestAddress;

use crate::{Gpa, Gsi};

/// End of RAM below the hole, in bytes.
pub const MMIO_HOLE_START: u64 = 3 << 30;
/// End of the hole: where RAM goes on.
pub const MMIO_HOLE_END: u64 = 4 << 30;
/// The first virtio-mmio window.
pub const VIRTIO_MMIO_START: Gpa = Gpa(0xd000_0000);
/// Length of a virtio-mmio window, in bytes.
pub const VIRTIO_MMIO_LEN: u64 = 0x1000;
/// The interrupt of the first virtio-mmio window; the following ones follow.
pub const VIRTIO_GSI_START: Gsi = Gsi(5);
/// The I/O port at which the queues behind the first virtio-mmio window are kicked; the following ones follow.
pub const VIRTIO_PORTS_START: u16 = 0x1000;
/// Length of such a port, in bytes: a queue's number is written.
pub const VIRTIO_PORT_LEN: u16 = 4;
/// How many virtio-mmio devices there is an interrupt pin for: pins 5 to 23 of the I/O APIC.
pub const VIRTIO_DEVICES_MAX: usize = 19;
/// Interrupt of the 8250.
pub const SERIAL_GSI: Gsi = Gsi(4);
/// I/O port of the 8250.
pub const SERIAL_PORT: u16 = 0x3f8;
/// I/O port of the exit device.
pub const EXIT_PORT: u16 = 0x600;
/// The I/O APIC's registers.
pub const IO_APIC: Gpa = Gpa(0xfec0_0000);
/// The local APICs' registers.
pub const LOCAL_APIC: Gpa = Gpa(0xfee0_0000);
/// One page for KVM's identity map; three more after it for its task state segment.
pub const KVM_IDENTITY_MAP: Gpa = Gpa(0xfffb_c000);

/// PVH start info.
pub const START_INFO: Gpa = Gpa(0x6000);
/// PVH memory map.
pub const MEMORY_MAP: Gpa = Gpa(0x7000);
/// PVH module list.
pub const MODULE_LIST: Gpa = Gpa(0x7800);
/// The kernel command line.
pub const COMMAND_LINE: Gpa = Gpa(0x2_0000);
/// Longest kernel command line with its final zero, in bytes (Linux `COMMAND_LINE_SIZE`).
pub const COMMAND_LINE_MAX: usize = 2048;
/// End of base memory the guest may use; the MP table follows.
pub const BASE_RAM_END: Gpa = MP_CONFIG;
/// The MP table's entries; room for 64 processors.
pub const MP_CONFIG: Gpa = Gpa(0x9_e000);
/// The MP table's floating pointer, where Linux looks second: the last KiB of 640 KiB.
pub const MP_POINTER: Gpa = Gpa(0x9_fc00);
/// Where RAM goes on after the BIOS area; kernels load above it. Its first MiB is not told to the guest: the huge page it lies
/// in with the boot tables stays unused but for these, which saves a boot more than a guest loses.
pub const HIGH_RAM_START: Gpa = Gpa(0x20_0000);

/// The I/O port at which the queues behind virtio-mmio window `index` are kicked, or `None` where there is no such window.
pub fn virtio_port(index: usize) -> Option<u16> {
    let index = u16::try_from(index).ok().filter(|_| index < VIRTIO_DEVICES_MAX)?;
    Some(VIRTIO_PORTS_START + VIRTIO_PORT_LEN * index)
}

/// The virtio-mmio window whose queues are kicked at `port`; the reverse of [`virtio_port`].
pub fn virtio_window_of(port: u16) -> Option<usize> {
    let offset = port.checked_sub(VIRTIO_PORTS_START)?;
    let index = usize::from(offset / VIRTIO_PORT_LEN);
    (offset % VIRTIO_PORT_LEN == 0 && index < VIRTIO_DEVICES_MAX).then_some(index)
}

/// The ranges of RAM of a machine with `size_bytes` of it, a multiple of 2 MiB.
pub fn ram_ranges(size_bytes: u64) -> Vec<(GuestAddress, usize)> {
    // The cast cannot truncate: x86_64.
    let range = |start: u64, len: u64| (GuestAddress(start), usize::try_from(len).unwrap_or(usize::MAX));
    if size_bytes <= MMIO_HOLE_START {
        return vec![range(0, size_bytes)];
    }
    vec![range(0, MMIO_HOLE_START), range(MMIO_HOLE_END, size_bytes - MMIO_HOLE_START)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_window_has_a_port_and_every_port_its_window() {
        for index in 0..VIRTIO_DEVICES_MAX {
            assert_eq!(virtio_port(index).and_then(virtio_window_of), Some(index));
        }
        assert_eq!(virtio_port(VIRTIO_DEVICES_MAX), None);
        let last = virtio_port(VIRTIO_DEVICES_MAX - 1).unwrap();
        for port in [0, VIRTIO_PORTS_START - 1, VIRTIO_PORTS_START + 1, last + VIRTIO_PORT_LEN, u16::MAX] {
            assert_eq!(virtio_window_of(port), None, "{port:#x}");
        }
    }

    #[test]
    fn ram_goes_round_the_hole() {
        assert_eq!(ram_ranges(256 << 20), [(GuestAddress(0), 256 << 20)]);
        assert_eq!(ram_ranges(3 << 30), [(GuestAddress(0), 3 << 30)]);
        assert_eq!(ram_ranges(4 << 30), [(GuestAddress(0), 3 << 30), (GuestAddress(4 << 30), 1 << 30)]);
    }
}
