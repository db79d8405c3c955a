//! The kernel's mount calls, with errors that say what was mounted where.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_remount, move_mount, open_tree,
};

use crate::error::{Doing, Error};

/// A new mount of a file system, attached nowhere yet. An option without a value has the empty one.
pub(crate) fn create(
    kind: &str,
    source: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Error> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).doing("use the file system", kind)?;
    let made = fsconfig_set_string(&context, "source", source)
        .and_then(|()| {
            options.iter().try_for_each(|(name, value)| match *value {
                "" => fsconfig_set_flag(&context, *name),
                value => fsconfig_set_string(&context, *name, value),
            })
        })
        .and_then(|()| fsconfig_create(&context));
    if let Err(errno) = made {
        return Err(Error::System {
            doing: "mount",
            subject: format!("{kind} {source}{}", reason(&context)),
            errno,
        });
    }
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).doing("mount", kind)
}

/// What the file system itself says about a failure.
fn reason(context: &OwnedFd) -> String {
    let mut text = [0; 256];
    match rustix::io::read(context, &mut text) {
        Ok(count) => {
            let text = String::from_utf8_lossy(&text[..count]);
            format!(" ({})", text.trim_start_matches(['e', 'w', 'i', ' ']).trim_end())
        }
        Err(_) => String::new(),
    }
}

/// Puts a mount at `target`, from wherever it was.
pub(crate) fn attach(mount: &OwnedFd, target: &[u8]) -> Result<(), Error> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    move_mount(mount, "", CWD, target, flags).doing("mount at", target)
}

/// A second mount of what lies at `path` beneath `base`, attached nowhere yet.
pub(crate) fn clone_of(base: impl AsFd, path: &str) -> Result<OwnedFd, Error> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(base, path, flags).doing("find", path)
}

/// No writes through the mount at `target`.
pub(crate) fn make_read_only(target: &[u8]) -> Result<(), Error> {
    mount_remount(target, MountFlags::BIND | MountFlags::RDONLY, "").doing("make read-only", target)
}
