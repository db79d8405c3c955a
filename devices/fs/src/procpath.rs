//! Paths for those system calls that take no descriptor.

use std::ffi::CStr;
use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{
    CWD, XattrFlags, getxattr, lgetxattr, listxattr, llistxattr, lremovexattr, lsetxattr, removexattr,
    setxattr,
};
use rustix::io::Errno;

use crate::wire::Name;

/// The path of a descriptor of ours, or of an entry below it.
///
/// `/proc/self/fd/N` leads to what the descriptor holds, whatever it is called now; an entry's own symbolic link is
/// never followed.
pub(crate) struct ProcPath {
    bytes: [u8; ROOM],
    len: usize,
    /// The path names an entry, not what a descriptor holds.
    entry: bool,
}

/// 14 + 10 + 1 bytes, a name of at most 255 and a NUL fit.
const ROOM: usize = 288;

impl ProcPath {
    /// The path of what a descriptor holds.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Self {
        let mut path = Self { bytes: [0; ROOM], len: 0, entry: false };
        path.append(format_args!("/proc/self/fd/{}", fd.as_raw_fd()));
        path
    }

    /// The path of a directory's entry.
    pub(crate) fn below(dir: BorrowedFd<'_>, name: Name<'_>) -> Self {
        let mut path = Self::of(dir);
        path.append(format_args!("/"));
        let name = name.as_c_str().to_bytes();
        path.bytes[path.len..path.len + name.len()].copy_from_slice(name);
        path.len += name.len();
        path.entry = true;
        path
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }

    /// Reads an extended attribute into `value`, and returns its length; an empty `value` only asks for the length.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn get_xattr(&self, name: &CStr, value: &mut [u8]) -> Result<usize, Errno> {
        match (self.entry, value.is_empty()) {
            (false, false) => getxattr(self.as_c_str(), name, value),
            (true, false) => lgetxattr(self.as_c_str(), name, value),
            (false, true) => rustix::fs::getxattr_query(self.as_c_str(), name),
            (true, true) => rustix::fs::lgetxattr_query(self.as_c_str(), name),
        }
    }

    /// Writes an extended attribute.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn set_xattr(&self, name: &CStr, value: &[u8], flags: XattrFlags) -> Result<(), Errno> {
        if self.entry {
            lsetxattr(self.as_c_str(), name, value, flags)
        } else {
            setxattr(self.as_c_str(), name, value, flags)
        }
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn remove_xattr(&self, name: &CStr) -> Result<(), Errno> {
        if self.entry { lremovexattr(self.as_c_str(), name) } else { removexattr(self.as_c_str(), name) }
    }

    /// Reads the names of all extended attributes into `list`, each ended by a NUL, and returns their length.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn list_xattrs(&self, list: &mut [u8]) -> Result<usize, Errno> {
        if self.entry { llistxattr(self.as_c_str(), list) } else { listxattr(self.as_c_str(), list) }
    }

    /// Changes the permissions of what a descriptor holds.
    ///
    /// # Errors
    /// The operating system's; EOPNOTSUPP for a symbolic link.
    pub(crate) fn set_permissions(&self, mode: u32) -> Result<(), Errno> {
        rustix::fs::chmodat(CWD, self.as_c_str(), rustix::fs::Mode::from_raw_mode(mode), self.flags())
    }

    /// Changes the times of what a descriptor holds.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn set_times(&self, times: &rustix::fs::Timestamps) -> Result<(), Errno> {
        rustix::fs::utimensat(CWD, self.as_c_str(), times, self.flags())
    }

    fn flags(&self) -> rustix::fs::AtFlags {
        if self.entry { rustix::fs::AtFlags::SYMLINK_NOFOLLOW } else { rustix::fs::AtFlags::empty() }
    }

    fn append(&mut self, text: std::fmt::Arguments<'_>) {
        let mut rest = &mut self.bytes[self.len..];
        let before = rest.len();
        let written = rest.write_fmt(text).map(|()| before - rest.len());
        self.len += written.unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_fits_a_path() {
        let bytes = [vec![b'n'; 255], vec![0]].concat();
        let long = CStr::from_bytes_with_nul(&bytes).unwrap();
        let path = ProcPath::below(CWD, Name::new(long).unwrap());
        assert!(path.as_c_str().to_bytes().ends_with(&[b'n'; 255]));
    }

    #[test]
    fn an_entrys_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "").unwrap();
        std::os::unix::fs::symlink("f", dir.path().join("l")).unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        let link = ProcPath::below(std::os::fd::AsFd::as_fd(&root), Name::new(c"l").unwrap());
        assert_eq!(link.set_xattr(c"user.a", b"x", XattrFlags::empty()), Err(Errno::PERM));
    }
}
