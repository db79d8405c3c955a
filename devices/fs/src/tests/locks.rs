//! Locks exclude the host, other guests and other owners of the same guest.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::client::{Client, libc_o, read};
use crate::locks::{LockKind, Wish, sys};
use crate::wire::{FlushIn, InterruptIn, LkIn, LkOut, Opcode, ReleaseIn};

const READ: u32 = 0;
const WRITE: u32 = 1;
const UNLOCK: u32 = 2;
const END: u64 = i64::MAX.unsigned_abs();
const FLOCK: u32 = 1;

/// A guest with an open file, and the host's own descriptor of it.
struct Locked {
    client: Client,
    node: u64,
    fh: u64,
    host: File,
    unique: u64,
}

impl Locked {
    fn new() -> Self {
        let mut client = Client::new();
        std::fs::write(client.path("f"), "content").unwrap();
        let share = client.share;
        let node = client.lookup(share, "f").unwrap().nodeid;
        let fh = client.open(node, libc_o::RDWR).unwrap();
        let host = File::options().read(true).write(true).open(client.path("f")).unwrap();
        Self { client, node, fh, host, unique: 100 }
    }

    fn lk(&self, owner: u64, kind: u32, start: u64, end: u64) -> LkIn {
        LkIn { fh: self.fh, owner, start, end, kind, pid: 7, ..LkIn::default() }
    }

    fn set(&mut self, lk: LkIn) -> Result<Option<u64>, Errno> {
        self.client.start(Opcode::Setlk, 1, self.node, lk.as_bytes())
    }

    fn lock(&mut self, owner: u64, kind: u32, start: u64, end: u64) -> Result<Option<u64>, Errno> {
        let lk = self.lk(owner, kind, start, end);
        self.set(lk)
    }

    fn flock(&mut self, fh: u64, kind: u32) -> Result<Option<u64>, Errno> {
        self.set(LkIn { fh, lk_flags: FLOCK, ..self.lk(fh, kind, 0, END) })
    }

    /// Begins to wait for a lock, under a new request number.
    fn wait(&mut self, lk: LkIn) -> Result<Option<u64>, Errno> {
        self.unique += 2;
        self.client.start(Opcode::Setlkw, self.unique, self.node, lk.as_bytes())
    }

    fn test(&mut self, owner: u64, kind: u32, start: u64, end: u64) -> LkOut {
        let lk = self.lk(owner, kind, start, end);
        read(&self.client.call(Opcode::Getlk, self.node, lk.as_bytes()).unwrap())
    }

    fn flush(&mut self, owner: u64) {
        let flush = FlushIn { fh: self.fh, lock_owner: owner, ..FlushIn::default() };
        self.client.call(Opcode::Flush, self.node, flush.as_bytes()).unwrap();
    }

    fn interrupt(&mut self, unique: u64) {
        let interrupt = InterruptIn { unique };
        self.client.call(Opcode::Interrupt, 0, interrupt.as_bytes()).unwrap();
    }

