//! The server as a virtio device (VIRTIO 1.3 §5.11): one worker thread serves the high-priority queue and all request queues.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use monocore_hypervisor::{Event, GuestRam};
use monocore_virtio::{
    Activation, ActiveQueue, Chain, Counters, DeviceError, DeviceState, DeviceType, GuestFault, Interrupt,
    Poller, QueueState, Ready, Ring, Service, ServiceError, ThreadSetup, VirtioDevice, Worker, features,
    serve,
};

use crate::error::FsError;
use crate::locks::Results;
use crate::server::{Answer, FsMetrics, Parked, Server, ServerConfig, ServerParts};
use crate::share::{FsHandle, FsShare, Registry};
use crate::sys;

/// Longest tag, in bytes (§5.11.4).
pub const MAX_TAG_BYTES: usize = 36;
/// Descriptors of each queue: a request of 1 MiB in pages, several times.
const QUEUE_SIZE: u16 = 1024;
/// Most bytes of a request with its reply: 1 MiB of data with what belongs to it, and room to spare.
const MAX_CHAIN_BYTES: u64 = 2 << 20;
/// Requests answered before the driver is told, and before other queues and a stop are looked at.
const TURN_CHAINS: usize = 8;
/// The queue whose requests overtake others (§5.11.2).
const HIPRIO: u16 = 0;
/// Token of the event that a share was removed; queues have theirs by number.
const REMOVED: u64 = 1 << 32;
/// Token of the event that a wait for a lock has ended.
const LOCKS: u64 = 2 << 32;

/// What a device is.
#[derive(Debug)]
pub struct FsConfig {
    /// What the guest mounts, 1 to 36 bytes without NUL.
    pub tag: String,
    /// Request queues, 1 to 64.
    pub request_queues: u16,
    /// What is below its root from the start.
    pub shares: Vec<FsShare>,
    /// How it is served.
    pub server: ServerConfig,
}

/// A device that serves shares. Changed at run time through its [`FsHandle`].
pub struct Fs {
    tag: [u8; MAX_TAG_BYTES],
    queue_sizes: Vec<u16>,
    parts: ServerParts,
    state: State,
}

/// Who has the server.
enum State {
    Idle(Box<Server>),
    Running(Worker<Stopped>),
    /// Nobody: its thread could not be started, or panicked. A reset makes a new one.
    Lost,
}

/// What a worker gives back.
type Stopped = (Box<Server>, Vec<QueueState>);

impl Fs {
    /// A device that nobody drives yet.
    ///
    /// # Errors
    /// [`FsError`] where tag, number of queues or a share are impossible.
    pub fn new(config: FsConfig) -> Result<Self, FsError> {
        let mut tag = [0; MAX_TAG_BYTES];
        let bytes = config.tag.as_bytes();
        match tag.get_mut(..bytes.len()) {
            Some(room) if !bytes.is_empty() && !bytes.contains(&0) => room.copy_from_slice(bytes),
            _ => return Err(FsError::BadTag(config.tag)),
        }
        if !(1..=64).contains(&config.request_queues) {
            return Err(FsError::BadQueueCount(config.request_queues));
        }
        let os = |source| FsError::Os { what: "making a device's event", source };
        let registry = Registry::new().map_err(os)?;
        let handle = FsHandle(Arc::clone(&registry));
        config.shares.into_iter().try_for_each(|share| handle.add(share))?;
        let parts = ServerParts::new(config.server, registry)?;
        Ok(Self {
            tag,
            queue_sizes: vec![QUEUE_SIZE; usize::from(config.request_queues) + 1],
            state: State::Idle(Box::new(Server::from_parts(parts.clone()))),
            parts,
        })
    }

    /// The way to change the device's shares, whether it runs or not.
    pub fn handle(&self) -> FsHandle {
        FsHandle(Arc::clone(&self.parts.registry))
    }

    /// What the device counts.
    pub fn metrics(&self) -> Arc<FsMetrics> {
        Arc::clone(&self.parts.metrics)
    }

