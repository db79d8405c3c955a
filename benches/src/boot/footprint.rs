//! Memory of a VMM beyond its guest's RAM.

use std::fs;

use anyhow::{Context, Result};

/// What a process holds beyond its guest's RAM, KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Footprint {
    pub(crate) anonymous_kib: f64,
    /// The kernel's pages mapped into guest RAM are not counted.
    pub(crate) resident_kib: f64,
}

/// One mapping of /proc/PID/smaps.
#[derive(Clone, Copy, Debug, Default)]
struct Mapping {
    start: u64,
    end: u64,
    resident_kib: u32,
    anonymous_kib: u32,
}

/// Reads it for process `pid` with `ram_bytes` of guest RAM.
pub(crate) fn of(pid: u32, ram_bytes: u64) -> Result<Footprint> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).context("read the VMM's memory map")?;
    beyond(&parse(&text), ram_bytes).context("the VMM has no range as long as its guest's RAM")
}

fn parse(smaps: &str) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let (Some(key), value) = (words.next(), words.next()) else { continue };
        if let Some((start, end)) = range(key) {
            mappings.push(Mapping { start, end, ..Mapping::default() });
        } else if let (Some(last), Some(kib)) = (mappings.last_mut(), value.and_then(|v| v.parse().ok())) {
            match key {
                "Rss:" => last.resident_kib = kib,
                "Anonymous:" => last.anonymous_kib = kib,
                _ => {}
            }
        }
    }
    mappings
}

fn range(word: &str) -> Option<(u64, u64)> {
    let (start, end) = word.split_once('-')?;
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}

/// Guest RAM is a run of mappings without a gap, `ram_bytes` long: the kernel's pages split it.
fn beyond(mappings: &[Mapping], ram_bytes: u64) -> Option<Footprint> {
    let is_ram_start = |mapping: &&Mapping| {
        let mut end = mapping.start;
        for next in mappings.iter().skip_while(|m| m.start < mapping.start) {
            if next.start != end {
                return false;
            }
            end = next.end;
            if end >= mapping.start + ram_bytes {
                return end == mapping.start + ram_bytes;
            }
        }
        false
    };
    let ram = mappings.iter().find(is_ram_start)?.start;
    let others = mappings.iter().filter(|m| m.start < ram || m.start >= ram + ram_bytes);
    Some(others.fold(Footprint::default(), |sum, m| Footprint {
        anonymous_kib: sum.anonymous_kib + f64::from(m.anonymous_kib),
        resident_kib: sum.resident_kib + f64::from(m.resident_kib),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_ram_is_found_though_the_kernel_splits_it() {
        let smaps = "1000-3000 rw-p 0 00:00 0 [heap]\nRss: 8 kB\nAnonymous: 8 kB\n\
            10000-14000 rw-p 0 00:00 0\nRss: 16 kB\nAnonymous: 16 kB\n\
            14000-18000 rw-p 0 00:01 5 /vmlinux\nRss: 16 kB\nAnonymous: 0 kB\n\
            18000-20000 rw-p 0 00:00 0\nRss: 4 kB\nAnonymous: 4 kB\n\
            30000-31000 r-xp 0 00:01 7 /monocore\nRss: 4 kB\nAnonymous: 0 kB\n";
        let mappings = parse(smaps);
        let footprint = beyond(&mappings, 0x10000).unwrap();
        assert_eq!(footprint, Footprint { anonymous_kib: 8.0, resident_kib: 12.0 });
        assert_eq!(beyond(&mappings, 0x9000), None);
    }
}
