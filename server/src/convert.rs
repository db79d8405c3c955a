//! Between the API's types and the orchestrator's.

mod create;

use std::collections::BTreeMap;

use monocore_api::{
    ListQuery, PublishedPort, Sandbox, SandboxDetails, SandboxMount, SandboxSettings, SandboxStatus,
};
use monocore_orchestrator::spec::{MountSource, MountSpec, NetworkMode};
use monocore_orchestrator::{
    KeptRecord, KeptSandbox, LABEL_GROUPS, LABEL_PROJECT, LABEL_SERVICE, NetworkRecord, SandboxEntry,
};
use monocore_spec::Reach;

pub(crate) use create::{check_variables, one, spec, text};

use crate::error::ApiError;

/// A sandbox as listings show it.
pub(crate) fn sandbox(entry: &SandboxEntry) -> Sandbox {
    let label = |key: &str| entry.labels.get(key).cloned();
    Sandbox {
        id: entry.id.clone(),
        name: entry.name.clone(),
        image: entry.root.clone(),
        command: entry.command.clone(),
        status: status(entry.state.status),
        exit_code: entry.state.exit_code,
        error: entry.state.error.clone(),
        health: entry.state.health.as_ref().map(|health| health.status.name().to_owned()),
        restart_count: entry.state.restart_count,
        created_ms: entry.created_ms,
        started_ms: entry.state.started_ms,
        finished_ms: entry.state.finished_ms,
        ports: ports(entry),
        labels: entry.labels.clone(),
        project: label(LABEL_PROJECT),
        service: label(LABEL_SERVICE),
        groups: groups(&entry.labels),
    }
}

fn groups(labels: &BTreeMap<String, String>) -> Vec<String> {
    let text = labels.get(LABEL_GROUPS).map_or("", String::as_str);
    text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn status(status: monocore_orchestrator::SandboxStatus) -> SandboxStatus {
    use monocore_orchestrator::SandboxStatus as S;
    match status {
        S::Created => SandboxStatus::Created,
        S::Running => SandboxStatus::Running,
        S::Restarting => SandboxStatus::Restarting,
        S::Paused => SandboxStatus::Paused,
        S::Exited => SandboxStatus::Exited,
    }
}

/// Everything about a sandbox.
pub(crate) fn details(entry: &SandboxEntry) -> SandboxDetails {
    let settings = entry.kept.as_ref().map(|kept| settings(kept.record()));
    SandboxDetails { sandbox: sandbox(entry), settings }
}

/// A sandbox that ran and is gone with its command.
pub(crate) fn gone(kept: &KeptSandbox) -> SandboxDetails {
    let record = kept.record();
    let label = |key: &str| record.spec.labels.get(key).cloned();
    let sandbox = Sandbox {
        id: record.id.clone(),
        name: record.name.clone(),
        image: record.root.clone(),
        command: record.command.clone(),
        status: SandboxStatus::Exited,
        exit_code: None,
        error: None,
        health: None,
        restart_count: 0,
        created_ms: record.created_ms,
        started_ms: None,
        finished_ms: None,
        ports: Vec::new(),
        labels: record.spec.labels.clone(),
        project: label(LABEL_PROJECT),
        service: label(LABEL_SERVICE),
        groups: groups(&record.spec.labels),
    };
    SandboxDetails { sandbox, settings: Some(settings(record)) }
}

fn settings(record: &KeptRecord) -> SandboxSettings {
    let spec = &record.spec;
    let text = |text: &std::ffi::OsString| text.to_string_lossy().into_owned();
    let env = spec.process.env.iter().map(|variable| (text(&variable.name), text(&variable.value)));
    SandboxSettings {
        image_id: record.image.clone(),
        remove_on_exit: record.auto_remove,
        cpus: spec.machine.vcpus,
        memory_mib: spec.machine.ram_mib,
        env: env.collect(),
        workdir: spec.process.workdir.clone(),
        user: spec.process.user.clone(),
        tty: spec.process.tty,
        read_only: spec.root.read_only,
        network: network(&spec.network.mode).to_owned(),
        reach: reach(spec.network.policy.reach),
        mounts: spec.mounts.iter().map(mount).collect(),
        restart: spec.restart.to_string(),
        stop_timeout_ms: u64::try_from(spec.stop.grace.as_millis()).unwrap_or(u64::MAX),
    }
}

fn network(mode: &NetworkMode) -> &'static str {
    match mode {
        NetworkMode::None => "none",
        NetworkMode::Nat => "nat",
        NetworkMode::Tsi => "tsi",
        NetworkMode::Tap(_) => "tap",
        NetworkMode::Passt(_) => "passt",
    }
}

fn reach(reach: Reach) -> String {
    format!("{reach:?}").to_lowercase()
}

fn mount(mount: &MountSpec) -> SandboxMount {
    let (kind, source) = match &mount.source {
        MountSource::Bind { path, .. } => ("bind", Some(path.display().to_string())),
        MountSource::Socket(path) => ("socket", Some(path.display().to_string())),
        MountSource::Volume(name) => ("volume", Some(name.clone())),
        MountSource::Anonymous => ("anonymous", None),
        MountSource::Tmpfs(_) => ("tmpfs", None),
    };
    SandboxMount { kind: kind.to_owned(), source, target: mount.target.clone(), read_only: mount.read_only }
}

fn ports(entry: &SandboxEntry) -> Vec<PublishedPort> {
    let Some(NetworkRecord::Ours { ports, .. }) = entry.running.as_ref().map(|record| &record.network) else {
        return Vec::new();
    };
    let port = |port: &monocore_spec::PublishedPort| PublishedPort {
        address: port.address.to_string(),
        host_port: port.host_port,
        guest_port: port.guest_port,
        protocol: port.protocol.name().to_owned(),
    };
    ports.iter().map(port).collect()
}

/// Whether a listing has the sandbox.
pub(crate) fn is_listed(sandbox: &Sandbox, query: &ListQuery) -> bool {
    let is_active = !matches!(sandbox.status, SandboxStatus::Created | SandboxStatus::Exited);
    let has_label = |wanted: &String| match wanted.split_once('=') {
        Some((key, value)) => sandbox.labels.get(key).is_some_and(|found| found == value),
        None => sandbox.labels.contains_key(wanted),
    };
    (query.all || query.status.is_some() || is_active)
        && query.status.is_none_or(|status| status == sandbox.status)
        && query.name.as_ref().is_none_or(|name| sandbox.name.contains(name.as_str()))
        && query.label.as_ref().is_none_or(has_label)
        && query.project.as_ref().is_none_or(|project| sandbox.project.as_ref() == Some(project))
}

/// The sandbox's directory.
pub(crate) fn kept(entry: &SandboxEntry) -> Result<&KeptSandbox, ApiError> {
    entry.kept.as_ref().ok_or_else(|| {
        let message = format!("sandbox {} ends with its command and is not kept", entry.name);
        ApiError::new(monocore_api::ErrorCode::NotKept, message)
    })
}
