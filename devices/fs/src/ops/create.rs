//! What makes files: MKDIR, MKNOD, SYMLINK, CREATE, TMPFILE.
//!
//! A new file is made by this process and given to the guest's user afterwards, through a descriptor and only after a look at
//! what was made: whoever else can write the directory on the host could have put something else under the name.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Outcome;
use super::open::reply_flags;
use crate::attr::{attr, entry_out};
use crate::handles::{Handle, Open};
use crate::host::{self, Stat, hold, open_held};
use crate::nodes::Place;
use crate::owners::View;
use crate::procpath::ProcPath;
use crate::server::{Call, Done, Server};
use crate::share::Share;
use crate::wire::{CreateIn, EntryOut, MkdirIn, MknodIn, Name, OpenOut};

const SET_GID: u32 = 0o2000;

/// The directory that gets a new entry, and what the entry shall look like.
struct Plan {
    share: Arc<Share>,
    dir: Arc<OwnedFd>,
    parent: u64,
    kind: FileType,
    wanted: View,
    /// Permissions to ask the host for.
    mode: u32,
}

impl Server {
    pub(super) fn mkdir(&mut self, call: &mut Call<'_>) -> Outcome {
        let mkdir: MkdirIn = call.args.take()?;
        let name = call.args.name()?;
        let plan = self.plan(call, FileType::Directory, mkdir.mode)?;
        rustix::fs::mkdirat(&plan.dir, name.as_c_str(), Mode::from_raw_mode(plan.mode))?;
        self.reply_held(call, &plan, name)
    }

    pub(super) fn mknod(&mut self, call: &mut Call<'_>) -> Outcome {
        let mknod: MknodIn = call.args.take()?;
        let name = call.args.name()?;
        let kind = match FileType::from_raw_mode(mknod.mode) {
            FileType::Unknown if mknod.mode & 0o170_000 == 0 => FileType::RegularFile,
            kind @ (FileType::RegularFile | FileType::Fifo | FileType::Socket) => kind,
            // On the host a device node would be the host's device.
            FileType::CharacterDevice | FileType::BlockDevice => return Err(Errno::PERM),
            _ => return Err(Errno::INVAL),
        };
        let plan = self.plan(call, kind, mknod.mode)?;
        rustix::fs::mknodat(&plan.dir, name.as_c_str(), kind, Mode::from_raw_mode(plan.mode), 0)?;
        self.reply_held(call, &plan, name)
    }

    pub(super) fn symlink(&mut self, call: &mut Call<'_>) -> Outcome {
        let name = call.args.name()?;
        let target = call.args.target()?;
        let plan = self.plan(call, FileType::Symlink, 0o777)?;
        rustix::fs::symlinkat(target, &plan.dir, name.as_c_str())?;
        self.reply_held(call, &plan, name)
    }

    pub(super) fn create(&mut self, call: &mut Call<'_>) -> Outcome {
        let create: CreateIn = call.args.take()?;
        let name = call.args.name()?;
        self.handles.check_room()?;
        let plan = self.plan(call, FileType::RegularFile, create.mode)?;
        let flags = self.host_flags(create.flags);
        let (file, entry) = match host::create(&plan.dir, name, flags, plan.mode) {
            Ok(file) => {
                let (stat, view) = self.settle(&plan, &file)?;
                let entry = self.enter_seen(&plan.share, plan.parent, name, &stat, view)?;
                self.mark_dirty(plan.parent);
                (file, entry)
            }
            Err(Errno::EXIST) if create.flags & OFlags::EXCL.bits() == 0 => {
                let held = hold(&plan.dir, name)?;
                let file = open_held(&held, flags)?;
                let stat = Stat::of(&file)?;
                if flags.contains(OFlags::TRUNC) {
                    let id = self.enter_child(plan.parent, &plan.dir, name, &stat)?.nodeid;
                    let dropped = self.drop_privileges(id, &plan.share, &file, create.open_flags & 1 != 0);
                    self.nodes.forget(id, 1);
                    dropped?;
                }
                (file, self.enter_child(plan.parent, &plan.dir, name, &stat)?)
            }
            Err(e) => return Err(e),
        };
        self.reply_opened(call, &plan.share, entry, file, create.flags)
    }

