//! What a transport keeps in a snapshot.

use serde::{Deserialize, Serialize};

use crate::{DeviceState, QueueState};

/// A stopped transport and its device; plain data, checked on the way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransportState {
    /// The device status field, DEVICE_NEEDS_RESET included.
    pub status: u32,
    /// Feature bits the driver acknowledged.
    pub driver_features: u64,
    /// The registers that select what others show: device features, driver features, queue.
    pub selectors: [u32; 3],
    /// Pending interrupt causes.
    pub interrupt_status: u32,
    /// Number of configuration changes so far, modulo 2^32.
    pub config_generation: u32,
    /// Every queue of the device.
    pub queues: Vec<QueueState>,
    /// What [`VirtioDevice::save`](crate::VirtioDevice::save) gave.
    pub device: DeviceState,
}
