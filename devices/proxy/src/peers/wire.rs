//! What travels on the line and on links.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use monocore_spec::{PEER_MESSAGE_MAX_BYTES, PeerReply, PeerRequest, Protocol};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketType, recvmsg, send, sendmsg, sockopt,
};

/// Nothing here waits.
pub(super) const SENDING: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
const RECEIVING: RecvFlags = RecvFlags::DONTWAIT.union(RecvFlags::CMSG_CLOEXEC);
/// Descriptors of one call.
const CALL_DESCRIPTORS: usize = 2;

/// A member wants a connection, or a flow of datagrams. On the wire: protocol (1 byte: 6 or 17), zero, then the two ports, 16
/// bits each, little-endian. The first descriptor carries the bytes, the second one of a connection is its fate.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) protocol: Protocol,
    pub(super) from_port: u16,
    pub(super) to_port: u16,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// What a look at a socket gave.
#[derive(Debug)]
pub(super) enum Received<T, D> {
    Message(T, D),
    /// What is no message.
    Nonsense,
    Nothing,
    Closed,
}

impl Call {
    const LEN_BYTES: usize = 6;

    pub(super) fn send(&self, link: impl AsFd) -> Result<(), Errno> {
        let fds: Vec<BorrowedFd<'_>> = self.descriptors.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(CALL_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(link, &[IoSlice::new(&self.to_bytes())], &mut control, SENDING).map(drop)
    }

    pub(super) fn receive(link: impl AsFd) -> Received<Self, ()> {
        let mut bytes = [0; Self::LEN_BYTES + 1];
        let (count, descriptors) = match receive(link, &mut bytes) {
            Ok(received) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Received::Nothing,
            Err(_) => return Received::Closed,
        };
        if count == 0 && descriptors.is_empty() {
            return Received::Closed;
        }
        match Self::parse(bytes.get(..count).unwrap_or_default(), descriptors) {
            Some(call) => Received::Message(call, ()),
            None => Received::Nonsense,
        }
    }

    fn to_bytes(&self) -> [u8; Self::LEN_BYTES] {
        let protocol = if self.protocol == Protocol::Tcp { 6 } else { 17 };
        let ([a, b], [c, d]) = (self.from_port.to_le_bytes(), self.to_port.to_le_bytes());
        [protocol, 0, a, b, c, d]
    }

    fn parse(bytes: &[u8], descriptors: Vec<OwnedFd>) -> Option<Self> {
        let &[protocol, 0, a, b, c, d] = bytes else { return None };
        let protocol = match protocol {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            _ => return None,
        };
        let (from_port, to_port) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        (from_port != 0 && to_port != 0).then_some(Self { protocol, from_port, to_port, descriptors })
    }
}

/// Asks the supervisor.
///
/// # Errors
/// The supervisor is gone, or far behind.
pub(super) fn ask(line: impl AsFd, request: &PeerRequest) -> Result<(), Errno> {
    let text = serde_json::to_vec(request).map_err(|_| Errno::INVAL)?;
    send(line, &text, SENDING).map(drop)
}

/// The supervisor's next word.
pub(super) fn hear(line: impl AsFd) -> Received<PeerReply, Option<OwnedFd>> {
    let mut bytes = [0; PEER_MESSAGE_MAX_BYTES];
    let (count, mut descriptors) = match receive(line, &mut bytes) {
        Ok(received) => received,
        Err(Errno::AGAIN | Errno::INTR) => return Received::Nothing,
        Err(_) => return Received::Closed,
    };
    if count == 0 {
        return Received::Closed;
    }
    match serde_json::from_slice(bytes.get(..count).unwrap_or_default()) {
        Ok(reply) => Received::Message(reply, descriptors.pop()),
        Err(error) => {
            tracing::warn!(device = "net", %error, "the supervisor says what makes no sense");
            Received::Nonsense
        }
    }
}

/// Whether `socket` is a Unix socket of this `kind`. Whatever else it is, reading and writing do not wait.
pub(super) fn is_unix(socket: impl AsFd, kind: SocketType) -> bool {
    sockopt::socket_domain(&socket).is_ok_and(|family| family == AddressFamily::UNIX)
        && sockopt::socket_type(&socket).is_ok_and(|found| found == kind)
}

fn receive(socket: impl AsFd, bytes: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(CALL_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, RECEIVING)?;
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors = descriptors.flatten().collect();
    // A message cut short is longer than any message; the parser refuses its length or what it says.
    let count = if received.flags.contains(ReturnFlags::TRUNC) { bytes.len() } else { received.bytes };
    Ok((count, descriptors))
}
