//! Boots and runs one guest: [`VmSpec`] to [`Machine`]; the embedding API is [`Builder`].
//!
//! Threads: one per vCPU, one or more per busy device, and the caller's, which waits for the end. Device accesses are
//! served on the vCPU's thread under that device's own lock; nothing there waits for a backend.
//!
//! Trust: the spec and the files it names come from whoever starts the machine. The guest is hostile: what it writes to ports,
//! registers and rings may end its own machine, never this process by a panic.

mod attachments;
mod boot;
mod broker;
mod builder;
mod bus;
mod devices;
mod error;
mod files;
mod host;
pub mod jail;
mod machine;
mod outcome;
pub mod process;
mod sys;

pub use attachments::{Attachments, Confinement, StartsOn, ThreadKind, Unconfined};
pub use broker::{BrokerError, start_broker};
pub use builder::Builder;
pub use bus::BusCounts;
pub use devices::Starter;

pub use error::Error;
pub use host::HostHypervisor;
pub use machine::{DeviceMetrics, Machine, MachineHandle, Metrics, Running, Shares};
pub use monocore_spec::{self as spec, VmExit, VmSpec};
pub use monocore_vsock::{Dialer, Handlers};
