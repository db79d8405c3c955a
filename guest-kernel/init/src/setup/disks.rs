//! Disks by the serial their device reports.

use rustix::fd::OwnedFd;
use rustix::fs::{Dir, Mode, OFlags, ext4_ioc_resize_fs, fstatvfs, open, openat};

use crate::error::{Doing, Error};

const BLOCK: &str = "/sys/block";
const SECTOR_BYTES: u64 = 512;

/// A disk.
#[derive(Debug)]
pub(crate) struct Disk {
    /// Its device node.
    pub(crate) device: String,
    size_bytes: u64,
}

/// The disk with this serial.
pub(crate) fn by_serial(serial: &str) -> Result<Disk, Error> {
    let folder = open(BLOCK, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .doing("open", BLOCK)?;
    for entry in Dir::read_from(&folder).doing("list", BLOCK)? {
        let entry = entry.doing("list", BLOCK)?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if !name.starts_with("vd") || attribute(&folder, name, "serial").as_deref() != Some(serial) {
            continue;
        }
        let sectors: u64 = attribute(&folder, name, "size").and_then(|size| size.parse().ok()).unwrap_or(0);
        let size_bytes = sectors.saturating_mul(SECTOR_BYTES);
        return Ok(Disk { device: format!("/dev/{name}"), size_bytes });
    }
    Err(Error::Refused(format!("the machine has no disk with the serial `{serial}`")))
}

fn attribute(folder: &OwnedFd, disk: &str, name: &str) -> Option<String> {
    let path = format!("{disk}/{name}");
    let file = openat(folder, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = [0; 64];
    let count = rustix::io::read(file, &mut text).ok()?;
    Some(String::from_utf8_lossy(&text[..count]).trim_end().to_owned())
}

/// Grows the ext4 mounted as `mount` to the whole disk.
pub(crate) fn grow(mount: &OwnedFd, disk: &Disk) -> Result<(), Error> {
    // The mount's own descriptor names a place only; the call wants an open directory.
    let root = openat(mount, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .doing("open", &disk.device)?;
    let block_bytes = fstatvfs(&root).doing("measure", &disk.device)?.f_bsize.max(1024);
    ext4_ioc_resize_fs(&root, disk.size_bytes / block_bytes).doing("grow", &disk.device)
}
