//! `stats`: what running sandboxes use.

use monocore_orchestrator::{ControlClient, Home, registry};
use serde::Serialize;

use super::args::StatsArgs;
use super::output::{self, Table};

#[derive(Debug, Serialize)]
struct Row {
    id: String,
    name: String,
    uptime_ms: u64,
    cpu_user_ms: u64,
    cpu_system_ms: u64,
    memory_used_bytes: u64,
    memory_total_bytes: u64,
    tasks: u32,
}

/// Docker's headings for the columns of a template.
const HEADINGS: [(&str, &str); 7] = [
    ("Container", "SANDBOX"),
    ("ID", "SANDBOX ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("PIDs", "PIDS"),
];

/// A row with the fields that Docker's `stats` gives to templates. The share of the processors is that since the start.
fn docker(row: &Row) -> serde_json::Value {
    let share = |part: u64, whole: u64| {
        let hundredths = part.saturating_mul(10_000).checked_div(whole).unwrap_or(0);
        format!("{}.{:02}%", hundredths / 100, hundredths % 100)
    };
    serde_json::json!({
        "Container": row.id,
        "ID": row.id,
        "Name": row.name,
        "CPUPerc": share(row.cpu_user_ms + row.cpu_system_ms, row.uptime_ms),
        "MemUsage": format!("{} / {}", output::size(row.memory_used_bytes), output::size(row.memory_total_bytes)),
        "MemPerc": share(row.memory_used_bytes, row.memory_total_bytes),
        "PIDs": row.tasks.to_string(),
    })
}

pub(super) fn main(args: &StatsArgs) -> anyhow::Result<()> {
    let home = Home::locate()?;
    let records = if args.sandboxes.is_empty() {
        registry::list(&home)?.into_iter().filter_map(|entry| entry.running).collect()
    } else {
        let running = |wanted: &String| registry::running(&home, wanted);
        args.sandboxes.iter().map(running).collect::<Result<Vec<_>, _>>()?
    };
    let mut rows = Vec::with_capacity(records.len());
    for record in records {
        let stats = ControlClient::connect(&home, &record)?.stats()?;
        rows.push(Row {
            id: record.id,
            name: record.name,
            uptime_ms: stats.uptime_ms,
            cpu_user_ms: stats.cpu_user_ms,
            cpu_system_ms: stats.cpu_system_ms,
            memory_used_bytes: stats.memory_total_bytes.saturating_sub(stats.memory_available_bytes),
            memory_total_bytes: stats.memory_total_bytes,
            tasks: stats.tasks,
        });
    }
    let items = || rows.iter().map(docker).collect();
    output::listing_as(args.output.format, &rows, items, &HEADINGS, |rows| {
        let mut table = Table::new(&["SANDBOX ID", "NAME", "CPU TIME", "MEM USAGE / LIMIT", "TASKS"]);
        for row in rows {
            let cpu_ms = row.cpu_user_ms + row.cpu_system_ms;
            table.row([
                row.id.clone(),
                row.name.clone(),
                format!("{}.{:02} s", cpu_ms / 1000, cpu_ms % 1000 / 10),
                format!("{} / {}", output::size(row.memory_used_bytes), output::size(row.memory_total_bytes)),
                row.tasks.to_string(),
            ]);
        }
        table.to_string()
    })
}
