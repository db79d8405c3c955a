//! The parts of EROFS' on-disk format that are written and read here (Linux 6.12 `fs/erofs/erofs_fs.h`).

/// Size of an EROFS block, on every host, in bytes.
pub const BLOCK_BYTES: u64 = 4096;
/// The same as a length in memory.
pub(crate) const BLOCK_LEN: usize = 4096;
/// Each layer's data begins at a multiple of this many bytes of the device.
pub const LAYER_ALIGN_BYTES: u64 = 2 << 20;

/// Rounds `bytes` up to where a layer's data may begin.
pub const fn align_layer(bytes: u64) -> u64 {
    bytes.next_multiple_of(LAYER_ALIGN_BYTES)
}

/// Number of blocks that hold `bytes`.
pub(crate) const fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK_BYTES)
}

pub(crate) const BLOCK_BITS: u8 = 12;
pub(crate) const SUPER_OFFSET: u64 = 1024;
pub(crate) const SUPER_BYTES: usize = 128;
pub(crate) const MAGIC: u32 = 0xe0f5_e1e2;
/// Inodes are numbered by their offset in units of this many bytes.
pub(crate) const SLOT_BYTES: u64 = 32;
/// Size of an extended inode.
pub(crate) const INODE_BYTES: u64 = 64;
pub(crate) const DIRENT_BYTES: usize = 12;
pub(crate) const NAME_MAX: usize = 255;
/// Number of the root inode: the first slot behind the superblock.
pub(crate) const ROOT_NID: u16 = 36;
/// Block address of a hole.
pub(crate) const NULL_BLOCK: u32 = u32::MAX;
/// Bits of a chunk beyond the block's; the format allows 31, 4 GiB chunks are enough for a 16 TiB hole.
pub(crate) const MAX_CHUNK_BITS: u8 = 20;

pub(crate) const FEATURE_COMPAT_MTIME: u32 = 0x2;
pub(crate) const FEATURE_INCOMPAT_CHUNKED_FILE: u32 = 0x4;

pub(crate) const S_IFMT: u16 = 0o170_000;
pub(crate) const S_IFREG: u16 = 0o100_000;
pub(crate) const S_IFDIR: u16 = 0o040_000;
pub(crate) const S_IFLNK: u16 = 0o120_000;
pub(crate) const S_IFCHR: u16 = 0o020_000;
pub(crate) const S_IFBLK: u16 = 0o060_000;
pub(crate) const S_IFIFO: u16 = 0o010_000;
pub(crate) const S_IFSOCK: u16 = 0o140_000;

/// How an inode's data is found (`i_format` bits 1–3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataLayout {
    /// Contiguous blocks.
    Plain,
    /// Contiguous blocks, the last partial one directly behind the inode.
    Inline,
    /// An array of chunk addresses behind the inode.
    Chunked,
}

impl DataLayout {
    /// `i_format` of an extended inode of this layout.
    pub(crate) const fn format(self) -> u16 {
        const EXTENDED: u16 = 1;
        EXTENDED
            | match self {
                Self::Plain => 0,
                Self::Inline => 2 << 1,
                Self::Chunked => 4 << 1,
            }
    }

    /// The layout of an extended inode's `i_format`, if it is one that is written here.
    pub(crate) fn from_format(format: u16) -> Option<Self> {
        [Self::Plain, Self::Inline, Self::Chunked].into_iter().find(|layout| layout.format() == format)
    }
}

/// `struct erofs_super_block`: 128 bytes at [`SUPER_OFFSET`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SuperBlock {
    pub(crate) root_nid: u16,
    pub(crate) inodes: u64,
    /// Blocks of the whole device, layers' data included.
    pub(crate) blocks: u32,
    pub(crate) uuid: [u8; 16],
    pub(crate) incompat: u32,
}

impl SuperBlock {
    pub(crate) fn encode(&self) -> [u8; SUPER_BYTES] {
        let mut raw = [0; SUPER_BYTES];
        put(&mut raw, 0, &MAGIC.to_le_bytes());
        put(&mut raw, 8, &FEATURE_COMPAT_MTIME.to_le_bytes());
        put(&mut raw, 12, &[BLOCK_BITS, 0]);
        put(&mut raw, 14, &self.root_nid.to_le_bytes());
        put(&mut raw, 16, &self.inodes.to_le_bytes());
        put(&mut raw, 36, &self.blocks.to_le_bytes());
        put(&mut raw, 48, &self.uuid);
        put(&mut raw, 80, &self.incompat.to_le_bytes());
        raw
    }

    /// Reads a superblock; `None` if it is not one that [`Self::encode`] could have written.
    pub(crate) fn decode(raw: &[u8; SUPER_BYTES]) -> Option<Self> {
        let superblock = Self {
            root_nid: u16::from_le_bytes(get(raw, 14)),
            inodes: u64::from_le_bytes(get(raw, 16)),
            blocks: u32::from_le_bytes(get(raw, 36)),
            uuid: get(raw, 48),
            incompat: u32::from_le_bytes(get(raw, 80)),
        };
        (superblock.encode() == *raw && superblock.incompat & !FEATURE_INCOMPAT_CHUNKED_FILE == 0)
            .then_some(superblock)
    }
}

