//! One request of a driver: its chain of descriptors, walked once, checked, and kept as lists of buffers.
//!
//! Source: VIRTIO 1.3 §2.7.4 (framing), §2.7.5 (descriptor table).

use monocore_hypervisor::GuestRam;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, VolatileSlice};

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
pub(crate) struct Table<'m> {
    memory: VolatileSlice<'m>,
    /// The number of descriptors.
    size: u32,
}

impl<'m> Table<'m> {
    /// A queue's own, of `size` descriptors.
    pub(crate) fn of_queue(memory: VolatileSlice<'m>, size: u16) -> Self {
        Self { memory, size: size.into() }
    }

    /// The one that `descriptor` stands for (VIRTIO 1.3 §2.7.5.3).
    fn indirect(ram: &'m GuestRam, descriptor: &Descriptor) -> Result<Self, GuestFault> {
        let &Descriptor { addr, len_bytes, flags, .. } = descriptor;
        if flags & FLAG_NEXT != 0 {
            return Err(GuestFault::Indirect("followed by another descriptor"));
        }
        if len_bytes == 0 || !len_bytes.is_multiple_of(DESCRIPTOR_BYTES) {
            return Err(GuestFault::Indirect("not a multiple of 16 bytes long"));
        }
        let memory = ram
            .get_slice(GuestAddress(addr), len_bytes as usize)
            .map_err(|_| GuestFault::OutsideRam { addr, len_bytes })?;
        Ok(Self { memory, size: len_bytes / DESCRIPTOR_BYTES })
    }

    /// Descriptor number `index`, read once.
    fn read(self, index: u16) -> Result<Descriptor, GuestFault> {
        let bad = GuestFault::DescriptorIndex { index, size: self.size };
        let at = usize::from(index) * DESCRIPTOR_BYTES as usize;
        let Ok([addr, rest]) = self.memory.read_obj::<[u64; 2]>(at) else { return Err(bad) };
        let rest = u64::from_le(rest).to_le_bytes();
        Ok(Descriptor {
            addr: u64::from_le(addr),
            len_bytes: u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]),
            flags: u16::from_le_bytes([rest[4], rest[5]]),
            next: u16::from_le_bytes([rest[6], rest[7]]),
        })
    }
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
        table: Table<'m>,
        limits: Limits,
    ) -> Result<(), GuestFault> {
        self.head = head;
        self.readable.clear();
        self.writable.clear();
        let (mut table, mut index, mut indirect) = (table, head, false);
        let mut left = table.size.min(MAX_DESCRIPTORS);
        let mut bytes = 0u64;
        loop {
            let descriptor = table.read(index)?;
            if descriptor.flags & FLAG_INDIRECT != 0 {
                if indirect || !limits.indirect {
                    return Err(GuestFault::Indirect(if indirect { "nested" } else { "not negotiated" }));
                }
                table = Table::indirect(ram, &descriptor)?;
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
