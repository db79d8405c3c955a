//! The tar formats: V7, ustar, PAX and GNU, with GNU's sparse files.
//!
//! Our own loop over `tar::Header`, because a layer is read once, in pieces lent by the inflater, and because the
//! oracle (umoci, so Go's `archive/tar`) is followed where formats leave room: header-only types have no content
//! whatever their size says, global PAX headers are skipped, numbers may be padded with blanks or NULs.

mod header;
mod pax;
mod sparse;

use std::io::{BufRead, Seek};

use tar::Header;

use crate::{ArchiveLimits, Error, Result};

pub use sparse::Segment;

/// Size of a tar record in bytes.
const RECORD: usize = 512;

/// What kind of file a header announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// One more name of a file earlier in the archive.
    HardLink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A pipe with a name.
    Fifo,
}

/// One file's header, extensions applied.
#[derive(Debug)]
pub struct Member {
    /// What it is.
    pub typ: Type,
    /// Its path as the archive gives it.
    pub path: Vec<u8>,
    /// The target of a link as the archive gives it.
    pub link: Vec<u8>,
    /// Type and permission bits as the archive gives them.
    pub mode: u64,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Last change of the content, seconds since 1970.
    pub mtime: i64,
    /// And nanoseconds.
    pub mtime_nsec: u32,
    /// Major number of a device.
    pub major: u64,
    /// Minor number of a device.
    pub minor: u64,
    /// Size of the file, holes included.
    pub size: u64,
    /// Runs of content, ascending and disjoint; `None`: all of it is content.
    pub segments: Option<Vec<Segment>>,
    /// Attributes by full name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Reads a tar stream member by member.
#[derive(Debug)]
pub struct TarReader<R> {
    input: R,
    limits: ArchiveLimits,
    /// Bytes of the stream consumed.
    offset: u64,
    /// Bytes of the current member's content not yet consumed.
    content: u64,
    /// Bytes of padding behind it.
    padding: u64,
    /// Passes over bytes and says how many it passed.
    skip: fn(&mut R, u64) -> std::io::Result<u64>,
}

impl<R: BufRead> TarReader<R> {
    /// Reads `input` in order.
    pub fn new(input: R, limits: ArchiveLimits) -> Self {
        // As many as lie ready.
        let skip = |input: &mut R, bytes: u64| {
            let ready = input.fill_buf()?.len();
            let now = ready.min(usize::try_from(bytes).unwrap_or(usize::MAX));
            input.consume(now);
            Ok(now as u64)
        };
        Self { input, limits, offset: 0, content: 0, padding: 0, skip }
    }

    /// Offset in the stream of the current member's content.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of the current member's content, as many as lie ready; empty at its end. [`Self::consume`] them.
    ///
    /// # Errors
    /// The stream ends too early, or cannot be read.
    pub fn content(&mut self) -> Result<&[u8]> {
        if self.content == 0 {
            return Ok(&[]);
        }
        let offset = self.offset;
        let ready = self.input.fill_buf()?;
        if ready.is_empty() {
            return Err(Error::Tar { offset, what: "the archive ends within a file" });
        }
        let len = ready.len().min(usize::try_from(self.content).unwrap_or(usize::MAX));
        Ok(&ready[..len])
    }

    /// Marks `bytes` of what [`Self::content`] lent as read.
    ///
    /// # Errors
    /// The archive is longer than its limit.
    pub fn consume(&mut self, bytes: usize) -> Result<()> {
        self.content = self.content.saturating_sub(bytes as u64);
        self.advance(bytes)
    }

