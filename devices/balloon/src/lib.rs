//! virtio-balloon (VIRTIO 1.3 §5.5), for one of its features: the guest reports memory that it has freed, and the host
//! takes the pages back (§5.5.6.7). The balloon itself stays empty.
//!
//! A report names free ranges of guest RAM, which the driver keeps from use until the report is answered. Their
//! pages leave the process before that; the guest finds zeroes there when it uses them again. The driver is not
//! trusted: all it can throw away is its own memory, which other threads only ever access as volatile.
//!
//! System calls of the worker: `madvise`, `epoll_create1`, `epoll_ctl`, `epoll_wait`, `write` (eventfd).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use monocore_hypervisor::Event;
use monocore_hypervisor::memory::Backing;
use monocore_virtio::{
    Activation, Chain, Counters, DeviceError, DeviceState, DeviceType, Poller, QueueState, Ready, Ring,
    Service, ServiceError, VirtioDevice, Worker, features, serve,
};

/// VIRTIO_BALLOON_F_PAGE_REPORTING.
const PAGE_REPORTING: u64 = 1 << 5;
/// Inflate, deflate, reporting. Queues of features that are not offered have no number, as Linux counts them; by the
/// letter of §5.5.2 reports would have number 4.
const QUEUE_SIZES: [u16; 3] = [16, 16, 32];
const REPORTING: usize = 2;
/// The most bytes a chain may name: Linux puts 32 blocks into a report, each of at most 512 MiB.
const MAX_CHAIN_BYTES: u64 = 16 << 30;
/// Chains of one queue served before the others, and a stop, are looked for again.
const TURN_CHAINS: usize = 64;

/// What the device counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Reports answered.
    pub reports: AtomicU64,
    /// Bytes that went back to the host, whether there were pages behind them or not.
    pub bytes: AtomicU64,
    /// Breaches of the rules by the driver, each ended by a reset.
    pub guest_faults: AtomicU64,
}

monocore_virtio::device_counters!(Metrics { reports, bytes, guest_faults });

/// Takes back what the guest frees.
#[derive(Default)]
pub struct Balloon {
    worker: Option<Worker<[QueueState; 3]>>,
    metrics: Arc<Metrics>,
}

impl Balloon {
    /// A device that nobody drives yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the device counts.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }
}

impl VirtioDevice for Balloon {
    fn device_type(&self) -> DeviceType {
        DeviceType::Balloon
    }

    fn features(&self) -> u64 {
        features::RING_FEATURES | PAGE_REPORTING
    }

    fn queue_max_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// `num_pages` and `actual` (§5.5.4): the balloon is empty and stays so.
    fn read_config(&self, _offset_bytes: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn counters(&self) -> Option<Arc<dyn Counters>> {
        Some(self.metrics())
    }

    fn start(&mut self, mut activation: Activation) -> Result<(), DeviceError> {
        let queues: [_; 3] = activation.take_queues()?;
        let Activation { ram, features, interrupt, thread_setup, .. } = activation;
        let metrics = Arc::clone(&self.metrics);
        let body = move |stop: Event| {
            let ring = |queue| Ring::new(&ram, queue, Arc::clone(&interrupt), features, MAX_CHAIN_BYTES);
            let mut service = Reclaim {
                rings: queues.map(ring),
                chain: Chain::new(),
                backing: Backing::of(&ram),
                metrics: &metrics,
            };
            serve("balloon", &mut service, interrupt.as_ref(), &stop, &metrics.guest_faults);
            service.rings.each_ref().map(Ring::state)
        };
        self.worker = Some(Worker::spawn("balloon", &thread_setup, body)?);
        Ok(())
    }

    fn stop(&mut self) -> Vec<QueueState> {
        self.worker.take().and_then(Worker::stop).into_iter().flatten().collect()
    }

    /// What was given back is not remembered: there is nothing to save.
    fn save(&self) -> Result<DeviceState, DeviceError> {
        Ok(DeviceState(Vec::new()))
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), DeviceError> {
        if state.0.is_empty() { Ok(()) } else { Err(DeviceError::State("not of a balloon".into())) }
    }
}

struct Reclaim<'m> {
    rings: [Ring<'m>; 3],
    chain: Chain<'m>,
    backing: Backing,
    metrics: &'m Metrics,
}

impl Reclaim<'_> {
    fn serve_ring(&mut self, index: usize) -> Result<(), ServiceError> {
        let ring = &mut self.rings[index];
        for _ in 0..TURN_CHAINS {
            if ring.pop(&mut self.chain)? {
                // Who inflates a balloon that shall be empty may have its pages back at once.
                if index == REPORTING {
                    let bytes = self.chain.writable.discard(self.backing);
                    self.metrics.reports.fetch_add(1, Ordering::Relaxed);
                    self.metrics.bytes.fetch_add(bytes, Ordering::Relaxed);
                }
                ring.push(self.chain.head(), 0)?;
            } else if !ring.rearm()? {
                return Ok(ring.notify()?);
            }
        }
        ring.notify()?;
        ring.again()
    }

    fn serve_all(&mut self) -> Result<(), ServiceError> {
        (0..self.rings.len()).try_for_each(|index| self.serve_ring(index))
    }
}

impl Service for Reclaim<'_> {
    fn begin(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        for (ring, token) in self.rings.iter().zip(0..) {
            poller.add_kick(ring.kick(), token).map_err(ServiceError::host("watching a queue"))?;
        }
        self.serve_all()
    }

    fn turn(&mut self, _poller: &Poller, _ready: &[Ready]) -> Result<(), ServiceError> {
        self.serve_all()
    }
}

#[cfg(test)]
mod tests;
