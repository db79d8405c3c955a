//! A driver's end of one split virtqueue (VIRTIO 1.3 §2.7).

use std::collections::HashMap;
use std::sync::atomic::{Ordering, fence};

use monocore_hypervisor::{Doorbell, Event, GuestRam};
use vm_memory::{Bytes, GuestAddress};

use crate::{ActiveQueue, QueueState, features};

const FLAG_NEXT: u16 = 1;
const FLAG_WRITE: u16 = 2;
const FLAG_INDIRECT: u16 = 4;
/// Descriptor table, then available ring, then used ring, within a queue's room.
const AVAIL: u64 = 0x4000;
const USED: u64 = 0x5000;
/// Rings larger than this do not fit their room.
const LARGEST: u16 = 256;

/// One buffer of a chain.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Guest physical address.
    pub addr: u64,
    /// Length, in bytes.
    pub len_bytes: u32,
    /// The device writes it.
    pub writable: bool,
}

impl Part {
    /// A buffer the device reads.
    ///
    /// # Panics
    /// Past 4 GiB.
    pub fn readable(addr: u64, len_bytes: usize) -> Self {
        Self { addr, len_bytes: len_bytes.try_into().expect("a buffer below 4 GiB"), writable: false }
    }

    /// A buffer the device writes.
    ///
    /// # Panics
    /// Past 4 GiB.
    pub fn writable(addr: u64, len_bytes: usize) -> Self {
        Self { writable: true, ..Self::readable(addr, len_bytes) }
    }
}

/// A driver's end of a queue.
pub struct DriverQueue {
    ram: GuestRam,
    base: u64,
    size: u16,
    max_size: u16,
    event_idx: bool,
    kick: Event,
    next_avail: u16,
    /// Available index when the device was last kicked.
    kicked: u16,
    last_used: u16,
    free: Vec<u16>,
    chains: HashMap<u16, Vec<u16>>,
    /// How often the device was kicked.
    pub kicks: u64,
}

impl DriverQueue {
    /// A queue whose rings lie at `base` in `ram`, 32 KiB long.
    ///
    /// # Panics
    /// Where no descriptor is free.
    pub fn new(ram: GuestRam, base: u64, max_size: u16, features: u64) -> Self {
        let size = max_size.min(LARGEST);
        Self {
            ram,
            base,
            size,
            max_size,
            event_idx: features & features::EVENT_IDX != 0,
            kick: super::event(),
            next_avail: 0,
            kicked: 0,
            last_used: 0,
            free: (0..size).rev().collect(),
            chains: HashMap::new(),
            kicks: 0,
        }
    }

    /// The number of descriptors.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// The number of descriptors in no chain.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// The state of the queue before anybody used it.
    pub fn fresh_state(&self) -> QueueState {
        QueueState {
            size: self.size,
            ready: true,
            event_idx: self.event_idx,
            desc_table: self.base,
            avail_ring: self.base + AVAIL,
            used_ring: self.base + USED,
            ..QueueState::idle(self.max_size)
        }
    }

    /// The device's end of the queue, in `state`.
    ///
    /// # Panics
    /// Where the state is none of this queue.
    pub fn active(&self, index: u16, state: QueueState) -> ActiveQueue {
        let queue = state.into_queue(index, &self.ram).expect("a valid queue");
        let kick = Doorbell(self.kick.try_clone().expect("a free descriptor"));
        ActiveQueue { index, queue, kick }
    }

    /// Makes a chain of `parts` available and returns its head; the device is not kicked yet.
    ///
    /// # Panics
    /// When there are not enough free descriptors.
    pub fn add(&mut self, parts: &[Part]) -> u16 {
        let descriptors: Vec<u16> =
            parts.iter().map(|_| self.free.pop().expect("a free descriptor")).collect();
        for (at, part) in parts.iter().enumerate() {
            let next = descriptors.get(at + 1).copied();
            let flags =
                if part.writable { FLAG_WRITE } else { 0 } | if next.is_some() { FLAG_NEXT } else { 0 };
            self.set_descriptor(descriptors[at], part.addr, part.len_bytes, flags, next.unwrap_or(0));
        }
        let head = descriptors[0];
        self.chains.insert(head, descriptors);
        self.publish(head);
        head
    }

