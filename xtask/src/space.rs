//! What a build needs of this machine, told before it begins.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::process::{command, output, read_text};
use crate::project;
use crate::testbed;

/// What a debug and a release build of everything take in the target folder, MiB; 1.4 GiB after the tests alone.
const TARGET_MIB: u64 = 4096;
/// What the guest kernel's source and objects, the testbed's kernel and the images take in the cache while they are made.
const CACHE_MIB: u64 = 4096;
/// What the testbed's machine takes: its memory and QEMU's own.
const TESTBED_MIB: u64 = 3072 + 768;

/// Fails if there is too little disk or memory for a build and the testbed.
pub(crate) fn require() -> Result<()> {
    let places = [(project::target_dir(), TARGET_MIB), (project::cache_base()?, CACHE_MIB)];
    let mut wanted: Vec<(String, PathBuf, u64)> = Vec::new();
    for (place, mib) in places {
        let place = existing(&place);
        let (device, _) = free(&place)?;
        match wanted.iter_mut().find(|(known, _, _)| *known == device) {
            Some((_, _, sum)) => *sum += mib,
            None => wanted.push((device, place, mib)),
        }
    }
    for (_, place, mib) in wanted {
        let (_, free) = free(&place)?;
        let place = place.display();
        ensure!(
            free >= mib,
            "{free} MiB are free at {place}, and this needs {mib}: make room, or set CARGO_TARGET_DIR or XDG_CACHE_HOME"
        );
    }
    if !testbed::own_kvm_works() {
        let available = available_mib(&read_text(Path::new("/proc/meminfo"))?)?;
        ensure!(
            available >= TESTBED_MIB,
            "{available} MiB of memory are available, and the testbed needs {TESTBED_MIB}"
        );
    }
    Ok(())
}

/// How many testbeds fit into the memory that is available now; at least one.
pub(crate) fn testbeds() -> Result<u64> {
    Ok((available_mib(&read_text(Path::new("/proc/meminfo"))?)? / TESTBED_MIB).max(1))
}

/// The nearest folder at or above `path` that exists.
fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_path_buf()
}

/// The file system of a folder, and what is free there, MiB.
fn free(place: &Path) -> Result<(String, u64)> {
    parse_df(&output(command("df", ["--output=source,target,avail", "--block-size=1M"]).arg(place))?)
}

fn parse_df(text: &str) -> Result<(String, u64)> {
    let line = text.lines().last().unwrap_or_default().trim();
    let (place, free) = line.rsplit_once(' ').context("df says nothing")?;
    Ok((place.trim().to_owned(), free.parse().with_context(|| format!("cannot read df's {line:?}"))?))
}

fn available_mib(meminfo: &str) -> Result<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib: u64 = line
        .and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
        .context("no MemAvailable in /proc/meminfo")?;
    Ok(kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_read() {
        let text = "Filesystem Mounted on Avail\n/dev/vda   /          75123\n";
        assert_eq!(parse_df(text).unwrap(), ("/dev/vda   /".to_owned(), 75_123));
        assert_eq!(available_mib("MemTotal: 9 kB\nMemAvailable:   2097152 kB\n").unwrap(), 2048);
        assert!(available_mib("MemTotal: 9 kB\n").is_err());
        assert!(free(&existing(Path::new("/nonexistent/folder"))).unwrap().1 > 0);
    }
}
