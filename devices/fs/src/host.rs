//! The host's file system, one small function per need; every path that reaches it is one checked name below a
//! directory descriptor, or `/proc/self/fd/N` for a descriptor of ours.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, openat, openat2, statx,
};
use rustix::io::Errno;

use crate::procpath::ProcPath;
use crate::wire::{Name, PATH_MAX};

/// What the server wants to know of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stat(Statx);

/// Identifies a file: mount, device and inode number, and its birth, since a free inode number is soon another file's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    pub(crate) mount: u64,
    pub(crate) ino: u64,
    /// Major and minor number, 12 and 20 bits on Linux.
    pub(crate) dev: u32,
    /// Nanoseconds and seconds; zeroes where the file system does not keep them.
    pub(crate) born_nsec: u32,
    pub(crate) born_sec: i64,
}

impl Stat {
    /// Of an open file, `O_PATH` or not.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn of(fd: impl AsFd) -> Result<Self, Errno> {
        statx(fd, c"", AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT, WANTED).map(Self)
    }

    /// Of an entry of a directory; a symbolic link is not followed.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn at(dir: impl AsFd, name: Name<'_>) -> Result<Self, Errno> {
        statx(dir, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, WANTED).map(Self)
    }

    pub(crate) fn raw(&self) -> &Statx {
        &self.0
    }

    pub(crate) fn id(&self) -> FileId {
        let Statx { stx_mnt_id: mount, stx_ino: ino, stx_dev_major, stx_dev_minor, stx_btime, .. } = self.0;
        let dev = stx_dev_major << 20 | stx_dev_minor;
        FileId { mount, ino, dev, born_nsec: stx_btime.tv_nsec, born_sec: stx_btime.tv_sec }
    }

    pub(crate) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.mode())
    }

    /// Type and permissions.
    pub(crate) fn mode(&self) -> u32 {
        u32::from(self.0.stx_mode)
    }

    /// Permissions with the set-id and sticky bits.
    pub(crate) fn permissions(&self) -> u32 {
        self.mode() & 0o7777
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.file_type() == FileType::Directory
    }

    pub(crate) fn is_file(&self) -> bool {
        self.file_type() == FileType::RegularFile
    }

    /// Whether it is a directory that was removed, or a file without a name.
    pub(crate) fn is_removed(&self) -> bool {
        self.0.stx_nlink == 0
    }

    /// Whether `user.` attributes can be kept on it.
    pub(crate) fn keeps_xattrs(&self) -> bool {
        self.is_dir() || self.is_file()
    }
}

const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME).union(StatxFlags::MNT_ID);

/// Nothing beneath a share is ever resolved with less than this.
const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::NO_SYMLINKS);

/// Takes hold of a directory's entry without opening it; a symbolic link is taken itself.
///
/// # Errors
/// The operating system's.
pub(crate) fn hold(dir: impl AsFd, name: Name<'_>) -> Result<OwnedFd, Errno> {
    // Without NO_SYMLINKS: with O_PATH | O_NOFOLLOW the last component is never followed, and it is the only one.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(dir, name.as_c_str(), flags, Mode::empty(), resolve)
}

