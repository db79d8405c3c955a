//! New sandboxes: what an agent asks for, as a description that the policy admits.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use monocore_orchestrator::spec::{
    self, EnvVar, ImageSpec, LimitsSpec, MachineSpec, MountSource, MountSpec, NetworkMode, NetworkSpec,
    ProcessSpec, PullPolicy, RootSource, RootSpec, SandboxSpec, SpecVersion, StopSpec,
};
use monocore_orchestrator::{KeptSandbox, registry, start_in_background};
use monocore_protocol::Tmpfs;
use monocore_spec::{PolicySpec, Reach};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Kind, McpTool};
use crate::error::ToolError;
use crate::images;
use crate::policy::Policy;
use crate::server::McpServer;
use crate::work::{Call, Interrupt};

/// Ends a program that only keeps a sandbox alive.
const IDLE_GRACE: Duration = Duration::from_secs(2);
/// Keeps a sandbox alive until it is stopped: every implementation of sleep knows numbers.
const IDLE: [&str; 2] = ["sleep", "2147483647"];

pub(super) fn tools() -> Vec<McpTool> {
    vec![McpTool::new(
        "create_sandbox",
        "Create a sandbox",
        Kind::Runs,
        "Creates and starts a sandbox (a microVM of its own) from an OCI image, and returns its name. The sandbox and its \
         files stay until remove_sandbox; use exec, read_file, write_file, upload and download on it. Without `command` \
         it idles and waits for exec. For a single piece of code, run_code is simpler.",
        create,
    )]
}

/// What an agent asks for.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    /// OCI image, such as python:3.13-slim or ghcr.io/org/image:tag
    #[schemars(length(min = 1, max = 512))]
    pub(super) image: String,
    /// Name of the new sandbox: letters, digits, '_', '.', '-'. One is made up if absent
    #[schemars(length(min = 1, max = 128))]
    pub(super) name: Option<String>,
    /// Program and arguments, replacing the image's. Absent: the sandbox idles. Empty: the image's own command
    #[schemars(length(max = 256), inner(length(max = 16384)))]
    pub(super) command: Option<Vec<String>>,
    /// Environment variables
    #[serde(default)]
    #[schemars(extend("maxProperties" = 256))]
    pub(super) env: BTreeMap<String, String>,
    /// Working directory in the sandbox, absolute
    #[schemars(length(min = 1, max = 4096))]
    pub(super) workdir: Option<String>,
    /// User in the sandbox: name or uid, with :group if wanted
    #[schemars(length(min = 1, max = 256))]
    pub(super) user: Option<String>,
    /// Memory in MiB
    #[schemars(range(min = 64, max = 1_048_576))]
    pub(super) memory_mib: Option<u32>,
    /// CPUs
    #[schemars(range(min = 1, max = 64))]
    pub(super) cpus: Option<u8>,
    /// Size of the disk that takes what the sandbox writes, in GiB
    #[schemars(range(min = 1, max = 4096))]
    pub(super) disk_gib: Option<u64>,
    /// What the sandbox can reach
    pub(super) network: Option<NetworkWish>,
    /// Ports of the host that lead into the sandbox: `HOST:GUEST` or `[ADDRESS:]HOST:GUEST[/udp]`; 0 as HOST takes a free one
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 128)))]
    pub(super) ports: Vec<String>,
    /// Directories and volumes mounted in the sandbox
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub(super) mounts: Vec<MountWish>,
    /// Stop the sandbox when it was not used for so many seconds
    #[schemars(range(min = 1, max = 31_536_000))]
    pub(super) idle_timeout_seconds: Option<u64>,
    /// Stop the sandbox so many seconds after its start
    #[schemars(range(min = 1, max = 31_536_000))]
    pub(super) max_duration_seconds: Option<u64>,
}

/// What a sandbox can reach.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkWish {
    /// none: nothing; group: the other services of its project; public: also public addresses; any: also private ones
    pub(super) reach: Option<ReachWish>,
    /// Exceptions that are allowed: a domain, *.domain, address, network (10.0.0.0/8) or host, with ,port=N if wanted
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub(super) allow: Vec<String>,
    /// Exceptions that are denied, in the same form; they count first
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub(super) deny: Vec<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ReachWish {
    None,
    Group,
    Public,
    Any,
}

