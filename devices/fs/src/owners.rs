//! Who owns a file, seen from the guest.
//!
//! Run by root, owners are the host's, as with Docker. Run by anybody else nothing can be given away on the host: there a
//! file is the sandbox user's until the guest changes it, and then what the guest set is kept in the attribute
//! `user.monocore.owner` as `uid:gid:mode:host-mode`, where the file and its file system can have one. The record holds
//! as long as the host's mode is the one it was made for. Set-id bits live only there: on the host they would lend the
//! user's own rights to whoever runs the file.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Gid, Uid, XattrFlags, chownat};
use rustix::io::Errno;

use crate::host::Stat;
use crate::procpath::ProcPath;
use crate::share::Share;

/// The attribute that keeps a record.
pub(crate) const RECORD: &CStr = c"user.monocore.owner";
/// Whom a file belongs to that is somebody else's on the host (Linux `overflowuid`).
const OVERFLOW: u32 = 65534;
/// To the system call "leave as it is"; no file can belong to it.
const NOBODY_AT_ALL: u32 = u32::MAX;

/// How owners on the host and in the guest relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerPolicy {
    /// They are the same; needs the rights to change them.
    Host,
    /// What belongs to this process's user on the host belongs to this user in the guest, anything else to nobody.
    Mapped {
        /// The user in the guest.
        uid: u32,
        /// The group in the guest.
        gid: u32,
    },
}

impl OwnerPolicy {
    /// What fits this process: the host's owners for root, else the guest's root.
    pub fn for_this_process() -> Self {
        if rustix::process::geteuid().is_root() { Self::Host } else { Self::Mapped { uid: 0, gid: 0 } }
    }
}

/// Owner and permissions as the guest sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Permissions with the set-id and sticky bits.
    pub(crate) mode: u32,
}

/// The policy with what it needs to know of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owners {
    policy: OwnerPolicy,
    host_uid: u32,
    host_gid: u32,
}

impl Owners {
    pub(crate) fn new(policy: OwnerPolicy) -> Self {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        Self { policy, host_uid: uid.as_raw(), host_gid: gid.as_raw() }
    }

    /// What the guest sees of a file; `path` is asked for only where there may be a record.
    pub(crate) fn view(&self, share: &Share, stat: &Stat, path: impl FnOnce() -> ProcPath) -> View {
        let OwnerPolicy::Mapped { .. } = self.policy else {
            return self.plain_view(stat);
        };
        if !share.keeps_owners() || !stat.keeps_xattrs() {
            return self.plain_view(stat);
        }
        let mut text = [0; 64];
        match path().get_xattr(RECORD, &mut text) {
            Ok(len) => match parse_record(text.get(..len).unwrap_or(&[])) {
                Some((view, host_mode)) if host_mode == stat.permissions() => view,
                _ => self.plain_view(stat),
            },
            Err(Errno::OPNOTSUPP) => {
                share.cannot_keep_owners();
                self.plain_view(stat)
            }
            Err(_) => self.plain_view(stat),
        }
    }

    /// What the guest sees where there is no record.
    fn plain_view(&self, stat: &Stat) -> View {
        let (uid, gid) = (stat.raw().stx_uid, stat.raw().stx_gid);
        let (uid, gid) = match self.policy {
            OwnerPolicy::Host => (uid, gid),
            OwnerPolicy::Mapped { uid: u, gid: g } => (
                if uid == self.host_uid { u } else { OVERFLOW },
                if gid == self.host_gid { g } else { OVERFLOW },
            ),
        };
        View { uid, gid, mode: stat.permissions() }
    }

    /// The permissions a file gets on the host for those the guest asks for.
    ///
    /// Without root, its owner can always reach it there: the guest's own root must be able to.
    pub(crate) fn host_mode(&self, mode: u32, is_dir: bool) -> u32 {
        match self.policy {
            OwnerPolicy::Host => mode & 0o7777,
            OwnerPolicy::Mapped { .. } => mode & 0o1777 | if is_dir { 0o700 } else { 0o600 },
        }
    }

