//! What a load cost this machine.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use monocore_benches::exits;
use monocore_benches::histogram::Histogram;
use monocore_benches::load::{Guest, Load};
use rustix::time::{ClockId, clock_gettime};

/// How long everything has to come to rest before and after a load.
const REST: Duration = Duration::from_millis(60);
/// Where the kernel copies between its own memory and a program's that sends or receives, and how much: all that leaves a socket's
/// buffers, and all that calls for sending took.
const COPIES: [(&str, &str); 5] = [
    ("skb/skb_copy_datagram_iovec", "hist:keys=common_pid:vals=len"),
    ("syscalls/sys_exit_sendmsg", "hist:keys=common_pid:vals=ret if ret > 0"),
    ("syscalls/sys_exit_sendto", "hist:keys=common_pid:vals=ret if ret > 0"),
    ("syscalls/sys_exit_write", "hist:keys=common_pid:vals=ret if ret > 0"),
    ("syscalls/sys_exit_writev", "hist:keys=common_pid:vals=ret if ret > 0"),
];

/// What one load cost, all of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) load: Load,
    pub(crate) instructions: f64,
    pub(crate) exits: f64,
    pub(crate) system_calls: f64,
    pub(crate) copied_bytes: f64,
}

/// Has `guest` carry `load`, twice.
pub(crate) fn count(guest: &mut Guest, load: Load) -> Result<Figures> {
    sleep(REST);
    let before = busy_ns()?;
    guest.carry(load)?;
    sleep(REST);
    let instructions = as_f64(busy_ns()?.saturating_sub(before));
    let exits = exits::Counting::start()?;
    let calls = Histogram::start("raw_syscalls/sys_enter", "hist:keys=common_pid")?;
    let copies = COPIES.map(|(event, trigger)| Histogram::start(event, trigger));
    let copies = copies.into_iter().collect::<Result<Vec<_>>>()?;
    guest.carry(load)?;
    sleep(REST);
    Ok(Figures {
        load,
        instructions,
        exits: exits.read()?.total(),
        system_calls: of_others(&calls.read()?, 1),
        copied_bytes: copies
            .iter()
            .try_fold(0.0, |sum, copied| anyhow::Ok(sum + of_others(&copied.read()?, 2)))?,
    })
}

/// Nanoseconds, which are instructions in this clock, that the CPU was busy with anything but this program.
fn busy_ns() -> Result<u64> {
    let text = fs::read_to_string("/proc/schedstat").context("read the scheduler's figures")?;
    let own = clock_gettime(ClockId::ProcessCPUTime);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    let own = part(own.tv_sec) * 1_000_000_000 + part(own.tv_nsec);
    Ok(running_ns(&text).context("no figures of cpu0")?.saturating_sub(own))
}

/// How long the first CPU was not idle.
///
/// Source: Linux Documentation/scheduler/sched-stats.rst, "CPU statistics": the seventh number.
fn running_ns(schedstat: &str) -> Option<u64> {
    let line = schedstat.lines().find_map(|line| line.strip_prefix("cpu0 "))?;
    line.split_whitespace().nth(6)?.parse().ok()
}

/// The sum of a histogram's column over all threads but this program's only one.
fn of_others(entries: &[Vec<u64>], column: usize) -> f64 {
    let others = entries.iter().filter(|entry| entry.first() != Some(&u64::from(std::process::id())));
    as_f64(others.filter_map(|entry| entry.get(column)).sum())
}

#[allow(clippy::cast_precision_loss, reason = "figures are shown with a few digits")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_is_left_out() {
        let own = u64::from(std::process::id());
        assert_eq!(of_others(&[vec![own, 5, 50], vec![own + 1, 2, 20], vec![own + 2, 1, 10]], 2), 30.0);
    }

    #[test]
    fn the_time_a_cpu_ran_is_its_seventh_number() {
        let text = "version 16\ntimestamp 4294895110\ncpu0 1 2 3 4 5 6 4368443257 7124138618 3094\n";
        assert_eq!(running_ns(text), Some(4_368_443_257));
        assert_eq!(running_ns("version 16\n"), None);
    }
}
