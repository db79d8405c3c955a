//! The guest's use of resources, from `/proc`.

use monocore_protocol::Stats;
use rustix::fs::{Mode, OFlags, open};

/// Clock ticks a second in `/proc/stat`; part of the kernel's interface.
const TICKS_A_SECOND: u64 = 100;

/// What the kernel says now; what it does not say is 0.
pub(crate) fn read() -> Stats {
    let memory = text("/proc/meminfo");
    let processors = text("/proc/stat");
    let ticks = |at: usize| number(processors.split_ascii_whitespace().nth(at)) * (1000 / TICKS_A_SECOND);
    let load = text("/proc/loadavg");
    let tasks = load.split_ascii_whitespace().nth(3).and_then(|ratio| ratio.split('/').nth(1));
    let uptime = text("/proc/uptime");
    let (seconds, hundredths) =
        uptime.split_ascii_whitespace().next().and_then(|time| time.split_once('.')).unwrap_or_default();
    Stats {
        uptime_ms: number(Some(seconds)) * 1000 + number(Some(hundredths)) * 10,
        memory_total_bytes: kibibytes(&memory, "MemTotal:"),
        memory_available_bytes: kibibytes(&memory, "MemAvailable:"),
        // Words of the first line: `cpu`, user, nice, system.
        cpu_user_ms: ticks(1) + ticks(2),
        cpu_system_ms: ticks(3),
        tasks: u32::try_from(number(tasks)).unwrap_or(u32::MAX),
    }
}

fn text(path: &str) -> String {
    let mut buffer = [0; 4096];
    let count = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|file| rustix::io::read(file, &mut buffer))
        .unwrap_or(0);
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

fn number(word: Option<&str>) -> u64 {
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn kibibytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    number(line.split_ascii_whitespace().next()) * 1024
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_machine_has_memory_and_tasks() {
        let stats = super::read();
        assert!(stats.memory_total_bytes > stats.memory_available_bytes);
        assert!(stats.tasks > 0 && stats.uptime_ms > 0);
    }
}
