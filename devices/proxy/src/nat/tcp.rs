//! TCP: each connection of the guest ends here and goes on in a socket of the host.
//!
//! Payload goes straight between guest buffers and sockets, in both directions, and is kept in the host's socket until
//! the guest has acknowledged it ([`connection`]); only a hello that must be looked at is kept here ([`held`]). Neither side
//! is read while the other takes nothing.

mod connection;
mod from_guest;
mod held;
mod to_guest;

pub(crate) use from_guest::Incoming;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use monocore_virtio::{Poller, Ready, ServiceError};
use monocore_vsock::Fate;

use super::io::Io;
use super::timers::Timers;
use super::wire::emit::Fields;
use super::wire::tcp::{RST, SYN};
use crate::slab::{Id, Slab};
use crate::sockets::do_not_delay;
use crate::sys;
use crate::token::{TOKEN_TCP, token};
use connection::{ACKNOWLEDGE_WITHIN, Carrier, Connection, Phase};

/// How often something is sent again before the guest counts as gone.
const MAX_ATTEMPTS: u8 = 10;
/// How often a SYN or its answer is sent.
const MAX_SYNS: u8 = 6;
/// How long a member's machine may take to answer.
const PEER_PATIENCE: Duration = Duration::from_secs(130);
/// A guest that takes nothing for so long is asked whether it does.
const PROBE: Duration = Duration::from_secs(5);

type Key = (SocketAddr, SocketAddr);

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Tcp {
    connections: Slab<Connection>,
    /// By guest's and remote address.
    by_key: HashMap<Key, Id>,
    /// Those that have something to tell the guest at the end of the turn.
    due: Vec<Id>,
    /// Those whose acknowledgement waits for an answer to travel with, in the order of their times.
    owing: VecDeque<Id>,
    /// Those that the guest had no buffers for.
    starved: VecDeque<Id>,
    /// Those that had more to send than was fair.
    more: Vec<Id>,
    timers: Timers,
    /// This kernel cannot peek from an offset: what is in flight is read again, into here.
    rereads: Option<Vec<u8>>,
    /// Where bytes go that the guest has acknowledged.
    discarded: Vec<u8>,
}

impl Tcp {
    pub(crate) fn new() -> Self {
        Self { rereads: if can_peek_from_offset() { None } else { Some(Vec::new()) }, ..Self::default() }
    }

    pub(crate) fn reset(&mut self) {
        let rereads = self.rereads.take();
        *self = Self { rereads, ..Self::default() };
    }

    /// Watches every socket again, after a stop.
    pub(crate) fn begin(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        for id in self.connections.ids() {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            poller
                .add_edge(&connection.socket, token(TOKEN_TCP, id))
                .map_err(ServiceError::host("watching a connection"))?;
        }
        Ok(())
    }

    /// The host accepted a connection from `remote`, as the guest will know it, to `guest`.
    pub(crate) fn accepted(
        &mut self,
        io: &mut Io<'_, '_>,
        guest: SocketAddr,
        remote: SocketAddr,
        (socket, fate): (OwnedFd, Option<Fate>),
    ) -> Result<(), ServiceError> {
        if self.by_key.contains_key(&(guest, remote)) {
            // Two clients that the guest cannot tell apart; the second one is refused.
            return Ok(());
        }
        let carrier = if fate.is_some() { Carrier::Pair } else { Carrier::Tcp };
        let mut connection =
            Connection::new((guest, remote), (socket, carrier), Phase::Asking, initial_sequence());
        connection.fate = fate;
        let Some(id) = self.insert(io, connection)? else { return Ok(()) };
        self.say_syn(io, id)
    }

    /// A connection's socket changed.
    pub(crate) fn ready(&mut self, io: &mut Io<'_, '_>, bits: u64, ready: Ready) -> Result<(), ServiceError> {
        let Some(id) = self.connections.by_bits(bits) else { return Ok(()) };
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        connection.readable |= ready.readable;
        connection.ending |= ready.ended;
        if connection.phase == Phase::Connecting && connection.fate.is_some() {
            return self.peer_answered(io, id);
        }
        if connection.phase == Phase::Connecting {
            return if ready.writable || ready.hang_up { self.connected(io, id) } else { Ok(()) };
        }
        if ready.writable && connection.held.is_some() && held::flush(connection).is_err() {
            return self.abort(io, id);
        }
        if ready.writable && connection.blocked && connection.phase == Phase::Open {
            connection.acknowledge = true;
            self.due.push(id);
        }
        // When all is read, only this tells of a reset.
        if ready.hang_up && connection.end_in_flight() && connection.is_reset() {
            return self.abort(io, id);
        }
        self.pump(io, id)
    }

    /// The end of a turn: what was put off, timers, acknowledgements.
    pub(crate) fn turn(&mut self, io: &mut Io<'_, '_>) -> Result<(), ServiceError> {
        while let Some(id) = self.timers.due(io.now) {
            self.timed_out(io, id)?;
        }
        for id in std::mem::take(&mut self.more) {
            self.pump(io, id)?;
        }
        for _ in 0..self.starved.len() {
            let Some(id) = self.starved.pop_front() else { break };
            let Some(connection) = self.connections.get_mut(id) else { continue };
            connection.starved = false;
            self.pump(io, id)?;
        }
        for id in std::mem::take(&mut self.due) {
            self.acknowledge_in_time(io, id)?;
        }
        self.pay(io)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        if !self.more.is_empty() {
            return Some(Instant::now());
        }
        let owed = self.owing.front().and_then(|&id| self.connections.get(id)?.owed);
        [owed.map(|since| since + ACKNOWLEDGE_WITHIN), self.timers.next()].into_iter().flatten().min()
    }

