//! Echo requests: the gateway answers its own, others go out through a ping socket, which needs no privilege where the host's
//! `net.ipv4.ping_group_range` lets it be.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use monocore_spec::Protocol;
use monocore_virtio::{Buffers, Interest, ServiceError};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, ipproto, recv, send, socket_with,
};

use super::io::Io;
use super::wire::emit::{self, Unreachable};
use super::wire::udp::{ECHO_BYTES, Echo};
use crate::engine::Engine;
use crate::slab::{Id, Slab};
use crate::token::{TOKEN_ECHO, token};

const LIFETIME: Duration = Duration::from_secs(30);
/// The longest payload that is carried.
const MAX_PAYLOAD: usize = 9000;
/// Echo requests of one guest under way to different places.
const MAX_FLOWS: usize = 64;
const HOP_LIMIT: u8 = 64;

#[derive(Debug)]
struct Flow {
    remote: IpAddr,
    identifier: u16,
    socket: OwnedFd,
    until: Instant,
}

/// An echo request to a member that a link is awaited to, with its answer.
#[derive(Debug)]
struct Waiting {
    guest: IpAddr,
    remote: IpAddr,
    message: Vec<u8>,
    /// The request's beginning, for an error that quotes it.
    packet: Vec<u8>,
}

/// All echo requests under way, by whom they ask and by which process of the guest.
#[derive(Debug, Default)]
pub(crate) struct Echoes {
    flows: Slab<Flow>,
    by_key: HashMap<(IpAddr, u16), Id>,
    waiting: Vec<Waiting>,
}

impl Echoes {
    pub(crate) fn begin(&mut self, engine: &mut Engine) {
        // They are over in a moment anyway.
        for id in self.flows.ids() {
            self.remove(engine, id);
        }
    }

