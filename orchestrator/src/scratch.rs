//! The scratch disk: what a sandbox writes to its root.
//!
//! A sparse file holding an ext4 without journal that is laid out but empty, written from a template of a few dozen
//! blocks. The templates are made by `cargo xtask scratch-templates`; their inode tables count as zeroed, which they
//! are in a sparse file, so the guest's kernel zeroes nothing. The file has no name, so it ends with its last user.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use flate2::read::ZlibDecoder;
use rustix::fs::{Mode, OFlags};

use crate::Error;

/// Size of a disk nobody asked another size for, bytes.
pub(crate) const DEFAULT_BYTES: u64 = 8 << 30;

const BLOCK_BYTES: usize = 4096;

/// An empty file system: its size and, deflated, records of a block's number (32 bits, little-endian) and content.
struct Template {
    bytes: u64,
    blocks: &'static [u8],
}

/// Ascending by size.
const TEMPLATES: [Template; 2] = [
    Template { bytes: 64 << 20, blocks: include_bytes!("scratch/64m.ext4.zz") },
    Template { bytes: DEFAULT_BYTES, blocks: include_bytes!("scratch/8g.ext4.zz") },
];

/// A new disk.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// Open for reading and writing, without a name.
    pub(crate) file: File,
    /// The file system is smaller than the disk; the guest grows it.
    pub(crate) grow: bool,
}

impl Scratch {
    /// Makes a disk of `bytes`, at least 64 MiB, in `dir`.
    ///
    /// # Errors
    /// The file cannot be made or written.
    pub(crate) fn create(dir: &Path, bytes: u64) -> Result<Self, Error> {
        let template =
            TEMPLATES.iter().rev().find(|template| template.bytes <= bytes).unwrap_or(&TEMPLATES[0]);
        let file = nameless(dir).map_err(Error::file("create a scratch disk in", dir))?;
        let bytes = bytes.max(template.bytes);
        file.set_len(bytes)
            .and_then(|()| write_blocks(&file, template.blocks))
            .map_err(Error::file("write a scratch disk in", dir))?;
        Ok(Self { file, grow: bytes > template.bytes })
    }
}

/// A file without a name; where the file system has no such thing, one whose name is removed at once.
fn nameless(dir: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(file.into()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
            let path = dir.join("scratch");
            let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Writes the template's blocks, neighbours in one go.
fn write_blocks(file: &File, deflated: &[u8]) -> io::Result<()> {
    let mut blocks = Vec::new();
    ZlibDecoder::new(deflated).read_to_end(&mut blocks)?;
    let mut run: Vec<u8> = Vec::new();
    let mut run_start = 0;
    for record in blocks.chunks_exact(4 + BLOCK_BYTES) {
        let (number, content) = record.split_at(4);
        let number = u32::from_le_bytes(number.try_into().unwrap_or_default());
        let offset = u64::from(number) * BLOCK_BYTES as u64;
        if offset != run_start + run.len() as u64 {
            file.write_all_at(&run, run_start)?;
            run.clear();
            run_start = offset;
        }
        run.extend_from_slice(content);
    }
    file.write_all_at(&run, run_start)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;
    use std::process::Command;

    use super::*;

    fn check(bytes: u64, grow: bool) {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(dir.path(), bytes).unwrap();
        assert_eq!(scratch.grow, grow);
        assert_eq!(scratch.file.metadata().unwrap().len(), bytes);
        assert!(scratch.file.metadata().unwrap().blocks() * 512 < 1 << 20, "the disk is sparse");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the disk has no name");
        let path = format!("/proc/{}/fd/{}", std::process::id(), scratch.file.as_raw_fd());
        let fsck = Command::new("e2fsck").args(["-fn", &path]).output().unwrap();
        assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stdout));
    }

    #[test]
    fn the_default_disk_is_a_clean_ext4() {
        check(DEFAULT_BYTES, false);
    }

    #[test]
    fn other_sizes_leave_growing_to_the_guest() {
        check(64 << 20, false);
        check(1 << 30, true);
        check(20 << 30, true);
    }
}
