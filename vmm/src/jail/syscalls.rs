//! Which system calls the threads of a machine make, and with which arguments: one call a line.
//!
//! No table has a call that starts a process, makes a Unix socket that could be connected, or sends a signal to another
//! process. Only the file server's opens a path. `docs/design/jail.md` says why each table is as it is.

use libc::{
    SYS_accept4, SYS_brk, SYS_clock_gettime, SYS_clock_nanosleep, SYS_clone, SYS_clone3, SYS_close,
    SYS_connect, SYS_copy_file_range, SYS_dup3, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait,
    SYS_epoll_pwait2, SYS_eventfd2, SYS_exit, SYS_exit_group, SYS_fallocate, SYS_fchmodat, SYS_fchownat,
    SYS_fcntl, SYS_fdatasync, SYS_flock, SYS_fstat, SYS_fstatfs, SYS_fsync, SYS_ftruncate, SYS_futex,
    SYS_getdents64, SYS_getegid, SYS_geteuid, SYS_getpid, SYS_getrandom, SYS_getsockopt, SYS_gettid,
    SYS_getxattr, SYS_ioctl, SYS_landlock_add_rule, SYS_landlock_create_ruleset, SYS_landlock_restrict_self,
    SYS_lgetxattr, SYS_linkat, SYS_listxattr, SYS_lseek, SYS_madvise, SYS_mkdirat, SYS_mknodat, SYS_mmap,
    SYS_mprotect, SYS_mremap, SYS_munmap, SYS_nanosleep, SYS_newfstatat, SYS_openat, SYS_openat2, SYS_ppoll,
    SYS_prctl, SYS_pread64, SYS_preadv, SYS_pwrite64, SYS_pwritev, SYS_pwritev2, SYS_read, SYS_readlinkat,
    SYS_readv, SYS_recvfrom, SYS_recvmsg, SYS_removexattr, SYS_renameat2, SYS_restart_syscall, SYS_rseq,
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sched_getaffinity, SYS_sched_yield,
    SYS_seccomp, SYS_sendmsg, SYS_sendto, SYS_set_robust_list, SYS_setsockopt, SYS_setxattr, SYS_shutdown,
    SYS_sigaltstack, SYS_socket, SYS_socketpair, SYS_statx, SYS_symlinkat, SYS_tgkill, SYS_umask,
    SYS_unlinkat, SYS_unshare, SYS_utimensat, SYS_write, SYS_writev,
};

use super::rules::{Rule, Values, absent, any, arg, besides, flags, is, when};
use crate::attachments::ThreadKind;
use crate::host::{BIND_REQUESTS, RAISE_REQUESTS, RUN_REQUESTS};

/// PROT_NONE, PROT_READ, and that with PROT_WRITE: never PROT_EXEC.
const DATA: &[u32] = &[0, 1, 3];
/// MAP_PRIVATE | MAP_ANONYMOUS; MAP_SHARED.
const PRIVATE: &[u32] = &[0x22];
const SHARED: &[u32] = &[0x01];
/// MAP_NORESERVE, MAP_STACK: the C library's for heaps and stacks.
const MAP_HINTS: u32 = 0x4000 | 0x2_0000;
/// MADV_DONTNEED; MADV_GUARD_INSTALL and MADV_GUARD_REMOVE, with which newer C libraries guard stacks.
const ADVICE: &[u32] = &[4, 102, 103];
/// MREMAP_MAYMOVE.
const MAY_MOVE: u32 = 1;
/// F_GETFD: debug builds ask whether a descriptor is open before they close it.
const F_GETFD: u32 = 1;
const F_DUPFD_CLOEXEC: u32 = 1030;
/// F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW.
const OFD_LOCKS: &[u32] = &[36, 37, 38];

const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const SOCK_SEQPACKET: u32 = 5;
/// SOCK_NONBLOCK, SOCK_CLOEXEC: what may be said beside a socket's type.
const SOCK_FLAGS: u32 = 0x800 | 0x8_0000;
const IPPROTO_ICMP: u32 = 1;
const IPPROTO_ICMPV6: u32 = 58;

const SOL_SOCKET: u32 = 1;
const SOL_TCP: u32 = 6;
const SOL_UDP: u32 = 17;
const SO_TYPE: u32 = 3;
const SO_ERROR: u32 = 4;
const SO_SNDBUF: u32 = 7;
const SO_LINGER: u32 = 13;
const SO_DOMAIN: u32 = 39;
const SO_PEEK_OFF: u32 = 42;
const TCP_NODELAY: u32 = 1;
const UDP_GRO: u32 = 104;

