//! Attaching to the main command of a sandbox in the background: its input over the control socket, its output from the
//! log, so that several clients see the same and a slow one holds up nobody.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::ControlClient;
use super::message::{ControlReply, ControlRequest};
use super::wire::{self, Received};
use crate::Error;
use crate::session::{LeaveEvent, SessionError, SignalKind, Signals, Terminal};

/// An attached client.
#[derive(Debug)]
pub struct Attachment {
    client: ControlClient,
    stdin: Option<OwnedFd>,
}

/// How an attachment came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detached {
    /// The sandbox has ended, with this exit code if its supervisor said one.
    Ended(Option<u8>),
    /// The detach keys were typed.
    Left,
    /// This process was told to end, by this signal.
    Signal(u8),
}

impl ControlClient {
    /// Attaches to the main command.
    ///
    /// # Errors
    /// The connection's; the sandbox runs in the foreground.
    pub fn attach(self) -> Result<Attachment, Error> {
        self.send(&ControlRequest::Attach)?;
        let mut stdin = None;
        loop {
            match self.receive()? {
                Some((ControlReply::Stream(_), descriptor)) => stdin = descriptor,
                Some((ControlReply::Done, _)) => break,
                other => self.unexpected(other.map(|(reply, _)| reply))?,
            }
        }
        self.send(&ControlRequest::Wait)?;
        Ok(Attachment { client: self, stdin })
    }
}

impl Attachment {
    /// What writes to the command's standard input, if that is open; nothing the second time.
    pub fn take_stdin(&mut self) -> Option<OwnedFd> {
        self.stdin.take()
    }

    /// Waits for the sandbox's end or for `leave`. Signals to this process go to the command if `proxy`; else one that asks
    /// for the end ends only the wait.
    ///
    /// # Errors
    /// The system's.
    pub fn run_to_end(
        &self,
        signals: &Signals,
        terminal: Option<Terminal<'_>>,
        proxy: bool,
        leave: Option<&LeaveEvent>,
    ) -> Result<Detached, SessionError> {
        let socket = self.client.socket();
        if let Some(size) = terminal.and_then(Terminal::size) {
            self.tell(&ControlRequest::Resize(size));
        }
        loop {
            while let Some(signal) = signals.take() {
                match (SignalKind::of(signal), terminal) {
                    (SignalKind::WindowChange, Some(terminal)) => {
                        if let Some(size) = terminal.size() {
                            self.tell(&ControlRequest::Resize(size));
                        }
                    }
                    (SignalKind::End, _) if !proxy => return Ok(Detached::Signal(signal)),
                    _ if proxy => self.tell(&ControlRequest::Signal(signal)),
                    _ => {}
                }
            }
            match wire::receive::<ControlReply>(socket, RecvFlags::DONTWAIT) {
                Ok(Received::Message(ControlReply::Ended { code }, _)) => {
                    return Ok(Detached::Ended(Some(code)));
                }
                Ok(Received::Message(..)) => continue,
                Ok(Received::Nothing) => {}
                Ok(Received::Closed) | Err(_) => return Ok(Detached::Ended(None)),
            }
            let mut fds = vec![
                PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
            ];
            fds.extend(leave.map(|leave| PollFd::from_borrowed_fd(leave.as_fd(), PollFlags::IN)));
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(SessionError::io("waiting for the sandbox", error)),
            }
            if fds.get(2).is_some_and(|leave| !leave.revents().is_empty()) {
                return Ok(Detached::Left);
            }
        }
    }

    fn tell(&self, request: &ControlRequest) {
        // When the supervisor is gone, its socket says so at the next look.
        let _ = wire::send(self.client.socket(), request, None, SendFlags::DONTWAIT);
    }
}
