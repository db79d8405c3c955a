//! The socket calls that rustix has no safe form of.

#![allow(unsafe_code, reason = "ioctls and socket options without a safe form")]

pub(crate) mod pktinfo;

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Bytes written to a socket that its peer has not acknowledged (`SIOCOUTQ`).
pub(crate) fn unacknowledged_bytes(socket: impl AsFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ, which SIOCOUTQ is, writes one int.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(usize::try_from(bytes).unwrap_or(0)) }
}

/// Lets the next look into the socket (`MSG_PEEK`) begin `offset` bytes behind its first unread one, and each go on where the
/// last ended.
///
/// # Errors
/// The operating system's; Linux before 6.9 cannot do this with TCP.
pub(crate) fn set_peek_offset(socket: impl AsFd, offset: i32) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<i32>()).unwrap_or(4);
    // SAFETY: SO_PEEK_OFF reads one int.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEEK_OFF,
            (&raw const offset).cast(),
            length,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Drops the first `bytes` unread bytes of a TCP socket without copying them; says how many there were.
pub(crate) fn discard(socket: impl AsFd, bytes: usize) -> io::Result<usize> {
    let flags = libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    // SAFETY: with MSG_TRUNC a TCP socket writes nothing to the buffer, so it may be null (tcp(7)).
    let count = unsafe { libc::recv(socket.as_fd().as_raw_fd(), std::ptr::null_mut(), bytes, flags) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}
