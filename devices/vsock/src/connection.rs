//! One connection: a stream socket of the host, or a channel to the front, and what both sides owe each other.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use monocore_virtio::{Buffers, Interest};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown, sockopt};

use crate::credit::{GuestCredit, HostWindow};
use crate::fate::Fate;
use crate::front::FRAME_BYTES;
use crate::packet::{HEADER_BYTES, SHUT_BOTH, SHUT_RECEIVE, SHUT_SEND, TYPE_SEQPACKET, TYPE_STREAM};

/// A backlog's room is given back when it is empty and larger than this, in bytes.
const KEPT_BACKLOG: usize = 16 << 10;
/// Room taken for the first read of a connection, in bytes: four buffers as Linux makes them, or one larger one.
pub(crate) const FIRST_BURST: usize = 4 * (4096 - HEADER_BYTES);
/// Room taken for one read at most, in bytes; the last buffer may have more.
pub(crate) const LARGEST_BURST: usize = 256 << 10;

/// A connection's name on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) host_port: u32,
    pub(crate) guest_port: u32,
}

/// What lies at the host's end of a connection.
#[derive(Debug)]
pub(crate) enum Host {
    /// A stream socket of the backend's.
    Backend(OwnedFd),
    /// A stream socket of the front's: nobody else holds it, and its errors are told by number.
    Front(OwnedFd),
    /// The front itself, and what there is of a message whose end has not come.
    Channel(Vec<u8>),
}

impl Host {
    /// Kind of socket, as packets say it.
    pub(crate) fn kind(&self) -> u16 {
        if matches!(self, Self::Channel(_)) { TYPE_SEQPACKET } else { TYPE_STREAM }
    }

    pub(crate) fn stream(&self) -> Option<&OwnedFd> {
        match self {
            Self::Backend(stream) | Self::Front(stream) => Some(stream),
            Self::Channel(_) => None,
        }
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The guest was asked and has not answered.
    Asked { greet: bool },
    /// The guest asked; the front's socket is being connected.
    Dialing,
    /// Bytes may flow.
    Open,
    /// The guest is done with it; what it sent is still on its way to the host.
    Draining,
    /// The host is done with it; the guest has yet to confirm by a reset.
    Closing,
}

/// What holds up bytes on their way to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Nothing; the socket is watched.
    Free,
    /// No guest buffers; it waits in the session's queue for them.
    NoBuffers,
    /// No credit; a packet of the guest will bring some.
    NoCredit,
    /// The limit of what goes to the guest is used up; its socket is not read until there is some of it again.
    Limited,
    /// The guest has just read into a chain of its own, and most likely will again: what comes waits for that, for a moment.
    Held,
    /// There will be none any more.
    Ended,
}

/// What became of bytes sent to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// All is well, whether sent or kept.
    Fine,
    /// Nobody on the host will ever read them.
    Unread,
    /// The socket is broken.
    Broken(Errno),
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    // Dropped before the socket, whose end has others look at it.
    /// How the connection ends, where the socket's other end is another machine's.
    pub(crate) fate: Option<Fate>,
    pub(crate) key: Key,
    pub(crate) host: Host,
    pub(crate) phase: Phase,
    pub(crate) flow: Flow,
    pub(crate) credit: GuestCredit,
    pub(crate) window: HostWindow,
    /// Bytes of the guest that the socket did not take yet, at most the window.
    backlog: VecDeque<u8>,
    /// The frame that asked for it, while the front has yet to judge what the guest sends: the socket has none of it.
    pub(crate) inspected: Option<Box<[u8; FRAME_BYTES]>>,
    /// SHUT_* as the guest announced them.
    pub(crate) guest_shut: u32,
    /// SHUT_* as they were announced to the guest.
    pub(crate) host_shut: u32,
    /// Room for the next read, in bytes.
    pub(crate) burst: usize,
    /// The limit of what comes from the guest is used up; the backlog is kept until there is some of it again.
    pub(crate) limited: bool,
    /// A credit update is queued.
    pub(crate) update_queued: bool,
    /// What the poller watches the socket for, if it does.
    pub(crate) watched: Option<Interest>,
    /// First descriptor of the chain that waits for bytes.
    pub(crate) reading: Option<u16>,
    /// The socket's other end was seen to be gone.
    pub(crate) hung_up: bool,
    /// What went wrong when bytes were sent to the front's socket: it ends once what is there to be read is with the guest.
    pub(crate) broken: Option<Errno>,
    /// The other machine made the socket and may have kept it open, too: to close it does not take it out of the poller.
    pub(crate) is_foreign: bool,
    /// When the session loses patience with it.
    pub(crate) deadline: Option<Instant>,
}

