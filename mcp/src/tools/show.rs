//! Looking at sandboxes: list, inspect, logs, statistics.

use monocore_orchestrator::{
    ControlClient, Error, LABEL_PROJECT, LABEL_SERVICE, NetworkRecord, SandboxEntry,
};
use monocore_spec::PublishedPort;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Kind, McpTool, lines};
use crate::context::Context;
use crate::error::ToolError;
use crate::resources::logs;
use crate::work::{Call, Interrupt};

/// The longest command line that is shown, characters.
const COMMAND: usize = 200;

pub(super) fn tools() -> Vec<McpTool> {
    vec![
        McpTool::new(
            "list_sandboxes",
            "List sandboxes",
            Kind::Reads,
            "Lists the sandboxes that these tools can use, oldest first, one JSON object a line, with name, image, status and \
             published ports. Stopped ones are shown as well.",
            list,
        ),
        McpTool::new(
            "inspect_sandbox",
            "Show a sandbox's settings",
            Kind::Reads,
            "Shows everything about one sandbox as JSON: status, exit code, image, command, environment, mounts, network, \
             ports, limits and labels.",
            inspect,
        ),
        McpTool::new(
            "logs",
            "Show a sandbox's output",
            Kind::Reads,
            "Shows the last output of a sandbox's own command (the one given to create_sandbox or project_up, not those of \
             exec). Lines from standard error begin with [stderr].",
            show_logs,
        ),
        McpTool::new(
            "stats",
            "Show what sandboxes use",
            Kind::Reads,
            "Shows CPU time, memory, disk and network use of one running sandbox, or of all, one JSON object a line.",
            stats,
        ),
    ]
}

/// A sandbox as listings show it.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    name: &'a str,
    id: &'a str,
    image: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    command: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
}

impl<'a> Listed<'a> {
    fn new(entry: &'a SandboxEntry) -> Self {
        let label = |key: &str| entry.labels.get(key).map(String::as_str);
        let command = entry.command.join(" ");
        let command = match command.char_indices().nth(COMMAND) {
            Some((at, _)) => format!("{}…", &command[..at]),
            None => command,
        };
        Self {
            name: &entry.name,
            id: &entry.id,
            image: &entry.root,
            status: entry.state.status.name(),
            exit_code: entry.state.exit_code,
            error: entry.state.error.as_deref(),
            command,
            ports: ports(entry),
            project: label(LABEL_PROJECT),
            service: label(LABEL_SERVICE),
        }
    }
}

fn ports(entry: &SandboxEntry) -> Vec<String> {
    let Some(NetworkRecord::Ours { ports, .. }) = entry.running.as_ref().map(|record| &record.network) else {
        return Vec::new();
    };
    let port = |port: &PublishedPort| {
        let PublishedPort { address, host_port, guest_port, protocol, .. } = port;
        format!("{address}:{host_port}->{guest_port}/{}", protocol.name())
    };
    ports.iter().map(port).collect()
}

