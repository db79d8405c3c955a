//! Which system calls the threads of a machine make. No list holds `execve` or `ptrace`, only those of `nat` and `tsi` hold `socket` for the Internet,
//! and only the file server's holds ways to open a path.

use libc::{
    SYS_accept4, SYS_brk, SYS_clock_gettime, SYS_clock_nanosleep, SYS_clone, SYS_clone3, SYS_close,
    SYS_connect, SYS_copy_file_range, SYS_dup, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait,
    SYS_epoll_pwait2, SYS_eventfd2, SYS_exit, SYS_exit_group, SYS_fallocate, SYS_fchmodat, SYS_fchownat,
    SYS_fcntl, SYS_fdatasync, SYS_fstat, SYS_fstatfs, SYS_fsync, SYS_ftruncate, SYS_futex, SYS_getdents64,
    SYS_getegid, SYS_geteuid, SYS_getpid, SYS_getrandom, SYS_getsockname, SYS_getsockopt, SYS_gettid,
    SYS_getxattr, SYS_landlock_add_rule, SYS_landlock_create_ruleset, SYS_landlock_restrict_self,
    SYS_lgetxattr, SYS_linkat, SYS_listxattr, SYS_lseek, SYS_madvise, SYS_mkdirat, SYS_mknodat, SYS_mmap,
    SYS_mprotect, SYS_mremap, SYS_munmap, SYS_nanosleep, SYS_newfstatat, SYS_openat, SYS_openat2, SYS_ppoll,
    SYS_prctl, SYS_pread64, SYS_preadv, SYS_pwrite64, SYS_pwritev, SYS_pwritev2, SYS_read, SYS_readlinkat,
    SYS_readv, SYS_recvfrom, SYS_recvmsg, SYS_removexattr, SYS_renameat2, SYS_restart_syscall, SYS_rseq,
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sched_getaffinity, SYS_sched_yield,
    SYS_seccomp, SYS_sendmsg, SYS_sendto, SYS_set_robust_list, SYS_setsockopt, SYS_setxattr, SYS_shutdown,
    SYS_sigaltstack, SYS_socketpair, SYS_statx, SYS_symlinkat, SYS_tgkill, SYS_umask, SYS_unlinkat,
    SYS_utimensat, SYS_write, SYS_writev,
};

use crate::attachments::ThreadKind;

/// Memory, locks, time, events, descriptors that are open, the thread's end.
pub(super) const EVERY_THREAD: &[i64] = &[
    SYS_brk,
    SYS_clock_gettime,
    SYS_clock_nanosleep,
    SYS_close,
    SYS_exit,
    SYS_exit_group,
    // Debug builds ask whether a descriptor is open before they close it.
    SYS_fcntl,
    SYS_futex,
    SYS_getpid,
    SYS_getrandom,
    SYS_gettid,
    SYS_madvise,
    SYS_mmap,
    SYS_mprotect,
    SYS_mremap,
    SYS_munmap,
    SYS_nanosleep,
    SYS_read,
    SYS_restart_syscall,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sched_yield,
    SYS_sigaltstack,
    SYS_write,
    SYS_writev,
];

/// Starting, confining, kicking and waiting for the other threads; the lifeline.
pub(super) const MAIN: &[i64] = &[
    SYS_clone,
    SYS_clone3,
    SYS_dup,
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_eventfd2,
    SYS_ppoll,
    SYS_prctl,
    SYS_recvfrom,
    SYS_rseq,
    SYS_rt_sigaction,
    SYS_sched_getaffinity,
    SYS_seccomp,
    SYS_sendto,
    SYS_set_robust_list,
    SYS_tgkill,
];

/// Confining a file server's thread once more; whether a root is a directory decides its rights.
pub(super) const LANDLOCK: &[i64] = &[
    SYS_fstat,
    SYS_landlock_add_rule,
    SYS_landlock_create_ruleset,
    SYS_landlock_restrict_self,
    SYS_newfstatat,
];

