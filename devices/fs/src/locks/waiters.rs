//! Waiting for locks: one thread for each, their number bounded, since the host has no other way to wait for a lock.
//!
//! A wait is ended from outside in two steps. The descriptor that its thread waits on is replaced by one that has no
//! locks, then the thread gets a signal. A thread that was about to wait finds the replacement (EBADF); one that waits
//! already is interrupted (EINTR). So no signal can come too early.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use monocore_hypervisor::Event;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::sys::{self, Wish};
use crate::procpath::ProcPath;

/// Most waits at once. Each takes a thread here and at most four of a queue's 1024 descriptors, so requests find room.
pub(crate) const MAX_WAITERS: usize = 128;
/// Most interrupts remembered of requests that were not seen yet: more than all queues hold in practice.
const MAX_EARLY: usize = 1024;
/// Stack of a thread that makes one system call.
const STACK_BYTES: usize = 64 * 1024;
/// How long the threads may take to end that were told to; only a file system that cannot be interrupted takes long.
const END: Duration = Duration::from_secs(2);

/// Whom a lock is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// A process of the guest, by the number its kernel gives its locks; and its process number.
    Owner { node: u64, owner: u64, pid: u32 },
    /// An open file of the guest.
    Handle { node: u64, fh: u64 },
}

/// One wait.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// The request's number.
    pub(crate) unique: u64,
    pub(crate) claim: Claim,
    pub(crate) wish: Wish,
    /// When the guest is told that the lock was not to be had, where it cannot interrupt the wait itself.
    until: Option<Instant>,
    timed_out: bool,
    slot: Arc<Slot>,
}

impl Waiter {
    /// The descriptor waited on; it shares the locks of the file it was made from.
    pub(crate) fn file(&self) -> &OwnedFd {
        &self.slot.file
    }
}

/// What a wait's thread and the server share.
#[derive(Debug)]
struct Slot {
    file: OwnedFd,
    /// The thread's number while it may be waiting, else 0.
    thread: AtomicI32,
}

/// Results of waits, from their threads to the server.
#[derive(Debug)]
pub(crate) struct Results {
    list: Mutex<Vec<(u64, Result<(), Errno>)>>,
    added: Condvar,
    /// Raised with every result.
    pub(crate) event: Event,
}

impl Results {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { list: Mutex::default(), added: Condvar::new(), event: Event::new()? }))
    }

    fn add(&self, ticket: u64, result: Result<(), Errno>) {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).push((ticket, result));
        self.added.notify_all();
        if let Err(error) = self.event.raise() {
            tracing::error!(%error, "the end of a wait for a lock cannot be told");
        }
    }

    fn take(&self) -> Vec<(u64, Result<(), Errno>)> {
        std::mem::take(&mut *self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns once there are `count` results, or when the time is over.
    fn wait_for(&self, count: usize, at_most: Duration) {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.added.wait_timeout_while(list, at_most, |list| list.len() < count));
    }
}

/// All waits of a server.
#[derive(Debug)]
pub(crate) struct Waiters {
    by_ticket: HashMap<u64, Waiter>,
    next: u64,
    /// Requests that were interrupted before they were seen: the interrupt travels by a faster queue.
    early: VecDeque<u64>,
    pub(crate) results: Arc<Results>,
}

impl Waiters {
    pub(crate) fn new(results: Arc<Results>) -> Self {
        Self { by_ticket: HashMap::new(), next: 1, early: VecDeque::new(), results }
    }

