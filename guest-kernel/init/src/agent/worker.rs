//! Jobs that may take long, each done by a forked child so that the agent never waits.

use std::net::IpAddr;

use monocore_protocol::{Answer, ByteString, GuestLimits, Mount, RequestId};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, fstat, open, sendfile};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitStatus};

use super::dial::{self, Dialer};
use crate::container::Container;
use crate::error::{Doing, Error};
use crate::setup::{self, System};
use crate::sys::{self, Forked};

const COPY_BYTES: usize = 1 << 20;
const BUFFER_BYTES: usize = 64 << 10;

/// Most bytes of a job's complaint: what a pipe holds without anybody reading.
const COMPLAINT_BYTES: usize = 4096;

/// A job.
#[derive(Debug)]
pub(crate) enum Job {
    /// A file's content to the host.
    Read { id: RequestId, path: ByteString },
    /// A file's content from the host.
    Write { id: RequestId, path: ByteString, mode: u32 },
    /// A share of the host, mounted. The host may take long to look at it.
    Mount(Mount),
    /// What is mounted there, unmounted.
    Unmount(ByteString),
    /// Everything to the disks.
    Sync,
    /// Other limits of the commands. Memory may have to be written to disks for that.
    Limit(GuestLimits),
    /// An address that the interface is to have, or not to have.
    Address { interface: String, address: (IpAddr, u8), is_wanted: bool },
}

/// A process that does a job.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) pid: Pid,
    /// The request it is for.
    pub(crate) id: RequestId,
    /// Where it says what went wrong.
    complaint: OwnedFd,
}

/// Begins a job in a process of its own.
pub(crate) fn spawn(
    id: RequestId,
    job: &Job,
    dialer: &Dialer,
    system: Option<&mut System>,
) -> Result<Worker, Errno> {
    let (complaint, complain) = pipe_with(PipeFlags::CLOEXEC)?;
    match sys::fork()? {
        Forked::Parent(pid) => Ok(Worker { pid, id, complaint }),
        Forked::Child => {
            // What the agent holds open for others must not outlive it here.
            let shares = system.as_ref().and_then(|system| system.shares.device());
            let container = system.as_ref().and_then(|system| system.container.as_ref());
            let groups = container.map(Container::groups);
            let kept = [Some(complain.as_fd()), shares, groups];
            sys::close_all_but(&kept.into_iter().flatten().collect::<Vec<_>>());
            sys::restore_signals();
            sys::ignore_broken_pipes();
            sys::exit(match work(job, dialer, system) {
                Ok(()) => 0,
                Err(error) => {
                    let text = error.to_string();
                    let end = text.floor_char_boundary(COMPLAINT_BYTES);
                    // The agent may be gone.
                    let _ = rustix::io::write(&complain, &text.as_bytes()[..end]);
                    1
                }
            })
        }
    }
}

impl Worker {
    /// The job's result by how its process ended, which it has.
    pub(crate) fn result(self, status: WaitStatus) -> Result<Answer, String> {
        if status.exit_status() == Some(0) {
            return Ok(Answer::Done);
        }
        let mut text = vec![0; COMPLAINT_BYTES];
        let count = rustix::io::read(&self.complaint, &mut text).unwrap_or(0);
        match String::from_utf8_lossy(&text[..count]) {
            text if text.is_empty() => Err("it was killed".to_owned()),
            text => Err(text.into_owned()),
        }
    }
}

fn work(job: &Job, dialer: &Dialer, system: Option<&mut System>) -> Result<(), Error> {
    // The file first: if there is none, no stream is dialled.
    match job {
        Job::Read { path, .. } => read(job, path, dialer).doing("read", path.as_bytes()),
        Job::Write { path, mode, .. } => write(job, path, *mode, dialer).doing("write", path.as_bytes()),
        Job::Mount(mount) => match system {
            Some(system) => setup::mount(mount, system),
            None => Err(Error::Refused("the guest is not configured yet".to_owned())),
        },
        Job::Unmount(target) => setup::unmount(target.as_bytes()),
        Job::Sync => {
            rustix::fs::sync();
            Ok(())
        }
        Job::Limit(limits) => match system.and_then(|system| system.container.as_ref()) {
            Some(container) => container.limit(limits),
            None => Err(Error::Refused("commands have no control groups here".to_owned())),
        },
        Job::Address { interface, address, is_wanted } => setup::set_address(interface, *address, *is_wanted),
    }
}

fn read(job: &Job, path: &ByteString, dialer: &Dialer) -> Result<(), Errno> {
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

fn write(job: &Job, path: &ByteString, mode: u32, dialer: &Dialer) -> Result<(), Errno> {
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = open(path.as_bytes(), flags, Mode::from_raw_mode(mode & 0o7777))?;
    let socket = connect(job, dialer)?;
    receive_into(&socket, &file)
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
