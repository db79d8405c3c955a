//! The listening end, in the supervisor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, socket_with, sockopt,
};
use rustix::process::geteuid;

use crate::Error;

/// The socket's name in a run directory.
const NAME: &str = "control.sock";
/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// A listening control socket. Its file goes with the run directory.
#[derive(Debug)]
pub(crate) struct ControlSocket(OwnedFd);

impl ControlSocket {
    /// Listens in `run_dir`.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn listen(run_dir: &Path) -> Result<Self, Error> {
        let path = run_dir.join(NAME);
        let listen = || -> io::Result<OwnedFd> {
            let (_directory, address) = address(run_dir)?;
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
            bind(&socket, &address)?;
            rustix::fs::chmod(&path, Mode::RUSR | Mode::WUSR)?;
            rustix::net::listen(&socket, BACKLOG)?;
            Ok(socket)
        };
        listen().map(Self).map_err(Error::file("listen on", &path))
    }

    /// The next client, if there is one that may ask.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is none now, else the system's.
    pub(crate) fn accept(&self) -> io::Result<OwnedFd> {
        loop {
            let client = accept_with(&self.0, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
            let peer = sockopt::socket_peercred(&client)?.uid;
            if peer.is_root() || peer == geteuid() {
                return Ok(client);
            }
            // The directory's mode keeps others out; this is for a directory whose mode was changed.
            tracing::warn!(uid = peer.as_raw(), "another user's connection is refused");
        }
    }
}

impl AsFd for ControlSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Connects to the socket in `run_dir`.
///
/// # Errors
/// The system's: `NotFound` and `ConnectionRefused` where nobody listens.
pub(super) fn connect(run_dir: &Path) -> io::Result<OwnedFd> {
    connect_within(run_dir, None)
}

/// The same, which waits no longer than `patience` for a supervisor that does not accept.
///
/// # Errors
/// As [`connect`]; `WouldBlock` when the time is over.
pub(super) fn connect_within(run_dir: &Path, patience: Option<Duration>) -> io::Result<OwnedFd> {
    let (_directory, address) = address(run_dir)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, patience)?;
    loop {
        match rustix::net::connect(&socket, &address) {
            Err(Errno::INTR) => {}
            other => return other.map(|()| socket).map_err(io::Error::from),
        }
    }
}

/// A name of the socket that fits into an address (108 bytes), however long the directory's path is. It is good while
/// the returned descriptor is open.
fn address(run_dir: &Path) -> io::Result<(OwnedFd, SocketAddrUnix)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(run_dir, flags, Mode::empty())?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd()))?;
    Ok((directory, address))
}
