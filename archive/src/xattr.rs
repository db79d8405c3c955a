//! Extended attributes that travel in archives.

use std::path::Path;

use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};
use rustix::io::Errno;

/// Most bytes of a list of names, or of one value (xattr(7)).
const MAX_BYTES: usize = 64 << 10;

/// Attributes that describe the file to every kernel, not to one file system or policy.
fn travels(name: &[u8]) -> bool {
    name.starts_with(b"user.") || is_privilege(name)
}

/// Attributes that give somebody rights.
fn is_privilege(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"system.posix_acl_")
}

/// The names and values at `path`; a link is not followed. A file system without any has none.
pub(crate) fn read(path: &Path) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = vec![0; MAX_BYTES];
    let length = match llistxattr(path, &mut names[..]) {
        Ok(0) | Err(Errno::NOTSUP | Errno::NOENT | Errno::PERM) => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    let mut value = vec![0; MAX_BYTES];
    for name in names[..length].split(|byte| *byte == 0).filter(|name| travels(name)) {
        match lgetxattr(path, name, &mut value[..]) {
            Ok(length) => found.push((name.to_vec(), value[..length].to_vec())),
            // It was removed meanwhile.
            Err(Errno::NODATA | Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Sets what of `xattrs` may travel and the file system takes; those that give rights only with `privileges`.
pub(crate) fn write(path: &Path, xattrs: &[(Vec<u8>, Vec<u8>)], privileges: bool) -> rustix::io::Result<()> {
    for (name, value) in xattrs {
        if !travels(name) || (is_privilege(name) && !privileges) {
            continue;
        }
        match lsetxattr(path, &name[..], value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
