//! Waiting for descriptors: epoll, level-triggered.

use std::time::Instant;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

use crate::error::{Doing, Error};

/// What a descriptor is to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// The control connection.
    Control,
    /// A child has ended.
    Children,
    /// The commands' group has used up memory.
    Memory,
    /// A slot with this index: a dialled connection or a stream.
    Slot(usize),
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Read,
    Write,
    Both,
    /// A file of the kernel's has changed.
    Urgent,
}

/// The set of watched descriptors. Closing a descriptor ends its watch only if nobody holds a copy: who duplicates
/// one must [`Poller::forget`] it first.
#[derive(Debug)]
pub(crate) struct Poller(OwnedFd);

const EVENTS: usize = 32;
const CONTROL: u64 = 0;
const CHILDREN: u64 = 1;
const MEMORY: u64 = 2;
const FIRST_SLOT: u64 = 3;

impl Poller {
    pub(crate) fn new() -> Result<Self, Error> {
        epoll::create(CreateFlags::CLOEXEC).map(Self).doing("make", "an epoll set")
    }

    pub(crate) fn watch(&self, fd: impl AsFd, token: Token, readiness: Readiness) -> Result<(), Error> {
        epoll::add(&self.0, fd, data(token), flags(readiness)).doing("watch", "a descriptor")
    }

    pub(crate) fn change(&self, fd: impl AsFd, token: Token, readiness: Readiness) -> Result<(), Error> {
        epoll::modify(&self.0, fd, data(token), flags(readiness)).doing("watch", "a descriptor")
    }

    pub(crate) fn forget(&self, fd: impl AsFd) {
        // It may not be watched at the moment.
        let _ = epoll::delete(&self.0, fd);
    }

    /// Waits until something is ready or the deadline has come.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Result<Vec<Token>, Error> {
        let left = deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
            .and_then(|left| Timespec::try_from(left).ok());
        let mut events = Vec::with_capacity(EVENTS);
        match epoll::wait(&self.0, rustix::buffer::spare_capacity(&mut events), left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(events.iter().map(|event| token(event.data.u64())).collect()),
            Err(error) => Err(error).doing("wait for", "events"),
        }
    }
}

fn data(token: Token) -> EventData {
    EventData::new_u64(match token {
        Token::Control => CONTROL,
        Token::Children => CHILDREN,
        Token::Memory => MEMORY,
        Token::Slot(index) => FIRST_SLOT + index as u64,
    })
}

fn token(data: u64) -> Token {
    match data {
        CONTROL => Token::Control,
        CHILDREN => Token::Children,
        MEMORY => Token::Memory,
        slot => Token::Slot(usize::try_from(slot - FIRST_SLOT).unwrap_or(usize::MAX)),
    }
}

fn flags(readiness: Readiness) -> EventFlags {
    match readiness {
        Readiness::Read => EventFlags::IN,
        Readiness::Write => EventFlags::OUT,
        Readiness::Both => EventFlags::IN | EventFlags::OUT,
        Readiness::Urgent => EventFlags::PRI,
    }
}
