//! What a load cost this machine.

use std::fs;
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use monocore_benches::exits;
use monocore_benches::histogram::Histogram;
use monocore_benches::load::{Guest, Load};
use rustix::time::{ClockId, clock_gettime};

/// How long everything has to come to rest before and after a load.
const REST: Duration = Duration::from_millis(60);
const PROBES: &str = "/sys/kernel/tracing/kprobe_events";
/// Where the kernel copies between its own memory and a program's, when the program sends or receives.
const COPIES: [(&str, &str); 2] =
    [("bench/to_user", "_copy_to_iter"), ("bench/from_user", "_copy_from_iter")];

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
    let copies = Copies::start()?;
    guest.carry(load)?;
    sleep(REST);
    Ok(Figures {
        load,
        instructions,
        exits: exits.read()?.total(),
        system_calls: of_others(&calls.read()?, 1),
        copied_bytes: copies.read()?,
    })
}

/// Nanoseconds, which are instructions in this clock, that the CPU was busy with anything but this program.
///
/// Source: Linux Documentation/scheduler/sched-stats.rst, "CPU statistics": the seventh number is the time spent running tasks.
fn busy_ns() -> Result<u64> {
    let text = fs::read_to_string("/proc/schedstat").context("read the scheduler's figures")?;
    let line = text.lines().find_map(|line| line.strip_prefix("cpu0 ")).context("no figures of cpu0")?;
    let all: u64 = line.split_whitespace().nth(6).context("too few figures of cpu0")?.parse()?;
    let own = clock_gettime(ClockId::ProcessCPUTime);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    Ok(all.saturating_sub(part(own.tv_sec) * 1_000_000_000 + part(own.tv_nsec)))
}

/// Bytes the kernel copies to and from programs that send and receive.
struct Copies(Vec<Histogram>);

impl Copies {
    fn start() -> Result<Self> {
        let mut kept = Vec::new();
        for (event, function) in COPIES {
            let mut probes = fs::File::options().append(true).open(PROBES).context("probe the kernel")?;
            // The second argument of both is how much.
            if !fs::exists(format!("/sys/kernel/tracing/events/{event}"))? {
                probes.write_all(format!("p:{event} {function} bytes=%si:u64\n").as_bytes())?;
            }
            kept.push(Histogram::start(event, "hist:keys=common_pid:vals=bytes")?);
        }
        Ok(Self(kept))
    }

    fn read(&self) -> Result<f64> {
        self.0.iter().try_fold(0.0, |sum, histogram| Ok(sum + of_others(&histogram.read()?, 2)))
    }
}

/// The sum of a histogram's column over all threads but this program's only one.
fn of_others(entries: &[Vec<u64>], column: usize) -> f64 {
    let others = entries.iter().filter(|entry| entry.first() != Some(&u64::from(std::process::id())));
    as_f64(others.filter_map(|entry| entry.get(column)).sum())
}

fn as_f64(count: u64) -> f64 {
    Duration::from_nanos(count).as_secs_f64() * 1e9
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
    fn time_goes_on() {
        let before = busy_ns().unwrap();
        assert!(busy_ns().unwrap() >= before);
    }
}
