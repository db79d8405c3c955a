//! A service: one image, how it runs, and how many of it.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Healthcheck, ServiceBuilder, WatchRule, serial};

/// Guest RAM of a service that names none, MiB.
pub const DEFAULT_RAM_MIB: u32 = 1024;

/// A service. Texts such as ports and volumes are kept as written; the parsers of [`crate::spec`] read them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(default)]
#[non_exhaustive]
pub struct Service {
    /// Its name, unique in the project; other services reach it by this name.
    pub name: String,
    /// The OCI image.
    pub base: String,
    /// The groups it is a member of.
    #[serde(rename = "group", skip_serializing_if = "Vec::is_empty", serialize_with = "serial::one_or_many")]
    #[schemars(with = "Vec<String>")]
    pub groups: Vec<String>,
    /// The program, in the place of the image's entrypoint and command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Arguments of `command`, else of the entrypoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Replaces the image's entrypoint; an empty list removes it. Not together with `command`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// vCPUs, 1 to 64.
    pub cpus: u8,
    /// CPU time that the commands may use together, thousandths of one CPU; `cpus = 1.5` means 2 vCPUs and 1500.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
    /// Guest RAM, MiB.
    pub ram: u32,
    /// Most processes and threads of the commands; 0 for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_limit: Option<u64>,
    /// Directory the command starts in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// `name|uid[:group|gid]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `[ADDRESS:][HOST]:GUEST[/udp]`, or one number for both.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// `HOST:GUEST[:ro]`, `NAME:GUEST[:ro]`, or one path for both.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// Mounts by key: `type=bind|volume|tmpfs,source=…,target=…[,readonly]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<String>,
    /// `TARGET[:size=64m,…]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tmpfs: Vec<String>,
    /// `NAME=VALUE`, or `NAME` for the caller's value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub envs: Vec<String>,
    /// Files of such lines; `envs` count more.
    #[serde(rename = "env_file", skip_serializing_if = "Vec::is_empty")]
    pub env_files: Vec<EnvFile>,
    /// Services that are started before it, and the state in which they must be.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub depends_on: BTreeMap<String, DependsOn>,
    /// Environment sets of its groups that it uses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group_envs: Vec<String>,
    /// Volumes of its groups that it mounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group_volumes: Vec<GroupVolumeMount>,
    /// How its health is found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// `no`, `on-failure[:N]`, `always`, or `unless-stopped`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<String>,
    /// Its network.
    #[serde(skip_serializing_if = "NetworkConfig::is_default")]
    pub network: NetworkConfig,
    /// Named shell scripts; `start` is the command when there is no other.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub scripts: BTreeMap<String, String>,
    /// Files of this host that `up --watch` follows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub watch: Vec<WatchRule>,
    /// The profiles it belongs to; without any it is always active.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// Free-form, shown by `inspect`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Secrets of the project that it mounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretMount>,
    /// Host name in the guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// `NAME:ADDRESS` lines for the guest's `/etc/hosts`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<String>,
    /// Name servers instead of this host's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// Domains to look names up in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_search: Vec<String>,
    /// Further names by which its groups' members reach it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// `SERVICE[:ALIAS]`: names for this service alone of services that share a group with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
    /// The sandbox's name, instead of `<project>-<service>-<n>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    /// The root file system is read-only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Size of the disk that takes what the service writes: `8G`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_disk: Option<String>,
    /// Signal that asks the command to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Time between that signal and the machine's end.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serial::optional_duration")]
    #[schemars(with = "String")]
    pub stop_grace_period: Option<Duration>,
    /// Time after which the command is stopped.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serial::optional_duration")]
    #[schemars(with = "String")]
    pub timeout: Option<Duration>,
    /// Time without use after which the sandbox is stopped.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serial::optional_duration")]
    #[schemars(with = "String")]
    pub idle_timeout: Option<Duration>,
    /// Time after its start at which the sandbox is stopped, restarts included.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serial::optional_duration")]
    #[schemars(with = "String")]
    pub max_duration: Option<Duration>,
    /// `nofile=1024:4096`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ulimits: Vec<String>,
    /// Size of `/dev/shm`: `64m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<String>,
    /// Accepted for Compose: every sandbox has an init.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub init: bool,
    /// The command gets a terminal.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tty: bool,
    /// The command's standard input stays open.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stdin_open: bool,
    /// How many sandboxes the service has; 0 to 1000.
    pub replicas: u16,
    /// `missing`, `always` or `never`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_policy: Option<String>,
    /// `os/arch[/variant]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
}

