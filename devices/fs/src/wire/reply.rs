//! The fixed parts of replies (`fuse_*_out`), but for attributes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::request::wire;

/// INIT's flags, both words as one number.
pub(crate) mod flags {
    pub(crate) const ASYNC_READ: u64 = 1 << 0;
    pub(crate) const POSIX_LOCKS: u64 = 1 << 1;
    pub(crate) const ATOMIC_O_TRUNC: u64 = 1 << 3;
    pub(crate) const BIG_WRITES: u64 = 1 << 5;
    pub(crate) const FLOCK_LOCKS: u64 = 1 << 10;
    pub(crate) const AUTO_INVAL_DATA: u64 = 1 << 12;
    pub(crate) const DO_READDIRPLUS: u64 = 1 << 13;
    pub(crate) const READDIRPLUS_AUTO: u64 = 1 << 14;
    pub(crate) const ASYNC_DIO: u64 = 1 << 15;
    pub(crate) const WRITEBACK_CACHE: u64 = 1 << 16;
    pub(crate) const PARALLEL_DIROPS: u64 = 1 << 18;
    pub(crate) const MAX_PAGES: u64 = 1 << 22;
    pub(crate) const CACHE_SYMLINKS: u64 = 1 << 23;
    pub(crate) const SUBMOUNTS: u64 = 1 << 27;
    pub(crate) const HANDLE_KILLPRIV_V2: u64 = 1 << 28;
    pub(crate) const INIT_EXT: u64 = 1 << 30;
    /// Of our guest kernel (its patches 0017 and 0018): it interrupts waits for locks, and says which reads it caches.
    pub(crate) const HOST_SHARED: u64 = 1 << 62;
}

/// What OPEN, OPENDIR and CREATE tell the guest about its cache.
pub(crate) mod open_reply_flags {
    pub(crate) const DIRECT_IO: u32 = 1 << 0;
    pub(crate) const KEEP_CACHE: u32 = 1 << 1;
    pub(crate) const CACHE_DIR: u32 = 1 << 3;
}

wire! {
    /// Begins every reply; `error` is 0 or the negated error number.
    OutHeader { len: u32, error: i32, unique: u64 }
    /// INIT's reply.
    InitOut {
        major: u32, minor: u32, max_readahead: u32, flags: u32, max_background: u16, congestion_threshold: u16,
        max_write: u32, time_gran: u32, max_pages: u16, map_alignment: u16, flags2: u32, unused: [u32; 7],
    }
    /// OPEN and OPENDIR, and after an entry CREATE and TMPFILE.
    OpenOut { fh: u64, open_flags: u32, padding: u32 }
    /// WRITE and COPY_FILE_RANGE: bytes written; GETXATTR and LISTXATTR: bytes needed.
    SizeOut { size: u32, padding: u32 }
    /// LSEEK.
    LseekOut { offset: u64 }
    /// GETLK: a lock in the way, or F_UNLCK.
    LkOut { start: u64, end: u64, kind: u32, pid: u32 }
    /// STATFS.
    KStatfs {
        blocks: u64, bfree: u64, bavail: u64, files: u64, ffree: u64, bsize: u32, namelen: u32, frsize: u32,
        padding: u32, spare: [u32; 6],
    }
    /// Begins an entry of READDIR, followed by the name, padded to 8 bytes.
    Dirent { ino: u64, off: u64, namelen: u32, kind: u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_the_protocols() {
        assert_eq!(size_of::<OutHeader>(), 16);
        assert_eq!(size_of::<InitOut>(), 64);
        assert_eq!(size_of::<KStatfs>(), 80);
        assert_eq!(size_of::<Dirent>(), 24);
    }
}
