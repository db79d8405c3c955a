//! From the host to the guest: bytes of sockets and packets without payload, into the guest's receive buffers.

use monocore_virtio::{Buffers, Chain, GuestFault, Ring, ServiceError};
use std::io;

use crate::connection::{FIRST_BURST, LARGEST_BURST};
use crate::device::Metrics;
use crate::packet::{END_OF_MESSAGE, HEADER_BYTES, HOST_CID, Header, Op, TYPE_STREAM};
use crate::session::{Control, Id, Session};

/// The guest's receive queue.
pub(crate) struct Inbound<'m> {
    pub(crate) ring: Ring<'m>,
    pub(crate) guest_cid: u64,
    /// Chains of the buffers a read goes to; the first few are in use during a read, none after it.
    chains: Vec<Chain<'m>>,
    /// Their room for payload, side by side.
    pub(crate) room: Buffers<'m>,
    /// Where datagrams go on that are longer than the room taken for them.
    pub(crate) beyond: Vec<u8>,
}

/// How a read of a connection's socket ended.
#[derive(Debug)]
pub(crate) enum Pumped {
    /// All there was for now is with the guest.
    Drained,
    /// There is more, most likely.
    More,
    /// The guest has no buffers; it will kick when it has.
    NoBuffers,
    /// The guest granted no more.
    NoCredit,
    /// The host sends no more.
    End,
    /// The socket is broken.
    Broken(io::Error),
}

impl<'m> Inbound<'m> {
    pub(crate) fn new(ring: Ring<'m>, guest_cid: u64) -> Self {
        Self { ring, guest_cid, chains: Vec::new(), room: Buffers::new(), beyond: Vec::new() }
    }

    /// Gives the guest the packets that wait for buffers, and says whether none is left.
    pub(crate) fn flush_control(
        &mut self,
        session: &mut Session,
        metrics: &Metrics,
    ) -> Result<bool, ServiceError> {
        while let Some(control) = session.control.front().copied() {
            self.room.clear();
            if self.take_chains(0, 1, 1, false)? == 0 {
                return Ok(false);
            }
            session.control.pop_front();
            let header = self.header(session, control, 0);
            self.give(0, &header)?;
            Metrics::add(&metrics.packets_to_guest, 1);
        }
        Ok(true)
    }

    /// Reads connection `id` once, into as many buffers as its burst and its credit allow.
    pub(crate) fn pump(
        &mut self,
        session: &mut Session,
        id: Id,
        metrics: &Metrics,
    ) -> Result<Pumped, ServiceError> {
        let Some(connection) = session.get(id) else { return Ok(Pumped::Drained) };
        let (key, burst, credit) = (connection.key, connection.burst, connection.credit.free_bytes());
        if credit == 0 {
            return Ok(Pumped::NoCredit);
        }
        self.room.clear();
        let taken = self.take_chains(0, burst, credit as usize, false)?;
        if taken == 0 {
            return Ok(Pumped::NoBuffers);
        }
        let room = self.room.len_bytes();
        let Some(stream) = connection.host.stream() else { return Ok(Pumped::Drained) };
        let count = match self.room.receive(stream) {
            Ok(count) if count > 0 => count,
            nothing => {
                self.return_chains(taken);
                return Ok(match nothing {
                    Ok(_) => Pumped::End,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Pumped::Drained,
                    Err(error) => Pumped::Broken(error),
                });
            }
        };
        connection.credit.spend(u32::try_from(count).unwrap_or(u32::MAX));
        if connection.is_front_stream() {
            session.throttle.received(count);
        }
        let used =
            self.give_bytes(session, Control::new(key, TYPE_STREAM, Op::ReadWrite, 0), count, metrics)?;
        self.return_chains(taken - used);
        let more = count == room;
        if let Some(connection) = session.get(id) {
            connection.burst =
                if more { (burst * 2).min(LARGEST_BURST) } else { (count * 2).clamp(FIRST_BURST, burst) };
        }
        Ok(if more { Pumped::More } else { Pumped::Drained })
    }

    /// Gives the guest `count` bytes that lie in the chains taken, as packets like `control`, the last of them marked where
    /// they are a message. Returns how many chains that took.
    pub(crate) fn give_bytes(
        &mut self,
        session: &mut Session,
        control: Control,
        count: usize,
        metrics: &Metrics,
    ) -> Result<usize, ServiceError> {
        let (mut left, mut used) = (count, 0);
        while left > 0 {
            let part = left.min(self.chains[used].writable.len_bytes() - HEADER_BYTES);
            left -= part;
            let last = left == 0 && control.kind != TYPE_STREAM;
            let control = Control { flags: if last { END_OF_MESSAGE } else { 0 }, ..control };
            let header = self.header(session, control, part);
            self.give(used, &header)?;
            used += 1;
        }
        Metrics::add(&metrics.bytes_to_guest, count as u64);
        Metrics::add(&metrics.packets_to_guest, used as u64);
        Ok(used)
    }

    /// Appends buffers after the first `taken` to the room until it has `wanted` bytes, none of them beyond `most`, and returns
    /// how many buffers are taken then. Where they end, asks for a kick if there is none, or if `all` that was wanted is
    /// needed.
    pub(crate) fn take_chains(
        &mut self,
        mut taken: usize,
        wanted: usize,
        most: usize,
        all: bool,
    ) -> Result<usize, ServiceError> {
        while self.room.len_bytes() < wanted.min(most) {
            if self.chains.len() == taken {
                self.chains.push(Chain::new());
            }
            let chain = &mut self.chains[taken];
            if !self.ring.pop(chain)? {
                // Only a driver that has none left is asked to kick: one that has more need not.
                if taken > 0 && !all || !self.ring.rearm()? {
                    break;
                }
                continue;
            }
            let space = chain.writable.len_bytes().checked_sub(HEADER_BYTES).filter(|space| *space > 0);
            let space = space.ok_or(GuestFault::Request("a receive buffer without room for a packet"))?;
            self.room.append_range(&chain.writable, HEADER_BYTES, space.min(most - self.room.len_bytes()));
            taken += 1;
        }
        Ok(taken)
    }

    pub(crate) fn return_chains(&mut self, count: usize) {
        // At most what the ring has.
        self.ring.undo_pops(u16::try_from(count).unwrap_or(0));
    }

    /// Puts `header` before its payload in chain number `index`, and gives the chain to the guest.
    fn give(&mut self, index: usize, header: &Header) -> Result<(), ServiceError> {
        let chain = &self.chains[index];
        chain.writable.copy_from(0, &header.to_bytes());
        let written = u32::try_from(HEADER_BYTES).unwrap_or(0).saturating_add(header.len);
        Ok(self.ring.push(chain.head(), written)?)
    }

    fn header(&self, session: &mut Session, control: Control, payload_bytes: usize) -> Header {
        let Control { key, op, flags, src_cid, kind } = control;
        let id = session.find(key).filter(|_| src_cid == HOST_CID);
        let connection =
            id.and_then(|id| session.get(id)).filter(|connection| connection.host.kind() == kind);
        let (buf_alloc, fwd_cnt) = connection.map_or((0, 0), |connection| {
            if op == Op::CreditUpdate {
                connection.update_queued = false;
            }
            connection.window.tell()
        });
        Header {
            src_cid,
            dst_cid: self.guest_cid,
            src_port: key.host_port,
            dst_port: key.guest_port,
            len: u32::try_from(payload_bytes).unwrap_or(0),
            kind,
            op: Some(op),
            flags,
            buf_alloc,
            fwd_cnt,
        }
    }
}
