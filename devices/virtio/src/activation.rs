//! What a device is handed when its driver is ready.

use std::sync::Arc;

use monocore_hypervisor::{Doorbell, GuestRam};
use serde::{Deserialize, Serialize};
use virtio_queue::Queue;

use crate::{DeviceError, ThreadSetup};

/// How a device reaches its driver.
pub trait Interrupt: Send + Sync {
    /// Tells the driver that queue `index` has used buffers. The caller has checked that it wants to know.
    fn notify_queue(&self, index: u16);
    /// Tells the driver that the configuration space changed.
    fn notify_config(&self);
    /// The driver did what no driver may (VIRTIO 1.3 §2.1.2, DEVICE_NEEDS_RESET); the device stops serving.
    fn needs_reset(&self);
    /// Whether the driver has yet to acknowledge a configuration change that it may have missed.
    fn config_pending(&self) -> bool {
        false
    }
    /// Announces a pending configuration change once more.
    fn announce_config(&self) {}
}

/// One queue of a running device.
pub struct ActiveQueue {
    /// Its number within the device.
    pub index: u16,
    /// The ring; sizes and addresses are frozen and were checked to lie in guest RAM.
    pub queue: Queue,
    /// Raised when the driver made buffers available.
    pub kick: Doorbell,
}

/// Everything a device needs to run.
pub struct Activation {
    /// The guest's RAM.
    pub ram: GuestRam,
    /// The feature bits the driver acknowledged.
    pub features: u64,
    /// The device's queues, by index.
    pub queues: Vec<ActiveQueue>,
    /// The way to the driver.
    pub interrupt: Arc<dyn Interrupt>,
    /// What each thread of the device calls first.
    pub thread_setup: ThreadSetup,
}

impl Activation {
    /// The queues as an array, each at its index.
    ///
    /// # Errors
    /// [`DeviceError::QueueCount`] where the driver set up others than the first `N`.
    pub fn take_queues<const N: usize>(&mut self) -> Result<[ActiveQueue; N], DeviceError> {
        let queues = std::mem::take(&mut self.queues);
        let got = queues.len();
        if queues.iter().enumerate().any(|(index, queue)| usize::from(queue.index) != index) {
            return Err(DeviceError::QueueCount { got, expected: N });
        }
        queues.try_into().map_err(|_| DeviceError::QueueCount { got, expected: N })
    }
}

/// A queue's state as it is kept in a snapshot; plain data, checked when turned back into a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    /// The largest size the device offered, in descriptors.
    pub max_size: u16,
    /// Position of the next available entry to read.
    pub next_avail: u16,
    /// Position of the next used entry to write.
    pub next_used: u16,
    /// Whether VIRTIO_F_EVENT_IDX was negotiated.
    pub event_idx: bool,
    /// The size the driver chose, in descriptors.
    pub size: u16,
    /// Whether the driver set the queue ready.
    pub ready: bool,
    /// Guest physical address of the descriptor table.
    pub desc_table: u64,
    /// Guest physical address of the available ring.
    pub avail_ring: u64,
    /// Guest physical address of the used ring.
    pub used_ring: u64,
}
