//! What runs as the only process of a guest with a distribution's kernel: it loads the modules it finds, does the job that the
//! kernel command line names (`monocore.job=NAME[:ABOUT]`), says how it ended and powers off.
//!
//! Host and guest talk through the console, a line at a time: the guest's begin with [`MARK`].

pub mod devices;
pub mod fs;
pub mod net;
mod sys;

use std::fs as std_fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, mount};

/// Begins every line that the host looks at.
pub const MARK: &str = "stock-guest:";
/// The line after which all is done and well.
pub const DONE: &str = "stock-guest: done";

/// A job, by the name that the kernel command line has, is told what follows the name there.
type Job = fn(&str) -> Result<()>;

const JOBS: &[(&str, Job)] = &[
    ("devices", |_| devices::run()),
    ("fs", |_| fs::run()),
    ("fs-rootless", |_| fs::run_rootless()),
    ("net", net::run),
];

/// Does everything and powers off.
pub fn main() {
    match run() {
        Ok(()) => say("done"),
        Err(error) => say(&format!("failed: {error:#}")),
    }
    // What was said has to get out first.
    sleep(Duration::from_millis(200));
    let _ = rustix::system::reboot(rustix::system::RebootCommand::PowerOff);
}

/// Tells the host something.
pub(crate) fn say(line: &str) {
    eprintln!("{MARK} {line}");
}

/// Waits until `condition` holds, 30 seconds at most.
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(30);
    while !condition() {
        if Instant::now() > end {
            bail!("waited in vain: {what}");
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn run() -> Result<()> {
    for (kind, target) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp")] {
        mount(kind, target, kind, MountFlags::empty(), None).with_context(|| format!("mounting {target}"))?;
    }
    load_modules()?;
    let line = std_fs::read_to_string("/proc/cmdline")?;
    let job = line.split_whitespace().find_map(|word| word.strip_prefix("monocore.job="));
    let job = job.context("no job on the kernel command line")?;
    let (name, about) = job.split_once(':').unwrap_or((job, ""));
    let Some((_, job)) = JOBS.iter().find(|(known, _)| *known == name) else { bail!("no job named {name}") };
    job(about).with_context(|| format!("job {name}"))
}

/// Loads every file of `/modules`, in the order of their names.
fn load_modules() -> Result<()> {
    let mut files: Vec<PathBuf> = std_fs::read_dir("/modules")?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for path in files {
        let file = std_fs::File::open(&path)?;
        rustix::system::finit_module(&file, c"", 0).with_context(|| format!("loading {}", path.display()))?;
    }
    Ok(())
}
