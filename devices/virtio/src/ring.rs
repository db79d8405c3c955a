//! A device's end of one virtqueue: take chains, give them back, tell the driver when it wants to know.

use std::num::Wrapping;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use monocore_hypervisor::{Doorbell, GuestRam};
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};

use crate::chain::{Limits, Table};
use crate::{ActiveQueue, Chain, GuestFault, Interrupt, QueueState, ServiceError, features};

/// VIRTQ_AVAIL_F_NO_INTERRUPT (VIRTIO 1.3 §2.7.6).
const AVAIL_NO_INTERRUPT: u16 = 1;
/// Where the entries of both rings begin, bytes: behind flags and index (VIRTIO 1.3 §2.7.6, §2.7.8).
const ENTRIES: u64 = 4;

/// A queue at work, on its device's worker thread.
pub struct Ring<'m> {
    ram: &'m GuestRam,
    index: u16,
    queue: Queue,
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
        Self { ram, index, queue, kick, interrupt, limits, considered }
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
        let Some(head) = self.queue.iter(self.ram)?.next().map(|found| found.head_index()) else {
            return Ok(false);
        };
        let table = Table { addr: self.queue.desc_table(), size: u32::from(self.queue.size()) };
        chain.walk(self.ram, head, table, self.limits)?;
        Ok(true)
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
        let mut next = Wrapping(self.queue.next_used());
        for (head, written_bytes) in chains {
            let slot = u64::from(next.0 % self.queue.size());
            let entry = [u32::from(head).to_le(), written_bytes.to_le()];
            let at = GuestAddress(self.queue.used_ring() + ENTRIES + 8 * slot);
            self.ram.write_obj(entry, at).map_err(virtio_queue::Error::GuestMemory)?;
            next += 1;
        }
        self.queue.set_next_used(next.0);
        let index = GuestAddress(self.queue.used_ring() + 2);
        // Whoever sees the index sees the entries.
        self.ram.store(next.0.to_le(), index, Ordering::Release).map_err(virtio_queue::Error::GuestMemory)?;
        Ok(())
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
        let avail = self.queue.avail_ring();
        let wanted = if self.queue.event_idx_enabled() {
            // used_event (§2.7.7.2): the index that, once passed, is to be told.
            let event = Wrapping(self.load(avail + ENTRIES + 2 * u64::from(self.queue.size()))?);
            used - event - Wrapping(1) < used - before
        } else {
            self.load(avail)? & AVAIL_NO_INTERRUPT == 0
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

    fn load(&self, at: u64) -> Result<u16, GuestFault> {
        let value: u16 =
            self.ram.load(GuestAddress(at), Ordering::Relaxed).map_err(virtio_queue::Error::GuestMemory)?;
        Ok(u16::from_le(value))
    }

    /// The queue's state, for [`VirtioDevice::stop`](crate::VirtioDevice::stop).
    pub fn state(&self) -> QueueState {
        QueueState::of(&self.queue)
    }
}