/// A dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(default)]
pub struct DependsOn {
    /// The state in which the other service must be.
    pub condition: Condition,
    /// Whether the service fails with the dependency. When false, a missing dependency is a warning.
    pub required: bool,
}

impl Default for DependsOn {
    fn default() -> Self {
        Self { condition: Condition::Started, required: true }
    }
}

/// The state in which a dependency must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Its command runs.
    #[default]
    Started,
    /// Its health check succeeds.
    Healthy,
    /// Its command ended with status 0.
    Completed,
}

/// A file of environment variables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(default)]
pub struct EnvFile {
    /// Absolute, or relative to the project's directory.
    pub path: String,
    /// A missing file is an error.
    pub required: bool,
    /// Values are taken as written: no quotes, no interpolation.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub raw: bool,
}

/// A volume of a group and where it is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(default)]
pub struct GroupVolumeMount {
    /// The volume's name in the group.
    pub name: String,
    /// `HOST:GUEST[:ro]`, HOST at or below the volume's directory; or GUEST for the whole volume.
    pub path: String,
}

/// A secret of the project in a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(default)]
pub struct SecretMount {
    /// The secret's name.
    pub source: String,
    /// The file in the guest; a relative name is below `/run/secrets`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// The network of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(default)]
pub struct NetworkConfig {
    /// `nat` (default), `tsi`, `none`, `tap:INTERFACE` or `passt:SOCKET`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// `none`, `group`, `public` (default) or `any`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reach: Option<String>,
    /// `TARGET[,port=N[-M]][,proto=tcp|udp|icmp][,in]`. Denials come first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// The same, denied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

impl NetworkConfig {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Service {
    fn default() -> Self {
        Self {
            name: String::new(),
            base: String::new(),
            groups: Vec::new(),
            command: None,
            args: Vec::new(),
            entrypoint: None,
            cpus: 1,
            cpu_millis: None,
            pids_limit: None,
            ram: DEFAULT_RAM_MIB,
            workdir: None,
            user: None,
            ports: Vec::new(),
            volumes: Vec::new(),
            mounts: Vec::new(),
            tmpfs: Vec::new(),
            envs: Vec::new(),
            env_files: Vec::new(),
            depends_on: BTreeMap::new(),
            group_envs: Vec::new(),
            group_volumes: Vec::new(),
            healthcheck: None,
            restart: None,
            network: NetworkConfig::default(),
            scripts: BTreeMap::new(),
            watch: Vec::new(),
            profiles: Vec::new(),
            labels: BTreeMap::new(),
            secrets: Vec::new(),
            hostname: None,
            extra_hosts: Vec::new(),
            dns: Vec::new(),
            dns_search: Vec::new(),
            aliases: Vec::new(),
            links: Vec::new(),
            container_name: None,
            read_only: false,
            root_disk: None,
            stop_signal: None,
            stop_grace_period: None,
            timeout: None,
            idle_timeout: None,
            max_duration: None,
            ulimits: Vec::new(),
            shm_size: None,
            init: false,
            tty: false,
            stdin_open: false,
            replicas: 1,
            pull_policy: None,
            platform: None,
        }
    }
}

impl Service {
    /// Begins a service with the defaults of `monocore.toml`.
    #[must_use]
    pub fn builder_default() -> ServiceBuilder {
        ServiceBuilder::default()
    }

    /// Begins a service with the defaults of `monocore.toml`; the same as [`Self::builder_default`].
    #[must_use]
    pub fn builder() -> ServiceBuilder {
        ServiceBuilder::default()
    }

    /// The words that run one of its scripts.
    #[must_use]
    pub fn script(&self, name: &str) -> Option<[String; 3]> {
        self.scripts.get(name).map(|line| ["/bin/sh".into(), "-c".into(), line.clone()])
    }
}