    /// How the next wait ends.
    fn ended(&mut self) -> (u64, Result<(), Errno>) {
        let give_up = Instant::now() + Duration::from_secs(20);
        loop {
            let ended = self.client.server.ended_waits();
            if let [(_, unique, result)] = ended[..] {
                return (unique, result);
            }
            assert!(ended.is_empty() && Instant::now() < give_up, "{ended:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// No wait ends for a while.
    fn still_waits(&mut self) {
        std::thread::sleep(Duration::from_millis(50));
        assert!(self.client.server.ended_waits().is_empty());
    }

    fn host_lock(&self, kind: LockKind, start: u64, end: u64) -> Result<(), Errno> {
        Wish::Range { kind, start, end }.take(self.host.as_fd(), false)
    }

    fn host_flock(&self, kind: LockKind) -> Result<(), Errno> {
        Wish::Flock(kind).take(self.host.as_fd(), false)
    }
}

#[test]
fn ranges_exclude_the_host_both_ways() {
    let mut it = Locked::new();
    assert_eq!(it.lock(1, WRITE, 0, 9), Ok(None));
    assert_eq!(it.host_lock(LockKind::Read, 5, 5), Err(Errno::AGAIN));
    assert_eq!(it.host_lock(LockKind::Write, 10, 19), Ok(()));
    assert_eq!(it.lock(1, READ, 0, 10), Err(Errno::AGAIN));
    assert_eq!(it.lock(1, READ, 0, 9), Ok(None));
    assert_eq!(it.host_lock(LockKind::Read, 0, 9), Ok(()));
    assert_eq!(it.lock(1, WRITE, 0, 9), Err(Errno::AGAIN));
    assert_eq!(it.lock(1, UNLOCK, 0, END), Ok(None));
    assert_eq!(it.host_lock(LockKind::Write, 0, END), Ok(()));
}

#[test]
fn owners_of_one_guest_exclude_each_other() {
    let mut it = Locked::new();
    it.lock(1, WRITE, 0, END).unwrap();
    assert_eq!(it.lock(2, READ, 3, 3), Err(Errno::AGAIN));
    // A hole for the second.
    it.lock(1, UNLOCK, 10, 19).unwrap();
    assert_eq!(it.lock(2, WRITE, 10, 19), Ok(None));
    assert_eq!(it.lock(2, WRITE, 10, 20), Err(Errno::AGAIN));
    // Its own locks change and join.
    assert_eq!(it.lock(1, READ, 0, 9), Ok(None));
    assert_eq!(it.lock(2, READ, 5, 15), Ok(None));
}

#[test]
fn a_test_tells_who_is_in_the_way() {
    let mut it = Locked::new();
    assert_eq!(it.test(1, WRITE, 0, END).kind, UNLOCK);
    it.lock(1, READ, 5, 9).unwrap();
    assert_eq!(it.test(1, WRITE, 0, END).kind, UNLOCK);
    assert_eq!(it.test(2, READ, 0, END).kind, UNLOCK);
    let found = it.test(2, WRITE, 0, END);
    assert_eq!((found.kind, found.start, found.end, found.pid), (READ, 5, 9, 7));
    it.host_lock(LockKind::Write, 100, END).unwrap();
    let found = it.test(2, READ, 50, END);
    assert_eq!((found.kind, found.start, found.end, found.pid), (WRITE, 100, END, 0));
}

#[test]
fn a_close_gives_up_the_owners_locks_and_no_others() {
    let mut it = Locked::new();
    it.lock(1, WRITE, 0, 9).unwrap();
    it.lock(2, WRITE, 10, 19).unwrap();
    it.flush(1);
    assert_eq!(it.host_lock(LockKind::Write, 0, 9), Ok(()));
    assert_eq!(it.host_lock(LockKind::Write, 10, 19), Err(Errno::AGAIN));
    let release = ReleaseIn { fh: it.fh, ..ReleaseIn::default() };
    it.client.call(Opcode::Release, it.node, release.as_bytes()).unwrap();
    assert_eq!(it.host_lock(LockKind::Write, 0, END), Ok(()));
}

#[test]
fn flock_excludes_the_host_and_other_open_files() {
    let mut it = Locked::new();
    let (first, second) = (it.fh, it.client.open(it.node, libc_o::RDONLY).unwrap());
    assert_eq!(it.flock(first, WRITE), Ok(None));
    assert_eq!(it.flock(second, READ), Err(Errno::AGAIN));
    assert_eq!(it.host_flock(LockKind::Read), Err(Errno::AGAIN));
    assert_eq!(it.flock(first, READ), Ok(None));
    assert_eq!(it.flock(second, READ), Ok(None));
    assert_eq!(it.host_flock(LockKind::Read), Ok(()));
    assert_eq!(it.flock(first, WRITE), Err(Errno::AGAIN));
    // Ranges are another kind of lock.
    assert_eq!(it.lock(1, WRITE, 0, END), Ok(None));
}

#[test]
fn the_last_close_gives_up_a_flock() {
    let mut it = Locked::new();
    let second = it.client.open(it.node, libc_o::RDONLY).unwrap();
    it.flock(second, WRITE).unwrap();
    // A process that closes its descriptor does not own the lock.
    it.flush(second);
    assert_eq!(it.host_flock(LockKind::Read), Err(Errno::AGAIN));
    let release = ReleaseIn { fh: second, ..ReleaseIn::default() };
    it.client.call(Opcode::Release, it.node, release.as_bytes()).unwrap();
    assert_eq!(it.host_flock(LockKind::Write), Ok(()));
}

#[test]
fn a_wait_ends_with_the_lock_and_holds_up_nobody() {
    let mut it = Locked::new();
    it.host_lock(LockKind::Write, 0, 9).unwrap();
    let lk = it.lk(1, WRITE, 0, 9);
    assert!(it.wait(lk).unwrap().is_some());
    it.still_waits();
    assert_eq!(it.lock(2, WRITE, 100, 109), Ok(None));
    sys::unlock_range(it.host.as_fd(), 0, 9).unwrap();
    assert_eq!(it.ended(), (it.unique, Ok(())));
    assert_eq!(it.host_lock(LockKind::Read, 0, 0), Err(Errno::AGAIN));
    assert_eq!(it.test(2, READ, 0, 0).pid, 7);
}

#[test]
fn a_wait_for_another_owner_ends_when_that_closes() {
    let mut it = Locked::new();
    it.lock(1, WRITE, 0, END).unwrap();
    let lk = it.lk(2, READ, 0, 0);
    assert!(it.wait(lk).unwrap().is_some());
    it.still_waits();
    it.flush(1);
    assert_eq!(it.ended(), (it.unique, Ok(())));
}

#[test]
fn a_signal_ends_a_wait_and_leaves_nothing() {
    let mut it = Locked::new();
    it.host_lock(LockKind::Write, 0, 9).unwrap();
    it.host_flock(LockKind::Write).unwrap();
    for round in 0..50 {
        let lk = it.lk(1, WRITE, 0, 9);
        let lk = if round % 2 == 0 { lk } else { LkIn { lk_flags: FLOCK, ..lk } };
        assert!(it.wait(lk).unwrap().is_some());
        // At once: its thread may not wait yet.
        it.interrupt(it.unique);
        assert_eq!(it.ended(), (it.unique, Err(Errno::INTR)));
    }
    sys::unlock_range(it.host.as_fd(), 0, 9).unwrap();
    sys::unlock_flock(it.host.as_fd()).unwrap();
    assert_eq!(it.host_lock(LockKind::Write, 0, END), Ok(()));
    assert_eq!(it.client.server.locks.iter().count(), 0);
}

#[test]
fn an_interrupt_may_overtake_its_request() {
    let mut it = Locked::new();
    it.host_lock(LockKind::Write, 0, 9).unwrap();
    it.interrupt(it.unique + 2);
    let lk = it.lk(1, WRITE, 0, 9);
    assert_eq!(it.wait(lk), Err(Errno::INTR));
    assert!(it.wait(lk).unwrap().is_some());
    it.interrupt(it.unique);
    assert_eq!(it.ended().1, Err(Errno::INTR));
}

#[test]
fn a_guest_that_cannot_interrupt_does_not_wait_for_ever() {
    let mut it = Locked::new();
    it.client.server.session.as_mut().unwrap().flags &= !crate::wire::flags::HOST_SHARED;
    it.host_lock(LockKind::Write, 0, 9).unwrap();
    let lk = it.lk(1, WRITE, 0, 9);
    assert!(it.wait(lk).unwrap().is_some());
    let deadline = it.client.server.waiters.deadline().unwrap();
    it.client.server.waiters.expire(deadline);
    assert_eq!(it.ended(), (it.unique, Err(Errno::AGAIN)));
}

#[test]
fn locks_and_waits_are_bounded() {
    let mut it = Locked::new();
    let refused = (0..30_000).find(|n| it.lock(1, WRITE, 2 * n, 2 * n) == Err(Errno::NOLCK));
    assert_eq!(refused, Some(16_384));
    // Unlocking what splits a range is more, unlocking all is less.
    it.lock(1, UNLOCK, 0, END).unwrap();
    let owners = (1..300).take_while(|owner| it.lock(*owner, READ, 0, 0).is_ok()).count();
    assert_eq!(owners, 256 / 8);
    (1..300).for_each(|owner| it.flush(owner));
    it.host_lock(LockKind::Write, 0, 0).unwrap();
    let lk = it.lk(1, WRITE, 0, 0);
    let waits = (0..300).take_while(|_| it.wait(lk).is_ok()).count();
    assert_eq!(waits, 128);
    assert_eq!(it.wait(lk), Err(Errno::NOLCK));
}

#[test]
fn the_end_of_a_session_gives_everything_up() {
    let mut it = Locked::new();
    it.lock(1, WRITE, 0, 9).unwrap();
    it.flock(it.fh, WRITE).unwrap();
    it.host_lock(LockKind::Write, 50, 50).unwrap();
    let lk = it.lk(3, WRITE, 50, 50);
    it.wait(lk).unwrap();
    it.client.call(Opcode::Destroy, 0, &[]).unwrap();
    assert_eq!(it.host_lock(LockKind::Write, 0, END), Ok(()));
    assert_eq!(it.host_flock(LockKind::Write), Ok(()));
}

#[test]
fn a_restored_guest_holds_its_locks() {
    let mut it = Locked::new();
    it.lock(1, WRITE, 0, 9).unwrap();
    it.flock(it.fh, WRITE).unwrap();
    let saved = it.client.server.save();
    it.client.server.end_session();
    assert_eq!(it.host_lock(LockKind::Write, 0, 0), Ok(()));
    sys::unlock_range(it.host.as_fd(), 0, END).unwrap();
    it.client.server.restore(&saved).unwrap();
    assert_eq!(it.host_lock(LockKind::Write, 0, 0), Err(Errno::AGAIN));
    assert_eq!(it.host_flock(LockKind::Read), Err(Errno::AGAIN));
}

#[test]
fn impossible_locks_are_refused() {
    let mut it = Locked::new();
    assert_eq!(it.lock(1, 3, 0, 0), Err(Errno::INVAL));
    assert_eq!(it.lock(1, WRITE, 5, 4), Err(Errno::INVAL));
    assert_eq!(it.lock(1, WRITE, 0, u64::MAX), Err(Errno::INVAL));
    assert_eq!(it.set(LkIn { fh: 999, ..it.lk(1, WRITE, 0, 0) }), Err(Errno::BADF));
    let mut client = Client::read_only();
    std::fs::write(client.path("f"), "").unwrap();
    let node = client.lookup(client.share, "f").unwrap().nodeid;
    let fh = client.open(node, libc_o::RDONLY).unwrap();
    let lk = LkIn { fh, owner: 1, kind: READ, ..LkIn::default() };
    assert_eq!(client.start(Opcode::Setlk, 1, node, lk.as_bytes()), Ok(None));
}