    /// Starts the worker.
    fn spawn(&self, server: Box<Server>, activation: Activation) -> Result<Worker<Stopped>, DeviceError> {
        let Activation { ram, features, queues, interrupt, thread_setup } = activation;
        let faults = self.metrics();
        let body = move |stop: Event| {
            let mut service = FsService::new(&ram, server, queues, features, &interrupt);
            serve("fs", &mut service, interrupt.as_ref(), &stop, &faults.guest_faults);
            service.park();
            let states = service.rings.iter().map(Ring::state).collect();
            (service.server, states)
        };
        // Before the thread is confined: no later call needs the right to do this.
        let setup: ThreadSetup = Arc::new(move || -> io::Result<()> {
            sys::clear_own_umask()?;
            thread_setup()
        });
        Worker::spawn("fs", &setup, body)
    }
}

impl VirtioDevice for Fs {
    fn device_type(&self) -> DeviceType {
        DeviceType::Fs
    }

    fn features(&self) -> u64 {
        features::RING_FEATURES
    }

    fn queue_max_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    /// The tag, then the number of request queues (§5.11.4).
    fn read_config(&self, offset_bytes: u64, data: &mut [u8]) {
        let request_queues = u32::try_from(self.queue_sizes.len() - 1).unwrap_or(0).to_le_bytes();
        let mut config = self.tag.iter().chain(&request_queues).copied();
        let skip = usize::try_from(offset_bytes).unwrap_or(usize::MAX);
        let mut rest = config.by_ref().skip(skip.min(MAX_TAG_BYTES + 4));
        data.fill_with(|| rest.next().unwrap_or(0));
    }

    fn counters(&self) -> Option<Arc<dyn Counters>> {
        Some(self.metrics())
    }

    fn start(&mut self, activation: Activation) -> Result<(), DeviceError> {
        let (got, expected) = (activation.queues.len(), self.queue_sizes.len());
        let in_order = activation.queues.iter().enumerate().all(|(at, queue)| usize::from(queue.index) == at);
        if got != expected || !in_order {
            return Err(DeviceError::QueueCount { got, expected });
        }
        match std::mem::replace(&mut self.state, State::Lost) {
            State::Idle(server) => {
                self.state = State::Running(self.spawn(server, activation)?);
                Ok(())
            }
            other => {
                self.state = other;
                Err(DeviceError::State("the device runs already, or was lost".into()))
            }
        }
    }

    fn stop(&mut self) -> Vec<QueueState> {
        match std::mem::replace(&mut self.state, State::Lost) {
            State::Running(worker) => {
                let Some((server, states)) = worker.stop() else { return Vec::new() };
                self.state = State::Idle(server);
                states
            }
            other => {
                self.state = other;
                Vec::new()
            }
        }
    }

    fn reset(&mut self) {
        match &mut self.state {
            State::Idle(server) => server.end_session(),
            State::Running(_) => {}
            State::Lost => self.state = State::Idle(Box::new(Server::from_parts(self.parts.clone()))),
        }
    }

    fn save(&self) -> Result<DeviceState, DeviceError> {
        match &self.state {
            State::Idle(server) => Ok(DeviceState(server.save())),
            State::Running(_) | State::Lost => Err(DeviceError::NotStopped),
        }
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), DeviceError> {
        let mut server = Box::new(Server::from_parts(self.parts.clone()));
        server.restore(&state.0).map_err(|error| DeviceError::State(error.to_string()))?;
        self.state = State::Idle(server);
        Ok(())
    }
}

/// The device's work on its thread.
struct FsService<'m> {
    server: Box<Server>,
    rings: Vec<Ring<'m>>,
    chain: Chain<'m>,
    removed: Arc<Registry>,
    results: Arc<Results>,
    /// The requests that wait for locks, by ticket.
    waiting: HashMap<u64, Parked>,
}

impl<'m> FsService<'m> {
    fn new(
        ram: &'m GuestRam,
        server: Box<Server>,
        queues: Vec<ActiveQueue>,
        features: u64,
        interrupt: &Arc<dyn Interrupt>,
    ) -> Self {
        let ring = |queue| Ring::new(ram, queue, Arc::clone(interrupt), features, MAX_CHAIN_BYTES);
        let (removed, results) = (Arc::clone(&server.registry), Arc::clone(&server.waiters.results));
        let rings = queues.into_iter().map(ring).collect();
        Self { server, rings, chain: Chain::new(), removed, results, waiting: HashMap::new() }
    }

