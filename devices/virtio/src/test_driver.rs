//! The driver's side, for tests and fuzz targets of devices: rings in guest memory, buffers, interrupts.
//!
//! It behaves as Linux does (EVENT_IDX in both directions, interrupts awaited, never polled), and lets a test
//! write rings that no driver writes.

mod alone;
mod interrupt;
mod queue;

use std::sync::Arc;

use monocore_hypervisor::{Event, GuestRam};
use vm_memory::{Bytes, GuestAddress};

use crate::{Activation, DeviceError, Interrupt, QueueState, ThreadSetup, VirtioDevice};
pub use alone::{NoDescriptors, alone, cpu_in_a_second};
pub use interrupt::TestInterrupt;
pub use queue::{DriverQueue, Part};

/// Guest RAM of a test, in bytes; from address 0 on.
pub const RAM_BYTES: usize = 32 << 20;
/// Where buffers begin; rings lie below.
const BUFFERS: u64 = 1 << 20;
/// Room for one queue's rings at size 1024, in bytes.
const QUEUE_STRIDE: u64 = 0x8000;

/// A driver for the device `D`.
pub struct TestDriver<D: VirtioDevice> {
    /// The device.
    pub device: D,
    /// The guest's RAM.
    pub ram: GuestRam,
    /// The driver's ends of the queues.
    pub queues: Vec<DriverQueue>,
    /// What the device told the driver.
    pub interrupt: Arc<TestInterrupt>,
    features: u64,
    next_free: u64,
}

impl<D: VirtioDevice> TestDriver<D> {
    /// A driver that has set up all queues, at their largest sizes up to 256, and takes all features.
    ///
    /// # Panics
    /// Where the test's RAM cannot be had.
    pub fn new(device: D) -> Self {
        let features = device.features();
        Self::with_features(device, features)
    }

    /// A driver that takes `features`.
    ///
    /// # Panics
    /// Where the test's RAM cannot be had.
    pub fn with_features(device: D, features: u64) -> Self {
        let ram = test_ram();
        let queues = (1u64..)
            .zip(device.queue_max_sizes())
            .map(|(number, &max_size)| {
                DriverQueue::new(ram.clone(), number * QUEUE_STRIDE, max_size, features)
            })
            .collect::<Vec<_>>();
        let interrupt = Arc::new(TestInterrupt::new(queues.len()));
        Self { device, ram, queues, interrupt, features, next_free: BUFFERS }
    }

    /// A started driver with all features.
    ///
    /// # Panics
    /// Where the device does not start.
    pub fn started(device: D) -> Self {
        let mut driver = Self::new(device);
        driver.start().expect("the device starts");
        driver
    }

    /// Starts the device with fresh queues.
    ///
    /// # Errors
    /// The device's.
    pub fn start(&mut self) -> Result<(), DeviceError> {
        let states = self.queues.iter().map(DriverQueue::fresh_state).collect::<Vec<_>>();
        self.start_with(&states)
    }

    /// Starts the device with queues in the given states, those of a stop before.
    ///
    /// # Errors
    /// The device's.
    pub fn start_with(&mut self, states: &[QueueState]) -> Result<(), DeviceError> {
        let queues = (0u16..)
            .zip(self.queues.iter().zip(states))
            .map(|(index, (queue, state))| queue.active(index, *state))
            .collect();
        self.device.start(Activation {
            ram: self.ram.clone(),
            features: self.features,
            queues,
            interrupt: Arc::clone(&self.interrupt) as Arc<dyn Interrupt>,
            thread_setup: no_setup(),
        })
    }

    /// Reserves `len_bytes` of guest RAM for a buffer and returns its address.
    ///
    /// # Panics
    /// When the test's RAM is used up.
    pub fn alloc(&mut self, len_bytes: usize) -> u64 {
        let addr = self.next_free;
        self.next_free += (len_bytes as u64).next_multiple_of(16);
        assert!(self.next_free <= RAM_BYTES as u64, "the test's RAM is used up");
        addr
    }

    /// Puts `bytes` into guest RAM and returns their address.
    pub fn put(&mut self, bytes: &[u8]) -> u64 {
        let addr = self.alloc(bytes.len());
        self.overwrite(addr, bytes);
        addr
    }

    /// Puts `bytes` into guest RAM at `addr`.
    ///
    /// # Panics
    /// Where there is no RAM.
    pub fn overwrite(&self, addr: u64, bytes: &[u8]) {
        self.ram.write_slice(bytes, GuestAddress(addr)).expect("buffers lie in RAM");
    }

    /// `len_bytes` of guest RAM at `addr`.
    pub fn get(&self, addr: u64, len_bytes: usize) -> Vec<u8> {
        let mut bytes = vec![0; len_bytes];
        self.ram.read_slice(&mut bytes, GuestAddress(addr)).expect("buffers lie in RAM");
        bytes
    }

    /// Sends one request on `queue`, waits for its answer, and returns what the device wrote.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn request(&mut self, queue: usize, readable: &[&[u8]], writable: &[usize]) -> Vec<u8> {
        let mut parts = Vec::new();
        for bytes in readable {
            parts.push(Part::readable(self.put(bytes), bytes.len()));
        }
        let answers: Vec<_> = writable.iter().map(|&len| (self.alloc(len), len)).collect();
        parts.extend(answers.iter().map(|&(addr, len)| Part::writable(addr, len)));
        let head = self.queues[queue].add(&parts);
        self.queues[queue].kick();
        let (used, written) = self.wait_used(queue);
        assert_eq!(used, head, "chains come back in order");
        let mut answer = Vec::new();
        for (addr, len) in answers {
            answer.extend(self.get(addr, len));
        }
        answer.truncate(written as usize);
        answer
    }

    /// Waits for the next used chain of `queue`: its head and the count of bytes written.
    ///
    /// # Panics
    /// When none comes.
    pub fn wait_used(&mut self, queue: usize) -> (u16, u32) {
        loop {
            let seen = self.interrupt.queue_count(queue);
            if let Some(used) = self.queues[queue].take_used() {
                return used;
            }
            assert!(
                self.interrupt.wait(|told| told.queues[queue] > seen || told.needs_reset),
                "no interrupt for queue {queue}"
            );
            assert!(!self.interrupt.needs_reset(), "the device asks for a reset");
        }
    }

    /// The feature bits the driver took.
    pub fn features(&self) -> u64 {
        self.features
    }
}

/// RAM of a test: two regions side by side, so that buffers can lie across their border.
///
/// # Panics
/// Where it cannot be had.
pub fn test_ram() -> GuestRam {
    let half = RAM_BYTES / 2;
    GuestRam::from_ranges(&[(GuestAddress(0), half), (GuestAddress(half as u64), half)])
        .expect("RAM for a test")
}

/// A thread setup that does nothing.
pub fn no_setup() -> ThreadSetup {
    Arc::new(|| Ok(()))
}

/// A new event, for a test's doorbells.
///
/// # Panics
/// Where no descriptor is free.
pub fn event() -> Event {
    Event::new().expect("a free descriptor")
}
