//! What nobody inside a jail may do, one act a line.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use libc::*;

use super::sys::{call, page};

/// What the acts find around them.
pub(crate) struct Ground {
    /// The process that started this one, which is not jailed.
    pub(crate) outside: i32,
    /// A file outside every share, and a listening socket.
    pub(crate) file: std::ffi::CString,
    pub(crate) folder: std::ffi::CString,
    /// Nothing is there yet, outside every share.
    pub(crate) fresh: std::ffi::CString,
    pub(crate) socket: PathBuf,
    pub(crate) abstract_name: String,
    /// A connected pair of stream sockets, a connected TCP socket's end, and an open file.
    pub(crate) pair: (OwnedFd, OwnedFd),
    pub(crate) tcp: OwnedFd,
    pub(crate) open: OwnedFd,
}

/// One forbidden act.
pub(crate) struct Act {
    pub(crate) name: &'static str,
    /// What the act's call returns, an error's number negative.
    pub(crate) attempt: fn(&Ground) -> i64,
    /// Errors by which the act may fail instead of ending the process.
    pub(crate) refusals: &'static [i32],
    /// Without a jail, root succeeds with it: so the test would notice.
    pub(crate) succeeds_outside: bool,
}

impl Act {
    const fn may_fail(self, refusals: &'static [i32]) -> Self {
        Self { refusals, ..self }
    }

    const fn works_outside(self) -> Self {
        Self { succeeds_outside: true, ..self }
    }
}

const fn act(name: &'static str, attempt: fn(&Ground) -> i64) -> Act {
    Act { name, attempt, refusals: &[], succeeds_outside: false }
}

/// The call with these arguments.
macro_rules! does {
    ($number:expr $(, $argument:expr)*) => {
        |_ground| call($number, &[$(&$argument),*])
    };
}

/// The same, with something of the ground.
macro_rules! does_with {
    ($ground:ident, $number:expr $(, $argument:expr)*) => {
        |$ground| call($number, &[$(&$argument),*])
    };
}

const O_PLAIN: i32 = O_RDONLY | O_CLOEXEC;
const THREAD: i32 = 0x3d_0f00;
const AF_KEY: i32 = 15;
const TIOCSTI: u32 = 0x5412;
const FIOASYNC: u32 = 0x5452;

/// Socket addresses as the kernel reads them.
fn unix_address(name: &[u8]) -> Vec<u8> {
    let mut address = vec![1, 0];
    address.extend(name);
    address.resize(110, 0);
    address
}

fn connect_unix(kind: i32, name: &[u8], len: usize) -> i64 {
    let socket = call(SYS_socket, &[&AF_UNIX, &kind, &0]);
    if socket < 0 {
        return socket;
    }
    call(SYS_connect, &[&socket, &&unix_address(name)[..], &len])
}

fn connect_path(ground: &Ground, kind: i32) -> i64 {
    connect_unix(kind, ground.socket.as_os_str().as_encoded_bytes(), 110)
}

/// An end of a pair of `kind` that is connected elsewhere.
fn connect_pair(ground: &Ground, kind: i32) -> i64 {
    let mut pair = [0_u8; 8];
    let made = call(SYS_socketpair, &[&AF_UNIX, &kind, &0, &(pair.as_mut_ptr() as usize)]);
    if made < 0 {
        return made;
    }
    let end = i32::from_ne_bytes([pair[0], pair[1], pair[2], pair[3]]);
    let address = unix_address(ground.socket.as_os_str().as_encoded_bytes());
    call(SYS_connect, &[&end, &&address[..], &110])
}

