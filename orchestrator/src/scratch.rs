//! The scratch disk: what a sandbox writes to its root.
//!
//! A sparse file holding an ext4 without journal that is laid out but empty, written from a template of a few dozen
//! blocks. The templates are made by `cargo xtask scratch-templates`; their inode tables count as zeroed, which they
//! are in a sparse file, so the guest's kernel zeroes nothing. The file has no name, so it ends with its last user.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

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

/// The same with a journal, for disks that outlive their machines.
const JOURNALED: [Template; 2] = [
    Template { bytes: 64 << 20, blocks: include_bytes!("scratch/64m-journal.ext4.zz") },
    Template { bytes: DEFAULT_BYTES, blocks: include_bytes!("scratch/8g-journal.ext4.zz") },
];

/// A disk.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// Open for reading and writing.
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
        let file = nameless(dir).map_err(Error::file("create a scratch disk in", dir))?;
        let grow = fill(&file, &TEMPLATES, bytes).map_err(Error::file("write a scratch disk in", dir))?;
        Ok(Self { file, grow })
    }

    /// Opens the disk at `path`, which is made with `bytes`, at least 64 MiB, if it is not there. Its file system has a
    /// journal: it outlives its machine, whatever ends that.
    ///
    /// # Errors
    /// The file cannot be opened, made or written.
    pub(crate) fn open_or_create(path: &Path, bytes: u64) -> Result<Self, Error> {
        match OpenOptions::new().read(true).write(true).open(path) {
            // A guest that was cut off may not have grown it yet; to grow it again changes nothing.
            Ok(file) => return Ok(Self { file, grow: !TEMPLATES.iter().any(|one| one.bytes == bytes) }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::file("open", path)(error)),
        }
        let new = unfinished(path);
        let make = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(true).mode(0o600);
            let file = options.open(&new)?;
            let grow = fill(&file, &JOURNALED, bytes)?;
            file.sync_all()?;
            // A disk that has the name is whole.
            std::fs::rename(&new, path)?;
            Ok(Self { file, grow })
        };
        make().map_err(Error::file("make the disk", path))
    }
}

/// Where a kept disk that is being made lies until it is whole.
fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("new")
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

/// Lays out an empty file system of at least `bytes`; true if the file is longer than the file system.
fn fill(file: &File, templates: &[Template], bytes: u64) -> io::Result<bool> {
    let template = templates.iter().rev().find(|template| template.bytes <= bytes).unwrap_or(&templates[0]);
    let bytes = bytes.max(template.bytes);
    file.set_len(bytes)?;
    write_blocks(file, template.blocks)?;
    Ok(bytes > template.bytes)
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
    fn a_kept_disk_is_made_once_and_has_a_journal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.img");
        for (bytes, grow) in [(DEFAULT_BYTES, false), (1 << 30, true)] {
            std::fs::write(unfinished(&path), "the rest of a process that was killed").unwrap();
            let made = Scratch::open_or_create(&path, bytes).unwrap();
            assert_eq!((made.grow, made.file.metadata().unwrap().len()), (grow, bytes));
            assert!(made.file.metadata().unwrap().blocks() * 512 < 1 << 20, "the disk is sparse");
            let fsck = Command::new("e2fsck").arg("-fn").arg(&path).output().unwrap();
            assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stdout));
            let features = Command::new("dumpe2fs").arg("-h").arg(&path).output().unwrap();
            assert!(String::from_utf8_lossy(&features.stdout).contains("has_journal"));
            made.file.write_all_at(b"mine", 0).unwrap();
            let again = Scratch::open_or_create(&path, bytes).unwrap();
            let mut start = [0; 4];
            again.file.read_exact_at(&mut start, 0).unwrap();
            assert_eq!((&start, again.grow), (b"mine", grow));
            std::fs::remove_file(&path).unwrap();
        }
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