    /// Makes a chain of `parts` available through an indirect table at `table`, and returns its head.
    ///
    /// # Panics
    /// When there is no free descriptor.
    pub fn add_indirect(&mut self, table: u64, parts: &[Part]) -> u16 {
        let last = parts.len() - 1;
        for (at, part) in parts.iter().enumerate() {
            let flags = if part.writable { FLAG_WRITE } else { 0 } | if at < last { FLAG_NEXT } else { 0 };
            let next = u16::try_from(at + 1).expect("few parts");
            self.write_descriptor(table, at as u64, part.addr, part.len_bytes, flags, next);
        }
        let head = self.free.pop().expect("a free descriptor");
        let len_bytes = u32::try_from(parts.len() * 16).expect("few parts");
        self.set_descriptor(head, table, len_bytes, FLAG_INDIRECT, 0);
        self.chains.insert(head, vec![head]);
        self.publish(head);
        head
    }

    /// Writes a descriptor, whatever it says.
    pub fn set_descriptor(&self, index: u16, addr: u64, len_bytes: u32, flags: u16, next: u16) {
        self.write_descriptor(self.base, index.into(), addr, len_bytes, flags, next);
    }

    fn write_descriptor(&self, table: u64, index: u64, addr: u64, len_bytes: u32, flags: u16, next: u16) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&addr.to_le_bytes());
        bytes[8..12].copy_from_slice(&len_bytes.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        self.ram.write_slice(&bytes, GuestAddress(table + index * 16)).expect("tables lie in RAM");
    }

    /// Puts `head` into the available ring, whatever it names.
    pub fn publish(&mut self, head: u16) {
        let slot = AVAIL + 4 + u64::from(self.next_avail % self.size) * 2;
        self.store(slot, head);
        self.next_avail = self.next_avail.wrapping_add(1);
        self.set_avail_index(self.next_avail);
    }

    /// Sets the index of the available ring, whatever it says.
    pub fn set_avail_index(&mut self, index: u16) {
        self.next_avail = index;
        self.store(AVAIL + 2, index);
    }

    /// Kicks the device unless it said that it does not want to know.
    ///
    /// # Panics
    /// When the doorbell fails.
    pub fn kick(&mut self) {
        fence(Ordering::SeqCst);
        let (old, new) = (self.kicked, self.next_avail);
        let wanted = if self.event_idx {
            let event = self.load(USED + 4 + u64::from(self.size) * 8);
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            self.load(USED) & 1 == 0
        };
        self.kicked = new;
        if wanted {
            self.kick_anyway();
        }
    }

    /// Kicks the device.
    ///
    /// # Panics
    /// When the doorbell fails.
    pub fn kick_anyway(&mut self) {
        self.kicks += 1;
        self.kick.raise().expect("the doorbell works");
    }

    /// The next used chain: its head and the count of bytes written. If there is none, the next one brings
    /// an interrupt.
    ///
    /// # Panics
    /// When the device gives back what it never got.
    pub fn take_used(&mut self) -> Option<(u16, u32)> {
        if self.load(USED + 2) == self.last_used {
            self.set_used_event(self.last_used);
            fence(Ordering::SeqCst);
            if self.load(USED + 2) == self.last_used {
                return None;
            }
        }
        fence(Ordering::SeqCst);
        let slot = GuestAddress(self.base + USED + 4 + u64::from(self.last_used % self.size) * 8);
        let id = self.ram.read_obj::<[u32; 2]>(slot).expect("rings lie in RAM");
        let [head, written] = id.map(u32::from_le);
        self.last_used = self.last_used.wrapping_add(1);
        let head = u16::try_from(head).expect("heads have 16 bits");
        if let Some(descriptors) = self.chains.remove(&head) {
            self.free.extend(descriptors);
        }
        Some((head, written))
    }

    /// Asks for an interrupt when the used index passes `index` (EVENT_IDX).
    pub fn set_used_event(&self, index: u16) {
        self.store(AVAIL + 4 + u64::from(self.size) * 2, index);
    }

    /// Sets the flags of the available ring; 1 asks for no interrupts, where EVENT_IDX is not taken.
    pub fn set_avail_flags(&self, flags: u16) {
        self.store(AVAIL, flags);
    }

    /// The used index as the device left it.
    pub fn used_index(&self) -> u16 {
        self.load(USED + 2)
    }

    fn store(&self, offset: u64, value: u16) {
        self.ram
            .store(value.to_le(), GuestAddress(self.base + offset), Ordering::SeqCst)
            .expect("rings lie in RAM");
    }

    fn load(&self, offset: u64) -> u16 {
        let value: u16 =
            self.ram.load(GuestAddress(self.base + offset), Ordering::SeqCst).expect("rings lie in RAM");
        u16::from_le(value)
    }
}
