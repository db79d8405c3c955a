//! What a new sandbox is to be. Texts are those of the flags of `monocore run`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{SandboxDetails, TextOrNumber};

/// A new sandbox. Only `image` or `rootfs` is required; what is absent is as `monocore run -d` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(example = json!({"image": "alpine:latest", "name": "web", "command": ["sleep", "infinity"]}))]
pub struct CreateSandbox {
    /// The image: `alpine`, `ghcr.io/a/b:c`, a digest.
    pub image: Option<String>,
    /// A directory of the host as the root, instead of an image. Needs the scope admin.
    pub rootfs: Option<String>,
    /// The sandbox's name; one is made up when there is none.
    pub name: Option<String>,
    /// The command and its arguments, instead of the image's.
    pub command: Vec<String>,
    /// Replaces the image's entrypoint; an empty list removes it.
    pub entrypoint: Option<Vec<String>>,
    /// Variables, over the image's.
    pub env: BTreeMap<String, String>,
    /// The directory the command starts in.
    pub workdir: Option<String>,
    /// `NAME|UID[:GROUP|GID]`.
    pub user: Option<String>,
    /// The command gets a terminal.
    pub tty: bool,
    /// Virtual CPUs; 1 by default.
    pub cpus: Option<TextOrNumber>,
    /// Memory: `512m`, `2g`, or MiB; 512 MiB by default.
    pub memory: Option<TextOrNumber>,
    /// Published ports: `8080:80`, `127.0.0.1:0:53/udp`.
    pub ports: Vec<TextOrNumber>,
    /// Every port the image exposes is published on a free port.
    pub publish_all: bool,
    /// `SOURCE:TARGET[:ro]`. A path of the host must be absolute and needs the scope admin; a name is a volume.
    pub volumes: Vec<String>,
    /// `TARGET[:size=…,mode=…]`.
    pub tmpfs: Vec<String>,
    /// How the sandbox reaches others.
    pub network: Network,
    /// The host name in the sandbox.
    pub hostname: Option<String>,
    /// `NAME:ADDRESS`, for the sandbox's `/etc/hosts`.
    pub hosts: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The command cannot write to the root file system.
    pub read_only: bool,
    /// Size of the disk that takes what is written to the root: `8G`.
    pub root_disk: Option<TextOrNumber>,
    /// Size of `/dev/shm`: `64m`.
    pub shm_size: Option<TextOrNumber>,
    /// `NAME=SOFT[:HARD]`.
    pub ulimits: Vec<String>,
    /// When a registry is asked for the image.
    pub pull: PullPolicy,
    /// The image for another machine: `linux/amd64`.
    pub platform: Option<String>,
    /// `no`, `on-failure[:N]`, `always` or `unless-stopped`.
    pub restart: Option<String>,
    /// How health is checked, instead of what the image says.
    pub health: Option<HealthCheck>,
    /// The signal that asks the command to end.
    pub stop_signal: Option<String>,
    /// Grace period before SIGKILL: `10s`.
    pub stop_timeout: Option<TextOrNumber>,
    /// Each run of the command is stopped after this time (exit code 124).
    pub timeout: Option<TextOrNumber>,
    /// The sandbox is stopped when nobody has used it for this long.
    pub idle_timeout: Option<TextOrNumber>,
    /// The sandbox is stopped this long after its start.
    pub max_duration: Option<TextOrNumber>,
    /// The sandbox is removed when its command ends.
    pub remove_on_exit: bool,
    /// The sandbox is started at once.
    pub start: bool,
}

impl Default for CreateSandbox {
    fn default() -> Self {
        Self {
            image: None,
            rootfs: None,
            name: None,
            command: Vec::new(),
            entrypoint: None,
            env: BTreeMap::new(),
            workdir: None,
            user: None,
            tty: false,
            cpus: None,
            memory: None,
            ports: Vec::new(),
            publish_all: false,
            volumes: Vec::new(),
            tmpfs: Vec::new(),
            network: Network::default(),
            hostname: None,
            hosts: Vec::new(),
            labels: BTreeMap::new(),
            read_only: false,
            root_disk: None,
            shm_size: None,
            ulimits: Vec::new(),
            pull: PullPolicy::default(),
            platform: None,
            restart: None,
            health: None,
            stop_signal: None,
            stop_timeout: None,
            timeout: None,
            idle_timeout: None,
            max_duration: None,
            remove_on_exit: false,
            start: true,
        }
    }
}

/// How a sandbox reaches others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// `nat` (the default), `tsi`, `none`; `tap:INTERFACE` and `passt:SOCKET` need the scope admin.
    pub mode: Option<String>,
    /// What may be reached where no rule says otherwise: `public` (the default), `none`, `group` or `any`.
    pub reach: Option<String>,
    /// `allow:TARGET` or `deny:TARGET`, then `,port=N[-M]`, `,proto=tcp|udp|icmp`, `,in`. The first that fits decides.
    pub rules: Vec<String>,
    /// The host's own services may be reached, as `host.monocore.internal`. Needs the scope admin.
    pub allow_host: bool,
    /// `[PROJECT/]GROUP[,alias=NAME][,ip=ADDRESS]`: groups whose members reach each other by name.
    pub groups: Vec<String>,
    /// Name servers instead of the host's.
    pub dns: Vec<String>,
    /// Domains to look names up in.
    pub dns_search: Vec<String>,
}

/// When a registry is asked for an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

/// How health is checked. At most one of `shell`, `command`, `http` and `tcp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthCheck {
    /// A line for the sandbox's `/bin/sh -c`; healthy if it ends with 0.
    pub shell: Option<String>,
    /// A program and its arguments; healthy if it ends with 0.
    pub command: Vec<String>,
    /// A GET request, `PORT[/PATH]`; healthy if the status is 200 to 399.
    pub http: Option<TextOrNumber>,
    /// A connection to a port.
    pub tcp: Option<TextOrNumber>,
    /// Health is not checked, whatever the image says.
    pub disabled: bool,
    /// Time between two checks.
    pub interval: Option<TextOrNumber>,
    /// A check that takes longer has failed.
    pub timeout: Option<TextOrNumber>,
    /// Failures in a row that make the sandbox unhealthy.
    pub retries: Option<u32>,
    /// Failures this long after the start do not count.
    pub start_period: Option<TextOrNumber>,
    /// Time between two checks in the start period.
    pub start_interval: Option<TextOrNumber>,
}

/// A sandbox that was made.
pub type CreatedSandbox = SandboxDetails;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_enough_and_typos_are_refused() {
        let made: CreateSandbox = serde_json::from_str(r#"{"image":"alpine","memory":256}"#).unwrap();
        assert!(made.start && made.memory == Some(TextOrNumber::Number(256)));
        assert!(serde_json::from_str::<CreateSandbox>(r#"{"image":"alpine","comand":[]}"#).is_err());
    }
}