impl Connection {
    pub(crate) fn new(key: Key, host: Host, phase: Phase, window_bytes: u32) -> Self {
        // A datagram fits one buffer, as a rule.
        let burst = if matches!(host, Host::Channel(_)) { 1 } else { FIRST_BURST };
        Self {
            key,
            host,
            phase,
            flow: Flow::Free,
            credit: GuestCredit::default(),
            window: HostWindow::new(window_bytes),
            backlog: VecDeque::new(),
            inspected: None,
            guest_shut: 0,
            host_shut: 0,
            burst,
            limited: false,
            update_queued: false,
            watched: None,
            reading: None,
            hung_up: false,
            broken: None,
            fate: None,
            is_foreign: false,
            deadline: None,
        }
    }

    /// Whether it is a stream of the front's.
    pub(crate) fn is_front_stream(&self) -> bool {
        matches!(self.host, Host::Front(_))
    }

    /// Whether bytes of the host may go to the guest at all.
    pub(crate) fn may_receive(&self) -> bool {
        self.phase == Phase::Open && self.flow != Flow::Ended
    }

    /// What the poller should watch the socket for; `None` for nothing at all, not even its end.
    pub(crate) fn wanted(&self) -> Option<Interest> {
        let write = self.has_backlog() && !self.limited && self.host_shut & SHUT_RECEIVE == 0;
        match self.phase {
            Phase::Asked { .. } | Phase::Closing => None,
            Phase::Dialing if self.fate.is_some() => Some(Interest::Read),
            Phase::Dialing => Some(Interest::Write),
            Phase::Draining => write.then_some(Interest::Write),
            Phase::Open => match (self.flow, write) {
                (Flow::Free, false) => Some(Interest::Read),
                (Flow::Free, true) => Some(Interest::ReadWrite),
                (_, true) => Some(Interest::Write),
                // After its end, only whether the other end is gone altogether.
                (Flow::Ended | Flow::Held, false) if !self.hung_up => Some(Interest::None),
                // The end of a socket would be reported over and over while nobody can read up to it.
                _ => None,
            },
        }
    }

    /// Whether `len_bytes` more are within what the guest was granted.
    pub(crate) fn is_within_window(&self, len_bytes: usize) -> bool {
        self.backlog.len() + len_bytes <= self.window.size_bytes() as usize
    }

