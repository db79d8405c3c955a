//! What a sandbox is to be, as plain data: no handles, no I/O but the reading of an environment file.
//!
//! The texts a user writes (`-v /a:/b:ro`, `8G`, `nofile=1024:4096`) are parsed here and nowhere else, so that every
//! front end understands the same ones.

mod capability;
mod duration;
mod env;
mod group;
mod health;
mod mount;
mod network;
mod rate;
mod restart;
mod secret;
mod serial;
mod signal;
mod size;
mod text;
mod ulimit;
mod validate;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use monocore_protocol::Rlimit;
use monocore_spec::JailMode;
use serde::{Deserialize, Serialize};

pub use capability::{capabilities, parse_capability};
pub use duration::parse_duration;
pub use env::{EnvVar, parse_env, read_env_file};
pub use group::{GroupMembership, parse_alias, parse_group, parse_group_name};
pub use health::{HealthSpec, HealthTest, parse_health_http, parse_health_tcp};
pub use mount::{
    MountSource, MountSpec, PublishSocket, parse_mount, parse_publish_socket, parse_tmpfs, parse_volume,
};
pub use network::{
    NetworkMode, NetworkSpec, parse_guest_ports, parse_net_rule, parse_network, parse_publish, parse_reach,
};
pub use rate::parse_rate;
pub use restart::{RestartPolicy, parse_restart};
pub use secret::{SecretSource, SecretSpec, parse_secret};
pub use serial::SpecVersion;
pub use signal::Signal;
pub use size::{parse_disk_size, parse_ram_mib, parse_size};
pub use text::{
    Cpus, MAX_VCPUS, ParseError, parse_cpu_limit, parse_cpus, parse_host_entry, parse_label, parse_name,
};
pub use ulimit::parse_ulimit;

/// Guest RAM of a sandbox that names none, MiB.
pub const DEFAULT_RAM_MIB: u32 = 512;
/// How long a command may take to end after its stop signal.
pub const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Size of `/dev/shm` of a sandbox that names none, bytes.
pub const DEFAULT_SHM_BYTES: u64 = 64 << 20;

/// One sandbox: its root, its machine and the command that runs in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxSpec {
    /// The version of this description.
    #[serde(default)]
    pub version: SpecVersion,
    /// Its name; one is made up when there is none.
    pub name: Option<String>,
    /// Its root file system.
    pub root: RootSpec,
    /// The command.
    pub process: ProcessSpec,
    /// The virtual machine.
    pub machine: MachineSpec,
    /// Host directories, volumes and memory file systems, in the order they were asked for.
    pub mounts: Vec<MountSpec>,
    /// Sockets of the guest that are reached from the host.
    pub publish_sockets: Vec<PublishSocket>,
    /// How it reaches others, and others it.
    pub network: NetworkSpec,
    /// The host name in the guest; the sandbox's id when there is none.
    pub hostname: Option<String>,
    /// Lines added to the guest's `/etc/hosts`.
    pub hosts: Vec<HostEntry>,
    /// Free-form, shown by `inspect`.
    pub labels: BTreeMap<String, String>,
    /// When and how the command is made to end.
    pub stop: StopSpec,
    /// When the sandbox is started again after its command has ended.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// How its health is checked; as the image says when absent.
    #[serde(default)]
    pub health: Option<HealthSpec>,
    /// How long it may live.
    #[serde(default)]
    pub limits: LimitsSpec,
}

impl SandboxSpec {
    /// The names of the parts in which `self` and `other` differ.
    pub(crate) fn differing_parts(&self, other: &Self) -> Vec<String> {
        let parts = |spec: &Self| match serde_json::to_value(spec) {
            Ok(serde_json::Value::Object(parts)) => parts,
            // Plain data with names as keys is an object.
            _ => serde_json::Map::new(),
        };
        let (ours, theirs) = (parts(self), parts(other));
        ours.into_iter()
            .filter(|(name, value)| theirs.get(name) != Some(value))
            .map(|(name, _)| name)
            .collect()
    }
}

/// The root file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootSpec {
    /// What it is made of.
    pub source: RootSource,
    /// The command cannot write to it.
    pub read_only: bool,
    /// Size of the disk that takes what the sandbox writes, bytes; 8 GiB when there is none.
    pub disk_bytes: Option<u64>,
}

/// What a root file system is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootSource {
    /// An image's layers.
    Image(ImageSpec),
    /// A directory of the host.
    Directory(PathBuf),
}

/// Which image, and where it may come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// As the user wrote it: `alpine`, `ghcr.io/a/b:c`, `name@sha256:…`, or a digest's beginning.
    pub reference: String,
    /// When a registry is asked.
    pub pull: PullPolicy,
    /// `os/arch[/variant]`; the machine's own when there is none.
    pub platform: Option<String>,
}

