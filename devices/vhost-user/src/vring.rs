//! One queue as the front end describes it.

use std::fs::File;
use std::sync::atomic::Ordering;

use monocore_hypervisor::{Doorbell, Event, GuestRam};
use monocore_virtio::{ActiveQueue, QueueState};
use vhost::vhost_user::{Error, Result};
use vm_memory::{Bytes, GuestAddress};

/// What is known of a queue; it can run when all of it is.
#[derive(Default)]
pub(crate) struct Vring {
    /// Descriptors.
    pub(crate) size: Option<u16>,
    /// Descriptor table, available ring, used ring: guest physical addresses.
    pub(crate) rings: Option<[u64; 3]>,
    /// Next available entry to read.
    pub(crate) base: u16,
    pub(crate) kick: Option<File>,
    pub(crate) enabled: bool,
}

impl Vring {
    /// Whether the queue can run.
    pub(crate) fn is_ready(&self) -> bool {
        self.enabled && self.kick.is_some() && self.rings.is_some() && self.size.is_some()
    }

    /// The queue for the device; the used index is where the rings have it.
    ///
    /// # Errors
    /// Where the rings do not lie in `ram` or break the rules.
    pub(crate) fn activate(&self, index: u16, ram: &GuestRam, event_idx: bool) -> Result<ActiveQueue> {
        let (Some(size), Some([desc_table, avail_ring, used_ring]), Some(kick)) =
            (self.size, self.rings, &self.kick)
        else {
            return Err(Error::InvalidOperation("a queue that is not set up"));
        };
        let used_index: u16 = GuestAddress(used_ring)
            .0
            .checked_add(2)
            .and_then(|at| ram.load(GuestAddress(at), Ordering::Relaxed).ok())
            .ok_or(Error::InvalidParam)?;
        let state = QueueState {
            max_size: size,
            size,
            ready: true,
            event_idx,
            next_avail: self.base,
            next_used: u16::from_le(used_index),
            desc_table,
            avail_ring,
            used_ring,
        };
        let queue = state.into_queue(index, ram).map_err(|error| {
            tracing::warn!(%error, "the front end's queue is none");
            Error::InvalidParam
        })?;
        let kick = kick.try_clone().map_err(Error::ReqHandlerError)?;
        Ok(ActiveQueue { index, queue, kick: Doorbell(Event::from_fd(kick.into())) })
    }
}
