//! The one system call without a safe wrapper: sockets handed over by systemd.

#![allow(unsafe_code, reason = "an inherited descriptor is only known by its number")]

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::{FdFlags, fcntl_setfd};

/// The first descriptor handed over (sd_listen_fds(3)).
const FIRST: i32 = 3;
/// More are not taken.
const MOST: i32 = 16;

/// The sockets that systemd handed to this process. Call it once, before anything else opens
/// descriptors.
pub(crate) fn inherited_sockets() -> Vec<OwnedFd> {
    let number = |name| std::env::var(name).ok()?.parse::<i32>().ok();
    let own = i32::try_from(std::process::id()).ok();
    if number("LISTEN_PID") != own || own.is_none() {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").unwrap_or(0).clamp(0, MOST);
    let mut sockets = Vec::new();
    for fd in FIRST..FIRST + count {
        // SAFETY: fcntl looks at the number only.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
            continue;
        }
        // SAFETY: the descriptor is open, and LISTEN_PID says that it was handed to this process to
        // own.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // A socket that stays open in a supervisor would keep the port.
        let _ = fcntl_setfd(&socket, FdFlags::CLOEXEC);
        sockets.push(socket);
    }
    sockets
}
