//! Reading events, from the oldest that is kept or from now on, across rotations.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::SystemTime;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::io::Errno;

use super::SandboxEvent;
use crate::home::make_private_dir;
use crate::{Error, Home};

/// The file that is written to.
pub(super) const NEW: &str = "events.jsonl";
/// The one before.
pub(super) const OLD: &str = "events.1.jsonl";

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventStart {
    /// With the oldest event that is kept.
    Oldest,
    /// With what happens from now on.
    Now,
}

/// The events of a state directory, oldest first.
#[derive(Debug)]
pub struct EventReader {
    dir: PathBuf,
    /// Older files first; the first one is being read.
    files: VecDeque<BufReader<File>>,
    line: Vec<u8>,
    changes: OwnedFd,
    /// Readable, or hung up, once nobody wants more.
    interrupt: Option<OwnedFd>,
}

impl EventReader {
    /// Opens the events of `home`.
    ///
    /// # Errors
    /// They cannot be opened or watched.
    pub fn open(home: &Home, start: EventStart) -> Result<Self, Error> {
        let dir = home.events();
        make_private_dir(&dir)?;
        let failed = |error: io::Error| Error::file("follow", &dir)(error);
        let changes = watch(&dir).map_err(|errno| failed(errno.into()))?;
        let mut reader =
            Self { dir: dir.clone(), files: VecDeque::new(), line: Vec::new(), changes, interrupt: None };
        reader.add_both().map_err(failed)?;
        if start == EventStart::Now {
            for file in &mut reader.files {
                file.seek(SeekFrom::End(0)).map_err(failed)?;
            }
        }
        Ok(reader)
    }

    /// [`Self::wait`] ends once `interrupt` is readable or its other end is closed.
    #[must_use]
    pub fn interrupted_by(mut self, interrupt: OwnedFd) -> Self {
        self.interrupt = Some(interrupt);
        self
    }

    /// The next event that is there, without waiting.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn next_event(&mut self) -> io::Result<Option<SandboxEvent>> {
        loop {
            let newest = self.files.len() <= 1;
            // Looked for before the file is read: nothing is appended to a file that was put aside.
            let fresh = newest && self.take_newer()?;
            if let Some(file) = self.files.front_mut() {
                while file.read_until(b'\n', &mut self.line)? > 0 && self.line.ends_with(b"\n") {
                    let event = serde_json::from_slice(&self.line).ok();
                    self.line.clear();
                    if let Some(event) = event {
                        return Ok(Some(event));
                    }
                }
            }
            if newest && !fresh {
                return Ok(None);
            }
            self.files.pop_front();
            self.line.clear();
        }
    }

    /// Waits until something may have been appended, or until `until`; false when that is past, or when it was
    /// interrupted.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(&self, until: Option<SystemTime>) -> io::Result<bool> {
        let left = match until.map(|until| until.duration_since(SystemTime::now())) {
            Some(Err(_)) => return Ok(false),
            Some(Ok(left)) => Timespec::try_from(left).ok(),
            None => None,
        };
        let mut fds = vec![PollFd::new(&self.changes, PollFlags::IN)];
        fds.extend(self.interrupt.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        match poll(&mut fds, left.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) if fds.get(1).is_some_and(|fd| !fd.revents().is_empty()) => return Ok(false),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        // What changed is found by reading the files.
        match rustix::io::read(&self.changes, &mut [0; 4096]) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(true),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Adds the files that were begun since the newest one that is open; true if there are any to go on to.
    fn take_newer(&mut self) -> io::Result<bool> {
        if let Some(newest) = self.files.back() {
            let newest = inode(newest.get_ref())?;
            let current = self.dir.join(NEW).metadata().map(|found| found.ino()).ok();
            if current.is_none_or(|current| current == newest) {
                return Ok(false);
            }
        }
        self.add_both()?;
        Ok(self.files.len() > 1)
    }

    /// Adds the file that was put aside and the one that is written to, as far as they are there and not open yet.
    /// The one that is written to is opened first: what is put aside afterwards is that one itself or older.
    fn add_both(&mut self) -> io::Result<()> {
        let current = self.existing(NEW)?;
        let aside = self.existing(OLD)?;
        for file in [aside, current].into_iter().flatten() {
            if !self.is_open(inode(&file)?) {
                self.files.push_back(BufReader::new(file));
            }
        }
        Ok(())
    }

    fn existing(&self, name: &str) -> io::Result<Option<File>> {
        match File::open(self.dir.join(name)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_open(&self, inode: u64) -> bool {
        self.files.iter().any(|file| self::inode(file.get_ref()).is_ok_and(|other| other == inode))
    }
}

fn inode(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.ino())
}

fn watch(dir: &std::path::Path) -> rustix::io::Result<OwnedFd> {
    let changes = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let what = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&changes, dir, what)?;
    Ok(changes)
}
