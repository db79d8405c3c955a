//! Jobs that may take long, each done by a forked child so that the agent never waits.

use monocore_protocol::{Answer, ByteString, RequestId};
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags, fstat, open, sendfile};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::process::{Pid, WaitStatus};

use super::dial::{self, Dialer};
use crate::sys::{self, Forked};

const COPY_BYTES: usize = 1 << 20;
const BUFFER_BYTES: usize = 64 << 10;

/// A job.
#[derive(Debug)]
pub(crate) enum Job {
    /// A file's content to the host.
    Read { id: RequestId, path: ByteString },
    /// A file's content from the host.
    Write { id: RequestId, path: ByteString, mode: u32 },
    /// Everything to the disks.
    Sync,
}

/// Begins a job in a process of its own.
pub(crate) fn spawn(job: &Job, dialer: &Dialer) -> Result<Pid, Errno> {
    match sys::fork()? {
        Forked::Parent(pid) => Ok(pid),
        Forked::Child => {
            // What the agent holds open for others must not outlive it here.
            sys::close_from(3);
            sys::restore_signals();
            sys::ignore_broken_pipes();
            sys::exit(match work(job, dialer) {
                Ok(()) => 0,
                Err(errno) => errno.raw_os_error().clamp(1, i32::from(u8::MAX)),
            })
        }
    }
}

/// A job's result by how its process ended: the code is the error's number.
pub(crate) fn result(status: WaitStatus) -> Result<Answer, String> {
    match status.exit_status() {
        Some(0) => Ok(Answer::Done),
        Some(number) => Err(std::io::Error::from_raw_os_error(number).to_string()),
        None => Err("it was killed".to_owned()),
    }
}

fn work(job: &Job, dialer: &Dialer) -> Result<(), Errno> {
    // The file first: if there is none, no stream is dialled.
    match job {
        Job::Read { path, .. } => {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
            let file = open(path.as_bytes(), flags, Mode::empty())?;
            match FileType::from_raw_mode(fstat(&file)?.st_mode) {
                FileType::RegularFile => {}
                FileType::Directory => return Err(Errno::ISDIR),
                _ => return Err(Errno::INVAL),
            }
            let socket = connect(job, dialer)?;
            while sendfile(&socket, &file, None, COPY_BYTES)? > 0 {}
            Ok(())
        }
        Job::Write { path, mode, .. } => {
            let flags = OFlags::WRONLY
                | OFlags::CREATE
                | OFlags::TRUNC
                | OFlags::CLOEXEC
                | OFlags::NOCTTY
                | OFlags::NONBLOCK;
            let file = open(path.as_bytes(), flags, Mode::from_raw_mode(mode & 0o7777))?;
            let socket = connect(job, dialer)?;
            receive_into(&socket, &file)
        }
        Job::Sync => {
            rustix::fs::sync();
            Ok(())
        }
    }
}

fn connect(job: &Job, dialer: &Dialer) -> Result<OwnedFd, Errno> {
    let opening = job.opening().ok_or(Errno::INVAL)?;
    let socket = dial::open(dialer.dial()?, &opening).map_err(|_| Errno::CONNREFUSED)?;
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(socket)
}

fn receive_into(socket: &OwnedFd, file: &OwnedFd) -> Result<(), Errno> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = match recv(socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((0, _)) => return Ok(()),
            Ok((count, _)) => count,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error),
        };
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            rest = &rest[rustix::io::write(file, rest)?..];
        }
    }
}