/// A worker's loop.
const WORKER: &[i64] = &[SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_ppoll];

/// Reading, writing and shaping disks.
const BLOCK: &[i64] =
    &[SYS_fallocate, SYS_fdatasync, SYS_fsync, SYS_pread64, SYS_preadv, SYS_pwrite64, SYS_pwritev];

/// Sockets of this host: made in pairs, accepted, connected by path, handed over. `socket` itself has a condition.
const VSOCK: &[i64] = &[
    SYS_accept4,
    SYS_connect,
    SYS_getsockname,
    SYS_getsockopt,
    SYS_readv,
    SYS_recvfrom,
    SYS_recvmsg,
    SYS_sendmsg,
    SYS_sendto,
    SYS_setsockopt,
    SYS_shutdown,
    SYS_socketpair,
];

/// Bytes of sockets that are open, and their end: what a socket device's packets ask of a vCPU's thread.
const STREAMS: &[i64] = &[SYS_epoll_ctl, SYS_recvmsg, SYS_sendmsg, SYS_sendto, SYS_setsockopt, SYS_shutdown];

const CONSOLE: &[i64] = &[SYS_readv];

/// Sockets of the Internet. They are bound before the jail is entered; `socket` and `ioctl` have conditions.
const NAT: &[i64] = &[
    SYS_accept4,
    SYS_connect,
    SYS_getsockname,
    SYS_getsockopt,
    SYS_recvfrom,
    SYS_recvmsg,
    SYS_sendmsg,
    SYS_sendto,
    SYS_setsockopt,
    SYS_shutdown,
    SYS_socketpair,
];

/// Beginning the file of receipts anew.
const RECEIPTS: &[i64] = &[SYS_ftruncate];

/// Frames of a tap interface; `ioctl` has a condition.
const TAP: &[i64] = &[SYS_readv];

/// Frames of a stream socket.
const PASST: &[i64] = &[SYS_recvfrom, SYS_sendmsg, SYS_sendto];

/// Files beneath the shares, and `/proc/self/fd` to open again what is held already.
const FS: &[i64] = &[
    SYS_copy_file_range,
    SYS_fallocate,
    SYS_fchmodat,
    SYS_fchownat,
    SYS_fdatasync,
    SYS_fstatfs,
    SYS_fsync,
    SYS_ftruncate,
    SYS_getdents64,
    SYS_getegid,
    SYS_geteuid,
    SYS_getxattr,
    SYS_lgetxattr,
    SYS_linkat,
    SYS_listxattr,
    SYS_lseek,
    SYS_mkdirat,
    SYS_mknodat,
    SYS_openat,
    SYS_openat2,
    SYS_preadv,
    SYS_pwritev,
    SYS_pwritev2,
    SYS_readlinkat,
    SYS_removexattr,
    SYS_renameat2,
    SYS_setxattr,
    SYS_statx,
    SYS_symlinkat,
    SYS_umask,
    SYS_unlinkat,
    SYS_utimensat,
];

/// What a thread of `kind` does beyond [`EVERY_THREAD`], but for calls allowed with a condition only.
pub(super) fn of(kind: ThreadKind) -> &'static [&'static [i64]] {
    match kind {
        ThreadKind::Vcpu => &[STREAMS],
        ThreadKind::Vsock => &[WORKER, VSOCK],
        // What sockets may be made and connected differs.
        ThreadKind::Tsi => &[WORKER, VSOCK, RECEIPTS],
        ThreadKind::Block => &[WORKER, BLOCK],
        ThreadKind::Fs => &[WORKER, FS],
        ThreadKind::Console => &[WORKER, CONSOLE],
        ThreadKind::Rng => &[WORKER],
        ThreadKind::Nat => &[WORKER, NAT, RECEIPTS],
        ThreadKind::Tap => &[WORKER, TAP],
        ThreadKind::Passt => &[WORKER, PASST],
    }
}
