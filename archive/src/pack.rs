//! A tree of files as an archive in PAX form (POSIX.1-2008 `pax`; holes as GNU's PAX 1.0, extended attributes as
//! star's `SCHILY.xattr.`).

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, SeekFrom, Stat, major, minor, openat, readlinkat, seek, statat,
};
use rustix::io::Errno;
use tar::{EntryType, Header};

use crate::xattr;

const BUFFER_BYTES: usize = 128 << 10;
const RECORD: u64 = 512;
/// A file with more holes is packed without any.
const MAX_RUNS: usize = 32_768;
/// The largest numbers that a header's fields hold in octal: seven and eleven digits.
const MAX_ID: u32 = 0o777_7777;
const MAX_SIZE: u64 = 0o777_7777_7777;

/// How a tree is packed.
#[derive(Clone, Copy, Debug)]
pub struct PackOptions<'a> {
    /// What the tree's root is called in the archive, `.` for instance.
    pub name: &'a [u8],
    /// Where the root is a symbolic link, what it leads to is packed.
    pub follow: bool,
}

/// Writes the file or directory at `path` and everything below it; gives back how many bytes of content it has. A file
/// that cannot be in an archive (a socket) is told to `warn` and left out; one that vanishes meanwhile is left out.
///
/// # Errors
/// Something cannot be read, named by the text; or `out` takes no more.
pub fn pack(
    path: &Path,
    options: PackOptions<'_>,
    out: impl Write,
    warn: &mut dyn FnMut(String),
) -> io::Result<u64> {
    let flags = if options.follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    let stat = statat(CWD, path, flags).map_err(|errno| at(path, errno))?;
    let mut packer = Packer { out, warn, links: BTreeMap::new(), content: 0, buffer: vec![0; BUFFER_BYTES] };
    let place = Place { dir: CWD, name: path.to_owned(), shown: path.to_owned(), follow: options.follow };
    packer.entry(&place, options.name.to_vec(), &stat)?;
    packer.out.write_all(&[0; 2 * 512])?;
    packer.out.flush()?;
    Ok(packer.content)
}

/// A file, by its directory and its name there.
struct Place<'a> {
    dir: BorrowedFd<'a>,
    name: PathBuf,
    /// What messages call it.
    shown: PathBuf,
    follow: bool,
}

impl Place<'_> {
    fn open(&self, flags: OFlags) -> io::Result<OwnedFd> {
        let link = if self.follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = flags | link | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        openat(self.dir, &self.name, flags, Mode::empty()).map_err(|errno| at(&self.shown, errno))
    }

    /// A path for calls that take no directory.
    fn path(&self) -> PathBuf {
        if self.dir.as_raw_fd() == CWD.as_raw_fd() {
            return self.name.clone();
        }
        Path::new("/proc/self/fd").join(self.dir.as_raw_fd().to_string()).join(&self.name)
    }
}

struct Packer<'w, W> {
    out: W,
    warn: &'w mut dyn FnMut(String),
    /// Files with several names, by device and inode: the name in the archive.
    links: BTreeMap<(u64, u64), Vec<u8>>,
    content: u64,
    buffer: Vec<u8>,
}

/// One entry's header while it is put together.
struct Entry {
    header: Header,
    pax: Vec<u8>,
}