/// Another process: none is made, none is touched.
pub(crate) const PROCESSES: &[Act] = &[
    act("fork", does!(SYS_fork)).works_outside(),
    act("vfork as clone", does!(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0)),
    act("clone a process", does!(SYS_clone, SIGCHLD)).works_outside(),
    act("clone into a user namespace", does!(SYS_clone, CLONE_NEWUSER | SIGCHLD)).works_outside(),
    act("clone into a network namespace", does!(SYS_clone, CLONE_NEWUSER | CLONE_NEWNET | SIGCHLD))
        .works_outside(),
    act("clone into a mount namespace", does!(SYS_clone, CLONE_NEWNS | SIGCHLD)).works_outside(),
    act("clone with the parent's parent", does!(SYS_clone, CLONE_PARENT | SIGCHLD)).works_outside(),
    act("a thread with a namespace", does!(SYS_clone, THREAD | CLONE_NEWIPC, page())),
    act("a thread that nobody traces", does!(SYS_clone, THREAD | CLONE_UNTRACED, page())),
    act("clone3", does!(SYS_clone3, page(), 88)).may_fail(&[ENOSYS]).works_outside(),
    act("execve", does!(SYS_execve, c"/bin/true", 0, 0)),
    act("execveat", does!(SYS_execveat, AT_FDCWD, c"/bin/true", 0, 0, 0)),
    act("execveat a descriptor", does_with!(ground, SYS_execveat, &ground.open, c"", 0, 0, AT_EMPTY_PATH)),
    act("unshare a user namespace", does!(SYS_unshare, CLONE_NEWUSER)).works_outside(),
    act("unshare a network namespace", does!(SYS_unshare, CLONE_NEWNET)).works_outside(),
    act("unshare files", does!(SYS_unshare, CLONE_FILES)).works_outside(),
    act("setns", does_with!(ground, SYS_setns, &ground.open, 0)),
    act("kill", does_with!(ground, SYS_kill, ground.outside, SIGURG)).works_outside(),
    act("kill itself", does!(SYS_kill, std::process::id(), SIGURG)).works_outside(),
    act("kill a group", does!(SYS_kill, 0, 0)).works_outside(),
    act("tkill", does_with!(ground, SYS_tkill, ground.outside, SIGURG)).works_outside(),
    act("tgkill", does_with!(ground, SYS_tgkill, ground.outside, ground.outside, SIGURG)).works_outside(),
    act("tgkill with the kick", does_with!(ground, SYS_tgkill, ground.outside, ground.outside, SIGRTMIN())),
    act("tgkill itself", does!(SYS_tgkill, std::process::id(), std::process::id(), SIGURG)),
    act("sigqueue", does_with!(ground, SYS_rt_sigqueueinfo, ground.outside, SIGURG, page())),
    act(
        "sigqueue a thread",
        does_with!(ground, SYS_rt_tgsigqueueinfo, ground.outside, ground.outside, SIGURG, page()),
    ),
    act("pidfd_open", does_with!(ground, SYS_pidfd_open, ground.outside, 0)).works_outside(),
    act("pidfd_send_signal", does_with!(ground, SYS_pidfd_send_signal, &ground.open, SIGURG, 0, 0)),
    act("pidfd_getfd", does_with!(ground, SYS_pidfd_getfd, &ground.open, 0, 0)),
    act("ptrace", does_with!(ground, SYS_ptrace, PTRACE_SEIZE, ground.outside, 0, 0)),
    act("be traced", does!(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0)),
    act(
        "process_vm_readv",
        does_with!(ground, SYS_process_vm_readv, ground.outside, page(), 1, page(), 1, 0),
    ),
    act(
        "process_vm_writev",
        does_with!(ground, SYS_process_vm_writev, ground.outside, page(), 1, page(), 1, 0),
    ),
    act("process_madvise", does_with!(ground, SYS_process_madvise, &ground.open, page(), 1, 4, 0)),
    act("kcmp", does_with!(ground, SYS_kcmp, ground.outside, ground.outside, 0, 0, 0)),
    act("another's limits", does_with!(ground, SYS_prlimit64, ground.outside, RLIMIT_CORE, 0, page())),
    act("another's CPUs", does_with!(ground, SYS_sched_setaffinity, ground.outside, 8, page())),
    act("another's scheduler", does_with!(ground, SYS_sched_setscheduler, ground.outside, 0, page()))
        .works_outside(),
    act("another's priority", does_with!(ground, SYS_setpriority, PRIO_PROCESS, ground.outside, 0))
        .works_outside(),
    act("another's I/O priority", does_with!(ground, SYS_ioprio_set, 1, ground.outside, 0)).works_outside(),
    act("another's group", does_with!(ground, SYS_setpgid, ground.outside, 0)),
    act("setsid", does!(SYS_setsid)),
    act("wait", does!(SYS_wait4, -1, 0, 1, 0)),
];

