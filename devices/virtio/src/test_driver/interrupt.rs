//! An interrupt that a test waits for.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::Interrupt;

/// Longer than any device takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a device told its driver.
#[derive(Debug, Default)]
pub struct Told {
    /// Notifications, by queue.
    pub queues: Vec<u64>,
    /// Configuration changes.
    pub config: u64,
    /// The device asks for a reset.
    pub needs_reset: bool,
}

/// Counts what a device tells its driver.
#[derive(Debug)]
pub struct TestInterrupt {
    told: Mutex<Told>,
    changed: Condvar,
}

impl TestInterrupt {
    /// An interrupt of a device with `queues` queues.
    pub fn new(queues: usize) -> Self {
        Self {
            told: Mutex::new(Told { queues: vec![0; queues], ..Told::default() }),
            changed: Condvar::new(),
        }
    }

    /// How often queue `index` was announced.
    pub fn queue_count(&self, index: usize) -> u64 {
        self.told().queues[index]
    }

    /// How often a configuration change was announced.
    pub fn config_count(&self) -> u64 {
        self.told().config
    }

    /// Whether the device asked for a reset.
    pub fn needs_reset(&self) -> bool {
        self.told().needs_reset
    }

    /// Waits until `condition` holds and says whether it came to that.
    pub fn wait(&self, condition: impl Fn(&Told) -> bool) -> bool {
        self.wait_for(PATIENCE, condition)
    }

    /// Waits until `condition` holds, `patience` at most, and says whether it came to that.
    ///
    /// # Panics
    /// When another thread of the test panicked.
    pub fn wait_for(&self, patience: Duration, condition: impl Fn(&Told) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.told(), patience, |told| !condition(told));
        condition(&waited.expect("no thread panicked").0)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().expect("no thread panicked")
    }

    fn tell(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.told());
        self.changed.notify_all();
    }
}

impl Interrupt for TestInterrupt {
    fn notify_queue(&self, index: u16) {
        self.tell(|told| told.queues[usize::from(index)] += 1);
    }

    fn notify_config(&self) {
        self.tell(|told| told.config += 1);
    }

    fn needs_reset(&self) {
        self.tell(|told| told.needs_reset = true);
    }
}
