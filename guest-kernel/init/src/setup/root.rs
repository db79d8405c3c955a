//! The root: a disk image or a shared directory, with or without an overlay.

use monocore_protocol::{ROOT_SERIAL, Root, SCRATCH_SERIAL, ScratchDisk, Upper};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, mkdir, openat};
use rustix::mount::{MountAttrFlags, MoveMountFlags, move_mount};

use super::{System, disks, mounting, overlay, path_of_open};
use crate::error::{Doing, Error};

/// Where things are mounted in the initramfs before the new root covers it.
const IMAGE: &str = "/image";
const SCRATCH: &str = "/scratch";
const NEW_ROOT: &str = "/new-root";

/// The file system that takes writes, if there is one beside the root.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    mount: Option<OwnedFd>,
    /// What the root is where nothing was written; kept as the root covers it.
    lower: Option<OwnedFd>,
    places: u32,
    /// The root takes no writes, so what must stay writable needs a place here.
    pub(crate) root_is_read_only: bool,
}

impl Scratch {
    /// Open directories of the overlay's layers: what was written, and what was there before.
    pub(crate) fn layers(&self) -> Result<(OwnedFd, OwnedFd), Error> {
        let (Some(mount), Some(lower)) = (&self.mount, &self.lower) else {
            return Err(Error::Refused("the root is not an image's: its changes are not known".to_owned()));
        };
        let open = |of: &OwnedFd, path: &str| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            openat(of, path, flags, Mode::empty()).doing("open", path)
        };
        Ok((open(mount, "upper")?, open(lower, ".")?))
    }

    /// The path of a new empty directory on it.
    pub(crate) fn new_place(&mut self) -> Result<String, Error> {
        let Some(mount) = &self.mount else {
            return Err(Error::Refused("there is nothing that takes writes".to_owned()));
        };
        self.places += 1;
        let path = format!("{}/place{}", path_of_open(mount), self.places);
        mkdir(&path, Mode::from_raw_mode(0o700)).doing("make", &path)?;
        Ok(path)
    }
}

/// Mounts the root at a place of the initramfs; says whether it is to be made read-only in the end.
pub(super) fn enter(root: &Root, system: &mut System) -> Result<bool, Error> {
    let (mount, read_only) = match root {
        Root::Image { upper } => {
            let disk = disks::by_serial(ROOT_SERIAL)?;
            let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
            let image = mounting::create("erofs", &disk.device, &[("ro", "")], attributes)?;
            make(IMAGE)?;
            mounting::attach(&image, IMAGE.as_bytes())?;
            let root = overlay_on(IMAGE, upper, &mut system.scratch)?;
            system.scratch.lower = Some(image);
            (root, *upper == Upper::ReadOnly)
        }
        Root::Share { name, upper } => {
            let share = system.shares.tree(name)?;
            match upper {
                None => (share, false),
                Some(upper) => {
                    make(IMAGE)?;
                    mounting::attach(&share, IMAGE.as_bytes())?;
                    let root = overlay_on(IMAGE, upper, &mut system.scratch)?;
                    system.scratch.lower = Some(share);
                    (root, *upper == Upper::ReadOnly)
                }
            }
        }
        Root::Current => return Ok(false),
    };
    system.scratch.root_is_read_only = read_only;
    make(NEW_ROOT)?;
    mounting::attach(&mount, NEW_ROOT.as_bytes())?;
    Ok(read_only)
}

/// Makes what was mounted as the new root this process's `/`.
pub(super) fn switch() -> Result<(), Error> {
    rustix::process::chdir(NEW_ROOT).doing("enter", NEW_ROOT)?;
    move_mount(CWD, ".", CWD, "/", MoveMountFlags::empty()).doing("mount the root at", "/")?;
    rustix::process::chroot(".").doing("enter", "the root")?;
    rustix::process::chdir("/").doing("enter", "/")
}

fn make(path: &str) -> Result<(), Error> {
    mkdir(path, Mode::from_raw_mode(0o755)).doing("make", path)
}

fn overlay_on(lower: &str, upper: &Upper, scratch: &mut Scratch) -> Result<OwnedFd, Error> {
    let mount = match upper {
        Upper::Disk(disk) => mount_disk(disk)?,
        Upper::Memory { size_bytes } => mount_memory(*size_bytes)?,
        Upper::ReadOnly => mount_memory(None)?,
    };
    make(SCRATCH)?;
    mounting::attach(&mount, SCRATCH.as_bytes())?;
    scratch.mount = Some(mount);
    overlay::create(lower, SCRATCH)
}

fn mount_memory(size_bytes: Option<u64>) -> Result<OwnedFd, Error> {
    let size = size_bytes.map(|size| size.to_string());
    let mut options = vec![("mode", "0755")];
    options.extend(size.as_deref().map(|size| ("size", size)));
    mounting::create("tmpfs", "scratch", &options, MountAttrFlags::empty())
}

fn mount_disk(wanted: &ScratchDisk) -> Result<OwnedFd, Error> {
    let disk = disks::by_serial(SCRATCH_SERIAL)?;
    // Without `noinit_itable` a kernel thread would zero tables of a disk that is all holes.
    let options = [("noinit_itable", "")];
    let mount = mounting::create("ext4", &disk.device, &options, MountAttrFlags::MOUNT_ATTR_NOATIME)?;
    if wanted.grow {
        disks::grow(&mount, &disk)?;
    }
    Ok(mount)
}
