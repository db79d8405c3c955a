//! What lies in an archive, and where.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use monocore_erofs::{ArchiveLink, list_archive};

use crate::error::{Error, Result};
use crate::layer::Inflate;
use crate::manifest::DOCUMENT_BYTES;
use crate::store::{Shared, TempFile};

/// Links followed from one name.
const LINKS: usize = 8;

/// An archive, uncompressed, with what is in it.
pub(super) struct Contents {
    file: File,
    /// Keeps an archive that had to be inflated.
    _inflated: Option<TempFile>,
    files: HashMap<String, Place>,
}

enum Place {
    Content { offset: u64, size: u64 },
    Link(String),
}

/// A piece of the archive.
pub(super) struct Piece<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl Contents {
    /// Opens an archive in a file, compressed or not.
    pub(super) fn open(shared: &Shared, mut file: File) -> Result<Self> {
        let bad = |error: io::Error| Error::Archive(error.to_string());
        let mut start = [0; 4];
        let len = file.read_at(&mut start, 0).map_err(bad)?;
        let compressed = matches!(&start[..len], [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd]);
        let inflated = if compressed { Some(inflate(shared, &file)?) } else { None };
        if let Some(inflated) = &inflated {
            file = inflated.file().try_clone().map_err(bad)?;
        }
        // The clone shares its position with the file that was written.
        file.seek(SeekFrom::Start(0)).map_err(bad)?;
        let list = list_archive(BufReader::new(&file)).map_err(|error| Error::Archive(error.to_string()))?;
        let mut files = HashMap::new();
        for entry in list {
            let Some(path) = text(&entry.path) else { continue };
            let place = match entry.link {
                Some(link) => Place::Link(target(&path, &link).unwrap_or_default()),
                None => Place::Content { offset: entry.offset, size: entry.size },
            };
            files.insert(path, place);
        }
        Ok(Self { file, _inflated: inflated, files })
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.piece(path).is_ok()
    }

    /// The content of a file.
    pub(super) fn piece(&self, path: &str) -> Result<Piece<'_>> {
        let mut path = path.to_owned();
        for _ in 0..LINKS {
            match self.files.get(&normal(&path)) {
                Some(Place::Content { offset, size }) => {
                    return Ok(Piece { file: &self.file, offset: *offset, left: *size });
                }
                Some(Place::Link(target)) => path = target.clone(),
                None => break,
            }
        }
        Err(Error::Archive(format!("it lacks {path:?}")))
    }

    /// A small file.
    pub(super) fn document(&self, path: &str) -> Result<Vec<u8>> {
        let mut piece = self.piece(path)?;
        if piece.left > DOCUMENT_BYTES {
            return Err(Error::Archive(format!(
                "{path:?} has {} bytes, more than {DOCUMENT_BYTES}",
                piece.left
            )));
        }
        let mut raw = Vec::new();
        piece.read_to_end(&mut raw).map_err(|error| Error::Archive(error.to_string()))?;
        Ok(raw)
    }
}

impl Piece<'_> {
    pub(super) fn size(&self) -> u64 {
        self.left
    }
}

impl Read for Piece<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = out.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut out[..len], self.offset)?;
        if read == 0 && len > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends too early"));
        }
        self.offset += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// Inflates an archive into a temporary file: it is read from several places.
fn inflate(shared: &Shared, file: &File) -> Result<TempFile> {
    let bad = |error: io::Error| Error::Archive(error.to_string());
    let limit = shared.limits.image_bytes;
    let mut input = Inflate::new(BufReader::with_capacity(256 << 10, file)).map_err(bad)?.take(limit + 1);
    let mut out = TempFile::new(&shared.paths)?;
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        let len = input.read(&mut buffer).map_err(bad)?;
        if len == 0 {
            break;
        }
        total += len as u64;
        if total > limit {
            return Err(Error::Archive(format!("it inflates to more than {limit} bytes")));
        }
        out.write(&buffer[..len])?;
    }
    out.file().flush().map_err(bad)?;
    Ok(out)
}

fn text(path: &[u8]) -> Option<String> {
    Some(normal(std::str::from_utf8(path).ok()?))
}

/// A path without `.` and empty components; `..` goes up one, the root at most.
fn normal(path: &str) -> String {
    let mut components = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(components.pop()),
            name => components.push(name),
        }
    }
    components.join("/")
}

/// Where a link leads: a path from the archive's root, which `..` does not leave.
fn target(path: &str, link: &ArchiveLink) -> Option<String> {
    match link {
        ArchiveLink::Hard(target) => text(target),
        ArchiveLink::Symbolic(target) => {
            let target = std::str::from_utf8(target).ok()?;
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            Some(if target.starts_with('/') { normal(target) } else { normal(&format!("{folder}/{target}")) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_resolved_within_the_archive() {
        let symbolic = |target: &str| target_of("ab/layer.tar", ArchiveLink::Symbolic(target.into()));
        fn target_of(path: &str, link: ArchiveLink) -> String {
            target(path, &link).unwrap()
        }
        assert_eq!(symbolic("../cd/layer.tar"), "cd/layer.tar");
        assert_eq!(symbolic("other.tar"), "ab/other.tar");
        assert_eq!(symbolic("./../../../../cd/layer.tar"), "cd/layer.tar");
        assert_eq!(symbolic("/cd/layer.tar"), "cd/layer.tar");
        assert_eq!(target_of("ab/layer.tar", ArchiveLink::Hard("cd/layer.tar".into())), "cd/layer.tar");
    }
}