/// MSG_DONTWAIT, MSG_NOSIGNAL. No MSG_OOB, which nothing here uses and the kernel had faults with.
const SENDING: u32 = 0x40 | 0x4000;
/// MSG_PEEK, MSG_TRUNC, MSG_DONTWAIT, MSG_WAITALL, MSG_CMSG_CLOEXEC.
const RECEIVING: u32 = 0x02 | 0x20 | 0x40 | 0x100 | 0x4000_0000;

/// CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, PARENT_SETTID, CHILD_CLEARTID: what pthread_create(3) says, no
/// more and no less. A process of its own lacks CLONE_THREAD; a namespace has a bit beyond.
const THREAD: u32 = 0x3d_0f00;
const CLONE_FS: u32 = 0x200;
const PR_SET_NAME: u32 = 15;
const PR_SET_NO_NEW_PRIVS: u32 = 38;
const SECCOMP_SET_MODE_FILTER: u32 = 1;

const S_IFMT: u32 = 0o17_0000;
/// S_IFREG, S_IFIFO, S_IFSOCK: no devices.
const NODES: &[u32] = &[0o10_0000, 0o1_0000, 0o14_0000];

/// How much a socket has not sent yet.
const TIOCOUTQ: u32 = 0x5411;
/// Which offloads a tap interface has.
const TUNSETOFFLOAD: u32 = 0x4004_54d0;

/// Memory, locks, time, events, descriptors that are open, the thread's end.
pub(super) const EVERY_THREAD: &[Rule] = &[
    any(SYS_brk),
    any(SYS_clock_gettime),
    any(SYS_clock_nanosleep),
    any(SYS_close),
    any(SYS_exit),
    any(SYS_exit_group),
    when(SYS_fcntl, &[arg(1, &[F_GETFD, F_DUPFD_CLOEXEC])]),
    any(SYS_futex),
    any(SYS_getpid),
    any(SYS_getrandom),
    any(SYS_gettid),
    when(SYS_madvise, &[arg(2, ADVICE)]),
    when(SYS_mmap, &[arg(2, DATA), besides(3, MAP_HINTS, PRIVATE)]),
    when(SYS_mprotect, &[arg(2, DATA)]),
    when(SYS_mremap, &[flags(3, MAY_MOVE)]),
    any(SYS_munmap),
    any(SYS_nanosleep),
    any(SYS_read),
    any(SYS_restart_syscall),
    any(SYS_rt_sigprocmask),
    any(SYS_rt_sigreturn),
    any(SYS_sched_yield),
    any(SYS_sigaltstack),
    any(SYS_write),
    any(SYS_writev),
];

/// Starting and confining other threads.
pub(super) const STARTER: &[Rule] = &[
    when(SYS_clone, &[arg(0, &[THREAD])]),
    // Its flags lie in memory, where no filter sees them. The C library goes on with `clone`.
    absent(SYS_clone3),
    any(SYS_epoll_create1),
    any(SYS_epoll_ctl),
    any(SYS_eventfd2),
    any(SYS_ppoll),
    when(SYS_prctl, &[arg(0, &[PR_SET_NAME, PR_SET_NO_NEW_PRIVS])]),
    any(SYS_rseq),
    any(SYS_rt_sigaction),
    any(SYS_sched_getaffinity),
    when(SYS_seccomp, &[arg(0, &[SECCOMP_SET_MODE_FILTER]), flags(1, 0)]),
    any(SYS_set_robust_list),
];

/// What the main thread of a machine does itself: it kicks vCPUs, watches the lifeline and serves the control channel, whose
/// requests may have descriptors attached. Replies have none. A vCPU's thread sets its registers before it installs its own filter.
pub(super) const MACHINE: &[Rule] = &[
    when(SYS_ioctl, &[is(1, Values::Requests(BIND_REQUESTS))]),
    when(SYS_recvfrom, &[flags(3, RECEIVING)]),
    when(SYS_recvmsg, &[flags(2, RECEIVING)]),
    when(SYS_sendto, &[flags(3, SENDING)]),
    when(SYS_tgkill, &[is(0, Values::ThisProcess), is(2, Values::Kick)]),
];

/// What the main thread of a vhost-user server does itself: it takes front ends, and maps their guests' memory.
pub(super) const VHOST_USER: &[Rule] = &[
    any(SYS_accept4),
    any(SYS_fstat),
    when(SYS_mmap, &[arg(2, DATA), besides(3, MAP_HINTS, SHARED)]),
    when(SYS_recvfrom, &[flags(3, RECEIVING)]),
    when(SYS_recvmsg, &[flags(2, RECEIVING)]),
    when(SYS_sendmsg, &[flags(2, SENDING)]),
    when(SYS_sendto, &[flags(3, SENDING)]),
];

