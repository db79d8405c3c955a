//! Unix sockets of the guest: those that lead to the host, and connections that the host asks for.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, accept_with, socket_with, sockopt};

use crate::setup;

/// Most connections to the host's sockets at a time. The next ones wait to be accepted.
const MOST: usize = 128;
/// How long nothing is accepted after the kernel had no descriptor or memory for it.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest time that the agent waits for a connection to loopback: it does nothing else meanwhile.
const HANDSHAKE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Counts connections: each of its pumps has a part of it.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    _connection: Rc<Connection>,
}

/// A connection that is counted as long as it exists.
#[derive(Debug)]
struct Connection {
    _counted: Rc<()>,
}

/// Whether connections are accepted.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    connections: Rc<()>,
    closed: bool,
    retry: Option<Instant>,
}

impl Gate {
    /// The part of a new connection.
    pub(crate) fn enter(&self) -> Part {
        Part { _connection: Rc::new(Connection { _counted: Rc::clone(&self.connections) }) }
    }

    pub(crate) fn is_full(&self) -> bool {
        // One of them is the gate's own.
        Rc::strong_count(&self.connections) > MOST
    }

    /// Nothing is accepted until there is room, or for a while if the kernel has none.
    pub(crate) fn close(&mut self, kernel_is_full: bool) {
        self.closed = true;
        self.retry = kernel_is_full.then(|| Instant::now() + PAUSE);
    }

    /// Opens a closed gate if its reason is gone.
    pub(crate) fn reopens(&mut self) -> bool {
        let opens = self.closed && !self.is_full() && self.retry.is_none_or(|retry| retry <= Instant::now());
        self.closed &= !opens;
        opens
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// When a closed gate must be looked at though nothing happens.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.retry.filter(|_| self.closed)
    }
}

/// What came of a look for a connection.
#[derive(Debug)]
pub(crate) enum Accepted {
    Connection(OwnedFd),
    Nothing,
    KernelIsFull,
}

/// Accepts one connection.
pub(crate) fn accept(listener: &OwnedFd) -> Accepted {
    match accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok(socket) => Accepted::Connection(socket),
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Accepted::Nothing,
        Err(_) => Accepted::KernelIsFull,
    }
}

/// Connects to the Unix socket at a path of the guest. A socket whose backlog is full refuses.
pub(crate) fn connect(path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let (address, _folder) = setup::address(path)?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket)
}

/// Connects to a TCP port of the loopback interface, by IPv4, else by IPv6. Linux makes such a connection or refuses it
/// within the call; only a port whose backlog is full lets its clients wait, which counts as refusing after a moment.
pub(crate) fn connect_port(port: u16) -> Result<OwnedFd, Errno> {
    connect_to((Ipv4Addr::LOCALHOST, port).into())
        .or_else(|error| connect_to((Ipv6Addr::LOCALHOST, port).into()).map_err(|_| error))
}

fn connect_to(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &address) {
        Err(Errno::INPROGRESS) => {}
        other => return other.map(|()| socket),
    }
    let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
    if poll(&mut fds, Some(&HANDSHAKE))? == 0 {
        return Err(Errno::TIMEDOUT);
    }
    sockopt::socket_error(&socket)?.map(|()| socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_of_either_family_is_reached_and_a_closed_one_refuses() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = closed.local_addr().unwrap().port();
        drop(closed);
        assert_eq!(connect_port(port).unwrap_err(), Errno::CONNREFUSED);
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let near = connect_port(listener.local_addr().unwrap().port()).unwrap();
            rustix::io::write(&near, b"hello").unwrap();
            let mut far = listener.accept().unwrap().0;
            let mut said = [0; 5];
            std::io::Read::read_exact(&mut far, &mut said).unwrap();
            assert_eq!(&said, b"hello");
        }
    }
}
