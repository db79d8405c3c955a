//! Sandboxes: run directories, disks, supervision, the session with the guest's agent.
//!
//! A [`spec::SandboxSpec`] says what a sandbox is to be; this crate makes of it a machine's description, the files
//! it needs, a process that runs it and a conversation with the agent in it. It never names a hypervisor, and it trusts
//! neither the guest nor what an earlier, killed process left in the state directory.

mod boot;
mod error;
mod home;
mod id;
mod log_file;
mod mounts;
mod network;
mod plan;
mod process;
mod publish;
mod receipts;
mod run_dir;
mod sandbox;
mod scratch;
pub mod session;
mod sockets;
mod spawn;
pub mod spec;
mod state;
mod timeline;
mod volume;

pub use error::Error;
pub use home::Home;
pub use plan::{Plan, RootFiles};
pub use publish::Published;
pub use receipts::Receipts;
pub use run_dir::{LogRecord, NetworkRecord, Record, RunDir};
pub use sandbox::{Ended, Sandbox};
pub use sockets::{HostSocket, PublishedSocket};
pub use spawn::VmmProcess;
pub use timeline::Timeline;
