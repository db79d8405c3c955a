//! GNU's sparse files: the old header form and PAX 0.0, 0.1 and 1.0 (GNU tar manual, "Storing Sparse Files").

use std::io::BufRead;

use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use super::header::unsigned;
use super::pax::{Pax, number};
use super::{Member, RECORD, TarReader};
use crate::{Error, Result};

/// A run of content in a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
}

impl<R: BufRead> TarReader<R> {
    /// Completes a file's member if it is sparse; the content that follows is then that of the segments.
    pub(super) fn sparse(&mut self, header: &Header, pax: &mut Pax, member: &mut Member) -> Result<()> {
        let keys = &mut pax.sparse;
        let segments = if header.as_old().linkflag[0] == b'S' {
            let gnu = header.as_gnu().ok_or_else(|| self.bad("sparse entry without GNU header"))?;
            member.size = self.number(&gnu.realsize)?;
            self.old_map(&gnu.sparse, gnu.isextended[0] != 0)?
        } else if keys.major == Some(1) && keys.minor == Some(0) {
            self.leading_map()?
        } else if keys.size.is_some() && keys.major.is_none_or(|major| major == 0) {
            std::mem::take(&mut keys.segments)
        } else {
            return Ok(());
        };
        if let Some(name) = keys.name.take() {
            member.path = name;
        }
        if let Some(size) = keys.size {
            member.size = size;
        }
        member.segments = Some(self.checked(segments, member.size)?);
        Ok(())
    }

    /// Segments must ascend, be disjoint, lie within the file, and be exactly the content that follows.
    fn checked(&self, mut segments: Vec<Segment>, size: u64) -> Result<Vec<Segment>> {
        if segments.len() > self.limits.sparse_segments {
            return Err(Error::Limit {
                what: "segments in one sparse file",
                limit: self.limits.sparse_segments as u64,
            });
        }
        let (mut end, mut total) = (0, 0);
        for segment in &segments {
            let after = segment.offset.checked_add(segment.bytes).filter(|after| *after <= size);
            end = after.filter(|_| segment.offset >= end).ok_or_else(|| self.bad("damaged sparse map"))?;
            // Disjoint and within the file: the sum cannot overflow.
            total += segment.bytes;
        }
        if total != self.content {
            return Err(self.bad("sparse map and content differ"));
        }
        segments.retain(|segment| segment.bytes > 0);
        Ok(segments)
    }

    /// The old form: four segments in the header, then records of 21 while each says that more follow.
    fn old_map(&mut self, first: &[GnuSparseHeader], mut more: bool) -> Result<Vec<Segment>> {
        let mut segments = Vec::new();
        self.old_segments(first, &mut segments)?;
        while more {
            let mut record = GnuExtSparseHeader::new();
            if self.fill(record.as_mut_bytes())? != RECORD {
                return Err(self.bad("the archive ends within a sparse map"));
            }
            self.old_segments(record.sparse(), &mut segments)?;
            more = record.is_extended();
            if segments.len() > self.limits.sparse_segments {
                return Err(Error::Limit {
                    what: "segments in one sparse file",
                    limit: self.limits.sparse_segments as u64,
                });
            }
        }
        Ok(segments)
    }

    fn old_segments(&self, raw: &[GnuSparseHeader], segments: &mut Vec<Segment>) -> Result<()> {
        for header in raw.iter().take_while(|header| header.offset[0] != 0 && header.numbytes[0] != 0) {
            let bad = || self.bad("damaged sparse map");
            let offset = unsigned(&header.offset).ok_or_else(bad)?;
            segments.push(Segment { offset, bytes: unsigned(&header.numbytes).ok_or_else(bad)? });
        }
        Ok(())
    }

    /// Format 1.0: decimal lines at the head of the content, padded to a record.
    fn leading_map(&mut self) -> Result<Vec<Segment>> {
        let mut lines = Lines { reader: self, record: [0; RECORD], used: RECORD };
        let count = lines.next()?;
        if count > lines.reader.limits.sparse_segments as u64 {
            return Err(Error::Limit {
                what: "segments in one sparse file",
                limit: lines.reader.limits.sparse_segments as u64,
            });
        }
        let mut segments = Vec::new();
        for _ in 0..count {
            segments.push(Segment { offset: lines.next()?, bytes: lines.next()? });
        }
        Ok(segments)
    }
}

/// Numbers, one a line, out of a member's content.
struct Lines<'r, R> {
    reader: &'r mut TarReader<R>,
    record: [u8; RECORD],
    used: usize,
}

impl<R: BufRead> Lines<'_, R> {
    fn next(&mut self) -> Result<u64> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => break,
                // No 64-bit number has more digits.
                _ if line.len() == 20 => return Err(self.reader.bad("damaged sparse map")),
                byte => line.push(byte),
            }
        }
        let value = if line.is_empty() { None } else { number(&line) };
        value.ok_or_else(|| self.reader.bad("damaged sparse map"))
    }

    fn byte(&mut self) -> Result<u8> {
        if self.used == RECORD {
            let rest = self.reader.content.checked_sub(RECORD as u64);
            self.reader.content = rest.ok_or_else(|| self.reader.bad("damaged sparse map"))?;
            if self.reader.fill(&mut self.record)? != RECORD {
                return Err(self.reader.bad("the archive ends within a sparse map"));
            }
            self.used = 0;
        }
        self.used += 1;
        Ok(self.record[self.used - 1])
    }
}
