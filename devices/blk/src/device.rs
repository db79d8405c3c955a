//! The device: a disk, its serial, and a worker while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use monocore_hypervisor::Event;
use monocore_virtio::{
    Activation, Chain, Counters, DeviceError, DeviceState, DeviceType, QueueState, Ring, VirtioDevice,
    Worker, serve,
};

use crate::config;
use crate::config::{F_FLUSH, QUEUE_SIZE, SEG_MAX, SIZE_MAX};
use crate::disk::{Disk, DiskError};
use crate::request::{Scratch, Target};
use crate::service::BlockService;

const QUEUE_SIZES: [u16; 1] = [QUEUE_SIZE];
/// What a request within the limits offered can have, and no more.
const MAX_CHAIN_BYTES: u64 = SIZE_MAX as u64 * SEG_MAX as u64 + 4096;
/// First byte of a saved state.
const STATE_VERSION: u8 = 1;

/// What the device counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Read requests.
    pub reads: AtomicU64,
    /// Bytes read.
    pub read_bytes: AtomicU64,
    /// Write requests.
    pub writes: AtomicU64,
    /// Bytes written.
    pub written_bytes: AtomicU64,
    /// Flushes.
    pub flushes: AtomicU64,
    /// Discards and zeroings.
    pub discards: AtomicU64,
    /// Requests answered with an error.
    pub errors: AtomicU64,
    /// Breaches of the rules by the driver, each ended by a reset.
    pub guest_faults: AtomicU64,
}

monocore_virtio::device_counters!(Metrics {
    reads,
    read_bytes,
    writes,
    written_bytes,
    flushes,
    discards,
    errors,
    guest_faults
});

impl Metrics {
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// A disk.
pub struct Block {
    disk: Arc<Disk>,
    serial: [u8; 20],
    thread_name: String,
    worker: Option<Worker<QueueState>>,
    metrics: Arc<Metrics>,
}

impl Block {
    /// A device for `disk` whose driver reads `serial` as its identity, 1 to 20 bytes of ASCII.
    ///
    /// # Errors
    /// [`DiskError::Serial`].
    pub fn new(disk: impl Into<Disk>, serial: &str) -> Result<Self, DiskError> {
        let mut bytes = [0; 20];
        if serial.is_empty() || serial.len() > bytes.len() || !serial.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(DiskError::Serial(serial.to_owned()));
        }
        bytes[..serial.len()].copy_from_slice(serial.as_bytes());
        Ok(Self {
            disk: Arc::new(disk.into()),
            serial: bytes,
            thread_name: format!("blk-{serial}"),
            worker: None,
            metrics: Arc::new(Metrics::default()),
        })
    }

    /// What the device counts.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }
}

impl VirtioDevice for Block {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }

    fn features(&self) -> u64 {
        config::features(&self.disk)
    }

    fn queue_max_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, offset_bytes: u64, data: &mut [u8]) {
        config::read(&self.disk, offset_bytes, data);
    }

    fn counters(&self) -> Option<Arc<dyn Counters>> {
        Some(self.metrics())
    }

    fn start(&mut self, mut activation: Activation) -> Result<(), DeviceError> {
        let [queue] = activation.take_queues()?;
        let Activation { ram, features, interrupt, thread_setup, .. } = activation;
        let (disk, serial, metrics) = (Arc::clone(&self.disk), self.serial, Arc::clone(&self.metrics));
        let name = self.thread_name.clone();
        let body = move |stop: Event| {
            let write_through = features & F_FLUSH == 0;
            let mut service = BlockService {
                ring: Ring::new(&ram, queue, Arc::clone(&interrupt), features, MAX_CHAIN_BYTES),
                chain: Chain::new(),
                scratch: Scratch::default(),
                target: Target { disk: &disk, serial: &serial, write_through, metrics: &metrics },
            };
            serve(&name, &mut service, interrupt.as_ref(), &stop, &metrics.guest_faults);
            service.ring.state()
        };
        self.worker = Some(Worker::spawn(&self.thread_name, &thread_setup, body)?);
        Ok(())
    }

    fn stop(&mut self) -> Vec<QueueState> {
        self.worker.take().and_then(Worker::stop).into_iter().collect()
    }

    /// A version and the disk's length: a guest must not wake up on another disk.
    fn save(&self) -> Result<DeviceState, DeviceError> {
        let mut state = vec![STATE_VERSION];
        state.extend(self.disk.len_bytes().to_le_bytes());
        Ok(DeviceState(state))
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), DeviceError> {
        if *state == self.save()? {
            Ok(())
        } else {
            Err(DeviceError::State(format!("not of a disk of {} bytes", self.disk.len_bytes())))
        }
    }
}
