//! What is mounted before anything is known: devices, processes and the kernel's objects.

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, mkdir, open};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use crate::error::{Doing, Error};
use crate::setup::mounting;
use crate::{log, sys};

/// The early mounts; they move beneath the root once there is one.
#[derive(Debug)]
pub(crate) struct Early {
    pub(crate) dev: OwnedFd,
    pub(crate) proc: OwnedFd,
    pub(crate) sys: OwnedFd,
}

/// Where the boot mark lies from the exit device's first port on.
const MARK_OFFSET: u16 = 8;
const MAX_COMMAND_LINE_BYTES: usize = 4096;

/// Mounts the three, and tells the machine that init runs if it wants to know.
pub(crate) fn mount() -> Result<Early, Error> {
    rustix::process::umask(Mode::empty());
    let safe = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NODEV;
    let proc = mount_at("proc", "/proc", safe)?;
    mark();
    let dev = mount_at("devtmpfs", "/dev", MountAttrFlags::MOUNT_ATTR_NOSUID)?;
    let sys = mount_at("sysfs", "/sys", safe)?;
    give_streams()?;
    Ok(Early { dev, proc, sys })
}

fn mount_at(kind: &str, target: &str, attributes: MountAttrFlags) -> Result<OwnedFd, Error> {
    match mkdir(target, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error).doing("make", target),
    }
    let mount = mounting::create(kind, kind, &[], attributes)?;
    mounting::attach(&mount, target.as_bytes())?;
    Ok(mount)
}

/// Descriptors 0 to 2 lead nowhere, so that nothing opened later takes their numbers.
fn give_streams() -> Result<(), Error> {
    let null = open("/dev/null", OFlags::RDWR, Mode::empty()).doing("open", "/dev/null")?;
    rustix::stdio::dup2_stdin(&null).doing("redirect", "standard input")?;
    rustix::stdio::dup2_stdout(&null).doing("redirect", "standard output")?;
    rustix::stdio::dup2_stderr(&null).doing("redirect", "standard error")
    // `null` itself may be one of the three: then it stays open under that number.
}

/// Tells the machine that init runs, if the kernel's command line asks for it.
fn mark() {
    let Ok(file) = open("/proc/cmdline", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else { return };
    let mut line = [0; MAX_COMMAND_LINE_BYTES];
    let Ok(count) = rustix::io::read(file, &mut line) else { return };
    if let Some(port) = mark_port(&line[..count])
        && let Err(error) = sys::mark(port)
    {
        log::complain(&format!("no boot mark: {error}"));
    }
}

fn mark_port(command_line: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(command_line).ok()?;
    line.split_ascii_whitespace().find(|word| *word == "monocore.mark")?;
    let base = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("monocore.exit="))?;
    let base = match base.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16).ok()?,
        None => base.parse().ok()?,
    };
    base.checked_add(MARK_OFFSET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_made_only_when_asked_for() {
        assert_eq!(mark_port(b"quiet monocore.exit=0x600 monocore.mark\n"), Some(0x608));
        assert_eq!(mark_port(b"monocore.exit=1536 monocore.mark"), Some(0x608));
        assert_eq!(mark_port(b"monocore.exit=0x600"), None);
        assert_eq!(mark_port(b"monocore.mark"), None);
        assert_eq!(mark_port(b"monocore.exit=0xffff monocore.mark"), None);
    }
}
