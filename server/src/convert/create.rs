//! A new sandbox's description: the API's fields, read by the parsers of the command line's flags.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::path::Path;

use monocore_api::{CreateSandbox, HealthCheck, Network, PullPolicy, TextOrNumber};
use monocore_orchestrator::spec::{
    self, EnvVar, GroupMembership, HealthSpec, HealthTest, ImageSpec, LimitsSpec, MachineSpec, MountSource,
    MountSpec, NetworkMode, NetworkSpec, ProcessSpec, RestartPolicy, RootSource, RootSpec, SandboxSpec,
    SpecVersion, StopSpec,
};
use monocore_spec::{Action, Direction, NetLimits, NetRule, NetTarget, PolicySpec, PublishedPort};

use crate::access::Scope;
use crate::error::ApiError;
use crate::guard;

/// The description that a request asks for.
///
/// # Errors
/// A value that cannot be used, or one that needs a larger scope.
pub(crate) fn spec(wanted: CreateSandbox, scope: Scope) -> Result<SandboxSpec, ApiError> {
    let restart = one("restart", wanted.restart.as_deref(), spec::parse_restart)?.unwrap_or_default();
    if wanted.remove_on_exit && restart != RestartPolicy::No {
        return Err(ApiError::value("restart", "not together with remove_on_exit"));
    }
    let made = SandboxSpec {
        version: SpecVersion,
        name: one("name", wanted.name.as_deref(), spec::parse_name)?,
        root: root(&wanted)?,
        process: process(&wanted)?,
        machine: machine(&wanted)?,
        mounts: mounts(&wanted)?,
        publish_sockets: Vec::new(),
        network: network(wanted.network, &wanted.ports, wanted.publish_all)?,
        hostname: wanted.hostname.map(hostname).transpose()?,
        hosts: each("hosts", &wanted.hosts, spec::parse_host_entry)?,
        labels: wanted.labels,
        stop: StopSpec {
            signal: one("stop_signal", wanted.stop_signal.as_deref(), spec::Signal::parse)?,
            grace: text("stop_timeout", wanted.stop_timeout.as_ref(), spec::parse_duration)?
                .unwrap_or(spec::DEFAULT_STOP_TIMEOUT),
            timeout: text("timeout", wanted.timeout.as_ref(), spec::parse_duration)?,
        },
        restart,
        health: wanted.health.as_ref().map(health).transpose()?,
        limits: LimitsSpec {
            idle_timeout: text("idle_timeout", wanted.idle_timeout.as_ref(), spec::parse_duration)?,
            max_duration: text("max_duration", wanted.max_duration.as_ref(), spec::parse_duration)?,
        },
    };
    if sees_the_host(&made) {
        guard::require(scope, Scope::Admin)?;
    }
    Ok(made)
}

/// Whether the sandbox sees files, sockets, devices or services of the host.
pub(crate) fn sees_the_host(spec: &SandboxSpec) -> bool {
    let is_host =
        |mount: &MountSpec| matches!(mount.source, MountSource::Bind { .. } | MountSource::Socket(_));
    let reaches_host = |rule: &NetRule| rule.action == Action::Allow && rule.target == NetTarget::Host;
    matches!(spec.root.source, RootSource::Directory(_))
        || spec.mounts.iter().any(is_host)
        || !spec.publish_sockets.is_empty()
        || spec.network.log.is_some()
        || spec.machine.kernel.is_some()
        || spec.machine.timeline.is_some()
        || matches!(spec.network.mode, NetworkMode::Tap(_) | NetworkMode::Passt(_))
        || spec.network.policy.rules.iter().any(reaches_host)
        || spec.network.publish.iter().any(|port| !port.address.is_loopback())
}

fn root(wanted: &CreateSandbox) -> Result<RootSpec, ApiError> {
    let source = match (&wanted.image, &wanted.rootfs) {
        (Some(image), None) => RootSource::Image(ImageSpec {
            reference: image.clone(),
            pull: match wanted.pull {
                PullPolicy::Missing => spec::PullPolicy::Missing,
                PullPolicy::Always => spec::PullPolicy::Always,
                PullPolicy::Never => spec::PullPolicy::Never,
            },
            platform: wanted.platform.clone(),
        }),
        (None, Some(path)) => {
            absolute("rootfs", Path::new(path))?;
            RootSource::Directory(path.into())
        }
        _ => return Err(ApiError::value("image", "give either image or rootfs")),
    };
    let disk_bytes = text("root_disk", wanted.root_disk.as_ref(), spec::parse_disk_size)?;
    Ok(RootSpec { source, read_only: wanted.read_only, disk_bytes })
}

