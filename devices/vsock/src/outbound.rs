//! From the guest to the host: what each packet does to its connection.

use std::os::fd::AsFd;

use monocore_virtio::{Buffers, GuestFault, Poller};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use crate::backend::Backend;
use crate::connection::{Delivery, Flow, Host, Key, Phase};
use crate::device::{FrontPort, Metrics};
use crate::front::{Channel, FRAME_BYTES, Inspection};
use crate::packet::{
    END_OF_MESSAGE, HEADER_BYTES, HOLD, HOST_CID, Header, Op, SHUT_BOTH, SHUT_RECEIVE, SHUT_SEND,
    TYPE_SEQPACKET, TYPE_STREAM,
};
use crate::session::{Id, Session};

/// Where packets of the guest arrive.
pub(crate) struct Outbound<'s> {
    pub(crate) session: &'s mut Session,
    pub(crate) backend: &'s mut dyn Backend,
    pub(crate) front: Option<&'s mut FrontPort>,
    /// The driver knows of channels.
    pub(crate) channels: bool,
    pub(crate) poller: &'s Poller,
    pub(crate) metrics: &'s Metrics,
    pub(crate) guest_cid: u64,
}

/// What a packet has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing that has to be gone on with.
    Nothing,
    /// A connection.
    Connection(Id),
    /// What is left of the packet is of a channel's message, and the last of it or not.
    Message(Id, bool),
    /// The packet is a READ, whose sender has got so many bytes in packets.
    Read(Id, u32),
}

