//! One layer: tar stream in, data and tree log out.
//!
//! Paths are cleaned here, lexically; links within them are resolved when the log is replayed, against the tree
//! they then meet.

use std::io::{BufRead, Write};

use monocore_archive::{Member, Segment, TarReader, Type};

use crate::data::{DataStore, DataWriter};
use crate::entry::{Entry, FileData, Kind, Metadata, Xattr};
use crate::error::{Error, Result};
use crate::format::{NAME_MAX, encode_device};
use crate::limits::Limits;
use crate::log::{LogWriter, Summary};
use crate::xattr;

/// Prefix of a whiteout's name (OCI image spec 1.1 `layer.md`, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
/// Prefix of AUFS' own files, which old exports contain; only the opaque mark means anything.
const WHITEOUT_META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// So many warnings are kept in words.
const WARNINGS: usize = 16;
/// The owner that `chown` takes for "unchanged"; no file can have it.
const NO_OWNER: u64 = u32::MAX as u64;

/// What a conversion leaves.
#[derive(Debug)]
pub struct Converted<S, W> {
    /// The layer's data, complete.
    pub data: S,
    /// The layer's tree log, complete and flushed.
    pub log: W,
    /// What the log's summary says.
    pub summary: Summary,
}

/// Converts a layer: reads `tar` to the end of the stream, writes file contents to `data` and entries to `log`.
///
/// Blocks; meant for a thread of its own. The same stream gives the same bytes, however it is cut into pieces.
///
/// # Errors
/// [`Error::Tar`], [`Error::Refused`] and [`Error::Limit`] for the stream's faults, else those of the two outputs
/// and of `tar`. What was written is then worthless.
pub fn convert<R: BufRead, S: DataStore, W: Write>(
    tar: R,
    data: S,
    log: W,
    limits: &Limits,
) -> Result<Converted<S, W>> {
    let mut converter = Converter {
        tar: TarReader::new(tar, limits.archive()),
        data: DataWriter::new(data),
        limits,
        summary: Summary::default(),
    };
    let mut log = LogWriter::new(log)?;
    while let Some(member) = converter.tar.next_member()? {
        if converter.summary.entries == limits.entries {
            return Err(Error::Limit { what: "entries in one layer", limit: limits.entries });
        }
        if let Some(entry) = converter.entry(member)? {
            log.entry(entry)?;
            converter.summary.entries += 1;
        }
    }
    converter.tar.drain()?;
    let mut summary = converter.summary;
    let (data, data_bytes) = converter.data.into_store()?;
    summary.data_bytes = data_bytes;
    let log = log.finish(summary.clone())?;
    Ok(Converted { data, log, summary })
}

struct Converter<'a, R, S> {
    tar: TarReader<R>,
    data: DataWriter<S>,
    limits: &'a Limits,
    summary: Summary,
}

