//! Exits by kind, from the `kvm:kvm_exit` tracepoint.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::histogram::Histogram;

/// `isa` of the tracepoint: 1 is VT-x, 2 is AMD-V.
const VMX: u64 = 1;
const PAGE_FAULT: &str = "page faults";

/// What was counted.
#[derive(Debug, Default)]
pub struct Exits {
    /// How many of each kind.
    pub by_kind: BTreeMap<String, u64>,
}

impl Exits {
    /// Nested page faults, those of device registers the kernel serves included.
    pub fn page_faults(&self) -> f64 {
        as_f64(self.by_kind.get(PAGE_FAULT).copied().unwrap_or(0))
    }

    /// All the others.
    pub fn others(&self) -> f64 {
        self.total() - self.page_faults()
    }

    /// All of them.
    pub fn total(&self) -> f64 {
        as_f64(self.by_kind.values().sum())
    }
}

fn as_f64(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// A running count; it ends with the object.
#[derive(Debug)]
pub struct Counting(Histogram);

impl Counting {
    /// Counts from now on.
    ///
    /// # Errors
    /// There is no KVM, or tracefs is not mounted.
    pub fn start() -> Result<Self> {
        Histogram::start("kvm/kvm_exit", "hist:keys=isa,exit_reason").map(Self)
    }

    /// What was counted since the start.
    ///
    /// # Errors
    /// The file system's.
    pub fn read(&self) -> Result<Exits> {
        Ok(by_kind(&self.0.read()?))
    }
}

fn by_kind(entries: &[Vec<u64>]) -> Exits {
    let mut exits = Exits::default();
    for entry in entries {
        if let [isa, reason, count] = entry[..] {
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
    fn exits_are_told_apart_by_kind() {
        let exits = by_kind(&[vec![2, 114, 424], vec![2, 1024, 2113], vec![2, 20, 33]]);
        assert_eq!(exits.page_faults(), 2113.0);
        assert_eq!(exits.others(), 457.0);
        assert_eq!(exits.by_kind["CPUID"], 424);
    }
}
