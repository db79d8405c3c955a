//! virtio devices, seen from both sides: the life cycle every device has ([`VirtioDevice`]), what it
//! is handed when the driver is ready ([`Activation`]), and the virtio-mmio transport.
//!
//! A device knows queues and an [`Interrupt`]; it names neither its transport nor a hypervisor. So the same
//! device also runs behind a vhost-user socket.
//!
//! Source: VIRTIO 1.3, §2 (facilities), §4.2 (MMIO transport).

mod activation;
mod device;

pub use activation::{Activation, ActiveQueue, Interrupt, QueueState};
pub use device::{DeviceError, DeviceType, VirtioDevice};
