//! Counting assertions.

use std::fmt::Debug;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, open, statat};
use rustix::io::Errno;

use super::Expectations;

/// The assertions of one group, and the directory they are made in.
#[derive(Debug)]
pub struct Checks {
    group: &'static str,
    /// The group's directory, open.
    pub dir: OwnedFd,
    /// Its path.
    pub path: PathBuf,
    /// What is meant to be refused.
    pub expect: Expectations,
    made: usize,
    failed: Vec<String>,
}

/// The outcome of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Assertions made.
    pub made: usize,
    /// What failed, one line each.
    pub failed: Vec<String>,
}

impl Report {
    pub(super) fn add(&mut self, checks: Checks) {
        self.made += checks.made;
        self.failed.extend(checks.failed);
    }
}

impl Checks {
    pub(super) fn new(group: &'static str, path: &Path, expect: Expectations) -> Result<Self> {
        let dir = open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { group, dir, path: path.to_owned(), expect, made: 0, failed: Vec::new() })
    }

    /// Asserts that something holds.
    pub fn holds(&mut self, what: &str, condition: bool) {
        self.made += 1;
        if !condition {
            self.fail(what, "does not hold");
        }
    }

    /// Asserts that two values are equal.
    pub fn equal<T: PartialEq + Debug>(&mut self, what: &str, got: T, expected: T) {
        self.made += 1;
        if got != expected {
            self.fail(what, &format!("got {got:?}, expected {expected:?}"));
        }
    }

    /// Asserts success and hands the value on.
    pub fn works<T>(&mut self, what: &str, result: Result<T, impl Debug>) -> Option<T> {
        self.made += 1;
        result.map_err(|error| self.fail(what, &format!("{error:?}"))).ok()
    }

    /// Asserts one certain error.
    pub fn fails<T>(&mut self, what: &str, result: Result<T, Errno>, expected: Errno) {
        self.made += 1;
        match result {
            Ok(_) => self.fail(what, &format!("worked, expected {expected:?}")),
            Err(error) if error != expected => self.fail(what, &format!("{error:?}, expected {expected:?}")),
            Err(_) => {}
        }
    }

    /// A path below the group's directory.
    pub fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a file below the group's directory.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(&self, name: &str, flags: OFlags, mode: u32) -> Result<OwnedFd, Errno> {
        open(self.at(name), flags | OFlags::CLOEXEC, Mode::from_raw_mode(mode))
    }

    /// Makes a file with this content and mode 0644.
    pub fn file(&mut self, name: &str, content: &[u8]) {
        let made = write(&self.at(name), content);
        self.works(&format!("make {name}"), made);
    }

    /// Makes a directory with mode 0755.
    pub fn directory(&mut self, name: &str) {
        let made = rustix::fs::mkdir(self.at(name), Mode::from_raw_mode(0o755));
        self.works(&format!("make directory {name}"), made);
    }

    /// What a name is; links are not followed.
    ///
    /// # Errors
    /// The operating system's.
    pub fn stat(&self, name: &str) -> Result<Stat, Errno> {
        statat(CWD, self.at(name), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Asserts a name's type and permissions, as `st_mode` has them.
    pub fn mode(&mut self, name: &str, expected: u32) {
        let mode = self.stat(name).map(|stat| stat.st_mode);
        self.equal(
            &format!("mode of {name}"),
            mode.map(|mode| format!("{mode:o}")),
            Ok(format!("{expected:o}")),
        );
    }

    /// Asserts a file's content.
    pub fn content(&mut self, name: &str, expected: &[u8]) {
        let content = std::fs::read(self.at(name)).map_err(|error| error.kind());
        self.holds(&format!("content of {name}"), content.as_deref() == Ok(expected));
    }

    /// Asserts the number of a file's names.
    pub fn links(&mut self, name: &str, expected: u64) {
        let links = self.stat(name).map(|stat| link_count(&stat));
        self.equal(&format!("links of {name}"), links, Ok(expected));
    }

    /// Asserts that a name is not there.
    pub fn absent(&mut self, name: &str) {
        let stat = self.stat(name);
        self.fails(&format!("stat {name}"), stat, Errno::NOENT);
    }

    fn fail(&mut self, what: &str, how: &str) {
        let line = format!("{}: {what}: {how}", self.group);
        eprintln!("FAILED {line}");
        self.failed.push(line);
    }
}

/// Makes a file with mode 0644, or replaces its content.
fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o644).open(path)?.write_all(content)
}

/// How many names a file has; the field's width differs between architectures.
#[allow(clippy::useless_conversion, reason = "32 bits wide on aarch64")]
pub(super) fn link_count(stat: &Stat) -> u64 {
    u64::from(stat.st_nlink)
}
