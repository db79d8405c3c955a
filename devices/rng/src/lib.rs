//! virtio-rng: bytes from the host's generator (VIRTIO 1.3 §5.4).
//!
//! One worker thread fills the driver's buffers with `getrandom`, at most [`MAX_REQUEST_BYTES`] a request; a
//! driver that wants more asks again, as the specification lets it. The driver is not trusted.
//!
//! System calls of the worker: `getrandom`, `epoll_create1`, `epoll_ctl`, `epoll_wait`, `write` (eventfd).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use monocore_hypervisor::Event;
use monocore_virtio::{
    Activation, Chain, Counters, DeviceError, DeviceState, DeviceType, Poller, QueueState, Ready, Ring,
    Service, ServiceError, VirtioDevice, Worker, features, serve,
};
use rustix::rand::{GetRandomFlags, getrandom};

/// The most bytes given for one request.
pub const MAX_REQUEST_BYTES: usize = 4096;

const QUEUE_SIZES: [u16; 1] = [16];
const KICK: u64 = 0;
/// The most bytes a chain may name; only [`MAX_REQUEST_BYTES`] of them are filled.
const MAX_CHAIN_BYTES: u64 = 1 << 20;
/// Chains served before a stop is looked for again.
const TURN_CHAINS: usize = 64;

/// What the device counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests answered.
    pub requests: AtomicU64,
    /// Random bytes given.
    pub bytes: AtomicU64,
    /// Breaches of the rules by the driver, each ended by a reset.
    pub guest_faults: AtomicU64,
}

monocore_virtio::device_counters!(Metrics { requests, bytes, guest_faults });

/// A source of random bytes.
#[derive(Default)]
pub struct Rng {
    worker: Option<Worker<QueueState>>,
    metrics: Arc<Metrics>,
}

impl Rng {
    /// A device that nobody drives yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the device counts.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }
}

impl VirtioDevice for Rng {
    fn device_type(&self) -> DeviceType {
        DeviceType::Rng
    }

    fn features(&self) -> u64 {
        features::RING_FEATURES
    }

    fn queue_max_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// The device has no configuration space (§5.4.4).
    fn read_config(&self, _offset_bytes: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn counters(&self) -> Option<Arc<dyn Counters>> {
        Some(self.metrics())
    }

    fn start(&mut self, mut activation: Activation) -> Result<(), DeviceError> {
        let [queue] = activation.take_queues()?;
        let Activation { ram, features, interrupt, thread_setup, .. } = activation;
        let metrics = Arc::clone(&self.metrics);
        let body = move |stop: Event| {
            let ring = Ring::new(&ram, queue, Arc::clone(&interrupt), features, MAX_CHAIN_BYTES);
            let mut service = RngService { ring, chain: Chain::new(), metrics: &metrics };
            serve("rng", &mut service, interrupt.as_ref(), &stop, &metrics.guest_faults);
            service.ring.state()
        };
        self.worker = Some(Worker::spawn("rng", &thread_setup, body)?);
        Ok(())
    }

    fn stop(&mut self) -> Vec<QueueState> {
        self.worker.take().and_then(Worker::stop).into_iter().collect()
    }

    /// Random numbers need no state: there is nothing to save.
    fn save(&self) -> Result<DeviceState, DeviceError> {
        Ok(DeviceState(Vec::new()))
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), DeviceError> {
        if state.0.is_empty() { Ok(()) } else { Err(DeviceError::State("not of an entropy device".into())) }
    }
}

struct RngService<'m> {
    ring: Ring<'m>,
    chain: Chain<'m>,
    metrics: &'m Metrics,
}

impl RngService<'_> {
    fn serve_ring(&mut self) -> Result<(), ServiceError> {
        for _ in 0..TURN_CHAINS {
            if self.ring.pop(&mut self.chain)? {
                let written = self.fill()?;
                self.ring.push(self.chain.head(), written)?;
            } else if !self.ring.rearm()? {
                return Ok(self.ring.notify()?);
            }
        }
        self.ring.notify()?;
        self.ring.again()
    }

    /// Fills the chain's writable buffers and returns the count of bytes.
    fn fill(&self) -> Result<u32, ServiceError> {
        let mut bytes = [0; 256];
        let mut done = 0;
        let wanted = self.chain.writable.len_bytes().min(MAX_REQUEST_BYTES);
        while done < wanted {
            let count = bytes.len().min(wanted - done);
            let count = getrandom(&mut bytes[..count], GetRandomFlags::empty())
                .map_err(|error| ServiceError::host("reading random bytes")(error.into()))?;
            done += self.chain.writable.copy_from(done, &bytes[..count]);
        }
        self.metrics.requests.fetch_add(1, Ordering::Relaxed);
        self.metrics.bytes.fetch_add(done as u64, Ordering::Relaxed);
        Ok(u32::try_from(done).unwrap_or(0))
    }
}

impl Service for RngService<'_> {
    fn begin(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        poller.add_kick(self.ring.kick(), KICK).map_err(ServiceError::host("watching a queue"))?;
        self.serve_ring()
    }

    fn turn(&mut self, _poller: &Poller, _ready: &[Ready]) -> Result<(), ServiceError> {
        self.serve_ring()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use monocore_virtio::conformance::Subject;
    use monocore_virtio::test_driver::{Part, TestDriver};
    use monocore_virtio::virtio_conformance;

    struct Generator;

    impl Subject for Generator {
        type Device = Rng;
        const REQUEST_QUEUES: &'static [usize] = &[0];
        fn device() -> Rng {
            Rng::new()
        }
        fn add_request(driver: &mut TestDriver<Rng>) -> usize {
            let addr = driver.alloc(64);
            driver.queues[0].add(&[Part::writable(addr, 64)]);
            0
        }
    }

    virtio_conformance!(Generator);

    #[test]
    fn gives_different_bytes_and_no_more_than_its_bound() {
        let mut driver = TestDriver::started(Rng::new());
        let first = driver.request(0, &[], &[32, 32]);
        let second = driver.request(0, &[], &[64]);
        assert_eq!((first.len(), second.len()), (64, 64));
        assert_ne!(first, second);
        assert_eq!(driver.request(0, &[], &[100_000]).len(), MAX_REQUEST_BYTES);
        assert_eq!(driver.device.metrics().bytes.load(Ordering::Relaxed), 128 + 4096);
        driver.device.stop();
    }
}
