//! UDP: each pair of ends has a socket of the host's that is connected to the far one, so that nobody else answers.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use monocore_spec::Protocol;
use monocore_virtio::{Buffers, Interest, Poller, ServiceError};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use super::io::Io;
use super::link::datagram_headers_bytes;
use super::slab::{Id, Slab};
use super::wire::emit::Unreachable;
use super::{TOKEN_UDP, token};

/// How long a flow lasts after its last datagram, and once it was answered.
const LIFETIME: Duration = Duration::from_secs(30);
const ANSWERED_LIFETIME: Duration = Duration::from_secs(180);
/// How often old flows are looked for.
const SWEEP: Duration = Duration::from_secs(5);
/// Datagrams of one flow before others come.
const TURN_DATAGRAMS: usize = 32;
/// Every guest's buffers have room for this much.
const LEAST_ROOM: usize = 1514;

#[derive(Debug)]
struct Flow {
    guest: SocketAddr,
    remote: SocketAddr,
    socket: OwnedFd,
    until: Instant,
    answered: bool,
}

/// All flows the guest began.
#[derive(Debug, Default)]
pub(crate) struct Udp {
    flows: Slab<Flow>,
    by_key: HashMap<(SocketAddr, SocketAddr), Id>,
    starved: Vec<Id>,
    sweep: Option<Instant>,
}

impl Udp {
    pub(crate) fn begin(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        for id in self.flows.ids() {
            let Some(flow) = self.flows.get_mut(id) else { continue };
            poller
                .add(&flow.socket, token(TOKEN_UDP, id), Interest::Read)
                .map_err(ServiceError::host("watching a flow"))?;
        }
        self.starved.clear();
        Ok(())
    }

    /// A datagram of the guest from `guest` to `remote`; `packet` is its beginning, for errors that quote it.
    pub(crate) fn datagram(
        &mut self,
        io: &mut Io<'_, '_>,
        (guest, remote): (SocketAddr, SocketAddr),
        payload: &Buffers<'_>,
        packet: &[u8],
    ) -> Result<(), ServiceError> {
        let id = match self.by_key.get(&(guest, remote)) {
            Some(id) => *id,
            None => match self.begin_flow(io, guest, remote)? {
                Ok(id) => id,
                Err(Some(why)) => return io.link.unreachable(io.receiver, guest.is_ipv4(), why, packet),
                Err(None) => return Ok(()),
            },
        };
        let Some(flow) = self.flows.get_mut(id) else { return Ok(()) };
        flow.until = io.now + if flow.answered { ANSWERED_LIFETIME } else { LIFETIME };
        match payload.send(&flow.socket) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                io.link.unreachable(io.receiver, guest.is_ipv4(), Unreachable::Port, packet)
            }
            // Lost, as datagrams are.
            _ => Ok(()),
        }
    }

    /// A flow's socket has something.
    pub(crate) fn ready(&mut self, io: &mut Io<'_, '_>, bits: u64) -> Result<(), ServiceError> {
        let Some(id) = self.flows.by_bits(bits) else { return Ok(()) };
        if self.receive(io, id)? {
            return Ok(());
        }
        // The guest has no buffers: the socket is left alone until it has.
        if let Some(flow) = self.flows.get_mut(id) {
            io.poller
                .modify(&flow.socket, token(TOKEN_UDP, id), Interest::None)
                .map_err(ServiceError::host("watching a flow"))?;
            self.starved.push(id);
        }
        Ok(())
    }

    /// The end of a turn: flows that waited for buffers, and flows that are over.
    pub(crate) fn turn(&mut self, io: &mut Io<'_, '_>) -> Result<(), ServiceError> {
        for id in std::mem::take(&mut self.starved) {
            if !self.receive(io, id)? {
                self.starved.push(id);
            } else if let Some(flow) = self.flows.get_mut(id) {
                io.poller
                    .modify(&flow.socket, token(TOKEN_UDP, id), Interest::Read)
                    .map_err(ServiceError::host("watching a flow"))?;
            }
        }
        if self.sweep.is_some_and(|at| at <= io.now) {
            for id in self.flows.ids() {
                if self.flows.get_mut(id).is_some_and(|flow| flow.until <= io.now) {
                    self.remove(io, id);
                }
            }
            self.sweep = (self.flows.len() > 0).then(|| io.now + SWEEP);
        }
        Ok(())
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.sweep
    }

    /// Asks whether the flow may be and makes its socket; the inner error says what the guest is told, if anything.
    fn begin_flow(
        &mut self,
        io: &mut Io<'_, '_>,
        guest: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Result<Id, Option<Unreachable>>, ServiceError> {
        let target = match io.engine.outbound(Protocol::Udp, remote, io.now) {
            Ok(target) => target,
            Err(_) => return Ok(Err(Some(Unreachable::Prohibited))),
        };
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(socket) = socket_with(family, SocketType::DGRAM, flags, None) else { return Ok(Err(None)) };
        if connect(&socket, &target).is_err() {
            return Ok(Err(Some(Unreachable::Host)));
        }
        let id = self.flows.insert(Flow { guest, remote, socket, until: io.now + LIFETIME, answered: false });
        if let Some(flow) = self.flows.get_mut(id) {
            io.poller
                .add(&flow.socket, token(TOKEN_UDP, id), Interest::Read)
                .map_err(ServiceError::host("watching a flow"))?;
        }
        self.by_key.insert((guest, remote), id);
        io.engine.opened();
        self.sweep.get_or_insert(io.now + SWEEP);
        Ok(Ok(id))
    }

    fn remove(&mut self, io: &mut Io<'_, '_>, id: Id) {
        if let Some(flow) = self.flows.remove(id) {
            self.by_key.remove(&(flow.guest, flow.remote));
            io.engine.closed();
        }
    }

    /// Gives the guest what has arrived, and says whether it had buffers for it.
    fn receive(&mut self, io: &mut Io<'_, '_>, id: Id) -> Result<bool, ServiceError> {
        let Some(flow) = self.flows.get_mut(id) else { return Ok(true) };
        let headers = datagram_headers_bytes(flow.guest.is_ipv4());
        // What is longer does not fit the link.
        let most = 14 + usize::from(io.link.spec.mtu);
        for _ in 0..TURN_DATAGRAMS {
            if !io.receiver.take(LEAST_ROOM.min(most), most)? {
                return Ok(false);
            }
            match io.receiver.payload_room(headers).receive_datagram(&flow.socket) {
                Ok((count, true)) => {
                    io.link.datagram_around(io.receiver, flow.remote, flow.guest, count)?;
                    flow.answered = true;
                    flow.until = io.now + ANSWERED_LIFETIME;
                }
                Ok((_, false)) => io.receiver.put_back(),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    io.receiver.put_back();
                    io.link.port_unreachable(io.receiver, flow.guest, flow.remote)?;
                }
                Err(_) => break,
            }
        }
        io.receiver.put_back();
        Ok(true)
    }
}
