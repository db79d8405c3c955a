//! Reading a sandbox's log, across rotations, to its end or for as long as the sandbox runs.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

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
        let mut reader = Self { dir, files: VecDeque::new(), line: Vec::new(), follow: watched };
        for age in (0..=KEPT_FILES).rev() {
            reader.add(age).map_err(Error::file("open", &reader.dir))?;
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
        let mut reader = Self { dir, files: VecDeque::new(), line: Vec::new(), follow };
        let at_end = reader.add(0).and_then(|_| match reader.files.front_mut() {
            Some(file) => file.seek(io::SeekFrom::End(0)).map(drop),
            None => Ok(()),
        });
        at_end.map_err(Error::file("open", &reader.dir))?;
        Ok(reader)
    }

    /// Follows a log that was opened before its sandbox was started.
    ///
    /// # Errors
    /// The log cannot be watched.
    pub fn follow(&mut self, home: &Home, kept: &KeptSandbox) -> Result<(), Error> {
        self.follow = Follow::new(home, kept)?;
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
                file.read_until(b'\n', &mut self.line)?;
                if self.line.ends_with(b"\n") {
                    let entry = LogEntry::read(&self.line);
                    self.line.clear();
                    if entry.is_some() {
                        return Ok(entry);
                    }
                } else if self.files.len() > 1 {
                    self.files.pop_front();
                    self.line.clear();
                } else if !self.take_newer()? {
                    break;
                }
            }
            if self.files.is_empty() && self.add(0)? {
                continue;
            }
            match &mut self.follow {
                Some(follow) if !ended => follow.wait()?,
                _ => return Ok(None),
            }
        }
    }

    /// Adds the files that were begun since the newest one that is open; true if there are any.
    fn take_newer(&mut self) -> io::Result<bool> {
        let Some(newest) = self.files.back() else { return self.add(0) };
        let newest = newest.get_ref().metadata()?.ino();
        let inode = |age| file(&self.dir, age).metadata().map(|found| found.ino()).ok();
        // Rotation may go on meanwhile; a file that is seen twice has one inode.
        let age = (0..=KEPT_FILES).find(|age| inode(*age) == Some(newest)).unwrap_or(KEPT_FILES + 1);
        for newer in (0..age).rev() {
            self.add(newer)?;
        }
        Ok(age > 0)
    }

    fn add(&mut self, age: u32) -> io::Result<bool> {
        match File::open(file(&self.dir, age)) {
            Ok(opened) => {
                let inode = opened.metadata()?.ino();
                let known = |file: &BufReader<File>| {
                    file.get_ref().metadata().is_ok_and(|metadata| metadata.ino() == inode)
                };
                if self.files.iter().any(known) {
                    return Ok(false);
                }
                self.files.push_back(BufReader::new(opened));
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
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
