//! Connections to the host, and the frame that opens each.

use std::os::unix::net::UnixStream;

use monocore_protocol::{AGENT_PORT, Opening, encode};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{SendFlags, send, sockopt::socket_error};

use crate::error::{Doing, Error};
use crate::sys;

/// Where the host is.
#[derive(Clone, Debug)]
pub(crate) enum Dialer {
    /// On the other side of this machine's vsock device.
    Machine,
    /// At a Unix socket.
    Socket(String),
}

impl Dialer {
    /// Starts connecting; the socket never blocks and is writable once it is connected or has failed to.
    pub(crate) fn dial(&self) -> Result<OwnedFd, Errno> {
        match self {
            Self::Machine => sys::connect_vsock(AGENT_PORT),
            Self::Socket(path) => {
                let refused =
                    |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::CONNREFUSED);
                let socket = UnixStream::connect(path).map_err(refused)?;
                socket.set_nonblocking(true).map_err(refused)?;
                Ok(socket.into())
            }
        }
    }
}

/// Waits for the connection and sends its opening.
pub(crate) fn open(socket: OwnedFd, opening: &Opening) -> Result<OwnedFd, Error> {
    loop {
        match poll(&mut [PollFd::new(&socket, PollFlags::OUT)], None) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error).doing("wait for", "the host"),
        }
    }
    introduce(&socket, opening).map_err(|error| Error::NoHost(error.into()))?;
    Ok(socket)
}

/// Sends the opening on a connection that has become writable.
pub(crate) fn introduce(socket: &OwnedFd, opening: &Opening) -> Result<(), Errno> {
    socket_error(socket)??;
    let frame = encode(opening).map_err(|_| Errno::INVAL)?;
    // A new connection takes these few bytes at once or not at all.
    match send(socket, &frame, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)? {
        count if count == frame.len() => Ok(()),
        _ => Err(Errno::PIPE),
    }
}
