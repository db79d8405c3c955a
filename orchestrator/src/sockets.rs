//! Unix sockets of the host that a guest may connect to, and sockets of the host that lead into a guest.
//!
//! `docs/design/sockets-of-the-host.md` has the reasons.
//!
//! The supervising process connects and listens, never the jailed machine. The guest decides nothing about which socket is
//! meant: a source is held by a descriptor from the start, since a guest may replace what lies in a shared directory.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use monocore_protocol::ByteString;
use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with, sockopt};

use crate::Error;

/// How long a connection waits for a service whose backlog is full.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// A socket of the host, found and held.
#[derive(Debug)]
pub struct HostSocket(OwnedFd);

impl HostSocket {
    /// Finds the socket at a path and holds it.
    ///
    /// # Errors
    /// Nothing is there.
    pub fn find(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// Holds a socket that was opened by O_PATH.
    pub(crate) fn new(found: OwnedFd) -> Self {
        Self(found)
    }

    /// Connects; blocks while the service's backlog is full, 10 seconds at most.
    ///
    /// # Errors
    /// Nobody listens, or this user may not connect.
    pub(crate) fn connect(&self) -> io::Result<OwnedFd> {
        let socket = stream_socket()?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(CONNECT_TIMEOUT))?;
        let path = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(socket)
    }
}

/// A socket of the host whose connections lead to a socket in the guest. Dropping it removes its path.
#[derive(Debug)]
pub struct PublishedSocket {
    listener: OwnedFd,
    /// Device and inode, to remove no other file.
    identity: (u64, u64),
    removed: AtomicBool,
    host: PathBuf,
    /// The socket in the guest.
    pub(crate) guest: ByteString,
}

impl PublishedSocket {
    /// Listens at `host` for this user only. A socket that nobody listens at any more is replaced.
    ///
    /// # Errors
    /// Something else has the path, or the folder cannot be written.
    pub fn bind(host: &Path, guest: &str) -> Result<Self, Error> {
        let host = std::path::absolute(host).map_err(Error::file("find", host))?;
        let bound = bind(&host).map_err(Error::file("listen at", &host))?;
        let found = std::fs::symlink_metadata(&host).map_err(Error::file("look at", &host))?;
        let identity = (found.dev(), found.ino());
        Ok(Self { listener: bound, identity, removed: AtomicBool::new(false), host, guest: guest.into() })
    }

    /// The next connection, without waiting; a stream socket that blocks.
    pub(crate) fn accept(&self) -> Result<OwnedFd, Errno> {
        rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC)
    }
}

impl AsFd for PublishedSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// Published sockets whose paths go with this value, though the session's thread may still have them open.
#[derive(Debug)]
pub(crate) struct PublishedSockets(pub(crate) Vec<Arc<PublishedSocket>>);

impl Drop for PublishedSockets {
    fn drop(&mut self) {
        self.0.iter().for_each(|socket| socket.remove());
    }
}

impl Drop for PublishedSocket {
    fn drop(&mut self) {
        self.remove();
    }
}

impl PublishedSocket {
    /// Removes the path, once.
    fn remove(&self) {
        if self.removed.swap(true, Ordering::Relaxed) {
            return;
        }
        let ours = |found: std::fs::Metadata| (found.dev(), found.ino()) == self.identity;
        if std::fs::symlink_metadata(&self.host).is_ok_and(ours) {
            // If it stays, the next one finds that nobody listens.
            let _ = std::fs::remove_file(&self.host);
        }
    }
}

fn stream_socket() -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

fn bind(host: &Path) -> io::Result<OwnedFd> {
    let (parent, name) = match (host.parent(), host.file_name()) {
        (Some(parent), Some(name)) => (parent, name),
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    // The folder's descriptor makes any path short enough, and its lock keeps two from replacing one stale socket.
    let folder = File::open(parent)?;
    folder.lock()?;
    let address = below(&folder, name)?;
    let socket = stream_socket()?;
    // Linux gives the path the mode of the socket itself.
    File::from(socket.try_clone()?).set_permissions(Permissions::from_mode(0o600))?;
    match rustix::net::bind(&socket, &address) {
        Err(Errno::ADDRINUSE) if is_stale(&folder, name) => {
            std::fs::remove_file(host)?;
            rustix::net::bind(&socket, &address)?;
        }
        other => other?,
    }
    rustix::net::listen(&socket, BACKLOG)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

fn below(folder: &File, name: &OsStr) -> io::Result<SocketAddrUnix> {
    let path = Path::new(&format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    Ok(SocketAddrUnix::new(path)?)
}

/// Whether there is a socket at which nobody listens.
fn is_stale(folder: &File, name: &OsStr) -> bool {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::empty()).is_ok_and(|found| {
        // Linux refuses a connection to any other file in the same way.
        let is_socket = fstat(&found)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket);
        is_socket && matches!(HostSocket::new(found).connect(), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_published_socket_is_private_and_goes_with_its_value() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("x".repeat(120));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("s");
        let published = PublishedSocket::bind(&path, "/guest.sock").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert!(PublishedSocket::bind(&path, "/guest.sock").is_err(), "somebody listens");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "another's").unwrap();
        drop(published);
        assert!(path.exists(), "it is not ours any more");
        assert!(PublishedSocket::bind(&path, "/guest.sock").is_err(), "a file is not replaced");
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        let published = PublishedSocket::bind(&path, "/guest.sock").unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        published.accept().unwrap();
        drop((_client, published));
        assert!(!path.exists());
    }

    #[test]
    fn a_source_stays_the_socket_that_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let found = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let source = HostSocket::new(found);
        // A guest that may write to the folder puts a link to another socket in its place.
        let _secret = UnixListener::bind(dir.path().join("secret")).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("secret", &path).unwrap();
        let _connected = source.connect().unwrap();
        listener.accept().unwrap();
    }
}
