//! Sandboxes as listings and `inspect` show them, and what is asked of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::TextOrNumber;

/// What a sandbox does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SandboxStatus {
    /// It has not run yet.
    Created,
    /// Its command runs.
    Running,
    /// It has ended.
    Exited,
    /// Its virtual machine stands still.
    Paused,
    /// Its restart policy is about to start it again.
    Restarting,
}

/// A sandbox as listings show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sandbox {
    /// Twelve hexadecimal digits.
    pub id: String,
    /// The name.
    pub name: String,
    /// The image as the user wrote it, or the root directory.
    pub image: String,
    /// The command line.
    pub command: Vec<String>,
    /// What the sandbox does.
    pub status: SandboxStatus,
    /// The exit code of its last run.
    pub exit_code: Option<u8>,
    /// Why it could not be started or came to a sudden end.
    pub error: Option<String>,
    /// `starting`, `healthy` or `unhealthy`; absent if its health is not checked.
    pub health: Option<String>,
    /// How often its restart policy has started it again.
    pub restart_count: u32,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// When it was started the last time, milliseconds since 1970.
    pub started_ms: Option<u64>,
    /// When it ended the last time, milliseconds since 1970.
    pub finished_ms: Option<u64>,
    /// Ports of the host that lead to it; empty unless it runs.
    pub ports: Vec<PublishedPort>,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// The project it belongs to.
    pub project: Option<String>,
    /// The service of that project.
    pub service: Option<String>,
    /// The groups of that service.
    pub groups: Vec<String>,
}

/// A port of the host that leads to a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublishedPort {
    /// The address on the host.
    pub address: String,
    /// The port on the host.
    pub host_port: u16,
    /// The port in the sandbox.
    pub guest_port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
}

/// Sandboxes, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SandboxList {
    /// The sandboxes.
    pub sandboxes: Vec<Sandbox>,
}

/// Which sandboxes are listed; all given conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Also sandboxes that do not run. Implied by `status`.
    pub all: bool,
    /// Only those in this state.
    pub status: Option<SandboxStatus>,
    /// Only those whose name contains this text.
    pub name: Option<String>,
    /// Only those with this label, `KEY` or `KEY=VALUE`.
    pub label: Option<String>,
    /// Only those of this project.
    pub project: Option<String>,
}

/// Everything about a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SandboxDetails {
    /// As listings show it.
    #[serde(flatten)]
    pub sandbox: Sandbox,
    /// How it was made; absent for a foreground `run`, which leaves no description.
    pub settings: Option<SandboxSettings>,
}

/// How a sandbox was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SandboxSettings {
    /// The digest of the image's configuration.
    pub image_id: Option<String>,
    /// The sandbox is removed when its command ends.
    pub remove_on_exit: bool,
    /// Virtual CPUs.
    pub cpus: u8,
    /// Memory, MiB.
    pub memory_mib: u32,
    /// Variables set over the image's.
    pub env: BTreeMap<String, String>,
    /// The directory the command starts in, where it is not the image's.
    pub workdir: Option<String>,
    /// Who runs the command, where it is not the image's user.
    pub user: Option<String>,
    /// The command has a terminal.
    pub tty: bool,
    /// The root file system cannot be written to.
    pub read_only: bool,
    /// `none`, `nat`, `tsi`, `tap` or `passt`.
    pub network: String,
    /// What the sandbox reaches where no rule says otherwise: `none`, `group`, `public` or `any`.
    pub reach: String,
    /// Mounts, in the order they were asked for.
    pub mounts: Vec<SandboxMount>,
    /// When it is started again: `no`, `on-failure[:N]`, `always` or `unless-stopped`.
    pub restart: String,
    /// From the stop signal to SIGKILL, milliseconds.
    pub stop_timeout_ms: u64,
}

/// A mount of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SandboxMount {
    /// `bind`, `volume`, `anonymous`, `tmpfs` or `socket`.
    pub kind: String,
    /// The host's path or the volume's name.
    pub source: Option<String>,
    /// Where it is in the sandbox.
    pub target: String,
    /// The sandbox cannot write to it.
    pub read_only: bool,
}

/// How a sandbox is stopped or restarted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StopRequest {
    /// The signal instead of the sandbox's own, such as `SIGINT`.
    pub signal: Option<String>,
    /// Grace period before SIGKILL: `10s`, or seconds.
    pub timeout: Option<TextOrNumber>,
}

/// Which signal is sent to a sandbox's command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KillRequest {
    /// Such as `SIGTERM`, `HUP` or `9`; SIGKILL by default, which ends the machine as well.
    pub signal: Option<TextOrNumber>,
}

/// Whether a running sandbox may be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct RemoveQuery {
    /// A running sandbox is killed first. One that does not exist counts as removed.
    pub force: bool,
}

/// What a sandbox's command ended with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExitReport {
    /// The exit code; 128 and the signal's number where a signal ended it.
    pub exit_code: u8,
}

/// What a running sandbox uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SandboxStats {
    /// The sandbox.
    pub id: String,
    /// Its name.
    pub name: String,
    /// By the guest's agent; absent while the guest does not answer.
    pub guest: Option<GuestStats>,
    /// By the machine's process; absent while that does not answer.
    pub machine: Option<MachineStats>,
}

/// What a guest uses, in its own view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GuestStats {
    /// Since the machine's start, milliseconds.
    pub uptime_ms: u64,
    /// CPU time in user mode, milliseconds.
    pub cpu_user_ms: u64,
    /// CPU time in the guest's kernel, milliseconds.
    pub cpu_system_ms: u64,
    /// Memory in use, bytes.
    pub memory_used_bytes: u64,
    /// Memory of the guest, bytes.
    pub memory_total_bytes: u64,
    /// Processes and threads.
    pub tasks: u32,
}

/// What a machine's process uses and carries, on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineStats {
    /// CPU time of the machine's process, the guest's included, milliseconds.
    pub cpu_ms: u64,
    /// Bytes that the guest received from the network.
    pub net_received_bytes: u64,
    /// Bytes that the guest sent to the network.
    pub net_sent_bytes: u64,
    /// Bytes read from disks and shares.
    pub block_read_bytes: u64,
    /// Bytes written to disks and shares.
    pub block_written_bytes: u64,
}

/// Which events are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Begins with the events from then on: a time, or how long ago; otherwise with what happens next.
    pub since: Option<String>,
    /// Only those of this sandbox (name or ID).
    pub sandbox: Option<String>,
}

/// Something that happened to a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SandboxEvent {
    /// `create`, `start`, `die`, `destroy`, `exec_create`, `health_status`, ….
    pub event: String,
    /// What belongs to the event: the command, the health.
    pub detail: Option<String>,
    /// The sandbox.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// Its image.
    pub image: String,
    /// The exit code, where a command ended.
    pub exit_code: Option<u8>,
    /// When, milliseconds since 1970.
    pub time_ms: u64,
}

/// Which files of a sandbox are copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FilesQuery {
    /// An absolute path in the sandbox; `DIRECTORY/.` is only its content.
    pub path: String,
    /// Where the path is a symbolic link, what that leads to is copied.
    #[serde(default)]
    pub follow: bool,
    /// Files keep their owners.
    #[serde(default)]
    pub owners: bool,
}
