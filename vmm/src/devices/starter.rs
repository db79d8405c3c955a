//! Starting devices on another thread: the one that waits for the machine's end, or one kept for it.
//!
//! A driver's DRIVER_OK arrives on a vCPU's thread. A worker started there would inherit that thread's seccomp filter, which
//! leaves it nothing to work with. So the vCPU's thread hands device and queues over and waits for the answer.

use std::io;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};

use monocore_hypervisor::Event;
use monocore_virtio::{Activation, DeviceError, DeviceState, DeviceType, QueueState, VirtioDevice};

type Device = Box<dyn VirtioDevice>;

type Job = Box<dyn FnOnce() + Send>;

/// Where devices wait to be started.
pub(crate) struct StartQueue {
    jobs: Receiver<Job>,
    event: Arc<Event>,
    server: Arc<Server>,
}

/// The thread that served a queue last.
type Server = Mutex<Option<ThreadId>>;

/// The way to a thread that starts devices.
#[derive(Clone)]
pub struct Starter {
    jobs: Sender<Job>,
    event: Arc<Event>,
    server: Arc<Server>,
}

impl StartQueue {
    /// A queue and the way to it.
    ///
    /// # Errors
    /// The operating system's: no descriptor is free.
    pub(crate) fn new() -> io::Result<(Self, Starter)> {
        let event = Arc::new(Event::new()?);
        let server = Arc::new(Server::default());
        let (sender, jobs) = channel();
        let starter = Starter { jobs: sender, event: Arc::clone(&event), server: Arc::clone(&server) };
        Ok((Self { jobs, event, server }, starter))
    }

    /// Readable when a device waits, or something else is to be looked at.
    pub(crate) fn event(&self) -> &Arc<Event> {
        &self.event
    }

    /// Starts every device that waits. From now on the calling thread starts devices of its own at once.
    pub(crate) fn serve(&self) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current().id());
        // A failure to clear costs another look.
        let _ = self.event.clear();
        loop {
            match self.jobs.try_recv() {
                Ok(job) => job(),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    /// Starts devices until nobody is left who could ask for it.
    pub(crate) fn serve_all(self) {
        self.jobs.into_iter().for_each(|job| job());
    }
}

impl Starter {
    /// Has the thread do `work`, and waits for what comes of it. The thread itself does it at once.
    ///
    /// # Errors
    /// [`DeviceError::Os`] where the thread is gone or cannot be woken.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, DeviceError> {
        let server = *self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if server == Some(thread::current().id()) {
            return Ok(work());
        }
        let (reply, answer) = sync_channel(1);
        let job = move || {
            // Whoever asked waits for it, so somebody receives it.
            let _ = reply.send(work());
        };
        self.jobs.send(Box::new(job)).map_err(|_| nobody_waits())?;
        self.event
            .raise()
            .map_err(|source| DeviceError::Os { what: "asking for a device's start", source })?;
        answer.recv().map_err(|_| nobody_waits())
    }
}

/// A device that starts elsewhere.
pub(crate) struct StartedElsewhere {
    /// Away while it starts; lost if nobody waits for the machine any more.
    device: Option<Device>,
    device_type: DeviceType,
    queue_max_sizes: Vec<u16>,
    starter: Starter,
}

impl StartedElsewhere {
    pub(crate) fn new(device: Device, starter: Starter) -> Self {
        let queue_max_sizes = device.queue_max_sizes().to_vec();
        Self { device_type: device.device_type(), queue_max_sizes, device: Some(device), starter }
    }
}

fn nobody_waits() -> DeviceError {
    DeviceError::Os {
        what: "starting a device of a machine that ends",
        source: io::ErrorKind::BrokenPipe.into(),
    }
}

impl VirtioDevice for StartedElsewhere {
    fn device_type(&self) -> DeviceType {
        self.device_type
    }

    fn features(&self) -> u64 {
        self.device.as_ref().map_or(0, |device| device.features())
    }

    fn queue_max_sizes(&self) -> &[u16] {
        &self.queue_max_sizes
    }

    fn read_config(&self, offset_bytes: u64, data: &mut [u8]) {
        match &self.device {
            Some(device) => device.read_config(offset_bytes, data),
            None => data.fill(0),
        }
    }

    fn write_config(&mut self, offset_bytes: u64, data: &[u8]) {
        if let Some(device) = &mut self.device {
            device.write_config(offset_bytes, data);
        }
    }

    fn start(&mut self, activation: Activation) -> Result<(), DeviceError> {
        let mut device = self.device.take().ok_or_else(nobody_waits)?;
        let (device, outcome) = self.starter.run(move || {
            let outcome = device.start(activation);
            (device, outcome)
        })?;
        self.device = Some(device);
        outcome
    }

    fn stop(&mut self) -> Vec<QueueState> {
        self.device.as_mut().map_or_else(Vec::new, |device| device.stop())
    }

    fn reset(&mut self) {
        if let Some(device) = &mut self.device {
            device.reset();
        }
    }

    fn save(&self) -> Result<DeviceState, DeviceError> {
        self.device.as_ref().ok_or_else(nobody_waits)?.save()
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), DeviceError> {
        self.device.as_mut().ok_or_else(nobody_waits)?.restore(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_that_serves_does_its_own_work_at_once() {
        let (queue, starter) = StartQueue::new().unwrap();
        queue.serve();
        // Nobody else serves: without that this would wait for ever.
        assert_eq!(starter.run(|| 7).unwrap(), 7);
    }

    #[test]
    fn another_threads_work_waits_to_be_served() {
        let (queue, starter) = StartQueue::new().unwrap();
        queue.serve();
        let here = thread::current().id();
        let asker = thread::spawn(move || starter.run(|| thread::current().id()).unwrap());
        while !asker.is_finished() {
            queue.serve();
        }
        assert_eq!(asker.join().unwrap(), here);
    }
}
