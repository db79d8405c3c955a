//! What a request asks for.

/// The operations the server knows; every other number is answered with ENOSYS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Opcode {
    Lookup = 1,
    Forget = 2,
    Getattr = 3,
    Setattr = 4,
    Readlink = 5,
    Symlink = 6,
    Mknod = 8,
    Mkdir = 9,
    Unlink = 10,
    Rmdir = 11,
    Rename = 12,
    Link = 13,
    Open = 14,
    Read = 15,
    Write = 16,
    Statfs = 17,
    Release = 18,
    Fsync = 20,
    Setxattr = 21,
    Getxattr = 22,
    Listxattr = 23,
    Removexattr = 24,
    Flush = 25,
    Init = 26,
    Opendir = 27,
    Readdir = 28,
    Releasedir = 29,
    Fsyncdir = 30,
    Getlk = 31,
    Setlk = 32,
    Setlkw = 33,
    Create = 35,
    Interrupt = 36,
    Destroy = 38,
    Ioctl = 39,
    BatchForget = 42,
    Fallocate = 43,
    Readdirplus = 44,
    Rename2 = 45,
    Lseek = 46,
    CopyFileRange = 47,
    Syncfs = 50,
    Tmpfile = 51,
    Statx = 52,
}

/// Every operation, for the way back from a number.
const ALL: [Opcode; 44] = {
    use Opcode::*;
    [
        Lookup,
        Forget,
        Getattr,
        Setattr,
        Readlink,
        Symlink,
        Mknod,
        Mkdir,
        Unlink,
        Rmdir,
        Rename,
        Link,
        Open,
        Read,
        Write,
        Statfs,
        Release,
        Fsync,
        Setxattr,
        Getxattr,
        Listxattr,
        Removexattr,
        Flush,
        Init,
        Opendir,
        Readdir,
        Releasedir,
        Fsyncdir,
        Getlk,
        Setlk,
        Setlkw,
        Create,
        Interrupt,
        Destroy,
        Ioctl,
        BatchForget,
        Fallocate,
        Readdirplus,
        Rename2,
        Lseek,
        CopyFileRange,
        Syncfs,
        Tmpfile,
        Statx,
    ]
};

impl Opcode {
    /// The operation with this number, if it is one the server knows.
    pub(crate) fn from_raw(raw: u32) -> Option<Self> {
        ALL.into_iter().find(|op| *op as u32 == raw)
    }

    /// Whether the protocol knows no answer to it.
    pub(crate) fn is_silent(self) -> bool {
        matches!(self, Self::Forget | Self::BatchForget | Self::Interrupt)
    }
}
