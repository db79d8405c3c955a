//! `ps`: the sandboxes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use monocore_orchestrator::{
    HealthReport, HealthStatus, Home, NetworkRecord, SandboxEntry, SandboxStatus, registry,
};
use serde::Serialize;

use super::args::PsArgs;
use super::output::{self, Table};

/// The longest command line shown, characters: Docker's.
const COMMAND_CHARS: usize = 20;

/// Which sandboxes are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Name(String),
    Status(String),
    Label(String, Option<String>),
}

/// Reads `name=…`, `status=…`, `label=KEY[=VALUE]`.
pub(super) fn parse_filter(text: &str) -> Result<Filter, String> {
    let known = ["created", "running", "paused", "restarting", "exited"];
    match text.split_once('=') {
        Some(("name", name)) => Ok(Filter::Name(name.to_owned())),
        Some(("status", status)) if known.contains(&status) => Ok(Filter::Status(status.to_owned())),
        Some(("status", _)) => Err(format!("a status is one of {}", known.join(", "))),
        Some(("label", label)) => Ok(match label.split_once('=') {
            Some((key, value)) => Filter::Label(key.to_owned(), Some(value.to_owned())),
            None => Filter::Label(label.to_owned(), None),
        }),
        _ => Err("give name=TEXT, status=STATUS or label=KEY[=VALUE]".to_owned()),
    }
}

impl Filter {
    fn takes(&self, entry: &SandboxEntry) -> bool {
        match self {
            Self::Name(name) => entry.name.contains(name.as_str()),
            Self::Status(status) => entry.state.status.name() == status,
            Self::Label(key, value) => {
                entry.labels.get(key).is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
            }
        }
    }
}

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
    let by_status = args.filter.iter().any(|filter| matches!(filter, Filter::Status(_)));
    let shown = |entry: &SandboxEntry| {
        (args.all || by_status || entry.running.is_some())
            && args.filter.iter().all(|filter| filter.takes(entry))
    };
    // The newest first, as Docker lists them.
    let entries: Vec<_> = registry::list(&Home::locate()?)?.into_iter().filter(shown).rev().collect();
    if args.quiet {
        return output::print(&entries.iter().map(|entry| format!("{}\n", entry.id)).collect::<String>());
    }
    let rows: Vec<Row> = entries.iter().map(Row::new).collect();
    let now = SystemTime::now();
    output::listing(args.output.format, &rows, |_| table(&entries, now).to_string())
}

fn table(entries: &[SandboxEntry], now: SystemTime) -> Table {
    let mut table = Table::new(&["SANDBOX ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]);
    for entry in entries {
        table.row([
            entry.id.clone(),
            entry.root.clone(),
            command(&entry.command),
            format!("{} ago", ago(entry.created_ms, now)),
            status(entry, now),
            ports(entry).join(", "),
            entry.name.clone(),
        ]);
    }
    table
}

/// In quotes and cut short. Control characters are an image's or a user's and mean nothing to a terminal here.
fn command(words: &[String]) -> String {
    let line = words.join(" ");
    let short: String =
        line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(COMMAND_CHARS).collect();
    if line.chars().count() > COMMAND_CHARS { format!("\"{short}…\"") } else { format!("\"{short}\"") }
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
        assert_eq!(command(&words("sleep 100")), "\"sleep 100\"");
        assert_eq!(command(&words("sh -c 0123456789abcdefgh")), "\"sh -c 0123456789abcd…\"");
        assert_eq!(command(&words("a\x1b[31m")), "\"a [31m\"");
    }

    #[test]
    fn filters_are_read() {
        assert_eq!(parse_filter("name=we"), Ok(Filter::Name("we".into())));
        assert_eq!(parse_filter("label=a=b"), Ok(Filter::Label("a".into(), Some("b".into()))));
        assert_eq!(parse_filter("label=a"), Ok(Filter::Label("a".into(), None)));
        for bad in ["", "name", "status=dead", "volume=x"] {
            assert!(parse_filter(bad).is_err(), "{bad}");
        }
    }
}