    /// Whether bytes of the guest wait for the socket.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty() && self.inspected.is_none()
    }

    /// What the front has to judge: the frame that asked for the connection, and all that the guest has sent.
    pub(crate) fn beginning(&mut self) -> Option<(&[u8; FRAME_BYTES], &[u8])> {
        let frame = self.inspected.as_deref()?;
        Some((frame, self.backlog.make_contiguous()))
    }

    /// Sends `payload` to the host as far as it goes, unless it is [`limited`](Self::limited), and keeps the rest.
    pub(crate) fn deliver(&mut self, payload: &mut Buffers<'_>) -> Delivery {
        if self.host_shut & SHUT_RECEIVE != 0 {
            self.forwarded(payload.len_bytes());
            return Delivery::Fine;
        }
        let Some(stream) = self.host.stream() else { return Delivery::Fine };
        if self.backlog.is_empty() && self.inspected.is_none() && !self.limited {
            match payload.send(stream) {
                Ok(count) => {
                    self.forwarded(count);
                    payload.advance(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.forwarded(payload.len_bytes());
                    return self.failed(&error);
                }
            }
        }
        let (kept, more) = (self.backlog.len(), payload.len_bytes());
        if more > 0 {
            self.backlog.resize(kept + more, 0);
            payload.copy_to(0, &mut self.backlog.make_contiguous()[kept..]);
        }
        Delivery::Fine
    }

    /// Sends what was kept, as far as it goes, but no more than about `most` bytes; says how many it was, too.
    pub(crate) fn drain(&mut self, most: usize) -> (usize, Delivery) {
        let mut sent = 0;
        while let (Some(bytes), Some(stream)) = (first_slice(&self.backlog), self.host.stream()) {
            if sent >= most {
                return (sent, Delivery::Fine);
            }
            let bytes = bytes.get(..most).unwrap_or(bytes);
            match send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => {
                    sent += count;
                    self.backlog.drain(..count);
                    self.forwarded(count);
                }
                Err(Errno::AGAIN) => return (sent, Delivery::Fine),
                Err(Errno::INTR) => {}
                Err(error) => {
                    self.forwarded(self.backlog.len());
                    self.backlog = VecDeque::new();
                    return (sent, self.failed(&error.into()));
                }
            }
        }
        if self.backlog.capacity() > KEPT_BACKLOG {
            self.backlog = VecDeque::new();
        }
        if self.guest_shut & SHUT_SEND != 0 {
            self.shut(Shutdown::Write);
        }
        (sent, Delivery::Fine)
    }

    /// Takes the guest's word that it sends or receives no more.
    pub(crate) fn guest_shuts(&mut self, flags: u32) {
        self.guest_shut |= flags & SHUT_BOTH;
        if self.guest_shut == SHUT_BOTH && self.is_front_stream() && self.backlog.is_empty() {
            // It is closed next, which is the same where nobody else holds it.
            self.flow = Flow::Ended;
            return;
        }
        if self.guest_shut & SHUT_RECEIVE != 0 {
            self.flow = Flow::Ended;
            self.shut(Shutdown::Read);
        }
        if self.guest_shut & SHUT_SEND != 0 && self.backlog.is_empty() {
            self.shut(Shutdown::Write);
        }
    }

    /// Ends the socket for everybody who holds its other end.
    pub(crate) fn shut_both(&mut self) {
        self.backlog = VecDeque::new();
        if !self.is_front_stream() {
            self.shut(Shutdown::Both);
        }
    }

    /// Whoever is at the other end of a front's socket sees a reset when it is closed.
    pub(crate) fn reset_on_close(&mut self) {
        self.fate = None;
        if let Host::Front(stream) = &self.host {
            // Without it the end is merely a quiet one.
            let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
        }
    }

    /// The error that the socket met, if it did; it is asked for once.
    pub(crate) fn error(&self) -> Option<Errno> {
        let stream = self.host.stream()?;
        let error = sockopt::socket_error(stream).unwrap_or_else(Err).err();
        error.or_else(|| self.is_reset().then_some(Errno::CONNRESET))
    }

    /// Whether another machine at the socket's end, which has been read, reset the connection.
    pub(crate) fn is_reset(&self) -> bool {
        self.fate.as_ref().is_some_and(Fate::is_reset)
    }

    /// Whether the front's socket, which is ready, is connected; nothing while it is not known.
    pub(crate) fn dialed(&self) -> Option<Result<(), Errno>> {
        if self.fate.is_none() {
            return Some(self.error().map_or(Ok(()), Err));
        }
        match recv(self.host.stream()?, &mut [0; 1][..], RecvFlags::DONTWAIT) {
            Ok((1, _)) => Some(Ok(())),
            Err(Errno::AGAIN | Errno::INTR) => None,
            _ => Some(Err(Errno::CONNREFUSED)),
        }
    }

    fn shut(&self, how: Shutdown) {
        if let Some(stream) = self.host.stream() {
            // Not connected any more is as good.
            let _ = shutdown(stream.as_fd(), how);
        }
    }

    fn forwarded(&mut self, count: usize) {
        // Counts are modulo 2^32.
        #[allow(clippy::cast_possible_truncation, reason = "counts are modulo 2^32")]
        self.window.forward(count as u32);
    }

    fn failed(&mut self, error: &io::Error) -> Delivery {
        match Errno::from_io_error(error) {
            Some(Errno::PIPE) if !self.is_front_stream() => Delivery::Unread,
            // What TCP says where the other end is gone.
            Some(Errno::PIPE) if self.fate.is_some() => Delivery::Broken(Errno::CONNRESET),
            errno => Delivery::Broken(errno.unwrap_or(Errno::IO)),
        }
    }
}

fn first_slice(bytes: &VecDeque<u8>) -> Option<&[u8]> {
    let (first, _) = bytes.as_slices();
    (!first.is_empty()).then_some(first)
}
