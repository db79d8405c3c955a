//! The one option of a socket that is set without a safe wrapper.

#![allow(unsafe_code, reason = "the option has no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Has `socket`, which is for IPv4 or IPv6, say with each datagram where it was sent to (ip(7) IP_PKTINFO, RFC 3542 §6).
///
/// # Errors
/// The operating system's.
pub(super) fn tell_targets(socket: impl AsFd, is_v4: bool) -> io::Result<()> {
    let (level, option) = if is_v4 {
        (libc::IPPROTO_IP, libc::IP_PKTINFO)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    };
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).map_err(io::Error::other)?;
    // SAFETY: both options read one int, which `on` is.
    let result = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, option, (&raw const on).cast(), length)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
