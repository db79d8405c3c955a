//! Signals to this process, passed on to a command in the guest.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use monocore_protocol::{ExitStatus, TermSize};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::SessionError;
use super::process::{Process, Waited};
use super::sys::{self, SignalKind};

/// Signals to this process taken as values instead of by their default effect: all but SIGKILL, SIGSTOP, SIGCHLD,
/// SIGURG and SIGPIPE.
///
/// A fault of this process itself still ends it: the kernel does not let a thread block the signal of its own fault.
/// Made before any other thread, else a thread that does not block them gets them. Child processes spawned by
/// `std::process::Command` start with nothing blocked.
#[derive(Debug)]
pub struct Signals(Source);

#[derive(Debug)]
enum Source {
    Taken(sys::SignalFd),
    /// Never readable.
    Never(OwnedFd),
    /// Readable, or hung up, once everything is to end.
    Interrupt(OwnedFd),
}

/// SIGTERM, as which an interrupt counts.
const SIGTERM: u8 = 15;

impl Signals {
    /// Takes the signals from here on, until it is dropped.
    ///
    /// # Errors
    /// No descriptor is to be had.
    pub fn block() -> Result<Self, SessionError> {
        sys::SignalFd::block()
            .map(|fd| Self(Source::Taken(fd)))
            .map_err(|error| SessionError::io("taking over signals", error))
    }

    /// No signals, for a program that deals with its signals itself.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn none() -> Result<Self, SessionError> {
        let never = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let never = never.map_err(|error| SessionError::io("making an event", error))?;
        Ok(Self(Source::Never(never)))
    }

    /// No signals; but once `interrupt` is readable or its other end is closed, whatever waits with
    /// these signals is told to end, and at once to end without delay, as a user who insists does.
    #[must_use]
    pub fn interrupted_by(interrupt: OwnedFd) -> Self {
        Self(Source::Interrupt(interrupt))
    }

    /// The number of a signal that has arrived, if one has.
    pub fn take(&self) -> Option<u8> {
        match &self.0 {
            Source::Taken(fd) => fd.take(),
            Source::Never(_) => None,
            Source::Interrupt(fd) => {
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                let seen = poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&now));
                seen.is_ok_and(|ready| ready > 0).then_some(SIGTERM)
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Source::Taken(fd) => fd.as_fd(),
            Source::Never(fd) | Source::Interrupt(fd) => fd.as_fd(),
        }
    }
}

/// This process's terminal, whose size a command's terminal in the guest follows.
#[derive(Clone, Copy, Debug)]
pub struct Terminal<'a>(BorrowedFd<'a>);

impl<'a> Terminal<'a> {
    /// The terminal `fd` is open on.
    pub fn new(fd: BorrowedFd<'a>) -> Self {
        Self(fd)
    }

    /// Its size now; nothing if it is no terminal.
    pub fn size(self) -> Option<TermSize> {
        let size = rustix::termios::tcgetwinsize(self.0).ok()?;
        Some(TermSize { rows: size.ws_row, columns: size.ws_col })
    }
}

/// How a command that was waited for by [`run_to_end`] came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// By itself.
    Exited(ExitStatus),
    /// The user asked a second time, by this signal; the command may still run.
    Insisted(u8),
    /// The deadline passed; the command may still run.
    TimedOut,
    /// The user left it to itself by the detach keys; it runs on.
    Left,
}

/// Waits for a command's end and meanwhile passes signals on as they are. With a terminal, a change of its size becomes
/// a resize. A second SIGINT or SIGTERM ends the wait: the caller then ends the machine.
///
/// # Errors
/// As [`Process::wait`].
pub fn run_to_end(
    process: &Process,
    signals: &Signals,
    terminal: Option<Terminal<'_>>,
    deadline: Option<Instant>,
) -> Result<Outcome, SessionError> {
    let mut asked = false;
    loop {
        let signal = match process.wait_until(deadline, Some(signals))? {
            Waited::Ended(status) => return Ok(Outcome::Exited(status)),
            Waited::TimedOut => return Ok(Outcome::TimedOut),
            Waited::Signal(signal) => signal,
        };
        match SignalKind::of(signal) {
            SignalKind::WindowChange => match terminal {
                Some(terminal) => terminal.size().map_or(Ok(()), |size| process.resize(size))?,
                None => process.signal(signal)?,
            },
            SignalKind::End if asked => return Ok(Outcome::Insisted(signal)),
            SignalKind::End => {
                asked = true;
                process.signal(signal)?;
            }
            SignalKind::Other => process.signal(signal)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn an_interrupt_asks_again_and_again() {
        let (held, watched) = UnixStream::pair().unwrap();
        let signals = Signals::interrupted_by(watched.into());
        assert_eq!(signals.take(), None);
        drop(held);
        assert_eq!((signals.take(), signals.take()), (Some(SIGTERM), Some(SIGTERM)));
        assert_eq!(Signals::none().unwrap().take(), None);
    }
}
