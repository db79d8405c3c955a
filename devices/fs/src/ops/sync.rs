//! FSYNC, FSYNCDIR, SYNCFS.

use rustix::fs::{OFlags, fdatasync, fsync};
use rustix::io::Errno;

use super::Outcome;
use crate::handles::Open;
use crate::host::open_held;
use crate::nodes::Place;
use crate::server::{Call, Done, Server};
use crate::wire::FsyncIn;

/// `FUSE_FSYNC_FDATASYNC`: the data only.
const DATA_ONLY: u32 = 1;

impl Server {
    pub(super) fn fsync(&mut self, call: &mut Call<'_>) -> Outcome {
        let request: FsyncIn = call.args.take()?;
        self.nodes.get(call.head.nodeid)?;
        match &self.handles.get_mut(request.fh, call.head.nodeid)?.open {
            Open::File(file) if request.fsync_flags & DATA_ONLY != 0 => fdatasync(file)?,
            Open::File(file) => fsync(file)?,
            Open::Dir { file, .. } => fsync(file)?,
            Open::Synthetic => {}
            Open::Lost => return Err(Errno::IO),
        }
        Ok(Done::Reply)
    }

    /// Writes back what the guest has changed through this share since the last time; never more of the host.
    pub(super) fn syncfs(&mut self, call: &mut Call<'_>) -> Outcome {
        let Some(share) = self.nodes.get(call.head.nodeid)?.share.clone() else {
            return Ok(Done::Reply);
        };
        let mut result = Ok(());
        for id in self.dirty.take() {
            let Ok(node) = self.nodes.get(id) else { continue };
            if node.share.as_ref().is_none_or(|other| other.id != share.id) {
                self.dirty.keep(id);
            } else if let Err(e) = self.write_back(id) {
                result = Err(e);
            }
        }
        result.map(|()| Done::Reply)
    }

    /// Notes that a node was changed. When too many were, the one waiting longest is written back.
    pub(super) fn mark_dirty(&mut self, id: u64) {
        let Ok(node) = self.nodes.get_mut(id) else { return };
        // Nobody can want a file without a name back after a crash.
        if node.place == Place::Nowhere || std::mem::replace(&mut node.dirty, true) {
            return;
        }
        if let Some(oldest) = self.dirty.add(id)
            && let Err(error) = self.write_back(oldest)
        {
            tracing::warn!(node = oldest, %error, "writing back a changed file");
        }
    }

    /// Writes one node's changes back to the host's disk.
    fn write_back(&mut self, id: u64) -> Result<(), Errno> {
        // A node that has lost its name since is nobody's to keep.
        if !self.nodes.get(id).is_ok_and(|node| node.dirty) {
            return Ok(());
        }
        let file = self.nodes.reach(id).and_then(|held| open_held(held, OFlags::RDONLY));
        self.nodes.written_back(id);
        match file {
            Ok(file) => fsync(file),
            // Gone, replaced, or nothing that has data.
            Err(Errno::STALE | Errno::LOOP | Errno::NXIO | Errno::NOENT) => Ok(()),
            Err(e) => Err(e),
        }
    }
}