/// Something mounted in a sandbox.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MountWish {
    /// Where in the sandbox, absolute
    #[schemars(length(min = 1, max = 4096))]
    path: String,
    /// A directory or file of the host, absolute; only below the policy's allowed paths
    #[schemars(length(min = 1, max = 4096))]
    host_path: Option<String>,
    /// A named volume, which outlives the sandbox
    #[schemars(length(min = 1, max = 128))]
    volume: Option<String>,
    /// A file system in memory of this size in MiB
    #[schemars(range(min = 1, max = 65_536))]
    tmpfs_mib: Option<u64>,
    /// The sandbox cannot write to it. Default: true for host_path, false otherwise
    read_only: Option<bool>,
}

impl Wish {
    /// A sandbox of this image that is otherwise as the policy has it.
    pub(super) fn of(image: String) -> Self {
        Self {
            image,
            name: None,
            command: None,
            env: BTreeMap::new(),
            workdir: None,
            user: None,
            memory_mib: None,
            cpus: None,
            disk_gib: None,
            network: None,
            ports: Vec::new(),
            mounts: Vec::new(),
            idle_timeout_seconds: None,
            max_duration_seconds: None,
        }
    }

    /// The description, as the policy admits it.
    pub(super) fn spec(&self, policy: &Policy) -> Result<SandboxSpec, ToolError> {
        let seconds = |time: Option<u64>| time.map(Duration::from_secs);
        let name = self.name.as_deref().map(spec::parse_name).transpose();
        let machine = MachineSpec {
            vcpus: self.cpus.unwrap_or(1),
            ram_mib: self.memory_mib.unwrap_or(policy.sandboxes.default_memory_mib),
            ..MachineSpec::default()
        };
        let image = ImageSpec { reference: self.image.clone(), pull: PullPolicy::Never, platform: None };
        let mut made = SandboxSpec {
            version: SpecVersion,
            name: name.map_err(|error| ToolError::value("name", error))?,
            root: RootSpec {
                source: RootSource::Image(image),
                read_only: false,
                disk_bytes: self.disk_gib.map(|gib| gib << 30),
            },
            process: self.process()?,
            machine,
            mounts: self.mounts.iter().map(MountWish::spec).collect::<Result<_, _>>()?,
            publish_sockets: Vec::new(),
            network: self.network(policy)?,
            hostname: None,
            hosts: Vec::new(),
            labels: BTreeMap::new(),
            stop: StopSpec::default(),
            restart: spec::RestartPolicy::No,
            health: None,
            limits: LimitsSpec {
                idle_timeout: seconds(self.idle_timeout_seconds),
                max_duration: seconds(self.max_duration_seconds),
            },
        };
        if self.command.is_none() {
            made.stop.grace = IDLE_GRACE;
        }
        let mut targets: Vec<&str> =
            made.mounts.iter().map(|mount| mount.target.trim_end_matches('/')).collect();
        targets.sort_unstable();
        if let Some(pair) = targets.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ToolError::value("mounts", format!("two mounts at {}", pair[0])));
        }
        policy.admit(&mut made)?;
        Ok(made)
    }

    fn process(&self) -> Result<ProcessSpec, ToolError> {
        check_variables(&self.env)?;
        if self.workdir.as_deref().is_some_and(|path| !path.starts_with('/')) {
            return Err(ToolError::value("workdir", "give an absolute path"));
        }
        let words = self.command.iter().flatten().chain(&self.workdir).chain(&self.user);
        if words.into_iter().any(|word| word.contains('\0')) {
            return Err(ToolError::value("command", "a word has a NUL character"));
        }
        let words = |words: &[String]| words.iter().map(OsString::from).collect();
        let (entrypoint, args) = match &self.command {
            None => (Some(Vec::new()), IDLE.map(OsString::from).to_vec()),
            Some(command) if command.is_empty() => (None, Vec::new()),
            Some(command) => (Some(Vec::new()), words(command)),
        };
        let variable = |(name, value): (&String, &String)| EnvVar { name: name.into(), value: value.into() };
        Ok(ProcessSpec {
            entrypoint,
            args,
            env: self.env.iter().map(variable).collect(),
            workdir: self.workdir.clone(),
            user: self.user.clone(),
            ..ProcessSpec::default()
        })
    }

    fn network(&self, policy: &Policy) -> Result<NetworkSpec, ToolError> {
        let wish = self.network.as_ref();
        let reach = match wish.and_then(|wish| wish.reach) {
            None => policy.default_reach(),
            Some(ReachWish::None) => Reach::None,
            Some(ReachWish::Group) => Reach::Group,
            Some(ReachWish::Public) => Reach::Public,
            Some(ReachWish::Any) => Reach::Any,
        };
        let rules = |action: &str, list: &[String]| {
            let rule = |text: &String| spec::parse_net_rule(&format!("{action}:{text}"));
            let rules = list.iter().map(rule).collect::<Result<Vec<_>, _>>();
            rules.map_err(|error| ToolError::value(&format!("network.{action}"), error))
        };
        let (allow, deny) = wish.map_or((&[][..], &[][..]), |wish| (&wish.allow, &wish.deny));
        let publish = self.ports.iter().map(|port| spec::parse_publish(port)).collect::<Result<Vec<_>, _>>();
        let publish = publish.map_err(|error| ToolError::value("ports", error))?.concat();
        if reach == Reach::None && allow.is_empty() && publish.is_empty() {
            return Ok(NetworkSpec { mode: NetworkMode::None, ..NetworkSpec::default() });
        }
        let rules = [rules("deny", deny)?, rules("allow", allow)?].concat();
        Ok(NetworkSpec {
            mode: NetworkMode::Nat,
            policy: PolicySpec { reach, rules },
            publish,
            ..NetworkSpec::default()
        })
    }
}

