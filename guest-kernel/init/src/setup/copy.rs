//! Copying a file's attributes, and whole trees with them.

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chmod,
    chownat, lgetxattr, llistxattr, llistxattr_query, lsetxattr, lstat, mkdir, mknodat, open, readlink,
    sendfile, symlink, utimensat,
};
use rustix::io::Errno;

use crate::error::{Doing, Error};

/// Most bytes of a list of names, or of one value, of extended attributes (xattr(7)).
const MAX_XATTR_BYTES: usize = 64 << 10;
const COPY_BYTES: usize = 1 << 20;

/// Gives `to` the owner, mode, extended attributes and times of `from`; neither is followed if it is a link.
pub(crate) fn attributes(from: &[u8], to: &[u8]) -> Result<(), Error> {
    let stat = lstat(from).doing("look at", from)?;
    apply(&stat, from, to)
}

fn apply(stat: &Stat, from: &[u8], to: &[u8]) -> Result<(), Error> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(CWD, to, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).doing("give to its owner", to)?;
    copy_xattrs(from, to)?;
    if !FileType::from_raw_mode(stat.st_mode).is_symlink() {
        // After the owner: a change of owner clears the set-id bits.
        chmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777)).doing("set the mode of", to)?;
    }
    utimensat(CWD, to, &times(stat), AtFlags::SYMLINK_NOFOLLOW).doing("set the times of", to)
}

/// A file's times as they are set again.
pub(crate) fn times(stat: &Stat) -> Timestamps {
    let time =
        |tv_sec, nanoseconds: u64| Timespec { tv_sec, tv_nsec: i64::try_from(nanoseconds).unwrap_or(0) };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Copies what extended attributes the target's file system takes; an overlay's own marks mean nothing elsewhere.
fn copy_xattrs(from: &[u8], to: &[u8]) -> Result<(), Error> {
    // Not `llistxattr` into no buffer: that would say that there are none.
    let length = match llistxattr_query(from) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(()),
        other => other.doing("list the extended attributes of", from)?,
    };
    let mut names = vec![0; length.min(MAX_XATTR_BYTES)];
    let length = llistxattr(from, &mut names[..]).doing("list the extended attributes of", from)?;
    let mut value = vec![0; MAX_XATTR_BYTES];
    for name in names[..length].split(|byte| *byte == 0) {
        if name.is_empty() || name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let length = lgetxattr(from, name, &mut value[..]).doing("read an extended attribute of", from)?;
        match lsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => {}
            Err(error) => return Err(error).doing("set an extended attribute of", to),
        }
    }
    Ok(())
}

/// Copies what is in the directory `from` into the directory `to`, and its attributes.
pub(crate) fn tree(from: &[u8], to: &[u8]) -> Result<(), Error> {
    for name in names(from)? {
        let (source, target) = ([from, b"/", &name].concat(), [to, b"/", &name].concat());
        let stat = lstat(&source[..]).doing("look at", &source)?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                mkdir(&target[..], mode).doing("make", &target)?;
                tree(&source, &target)?;
                continue;
            }
            FileType::RegularFile => file(&source, &target, mode)?,
            FileType::Symlink => {
                let link = readlink(&source[..], Vec::new()).doing("read", &source)?;
                symlink(link, &target[..]).doing("make", &target)?;
            }
            kind => mknodat(CWD, &target[..], kind, mode, stat.st_rdev).doing("make", &target)?,
        }
        apply(&stat, &source, &target)?;
    }
    attributes(from, to)
}

/// Whether the directory at `path` holds nothing.
pub(crate) fn is_empty(path: &[u8]) -> Result<bool, Error> {
    Ok(names(path)?.is_empty())
}

/// The names in a directory.
fn names(path: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let folder = open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .doing("open", path)?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&folder).doing("list", path)? {
        let entry = entry.doing("list", path)?;
        match entry.file_name().to_bytes() {
            b"." | b".." => {}
            name => names.push(name.to_vec()),
        }
    }
    Ok(names)
}

fn file(source: &[u8], target: &[u8], mode: Mode) -> Result<(), Error> {
    let input = open(source, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).doing("read", source)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let output = open(target, flags, mode).doing("make", target)?;
    while sendfile(&output, &input, None, COPY_BYTES).doing("copy", source)? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use super::*;

    fn xattr(path: &Path) -> Vec<u8> {
        let mut value = [0; 16];
        let length = lgetxattr(path, "user.mark", &mut value[..]).unwrap();
        value[..length].to_vec()
    }

    #[test]
    fn a_tree_is_copied_with_its_attributes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(from.join("below")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join("below/file"), "content").unwrap();
        for (place, value) in [("", "root"), ("below/file", "leaf")] {
            lsetxattr(from.join(place), "user.mark", value.as_bytes(), XattrFlags::empty()).unwrap();
        }
        chmod(&from, Mode::from_raw_mode(0o710)).unwrap();
        let time = Timespec { tv_sec: 1_000_000, tv_nsec: 5 };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, &from, &times, AtFlags::empty()).unwrap();
        tree(from.as_os_str().as_bytes(), to.as_os_str().as_bytes()).unwrap();
        assert_eq!(std::fs::read(to.join("below/file")).unwrap(), b"content");
        assert_eq!((xattr(&to), xattr(&to.join("below/file"))), (b"root".to_vec(), b"leaf".to_vec()));
        let stat = lstat(&to).unwrap();
        assert_eq!((stat.st_mode & 0o7777, stat.st_mtime, stat.st_mtime_nsec), (0o710, 1_000_000, 5));
    }
}