fn process(wanted: &CreateSandbox) -> Result<ProcessSpec, ApiError> {
    let words = |field: &str, words: &[String]| {
        if words.iter().any(|word| word.contains('\0')) {
            return Err(ApiError::value(field, "a word has a NUL character"));
        }
        Ok(words.iter().map(OsString::from).collect::<Vec<_>>())
    };
    let workdir = wanted.workdir.clone();
    if workdir.as_deref().is_some_and(|path| !path.starts_with('/')) {
        return Err(ApiError::value("workdir", "give an absolute path"));
    }
    let entrypoint = wanted.entrypoint.as_ref().map(|program| words("entrypoint", program)).transpose()?;
    Ok(ProcessSpec {
        entrypoint,
        args: words("command", &wanted.command)?,
        env: variables(&wanted.env)?,
        workdir,
        user: wanted.user.clone(),
        tty: wanted.tty,
        stdin: false,
        ulimits: each("ulimits", &wanted.ulimits, spec::parse_ulimit)?,
        ..ProcessSpec::default()
    })
}

fn variables(env: &BTreeMap<String, String>) -> Result<Vec<EnvVar>, ApiError> {
    check_variables(env)?;
    Ok(env.iter().map(|(name, value)| EnvVar { name: name.into(), value: value.into() }).collect())
}

/// Names and values that an environment can have.
pub(crate) fn check_variables(env: &BTreeMap<String, String>) -> Result<(), ApiError> {
    let is_wrong =
        |name: &String, value: &String| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0');
    match env.iter().find(|(name, value)| is_wrong(name, value)) {
        None => Ok(()),
        Some((name, _)) => Err(ApiError::value("env", format!("{name:?} cannot be a variable"))),
    }
}

fn machine(wanted: &CreateSandbox) -> Result<MachineSpec, ApiError> {
    let default = MachineSpec::default();
    Ok(MachineSpec {
        vcpus: text("cpus", wanted.cpus.as_ref(), spec::parse_cpus)?.unwrap_or(default.vcpus),
        ram_mib: text("memory", wanted.memory.as_ref(), spec::parse_ram_mib)?.unwrap_or(default.ram_mib),
        shm_bytes: text("shm_size", wanted.shm_size.as_ref(), spec::parse_size)?.unwrap_or(default.shm_bytes),
        ..default
    })
}

fn mounts(wanted: &CreateSandbox) -> Result<Vec<MountSpec>, ApiError> {
    let mut mounts = each("volumes", &wanted.volumes, spec::parse_volume)?;
    mounts.extend(each("tmpfs", &wanted.tmpfs, spec::parse_tmpfs)?);
    let parts = |path: &str| path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let mut targets: Vec<Vec<String>> = Vec::new();
    for mount in &mounts {
        if let MountSource::Bind { path, .. } = &mount.source {
            absolute("volumes", path)?;
        }
        let target = parts(&mount.target);
        if targets.contains(&target) {
            return Err(ApiError::value("volumes", format!("two mounts at {}", mount.target)));
        }
        targets.push(target);
    }
    Ok(mounts)
}

