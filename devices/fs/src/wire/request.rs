//! The fixed parts of requests, field by field as the protocol names them (`fuse_*_in`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `FATTR_*`: which fields of [`SetattrIn`] are meant.
pub(crate) mod fattr {
    pub(crate) const MODE: u32 = 1 << 0;
    pub(crate) const UID: u32 = 1 << 1;
    pub(crate) const GID: u32 = 1 << 2;
    pub(crate) const SIZE: u32 = 1 << 3;
    pub(crate) const ATIME: u32 = 1 << 4;
    pub(crate) const MTIME: u32 = 1 << 5;
    pub(crate) const FH: u32 = 1 << 6;
    pub(crate) const ATIME_NOW: u32 = 1 << 7;
    pub(crate) const MTIME_NOW: u32 = 1 << 8;
    pub(crate) const KILL_SUIDGID: u32 = 1 << 11;
}

/// Declares structures of the protocol; their order and types are the layout.
macro_rules! wire {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub(crate) struct $name { $(pub(crate) $field: $kind),* }
    )*};
}
pub(super) use wire;

wire! {
    /// Begins every request.
    InHeader {
        len: u32, opcode: u32, unique: u64, nodeid: u64, uid: u32, gid: u32, pid: u32, total_extlen: u16, padding: u16,
    }
    /// INIT up to the protocol's version 7.35.
    InitIn { major: u32, minor: u32, max_readahead: u32, flags: u32 }
    /// What follows [`InitIn`] where the flag INIT_EXT is set.
    InitInExt { flags2: u32, unused: [u32; 11] }
    /// FORGET.
    ForgetIn { nlookup: u64 }
    /// Begins BATCH_FORGET, followed by `count` times [`ForgetOne`].
    BatchForgetIn { count: u32, dummy: u32 }
    /// One forgotten node.
    ForgetOne { nodeid: u64, nlookup: u64 }
    /// GETATTR; bit 0 of the flags says that `fh` is meant.
    GetattrIn { getattr_flags: u32, dummy: u32, fh: u64 }
    /// SETATTR; `valid` is of [`fattr`].
    SetattrIn {
        valid: u32, padding: u32, fh: u64, size: u64, lock_owner: u64, atime: u64, mtime: u64, ctime: u64,
        atimensec: u32, mtimensec: u32, ctimensec: u32, mode: u32, unused4: u32, uid: u32, gid: u32, unused5: u32,
    }
    /// STATX; bit 0 of the flags says that `fh` is meant.
    StatxIn { getattr_flags: u32, reserved: u32, fh: u64, sx_flags: u32, sx_mask: u32 }
    /// MKNOD, followed by the name.
    MknodIn { mode: u32, rdev: u32, umask: u32, padding: u32 }
    /// MKDIR, followed by the name.
    MkdirIn { mode: u32, umask: u32 }
    /// RENAME, followed by the old and the new name.
    RenameIn { newdir: u64 }
    /// RENAME2, followed by the old and the new name.
    Rename2In { newdir: u64, flags: u32, padding: u32 }
    /// LINK, followed by the new name.
    LinkIn { oldnodeid: u64 }
    /// OPEN and OPENDIR.
    OpenIn { flags: u32, open_flags: u32 }
    /// CREATE and TMPFILE, followed by the name.
    CreateIn { flags: u32, mode: u32, umask: u32, open_flags: u32 }
    /// READ, READDIR and READDIRPLUS.
    ReadIn { fh: u64, offset: u64, size: u32, read_flags: u32, lock_owner: u64, flags: u32, padding: u32 }
    /// WRITE, followed by the data.
    WriteIn { fh: u64, offset: u64, size: u32, write_flags: u32, lock_owner: u64, flags: u32, padding: u32 }
    /// RELEASE and RELEASEDIR.
    ReleaseIn { fh: u64, flags: u32, release_flags: u32, lock_owner: u64 }
    /// FLUSH.
    FlushIn { fh: u64, unused: u32, padding: u32, lock_owner: u64 }
    /// GETLK, SETLK and SETLKW; `kind` is F_RDLCK, F_WRLCK or F_UNLCK, `end` the last byte.
    LkIn {
        fh: u64, owner: u64, start: u64, end: u64, kind: u32, pid: u32, lk_flags: u32, padding: u32,
    }
    /// INTERRUPT: the request that is meant.
    InterruptIn { unique: u64 }
    /// FSYNC and FSYNCDIR; bit 0 of the flags asks for the data only.
    FsyncIn { fh: u64, fsync_flags: u32, padding: u32 }
    /// SETXATTR without SETXATTR_EXT, followed by the name and `size` bytes of value.
    SetxattrIn { size: u32, flags: u32 }
    /// GETXATTR, followed by the name, and LISTXATTR; a size of 0 asks for the size.
    GetxattrIn { size: u32, padding: u32 }
    /// FALLOCATE.
    FallocateIn { fh: u64, offset: u64, length: u64, mode: u32, padding: u32 }
    /// LSEEK.
    LseekIn { fh: u64, offset: u64, whence: u32, padding: u32 }
    /// COPY_FILE_RANGE; the file copied from is the request's node.
    CopyFileRangeIn { fh_in: u64, off_in: u64, nodeid_out: u64, fh_out: u64, off_out: u64, len: u64, flags: u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_the_protocols() {
        assert_eq!(size_of::<InHeader>(), 40);
        assert_eq!(size_of::<InitIn>() + size_of::<InitInExt>(), 64);
        assert_eq!(size_of::<SetattrIn>(), 88);
        assert_eq!(size_of::<StatxIn>(), 24);
        assert_eq!(size_of::<ReadIn>(), 40);
        assert_eq!(size_of::<WriteIn>(), 40);
        assert_eq!(size_of::<CopyFileRangeIn>(), 56);
        assert_eq!(size_of::<FallocateIn>(), 32);
        assert_eq!(size_of::<LkIn>(), 48);
        assert_eq!(size_of::<FlushIn>(), 24);
    }
}