impl<R: BufRead, S: DataStore> Converter<'_, R, S> {
    /// The entry a member stands for; `None` if it is left out.
    fn entry(&mut self, member: Member) -> Result<Option<Entry>> {
        let path = self.clean(&member.path, &member.path)?;
        if let Some(whiteout) = self.whiteout(&member, &path)? {
            return Ok(whiteout);
        }
        if path.is_empty() && member.typ != Type::Directory {
            return Err(Error::refused(&member.path, "the root must be a directory"));
        }
        let kind = match member.typ {
            Type::HardLink => Kind::HardLink(self.clean(&member.link, &member.path)?),
            Type::Symlink => {
                if member.link.is_empty() || member.link.len() >= self.limits.path_bytes {
                    return Err(Error::refused(&member.path, "link target empty or too long"));
                }
                let metadata = self.metadata(&member, 0o777)?;
                Kind::Symlink(metadata, member.link)
            }
            Type::Directory => Kind::Directory(self.metadata(&member, mode(&member))?),
            Type::Fifo => Kind::Fifo(self.metadata(&member, mode(&member))?),
            Type::CharDevice | Type::BlockDevice => match self.device(&member)? {
                Some(kind) => kind,
                None => return Ok(None),
            },
            Type::File => {
                let metadata = self.metadata(&member, mode(&member))?;
                Kind::File(metadata, self.content(&member)?)
            }
        };
        Ok(Some(Entry { path, kind }))
    }

    /// `Some` if the path is a whiteout's or AUFS', with the entry it stands for if any.
    fn whiteout(&mut self, member: &Member, path: &[u8]) -> Result<Option<Option<Entry>>> {
        if path.starts_with(WHITEOUT_META) && path != OPAQUE {
            self.warn(&member.path, "left out: AUFS' own file");
            return Ok(Some(None));
        }
        let (parent, name) = split(path);
        if parent.split(|byte| *byte == b'/').any(|component| component.starts_with(WHITEOUT)) {
            return Err(Error::refused(&member.path, "an entry beneath a whiteout"));
        }
        let Some(hidden) = name.strip_prefix(WHITEOUT) else { return Ok(None) };
        let entry = match hidden {
            _ if name == OPAQUE => Entry { path: parent.to_vec(), kind: Kind::Opaque },
            b"" | b"." | b".." => return Err(Error::refused(&member.path, "a whiteout without a name")),
            // Names of AUFS' own files below the root; nothing real can be called so.
            _ if name.starts_with(WHITEOUT_META) => {
                self.warn(&member.path, "left out: AUFS' own file");
                return Ok(Some(None));
            }
            _ => {
                let separator: &[u8] = if parent.is_empty() { b"" } else { b"/" };
                Entry { path: [parent, separator, hidden].concat(), kind: Kind::Whiteout }
            }
        };
        Ok(Some(Some(entry)))
    }

    fn device(&mut self, member: &Member) -> Result<Option<Kind>> {
        let number = match (u32::try_from(member.major), u32::try_from(member.minor)) {
            (Ok(major), Ok(minor)) => encode_device(major, minor),
            _ => None,
        };
        let number = number.ok_or_else(|| Error::refused(&member.path, "device number out of range"))?;
        let metadata = self.metadata(member, mode(member))?;
        if member.typ == Type::BlockDevice {
            return Ok(Some(Kind::BlockDevice(metadata, number)));
        }
        if number == 0 {
            self.warn(&member.path, "left out: character device 0:0, which overlayfs takes for a whiteout");
            return Ok(None);
        }
        Ok(Some(Kind::CharDevice(metadata, number)))
    }

    fn content(&mut self, member: &Member) -> Result<FileData> {
        if member.size > self.limits.file_bytes {
            return Err(Error::Limit { what: "bytes in one file", limit: self.limits.file_bytes });
        }
        let whole = [Segment { offset: 0, bytes: member.size }];
        let segments = member.segments.as_deref().unwrap_or(&whole);
        let bytes = segments.iter().map(|segment| segment.bytes).sum();
        let mut file = self.data.begin(member.size, segments.len(), bytes);
        for segment in segments {
            let (mut offset, end) = (segment.offset, segment.offset + segment.bytes);
            while offset < end {
                let ready = self.tar.content()?;
                let len = ready.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX));
                if len == 0 {
                    // The sum of the segments was found equal to the content.
                    return Err(Error::Corrupt { what: "sparse map" });
                }
                self.data.write(&mut file, offset, &ready[..len])?;
                self.tar.consume(len)?;
                offset += len as u64;
            }
        }
        self.data.finish(file)
    }

    fn metadata(&mut self, member: &Member, mode: u16) -> Result<Metadata> {
        let owner = |id: u64| {
            let id = (id != NO_OWNER).then_some(id).and_then(|id| u32::try_from(id).ok());
            id.ok_or_else(|| Error::refused(&member.path, "owner out of range"))
        };
        Ok(Metadata {
            mode,
            uid: owner(member.uid)?,
            gid: owner(member.gid)?,
            mtime: member.mtime,
            mtime_nsec: member.mtime_nsec,
            xattrs: self.xattrs(member)?,
        })
    }

    fn xattrs(&mut self, member: &Member) -> Result<Vec<Xattr>> {
        let plain = matches!(member.typ, Type::File | Type::Directory);
        let mut xattrs = Vec::with_capacity(member.xattrs.len());
        for (name, value) in &member.xattrs {
            match xattr::convert(name, value.clone(), plain) {
                Ok(xattr) => xattrs.push(xattr),
                Err(why) => {
                    let what = format!("attribute {} left out: {why}", String::from_utf8_lossy(name));
                    self.warn(&member.path, &what);
                }
            }
        }
        if xattr::inline_bytes(&xattrs) > xattr::INLINE_MAX {
            return Err(Error::Limit { what: "bytes of attributes on one file", limit: xattr::INLINE_MAX });
        }
        xattrs.sort();
        Ok(xattrs)
    }

    /// Resolves `.`, `..` and slashes without looking at any file; what would leave the root stays at it.
    fn clean(&self, path: &[u8], of: &[u8]) -> Result<Vec<u8>> {
        if path.len() >= self.limits.path_bytes {
            return Err(Error::refused(of, "path too long"));
        }
        let mut components: Vec<&[u8]> = Vec::new();
        for component in path.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => drop(components.pop()),
                name if name.len() > NAME_MAX => {
                    return Err(Error::refused(of, "name longer than 255 bytes"));
                }
                name => components.push(name),
            }
        }
        Ok(components.join(&b'/'))
    }

    fn warn(&mut self, path: &[u8], what: &str) {
        if self.summary.warnings.len() < WARNINGS {
            // A path has at most 4 KiB, an attribute's name is cut to keep the log small.
            let mut text = format!("{}: {what}", String::from_utf8_lossy(path));
            text.truncate(text.floor_char_boundary(1024));
            self.summary.warnings.push(text);
        }
    }
}

/// Parent and name of a cleaned path.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// Permission bits of a header; its type bits, if any, are ignored.
fn mode(member: &Member) -> u16 {
    // Twelve bits always fit.
    u16::try_from(member.mode & 0o7777).unwrap_or_default()
}
