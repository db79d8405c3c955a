//! The device: its backend, its connections, and a worker while it runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use monocore_hypervisor::Event;
use monocore_virtio::{
    Activation, Chain, Counters, DeviceError, DeviceState, DeviceType, QueueState, Rates, Ring, VirtioDevice,
    Worker, features, read_config_bytes, serve,
};

use crate::backend::Backend;
use crate::front::Front;
use crate::inbound::Inbound;
use crate::run::Run;
use crate::service::VsockService;
use crate::session::Session;
use crate::throttle::Throttle;

/// Receive, transmit, events. The guest fills the receive queue with buffers of 4 KiB at boot.
const QUEUE_SIZES: [u16; 3] = [128, 128, 4];
/// A packet of the largest size a Linux guest sends, 64 KiB, and room to spare.
const MAX_CHAIN_BYTES: u64 = 1 << 20;
/// A saved state; connections are not saved, their other ends live on the host.
const STATE: [u8; 1] = [1];

/// VIRTIO_VSOCK_F_SEQPACKET (§5.10.3); streams are implied.
const F_SEQPACKET: u64 = 1 << 1;

/// How much a guest may make the host keep.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Bytes that all connections together may wait to be taken by the host; a connection is granted a share
    /// of what is left, 1 MiB at most, and never less than 32 KiB.
    pub window_budget_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 1024, window_budget_bytes: 32 << 20 }
    }
}

/// What the device counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Connections established.
    pub opened: AtomicU64,
    /// Connections ended.
    pub closed: AtomicU64,
    /// Connections refused by either side.
    pub refused: AtomicU64,
    /// Payload towards the guest.
    pub bytes_to_guest: AtomicU64,
    /// Payload from the guest.
    pub bytes_from_guest: AtomicU64,
    /// Packets towards the guest.
    pub packets_to_guest: AtomicU64,
    /// Packets from the guest.
    pub packets_from_guest: AtomicU64,
    /// Breaches of the rules by the driver, each ended by a reset.
    pub guest_faults: AtomicU64,
}

monocore_virtio::device_counters!(Metrics {
    opened,
    closed,
    refused,
    bytes_to_guest,
    bytes_from_guest,
    packets_to_guest,
    packets_from_guest,
    guest_faults
});

impl Metrics {
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// A front and where it is.
pub(crate) struct FrontPort {
    pub(crate) port: u32,
    pub(crate) front: Box<dyn Front>,
}

/// What the device keeps from one run to the next.
struct Kept {
    session: Session,
    backend: Box<dyn Backend>,
    front: Option<FrontPort>,
}

/// A socket device.
pub struct Vsock {
    guest_cid: u32,
    limits: Limits,
    queue_sizes: &'static [u16],
    offer: u64,
    /// The worker holds the lock while it runs.
    kept: Arc<Mutex<Kept>>,
    worker: Option<Worker<Vec<QueueState>>>,
    metrics: Arc<Metrics>,
}

impl Vsock {
    /// A device whose guest has the context id `guest_cid`, from 3, and whose connections lead to `backend`.
    pub fn new(guest_cid: u32, backend: Box<dyn Backend>, limits: Limits) -> Self {
        let kept = Kept { session: Session::new(limits), backend, front: None };
        Self {
            guest_cid,
            limits,
            queue_sizes: &QUEUE_SIZES,
            offer: features::RING_FEATURES,
            kept: Arc::new(Mutex::new(kept)),
            worker: None,
            metrics: Arc::new(Metrics::default()),
        }
    }

    /// The device for a transport that serves the event queue itself, as vhost-user front ends do.
    #[must_use]
    pub fn without_event_queue(mut self) -> Self {
        self.queue_sizes = &QUEUE_SIZES[..2];
        self
    }

    /// The device with `front` behind `port` of the host, instead of the backend.
    #[must_use]
    pub fn with_front(mut self, port: u32, front: Box<dyn Front>) -> Self {
        self.offer |= F_SEQPACKET;
        lock(&self.kept).front = Some(FrontPort { port, front });
        self
    }

