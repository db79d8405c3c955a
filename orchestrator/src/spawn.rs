//! The virtual machine's process: `monocore vmm`, with its spec and files as inherited descriptors.
//!
//! Its life hangs on the lifeline, a socket whose other end only this process holds: when this process ends, however it
//! ends, the machine does too. No thread of ours has to be alive for that, and no signal can get lost.

pub(crate) mod sys;

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use monocore_spec::{VmExit, VmSpec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};

use crate::Error;

/// The variables a machine's process sees of its parent's.
const PASSED_ENV: [&str; 2] = ["MONOCORE_LOG", "RUST_BACKTRACE"];
/// How long a machine may take to end by itself before it is killed.
const END_GRACE: Duration = Duration::from_secs(2);
/// The longest report read from the lifeline, bytes: a panic's text as JSON.
const MAX_REPORT: u64 = 1 << 20;

/// A machine running in a process of its own; dropping it ends it.
#[derive(Debug)]
pub struct VmmProcess {
    pidfd: OwnedFd,
    /// What the kernel tells of the process (proc_pid_status(5)); reading fails once the process is gone.
    status: Option<File>,
    /// Gone once the machine was told to end.
    lifeline: Option<UnixStream>,
    reaped: bool,
}

impl VmmProcess {
    /// Starts `program vmm` for `spec`, which names the descriptors of `files` by their numbers.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(program: &Path, spec: &VmSpec, files: &[BorrowedFd<'_>]) -> Result<Self, Error> {
        Self::try_start(program, spec, files).map_err(Error::Spawn)
    }

    fn try_start(program: &Path, spec: &VmSpec, files: &[BorrowedFd<'_>]) -> io::Result<Self> {
        let (lifeline, far_end) = UnixStream::pair()?;
        let spec = spec_file(spec)?;
        let number = |fd: BorrowedFd<'_>| CString::new(fd.as_raw_fd().to_string()).map_err(io::Error::other);
        let args =
            [c"monocore".to_owned(), c"vmm".to_owned(), number(spec.as_fd())?, number(far_end.as_fd())?];
        let mut inherit = files.to_vec();
        inherit.extend([spec.as_fd(), far_end.as_fd()]);
        let program = CString::new(program.as_os_str().as_bytes())?;
        let stderr = io::stderr();
        // A host that shuts down asks every process to end. The machine stays until its supervisor has stopped it.
        let blocked = sys::Blocked::End;
        let pid = sys::spawn(&program, &args, &environment()?, &inherit, stderr.as_fd(), blocked)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        let status = File::open(format!("/proc/{}/status", pid.as_raw_nonzero())).ok();
        Ok(Self { pidfd, status, lifeline: Some(lifeline), reaped: false })
    }

    /// Readable when the process has ended.
    #[must_use]
    pub fn as_pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Memory of this host that the process uses, the guest's included, bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> Option<u64> {
        let mut text = [0; 4096];
        let count = self.status.as_ref()?.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(&text[..count]).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib << 10)
    }

    /// Gives the machine `patience` to end by itself, ends it if it does not, and says how it ended.
    pub fn wait(mut self, patience: Duration) -> VmExit {
        if !self.ended_within(patience) {
            self.end_now();
            return VmExit::Killed;
        }
        let report = self.lifeline.as_ref().and_then(read_report);
        match (report, self.reap()) {
            (Some(exit), _) => exit,
            (None, Some(how)) => VmExit::InternalError { detail: format!("the machine's process {how}") },
            (None, None) => VmExit::Killed,
        }
    }

    /// Ends the machine: it sees its lifeline cut; it is killed if that does not help.
    pub fn end(mut self) {
        self.end_now();
    }

    fn end_now(&mut self) {
        if self.reaped {
            return;
        }
        self.lifeline = None;
        if !self.ended_within(END_GRACE) {
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        }
        self.reap();
    }

    fn ended_within(&self, grace: Duration) -> bool {
        let timeout = Timespec::try_from(grace).ok();
        loop {
            match poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], timeout.as_ref()) {
                Err(Errno::INTR) => {}
                other => return other.is_ok_and(|ready| ready > 0),
            }
        }
    }

    /// Collects the process; says how it ended, if that was not a plain exit.
    fn reap(&mut self) -> Option<String> {
        self.reaped = true;
        loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Err(Errno::INTR) => {}
                Err(_) | Ok(None) => return None,
                Ok(Some(status)) => {
                    return match (status.exit_status(), status.terminating_signal()) {
                        (Some(0), _) | (None, None) => None,
                        (Some(code), _) => Some(format!("failed with status {code}")),
                        (None, Some(signal)) => Some(format!("was ended by signal {signal}")),
                    };
                }
            }
        }
    }
}

impl Drop for VmmProcess {
    fn drop(&mut self) {
        self.end_now();
    }
}

/// The spec as a file in memory, read from its start by the child.
fn spec_file(spec: &VmSpec) -> io::Result<File> {
    let file = rustix::fs::memfd_create(c"vm-spec", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(file);
    file.write_all(&serde_json::to_vec(spec)?)?;
    io::Seek::rewind(&mut file)?;
    Ok(file)
}

pub(crate) fn environment() -> io::Result<Vec<CString>> {
    let passed = PASSED_ENV.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    passed
        .map(|(name, value)| {
            let pair: Vec<u8> = [name.as_bytes(), b"=", OsStr::as_bytes(&value)].concat();
            CString::new(pair).map_err(io::Error::other)
        })
        .collect()
}

fn read_report(lifeline: &UnixStream) -> Option<VmExit> {
    let mut line = Vec::new();
    let mut reader = BufReader::new(io::Read::take(lifeline, MAX_REPORT));
    reader.read_until(b'\n', &mut line).ok()?;
    serde_json::from_slice(&line).ok()
}

#[cfg(test)]
mod tests;
