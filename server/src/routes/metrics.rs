//! Figures for Prometheus.

use std::fmt::{Display, Write};
use std::sync::PoisonError;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use monocore_api::{ErrorBody, SandboxStats};
use monocore_orchestrator::{HealthStatus, SandboxEntry, registry};

use super::sandboxes::running_stats;
use crate::api_server::ApiServer;
use crate::error::ApiError;
use crate::work;

/// The text format of Prometheus, version 0.0.4.
const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Figures of the server and of all sandboxes, in the text format of Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "server",
    responses((status = 200, body = String, content_type = "text/plain"), (status = "default", body = ErrorBody))
)]
pub(super) async fn metrics(State(context): State<ApiServer>) -> Result<Response, ApiError> {
    let gathered =
        work::short(&context, |context| Ok((registry::list(&context.home)?, running_stats(&context.home)?)));
    let (entries, stats) = gathered.await?;
    let mut text = Text::default();
    server(&mut text, &context);
    sandboxes(&mut text, &entries, &stats);
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(KIND))], text.0).into_response())
}

const NO_LABELS: &[(&str, &str)] = &[];

fn server(text: &mut Text, context: &ApiServer) {
    text.head("monocore_server_uptime_seconds", "gauge", "Time since the server's start.");
    let uptime = context.requests.started.elapsed().as_secs_f64();
    text.value("monocore_server_uptime_seconds", NO_LABELS, uptime);
    text.head("monocore_server_requests_total", "counter", "Answered requests, by status.");
    let answered = context.requests.answered.lock().unwrap_or_else(PoisonError::into_inner);
    for (status, count) in answered.iter() {
        text.value("monocore_server_requests_total", &[("status", status.to_string())], count);
    }
}

fn sandboxes(text: &mut Text, entries: &[SandboxEntry], stats: &[SandboxStats]) {
    text.head("monocore_sandboxes", "gauge", "Sandboxes, by what they do.");
    for status in ["created", "running", "restarting", "paused", "exited"] {
        let count = entries.iter().filter(|entry| entry.state.status.name() == status).count();
        text.value("monocore_sandboxes", &[("status", status)], count);
    }
    let labels = |entry: &SandboxEntry| [("id", entry.id.clone()), ("name", entry.name.clone())];
    text.head("monocore_sandbox_restarts_total", "counter", "Restarts by the sandbox's policy.");
    for entry in entries {
        text.value("monocore_sandbox_restarts_total", &labels(entry), entry.state.restart_count);
    }
    text.head("monocore_sandbox_healthy", "gauge", "1 if the last health checks succeeded, else 0.");
    for entry in entries {
        if let Some(health) = &entry.state.health {
            let is_healthy = health.status == HealthStatus::Healthy;
            text.value("monocore_sandbox_healthy", &labels(entry), u8::from(is_healthy));
        }
    }
    for (name, kind, help, figure) in FIGURES {
        let name = format!("monocore_sandbox_{name}");
        text.head(&name, kind, help);
        for stats in stats {
            if let Some(value) = figure(stats) {
                text.value(&name, &[("id", &stats.id), ("name", &stats.name)], value);
            }
        }
    }
}

/// A figure of a sandbox, if its source answers.
type Figure = fn(&SandboxStats) -> Option<f64>;

/// Name, kind, help and value of each figure.
#[allow(clippy::cast_precision_loss, reason = "Prometheus knows nothing but floating-point numbers")]
const FIGURES: [(&str, &str, &str, Figure); 11] = [
    ("uptime_seconds", "gauge", "Time since the machine's start.", |s| {
        Some(s.guest.as_ref()?.uptime_ms as f64 / 1000.0)
    }),
    ("cpu_user_seconds_total", "counter", "CPU time in user mode, by the guest.", |s| {
        Some(s.guest.as_ref()?.cpu_user_ms as f64 / 1000.0)
    }),
    ("cpu_system_seconds_total", "counter", "CPU time in the guest's kernel, by the guest.", |s| {
        Some(s.guest.as_ref()?.cpu_system_ms as f64 / 1000.0)
    }),
    ("memory_used_bytes", "gauge", "Memory in use in the guest.", |s| {
        Some(s.guest.as_ref()?.memory_used_bytes as f64)
    }),
    ("memory_total_bytes", "gauge", "Memory of the guest.", |s| {
        Some(s.guest.as_ref()?.memory_total_bytes as f64)
    }),
    ("tasks", "gauge", "Processes and threads in the guest.", |s| Some(f64::from(s.guest.as_ref()?.tasks))),
    ("machine_cpu_seconds_total", "counter", "CPU time of the machine's process, by the host.", |s| {
        Some(s.machine.as_ref()?.cpu_ms as f64 / 1000.0)
    }),
    ("network_received_bytes_total", "counter", "Bytes that the guest received.", |s| {
        Some(s.machine.as_ref()?.net_received_bytes as f64)
    }),
    ("network_sent_bytes_total", "counter", "Bytes that the guest sent.", |s| {
        Some(s.machine.as_ref()?.net_sent_bytes as f64)
    }),
    ("block_read_bytes_total", "counter", "Bytes read from disks and shares.", |s| {
        Some(s.machine.as_ref()?.block_read_bytes as f64)
    }),
    ("block_written_bytes_total", "counter", "Bytes written to disks and shares.", |s| {
        Some(s.machine.as_ref()?.block_written_bytes as f64)
    }),
];

/// What is sent.
#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value<T: AsRef<str>>(&mut self, name: &str, labels: &[(&str, T)], value: impl Display) {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<_> =
            labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value.as_ref()))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_prometheus() {
        let mut text = Text::default();
        text.head("a_total", "counter", "Help.");
        text.value("a_total", &[("name", "x\"y\\z\n")], 1.5);
        text.value("a_total", NO_LABELS, 2);
        let expected =
            "# HELP a_total Help.\n# TYPE a_total counter\na_total{name=\"x\\\"y\\\\z\\n\"} 1.5\na_total 2\n";
        assert_eq!(text.0, expected);
    }
}
