//! Reading a sandbox's log, across rotations, to its end or for as long as the sandbox runs.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;
use rustix::io::Errno;

use super::{KEPT_FILES, LogEntry, file};
use crate::kept::KeptSandbox;
use crate::receipts::end_of;
use crate::{Error, Home};

/// The entries of a log, oldest first.
#[derive(Debug)]
pub struct LogReader {
    dir: PathBuf,
    /// Older files first; the first one is being read.
    files: VecDeque<BufReader<File>>,
    line: Vec<u8>,
    follow: Option<Follow>,
    /// Bytes of the newest file that are to be read, while nothing is followed: what was there at the beginning. A sandbox may
    /// write faster than anybody reads.
    left: Option<u64>,
}

/// What wakes a follower.
#[derive(Debug)]
struct Follow {
    changes: OwnedFd,
    /// Readable, as a pipe at its end, once the sandbox is gone.
    end: OwnedFd,
    /// Readable, or hung up, once nobody wants more.
    interrupt: Option<OwnedFd>,
    ended: bool,
}

impl LogReader {
    /// Opens the log of `kept`; with `follow` it goes on until the sandbox ends.
    ///
    /// # Errors
    /// A file cannot be opened or watched.
    pub fn open(home: &Home, kept: &KeptSandbox, follow: bool) -> Result<Self, Error> {
        let dir = kept.log();
        let watched = follow.then(|| Follow::new(home, kept)).transpose()?.flatten();
        Self::begin(&dir, watched, !follow).map_err(Error::file("open", &dir))
    }

    /// Opens what is there; if `is_bounded`, that is all which is read.
    fn begin(dir: &Path, follow: Option<Follow>, is_bounded: bool) -> io::Result<Self> {
        let mut reader =
            Self { dir: dir.to_owned(), files: VecDeque::new(), line: Vec::new(), follow, left: None };
        reader.take_newer()?;
        if is_bounded {
            let newest = reader.files.back().map(|file| file.get_ref().metadata()).transpose()?;
            reader.left = Some(newest.map_or(0, |found| found.len()));
        }
        Ok(reader)
    }

    /// Opens the log of `kept` behind its last entry and follows it until the sandbox ends. Without a sandbox that runs
    /// nothing is followed.
    ///
    /// # Errors
    /// A file cannot be opened or watched.
    pub fn open_at_end(home: &Home, kept: &KeptSandbox) -> Result<Self, Error> {
        let dir = kept.log();
        let follow = Follow::new(home, kept)?;
        let mut reader = Self { dir, files: VecDeque::new(), line: Vec::new(), follow, left: None };
        let mut at_end = || match reader.file(0)? {
            Some(mut newest) => {
                newest.seek(io::SeekFrom::End(0))?;
                reader.files.push_back(BufReader::new(newest));
                Ok::<_, io::Error>(())
            }
            None => Ok(()),
        };
        at_end().map_err(Error::file("open", &reader.dir))?;
        Ok(reader)
    }

    /// Follows a log that was opened before its sandbox was started.
    ///
    /// # Errors
    /// The log cannot be watched.
    pub fn follow(&mut self, home: &Home, kept: &KeptSandbox) -> Result<(), Error> {
        self.follow = Follow::new(home, kept)?;
        self.left = None;
        Ok(())
    }

    /// Stops to wait for more entries once `interrupt` is readable or its other end is closed.
    #[must_use]
    pub fn interrupted_by(mut self, interrupt: OwnedFd) -> Self {
        if let Some(follow) = &mut self.follow {
            follow.interrupt = Some(interrupt);
        }
        self
    }

