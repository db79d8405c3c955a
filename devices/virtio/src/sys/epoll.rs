//! Readiness of descriptors by epoll.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

use crate::poller::{Interest, Ready};

/// How many descriptors one wait reports.
const BATCH: usize = 32;
/// epoll counts milliseconds in 31 bits; whoever wants to wait longer wakes up in between.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Descriptors with what is awaited of each, level-triggered; itself readable when one of them is ready.
#[derive(Debug)]
pub struct ReadySet {
    fd: OwnedFd,
}

impl ReadySet {
    /// An empty set.
    ///
    /// # Errors
    /// The operating system's, most likely that no descriptor is free.
    pub fn new() -> io::Result<Self> {
        Ok(Self { fd: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Adds a descriptor.
    ///
    /// # Errors
    /// The operating system's; `PermissionDenied` for a regular file, which is always ready.
    pub fn add(&self, source: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.fd, source, EventData::new_u64(token), flags(interest))?)
    }

    /// An event counter whose every raise is reported once, so that nobody needs to clear it.
    pub(crate) fn add_counter(&self, source: impl AsFd, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.fd, source, EventData::new_u64(token), EventFlags::IN | EventFlags::ET)?)
    }

    /// Adds a descriptor whose every change, to readable, writable or hung up, is reported once.
    ///
    /// # Errors
    /// The operating system's.
    pub fn add_edge(&self, source: impl AsFd, token: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.fd, source, EventData::new_u64(token), flags)?)
    }

    /// Changes what is awaited of a descriptor.
    ///
    /// # Errors
    /// The operating system's.
    pub fn modify(&self, source: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.fd, source, EventData::new_u64(token), flags(interest))?)
    }

    /// Has the present state of a descriptor of [`add_edge`](Self::add_edge) reported once more.
    ///
    /// # Errors
    /// The operating system's.
    pub fn modify_edge(&self, source: impl AsFd, token: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::modify(&self.fd, source, EventData::new_u64(token), flags)?)
    }

    /// Takes a descriptor out.
    ///
    /// # Errors
    /// The operating system's.
    pub fn remove(&self, source: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.fd, source)?)
    }

    /// Waits until something is ready or `timeout` is over, and puts what is ready into `ready`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn wait(&self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        let mut events = [MaybeUninit::uninit(); BATCH];
        let timeout = timeout.map(|t| t.min(LONGEST_WAIT)).map(|t| Timespec {
            tv_sec: i64::try_from(t.as_secs()).unwrap_or(0),
            tv_nsec: t.subsec_nanos().into(),
        });
        let found = match epoll::wait(&self.fd, &mut events, timeout.as_ref()) {
            Ok((found, _)) => found,
            Err(Errno::INTR) => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        ready.extend(found.iter().map(|event| {
            // Copied out: the kernel's structure is packed.
            let (flags, data) = (event.flags, event.data);
            Ready {
                token: data.u64(),
                readable: flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR),
                writable: flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR),
                hang_up: flags.intersects(EventFlags::HUP | EventFlags::ERR),
                ended: flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR),
            }
        }));
        Ok(())
    }
}

impl AsFd for ReadySet {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn flags(interest: Interest) -> EventFlags {
    match interest {
        Interest::None => EventFlags::empty(),
        Interest::Read => EventFlags::IN,
        Interest::Write => EventFlags::OUT,
        Interest::ReadWrite => EventFlags::IN | EventFlags::OUT,
    }
}
