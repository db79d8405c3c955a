//! Reads back what is written here: for inspection, verification and tests.
//!
//! Understands extended inodes, plain, inline and chunked data, inline attributes: what [`crate::Image`] makes, not
//! all of EROFS. Damage gives an error, never a panic.

use std::io;

use crate::error::{Error, Result};
use crate::format::{
    BLOCK_BYTES, BLOCK_LEN, DIRENT_BYTES, DataLayout, INODE_BYTES, NULL_BLOCK, RawInode, S_IFDIR, S_IFLNK,
    S_IFMT, SLOT_BYTES, SUPER_BYTES, SUPER_OFFSET, SuperBlock, XATTR_HEADER_BYTES, get,
};
use crate::xattr;

/// A medium that can be read anywhere.
pub trait ReadAt {
    /// Fills `bytes` from `offset`.
    ///
    /// # Errors
    /// Those of the medium, and its end.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for &[u8] {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.checked_add(bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// An EROFS image.
#[derive(Debug)]
pub struct Reader<R> {
    device: R,
    superblock: SuperBlock,
}

/// An inode of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inode {
    /// Its number.
    pub nid: u64,
    /// Type and permission bits, as `st_mode` has them.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Names it has.
    pub nlink: u32,
    /// Modification time, seconds since the epoch.
    pub mtime: i64,
    /// And nanoseconds.
    pub mtime_nsec: u32,
    raw: RawInode,
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirent {
    /// The name.
    pub name: Vec<u8>,
    /// Number of the inode it names.
    pub nid: u64,
}

impl Inode {
    /// Device number of a device node, as Linux' `new_encode_dev` has it.
    pub fn device(&self) -> u32 {
        self.raw.data
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.mode & S_IFMT == S_IFLNK
    }

    fn start(&self) -> u64 {
        self.nid * SLOT_BYTES
    }

    /// Where the inode and its attributes end.
    fn end(&self) -> u64 {
        self.start() + INODE_BYTES + self.raw.xattr_bytes()
    }
}

impl<R: ReadAt> Reader<R> {
    /// Opens an image.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not one of ours; those of the device.
    pub fn open(device: R) -> Result<Self> {
        let mut raw = [0; SUPER_BYTES];
        device.read_at(&mut raw, SUPER_OFFSET)?;
        let superblock = SuperBlock::decode(&raw).ok_or(Error::Corrupt { what: "EROFS superblock" })?;
        Ok(Self { device, superblock })
    }

    /// The root directory.
    ///
    /// # Errors
    /// As [`Self::inode`].
    pub fn root(&self) -> Result<Inode> {
        self.inode(self.superblock.root_nid.into())
    }

    /// The inode of a number.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if there is none; those of the device.
    pub fn inode(&self, nid: u64) -> Result<Inode> {
        let corrupt = Error::Corrupt { what: "EROFS inode" };
        let Some(start) = nid.checked_mul(SLOT_BYTES) else { return Err(corrupt) };
        let mut raw = [0; 64];
        self.device.read_at(&mut raw, start)?;
        let raw = RawInode::decode(&raw).ok_or(corrupt)?;
        let RawInode { mode, uid, gid, size, nlink, mtime, mtime_nsec, .. } = raw;
        Ok(Inode { nid, mode, uid, gid, size, nlink, mtime, mtime_nsec, raw })
    }

    /// The inode at a path relative to the root; links are not followed.
    ///
    /// # Errors
    /// As [`Self::inode`].
    pub fn find(&self, path: &[u8]) -> Result<Option<Inode>> {
        let mut inode = self.root()?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            if !inode.is_directory() {
                return Ok(None);
            }
            let Some(entry) = self.entries(&inode)?.into_iter().find(|entry| entry.name == name) else {
                return Ok(None);
            };
            inode = self.inode(entry.nid)?;
        }
        Ok(Some(inode))
    }

