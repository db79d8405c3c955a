//! `stats`: what running sandboxes use.

use monocore_orchestrator::{ControlClient, Home, MachineCounters, SandboxStats, registry};
use serde::Serialize;

use super::args::StatsArgs;
use super::named;
use super::output::{self, Table};

#[derive(Debug, Default, Serialize)]
struct Row {
    id: String,
    name: String,
    /// By the guest's agent; absent while the guest does not answer.
    #[serde(flatten)]
    guest: Option<GuestRow>,
    /// By the machine's process.
    #[serde(flatten)]
    machine: Option<MachineRow>,
}

#[derive(Debug, Serialize)]
struct GuestRow {
    uptime_ms: u64,
    cpu_user_ms: u64,
    cpu_system_ms: u64,
    memory_used_bytes: u64,
    memory_total_bytes: u64,
    tasks: u32,
}

/// Docker's headings for the columns of a template.
const HEADINGS: [(&str, &str); 9] = [
    ("Container", "SANDBOX"),
    ("ID", "SANDBOX ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

/// A row with the fields that Docker's `stats` gives to templates. The share of the processors is that since the start.
fn docker(row: &Row) -> serde_json::Value {
    let share = |part: u64, whole: u64| {
        let hundredths = part.saturating_mul(10_000).checked_div(whole).unwrap_or(0);
        format!("{}.{:02}%", hundredths / 100, hundredths % 100)
    };
    let [_, _, _, memory, _, net, block, tasks] = row.cells();
    let of_guest = |part: fn(&GuestRow) -> (u64, u64)| {
        row.guest.as_ref().map(part).map_or_else(|| "--".to_owned(), |(part, whole)| share(part, whole))
    };
    serde_json::json!({
        "Container": row.id,
        "ID": row.id,
        "Name": row.name,
        "CPUPerc": of_guest(|guest| (guest.cpu_user_ms + guest.cpu_system_ms, guest.uptime_ms)),
        "MemUsage": memory,
        "MemPerc": of_guest(|guest| (guest.memory_used_bytes, guest.memory_total_bytes)),
        "NetIO": net,
        "BlockIO": block,
        "PIDs": tasks,
    })
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct MachineRow {
    machine_cpu_ms: u64,
    machine_memory_bytes: u64,
    net_received_bytes: u64,
    net_sent_bytes: u64,
    block_read_bytes: u64,
    block_written_bytes: u64,
}

impl Row {
    fn new(id: String, name: String, stats: &SandboxStats) -> Self {
        let guest = stats.guest.map(|guest| GuestRow {
            uptime_ms: guest.uptime_ms,
            cpu_user_ms: guest.cpu_user_ms,
            cpu_system_ms: guest.cpu_system_ms,
            memory_used_bytes: guest.memory_total_bytes.saturating_sub(guest.memory_available_bytes),
            memory_total_bytes: guest.memory_total_bytes,
            tasks: guest.tasks,
        });
        Self { id, name, guest, machine: MachineRow::of(stats) }
    }

    fn cells(&self) -> [String; 8] {
        let none = || "--".to_owned();
        let of_guest = |cell: fn(&GuestRow) -> String| self.guest.as_ref().map_or_else(none, cell);
        let of_machine = |cell: fn(&MachineRow) -> String| self.machine.as_ref().map_or_else(none, cell);
        [
            self.id.clone(),
            self.name.clone(),
            of_guest(|guest| {
                let cpu_ms = guest.cpu_user_ms + guest.cpu_system_ms;
                format!("{}.{:02} s", cpu_ms / 1000, cpu_ms % 1000 / 10)
            }),
            of_guest(|guest| pair(guest.memory_used_bytes, guest.memory_total_bytes)),
            of_machine(|machine| output::size(machine.machine_memory_bytes)),
            of_machine(|machine| pair(machine.net_received_bytes, machine.net_sent_bytes)),
            of_machine(|machine| pair(machine.block_read_bytes, machine.block_written_bytes)),
            of_guest(|guest| guest.tasks.to_string()),
        ]
    }
}

impl MachineRow {
    fn of(stats: &SandboxStats) -> Option<Self> {
        let memory = stats.machine_memory_bytes.unwrap_or(0);
        Some(Self { machine_memory_bytes: memory, ..Self::new(stats.machine.as_ref()?) })
    }

    /// Bytes of the network are those of the card or of the sockets carried by it; bytes of shares count as a disk's.
    fn new(counters: &MachineCounters) -> Self {
        let mut row = Self { machine_cpu_ms: counters.cpu_ns / 1_000_000, ..Self::default() };
        for device in &counters.devices {
            let count = |name| device.get(name).unwrap_or(0);
            match device.kind.as_str() {
                "block" | "fs" => {
                    row.block_read_bytes += count("read_bytes");
                    row.block_written_bytes += count("written_bytes");
                }
                "nat" | "tap" | "passt" | "tsi" => {
                    row.net_received_bytes += count("bytes_to_guest");
                    row.net_sent_bytes += count("bytes_from_guest");
                }
                _ => {}
            }
        }
        row
    }
}

fn pair(first: u64, second: u64) -> String {
    format!("{} / {}", output::size(first), output::size(second))
}

pub(super) fn main(args: &StatsArgs) -> anyhow::Result<()> {
    let home = Home::locate()?;
    let records = if args.sandboxes.is_empty() {
        registry::list(&home)?.into_iter().filter_map(|entry| entry.running).collect()
    } else {
        let running = |wanted: &String| named::running(&home, wanted);
        args.sandboxes.iter().map(running).collect::<Result<Vec<_>, _>>()?
    };
    let mut rows = Vec::with_capacity(records.len());
    for record in records {
        let stats = ControlClient::connect(&home, &record)?.stats()?;
        rows.push(Row::new(record.id, record.name, &stats));
    }
    let items = || rows.iter().map(docker).collect();
    output::listing_as(args.output.format, &rows, items, &HEADINGS, |rows| {
        let heads = [
            "SANDBOX ID",
            "NAME",
            "CPU TIME",
            "MEM USAGE / LIMIT",
            "HOST MEM",
            "NET I/O",
            "BLOCK I/O",
            "TASKS",
        ];
        let mut table = Table::new(&heads);
        for row in rows {
            table.row(row.cells());
        }
        table.to_string()
    })
}

#[cfg(test)]
mod tests {
    use monocore_orchestrator::DeviceCounters;

    use super::*;

    #[test]
    fn devices_counters_are_summed_by_what_they_are() {
        let device = |kind: &str, counters: &[(&str, u64)]| DeviceCounters {
            kind: kind.to_owned(),
            counters: counters.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        };
        let counters = MachineCounters {
            cpu_ns: 2_500_000,
            bus: Vec::new(),
            devices: vec![
                device("block", &[("read_bytes", 1), ("written_bytes", 10)]),
                device("fs", &[("read_bytes", 2), ("written_bytes", 20)]),
                device("nat", &[("bytes_to_guest", 5), ("bytes_from_guest", 6)]),
                device("vsock", &[("bytes_to_guest", 100)]),
            ],
        };
        let row = MachineRow::new(&counters);
        let expected = MachineRow {
            machine_cpu_ms: 2,
            machine_memory_bytes: 0,
            net_received_bytes: 5,
            net_sent_bytes: 6,
            block_read_bytes: 3,
            block_written_bytes: 30,
        };
        assert_eq!(row, expected);
        let stats = SandboxStats { machine: Some(counters), ..SandboxStats::default() };
        let cells = Row::new("0".into(), "n".into(), &stats).cells();
        assert_eq!(cells[2..], ["--", "--", "0 B", "5 B / 6 B", "3 B / 30 B", "--"]);
    }
}
