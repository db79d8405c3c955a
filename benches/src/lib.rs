//! What the benchmarks share: running a command while timing it, medians, memory of a process tree.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub mod args;
pub mod exits;
pub mod histogram;
pub mod load;
pub mod memory;
pub mod microvm;
pub mod moved;
pub mod msb;
pub mod processes;
pub mod tools;

/// Runs `command` to its end with no input and says how long it took.
///
/// # Errors
/// It could not be started, or it failed; its output is in the message.
pub fn timed(command: &mut Command) -> Result<Duration> {
    let begin = Instant::now();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {command:?}"))?;
    let took = begin.elapsed();
    if !output.status.success() {
        bail!(
            "{command:?} ended with {}:\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(took)
}

/// Runs `measure` `count` times and gives the middle of what it says (the upper one of an even number).
///
/// # Errors
/// The first of `measure`.
pub fn median_of(count: usize, mut measure: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    let mut all = (0..count.max(1)).map(|_| measure()).collect::<Result<Vec<_>>>()?;
    all.sort();
    all.get(all.len() / 2).copied().context("no measurement")
}

/// Empties and makes a directory.
///
/// # Errors
/// The file system's.
pub fn fresh_dir(path: &Path) -> Result<()> {
    if path.exists() {
        std::fs::remove_dir_all(path).with_context(|| format!("empty {}", path.display()))?;
    }
    std::fs::create_dir_all(path).with_context(|| format!("make {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        let mut values = [5, 1, 9].map(Duration::from_secs).into_iter();
        assert_eq!(median_of(3, || values.next().context("end")).unwrap(), Duration::from_secs(5));
    }

    #[test]
    fn a_failing_command_is_no_measurement() {
        let error = timed(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("why"), "{error}");
    }
}
