//! Unix sockets as ports, served by another process: one that is jailed must not be able to connect to a Unix socket at all.
//!
//! Two SOCK_SEQPACKET socket pairs lead to the broker. Over the first the device names a port, 32 bits little-endian, and waits
//! for the answer: an error number of 32 bits, 0 with the connected socket beside it. Over the second come the host's requests
//! ([`HandoffMessage`]). The broker ends when the device does.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, send, sendmsg, socketpair,
};

use super::handoff::{Handoff, HandoffKind, HandoffMessage};
use super::unix::UnixSockets;
use super::{Accepted, Backend, Request};

/// Length of a port and of an error number on the wire.
const WORD_BYTES: usize = 4;

/// The device's side: connections are made and accepted by the broker.
#[derive(Debug)]
pub struct Brokered {
    dials: OwnedFd,
    requests: Handoff,
}

/// The other side, for a process that is not jailed as the device's is.
pub struct Broker {
    sockets: UnixSockets,
    dials: OwnedFd,
    requests: OwnedFd,
}

/// Listens at `path` as [`UnixSockets::bind`] does, for a device in another process than the broker.
///
/// # Errors
/// Those of [`UnixSockets::bind`].
pub fn broker(path: &Path) -> io::Result<(Brokered, Broker)> {
    let (near_dials, dials) = messages()?;
    let (near_requests, requests) = messages()?;
    let sockets = UnixSockets::bind(path)?;
    let near = Brokered { dials: near_dials, requests: Handoff::new(near_requests) };
    Ok((near, Broker { sockets, dials, requests }))
}

fn messages() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

impl Backend for Brokered {
    /// Waits for the broker, which never waits.
    fn dial(&mut self, port: u32) -> io::Result<OwnedFd> {
        send(&self.dials, &port.to_le_bytes(), SendFlags::NOSIGNAL)?;
        receive_answer(&self.dials)
    }

    fn incoming(&self) -> BorrowedFd<'_> {
        self.requests.incoming()
    }

    fn accept(&mut self) -> Accepted {
        match self.requests.accept() {
            Accepted::Request(request) => Accepted::Request(Request { greet: true, ..request }),
            other => other,
        }
    }
}

impl Broker {
    /// The descriptors it needs.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let mut all = vec![self.dials.as_fd(), self.requests.as_fd()];
        all.extend(self.sockets.descriptors());
        all
    }

    /// Leaves the socket's path to the process that runs the broker.
    pub fn leave(self) {
        self.sockets.leave();
    }

    /// Serves the device until it is gone; the socket's path is removed then.
    ///
    /// # Errors
    /// The operating system's: nothing can be waited for.
    pub fn run(mut self) -> io::Result<()> {
        loop {
            let left = self.sockets.deadline().map(|at| at.saturating_duration_since(Instant::now()));
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            let mut fds = [
                PollFd::new(&self.dials, PollFlags::IN),
                PollFd::from_borrowed_fd(self.sockets.incoming(), PollFlags::IN),
            ];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let asked = !fds[0].revents().is_empty();
            if asked && !self.answer()? {
                return Ok(());
            }
            while let Accepted::Request(Request { port, stream, .. }) = self.sockets.accept() {
                // A device that is far behind takes no more: the client sees its connection closed.
                let message = HandoffMessage { port, kind: HandoffKind::ToGuest };
                if let Err(error) = message.send(&self.requests, stream.as_fd()) {
                    tracing::debug!(%error, "a client of the vsock socket is turned away");
                }
            }
        }
    }

    /// Answers what the device asks, and says whether the device is still there.
    fn answer(&mut self) -> io::Result<bool> {
        let mut port = [0; WORD_BYTES + 1];
        let count = match recv(&self.dials, &mut port[..], RecvFlags::DONTWAIT) {
            Ok((_, count)) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(true),
            Err(_) => return Ok(false),
        };
        if count == 0 {
            return Ok(false);
        }
        let dialled = match port[..count].try_into() {
            Ok(port) => self.sockets.dial(u32::from_le_bytes(port)),
            Err(_) => Err(Errno::INVAL.into()),
        };
        Ok(send_answer(&self.dials, dialled).is_ok())
    }
}

fn send_answer(socket: impl AsFd, dialled: io::Result<OwnedFd>) -> Result<(), Errno> {
    let errno = |error: io::Error| error.raw_os_error().unwrap_or(Errno::IO.raw_os_error());
    let (code, stream) = match dialled {
        Ok(stream) => (0, Some(stream)),
        Err(error) => (errno(error), None),
    };
    let fds: Vec<_> = stream.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(socket, &[IoSlice::new(&code.to_le_bytes())], &mut control, flags).map(drop)
}

fn receive_answer(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut code = [0; WORD_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(&mut code)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    let stream = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    match (received.bytes, i32::from_le_bytes(code), stream) {
        (WORD_BYTES, 0, Some(stream)) => Ok(stream),
        (WORD_BYTES, code, _) if code != 0 => Err(io::Error::from_raw_os_error(code)),
        _ => Err(io::ErrorKind::ConnectionRefused.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn the_broker_connects_both_ways_until_the_device_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vsock");
        let (mut device, broker) = broker(&path).unwrap();
        let running = std::thread::spawn(move || broker.run());

        let listener = UnixListener::bind(dir.path().join("vsock_52")).unwrap();
        let mut near = UnixStream::from(device.dial(52).unwrap());
        near.write_all(b"hello").unwrap();
        let mut seen = [0; 5];
        listener.accept().unwrap().0.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"hello");
        assert_eq!(device.dial(53).unwrap_err().kind(), io::ErrorKind::NotFound);

        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"CONNECT 80\nafter").unwrap();
        rustix::event::poll(&mut [PollFd::from_borrowed_fd(device.incoming(), PollFlags::IN)], None).unwrap();
        let Accepted::Request(request) = device.accept() else { panic!("a client waits") };
        assert_eq!((request.port, request.greet), (80, true));
        UnixStream::from(request.stream).read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"after");

        drop(device);
        running.join().unwrap().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_broker_that_is_gone_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let (mut device, broker) = broker(&dir.path().join("vsock")).unwrap();
        drop(broker);
        assert!(device.dial(1).is_err());
        assert!(matches!(device.accept(), Accepted::Closed));
    }
}
