//! A sandbox with the names that Docker's `inspect` gives to things, for the scripts that ask for them.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use monocore_oci::ImageConfig;
use monocore_orchestrator::spec::{MountSource, MountSpec, NetworkMode, RestartPolicy, SandboxSpec};
use monocore_orchestrator::{Home, NetworkRecord, SandboxEntry};
use serde_json::{Map, Value, json};

/// Docker's time for what has not happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The sandbox; `image` is what its image says.
pub(super) fn sandbox(home: &Home, entry: &SandboxEntry, image: &ImageConfig) -> Value {
    let record = entry.kept.as_ref().map(monocore_orchestrator::KeptSandbox::record);
    let spec = record.map(|record| &record.spec);
    let (path, args) = entry.command.split_first().map_or(("", &[][..]), |(path, args)| (path, args));
    json!({
        "Id": entry.id,
        "Created": time(Some(entry.created_ms)),
        "Path": path,
        "Args": args,
        "State": state(entry),
        "Image": record.and_then(|record| record.image.clone()).unwrap_or_default(),
        "LogPath": entry.kept.as_ref().map(|kept| kept.log().join("output.log")).unwrap_or_default(),
        "Name": format!("/{}", entry.name),
        "RestartCount": restarts(entry),
        "Platform": "linux",
        "HostConfig": host_config(entry, spec),
        "Mounts": mounts(home, spec),
        "Config": config(entry, spec, image),
        "NetworkSettings": { "Ports": ports(entry, image), "IPAddress": "" },
    })
}

fn restarts(entry: &SandboxEntry) -> Value {
    let state = serde_json::to_value(&entry.state).unwrap_or_default();
    state.get("restart_count").cloned().unwrap_or_else(|| 0.into())
}

fn state(entry: &SandboxEntry) -> Value {
    let state = &entry.state;
    let status = state.status.name();
    let mut shown = json!({
        "Status": status,
        "Running": entry.running.is_some() && matches!(status, "running" | "paused" | "restarting"),
        "Paused": status == "paused",
        "Restarting": status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": false,
        "Pid": state.pid.unwrap_or(0),
        "ExitCode": state.exit_code.unwrap_or(0),
        "Error": state.error.clone().unwrap_or_default(),
        "StartedAt": time(state.started_ms),
        "FinishedAt": time(state.finished_ms),
    });
    let whole = serde_json::to_value(state).unwrap_or_default();
    if let Some(health) = whole.get("health").filter(|health| !health.is_null()) {
        let status = health.get("status").unwrap_or(health).clone();
        shown["Health"] = json!({ "Status": status, "FailingStreak": health.get("failing_streak").cloned().unwrap_or(0.into()) });
    }
    shown
}

fn time(ms: Option<u64>) -> String {
    ms.map_or_else(
        || NEVER.to_owned(),
        |ms| humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_millis(ms)).to_string(),
    )
}

fn host_config(entry: &SandboxEntry, spec: Option<&SandboxSpec>) -> Value {
    let Some(spec) = spec else {
        return json!({
            "AutoRemove": true, "Memory": 0, "NanoCpus": 0, "NetworkMode": "default",
            "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 },
        });
    };
    let retries = match spec.restart {
        RestartPolicy::OnFailure { max_retries } => max_retries.unwrap_or(0),
        _ => 0,
    };
    let bindings = spec.network.publish.iter().fold(Map::new(), |mut bindings, port| {
        let key = format!("{}/{}", port.guest_port, port.protocol.name());
        let host = if port.host_port == 0 { String::new() } else { port.host_port.to_string() };
        let places = bindings.entry(key).or_insert_with(|| json!([]));
        if let Value::Array(places) = places {
            places.push(json!({ "HostIp": port.address.to_string(), "HostPort": host }));
        }
        bindings
    });
    let binds: Vec<String> = spec.mounts.iter().filter_map(bind).collect();
    json!({
        "AutoRemove": entry.kept.as_ref().is_some_and(|kept| kept.record().auto_remove),
        "Binds": binds,
        "Dns": spec.network.dns.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "DnsSearch": spec.network.dns_search,
        "ExtraHosts": spec.hosts.iter().map(|host| format!("{}:{}", host.name, host.address)).collect::<Vec<_>>(),
        "Memory": u64::from(spec.machine.ram_mib) << 20,
        "NanoCpus": spec.machine.cpu_millis.map_or(u64::from(spec.machine.vcpus) * 1_000_000_000, |millis| u64::from(millis) * 1_000_000),
        "NetworkMode": network_mode(&spec.network.mode),
        "PortBindings": bindings,
        "PublishAllPorts": spec.network.publish_exposed,
        "ReadonlyRootfs": spec.root.read_only,
        "PidsLimit": spec.machine.pids_limit,
        "Sysctls": spec.machine.sysctls,
        "GroupAdd": spec.process.groups,
        "Privileged": spec.process.capabilities.is_none(),
        "RestartPolicy": { "Name": spec.restart.name(), "MaximumRetryCount": retries },
        "ShmSize": spec.machine.shm_bytes,
    })
}

