//! What the processes of one program hold and do, as the kernel accounts it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::memory::{Memory, field};

/// What all processes of a program have at one time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holding {
    /// Processes.
    pub processes: u64,
    /// Their threads.
    pub threads: u64,
    /// Their open descriptors.
    pub descriptors: u64,
    /// Their memory.
    pub memory: Memory,
    /// How often their threads went to sleep of their own accord, since they began: once for each time they woke up.
    pub sleeps: u64,
}

/// What the processes that run the program at `binary` hold.
///
/// # Errors
/// `/proc` cannot be read. Processes that end meanwhile count nothing.
pub fn of(binary: &Path) -> Result<Holding> {
    let mut all = Holding::default();
    for entry in fs::read_dir("/proc").context("read /proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == binary) {
            all.processes += 1;
            all.descriptors += count(&entry.path().join("fd"));
            all.memory.add(pid);
            for thread in fs::read_dir(entry.path().join("task")).into_iter().flatten().flatten() {
                let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
                all.threads += 1;
                all.sleeps += field(&status, "voluntary_ctxt_switches:");
            }
        }
    }
    Ok(all)
}

/// How often a second the threads of the program at `binary` wake up, watched for `time`.
///
/// # Errors
/// Those of [`of`].
pub fn wakeups_per_second(binary: &Path, time: Duration) -> Result<f64> {
    let (before, began) = (of(binary)?.sleeps, Instant::now());
    std::thread::sleep(time);
    let slept = of(binary)?.sleeps.saturating_sub(before);
    // To 2^52 exact, and there are fewer.
    #[allow(clippy::cast_precision_loss, reason = "see above")]
    let slept = slept as f64;
    Ok(slept / began.elapsed().as_secs_f64())
}

fn count(dir: &Path) -> u64 {
    fs::read_dir(dir).map_or(0, |entries| entries.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_by_its_program() {
        let held = of(&std::env::current_exe().unwrap()).unwrap();
        assert!(held.processes > 0 && held.threads > 1 && held.descriptors > 2, "{held:?}");
        assert_eq!(of(Path::new("/nowhere")).unwrap().processes, 0);
    }
}
