//! virtio-fs: directories and files of the host, seen by a guest (VIRTIO 1.3 §5.11; FUSE 7.39).
//! Its decisions are in `docs/design/fs.md`.
//!
//! One device serves any number of shares. Its root is of our own making and lists them; each is announced as
//! a submount, so that the guest gives it a device number of its own. Shares come and go through an
//! [`FsHandle`] while the device runs. A directory appears as itself, a single file as [`FILE_ENTRY`] in a
//! directory of its own.
//!
//! ```text
//! queues ──▶ device (worker thread) ──▶ server ──▶ operations ──▶ host (descriptors, checked names)
//!                                          ├─ nodes: files the guest knows, by share, parent and name
//!                                          └─ handles: files the guest has open
//! ```
//!
//! **Trust.** The guest is hostile, and so may be whoever else writes a share on the host. Every name that
//! reaches the host is one checked component. A file is reached from its share's root by the names that lead to it
//! (`openat2`, `RESOLVE_BENEATH`, no links), each time anew, so what leaves a share is out of reach;
//! symbolic links are followed by the guest's kernel, never here; a file found again must still have the
//! device, inode and birth it had; only regular files and directories are opened, and device nodes are not
//! made. What a guest makes the server hold is bounded ([`ServerConfig`]). Who may do what inside the guest is
//! decided by its kernel (`default_permissions`).
//!
//! **Threads.** All of it runs on one worker thread, which blocks in the host's file system. File content goes
//! between files and guest memory without a copy of ours. A lock that is not free is waited for by a thread of its own,
//! at most 128 of them (`locks`).
//!
//! **System calls** of the worker, for its filter: `openat`, `openat2`, `close`, `statx`, `fstatfs`,
//! `readlinkat`, `getdents64`, `lseek`, `preadv`, `pwritev`, `pwritev2`, `fallocate`, `ftruncate`,
//! `copy_file_range`, `fsync`, `fdatasync`, `mkdirat`, `mknodat`, `symlinkat`, `linkat`, `unlinkat`,
//! `renameat2`, `fchownat`, `fchmodat`, `utimensat`, `getxattr`, `lgetxattr`, `setxattr`, `listxattr`,
//! `removexattr`, `read` and `write` (event counters), `epoll_create1`, `epoll_ctl`, `epoll_pwait2` or
//! `epoll_pwait`, and the allocator's and thread's own (`mmap`, `munmap`, `mremap`, `brk`, `madvise`, `futex`,
//! `exit`, `rt_sigprocmask`, `sigaltstack`). For locks: `fcntl` (`F_OFD_GETLK`, `F_OFD_SETLK`, `F_OFD_SETLKW`,
//! `F_DUPFD_CLOEXEC`), `flock`, `dup3`, `tgkill` of its own threads, and what starting a thread takes. Before the filter: `unshare(CLONE_FS)` and `umask`. It needs
//! `/proc` mounted (`/proc/self/fd`).

mod attr;
mod device;
mod error;
mod handles;
mod host;
mod locks;
mod nodes;
mod ops;
mod owners;
mod procpath;
mod server;
mod share;
mod state;
mod sync;
mod sys;
#[cfg(test)]
mod tests;
mod wire;

pub use device::{Fs, FsConfig, MAX_TAG_BYTES};
pub use error::FsError;
pub use locks::sys::end_of_wait_signal;
pub use owners::OwnerPolicy;
pub use server::{Answer, FsMetrics, Malformed, Server, ServerConfig};
pub use share::{CachePolicy, FILE_ENTRY, FsHandle, FsShare};
