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
    output::listing(args.output.format, &rows, |rows| {
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
