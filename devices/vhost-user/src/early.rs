//! Queues that are enabled earlier than `vhost` lets them be.
//!
//! QEMU enables the queues of a network card as soon as the card is made; by then it has agreed to protocol features, but has
//! not said so in SET_FEATURES, which it sends when the driver is there. The crate sends such a front end away, so until then this
//! module looks at each message first and takes in those that enable or disable a queue.
//!
//! Source: vhost-user protocol, "Header" and VHOST_USER_SET_VRING_ENABLE.

use std::io;
use std::os::unix::net::UnixStream;

use rustix::net::{RecvFlags, SendFlags, recv, send};
use vhost::vhost_user::VhostUserBackendReqHandlerMut;

use crate::backend::DeviceBackend;

const SET_VRING_ENABLE: u32 = 18;
/// Version 1, an answer.
const REPLY: u32 = 1 | 1 << 2;
const NEEDS_REPLY: u32 = 1 << 3;
/// Request, flags and length of what follows, 32 bits each; then a queue's index and whether it is enabled.
const HEADER_BYTES: usize = 12;
const MESSAGE_BYTES: usize = HEADER_BYTES + 8;

/// Waits for the next message; takes it in and says so if it is one of those.
///
/// # Errors
/// The operating system's; `InvalidData` where the message names no queue.
pub(crate) fn take(socket: &UnixStream, backend: &mut DeviceBackend) -> io::Result<bool> {
    let mut message = [0; MESSAGE_BYTES];
    let header = &mut message[..HEADER_BYTES];
    let (count, _) = recv(socket, header, RecvFlags::PEEK | RecvFlags::WAITALL)?;
    if count < HEADER_BYTES || word(&message, 0) != SET_VRING_ENABLE {
        return Ok(false);
    }
    let (count, _) = recv(socket, &mut message[..], RecvFlags::WAITALL)?;
    if count < MESSAGE_BYTES || word(&message, 8) as usize != MESSAGE_BYTES - HEADER_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let done = backend.set_vring_enable(word(&message, 12), word(&message, 16) != 0);
    if backend.replies() && word(&message, 4) & NEEDS_REPLY != 0 {
        let words = [SET_VRING_ENABLE, REPLY, 8, u32::from(done.is_err()), 0];
        let reply: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        send(socket, &reply, SendFlags::NOSIGNAL)?;
    }
    done.map(|()| true).map_err(io::Error::other)
}

/// The word at byte `at`, in the machine's own order.
fn word(message: &[u8; MESSAGE_BYTES], at: usize) -> u32 {
    let bytes = message.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    u32::from_ne_bytes(bytes.unwrap_or_default())
}
