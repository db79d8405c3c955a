//! `ps`: the sandboxes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use monocore_orchestrator::spec::MountSource;
use monocore_orchestrator::{
    HealthReport, HealthStatus, Home, NetworkRecord, SandboxEntry, SandboxStatus, registry,
};
use serde::Serialize;
use serde_json::Value;

use super::args::PsArgs;
use super::inspect::docker::network_mode;
use super::output::{self, Table};
use super::select::{self, Filter};

/// The longest command line shown, characters: Docker's.
const COMMAND_CHARS: usize = 20;

#[derive(Debug, Serialize)]
struct Row {
    id: String,
    name: String,
    image: String,
    command: Vec<String>,
    created_ms: u64,
    status: &'static str,
    exit_code: Option<u8>,
    started_ms: Option<u64>,
    finished_ms: Option<u64>,
    health: Option<HealthStatus>,
    restart_count: u32,
    ports: Vec<String>,
}

impl Row {
    fn new(entry: &SandboxEntry) -> Self {
        Self {
            id: entry.id.clone(),
            name: entry.name.clone(),
            image: entry.root.clone(),
            command: entry.command.clone(),
            created_ms: entry.created_ms,
            status: entry.state.status.name(),
            exit_code: entry.state.exit_code,
            started_ms: entry.state.started_ms,
            finished_ms: entry.state.finished_ms,
            health: entry.state.health.as_ref().map(|report| report.status),
            restart_count: entry.state.restart_count,
            ports: ports(entry),
        }
    }
}

pub(super) fn main(args: &PsArgs) -> anyhow::Result<()> {
    let home = Home::locate()?;
    let mut filters = args.filter.clone();
    filters.iter_mut().try_for_each(|filter| filter.settle(&home))?;
    let last = if args.latest { Some(1) } else { args.last.and_then(|last| usize::try_from(last).ok()) };
    let all = args.all || last.is_some() || args.last.is_some() || filters.iter().any(Filter::is_of_state);
    let shown = |entry: &SandboxEntry| (all || entry.running.is_some()) && select::takes(&filters, entry);
    // The newest first, as Docker lists them.
    let mut entries: Vec<_> = registry::list(&home)?.into_iter().filter(shown).rev().collect();
    entries.truncate(last.unwrap_or(usize::MAX));
    if args.quiet {
        return output::print(&entries.iter().map(|entry| format!("{}\n", entry.id)).collect::<String>());
    }
    let rows: Vec<Row> = entries.iter().map(Row::new).collect();
    let now = SystemTime::now();
    let items = || entries.iter().map(|entry| docker(entry, now)).collect();
    output::listing_as(args.output.format, &rows, items, &HEADINGS, |_| {
        table(&entries, now, args.no_trunc).to_string()
    })
}

