//! Signals as a descriptor: `signalfd(2)`, for which rustix has no safe call.
#![allow(unsafe_code, reason = "sigprocmask and signalfd take raw pointers to signal sets")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Signals that stay this process's own, as in Docker's command line: SIGKILL and SIGSTOP cannot be taken, SIGCHLD and
/// SIGPIPE say something about this process, and SIGURG is out-of-band data's.
const LEFT: [i32; 5] = [libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD, libc::SIGURG, libc::SIGPIPE];

/// The signals that are passed on: all the others, real-time ones included. The C library keeps those between SIGSYS
/// and SIGRTMIN for itself.
fn taken() -> impl Iterator<Item = i32> {
    (1..=libc::SIGSYS).filter(|signal| !LEFT.contains(signal)).chain(libc::SIGRTMIN()..=libc::SIGRTMAX())
}

/// What a signal means to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalKind {
    /// The terminal has a new size.
    WindowChange,
    /// The user wants the command to end.
    End,
    /// Something between the user and the command.
    Other,
}

impl SignalKind {
    /// What the signal of this number means.
    pub fn of(signal: u8) -> Self {
        match i32::from(signal) {
            libc::SIGWINCH => Self::WindowChange,
            libc::SIGINT | libc::SIGTERM => Self::End,
            _ => Self::Other,
        }
    }
}

/// Blocks a set of signals for the calling thread (and those it spawns) and reads them from a descriptor.
#[derive(Debug)]
pub(super) struct SignalFd {
    fd: OwnedFd,
    before: libc::sigset_t,
}

impl SignalFd {
    pub(super) fn block() -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: both sets are valid for writes; sigemptyset initialises `set` before anything reads it, the signal
        // numbers are valid, and pthread_sigmask initialises `before` when it returns 0.
        let (fd, before) = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in taken() {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            let failed = libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), before.as_mut_ptr());
            if failed != 0 {
                return Err(io::Error::from_raw_os_error(failed));
            }
            (libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK), before.assume_init())
        };
        if fd < 0 {
            let error = io::Error::last_os_error();
            restore(&before);
            return Err(error);
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) }, before })
    }

    pub(super) fn take(&self) -> Option<u8> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: `info` is valid for writes of its own size.
        let count = unsafe { libc::read(self.fd.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if usize::try_from(count) != Ok(size) {
            return None;
        }
        // SAFETY: the read filled the whole structure, and any bytes are a valid one.
        let info = unsafe { info.assume_init() };
        u8::try_from(info.ssi_signo).ok()
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for SignalFd {
    fn drop(&mut self) {
        restore(&self.before);
    }
}

fn restore(mask: &libc::sigset_t) {
    // SAFETY: `mask` was filled by pthread_sigmask; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, std::ptr::null_mut()) };
}

/// Sends a signal to one thread of this process, as a terminal would to a process of one thread.
#[cfg(test)]
pub(super) fn send(thread: rustix::thread::Pid, signal: u8) {
    let process = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: a system call on numbers; a signal it cannot send changes nothing.
    let sent =
        unsafe { libc::syscall(libc::SYS_tgkill, process, thread.as_raw_nonzero().get(), i32::from(signal)) };
    assert_eq!(sent, 0, "{}", io::Error::last_os_error());
}
