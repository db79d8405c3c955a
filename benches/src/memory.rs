//! Memory of a process and its descendants, as the kernel accounts it.

use std::collections::HashMap;
use std::fs;

use anyhow::{Context, Result};

/// What a tree of processes holds, kB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Proportional set size: shared pages divided among those who map them.
    pub pss_kb: u64,
    /// Of it anonymous pages, guest RAM included.
    pub anonymous_kb: u64,
}

/// The sum over process `root` and all its descendants.
///
/// # Errors
/// `/proc` cannot be read. Processes that end meanwhile count nothing.
pub fn tree(root: u32) -> Result<Memory> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").context("read /proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut sum = Memory::default();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        open.extend(children.remove(&pid).unwrap_or_default());
        sum.add(pid);
    }
    Ok(sum)
}

impl Memory {
    /// Adds what process `pid` holds; nothing if it has ended.
    pub fn add(&mut self, pid: u32) {
        if let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
            self.pss_kb += field(&text, "Pss:");
            self.anonymous_kb += field(&text, "Pss_Anon:");
        }
    }
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself hold spaces and parentheses.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

pub(crate) fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_holds_something() {
        let memory = tree(std::process::id()).unwrap();
        assert!(memory.pss_kb > 0 && memory.anonymous_kb <= memory.pss_kb, "{memory:?}");
    }
}
