//! READLINK, LINK, UNLINK, RMDIR.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;

use super::Outcome;
use crate::host::Stat;
use crate::procpath::ProcPath;
use crate::server::{Call, Done, Server};
use crate::wire::{LinkIn, Opcode, PATH_MAX};

impl Server {
    pub(super) fn readlink(&mut self, call: &mut Call<'_>) -> Outcome {
        let id = call.head.nodeid;
        if self.nodes.get(id)?.is_synthetic() {
            return Err(Errno::INVAL);
        }
        let held = self.nodes.reach(id)?;
        let mut target = [0; PATH_MAX];
        let len = match rustix::fs::readlinkat_raw(&held, c"", &mut target) {
            // What an empty path says of anything but a link.
            Err(Errno::NOENT) => return Err(Errno::INVAL),
            len => len?,
        };
        call.out.extend_from_slice(target.get(..len).ok_or(Errno::NAMETOOLONG)?);
        Ok(Done::Reply)
    }

    pub(super) fn link(&mut self, call: &mut Call<'_>) -> Outcome {
        let link: LinkIn = call.args.take()?;
        let name = call.args.name()?;
        let parent = call.head.nodeid;
        let (share, dir) = self.writable_dir(parent)?;
        if self.writable_share(link.oldnodeid)?.id != share.id {
            return Err(Errno::XDEV);
        }
        self.nodes.check_room()?;
        let held = self.nodes.reach(link.oldnodeid)?;
        let path = ProcPath::of(held.as_fd());
        rustix::fs::linkat(CWD, path.as_c_str(), &dir, name.as_c_str(), AtFlags::SYMLINK_FOLLOW)?;
        let stat = Stat::at(&dir, name)?;
        let entry = self.enter_child(parent, &dir, name, &stat)?;
        self.mark_dirty(parent);
        self.mark_dirty(link.oldnodeid);
        call.reply(&entry);
        Ok(Done::Reply)
    }

    /// UNLINK and RMDIR. A node that loses the name it is known by keeps a descriptor: it may still be in use.
    pub(super) fn unlink(&mut self, call: &mut Call<'_>) -> Outcome {
        let name = call.args.name()?;
        let parent = call.head.nodeid;
        let (share, dir) = self.writable_dir(parent)?;
        let flags = if call.op == Opcode::Rmdir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        let doomed = self.nodes.pin(&share, parent, &dir, name);
        let result = rustix::fs::unlinkat(&dir, name.as_c_str(), flags);
        self.settle_pin(doomed, result.is_ok());
        result?;
        self.mark_dirty(parent);
        Ok(Done::Reply)
    }

    /// Notes whether the name of a pinned node is gone.
    pub(super) fn settle_pin(&mut self, pinned: Option<u64>, gone: bool) {
        match pinned {
            Some(id) if gone => self.nodes.lost_name(id),
            Some(id) => self.nodes.unpin(id),
            None => {}
        }
    }
}
