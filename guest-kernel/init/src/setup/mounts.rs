//! What the user mounts.

use monocore_protocol::{Mount, MountSource, Tmpfs};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{MountAttrFlags, UnmountFlags};

use super::sockets::Access;
use super::target::{self, Kind};
use super::{System, copy, mounting, overlay, path_of_open};
use crate::error::{Doing, Error};

/// Mounts one thing, in a new guest or a running one.
pub(crate) fn mount(wanted: &Mount, system: &mut System) -> Result<(), Error> {
    let target = wanted.target.as_bytes();
    let mount = match &wanted.source {
        MountSource::Share { name, populate } => {
            target::ensure(target, Kind::Directory)?;
            let share = system.shares.tree(name)?;
            if *populate {
                fill_if_empty(target, &share)?;
            }
            share
        }
        MountSource::SharedFile { name } => {
            target::ensure(target, Kind::File)?;
            system.shares.file(name)?
        }
        MountSource::Socket { id, mode, uid, gid } => {
            target::ensure(target, Kind::File)?;
            system.sockets.mount(*id, Access { mode: *mode, uid: *uid, gid: *gid })?
        }
        MountSource::Tmpfs(options) => {
            target::ensure(target, Kind::Directory)?;
            memory(options)?
        }
        MountSource::Volume => {
            target::ensure(target, Kind::Directory)?;
            if !system.scratch.root_is_read_only {
                // A directory of the root is as good a place of its own as any.
                return Ok(());
            }
            let image = place(target)?;
            overlay::create(&path_of(&image), &system.scratch.new_place()?)?
        }
    };
    mounting::attach(&mount, target)?;
    if wanted.read_only { mounting::make_read_only(target) } else { Ok(()) }
}

/// Makes the sockets that are wanted, where they are wanted, for an agent that mounts nothing.
pub(crate) fn make_sockets(wanted: &[Mount], system: &mut System) -> Result<(), Error> {
    for mount in wanted {
        if let MountSource::Socket { id, mode, uid, gid } = mount.source {
            system.sockets.make(id, mount.target.as_bytes(), Access { mode, uid, gid })?;
        }
    }
    Ok(())
}

/// Unmounts what is at `target`; what still uses it keeps it until it ends.
pub(crate) fn unmount(target: &[u8]) -> Result<(), Error> {
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    rustix::mount::unmount(target, flags).doing("unmount", target)
}

/// Docker's rule for named volumes: an empty one starts with what the image has at the target.
fn fill_if_empty(target: &[u8], share: &OwnedFd) -> Result<(), Error> {
    let volume = path_of(share);
    if copy::is_empty(volume.as_bytes())? {
        let image = place(target)?;
        copy::tree(path_of(&image).as_bytes(), volume.as_bytes())?;
    }
    Ok(())
}

fn place(path: &[u8]) -> Result<OwnedFd, Error> {
    open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).doing("open", path)
}

/// A path without characters that mean something to anyone, for as long as `fd` is open.
fn path_of(fd: &OwnedFd) -> String {
    format!("{}/.", path_of_open(fd))
}

fn memory(options: &Tmpfs) -> Result<OwnedFd, Error> {
    let mode = format!("{:o}", options.mode.unwrap_or(0o1777) & 0o7777);
    let (uid, gid) = (options.uid.to_string(), options.gid.to_string());
    let size = options.size_bytes.map(|size| size.to_string());
    let mut words = vec![("mode", mode.as_str()), ("uid", uid.as_str()), ("gid", gid.as_str())];
    words.extend(size.as_deref().map(|size| ("size", size)));
    let refused = [
        (options.exec, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (options.suid, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (options.dev, MountAttrFlags::MOUNT_ATTR_NODEV),
    ];
    let attributes = refused.into_iter().filter(|(allowed, _)| !allowed).map(|(_, flag)| flag).collect();
    mounting::create("tmpfs", "tmpfs", &words, attributes)
}