fn network(network: Network, ports: &[TextOrNumber], publish_all: bool) -> Result<NetworkSpec, ApiError> {
    let mode = one("network.mode", network.mode.as_deref(), spec::parse_network)?;
    let mode = mode.unwrap_or(NetworkMode::Nat);
    if let NetworkMode::Passt(path) = &mode {
        absolute("network.mode", path)?;
    }
    let reach = one("network.reach", network.reach.as_deref(), spec::parse_reach)?.unwrap_or_default();
    let ports: Vec<String> = ports.iter().map(TextOrNumber::text).collect();
    let publish = each("ports", &ports, spec::parse_publish)?.concat();
    if !mode.is_ours() && (publish_all || !publish.is_empty()) {
        return Err(ApiError::value("ports", "ports are published with the networks nat and tsi only"));
    }
    let groups = each("network.groups", &network.groups, spec::parse_group)?;
    if !mode.is_ours() && !groups.is_empty() {
        return Err(ApiError::value("network.groups", "members of groups have the network nat or tsi"));
    }
    for (index, group) in groups.iter().enumerate() {
        let same = |other: &GroupMembership| (&other.project, &other.group) == (&group.project, &group.group);
        if groups[..index].iter().any(same) {
            return Err(ApiError::value("network.groups", format!("group {} is named twice", group.group)));
        }
    }
    check_ports(&publish)?;
    let host = NetRule {
        action: Action::Allow,
        direction: Direction::Out,
        target: NetTarget::Host,
        ports: None,
        protocol: None,
    };
    let rules = each("network.rules", &network.rules, spec::parse_net_rule)?;
    let rules = network.allow_host.then_some(host).into_iter().chain(rules).collect();
    Ok(NetworkSpec {
        mode,
        policy: PolicySpec { reach, rules },
        publish,
        publish_exposed: publish_all,
        groups,
        dns: each("network.dns", &network.dns, |text| text.parse())?,
        dns_search: network.dns_search,
        log: None,
        log_max_bytes: None,
        limits: NetLimits::default(),
        ..NetworkSpec::default()
    })
}

fn check_ports(ports: &[PublishedPort]) -> Result<(), ApiError> {
    for (index, port) in ports.iter().enumerate() {
        let same = |other: &&PublishedPort| {
            (other.address, other.host_port, other.protocol) == (port.address, port.host_port, port.protocol)
        };
        if port.host_port != 0 && ports[..index].iter().any(|other| same(&other)) {
            let problem = format!("port {} of {} is published twice", port.host_port, port.address);
            return Err(ApiError::value("ports", problem));
        }
    }
    Ok(())
}

fn health(wanted: &HealthCheck) -> Result<HealthSpec, ApiError> {
    let mut tests: Vec<HealthTest> = Vec::new();
    tests.extend(wanted.shell.clone().map(HealthTest::Shell));
    tests.extend((!wanted.command.is_empty()).then(|| HealthTest::Command(wanted.command.clone())));
    tests.extend(text("health.http", wanted.http.as_ref(), spec::parse_health_http)?);
    tests.extend(text("health.tcp", wanted.tcp.as_ref(), spec::parse_health_tcp)?);
    tests.extend(wanted.disabled.then_some(HealthTest::None));
    if tests.len() > 1 {
        return Err(ApiError::value("health", "give one of shell, command, http, tcp and disabled"));
    }
    let time = |field: &str, value: Option<&TextOrNumber>| text(field, value, spec::parse_duration);
    Ok(HealthSpec {
        test: tests.pop(),
        interval: time("health.interval", wanted.interval.as_ref())?,
        timeout: time("health.timeout", wanted.timeout.as_ref())?,
        retries: wanted.retries.filter(|retries| *retries > 0),
        start_period: time("health.start_period", wanted.start_period.as_ref())?,
        start_interval: time("health.start_interval", wanted.start_interval.as_ref())?,
    })
}

/// A host name as RFC 1123 and Linux take it.
fn hostname(name: String) -> Result<String, ApiError> {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if name.len() <= 64 && name.split('.').all(is_label) {
        return Ok(name);
    }
    Err(ApiError::value("hostname", "a host name has letters, digits, '-' and '.', and at most 64 of them"))
}

/// The server's own directory means nothing to a client.
fn absolute(field: &str, path: &Path) -> Result<(), ApiError> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(ApiError::value(field, format!("{}: give an absolute path", path.display())))
}

pub(crate) fn one<T, E: Display>(
    field: &str,
    value: Option<&str>,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, ApiError> {
    value.map(|value| parse(value).map_err(|error| ApiError::value(field, error))).transpose()
}

pub(crate) fn text<T, E: Display>(
    field: &str,
    value: Option<&TextOrNumber>,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, ApiError> {
    one(field, value.map(TextOrNumber::text).as_deref(), parse)
}

fn each<T, E: Display>(
    field: &str,
    values: &[String],
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, ApiError> {
    values.iter().map(|value| parse(value).map_err(|error| ApiError::value(field, error))).collect()
}
