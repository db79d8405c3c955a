//! One TCP connection: what both of its halves have come to. No I/O but questions to the socket about its room.
//!
//! Towards the guest, `unacknowledged ≤ next ≤ highest`: bytes from `unacknowledged` on still lie in the host's socket, those
//! before `next` are with the guest. Bytes leave the socket when the guest has acknowledged them, so that nothing is kept
//! here and everything can be sent again. From the guest, `expected` is what the socket has taken; that is what is
//! acknowledged.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use monocore_vsock::Fate;
use rustix::net::sockopt;

use super::super::wire::emit::Fields;
use super::super::wire::tcp::{ACK, Segment};
use super::held::Held;
use super::to_guest::LEAST_GUESS;
use crate::sockets::reset_on_close;
use crate::sys;

/// Our windows are counted in units of 2 to this.
const OUR_SCALE: u8 = 8;
/// The widest window granted, bytes.
const MAX_WINDOW: u32 = 4 << 20;
/// Without a kernel that peeks from an offset, bytes in flight are read again with each look.
pub(super) const MAX_REREAD_BYTES: u32 = 256 << 10;
/// The longest segment where the guest says nothing (RFC 9293 §3.7.1).
const DEFAULT_SEGMENT_V4: u16 = 536;
const DEFAULT_SEGMENT_V6: u16 = 1220;
/// No segment is shorter, whatever the guest says.
const MIN_SEGMENT: u16 = 64;
/// An acknowledgement of this many bytes or fewer waits for an answer to travel with.
const LITTLE_BYTES: u32 = 4096;
/// How long: an answer from this host takes less, and one from elsewhere is not worth more.
pub(super) const ACKNOWLEDGE_WITHIN: Duration = Duration::from_micros(500);
const FIRST_TIMEOUT: Duration = Duration::from_millis(400);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(8);

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The guest asked; the host's socket is being connected.
    Connecting,
    /// The guest asked and was answered.
    Answered,
    /// The host asked the guest.
    Asking,
    /// Both know.
    Open,
}

/// Whose socket carries the connection on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// A TCP socket of the kernel's.
    Tcp,
    /// One end of a socket pair whose other end is served here or by a member's machine.
    Pair,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    // Dropped before the socket, whose end has others look at it.
    /// How the connection ends, where the pair's other end is a member's.
    pub(super) fate: Option<Fate>,
    pub(super) guest: SocketAddr,
    /// The other end, as the guest knows it.
    pub(super) remote: SocketAddr,
    pub(super) socket: OwnedFd,
    pub(super) carrier: Carrier,
    pub(super) phase: Phase,

    pub(super) unacknowledged: u32,
    pub(super) next: u32,
    pub(super) highest: u32,
    /// The sequence number of our FIN, once it was sent; it stays the same when it is sent again.
    pub(super) end: Option<u32>,
    guest_window: u32,
    guest_scale: Option<u8>,
    pub(super) segment: u16,
    /// The socket may have more than was looked at.
    pub(super) readable: bool,
    /// How much the next look may find, by what the last one did.
    pub(super) guess: usize,
    /// The socket's peer sends no more: reading goes on to the end even after a short count.
    pub(super) ending: bool,
    pub(super) duplicates: u8,

    pub(super) expected: u32,
    /// What the guest was last told of it.
    told: u32,
    /// The right edge of the window granted.
    edge: u32,
    send_buffer_bytes: u32,
    /// What the guest began with, where that must be looked at; nothing once it may go on.
    pub(super) held: Option<Box<Held>>,
    /// The guest sends no more.
    pub(super) guest_ended: bool,
    pub(super) acknowledge: bool,
    /// Since when an acknowledgement waits for an answer to travel with.
    pub(super) owed: Option<Instant>,
    /// The socket did not take all, or had too little room: the guest waits to hear that it has.
    pub(super) blocked: bool,
    /// Part of what the guest sent was not taken; it is to be sent again at once when there is room.
    pub(super) dropped: bool,

    pub(super) deadline: Option<Instant>,
    /// The deadline is for a look at the socket's room.
    pub(super) recheck: bool,
    /// The entry of the timers that stands for this connection.
    pub(super) timed: Option<Instant>,
    pub(super) attempts: u8,
    /// It waits among those that the guest had no buffers for.
    pub(super) starved: bool,
}