impl Outbound<'_> {
    /// Takes one packet, header and payload, and returns what it changed.
    ///
    /// # Errors
    /// [`GuestFault::Request`] where the packet is shorter than it says.
    pub(crate) fn packet(&mut self, packet: &mut Buffers<'_>) -> Result<Change, GuestFault> {
        let mut bytes = [0; HEADER_BYTES];
        if packet.copy_to(0, &mut bytes) != HEADER_BYTES {
            return Err(GuestFault::Request("a packet shorter than its header"));
        }
        let header = Header::parse(&bytes);
        packet.advance(HEADER_BYTES);
        if packet.len_bytes() < header.len as usize {
            return Err(GuestFault::Request("a packet shorter than its header says"));
        }
        packet.truncate(header.len as usize);
        let key = Key { host_port: header.dst_port, guest_port: header.src_port };
        let addressed = (header.src_cid, header.dst_cid) == (self.guest_cid, HOST_CID);
        let known = self.session.find(key);
        let kind = known.and_then(|id| self.session.get(id)).map(|connection| connection.host.kind());
        Metrics::add(&self.metrics.packets_from_guest, 1);
        if !addressed || !self.serves(&header) || kind.is_some_and(|kind| kind != header.kind) {
            // Refused in the name of whomever it was meant for; no connection of ours ends by it.
            if header.op != Some(Op::Reset) && header.src_cid == self.guest_cid {
                Metrics::add(&self.metrics.refused, 1);
                self.session.refuse(key, header.dst_cid, header.kind, None);
            }
            return Ok(Change::Nothing);
        }
        let Some(id) = known else {
            return Ok(self.stranger(key, &header, packet).map_or(Change::Nothing, Change::Connection));
        };
        if let Some(connection) = self.session.get(id) {
            connection.credit.update(header.buf_alloc, header.fwd_cnt);
            if connection.phase == Phase::Closing && header.op == Some(Op::Request) {
                // The guest is done with the old one and uses its port again, confirmed or not.
                self.session.remove(id, self.metrics);
                return Ok(self.stranger(key, &header, packet).map_or(Change::Nothing, Change::Connection));
            }
        }
        match header.op {
            Some(Op::Response) => self.accepted(id),
            Some(Op::Reset) => self.reset_by_guest(id),
            Some(Op::Shutdown) => self.shut_by_guest(id, key, header.flags),
            Some(Op::ReadWrite) if kind == Some(TYPE_SEQPACKET) => {
                return Ok(self.part_of_message(id, &header).unwrap_or(Change::Nothing));
            }
            Some(Op::ReadWrite) => self.bytes(id, packet),
            Some(Op::Read) if self.is_front_stream(id) => return Ok(Change::Read(id, header.flags)),
            Some(Op::Cancel) if self.is_front_stream(id) => self.cancel_read(id),
            Some(Op::CreditUpdate) if header.flags & HOLD != 0 && self.is_front_stream(id) => {
                self.session.hold(id)
            }
            Some(Op::CreditUpdate) => {}
            Some(Op::CreditRequest) => self.queue_update(id),
            Some(Op::Request | Op::Read | Op::Cancel) | None => self.session.reset(id, None, self.metrics),
        }
        Ok(Change::Connection(id))
    }

    fn serves(&self, header: &Header) -> bool {
        match header.kind {
            TYPE_STREAM => true,
            TYPE_SEQPACKET => self.channels && self.is_front(header.dst_port),
            _ => false,
        }
    }

    fn is_front(&self, port: u32) -> bool {
        self.front.as_ref().is_some_and(|front| front.port == port)
    }

    /// A packet of a connection that is not there: a request, or nothing that has any right to be.
    fn stranger(&mut self, key: Key, header: &Header, payload: &Buffers<'_>) -> Option<Id> {
        match header.op {
            Some(Op::Reset) => return None,
            Some(Op::Request) if self.is_front(key.host_port) => {
                return match self.framed_request(key, header, payload) {
                    Ok(id) => Some(id),
                    Err(errno) => {
                        Metrics::add(&self.metrics.refused, 1);
                        self.session.refuse(key, HOST_CID, header.kind, Some(errno));
                        None
                    }
                };
            }
            // Only a front knows what to do with more than a header.
            Some(Op::Request) if !payload.is_empty() => {}
            Some(Op::Request) => match self.backend.dial(key.host_port) {
                Ok(stream) => {
                    if let Some(id) = self.session.insert(key, Host::Backend(stream), Phase::Open) {
                        if let Some(connection) = self.session.get(id) {
                            connection.credit.update(header.buf_alloc, header.fwd_cnt);
                        }
                        self.session.tell(key, Op::Response, 0);
                        Metrics::add(&self.metrics.opened, 1);
                        return Some(id);
                    }
                    tracing::debug!(device = "vsock", port = key.host_port, "too many connections");
                }
                Err(error) => {
                    tracing::debug!(device = "vsock", port = key.host_port, %error, "a connection is refused");
                }
            },
            _ => {}
        }
        Metrics::add(&self.metrics.refused, 1);
        self.session.refuse(key, HOST_CID, header.kind, None);
        None
    }

    /// Lets the front judge what the guest asks for.
    ///
    /// # Errors
    /// What the guest is told.
    fn framed_request(&mut self, key: Key, header: &Header, payload: &Buffers<'_>) -> Result<Id, Errno> {
        let mut frame = [0; FRAME_BYTES];
        if payload.len_bytes() != FRAME_BYTES || payload.copy_to(0, &mut frame) != FRAME_BYTES {
            return Err(Errno::PROTO);
        }
        let Some(FrontPort { front, .. }) = self.front.as_deref_mut().filter(|_| self.session.has_room())
        else {
            return Err(Errno::NOBUFS);
        };
        let id = if header.kind == TYPE_SEQPACKET {
            let host = Host::Channel(Vec::new());
            let id = self.session.insert(key, host, Phase::Open).ok_or(Errno::NOBUFS)?;
            if let Err(errno) = front.open(Channel(id), &frame, self.poller) {
                self.session.discard(id);
                return Err(errno);
            }
            id
        } else {
            let dialed = front.connect(&frame, self.poller)?;
            let phase = if dialed.connecting { Phase::Dialing } else { Phase::Open };
            let host = Host::Front(dialed.socket);
            let id = self.session.insert(key, host, phase).ok_or(Errno::NOBUFS)?;
            if let Some(connection) = self.session.get(id) {
                connection.inspected = dialed.inspected.then(|| Box::new(frame));
                connection.is_foreign = dialed.fate.is_some();
                connection.fate = dialed.fate;
            }
            id
        };
        let Some(connection) = self.session.get(id) else { return Err(Errno::NOBUFS) };
        connection.credit.update(header.buf_alloc, header.fwd_cnt);
        if connection.phase == Phase::Open {
            self.session.tell(key, Op::Response, 0);
            Metrics::add(&self.metrics.opened, 1);
        }
        Ok(id)
    }

    /// The guest accepts what the host asked for.
    fn accepted(&mut self, id: Id) {
        let Some(connection) = self.session.get(id) else { return };
        let Phase::Asked { greet } = connection.phase else {
            return self.session.reset(id, None, self.metrics);
        };
        connection.phase = Phase::Open;
        let greeting = format!("OK {}\n", connection.key.host_port);
        // The socket is new and has room; a client that is gone already is noticed soon.
        if let Some(stream) = connection.host.stream().filter(|_| greet) {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let _ = send(stream.as_fd(), greeting.as_bytes(), flags);
        }
        self.session.set_deadline(id, None);
        Metrics::add(&self.metrics.opened, 1);
    }

    fn reset_by_guest(&mut self, id: Id) {
        let Some(connection) = self.session.get(id) else { return };
        match (connection.phase, connection.guest_shut) {
            // It had announced its end and lost patience with the host: what it sent still counts.
            (Phase::Open, SHUT_BOTH) => self.session.release(id, self.metrics),
            (Phase::Asked { .. }, _) => {
                Metrics::add(&self.metrics.refused, 1);
                self.session.remove(id, self.metrics);
            }
            (Phase::Open, _) => {
                connection.reset_on_close();
                self.session.remove(id, self.metrics);
            }
            _ => self.session.remove(id, self.metrics),
        }
    }

    fn shut_by_guest(&mut self, id: Id, key: Key, flags: u32) {
        if flags & SHUT_SEND != 0 {
            self.inspect(id, true);
        }
        let Some(connection) = self.session.get(id) else { return };
        match connection.phase {
            Phase::Asked { .. } | Phase::Dialing => return self.session.reset(id, None, self.metrics),
            Phase::Closing => {
                connection.guest_shut |= flags & SHUT_BOTH;
            }
            Phase::Open | Phase::Draining => connection.guest_shuts(flags),
        }
        if flags & SHUT_RECEIVE != 0 {
            self.session.end_read(id, 0);
        }
        let Some(connection) = self.session.get(id) else { return };
        if connection.guest_shut == SHUT_BOTH {
            // The confirmation (§5.10.6.5); the guest need not wait until the host has read everything. One that speaks to a
            // front has closed its socket and waits for nothing: it uses no port soon again.
            if matches!(connection.host, Host::Backend(_)) {
                self.session.tell(key, Op::Reset, 0);
            }
            self.session.release(id, self.metrics);
        }
    }

    fn is_front_stream(&mut self, id: Id) -> bool {
        self.session.get(id).is_some_and(|connection| connection.is_front_stream())
    }

    /// The guest wants bytes in packets.
    fn cancel_read(&mut self, id: Id) {
        self.session.end_read(id, 0);
        if let Some(connection) = self.session.get(id).filter(|connection| connection.flow == Flow::Held) {
            connection.flow = Flow::Free;
            self.session.leave_queues(id, Flow::Held);
        }
    }

    fn bytes(&mut self, id: Id, payload: &mut Buffers<'_>) {
        let Some(connection) = self.session.get(id) else { return };
        let count = payload.len_bytes();
        match connection.phase {
            // On its way while the host ended the connection.
            Phase::Closing => return,
            Phase::Open if connection.guest_shut & SHUT_SEND == 0 && connection.is_within_window(count) => {}
            _ => return self.session.reset(id, None, self.metrics),
        }
        let is_inspected = connection.inspected.is_some();
        if !is_inspected {
            self.session.keeps_back(id);
        }
        let Some(connection) = self.session.get(id) else { return };
        let delivery = connection.deliver(payload);
        self.session.went_on(id, count - payload.len_bytes());
        Metrics::add(&self.metrics.bytes_from_guest, count as u64);
        if is_inspected { self.inspect(id, false) } else { self.delivered(id, delivery) }
    }

    /// Shows the front what the guest began with, where it wants to see that, and does as it says.
    fn inspect(&mut self, id: Id, ended: bool) {
        let (Some(connection), Some(FrontPort { front, .. })) =
            (self.session.get(id), self.front.as_deref_mut())
        else {
            return;
        };
        let Some((frame, bytes)) = connection.beginning() else { return };
        match front.inspect(frame, bytes, ended) {
            Inspection::Hold => {}
            Inspection::Pass => {
                connection.inspected = None;
                let delivery = self.session.drain(id);
                self.delivered(id, delivery);
            }
            Inspection::Refuse(errno) => {
                Metrics::add(&self.metrics.refused, 1);
                self.session.reset(id, Some(errno), self.metrics);
            }
        }
    }

    /// A packet of a channel's message; what there is of it belongs to the front.
    fn part_of_message(&mut self, id: Id, header: &Header) -> Option<Change> {
        let connection = self.session.get(id)?;
        // The bytes are taken at once, whoever reads them: only more than was granted altogether is a breach.
        let count = header.len;
        if connection.phase != Phase::Open
            || connection.guest_shut & SHUT_SEND != 0
            || count > connection.window.size_bytes()
        {
            self.session.reset(id, None, self.metrics);
            return Some(Change::Connection(id));
        }
        connection.window.forward(count);
        if connection.window.is_update_due(connection.credit) {
            self.queue_update(id);
        }
        Metrics::add(&self.metrics.bytes_from_guest, count.into());
        Some(Change::Message(id, header.flags & END_OF_MESSAGE != 0))
    }

    /// Goes on after bytes went to the host.
    pub(crate) fn delivered(&mut self, id: Id, delivery: Delivery) {
        let Some(connection) = self.session.get(id) else { return };
        match delivery {
            // What the other end said before it broke off is still there.
            Delivery::Broken(errno) if connection.is_front_stream() && connection.may_receive() => {
                connection.broken = Some(errno);
                return;
            }
            Delivery::Broken(errno) => return self.session.reset(id, Some(errno), self.metrics),
            Delivery::Unread if connection.phase == Phase::Draining => {
                return self.session.remove(id, self.metrics);
            }
            Delivery::Unread => return self.shut_by_host(id, SHUT_RECEIVE),
            Delivery::Fine => {}
        }
        if connection.phase == Phase::Draining {
            if !connection.has_backlog() {
                self.session.remove(id, self.metrics);
            }
        } else if connection.window.is_update_due(connection.credit) {
            self.queue_update(id);
        }
    }

    /// Tells the guest that the host sends (SHUT_SEND) or receives (SHUT_RECEIVE) no more.
    pub(crate) fn shut_by_host(&mut self, id: Id, flags: u32) {
        let Some(connection) = self.session.get(id) else { return };
        let known = connection.host_shut;
        if connection.phase != Phase::Open || known | flags == known {
            return;
        }
        connection.host_shut |= flags;
        let (key, shut) = (connection.key, connection.host_shut);
        if shut & SHUT_SEND != 0 {
            self.session.end_read(id, 0);
        }
        self.session.tell(key, Op::Shutdown, shut);
        if shut == SHUT_BOTH {
            self.session.close(id);
        }
    }

    fn queue_update(&mut self, id: Id) {
        let Some(connection) = self.session.get(id) else { return };
        if connection.phase == Phase::Open && !std::mem::replace(&mut connection.update_queued, true) {
            let key = connection.key;
            self.session.tell(key, Op::CreditUpdate, 0);
        }
    }
}