/// Docker's headings for the columns of a template.
const HEADINGS: [(&str, &str); 13] = [
    ("ID", "SANDBOX ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("Networks", "NETWORKS"),
    ("Size", "SIZE"),
];

/// A sandbox with the fields that Docker's `ps` gives to templates.
fn docker(entry: &SandboxEntry, now: SystemTime) -> Value {
    let created = UNIX_EPOCH + Duration::from_millis(entry.created_ms);
    let created = humantime::format_rfc3339_seconds(created).to_string();
    let labels: Vec<String> = entry.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let spec = entry.kept.as_ref().map(|kept| &kept.record().spec);
    let mounts = spec.iter().flat_map(|spec| &spec.mounts).filter_map(|mount| match &mount.source {
        MountSource::Bind { path, .. } | MountSource::Socket(path) => Some(path.display().to_string()),
        MountSource::Volume(name) => Some(name.clone()),
        MountSource::Anonymous | MountSource::Tmpfs(_) => None,
    });
    serde_json::json!({
        "ID": entry.id,
        "Names": entry.name,
        "Image": entry.root,
        "Command": command(&entry.command, false),
        "CreatedAt": format!("{} +0000 UTC", created.trim_end_matches('Z').replace('T', " ")),
        "RunningFor": format!("{} ago", ago(entry.created_ms, now)),
        "Ports": ports(entry).join(", "),
        "State": entry.state.status.name(),
        "Status": status(entry, now),
        "Labels": labels.join(","),
        "Mounts": mounts.collect::<Vec<_>>().join(","),
        "Networks": spec.map(|spec| network_mode(&spec.network.mode)).unwrap_or_default(),
        "Size": "0B",
    })
}

fn table(entries: &[SandboxEntry], now: SystemTime, whole: bool) -> Table {
    let mut table = Table::new(&["SANDBOX ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
    for entry in entries {
        table.row([
            entry.id.clone(),
            entry.root.clone(),
            command(&entry.command, whole),
            format!("{} ago", ago(entry.created_ms, now)),
            status(entry, now),
            ports(entry).join(", "),
            entry.name.clone(),
        ]);
    }
    table
}

/// In quotes and cut short. Control characters are an image's or a user's and mean nothing to a terminal here.
fn command(words: &[String], whole: bool) -> String {
    let most = if whole { usize::MAX } else { COMMAND_CHARS };
    let line = words.join(" ");
    let short: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect();
    if line.chars().count() > most { format!("\"{short}…\"") } else { format!("\"{short}\"") }
}

pub(super) fn status(entry: &SandboxEntry, now: SystemTime) -> String {
    let state = &entry.state;
    let up = || format!("Up {}", ago(state.started_ms.unwrap_or(entry.created_ms), now));
    match state.status {
        SandboxStatus::Created => "Created".to_owned(),
        SandboxStatus::Running => {
            format!("{}{}", up(), state.health.as_ref().map(health).unwrap_or_default())
        }
        SandboxStatus::Paused => format!("{} (Paused)", up()),
        SandboxStatus::Restarting => format!(
            "Restarting ({}) {} ago",
            state.exit_code.unwrap_or_default(),
            ago(state.finished_ms.unwrap_or(entry.created_ms), now)
        ),
        SandboxStatus::Exited => format!(
            "Exited ({}) {} ago",
            state.exit_code.unwrap_or_default(),
            ago(state.finished_ms.unwrap_or(entry.created_ms), now)
        ),
    }
}

/// Docker's words for the health, behind the time.
fn health(report: &HealthReport) -> &'static str {
    match report.status {
        HealthStatus::Starting => " (health: starting)",
        HealthStatus::Healthy => " (healthy)",
        HealthStatus::Unhealthy => " (unhealthy)",
    }
}

pub(super) fn ports(entry: &SandboxEntry) -> Vec<String> {
    match entry.running.as_ref().map(|record| &record.network) {
        Some(NetworkRecord::Ours { ports, .. }) => ports
            .iter()
            .map(|port| {
                let host = std::net::SocketAddr::new(port.address, port.host_port);
                format!("{host}->{}/{}", port.guest_port, port.protocol.name())
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// A time for people, in Docker's words.
fn ago(then_ms: u64, now: SystemTime) -> String {
    let then = UNIX_EPOCH + Duration::from_millis(then_ms);
    let seconds = now.duration_since(then).unwrap_or_default().as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{minutes} minutes"),
        3600..7200 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 730 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_dockers_words() {
        let now = UNIX_EPOCH + Duration::from_secs(100_000_000);
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (172_800, "2 days"),
            (14 * 86_400, "2 weeks"),
            (60 * 86_400, "2 months"),
            (730 * 86_400, "2 years"),
        ] {
            assert_eq!(ago((100_000_000 - seconds) * 1000, now), text, "{seconds}");
        }
        assert_eq!(ago(u64::from(u32::MAX) * 1000, now), "Less than a second", "a clock that was set back");
    }

    #[test]
    fn command_lines_are_short_and_harmless() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(command(&words("sleep 100"), false), "\"sleep 100\"");
        assert_eq!(command(&words("sh -c 0123456789abcdefgh"), false), "\"sh -c 0123456789abcd…\"");
        assert_eq!(command(&words("a\x1b[31m"), true), "\"a [31m\"");
    }
}