/// Takes hold of what lies below a share's root by these names, first to last. No link leads the walk away; a link at its end
/// is taken itself.
///
/// # Errors
/// The operating system's.
pub(crate) fn hold_path<'n>(root: &OwnedFd, names: impl Iterator<Item = &'n CStr>) -> Result<OwnedFd, Errno> {
    let hold = |dir: &OwnedFd, path: &mut Vec<u8>| {
        path.push(0);
        let text = CStr::from_bytes_with_nul(path).map_err(|_| Errno::INVAL)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = openat2(dir, text, flags, Mode::empty(), BENEATH);
        path.clear();
        held
    };
    let mut path = Vec::with_capacity(256);
    let mut above = None;
    for name in names {
        if path.len() + name.count_bytes() + 2 > PATH_MAX {
            above = Some(hold(above.as_ref().unwrap_or(root), &mut path)?);
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
    }
    hold(above.as_ref().unwrap_or(root), &mut path)
}

/// The directory so many steps above another. No link leads there.
///
/// # Errors
/// The operating system's.
pub(crate) fn ancestor(dir: &OwnedFd, steps: usize) -> Result<Stat, Errno> {
    let mut path = Vec::with_capacity(3 * steps + 1);
    (0..steps).for_each(|_| path.extend_from_slice(b"../"));
    path.push(0);
    let path = CStr::from_bytes_with_nul(&path).map_err(|_| Errno::INVAL)?;
    statx(dir, path, AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT, WANTED).map(Stat)
}

/// Whether a directory lies below another, at most `depth` steps down, or is that other one.
///
/// # Errors
/// The operating system's.
pub(crate) fn lies_below(dir: &OwnedFd, above: &OwnedFd, depth: usize) -> Result<bool, Errno> {
    let goal = Stat::of(above)?.id();
    let mut at = Stat::of(dir)?.id();
    let mut held: Option<OwnedFd> = None;
    for _ in 0..depth {
        if at == goal {
            return Ok(true);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let up = openat(held.as_ref().unwrap_or(dir), c"..", flags, Mode::empty())?;
        let id = Stat::of(&up)?.id();
        if id == at {
            return Ok(false);
        }
        (at, held) = (id, Some(up));
    }
    Ok(false)
}

/// Makes a regular file and opens it; nothing that is there already is opened.
///
/// # Errors
/// The operating system's; EEXIST where the name is taken.
pub(crate) fn create(dir: impl AsFd, name: Name<'_>, flags: OFlags, mode: u32) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
    openat2(dir, name.as_c_str(), flags, Mode::from_raw_mode(mode & 0o7777), BENEATH)
}

/// Makes a regular file without a name in a directory and opens it.
///
/// # Errors
/// The operating system's.
pub(crate) fn create_unnamed(dir: impl AsFd, flags: OFlags, mode: u32) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::TMPFILE | OFlags::CLOEXEC;
    openat(dir, c".", flags, Mode::from_raw_mode(mode & 0o7777))
}

/// Opens a regular file or directory that is held.
///
/// # Errors
/// The operating system's; ELOOP for a symbolic link, ENXIO for what is neither: such a thing must not be opened on the host.
pub(crate) fn open_held(held: impl AsFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    match Stat::of(&held)?.file_type() {
        FileType::RegularFile | FileType::Directory => {}
        FileType::Symlink => return Err(Errno::LOOP),
        _ => return Err(Errno::NXIO),
    }
    let flags =
        flags.difference(OFlags::NOFOLLOW | OFlags::CREATE | OFlags::EXCL) | OFlags::CLOEXEC | OFlags::NOCTTY;
    openat(CWD, ProcPath::of(held.as_fd()).as_c_str(), flags, Mode::empty())
}

/// Opens a held directory for reading its entries.
///
/// # Errors
/// The operating system's; ENOTDIR where it is none.
pub(crate) fn open_dir(held: impl AsFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(held, c".", flags, Mode::empty(), BENEATH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn name(text: &CStr) -> Name<'_> {
        Name::new(text).unwrap()
    }

    #[test]
    fn a_held_link_is_the_link() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/etc/passwd", dir.path().join("l")).unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        let held = hold(&root, name(c"l")).unwrap();
        assert_eq!(Stat::of(&held).unwrap().file_type(), FileType::Symlink);
        assert_eq!(open_held(&held, OFlags::RDONLY).unwrap_err(), Errno::LOOP);
        assert_eq!(create(&root, name(c"l"), OFlags::WRONLY, 0o600).unwrap_err(), Errno::EXIST);
    }

    #[test]
    fn a_held_file_opens_by_itself_whatever_its_name_becomes() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "one").unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        let held = hold(&root, name(c"f")).unwrap();
        std::fs::rename(dir.path().join("f"), dir.path().join("g")).unwrap();
        std::fs::write(dir.path().join("f"), "two").unwrap();
        let file = std::fs::File::from(open_held(&held, OFlags::RDONLY).unwrap());
        let ino = std::fs::metadata(dir.path().join("g")).unwrap().ino();
        assert_eq!(Stat::of(&file).unwrap().id().ino, ino);
    }

    #[test]
    fn a_fifo_is_never_opened() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        rustix::fs::mknodat(&root, c"p", FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(open_held(hold(&root, name(c"p")).unwrap(), OFlags::RDONLY).unwrap_err(), Errno::NXIO);
    }
}
