//! LOOKUP, FORGET, GETATTR, STATX and STATFS.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::Outcome;
use crate::attr::{attr, attr_out, entry_out, statx_out, synthetic_attr};
use crate::host::{FileId, Stat};
use crate::nodes::Place;
use crate::owners::View;
use crate::procpath::ProcPath;
use crate::server::{Call, Done, Server};
use crate::share::{CachePolicy, FILE_ENTRY, Share};
use crate::wire::{
    Attr, BatchForgetIn, EntryOut, ForgetIn, ForgetOne, GetattrIn, KStatfs, NAME_MAX, Name, ROOT_ID, StatxIn,
    flags,
};

/// Bit 0 of GETATTR's and STATX's flags: the handle is meant.
const BY_HANDLE: u32 = 1;

impl Server {
    pub(super) fn lookup(&mut self, call: &mut Call<'_>) -> Outcome {
        let name = call.args.name()?;
        let parent = call.head.nodeid;
        let entry = match self.look_up(parent, name) {
            Err(Errno::NOENT) => self.no_entry(parent)?,
            entry => entry?,
        };
        call.reply(&entry);
        Ok(Done::Reply)
    }

    pub(super) fn forget(&mut self, call: &mut Call<'_>) -> Outcome {
        let forget: ForgetIn = call.args.take()?;
        self.nodes.forget(call.head.nodeid, forget.nlookup);
        Ok(Done::Reply)
    }

    pub(super) fn batch_forget(&mut self, call: &mut Call<'_>) -> Outcome {
        let batch: BatchForgetIn = call.args.take()?;
        for _ in 0..batch.count {
            let one: ForgetOne = call.args.take()?;
            self.nodes.forget(one.nodeid, one.nlookup);
        }
        Ok(Done::Reply)
    }

    pub(super) fn getattr(&mut self, call: &mut Call<'_>) -> Outcome {
        let getattr: GetattrIn = call.args.take()?;
        let handle = (getattr.getattr_flags & BY_HANDLE != 0).then_some(getattr.fh);
        let (attr, _, cache) = self.attr_of(call.head.nodeid, handle)?;
        call.reply(&attr_out(attr, cache));
        Ok(Done::Reply)
    }

    pub(super) fn statx(&mut self, call: &mut Call<'_>) -> Outcome {
        let statx: StatxIn = call.args.take()?;
        let handle = (statx.getattr_flags & BY_HANDLE != 0).then_some(statx.fh);
        let (attr, stat, cache) = self.attr_of(call.head.nodeid, handle)?;
        call.reply(&statx_out(&attr, stat.as_ref(), cache));
        Ok(Done::Reply)
    }

    pub(super) fn statfs(&mut self, call: &mut Call<'_>) -> Outcome {
        let id = call.head.nodeid;
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let namelen = small(NAME_MAX as u64);
        if self.nodes.get(id)?.is_synthetic() {
            call.reply(&KStatfs { bsize: 4096, frsize: 4096, namelen, ..KStatfs::default() });
            return Ok(Done::Reply);
        }
        let stat = rustix::fs::fstatvfs(self.nodes.reach(id)?)?;
        call.reply(&KStatfs {
            blocks: stat.f_blocks,
            bfree: stat.f_bfree,
            bavail: stat.f_bavail,
            files: stat.f_files,
            ffree: stat.f_ffree,
            bsize: small(stat.f_bsize),
            namelen: small(stat.f_namemax).min(namelen),
            frsize: small(stat.f_frsize),
            ..KStatfs::default()
        });
        Ok(Done::Reply)
    }

    /// Looks a name up and counts the lookup.
    ///
    /// # Errors
    /// ENOENT, ESTALE, ENFILE, or the operating system's.
    fn look_up(&mut self, parent: u64, name: Name<'_>) -> Result<EntryOut, Errno> {
        let node = self.nodes.get(parent)?;
        match (&node.place, &node.share) {
            (Place::Root, _) => self.enter_share(name),
            (Place::FileDir, Some(share)) if name.as_c_str().to_bytes() == FILE_ENTRY.as_bytes() => {
                let share = share.clone();
                self.enter_shared_file(&share)
            }
            (Place::FileDir, _) => Err(Errno::NOENT),
            _ => {
                let dir = self.nodes.reach(parent)?;
                let stat = Stat::at(&dir, name)?;
                self.enter_child(parent, &dir, name, &stat)
            }
        }
    }

    /// Counts a lookup of an entry of a directory of the host.
    ///
    /// # Errors
    /// ENFILE, ESTALE.
    pub(super) fn enter_child(
        &mut self,
        parent: u64,
        dir: &OwnedFd,
        name: Name<'_>,
        stat: &Stat,
    ) -> Result<EntryOut, Errno> {
        let share = self.nodes.share(parent)?;
        let view = self.owners.view(&share, stat, || ProcPath::below(dir.as_fd(), name));
        self.enter_seen(&share, parent, name, stat, view)
    }