/// What an acknowledgement brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// Bytes the guest has for good.
    pub(super) bytes: usize,
    /// The guest misses something: send again from the first byte it has not acknowledged.
    pub(super) resend: bool,
}

impl Connection {
    /// A connection over `socket` in `phase`; our first sequence number is `initial`.
    pub(super) fn new(
        (guest, remote): (SocketAddr, SocketAddr),
        (socket, carrier): (OwnedFd, Carrier),
        phase: Phase,
        initial: u32,
    ) -> Self {
        Self {
            guest,
            remote,
            socket,
            carrier,
            fate: None,
            phase,
            unacknowledged: initial,
            next: initial,
            highest: initial,
            end: None,
            guest_window: 0,
            guest_scale: None,
            segment: if guest.is_ipv4() { DEFAULT_SEGMENT_V4 } else { DEFAULT_SEGMENT_V6 },
            readable: false,
            guess: LEAST_GUESS,
            ending: false,
            duplicates: 0,
            expected: 0,
            told: 0,
            edge: 0,
            send_buffer_bytes: 0,
            held: None,
            guest_ended: false,
            acknowledge: false,
            owed: None,
            blocked: false,
            dropped: false,
            deadline: None,
            recheck: false,
            timed: None,
            attempts: 0,
            starved: false,
        }
    }

    /// Takes over what a SYN says, `link_segment` being the longest segment of the link.
    pub(super) fn take_syn(&mut self, syn: &Segment, link_segment: u16) {
        self.expected = syn.sequence.wrapping_add(1);
        self.edge = self.expected;
        self.guest_scale = syn.scale;
        // The window of a SYN is never scaled (RFC 7323 §2.2).
        self.guest_window = u32::from(syn.window);
        self.segment = syn.max_segment.unwrap_or(self.segment).clamp(MIN_SEGMENT, link_segment);
    }

    /// The shift of our window: none where the guest has none.
    pub(super) fn our_scale(&self) -> Option<u8> {
        match self.phase {
            Phase::Asking => Some(OUR_SCALE),
            _ => self.guest_scale.map(|_| OUR_SCALE),
        }
    }

    /// Bytes with the guest that it has not acknowledged; a FIN counts as one.
    pub(super) fn in_flight(&self) -> u32 {
        self.next.wrapping_sub(self.unacknowledged)
    }

    /// How many more bytes the guest takes now.
    pub(super) fn room(&self, rereads: bool) -> u32 {
        let window = if rereads { self.guest_window.min(MAX_REREAD_BYTES) } else { self.guest_window };
        window.saturating_sub(self.in_flight())
    }

    /// Whether there is anything to look for in the socket.
    pub(super) fn may_send(&self) -> bool {
        self.phase == Phase::Open && self.readable && !self.end_in_flight()
    }

    /// Whether our FIN is with the guest.
    pub(super) fn end_in_flight(&self) -> bool {
        self.end.is_some_and(|end| self.next == end.wrapping_add(1))
    }

    /// Whoever is at the socket's other end sees a reset when it is closed.
    pub(super) fn reset_on_close(&mut self) {
        self.fate = None;
        reset_on_close(&self.socket);
    }

    /// Whether the other end, which sends no more, has reset the connection.
    pub(super) fn is_reset(&self) -> bool {
        match &self.fate {
            Some(fate) => fate.is_reset(),
            None => !matches!(sockopt::socket_error(&self.socket), Ok(Ok(()))),
        }
    }

    /// Whether both ends know that the other is done.
    pub(super) fn is_over(&self) -> bool {
        self.guest_ended && self.end_in_flight() && self.in_flight() == 0
    }

    /// Takes in what a segment acknowledges, in [`Phase::Open`].
    pub(super) fn acknowledged(&mut self, segment: &Segment) -> Progress {
        let mut progress = Progress { bytes: 0, resend: false };
        let window = u32::from(segment.window) << self.guest_scale.unwrap_or(0);
        let advance = segment.acknowledged.wrapping_sub(self.unacknowledged);
        if advance > self.highest.wrapping_sub(self.unacknowledged) {
            // Of something before, or of what was never sent.
            return progress;
        }
        if advance > 0 {
            let ends = self.end.is_some_and(|end| segment.acknowledged == end.wrapping_add(1));
            progress.bytes = (advance - u32::from(ends)) as usize;
            self.unacknowledged = segment.acknowledged;
            if before(self.next, segment.acknowledged) {
                self.next = segment.acknowledged;
            }
            (self.duplicates, self.attempts) = (0, 0);
        } else if self.in_flight() > 0 && segment.payload_bytes == 0 && window == self.guest_window {
            self.duplicates = self.duplicates.saturating_add(1);
            progress.resend = self.duplicates == 3;
        }
        self.guest_window = window;
        progress
    }

