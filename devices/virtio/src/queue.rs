//! Queue states and queues: what is saved, and what is checked on the way back.

use monocore_hypervisor::GuestRam;
use virtio_queue::{Queue, QueueT};

use crate::QueueState;

/// Why a queue state is none a queue can have.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Sizes or alignments break the rules of VIRTIO 1.3 §2.7.
    #[error("queue {index}: {source}")]
    Layout {
        /// The queue's number.
        index: u16,
        /// Which rule.
        source: virtio_queue::Error,
    },
    /// Descriptor table or rings do not lie in RAM, or the queue is not ready.
    #[error("queue {0} does not lie in guest RAM")]
    OutsideRam(u16),
}

impl QueueState {
    /// A queue nobody has set up, of at most `max_size` descriptors.
    pub fn idle(max_size: u16) -> Self {
        Self { max_size, size: max_size, ..Self::default() }
    }

    /// The state of `queue`.
    pub fn of(queue: &Queue) -> Self {
        let state = queue.state();
        Self {
            max_size: state.max_size,
            next_avail: state.next_avail,
            next_used: state.next_used,
            event_idx: state.event_idx_enabled,
            size: state.size,
            ready: state.ready,
            desc_table: state.desc_table,
            avail_ring: state.avail_ring,
            used_ring: state.used_ring,
        }
    }

    /// The queue, every part of it checked to lie in `ram`; `index` is for the error.
    ///
    /// # Errors
    /// [`QueueError`] where the state is not that of a ready queue in this RAM.
    pub fn into_queue(self, index: u16, ram: &GuestRam) -> Result<Queue, QueueError> {
        let queue = Queue::try_from(virtio_queue::QueueState {
            max_size: self.max_size,
            next_avail: self.next_avail,
            next_used: self.next_used,
            event_idx_enabled: self.event_idx,
            size: self.size,
            ready: self.ready,
            desc_table: self.desc_table,
            avail_ring: self.avail_ring,
            used_ring: self.used_ring,
        })
        .map_err(|source| QueueError::Layout { index, source })?;
        // Address 0 stands for "never set" in the queue's own checks.
        if self.avail_ring == 0 || !queue.is_valid(ram) {
            return Err(QueueError::OutsideRam(index));
        }
        Ok(queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::GuestAddress;

    fn state() -> QueueState {
        QueueState {
            max_size: 64,
            size: 16,
            next_avail: 65535,
            next_used: 3,
            event_idx: true,
            ready: true,
            desc_table: 0x1000,
            avail_ring: 0x2000,
            used_ring: 0x3000,
        }
    }

    #[test]
    fn a_state_survives_being_a_queue() {
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), 0x4000)]).unwrap();
        assert_eq!(QueueState::of(&state().into_queue(0, &ram).unwrap()), state());
    }

    #[test]
    fn states_no_queue_can_have_are_refused() {
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), 0x4000)]).unwrap();
        let breaks: [fn(&mut QueueState); 8] = [
            |s| s.size = 15,
            |s| s.size = 128,
            |s| s.size = 0,
            |s| s.ready = false,
            |s| s.desc_table = 0x1001,
            |s| s.used_ring = 0x3fff_fff8,
            |s| s.avail_ring = 0,
            |s| s.desc_table = 0x3ff0,
        ];
        for (number, change) in breaks.iter().enumerate() {
            let mut broken = state();
            change(&mut broken);
            assert!(broken.into_queue(0, &ram).is_err(), "change {number}");
        }
    }
}