/// What the broker of a socket device does, a process of its own outside the machine's: it is the only one that connects to
/// Unix sockets.
pub(super) const BROKER: &[Rule] = &[
    any(SYS_accept4),
    any(SYS_connect),
    any(SYS_epoll_ctl),
    any(SYS_epoll_pwait),
    any(SYS_epoll_pwait2),
    any(SYS_ppoll),
    when(SYS_recvfrom, &[flags(3, RECEIVING)]),
    when(SYS_recvmsg, &[flags(2, RECEIVING)]),
    when(SYS_sendmsg, &[flags(2, SENDING)]),
    when(SYS_sendto, &[flags(3, SENDING)]),
    when(SYS_socket, &[arg(0, &[AF_UNIX]), besides(1, SOCK_FLAGS, &[SOCK_STREAM]), arg(2, &[0])]),
    any(SYS_unlinkat),
];

/// Confining a file server's thread once more; whether a root is a directory decides its rights.
pub(super) const LANDLOCK: &[Rule] = &[
    any(SYS_fstat),
    any(SYS_landlock_add_rule),
    any(SYS_landlock_create_ruleset),
    any(SYS_landlock_restrict_self),
    any(SYS_newfstatat),
];

/// Interrupting the guest: from a device's own thread, and from a vCPU's where a register or a port has something to say.
const RAISE: &[Rule] = &[when(SYS_ioctl, &[is(1, Values::Requests(RAISE_REQUESTS))])];

/// Running the guest.
const VCPU: &[Rule] = &[when(SYS_ioctl, &[is(1, Values::Requests(RUN_REQUESTS))])];

/// A worker's loop.
const WORKER: &[Rule] = &[
    any(SYS_epoll_create1),
    any(SYS_epoll_ctl),
    any(SYS_epoll_pwait),
    any(SYS_epoll_pwait2),
    any(SYS_ppoll),
];

/// Reading, writing and shaping disks.
const BLOCK: &[Rule] = &[
    any(SYS_fallocate),
    any(SYS_fdatasync),
    any(SYS_fsync),
    any(SYS_pread64),
    any(SYS_preadv),
    any(SYS_pwrite64),
    any(SYS_pwritev),
];

/// A connection for each of the guest's: made as a pair, one end of which is handed over. A pair is connected for good, so
/// neither end can be connected to anything else.
const VSOCK: &[Rule] = &[
    when(SYS_getsockopt, &[arg(1, &[SOL_SOCKET]), arg(2, &[SO_ERROR])]),
    any(SYS_readv),
    when(SYS_recvfrom, &[flags(3, RECEIVING)]),
    when(SYS_recvmsg, &[flags(2, RECEIVING)]),
    when(SYS_sendmsg, &[flags(2, SENDING)]),
    when(SYS_sendto, &[flags(3, SENDING)]),
    when(SYS_setsockopt, &[arg(1, &[SOL_SOCKET]), arg(2, &[SO_LINGER])]),
    any(SYS_shutdown),
    PAIR,
];

const PAIR: Rule =
    when(SYS_socketpair, &[arg(0, &[AF_UNIX]), besides(1, SOCK_FLAGS, &[SOCK_STREAM]), arg(2, &[0])]);

/// Sockets of the Internet: TCP, UDP and ping. They are bound before the jail is entered.
const INTERNET: &[Rule] = &[
    any(SYS_accept4),
    any(SYS_connect),
    when(SYS_getsockopt, &[arg(1, &[SOL_SOCKET]), arg(2, &[SO_TYPE, SO_ERROR, SO_SNDBUF, SO_DOMAIN])]),
    when(SYS_recvfrom, &[flags(3, RECEIVING)]),
    when(SYS_recvmsg, &[flags(2, RECEIVING)]),
    when(SYS_sendmsg, &[flags(2, SENDING)]),
    when(SYS_sendto, &[flags(3, SENDING)]),
    when(SYS_setsockopt, &[arg(1, &[SOL_SOCKET]), arg(2, &[SO_LINGER, SO_PEEK_OFF])]),
    when(SYS_setsockopt, &[arg(1, &[SOL_TCP]), arg(2, &[TCP_NODELAY])]),
    when(SYS_setsockopt, &[arg(1, &[SOL_UDP]), arg(2, &[UDP_GRO])]),
    any(SYS_shutdown),
    when(
        SYS_socket,
        &[arg(0, &[AF_INET, AF_INET6]), besides(1, SOCK_FLAGS, &[SOCK_STREAM, SOCK_DGRAM]), arg(2, &[0])],
    ),
    when(SYS_socket, &[arg(0, &[AF_INET]), besides(1, SOCK_FLAGS, &[SOCK_DGRAM]), arg(2, &[IPPROTO_ICMP])]),
    when(
        SYS_socket,
        &[arg(0, &[AF_INET6]), besides(1, SOCK_FLAGS, &[SOCK_DGRAM]), arg(2, &[IPPROTO_ICMPV6])],
    ),
    // The name server's answers over TCP, and connections and flows of datagrams to other members of a group. A pair of
    // either kind is connected for good.
    when(
        SYS_socketpair,
        &[arg(0, &[AF_UNIX]), besides(1, SOCK_FLAGS, &[SOCK_STREAM, SOCK_SEQPACKET]), arg(2, &[0])],
    ),
    // Beginning the file of receipts anew.
    any(SYS_ftruncate),
];

