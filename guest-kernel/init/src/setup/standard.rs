//! The mounts every container expects: `/dev` and what is in it, `/proc`, `/sys`.

use rustix::fs::{Mode, mkdir, symlink};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::mounting;
use super::target::{self, Kind};
use crate::early::Early;
use crate::error::{Doing, Error};

/// Moves the early mounts beneath the root and adds what belongs in them.
pub(super) fn mount(early: &Early, shm_bytes: u64) -> Result<(), Error> {
    // Process 1 of the commands mounts the procfs of its namespace.
    target::ensure(b"/proc", Kind::Directory)?;
    for (mount, path) in [(&early.sys, "/sys"), (&early.dev, "/dev")] {
        target::ensure(path.as_bytes(), Kind::Directory)?;
        mounting::attach(mount, path.as_bytes())?;
    }
    let links = [
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
    ];
    for (content, path) in links {
        match symlink(content, path) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).doing("make", path),
        }
    }
    let nosuid = MountAttrFlags::MOUNT_ATTR_NOSUID;
    let noexec = nosuid | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let closed = noexec | MountAttrFlags::MOUNT_ATTR_NODEV;
    let size = shm_bytes.to_string();
    place("devpts", "/dev/pts", &[("gid", "5"), ("mode", "620"), ("ptmxmode", "666")], noexec)?;
    place("tmpfs", "/dev/shm", &[("mode", "1777"), ("size", &size)], closed)?;
    place("mqueue", "/dev/mqueue", &[], closed)
}

fn place(kind: &str, path: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> Result<(), Error> {
    match mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error).doing("make", path),
    }
    let mount = mounting::create(kind, kind, options, attributes)?;
    mounting::attach(&mount, path.as_bytes())
}
