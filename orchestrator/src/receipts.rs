//! Following a running sandbox's receipts: what its network let through and what not, as it happens.
//!
//! The machine appends them to a file whether or not anybody looks. A follower sleeps until the file changes (inotify) or the
//! sandbox ends, which releases the lock on its record; so a follower costs the machine nothing, and there may be many.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::network::LOG;
use crate::run_dir::RECORD;
use crate::{Error, Home, NetworkRecord, Record, log_file};

/// How much is read at a time, bytes.
const CHUNK: usize = 64 << 10;
/// A longer line is no receipt, bytes.
const MAX_LINE: usize = 64 << 10;

/// The receipts of one running sandbox, from the first one of its run that is still there.
#[derive(Debug)]
pub struct Receipts {
    file: File,
    /// Up to where it was read, bytes.
    at: u64,
    /// The beginning of a line that is not all there.
    rest: Vec<u8>,
    changes: OwnedFd,
    /// Readable, as a pipe at its end, once the sandbox is gone.
    end: OwnedFd,
    /// Readable, or hung up, once nobody wants more.
    interrupt: Option<OwnedFd>,
    ended: bool,
}

impl Receipts {
    /// Begins to follow the sandbox of `record`, as [`registry::find`](crate::registry::find) gives it.
    ///
    /// # Errors
    /// It has no receipts, is gone, or writes them to something that is no file.
    pub fn follow(home: &Home, record: &Record) -> Result<Self, Error> {
        let NetworkRecord::Ours { log, .. } = &record.network else {
            return Err(Error::NoReceipts(record.name.clone()));
        };
        let dir = home.run().join(&record.id);
        let own = dir.join(LOG);
        let (path, at) = log.as_ref().map_or((own.as_path(), 0), |log| (&log.path, log.start_bytes));
        let gone = |error: io::Error| match error.kind() {
            ErrorKind::NotFound => Error::NoSandbox(record.name.clone()),
            _ => Error::file("follow", path)(error),
        };
        if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            return Err(Error::file("follow", path)(io::Error::other("it is no file")));
        }
        let end = end_of(&dir).map_err(gone)?;
        // The machine makes it in the same way; whoever comes first does.
        let file = log_file::open(path, true).map_err(gone)?;
        let changes = watch(path).map_err(|errno| gone(errno.into()))?;
        Ok(Self { file, at, rest: Vec::new(), changes, end, interrupt: None, ended: false })
    }

    /// Stops to wait for more once `interrupt` is readable or its other end is closed.
    #[must_use]
    pub fn interrupted_by(mut self, interrupt: OwnedFd) -> Self {
        self.interrupt = Some(interrupt);
        self
    }

    /// Waits for receipts and gives whole lines of them, or nothing once the sandbox has ended.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next_lines(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            // Looked at before the file is: nothing is written after the end.
            let ended = self.ended;
            let lines = self.read()?;
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
            if ended {
                return Ok(None);
            }
            self.wait()?;
        }
    }

    /// The whole lines that were added.
    fn read(&mut self) -> io::Result<Vec<u8>> {
        if self.file.metadata()?.len() < self.at {
            // It was begun anew.
            self.at = 0;
            self.rest.clear();
        }
        let mut lines = Vec::new();
        while lines.is_empty() {
            let mut chunk = vec![0; CHUNK];
            let count = self.file.read_at(&mut chunk, self.at)?;
            if count == 0 {
                break;
            }
            self.at += count as u64;
            self.rest.extend_from_slice(&chunk[..count]);
            match self.rest.iter().rposition(|byte| *byte == b'\n') {
                Some(last) => {
                    let rest = self.rest.split_off(last + 1);
                    lines = std::mem::replace(&mut self.rest, rest);
                }
                None if self.rest.len() > MAX_LINE => self.rest.clear(),
                None => {}
            }
        }
        Ok(lines)
    }

    fn wait(&mut self) -> io::Result<()> {
        let mut fds = vec![PollFd::new(&self.changes, PollFlags::IN), PollFd::new(&self.end, PollFlags::IN)];
        fds.extend(self.interrupt.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.ended = fds[1..].iter().any(|fd| !fd.revents().is_empty());
        // What changed is found by reading the file.
        let mut events = [0; 4096];
        match rustix::io::read(&self.changes, &mut events) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// What says when `path` changes.
fn watch(path: &Path) -> rustix::io::Result<OwnedFd> {
    let changes = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&changes, path, inotify::WatchFlags::MODIFY)?;
    Ok(changes)
}

/// What is readable once nobody holds the record in `dir`. A thread waits for its lock; there is no other way without asking again and again.
pub(crate) fn end_of(dir: &Path) -> io::Result<OwnedFd> {
    let record = File::open(dir.join(RECORD))?;
    let (end, held) = pipe_with(PipeFlags::CLOEXEC)?;
    let wait = move || {
        if let Err(error) = record.lock_shared() {
            tracing::warn!(%error, "the sandbox's end cannot be awaited");
        }
        drop(held);
    };
    std::thread::Builder::new().name("sandbox-end".into()).spawn(wait)?;
    Ok(end)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::path::PathBuf;

    use super::*;
    use crate::run_dir::LogRecord;
    use crate::{RunDir, RunRecord, registry};

    struct World {
        dir: tempfile::TempDir,
        home: Home,
        run: RunDir,
    }

    impl World {
        fn new(log: Option<LogRecord>) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let home = Home::at(dir.path());
            let network = NetworkRecord::Ours { ports: Vec::new(), log };
            let record = RunRecord { root: "alpine".to_owned(), network, ..RunRecord::default() };
            let run = RunDir::claim(&home, Some("web"), record).unwrap();
            Self { dir, home, run }
        }

        fn follow(&self) -> Result<Receipts, Error> {
            Receipts::follow(&self.home, &registry::find(&self.home, "web").unwrap().running.unwrap())
        }

        fn writer(&self) -> File {
            append(&self.run.path().join(LOG))
        }
    }

    fn append(path: &Path) -> File {
        OpenOptions::new().append(true).create(true).open(path).unwrap()
    }

    fn next(receipts: &mut Receipts) -> Option<String> {
        receipts.next_lines().unwrap().map(|lines| String::from_utf8(lines).unwrap())
    }

    #[test]
    fn lines_come_whole_as_they_are_written_until_the_end() {
        let world = World::new(None);
        let mut receipts = world.follow().unwrap();
        let mut writer = world.writer();
        writer.write_all(b"one\ntwo\nthr").unwrap();
        assert_eq!(next(&mut receipts).unwrap(), "one\ntwo\n");
        let mut second = world.follow().unwrap();
        assert_eq!(next(&mut second).unwrap(), "one\ntwo\n", "what was written before is there for others");
        let late = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(100));
            writer.write_all(b"ee\n").unwrap();
            drop(world);
        });
        for receipts in [&mut receipts, &mut second] {
            assert_eq!(next(receipts).unwrap(), "three\n");
            assert_eq!(next(receipts), None);
        }
        late.join().unwrap();
    }

    #[test]
    fn a_file_that_is_begun_anew_is_read_anew() {
        let world = World::new(None);
        let (mut receipts, mut writer) = (world.follow().unwrap(), world.writer());
        writer.write_all(b"long ago\nunfin").unwrap();
        assert_eq!(next(&mut receipts).unwrap(), "long ago\n");
        writer.set_len(0).unwrap();
        writer.write_all(b"new\n").unwrap();
        assert_eq!(next(&mut receipts).unwrap(), "new\n");
    }

    #[test]
    fn a_file_of_the_users_is_followed_from_this_run_on() {
        let dir = tempfile::tempdir().unwrap();
        let path: PathBuf = dir.path().join("net.log");
        let mut writer = append(&path);
        writer.write_all(b"of another run\n").unwrap();
        let world = World::new(Some(LogRecord { path, start_bytes: 15 }));
        writer.write_all(b"of this one\n").unwrap();
        assert_eq!(next(&mut world.follow().unwrap()).unwrap(), "of this one\n");
    }

    #[test]
    fn what_is_no_file_and_who_is_gone_is_told() {
        let world = World::new(Some(LogRecord { path: "/dev/null".into(), start_bytes: 0 }));
        assert!(world.follow().unwrap_err().to_string().contains("no file"));
        let world = World::new(None);
        let record = world.run.record().clone();
        drop(world.run);
        assert!(matches!(Receipts::follow(&world.home, &record), Err(Error::NoSandbox(_))));
        let foreign = Record { network: NetworkRecord::Foreign, ..record };
        assert!(matches!(Receipts::follow(&world.home, &foreign), Err(Error::NoReceipts(_))));
        drop(world.dir);
    }
}
