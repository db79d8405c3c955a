//! From the guest to the host's sockets.

use std::net::SocketAddr;

use monocore_spec::Protocol;
use monocore_virtio::{Buffers, ServiceError};
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, recv, shutdown, sockopt};

use super::super::io::Io;
use super::super::wire::emit::Unreachable;
use super::super::wire::tcp::{ACK, FIN, RST, SYN, Segment};
use super::connection::{Carrier, Connection, Phase, before};
use super::{PEER_PATIENCE, Tcp, held, initial_sequence, stray_answer};
use crate::dns;
use crate::peers::PeerSocket;
use crate::slab::Id;
use crate::sockets::{Begun, dial};

/// A segment of the guest: who sent it to whom, its header, and its packet's beginning, for errors that quote it.
pub(crate) struct Incoming<'a> {
    pub(crate) guest: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) segment: Segment,
    pub(crate) packet: &'a [u8],
}

impl Tcp {
    /// Takes a segment of the guest; `payload` is what it carries.
    pub(crate) fn segment(
        &mut self,
        io: &mut Io<'_, '_>,
        incoming: &Incoming<'_>,
        payload: &mut Buffers<'_>,
    ) -> Result<(), ServiceError> {
        let key = (incoming.guest, incoming.remote);
        if let Some(id) = self.by_key.get(&key).copied() {
            if !self.is_new_attempt(id, &incoming.segment) {
                return self.known(io, id, &incoming.segment, payload);
            }
            // The guest forgot the old connection.
            if let Some(mut old) = self.remove(io, id) {
                old.reset_on_close();
            }
        }
        let segment = &incoming.segment;
        if segment.has(RST) {
            return Ok(());
        }
        if !segment.has(SYN) || segment.has(ACK) {
            let answer = stray_answer(segment);
            return io.link.segment(io.receiver, incoming.remote, incoming.guest, answer).map(drop);
        }
        self.asked(io, incoming)
    }

    /// Whether a SYN begins a connection between ends that have one already.
    fn is_new_attempt(&mut self, id: Id, segment: &Segment) -> bool {
        let Some(connection) = self.connections.get_mut(id) else { return false };
        segment.flags & (SYN | ACK | RST) == SYN
            && connection.phase != Phase::Asking
            && segment.sequence.wrapping_add(1) != connection.expected
    }

    /// The guest wants to connect.
    fn asked(&mut self, io: &mut Io<'_, '_>, incoming: &Incoming<'_>) -> Result<(), ServiceError> {
        let &Incoming { guest, remote, packet, .. } = incoming;
        let (mut held, mut fate) = (None, None);
        let (socket, carrier, phase) = if io.engine.is_gateway(remote.ip()) && remote.port() == dns::PORT {
            match io.dns.accept(io.poller) {
                Some(socket) => (socket, Carrier::Pair, Phase::Answered),
                None => return self.refuse(io, incoming),
            }
        } else {
            let route = match io.engine.outbound(Protocol::Tcp, remote, io.now) {
                Ok(route) => route,
                Err(_) => {
                    return io.link.unreachable(
                        io.receiver,
                        guest.is_ipv4(),
                        Unreachable::Prohibited,
                        packet,
                    );
                }
            };
            held = route.inspected.then(Box::default);
            let dialed = match route.peer {
                Some(own) => {
                    let from = (own, guest.port());
                    let dialed = io.engine.peers.dial(io.poller, Protocol::Tcp, from, route.target);
                    dialed.map(|end| {
                        fate = end.fate;
                        Begun::Peer(end.socket)
                    })
                }
                None => dial(route.target),
            };
            match dialed {
                Ok(Begun::Peer(socket)) => (socket, Carrier::Pair, Phase::Connecting),
                Ok(Begun::Connected(socket)) => (socket, Carrier::Tcp, Phase::Answered),
                Ok(Begun::UnderWay(socket)) => (socket, Carrier::Tcp, Phase::Connecting),
                Err(error) => return self.failed(io, incoming, error),
            }
        };
        let mut connection = Connection::new((guest, remote), (socket, carrier), phase, initial_sequence());
        (connection.held, connection.fate) = (held, fate);
        connection.deadline = connection.fate.is_some().then(|| io.now + PEER_PATIENCE);
        connection.take_syn(&incoming.segment, io.link.max_segment(guest.is_ipv4()));
        match self.insert(io, connection)? {
            Some(id) if phase == Phase::Answered => self.say_syn(io, id),
            Some(id) => {
                self.arm(id);
                Ok(())
            }
            None => self.refuse(io, incoming),
        }
    }

