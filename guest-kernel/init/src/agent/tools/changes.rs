//! What an overlay's upper layer changes, told as `docker diff` does.
//!
//! In the upper layer a file is new or changed, a character device 0:0 is a deletion, and a directory is there because
//! something in it is, or because it changed itself (Linux `Documentation/filesystems/overlayfs.rst`).

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, lgetxattr, openat, statat};

/// Files of every guest's that its image may lack, as Docker makes them before a container's first change.
const OURS: [&[u8]; 9] = [
    b"/dev",
    b"/etc/hostname",
    b"/etc/hosts",
    b"/etc/resolv.conf",
    b"/proc",
    b"/run/monocore",
    b"/sys",
    b"/dev/console",
    b"/etc/mtab",
];

/// Writes the changes in the order of their paths, each a letter, a blank, the path and a NUL.
pub(super) fn write(upper: &OwnedFd, lower: &OwnedFd, mut out: impl Write) -> io::Result<()> {
    let mut found = BTreeMap::new();
    let lower = openat(lower, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    walk(upper.as_fd(), Some(lower.as_fd()), b"", &mut found)?;
    for (path, letter) in found {
        out.write_all(&[letter, b' '])?;
        out.write_all(&path)?;
        out.write_all(&[0])?;
    }
    out.flush()
}

type Changes = BTreeMap<Vec<u8>, u8>;

/// Compares a directory of the upper layer with its like below, if there is one. True when something differs.
fn walk(
    upper: BorrowedFd<'_>,
    lower: Option<BorrowedFd<'_>>,
    path: &[u8],
    found: &mut Changes,
) -> io::Result<bool> {
    let mut differs = false;
    let names = names(upper)?;
    if let Some(lower) = lower.filter(|_| has_mark(upper, "trusted.overlay.opaque")) {
        // What was there before this directory was made anew is gone.
        let all = self::names(openat(lower, ".", READ, Mode::empty())?.as_fd())?;
        for name in all.into_iter().filter(|name| !names.contains(name)) {
            found.insert([path, b"/", &name].concat(), b'D');
            differs = true;
        }
    }
    for name in names {
        let place = [path, b"/", &name].concat();
        let stat = statat(upper, &name[..], AtFlags::SYMLINK_NOFOLLOW)?;
        let before = lower.and_then(|lower| statat(lower, &name[..], AtFlags::SYMLINK_NOFOLLOW).ok());
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            if before.is_some() {
                found.insert(place, b'D');
                differs = true;
            }
            continue;
        }
        if before.is_none() && OURS.contains(&&place[..]) {
            continue;
        }
        let letter = if before.is_some() { b'C' } else { b'A' };
        if kind != FileType::Directory {
            found.insert(place, letter);
            differs = true;
            continue;
        }
        let below = openat(upper, &name[..], READ, Mode::empty())?;
        let was_directory = before.is_some_and(|stat| is_directory(&stat));
        let like = lower.filter(|_| was_directory);
        let like = like.map(|lower| openat(lower, &name[..], READ, Mode::empty())).transpose()?;
        let inner = walk(below.as_fd(), like.as_ref().map(AsFd::as_fd), &place, found)?;
        if inner || before.is_none_or(|before| !is_same(&before, &stat)) {
            found.insert(place, letter);
            differs = true;
        }
    }
    Ok(differs)
}

const READ: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Whether a directory itself was left alone.
fn is_same(before: &Stat, now: &Stat) -> bool {
    let facts = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_mtime, stat.st_mtime_nsec);
    facts(before) == facts(now)
}

fn has_mark(directory: BorrowedFd<'_>, name: &str) -> bool {
    let path = format!("/proc/self/fd/{}/.", directory.as_raw_fd());
    let mut value = [0; 8];
    matches!(lgetxattr(path, name, &mut value[..]), Ok(1..) if value[0] == b'y')
}

fn names(directory: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        match entry?.file_name().to_bytes() {
            b"." | b".." => {}
            name => names.push(name.to_vec()),
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn changes_are_told_with_the_directories_on_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let (upper, lower) = (dir.path().join("upper"), dir.path().join("lower"));
        for path in ["lower/etc", "lower/same", "upper/etc", "upper/new", "upper/dev"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        for path in ["lower/etc/passwd", "upper/etc/passwd", "upper/etc/hosts", "upper/new/file", "upper/top"]
        {
            fs::write(dir.path().join(path), "").unwrap();
        }
        let device = rustix::fs::mknodat(
            rustix::fs::CWD,
            upper.join("gone"),
            FileType::CharacterDevice,
            Mode::empty(),
            0,
        );
        fs::write(lower.join("gone"), "").unwrap();
        let open = |path| OwnedFd::from(fs::File::open(path).unwrap());
        let mut out = Vec::new();
        write(&open(upper), &open(lower), &mut out).unwrap();
        let told = String::from_utf8(out).unwrap();
        let mut wanted = vec!["C /etc", "C /etc/passwd", "A /new", "A /new/file", "A /top"];
        if device.is_ok() {
            wanted.insert(2, "D /gone");
        }
        assert_eq!(told.split_terminator('\0').collect::<Vec<_>>(), wanted);
    }
}
