//! A question on its way to a server of this host's: a datagram from a port of its own, or a connection.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use monocore_virtio::{Interest, Poller};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};

/// The longest message, bytes.
const MAX_BYTES: usize = 65_535;

/// How a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Datagram,
    Stream,
}

/// A question that a server was asked.
#[derive(Debug)]
pub(super) struct Upstream {
    /// The number it goes by there; nobody who does not see it can guess number and port together.
    pub(super) id: u16,
    socket: OwnedFd,
    way: Way,
    unsent: Vec<u8>,
    received: Vec<u8>,
}

impl Upstream {
    /// Asks `server` what `query` says, under a number of its own.
    pub(super) fn new(server: SocketAddr, way: Way, query: &[u8]) -> Option<Self> {
        let mut id = [0; 2];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty()).ok()?;
        let mut question = query.to_vec();
        question.get_mut(..2)?.copy_from_slice(&id);
        let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let kind = if way == Way::Stream { SocketType::STREAM } else { SocketType::DGRAM };
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None).ok()?;
        match connect(&socket, &server) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(_) => return None,
        }
        let mut unsent = Vec::new();
        match way {
            Way::Datagram => drop(send(&socket, &question, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)),
            Way::Stream => {
                unsent.extend(u16::try_from(question.len()).ok()?.to_be_bytes());
                unsent.extend(question);
            }
        }
        Some(Self { id: u16::from_be_bytes(id), socket, way, unsent, received: Vec::new() })
    }

    pub(super) fn way(&self) -> Way {
        self.way
    }

    pub(super) fn begin(&self, poller: &Poller, token: u64) {
        let interest = if self.unsent.is_empty() { Interest::Read } else { Interest::ReadWrite };
        if let Err(error) = poller.add(&self.socket, token, interest) {
            // Its time will be over, and the next server is asked.
            tracing::debug!(device = "net", %error, "a name server's answer is not watched for");
        }
    }

    /// Goes on sending and receiving; gives the answer when all of it is there.
    ///
    /// # Errors
    /// This server does not answer.
    pub(super) fn turn(&mut self, poller: &Poller, token: u64) -> Result<Option<Vec<u8>>, Errno> {
        match self.way {
            Way::Datagram => {
                let mut bytes = vec![0; MAX_BYTES];
                match recv(&self.socket, &mut bytes[..], RecvFlags::DONTWAIT) {
                    Ok((count, _)) => {
                        bytes.truncate(count);
                        Ok(Some(bytes))
                    }
                    Err(Errno::AGAIN | Errno::INTR) => Ok(None),
                    Err(error) => Err(error),
                }
            }
            Way::Stream => self.stream(poller, token),
        }
    }

    fn stream(&mut self, poller: &Poller, token: u64) -> Result<Option<Vec<u8>>, Errno> {
        if !self.unsent.is_empty() {
            match send(&self.socket, &self.unsent, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error),
            }
            if self.unsent.is_empty() {
                poller.modify(&self.socket, token, Interest::Read).map_err(|_| Errno::BADF)?;
            }
        }
        let mut bytes = vec![0; MAX_BYTES];
        match recv(&self.socket, &mut bytes[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(Errno::CONNRESET),
            Ok((count, _)) => self.received.extend(&bytes[..count]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let Some(&[high, low]) = self.received.get(..2) else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        Ok(self.received.get(2..2 + length).map(<[u8]>::to_vec))
    }
}
