//! Where a guest's connections arrive.

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::net::UnixListener;

use monocore_protocol::AGENT_PORT;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// A source of stream sockets, each a connection the guest dialled to the agent's port.
pub trait Connections: Send {
    /// The next connection, without waiting; it is a blocking stream socket.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is none now; [`io::ErrorKind::UnexpectedEof`] when there will never
    /// be one again; else the operating system's.
    fn accept(&self) -> io::Result<OwnedFd>;

    /// Readable when [`Connections::accept`] has something to say.
    fn as_fd(&self) -> BorrowedFd<'_>;
}

/// The socket over which a machine's vsock device hands connections, one SOCK_SEQPACKET message each: the guest's
/// port and a kind (0: the guest dialled), both 32-bit little-endian, with the stream attached.
#[derive(Debug)]
pub struct Handoff(OwnedFd);

const MESSAGE_BYTES: usize = 8;
const KIND_GUEST_DIALLED: u32 = 0;

impl Handoff {
    /// Takes over the parent's end of the socket pair.
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

impl Connections for Handoff {
    fn accept(&self) -> io::Result<OwnedFd> {
        loop {
            let mut message = [0; MESSAGE_BYTES];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let received = recvmsg(
                &self.0,
                &mut [io::IoSliceMut::new(&mut message)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
            )
            .map_err(|error| if error == Errno::CONNRESET { Errno::PIPE } else { error })?;
            if received.bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let stream = ancillary.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut files) => files.next(),
                _ => None,
            });
            let [p0, p1, p2, p3, k0, k1, k2, k3] = message;
            let port = u32::from_le_bytes([p0, p1, p2, p3]);
            let kind = u32::from_le_bytes([k0, k1, k2, k3]);
            // A connection to any other port is refused by closing it.
            if let Some(stream) = stream
                && received.bytes == MESSAGE_BYTES
                && port == AGENT_PORT
                && kind == KIND_GUEST_DIALLED
            {
                return Ok(stream);
            }
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A listening Unix socket that the agent's connections arrive at: a machine with Firecracker's convention
/// (`<path>_1024`), or an agent that runs as a process of this host.
#[derive(Debug)]
pub struct Listener(UnixListener);

impl Listener {
    /// Takes over a listening socket.
    ///
    /// # Errors
    /// The operating system's.
    pub fn new(listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }
}

impl Connections for Listener {
    fn accept(&self) -> io::Result<OwnedFd> {
        let (stream, _) = self.0.accept()?;
        Ok(stream.into())
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
