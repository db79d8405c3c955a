//! SETATTR, and the rights that a change takes away.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;

use super::{Outcome, xattr};
use crate::attr::attr_out;
use crate::host::{Stat, open_held};
use crate::owners::View;
use crate::procpath::ProcPath;
use crate::server::{Call, Done, Server};
use crate::share::Share;
use crate::wire::{SetattrIn, fattr};

impl Server {
    pub(super) fn setattr(&mut self, call: &mut Call<'_>) -> Outcome {
        let set: SetattrIn = call.args.take()?;
        let id = call.head.nodeid;
        let share = self.writable_share(id)?;
        let times = times(&set)?;
        let held = self.nodes.reach(id)?;
        let handle = (set.valid & fattr::FH != 0).then_some(set.fh);
        if set.valid & (fattr::MODE | fattr::UID | fattr::GID) != 0 {
            let stat = Stat::of(&held)?;
            let view = self.owners.view(&share, &stat, || ProcPath::of(held.as_fd()));
            self.owners.change(&share, &held, &stat, changed(&set, view, &stat))?;
            self.nodes.get_mut(id)?.unprivileged = false;
        }
        if set.valid & fattr::SIZE != 0 {
            self.truncate(id, &held, handle, set.size)?;
            self.drop_privileges(id, &share, &held, set.valid & fattr::KILL_SUIDGID != 0)?;
        }
        if let Some(times) = times {
            ProcPath::of(held.as_fd()).set_times(&times)?;
        }
        self.mark_dirty(id);
        let (attr, _, cache) = self.attr_of(id, handle)?;
        call.reply(&attr_out(attr, cache));
        Ok(Done::Reply)
    }

    fn truncate(&mut self, id: u64, held: &OwnedFd, handle: Option<u64>, size: u64) -> Result<(), Errno> {
        // The handle may have rights that the file's mode no longer gives, or none to write.
        if let Some(file) = handle.and_then(|handle| self.handles.file(handle, id).ok()) {
            match rustix::fs::ftruncate(file, size) {
                Err(Errno::INVAL | Errno::BADF) => {}
                other => return other,
            }
        }
        rustix::fs::ftruncate(open_held(held, OFlags::WRONLY)?, size)
    }

    /// Takes away what must not outlive a change of a file's content: capabilities, and where the writer has no right
    /// to keep them (`set_id`), the set-id bits (protocol flag HANDLE_KILLPRIV_V2).
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn drop_privileges(
        &mut self,
        id: u64,
        share: &Share,
        file: impl AsFd,
        set_id: bool,
    ) -> Result<(), Errno> {
        if self.nodes.get(id)?.unprivileged {
            return Ok(());
        }
        let stat = Stat::of(&file)?;
        let view = self.owners.view(share, &stat, || ProcPath::of(file.as_fd()));
        let mode = without_set_id(view.mode);
        if set_id && mode != view.mode {
            self.owners.change(share, &file, &stat, View { mode, ..view })?;
        }
        xattr::drop_capabilities(file.as_fd())?;
        self.nodes.get_mut(id)?.unprivileged = set_id || mode == view.mode;
        Ok(())
    }
}

/// What the guest wants to see after SETATTR.
fn changed(set: &SetattrIn, view: View, stat: &Stat) -> View {
    let chosen = |bit, new, old| if set.valid & bit != 0 { new } else { old };
    let mut wanted = View {
        uid: chosen(fattr::UID, set.uid, view.uid),
        gid: chosen(fattr::GID, set.gid, view.gid),
        mode: chosen(fattr::MODE, set.mode & 0o7777, view.mode),
    };
    if set.valid & fattr::MODE == 0 && !stat.is_dir() {
        wanted.mode = without_set_id(view.mode);
    }
    wanted
}

/// Permissions without set-uid, and without set-gid where that means execution (without group execution it means
/// mandatory locking).
fn without_set_id(mode: u32) -> u32 {
    mode & !0o4000 & if mode & 0o010 != 0 { !0o2000 } else { !0 }
}

/// The times to set, where any are.
fn times(set: &SetattrIn) -> Result<Option<Timestamps>, Errno> {
    let time = |given: u32, now: u32, seconds: u64, nanoseconds: u32| {
        if set.valid & now != 0 {
            Ok(Timespec { tv_sec: 0, tv_nsec: UTIME_NOW })
        } else if set.valid & given == 0 {
            Ok(Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT })
        } else if nanoseconds < 1_000_000_000 {
            Ok(Timespec { tv_sec: seconds.cast_signed(), tv_nsec: nanoseconds.into() })
        } else {
            Err(Errno::INVAL)
        }
    };
    let last_access = time(fattr::ATIME, fattr::ATIME_NOW, set.atime, set.atimensec)?;
    let last_modification = time(fattr::MTIME, fattr::MTIME_NOW, set.mtime, set.mtimensec)?;
    let any = set.valid & (fattr::ATIME | fattr::ATIME_NOW | fattr::MTIME | fattr::MTIME_NOW) != 0;
    Ok(any.then_some(Timestamps { last_access, last_modification }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_id_bits_go_but_mandatory_locking_stays() {
        assert_eq!(without_set_id(0o6755), 0o755);
        assert_eq!(without_set_id(0o6745), 0o2745);
        assert_eq!(without_set_id(0o1777), 0o1777);
    }

    #[test]
    fn impossible_times_are_refused() {
        let set = SetattrIn { valid: fattr::ATIME, atimensec: 1_000_000_000, ..SetattrIn::default() };
        assert!(times(&set).is_err());
        assert!(times(&SetattrIn::default()).unwrap().is_none());
    }
}
