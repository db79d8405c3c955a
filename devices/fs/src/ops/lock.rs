//! GETLK, SETLK, SETLKW, FLUSH, INTERRUPT.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Outcome;
use crate::host::open_held;
use crate::locks::{Claim, LockKind, LockedRange, Waiter, Wish, sys};
use crate::server::{Call, Done, Server};
use crate::wire::{FlushIn, InterruptIn, LkIn, LkOut, Opcode, flags};

/// `FUSE_LK_FLOCK`: a lock of the open file as a whole.
const FLOCK: u32 = 1 << 0;
/// Kinds of locks on the wire, as Linux numbers them.
const F_RDLCK: u32 = 0;
const F_WRLCK: u32 = 1;
const F_UNLCK: u32 = 2;
/// The largest offset of a file.
const OFFSET_MAX: u64 = i64::MAX.unsigned_abs();
/// Longest wait of a guest whose kernel cannot interrupt one: nothing could end such a process sooner.
const UNINTERRUPTED: Duration = Duration::from_secs(30);

/// The kind of lock that is asked for, none to give one up.
fn kind(raw: u32) -> Result<Option<LockKind>, Errno> {
    match raw {
        F_RDLCK => Ok(Some(LockKind::Read)),
        F_WRLCK => Ok(Some(LockKind::Write)),
        F_UNLCK => Ok(None),
        _ => Err(Errno::INVAL),
    }
}

/// The first and the last byte, checked.
fn bytes(lk: &LkIn) -> Result<(u64, u64), Errno> {
    if lk.start <= lk.end && lk.end <= OFFSET_MAX { Ok((lk.start, lk.end)) } else { Err(Errno::INVAL) }
}

impl Server {
    pub(super) fn getlk(&mut self, call: &mut Call<'_>) -> Outcome {
        let lk: LkIn = call.args.take()?;
        let id = call.head.nodeid;
        let wanted = kind(lk.kind)?.ok_or(Errno::INVAL)?;
        let (start, end) = bytes(&lk)?;
        let handle = self.open_file(lk.fh, id)?;
        let file = self.locks.known_file(id, lk.owner).unwrap_or(handle);
        let reply = match sys::obstacle(file.as_fd(), wanted, start, end)? {
            None => LkOut { start, end, kind: F_UNLCK, pid: 0 },
            Some(found) => LkOut {
                start: found.0,
                end: found.1,
                kind: if found.2 == LockKind::Write { F_WRLCK } else { F_RDLCK },
                // A process of the host or of another guest has no number here.
                pid: self.locks.holder(id, lk.owner, (found.0, found.1, LockKind::Write)).unwrap_or(0),
            },
        };
        call.reply(&reply);
        Ok(Done::Reply)
    }

    /// SETLK and SETLKW.
    pub(super) fn setlk(&mut self, call: &mut Call<'_>) -> Outcome {
        let lk: LkIn = call.args.take()?;
        if lk.lk_flags & FLOCK != 0 {
            return self.flock(call, &lk);
        }
        let id = call.head.nodeid;
        let (start, end) = bytes(&lk)?;
        let handle = self.open_file(lk.fh, id)?;
        let Some(kind) = kind(lk.kind)? else {
            return self.unlock(id, lk.owner, start, end);
        };
        let range = LockedRange { start, end, kind, pid: lk.pid };
        let after = self.locks.after(id, lk.owner, |held| held.lock(range))?;
        let read_only = self.nodes.share(id)?.read_only;
        let file = self.locks.file(id, lk.owner, || open_for_locks(&handle, read_only))?;
        let wish = Wish::Range { kind, start, end };
        let claim = Claim::Owner { node: id, owner: lk.owner, pid: lk.pid };
        let taken = self.take(call, &file, claim, wish);
        match taken {
            Ok(Done::Reply) => self.locks.set(id, lk.owner, after),
            Ok(_) => {}
            Err(_) => self.close_unused_owner(id, lk.owner),
        }
        taken
    }

    fn unlock(&mut self, node: u64, owner: u64, start: u64, end: u64) -> Outcome {
        let Some(file) = self.locks.known_file(node, owner) else { return Ok(Done::Reply) };
        let after = self.locks.after(node, owner, |held| held.unlock(start, end))?;
        sys::unlock_range(file.as_fd(), start, end)?;
        self.locks.set(node, owner, after);
        self.close_unused_owner(node, owner);
        Ok(Done::Reply)
    }