    /// The next entry; waits for one while the log is followed and the sandbox runs.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn next_entry(&mut self) -> io::Result<Option<LogEntry>> {
        loop {
            // Looked at before the file is: nothing is written after the end.
            let ended = self.follow.as_ref().is_none_or(|follow| follow.ended);
            while let Some(file) = self.files.front_mut() {
                let count = file.read_until(b'\n', &mut self.line)?;
                let is_newest = self.files.len() == 1;
                if let Some(left) = self.left.as_mut().filter(|_| is_newest) {
                    if *left == 0 {
                        self.line.clear();
                        break;
                    }
                    *left = left.saturating_sub(count as u64);
                }
                if self.line.ends_with(b"\n") {
                    let entry = LogEntry::read(&self.line);
                    self.line.clear();
                    if entry.is_some() {
                        return Ok(entry);
                    }
                } else if self.files.len() > 1 {
                    self.files.pop_front();
                    self.line.clear();
                } else if self.left.is_some() || !self.take_newer()? {
                    break;
                }
            }
            if self.files.is_empty() && self.left.is_none() && self.take_newer()? {
                continue;
            }
            match &mut self.follow {
                Some(follow) if !ended => follow.wait()?,
                _ => return Ok(None),
            }
        }
    }

    /// Adds the files that were begun since the newest one that is open, or all; true if there are any.
    fn take_newer(&mut self) -> io::Result<bool> {
        let before = self.files.len();
        while let Some(next) = self.next_file()? {
            self.files.push_back(BufReader::new(next));
        }
        Ok(self.files.len() > before)
    }

    /// The file that was begun after the newest one that is open; the oldest if none is open, or if so many were begun
    /// since that the next one is gone.
    fn next_file(&self) -> io::Result<Option<File>> {
        let newest = self.files.back().map(|file| file.get_ref().metadata()).transpose()?;
        let newest = newest.map(|metadata| metadata.ino());
        loop {
            // Files only grow older, so one that is there is found on the way to the oldest.
            let place = newest.and_then(|inode| (0..=KEPT_FILES).find(|age| self.inode(*age) == Some(inode)));
            let younger = 0..place.unwrap_or(KEPT_FILES + 1);
            let Some(next) = younger.clone().rev().find(|age| self.inode(*age).is_some()) else {
                return Ok(None);
            };
            let Some(opened) = self.file(next)? else { continue };
            // Files may have been put aside meanwhile. If each is still in its place, none is between the two.
            let is_next = place.is_none_or(|age| self.inode(age) == newest)
                && (next + 1..younger.end).all(|age| self.inode(age).is_none())
                && self.inode(next) == Some(opened.metadata()?.ino());
            if is_next {
                return Ok(Some(opened));
            }
        }
    }

    fn inode(&self, age: u32) -> Option<u64> {
        file(&self.dir, age).metadata().map(|found| found.ino()).ok()
    }

    fn file(&self, age: u32) -> io::Result<Option<File>> {
        match File::open(file(&self.dir, age)) {
            Ok(opened) => Ok(Some(opened)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Follow {
    /// Nothing if the sandbox does not run.
    fn new(home: &Home, kept: &KeptSandbox) -> Result<Option<Self>, Error> {
        let end = match end_of(&home.run().join(&kept.record().id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::file("follow", kept.log()))?,
        };
        let watch = || {
            let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
            let changes = inotify::init(flags)?;
            let what = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE;
            inotify::add_watch(&changes, kept.log(), what)?;
            Ok::<_, Errno>(changes)
        };
        let changes = watch().map_err(|errno| Error::file("follow", kept.log())(errno.into()))?;
        Ok(Some(Self { changes, end, interrupt: None, ended: false }))
    }

    fn wait(&mut self) -> io::Result<()> {
        let mut fds = vec![PollFd::new(&self.changes, PollFlags::IN), PollFd::new(&self.end, PollFlags::IN)];
        fds.extend(self.interrupt.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.ended = fds[1..].iter().any(|fd| !fd.revents().is_empty());
        // What changed is found by reading the files.
        let mut events = [0; 4096];
        match rustix::io::read(&self.changes, &mut events) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::{LogStream, LogWriter};
    use super::*;

    /// Whether or not the reader panics, the writer ends.
    struct Over<'a>(&'a AtomicU32);

    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(u32::MAX, Ordering::Release);
        }
    }

    /// Writes numbered lines to files of `file_bytes` while a follower reads them, which is never more than three files
    /// behind. The follower sees each line once.
    fn follow_numbers(lines: u32, line_bytes: usize, file_bytes: u64) {
        let dir = tempfile::tempdir().unwrap();
        // An entry takes more than eighty bytes.
        let (seen, ahead) = (AtomicU32::new(0), u32::try_from(file_bytes).unwrap() / 40);
        let log = LogWriter::open_with(dir.path(), file_bytes).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stdout, mut stderr) = (log.stream(LogStream::Stdout), log.stream(LogStream::Stderr));
                for number in 0..lines {
                    while number.saturating_sub(seen.load(Ordering::Acquire)) > ahead {
                        std::thread::yield_now();
                    }
                    let stream = if number % 7 == 0 { &mut stderr } else { &mut stdout };
                    stream.write_all(format!("{number:0line_bytes$}\n").as_bytes()).unwrap();
                }
            });
            let _over = Over(&seen);
            let mut reader = LogReader::begin(dir.path(), None, false).unwrap();
            for number in 0..lines {
                let entry = loop {
                    match reader.next_entry().unwrap() {
                        Some(entry) => break entry,
                        None => std::thread::yield_now(),
                    }
                };
                assert_eq!(entry.bytes, format!("{number:0line_bytes$}\n").as_bytes(), "line {number}");
                seen.store(number + 1, Ordering::Release);
            }
            assert!(reader.next_entry().unwrap().is_none());
        });
        // What is kept is the end, whole.
        let mut kept = LogReader::begin(dir.path(), None, true).unwrap();
        let mut numbers = Vec::new();
        while let Some(entry) = kept.next_entry().unwrap() {
            numbers.push(std::str::from_utf8(&entry.bytes).unwrap().trim().parse::<u32>().unwrap());
        }
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
        assert_eq!(numbers.last(), Some(&(lines - 1)));
    }

    #[test]
    fn who_does_not_follow_reads_what_was_there_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let log = LogWriter::open_with(dir.path(), 2000).unwrap();
        let mut stdout = log.stream(LogStream::Stdout);
        let mut write = |numbers: std::ops::Range<u32>| {
            numbers.for_each(|number| stdout.write_all(format!("{number}\n").as_bytes()).unwrap());
        };
        let mut none = LogReader::begin(dir.path(), None, true).unwrap();
        write(0..50);
        let mut reader = LogReader::begin(dir.path(), None, true).unwrap();
        let mut seen = 0;
        while let Some(entry) = reader.next_entry().unwrap() {
            assert_eq!(entry.bytes, format!("{seen}\n").as_bytes());
            seen += 1;
            // As fast as it is read.
            write(50 + 2 * seen..52 + 2 * seen);
        }
        assert_eq!((seen, reader.next_entry().unwrap().is_none()), (50, true));
        assert!(none.next_entry().unwrap().is_none());
    }

    #[test]
    fn a_follower_sees_each_line_once_however_fast_files_are_put_aside() {
        follow_numbers(5_000, 8, 2000);
    }

    /// In files of the usual size.
    #[test]
    fn ten_million_lines_go_through_rotation() {
        if std::env::var_os("MONOCORE_TEST_LONG").is_some() {
            follow_numbers(10_000_000, 8, super::super::FILE_BYTES);
        }
    }
}