    /// The device whose front's connections, all of them together, carry no more than `rates`; their frames do not count. What
    /// comes to the guest waits where it comes from, what the guest sends in its own socket, but for messages, which are lost.
    #[must_use]
    pub fn with_rates(self, rates: Rates) -> Self {
        lock(&self.kept).session.throttle = Throttle::new(rates);
        self
    }

    /// What the device counts.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }
}

impl VirtioDevice for Vsock {
    fn device_type(&self) -> DeviceType {
        DeviceType::Vsock
    }

    fn features(&self) -> u64 {
        self.offer
    }

    fn queue_max_sizes(&self) -> &[u16] {
        self.queue_sizes
    }

    /// The guest's context id, 64 bits (§5.10.4).
    fn read_config(&self, offset_bytes: u64, data: &mut [u8]) {
        read_config_bytes(&u64::from(self.guest_cid).to_le_bytes(), offset_bytes, data);
    }

    fn counters(&self) -> Option<Arc<dyn Counters>> {
        Some(self.metrics())
    }

    fn start(&mut self, mut activation: Activation) -> Result<(), DeviceError> {
        let (rx, tx, events) = if self.queue_sizes.len() == QUEUE_SIZES.len() {
            let [rx, tx, events] = activation.take_queues()?;
            (rx, tx, Some(events))
        } else {
            let [rx, tx] = activation.take_queues()?;
            (rx, tx, None)
        };
        let Activation { ram, features, interrupt, thread_setup, .. } = activation;
        let guest_cid = u64::from(self.guest_cid);
        let (kept, metrics) = (Arc::clone(&self.kept), Arc::clone(&self.metrics));
        let body = move |stop: Event| {
            let mut kept = lock(&kept);
            let Kept { session, backend, front } = &mut *kept;
            let ring = |queue| Ring::new(&ram, queue, Arc::clone(&interrupt), features, MAX_CHAIN_BYTES);
            let run = Run {
                inbound: Inbound::new(ring(rx), guest_cid),
                tx: ring(tx),
                events: events.map(ring),
                packet: Chain::new(),
                channels: features & F_SEQPACKET != 0,
                listening: false,
                tx_held: false,
            };
            let (backend, front) = (backend.as_mut(), front.as_mut());
            let mut service = VsockService { run, session, backend, front, metrics: &metrics };
            serve("vsock", &mut service, interrupt.as_ref(), &stop, &metrics.guest_faults);
            if let Err(error) = service.settle() {
                tracing::warn!(device = "vsock", %error, "chains cannot be given back");
            }
            service.run.queue_states()
        };
        self.worker = Some(Worker::spawn("vsock", &thread_setup, body)?);
        Ok(())
    }

    fn stop(&mut self) -> Vec<QueueState> {
        self.worker.take().and_then(Worker::stop).unwrap_or_default()
    }

    fn reset(&mut self) {
        self.forget(Session::new(self.limits));
    }

    fn save(&self) -> Result<DeviceState, DeviceError> {
        Ok(DeviceState(STATE.to_vec()))
    }

    /// The guest is told that its connections are gone (§5.10.6.7), and reads its context id again.
    fn restore(&mut self, state: &DeviceState) -> Result<(), DeviceError> {
        if state.0 != STATE {
            return Err(DeviceError::State("not of a socket device".into()));
        }
        let mut session = Session::new(self.limits);
        session.announce_loss = true;
        self.forget(session);
        Ok(())
    }
}

impl Vsock {
    /// Goes on with `session`: nothing is left of the one before.
    fn forget(&mut self, session: Session) {
        let mut kept = lock(&self.kept);
        // Nobody gets a new burst by it.
        let throttle = kept.session.throttle.without_waiting();
        kept.session = session;
        kept.session.throttle = throttle;
        if let Some(FrontPort { front, .. }) = &mut kept.front {
            front.reset();
        }
    }
}

/// A worker that panicked leaves sessions and backends as usable as any error does.
fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
