//! The control groups of the commands (Linux `Documentation/admin-guide/cgroup-v2.rst`).
//!
//! ```text
//! /                the agent and the kernel's threads; every controller is enabled
//! └── sandbox      the limits; the root of what commands see at /sys/fs/cgroup
//!     └── commands the commands, unless the main one is an init
//! ```
//!
//! A group with processes in it can give its children no controllers, so commands are a level below the root they see:
//! dockerd and k3s make groups beside theirs. An init starts in the root it sees and moves itself.

use monocore_protocol::{Configure, CpuMax, GuestLimits};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, mkdir, open, openat};
use rustix::mount::MountAttrFlags;

use super::mounting;
use crate::error::{Doing, Error};
use crate::log;

/// Where the hierarchy is mounted in the initramfs, which the new root covers.
const PLACE: &str = "/groups";
/// Most bytes of the list of controllers.
const LIST_BYTES: usize = 256;
/// Most bytes read of `memory.stat`.
const STAT_BYTES: usize = 16 << 10;

/// The commands' groups, opened.
#[derive(Debug)]
pub(crate) struct Groups {
    /// The root of what commands see.
    pub(crate) sandbox: OwnedFd,
    /// Where commands are.
    pub(crate) commands: OwnedFd,
    /// Tells of memory used up, if the kernel counts it.
    pub(crate) memory_events: Option<OwnedFd>,
    /// What commands see at `/sys/fs/cgroup`, attached nowhere yet.
    view: OwnedFd,
}

impl Groups {
    /// Makes them; only before the new root covers the initramfs.
    pub(super) fn make(configure: &Configure) -> Result<Self, Error> {
        let closed = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NOEXEC
            | MountAttrFlags::MOUNT_ATTR_NODEV;
        let mount = mounting::create("cgroup2", "cgroup2", &[("nsdelegate", "")], closed)?;
        make(PLACE)?;
        mounting::attach(&mount, PLACE.as_bytes())?;
        enable_controllers(&mount)?;
        let sandbox = format!("{PLACE}/sandbox");
        let commands = format!("{sandbox}/commands");
        make(&sandbox)?;
        make(&commands)?;
        if let Some(most) = configure.pids_max {
            write(&format!("{sandbox}/pids.max"), &most.to_string())?;
        }
        if let Some(max) = configure.cpu_max {
            write(&format!("{sandbox}/cpu.max"), &cpu_text(max))?;
        }
        let view = mounting::clone_of(CWD, &sandbox)?;
        let events = format!("{sandbox}/memory.events");
        let memory_events = open(&events, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok();
        Ok(Self { sandbox: directory(&sandbox)?, commands: directory(&commands)?, memory_events, view })
    }

    /// Gives the commands other limits. Less memory than they use is refused: the kernel would end processes until the
    /// rest fits.
    pub(crate) fn limit(&self, limits: &GuestLimits) -> Result<(), Error> {
        if let Some(most) = limits.memory_max_bytes {
            let used = used_bytes(&self.read("memory.stat")?);
            if used > most {
                return Err(Error::Refused(format!(
                    "its processes use {} MiB of memory",
                    used.div_ceil(1 << 20)
                )));
            }
        }
        let number = |most: Option<u64>| most.map_or_else(|| "max".to_owned(), |most| most.to_string());
        let cpu = limits.cpu_max.map_or_else(|| "max".to_owned(), cpu_text);
        self.write("memory.max", &number(limits.memory_max_bytes))?;
        self.write("cpu.max", &cpu)?;
        self.write("pids.max", &number(limits.pids_max))
    }

    fn read(&self, name: &str) -> Result<String, Error> {
        let mut text = vec![0; STAT_BYTES];
        let count = openat(&self.sandbox, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .and_then(|file| rustix::io::read(file, &mut text))
            .doing("read", name)?;
        Ok(String::from_utf8_lossy(&text[..count]).into_owned())
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        openat(&self.sandbox, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .and_then(|file| rustix::io::write(file, text.as_bytes()))
            .doing("write", name)
            .map(drop)
    }

    /// Mounts what commands see; once sysfs is there.
    pub(super) fn show(&self) -> Result<(), Error> {
        mounting::attach(&self.view, b"/sys/fs/cgroup")
    }
}

fn cpu_text(max: CpuMax) -> String {
    format!("{} {}", max.quota_us, max.period_us)
}

/// What of a group's memory cannot be given back: that of processes and of memory file systems. Cached files can.
fn used_bytes(stat: &str) -> u64 {
    let of = |name: &str| {
        let line = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|bytes| bytes.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    of("anon").saturating_add(of("shmem"))
}

/// Lets the groups of commands have every controller that the kernel knows.
fn enable_controllers(root: &OwnedFd) -> Result<(), Error> {
    let mut list = [0; LIST_BYTES];
    let count = openat(root, "cgroup.controllers", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|file| rustix::io::read(file, &mut list))
        .doing("read", "cgroup.controllers")?;
    let list = String::from_utf8_lossy(&list[..count]);
    let words: Vec<String> = list.split_ascii_whitespace().map(|name| format!("+{name}")).collect();
    if words.is_empty() {
        log::complain("the kernel has no controllers for control groups");
        return Ok(());
    }
    write(&format!("{PLACE}/cgroup.subtree_control"), &words.join(" "))
}

fn make(path: &str) -> Result<(), Error> {
    mkdir(path, Mode::from_raw_mode(0o755)).doing("make", path)
}

fn directory(path: &str) -> Result<OwnedFd, Error> {
    open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).doing("open", path)
}

fn write(path: &str, text: &str) -> Result<(), Error> {
    open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|file| rustix::io::write(file, text.as_bytes()))
        .doing("write", path)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_files_are_not_counted_as_used() {
        let stat = "anon 4096\nfile 900000\nkernel 77\nshmem 8192\nanon_thp 5\n";
        assert_eq!(used_bytes(stat), 12_288);
        assert_eq!(used_bytes(""), 0);
        assert_eq!(used_bytes("anon 18446744073709551615\nshmem 1\n"), u64::MAX);
        assert_eq!(cpu_text(CpuMax { quota_us: 50_000, period_us: 100_000 }), "50000 100000");
    }
}
