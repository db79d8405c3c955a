//! virtio devices, seen from both sides: the life cycle every device has ([`VirtioDevice`]), what it
//! is handed when the driver is ready ([`Activation`]), the rings it serves ([`Ring`], [`Chain`],
//! [`Buffers`]), the thread it runs on ([`Worker`], [`serve`]), and the virtio-mmio transport
//! ([`MmioTransport`]).
//!
//! A device knows queues and an [`Interrupt`]; it names neither its transport nor a hypervisor. So the same
//! device also runs behind a vhost-user socket.
//!
//! The driver is not trusted: what it puts into rings and registers is copied once, checked in the copy, and
//! answered with DEVICE_NEEDS_RESET where it breaks the rules ([`GuestFault`]).
//!
//! Source: VIRTIO 1.3, §2 (facilities), §4.2 (MMIO transport).

mod activation;
mod chain;
#[cfg(any(test, feature = "test-driver"))]
pub mod conformance;
mod counters;
mod device;
mod fault;
pub mod features;
mod mmio;
mod poller;
mod queue;
mod rate;
mod ring;
mod sys;
#[cfg(any(test, feature = "test-driver"))]
pub mod test_driver;
mod worker;

pub use activation::{Activation, ActiveQueue, Interrupt, QueueState};
pub use chain::{Chain, MAX_DESCRIPTORS};
pub use counters::Counters;
pub use device::{DeviceError, DeviceState, DeviceType, VirtioDevice, read_config_bytes};
pub use fault::{GuestFault, ServiceError};
pub use mmio::{MmioTransport, TransportError, TransportState};
pub use poller::{Interest, Poller, Ready};
pub use queue::QueueError;
pub use rate::{Bucket, Rate, Rates};
pub use ring::Ring;
pub use sys::buffers::Buffers;
pub use sys::datagram::{Datagram, receive_together};
pub use sys::epoll::ReadySet;
pub use worker::{Service, ThreadSetup, Worker, serve};