    /// The next file of the archive.
    ///
    /// # Errors
    /// The archive is damaged, passes a limit, or cannot be read.
    pub fn next_member(&mut self) -> Result<Option<Member>> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_rest()?;
            let Some(header) = self.next_header()? else { return Ok(None) };
            let size = self.number(&header.as_old().size)?;
            let kind = header.as_old().linkflag[0];
            match kind {
                b'x' => {
                    let raw = self.extension(size)?;
                    extensions.pax = pax::Pax::parse(&raw).ok_or_else(|| self.bad("damaged PAX header"))?;
                }
                b'L' => extensions.path = Some(header::c_string(&self.extension(size)?).to_vec()),
                b'K' => extensions.link = Some(header::c_string(&self.extension(size)?).to_vec()),
                // Global headers describe the archive (git writes its commit there), never a layer's files.
                b'g' => drop(self.extension(size)?),
                _ => return self.member(&header, extensions).map(Some),
            }
        }
    }

    /// Reads to the end of the stream, where its sender may have padded it.
    ///
    /// # Errors
    /// The stream cannot be read, or is longer than its limit.
    pub fn drain(&mut self) -> Result<()> {
        loop {
            let ready = self.input.fill_buf()?.len();
            if ready == 0 {
                return Ok(());
            }
            self.advance(ready)?;
        }
    }

    fn member(&mut self, header: &Header, extensions: Extensions) -> Result<Member> {
        let old = header.as_old();
        let mut pax = extensions.pax;
        let size = match pax.size {
            Some(size) => size,
            None => self.number(&old.size)?,
        };
        let path = pax.path.take().or(extensions.path).unwrap_or_else(|| header.path_bytes().into_owned());
        let link =
            pax.link.take().or(extensions.link).unwrap_or_else(|| header::c_string(&old.linkname).to_vec());
        let typ = self.member_type(old.linkflag[0], &path)?;
        let (major, minor) = match typ {
            Type::CharDevice | Type::BlockDevice => {
                header::device(header).ok_or_else(|| self.bad("device number"))?
            }
            _ => (0, 0),
        };
        let (mtime, mtime_nsec) = match pax.mtime {
            Some(time) => time,
            None => (header::signed(&old.mtime).ok_or_else(|| self.bad("damaged time"))?, 0),
        };
        let mut member = Member {
            typ,
            path,
            link,
            mode: self.number(&old.mode)?,
            uid: pax.uid.map_or_else(|| self.number(&old.uid), Ok)?,
            gid: pax.gid.map_or_else(|| self.number(&old.gid), Ok)?,
            mtime,
            mtime_nsec,
            major,
            minor,
            size: 0,
            segments: None,
            xattrs: std::mem::take(&mut pax.xattrs),
        };
        if typ == Type::File {
            self.content = size;
            self.padding = size.wrapping_neg() % RECORD as u64;
            member.size = size;
            self.sparse(header, &mut pax, &mut member)?;
        }
        for path in [&member.path, &member.link] {
            if path.contains(&0) {
                return Err(self.bad("a NUL within a path"));
            }
        }
        Ok(member)
    }

    fn member_type(&self, flag: u8, path: &[u8]) -> Result<Type> {
        Ok(match flag {
            // Before ustar a directory was a file whose name ends in a slash.
            0 if path.ends_with(b"/") => Type::Directory,
            0 | b'0' | b'7' | b'S' => Type::File,
            b'1' => Type::HardLink,
            b'2' => Type::Symlink,
            b'3' => Type::CharDevice,
            b'4' => Type::BlockDevice,
            b'5' => Type::Directory,
            b'6' => Type::Fifo,
            _ => return Err(self.bad("unknown type of entry")),
        })
    }

    /// The next header record; `None` at the archive's end.
    fn next_header(&mut self) -> Result<Option<Header>> {
        let Some(header) = self.record()? else { return Ok(None) };
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            // The end: a second empty record, or that of the stream.
            return match self.record()? {
                Some(second) if second.as_bytes().iter().any(|byte| *byte != 0) => {
                    Err(self.bad("an entry behind the end mark"))
                }
                _ => Ok(None),
            };
        }
        if !header::checksum_matches(&header) {
            return Err(self.bad("wrong header checksum"));
        }
        Ok(Some(header))
    }

    fn record(&mut self) -> Result<Option<Header>> {
        let mut header = Header::new_old();
        match self.fill(header.as_mut_bytes())? {
            0 => Ok(None),
            RECORD => Ok(Some(header)),
            _ => Err(self.bad("the archive ends within a header")),
        }
    }

    /// Reads a whole extension header of `size` bytes.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > self.limits.header_bytes {
            return Err(Error::Limit {
                what: "bytes in an extension header",
                limit: self.limits.header_bytes,
            });
        }
        let mut raw = vec![0; usize::try_from(size).map_err(|_| self.bad("size"))?];
        if self.fill(&mut raw)? != raw.len() {
            return Err(self.bad("the archive ends within an extension header"));
        }
        self.padding = size.wrapping_neg() % RECORD as u64;
        Ok(raw)
    }

    /// Fills as much of `out` as the stream has.
    fn fill(&mut self, out: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < out.len() {
            let ready = self.input.fill_buf()?;
            if ready.is_empty() {
                break;
            }
            let now = ready.len().min(out.len() - done);
            out[done..done + now].copy_from_slice(&ready[..now]);
            self.advance(now)?;
            done += now;
        }
        Ok(done)
    }

    fn skip_rest(&mut self) -> Result<()> {
        let mut rest = std::mem::take(&mut self.content)
            .checked_add(std::mem::take(&mut self.padding))
            .ok_or_else(|| self.bad("size"))?;
        while rest > 0 {
            let now = (self.skip)(&mut self.input, rest)?;
            if now == 0 {
                return Err(self.bad("the archive ends within a file"));
            }
            self.count(now)?;
            rest -= now;
        }
        Ok(())
    }

    fn advance(&mut self, bytes: usize) -> Result<()> {
        self.input.consume(bytes);
        self.count(bytes as u64)
    }

    fn count(&mut self, bytes: u64) -> Result<()> {
        self.offset = self.offset.saturating_add(bytes);
        if self.offset > self.limits.stream_bytes {
            return Err(Error::Limit {
                what: "bytes in one unpacked archive",
                limit: self.limits.stream_bytes,
            });
        }
        Ok(())
    }

    fn number(&self, field: &[u8]) -> Result<u64> {
        header::unsigned(field).ok_or_else(|| self.bad("damaged number in a header"))
    }

    fn bad(&self, what: &'static str) -> Error {
        Error::Tar { offset: self.offset, what }
    }
}

impl<R: BufRead + Seek> TarReader<R> {
    /// Reads an archive in a file, of which contents that nobody asks for are not read.
    pub fn seeking(input: R, limits: ArchiveLimits) -> Self {
        let skip = |input: &mut R, bytes: u64| {
            let now = i64::try_from(bytes).unwrap_or(i64::MAX);
            input.seek_relative(now)?;
            Ok(now.unsigned_abs())
        };
        Self { skip, ..Self::new(input, limits) }
    }
}

/// What extension headers said about the member that follows.
#[derive(Debug, Default)]
struct Extensions {
    pax: pax::Pax,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}
