//! A suite of file operations, in the manner of pjdfstest: what Linux promises of a file system, asserted one by one.
//!
//! It runs as root on any directory, so the same assertions are first made of the host's own file systems and then of a
//! share in a guest. Every assertion is counted; a failed one says what was expected and does not end the run.

mod check;
mod creation;
mod dirs;
mod io;
mod links;
mod names;
mod owners;
mod rename;
mod space;
mod sys;
mod times;
mod unlinked;
mod xattrs;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
pub use check::{Checks, Report};

/// What the file system under test is meant to refuse, against Linux's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expectations {
    /// Device nodes are refused with EPERM.
    pub no_device_nodes: bool,
    /// Only files and directories have an owner that can be chosen; anything else is root's.
    pub owners_of_files_only: bool,
}

/// Runs every group of assertions, each in a directory of its own below `dir`, and removes those afterwards.
///
/// # Errors
/// Where a group's directory cannot be made or removed; failed assertions are no errors.
pub fn run(dir: &Path, expect: Expectations) -> Result<Report> {
    rustix::process::umask(rustix::fs::Mode::empty());
    let mut report = Report::default();
    for (name, group) in GROUPS {
        let path = dir.join(format!("suite-{name}"));
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        let mut checks = Checks::new(name, &path, expect)?;
        group(&mut checks);
        report.add(checks);
        fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(report)
}

/// A group of assertions.
type Group = fn(&mut Checks);

const GROUPS: &[(&str, Group)] = &[
    ("creation", creation::run),
    ("names", names::run),
    ("io", io::run),
    ("space", space::run),
    ("dirs", dirs::run),
    ("links", links::run),
    ("rename", rename::run),
    ("unlinked", unlinked::run),
    ("owners", owners::run),
    ("times", times::run),
    ("xattrs", xattrs::run),
];
