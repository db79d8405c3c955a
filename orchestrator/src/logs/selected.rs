//! A part of a log: its last lines, or those from a time on, and what follows.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::SystemTime;

use super::{LogEntry, LogReader};
use crate::kept::KeptSandbox;
use crate::{Error, Home};

/// Which part of a log is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSelection {
    /// Only so many last lines of what is there; all when absent.
    pub tail: Option<usize>,
    /// Only entries from then on.
    pub since: Option<SystemTime>,
    /// Goes on until the sandbox ends.
    pub follow: bool,
}

/// The selected entries of a log, oldest first.
#[derive(Debug)]
pub struct SelectedLog {
    last: VecDeque<LogEntry>,
    reader: LogReader,
    since: Option<SystemTime>,
}

impl SelectedLog {
    /// Opens the log of `kept`. A follower stops to wait once `interrupt` is readable or its other end is closed.
    ///
    /// # Errors
    /// A file cannot be opened, read or watched.
    pub fn open(
        home: &Home,
        kept: &KeptSandbox,
        selection: LogSelection,
        interrupt: Option<OwnedFd>,
    ) -> Result<Self, Error> {
        let LogSelection { tail, since, follow } = selection;
        // What is there already is read first, so that the last lines of it can be told.
        let mut reader = LogReader::open(home, kept, follow)?;
        if let Some(interrupt) = interrupt {
            reader = reader.interrupted_by(interrupt);
        }
        let last = match tail {
            None => VecDeque::new(),
            Some(count) => {
                let now = LogReader::open(home, kept, false)?;
                last_lines(now, since, count, &mut reader).map_err(Error::file("read", kept.log()))?
            }
        };
        Ok(Self { last, reader, since })
    }

    /// The next entry; waits for one while the log is followed and the sandbox runs.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn next_entry(&mut self) -> io::Result<Option<LogEntry>> {
        if let Some(entry) = self.last.pop_front() {
            return Ok(Some(entry));
        }
        while let Some(entry) = self.reader.next_entry()? {
            if self.since.is_none_or(|since| entry.time >= since) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}

/// The entries of the last `count` lines that `now` has. `reader` is left behind them.
fn last_lines(
    mut now: LogReader,
    since: Option<SystemTime>,
    count: usize,
    reader: &mut LogReader,
) -> io::Result<VecDeque<LogEntry>> {
    let mut kept = VecDeque::new();
    let mut lines = 0;
    while let Some(entry) = now.next_entry()? {
        reader.next_entry()?;
        if since.is_some_and(|since| entry.time < since) {
            continue;
        }
        let begins = kept.back().is_none_or(|last: &LogEntry| last.bytes.ends_with(b"\n"));
        lines += usize::from(begins);
        kept.push_back(entry);
        while lines > count {
            // A line goes with all its parts.
            while kept.pop_front().is_some_and(|part| !part.bytes.ends_with(b"\n")) {}
            lines -= 1;
        }
    }
    Ok(kept)
}