impl MountWish {
    fn spec(&self) -> Result<MountSpec, ToolError> {
        let source = match (&self.host_path, &self.volume, self.tmpfs_mib) {
            (Some(path), None, None) => MountSource::Bind { path: path.into(), create: false },
            (None, Some(name), None) => {
                let name =
                    spec::parse_name(name).map_err(|error| ToolError::value("mounts.volume", error))?;
                MountSource::Volume(name)
            }
            (None, None, Some(mib)) => {
                MountSource::Tmpfs(Tmpfs { size_bytes: Some(mib << 20), ..Tmpfs::default() })
            }
            _ => return Err(ToolError::value("mounts", "give one of host_path, volume and tmpfs_mib")),
        };
        if !self.path.starts_with('/') || self.path.contains('\0') || self.path.trim_matches('/').is_empty() {
            return Err(ToolError::value("mounts.path", "give an absolute path below /"));
        }
        let read_only = self.read_only.unwrap_or(self.host_path.is_some());
        Ok(MountSpec { target: self.path.clone(), source, read_only })
    }
}

/// Names and values that an environment can have.
pub(super) fn check_variables(env: &BTreeMap<String, String>) -> Result<(), ToolError> {
    let is_wrong =
        |name: &String, value: &String| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0');
    match env.iter().find(|(name, value)| is_wrong(name, value)) {
        None => Ok(()),
        Some((name, _)) => Err(ToolError::value("env", format!("{name:?} cannot be a variable"))),
    }
}

async fn create(call: Call, wish: Wish) -> Result<String, ToolError> {
    let spec = wish.spec(&call.context.policy)?;
    images::ensure(&call, &wish.image).await?;
    let made = call.blocking(None, move |context, interrupt| make(context, spec, interrupt)).await?;
    let idles = if wish.command.is_none() { " It idles: run commands in it with exec." } else { "" };
    Ok(format!("sandbox {} (ID {}) runs {}.{idles}", made.0, made.1, wish.image))
}

