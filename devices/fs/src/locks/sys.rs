//! The system calls of locks: open file description locks (fcntl(2), `F_OFD_SETLK`), flock(2), and the signal that ends
//! a thread's wait for one.
#![allow(unsafe_code, reason = "safe wrappers offer neither these locks nor signals to threads")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use rustix::io::Errno;

use super::ranges::LockKind;

/// A lock to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Of a range of bytes, the last one included.
    Range { kind: LockKind, start: u64, end: u64 },
    /// Of the open file as a whole.
    Flock(LockKind),
}

/// A lock that stands in the way: its first and last byte, and its kind.
type Obstacle = (u64, u64, LockKind);

fn check(result: libc::c_int) -> Result<(), Errno> {
    if result >= 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}

/// A range for fcntl; its end is the file's where it is the largest offset.
fn range(kind: libc::c_int, start: u64, end: u64) -> Result<libc::flock, Errno> {
    let start = i64::try_from(start).map_err(|_| Errno::INVAL)?;
    let end = i64::try_from(end).map_err(|_| Errno::INVAL)?;
    let len = if end == i64::MAX { 0 } else { end.checked_sub(start).ok_or(Errno::INVAL)? + 1 };
    Ok(libc::flock {
        l_type: libc::c_short::try_from(kind).map_err(|_| Errno::INVAL)?,
        l_whence: 0,
        l_start: start,
        l_len: len,
        l_pid: 0,
    })
}

fn raw_kind(kind: LockKind) -> libc::c_int {
    match kind {
        LockKind::Read => libc::F_RDLCK,
        LockKind::Write => libc::F_WRLCK,
    }
}

impl Wish {
    /// Takes the lock; `wait` blocks until others give it up, or a signal arrives.
    ///
    /// # Errors
    /// EAGAIN or EACCES where others hold it, EINTR, or others of the operating system's.
    pub(crate) fn take(self, file: BorrowedFd<'_>, wait: bool) -> Result<(), Errno> {
        match self {
            Self::Range { kind, start, end } => {
                let lock = range(raw_kind(kind), start, end)?;
                let command = if wait { libc::F_OFD_SETLKW } else { libc::F_OFD_SETLK };
                // SAFETY: the kernel only reads the structure, which outlives the call.
                check(unsafe { libc::fcntl(file.as_raw_fd(), command, ptr::from_ref(&lock)) })
            }
            Self::Flock(kind) => {
                let operation = if kind == LockKind::Read { libc::LOCK_SH } else { libc::LOCK_EX };
                let operation = if wait { operation } else { operation | libc::LOCK_NB };
                // SAFETY: the call takes no memory.
                check(unsafe { libc::flock(file.as_raw_fd(), operation) })
            }
        }
    }
}

/// Gives up a range of the open file's locks.
///
/// # Errors
/// The operating system's.
pub(crate) fn unlock_range(file: BorrowedFd<'_>, start: u64, end: u64) -> Result<(), Errno> {
    let lock = range(libc::F_UNLCK, start, end)?;
    // SAFETY: the kernel only reads the structure, which outlives the call.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, ptr::from_ref(&lock)) })
}

/// Gives up the lock of the open file as a whole.
///
/// # Errors
/// The operating system's.
pub(crate) fn unlock_flock(file: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: the call takes no memory.
    check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) })
}

/// The first lock of others that stands in the way of one of `kind`.
///
/// # Errors
/// The operating system's.
pub(crate) fn obstacle(
    file: BorrowedFd<'_>,
    kind: LockKind,
    start: u64,
    end: u64,
) -> Result<Option<Obstacle>, Errno> {
    let mut lock = range(raw_kind(kind), start, end)?;
    // SAFETY: the kernel reads and writes the structure, which outlives the call.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, ptr::from_mut(&mut lock)) })?;
    let kind = match libc::c_int::from(lock.l_type) {
        libc::F_RDLCK => LockKind::Read,
        libc::F_WRLCK => LockKind::Write,
        _ => return Ok(None),
    };
    let start = u64::try_from(lock.l_start).unwrap_or(0);
    let len = u64::try_from(lock.l_len).unwrap_or(0);
    let end = if len == 0 { i64::MAX.unsigned_abs() } else { start.saturating_add(len - 1) };
    Ok(Some((start, end, kind)))
}

/// The number of the signal that ends a thread's wait for a lock. The first real-time signal makes a vCPU leave the guest.
pub fn end_of_wait_signal() -> u32 {
    interrupt_signal().unsigned_abs()
}

fn interrupt_signal() -> libc::c_int {
    libc::SIGRTMIN() + 1
}

extern "C" fn on_interrupt(_: libc::c_int) {}

/// Makes the signal interrupt system calls of this process and do nothing else. Called before the process is confined.
///
/// # Errors
/// The operating system's.
pub(crate) fn handle_interrupts() -> io::Result<()> {
    let handler: extern "C" fn(libc::c_int) = on_interrupt;
    // SAFETY: all zeroes are a valid `sigaction`: no flags, so calls are not restarted, and no signal is masked.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // SAFETY: the structure is whole, and the handler does nothing at all.
    match unsafe { libc::sigaction(interrupt_signal(), &raw const action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets the signal reach the calling thread, whose creator may have blocked it.
pub(crate) fn accept_interrupts() {
    // SAFETY: all zeroes are a valid `sigset_t`, which the next call empties anyway.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is a local variable, and null means that the old mask is not wanted.
    unsafe {
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, interrupt_signal());
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut());
    }
}

/// The calling thread's number.
pub(crate) fn thread_id() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// Interrupts the system call of a thread of this process. A thread that has ended is no error.
pub(crate) fn interrupt(thread: i32) {
    let process = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: the call takes no memory, and the signal's handler does nothing.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, interrupt_signal()) };
}

/// Makes the descriptor `number`, which stays its owner's, one for what `with` holds.
///
/// # Errors
/// The operating system's.
pub(crate) fn replace(number: BorrowedFd<'_>, with: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: both are open; the old description is let go of, and the number's owner still closes it.
    check(unsafe { libc::dup3(with.as_raw_fd(), number.as_raw_fd(), libc::O_CLOEXEC) })
}
