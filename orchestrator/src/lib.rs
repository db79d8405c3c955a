//! Sandboxes: run directories, disks, supervision, the session with the guest's agent.
//!
//! A [`spec::SandboxSpec`] says what a sandbox is to be; this crate makes of it a machine's description, the files
//! it needs, a process that runs it and a conversation with the agent in it. It never names a hypervisor, and it trusts
//! neither the guest nor what an earlier, killed process left in the state directory.

mod boot;
mod control;
mod error;
pub mod groups;
mod home;
mod id;
mod kept;
mod launch;
mod log_file;
mod logs;
mod mounts;
mod names;
mod network;
mod peers;
mod plan;
mod process;
mod publish;
mod receipts;
pub mod registry;
mod run_dir;
mod sandbox;
mod scratch;
pub mod session;
mod sockets;
mod spawn;
pub mod spec;
mod state;
mod supervise;
mod supervisor;
mod timeline;
mod volume;

pub use control::{ControlClient, ExecCall, RemoteCommand};
pub use error::Error;
pub use groups::{GroupMember, GroupRecord, JoinedGroup, NewGroup};
pub use home::Home;
pub use kept::{KeptRecord, KeptSandbox, NewSandbox, SandboxState, SandboxStatus};
pub use launch::{Launcher, command_line, this_program};
pub use logs::{LogEntry, LogReader, LogStream};
pub use plan::{Plan, RootFiles};
pub use publish::Published;
pub use receipts::Receipts;
pub use registry::SandboxEntry;
pub use run_dir::{LogRecord, NetworkRecord, Record, RunDir, RunRecord};
pub use sandbox::{Ended, Sandbox};
pub use sockets::{HostSocket, PublishedSocket};
pub use spawn::VmmProcess;
pub use supervise::{start as start_in_background, supervise};
pub use supervisor::Front;
pub use timeline::Timeline;
