//! Places to mount at.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdir, open, stat, utimensat};
use rustix::io::Errno;

use super::copy;
use crate::error::{Doing, Error};

/// What a mount covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
}

/// Makes `path`, an absolute one, with its parents if it is not there. A directory that is given an entry keeps its
/// times: the image's tree should look as it was built.
pub(crate) fn ensure(path: &[u8], kind: Kind) -> Result<(), Error> {
    if !path.starts_with(b"/") || path.contains(&0) {
        let path = String::from_utf8_lossy(path);
        return Err(Error::Refused(format!("{path}: a place to mount at must be an absolute path")));
    }
    if stat(path).is_ok() {
        return Ok(());
    }
    let ends: Vec<usize> =
        (1..path.len()).filter(|at| path[*at] == b'/' && path[at - 1] != b'/').chain([path.len()]).collect();
    let mut parent: &[u8] = b"/";
    for end in ends {
        let here = &path[..end];
        if stat(here).is_err() {
            let is_file = end == path.len() && kind == Kind::File;
            make_keeping_times(parent, here, is_file)?;
        }
        parent = here;
    }
    Ok(())
}

fn make_keeping_times(parent: &[u8], path: &[u8], is_file: bool) -> Result<(), Error> {
    let before = stat(parent).doing("look at", parent)?;
    if is_file {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY;
        open(path, flags, Mode::from_raw_mode(0o644)).doing("make", path)?;
    } else {
        match mkdir(path, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).doing("make", path),
        }
    }
    utimensat(CWD, parent, &copy::times(&before), AtFlags::empty()).doing("set the times of", parent)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn places_are_made_with_their_parents_whose_times_stay() {
        let dir = tempfile::tempdir().unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        std::fs::File::open(dir.path()).unwrap().set_modified(old).unwrap();
        let file = dir.path().join("a//b/file");
        ensure(file.as_os_str().as_bytes(), Kind::File).unwrap();
        ensure(dir.path().join("c/d").as_os_str().as_bytes(), Kind::Directory).unwrap();
        assert!(file.is_file() && dir.path().join("c/d").is_dir());
        assert_eq!(dir.path().metadata().unwrap().modified().unwrap(), old);
        // Again: nothing to do.
        ensure(file.as_os_str().as_bytes(), Kind::File).unwrap();
    }

    #[test]
    fn a_relative_place_is_refused() {
        assert!(ensure(b"data", Kind::Directory).is_err());
        assert!(ensure(b"/a\0b", Kind::Directory).is_err());
    }
}
