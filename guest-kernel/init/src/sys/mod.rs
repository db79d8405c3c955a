//! The calls rustix has no safe form of.
#![allow(unsafe_code, reason = "fork, execve, signal dispositions, vsock addresses and a few ioctls")]

mod machine;
#[cfg_attr(target_arch = "x86_64", path = "mark_x86_64.rs")]
#[cfg_attr(not(target_arch = "x86_64"), path = "mark_other.rs")]
mod mark;
mod namespace;
mod process;

pub(crate) use machine::{add_entropy, connect_vsock, raise_loopback};
pub(crate) use mark::mark;
pub(crate) use namespace::{
    CHILD_ENDED, Namespace, block_signals, enter_namespace, fork_into, leave_groups, name_process,
    next_signal, pass_on, reap_children,
};
pub(crate) use process::{
    Forked, child_signals, close_all_but, execute, exit, fork, ignore_broken_pipes, kill_everything,
    restore_signals, set_limit,
};

use rustix::io::Errno;

/// The error of the call that just failed.
fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