    /// An echo request of the guest to `remote`; `packet` is its beginning, for errors that quote it.
    pub(crate) fn request(
        &mut self,
        io: &mut Io<'_, '_>,
        (guest, remote): (IpAddr, IpAddr),
        echo: &Echo,
        payload: &Buffers<'_>,
        packet: &[u8],
    ) -> Result<(), ServiceError> {
        let mut message = emit::echo_reply(remote.is_ipv4(), echo.identifier, echo.sequence).to_vec();
        let count = echo.payload_bytes.min(MAX_PAYLOAD);
        message.resize(ECHO_BYTES + count, 0);
        payload.copy_to(0, &mut message[ECHO_BYTES..]);
        if io.engine.is_gateway(remote) {
            return io.link.icmp(io.receiver, remote, guest, &message, HOP_LIMIT);
        }
        if let Some(own) = io.engine.peers.group_of(remote) {
            return self.request_to_peer(
                io,
                own,
                Waiting { guest, remote, message, packet: packet.to_vec() },
            );
        }
        let id = match self.by_key.get(&(remote, echo.identifier)) {
            Some(id) => *id,
            None => {
                if io.engine.outbound(Protocol::Icmp, SocketAddr::new(remote, 0), io.now).is_err() {
                    return io.link.unreachable(
                        io.receiver,
                        remote.is_ipv4(),
                        Unreachable::Prohibited,
                        packet,
                    );
                }
                match self.begin_flow(io, remote, echo.identifier)? {
                    Some(id) => id,
                    None => return Ok(()),
                }
            }
        };
        let Some(flow) = self.flows.get_mut(id) else { return Ok(()) };
        flow.until = io.now + LIFETIME;
        message[0] = if remote.is_ipv4() { 8 } else { 128 };
        // Lost, as packets are; identifier and checksum are the kernel's to set.
        let _ = send(&flow.socket, &message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        Ok(())
    }

    /// An echo request to a member: its machine's being there is the answer.
    fn request_to_peer(
        &mut self,
        io: &mut Io<'_, '_>,
        own: Ipv4Addr,
        waiting: Waiting,
    ) -> Result<(), ServiceError> {
        let IpAddr::V4(peer) = waiting.remote else { return Ok(()) };
        if io.engine.outbound(Protocol::Icmp, SocketAddr::new(waiting.remote, 0), io.now).is_err() {
            return io.link.unreachable(io.receiver, true, Unreachable::Prohibited, &waiting.packet);
        }
        match io.engine.peers.look_for(own, peer) {
            Ok(true) => io.link.icmp(io.receiver, waiting.remote, waiting.guest, &waiting.message, HOP_LIMIT),
            Ok(false) if self.waiting.len() < MAX_FLOWS => {
                self.waiting.push(waiting);
                Ok(())
            }
            // Lost, as packets are.
            _ => Ok(()),
        }
    }

    /// The member at `peer` is there, or is not.
    pub(crate) fn found(
        &mut self,
        io: &mut Io<'_, '_>,
        peer: Ipv4Addr,
        is_there: bool,
    ) -> Result<(), ServiceError> {
        let (answered, others) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<Vec<_>, _>(|waiting| waiting.remote == IpAddr::V4(peer));
        self.waiting = others;
        for Waiting { guest, remote, message, packet } in answered {
            if is_there {
                io.link.icmp(io.receiver, remote, guest, &message, HOP_LIMIT)?;
            } else {
                io.link.unreachable(io.receiver, true, Unreachable::Host, &packet)?;
            }
        }
        Ok(())
    }

    /// An answer has arrived.
    pub(crate) fn ready(&mut self, io: &mut Io<'_, '_>, bits: u64) -> Result<(), ServiceError> {
        let Some(id) = self.flows.by_bits(bits) else { return Ok(()) };
        let Some(flow) = self.flows.get_mut(id) else { return Ok(()) };
        let mut message = vec![0; ECHO_BYTES + MAX_PAYLOAD];
        let Ok((count, _)) = recv(&flow.socket, &mut message[..], RecvFlags::DONTWAIT) else { return Ok(()) };
        message.truncate(count);
        let reply = if flow.remote.is_ipv4() { 0 } else { 129 };
        if count < ECHO_BYTES || message[0] != reply {
            return Ok(());
        }
        message[2..4].fill(0);
        message[4..6].copy_from_slice(&flow.identifier.to_be_bytes());
        let guest = io.link.guest(flow.remote);
        io.link.icmp(io.receiver, flow.remote, guest, &message, HOP_LIMIT)
    }

    fn begin_flow(
        &mut self,
        io: &mut Io<'_, '_>,
        remote: IpAddr,
        identifier: u16,
    ) -> Result<Option<Id>, ServiceError> {
        if self.flows.len() >= MAX_FLOWS {
            for id in self.flows.ids() {
                if self.flows.get_mut(id).is_some_and(|flow| flow.until <= io.now) {
                    self.remove(io.engine, id);
                }
            }
            if self.flows.len() >= MAX_FLOWS {
                return Ok(None);
            }
        }
        let (family, protocol) = if remote.is_ipv4() {
            (AddressFamily::INET, ipproto::ICMP)
        } else {
            (AddressFamily::INET6, ipproto::ICMPV6)
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let made = socket_with(family, SocketType::DGRAM, flags, Some(protocol));
        let socket = made.and_then(|socket| connect(&socket, &SocketAddr::new(remote, 0)).map(|()| socket));
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) => {
                tracing::debug!(device = "net", %error, "no ping socket");
                return Ok(None);
            }
        };
        let id = self.flows.insert(Flow { remote, identifier, socket, until: io.now + LIFETIME });
        if let Some(flow) = self.flows.get_mut(id) {
            io.poller
                .add(&flow.socket, token(TOKEN_ECHO, id), Interest::Read)
                .map_err(ServiceError::host("watching a ping socket"))?;
        }
        self.by_key.insert((remote, identifier), id);
        io.engine.opened();
        Ok(Some(id))
    }

    fn remove(&mut self, engine: &mut Engine, id: Id) {
        if let Some(flow) = self.flows.remove(id) {
            self.by_key.remove(&(flow.remote, flow.identifier));
            engine.closed();
        }
    }
}
