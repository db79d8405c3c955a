//! Writing a sandbox's log: one file, whoever writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use super::entry::{LogEntry, LogStream};
use super::{FILE_BYTES, KEPT_FILES, file};
use crate::Error;
use crate::home::make_private_dir;

/// The longest entry, bytes of output: Docker's.
const MAX_ENTRY: usize = 16 << 10;

/// The log of one sandbox, shared by the threads that carry its streams.
#[derive(Clone, Debug)]
pub(crate) struct LogWriter(Arc<Mutex<Log>>);

#[derive(Debug)]
struct Log {
    dir: PathBuf,
    file: File,
    len_bytes: u64,
    file_bytes: u64,
    /// Bytes of output that could not be written since the last entry that could.
    lost_bytes: u64,
    /// When the command last wrote something.
    last_written: Option<Instant>,
}

/// One stream of output on its way into the log. It takes everything, so the command never waits for a disk that is
/// full; what is lost is counted and told in the log once there is room again.
#[derive(Debug)]
pub(crate) struct StreamWriter {
    log: LogWriter,
    stream: LogStream,
}

impl LogWriter {
    /// Opens the log in `dir`, which is made if need be, and goes on where it ended.
    ///
    /// # Errors
    /// It cannot be made or opened.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        Self::open_with(dir, FILE_BYTES)
    }

    pub(super) fn open_with(dir: &Path, file_bytes: u64) -> Result<Self, Error> {
        make_private_dir(dir)?;
        let path = file(dir, 0);
        let mut file = open(&path).map_err(Error::file("open", &path))?;
        let len_bytes = end_last_line(&mut file, &path).map_err(Error::file("read", &path))?;
        let log = Log { dir: dir.to_owned(), file, len_bytes, file_bytes, lost_bytes: 0, last_written: None };
        Ok(Self(Arc::new(Mutex::new(log))))
    }

    /// When something was last written through this writer or one of its clones.
    pub(crate) fn last_written(&self) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last_written
    }

    /// The way into the log for one stream.
    pub(crate) fn stream(&self, stream: LogStream) -> StreamWriter {
        StreamWriter { log: self.clone(), stream }
    }
}

impl Write for StreamWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.log.0.lock().unwrap_or_else(PoisonError::into_inner).append(bytes, self.stream);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Writes an entry for each line of `bytes`, a last unfinished one included.
    fn append(&mut self, bytes: &[u8], stream: LogStream) {
        self.last_written = Some(Instant::now());
        let time = humantime::format_rfc3339_nanos(SystemTime::now()).to_string();
        let mut lines = Vec::with_capacity(bytes.len() * 2);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            for part in line.chunks(MAX_ENTRY) {
                LogEntry::write(part, stream, &time, &mut lines);
                if self.len_bytes + lines.len() as u64 >= self.file_bytes {
                    self.write(&lines, &time);
                    lines.clear();
                }
            }
        }
        self.write(&lines, &time);
    }

    fn write(&mut self, lines: &[u8], time: &str) {
        if self.len_bytes >= self.file_bytes
            && let Err(error) = self.rotate()
        {
            tracing::warn!(dir = %self.dir.display(), %error, "a log is not rotated");
        }
        if let Err(error) = self.try_write(lines, time) {
            if self.lost_bytes == 0 {
                tracing::warn!(dir = %self.dir.display(), %error, "output is lost: the log cannot be written");
            }
            self.lost_bytes += lines.len() as u64;
            // The oldest output makes room for the newest.
            let _ = std::fs::remove_file(file(&self.dir, KEPT_FILES));
            // What was written of a line that did not fit must not be the beginning of the next one.
            let _ = self.file.set_len(self.len_bytes);
        }
    }

    fn try_write(&mut self, lines: &[u8], time: &str) -> io::Result<()> {
        if self.lost_bytes > 0 {
            let text = format!("monocore: about {} bytes of output are lost\n", self.lost_bytes);
            let mut note = Vec::new();
            LogEntry::write(text.as_bytes(), LogStream::Stderr, time, &mut note);
            self.file.write_all(&note)?;
            self.len_bytes += note.len() as u64;
            self.lost_bytes = 0;
        }
        self.file.write_all(lines)?;
        self.len_bytes += lines.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for age in (0..KEPT_FILES).rev() {
            match std::fs::rename(file(&self.dir, age), file(&self.dir, age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = open(&file(&self.dir, 0))?;
        self.len_bytes = 0;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// A writer that was killed may have left half a line: it is ended, so that it spoils no other. The file's length.
fn end_last_line(file: &mut File, path: &Path) -> io::Result<u64> {
    use std::os::unix::fs::FileExt;
    let len_bytes = file.metadata()?.len();
    let mut last = [b'\n'];
    if len_bytes > 0 {
        File::open(path)?.read_exact_at(&mut last, len_bytes - 1)?;
    }
    if last == [b'\n'] {
        return Ok(len_bytes);
    }
    file.write_all(b"\n")?;
    Ok(len_bytes + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<LogEntry> {
        let text = std::fs::read(path).unwrap_or_default();
        text.split(|byte| *byte == b'\n').filter_map(LogEntry::read).collect()
    }

    #[test]
    fn each_line_is_an_entry_with_its_stream() {
        let dir = tempfile::tempdir().unwrap();
        let log = LogWriter::open(dir.path()).unwrap();
        log.stream(LogStream::Stdout).write_all(b"one\ntwo").unwrap();
        log.stream(LogStream::Stderr).write_all(b"oh\n").unwrap();
        let read = lines(&file(dir.path(), 0));
        let texts: Vec<&[u8]> = read.iter().map(|entry| &entry.bytes[..]).collect();
        assert_eq!(texts, [&b"one\n"[..], b"two", b"oh\n"]);
        assert_eq!(read[2].stream, LogStream::Stderr);
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let log = LogWriter::open_with(dir.path(), 1000).unwrap();
        let mut stdout = log.stream(LogStream::Stdout);
        for number in 0..200 {
            stdout.write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        let mut all = Vec::new();
        for age in (0..=KEPT_FILES).rev() {
            all.extend(lines(&file(dir.path(), age)));
        }
        assert!(!file(dir.path(), KEPT_FILES + 1).exists());
        let numbers: Vec<u32> = all
            .iter()
            .map(|entry| std::str::from_utf8(&entry.bytes[5..]).unwrap().trim().parse().unwrap())
            .collect();
        assert!(numbers.len() > 50 && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
        assert_eq!(numbers.last(), Some(&199));
    }

    #[test]
    fn half_a_line_of_a_killed_writer_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(file(dir.path(), 0), b"{\"log\":\"ha").unwrap();
        LogWriter::open(dir.path()).unwrap().stream(LogStream::Stdout).write_all(b"whole\n").unwrap();
        assert_eq!(lines(&file(dir.path(), 0)).len(), 1);
    }
}
