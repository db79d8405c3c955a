//! The device: its endpoint, its address, and a worker while it runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use monocore_hypervisor::Event;
use monocore_virtio::{
    Activation, Bucket, Chain, Counters, DeviceError, DeviceState, DeviceType, QueueState, Rates, Ring,
    VirtioDevice, Worker, read_config_bytes, serve,
};

use crate::endpoint::Endpoint;
use crate::features::{F_MRG_RXBUF, F_MTU, Offloads};
use crate::receiver::Receiver;
use crate::service::NetService;

/// Receive, transmit.
const QUEUE_SIZES: [u16; 2] = [256, 256];
/// A frame of 64 KiB, its header, and room to spare.
const MAX_CHAIN_BYTES: u64 = 1 << 18;
/// First byte of a saved state; the card's address follows.
const STATE_VERSION: u8 = 1;
/// Where the configuration space has the MTU (§5.1.4): after address, status and number of queue pairs.
const CONFIG_MTU: usize = 10;

/// What a card is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetConfig {
    /// Its address.
    pub mac: [u8; 6],
}

/// What the device counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Frames towards the guest.
    pub frames_to_guest: AtomicU64,
    /// Their bytes.
    pub bytes_to_guest: AtomicU64,
    /// Frames from the guest.
    pub frames_from_guest: AtomicU64,
    /// Their bytes.
    pub bytes_from_guest: AtomicU64,
    /// Frames the guest had no buffers for.
    pub dropped: AtomicU64,
    /// Breaches of the rules by the driver, each ended by a reset.
    pub guest_faults: AtomicU64,
}

monocore_virtio::device_counters!(Metrics {
    frames_to_guest,
    bytes_to_guest,
    frames_from_guest,
    bytes_from_guest,
    dropped,
    guest_faults
});

impl Metrics {
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// What lies behind a card; it outlives a stop, so that nobody gets a new burst by it.
struct Behind {
    endpoint: Box<dyn Endpoint>,
    from_guest: Option<Bucket>,
    to_guest: Option<Bucket>,
}

/// A network card.
pub struct Net {
    config: NetConfig,
    offer: u64,
    mtu: Option<u16>,
    behind: Arc<Mutex<Behind>>,
    worker: Option<Worker<Vec<QueueState>>>,
    metrics: Arc<Metrics>,
}

impl Net {
    /// A card whose other end is `endpoint`.
    pub fn new(config: NetConfig, endpoint: Box<dyn Endpoint>) -> Self {
        let mtu = endpoint.mtu();
        let offer = endpoint.offloads().offer();
        Self {
            config,
            offer: if mtu.is_some() { offer } else { offer & !F_MTU },
            mtu,
            behind: Arc::new(Mutex::new(Behind { endpoint, from_guest: None, to_guest: None })),
            worker: None,
            metrics: Arc::new(Metrics::default()),
        }
    }

    /// The same, through which no more goes than `rates`; frames count whole, without the card's own header. What the guest
    /// sends waits in its ring, what comes to it where the endpoint has it from.
    #[must_use]
    pub fn with_rates(self, rates: Rates) -> Self {
        let mut behind = lock(&self.behind);
        behind.from_guest = rates.from_guest.map(Bucket::new);
        behind.to_guest = rates.to_guest.map(Bucket::new);
        drop(behind);
        self
    }

    /// What the device counts.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }
}

impl VirtioDevice for Net {
    fn device_type(&self) -> DeviceType {
        DeviceType::Net
    }

    fn features(&self) -> u64 {
        self.offer
    }

    fn queue_max_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, offset_bytes: u64, data: &mut [u8]) {
        let mut space = [0; CONFIG_MTU + 2];
        space[..6].copy_from_slice(&self.config.mac);
        space[CONFIG_MTU..].copy_from_slice(&self.mtu.unwrap_or(0).to_le_bytes());
        read_config_bytes(&space, offset_bytes, data);
    }

    fn counters(&self) -> Option<Arc<dyn Counters>> {
        Some(self.metrics())
    }

    fn start(&mut self, mut activation: Activation) -> Result<(), DeviceError> {
        let [rx, tx] = activation.take_queues()?;
        let Activation { ram, features, interrupt, thread_setup, .. } = activation;
        let (behind, metrics) = (Arc::clone(&self.behind), Arc::clone(&self.metrics));
        let body = move |stop: Event| {
            let mut behind = lock(&behind);
            let Behind { endpoint, from_guest, to_guest } = &mut *behind;
            let ring = |queue| Ring::new(&ram, queue, Arc::clone(&interrupt), features, MAX_CHAIN_BYTES);
            let mut receiver = Receiver::new(ring(rx), features & F_MRG_RXBUF != 0, &metrics);
            receiver.rate = to_guest.as_mut();
            let mut service = NetService {
                receiver,
                tx: ring(tx),
                frame: Chain::new(),
                held: false,
                rate: from_guest.as_mut(),
                resume: None,
                offloads: Offloads::agreed(features),
                endpoint: endpoint.as_mut(),
                metrics: &metrics,
            };
            serve("net", &mut service, interrupt.as_ref(), &stop, &metrics.guest_faults);
            service.put_back();
            vec![service.receiver.ring().state(), service.tx.state()]
        };
        self.worker = Some(Worker::spawn("net", &thread_setup, body)?);
        Ok(())
    }

    fn stop(&mut self) -> Vec<QueueState> {
        self.worker.take().and_then(Worker::stop).unwrap_or_default()
    }

    fn reset(&mut self) {
        lock(&self.behind).endpoint.reset();
    }

    /// A version and the card's address: a guest must not wake up with another.
    fn save(&self) -> Result<DeviceState, DeviceError> {
        let mut state = vec![STATE_VERSION];
        state.extend(self.config.mac);
        Ok(DeviceState(state))
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), DeviceError> {
        if *state == self.save()? {
            // Connections are not saved: their other ends live on this host.
            lock(&self.behind).endpoint.reset();
            Ok(())
        } else {
            Err(DeviceError::State("not of this network card".into()))
        }
    }
}

/// A worker that panicked leaves an endpoint as usable as any error does.
fn lock(behind: &Mutex<Behind>) -> MutexGuard<'_, Behind> {
    behind.lock().unwrap_or_else(PoisonError::into_inner)
}
