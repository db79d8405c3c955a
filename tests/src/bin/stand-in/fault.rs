//! Ends of processes at a step of theirs.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use monocore_tests::stand_in::FAULT_VARIABLE;

/// The variable that says that a process is traced already.
const TRACED: &str = "MONOCORE_STAND_IN_TRACED";

/// Which process of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// `monocore supervise`.
    Supervisor,
    /// `monocore vmm`.
    Machine,
}

impl Role {
    /// The role of the process whose first word this is.
    pub(super) fn of(word: &OsStr) -> Option<Self> {
        match word.to_str() {
            Some("supervise") => Some(Self::Supervisor),
            Some("vmm") => Some(Self::Machine),
            _ => None,
        }
    }
}

/// Becomes the same process beneath strace, if the fault file says so: its first line is the role's name, each other line a
/// word of strace's command line. Returns only what went wrong.
pub(super) fn suffer(role: Role) -> Option<io::Error> {
    if std::env::var_os(TRACED).is_some() {
        return None;
    }
    let text = std::fs::read_to_string(std::env::var_os(FAULT_VARIABLE)?).ok()?;
    let mut lines = text.lines();
    if lines.next() != Some(&format!("{role:?}")) {
        return None;
    }
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return Some(error),
    };
    // The tracer is the grandchild: the process keeps its number and its parent.
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-qq", "-b", "execve"]).args(lines).arg(program);
    Some(strace.args(std::env::args_os().skip(1)).env(TRACED, "1").exec())
}
