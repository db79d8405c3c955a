//! The MP table: processors, the I/O APIC and its pins, for a kernel without ACPI.
//!
//! Source: Intel MultiProcessor Specification 1.4, chapter 4.

use monocore_hypervisor::{Gsi, GuestRam, layout};

use super::pvh::Writer;
use super::virtio_window;
use crate::Error;

const PROCESSOR: u8 = 0;
const BUS: u8 = 1;
const IO_APIC: u8 = 2;
const IO_INTERRUPT: u8 = 3;
const LOCAL_INTERRUPT: u8 = 4;

const INTERRUPT_VECTORED: u8 = 0;
const INTERRUPT_NMI: u8 = 1;
const INTERRUPT_EXTERNAL: u8 = 3;

const APIC_VERSION: u8 = 0x14;
const IO_APIC_PINS: u8 = 24;
const TIMER_GSI: Gsi = Gsi(0);
const CPU_ENABLED: u8 = 1;
const CPU_BOOT: u8 = 2;
/// What processors say of themselves here nobody reads; CPUID tells.
const CPU_SIGNATURE: u32 = 0x600;
/// FPU and APIC.
const CPU_FEATURES: u32 = 0x201;
const ALL_LOCAL_APICS: u8 = 0xff;

/// Writes the table for `vcpus` processors and `devices` virtio windows.
pub(super) fn write(ram: &GuestRam, vcpus: u8, devices: usize) -> Result<(), Error> {
    let table = table(vcpus, devices);
    debug_assert!(layout::MP_CONFIG.0 + table.len() as u64 <= layout::MP_POINTER.0);
    let put = Writer(ram);
    put.bytes(layout::MP_CONFIG.0, &table)?;
    put.bytes(layout::MP_POINTER.0, &pointer())
}

/// The floating pointer: where the table is, and that there is no interrupt mode register.
fn pointer() -> [u8; 16] {
    let mut pointer = [0; 16];
    pointer[..4].copy_from_slice(b"_MP_");
    let address = u32::try_from(layout::MP_CONFIG.0).unwrap_or(0);
    pointer[4..8].copy_from_slice(&address.to_le_bytes());
    pointer[8] = 1;
    pointer[9] = 4;
    pointer[10] = checksum(&pointer);
    pointer
}

/// The byte that makes all of `bytes` add up to zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

fn table(vcpus: u8, devices: usize) -> Vec<u8> {
    let (entries, count) = entries(vcpus, &pins(devices));
    let mut table = Vec::with_capacity(44 + entries.len());
    table.extend_from_slice(b"PCMP");
    let len = u16::try_from(44 + entries.len()).unwrap_or(0);
    table.extend_from_slice(&len.to_le_bytes());
    // Revision 1.4, checksum, OEM and product.
    table.extend_from_slice(&[4, 0]);
    table.extend_from_slice(b"MONOCORE");
    table.extend_from_slice(b"MICROVM     ");
    // No OEM table.
    table.extend_from_slice(&[0; 6]);
    table.extend_from_slice(&count.to_le_bytes());
    table.extend_from_slice(&low_32(layout::LOCAL_APIC.0));
    // No extended entries.
    table.extend_from_slice(&[0; 4]);
    table.extend_from_slice(&entries);
    table[7] = checksum(&table);
    table
}

/// The I/O APIC's pins that something is connected to: Linux sets up every pin it is told of, by five exits each. The
/// first, the timer's, is there because kernels look for it.
fn pins(devices: usize) -> Vec<u8> {
    let gsis =
        [TIMER_GSI, layout::SERIAL_GSI].into_iter().chain((0..devices).map(|index| virtio_window(index).1));
    gsis.filter_map(|Gsi(gsi)| u8::try_from(gsi).ok()).filter(|pin| *pin < IO_APIC_PINS).collect()
}

fn entries(vcpus: u8, pins: &[u8]) -> (Vec<u8>, u16) {
    let mut bytes = Vec::new();
    for id in 0..vcpus {
        let flags = if id == 0 { CPU_ENABLED | CPU_BOOT } else { CPU_ENABLED };
        bytes.extend_from_slice(&[PROCESSOR, id, APIC_VERSION, flags]);
        bytes.extend_from_slice(&CPU_SIGNATURE.to_le_bytes());
        bytes.extend_from_slice(&CPU_FEATURES.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
    }
    let io_apic_id = vcpus;
    bytes.extend_from_slice(&[BUS, 0]);
    bytes.extend_from_slice(b"ISA   ");
    bytes.extend_from_slice(&[IO_APIC, io_apic_id, APIC_VERSION, 1]);
    bytes.extend_from_slice(&low_32(layout::IO_APIC.0));
    for &pin in pins {
        bytes.extend_from_slice(&[IO_INTERRUPT, INTERRUPT_VECTORED, 0, 0, 0, pin, io_apic_id, pin]);
    }
    bytes.extend_from_slice(&[LOCAL_INTERRUPT, INTERRUPT_EXTERNAL, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&[LOCAL_INTERRUPT, INTERRUPT_NMI, 0, 0, 0, 0, ALL_LOCAL_APICS, 1]);
    (bytes, u16::from(vcpus) + 2 + u16::try_from(pins.len()).unwrap_or(0) + 2)
}

/// Addresses of interrupt controllers lie below 4 GiB.
fn low_32(address: u64) -> [u8; 4] {
    u32::try_from(address).unwrap_or(0).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_right() {
        for vcpus in [1, 2, 64] {
            let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
            assert_eq!(sum(&table(vcpus, 3)), 0);
            assert_eq!(sum(&pointer()), 0);
        }
    }

    #[test]
    fn the_largest_table_fits_below_its_pointer() {
        assert!(
            layout::MP_CONFIG.0 + table(64, layout::VIRTIO_DEVICES_MAX).len() as u64 <= layout::MP_POINTER.0
        );
    }

    #[test]
    fn lengths_and_counts_agree_with_the_entries() {
        let table = table(3, 2);
        assert_eq!(usize::from(u16::from_le_bytes([table[4], table[5]])), table.len());
        let mut rest = &table[44..];
        let mut count = 0;
        while let Some(kind) = rest.first() {
            rest = &rest[if *kind == PROCESSOR { 20 } else { 8 }..];
            count += 1;
        }
        assert_eq!(u16::from_le_bytes([table[34], table[35]]), count);
    }

    #[test]
    fn only_pins_in_use_are_listed() {
        assert_eq!(pins(2), [0, 4, 5, 6]);
        assert_eq!(pins(layout::VIRTIO_DEVICES_MAX).last(), Some(&23));
    }
}
