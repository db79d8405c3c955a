//! The operations, a file per group.

mod create;
mod dir;
mod init;
mod io;
mod link;
pub(crate) mod lock;
mod lookup;
mod open;
mod rename;
mod setattr;
mod sync;
mod xattr;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

use crate::server::{Call, Done, Server};
use crate::share::Share;
use crate::wire::Opcode;

/// How every operation ends: well, or with the error number that the guest is told.
type Outcome = Result<Done, Errno>;

impl Server {
    /// Runs a request's operation.
    ///
    /// # Errors
    /// What the guest is told; EIO for anything before INIT.
    pub(crate) fn dispatch(&mut self, call: &mut Call<'_>) -> Outcome {
        use Opcode::*;
        if self.session.is_none() && !matches!(call.op, Init | Destroy) {
            return Err(Errno::IO);
        }
        match call.op {
            Init => self.init(call),
            Destroy => self.destroy(),
            Lookup => self.lookup(call),
            Forget => self.forget(call),
            BatchForget => self.batch_forget(call),
            Getattr => self.getattr(call),
            Statx => self.statx(call),
            Setattr => self.setattr(call),
            Statfs => self.statfs(call),
            Readlink => self.readlink(call),
            Symlink => self.symlink(call),
            Link => self.link(call),
            Mknod => self.mknod(call),
            Mkdir => self.mkdir(call),
            Create => self.create(call),
            Tmpfile => self.tmpfile(call),
            Unlink | Rmdir => self.unlink(call),
            Rename | Rename2 => self.rename(call),
            Open => self.open(call),
            Opendir => self.opendir(call),
            Release | Releasedir => self.release(call),
            Read => self.read(call),
            Write => self.write(call),
            Fallocate => self.fallocate(call),
            Lseek => self.lseek(call),
            CopyFileRange => self.copy_file_range(call),
            Readdir | Readdirplus => self.readdir(call),
            Fsync | Fsyncdir => self.fsync(call),
            Syncfs => self.syncfs(call),
            Setxattr => self.setxattr(call),
            Getxattr => self.getxattr(call),
            Listxattr => self.listxattr(call),
            Removexattr => self.removexattr(call),
            Getlk => self.getlk(call),
            Setlk | Setlkw => self.setlk(call),
            Flush => self.flush(call),
            Interrupt => self.interrupt(call),
            Ioctl => Err(Errno::NOTTY),
        }
    }

    /// The share of a node that is about to be changed.
    ///
    /// # Errors
    /// EROFS for what the guest must not change, directories of our own making included; ESTALE.
    fn writable_share(&self, id: u64) -> Result<Arc<Share>, Errno> {
        let node = self.nodes.get(id)?;
        match &node.share {
            Some(share) if !share.read_only && !node.is_synthetic() => Ok(share.clone()),
            _ => Err(Errno::ROFS),
        }
    }

    /// A directory about to get, lose or change an entry, with its share.
    ///
    /// # Errors
    /// As for [`writable_share`](Self::writable_share) and [`Nodes::reach`](crate::nodes::Nodes::reach).
    fn writable_dir(&mut self, id: u64) -> Result<(Arc<Share>, Arc<OwnedFd>), Errno> {
        let share = self.writable_share(id)?;
        Ok((share, self.nodes.reach(id)?))
    }

    /// The open regular file behind a handle of a node whose share is still there.
    ///
    /// # Errors
    /// As for [`Handles::file`](crate::handles::Handles::file); ESTALE.
    fn open_file(&mut self, handle: u64, node: u64) -> Result<Arc<OwnedFd>, Errno> {
        self.nodes.get(node)?;
        self.handles.file(handle, node)
    }
}
