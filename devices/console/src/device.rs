//! The device: its descriptors, its size, and a worker while it runs.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use monocore_hypervisor::Event;
use monocore_virtio::{
    Activation, ActiveQueue, Counters, DeviceError, DeviceState, DeviceType, QueueState, Ring, VirtioDevice,
    Worker, features, read_config_bytes, serve,
};

use crate::input::Input;
use crate::output::Output;
use crate::service::ConsoleService;

/// Receive and transmit of port 0.
const QUEUE_SIZES: [u16; 2] = [16, 16];
/// VIRTIO_CONSOLE_F_SIZE
const F_SIZE: u64 = 1 << 0;
/// The most bytes of one chain; Linux writes a page at a time.
const MAX_CHAIN_BYTES: u64 = 1 << 20;
/// Columns, rows, number of ports, emergency write (§5.3.4).
const CONFIG_BYTES: usize = 12;
/// First byte of a saved state.
const STATE_VERSION: u8 = 1;

/// A console's size, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// What the device counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Bytes from the guest that were written.
    pub output_bytes: AtomicU64,
    /// Bytes from the guest that nobody takes any more.
    pub lost_bytes: AtomicU64,
    /// Bytes to the guest.
    pub input_bytes: AtomicU64,
    /// Breaches of the rules by the driver, each ended by a reset.
    pub guest_faults: AtomicU64,
}

monocore_virtio::device_counters!(Metrics { output_bytes, lost_bytes, input_bytes, guest_faults });

/// The size, shared by device, worker and resizers.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Columns in the low half, rows in the high one.
    size: AtomicU32,
    /// Raised when the size changed.
    pub(crate) resized: Event,
}

impl Shared {
    fn set_size(&self, size: Size) {
        self.size.store(u32::from(size.rows) << 16 | u32::from(size.columns), Ordering::SeqCst);
    }
}

/// Changes the size of a console from anywhere.
#[derive(Clone, Debug)]
pub struct Resizer(Arc<Shared>);

impl Resizer {
    /// Sets the size; the guest is told.
    ///
    /// # Errors
    /// The operating system's.
    pub fn resize(&self, size: Size) -> io::Result<()> {
        self.0.set_size(size);
        self.0.resized.raise()
    }
}

/// What the worker holds while it runs.
pub(crate) struct Parts {
    pub(crate) output: Output,
    pub(crate) input: Input,
}

/// A console.
pub struct Console {
    shared: Arc<Shared>,
    parts: Arc<Mutex<Parts>>,
    worker: Option<Worker<Vec<QueueState>>>,
    metrics: Arc<Metrics>,
}

impl Console {
    /// A console whose text goes to `output`, or nowhere, and whose guest reads the bytes of `input`. Neither
    /// need be non-blocking.
    ///
    /// # Errors
    /// The operating system's, most likely that no descriptor is free.
    pub fn new(output: Option<OwnedFd>, input: Option<OwnedFd>, size: Size) -> io::Result<Self> {
        let shared = Shared { size: AtomicU32::new(0), resized: Event::new()? };
        shared.set_size(size);
        let parts = Parts { output: Output::new(output), input: Input::new(input) };
        Ok(Self {
            shared: Arc::new(shared),
            parts: Arc::new(Mutex::new(parts)),
            worker: None,
            metrics: Arc::new(Metrics::default()),
        })
    }

    /// What changes the size later.
    pub fn resizer(&self) -> Resizer {
        Resizer(Arc::clone(&self.shared))
    }

    /// What the device counts.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    fn parts<T>(&self, look: impl FnOnce(&mut Parts) -> T) -> T {
        look(&mut self.parts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl VirtioDevice for Console {
    fn device_type(&self) -> DeviceType {
        DeviceType::Console
    }

    fn features(&self) -> u64 {
        features::RING_FEATURES | F_SIZE
    }

    fn queue_max_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, offset_bytes: u64, data: &mut [u8]) {
        let mut space = [0; CONFIG_BYTES];
        space[..4].copy_from_slice(&self.shared.size.load(Ordering::SeqCst).to_le_bytes());
        space[4] = 1;
        read_config_bytes(&space, offset_bytes, data);
    }

    fn counters(&self) -> Option<Arc<dyn Counters>> {
        Some(self.metrics())
    }

    fn start(&mut self, mut activation: Activation) -> Result<(), DeviceError> {
        let [rx, tx] = activation.take_queues()?;
        let Activation { ram, features, interrupt, thread_setup, .. } = activation;
        let (parts, metrics) = (Arc::clone(&self.parts), Arc::clone(&self.metrics));
        let shared = Arc::clone(&self.shared);
        let body = move |stop: Event| {
            let mut parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
            let ring = |queue: ActiveQueue| {
                Ring::new(&ram, queue, Arc::clone(&interrupt), features, MAX_CHAIN_BYTES)
            };
            let mut service =
                ConsoleService::new(ring(rx), ring(tx), &mut parts, &shared, interrupt.as_ref(), &metrics);
            serve("console", &mut service, interrupt.as_ref(), &stop, &metrics.guest_faults);
            service.finish()
        };
        self.worker = Some(Worker::spawn("console", &thread_setup, body)?);
        Ok(())
    }

    fn stop(&mut self) -> Vec<QueueState> {
        self.worker.take().and_then(Worker::stop).unwrap_or_default()
    }

    fn reset(&mut self) {
        self.parts(|parts| parts.output.done_bytes = 0);
    }

    /// A version, and how much of the chain next to be sent was written already.
    fn save(&self) -> Result<DeviceState, DeviceError> {
        let mut state = vec![STATE_VERSION];
        state.extend((self.parts(|parts| parts.output.done_bytes) as u64).to_le_bytes());
        Ok(DeviceState(state))
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), DeviceError> {
        let done = match state.0.split_first() {
            Some((&STATE_VERSION, rest)) => rest.try_into().ok().map(u64::from_le_bytes),
            _ => None,
        };
        let Some(done) = done.and_then(|done| usize::try_from(done).ok()) else {
            return Err(DeviceError::State("not of a console".into()));
        };
        self.parts(|parts| parts.output.done_bytes = done);
        Ok(())
    }
}
