//! Inherited descriptors.
#![allow(unsafe_code, reason = "a descriptor's number in a specification is turned into a descriptor")]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

/// A descriptor of our own of what `number` stands for; the inherited one stays open.
///
/// # Errors
/// The operating system's: the number stands for nothing, or no descriptor is free.
pub(crate) fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the number is not -1, and it is borrowed for one `fcntl`, which says itself whether it is open.
    let inherited = unsafe { BorrowedFd::borrow_raw(number) };
    inherited.try_clone_to_owned()
}
