//! A command in the guest as its caller sees it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use monocore_protocol::{ExecId, ExitStatus, Request, TermSize};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

use super::driver::Command;
use super::streams::Remote;
use super::{Link, SessionError, Signals};

/// A command in the guest. Dropping it does not end the command.
#[derive(Debug)]
pub struct Process {
    id: ExecId,
    progress: Arc<Progress>,
    link: Arc<Link>,
}

/// What a wait ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The command ended and all its output is where it belongs.
    Ended(ExitStatus),
    /// This process got a signal, by its number.
    Signal(u8),
    /// The deadline passed.
    TimedOut,
}

impl Process {
    pub(super) fn new(id: ExecId, progress: Arc<Progress>, link: Arc<Link>) -> Self {
        Self { id, progress, link }
    }

    /// Its name in the session.
    pub(super) fn id(&self) -> ExecId {
        self.id
    }

    /// Its process in the guest's numbering, once it runs.
    pub fn pid(&self) -> Option<u32> {
        self.progress.state().pid
    }

    /// Sends a signal, 1 to 64, to the command's first process; nothing happens when it has ended.
    ///
    /// # Errors
    /// The session has ended.
    pub fn signal(&self, signal: u8) -> Result<(), SessionError> {
        self.request(Request::Signal { exec: self.id, signal })
    }

    /// Gives the command's terminal a new size.
    ///
    /// # Errors
    /// The session has ended.
    pub fn resize(&self, size: TermSize) -> Result<(), SessionError> {
        self.request(Request::Resize { exec: self.id, size })
    }

    /// Ends the command's standard input.
    ///
    /// # Errors
    /// The session has ended.
    pub fn close_stdin(&self) -> Result<(), SessionError> {
        self.request(Request::CloseStdin { exec: self.id })
    }

    /// Readable once the command runs or it is clear that it never will.
    pub fn started_fd(&self) -> BorrowedFd<'_> {
        self.progress.started.as_fd()
    }

    /// How the command ended, once all its output is where it belongs; nothing before that.
    pub fn result(&self) -> Option<Result<ExitStatus, SessionError>> {
        self.progress.result()
    }

    /// Sends SIGKILL to the command's process group; nothing happens when the command has ended.
    ///
    /// # Errors
    /// The session has ended.
    pub fn kill_group(&self) -> Result<(), SessionError> {
        self.request(Request::KillGroup { exec: self.id })
    }

    /// Readable once [`Process::wait`] no longer blocks.
    pub fn ended_fd(&self) -> BorrowedFd<'_> {
        self.progress.ended()
    }

    /// Waits until the command has ended and all its output is where it belongs.
    ///
    /// # Errors
    /// The command could not be started ([`SessionError::Exec`] carries the code to exit with), or the session
    /// failed.
    pub fn wait(&self) -> Result<ExitStatus, SessionError> {
        match self.wait_until(None, None)? {
            Waited::Ended(status) => Ok(status),
            other => Err(SessionError::Answer(format!("{other:?}"))),
        }
    }

    /// Waits for the command's end, for a signal to this process or for the deadline, whichever is first.
    ///
    /// # Errors
    /// As [`Process::wait`].
    pub fn wait_until(
        &self,
        deadline: Option<Instant>,
        signals: Option<&Signals>,
    ) -> Result<Waited, SessionError> {
        loop {
            if let Some(result) = self.progress.result() {
                return result.map(Waited::Ended);
            }
            if let Some(signal) = signals.and_then(Signals::take) {
                return Ok(Waited::Signal(signal));
            }
            let mut fds = vec![PollFd::new(&self.progress.ended, PollFlags::IN)];
            if let Some(signals) = signals {
                fds.push(PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN));
            }
            let left = match deadline.map(|deadline| deadline.checked_duration_since(Instant::now())) {
                Some(None) => return Ok(Waited::TimedOut),
                Some(Some(left)) => rustix::event::Timespec::try_from(left).ok(),
                None => None,
            };
            match poll(&mut fds, left.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(SessionError::io("waiting for the command", error)),
            }
        }
    }

    fn request(&self, request: Request) -> Result<(), SessionError> {
        self.link.send(Command::Tell(Box::new(request)))
    }
}

/// How far a command has come; shared by its caller, the driver and the pumps.
#[derive(Debug)]
pub(crate) struct Progress {
    state: Mutex<State>,
    /// Raised, and never cleared, once the result is there and all output has arrived.
    ended: OwnedFd,
    /// Raised, and never cleared, once the command runs or never will.
    started: OwnedFd,
    /// The process that the command runs for, if it is not this one.
    remote: Option<Arc<dyn Remote>>,
}

#[derive(Debug, Default)]
struct State {
    pid: Option<u32>,
    result: Option<Result<ExitStatus, SessionError>>,
    open_outputs: u32,
}

impl Progress {
    pub(crate) fn new(remote: Option<Arc<dyn Remote>>) -> Result<Self, SessionError> {
        let event = || {
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .map_err(|error| SessionError::io("making an event", error))
        };
        Ok(Self { state: Mutex::default(), ended: event()?, started: event()?, remote })
    }

    /// Readable once the command is over.
    pub(crate) fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    pub(crate) fn started(&self, pid: u32) {
        self.state().pid = Some(pid);
        raise(&self.started);
        if let Some(remote) = &self.remote {
            remote.started(pid);
        }
    }

    /// One more output whose end must be awaited.
    pub(crate) fn output_opens(&self) {
        self.state().open_outputs += 1;
    }

    /// An output has ended, or will never come.
    pub(crate) fn output_ends(&self) {
        let mut state = self.state();
        state.open_outputs = state.open_outputs.saturating_sub(1);
        self.settle(&state);
    }

    /// The first result counts.
    pub(crate) fn ends(&self, result: Result<ExitStatus, SessionError>) {
        let mut state = self.state();
        if state.result.is_some() {
            return;
        }
        if let Some(remote) = &self.remote {
            remote.ended(&result);
        }
        state.result = Some(result);
        raise(&self.started);
        self.settle(&state);
    }

    fn settle(&self, state: &State) {
        if state.result.is_some() && state.open_outputs == 0 {
            raise(&self.ended);
        }
    }

    pub(crate) fn result(&self) -> Option<Result<ExitStatus, SessionError>> {
        let state = self.state();
        state.result.clone().filter(|_| state.open_outputs == 0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds one to an event's count.
pub(super) fn raise(event: &OwnedFd) {
    // The only possible failure is a full counter, which is raised.
    let _ = rustix::io::write(event, &1u64.to_ne_bytes());
}
