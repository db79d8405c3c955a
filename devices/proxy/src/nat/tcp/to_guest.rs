//! From the host's sockets to the guest.

use monocore_virtio::ServiceError;
use monocore_vsock::Fate;
use rustix::net::{RecvFlags, recv};

use super::super::io::Io;
use super::super::link::{self, Payload};
use super::super::wire::tcp::{FIN, PSH};
use super::connection::{Carrier, Connection};
use super::{PROBE, Tcp};
use crate::slab::Id;
use crate::sys;
use crate::token::{TOKEN_TCP, token};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Frames of one connection before others come.
const TURN_FRAMES: usize = 16;
/// The most payload of a frame: what an IP packet holds behind the longest headers without options.
const MAX_PAYLOAD: usize = 65535 - 60;
/// What a connection's next bytes are taken for at least: each buffer of the guest's that is taken for nothing costs.
pub(super) const LEAST_GUESS: usize = 4096;
/// Bytes taken out of a socket pair at once.
const DISCARD_BYTES: usize = 64 << 10;
/// When to look again at a socket that says it has room and has too little.
const RECHECK: Duration = Duration::from_millis(20);

/// How a look into a socket ended.
enum Look {
    /// Some of it is with the guest.
    Sent,
    /// Nothing for now; the socket or the guest says when there is.
    Nothing,
    /// The guest has no buffers.
    Starved,
    /// The host sends no more.
    End,
    /// The socket is broken.
    Broken,
}

impl Tcp {
    /// Gives the guest what a connection's socket has, as far as both may.
    pub(super) fn pump(&mut self, io: &mut Io<'_, '_>, id: Id) -> Result<(), ServiceError> {
        for _ in 0..TURN_FRAMES {
            let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
            if !connection.may_send() || connection.starved {
                return Ok(());
            }
            let look = look(io, connection, &mut self.rereads)?;
            match look {
                Look::Sent => {
                    connection.deadline = Some(io.now + connection.timeout());
                    self.arm(id);
                }
                Look::Nothing => return self.wait_for_window(io, id),
                Look::Starved => {
                    connection.starved = true;
                    self.starved.push_back(id);
                    return Ok(());
                }
                Look::End if self.is_reset(id) => return self.abort(io, id),
                Look::End => return self.say_end(io, id),
                Look::Broken => return self.abort(io, id),
            }
        }
        self.more.push(id);
        Ok(())
    }

    /// The guest acknowledged `bytes`: they leave the socket.
    pub(super) fn discard(&mut self, id: Id, bytes: usize) -> bool {
        let Some(connection) = self.connections.get_mut(id) else { return false };
        bytes == 0 || discard(&connection.socket, connection.carrier, bytes, &mut self.discarded)
    }

    /// Sends again from the first byte that is not acknowledged.
    pub(super) fn resend(&mut self, io: &mut Io<'_, '_>, id: Id) -> Result<(), ServiceError> {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        connection.rewind();
        if self.rereads.is_none() && sys::set_peek_offset(&connection.socket, 0).is_err() {
            return self.abort(io, id);
        }
        connection.deadline = Some(io.now + connection.timeout());
        self.arm(id);
        self.pump(io, id)
    }

    /// Sends an acknowledgement, if one is due and does not wait for an answer to travel with.
    pub(super) fn acknowledge_in_time(&mut self, io: &mut Io<'_, '_>, id: Id) -> Result<(), ServiceError> {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        let owing = connection.owed.is_some();
        if !connection.acknowledge || !connection.may_wait(io.now) {
            return self.acknowledge(io, id);
        }
        if !owing {
            self.owing.push_back(id);
        }
        Ok(())
    }

    /// Sends the acknowledgements that waited long enough.
    pub(super) fn pay(&mut self, io: &mut Io<'_, '_>) -> Result<(), ServiceError> {
        while let Some(&id) = self.owing.front() {
            let waits =
                |connection: &mut Connection| connection.owed.is_some() && connection.may_wait(io.now);
            if self.connections.get_mut(id).is_some_and(waits) {
                break;
            }
            self.owing.pop_front();
            self.acknowledge(io, id)?;
        }
        Ok(())
    }

    /// Sends an acknowledgement, if one is due.
    pub(super) fn acknowledge(&mut self, io: &mut Io<'_, '_>, id: Id) -> Result<(), ServiceError> {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        if !connection.acknowledge {
            return Ok(());
        }
        let (was_blocked, had_dropped) = (connection.blocked, connection.dropped);
        if was_blocked {
            // There is room again, or else this says so at once.
            connection.dropped = false;
        }
        let fields = connection.fields(0);
        let (from, to) = (connection.remote, connection.guest);
        // Three more tell the guest that what was dropped is wanted now (RFC 5681 §3.2).
        let repeats = if had_dropped && !connection.blocked { 3 } else { 0 };
        for _ in 0..=repeats {
            if !io.link.segment(io.receiver, from, to, fields)? {
                connection.acknowledge = true;
                self.due.push(id);
                return Ok(());
            }
        }
        if connection.blocked {
            connection.dropped |= had_dropped;
            if was_blocked {
                connection.recheck = true;
                connection.deadline = Some(io.now + RECHECK);
                self.arm(id);
            } else {
                io.poller
                    .modify_edge(&connection.socket, token(TOKEN_TCP, id))
                    .map_err(ServiceError::host("watching a connection"))?;
            }
        }
        self.finish(io, id);
        Ok(())
    }

