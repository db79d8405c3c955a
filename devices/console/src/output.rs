//! Where the guest's text goes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use monocore_virtio::{Buffers, Interest, Poller};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What a pipe that is ready takes without waiting (`PIPE_BUF`).
const STEP_BYTES: usize = 4096;

/// A descriptor that text is written to, while anybody takes it.
pub(crate) struct Output {
    fd: Option<OwnedFd>,
    /// How much of the chain at hand was written.
    pub(crate) done_bytes: usize,
    /// The poller watches for room.
    waiting: bool,
}

/// How far a write came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Everything is written.
    All,
    /// There is no room now; the poller will say when there is.
    Blocked,
    /// Nobody takes the rest, of so many bytes.
    Lost(usize),
}

impl Output {
    pub(crate) fn new(fd: Option<OwnedFd>) -> Self {
        Self { fd, done_bytes: 0, waiting: false }
    }

    /// Forgets a poller that is gone.
    pub(crate) fn leave_poller(&mut self) {
        self.waiting = false;
    }

    /// Writes what is left of `text`, a step at a time and only where that does not wait. `step` is room for
    /// lists of buffers.
    ///
    /// # Errors
    /// The poller's.
    pub(crate) fn write<'m>(
        &mut self,
        text: &Buffers<'m>,
        step: &mut Buffers<'m>,
        poller: &Poller,
        token: u64,
    ) -> io::Result<Written> {
        while self.done_bytes < text.len_bytes() {
            let left = text.len_bytes() - self.done_bytes;
            let Some(fd) = &self.fd else { return Ok(self.end(Written::Lost(left))) };
            if !is_ready(fd, PollFlags::OUT) {
                if !std::mem::replace(&mut self.waiting, true) {
                    poller.add(fd, token, Interest::Write)?;
                }
                return Ok(Written::Blocked);
            }
            step.clear();
            step.append_range(text, self.done_bytes, STEP_BYTES);
            match step.write_to(fd) {
                Ok(count) => self.done_bytes += count,
                // Somebody else took the room.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::warn!(device = "console", %error, "nobody takes the console's text any more");
                    // Closing it takes it out of the poller.
                    (self.fd, self.waiting) = (None, false);
                    return Ok(self.end(Written::Lost(left)));
                }
            }
        }
        if let (true, Some(fd)) = (std::mem::take(&mut self.waiting), &self.fd) {
            poller.remove(fd)?;
        }
        Ok(self.end(Written::All))
    }

    fn end(&mut self, written: Written) -> Written {
        self.done_bytes = 0;
        written
    }
}

/// Whether `fd` can be written or read at once, or has an error that a write or read will tell.
pub(crate) fn is_ready(fd: impl AsFd, what: PollFlags) -> bool {
    let mut fds = [PollFd::new(&fd, what)];
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}
