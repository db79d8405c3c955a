//! Exits by kind, from a histogram of the `kvm:kvm_exit` tracepoint: it costs the guest next to nothing.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

const EVENT: &str = "/sys/kernel/tracing/events/kvm/kvm_exit";
const HISTOGRAM: &str = "hist:keys=isa,exit_reason";
/// `isa` of the tracepoint: 1 is VT-x, 2 is AMD-V.
const VMX: u64 = 1;
const PAGE_FAULT: &str = "page faults";

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Exits {
    pub(crate) by_kind: BTreeMap<String, u64>,
}

impl Exits {
    /// Nested page faults, those of device registers the kernel serves included.
    pub(crate) fn page_faults(&self) -> f64 {
        as_f64(self.by_kind.get(PAGE_FAULT).copied().unwrap_or(0))
    }

    /// All the others.
    pub(crate) fn others(&self) -> f64 {
        self.total() - self.page_faults()
    }

    pub(crate) fn total(&self) -> f64 {
        as_f64(self.by_kind.values().sum())
    }
}

fn as_f64(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// A running count; it ends with the object.
pub(crate) struct Counting;

impl Counting {
    /// Counts from now on.
    pub(crate) fn start() -> Result<Self> {
        fs::write(format!("{EVENT}/trigger"), HISTOGRAM).context("trace kvm_exit (is tracefs mounted?)")?;
        Ok(Self)
    }

    /// What was counted since the start.
    pub(crate) fn read(&self) -> Result<Exits> {
        Ok(parse(&fs::read_to_string(format!("{EVENT}/hist")).context("read the exits")?))
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        // What cannot be ended ends with the machine.
        let _ = fs::write(format!("{EVENT}/trigger"), format!("!{HISTOGRAM}"));
    }
}

/// Lines like `{ isa:          2, exit_reason:       1024 } hitcount:       2113`.
fn parse(histogram: &str) -> Exits {
    let mut exits = Exits::default();
    for line in histogram.lines().filter(|line| line.starts_with('{')) {
        let numbers: Vec<u64> =
            line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
        if let [isa, reason, count] = numbers[..] {
            *exits.by_kind.entry(kind(isa, reason)).or_default() += count;
        }
    }
    exits
}

/// Source: Linux arch/x86/include/uapi/asm/{svm,vmx}.h.
fn kind(isa: u64, reason: u64) -> String {
    match (isa == VMX, reason) {
        (true, 48 | 49) | (false, 0x400) => PAGE_FAULT.into(),
        (true, 10) | (false, 0x72) => "CPUID".into(),
        (true, 31 | 32) | (false, 0x7c) => "MSR".into(),
        (true, 30) | (false, 0x7b) => "port I/O".into(),
        (true, 12) | (false, 0x78) => "HLT".into(),
        (true, 1) | (false, 0x60) => "host interrupt".into(),
        (true, 28) | (false, 0..=0x1f) => "control registers".into(),
        (_, other) => format!("other ({other:#x})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_read() {
        let text = "# trigger info: hist:keys=isa,exit_reason\n\n\
            { isa:          2, exit_reason:        114 } hitcount:        424\n\
            { isa:          2, exit_reason:       1024 } hitcount:       2113\n\
            { isa:          2, exit_reason:         20 } hitcount:         33\n\
            Totals:\n    Hits: 2570\n";
        let exits = parse(text);
        assert_eq!(exits.page_faults(), 2113.0);
        assert_eq!(exits.others(), 457.0);
        assert_eq!(exits.by_kind["CPUID"], 424);
    }
}