pub(in crate::command) fn network_mode(mode: &NetworkMode) -> String {
    match mode {
        NetworkMode::Nat => "nat".to_owned(),
        NetworkMode::Tsi => "tsi".to_owned(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Tap(name) => format!("tap:{name}"),
        NetworkMode::Passt(path) => format!("passt:{}", path.display()),
    }
}

fn bind(mount: &MountSpec) -> Option<String> {
    let source = match &mount.source {
        MountSource::Bind { path, .. } | MountSource::Socket(path) => path.display().to_string(),
        MountSource::Volume(name) => name.clone(),
        MountSource::Anonymous | MountSource::Tmpfs(_) => return None,
    };
    Some(format!("{source}:{}:{}", mount.target, if mount.read_only { "ro" } else { "rw" }))
}

fn mounts(home: &Home, spec: Option<&SandboxSpec>) -> Vec<Value> {
    let shown = |mount: &MountSpec| {
        let (kind, name, source) = match &mount.source {
            MountSource::Bind { path, .. } | MountSource::Socket(path) => ("bind", None, path.clone()),
            MountSource::Volume(name) => {
                ("volume", Some(name.clone()), home.volumes().join(name).join("_data"))
            }
            MountSource::Anonymous => ("volume", Some(String::new()), Path::new("").to_owned()),
            MountSource::Tmpfs(_) => ("tmpfs", None, Path::new("").to_owned()),
        };
        let mut shown = json!({
            "Type": kind, "Source": source, "Destination": mount.target, "Mode": "",
            "RW": !mount.read_only, "Propagation": if kind == "bind" { "rprivate" } else { "" },
        });
        if let Some(name) = name {
            shown["Name"] = name.into();
            shown["Driver"] = "local".into();
        }
        shown
    };
    spec.map(|spec| spec.mounts.iter().map(shown).collect()).unwrap_or_default()
}

fn config(entry: &SandboxEntry, spec: Option<&SandboxSpec>, image: &ImageConfig) -> Value {
    let texts = |words: &[std::ffi::OsString]| -> Vec<String> {
        words.iter().map(|word| word.to_string_lossy().into_owned()).collect()
    };
    let process = spec.map(|spec| &spec.process);
    let entrypoint = process.and_then(|process| process.entrypoint.as_deref()).map(texts);
    let args = process.map(|process| texts(&process.args)).unwrap_or_default();
    let cmd = if args.is_empty() && entrypoint.is_none() { image.cmd.clone() } else { args };
    let signal = spec.and_then(|spec| spec.stop.signal).map(|signal| signal.to_string());
    json!({
        "Hostname": spec.and_then(|spec| spec.hostname.clone()).unwrap_or_else(|| entry.id.clone()),
        "Domainname": spec.and_then(|spec| spec.machine.domainname.clone()).unwrap_or_default(),
        "User": process.and_then(|process| process.user.clone()).unwrap_or_else(|| image.user.clone()),
        "Tty": process.is_some_and(|process| process.tty),
        "OpenStdin": process.is_some_and(|process| process.stdin),
        "Env": environment(spec, image),
        "Cmd": cmd,
        "Entrypoint": entrypoint.unwrap_or_else(|| image.entrypoint.clone()),
        "Image": entry.root,
        "WorkingDir": process.and_then(|process| process.workdir.clone()).unwrap_or_else(|| image.working_dir.clone()),
        "Labels": entry.labels,
        "StopSignal": signal.unwrap_or_else(|| image.stop_signal.clone()),
        "StopTimeout": spec.map_or(10, |spec| spec.stop.grace.as_secs()),
        "ExposedPorts": image.exposed_ports.iter().map(|port| (port.clone(), json!({}))).collect::<Map<_, _>>(),
    })
}

/// The image's variables with the user's values, then the user's others.
fn environment(spec: Option<&SandboxSpec>, image: &ImageConfig) -> Vec<String> {
    let mut env = image.env.clone();
    for variable in spec.iter().flat_map(|spec| &spec.process.env) {
        let (name, value) = (variable.name.to_string_lossy(), variable.value.to_string_lossy());
        let line = format!("{name}={value}");
        match env.iter_mut().find(|known| known.split_once('=').is_some_and(|(known, _)| known == name)) {
            Some(known) => *known = line,
            None => env.push(line),
        }
    }
    env
}

/// Where each port is published; nothing for one that only the image names.
fn ports(entry: &SandboxEntry, image: &ImageConfig) -> Map<String, Value> {
    let mut shown = Map::new();
    let Some(running) = &entry.running else { return shown };
    for port in &image.exposed_ports {
        let port = if port.contains('/') { port.clone() } else { format!("{port}/tcp") };
        shown.insert(port, Value::Null);
    }
    let NetworkRecord::Ours { ports, .. } = &running.network else { return shown };
    for port in ports {
        let key = format!("{}/{}", port.guest_port, port.protocol.name());
        let place = json!({ "HostIp": port.address.to_string(), "HostPort": port.host_port.to_string() });
        match shown.get_mut(&key) {
            Some(Value::Array(places)) => places.push(place),
            _ => {
                shown.insert(key, json!([place]));
            }
        }
    }
    shown
}