    /// Goes back to the first byte that is not acknowledged.
    pub(super) fn rewind(&mut self) {
        self.next = self.unacknowledged;
        self.readable = true;
        self.ending |= self.end.is_some();
    }

    /// Notes that `count` sequence numbers from `next` on are with the guest.
    pub(super) fn sent(&mut self, count: u32) {
        self.next = self.next.wrapping_add(count);
        if before(self.highest, self.next) {
            self.highest = self.next;
        }
    }

    /// The fields of a segment that is sent now, with an acknowledgement; the window as wide as the socket has room.
    pub(super) fn fields(&mut self, flags: u8) -> Fields {
        if self.acknowledge && self.is_narrow() {
            self.widen();
        }
        (self.acknowledge, self.owed, self.told) = (false, None, self.expected);
        let window = self.edge.wrapping_sub(self.expected);
        let window = if before(self.edge, self.expected) { 0 } else { window };
        let shown = window >> self.guest_scale.map_or(0, |_| OUR_SCALE);
        Fields {
            sequence: self.next,
            acknowledged: self.expected,
            flags: flags | ACK,
            window: u16::try_from(shown).unwrap_or(u16::MAX),
            ..Fields::default()
        }
    }

    /// The window of a SYN or its answer, which is never scaled.
    pub(super) fn first_window(&mut self) -> u16 {
        let edge = self.expected.wrapping_add(u16::MAX.into());
        if before(self.edge, edge) {
            self.edge = edge;
        }
        u16::MAX
    }

    /// Whether an acknowledgement may wait until `ACKNOWLEDGE_WITHIN` from now: for little, that nobody waits to go on after.
    pub(super) fn may_wait(&mut self, now: Instant) -> bool {
        let little = self.expected.wrapping_sub(self.told) <= LITTLE_BYTES;
        let plain = self.phase == Phase::Open && !self.guest_ended && !self.blocked && !self.dropped;
        little && plain && now < *self.owed.get_or_insert(now) + ACKNOWLEDGE_WITHIN
    }

    /// Whether the window may have to move: to ask the socket for its room is a system call, and little changes little.
    fn is_narrow(&self) -> bool {
        let left = self.edge.wrapping_sub(self.expected);
        let ample = (self.send_buffer_bytes / 2).max(2 * u32::from(self.segment));
        self.expected.wrapping_sub(self.told) > LITTLE_BYTES
            || self.blocked
            || self.dropped
            || self.send_buffer_bytes == 0
            || before(self.edge, self.expected)
            || left < ample
    }

    /// Moves the window's edge to what the socket has room for. A window too narrow for a segment is none: the guest would
    /// wait for a wider one anyway, and the socket says when it has room again.
    fn widen(&mut self) {
        let unsent = sys::unacknowledged_bytes(&self.socket).unwrap_or(0);
        let unsent = u32::try_from(unsent).unwrap_or(u32::MAX);
        if self.send_buffer_bytes == 0 || unsent > self.send_buffer_bytes / 4 {
            let size = rustix::net::sockopt::socket_send_buffer_size(&self.socket).unwrap_or(0);
            self.send_buffer_bytes = u32::try_from(size).unwrap_or(u32::MAX);
        }
        // The kernel counts its own overhead as well.
        let usable = self.send_buffer_bytes - self.send_buffer_bytes / 16;
        let free = usable.saturating_sub(unsent).min(MAX_WINDOW);
        let least = (usable / 4).min(u32::from(self.segment));
        self.blocked = self.dropped || free < least;
        let edge = self.expected.wrapping_add(if self.blocked { 0 } else { free });
        if before(self.edge, edge) || self.dropped {
            self.edge = edge;
        }
    }

    /// When to send again if nothing is heard.
    pub(super) fn timeout(&self) -> Duration {
        (FIRST_TIMEOUT * 2u32.saturating_pow(self.attempts.min(8).into())).min(LONGEST_TIMEOUT)
    }
}

/// Whether `a` comes before `b` (RFC 9293 §3.4).
pub(super) fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) > u32::MAX / 2
}