    pub(super) fn tmpfile(&mut self, call: &mut Call<'_>) -> Outcome {
        let create: CreateIn = call.args.take()?;
        // A name follows that stands for none.
        self.handles.check_room()?;
        let plan = self.plan(call, FileType::RegularFile, create.mode)?;
        let mut flags = self.host_flags(create.flags);
        if create.flags & OFlags::EXCL.bits() != 0 {
            flags |= OFlags::EXCL;
        }
        let file = host::create_unnamed(&plan.dir, flags, plan.mode)?;
        let (stat, view) = self.settle(&plan, &file)?;
        let id = self.nodes.enter(&plan.share, Place::Nowhere, stat.id())?;
        let cache = plan.share.cache;
        let entry = entry_out(id, attr(&stat, view), cache, cache.valid());
        self.reply_opened(call, &plan.share, entry, file, create.flags)
    }

    /// Looks at the directory that the request is about and settles what the new entry shall look like.
    fn plan(&mut self, call: &Call<'_>, kind: FileType, mode: u32) -> Result<Plan, Errno> {
        let parent = call.head.nodeid;
        let share = self.writable_share(parent)?;
        let (dir, stat) = self.nodes.reach_seen(parent)?;
        self.nodes.check_room()?;
        let above = self.owners.view(&share, &stat, || ProcPath::of(dir.as_fd()));
        let mut wanted = View { uid: call.head.uid, gid: call.head.gid, mode: mode & 0o7777 };
        if above.mode & SET_GID != 0 {
            wanted.gid = above.gid;
            if kind == FileType::Directory {
                wanted.mode |= SET_GID;
            }
        }
        let mode = self.owners.host_mode(wanted.mode, kind == FileType::Directory);
        Ok(Plan { share, dir, parent, kind, wanted, mode })
    }

    /// Makes sure that a new file is what was made, and gives it to its owner.
    fn settle(&self, plan: &Plan, made: impl AsFd) -> Result<(Stat, View), Errno> {
        let mut stat = Stat::of(&made)?;
        let shared = plan.kind != FileType::Directory && stat.raw().stx_nlink > 1;
        if stat.file_type() != plan.kind || shared {
            return Err(Errno::STALE);
        }
        if self.owners.settle(&plan.share, &made, &stat, plan.wanted)? {
            stat = Stat::of(&made)?;
        }
        Ok((stat, self.owners.view(&plan.share, &stat, || ProcPath::of(made.as_fd()))))
    }

    /// Answers with a new entry that is no open file.
    fn reply_held(&mut self, call: &mut Call<'_>, plan: &Plan, name: Name<'_>) -> Outcome {
        let held = hold(&plan.dir, name)?;
        let (stat, view) = self.settle(plan, &held)?;
        let entry = self.enter_seen(&plan.share, plan.parent, name, &stat, view)?;
        self.mark_dirty(plan.parent);
        call.reply(&entry);
        Ok(Done::Reply)
    }

    /// Answers with an entry and a handle of it.
    fn reply_opened(
        &mut self,
        call: &mut Call<'_>,
        share: &Share,
        entry: EntryOut,
        file: OwnedFd,
        flags: u32,
    ) -> Outcome {
        let file = Arc::new(file);
        let handle = Handle::new(entry.nodeid, Open::File(file.clone()), flags);
        let fh = self.handles.add(handle)?;
        self.nodes.opened(entry.nodeid, Some(file));
        self.mark_dirty(entry.nodeid);
        call.reply(&entry);
        call.reply(&OpenOut { fh, open_flags: reply_flags(share.cache), padding: 0 });
        Ok(Done::Reply)
    }
}
