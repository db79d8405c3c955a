//! `share-probe FOLDER`: one process that does to the files of a folder what it is told, one line a command, and answers
//! with one line. The driver runs it in guests and on the host at once.

mod sys;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

/// A process with its open files.
struct Probe {
    folder: PathBuf,
    open: HashMap<String, File>,
}

/// Answers commands until the input ends.
///
/// # Errors
/// Input or output are gone.
pub fn run(folder: &Path) -> io::Result<()> {
    sys::interrupt_on_usr1()?;
    let mut probe = Probe { folder: folder.to_owned(), open: HashMap::new() };
    let mut output = io::stdout();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let answer = probe.act(&line.split(' ').collect::<Vec<_>>());
        writeln!(output, "{}", answer.unwrap_or_else(|error| name(&error)))?;
        output.flush()?;
    }
    Ok(())
}

/// How an error is told.
fn name(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::AGAIN | Errno::ACCESS) => "busy".into(),
        Some(Errno::INTR) => "interrupted".into(),
        Some(Errno::NOENT) => "none".into(),
        _ => format!("error: {error}"),
    }
}

fn bad() -> io::Error {
    io::Error::other("no such command")
}

fn number<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.parse().map_err(|_| bad())
}

impl Probe {
    fn act(&mut self, command: &[&str]) -> io::Result<String> {
        let ok = |()| "ok".to_owned();
        match *command {
            ["open", slot, file, mode] => self.open(slot, file, mode).map(ok),
            ["close", slot] => self.open.remove(slot).map(|_| ok(())).ok_or_else(bad),
            ["reset"] => {
                self.open.clear();
                Ok(ok(()))
            }
            ["flock", slot, kind] => {
                flock(self.file(slot)?, operation(kind, false)?).map_err(Into::into).map(ok)
            }
            ["flock", slot, kind, "wait"] => {
                flock(self.file(slot)?, operation(kind, true)?).map_err(Into::into).map(ok)
            }
            ["posix", slot, kind, start, len] => self.posix(slot, kind, start, len, false).map(ok),
            ["posix", slot, kind, start, len, "wait"] => self.posix(slot, kind, start, len, true).map(ok),
            ["test", slot, kind, start, len] => {
                sys::obstacle(self.file(slot)?, kind, number(start)?, number(len)?)
            }
            ["pid"] => Ok(std::process::id().to_string()),
            ["interrupt", pid] => {
                let pid = Pid::from_raw(number(pid)?).ok_or_else(bad)?;
                kill_process(pid, Signal::USR1).map_err(Into::into).map(ok)
            }
            ["get", slot] => self.get(slot),
            ["put", slot, text] => self.put(slot, text).map(ok),
            ["look", file] => self.look(file),
            ["edit", file, how, version, len] => self.edit(file, how, version, number(len)?).map(ok),
            _ => Err(bad()),
        }
    }

    fn file(&self, slot: &str) -> io::Result<&File> {
        self.open.get(slot).ok_or_else(bad)
    }

    fn open(&mut self, slot: &str, file: &str, mode: &str) -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(mode == "rw").open(self.folder.join(file))?;
        self.open.insert(slot.into(), file);
        Ok(())
    }

    fn posix(&self, slot: &str, kind: &str, start: &str, len: &str, wait: bool) -> io::Result<()> {
        sys::lock(self.file(slot)?, kind, number(start)?, number(len)?, wait)
    }

    /// All of an open file.
    fn get(&self, slot: &str) -> io::Result<String> {
        let mut file = self.file(slot)?;
        let mut text = String::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Overwrites the beginning of an open file.
    fn put(&self, slot: &str, text: &str) -> io::Result<()> {
        self.file(slot)?.write_all_at(text.as_bytes(), 0)
    }

    /// A file in three ways: its size by name, the size and all bytes of an open one, and as many bytes as its size says.
    fn look(&self, file: &str) -> io::Result<String> {
        let path = self.folder.join(file);
        let mut opened = File::open(&path)?;
        let size = opened.metadata()?.len();
        let mut by_size = vec![0; usize::try_from(size).map_err(|_| bad())?];
        opened.read_exact_at(&mut by_size, 0)?;
        let mut whole = Vec::new();
        opened.read_to_end(&mut whole)?;
        Ok(format!("{} {} {}", std::fs::metadata(&path)?.len(), runs(&by_size), runs(&whole)))
    }

    /// Makes a file of `len` times the letter `version`, or a part of it, in one of several ways.
    fn edit(&self, file: &str, how: &str, version: &str, len: usize) -> io::Result<()> {
        let (path, beside) = (self.folder.join(file), self.folder.join("beside"));
        let content = version.repeat(len);
        let existing = || OpenOptions::new().write(true).open(&path);
        match how {
            "over" => std::fs::write(&path, content),
            "append" => OpenOptions::new().append(true).open(&path)?.write_all(content.as_bytes()),
            "cut" => existing()?.set_len(len as u64),
            "inside" => existing()?.write_all_at(content.as_bytes(), 0),
            "replace" => {
                std::fs::write(&beside, content)?;
                std::fs::rename(&beside, &path)
            }
            "anew" => {
                std::fs::remove_file(&path)?;
                std::fs::write(&path, content)
            }
            _ => Err(bad()),
        }
    }
}

fn operation(kind: &str, wait: bool) -> io::Result<FlockOperation> {
    Ok(match (kind, wait) {
        ("rd", false) => FlockOperation::NonBlockingLockShared,
        ("rd", true) => FlockOperation::LockShared,
        ("wr", false) => FlockOperation::NonBlockingLockExclusive,
        ("wr", true) => FlockOperation::LockExclusive,
        ("un", _) => FlockOperation::Unlock,
        _ => return Err(bad()),
    })
}

/// Bytes as lengths of equal ones: `3a2b`; `-` for none.
#[must_use]
pub fn runs(bytes: &[u8]) -> String {
    let mut text = String::new();
    for run in bytes.chunk_by(|a, b| a == b) {
        let letter = run.first().copied().filter(u8::is_ascii_lowercase).map_or('?', char::from);
        // Writing into memory cannot fail.
        let _ = write!(text, "{}{letter}", run.len());
    }
    if text.is_empty() { "-".into() } else { text }
}
