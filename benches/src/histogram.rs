//! Histograms the kernel keeps of a trace event: they cost those watched next to nothing.
//!
//! Source: Linux Documentation/trace/histogram.rst.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const EVENTS: &str = "/sys/kernel/tracing/events";

/// A histogram that is being kept; it ends with the object.
#[derive(Debug)]
pub struct Histogram {
    event: PathBuf,
    trigger: String,
}

impl Histogram {
    /// Counts `event` (`kvm/kvm_exit`) from now on, by what `trigger` says (`hist:keys=exit_reason`).
    ///
    /// # Errors
    /// There is no such event, or tracefs is not mounted.
    pub fn start(event: &str, trigger: &str) -> Result<Self> {
        let event = Path::new(EVENTS).join(event);
        fs::write(event.join("trigger"), trigger)
            .with_context(|| format!("trace {} (is tracefs mounted?)", event.display()))?;
        Ok(Self { event, trigger: trigger.into() })
    }

    /// What was counted since the start: for each entry its keys, its hits and its values.
    ///
    /// # Errors
    /// The file system's.
    pub fn read(&self) -> Result<Vec<Vec<u64>>> {
        let text = fs::read_to_string(self.event.join("hist"));
        Ok(parse(&text.with_context(|| format!("read what {} counted", self.event.display()))?))
    }
}

impl Drop for Histogram {
    fn drop(&mut self) {
        // What cannot be ended ends with the machine.
        let _ = fs::write(self.event.join("trigger"), format!("!{}", self.trigger));
    }
}

/// Lines like `{ isa:          2, exit_reason:       1024 } hitcount:       2113  bytes:     128`.
fn parse(histogram: &str) -> Vec<Vec<u64>> {
    let entries = histogram.lines().filter(|line| line.starts_with('{'));
    let numbers =
        |line: &str| line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    entries.map(numbers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_read() {
        let text = "# trigger info: hist:keys=isa,exit_reason\n\n\
            { isa:          2, exit_reason:        114 } hitcount:        424\n\
            { common_pid:       1234 } hitcount:         20  bytes:       4096\n\
            Totals:\n    Hits: 2570\n";
        assert_eq!(parse(text), [vec![2, 114, 424], vec![1234, 20, 4096]]);
    }
}
