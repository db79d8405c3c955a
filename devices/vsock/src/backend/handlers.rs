//! Connections that end in this program: a function for each port of the host, and a dialer for the guest's.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};

use monocore_hypervisor::Event;

use super::handoff::stream_pair;
use super::{Accepted, Backend, Request};

/// What is called with each connection to a port, on the device's worker thread: hand it to a thread of your
/// own and return.
type Handler = Box<dyn FnMut(UnixStream) + Send>;

/// Ports of the host served by functions of this program.
pub struct Handlers {
    ports: HashMap<u32, Handler>,
    requests: Receiver<(u32, OwnedFd)>,
    wake: Event,
}

/// Connects to ports of the guest.
#[derive(Debug)]
pub struct Dialer {
    requests: Sender<(u32, OwnedFd)>,
    wake: Event,
}

impl Handlers {
    /// No ports yet, and the dialer for the guest's.
    ///
    /// # Errors
    /// The operating system's, most likely that no descriptor is free.
    pub fn new() -> io::Result<(Self, Dialer)> {
        let (sender, requests) = mpsc::channel();
        let wake = Event::new()?;
        let dialer = Dialer { requests: sender, wake: wake.try_clone()? };
        Ok((Self { ports: HashMap::new(), requests, wake }, dialer))
    }

    /// Calls `handler` with every connection of the guest to `port`, in place of any handler before.
    #[must_use]
    pub fn listen(mut self, port: u32, handler: impl FnMut(UnixStream) + Send + 'static) -> Self {
        self.ports.insert(port, Box::new(handler));
        self
    }
}

impl Dialer {
    /// A connection to `port` of the guest. It is there at once; if the guest refuses, or does not answer in
    /// time, it ends.
    ///
    /// # Errors
    /// The operating system's; `NotConnected` when the device is gone.
    pub fn connect(&self, port: u32) -> io::Result<UnixStream> {
        let (near, far) = stream_pair()?;
        self.requests.send((port, near)).map_err(|_| io::ErrorKind::NotConnected)?;
        self.wake.raise()?;
        Ok(far.into())
    }
}

impl Backend for Handlers {
    fn dial(&mut self, port: u32) -> io::Result<OwnedFd> {
        let handler = self.ports.get_mut(&port).ok_or(io::ErrorKind::ConnectionRefused)?;
        let (near, far) = stream_pair()?;
        handler(far.into());
        Ok(near)
    }

    fn incoming(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn accept(&mut self) -> Accepted {
        // Cleared first: a request that comes after the look below raises it again.
        if let Err(error) = self.wake.clear() {
            tracing::warn!(%error, "a dialer's event cannot be cleared");
        }
        match self.requests.try_recv() {
            Ok((port, stream)) => Accepted::Request(Request { port, stream, greet: false }),
            Err(TryRecvError::Empty) => Accepted::Nothing,
            Err(TryRecvError::Disconnected) => Accepted::Closed,
        }
    }
}
