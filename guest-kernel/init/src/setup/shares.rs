//! The host's shared directories: one device, mounted once at a hidden place, each share a mount of its own.

use monocore_protocol::{SHARE_TAG, SHARED_FILE};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, mkdir, open};
use rustix::mount::{MountAttrFlags, MoveMountFlags, move_mount};

use super::mounting;
use crate::error::{Doing, Error};

const PLACE: &str = "/shares";

/// The file-sharing device, mounted when the first share is asked for.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    /// The hidden place, opened before the root covers it.
    place: Option<OwnedFd>,
    mount: Option<OwnedFd>,
}

impl Shares {
    /// Makes the hidden place; only before the new root covers the initramfs.
    pub(super) fn new() -> Result<Self, Error> {
        mkdir(PLACE, Mode::from_raw_mode(0o700)).doing("make", PLACE)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place = open(PLACE, flags, Mode::empty()).doing("open", PLACE)?;
        Ok(Self { place: Some(place), mount: None })
    }

    /// Mounts the device if it is not yet.
    pub(crate) fn prepare(&mut self) -> Result<(), Error> {
        self.mounted().map(drop)
    }

    /// The device's root, if it is mounted.
    pub(crate) fn device(&self) -> Option<BorrowedFd<'_>> {
        self.mount.as_ref().map(AsFd::as_fd)
    }

    /// A mount of the shared directory `name`, attached nowhere yet.
    pub(crate) fn tree(&mut self, name: &str) -> Result<OwnedFd, Error> {
        mounting::clone_of(self.mounted()?, check(name)?)
    }

    /// A mount of the shared file `name`, attached nowhere yet.
    pub(crate) fn file(&mut self, name: &str) -> Result<OwnedFd, Error> {
        let path = format!("{}/{SHARED_FILE}", check(name)?);
        mounting::clone_of(self.mounted()?, &path)
    }

    /// The device's root. There is one mount of it for the guest's whole life: a second one could be given another
    /// share's superblock.
    fn mounted(&mut self) -> Result<&OwnedFd, Error> {
        if self.mount.is_none() {
            let Some(place) = &self.place else {
                return Err(Error::Refused("this guest shares no directories".to_owned()));
            };
            let mount = mounting::create("virtiofs", SHARE_TAG, &[], MountAttrFlags::empty())?;
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            move_mount(&mount, "", place, "", flags).doing("mount", SHARE_TAG)?;
            self.mount = Some(mount);
        }
        self.mount.as_ref().ok_or_else(|| Error::Refused("this guest shares no directories".to_owned()))
    }
}

fn check(name: &str) -> Result<&str, Error> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(Error::Refused(format!("{name:?}: not the name of a share")));
    }
    Ok(name)
}