impl<W: Write> Packer<'_, W> {
    fn entry(&mut self, place: &Place<'_>, name: Vec<u8>, stat: &Stat) -> io::Result<()> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut entry = Entry::new(stat);
        if kind != FileType::Directory && stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&key).cloned() {
                entry.link(EntryType::Link, &first);
                return self.head(entry, &name, 0);
            }
            self.links.insert(key, name.clone());
        }
        if kind != FileType::Symlink {
            // Not to follow a link, the attributes are read by a name in the directory.
            let read = if place.follow { std::fs::canonicalize(place.path())? } else { place.path() };
            for (key, value) in xattr::read(&read).map_err(|errno| at(&place.shown, errno))? {
                entry.record(&[b"SCHILY.xattr.", &key[..]].concat(), &value);
            }
        }
        match kind {
            FileType::Directory => {
                entry.header.set_entry_type(EntryType::Directory);
                self.head(entry, &[&name[..], b"/"].concat(), 0)?;
                self.directory(place, &name)
            }
            FileType::RegularFile => self.file(place, entry, &name, stat),
            FileType::Symlink => {
                let target = readlinkat(place.dir, &place.name, Vec::new())
                    .map_err(|errno| at(&place.shown, errno))?;
                entry.link(EntryType::Symlink, target.to_bytes());
                self.head(entry, &name, 0)
            }
            FileType::Fifo => {
                entry.header.set_entry_type(EntryType::Fifo);
                self.head(entry, &name, 0)
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                let block = kind == FileType::BlockDevice;
                entry.header.set_entry_type(if block { EntryType::Block } else { EntryType::Char });
                entry.header.set_device_major(major(stat.st_rdev))?;
                entry.header.set_device_minor(minor(stat.st_rdev))?;
                self.head(entry, &name, 0)
            }
            _ => {
                (self.warn)(format!("{}: a socket is not copied", place.shown.display()));
                Ok(())
            }
        }
    }

    fn directory(&mut self, place: &Place<'_>, name: &[u8]) -> io::Result<()> {
        let dir = place.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&dir).map_err(|errno| at(&place.shown, errno))? {
            match entry.map_err(|errno| at(&place.shown, errno))?.file_name().to_bytes() {
                b"." | b".." => {}
                name => names.push(name.to_vec()),
            }
        }
        names.sort();
        for child in names {
            use std::os::unix::ffi::OsStringExt;
            let file = PathBuf::from(std::ffi::OsString::from_vec(child.clone()));
            let shown = place.shown.join(&file);
            let stat = match statat(&dir, &file, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                other => other.map_err(|errno| at(&shown, errno))?,
            };
            let below = Place { dir: dir.as_fd(), name: file, shown, follow: false };
            match self.entry(&below, [name, b"/", &child].concat(), &stat) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn file(&mut self, place: &Place<'_>, mut entry: Entry, name: &[u8], stat: &Stat) -> io::Result<()> {
        let file = place.open(OFlags::RDONLY)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        entry.header.set_entry_type(EntryType::Regular);
        self.content = self.content.saturating_add(size);
        let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
        let runs = if blocks.saturating_mul(512) < size { runs(&file, size) } else { None };
        let Some(runs) = runs else {
            self.head(entry, name, size)?;
            return self.content_of(&file, &place.shown, 0, size, true);
        };
        let mut map = format!("{}\n", runs.len()).into_bytes();
        for (offset, bytes) in &runs {
            map.extend(format!("{offset}\n{bytes}\n").bytes());
        }
        map.resize(map.len().next_multiple_of(512), 0);
        for (key, value) in [("major", "1"), ("minor", "0")] {
            entry.record(format!("GNU.sparse.{key}").as_bytes(), value.as_bytes());
        }
        entry.record(b"GNU.sparse.name", name);
        entry.record(b"GNU.sparse.realsize", size.to_string().as_bytes());
        let data: u64 = runs.iter().map(|(_, bytes)| bytes).sum();
        let stored = map.len() as u64 + data;
        self.head(entry, b"GNUSparseFile/file", stored)?;
        self.out.write_all(&map)?;
        for (offset, bytes) in runs {
            self.content_of(&file, &place.shown, offset, bytes, false)?;
        }
        self.pad(stored)
    }

    /// Exactly `bytes` of the file from `offset` on; zeroes where it has become shorter.
    fn content_of(
        &mut self,
        file: &OwnedFd,
        shown: &Path,
        mut offset: u64,
        bytes: u64,
        pad: bool,
    ) -> io::Result<()> {
        let end = offset + bytes;
        while offset < end {
            let now = usize::try_from(end - offset).unwrap_or(usize::MAX).min(BUFFER_BYTES);
            let count = match rustix::io::pread(file, &mut self.buffer[..now], offset) {
                Err(Errno::INTR) => continue,
                other => other.map_err(|errno| at(shown, errno))?,
            };
            if count == 0 {
                self.buffer[..now].fill(0);
            }
            let count = if count == 0 { now } else { count };
            self.out.write_all(&self.buffer[..count])?;
            offset += count as u64;
        }
        if pad { self.pad(bytes) } else { Ok(()) }
    }

    fn pad(&mut self, bytes: u64) -> io::Result<()> {
        let padding = usize::try_from(bytes.wrapping_neg() % RECORD).unwrap_or(0);
        self.out.write_all(&[0; 512][..padding])
    }

    /// Writes an entry's headers.
    fn head(&mut self, mut entry: Entry, name: &[u8], size: u64) -> io::Result<()> {
        if !entry.short_name(name) {
            entry.record(b"path", name);
        }
        if size > MAX_SIZE {
            entry.record(b"size", size.to_string().as_bytes());
        }
        entry.header.set_size(size.min(MAX_SIZE));
        if !entry.pax.is_empty() {
            let mut header = Header::new_ustar();
            header.as_old_mut().name[..11].copy_from_slice(b"PaxHeader/x");
            header.set_entry_type(EntryType::XHeader);
            header.set_mode(0o644);
            header.set_size(entry.pax.len() as u64);
            header.set_cksum();
            self.out.write_all(header.as_bytes())?;
            self.out.write_all(&entry.pax)?;
            self.pad(entry.pax.len() as u64)?;
        }
        entry.header.set_cksum();
        self.out.write_all(entry.header.as_bytes())
    }
}

