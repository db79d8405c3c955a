//! What a worker waits for: kicks, its stop request, and the device's own descriptors.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use monocore_hypervisor::{Doorbell, Event};

use crate::Interrupt;
use crate::sys::epoll::ReadySet;

/// The stop request's token; devices count theirs from 0.
const STOP: u64 = u64::MAX;
/// First and longest pause between two announcements of a configuration change nobody acknowledged.
const REANNOUNCE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));

/// What to wait for on a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Only that its other end is gone.
    None,
    /// Bytes to read.
    Read,
    /// Room to write.
    Write,
    /// Either.
    ReadWrite,
}

/// A descriptor that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Which, as it was added.
    pub token: u64,
    /// A read would not wait (there may be nothing but the end).
    pub readable: bool,
    /// A write would not wait.
    pub writable: bool,
    /// Its other end is gone, or it is in error.
    pub hang_up: bool,
    /// Its other end sends no more; reported only to who asked for changes ([`Poller::add_edge`]).
    pub ended: bool,
}

/// What a worker watches, level-triggered.
///
/// A clone is the same poller, for a thread that adds and removes descriptors while the worker waits.
#[derive(Clone, Debug)]
pub struct Poller {
    epoll: Arc<ReadySet>,
}

impl Poller {
    /// A poller whose worker also wakes up for `stop`.
    ///
    /// # Errors
    /// The operating system's, most likely that no descriptor is free.
    pub fn new(stop: &Event) -> io::Result<Self> {
        let epoll = ReadySet::new()?;
        epoll.add(stop, STOP, Interest::Read)?;
        Ok(Self { epoll: Arc::new(epoll) })
    }

    /// Adds a queue's doorbell. Every kick is reported once; nobody needs to clear it.
    ///
    /// # Errors
    /// The operating system's.
    pub fn add_kick(&self, kick: &Doorbell, token: u64) -> io::Result<()> {
        self.epoll.add_counter(kick, token)
    }

    /// Adds a descriptor.
    ///
    /// # Errors
    /// The operating system's; `PermissionDenied` for a regular file, which is always ready.
    pub fn add(&self, source: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        self.epoll.add(source, token, interest)
    }

    /// Adds a descriptor whose changes are reported once each, whatever is done about them: for whoever leaves bytes in a
    /// socket on purpose.
    ///
    /// # Errors
    /// The operating system's.
    pub fn add_edge(&self, source: impl AsFd, token: u64) -> io::Result<()> {
        self.epoll.add_edge(source, token)
    }

    /// Has the present state of a descriptor of [`add_edge`](Self::add_edge) reported once more.
    ///
    /// # Errors
    /// The operating system's.
    pub fn modify_edge(&self, source: impl AsFd, token: u64) -> io::Result<()> {
        self.epoll.modify_edge(source, token)
    }

    /// Changes what is waited for.
    ///
    /// # Errors
    /// The operating system's.
    pub fn modify(&self, source: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        self.epoll.modify(source, token, interest)
    }

    /// Takes a descriptor out; closing its last copy does the same.
    ///
    /// # Errors
    /// The operating system's.
    pub fn remove(&self, source: impl AsFd) -> io::Result<()> {
        self.epoll.remove(source)
    }
}

/// The worker's end of a [`Poller`].
pub(crate) struct Waiter<'p> {
    poller: &'p Poller,
    ready: Vec<Ready>,
    pause: Duration,
}

impl<'p> Waiter<'p> {
    pub(crate) fn new(poller: &'p Poller) -> Self {
        Self { poller, ready: Vec::new(), pause: REANNOUNCE.0 }
    }

    /// Waits until something is ready or `timeout` is over; `None` means that the worker shall stop.
    ///
    /// A configuration change that the driver has not acknowledged is announced again from here: a driver
    /// that serves rings first can miss an interrupt that meant both.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn wait(
        &mut self,
        interrupt: &dyn Interrupt,
        timeout: Option<Duration>,
    ) -> io::Result<Option<&[Ready]>> {
        let announcing = interrupt.config_pending();
        let timeout = if announcing { Some(timeout.unwrap_or(self.pause).min(self.pause)) } else { timeout };
        self.poller.epoll.wait(timeout, &mut self.ready)?;
        if !announcing {
            self.pause = REANNOUNCE.0;
        } else if self.ready.is_empty() && interrupt.config_pending() {
            interrupt.announce_config();
            self.pause = (self.pause * 2).min(REANNOUNCE.1);
        }
        let stop = self.ready.iter().any(|ready| ready.token == STOP);
        Ok((!stop).then_some(&self.ready))
    }
}
