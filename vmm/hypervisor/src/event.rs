//! Signals between threads and between guest and device, the same type wherever they come from.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

#[path = "event/linux.rs"]
mod sys;

/// A counter that one side raises and the other waits for and clears; it can be polled for readability.
///
/// A doorbell (guest → device kick) is an `Event` that the hypervisor raises; a worker's stop request
/// is one that the vCPU thread raises.
#[derive(Debug)]
pub struct Event(sys::Event);

impl Event {
    /// A new event that is not raised; reads and writes never block.
    ///
    /// # Errors
    /// The operating system's, most likely that no descriptor is free.
    pub fn new() -> io::Result<Self> {
        sys::Event::new().map(Self)
    }

    /// Raises the event. Raising a raised event keeps it raised.
    ///
    /// # Errors
    /// The operating system's; a counter that is full counts as raised and is no error.
    pub fn raise(&self) -> io::Result<()> {
        self.0.raise()
    }

    /// Clears the event and says whether it was raised.
    ///
    /// # Errors
    /// The operating system's.
    pub fn clear(&self) -> io::Result<bool> {
        self.0.clear()
    }

    /// A second handle of the same event.
    ///
    /// # Errors
    /// The operating system's, most likely that no descriptor is free.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Takes over a descriptor with the semantics of an event (on Linux an eventfd): what a
    /// vhost-user front end or a parent process hands over.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(sys::Event::from_fd(fd))
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// An input pin of the guest's interrupt controller.
pub trait IrqLine: Send + Sync {
    /// Delivers one edge.
    ///
    /// # Errors
    /// The backend's; the guest then misses an interrupt, so the machine must end.
    fn raise(&self) -> io::Result<()>;
}