/// When a registry is asked for an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// When the store lacks it.
    #[default]
    Missing,
    /// Each time.
    Always,
    /// Never.
    Never,
}

/// The command and what it sees of the world; what is absent comes from the image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSpec {
    /// Replaces the image's entrypoint; an empty list removes it.
    #[serde(with = "serial::optional_texts")]
    pub entrypoint: Option<Vec<OsString>>,
    /// Replaces the image's command when not empty.
    #[serde(with = "serial::texts")]
    pub args: Vec<OsString>,
    /// Over the image's.
    pub env: Vec<EnvVar>,
    /// The directory it starts in.
    pub workdir: Option<String>,
    /// `name|uid[:group|gid]`, resolved in the guest.
    pub user: Option<String>,
    /// It gets a terminal.
    pub tty: bool,
    /// Its standard input is the caller's.
    pub stdin: bool,
    /// Resource limits.
    pub ulimits: Vec<Rlimit>,
    /// Groups beside those of the user, by name or number.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The only capabilities it may ever have, a bit for each number; all when there is none.
    #[serde(default)]
    pub capabilities: Option<u64>,
    /// No program it starts gives it more rights.
    #[serde(default)]
    pub no_new_privileges: bool,
    /// Files in `/run/secrets`, by reference: a value is never part of a description.
    #[serde(default)]
    pub secrets: Vec<SecretSpec>,
    /// Process 1 is an init of monocore's (`true`) or the command itself; when absent, the command is if it is an init.
    #[serde(default)]
    pub init: Option<bool>,
}

/// The virtual machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineSpec {
    /// 1 to 64.
    pub vcpus: u8,
    /// CPU time of the commands together, thousandths of one processor; all there is when absent.
    #[serde(default)]
    pub cpu_millis: Option<u32>,
    /// MiB.
    pub ram_mib: u32,
    /// Size of `/dev/shm`, bytes.
    pub shm_bytes: u64,
    /// A kernel instead of monocore's own.
    pub kernel: Option<PathBuf>,
    /// A file to which the points of the run are appended ([`crate::Timeline`]); init adds its own.
    pub timeline: Option<PathBuf>,
    /// What happens where this machine's kernel lacks a part of the jail.
    pub jail: JailMode,
    /// Directories and files may be mounted while it runs. Its jail has one thread more, which Landlock does not hold.
    #[serde(default)]
    pub live_mounts: bool,
    /// The guest's kernel parameters.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// Most processes and threads of the commands; without a limit when there is none.
    #[serde(default)]
    pub pids_limit: Option<u64>,
    /// The guest's NIS domain name.
    #[serde(default)]
    pub domainname: Option<String>,
}

impl Default for MachineSpec {
    fn default() -> Self {
        Self {
            vcpus: 1,
            cpu_millis: None,
            ram_mib: DEFAULT_RAM_MIB,
            shm_bytes: DEFAULT_SHM_BYTES,
            kernel: None,
            timeline: None,
            jail: JailMode::default(),
            live_mounts: false,
            sysctls: BTreeMap::new(),
            pids_limit: None,
            domainname: None,
        }
    }
}

/// A name and the address the guest's `/etc/hosts` gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostEntry {
    /// The name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
}

/// When and how a command is made to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopSpec {
    /// Sent first; the image's, else SIGTERM, when there is none.
    pub signal: Option<Signal>,
    /// From the signal to the machine's end.
    #[serde(with = "serial::milliseconds", rename = "grace_ms")]
    pub grace: Duration,
    /// After this the command is stopped.
    #[serde(with = "serial::optional_milliseconds", rename = "timeout_ms")]
    pub timeout: Option<Duration>,
}

impl Default for StopSpec {
    fn default() -> Self {
        Self { signal: None, grace: DEFAULT_STOP_TIMEOUT, timeout: None }
    }
}

/// How long a sandbox may live. Unlike [`StopSpec::timeout`], which is for each run of the command,
/// these end the sandbox whatever its restart policy says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSpec {
    /// The sandbox is stopped when nobody has used it for this long.
    #[serde(with = "serial::optional_milliseconds", rename = "idle_timeout_ms")]
    pub idle_timeout: Option<Duration>,
    /// The sandbox is stopped this long after its command's first start, restarts included; its exit code is 124.
    #[serde(with = "serial::optional_milliseconds", rename = "max_duration_ms")]
    pub max_duration: Option<Duration>,
}

#[cfg(test)]
pub(crate) mod tests;
