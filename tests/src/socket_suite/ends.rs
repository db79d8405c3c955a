//! The two ends of what is tested: sockets of this program, and what the peer offers them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, getpeername, getsockname, recv,
    send, socket_with,
};

/// Nothing that works takes longer, even where processors are emulated.
const PATIENCE: Duration = Duration::from_secs(15);

/// Offset of the port at which nobody listens.
pub(super) const CLOSED: u16 = 1;
/// Offset of the port that resets whoever connects.
pub(super) const RESETS: u16 = 2;
/// Offset of the port that closes whoever connects.
pub(super) const CLOSES: u16 = 3;
/// Offset of the port that never answers.
pub(super) const SILENT: u16 = 4;

/// Where the peer is.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The peer's address.
    pub peer: IpAddr,
    /// The first of the peer's ports.
    pub port: u16,
    /// The port of this side that the peer can connect to, TCP and UDP.
    pub inbound: u16,
}

impl Target {
    /// The peer's port `offset` after the first.
    pub(super) fn at(&self, offset: u16) -> SocketAddr {
        SocketAddr::new(self.peer, self.port + offset)
    }

    /// This machine's own address.
    pub(super) fn loopback(&self, port: u16) -> SocketAddr {
        let address =
            if self.peer.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        SocketAddr::new(address, port)
    }

    /// Any of this machine's addresses.
    pub(super) fn any(&self, port: u16) -> SocketAddr {
        let address =
            if self.peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        SocketAddr::new(address, port)
    }

    /// The digit that stands for the family in what the peer is asked.
    pub(super) fn family_digit(&self) -> u8 {
        if self.peer.is_ipv4() { 4 } else { 6 }
    }

    /// A new TCP socket that waits for nothing for ever.
    pub(super) fn tcp(&self) -> Result<OwnedFd, Errno> {
        self.socket(SocketType::STREAM, SocketFlags::CLOEXEC)
    }

    /// A new UDP socket that waits for nothing for ever.
    pub(super) fn udp(&self) -> Result<OwnedFd, Errno> {
        self.socket(SocketType::DGRAM, SocketFlags::CLOEXEC)
    }

    pub(super) fn socket(&self, kind: SocketType, flags: SocketFlags) -> Result<OwnedFd, Errno> {
        let family = if self.peer.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, kind, flags, None)?;
        patient(&socket)?;
        Ok(socket)
    }

    /// A connection to the peer, which was asked for something.
    pub(super) fn stream(&self, request: &str) -> Result<OwnedFd, Errno> {
        let socket = self.tcp()?;
        connect(&socket, &self.at(0))?;
        send(&socket, format!("{request}\n").as_bytes(), SendFlags::NOSIGNAL)?;
        Ok(socket)
    }

    /// What the peer answers.
    pub(super) fn ask(&self, request: &str) -> Result<String, Errno> {
        let bytes = read_to_end(self.stream(request)?)?;
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    }
}

/// Gives a socket the time limits all have here.
pub(super) fn patient(socket: impl AsFd) -> Result<(), Errno> {
    set_socket_timeout(socket.as_fd(), Timeout::Recv, Some(PATIENCE))?;
    set_socket_timeout(socket, Timeout::Send, Some(PATIENCE))
}

/// Sends all of `bytes`.
pub(super) fn write_all(socket: impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let count = send(socket.as_fd(), bytes, SendFlags::NOSIGNAL)?;
        bytes = bytes.get(count..).unwrap_or_default();
    }
    Ok(())
}

/// Receives once, at most `most` bytes.
pub(super) fn take(socket: impl AsFd, most: usize, flags: RecvFlags) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; most];
    let (count, _) = recv(socket, &mut bytes[..], flags)?;
    bytes.truncate(count);
    Ok(bytes)
}

/// Receives exactly `count` bytes, fewer only where the stream ends.
pub(super) fn take_exactly(socket: impl AsFd, count: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        let more = take(socket.as_fd(), count - bytes.len(), RecvFlags::empty())?;
        if more.is_empty() {
            break;
        }
        bytes.extend(more);
    }
    Ok(bytes)
}

/// Receives until the stream ends.
pub(super) fn read_to_end(socket: impl AsFd) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    loop {
        let more = take(socket.as_fd(), 64 << 10, RecvFlags::empty())?;
        if more.is_empty() {
            return Ok(bytes);
        }
        bytes.extend(more);
    }
}

/// The socket's own address.
pub(super) fn own_name(socket: impl AsFd) -> Result<SocketAddr, Errno> {
    SocketAddr::try_from(getsockname(socket)?).map_err(|_| Errno::AFNOSUPPORT)
}

/// The address of the other end.
pub(super) fn peer_name(socket: impl AsFd) -> Result<SocketAddr, Errno> {
    SocketAddr::try_from(getpeername(socket)?.ok_or(Errno::NOTCONN)?).map_err(|_| Errno::AFNOSUPPORT)
}

/// What `poll` says of a socket at once, asked for everything: `IN|OUT|RDHUP`, or nothing.
pub(super) fn now(socket: impl AsFd) -> Result<String, Errno> {
    polled(socket, PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP, Duration::ZERO)
}

/// What `poll` says of a socket within `patience`.
pub(super) fn polled(socket: impl AsFd, events: PollFlags, patience: Duration) -> Result<String, Errno> {
    let socket = socket.as_fd();
    let mut poll = [PollFd::from_borrowed_fd(socket, events)];
    let seconds = i64::try_from(patience.as_secs()).unwrap_or(i64::MAX);
    let timeout = Timespec { tv_sec: seconds, tv_nsec: patience.subsec_nanos().into() };
    rustix::event::poll(&mut poll, Some(&timeout))?;
    let seen = poll[0].revents();
    let names = [
        (PollFlags::IN, "IN"),
        (PollFlags::OUT, "OUT"),
        (PollFlags::ERR, "ERR"),
        (PollFlags::HUP, "HUP"),
        (PollFlags::RDHUP, "RDHUP"),
        (PollFlags::NVAL, "NVAL"),
    ];
    let seen: Vec<&str> =
        names.iter().filter(|(flag, _)| seen.contains(*flag)).map(|(_, name)| *name).collect();
    Ok(seen.join("|"))
}

/// Waits until `poll` says exactly `expected`, and gives what it says in the end. What arrives takes its time.
pub(super) fn until(socket: impl AsFd, expected: &str) -> Result<String, Errno> {
    let start = Instant::now();
    loop {
        let seen = now(socket.as_fd())?;
        if seen == expected || start.elapsed() > PATIENCE / 3 {
            return Ok(seen);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits for `events`, however long that takes.
pub(super) fn await_events(socket: impl AsFd, events: PollFlags) -> Result<String, Errno> {
    polled(socket, events, PATIENCE)
}