    /// Adds a connection and watches its socket.
    fn insert(&mut self, io: &mut Io<'_, '_>, connection: Connection) -> Result<Option<Id>, ServiceError> {
        let key = (connection.guest, connection.remote);
        let id = self.connections.insert(connection);
        let Some(connection) = self.connections.get_mut(id) else { return Ok(None) };
        if self.rereads.is_none() && sys::set_peek_offset(&connection.socket, 0).is_err() {
            self.connections.remove(id);
            return Ok(None);
        }
        do_not_delay(&connection.socket);
        io.poller
            .add_edge(&connection.socket, token(TOKEN_TCP, id))
            .map_err(ServiceError::host("watching a connection"))?;
        self.by_key.insert(key, id);
        io.engine.opened();
        Ok(Some(id))
    }

    /// Forgets a connection; its socket is closed.
    fn remove(&mut self, io: &mut Io<'_, '_>, id: Id) -> Option<Connection> {
        let connection = self.connections.remove(id)?;
        self.by_key.remove(&(connection.guest, connection.remote));
        io.engine.closed();
        Some(connection)
    }

    /// Ends a connection with a reset on both sides.
    fn abort(&mut self, io: &mut Io<'_, '_>, id: Id) -> Result<(), ServiceError> {
        let Some(mut connection) = self.remove(io, id) else { return Ok(()) };
        let fields = Fields { window: 0, ..connection.fields(RST) };
        io.link.segment(io.receiver, connection.remote, connection.guest, fields)?;
        connection.reset_on_close();
        Ok(())
    }

    /// Asks the guest, or answers it: a SYN.
    fn say_syn(&mut self, io: &mut Io<'_, '_>, id: Id) -> Result<(), ServiceError> {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        connection.acknowledge = connection.phase != Phase::Asking;
        let mut fields = connection.fields(SYN);
        fields.max_segment = Some(io.link.max_segment(connection.guest.is_ipv4()));
        fields.scale = connection.our_scale();
        fields.window = connection.first_window();
        fields.sequence = connection.unacknowledged;
        if connection.phase == Phase::Asking {
            (fields.flags, fields.acknowledged) = (SYN, 0);
        }
        if connection.next == connection.unacknowledged {
            connection.sent(1);
        }
        connection.deadline = Some(io.now + connection.timeout());
        let (from, to) = (connection.remote, connection.guest);
        self.arm(id);
        io.link.segment(io.receiver, from, to, fields).map(drop)
    }

    /// Makes sure that a connection's deadline is looked at.
    fn arm(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if let Some(at) = connection.deadline.filter(|at| connection.timed.is_none_or(|timed| *at < timed)) {
            connection.timed = Some(at);
            self.timers.add(at, id);
        }
    }

    fn timed_out(&mut self, io: &mut Io<'_, '_>, id: Id) -> Result<(), ServiceError> {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        connection.timed = None;
        let Some(at) = connection.deadline else { return Ok(()) };
        if at > io.now {
            self.arm(id);
            return Ok(());
        }
        connection.deadline = None;
        match connection.phase {
            // A member's machine that says nothing: the guest's own patience is over by now.
            Phase::Connecting => {
                self.remove(io, id);
                Ok(())
            }
            Phase::Answered | Phase::Asking => {
                connection.attempts += 1;
                if connection.attempts >= MAX_SYNS { self.abort(io, id) } else { self.say_syn(io, id) }
            }
            Phase::Open if connection.recheck => {
                connection.recheck = false;
                connection.acknowledge = true;
                connection.deadline = (connection.in_flight() > 0).then(|| io.now + connection.timeout());
                self.due.push(id);
                self.arm(id);
                Ok(())
            }
            Phase::Open if connection.in_flight() > 0 => {
                connection.attempts += 1;
                if connection.attempts >= MAX_ATTEMPTS { self.abort(io, id) } else { self.resend(io, id) }
            }
            Phase::Open => self.probe(io, id),
        }
    }
}

/// A segment of the guest that belongs to no connection is answered with a reset (RFC 9293 §3.10.7.1).
fn stray_answer(segment: &super::wire::tcp::Segment) -> Fields {
    use super::wire::tcp::{ACK, FIN};
    if segment.has(ACK) {
        return Fields { sequence: segment.acknowledged, flags: RST, ..Fields::default() };
    }
    let flags = u32::from(segment.has(SYN)) + u32::from(segment.has(FIN));
    let length = u32::try_from(segment.payload_bytes).unwrap_or(0) + flags;
    Fields { acknowledged: segment.sequence.wrapping_add(length), flags: RST | ACK, ..Fields::default() }
}

fn initial_sequence() -> u32 {
    let mut bytes = [0; 4];
    // Where there are no random numbers, connections still work.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u32::from_ne_bytes(bytes)
}

fn can_peek_from_offset() -> bool {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let made = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    made.is_ok_and(|socket| sys::set_peek_offset(&socket, 0).is_ok())
}
