//! Processes in namespaces and control groups, and what process 1 of a namespace needs.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};

use super::last_error;
use super::process::Forked;

/// The number of SIGCHLD.
pub(crate) const CHILD_ENDED: i32 = libc::SIGCHLD;

/// A kind of namespace.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Namespace {
    Pids,
    Groups,
}

/// `struct clone_args` of `linux/sched.h`.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const CLONE_NEWPID: u64 = libc::CLONE_NEWPID as u64;
const EXIT_SIGNAL: u64 = libc::SIGCHLD as u64;

/// Makes a copy of this process in a control group, perhaps as process 1 of a new namespace. The child must end by
/// [`super::execute`] or [`super::exit`].
pub(crate) fn fork_into(group: Option<BorrowedFd<'_>>, new_pids: bool) -> Result<Forked, Errno> {
    let mut arguments = CloneArguments { exit_signal: EXIT_SIGNAL, ..CloneArguments::default() };
    if let Some(group) = group {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::try_from(group.as_raw_fd()).map_err(|_| Errno::BADF)?;
    }
    if new_pids {
        arguments.flags |= CLONE_NEWPID;
    }
    let size = size_of::<CloneArguments>();
    // SAFETY: the arguments are valid for their own size. Init has one thread, and the child gets a copy of its memory as
    // by fork(2), so it finds no lock held and may do whatever the parent may.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size) } {
        0 => Ok(Forked::Child),
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).filter(|_| pid > 0);
            pid.map(Forked::Parent).ok_or_else(last_error)
        }
    }
}

/// Enters a namespace: of PIDs for children to come, of control groups for this process.
pub(crate) fn enter_namespace(namespace: &OwnedFd, kind: Namespace) -> Result<(), Errno> {
    let kind = match kind {
        Namespace::Pids => libc::CLONE_NEWPID,
        Namespace::Groups => libc::CLONE_NEWCGROUP,
    };
    // SAFETY: takes numbers only, and changes no memory.
    match unsafe { libc::setns(namespace.as_raw_fd(), kind) } {
        0 => Ok(()),
        _ => Err(last_error()),
    }
}

/// Makes this process's control group the root of what it sees of them.
pub(crate) fn leave_groups() -> Result<(), Errno> {
    // SAFETY: takes a number only, and changes no memory.
    match unsafe { libc::unshare(libc::CLONE_NEWCGROUP) } {
        0 => Ok(()),
        _ => Err(last_error()),
    }
}

/// What listings call this process.
pub(crate) fn name_process(name: &CStr) {
    // SAFETY: the kernel reads at most 16 bytes of the text, up to its NUL.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// From here on every signal waits for [`next_signal`].
pub(crate) fn block_signals() {
    let set = every_signal();
    // SAFETY: the set is initialised; the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), ptr::null_mut()) };
}

/// Sleeps until a signal arrives; its number.
pub(crate) fn next_signal() -> Option<i32> {
    let set = every_signal();
    // SAFETY: the set is initialised; what else is known of the signal is not asked for.
    let signal = unsafe { libc::sigwaitinfo(set.as_ptr(), ptr::null_mut()) };
    (signal > 0).then_some(signal)
}

fn every_signal() -> MaybeUninit<libc::sigset_t> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the call initialises the set that its pointer names.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    set
}

/// Collects the children that have ended.
pub(crate) fn reap_children() {
    while let Ok(Some(_)) | Err(Errno::INTR) = rustix::process::wait(WaitOptions::NOHANG) {}
}

/// Sends a signal, if the process is still there.
pub(crate) fn pass_on(to: Pid, signal: i32) {
    // SAFETY: takes numbers only.
    unsafe { libc::kill(to.as_raw_nonzero().get(), signal) };
}
