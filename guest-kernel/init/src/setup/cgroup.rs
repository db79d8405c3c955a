//! The control group of the commands (Linux `Documentation/admin-guide/cgroup-v2.rst`).

use rustix::fs::{Mode, OFlags, mkdir, open};
use rustix::io::Errno;

use crate::error::{Doing, Error};

/// Where it is in the hierarchy that every guest mounts.
const GROUP: &str = "/sys/fs/cgroup/sandbox";

/// Makes the group, in which there are at most `most` processes and threads.
pub(super) fn limit_processes(most: u64) -> Result<(), Error> {
    write("/sys/fs/cgroup/cgroup.subtree_control", "+pids")?;
    match mkdir(GROUP, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error).doing("make", GROUP),
    }
    write(&format!("{GROUP}/pids.max"), &most.to_string())
}

/// Moves this process into the group.
pub(crate) fn join() -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = open(format!("{GROUP}/cgroup.procs"), flags, Mode::empty())?;
    rustix::io::write(file, b"0").map(drop)
}

fn write(path: &str, text: &str) -> Result<(), Error> {
    open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|file| rustix::io::write(file, text.as_bytes()))
        .doing("write", path)
        .map(drop)
}