    /// Makes a new file the guest's: `held` is what was just made, `stat` what it is, `wanted` what the guest shall see.
    /// Returns whether anything was changed. On a file system without owners the file stays what it is.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn settle(
        &self,
        share: &Share,
        held: impl AsFd,
        stat: &Stat,
        wanted: View,
    ) -> Result<bool, Errno> {
        if self.plain_view(stat) == wanted {
            return Ok(false);
        }
        match self.change(share, held, stat, wanted) {
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL) | Ok(()) => Ok(true),
            Err(e) => Err(e),
        }
    }

    /// Gives a file the owner and permissions that the guest shall see.
    ///
    /// # Errors
    /// EINVAL for an owner that is none; the operating system's. A record that cannot be kept is none: the file then stays the sandbox user's.
    pub(crate) fn change(
        &self,
        share: &Share,
        held: impl AsFd,
        stat: &Stat,
        wanted: View,
    ) -> Result<(), Errno> {
        if wanted.uid == NOBODY_AT_ALL || wanted.gid == NOBODY_AT_ALL {
            return Err(Errno::INVAL);
        }
        let path = ProcPath::of(held.as_fd());
        if let OwnerPolicy::Mapped { .. } = self.policy {
            return self.change_record(share, &path, stat, wanted);
        }
        let is_link = stat.file_type() == rustix::fs::FileType::Symlink;
        let mut mode = stat.permissions();
        if (stat.raw().stx_uid, stat.raw().stx_gid) != (wanted.uid, wanted.gid) {
            let uid = (stat.raw().stx_uid != wanted.uid).then(|| Uid::from_raw(wanted.uid));
            let gid = (stat.raw().stx_gid != wanted.gid).then(|| Gid::from_raw(wanted.gid));
            chownat(&held, c"", uid, gid, AtFlags::EMPTY_PATH)?;
            // The host has cleared set-id bits by itself.
            mode = if stat.is_dir() { mode } else { mode & 0o1777 };
        }
        if mode != wanted.mode && !is_link { path.set_permissions(wanted.mode) } else { Ok(()) }
    }

    fn change_record(&self, share: &Share, path: &ProcPath, stat: &Stat, wanted: View) -> Result<(), Errno> {
        if stat.file_type() == rustix::fs::FileType::Symlink {
            return Ok(());
        }
        let host_mode = self.host_mode(wanted.mode, stat.is_dir());
        if host_mode != stat.permissions() {
            path.set_permissions(host_mode)?;
        }
        if !share.keeps_owners() || !stat.keeps_xattrs() {
            return Ok(());
        }
        let record = format!("{}:{}:{:o}:{host_mode:o}", wanted.uid, wanted.gid, wanted.mode);
        match path.set_xattr(RECORD, record.as_bytes(), XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => Ok(()),
            other => other,
        }
    }
}

/// A record's content: what the guest sees, and the host's mode for which that holds.
fn parse_record(text: &[u8]) -> Option<(View, u32)> {
    let mut parts = std::str::from_utf8(text).ok()?.split(':');
    let uid = parts.next()?.parse().ok()?;
    let gid = parts.next()?.parse().ok()?;
    let mut mode = || u32::from_str_radix(parts.next()?, 8).ok().filter(|mode| *mode <= 0o7777);
    let (mode, host_mode) = (mode()?, mode()?);
    parts.next().is_none().then_some((View { uid, gid, mode }, host_mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_strictly() {
        let view = View { uid: 5, gid: 6, mode: 0o4755 };
        assert_eq!(parse_record(b"5:6:4755:755"), Some((view, 0o755)));
        for bad in ["", "5:6:755", "5:6:755:755:1", "x:6:755:755", "5:6:17777:755", "5:6:9:755", "-1:0:7:7"] {
            assert_eq!(parse_record(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn without_root_no_set_id_bit_reaches_the_host() {
        let owners = Owners::new(OwnerPolicy::Mapped { uid: 0, gid: 0 });
        assert_eq!(owners.host_mode(0o6000, false), 0o600);
        assert_eq!(owners.host_mode(0o1777, true), 0o1777);
    }
}
