//! From the guest to the host: what each packet does to its connection.

use std::os::fd::AsFd;

use monocore_virtio::{Buffers, GuestFault};
use rustix::net::{SendFlags, send};

use crate::backend::Backend;
use crate::connection::{Delivery, Key, Phase};
use crate::device::Metrics;
use crate::packet::{HEADER_BYTES, HOST_CID, Header, Op, SHUT_BOTH, SHUT_RECEIVE, SHUT_SEND, TYPE_STREAM};
use crate::session::{Id, Session};

/// Where packets of the guest arrive.
pub(crate) struct Outbound<'s> {
    pub(crate) session: &'s mut Session,
    pub(crate) backend: &'s mut dyn Backend,
    pub(crate) metrics: &'s Metrics,
    pub(crate) guest_cid: u64,
}

impl Outbound<'_> {
    /// Takes one packet, header and payload, and returns the connection it changed.
    ///
    /// # Errors
    /// [`GuestFault::Request`] where the packet is shorter than it says.
    pub(crate) fn packet(&mut self, packet: &mut Buffers<'_>) -> Result<Option<Id>, GuestFault> {
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
        Metrics::add(&self.metrics.packets_from_guest, 1);

        let key = Key { host_port: header.dst_port, guest_port: header.src_port };
        let addressed = (header.src_cid, header.dst_cid) == (self.guest_cid, HOST_CID);
        if !addressed || header.kind != TYPE_STREAM {
            // Refused in the name of whomever it was meant for; no connection of ours ends by it.
            if header.op != Some(Op::Reset) && header.src_cid == self.guest_cid {
                Metrics::add(&self.metrics.refused, 1);
                self.session.refuse(key, header.dst_cid, header.kind);
            }
            return Ok(None);
        }
        let Some(id) = self.session.find(key) else {
            return Ok(self.stranger(key, &header));
        };
        if let Some(connection) = self.session.get(id) {
            connection.credit.update(header.buf_alloc, header.fwd_cnt);
            if connection.phase == Phase::Closing && header.op == Some(Op::Request) {
                // The guest is done with the old one and uses its port again, confirmed or not.
                self.session.remove(id, self.metrics);
                return Ok(self.stranger(key, &header));
            }
        }
        match header.op {
            Some(Op::Response) => self.accepted(id),
            Some(Op::Reset) => self.reset_by_guest(id),
            Some(Op::Shutdown) => self.shut_by_guest(id, key, header.flags),
            Some(Op::ReadWrite) => self.bytes(id, packet),
            Some(Op::CreditUpdate) => {}
            Some(Op::CreditRequest) => self.queue_update(id),
            Some(Op::Request) | None => self.session.reset(id, self.metrics),
        }
        Ok(Some(id))
    }

    /// A packet of a connection that is not there: a request, or nothing that has any right to be.
    fn stranger(&mut self, key: Key, header: &Header) -> Option<Id> {
        match header.op {
            Some(Op::Reset) => return None,
            Some(Op::Request) => match self.backend.dial(key.host_port) {
                Ok(stream) => {
                    if let Some(id) = self.session.insert(key, stream, Phase::Open) {
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
        self.session.tell(key, Op::Reset, 0);
        None
    }

    /// The guest accepts what the host asked for.
    fn accepted(&mut self, id: Id) {
        let Some(connection) = self.session.get(id) else { return };
        let Phase::Asked { greet } = connection.phase else {
            return self.session.reset(id, self.metrics);
        };
        connection.phase = Phase::Open;
        let greeting = format!("OK {}\n", connection.key.host_port);
        // The socket is new and has room; a client that is gone already is noticed soon.
        if greet {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let _ = send(connection.stream.as_fd(), greeting.as_bytes(), flags);
        }
        self.session.set_deadline(id, None);
        Metrics::add(&self.metrics.opened, 1);
    }

    fn reset_by_guest(&mut self, id: Id) {
        match self.session.get(id).map(|connection| (connection.phase, connection.guest_shut)) {
            // It had announced its end and lost patience with the host: what it sent still counts.
            Some((Phase::Open, SHUT_BOTH)) => self.session.release(id, self.metrics),
            Some((Phase::Asked { .. }, _)) => {
                Metrics::add(&self.metrics.refused, 1);
                self.session.remove(id, self.metrics);
            }
            _ => self.session.remove(id, self.metrics),
        }
    }

    fn shut_by_guest(&mut self, id: Id, key: Key, flags: u32) {
        let Some(connection) = self.session.get(id) else { return };
        match connection.phase {
            Phase::Asked { .. } => return self.session.reset(id, self.metrics),
            Phase::Closing => {
                connection.guest_shut |= flags & SHUT_BOTH;
            }
            Phase::Open | Phase::Draining => connection.guest_shuts(flags),
        }
        if connection.guest_shut == SHUT_BOTH {
            // The confirmation (§5.10.6.5); the guest need not wait until the host has read everything.
            self.session.tell(key, Op::Reset, 0);
            self.session.release(id, self.metrics);
        }
    }

    fn bytes(&mut self, id: Id, payload: &mut Buffers<'_>) {
        let Some(connection) = self.session.get(id) else { return };
        let count = payload.len_bytes();
        match connection.phase {
            // On its way while the host ended the connection.
            Phase::Closing => return,
            Phase::Open if connection.guest_shut & SHUT_SEND == 0 && connection.is_within_window(count) => {}
            _ => return self.session.reset(id, self.metrics),
        }
        let delivery = connection.deliver(payload);
        Metrics::add(&self.metrics.bytes_from_guest, count as u64);
        self.delivered(id, delivery);
    }

    /// Goes on after bytes went to the host.
    pub(crate) fn delivered(&mut self, id: Id, delivery: Delivery) {
        let Some(connection) = self.session.get(id) else { return };
        match delivery {
            Delivery::Broken => return self.session.reset(id, self.metrics),
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
