//! Where connections lead: what the device asks of whatever lies behind it.

pub(crate) mod broker;
pub(crate) mod handlers;
pub(crate) mod handoff;
pub(crate) mod unix;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Instant;

/// A connection to the guest that somebody on the host asks for.
#[derive(Debug)]
pub struct Request {
    /// The guest's port.
    pub port: u32,
    /// The near end of the connection, a stream socket; closed if the guest refuses.
    pub stream: OwnedFd,
    /// Say `OK <host port>\n` on the stream before anything else, once the guest has accepted.
    pub greet: bool,
}

/// What a look for requests found.
#[derive(Debug)]
pub enum Accepted {
    /// A connection to make.
    Request(Request),
    /// Nothing now.
    Nothing,
    /// Nothing, now or later; [`Backend::incoming`] is of no more use.
    Closed,
}

/// Makes and accepts the host's ends of connections. Called on the device's worker thread; nothing may wait.
pub trait Backend: Send {
    /// The near end of a connection from the guest to `port` of the host, a stream socket.
    ///
    /// # Errors
    /// Whatever refuses the connection.
    fn dial(&mut self, port: u32) -> io::Result<OwnedFd>;

    /// A descriptor that is readable when [`accept`](Self::accept) has something to do.
    fn incoming(&self) -> BorrowedFd<'_>;

    /// The next connection that the host asks for, if there is one.
    fn accept(&mut self) -> Accepted;

    /// When [`accept`](Self::accept) shall be called at the latest.
    fn deadline(&self) -> Option<Instant> {
        None
    }
}
