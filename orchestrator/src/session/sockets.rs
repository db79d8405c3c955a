//! The session's Unix sockets: those of the host that the guest may connect to, and those that lead into the guest.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use monocore_protocol::{ConnectionId, EncodeError, Request, SocketId, Stream, encode_into};
use rustix::event::Timespec;
use rustix::io::{Errno, ioctl_fionbio};

use super::SessionError;
use super::complaints::{MESSAGE_BYTES, printable};
use super::relay::{self, Count, Counted};
use super::streams::Remote;
use crate::{HostSocket, PublishedSocket};

/// How long nothing is accepted after this process had no descriptor for it.
const PAUSE: Duration = Duration::from_secs(1);
/// Most callers that wait for connections to ports.
const MAX_CALLERS: usize = 64;

/// The sockets of one session.
#[derive(Debug)]
pub(super) struct Sockets {
    offered: BTreeMap<SocketId, Arc<HostSocket>>,
    published: Vec<Arc<PublishedSocket>>,
    /// Connections that the guest was asked for.
    awaited: BTreeMap<ConnectionId, Awaiting>,
    next: u32,
    count: Count,
    retry: Option<Instant>,
}

/// Who waits for a connection into the guest.
#[derive(Debug)]
enum Awaiting {
    /// A connection that was accepted at a published socket.
    Near(OwnedFd, Counted),
    /// A caller of this process.
    Caller(Arc<dyn Remote>),
}

impl Sockets {
    /// None yet; `wake` wakes the session's thread.
    pub(super) fn new(wake: &OwnedFd) -> Result<Self, SessionError> {
        let wake = wake.try_clone().map_err(|error| SessionError::io("making an event", error))?;
        Ok(Self {
            offered: BTreeMap::new(),
            published: Vec::new(),
            awaited: BTreeMap::new(),
            next: 0,
            count: Count::new(wake),
            retry: None,
        })
    }

    pub(super) fn offer(&mut self, id: SocketId, socket: HostSocket) {
        self.offered.insert(id, Arc::new(socket));
    }

    pub(super) fn publish(&mut self, socket: Arc<PublishedSocket>) {
        self.published.push(socket);
    }

    /// What to wait at for connections; nothing while there are too many.
    pub(super) fn listeners(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let open = !self.count.is_full() && self.retry.is_none();
        self.published.iter().filter(move |_| open).map(|socket| socket.as_fd())
    }

    /// How long to wait at most.
    pub(super) fn retry(&self) -> Option<Timespec> {
        let left = self.retry?.saturating_duration_since(Instant::now());
        Timespec::try_from(left).ok()
    }

    /// Accepts what has arrived and asks the guest for the other ends.
    pub(super) fn accept(&mut self, requests: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.retry.is_some_and(|retry| retry > Instant::now()) {
            return Ok(());
        }
        self.retry = None;
        for socket in &self.published {
            while !self.count.is_full() {
                let near = match socket.accept() {
                    Ok(near) => near,
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR | Errno::CONNABORTED) => continue,
                    Err(error) => {
                        tracing::warn!(%error, "no connection to a published socket is accepted for a second");
                        self.retry = Some(Instant::now() + PAUSE);
                        return Ok(());
                    }
                };
                let connection = next_id(&mut self.next);
                encode_into(&Request::Connect { connection, path: socket.guest.clone() }, requests)?;
                self.awaited.insert(connection, Awaiting::Near(near, self.count.enter()));
            }
        }
        Ok(())
    }

    /// A program of the guest connected to the place of a socket. What was never offered, or is too much, is closed.
    pub(super) fn connect_out(&self, id: SocketId, stream: OwnedFd) {
        if let Some(socket) = self.offered.get(&id).filter(|_| !self.count.is_full()) {
            report(relay::spawn_to_host(stream, Arc::clone(socket), self.count.enter()));
        }
    }

    /// The guest's end of a connection that was asked for.
    pub(super) fn connect_in(&mut self, id: ConnectionId, stream: OwnedFd) {
        match self.awaited.remove(&id) {
            Some(Awaiting::Near(near, counted)) => report(relay::spawn(stream, near, counted)),
            // A stream that would block its reader is as good as none.
            Some(Awaiting::Caller(caller)) if ioctl_fionbio(&stream, true).is_ok() => {
                caller.stream(Stream::Stdout, stream);
            }
            Some(Awaiting::Caller(_)) | None => {}
        }
    }

    /// Nobody listens in the guest: the connection is closed.
    pub(super) fn refused(&mut self, id: ConnectionId, message: &str) {
        let message = printable(message, MESSAGE_BYTES);
        match self.awaited.remove(&id) {
            Some(Awaiting::Near(..)) => {
                tracing::debug!(message, "a connection to a published socket is refused");
            }
            Some(Awaiting::Caller(caller)) => caller.ended(&Err(SessionError::Exec { code: 1, message })),
            None => {}
        }
    }

    /// Asks the guest for a connection to one of its ports, for `caller`.
    pub(super) fn connect_port(
        &mut self,
        port: u16,
        caller: Arc<dyn Remote>,
        requests: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let callers = self.awaited.values().filter(|waiting| matches!(waiting, Awaiting::Caller(_)));
        if callers.count() >= MAX_CALLERS {
            let message = "the guest answers no requests for connections".to_owned();
            caller.ended(&Err(SessionError::Exec { code: 1, message }));
            return Ok(());
        }
        let connection = next_id(&mut self.next);
        encode_into(&Request::ConnectPort { connection, port }, requests)?;
        self.awaited.insert(connection, Awaiting::Caller(caller));
        Ok(())
    }
}

fn next_id(next: &mut u32) -> ConnectionId {
    let connection = ConnectionId(*next);
    *next = next.wrapping_add(1);
    connection
}

fn report(result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!(%error, "a socket's connection is closed");
    }
}
