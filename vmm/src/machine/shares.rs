//! Shares added to and taken from a running machine.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use monocore_fs::{CachePolicy, FsHandle, FsShare};

use crate::Error;
use crate::attachments::StartsOn;
use crate::bus::Bus;

/// The shares of a running machine's file device. Clones act on the same device, from any thread.
///
/// The guest sees a new share below the device's root at once; its agent mounts it where it is wanted, and unmounts one
/// that is to be taken away.
#[derive(Clone)]
pub struct Shares {
    handle: FsHandle,
    bus: Arc<Bus>,
    /// The device's place on the bus.
    window: usize,
    confined: Arc<Mutex<StartsOn>>,
}

impl Shares {
    pub(super) fn new(handle: FsHandle, bus: Arc<Bus>, window: usize, starts_on: StartsOn) -> Self {
        Self { handle, bus, window, confined: Arc::new(Mutex::new(starts_on)) }
    }

    /// Lets the guest see `root`, a directory or a regular file, as `name`. Of a jailed machine the file server's thread
    /// is replaced by one that may open what lies beneath it; requests of the guest wait meanwhile.
    ///
    /// # Errors
    /// [`Error::Share`] where the name is taken or `root` is neither directory nor file, where a jailed machine was not
    /// made for it ([`FsSpec::grows`](monocore_spec::FsSpec::grows)), or where the new thread cannot be confined: then
    /// the share is not served, and neither is any other until the guest resets the device.
    pub fn add(&self, name: &str, root: OwnedFd, read_only: bool) -> Result<(), Error> {
        let fail = fail(name);
        let share = FsShare { name: name.to_owned(), root, read_only, cache: CachePolicy::default() };
        let handle = self.handle.clone();
        let confined = self.confined.lock().unwrap_or_else(PoisonError::into_inner);
        match &*confined {
            StartsOn::AnyThread => handle.add(share).map_err(|error| fail(error.into())),
            StartsOn::WaitingThread => {
                let fixed = "the machine was not made to have shares added";
                Err(fail(io::Error::new(io::ErrorKind::Unsupported, fixed).into()))
            }
            StartsOn::KeptThread(starter) => {
                // This thread may not even look at a file.
                let added = starter.run(move || handle.add(share)).map_err(|error| fail(error.into()))?;
                added.map_err(|error| fail(error.into()))?;
                self.restart().map_err(|error| {
                    // It was added a moment ago, so it is there.
                    let _ = self.handle.remove(name);
                    fail(error)
                })
            }
        }
    }

    /// Takes a share away: from the return on nothing of it is served.
    ///
    /// # Errors
    /// [`Error::Share`] where there is no such share, or as for [`add`](Self::add).
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let fail = fail(name);
        let confined = self.confined.lock().unwrap_or_else(PoisonError::into_inner);
        self.handle.remove(name).map_err(|error| fail(error.into()))?;
        match &*confined {
            StartsOn::AnyThread | StartsOn::WaitingThread => Ok(()),
            StartsOn::KeptThread(_) => self.restart().map_err(fail),
        }
    }

    /// The names of all shares, in the order in which they were added.
    pub fn names(&self) -> Vec<String> {
        self.handle.names()
    }

    /// Gives the file server a thread that is confined to the shares there are now.
    fn restart(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.bus.virtio_at(self.window).map_or(Ok(()), |mut device| device.restart())?)
    }
}

fn fail(name: &str) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> Error {
    let name = name.to_owned();
    move |source| Error::Share { name: name.clone(), source }
}
