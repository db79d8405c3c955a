//! Members of the guest's groups: their connections and datagrams into the guest.

use std::time::Instant;

use monocore_spec::Protocol;
use monocore_virtio::{Poller, ServiceError};
use monocore_vsock::Channels;

use super::Tsi;
use crate::peers::{PeerCall, PeerEvent};

impl Tsi {
    /// The supervisor or a member's machine has said something.
    pub(super) fn peers_ready(
        &mut self,
        kind: u64,
        bits: u64,
        channels: &mut Channels<'_, '_>,
        poller: &Poller,
        now: Instant,
    ) -> Result<(), ServiceError> {
        for event in self.engine.peers.ready(poller, kind, bits) {
            match event {
                PeerEvent::Call(call) => self.called(call, poller, now)?,
                PeerEvent::Resolved { id, addresses } => {
                    self.dns.resolved(&mut self.engine, poller, id, addresses.as_deref(), now);
                }
                // The guest's kernel sends no echo requests this way.
                PeerEvent::Here(_) | PeerEvent::Absent(_) | PeerEvent::Regrouped => {}
            }
        }
        self.announce(channels)
    }

    fn called(&mut self, call: PeerCall, poller: &Poller, now: Instant) -> Result<(), ServiceError> {
        if !self.engine.inbound_peer(call.protocol, call.peer.ip(), call.guest.port()) {
            return Ok(());
        }
        if call.protocol == Protocol::Tcp {
            self.let_in(call);
            return Ok(());
        }
        // Where nobody listens, the dropped socket tells the member.
        let Some(channel) = self.socket_at(Protocol::Udp, call.guest) else { return Ok(()) };
        self.flows.accept(&mut self.engine, poller, (channel, call.peer), call.end.socket, now)
    }
}
