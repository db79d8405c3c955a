//! A frame: a 16-bit little-endian version and a [postcard](https://postcard.jamesmunns.com/wire-format) message, at
//! most [`MAX_FRAME_BYTES`] together, with at most one descriptor attached. One frame is one packet of the socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version of the messages; raised by every change of a type that travels.
pub(crate) const CONTROL_VERSION: u16 = 3;
/// The longest frame, bytes. A socket's send buffer holds one (`net.core.wmem_default` is 212,992).
pub(crate) const MAX_FRAME_BYTES: usize = 192 << 10;

/// What arrived.
#[derive(Debug)]
pub(crate) enum Received<T> {
    /// A message, perhaps with a descriptor.
    Message(T, Option<OwnedFd>),
    /// Nothing yet, on a socket that does not block.
    Nothing,
    /// The other side has closed.
    Closed,
}

/// Encodes a message.
///
/// # Errors
/// It is too long.
pub(crate) fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let frame =
        postcard::to_extend(message, CONTROL_VERSION.to_le_bytes().to_vec()).map_err(io::Error::other)?;
    if frame.len() > MAX_FRAME_BYTES {
        let problem = format!("{} bytes are too many; at most {MAX_FRAME_BYTES} can be sent", frame.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    Ok(frame)
}

/// Decodes a frame.
///
/// # Errors
/// It is of another version, or no message.
pub(crate) fn decode<T: DeserializeOwned>(frame: &[u8]) -> io::Result<T> {
    let invalid = |problem: String| io::Error::new(io::ErrorKind::InvalidData, problem);
    let Some((version, message)) = frame.split_first_chunk() else {
        return Err(invalid("a message without a version".to_owned()));
    };
    let version = u16::from_le_bytes(*version);
    if version != CONTROL_VERSION {
        return Err(invalid(format!(
            "the sandbox was started by a monocore that speaks version {version}, this one speaks version \
             {CONTROL_VERSION}: restart the sandbox"
        )));
    }
    let (message, rest) = postcard::take_from_bytes(message).map_err(|error| invalid(error.to_string()))?;
    if rest.is_empty() { Ok(message) } else { Err(invalid("a message that is too long".to_owned())) }
}

/// Sends a message.
///
/// # Errors
/// It is too long, or the other side is gone; [`io::ErrorKind::WouldBlock`] where `flags` say not to wait.
pub(crate) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    descriptor: Option<BorrowedFd<'_>>,
    flags: SendFlags,
) -> io::Result<()> {
    let frame = encode(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.map(|descriptor| [descriptor]);
    if let Some(descriptors) = &descriptors {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    loop {
        match sendmsg(&socket, &[IoSlice::new(&frame)], &mut ancillary, flags | SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            other => return other.map(drop).map_err(io::Error::from),
        }
    }
}

/// Receives a message; waits for one unless `flags` say not to.
///
/// # Errors
/// What came is no message, or the system's.
pub(crate) fn receive<T: DeserializeOwned>(socket: impl AsFd, flags: RecvFlags) -> io::Result<Received<T>> {
    let mut frame = vec![0; MAX_FRAME_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let received = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(&mut frame)], &mut ancillary, flags) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Received::Nothing),
            Err(Errno::CONNRESET) => return Ok(Received::Closed),
            other => break other?,
        }
    };
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    if received.bytes == 0 {
        return Ok(Received::Closed);
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message that is too long"));
    }
    Ok(Received::Message(decode(&frame[..received.bytes])?, descriptor))
}
