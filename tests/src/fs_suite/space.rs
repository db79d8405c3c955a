//! Allocation, limits, and what a file system says of itself.

use rustix::fs::{FallocateFlags, OFlags, fallocate, fstat, fstatvfs, statvfs};
use rustix::io::{Errno, pread, pwrite};

use super::Checks;

pub(super) fn run(checks: &mut Checks) {
    let opened = checks.open("f", OFlags::CREATE | OFlags::RDWR, 0o644);
    let Some(file) = checks.works("open", opened) else { return };
    let size = || fstat(&file).map(|stat| stat.st_size);
    checks.works("allocate", fallocate(&file, FallocateFlags::empty(), 0, 65536));
    checks.equal("size follows", size(), Ok(65536));
    checks.holds("blocks are there", fstat(&file).is_ok_and(|stat| stat.st_blocks >= 128));
    checks.works("allocate behind the end", fallocate(&file, FallocateFlags::KEEP_SIZE, 65536, 65536));
    checks.equal("size stays", size(), Ok(65536));
    checks.equal("write", pwrite(&file, &[7; 65536], 0), Ok(65536));
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    checks.works("punch a hole", fallocate(&file, punch, 4096, 8192));
    let mut bytes = vec![1; 65536];
    checks.equal("read", pread(&file, &mut bytes, 0), Ok(65536));
    checks.holds("the hole reads as zeroes", bytes[4096..12288].iter().all(|byte| *byte == 0));
    checks.holds("and nothing else does", bytes[..4096].iter().chain(&bytes[12288..]).all(|byte| *byte == 7));
    checks.fails(
        "a hole without KEEP_SIZE",
        fallocate(&file, FallocateFlags::PUNCH_HOLE, 0, 1),
        Errno::OPNOTSUPP,
    );
    checks.fails("allocate nothing", fallocate(&file, FallocateFlags::empty(), 0, 0), Errno::INVAL);

    let by_path = statvfs(&checks.path);
    let by_file = fstatvfs(&file);
    checks.holds("statvfs", by_path.as_ref().is_ok_and(|stat| stat.f_blocks > 0 && stat.f_bsize > 0));
    checks
        .holds("free is no more than all", by_path.as_ref().is_ok_and(|stat| stat.f_bavail <= stat.f_blocks));
    checks.equal("names", by_path.as_ref().ok().map(|stat| stat.f_namemax), Some(255));
    checks.equal("one file system", by_file.map(|stat| stat.f_blocks), by_path.map(|stat| stat.f_blocks));

    let ioctl = rustix::termios::tcgetwinsize(&file);
    checks.fails("no terminal", ioctl, Errno::NOTTY);
    let locked = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    checks.works("lock", locked);
    let opened = checks.open("f", OFlags::RDWR, 0);
    if let Some(other) = checks.works("open again", opened) {
        let locked = rustix::fs::flock(&other, rustix::fs::FlockOperation::NonBlockingLockExclusive);
        checks.fails("lock against the lock", locked, Errno::WOULDBLOCK);
        checks.works("unlock", rustix::fs::flock(&file, rustix::fs::FlockOperation::Unlock));
        let locked = rustix::fs::flock(&other, rustix::fs::FlockOperation::NonBlockingLockExclusive);
        checks.works("lock after it", locked);
    }
}