/// `struct erofs_inode_extended`: 64 bytes at a multiple of [`SLOT_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawInode {
    pub(crate) layout: DataLayout,
    pub(crate) xattr_icount: u16,
    pub(crate) mode: u16,
    pub(crate) size: u64,
    /// Block address, device number or chunk format.
    pub(crate) data: u32,
    /// For 32-bit `stat` only.
    pub(crate) ino: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) mtime_nsec: u32,
    pub(crate) nlink: u32,
}

impl RawInode {
    pub(crate) fn encode(&self) -> [u8; 64] {
        let mut raw = [0; 64];
        put(&mut raw, 0, &self.layout.format().to_le_bytes());
        put(&mut raw, 2, &self.xattr_icount.to_le_bytes());
        put(&mut raw, 4, &self.mode.to_le_bytes());
        put(&mut raw, 8, &self.size.to_le_bytes());
        put(&mut raw, 16, &self.data.to_le_bytes());
        put(&mut raw, 20, &self.ino.to_le_bytes());
        put(&mut raw, 24, &self.uid.to_le_bytes());
        put(&mut raw, 28, &self.gid.to_le_bytes());
        put(&mut raw, 32, &self.mtime.to_le_bytes());
        put(&mut raw, 40, &self.mtime_nsec.to_le_bytes());
        put(&mut raw, 44, &self.nlink.to_le_bytes());
        raw
    }

    /// Reads an inode; `None` if it is compact or of a layout that is never written here.
    pub(crate) fn decode(raw: &[u8; 64]) -> Option<Self> {
        Some(Self {
            layout: DataLayout::from_format(u16::from_le_bytes(get(raw, 0)))?,
            xattr_icount: u16::from_le_bytes(get(raw, 2)),
            mode: u16::from_le_bytes(get(raw, 4)),
            size: u64::from_le_bytes(get(raw, 8)),
            data: u32::from_le_bytes(get(raw, 16)),
            ino: u32::from_le_bytes(get(raw, 20)),
            uid: u32::from_le_bytes(get(raw, 24)),
            gid: u32::from_le_bytes(get(raw, 28)),
            mtime: i64::from_le_bytes(get(raw, 32)),
            mtime_nsec: u32::from_le_bytes(get(raw, 40)),
            nlink: u32::from_le_bytes(get(raw, 44)),
        })
    }

    /// Bytes of the inline attributes behind the inode (`erofs_xattr_ibody_size`).
    pub(crate) fn xattr_bytes(&self) -> u64 {
        match self.xattr_icount {
            0 => 0,
            n => XATTR_HEADER_BYTES as u64 + 4 * (u64::from(n) - 1),
        }
    }
}

/// Size of `struct erofs_xattr_ibody_header`.
pub(crate) const XATTR_HEADER_BYTES: usize = 12;

/// Type of a directory entry (`FT_*`).
pub(crate) fn file_type(mode: u16) -> u8 {
    match mode & S_IFMT {
        S_IFREG => 1,
        S_IFDIR => 2,
        S_IFCHR => 3,
        S_IFBLK => 4,
        S_IFIFO => 5,
        S_IFSOCK => 6,
        S_IFLNK => 7,
        _ => 0,
    }
}

/// Linux' `new_encode_dev`; `None` past 12 bits of major or 20 bits of minor number.
pub(crate) fn encode_device(major: u32, minor: u32) -> Option<u32> {
    (major < 1 << 12 && minor < 1 << 20).then_some((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

/// Copies `bytes` into `raw` at `offset`; both are constants of the format.
fn put(raw: &mut [u8], offset: usize, bytes: &[u8]) {
    raw[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Takes `N` bytes of `raw` at `offset`; both are constants of the format.
pub(crate) fn get<const N: usize>(raw: &[u8], offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&raw[offset..offset + N]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_follow_new_encode_dev() {
        assert_eq!(encode_device(1, 3), Some(0x103));
        assert_eq!(encode_device(259, 0x12345), Some(0x1231_0345));
        assert_eq!(encode_device(4096, 0), None);
        assert_eq!(encode_device(0, 1 << 20), None);
    }

    #[test]
    fn superblock_survives_and_foreign_features_do_not() {
        let superblock = SuperBlock { root_nid: 36, inodes: 7, blocks: 9, uuid: [3; 16], incompat: 4 };
        let mut raw = superblock.encode();
        assert_eq!(SuperBlock::decode(&raw), Some(superblock));
        raw[80] = 1;
        assert_eq!(SuperBlock::decode(&raw), None);
    }

    #[test]
    fn inode_survives() {
        let inode = RawInode {
            layout: DataLayout::Chunked,
            xattr_icount: 4,
            mode: S_IFREG | 0o644,
            size: 1 << 40,
            data: 5,
            ino: 6,
            uid: u32::MAX - 1,
            gid: 8,
            mtime: -3,
            mtime_nsec: 999_999_999,
            nlink: 2,
        };
        assert_eq!(RawInode::decode(&inode.encode()), Some(inode));
        assert_eq!(inode.xattr_bytes(), 24);
    }
}
