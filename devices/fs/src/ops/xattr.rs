//! SETXATTR, GETXATTR, LISTXATTR, REMOVEXATTR.
//!
//! `user.` attributes are the host's. `trusted.` and `security.` ones would mean something to the host's kernel, so a guest's
//! are kept as `user.monocore.xattr.` and the whole name; of the host's own the guest sees `security.capability`. Access
//! control lists (`system.`) are refused: the guest would not enforce them.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::Outcome;
use crate::host::Stat;
use crate::procpath::ProcPath;
use crate::server::{Call, Done, Server};
use crate::wire::{GetxattrIn, NAME_MAX, SetxattrIn, SizeOut, XATTR_MAX};

/// Everything of ours begins with it; the guest neither sees nor touches it.
const OURS: &[u8] = b"user.monocore.";
const KEPT: &[u8] = b"user.monocore.xattr.";
const CAPABILITY: &CStr = c"security.capability";
const KEPT_CAPABILITY: &CStr = c"user.monocore.xattr.security.capability";

impl Server {
    pub(super) fn setxattr(&mut self, call: &mut Call<'_>) -> Outcome {
        let set: SetxattrIn = call.args.take()?;
        let name = host_name(call.args.string()?)?;
        let size = usize::try_from(set.size).map_err(|_| Errno::INVAL)?;
        if size > XATTR_MAX {
            return Err(Errno::TOOBIG);
        }
        let value = call.args.bytes(size)?;
        let flags = XattrFlags::from_bits(set.flags)
            .filter(|f| (XattrFlags::CREATE | XattrFlags::REPLACE).contains(*f))
            .ok_or(Errno::INVAL)?;
        let id = call.head.nodeid;
        self.writable_share(id)?;
        let (held, before) = self.nodes.reach_seen(id)?;
        ProcPath::of(held.as_fd()).set_xattr(&name, value, flags)?;
        self.nodes.still_told(id, &before, &Stat::of(&held)?);
        self.nodes.get_mut(id)?.unprivileged = false;
        self.mark_dirty(id);
        Ok(Done::Reply)
    }

    pub(super) fn getxattr(&mut self, call: &mut Call<'_>) -> Outcome {
        let get: GetxattrIn = call.args.take()?;
        let asked = call.args.string()?;
        let name = host_name(asked).map_err(|_| Errno::NODATA)?;
        let id = call.head.nodeid;
        if self.nodes.get(id)?.is_synthetic() {
            return Err(Errno::NODATA);
        }
        let held = self.nodes.reach(id)?;
        let path = ProcPath::of(held.as_fd());
        let size = usize::try_from(get.size).unwrap_or(usize::MAX).min(XATTR_MAX);
        let mut value = vec![0; size];
        let len = match path.get_xattr(&name, &mut value) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) if asked == CAPABILITY => {
                path.get_xattr(CAPABILITY, &mut value)?
            }
            len => len?,
        };
        reply_sized(call, &value, len)
    }

    pub(super) fn listxattr(&mut self, call: &mut Call<'_>) -> Outcome {
        let list: GetxattrIn = call.args.take()?;
        let id = call.head.nodeid;
        let mut seen = Vec::new();
        if !self.nodes.get(id)?.is_synthetic() {
            let held = self.nodes.reach(id)?;
            let mut names = vec![0; XATTR_MAX];
            let len = ProcPath::of(held.as_fd()).list_xattrs(&mut names)?;
            for name in names.get(..len).unwrap_or(&[]).split_inclusive(|byte| *byte == 0) {
                let Some(name) = guest_name(name) else { continue };
                // Only the guest's root may know of these.
                let hidden = name.starts_with(b"trusted.") && call.head.uid != 0;
                if !hidden && !seen.split_inclusive(|byte| *byte == 0).any(|other| other == name) {
                    seen.extend_from_slice(name);
                }
            }
        }
        match usize::try_from(list.size).unwrap_or(usize::MAX) {
            0 => reply_sized(call, &[], seen.len()),
            room if room < seen.len() => Err(Errno::RANGE),
            _ => reply_bytes(call, &seen),
        }
    }

    pub(super) fn removexattr(&mut self, call: &mut Call<'_>) -> Outcome {
        let asked = call.args.string()?;
        let name = host_name(asked)?;
        let id = call.head.nodeid;
        self.writable_share(id)?;
        let (held, before) = self.nodes.reach_seen(id)?;
        let path = ProcPath::of(held.as_fd());
        match path.remove_xattr(&name) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) if asked == CAPABILITY => path.remove_xattr(CAPABILITY)?,
            result => result?,
        }
        self.nodes.still_told(id, &before, &Stat::of(&held)?);
        self.mark_dirty(id);
        Ok(Done::Reply)
    }
}

