//! Sandboxes: run directories, disks, supervision, the session with the guest's agent.
//!
//! A [`spec::SandboxSpec`] says what a sandbox is to be; this crate makes of it a machine's description, the files
//! it needs, a process that runs it and a conversation with the agent in it. It never names a hypervisor, and it trusts
//! neither the guest nor what an earlier, killed process left in the state directory.

mod boot;
pub mod config;
mod control;
pub mod copy;
mod error;
pub mod events;
pub mod groups;
mod health;
mod home;
mod id;
mod idle;
pub mod images;
mod kept;
mod launch;
mod life;
mod live;
mod log_file;
mod logs;
mod mounts;
mod names;
mod network;
mod orchestrator;
mod peers;
mod plan;
mod process;
mod project;
mod publish;
mod receipts;
pub mod registry;
mod restart;
mod run_dir;
mod sandbox;
mod scratch;
mod secrets;
pub mod session;
mod sockets;
mod sources;
mod spawn;
pub mod spec;
mod state;
mod supervise;
mod supervisor;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
mod timeline;
mod tools;
pub mod volume;
mod wait;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use control::fuzzing;
pub use control::{
    Attachment, Condition, ControlClient, ControlHandle, Detached, ExecCall, LiveMount, RemoteCommand,
    SandboxStats,
};
pub use error::Error;
pub use groups::{GroupMember, GroupRecord, JoinedGroup, NewGroup};
pub use health::{HealthReport, HealthResult, HealthStatus};
pub use home::Home;
pub use images::Images;
pub use kept::{KeptRecord, KeptSandbox, SandboxState, SandboxStatus};
pub use launch::{Launcher, this_program};
pub use live::{Applied, MachineSize, update};
pub use logs::{LogEntry, LogReader, LogSelection, LogStream, SelectedLog};
pub use monocore_channel::{DeviceCounters, MachineCounters};
pub use orchestrator::{LogRetentionPolicy, Orchestrator, ProjectSource};
pub use plan::{Plan, RootFiles};
pub use project::{
    Change, DownOptions, Instance, LABEL_GROUPS, LABEL_PROJECT, LABEL_SERVICE, Member, Need, PlannedStep,
    ProjectEvent, ProjectPlan, ProjectRunner, ProjectWatch, ServiceStep, UpOptions, WatchObserver, WatchStop,
    find_service, instances,
};
pub use publish::Published;
pub use receipts::Receipts;
pub use registry::SandboxEntry;
pub use run_dir::{LogRecord, NetworkRecord, Record, RunDir, RunRecord};
pub use sandbox::{Ended, LaunchedSandbox};
pub use sockets::{HostSocket, PublishedSocket};
pub use sources::record as record_shared;
pub use spawn::VmmProcess;
pub use supervise::{start as start_in_background, supervise};
pub use supervisor::Front;
pub use timeline::Timeline;
pub use tools::{run_tool, tool_output};
pub use wait::{Awaited, wait_for};
