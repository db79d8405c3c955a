//! Inherited descriptors.
#![allow(unsafe_code, reason = "a number of the command line becomes a descriptor")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The inherited descriptor of this number.
///
/// # Errors
/// There is none.
pub(super) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with F_DUPFD_CLOEXEC only reads its arguments.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was made just now and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Closes the inherited descriptor of this number, of which a copy was made.
pub(super) fn close(number: RawFd) {
    // SAFETY: nothing of this process owns what it has inherited.
    unsafe { libc::close(number) };
}
