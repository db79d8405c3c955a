//! The FUSE protocol's messages as they lie in memory.
//!
//! Every structure here is plain little-endian data without padding, so a message becomes one by a copy and a length
//! check; its values are the guest's and mean nothing yet. Source: Linux `include/uapi/linux/fuse.h`, version 7.39, which
//! VIRTIO 1.3 §5.11.6 refers to.

mod args;
mod attr;
mod opcode;
mod reply;
mod request;

pub(crate) use args::{Args, Name};
pub(crate) use attr::{Attr, AttrOut, EntryOut, StatxOut, StatxTimes, WireStatx};
pub(crate) use opcode::Opcode;
pub(crate) use reply::{
    Dirent, InitOut, KStatfs, LkOut, LseekOut, OpenOut, OutHeader, SizeOut, flags, open_reply_flags,
};
pub(crate) use request::{
    BatchForgetIn, CopyFileRangeIn, CreateIn, FallocateIn, FlushIn, ForgetIn, ForgetOne, FsyncIn, GetattrIn,
    GetxattrIn, InHeader, InitIn, InitInExt, InterruptIn, LinkIn, LkIn, LseekIn, MkdirIn, MknodIn, OpenIn,
    ReadIn, ReleaseIn, Rename2In, RenameIn, SetattrIn, SetxattrIn, StatxIn, WriteIn, fattr,
};

/// The node id of the tree's root.
pub(crate) const ROOT_ID: u64 = 1;
/// The protocol's major version.
pub(crate) const MAJOR: u32 = 7;
/// The newest minor version whose messages are known here.
pub(crate) const MINOR: u32 = 39;
/// The oldest minor version served: the first with today's layout of INIT's reply.
pub(crate) const MINOR_OLDEST: u32 = 27;
/// Longest name of a directory entry, in bytes.
pub(crate) const NAME_MAX: usize = 255;
/// Longest path, so longest target of a symbolic link, in bytes, its NUL included.
pub(crate) const PATH_MAX: usize = 4096;
/// Largest value and largest list of names of extended attributes, in bytes.
pub(crate) const XATTR_MAX: usize = 65536;
