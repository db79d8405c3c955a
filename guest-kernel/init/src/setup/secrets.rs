//! Secrets: files of a memory file system that takes no writes once they are there.

use monocore_protocol::{Configure, SECRETS_DIR, Secret};
use rustix::fd::OwnedFd;
use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, openat};
use rustix::mount::MountAttrFlags;

use super::mounting;
use super::target::{self, Kind};
use crate::error::{Doing, Error};
use crate::identity;

/// Mounts the secrets, if there are any.
pub(super) fn place(configure: &Configure) -> Result<(), Error> {
    if configure.secrets.is_empty() {
        return Ok(());
    }
    // The command's start says what is wrong with a user that the image lacks.
    let owner = identity::resolve(&configure.secrets_owner).ok();
    let owner = owner.map_or((0, 0), |owner| (owner.uid, owner.gid));
    target::ensure(SECRETS_DIR.as_bytes(), Kind::Directory)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = mounting::create("tmpfs", "secrets", &[("mode", "0755")], attributes)?;
    for secret in &configure.secrets {
        write(&mount, secret, owner)?;
    }
    mounting::attach(&mount, SECRETS_DIR.as_bytes())?;
    mounting::make_read_only(SECRETS_DIR.as_bytes())
}

fn write(mount: &OwnedFd, secret: &Secret, (uid, gid): (u32, u32)) -> Result<(), Error> {
    let name = secret.name.as_str();
    if matches!(name, "" | "." | "..") || name.contains('/') {
        return Err(Error::Refused(format!("{name}: not the name of a secret")));
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(mount, name, flags, Mode::from_raw_mode(0o400)).doing("make the secret", name)?;
    let mut rest = secret.value.as_bytes();
    while !rest.is_empty() {
        rest = &rest[rustix::io::write(&file, rest).doing("write the secret", name)?..];
    }
    fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).doing("own the secret", name)
}