    fn refuse(&mut self, io: &mut Io<'_, '_>, incoming: &Incoming<'_>) -> Result<(), ServiceError> {
        let answer = stray_answer(&incoming.segment);
        io.link.segment(io.receiver, incoming.remote, incoming.guest, answer).map(drop)
    }

    /// Connecting failed at once.
    fn failed(
        &mut self,
        io: &mut Io<'_, '_>,
        incoming: &Incoming<'_>,
        error: Errno,
    ) -> Result<(), ServiceError> {
        match error {
            Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::ACCESS | Errno::PERM | Errno::ADDRNOTAVAIL => {
                let v4 = incoming.guest.is_ipv4();
                io.link.unreachable(io.receiver, v4, Unreachable::Host, incoming.packet)
            }
            _ => self.refuse(io, incoming),
        }
    }

    /// The host's socket is connected, or will never be.
    pub(super) fn connected(&mut self, io: &mut Io<'_, '_>, id: Id) -> Result<(), ServiceError> {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        match sockopt::socket_error(&connection.socket) {
            Ok(Ok(())) => {
                connection.phase = Phase::Answered;
                self.say_syn(io, id)
            }
            Ok(Err(Errno::HOSTUNREACH | Errno::NETUNREACH)) => {
                let Some(connection) = self.remove(io, id) else { return Ok(()) };
                let packet = quote_of_syn(io, &connection);
                io.link.unreachable(io.receiver, connection.guest.is_ipv4(), Unreachable::Host, &packet)
            }
            // Nobody answered: the guest's own patience ends as it would on any network.
            Ok(Err(Errno::TIMEDOUT)) => {
                self.remove(io, id);
                Ok(())
            }
            _ => self.abort(io, id),
        }
    }

