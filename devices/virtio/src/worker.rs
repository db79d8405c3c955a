//! A device's thread: one named thread that serves a device from its start to its stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

use monocore_hypervisor::Event;

use crate::poller::Waiter;
use crate::{DeviceError, Interrupt, Poller, Ready, ServiceError};

/// What every thread of a device calls first; the machine confines the thread in it.
pub type ThreadSetup = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

/// Plenty for loops that keep their data in vectors; pages never touched cost nothing.
const STACK_BYTES: usize = 256 * 1024;

/// A running worker thread, ended by [`stop`](Self::stop).
pub struct Worker<T> {
    stop: Event,
    thread: JoinHandle<Option<T>>,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts a thread named `name` (at most 15 bytes are seen), lets it call `setup`, and then `body` with
    /// the event that asks it to stop.
    ///
    /// # Errors
    /// [`DeviceError::Os`] where there is no thread or descriptor to be had, or `setup` failed; `body` then
    /// never runs.
    pub fn spawn(
        name: &str,
        setup: &ThreadSetup,
        body: impl FnOnce(Event) -> T + Send + 'static,
    ) -> Result<Self, DeviceError> {
        let os = |what| move |source| DeviceError::Os { what, source };
        let stop = Event::new().map_err(os("making a worker's stop event"))?;
        let wish = stop.try_clone().map_err(os("making a worker's stop event"))?;
        let setup = Arc::clone(setup);
        let (report, outcome) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let confined = setup();
                let go_on = confined.is_ok();
                // `spawn` waits for this, so somebody receives it.
                let _ = report.send(confined);
                go_on.then(|| body(wish))
            })
            .map_err(os("starting a worker thread"))?;
        outcome
            .recv()
            .unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
            .map_err(os("confining a worker thread"))?;
        Ok(Self { stop, thread })
    }

    /// Asks the worker to stop, waits for it, and returns what it gives back; `None` if it panicked.
    pub fn stop(self) -> Option<T> {
        if let Err(error) = self.stop.raise() {
            // It cannot be reached; waiting for it would be for ever.
            tracing::error!(%error, "a worker's stop event cannot be raised");
            return None;
        }
        let name = self.thread.thread().name().unwrap_or_default().to_owned();
        self.thread.join().unwrap_or_else(|_| {
            tracing::error!(device = name, "a device's worker panicked");
            None
        })
    }
}

/// A device's work, as its thread drives it.
pub trait Service {
    /// Adds the device's descriptors to `poller` and serves what the driver already made available.
    ///
    /// # Errors
    /// [`ServiceError`]; the device then asks for a reset and rests.
    fn begin(&mut self, poller: &Poller) -> Result<(), ServiceError>;

    /// Serves what is ready, or what [`deadline`](Self::deadline) called for.
    ///
    /// # Errors
    /// [`ServiceError`]; the device then asks for a reset and rests.
    fn turn(&mut self, poller: &Poller, ready: &[Ready]) -> Result<(), ServiceError>;

    /// When [`turn`](Self::turn) shall run at the latest, with nothing ready.
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

/// Runs `service` until `stop` is raised. On its first error the fault is counted, the driver is asked to
/// reset the device, and the thread waits for the stop that follows.
pub fn serve(
    device: &str,
    service: &mut impl Service,
    interrupt: &dyn Interrupt,
    stop: &Event,
    guest_faults: &AtomicU64,
) {
    let Err(error) = run(service, interrupt, stop) else { return };
    match &error {
        ServiceError::Guest(fault) => {
            guest_faults.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(device, %fault, "the driver broke the rules; the device needs a reset");
        }
        ServiceError::Host { .. } => tracing::error!(device, %error, "the device cannot go on"),
    }
    interrupt.needs_reset();
    if let Err(error) = rest(interrupt, stop) {
        tracing::error!(device, %error, "cannot wait for the device's stop");
    }
}

fn run(service: &mut impl Service, interrupt: &dyn Interrupt, stop: &Event) -> Result<(), ServiceError> {
    let poller = Poller::new(stop).map_err(ServiceError::host("making a poller"))?;
    service.begin(&poller)?;
    let mut waiter = Waiter::new(&poller);
    loop {
        let timeout = service.deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let found = waiter.wait(interrupt, timeout).map_err(ServiceError::host("waiting for work"))?;
        let Some(ready) = found else { return Ok(()) };
        service.turn(&poller, ready)?;
    }
}

/// Waits for the stop and does nothing else.
fn rest(interrupt: &dyn Interrupt, stop: &Event) -> io::Result<()> {
    let poller = Poller::new(stop)?;
    let mut waiter = Waiter::new(&poller);
    while waiter.wait(interrupt, None)?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_runs_only_when_its_setup_succeeded() {
        let allow: ThreadSetup = Arc::new(|| Ok(()));
        let worker = Worker::spawn("test", &allow, |_stop| 7).unwrap();
        assert_eq!(worker.stop(), Some(7));

        let deny: ThreadSetup = Arc::new(|| Err(io::ErrorKind::PermissionDenied.into()));
        let refused = Worker::spawn("test", &deny, |_stop| panic!("must not run"));
        assert!(matches!(refused, Err(DeviceError::Os { .. })));
    }
}