    /// Starts a wait, which shares the locks of `file`, and returns its ticket.
    ///
    /// # Errors
    /// ENOLCK where there are too many waits, or no thread or descriptor is left; EINTR if the request was interrupted
    /// before it came.
    pub(crate) fn start(
        &mut self,
        unique: u64,
        file: &OwnedFd,
        claim: Claim,
        wish: Wish,
        at_most: Option<Duration>,
    ) -> Result<u64, Errno> {
        if let Some(at) = self.early.iter().position(|early| *early == unique) {
            self.early.remove(at);
            return Err(Errno::INTR);
        }
        if self.by_ticket.len() >= MAX_WAITERS {
            return Err(Errno::NOLCK);
        }
        let file = file.try_clone().map_err(|_| Errno::NOLCK)?;
        let slot = Arc::new(Slot { file, thread: AtomicI32::new(0) });
        let ticket = self.next;
        self.next += 1;
        let (theirs, results) = (Arc::clone(&slot), Arc::clone(&self.results));
        // Without a name: to set one is a system call that this thread needs for nothing else.
        std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || results.add(ticket, theirs.wait(wish)))
            .map_err(|_| Errno::NOLCK)?;
        let until = at_most.map(|time| Instant::now() + time);
        self.by_ticket.insert(ticket, Waiter { unique, claim, wish, until, timed_out: false, slot });
        Ok(ticket)
    }

    /// Ends the wait of a request, or sees to it that it does not begin.
    pub(crate) fn interrupt(&mut self, unique: u64) {
        let mut found = false;
        for waiter in self.by_ticket.values().filter(|waiter| waiter.unique == unique) {
            waiter.slot.interrupt();
            found = true;
        }
        if !found {
            self.early.push_back(unique);
            if self.early.len() > MAX_EARLY {
                self.early.pop_front();
            }
        }
    }

    /// When the first wait ends that has an end.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.by_ticket.values().filter(|waiter| !waiter.timed_out).filter_map(|waiter| waiter.until).min()
    }

    /// Ends the waits whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        for waiter in self.by_ticket.values_mut() {
            if !waiter.timed_out && waiter.until.is_some_and(|until| until <= now) {
                waiter.timed_out = true;
                waiter.slot.interrupt();
            }
        }
    }

    /// The waits that have ended, each with its ticket and how it ended.
    pub(crate) fn ended(&mut self) -> Vec<(u64, Waiter, Result<(), Errno>)> {
        let results = self.results.take();
        let ended = results.into_iter().filter_map(|(ticket, result)| {
            let waiter = self.by_ticket.remove(&ticket)?;
            let result = match result {
                // Its descriptor was replaced, or it had a signal: nobody else does either.
                Err(Errno::BADF | Errno::INTR) if waiter.timed_out => Err(Errno::AGAIN),
                Err(Errno::BADF) => Err(Errno::INTR),
                other => other,
            };
            Some((ticket, waiter, result))
        });
        ended.collect()
    }

    /// Ends all waits, and returns when their threads have ended.
    pub(crate) fn interrupt_all(&mut self) {
        self.by_ticket.values().for_each(|waiter| waiter.slot.interrupt());
        self.results.wait_for(self.by_ticket.len(), END);
    }

    /// Ends all waits, and forgets them.
    pub(crate) fn clear(&mut self) {
        self.interrupt_all();
        self.by_ticket.clear();
        self.early.clear();
        self.results.take();
    }

    /// How many waits there are for an owner's lock.
    pub(crate) fn of_owner(&self, node: u64, owner: u64) -> usize {
        let is_its =
            |claim| matches!(claim, Claim::Owner { node: n, owner: o, .. } if (n, o) == (node, owner));
        self.by_ticket.values().filter(|waiter| is_its(waiter.claim)).count()
    }
}

impl Drop for Waiters {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Slot {
    /// Waits for a lock, on a thread of its own.
    fn wait(&self, wish: Wish) -> Result<(), Errno> {
        sys::accept_interrupts();
        self.thread.store(sys::thread_id(), Ordering::SeqCst);
        let result = wish.take(self.file.as_fd(), true);
        self.thread.store(0, Ordering::SeqCst);
        result
    }

    /// Ends the wait, wherever its thread is.
    fn interrupt(&self) {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let lockless = openat(CWD, ProcPath::of(self.file.as_fd()).as_c_str(), flags, Mode::empty());
        if let Err(error) = lockless.and_then(|lockless| sys::replace(self.file.as_fd(), lockless.as_fd())) {
            // The signal alone does it, but for a thread that is just about to wait.
            tracing::warn!(%error, "ending a wait for a lock");
        }
        match self.thread.load(Ordering::SeqCst) {
            0 => {}
            thread => sys::interrupt(thread),
        }
    }
}