/// Makes a sandbox and starts it; its name and ID.
fn make(
    context: &McpServer,
    spec: SandboxSpec,
    interrupt: &Interrupt,
) -> Result<(String, String), ToolError> {
    let kept = {
        let _room = context.room_for_one()?;
        let images = monocore_orchestrator::Images::new(context.home());
        context.host.launcher.create(spec, &images, false)?
    };
    let record = kept.record();
    let (name, id) = (record.name.clone(), record.id.clone());
    if let Err(error) = start_in_background(&context.host.launcher, &kept) {
        // What could not be started is not kept.
        let _ = registry::remove(context.home(), &kept);
        return Err(error.into());
    }
    if interrupt.has_come() {
        undo(context, &kept);
        return Err(ToolError::cancelled());
    }
    Ok((name, id))
}

/// Ends and removes a sandbox that nobody waits for any more.
fn undo(context: &McpServer, kept: &KeptSandbox) {
    let ended = super::life::end(context, &kept.record().id, true)
        .and_then(|()| Ok(registry::remove(context.home(), kept)?));
    if let Err(error) = ended {
        tracing::warn!(error = error.0, "the sandbox of a cancelled call is left");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(wish: serde_json::Value, policy: &Policy) -> Result<SandboxSpec, String> {
        let wish: Wish = serde_json::from_value(wish).map_err(|error| error.to_string())?;
        wish.spec(policy).map_err(|error| error.0)
    }

    #[test]
    fn a_wish_is_admitted_with_label_and_limits() {
        let policy = Policy::default();
        let made = spec(json!({"image": "alpine"}), &policy).unwrap();
        assert_eq!(made.labels[crate::LABEL_MCP], "1");
        assert_eq!(made.limits.max_duration, Some(Duration::from_secs(24 * 3600)));
        assert_eq!(made.limits.idle_timeout, Some(Duration::from_secs(3600)));
        assert_eq!((made.machine.ram_mib, made.network.policy.reach), (512, Reach::Public));
        assert_eq!(made.process.entrypoint, Some(Vec::new()), "it idles");
        let none = spec(json!({"image": "alpine", "network": {"reach": "none"}}), &policy).unwrap();
        assert_eq!(none.network.mode, NetworkMode::None);
    }

    #[test]
    fn what_the_policy_forbids_is_named() {
        let policy = Policy::default();
        let cases = [
            (json!({"memory_mib": 100_000}), "memory_mib: 100000 is more than 4096"),
            (json!({"cpus": 9}), "cpus: 9 is more than 4"),
            (json!({"disk_gib": 9}), "disk_gib: 9 is more than 8"),
            (json!({"ports": ["8080:80"]}), "ports: no port can be published"),
            (json!({"network": {"reach": "any"}}), "network.reach: any is more than public"),
            (json!({"network": {"allow": ["host"]}}), "network.allow: services of the host"),
            (json!({"network": {"allow": ["10.0.0.0/8"]}}), "network.allow: a rule that allows"),
            (json!({"network": {"allow": ["??"]}}), "network.allow: "),
            (json!({"mounts": [{"path": "/a", "host_path": "/etc"}]}), "mounts: no path of the host"),
            (
                json!({"mounts": [{"path": "/a", "volume": "data"}]}),
                "mounts: volume data does not match mcp-*",
            ),
            (json!({"mounts": [{"path": "/a"}]}), "mounts: give one of"),
            (json!({"mounts": [{"path": "a", "volume": "mcp-x"}]}), "mounts.path: "),
            (
                json!({"mounts": [{"path": "/a/", "volume": "mcp-x"}, {"path": "/a", "tmpfs_mib": 1}]}),
                "mounts: two mounts at /a",
            ),
            (json!({"name": "../x"}), "name: "),
            (json!({"workdir": "x"}), "workdir: "),
            (json!({"env": {"A=B": ""}}), "env: "),
        ];
        for (mut wish, expected) in cases {
            wish["image"] = json!("alpine");
            let error = spec(wish.clone(), &policy).unwrap_err();
            assert!(error.starts_with(expected), "{wish}: {error}");
        }
    }

    #[test]
    fn time_is_bounded_by_the_policy() {
        let policy = Policy::default();
        let wish = json!({"image": "a", "idle_timeout_seconds": 9_999_999, "max_duration_seconds": 60});
        let made = spec(wish, &policy).unwrap();
        assert_eq!(made.limits.idle_timeout, Some(Duration::from_secs(3600)));
        assert_eq!(made.limits.max_duration, Some(Duration::from_secs(60)));
    }
}
