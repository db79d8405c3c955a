//! Copying between a stream connection and a Unix socket of the host, both ways, one thread a direction.
//!
//! The kernel moves the bytes by a pipe of the direction's own. Descriptors that a program attaches to its bytes are dropped.
//! The end of one direction is passed on and leaves the other open.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{Shutdown, shutdown};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};

use crate::HostSocket;

/// Most connections between sockets of the host and of one guest. The agent keeps to fewer.
const MOST: usize = 256;
const SPLICE_BYTES: usize = 1 << 20;
const STACK_BYTES: usize = 64 << 10;

/// Counts connections and wakes the session's thread when one ends.
#[derive(Clone, Debug)]
pub(super) struct Count {
    open: Arc<AtomicUsize>,
    wake: Arc<OwnedFd>,
}

/// A connection that is counted.
#[derive(Debug)]
pub(super) struct Counted(Count);

impl Count {
    pub(super) fn new(wake: OwnedFd) -> Self {
        Self { open: Arc::default(), wake: Arc::new(wake) }
    }

    pub(super) fn is_full(&self) -> bool {
        self.open.load(Ordering::Relaxed) >= MOST
    }

    pub(super) fn enter(&self) -> Counted {
        self.open.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        // A counter that is full has long woken the thread.
        let _ = rustix::io::write(&*self.0.wake, &1u64.to_ne_bytes());
    }
}

/// Connects `stream` with a socket of the host, on a thread of its own since connecting may wait.
///
/// # Errors
/// No thread is to be had.
pub(super) fn spawn_to_host(stream: OwnedFd, host: Arc<HostSocket>, counted: Counted) -> io::Result<()> {
    thread("socket", move || {
        let connected = host.connect().and_then(|near| spawn(stream, near, counted));
        if let Err(error) = connected {
            tracing::debug!(%error, "a guest's connection to a socket of this host ends");
        }
    })
}

/// Connects the two.
///
/// # Errors
/// No thread or descriptor is to be had.
pub(super) fn spawn(stream: OwnedFd, near: OwnedFd, counted: Counted) -> io::Result<()> {
    ioctl_fionbio(&stream, true)?;
    ioctl_fionbio(&near, true)?;
    let ends = Arc::new((stream, near, counted));
    let other = Arc::clone(&ends);
    thread("socket in", move || relay(&other.0, &other.1))?;
    thread("socket out", move || relay(&ends.1, &ends.0))
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(work).map(drop)
}

/// Copies one direction and passes its end on.
fn relay(from: &OwnedFd, to: &OwnedFd) {
    if let Err(error) = copy(from, to) {
        tracing::debug!(%error, "a socket's direction ends early");
        // Whoever still sends learns that nobody reads.
        let _ = shutdown(from, Shutdown::Read);
    }
    // Fails where the other end has gone, which is as good.
    let _ = shutdown(to, Shutdown::Write);
}

fn copy(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let (out, into) = pipe_with(PipeFlags::CLOEXEC)?;
    loop {
        match splice(from, None, &into, None, SPLICE_BYTES, SpliceFlags::MOVE | SpliceFlags::NONBLOCK) {
            Ok(0) => return Ok(()),
            Ok(count) => drain(&out, to, count)?,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_to_read(from, to)?,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Moves `count` bytes from the pipe into a socket.
fn drain(pipe: &OwnedFd, to: &OwnedFd, mut count: usize) -> io::Result<()> {
    while count > 0 {
        match splice(pipe, None, to, None, count, SpliceFlags::MOVE | SpliceFlags::NONBLOCK) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(moved) => count -= moved,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(&mut [PollFd::new(to, PollFlags::OUT)])?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Waits until there is something to read; an error if whoever would get it has gone.
fn wait_to_read(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let mut fds =
        [PollFd::from_borrowed_fd(from.as_fd(), PollFlags::IN), PollFd::new(to, PollFlags::empty())];
    wait(&mut fds)?;
    if fds[0].revents().is_empty() && !fds[1].revents().is_empty() {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    Ok(())
}

fn wait(fds: &mut [PollFd<'_>]) -> io::Result<()> {
    match poll(fds, None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