/// Sandboxes as a list, one a line.
pub(super) fn listing(entries: &[SandboxEntry], nothing: &str) -> Result<String, ToolError> {
    let listed: Vec<_> = entries.iter().map(Listed::new).collect();
    lines(&listed, nothing)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct List {
    /// Only sandboxes that run
    #[serde(default)]
    running: bool,
}

async fn list(call: Call, wanted: List) -> Result<String, ToolError> {
    let work = move |context: &Context, _: &Interrupt| {
        let mut entries = context.list()?;
        entries.retain(|entry| !wanted.running || entry.running.is_some());
        listing(&entries, "no sandboxes; create_sandbox makes one")
    };
    call.blocking(None, work).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Named {
    /// Name, ID, or unique ID prefix
    #[schemars(length(min = 1, max = 128))]
    sandbox: String,
}

async fn inspect(call: Call, wanted: Named) -> Result<String, ToolError> {
    let work = move |context: &Context, _: &Interrupt| {
        let entry = context.find(&wanted.sandbox)?;
        let kept = entry.kept.as_ref().map(monocore_orchestrator::KeptSandbox::record);
        let shown = json!({
            "name": entry.name, "id": entry.id, "state": entry.state, "created_ms": entry.created_ms,
            "image": entry.root, "image_id": kept.and_then(|record| record.image.clone()),
            "command": entry.command, "labels": entry.labels, "ports": ports(&entry),
            "settings": kept.map(|record| &record.spec),
        });
        serde_json::to_string_pretty(&shown).map_err(|error| ToolError::new(error.to_string()))
    };
    call.blocking(None, work).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Logs {
    /// Name, ID, or unique ID prefix
    #[schemars(length(min = 1, max = 128))]
    sandbox: String,
    /// The last lines shown; default 100
    #[schemars(range(min = 1, max = 10_000))]
    tail: Option<usize>,
    /// Only what was written in the last seconds, this many
    #[schemars(range(min = 1, max = 31_536_000))]
    since_seconds: Option<u64>,
    /// Bytes shown
    #[schemars(range(min = 1, max = 16_777_216))]
    max_output_bytes: Option<usize>,
}

async fn show_logs(call: Call, wanted: Logs) -> Result<String, ToolError> {
    let most = call.output(wanted.max_output_bytes)?;
    let since = wanted.since_seconds.and_then(|seconds| {
        std::time::SystemTime::now().checked_sub(std::time::Duration::from_secs(seconds))
    });
    let tail = wanted.tail.unwrap_or(100);
    let work = move |context: &Context, interrupt: &Interrupt| {
        let entry = context.find(&wanted.sandbox)?;
        let shown = logs(context, &entry, since, tail, most, &|| interrupt.has_come())?;
        let mut text = shown.text;
        if shown.left_out > 0 {
            text.push_str(&format!(
                "--- cut\n{} earlier lines are left out. To see them, give a larger tail or max_output_bytes.",
                shown.left_out
            ));
        }
        if text.is_empty() {
            text = format!("sandbox {} has no output", entry.name);
        }
        Ok(text)
    };
    call.blocking(None, work).await
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Stats {
    /// Name, ID, or unique ID prefix; all that run if absent
    #[schemars(length(min = 1, max = 128))]
    sandbox: Option<String>,
}

async fn stats(call: Call, wanted: Stats) -> Result<String, ToolError> {
    let work = move |context: &Context, _: &Interrupt| {
        let entries = match &wanted.sandbox {
            Some(name) => vec![context.find(name)?],
            None => context.list()?,
        };
        let is_one = wanted.sandbox.is_some();
        let mut shown = Vec::new();
        for entry in entries {
            match usage(context, &entry) {
                Ok(usage) => shown.push(usage),
                Err(error) if is_one => return Err(error),
                // It does not run, or has just ended.
                Err(_) => {}
            }
        }
        lines(&shown, "no sandbox runs")
    };
    call.blocking(None, work).await
}

fn usage(context: &Context, entry: &SandboxEntry) -> Result<serde_json::Value, ToolError> {
    let record = entry.running.as_ref().ok_or_else(|| Error::NotRunning(entry.name.clone()))?;
    let stats = ControlClient::connect(context.home(), record)?.stats()?;
    let mut shown = json!({"name": entry.name});
    if let Some(guest) = stats.guest {
        shown["uptime_ms"] = json!(guest.uptime_ms);
        shown["cpu_ms"] = json!(guest.cpu_user_ms + guest.cpu_system_ms);
        shown["memory_used_mib"] =
            json!(guest.memory_total_bytes.saturating_sub(guest.memory_available_bytes) >> 20);
        shown["memory_total_mib"] = json!(guest.memory_total_bytes >> 20);
        shown["tasks"] = json!(guest.tasks);
    }
    if let Some(machine) = stats.machine {
        shown["host_cpu_ms"] = json!(machine.cpu_ns / 1_000_000);
        let sum = |kinds: &[&str], name: &str| {
            let devices = machine.devices.iter().filter(|device| kinds.contains(&device.kind.as_str()));
            devices.filter_map(|device| device.get(name)).sum::<u64>()
        };
        let (disk, net) = (["block", "fs"], ["nat", "tap", "passt", "tsi"]);
        shown["disk_read_bytes"] = json!(sum(&disk, "read_bytes"));
        shown["disk_written_bytes"] = json!(sum(&disk, "written_bytes"));
        shown["net_received_bytes"] = json!(sum(&net, "bytes_to_guest"));
        shown["net_sent_bytes"] = json!(sum(&net, "bytes_from_guest"));
    }
    Ok(shown)
}
