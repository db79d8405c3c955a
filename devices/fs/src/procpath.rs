//! Paths for those system calls that take no descriptor.

use std::ffi::CStr;
use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{
    AtFlags, CWD, Mode, Timestamps, XattrFlags, chmodat, getxattr, getxattr_query, lgetxattr,
    lgetxattr_query, listxattr, removexattr, setxattr, utimensat,
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
            (false, true) => getxattr_query(self.as_c_str(), name),
            (true, true) => lgetxattr_query(self.as_c_str(), name),
        }
    }

    /// Writes an extended attribute of what a descriptor holds.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn set_xattr(&self, name: &CStr, value: &[u8], flags: XattrFlags) -> Result<(), Errno> {
        setxattr(self.held()?, name, value, flags)
    }

    /// Removes an extended attribute of what a descriptor holds.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn remove_xattr(&self, name: &CStr) -> Result<(), Errno> {
        removexattr(self.held()?, name)
    }

    /// Reads the names of all extended attributes of what a descriptor holds into `list`, each ended by a NUL, and
    /// returns their length.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn list_xattrs(&self, list: &mut [u8]) -> Result<usize, Errno> {
        listxattr(self.held()?, list)
    }

    /// Changes the permissions of what a descriptor holds.
    ///
    /// # Errors
    /// The operating system's; EOPNOTSUPP for a symbolic link.
    pub(crate) fn set_permissions(&self, mode: u32) -> Result<(), Errno> {
        chmodat(CWD, self.held()?, Mode::from_raw_mode(mode), AtFlags::empty())
    }

    /// Changes the times of what a descriptor holds.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn set_times(&self, times: &Timestamps) -> Result<(), Errno> {
        utimensat(CWD, self.held()?, times, AtFlags::empty())
    }

    /// The path, if it is a descriptor's: what changes something follows the path to its end, and an entry's end may be a link.
    fn held(&self) -> Result<&CStr, Errno> {
        if self.entry { Err(Errno::LOOP) } else { Ok(self.as_c_str()) }
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
    use std::os::fd::AsFd;

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
        let file = std::fs::File::open(dir.path().join("f")).unwrap();
        ProcPath::of(file.as_fd()).set_xattr(c"user.a", b"x", XattrFlags::empty()).unwrap();
        let below = |name| ProcPath::below(root.as_fd(), Name::new(name).unwrap());
        assert_eq!(below(c"f").get_xattr(c"user.a", &mut [0; 9]), Ok(1));
        assert!(below(c"l").get_xattr(c"user.a", &mut [0; 9]).is_err());
        assert_eq!(below(c"f").set_permissions(0o777), Err(Errno::LOOP));
    }
}