    /// Serves a few requests of one queue; where there are more, the queue's doorbell is raised again.
    fn serve_ring(&mut self, index: usize) -> Result<(), ServiceError> {
        let Some(ring) = self.rings.get_mut(index) else { return Ok(()) };
        for _ in 0..TURN_CHAINS {
            if ring.pop(&mut self.chain)? {
                serve_chain(&mut self.server, ring, &self.chain, &mut self.waiting)?;
            } else if !ring.rearm()? {
                return Ok(ring.notify()?);
            }
        }
        ring.notify()?;
        ring.again()
    }

    /// Answers the requests whose wait for a lock has ended.
    fn end_waits(&mut self) -> Result<(), ServiceError> {
        self.results.event.clear().map_err(ServiceError::host("reading an event"))?;
        for (ticket, unique, result) in self.server.ended_waits() {
            let Some(Parked { ring, head }) = self.waiting.remove(&ticket) else { continue };
            let Some(ring) = self.rings.get_mut(usize::from(ring)) else { continue };
            ring.walk(head, &mut self.chain)?;
            ring.push(head, self.server.finish_wait(unique, result, &self.chain.writable))?;
            ring.notify()?;
        }
        Ok(())
    }

    /// Ends all waits for locks; they begin again when the device is started again.
    fn park(&mut self) {
        self.server.waiters.interrupt_all();
        self.server.ended_waits();
        self.server.parked.extend(self.waiting.drain().map(|(_, parked)| parked));
    }

    /// Serves the requests that waited for locks when the device was stopped.
    fn unpark(&mut self) -> Result<(), ServiceError> {
        for Parked { ring, head } in std::mem::take(&mut self.server.parked) {
            let Some(ring) = self.rings.get_mut(usize::from(ring)) else { continue };
            ring.walk(head, &mut self.chain)?;
            serve_chain(&mut self.server, ring, &self.chain, &mut self.waiting)?;
            ring.notify()?;
        }
        Ok(())
    }

    fn sweep(&mut self) -> Result<(), ServiceError> {
        if self.removed.removed.clear().map_err(ServiceError::host("reading an event"))? {
            self.server.sweep();
        }
        Ok(())
    }
}

/// Serves one request; one that waits for a lock is answered later.
fn serve_chain(
    server: &mut Server,
    ring: &mut Ring<'_>,
    chain: &Chain<'_>,
    waiting: &mut HashMap<u64, Parked>,
) -> Result<(), ServiceError> {
    match server.handle(&chain.readable, &chain.writable).map_err(GuestFault::from)? {
        Answer::Written(bytes) => ring.push(chain.head(), bytes)?,
        Answer::Later(ticket) => {
            waiting.insert(ticket, Parked { ring: ring.index(), head: chain.head() });
        }
    }
    Ok(())
}