impl Entry {
    fn new(stat: &Stat) -> Self {
        let mut entry = Self { header: Header::new_ustar(), pax: Vec::new() };
        entry.header.set_mode(stat.st_mode & 0o7777);
        for (key, id) in [("uid", stat.st_uid), ("gid", stat.st_gid)] {
            if id > MAX_ID {
                entry.record(key.as_bytes(), id.to_string().as_bytes());
            }
        }
        entry.header.set_uid(u64::from(stat.st_uid.min(MAX_ID)));
        entry.header.set_gid(u64::from(stat.st_gid.min(MAX_ID)));
        let seconds = u64::try_from(stat.st_mtime).ok().filter(|seconds| *seconds <= MAX_SIZE);
        entry.header.set_mtime(seconds.unwrap_or(0));
        if seconds.is_none() || stat.st_mtime_nsec != 0 {
            let time = time(stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0));
            entry.record(b"mtime", time.as_bytes());
        }
        entry
    }

    /// The name in the header itself, where it has room.
    fn short_name(&mut self, name: &[u8]) -> bool {
        let field = &mut self.header.as_old_mut().name;
        let fits = name.len() <= field.len();
        let length = name.len().min(field.len());
        field[..length].copy_from_slice(&name[..length]);
        fits
    }

    fn link(&mut self, kind: EntryType, target: &[u8]) {
        self.header.set_entry_type(kind);
        let field = &mut self.header.as_old_mut().linkname;
        let length = target.len().min(field.len());
        field[..length].copy_from_slice(&target[..length]);
        if target.len() > length {
            self.record(b"linkpath", target);
        }
    }

    /// `length key=value\n`, where the length counts itself.
    fn record(&mut self, key: &[u8], value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while rest + length.to_string().len() != length {
            length = rest + length.to_string().len();
        }
        self.pax.extend(length.to_string().bytes());
        self.pax.push(b' ');
        self.pax.extend(key);
        self.pax.push(b'=');
        self.pax.extend(value);
        self.pax.push(b'\n');
    }
}

/// A time as PAX writes it, rounded down.
fn time(seconds: i64, nanos: i64) -> String {
    if seconds >= 0 {
        return format!("{seconds}.{nanos:09}");
    }
    // -1.25 is 0.75 after -2.
    let (whole, fraction) = if nanos == 0 { (-seconds, 0) } else { (-(seconds + 1), 1_000_000_000 - nanos) };
    format!("-{whole}.{fraction:09}")
}

/// The runs of content in a file with holes; nothing where the file system does not tell.
fn runs(file: &OwnedFd, size: u64) -> Option<Vec<(u64, u64)>> {
    let mut runs = Vec::new();
    let mut at = 0;
    while at < size {
        let begin = match seek(file, SeekFrom::Data(at)) {
            Ok(begin) => begin.min(size),
            Err(Errno::NXIO) => break,
            Err(_) => return None,
        };
        let end = seek(file, SeekFrom::Hole(begin)).ok()?.clamp(begin, size);
        if end == begin {
            break;
        }
        if runs.len() == MAX_RUNS {
            return None;
        }
        runs.push((begin, end - begin));
        at = end;
    }
    Some(runs)
}

/// Names the file that something went wrong with.
fn at(path: &Path, errno: Errno) -> io::Error {
    let error = io::Error::from(errno);
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
