//! Where the guest's input comes from.

use std::io;
use std::os::fd::OwnedFd;

use monocore_virtio::{Buffers, Interest, Poller};
use rustix::event::PollFlags;

use crate::output::is_ready;

/// A descriptor that bytes for the guest are read from, until its end.
pub(crate) struct Input {
    fd: Option<OwnedFd>,
    /// The poller watches for bytes.
    waiting: bool,
}

impl Input {
    pub(crate) fn new(fd: Option<OwnedFd>) -> Self {
        Self { fd, waiting: false }
    }

    /// Forgets a poller that is gone.
    pub(crate) fn leave_poller(&mut self) {
        self.waiting = false;
    }

    /// Reads once into `room`; `None` where there is nothing now, or nothing any more.
    pub(crate) fn read(&mut self, room: &Buffers<'_>) -> Option<usize> {
        let fd = self.fd.as_ref()?;
        if !is_ready(fd, PollFlags::IN) {
            return None;
        }
        match room.read_from(fd) {
            Ok(count) if count > 0 => Some(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            _ => {
                // Its end, or as good as; closing it takes it out of the poller.
                (self.fd, self.waiting) = (None, false);
                None
            }
        }
    }

    /// Waits for bytes, or not: without room for them they would be reported for ever.
    ///
    /// # Errors
    /// The poller's.
    pub(crate) fn wait(&mut self, wait: bool, poller: &Poller, token: u64) -> io::Result<()> {
        let Some(fd) = &self.fd else { return Ok(()) };
        match (std::mem::replace(&mut self.waiting, wait), wait) {
            (false, true) => poller.add(fd, token, Interest::Read),
            (true, false) => poller.remove(fd),
            _ => Ok(()),
        }
    }
}
