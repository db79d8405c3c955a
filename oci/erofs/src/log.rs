//! The tree log: a layer's entries in the order of its archive, and a closing summary.
//!
//! Wire form: the magic, then records of a little-endian `u32` length and that many bytes of postcard. A log
//! without its summary is damaged (its writer did not finish).

use std::io::{BufRead, Read, Write};

use serde::{Deserialize, Serialize};

use crate::entry::Entry;
use crate::error::{Error, Result};

/// Names the format; a change to [`Entry`] or to how data is laid out changes it.
const MAGIC: &[u8; 8] = b"mctree1\n";
/// No record is longer: paths and attributes of one entry are bounded by its headers, extents by the segments.
const RECORD_BYTES: u32 = 8 << 20;

/// What closes a log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of entries before it.
    pub entries: u64,
    /// Length of the layer's data file in bytes, a multiple of the block size.
    pub data_bytes: u64,
    /// What was left out of the layer and why, in words for the user; the first few.
    pub warnings: Vec<String>,
}

#[derive(Serialize, Deserialize)]
enum Record {
    Entry(Entry),
    Summary(Summary),
}

/// Writes a tree log.
#[derive(Debug)]
pub struct LogWriter<W> {
    out: W,
    scratch: Vec<u8>,
}

impl<W: Write> LogWriter<W> {
    /// Starts a log.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: W) -> Result<Self> {
        out.write_all(MAGIC)?;
        Ok(Self { out, scratch: Vec::new() })
    }

    /// Appends an entry.
    ///
    /// # Errors
    /// [`Error::Limit`] for an entry past any sensible size, else those of the output.
    pub fn entry(&mut self, entry: Entry) -> Result<()> {
        self.record(&Record::Entry(entry))
    }

    /// Closes the log and gives the output back, flushed.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(mut self, summary: Summary) -> Result<W> {
        self.record(&Record::Summary(summary))?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn record(&mut self, record: &Record) -> Result<()> {
        let mut raw = std::mem::take(&mut self.scratch);
        raw.clear();
        let raw = postcard::to_extend(record, raw).map_err(|_| Error::Corrupt { what: "tree log record" })?;
        let len = u32::try_from(raw.len())
            .ok()
            .filter(|len| *len <= RECORD_BYTES)
            .ok_or(Error::Limit { what: "bytes for one entry", limit: RECORD_BYTES.into() })?;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.write_all(&raw)?;
        self.scratch = raw;
        Ok(())
    }
}

/// Reads a tree log back.
#[derive(Debug)]
pub struct LogReader<R> {
    input: R,
    scratch: Vec<u8>,
    summary: Option<Summary>,
}

impl<R: BufRead> LogReader<R> {
    /// Opens a log.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is none or of another version; those of `input`.
    pub fn new(mut input: R) -> Result<Self> {
        let mut magic = [0; MAGIC.len()];
        input.read_exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(Error::Corrupt { what: "tree log" });
        }
        Ok(Self { input, scratch: Vec::new(), summary: None })
    }

    /// The next entry; `None` at the end, when [`Self::summary`] is known.
    ///
    /// # Errors
    /// [`Error::Corrupt`], or those of the input.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        if self.summary.is_some() {
            return Ok(None);
        }
        let mut len = [0; 4];
        self.input.read_exact(&mut len)?;
        let len = u32::from_le_bytes(len);
        if len > RECORD_BYTES {
            return Err(Error::Corrupt { what: "tree log record" });
        }
        self.scratch.clear();
        let read = self.input.by_ref().take(len.into()).read_to_end(&mut self.scratch)?;
        if read as u64 != u64::from(len) {
            return Err(Error::Corrupt { what: "tree log record" });
        }
        match postcard::from_bytes(&self.scratch).map_err(|_| Error::Corrupt { what: "tree log record" })? {
            Record::Entry(entry) => Ok(Some(entry)),
            Record::Summary(summary) => {
                self.summary = Some(summary);
                Ok(None)
            }
        }
    }

    /// The log's summary, once [`Self::next_entry`] has returned `None`.
    pub fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Kind, Metadata};

    fn sample() -> Vec<u8> {
        let mut log = LogWriter::new(Vec::new()).unwrap();
        log.entry(Entry { path: b"a/b".to_vec(), kind: Kind::Fifo(Metadata::default()) }).unwrap();
        log.finish(Summary { entries: 1, data_bytes: 4096, warnings: vec!["w".into()] }).unwrap()
    }

    #[test]
    fn entries_and_summary_survive() {
        let raw = sample();
        let mut log = LogReader::new(&raw[..]).unwrap();
        assert_eq!(log.next_entry().unwrap().unwrap().path, b"a/b");
        assert_eq!(log.next_entry().unwrap(), None);
        assert_eq!(log.summary().unwrap().data_bytes, 4096);
    }

    #[test]
    fn a_log_cut_anywhere_is_an_error() {
        let raw = sample();
        for len in 0..raw.len() {
            let read = || -> Result<()> {
                let mut log = LogReader::new(&raw[..len])?;
                while log.next_entry()?.is_some() {}
                Ok(())
            };
            assert!(read().is_err(), "{len} of {} bytes", raw.len());
        }
    }

    #[test]
    fn a_length_from_a_damaged_log_allocates_nothing() {
        let mut raw = sample();
        raw[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(LogReader::new(&raw[..]).unwrap().next_entry(), Err(Error::Corrupt { .. })));
    }
}
