//! The device's queues while it runs, and the guest's RAM that they lie in.

use std::sync::Mutex;

use monocore_hypervisor::GuestRam;
use monocore_virtio::{Chain, QueueState, Ring};

use crate::inbound::Inbound;

/// The queues, and how far the device is with them.
pub(crate) struct Run<'m> {
    pub(crate) inbound: Inbound<'m>,
    pub(crate) tx: Ring<'m>,
    /// There is none where the front end of a vhost-user device keeps it.
    pub(crate) events: Option<Ring<'m>>,
    pub(crate) packet: Chain<'m>,
    /// The driver knows of channels.
    pub(crate) channels: bool,
    /// The backend's descriptor is watched.
    pub(crate) listening: bool,
    /// The guest's packets wait until it has taken ours.
    pub(crate) tx_held: bool,
}

impl Run<'_> {
    /// Where the queues stand, by index.
    pub(crate) fn queue_states(&self) -> Vec<QueueState> {
        let rings = [Some(&self.inbound.ring), Some(&self.tx), self.events.as_ref()];
        rings.into_iter().flatten().map(Ring::state).collect()
    }
}

/// Taken by whoever has the device's state, so that nobody ever waits for it.
pub(crate) type Locked<'m> = Mutex<Run<'m>>;

self_cell::self_cell!(
    /// A run that keeps the RAM it borrows, so that threads can hand it to each other.
    pub(crate) struct Running {
        owner: GuestRam,
        #[not_covariant]
        dependent: Locked,
    }
);
