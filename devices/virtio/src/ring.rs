//! A device's end of one virtqueue: take chains, give them back, tell the driver when it wants to know.

use std::num::Wrapping;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use monocore_hypervisor::{Doorbell, GuestRam};
use virtio_queue::{Queue, QueueT};
use vm_memory::{AtomicAccess, Bytes, GuestAddress, GuestMemoryBackend, VolatileSlice};

use crate::chain::{Limits, Table};
use crate::{ActiveQueue, Chain, GuestFault, Interrupt, QueueState, ServiceError, features};

/// VIRTQ_AVAIL_F_NO_INTERRUPT (VIRTIO 1.3 §2.7.6).
const AVAIL_NO_INTERRUPT: u16 = 1;
/// Where the entries of both rings begin, bytes: behind flags and index (VIRTIO 1.3 §2.7.6, §2.7.8).
const ENTRIES: usize = 4;

/// A queue at work.
pub struct Ring<'m> {
    ram: &'m GuestRam,
    index: u16,
    queue: Queue,
    /// Nothing where they do not lie in RAM, which is a fault once they are needed.
    parts: Option<Parts<'m>>,
    kick: Doorbell,
    interrupt: Arc<dyn Interrupt>,
    limits: Limits,
    /// The used index when the driver was last considered for a notification.
    considered: Wrapping<u16>,
}

impl<'m> Ring<'m> {
    /// Takes over `active`; chains of more than `max_bytes` are the driver's fault. `features` are those
    /// the driver acknowledged.
    pub fn new(
        ram: &'m GuestRam,
        active: ActiveQueue,
        interrupt: Arc<dyn Interrupt>,
        features: u64,
        max_bytes: u64,
    ) -> Self {
        let ActiveQueue { index, queue, kick } = active;
        let limits = Limits { max_bytes, indirect: features & features::INDIRECT_DESC != 0 };
        let considered = Wrapping(queue.next_used());
        let parts = Parts::of(ram, &queue);
        Self { ram, index, queue, parts, kick, interrupt, limits, considered }
    }

    /// The queue's number within its device.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// The number of descriptors the driver chose.
    pub fn size(&self) -> u16 {
        self.queue.size()
    }

    /// What the driver raises when it made buffers available.
    pub fn kick(&self) -> &Doorbell {
        &self.kick
    }

    /// Takes the next chain the driver made available into `chain` and says whether there was one.
    ///
    /// # Errors
    /// [`GuestFault`] where ring or chain break the rules.
    pub fn pop(&mut self, chain: &mut Chain<'m>) -> Result<bool, GuestFault> {
        let parts = self.parts.as_ref().ok_or(GuestFault::RingOutsideRam)?;
        let next = Wrapping(self.queue.next_avail());
        // Whoever sees the index sees the entries.
        let waiting = Wrapping(load(parts.avail, 2, Ordering::Acquire)?) - next;
        if waiting.0 == 0 {
            return Ok(false);
        }
        if waiting.0 > self.queue.size() {
            return Err(virtio_queue::Error::InvalidAvailRingIndex.into());
        }
        let slot = usize::from(next.0 % self.queue.size());
        let head = load(parts.avail, ENTRIES + 2 * slot, Ordering::Relaxed)?;
        self.queue.set_next_avail((next + Wrapping(1)).0);
        self.walk(head, chain)?;
        Ok(true)
    }

    /// Reads the chain that begins at descriptor `head` again, which was taken by [`pop`](Self::pop) and not given back. The
    /// driver may have changed it meanwhile: it is another one, and checked as such.
    ///
    /// # Errors
    /// [`GuestFault`] where the chain breaks the rules.
    pub fn walk(&self, head: u16, chain: &mut Chain<'m>) -> Result<(), GuestFault> {
        let parts = self.parts.as_ref().ok_or(GuestFault::RingOutsideRam)?;
        chain.walk(self.ram, head, Table::of_queue(parts.table, self.queue.size()), self.limits)
    }

    /// Takes back the last `count` calls of [`pop`](Self::pop): those chains are available again. None of
    /// them may have been given back with [`push`](Self::push).
    pub fn undo_pops(&mut self, count: u16) {
        self.queue.set_next_avail(self.queue.next_avail().wrapping_sub(count));
    }

    /// Gives the chain that begins at descriptor `head` back, `written_bytes` of its writable part filled.
    ///
    /// # Errors
    /// [`GuestFault`] where the used ring cannot be written.
    pub fn push(&mut self, head: u16, written_bytes: u32) -> Result<(), GuestFault> {
        self.push_together([(head, written_bytes)])
    }

