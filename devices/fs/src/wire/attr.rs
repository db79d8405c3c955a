//! Attributes of a file as replies carry them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::request::wire;

wire! {
    /// `fuse_attr`.
    Attr {
        ino: u64, size: u64, blocks: u64, atime: u64, mtime: u64, ctime: u64, atimensec: u32, mtimensec: u32,
        ctimensec: u32, mode: u32, nlink: u32, uid: u32, gid: u32, rdev: u32, blksize: u32, flags: u32,
    }
    /// GETATTR and SETATTR.
    AttrOut { attr_valid: u64, attr_valid_nsec: u32, dummy: u32, attr: Attr }
    /// What LOOKUP and whatever makes a file answer; node id 0 is "no such file, remember it".
    EntryOut {
        nodeid: u64, generation: u64, entry_valid: u64, attr_valid: u64, entry_valid_nsec: u32, attr_valid_nsec: u32,
        attr: Attr,
    }
    /// `fuse_sx_time`.
    StatxTimes { sec: u64, nsec: u32, reserved: u32 }
    /// `fuse_statx`.
    WireStatx {
        mask: u32, blksize: u32, attributes: u64, nlink: u32, uid: u32, gid: u32, mode: u16, spare0: u16, ino: u64,
        size: u64, blocks: u64, attributes_mask: u64, atime: StatxTimes, btime: StatxTimes, ctime: StatxTimes,
        mtime: StatxTimes, rdev_major: u32, rdev_minor: u32, dev_major: u32, dev_minor: u32, spare2: [u64; 14],
    }
    /// STATX.
    StatxOut { attr_valid: u64, attr_valid_nsec: u32, flags: u32, spare: [u64; 2], stat: WireStatx }
}

impl Attr {
    /// Marks the root of a tree of its own, which the guest mounts by itself.
    pub(crate) const SUBMOUNT: u32 = 1 << 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_the_protocols() {
        assert_eq!(size_of::<Attr>(), 88);
        assert_eq!(size_of::<AttrOut>(), 104);
        assert_eq!(size_of::<EntryOut>(), 128);
        assert_eq!(size_of::<WireStatx>(), 256);
        assert_eq!(size_of::<StatxOut>(), 288);
    }
}