    /// As [`enter_child`](Self::enter_child), its owner known already.
    pub(super) fn enter_seen(
        &mut self,
        share: &Arc<Share>,
        parent: u64,
        name: Name<'_>,
        stat: &Stat,
        view: View,
    ) -> Result<EntryOut, Errno> {
        let place = Place::At { parent, name: name.as_c_str().to_owned() };
        let id = self.nodes.enter(share, place, stat.id())?;
        self.nodes.tell(id, stat);
        let mut attr = attr(stat, view);
        // Another file system of the host has its own inode numbers, so it needs a device number of its own in the guest.
        if stat.is_dir() && stat.id().mount != self.nodes.get(parent)?.file.mount {
            self.mark_submount(&mut attr);
        }
        Ok(entry_out(id, attr, share.cache, share.cache.valid()))
    }

    /// Counts a lookup of a share. Its name holds for no time, so that a removal is seen at once.
    fn enter_share(&mut self, name: Name<'_>) -> Result<EntryOut, Errno> {
        let share = self.registry.by_name(name).ok_or(Errno::NOENT)?;
        let (id, mut attr) = if share.is_dir {
            let stat = Stat::of(&share.root)?;
            let view = self.owners.view(&share, &stat, || ProcPath::of(share.root.as_fd()));
            (self.nodes.enter(&share, Place::ShareRoot, stat.id())?, attr(&stat, view))
        } else {
            // No file of the host has an inode number of 0.
            let id = self.nodes.enter(&share, Place::FileDir, FileId::default())?;
            (id, synthetic_attr(id))
        };
        self.mark_submount(&mut attr);
        Ok(entry_out(id, attr, share.cache, Duration::ZERO))
    }

    /// Counts a lookup of a share's single file.
    fn enter_shared_file(&mut self, share: &Arc<Share>) -> Result<EntryOut, Errno> {
        let stat = Stat::of(&share.root)?;
        let view = self.owners.view(share, &stat, || ProcPath::of(share.root.as_fd()));
        let id = self.nodes.enter(share, Place::ShareRoot, stat.id())?;
        self.nodes.tell(id, &stat);
        Ok(entry_out(id, attr(&stat, view), share.cache, share.cache.valid()))
    }

    fn mark_submount(&self, attr: &mut Attr) {
        if self.agreed(flags::SUBMOUNTS) {
            attr.flags |= Attr::SUBMOUNT;
        }
    }

    /// What is said of a name that is not there: where nobody but the guest can change that, that it may remember.
    fn no_entry(&self, parent: u64) -> Result<EntryOut, Errno> {
        match &self.nodes.get(parent)?.share {
            Some(share) if share.cache == CachePolicy::Always => {
                Ok(entry_out(0, Attr::default(), share.cache, share.cache.valid()))
            }
            _ => Err(Errno::NOENT),
        }
    }

    /// A node's attributes, what the host says of it, and how long they hold.
    pub(super) fn attr_of(
        &mut self,
        id: u64,
        handle: Option<u64>,
    ) -> Result<(Attr, Option<Stat>, CachePolicy), Errno> {
        let node = self.nodes.get(id)?;
        let Some(share) = node.share.clone().filter(|_| !node.is_synthetic()) else {
            return Ok((synthetic_attr(id), None, CachePolicy::Auto));
        };
        let (stat, view) = match handle.and_then(|handle| self.handles.file(handle, id).ok()) {
            Some(file) => {
                let stat = Stat::of(&file)?;
                (stat, self.owners.view(&share, &stat, || ProcPath::of(file.as_fd())))
            }
            None => self.stat_of(id, &share)?,
        };
        self.nodes.tell(id, &stat);
        Ok((attr(&stat, view), Some(stat), share.cache))
    }

    /// What the host says of a node. One look below its parent, where that is known to lie in the share.
    fn stat_of(&mut self, id: u64, share: &Share) -> Result<(Stat, View), Errno> {
        let node = self.nodes.get(id)?;
        let (Place::At { parent, name }, false) = (&node.place, node.is_open()) else {
            let (held, stat) = self.nodes.reach_seen(id)?;
            return Ok((stat, self.owners.view(share, &stat, || ProcPath::of(held.as_fd()))));
        };
        let (parent, name, file) = (*parent, name.clone(), node.file);
        let name = Name::new(&name)?;
        let dir = self.nodes.reach(parent)?;
        match Stat::at(&dir, name) {
            Ok(stat) if stat.id() == file => {
                Ok((stat, self.owners.view(share, &stat, || ProcPath::below(dir.as_fd(), name))))
            }
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Err(Errno::STALE),
            Err(e) => Err(e),
        }
    }
}

const _: () = assert!(ROOT_ID == 1, "the root's attributes carry its node number as inode number");
