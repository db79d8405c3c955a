//! An archive as files below one directory, whatever the archive says.
//!
//! An entry's name is cut into components; `..` is refused. On a host the directories on the way are opened beneath
//! the target without following any link (openat2(2)), so neither a link in the archive nor one that was there before
//! leads outside. A file is always made anew, never written through an existing name.

mod place;

use std::io::{self, BufRead};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, chmodat, chownat,
    fchmod, ftruncate, linkat, makedev, mkdirat, mknodat, openat, openat2, statat, symlinkat, unlinkat,
    utimensat,
};
use rustix::io::Errno;

use crate::{ArchiveLimits, Member, Segment, TarReader, Type, xattr};

/// Directories whose attributes wait for their content.
const MAX_DIRECTORIES: usize = 1 << 20;
/// The longest path of an entry, bytes (Linux' PATH_MAX).
const MAX_PATH_BYTES: usize = 4096;

/// Where an archive's content goes.
#[derive(Clone, Copy, Debug)]
pub enum Placement<'a> {
    /// Below an existing directory, by the archive's own names.
    Into,
    /// By the rules of `docker cp`; the archive's root is called `.`.
    Copy {
        /// What the source is called, for a target that is a directory.
        name: &'a [u8],
        /// The source was given as `DIRECTORY/.`: its content goes into the target.
        contents: bool,
    },
}

/// How an archive is unpacked.
#[derive(Clone, Copy, Debug)]
pub struct UnpackOptions<'a> {
    /// Where it goes.
    pub placement: Placement<'a>,
    /// Files get the owners and set-id bits that the archive gives them.
    pub owners: bool,
    /// The target is the guest's own: devices are made, and directories are reached through its links.
    pub is_own: bool,
}

/// Makes the files of an archive at `target`; gives back how many bytes of content they have. What is left out is told to
/// `warn`.
///
/// # Errors
/// The archive is damaged or refers outside of the target, the target is of a wrong kind, or a file cannot be made.
pub fn unpack(
    input: impl BufRead,
    target: &Path,
    options: UnpackOptions<'_>,
    warn: &mut dyn FnMut(String),
) -> io::Result<u64> {
    let mut reader = TarReader::new(input, ArchiveLimits::default());
    let first = reader.next_member().map_err(other)?;
    let Some(first) = first else {
        return match options.placement {
            // An empty archive goes nowhere, but a target that is not there is a mistake all the same.
            Placement::Into => place::into(target).map(|_| 0),
            Placement::Copy { .. } => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no file came")),
        };
    };
    let root = place::find(target, options.placement, &first)?;
    let mut unpacker = Unpacker {
        reader,
        options,
        root: root.directory,
        rename: root.file,
        warn,
        later: Vec::new(),
        content: 0,
    };
    unpacker.member(first)?;
    while let Some(member) = unpacker.reader.next_member().map_err(other)? {
        unpacker.member(member)?;
    }
    // Whoever packed it may still write the padding of its last block.
    unpacker.reader.drain().map_err(other)?;
    unpacker.finish()
}

struct Unpacker<'w, R> {
    reader: TarReader<R>,
    options: UnpackOptions<'w>,
    root: OwnedFd,
    /// The archive is one file, which gets this name.
    rename: Option<Vec<u8>>,
    warn: &'w mut dyn FnMut(String),
    later: Vec<(Vec<Vec<u8>>, Attributes)>,
    content: u64,
}

/// What a file is given besides its content.
struct Attributes {
    mode: Mode,
    owner: Option<(Uid, Gid)>,
    time: Timespec,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A directory and a name in it.
struct Spot {
    dir: OwnedFd,
    name: Vec<u8>,
}

impl Spot {
    /// A path for calls that take no directory.
    fn path(&self) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        let dir = Path::new("/proc/self/fd").join(self.dir.as_raw_fd().to_string());
        dir.join(std::ffi::OsStr::from_bytes(&self.name))
    }
}