const NAT: &[Rule] = &[when(SYS_ioctl, &[arg(1, &[TIOCOUTQ])])];

const CONSOLE: &[Rule] = &[any(SYS_readv)];

/// Frames of a tap interface.
const TAP: &[Rule] = &[any(SYS_readv), when(SYS_ioctl, &[arg(1, &[TUNSETOFFLOAD])])];

/// Frames of a stream socket.
const PASST: &[Rule] = &[
    when(SYS_recvfrom, &[flags(3, RECEIVING)]),
    when(SYS_sendmsg, &[flags(2, SENDING)]),
    when(SYS_sendto, &[flags(3, SENDING)]),
];

/// Files beneath the shares, and `/proc/self/fd` to open again what is held already. Landlock decides about the paths.
const FS: &[Rule] = &[
    any(SYS_copy_file_range),
    any(SYS_fallocate),
    any(SYS_fchmodat),
    any(SYS_fchownat),
    any(SYS_fdatasync),
    any(SYS_fstatfs),
    any(SYS_fsync),
    any(SYS_ftruncate),
    any(SYS_getdents64),
    any(SYS_getegid),
    any(SYS_geteuid),
    any(SYS_getxattr),
    any(SYS_lgetxattr),
    any(SYS_linkat),
    any(SYS_listxattr),
    any(SYS_lseek),
    any(SYS_mkdirat),
    when(SYS_mknodat, &[besides(2, !S_IFMT, NODES)]),
    any(SYS_openat),
    any(SYS_openat2),
    any(SYS_preadv),
    any(SYS_pwritev),
    any(SYS_pwritev2),
    any(SYS_readlinkat),
    any(SYS_removexattr),
    any(SYS_renameat2),
    any(SYS_setxattr),
    any(SYS_statx),
    any(SYS_symlinkat),
    any(SYS_umask),
    any(SYS_unlinkat),
    // A umask of the thread's own.
    when(SYS_unshare, &[arg(0, &[CLONE_FS])]),
    any(SYS_utimensat),
];

/// Locks of files beneath the shares. Each is waited for by a thread that the file server's thread starts; to end the
/// wait, the descriptor is replaced and the thread gets a signal.
const LOCKS: &[Rule] = &[
    when(SYS_clone, &[arg(0, &[THREAD])]),
    absent(SYS_clone3),
    any(SYS_dup3),
    when(SYS_fcntl, &[arg(1, OFD_LOCKS)]),
    any(SYS_flock),
    any(SYS_rseq),
    any(SYS_sched_getaffinity),
    any(SYS_set_robust_list),
    when(SYS_tgkill, &[is(0, Values::ThisProcess), is(2, Values::EndOfWait)]),
];

/// Pages leave RAM that is shared with a server of another process by MADV_REMOVE; other RAM by [`ADVICE`].
const BALLOON: &[Rule] = &[when(SYS_madvise, &[arg(2, &[9])])];

/// What a thread of `kind` does beyond [`EVERY_THREAD`].
pub(super) fn of(kind: ThreadKind) -> &'static [&'static [Rule]] {
    match kind {
        ThreadKind::Vcpu => &[VCPU, RAISE],
        ThreadKind::Vsock => &[RAISE, WORKER, VSOCK],
        ThreadKind::Tsi => &[RAISE, WORKER, VSOCK, INTERNET],
        ThreadKind::Block => &[RAISE, WORKER, BLOCK],
        ThreadKind::Fs => &[RAISE, WORKER, FS, LOCKS],
        ThreadKind::Console => &[RAISE, WORKER, CONSOLE],
        ThreadKind::Rng => &[RAISE, WORKER],
        ThreadKind::Balloon => &[RAISE, WORKER, BALLOON],
        ThreadKind::Nat => &[RAISE, NAT, WORKER, INTERNET],
        ThreadKind::Tap => &[RAISE, TAP, WORKER],
        ThreadKind::Passt => &[RAISE, WORKER, PASST],
    }
}