impl Service for FsService<'_> {
    fn begin(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        poller
            .add(&self.removed.removed, REMOVED, monocore_virtio::Interest::Read)
            .map_err(ServiceError::host("watching for removals"))?;
        poller
            .add(&self.results.event, LOCKS, monocore_virtio::Interest::Read)
            .map_err(ServiceError::host("watching waits for locks"))?;
        for ring in &self.rings {
            poller
                .add_kick(ring.kick(), ring.index().into())
                .map_err(ServiceError::host("watching a queue"))?;
        }
        self.sweep()?;
        self.unpark()?;
        (0..self.rings.len()).try_for_each(|index| self.serve_ring(index))
    }

    /// The end of a wait for a lock by a guest that cannot interrupt it.
    fn deadline(&self) -> Option<Instant> {
        self.server.waiters.deadline()
    }

    fn turn(&mut self, _poller: &Poller, ready: &[Ready]) -> Result<(), ServiceError> {
        if ready.iter().any(|ready| ready.token == REMOVED) {
            self.sweep()?;
        }
        if ready.iter().any(|ready| ready.token == LOCKS) {
            self.end_waits()?;
        }
        self.server.waiters.expire(Instant::now());
        if ready.iter().any(|ready| ready.token == u64::from(HIPRIO)) {
            self.serve_ring(usize::from(HIPRIO))?;
        }
        let other = |token: u64| ![u64::from(HIPRIO), REMOVED, LOCKS].contains(&token);
        for ready in ready.iter().filter(|ready| other(ready.token)) {
            self.serve_ring(usize::try_from(ready.token).unwrap_or(usize::MAX))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use monocore_virtio::conformance::Subject;
    use monocore_virtio::test_driver::{Part, TestDriver};
    use monocore_virtio::virtio_conformance;
    use zerocopy::IntoBytes;

    use crate::share::CachePolicy;
    use crate::wire::{EntryOut, InHeader, InitIn, Opcode};

    struct Shared;

    fn device() -> Fs {
        let root = std::fs::File::open("/tmp").unwrap().into();
        let share = FsShare { name: "tmp".into(), root, read_only: true, cache: CachePolicy::Auto };
        let server = ServerConfig::for_this_process();
        Fs::new(FsConfig { tag: "monocore".into(), request_queues: 2, shares: vec![share], server }).unwrap()
    }

    fn request(op: Opcode, node: u64, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(40 + body.len()).unwrap();
        let head = InHeader { len, opcode: op as u32, nodeid: node, ..InHeader::default() };
        [head.as_bytes(), body].concat()
    }

    fn init() -> Vec<u8> {
        request(Opcode::Init, 0, InitIn { major: 7, minor: 39, ..InitIn::default() }.as_bytes())
    }

    impl Subject for Shared {
        type Device = Fs;
        const REQUEST_QUEUES: &'static [usize] = &[0, 1, 2];
        fn device() -> Fs {
            device()
        }
        fn add_request(driver: &mut TestDriver<Fs>) -> usize {
            let request = init();
            let (from, to) = (driver.put(&request), driver.alloc(80));
            driver.queues[1].add(&[Part::readable(from, request.len()), Part::writable(to, 80)]);
            1
        }
    }

    virtio_conformance!(Shared);

    #[test]
    fn the_configuration_is_tag_and_queues() {
        let mut config = [0xff; 48];
        device().read_config(0, &mut config);
        assert_eq!(&config[..10], b"monocore\0\0");
        assert_eq!(config[36..], [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn impossible_devices_are_refused() {
        let config = |tag: &str, request_queues| FsConfig {
            tag: tag.into(),
            request_queues,
            shares: Vec::new(),
            server: ServerConfig::for_this_process(),
        };
        for tag in ["", "a\0b", &"t".repeat(37)] {
            assert!(matches!(Fs::new(config(tag, 1)), Err(FsError::BadTag(_))), "{tag:?}");
        }
        for queues in [0, 65] {
            assert!(matches!(Fs::new(config("t", queues)), Err(FsError::BadQueueCount(_))));
        }
        assert!(Fs::new(config(&"t".repeat(36), 64)).is_ok());
    }

    #[test]
    fn the_guests_view_survives_a_stop_but_no_reset() {
        let mut driver = TestDriver::started(device());
        driver.request(1, &[&init()], &[80]);
        assert!(driver.device.save().is_err(), "it runs");
        let lookup = request(Opcode::Lookup, 1, b"tmp\0");
        assert_eq!(driver.request(2, &[&lookup], &[16, 128]).len(), 16 + size_of::<EntryOut>());
        let states = driver.device.stop();
        let saved = driver.device.save().unwrap();
        driver.start_with(&states).unwrap();
        assert_eq!(driver.request(1, &[&lookup], &[16, 128]).len(), 16 + size_of::<EntryOut>());
        driver.device.stop();
        assert!(saved.0.len() > device().save().unwrap().0.len());
        driver.device.reset();
        assert_eq!(driver.device.save().unwrap().0.len(), {
            let State::Idle(server) = &driver.device.state else { panic!("stopped") };
            assert!(server.session.is_none());
            server.save().len()
        });
    }

    #[test]
    fn a_share_removed_while_the_device_runs_is_let_go() {
        let mut driver = TestDriver::started(device());
        driver.request(1, &[&init()], &[80]);
        driver.request(1, &[&request(Opcode::Lookup, 1, b"tmp\0")], &[16, 128]);
        let registry = Arc::clone(&driver.device.parts.registry);
        let share = registry.since(0).remove(0);
        driver.device.handle().remove("tmp").unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while Arc::strong_count(&share) > 1 && std::time::Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert_eq!(Arc::strong_count(&share), 1);
        driver.device.stop();
    }
}