    /// Fills `bytes` with an inode's content from `offset` on; returns how much there was.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if its blocks cannot be found; those of the device.
    pub fn read(&self, inode: &Inode, offset: u64, bytes: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset.saturating_add(done as u64);
            let Some(left) = inode.size.checked_sub(at).filter(|left| *left > 0) else { break };
            let (place, run) = self.map(inode, at)?;
            let now = usize::try_from(left.min(run)).unwrap_or(usize::MAX).min(bytes.len() - done);
            let target = &mut bytes[done..done + now];
            match place {
                Some(place) => self.device.read_at(target, place)?,
                None => target.fill(0),
            }
            done += now;
        }
        Ok(done)
    }

    /// Entries of a directory, `.` and `..` included.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; those of the device.
    pub fn entries(&self, directory: &Inode) -> Result<Vec<Dirent>> {
        let mut entries = Vec::new();
        let mut offset = 0;
        while offset < directory.size {
            let mut block = [0; BLOCK_LEN];
            let len = self.read(directory, offset, &mut block)?;
            block_entries(&block[..len], &mut entries).ok_or(Error::Corrupt { what: "EROFS directory" })?;
            offset += BLOCK_BYTES;
        }
        Ok(entries)
    }

    /// Target of a symbolic link.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is longer than Linux allows; those of the device.
    pub fn target(&self, link: &Inode) -> Result<Vec<u8>> {
        let len = usize::try_from(link.size).ok().filter(|len| *len < 4096);
        let mut target = vec![0; len.ok_or(Error::Corrupt { what: "EROFS symbolic link" })?];
        self.read(link, 0, &mut target)?;
        Ok(target)
    }

    /// Extended attributes by their full names, as a guest sees them.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; those of the device.
    pub fn xattrs(&self, inode: &Inode) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        // At most 256 KiB: the count has 16 bits.
        let mut raw = vec![0; usize::try_from(inode.raw.xattr_bytes()).unwrap_or_default()];
        self.device.read_at(&mut raw, inode.start() + INODE_BYTES)?;
        let mut xattrs = Vec::new();
        let mut rest = raw.get(XATTR_HEADER_BYTES..).unwrap_or_default();
        while !rest.is_empty() {
            rest = one_xattr(rest, &mut xattrs).ok_or(Error::Corrupt { what: "EROFS attribute" })?;
        }
        Ok(xattrs)
    }

    /// Where the byte at `offset` lies on the device, or that it is in a hole, and for how many bytes that holds.
    fn map(&self, inode: &Inode, offset: u64) -> Result<(Option<u64>, u64)> {
        let raw = &inode.raw;
        match raw.layout {
            DataLayout::Plain => Ok((Some(u64::from(raw.data) * BLOCK_BYTES + offset), raw.size - offset)),
            DataLayout::Inline => {
                let tail = raw.size / BLOCK_BYTES * BLOCK_BYTES;
                Ok(match offset.checked_sub(tail) {
                    Some(into) => (Some(inode.end() + into), raw.size - offset),
                    None => (Some(u64::from(raw.data) * BLOCK_BYTES + offset), tail - offset),
                })
            }
            DataLayout::Chunked => {
                let bits = raw.data & 0x1f;
                let chunk_bytes = BLOCK_BYTES << bits;
                let mut entry = [0; 4];
                self.device.read_at(&mut entry, inode.end() + offset / chunk_bytes * 4)?;
                let into = offset % chunk_bytes;
                let block = u32::from_le_bytes(entry);
                let place = (block != NULL_BLOCK).then(|| u64::from(block) * BLOCK_BYTES + into);
                Ok((place, chunk_bytes - into))
            }
        }
    }
}

/// Reads one block of a directory; `None` if it is damaged.
fn block_entries(block: &[u8], entries: &mut Vec<Dirent>) -> Option<()> {
    let name_offset = |index: usize| -> Option<usize> {
        let raw = block.get(index * DIRENT_BYTES..(index + 1) * DIRENT_BYTES)?;
        Some(usize::from(u16::from_le_bytes(get(raw, 8))))
    };
    let count = name_offset(0)? / DIRENT_BYTES;
    for index in 0..count {
        let raw = block.get(index * DIRENT_BYTES..(index + 1) * DIRENT_BYTES)?;
        let end = if index + 1 < count { name_offset(index + 1)? } else { block.len() };
        let name = block.get(name_offset(index)?..end)?;
        let name = name.split(|byte| *byte == 0).next()?;
        if name.is_empty() {
            return None;
        }
        entries.push(Dirent { name: name.to_vec(), nid: u64::from_le_bytes(get(raw, 0)) });
    }
    Some(())
}

/// Reads one attribute and returns what follows it; `None` if it is damaged.
fn one_xattr<'x>(raw: &'x [u8], xattrs: &mut Vec<(Vec<u8>, Vec<u8>)>) -> Option<&'x [u8]> {
    let head = raw.get(..4)?;
    let name_len = usize::from(head[0]);
    let value_len = usize::from(u16::from_le_bytes(get(head, 2)));
    let name = raw.get(4..4 + name_len)?;
    let value = raw.get(4 + name_len..4 + name_len + value_len)?;
    xattrs.push((xattr::full_name(head[1], name)?, value.to_vec()));
    raw.get((4 + name_len + value_len).next_multiple_of(4)..)
}