/// What a process is, and what it may.
pub(crate) const RIGHTS: &[Act] = &[
    act("setuid", does!(SYS_setuid, 0)).works_outside(),
    act("setgid", does!(SYS_setgid, 0)).works_outside(),
    act("setresuid", does!(SYS_setresuid, 0, 0, 0)).works_outside(),
    act("setgroups", does!(SYS_setgroups, 0, 0)).works_outside(),
    act("capset", does!(SYS_capset, page(), page())),
    act("setrlimit", does!(SYS_setrlimit, RLIMIT_NOFILE, page())).works_outside(),
    act("personality", does!(SYS_personality, 0x40_0000)).works_outside(),
    act("prctl: dumpable", does!(SYS_prctl, PR_SET_DUMPABLE, 1)).works_outside(),
    act("prctl: a signal at the parent's end", does!(SYS_prctl, PR_SET_PDEATHSIG, SIGURG)).works_outside(),
    act("prctl: keep capabilities", does!(SYS_prctl, PR_SET_KEEPCAPS, 1)).works_outside(),
    act("prctl: secure bits", does!(SYS_prctl, PR_SET_SECUREBITS, 0)).works_outside(),
    act("prctl: ambient capabilities", does!(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
        .works_outside(),
    act("prctl: a tracer", does!(SYS_prctl, 0x5961_6d61, -1, 0, 0, 0)),
    act("prctl: adopt orphans", does!(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1)).works_outside(),
    act("prctl: the memory map", does!(SYS_prctl, PR_SET_MM, 1, 0, 0, 0)),
    act("prctl: strict seccomp", does!(SYS_prctl, PR_SET_SECCOMP, 7, 0, 0, 0)),
    act("a filter's listener", does!(SYS_seccomp, 1, 8, page())),
    act("seccomp's actions", does!(SYS_seccomp, 2, 0, page())),
    act("arch_prctl", does!(SYS_arch_prctl, 0x1003, page())),
    act("modify_ldt", does!(SYS_modify_ldt, 0, page(), 16)),
    act("iopl", does!(SYS_iopl, 0)),
    act("ioperm", does!(SYS_ioperm, 0x80, 1, 0)),
    act("set_thread_area", does!(SYS_set_thread_area, page())),
];

/// Sockets.
pub(crate) const SOCKETS: &[Act] = &[
    act("connect to a Unix socket by path", |ground| connect_path(ground, SOCK_STREAM)).works_outside(),
    act("connect to an abstract Unix socket", |ground| {
        let name = [b"\0", ground.abstract_name.as_bytes()].concat();
        connect_unix(SOCK_STREAM, &name, 2 + name.len())
    })
    .may_fail(&[EPERM])
    .works_outside(),
    act("a Unix socket of datagrams", |ground| connect_path(ground, SOCK_DGRAM)),
    act("a Unix socket of packets", |ground| connect_path(ground, SOCK_SEQPACKET)),
    act("connect an end of a pair", |ground| connect_pair(ground, SOCK_STREAM)).may_fail(&[EISCONN]),
    act("connect an end of a pair of datagrams", |ground| connect_pair(ground, SOCK_DGRAM)),
    act("connect an end of a pair of packets", |ground| connect_pair(ground, SOCK_SEQPACKET))
        .may_fail(&[EISCONN, EPROTOTYPE]),
    act("connect an open stream elsewhere", |ground| {
        let address = unix_address(ground.socket.as_os_str().as_encoded_bytes());
        call(SYS_connect, &[&&ground.pair.0, &&address[..], &110])
    })
    .may_fail(&[EISCONN]),
    act("send an open stream's bytes elsewhere", |ground| {
        let address = unix_address(ground.socket.as_os_str().as_encoded_bytes());
        call(SYS_sendto, &[&&ground.pair.0, &page(), &1, &0, &&address[..], &110])
    })
    .may_fail(&[EISCONN]),
    act("connect TCP to a Unix socket", |ground| {
        let address = unix_address(ground.socket.as_os_str().as_encoded_bytes());
        call(SYS_connect, &[&&ground.tcp, &&address[..], &110])
    })
    .may_fail(&[EAFNOSUPPORT, EINVAL, EISCONN]),
    act("a raw socket", does!(SYS_socket, AF_INET, SOCK_RAW, IPPROTO_RAW)).works_outside(),
    act("a raw socket of IPv6", does!(SYS_socket, AF_INET6, SOCK_RAW, IPPROTO_ICMPV6)).works_outside(),
    act("a packet socket", does!(SYS_socket, AF_PACKET, SOCK_DGRAM, 0)).works_outside(),
    act("a netlink socket", does!(SYS_socket, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)).works_outside(),
    act("a kernel crypto socket", does!(SYS_socket, AF_ALG, SOCK_SEQPACKET, 0)),
    act("a vsock socket", does!(SYS_socket, AF_VSOCK, SOCK_STREAM, 0)),
    act("an XDP socket", does!(SYS_socket, AF_XDP, SOCK_RAW, 0)),
    act("a key socket", does!(SYS_socket, AF_KEY, SOCK_RAW, 2)),
    act("an MPTCP socket", does!(SYS_socket, AF_INET, SOCK_STREAM, 262)),
    act("an SCTP socket", does!(SYS_socket, AF_INET, SOCK_STREAM, IPPROTO_SCTP)),
    act("a UDP-Lite socket", does!(SYS_socket, AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE)),
    act("a ping socket of the other family", does!(SYS_socket, AF_INET6, SOCK_DGRAM, IPPROTO_ICMP)),
    act("bind", does_with!(ground, SYS_bind, &ground.tcp, page(), 16)),
    act("listen", does_with!(ground, SYS_listen, &ground.tcp, 1)),
    act("accept", does_with!(ground, SYS_accept, &ground.tcp, 0, 0)),
    act("iptables, asked", does_with!(ground, SYS_getsockopt, &ground.tcp, 0, 64, page(), page())),
    act("iptables, set", does_with!(ground, SYS_setsockopt, &ground.tcp, 0, 64, page(), 92)),
    act(
        "the peer of a socket",
        does_with!(ground, SYS_getsockopt, &ground.pair.0, SOL_SOCKET, SO_PEERCRED, page(), page()),
    ),
    act(
        "a socket's filter",
        does_with!(ground, SYS_setsockopt, &ground.tcp, SOL_SOCKET, SO_ATTACH_FILTER, page(), 16),
    ),
    act(
        "a socket's program",
        does_with!(ground, SYS_setsockopt, &ground.tcp, SOL_SOCKET, SO_ATTACH_BPF, page(), 4),
    ),
    act(
        "a socket's interface",
        does_with!(ground, SYS_setsockopt, &ground.tcp, SOL_SOCKET, SO_BINDTODEVICE, c"lo", 3),
    ),
    act("a socket's mark", does_with!(ground, SYS_setsockopt, &ground.tcp, SOL_SOCKET, SO_MARK, page(), 4)),
    act("TCP's upper layer", does_with!(ground, SYS_setsockopt, &ground.tcp, IPPROTO_TCP, 31, c"tls", 4)),
    act("TCP repaired", does_with!(ground, SYS_setsockopt, &ground.tcp, IPPROTO_TCP, TCP_REPAIR, page(), 4)),
    act("IP's options", does_with!(ground, SYS_setsockopt, &ground.tcp, IPPROTO_IP, IP_OPTIONS, page(), 4)),
    act("urgent data, sent", does_with!(ground, SYS_sendto, &ground.pair.0, page(), 1, MSG_OOB, 0, 0)),
    act("urgent data, received", does_with!(ground, SYS_recvfrom, &ground.pair.0, page(), 0, MSG_OOB, 0, 0)),
    act("urgent data in a message", does_with!(ground, SYS_sendmsg, &ground.pair.0, page(), MSG_OOB)),
    act("errors of a socket", does_with!(ground, SYS_recvmsg, &ground.tcp, page(), MSG_ERRQUEUE)),
    act("many messages, sent", does_with!(ground, SYS_sendmmsg, &ground.pair.0, page(), 0, 0))
        .works_outside(),
    act("many messages, received", does_with!(ground, SYS_recvmmsg, &ground.pair.0, page(), 0, 0, 0)),
];

/// Descriptors that are open.
pub(crate) const DESCRIPTORS: &[Act] = &[
    act("F_SETOWN", does_with!(ground, SYS_fcntl, &ground.pair.0, F_SETOWN, ground.outside)).works_outside(),
    act("F_SETSIG", does_with!(ground, SYS_fcntl, &ground.pair.0, 10, SIGURG)).works_outside(),
    act("F_SETOWN_EX", does_with!(ground, SYS_fcntl, &ground.pair.0, 15, page())),
    act("F_SETFL", does_with!(ground, SYS_fcntl, &ground.pair.0, F_SETFL, O_ASYNC)).works_outside(),
    act("F_SETLEASE", does_with!(ground, SYS_fcntl, &ground.open, F_SETLEASE, F_RDLCK)),
    act("F_NOTIFY", does_with!(ground, SYS_fcntl, &ground.open, F_NOTIFY, 1)),
    act("F_DUPFD", does_with!(ground, SYS_fcntl, &ground.open, F_DUPFD, 0)).works_outside(),
    act("FIOASYNC", does_with!(ground, SYS_ioctl, &ground.pair.0, FIOASYNC, page())).works_outside(),
    act("FIOSETOWN", does_with!(ground, SYS_ioctl, &ground.pair.0, 0x8901, page())).works_outside(),
    act("read the terminal", |_| {
        call(SYS_read, &[&2, &(Box::leak(Box::new([0_u8; 64])).as_mut_ptr() as usize), &64])
    })
    .may_fail(&[EBADF])
    .works_outside(),
    act("read the terminal by standard output", |_| {
        call(SYS_read, &[&1, &(Box::leak(Box::new([0_u8; 64])).as_mut_ptr() as usize), &64])
    })
    .may_fail(&[EBADF])
    .works_outside(),
    act("type into the terminal", does!(SYS_ioctl, 2, TIOCSTI, c"x")),
    act("the terminal's settings", does!(SYS_ioctl, 2, TCGETS, page())),
    act("a controlling terminal", does!(SYS_ioctl, 2, TIOCSCTTY, 0)),
    act("a virtual machine", does_with!(ground, SYS_ioctl, &ground.open, 0xae01, 0)),
    act("the guest's memory", does_with!(ground, SYS_ioctl, &ground.open, 0x4020_ae46, page())),
    act("a device of KVM's", does_with!(ground, SYS_ioctl, &ground.open, 0xc00c_aee0_u32, page())),
    act("the guest's debugger", does_with!(ground, SYS_ioctl, &ground.open, 0x4048_ae9b, page())),
    act("the guest's MSRs", does_with!(ground, SYS_ioctl, &ground.open, 0x4008_ae89, page())),
    act("an interface's addresses", does_with!(ground, SYS_ioctl, &ground.tcp, 0x8912, page())),
    act("another tap interface", does_with!(ground, SYS_ioctl, &ground.open, 0x4004_54ca, page())),
    act("a file's flags", does_with!(ground, SYS_ioctl, &ground.open, 0x4008_6602, page())),
    act("a clone of a file", does_with!(ground, SYS_ioctl, &ground.open, 0x4004_9409, &ground.open)),
    act("dup2", does_with!(ground, SYS_dup2, &ground.open, 100)).works_outside(),
    act("splice", does_with!(ground, SYS_splice, &ground.open, 0, &ground.pair.0, 0, 1, 0)),
    act("vmsplice", does_with!(ground, SYS_vmsplice, &ground.open, page(), 0, 0)),
    act("sendfile", does_with!(ground, SYS_sendfile, &ground.pair.0, &ground.open, 0, 0)).works_outside(),
    act("signalfd", does!(SYS_signalfd4, -1, page(), 8, 0)).works_outside(),
    act("a timer", does!(SYS_timerfd_create, 1, 0)).works_outside(),
    act("a timer's signal", does!(SYS_timer_create, 1, 0, page())),
    act("a pipe", does!(SYS_pipe2, (Box::leak(Box::new([0_u8; 8])).as_mut_ptr() as usize), 0))
        .works_outside(),
];

/// Memory that can be executed, or is another's.
pub(crate) const MEMORY: &[Act] = &[
    act(
        "map executable memory",
        does!(SYS_mmap, 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
    )
    .works_outside(),
    act("map writable executable memory", does!(SYS_mmap, 0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
        .works_outside(),
    act(
        "map a file to execute it",
        does_with!(ground, SYS_mmap, 0, 4096, PROT_EXEC, MAP_PRIVATE, &ground.open, 0),
    )
    .works_outside(),
    act(
        "map over what is there",
        does!(SYS_mmap, 0x1000_0000, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
    )
    .works_outside(),
    act(
        "map memory that grows",
        does!(SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0),
    )
    .works_outside(),
    act("make memory executable", does!(SYS_mprotect, page_start(), 4096, PROT_READ | PROT_EXEC))
        .works_outside(),
    act("make memory executable by a key", does!(SYS_pkey_mprotect, page_start(), 4096, PROT_EXEC, -1))
        .works_outside(),
    act("move memory to a place", does!(SYS_mremap, page_start(), 4096, 4096, 3, 0x1000_0000)),
    act("poison memory", does!(SYS_madvise, page_start(), 4096, 100)),
    act("memory that outlives a fork", does!(SYS_madvise, page_start(), 4096, MADV_DOFORK)).works_outside(),
    act("a file in memory", does!(SYS_memfd_create, c"x", 0)).works_outside(),
    act("secret memory", does!(SYS_memfd_secret, 0)),
    act("other threads' barriers", does!(SYS_membarrier, 0, 0, 0)),
    act("where memory lies", does_with!(ground, SYS_move_pages, ground.outside, 0, 0, 0, 0, 0)),
    act("memory that faults to a handler", does!(SYS_userfaultfd, 1)),
    act("shared memory", does!(SYS_shmget, IPC_PRIVATE, 4096, IPC_CREAT | 0o600)).works_outside(),
    act("a message queue", does!(SYS_msgget, IPC_PRIVATE, IPC_CREAT | 0o600)).works_outside(),
    act("a semaphore", does!(SYS_semget, IPC_PRIVATE, 1, IPC_CREAT | 0o600)).works_outside(),
    act("a named queue", does!(SYS_mq_open, c"x", O_RDONLY, 0, 0)),
];

/// Files outside every share.
pub(crate) const FILES: &[Act] = &[
    act("open", does_with!(ground, SYS_open, ground.file.as_c_str(), O_PLAIN, 0)).works_outside(),
    act("creat", does_with!(ground, SYS_creat, ground.file.as_c_str(), 0)).works_outside(),
    act("openat", does_with!(ground, SYS_openat, AT_FDCWD, ground.file.as_c_str(), O_PLAIN, 0))
        .may_fail(&[EACCES])
        .works_outside(),
    act("openat to write", does_with!(ground, SYS_openat, AT_FDCWD, ground.file.as_c_str(), O_WRONLY, 0))
        .may_fail(&[EACCES])
        .works_outside(),
    act("openat2", does_with!(ground, SYS_openat2, AT_FDCWD, ground.file.as_c_str(), page(), 24))
        .may_fail(&[EACCES])
        .works_outside(),
    act("openat of the terminal", does!(SYS_openat, AT_FDCWD, c"/proc/self/fd/2", O_RDWR, 0))
        .may_fail(&[EACCES])
        .works_outside(),
    act("openat of a device", does!(SYS_openat, AT_FDCWD, c"/dev/null", O_RDWR, 0))
        .may_fail(&[EACCES])
        .works_outside(),
    act("link", does_with!(ground, SYS_link, ground.file.as_c_str(), ground.fresh.as_c_str())),
    act(
        "linkat",
        does_with!(
            ground,
            SYS_linkat,
            AT_FDCWD,
            ground.file.as_c_str(),
            AT_FDCWD,
            ground.fresh.as_c_str(),
            0
        ),
    )
    .may_fail(&[EACCES, EXDEV]),
    act("symlink", does_with!(ground, SYS_symlink, c"x", ground.fresh.as_c_str())),
    act("symlinkat", does_with!(ground, SYS_symlinkat, c"x", AT_FDCWD, ground.fresh.as_c_str()))
        .may_fail(&[EACCES]),
    act("unlink", does_with!(ground, SYS_unlink, ground.file.as_c_str())).may_fail(&[EACCES]).works_outside(),
    act("unlinkat", does_with!(ground, SYS_unlinkat, AT_FDCWD, ground.file.as_c_str(), 0))
        .may_fail(&[EACCES])
        .works_outside(),
    act("rename", does_with!(ground, SYS_rename, ground.file.as_c_str(), ground.fresh.as_c_str())),
    act(
        "renameat",
        does_with!(ground, SYS_renameat, AT_FDCWD, ground.file.as_c_str(), AT_FDCWD, ground.fresh.as_c_str()),
    ),
    act(
        "renameat2",
        does_with!(
            ground,
            SYS_renameat2,
            AT_FDCWD,
            ground.file.as_c_str(),
            AT_FDCWD,
            ground.fresh.as_c_str(),
            0
        ),
    )
    .may_fail(&[EACCES, EXDEV]),
    act("mkdir", does_with!(ground, SYS_mkdir, ground.fresh.as_c_str(), 0)),
    act("mkdirat", does_with!(ground, SYS_mkdirat, AT_FDCWD, ground.fresh.as_c_str(), 0)).may_fail(&[EACCES]),
    act("rmdir", does_with!(ground, SYS_rmdir, ground.folder.as_c_str())),
    act("mknod", does_with!(ground, SYS_mknod, ground.fresh.as_c_str(), S_IFIFO, 0)),
    act("mknodat", does_with!(ground, SYS_mknodat, AT_FDCWD, ground.fresh.as_c_str(), S_IFIFO, 0))
        .may_fail(&[EACCES]),
    act(
        "mknodat a device",
        does_with!(ground, SYS_mknodat, AT_FDCWD, ground.fresh.as_c_str(), S_IFCHR, 0x103),
    ),
    act("chmod", does_with!(ground, SYS_chmod, ground.file.as_c_str(), 0o600)).works_outside(),
    act("fchmod", does_with!(ground, SYS_fchmod, &ground.open, 0o600)).works_outside(),
    act("fchmodat2", does_with!(ground, 452, AT_FDCWD, ground.file.as_c_str(), 0o600, 0)),
    act("chown", does_with!(ground, SYS_chown, ground.file.as_c_str(), 0, 0)).works_outside(),
    act("truncate", does_with!(ground, SYS_truncate, ground.file.as_c_str(), 0)).works_outside(),
    act("access", does_with!(ground, SYS_access, ground.file.as_c_str(), 0)).works_outside(),
    act("stat", does_with!(ground, SYS_stat, ground.file.as_c_str(), page())),
    act("readlink", does!(SYS_readlink, c"/proc/self/exe", page(), 1)),
    act("chdir", does_with!(ground, SYS_chdir, ground.folder.as_c_str())).works_outside(),
    act("fchdir", does_with!(ground, SYS_fchdir, &ground.open)),
    act("chroot", does_with!(ground, SYS_chroot, ground.folder.as_c_str())).works_outside(),
    act("pivot_root", does_with!(ground, SYS_pivot_root, ground.folder.as_c_str(), ground.folder.as_c_str())),
    act("mount", does_with!(ground, SYS_mount, c"none", ground.folder.as_c_str(), c"tmpfs", 0, 0)),
    act("umount", does_with!(ground, SYS_umount2, ground.folder.as_c_str(), 0)),
    act("open_tree", does_with!(ground, SYS_open_tree, AT_FDCWD, ground.folder.as_c_str(), 0)),
    act(
        "move_mount",
        does_with!(ground, SYS_move_mount, &ground.open, c"", AT_FDCWD, ground.folder.as_c_str(), 4),
    ),
    act("fsopen", does!(SYS_fsopen, c"tmpfs", 0)).works_outside(),
    act(
        "mount_setattr",
        does_with!(ground, SYS_mount_setattr, AT_FDCWD, ground.folder.as_c_str(), 0, page(), 32),
    ),
    act("inotify", does!(SYS_inotify_init1, 0)).works_outside(),
    act("fanotify", does!(SYS_fanotify_init, 0, 0)),
    act(
        "a file's handle",
        does_with!(ground, SYS_name_to_handle_at, AT_FDCWD, ground.file.as_c_str(), page(), page(), 0),
    ),
    act("open by handle", does_with!(ground, SYS_open_by_handle_at, &ground.open, page(), 0)),
    act("quotactl", does!(SYS_quotactl, 0x80_0001, 0, 0, 0)),
    act("sync", does!(SYS_sync)).works_outside(),
    act("fsetxattr", does_with!(ground, SYS_fsetxattr, &ground.open, c"user.x", page(), 1, 0)),
    act("getcwd", does!(SYS_getcwd, (Box::leak(Box::new([0_u8; 4096])).as_mut_ptr() as usize), 4096))
        .works_outside(),
];

/// What is known about files outside every share, and changed. Landlock does not cover these calls, so a file server may make them
/// as far as the user may; no other thread may. `docs/design/jail.md` has this as a known gap.
pub(crate) const METADATA: &[Act] = &[
    act("fchmodat", does_with!(ground, SYS_fchmodat, AT_FDCWD, ground.file.as_c_str(), 0o600))
        .works_outside(),
    act("fchownat", does_with!(ground, SYS_fchownat, AT_FDCWD, ground.file.as_c_str(), -1, -1, 0))
        .works_outside(),
    act("utimensat", does_with!(ground, SYS_utimensat, AT_FDCWD, ground.file.as_c_str(), 0, 0))
        .works_outside(),
    act("setxattr", does_with!(ground, SYS_setxattr, ground.file.as_c_str(), c"user.x", page(), 1, 0)),
    act("removexattr", does_with!(ground, SYS_removexattr, ground.file.as_c_str(), c"user.x")),
    act("getxattr", does_with!(ground, SYS_getxattr, ground.file.as_c_str(), c"user.x", 0, 0)),
    act("listxattr", does_with!(ground, SYS_listxattr, ground.file.as_c_str(), 0, 0)).works_outside(),
    act("statx", |ground| {
        let room = Box::leak(Box::new([0_u8; 512])).as_mut_ptr() as usize;
        call(SYS_statx, &[&AT_FDCWD, &ground.file.as_c_str(), &0, &0xfff, &room])
    })
    .works_outside(),
    act("readlinkat", |_| {
        let room = Box::leak(Box::new([0_u8; 512])).as_mut_ptr() as usize;
        call(SYS_readlinkat, &[&AT_FDCWD, &c"/proc/self/exe", &room, &512])
    })
    .works_outside(),
];

/// The kernel itself.
pub(crate) const KERNEL: &[Act] = &[
    act("io_uring", does!(SYS_io_uring_setup, 1, page())),
    act("io_uring's registers", does_with!(ground, SYS_io_uring_register, &ground.open, 0, 0, 0)),
    act("asynchronous I/O", does!(SYS_io_setup, 1, page())),
    act("bpf", does!(SYS_bpf, 0, page(), 72)),
    act("perf", does!(SYS_perf_event_open, page(), 0, -1, -1, 0)),
    act("a key", does!(SYS_add_key, c"user", c"x", page(), 1, -3)),
    act("a requested key", does!(SYS_request_key, c"user", c"x", 0, 0)),
    act("keyctl", does!(SYS_keyctl, 0, -3, 0)),
    act("reboot", does!(SYS_reboot, 0, 0, 0, 0)),
    act("kexec", does!(SYS_kexec_load, 0, 0, 0, 0x7fff)),
    act("kexec of a file", does!(SYS_kexec_file_load, -1, -1, 0, 0, 0)),
    act("a module", does!(SYS_init_module, 0, 0, 0)),
    act("a module's file", does!(SYS_finit_module, -1, 0, 0)),
    act("no module", does!(SYS_delete_module, 0, 0)),
    act("swapon", does!(SYS_swapon, c"", 0)),
    act("swapoff", does!(SYS_swapoff, c"")),
    act("accounting", does!(SYS_acct, c"/nowhere")),
    act("the log", does!(SYS_syslog, 10, 0, 0)),
    act("the host's name", does!(SYS_sethostname, page(), -1)),
    act("the time of day", does!(SYS_settimeofday, 1, 0)),
    act("a clock", does!(SYS_clock_settime, -1, page())),
    act("a clock's pace", does!(SYS_clock_adjtime, -1, page())),
    act("vhangup", does!(SYS_vhangup)),
    act("another number space", does!(0x4000_0000 | SYS_getpid)),
    act("no call at all", does!(1023)),
];

/// Every table.
pub(crate) fn all() -> impl Iterator<Item = &'static Act> {
    [PROCESSES, RIGHTS, SOCKETS, DESCRIPTORS, MEMORY, FILES, METADATA, KERNEL].into_iter().flatten()
}

/// The start of a page of this program's own that nothing needs.
fn page_start() -> usize {
    static ROOM: [u8; 8192] = [0; 8192];
    (ROOM.as_ptr() as usize).next_multiple_of(4096)
}
