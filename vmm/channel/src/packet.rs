//! A packet: a 16-bit version and a 32-bit number, both little-endian, then a
//! [postcard](https://postcard.jamesmunns.com/wire-format) message, with a few descriptors attached.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, send, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version of the messages; raised by every change of a type that travels.
pub const CHANNEL_VERSION: u16 = 1;
/// The longest packet, bytes.
pub const MAX_PACKET_BYTES: usize = 64 << 10;
/// Most descriptors attached to a packet.
pub const MAX_DESCRIPTORS: usize = 4;

const HEADER_BYTES: usize = 6;

/// Why a packet is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

/// The two ends of a channel.
///
/// # Errors
/// The system's: no descriptor is free.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// The packet that carries `message` under `number`.
///
/// # Errors
/// The message is too long.
pub fn encode<T: Serialize>(number: u32, message: &T) -> io::Result<Vec<u8>> {
    let mut header = CHANNEL_VERSION.to_le_bytes().to_vec();
    header.extend(number.to_le_bytes());
    let packet = postcard::to_extend(message, header).map_err(io::Error::other)?;
    if packet.len() > MAX_PACKET_BYTES {
        let problem = format!("a message of {} bytes; at most {MAX_PACKET_BYTES} can be sent", packet.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    Ok(packet)
}

/// The number of a packet, which is 0 where it has none, and its message.
pub fn decode<T: DeserializeOwned>(packet: &[u8]) -> (u32, Result<T, Malformed>) {
    let Some(([v0, v1, n0, n1, n2, n3], message)) = packet.split_first_chunk::<HEADER_BYTES>() else {
        return (0, Err(Malformed("a packet without a header".to_owned())));
    };
    let number = u32::from_le_bytes([*n0, *n1, *n2, *n3]);
    let version = u16::from_le_bytes([*v0, *v1]);
    if version != CHANNEL_VERSION {
        let problem = format!("a message of version {version}, not {CHANNEL_VERSION}");
        return (number, Err(Malformed(problem)));
    }
    let message = match postcard::take_from_bytes(message) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(Malformed("a message with bytes behind its end".to_owned())),
        Err(error) => Err(Malformed(format!("not a message: {error}"))),
    };
    (number, message)
}

/// What arrived.
#[derive(Debug)]
pub(crate) enum Received<T> {
    /// A packet.
    Packet { number: u32, message: Result<T, Malformed>, descriptors: Vec<OwnedFd> },
    /// Nothing yet.
    Nothing,
    /// The other end is closed, or the socket cannot be used any more.
    Closed,
}

/// Sends a packet without waiting.
///
/// # Errors
/// The message is too long; [`io::ErrorKind::WouldBlock`] where the other end is far behind; else the system's.
pub(crate) fn send_packet<T: Serialize>(
    socket: BorrowedFd<'_>,
    number: u32,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let packet = encode(number, message)?;
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    if descriptors.is_empty() {
        // A machine's main thread may make this call, and not `sendmsg`.
        send(socket, &packet, flags)?;
        return Ok(());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if descriptors.len() > MAX_DESCRIPTORS || !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one packet"));
    }
    sendmsg(socket, &[IoSlice::new(&packet)], &mut ancillary, flags)?;
    Ok(())
}

/// Receives a packet without waiting.
pub(crate) fn receive_packet<T: DeserializeOwned>(socket: impl AsFd) -> Received<T> {
    let mut packet = vec![0; MAX_PACKET_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(&mut packet)], &mut ancillary, flags) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Received::Nothing,
            Err(_) => return Received::Closed,
            Ok(received) => break received,
        }
    };
    let descriptors: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files),
            _ => None,
        })
        .flatten()
        .collect();
    if received.bytes == 0 && descriptors.is_empty() {
        // A packet without a byte looks the same. Nobody sends one.
        return Received::Closed;
    }
    let (number, mut message) = decode(&packet[..received.bytes]);
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        message = Err(Malformed("a packet that is too long, or has too many descriptors".to_owned()));
    }
    Received::Packet { number, message, descriptors }
}