    fn flock(&mut self, call: &mut Call<'_>, lk: &LkIn) -> Outcome {
        let id = call.head.nodeid;
        let file = self.open_file(lk.fh, id)?;
        let kind = kind(lk.kind)?;
        let taken = match kind {
            None => sys::unlock_flock(file.as_fd()).map(|()| Done::Reply),
            Some(kind) => self.take(call, &file, Claim::Handle { node: id, fh: lk.fh }, Wish::Flock(kind)),
        };
        // A change of kind that fails has given up what was held before.
        let held = if taken.is_ok() { kind } else { None };
        if !matches!(taken, Ok(Done::Later(_))) {
            self.handles.get_mut(lk.fh, id)?.flock = held;
        }
        taken
    }

    /// Takes a lock at once, or begins to wait for it where the request is one that waits.
    fn take(&mut self, call: &Call<'_>, file: &Arc<OwnedFd>, claim: Claim, wish: Wish) -> Outcome {
        match wish.take(file.as_fd(), false) {
            Ok(()) => Ok(Done::Reply),
            Err(Errno::AGAIN | Errno::ACCESS) if call.op == Opcode::Setlkw => {
                let at_most = (!self.agreed(flags::HOST_SHARED)).then_some(UNINTERRUPTED);
                self.waiters.start(call.head.unique, file, claim, wish, at_most).map(Done::Later)
            }
            Err(Errno::ACCESS) => Err(Errno::AGAIN),
            Err(e) => Err(e),
        }
    }

    fn close_unused_owner(&mut self, node: u64, owner: u64) {
        if self.waiters.of_owner(node, owner) == 0 {
            self.locks.close_unused(node, owner);
        }
    }

    /// Notes how a wait ended; the guest is told the result.
    pub(crate) fn lock_wait_ended(
        &mut self,
        waiter: &Waiter,
        result: Result<(), Errno>,
    ) -> Result<(), Errno> {
        match (waiter.claim, waiter.wish) {
            (Claim::Owner { node, owner, pid }, Wish::Range { kind, start, end }) => {
                let range = LockedRange { start, end, kind, pid };
                let noted = result.and_then(|()| {
                    let after = self.locks.after(node, owner, |held| held.lock(range))?;
                    let known = self.nodes.get(node).is_ok() && self.locks.known_file(node, owner).is_some();
                    if known { Ok(after) } else { Err(Errno::NOLCK) }
                });
                match &noted {
                    Ok(after) => self.locks.set(node, owner, after.clone()),
                    // The lock came although it cannot be kept.
                    Err(_) if result.is_ok() => sys::unlock_range(waiter.file().as_fd(), start, end)?,
                    Err(_) => {}
                }
                self.close_unused_owner(node, owner);
                noted.map(|_| ())
            }
            (Claim::Handle { node, fh }, Wish::Flock(kind)) => match self.handles.get_mut(fh, node) {
                Ok(handle) => {
                    handle.flock = result.is_ok().then_some(kind);
                    result
                }
                // Closed meanwhile.
                Err(_) if result.is_ok() => sys::unlock_flock(waiter.file().as_fd()),
                Err(_) => result,
            },
            // Never made.
            _ => Err(Errno::NOLCK),
        }
    }

    /// A descriptor of the file was closed: POSIX takes away all locks that the process held of it.
    pub(super) fn flush(&mut self, call: &mut Call<'_>) -> Outcome {
        if !self.agreed(flags::POSIX_LOCKS) {
            // The guest's kernel asks no more then, which saves a request for each close.
            return Err(Errno::NOSYS);
        }
        let flush: FlushIn = call.args.take()?;
        self.locks.release(call.head.nodeid, flush.lock_owner)?;
        Ok(Done::Reply)
    }

    /// A process that waits has a signal. Every request but a wait for a lock is answered soon anyway.
    pub(super) fn interrupt(&mut self, call: &mut Call<'_>) -> Outcome {
        let interrupt: InterruptIn = call.args.take()?;
        self.waiters.interrupt(interrupt.unique);
        Ok(Done::Reply)
    }
}

/// Opens a file once more, to carry locks of both kinds where that is possible.
pub(crate) fn open_for_locks(file: &OwnedFd, read_only: bool) -> Result<OwnedFd, Errno> {
    let mut first = Errno::ACCESS;
    let modes = [OFlags::RDWR, OFlags::RDONLY, OFlags::WRONLY];
    for mode in modes.into_iter().filter(|mode| !read_only || *mode == OFlags::RDONLY) {
        match open_held(file, mode) {
            Err(e @ (Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::TXTBSY)) => first = e,
            opened => return opened,
        }
    }
    Err(first)
}
