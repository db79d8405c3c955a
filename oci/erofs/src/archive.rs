//! Lists an archive whose files are used where they lie: one of a whole image, not a layer.

use std::io::{BufRead, Seek};

use monocore_archive::{ArchiveLimits, TarReader, Type};

use crate::error::{Error, Result};

/// Most files in such an archive.
const FILES: u64 = 16_384;
/// Files with longer paths are none of an image's.
const PATH_BYTES: usize = 1024;

/// A file in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveFile {
    /// Its path as the archive gives it.
    pub path: Vec<u8>,
    /// The target, if the file is a link.
    pub link: Option<ArchiveLink>,
    /// Offset of its content in the archive, in bytes.
    pub offset: u64,
    /// Size of its content in bytes.
    pub size: u64,
}

/// The target of a link in an archive, as the archive gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchiveLink {
    /// A path seen from the link's folder, or from the archive's root if it begins with a slash.
    Symbolic(Vec<u8>),
    /// A path seen from the archive's root.
    Hard(Vec<u8>),
}

impl ArchiveLink {
    fn len(&self) -> usize {
        match self {
            Self::Symbolic(target) | Self::Hard(target) => target.len(),
        }
    }
}

/// Lists the regular files and links of an archive in a file. Reads only its headers.
///
/// # Errors
/// [`Error::Tar`] for the archive's faults, [`Error::Limit`] for more than 16,384 files, else those of `input`.
pub fn list_archive<R: BufRead + Seek>(input: R) -> Result<Vec<ArchiveFile>> {
    let limits = ArchiveLimits { stream_bytes: u64::MAX, ..ArchiveLimits::default() };
    let mut tar = TarReader::seeking(input, limits);
    let mut files = Vec::new();
    while let Some(member) = tar.next_member()? {
        if files.len() as u64 == FILES {
            return Err(Error::Limit { what: "files in an image archive", limit: FILES });
        }
        let link = match member.typ {
            Type::File if member.segments.is_none() => None,
            Type::Symlink => Some(ArchiveLink::Symbolic(member.link)),
            Type::HardLink => Some(ArchiveLink::Hard(member.link)),
            _ => continue,
        };
        if member.path.len() + link.as_ref().map_or(0, ArchiveLink::len) > PATH_BYTES {
            continue;
        }
        files.push(ArchiveFile { path: member.path, link, offset: tar.offset(), size: member.size });
    }
    Ok(files)
}
