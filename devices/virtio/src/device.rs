//! The life cycle of a virtio device.
//!
//! ```text
//!        start(Activation)                 stop() -> Vec<QueueState>
//! idle ───────────────────────▶ running ───────────────────────────────▶ idle
//!  ▲  reset by the driver: stop(), reset()       │
//!  └──────────────────────────────────────────────┘
//! snapshot: stop(), save(); restore: restore(state), start(Activation with the saved queue states)
//! ```

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Activation, Counters, QueueState};

/// A device's number (VIRTIO 1.3 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DeviceType {
    /// §5.1
    Net = 1,
    /// §5.2
    Block = 2,
    /// §5.3
    Console = 3,
    /// §5.4
    Rng = 4,
    /// §5.5
    Balloon = 5,
    /// §5.10
    Vsock = 19,
    /// §5.11
    Fs = 26,
}

/// Why a device could not start, stop or take a state back.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The driver handed over a number of queues the device does not have.
    #[error("the driver set up {got} queues, the device has {expected}")]
    QueueCount {
        /// How many came.
        got: usize,
        /// How many the device has.
        expected: usize,
    },
    /// The operating system refused something the device needs (a thread, a descriptor).
    #[error("{what}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Its state was asked for while it ran, or a worker that panicked took it along.
    #[error("the device is not stopped")]
    NotStopped,
    /// A saved state that is not this device's, or whose version is unknown.
    #[error("saved state does not fit this device: {0}")]
    State(String),
}

/// A virtio device behind any transport.
///
/// Feature bits of the transport and the rings (VERSION_1, EVENT_IDX, INDIRECT_DESC) are the device's to offer as
/// well, so that what the driver acknowledged is one number.
pub trait VirtioDevice: Send {
    /// Which device this is.
    fn device_type(&self) -> DeviceType;

    /// The feature bits offered (VIRTIO 1.3 §2.2).
    fn features(&self) -> u64;

    /// The largest size of each queue, a power of two up to 32768; its length is the number of queues.
    fn queue_max_sizes(&self) -> &[u16];

    /// Fills `data` from the device's configuration space at `offset_bytes`; what lies beyond reads as zero.
    fn read_config(&self, offset_bytes: u64, data: &mut [u8]);

    /// Takes the driver's write to the configuration space; most devices have nothing writable.
    fn write_config(&mut self, offset_bytes: u64, data: &[u8]) {
        let _ = (offset_bytes, data);
    }

    /// What it counts, if anything; the same for all its life.
    fn counters(&self) -> Option<Arc<dyn Counters>> {
        None
    }

    /// The driver is ready (DRIVER_OK): the device owns its queues from here to [`stop`](Self::stop).
    ///
    /// # Errors
    /// [`DeviceError`]; the transport then sets DEVICE_NEEDS_RESET.
    fn start(&mut self, activation: Activation) -> Result<(), DeviceError>;

    /// Ends all work in flight and gives the queues back, by index; an idle device gives nothing.
    fn stop(&mut self) -> Vec<QueueState>;

    /// The driver reset the device; called when stopped. What belonged to that driver (connections, handles)
    /// is dropped; a plain stop and start keeps it.
    fn reset(&mut self) {}

    /// The device's own state beside its queues, versioned; called when stopped.
    ///
    /// # Errors
    /// [`DeviceError::NotStopped`] where it runs, or is lost.
    fn save(&self) -> Result<DeviceState, DeviceError>;

    /// Takes back what [`save`](Self::save) gave; called when stopped.
    ///
    /// # Errors
    /// [`DeviceError::State`] where the state is not this device's.
    fn restore(&mut self, state: &DeviceState) -> Result<(), DeviceError>;
}

/// What [`VirtioDevice::save`] gives: bytes that only a device of the same kind understands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceState(pub Vec<u8>);

/// For [`VirtioDevice::read_config`]: fills `data` from `offset_bytes` of `space`, with zeroes beyond its end.
pub fn read_config_bytes(space: &[u8], offset_bytes: u64, data: &mut [u8]) {
    let rest = usize::try_from(offset_bytes).ok().and_then(|offset| space.get(offset..)).unwrap_or_default();
    let count = rest.len().min(data.len());
    data[..count].copy_from_slice(&rest[..count]);
    data[count..].fill(0);
}