impl<R: BufRead> Unpacker<'_, R> {
    fn member(&mut self, member: Member) -> io::Result<()> {
        let shown = String::from_utf8_lossy(&member.path).into_owned();
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{shown}: {error}"));
        let Some(path) = self.components(&member.path).map_err(named)? else {
            // The root is there already.
            if member.typ == Type::Directory && self.is_new_root() {
                let attributes = self.attributes(&member);
                self.later.push((Vec::new(), attributes));
            }
            return Ok(());
        };
        self.make(&path, member, &shown).map_err(named)
    }

    /// Whether the root's attributes are the archive's to say.
    fn is_new_root(&self) -> bool {
        matches!(self.options.placement, Placement::Copy { contents: false, .. })
    }

    /// The components of an entry's name; nothing for the root itself.
    fn components(&self, path: &[u8]) -> io::Result<Option<Vec<Vec<u8>>>> {
        if path.len() >= MAX_PATH_BYTES {
            return Err(io::Error::other("the path is too long"));
        }
        let mut components = Vec::new();
        for part in path.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(io::Error::other("the path leads out of the archive")),
                part => components.push(part.to_vec()),
            }
        }
        if let Some(name) = &self.rename {
            if !components.is_empty() {
                return Err(io::Error::other("one file was expected"));
            }
            components.push(name.clone());
        }
        Ok((!components.is_empty()).then_some(components))
    }

    /// Opens the directory of the last component; makes those that are missing.
    fn spot(&self, path: &[Vec<u8>]) -> io::Result<Spot> {
        let (name, parents) = path.split_last().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = match self.open(parents) {
            Err(Errno::NOENT) => {
                for end in 1..=parents.len() {
                    let above = self.open(&parents[..end - 1])?;
                    match mkdirat(&above, &parents[end - 1][..], Mode::from_raw_mode(0o755)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                }
                self.open(parents)?
            }
            Err(Errno::LOOP) => return Err(io::Error::other("a symbolic link is on the way")),
            other => other?,
        };
        Ok(Spot { dir, name: name.clone() })
    }

    fn open(&self, path: &[Vec<u8>]) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b".".to_vec() } else { path.join(&b'/') };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if self.options.is_own {
            return openat(&self.root, &path[..], flags, Mode::empty());
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.root, &path[..], flags, Mode::empty(), resolve)
    }

    fn make(&mut self, path: &[Vec<u8>], member: Member, shown: &str) -> io::Result<()> {
        let spot = self.spot(path)?;
        let attributes = self.attributes(&member);
        if member.typ == Type::Directory {
            return self.directory(&spot, path, attributes);
        }
        if matches!(member.typ, Type::CharDevice | Type::BlockDevice) && !self.options.is_own {
            (self.warn)(format!("{shown}: a device is not copied"));
            return Ok(());
        }
        let is_free = make_room(&spot)?;
        let (dir, name) = (&spot.dir, &spot.name[..]);
        match member.typ {
            Type::File => return self.file(&spot, &member, &attributes, is_free),
            Type::HardLink => {
                let Some(first) = self.components(&member.link)? else {
                    return Err(io::Error::other("a link to the archive's root"));
                };
                let first = self.spot(&first)?;
                return Ok(linkat(&first.dir, &first.name[..], dir, name, AtFlags::empty())?);
            }
            Type::Symlink => symlinkat(&member.link[..], dir, name)?,
            kind => {
                let number =
                    |number| u32::try_from(number).map_err(|_| io::Error::other("a device's number"));
                let device = makedev(number(member.major)?, number(member.minor)?);
                let kind = match kind {
                    Type::CharDevice => FileType::CharacterDevice,
                    Type::BlockDevice => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                mknodat(dir, name, kind, Mode::from_raw_mode(0o600), device)?;
            }
        }
        self.apply(&spot, &attributes, member.typ == Type::Symlink)
    }

    fn directory(&mut self, spot: &Spot, path: &[Vec<u8>], attributes: Attributes) -> io::Result<()> {
        match mkdirat(&spot.dir, &spot.name[..], Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let flags = if self.options.is_own { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
                let kind = statat(&spot.dir, &spot.name[..], flags).map(|stat| stat.st_mode);
                if !kind.is_ok_and(|mode| FileType::from_raw_mode(mode) == FileType::Directory) {
                    return Err(io::Error::other("cannot overwrite non-directory with directory"));
                }
            }
            Err(errno) => return Err(errno.into()),
        }
        if self.later.len() == MAX_DIRECTORIES {
            return Err(io::Error::other("the archive has too many directories"));
        }
        self.later.push((path.to_vec(), attributes));
        Ok(())
    }

    fn file(
        &mut self,
        spot: &Spot,
        member: &Member,
        attributes: &Attributes,
        is_free: bool,
    ) -> io::Result<()> {
        let made = if is_free { OFlags::CREATE | OFlags::EXCL } else { OFlags::TRUNC };
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY | made;
        let file = openat(&spot.dir, &spot.name[..], flags, Mode::from_raw_mode(0o600))?;
        let whole = [Segment { offset: 0, bytes: member.size }];
        for segment in member.segments.as_deref().unwrap_or(&whole) {
            self.segment(&file, *segment)?;
        }
        ftruncate(&file, member.size)?;
        self.content = self.content.saturating_add(member.size);
        self.apply(spot, attributes, false)
    }

    fn segment(&mut self, file: &OwnedFd, segment: Segment) -> io::Result<()> {
        let (mut offset, end) = (segment.offset, segment.offset + segment.bytes);
        while offset < end {
            let ready = self.reader.content().map_err(other)?;
            let most = usize::try_from(end - offset).unwrap_or(usize::MAX);
            let ready = &ready[..ready.len().min(most)];
            let count = match rustix::io::pwrite(file, ready, offset) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.reader.consume(count).map_err(other)?;
            offset += count as u64;
        }
        Ok(())
    }

    fn attributes(&self, member: &Member) -> Attributes {
        // Set-id bits give the owner's rights away: on a host they come with the owner or not at all.
        let mask = if self.options.owners || self.options.is_own { 0o7777 } else { 0o1777 };
        let id = |id| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        let owner = id(member.uid).zip(id(member.gid)).filter(|_| self.options.owners);
        Attributes {
            mode: Mode::from_raw_mode(u32::try_from(member.mode & mask).unwrap_or(0)),
            owner: owner.map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid))),
            time: Timespec { tv_sec: member.mtime, tv_nsec: i64::from(member.mtime_nsec) },
            xattrs: member.xattrs.clone(),
        }
    }

    /// Gives a new file its attributes. Nobody but this process has put anything at its name.
    fn apply(&self, spot: &Spot, attributes: &Attributes, is_link: bool) -> io::Result<()> {
        let (dir, name) = (&spot.dir, &spot.name[..]);
        if let Some((uid, gid)) = attributes.owner {
            chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if !is_link {
            let privileges = self.options.owners || self.options.is_own;
            xattr::write(&spot.path(), &attributes.xattrs, privileges)?;
            // After the owner: a change of owner clears the set-id bits.
            chmodat(dir, name, attributes.mode, AtFlags::empty())?;
        }
        Ok(utimensat(dir, name, &times(attributes.time), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Gives directories, innermost first, the attributes that their content would have changed or forbidden.
    fn finish(mut self) -> io::Result<u64> {
        for (path, attributes) in std::mem::take(&mut self.later).into_iter().rev() {
            let shown = || String::from_utf8_lossy(&path.join(&b'/')).into_owned();
            self.finish_directory(&path, &attributes)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", shown())))?;
        }
        Ok(self.content)
    }

    fn finish_directory(&self, path: &[Vec<u8>], attributes: &Attributes) -> io::Result<()> {
        let dir = self.open(path)?;
        let own = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
        let readable =
            openat(&dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        if let Some((uid, gid)) = attributes.owner {
            rustix::fs::fchown(&readable, Some(uid), Some(gid))?;
        }
        xattr::write(&own.join("."), &attributes.xattrs, self.options.owners || self.options.is_own)?;
        fchmod(&readable, attributes.mode)?;
        Ok(rustix::fs::futimens(&readable, &times(attributes.time))?)
    }
}

/// Frees the name; false where a mount holds it, so that the file there is written instead.
fn make_room(spot: &Spot) -> io::Result<bool> {
    match unlinkat(&spot.dir, &spot.name[..], AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR) => Err(io::Error::other("cannot overwrite directory with non-directory")),
        Err(Errno::BUSY) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn times(time: Timespec) -> Timestamps {
    Timestamps { last_access: time, last_modification: time }
}

fn other(error: crate::Error) -> io::Error {
    match error {
        crate::Error::Io(error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
    }
}

/// Opens a directory that the caller named, through links.
fn open_directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests;