    /// Asks a guest whose window is closed whether it still is, as a keep-alive does.
    pub(super) fn probe(&mut self, io: &mut Io<'_, '_>, id: Id) -> Result<(), ServiceError> {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        if !connection.may_send() {
            return Ok(());
        }
        let mut fields = connection.fields(0);
        fields.sequence = fields.sequence.wrapping_sub(1);
        let (from, to) = (connection.remote, connection.guest);
        connection.deadline = Some(io.now + PROBE);
        self.arm(id);
        io.link.segment(io.receiver, from, to, fields).map(drop)
    }

    /// Forgets a connection that is over on both sides.
    pub(super) fn finish(&mut self, io: &mut Io<'_, '_>, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is_over() && !connection.acknowledge {
            let over = self.remove(io, id);
            if let Some(fate) = over.and_then(|connection| connection.fate) {
                fate.finish();
            }
        }
    }

    /// Nothing could be sent though the socket may have something: the guest's window is closed.
    fn wait_for_window(&mut self, io: &mut Io<'_, '_>, id: Id) -> Result<(), ServiceError> {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        if connection.readable && connection.in_flight() == 0 && connection.deadline.is_none() {
            connection.deadline = Some(io.now + PROBE);
            self.arm(id);
        }
        Ok(())
    }

    /// Whether a member's machine has reset the connection, whose socket has ended.
    fn is_reset(&self, id: Id) -> bool {
        let connection = self.connections.get(id);
        connection.is_some_and(|connection| connection.fate.as_ref().is_some_and(Fate::is_reset))
    }

    /// Tells the guest that the host sends no more.
    fn say_end(&mut self, io: &mut Io<'_, '_>, id: Id) -> Result<(), ServiceError> {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        let fields = connection.fields(FIN);
        let (from, to) = (connection.remote, connection.guest);
        if io.link.segment(io.receiver, from, to, fields)? {
            connection.end = Some(connection.next);
            connection.sent(1);
        } else {
            connection.starved = true;
            self.starved.push_back(id);
            return Ok(());
        }
        connection.deadline = Some(io.now + connection.timeout());
        self.arm(id);
        Ok(())
    }
}

/// Looks once into a connection's socket, straight into the guest's buffers.
fn look(
    io: &mut Io<'_, '_>,
    connection: &mut Connection,
    rereads: &mut Option<Vec<u8>>,
) -> Result<Look, ServiceError> {
    let v4 = connection.guest.is_ipv4();
    let offloads = io.link.offloads.tcp_to_guest;
    let uncut = if v4 { offloads.0 } else { offloads.1 };
    let most = if uncut { MAX_PAYLOAD } else { usize::from(connection.segment) };
    let room = most.min(connection.room(rereads.is_some()) as usize).min(connection.guess);
    if room == 0 {
        return Ok(Look::Nothing);
    }
    let headers = link::segment_headers_bytes(v4);
    if !io.receiver.take(headers + 1, headers + room)? {
        return Ok(Look::Starved);
    }
    let skipped = match rereads {
        Some(scratch) => {
            scratch.resize(connection.in_flight() as usize, 0);
            &mut scratch[..]
        }
        None => &mut [],
    };
    let space = io.receiver.payload_room(headers);
    let wanted = space.len_bytes();
    let count = match space.peek(skipped, &connection.socket) {
        Ok(0) => {
            io.receiver.put_back();
            return Ok(Look::End);
        }
        Ok(count) => count,
        Err(error) => {
            io.receiver.put_back();
            if error.kind() != ErrorKind::WouldBlock {
                return Ok(Look::Broken);
            }
            connection.readable = false;
            return Ok(Look::Nothing);
        }
    };
    if count < wanted && !connection.ending {
        connection.readable = false;
    }
    connection.guess = if count < wanted { LEAST_GUESS.max(2 * count) } else { MAX_PAYLOAD };
    let fields = connection.fields(PSH);
    let payload = Payload { bytes: count, segment: connection.segment };
    io.link.segment_around(io.receiver, connection.remote, connection.guest, fields, payload)?;
    // At most MAX_PAYLOAD.
    connection.sent(u32::try_from(count).unwrap_or(0));
    Ok(Look::Sent)
}

/// Takes bytes out of a socket that were looked at before.
fn discard(socket: &OwnedFd, carrier: Carrier, bytes: usize, scratch: &mut Vec<u8>) -> bool {
    let mut left = bytes;
    while left > 0 {
        let count = match carrier {
            Carrier::Tcp => sys::discard(socket, left).ok(),
            Carrier::Pair => {
                // Only TCP drops bytes without a copy. Made for the first pair.
                scratch.resize(DISCARD_BYTES, 0);
                let most = left.min(DISCARD_BYTES);
                recv(socket, &mut scratch[..most], RecvFlags::DONTWAIT).ok().map(|(count, _)| count)
            }
        };
        match count {
            Some(count) if count > 0 => left = left.saturating_sub(count),
            _ => return false,
        }
    }
    true
}
