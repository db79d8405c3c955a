//! Where an archive goes, by the rules of `docker cp`.

use std::fs::Metadata;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Placement, open_directory};
use crate::{Member, Type};

/// Links followed to the end of a target.
const MAX_LINKS: usize = 40;

/// A directory to unpack into.
pub(super) struct Root {
    pub(super) directory: OwnedFd,
    /// The name of the one file that comes.
    pub(super) file: Option<Vec<u8>>,
}

/// The directory that an archive is unpacked into.
pub(super) fn into(target: &Path) -> io::Result<Root> {
    match std::fs::metadata(target) {
        Ok(there) if there.is_dir() => open(target, None),
        Ok(_) => Err(named(target, "not a directory")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(named(target, "no such directory")),
        Err(error) => Err(named(target, &error.to_string())),
    }
}

/// Finds or makes the directory that `first`, the archive's first entry, and what follows it go to.
pub(super) fn find(target: &Path, placement: Placement<'_>, first: &Member) -> io::Result<Root> {
    match placement {
        Placement::Into => into(target),
        Placement::Copy { name, contents } => {
            let there = match std::fs::metadata(target) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                other => Some(other.map_err(|error| named(target, &error.to_string()))?),
            };
            if first.path.iter().any(|byte| !matches!(byte, b'.' | b'/')) {
                return Err(io::Error::other("the archive's root is missing"));
            }
            if first.typ == Type::Directory {
                directory(target, there, name, contents)
            } else {
                file(target, there, name)
            }
        }
    }
}

fn directory(target: &Path, there: Option<Metadata>, name: &[u8], contents: bool) -> io::Result<Root> {
    let place = match there {
        Some(there) if !there.is_dir() => return Err(named(target, "cannot copy a directory to a file")),
        Some(_) if contents || name.is_empty() => return open(target, None),
        Some(_) => target.join(std::ffi::OsStr::from_bytes(name)),
        None => end_of_links(target)?,
    };
    match std::fs::create_dir(&place) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if !std::fs::symlink_metadata(&place)?.is_dir() {
                return Err(named(&place, "cannot overwrite non-directory with directory"));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(named(place.parent().unwrap_or(&place), "no such directory"));
        }
        other => other.map_err(|error| named(&place, &error.to_string()))?,
    }
    open(&place, None)
}

fn file(target: &Path, there: Option<Metadata>, name: &[u8]) -> io::Result<Root> {
    let bytes = target.as_os_str().as_bytes();
    let wants_directory = bytes.ends_with(b"/") || bytes.ends_with(b"/.");
    match there {
        Some(there) if there.is_dir() => return open(target, Some(name.to_vec())),
        Some(_) if wants_directory => return Err(named(target, "not a directory")),
        None if wants_directory => return Err(named(target, "no such directory")),
        _ => {}
    }
    let place = end_of_links(target)?;
    let name = place.file_name().ok_or_else(|| named(&place, "not the name of a file"))?.as_bytes().to_vec();
    let parent = match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    open(&parent, Some(name))
}

/// Where a path that may be a link in the end leads to; the end need not exist.
fn end_of_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match std::fs::read_link(&path) {
            Ok(link) => path = path.parent().unwrap_or(Path::new("/")).join(link),
            Err(_) => return Ok(path),
        }
    }
    Err(named(&path, "too many symbolic links"))
}

fn open(path: &Path, file: Option<Vec<u8>>) -> io::Result<Root> {
    let directory = open_directory(path).map_err(|errno| match errno {
        rustix::io::Errno::NOENT => named(path, "no such directory"),
        errno => named(path, &io::Error::from(errno).to_string()),
    })?;
    Ok(Root { directory, file })
}

fn named(path: &Path, problem: &str) -> io::Error {
    io::Error::other(format!("{}: {problem}", path.display()))
}
