//! Connections handed to another process over a SOCK_SEQPACKET socket, each as a descriptor with a message.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::{Accepted, Backend, Request};

/// Who asks for the connection a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum HandoffKind {
    /// The guest connects to a port of the host.
    FromGuest = 0,
    /// The host asks for a connection to a port of the guest; closing the stream refuses it.
    ToGuest = 1,
}

/// What travels beside each descriptor: port, then kind, each 32 bits, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandoffMessage {
    /// The port asked for.
    pub port: u32,
    /// Who asks.
    pub kind: HandoffKind,
}

impl HandoffMessage {
    /// Length on the wire, in bytes.
    pub const LEN_BYTES: usize = 8;

    /// The message as it travels.
    pub fn to_bytes(self) -> [u8; Self::LEN_BYTES] {
        (u64::from(self.kind as u32) << 32 | u64::from(self.port)).to_le_bytes()
    }

    /// Reads a message; `None` for a kind that is none.
    pub fn parse(bytes: [u8; Self::LEN_BYTES]) -> Option<Self> {
        let [a, b, c, d, kind @ ..] = bytes;
        let kind = match u32::from_le_bytes(kind) {
            0 => HandoffKind::FromGuest,
            1 => HandoffKind::ToGuest,
            _ => return None,
        };
        Some(Self { port: u32::from_le_bytes([a, b, c, d]), kind })
    }

    /// Sends the message with `stream` over `socket`.
    ///
    /// # Errors
    /// The operating system's; `WouldBlock` where the receiver is far behind.
    pub fn send(self, socket: impl AsFd, stream: BorrowedFd<'_>) -> io::Result<()> {
        let fds = [stream];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(socket, &[IoSlice::new(&self.to_bytes())], &mut control, flags)?;
        Ok(())
    }

    /// Receives the next message and its stream from `socket` without waiting; `Ok(None)` when the other end
    /// is gone. What is no message with one descriptor is `InvalidData`.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is there; the operating system's.
    pub fn receive(socket: impl AsFd) -> io::Result<Option<(Self, OwnedFd)>> {
        let mut bytes = [0; Self::LEN_BYTES + 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
        let mut fds: Vec<OwnedFd> = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        if received.bytes == 0 && fds.is_empty() {
            return Ok(None);
        }
        let message = bytes[..received.bytes].try_into().ok().and_then(Self::parse);
        match (message, fds.pop()) {
            (Some(message), Some(stream)) if fds.is_empty() => Ok(Some((message, stream))),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Connections handed to and asked for by the process at the other end of a socket.
#[derive(Debug)]
pub struct Handoff {
    socket: OwnedFd,
}

impl Handoff {
    /// A backend over `socket`, one end of a pair of SOCK_SEQPACKET sockets.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket }
    }
}

impl Backend for Handoff {
    fn dial(&mut self, port: u32) -> io::Result<OwnedFd> {
        let (near, far) = stream_pair()?;
        HandoffMessage { port, kind: HandoffKind::FromGuest }.send(&self.socket, far.as_fd())?;
        Ok(near)
    }

    fn incoming(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn accept(&mut self) -> Accepted {
        loop {
            match HandoffMessage::receive(&self.socket) {
                Ok(Some((HandoffMessage { port, kind: HandoffKind::ToGuest }, stream))) => {
                    return Accepted::Request(Request { port, stream, greet: false });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Accepted::Nothing,
                // Neither of these is a request; the next message may be one.
                Ok(Some(_)) => tracing::warn!("a handoff of the wrong kind"),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::warn!("a handoff message that is none");
                }
                Ok(None) => return Accepted::Closed,
                Err(error) => {
                    tracing::warn!(%error, "the handoff socket is broken");
                    return Accepted::Closed;
                }
            }
        }
    }
}

/// Two ends of a connection.
pub(crate) fn stream_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Handoff, OwnedFd) {
        let (near, far) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        (Handoff::new(near), far)
    }

    #[test]
    fn a_dialled_stream_arrives_with_its_port() {
        let (mut backend, parent) = pair();
        let near = backend.dial(1024).unwrap();
        let (message, far) = HandoffMessage::receive(&parent).unwrap().unwrap();
        assert_eq!(message, HandoffMessage { port: 1024, kind: HandoffKind::FromGuest });
        assert_eq!(message.to_bytes(), [0, 4, 0, 0, 0, 0, 0, 0]);
        rustix::io::write(&near, b"x").unwrap();
        assert_eq!(rustix::io::read(&far, &mut [0; 2]).unwrap(), 1);
    }

    #[test]
    fn the_parent_asks_for_ports_and_nonsense_is_passed_over() {
        let (mut backend, parent) = pair();
        assert!(matches!(backend.accept(), Accepted::Nothing));
        let (_near, far) = stream_pair().unwrap();
        rustix::io::write(&parent, b"short").unwrap();
        HandoffMessage { port: 1, kind: HandoffKind::FromGuest }.send(&parent, far.as_fd()).unwrap();
        HandoffMessage { port: 80, kind: HandoffKind::ToGuest }.send(&parent, far.as_fd()).unwrap();
        assert!(matches!(backend.accept(), Accepted::Request(Request { port: 80, .. })));
        assert!(matches!(backend.accept(), Accepted::Nothing));
        drop(parent);
        assert!(matches!(backend.accept(), Accepted::Closed));
        assert!(backend.dial(1).is_err());
    }
}