    /// A member's machine has accepted, or its guest has not, or there is none.
    pub(super) fn peer_answered(&mut self, io: &mut Io<'_, '_>, id: Id) -> Result<(), ServiceError> {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        match recv(&connection.socket, &mut [0; 1][..], RecvFlags::DONTWAIT) {
            Ok((1, _)) => {
                (connection.phase, connection.deadline) = (Phase::Answered, None);
                self.say_syn(io, id)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            _ => self.abort(io, id),
        }
    }

    /// A segment of a connection there is.
    fn known(
        &mut self,
        io: &mut Io<'_, '_>,
        id: Id,
        segment: &Segment,
        payload: &mut Buffers<'_>,
    ) -> Result<(), ServiceError> {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        if segment.has(RST) {
            if let Some(mut connection) = self.remove(io, id) {
                connection.reset_on_close();
            }
            return Ok(());
        }
        match connection.phase {
            Phase::Connecting => return Ok(()),
            Phase::Answered if segment.has(SYN) => return self.say_syn(io, id),
            Phase::Asking if segment.flags & (SYN | ACK) == SYN | ACK => {
                if segment.acknowledged != connection.next {
                    return self.abort(io, id);
                }
                connection.take_syn(segment, io.link.max_segment(connection.guest.is_ipv4()));
                connection.acknowledge = true;
                if connection.fate.is_some() && !PeerSocket::accept(&connection.socket) {
                    return self.abort(io, id);
                }
                self.due.push(id);
                self.open(id);
            }
            Phase::Answered if segment.has(ACK) && segment.acknowledged == connection.next => self.open(id),
            Phase::Answered | Phase::Asking => return Ok(()),
            Phase::Open => {}
        }
        if !segment.has(ACK) {
            return Ok(());
        }
        self.take_acknowledgement(io, id, segment)?;
        if !segment.has(SYN) {
            self.take_payload(io, id, segment, payload)?;
        }
        self.pump(io, id)?;
        self.finish(io, id);
        Ok(())
    }

    /// Both sides know of the connection.
    fn open(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.phase = Phase::Open;
        connection.unacknowledged = connection.next;
        connection.attempts = 0;
        connection.deadline = None;
        // What came before was reported already.
        connection.readable = true;
    }

    fn take_acknowledgement(
        &mut self,
        io: &mut Io<'_, '_>,
        id: Id,
        segment: &Segment,
    ) -> Result<(), ServiceError> {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        let progress = connection.acknowledged(segment);
        let waits = connection.in_flight() > 0;
        if progress.bytes > 0 || !waits {
            connection.deadline = waits.then(|| io.now + connection.timeout());
        }
        if !self.discard(id, progress.bytes) {
            return self.abort(io, id);
        }
        if progress.resend { self.resend(io, id) } else { Ok(()) }
    }

    /// Gives the host what the segment carries, as far as it is new and there is room for it.
    fn take_payload(
        &mut self,
        io: &mut Io<'_, '_>,
        id: Id,
        segment: &Segment,
        payload: &mut Buffers<'_>,
    ) -> Result<(), ServiceError> {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        let ends = segment.has(FIN);
        if segment.payload_bytes == 0 && !ends {
            // A keep-alive wants an answer.
            if before(segment.sequence, connection.expected) {
                connection.acknowledge = true;
                self.due.push(id);
            }
            return Ok(());
        }
        connection.acknowledge = true;
        self.due.push(id);
        let old = connection.expected.wrapping_sub(segment.sequence) as usize;
        if before(connection.expected, segment.sequence)
            || old > segment.payload_bytes
            || connection.guest_ended
        {
            // Something is missing before it, or all of it is known.
            return Ok(());
        }
        payload.advance(old);
        let wanted = payload.len_bytes();
        if wanted > 0 {
            let sent = match connection.held {
                None => payload.send(&connection.socket),
                Some(_) => held::send(io.engine, connection, payload),
            };
            let taken = match sent {
                Ok(taken) => taken,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
                Err(_) => return self.abort(io, id),
            };
            // A frame's payload has fewer than 65,536 bytes.
            connection.expected = connection.expected.wrapping_add(u32::try_from(taken).unwrap_or(0));
            if taken < wanted {
                connection.dropped = true;
                return Ok(());
            }
        }
        if ends { self.take_end(io, id) } else { Ok(()) }
    }

    /// The guest sends no more.
    fn take_end(&mut self, io: &mut Io<'_, '_>, id: Id) -> Result<(), ServiceError> {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        match held::end(io.engine, connection) {
            Ok(true) => {}
            Ok(false) => {
                connection.dropped = true;
                return Ok(());
            }
            Err(_) => return self.abort(io, id),
        }
        connection.expected = connection.expected.wrapping_add(1);
        connection.guest_ended = true;
        // A socket that is broken says so when it is read.
        let _ = shutdown(&connection.socket, Shutdown::Write);
        Ok(())
    }
}

/// The beginning of the packet that asked for `connection`, made again: IP header and ports.
fn quote_of_syn(io: &Io<'_, '_>, connection: &Connection) -> Vec<u8> {
    use super::super::wire::ETHERNET_BYTES;
    use super::super::wire::emit::{self, Fields};
    let sequence = connection.expected.wrapping_sub(1);
    let fields = Fields { sequence, flags: SYN, ..Fields::default() };
    let mut packet = Vec::new();
    emit::tcp(&mut packet, io.link.ends, connection.guest, connection.remote, fields, 0);
    packet.split_off(ETHERNET_BYTES)
}
