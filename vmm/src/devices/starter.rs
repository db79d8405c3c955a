//! Starting devices on another thread: the one that waits for the machine's end, or one kept for it.
//!
//! A driver's DRIVER_OK arrives on a vCPU's thread. A worker started there would inherit that thread's seccomp filter, which
//! leaves it nothing to work with. So the vCPU's thread hands device and queues over and waits for the answer.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel, sync_channel};

use monocore_hypervisor::Event;
use monocore_virtio::{Activation, DeviceError, DeviceType, QueueState, VirtioDevice};

type Device = Box<dyn VirtioDevice>;

type Job = Box<dyn FnOnce() + Send>;

/// Where devices wait to be started.
pub(crate) struct StartQueue {
    jobs: Receiver<Job>,
    event: Event,
}

/// The way to a thread that starts devices.
#[derive(Clone)]
pub struct Starter {
    jobs: Sender<Job>,
    event: Arc<Event>,
}

impl StartQueue {
    /// A queue and the way to it.
    ///
    /// # Errors
    /// The operating system's: no descriptor is free.
    pub(crate) fn new() -> io::Result<(Self, Starter)> {
        let event = Event::new()?;
        let (sender, jobs) = channel();
        Ok((Self { jobs, event: event.try_clone()? }, Starter { jobs: sender, event: Arc::new(event) }))
    }

    /// Readable when a device waits.
    pub(crate) fn event(&self) -> &Event {
        &self.event
    }

    /// Starts every device that waits.
    pub(crate) fn serve(&self) {
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
    /// Has the thread do `work`, and waits for what comes of it.
    ///
    /// # Errors
    /// [`DeviceError::Os`] where the thread is gone or cannot be woken.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, DeviceError> {
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

    fn save(&self) -> Vec<u8> {
        self.device.as_ref().map_or_else(Vec::new, |device| device.save())
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), DeviceError> {
        self.device.as_mut().ok_or_else(nobody_waits)?.restore(state)
    }
}
