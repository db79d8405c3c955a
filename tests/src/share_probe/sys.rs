//! Locks of ranges as POSIX has them, and a signal that only interrupts.
#![allow(unsafe_code, reason = "fcntl's locks of ranges, and a signal's handler")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

extern "C" fn ignore(_signal: libc::c_int) {}

/// Lets SIGUSR1 end a system call and do nothing else.
pub(super) fn interrupt_on_usr1() -> io::Result<()> {
    // SAFETY: all zeroes are a valid action without flags, so without a restart of system calls.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the action is whole, and its handler does nothing.
    match unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn range(kind: &str, start: i64, len: i64) -> libc::flock {
    let kind = match kind {
        "rd" => libc::F_RDLCK,
        "wr" => libc::F_WRLCK,
        _ => libc::F_UNLCK,
    };
    libc::flock {
        l_type: narrow(kind),
        l_whence: narrow(libc::SEEK_SET),
        l_start: start,
        l_len: len,
        l_pid: 0,
    }
}

fn narrow(value: libc::c_int) -> libc::c_short {
    libc::c_short::try_from(value).unwrap_or(libc::c_short::MAX)
}

/// Locks or unlocks a range.
pub(super) fn lock(file: &File, kind: &str, start: i64, len: i64, wait: bool) -> io::Result<()> {
    let range = range(kind, start, len);
    let command = if wait { libc::F_SETLKW } else { libc::F_SETLK };
    // SAFETY: the command reads the structure, which outlives the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, &raw const range) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What is in the way of a lock.
pub(super) fn obstacle(file: &File, kind: &str, start: i64, len: i64) -> io::Result<String> {
    let mut range = range(kind, start, len);
    // SAFETY: the command reads and writes the structure, which outlives the call.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &raw mut range) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(match i32::from(range.l_type) {
        libc::F_UNLCK => "free".into(),
        libc::F_RDLCK => format!("rd {} {}", range.l_start, range.l_len),
        _ => format!("wr {} {}", range.l_start, range.l_len),
    })
}
