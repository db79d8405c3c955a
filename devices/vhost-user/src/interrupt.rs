//! The way to a driver behind a front end: one descriptor per queue, handed over and exchanged as the front end
//! likes.

use std::fs::File;
use std::sync::{Mutex, PoisonError};

use monocore_virtio::Interrupt;
use rustix::io::{Errno, write};

#[derive(Default)]
struct Files {
    /// Raised for used buffers.
    call: Option<File>,
    /// Raised when the device cannot go on.
    error: Option<File>,
}

/// Descriptors of every queue.
pub(crate) struct CallFiles {
    queues: Mutex<Vec<Files>>,
}

impl CallFiles {
    pub(crate) fn new(queues: usize) -> Self {
        Self { queues: Mutex::new(std::iter::repeat_with(Files::default).take(queues).collect()) }
    }

    pub(crate) fn set_call(&self, queue: usize, file: Option<File>) {
        self.with(queue, |files| files.call = file);
    }

    pub(crate) fn set_error(&self, queue: usize, file: Option<File>) {
        self.with(queue, |files| files.error = file);
    }

    fn with(&self, queue: usize, change: impl FnOnce(&mut Files)) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(files) = queues.get_mut(queue) {
            change(files);
        }
    }
}

impl Interrupt for CallFiles {
    fn notify_queue(&self, index: u16) {
        self.with(index.into(), |files| raise(files.call.as_ref()));
    }

    /// Drivers of the devices served here do not look at the configuration again.
    fn notify_config(&self) {
        tracing::debug!("a configuration change is not told to the front end");
    }

    /// The front end may reset the device when its error descriptor is raised; QEMU only logs it.
    fn needs_reset(&self) {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        for files in queues.iter() {
            raise(files.error.as_ref());
        }
    }
}

fn raise(file: Option<&File>) {
    let Some(file) = file else { return };
    match write(file, &1u64.to_ne_bytes()) {
        // A full counter is raised already.
        Ok(_) | Err(Errno::AGAIN) => {}
        Err(error) => tracing::warn!(%error, "the front end cannot be notified"),
    }
}
