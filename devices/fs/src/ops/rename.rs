//! RENAME and RENAME2.

use std::os::fd::OwnedFd;

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::Outcome;
use crate::host::Stat;
use crate::nodes::Place;
use crate::server::{Call, Done, Server};
use crate::share::Share;
use crate::wire::{Name, Opcode, Rename2In, RenameIn};

/// One end of a rename.
#[derive(Clone, Copy)]
struct End<'a> {
    parent: u64,
    dir: &'a OwnedFd,
    name: Name<'a>,
}

impl Server {
    pub(super) fn rename(&mut self, call: &mut Call<'_>) -> Outcome {
        let (newdir, flags) = if call.op == Opcode::Rename2 {
            let rename: Rename2In = call.args.take()?;
            (rename.newdir, RenameFlags::from_bits_retain(rename.flags))
        } else {
            (call.args.take::<RenameIn>()?.newdir, RenameFlags::empty())
        };
        let (old_name, new_name) = (call.args.name()?, call.args.name()?);
        // A whiteout is a device node, and none is made on the host.
        if !(RenameFlags::NOREPLACE | RenameFlags::EXCHANGE).contains(flags) {
            return Err(Errno::INVAL);
        }
        let (share, old_dir) = self.writable_dir(call.head.nodeid)?;
        let (new_share, new_dir) = self.writable_dir(newdir)?;
        if share.id != new_share.id {
            return Err(Errno::XDEV);
        }
        // The new name can be a longer one.
        self.nodes.check_room()?;
        let old = End { parent: call.head.nodeid, dir: &old_dir, name: old_name };
        let new = End { parent: newdir, dir: &new_dir, name: new_name };
        self.rename_entries(&share, old, new, flags)?;
        self.mark_dirty(old.parent);
        self.mark_dirty(new.parent);
        Ok(Done::Reply)
    }

    /// Renames, and lets the nodes concerned follow.
    fn rename_entries(
        &mut self,
        share: &Share,
        old: End<'_>,
        new: End<'_>,
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        let replaced = if exchange { None } else { self.nodes.pin(share, new.parent, new.dir, new.name) };
        let moved = Stat::at(old.dir, old.name);
        let other = if exchange { Stat::at(new.dir, new.name).ok() } else { None };
        let result =
            rustix::fs::renameat_with(old.dir, old.name.as_c_str(), new.dir, new.name.as_c_str(), flags);
        // Two names of one file: nothing was renamed, and nothing replaced.
        let same =
            replaced.is_some() && moved.is_ok_and(|stat| self.nodes.find(share, stat.id()) == replaced);
        self.settle_pin(replaced, result.is_ok() && !same);
        result?;
        if !same {
            self.follow(share, new, moved.ok());
        }
        if exchange {
            self.follow(share, old, other);
        }
        Ok(())
    }

    /// Lets the node of what has come to lie at a name know its place. `before` is what the file was before that.
    fn follow(&mut self, share: &Share, end: End<'_>, before: Option<Stat>) {
        let Ok(stat) = Stat::at(end.dir, end.name) else { return };
        if let Some(id) = self.nodes.find(share, stat.id()) {
            if let Some(before) = before {
                self.nodes.still_told(id, &before, &stat);
            }
            self.nodes.move_to(id, Place::At { parent: end.parent, name: end.name.as_c_str().to_owned() });
        }
    }
}
