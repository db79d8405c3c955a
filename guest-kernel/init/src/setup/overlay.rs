//! An overlay whose root looks like its lower layer's.

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, mkdir};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::{copy, mounting};
use crate::error::{Doing, Error};

/// An overlay of `lower` that keeps its changes in `upper` and `work` beneath `scratch`; attached nowhere yet. Neither
/// path may hold a `:`.
pub(crate) fn create(lower: &str, scratch: &str) -> Result<OwnedFd, Error> {
    let upper = format!("{scratch}/upper");
    let work = format!("{scratch}/work");
    match mkdir(&upper, Mode::from_raw_mode(0o755)) {
        // The root of an overlay is the upper directory: new, it has yet to look like the image's root.
        Ok(()) => copy::attributes(lower.as_bytes(), upper.as_bytes())?,
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error).doing("make", &upper),
    }
    match mkdir(&work, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error).doing("make", &work),
    }
    let options = [
        ("lowerdir", lower),
        ("upperdir", &upper),
        ("workdir", &work),
        // Directories can be renamed, and every file has one device number, as on a plain file system.
        ("redirect_dir", "on"),
        ("xino", "auto"),
    ];
    mounting::create("overlay", "overlay", &options, MountAttrFlags::empty())
}
