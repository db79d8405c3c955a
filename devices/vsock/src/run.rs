//! The device's queues while it runs.

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