/// Takes the guest's capabilities off a file that was written; the host's kernel has seen to its own.
///
/// # Errors
/// The operating system's.
pub(super) fn drop_capabilities(file: BorrowedFd<'_>) -> Result<(), Errno> {
    match ProcPath::of(file).remove_xattr(KEPT_CAPABILITY) {
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM) => Ok(()),
        result => result,
    }
}

/// The attribute of the host in which the guest's is kept.
///
/// # Errors
/// EOPNOTSUPP for a name space that is not kept, EPERM for one of ours, ERANGE for a name that is too long.
fn host_name(name: &CStr) -> Result<CString, Errno> {
    let bytes = name.to_bytes();
    if bytes.is_empty() || bytes.len() > NAME_MAX {
        return Err(Errno::RANGE);
    }
    if bytes.starts_with(OURS) {
        return Err(Errno::PERM);
    }
    let host = match () {
        () if bytes.starts_with(b"user.") => bytes.to_vec(),
        () if bytes.starts_with(b"trusted.") || bytes.starts_with(b"security.") => [KEPT, bytes].concat(),
        () => return Err(Errno::OPNOTSUPP),
    };
    if host.len() > NAME_MAX {
        return Err(Errno::RANGE);
    }
    CString::new(host).map_err(|_| Errno::INVAL)
}

/// What the guest sees of an attribute of the host, NUL included; nothing where it is not to be seen.
fn guest_name(host: &[u8]) -> Option<&[u8]> {
    if let Some(kept) = host.strip_prefix(KEPT) {
        return Some(kept);
    }
    let seen =
        host == CAPABILITY.to_bytes_with_nul() || (host.starts_with(b"user.") && !host.starts_with(OURS));
    seen.then_some(host)
}

/// Answers with a value of `len` bytes, or where there was no room asked for, with its length.
fn reply_sized(call: &mut Call<'_>, value: &[u8], len: usize) -> Outcome {
    if value.is_empty() {
        call.reply(&SizeOut { size: u32::try_from(len).map_err(|_| Errno::TOOBIG)?, padding: 0 });
        return Ok(Done::Reply);
    }
    reply_bytes(call, value.get(..len).ok_or(Errno::RANGE)?)
}

fn reply_bytes(call: &mut Call<'_>, bytes: &[u8]) -> Outcome {
    call.out.extend_from_slice(bytes);
    Ok(Done::Reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_spaces_are_mapped_both_ways() {
        assert_eq!(host_name(c"user.a").unwrap().to_bytes(), b"user.a");
        let kept = host_name(c"trusted.overlay.opaque").unwrap();
        assert_eq!(kept.to_bytes(), b"user.monocore.xattr.trusted.overlay.opaque");
        assert_eq!(guest_name(kept.to_bytes_with_nul()), Some(&b"trusted.overlay.opaque\0"[..]));
        assert_eq!(host_name(CAPABILITY).unwrap().as_c_str(), KEPT_CAPABILITY);
    }

    #[test]
    fn ours_and_the_hosts_stay_out_of_reach() {
        assert_eq!(host_name(c"user.monocore.owner"), Err(Errno::PERM));
        assert_eq!(host_name(c"system.posix_acl_access"), Err(Errno::OPNOTSUPP));
        assert_eq!(guest_name(b"user.monocore.owner\0"), None);
        assert_eq!(guest_name(b"security.selinux\0"), None);
        assert_eq!(guest_name(b"security.capability\0"), Some(&b"security.capability\0"[..]));
    }
}
