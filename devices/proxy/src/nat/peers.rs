//! Members of the guest's groups: their connections and datagrams into the guest.

use monocore_spec::Protocol;
use monocore_virtio::ServiceError;

use super::Targets;
use super::io::Io;
use crate::peers::{PeerCall, PeerEvent};

/// The supervisor or a member's machine has said something.
pub(super) fn ready(
    io: &mut Io<'_, '_>,
    mut targets: Targets<'_>,
    kind: u64,
    bits: u64,
) -> Result<(), ServiceError> {
    for event in io.engine.peers.ready(io.poller, kind, bits) {
        match event {
            PeerEvent::Call(call) => called(io, &mut targets, call)?,
            PeerEvent::Resolved { id, addresses } => {
                io.dns.resolved(io.engine, io.poller, id, addresses.as_deref(), io.now);
            }
            PeerEvent::Here(peer) => targets.echoes.found(io, peer, true)?,
            PeerEvent::Absent(peer) => targets.echoes.found(io, peer, false)?,
            PeerEvent::Regrouped => io.link.group_addresses = io.engine.peers.own().collect(),
        }
    }
    Ok(())
}

fn called(io: &mut Io<'_, '_>, targets: &mut Targets<'_>, call: PeerCall) -> Result<(), ServiceError> {
    if !io.engine.inbound_peer(call.protocol, call.peer.ip(), call.guest.port()) {
        return Ok(());
    }
    if call.protocol == Protocol::Tcp {
        targets.tcp.accepted(io, call.guest, call.peer, (call.end.socket, call.end.fate))
    } else {
        targets.udp.accept(io, call)
    }
}
