//! One request of a driver: its chain of descriptors, walked once, checked, and kept as lists of buffers.
//!
//! Source: VIRTIO 1.3 §2.7.4 (framing), §2.7.5 (descriptor table).

use monocore_hypervisor::GuestRam;
use vm_memory::{Bytes, GuestAddress};

use crate::{Buffers, GuestFault};

/// The most descriptors a chain has, whatever the queue's size: what one system call takes, and what other
/// VMMs allow.
pub const MAX_DESCRIPTORS: u32 = 1024;

/// Length of a descriptor, in bytes: address, length, flags, next.
const DESCRIPTOR_BYTES: u32 = 16;
const FLAG_NEXT: u16 = 1;
const FLAG_WRITE: u16 = 2;
const FLAG_INDIRECT: u16 = 4;

/// A chain a driver made available. Kept by the device and filled again and again, so that a request costs
/// no allocation.
#[derive(Debug, Default)]
pub struct Chain<'m> {
    head: u16,
    /// What the device reads.
    pub readable: Buffers<'m>,
    /// What the device writes.
    pub writable: Buffers<'m>,
}

/// Where a chain's descriptors lie.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    pub(crate) addr: u64,
    pub(crate) size: u32,
}

/// What a chain may be.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_bytes: u64,
    pub(crate) indirect: bool,
}

struct Descriptor {
    addr: u64,
    len_bytes: u32,
    flags: u16,
    next: u16,
}

impl<'m> Chain<'m> {
    /// An empty chain.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of its first descriptor, by which it is given back.
    pub fn head(&self) -> u16 {
        self.head
    }

    /// Reads the chain that begins at descriptor `head` of `table`, each descriptor once.
    pub(crate) fn walk(
        &mut self,
        ram: &'m GuestRam,
        head: u16,
        table: Table,
        limits: Limits,
    ) -> Result<(), GuestFault> {
        self.head = head;
        self.readable.clear();
        self.writable.clear();
        let (mut table, mut index, mut indirect) = (table, head, false);
        let mut left = table.size.min(MAX_DESCRIPTORS);
        let mut bytes = 0u64;
        loop {
            let descriptor = read_descriptor(ram, table, index)?;
            if descriptor.flags & FLAG_INDIRECT != 0 {
                if indirect || !limits.indirect {
                    return Err(GuestFault::Indirect(if indirect { "nested" } else { "not negotiated" }));
                }
                table = indirect_table(&descriptor)?;
                (index, indirect) = (0, true);
                left = table.size.min(MAX_DESCRIPTORS);
                continue;
            }
            left = left.checked_sub(1).ok_or(GuestFault::ChainTooLong(table.size.min(MAX_DESCRIPTORS)))?;
            bytes += u64::from(descriptor.len_bytes);
            if bytes > limits.max_bytes {
                return Err(GuestFault::ChainTooLarge(limits.max_bytes));
            }
            self.add(ram, &descriptor)?;
            if descriptor.flags & FLAG_NEXT == 0 {
                return Ok(());
            }
            index = descriptor.next;
        }
    }

    fn add(&mut self, ram: &'m GuestRam, descriptor: &Descriptor) -> Result<(), GuestFault> {
        let &Descriptor { addr, len_bytes, flags, .. } = descriptor;
        let list = if flags & FLAG_WRITE != 0 {
            &mut self.writable
        } else if self.writable.is_empty() {
            &mut self.readable
        } else {
            return Err(GuestFault::ReadableAfterWritable);
        };
        if list.push(ram, GuestAddress(addr), len_bytes) {
            Ok(())
        } else {
            Err(GuestFault::OutsideRam { addr, len_bytes })
        }
    }
}

fn indirect_table(descriptor: &Descriptor) -> Result<Table, GuestFault> {
    if descriptor.flags & FLAG_NEXT != 0 {
        return Err(GuestFault::Indirect("followed by another descriptor"));
    }
    if descriptor.len_bytes == 0 || !descriptor.len_bytes.is_multiple_of(DESCRIPTOR_BYTES) {
        return Err(GuestFault::Indirect("not a multiple of 16 bytes long"));
    }
    Ok(Table { addr: descriptor.addr, size: descriptor.len_bytes / DESCRIPTOR_BYTES })
}

fn read_descriptor(ram: &GuestRam, table: Table, index: u16) -> Result<Descriptor, GuestFault> {
    if u32::from(index) >= table.size {
        return Err(GuestFault::DescriptorIndex { index, size: table.size });
    }
    let outside = GuestFault::OutsideRam { addr: table.addr, len_bytes: table.size * DESCRIPTOR_BYTES };
    let Some(addr) = table.addr.checked_add(u64::from(index) * u64::from(DESCRIPTOR_BYTES)) else {
        return Err(outside);
    };
    let Ok([low, high]) = ram.read_obj::<[u64; 2]>(GuestAddress(addr)) else { return Err(outside) };
    let (low, high) = (u64::from_le(low), u64::from_le(high).to_le_bytes());
    Ok(Descriptor {
        addr: low,
        len_bytes: u32::from_le_bytes([high[0], high[1], high[2], high[3]]),
        flags: u16::from_le_bytes([high[4], high[5]]),
        next: u16::from_le_bytes([high[6], high[7]]),
    })
}