    /// Gives several chains back, each as [`push`](Self::push) does, so that the driver finds all of them or none: one
    /// that looks in between must not find part of a frame (VIRTIO 1.3 §5.1.6.4.1).
    ///
    /// # Errors
    /// [`GuestFault`] where the used ring cannot be written.
    pub fn push_together(&mut self, chains: impl IntoIterator<Item = (u16, u32)>) -> Result<(), GuestFault> {
        let used = self.parts.as_ref().ok_or(GuestFault::RingOutsideRam)?.used;
        let mut next = Wrapping(self.queue.next_used());
        for (head, written_bytes) in chains {
            let slot = usize::from(next.0 % self.queue.size());
            store(used, ENTRIES + 8 * slot, u32::from(head).to_le(), Ordering::Relaxed)?;
            store(used, ENTRIES + 8 * slot + 4, written_bytes.to_le(), Ordering::Relaxed)?;
            next += 1;
        }
        self.queue.set_next_used(next.0);
        // Whoever sees the index sees the entries.
        store(used, 2, next.0.to_le(), Ordering::Release)
    }

    /// Notifies the driver of what was given back since the last call, if anything was and it wants to know.
    ///
    /// # Errors
    /// [`GuestFault`] where the ring cannot be read.
    pub fn notify(&mut self) -> Result<(), GuestFault> {
        let used = Wrapping(self.queue.next_used());
        let before = std::mem::replace(&mut self.considered, used);
        if used == before {
            return Ok(());
        }
        // The index is written before the driver's wish is read, as the driver does it the other way round.
        fence(Ordering::SeqCst);
        let avail = self.parts.as_ref().ok_or(GuestFault::RingOutsideRam)?.avail;
        let wanted = if self.queue.event_idx_enabled() {
            // used_event (§2.7.7.2): the index that, once passed, is to be told.
            let event =
                load(avail, ENTRIES + 2 * usize::from(self.queue.size()), Ordering::Relaxed).map(Wrapping)?;
            used - event - Wrapping(1) < used - before
        } else {
            load(avail, 0, Ordering::Relaxed)? & AVAIL_NO_INTERRUPT == 0
        };
        if wanted {
            self.interrupt.notify_queue(self.index);
        }
        Ok(())
    }

    /// Asks the driver for a kick at the next chain, and says whether one came in the meantime.
    ///
    /// # Errors
    /// [`GuestFault`] where the ring cannot be written.
    pub fn rearm(&mut self) -> Result<bool, GuestFault> {
        Ok(self.queue.enable_notification(self.ram)?)
    }

    /// Asks the driver for no kicks; without EVENT_IDX it would kick at every chain.
    ///
    /// # Errors
    /// [`GuestFault`] where the ring cannot be written.
    pub fn disarm(&mut self) -> Result<(), GuestFault> {
        Ok(self.queue.disable_notification(self.ram)?)
    }

    /// Raises the queue's own doorbell: more work is there, but others, and a stop, come first.
    ///
    /// # Errors
    /// [`ServiceError::Host`] where it cannot be raised.
    pub fn again(&self) -> Result<(), ServiceError> {
        self.kick.0.raise().map_err(ServiceError::host("raising a doorbell"))
    }

    /// The queue's state, for [`VirtioDevice::stop`](crate::VirtioDevice::stop).
    pub fn state(&self) -> QueueState {
        QueueState::of(&self.queue)
    }
}

/// The parts of a queue, each of which lies in one piece of RAM; looked up once, since every request reads all of them.
struct Parts<'m> {
    table: VolatileSlice<'m>,
    avail: VolatileSlice<'m>,
    used: VolatileSlice<'m>,
}

impl<'m> Parts<'m> {
    /// The parts of `queue`, if they lie in RAM.
    fn of(ram: &'m GuestRam, queue: &Queue) -> Option<Self> {
        let size = usize::from(queue.size());
        // The last word of each ring is the other side's event index (VIRTIO 1.3 §2.7.7.2, §2.7.10).
        let part = |addr, len_bytes| ram.get_slice(GuestAddress(addr), len_bytes).ok();
        Some(Self {
            table: part(queue.desc_table(), 16 * size)?,
            avail: part(queue.avail_ring(), ENTRIES + 2 * size + 2)?,
            used: part(queue.used_ring(), ENTRIES + 8 * size + 2)?,
        })
    }
}

fn load(part: VolatileSlice<'_>, at: usize, order: Ordering) -> Result<u16, GuestFault> {
    part.load(at, order).map(u16::from_le).map_err(|_| GuestFault::RingOutsideRam)
}

fn store<T: AtomicAccess>(
    part: VolatileSlice<'_>,
    at: usize,
    value: T,
    order: Ordering,
) -> Result<(), GuestFault> {
    part.store(value, at, order).map_err(|_| GuestFault::RingOutsideRam)
}
