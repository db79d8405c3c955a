//! Places to mount at.

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, lstat, mkdir, open, readlink, stat, utimensat};
use rustix::io::Errno;

use super::copy;
use crate::error::{Doing, Error};

/// What a mount covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
}

/// Links followed in one path; Linux' own bound.
const LINKS: usize = 40;

/// Makes `path`, an absolute one, with its parents if it is not there. Symbolic links are followed, also those that lead
/// to nothing yet: then their target is made. Nothing outside the root is reached, as this process's root is the guest's.
///
/// A directory that gets an entry keeps its times: the image's tree should look as it was built.
pub(crate) fn ensure(path: &[u8], kind: Kind) -> Result<(), Error> {
    if !path.starts_with(b"/") || path.contains(&0) {
        let path = String::from_utf8_lossy(path);
        return Err(Error::Refused(format!("{path}: a place to mount at must be an absolute path")));
    }
    if stat(path).is_ok() {
        return Ok(());
    }
    // The way so far, without links; empty for the root. Then what is still to be walked, last component first.
    let mut here = Vec::new();
    let mut rest: Vec<Vec<u8>> = components(path).rev().collect();
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == b".." {
            here.truncate(here.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
            continue;
        }
        let next = [&here[..], b"/", &name].concat();
        match lstat(&next[..]) {
            Ok(found) if FileType::from_raw_mode(found.st_mode).is_symlink() => {
                links += 1;
                if links > LINKS {
                    return Err(Errno::LOOP).doing("find", path);
                }
                let target = readlink(&next[..], Vec::new()).doing("read", &next)?.into_bytes();
                if target.starts_with(b"/") {
                    here.clear();
                }
                rest.extend(components(&target).rev());
            }
            Ok(_) => here = next,
            Err(Errno::NOENT) => {
                let parent = if here.is_empty() { &b"/"[..] } else { &here };
                make_keeping_times(parent, &next, rest.is_empty() && kind == Kind::File)?;
                here = next;
            }
            Err(error) => return Err(error).doing("look at", next),
        }
    }
    Ok(())
}

/// The components of a path, without empty ones and `.`.
pub(crate) fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec)
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

    fn link(target: &str, at: std::path::PathBuf) -> Vec<u8> {
        std::os::unix::fs::symlink(target, &at).unwrap();
        at.into_os_string().into_encoded_bytes()
    }

    #[test]
    fn links_to_nothing_are_followed_and_their_targets_made() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        std::fs::create_dir_all(at("etc/deep")).unwrap();
        ensure(&link("../run/systemd/resolve/stub.conf", at("etc/resolv.conf")), Kind::File).unwrap();
        assert!(at("run/systemd/resolve/stub.conf").is_file() && at("etc/resolv.conf").is_file());
        ensure(&link(at("other/hosts").to_str().unwrap(), at("etc/hosts")), Kind::File).unwrap();
        assert!(at("other/hosts").is_file() && at("etc/hosts").is_file());
        // A link within the path of a link, and one to a directory.
        link("../deep", at("etc/deep/again"));
        ensure(&link("deep/again/../real/d", at("etc/data")), Kind::Directory).unwrap();
        assert!(at("etc/real/d").is_dir(), "`..` counts from where the inner link leads");
    }

    #[test]
    fn links_that_lead_in_circles_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        link("b", dir.path().join("a"));
        let circle = link("a", dir.path().join("b"));
        assert!(matches!(ensure(&circle, Kind::File), Err(Error::System { errno: Errno::LOOP, .. })));
    }

    #[test]
    fn a_relative_place_is_refused() {
        assert!(ensure(b"data", Kind::Directory).is_err());
        assert!(ensure(b"/a\0b", Kind::Directory).is_err());
    }
}
