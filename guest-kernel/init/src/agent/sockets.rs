//! Unix sockets of the guest: those that lead to the host, and connections that the host asks for.

use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, accept_with, socket_with};

use crate::setup;

/// Most connections to the host's sockets at a time. The next ones wait to be accepted.
const MOST: usize = 128;
/// How long nothing is accepted after the kernel had no descriptor or memory for it.
const PAUSE: Duration = Duration::from_secs(1);

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
