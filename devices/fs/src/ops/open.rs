//! OPEN, OPENDIR, RELEASE, RELEASEDIR.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Outcome;
use crate::handles::{Handle, Open};
use crate::host::{open_dir, open_held};
use crate::server::{Call, Done, Server};
use crate::share::CachePolicy;
use crate::wire::{OpenIn, OpenOut, ReleaseIn, open_reply_flags};

/// `FUSE_OPEN_KILL_SUIDGID`: the guest's writer has no right to keep set-id bits.
const KILL_SUIDGID: u32 = 1;

/// The flags for the host's open: reading, writing, truncating and synchronous writing are passed on. Not O_APPEND, which
/// each WRITE says for itself, nor O_DIRECT, whose alignment the guest's buffers do not have.
fn host_flags(flags: u32, writeback: bool) -> OFlags {
    let passed = OFlags::RWMODE | OFlags::TRUNC | OFlags::SYNC | OFlags::DSYNC;
    let flags = OFlags::from_bits_retain(flags).intersection(passed);
    if writeback && flags.intersection(OFlags::RWMODE) == OFlags::WRONLY {
        // The guest reads the rest of a page that it writes a part of.
        return flags.difference(OFlags::RWMODE) | OFlags::RDWR;
    }
    flags
}

/// Whether an open with these flags can change the file.
fn writes(flags: OFlags) -> bool {
    flags.intersects(OFlags::RWMODE | OFlags::TRUNC)
}

/// What the guest may do with cached contents.
pub(super) fn reply_flags(cache: CachePolicy) -> u32 {
    match cache {
        CachePolicy::Never => open_reply_flags::DIRECT_IO,
        CachePolicy::Auto => 0,
        CachePolicy::Always => open_reply_flags::KEEP_CACHE,
    }
}

impl Server {
    /// The flags for the host's open where the guest asks for these.
    pub(crate) fn host_flags(&self, flags: u32) -> OFlags {
        host_flags(flags, self.config.writeback)
    }

    pub(super) fn open(&mut self, call: &mut Call<'_>) -> Outcome {
        let open: OpenIn = call.args.take()?;
        let id = call.head.nodeid;
        self.handles.check_room()?;
        if self.nodes.get(id)?.is_synthetic() {
            return Err(Errno::ISDIR);
        }
        let share = self.nodes.share(id)?;
        let flags = self.host_flags(open.flags);
        if writes(flags) {
            self.writable_share(id)?;
        }
        let (held, stat) = self.nodes.reach_seen(id)?;
        if share.cache == CachePolicy::Auto
            && !flags.contains(OFlags::TRUNC)
            && self.nodes.refuses_open(id, call.head.pid, &stat)
        {
            // The guest's kernel looks the path up anew, and opens again.
            return Err(Errno::STALE);
        }
        let file = Arc::new(open_held(&held, flags)?);
        if flags.contains(OFlags::TRUNC) {
            self.nodes.untell(id);
            self.drop_privileges(id, &share, &file, open.open_flags & KILL_SUIDGID != 0)?;
            self.mark_dirty(id);
        }
        let fh = self.handles.add(Handle::new(id, Open::File(file.clone()), open.flags))?;
        self.nodes.opened(id, Some(file));
        call.reply(&OpenOut { fh, open_flags: reply_flags(share.cache), padding: 0 });
        Ok(Done::Reply)
    }

    pub(super) fn opendir(&mut self, call: &mut Call<'_>) -> Outcome {
        let id = call.head.nodeid;
        self.handles.check_room()?;
        let node = self.nodes.get(id)?;
        let always = node.share.as_ref().is_some_and(|share| share.cache == CachePolicy::Always);
        let open = if node.is_synthetic() {
            Open::Synthetic
        } else {
            let held = self.nodes.reach(id)?;
            Open::Dir { file: Arc::new(open_dir(&held)?), at: Some(0) }
        };
        let kept = matches!(open, Open::Dir { .. }) && always;
        let fh = self.handles.add(Handle::new(id, open, 0))?;
        self.nodes.opened(id, None);
        let open_flags = if kept { open_reply_flags::CACHE_DIR | open_reply_flags::KEEP_CACHE } else { 0 };
        call.reply(&OpenOut { fh, open_flags, padding: 0 });
        Ok(Done::Reply)
    }

    pub(super) fn release(&mut self, call: &mut Call<'_>) -> Outcome {
        let release: ReleaseIn = call.args.take()?;
        let id = call.head.nodeid;
        let handle = self.handles.remove(release.fh, id)?;
        if let (Open::File(file), Some(_)) = (&handle.open, handle.flock) {
            // The description may outlive the handle for a moment.
            crate::locks::sys::unlock_flock(file.as_fd())?;
        }
        self.nodes.closed(id);
        if self.nodes.get(id).map_or(true, |node| node.handles == 0) {
            self.locks.retain(|node| node != id);
        }
        Ok(Done::Reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_flags_reach_the_host() {
        let all = OFlags::from_bits_retain(u32::MAX).difference(OFlags::RWMODE) | OFlags::WRONLY;
        let passed = host_flags(all.bits(), false);
        assert_eq!(passed, OFlags::WRONLY | OFlags::TRUNC | OFlags::SYNC | OFlags::DSYNC);
        assert_eq!(host_flags(OFlags::WRONLY.bits(), true), OFlags::RDWR);
        assert!(writes(OFlags::RDONLY | OFlags::TRUNC) && !writes(OFlags::RDONLY));
    }
}
