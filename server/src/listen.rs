//! Where connections come from.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with, sockopt,
};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::Error;
use crate::access::Peer;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// A socket that connections come in at.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix { listener: UnixListener, _file: Option<SocketFile> },
}

/// The other end's bytes, before TLS.
#[derive(Debug)]
pub(crate) enum Accepted {
    Tcp(TcpStream, Peer),
    Unix(UnixStream),
}

/// A socket's name in the file system, which goes with the server.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another server may have the name meanwhile.
        if self.path.metadata().is_ok_and(|found| found.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    pub(crate) async fn tcp(address: SocketAddr) -> Result<Self, Error> {
        let failed = |source| Error::Listen { place: address.to_string(), source };
        TcpListener::bind(address).await.map(Self::Tcp).map_err(failed)
    }

    /// Makes a socket that only this user can open. One that nobody listens on is replaced.
    pub(crate) fn unix(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Listen { place: path.display().to_string(), source };
        if let Some(dir) = path.parent() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(Error::file("create", dir))?;
        }
        let listener = match bind_private(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                let is_socket =
                    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
                if !is_socket {
                    return Err(failed(error));
                }
                if std::os::unix::net::UnixStream::connect(path).is_ok() {
                    return Err(Error::InUse(path.to_owned()));
                }
                std::fs::remove_file(path).map_err(Error::file("remove", path))?;
                bind_private(path).map_err(failed)?
            }
            other => other.map_err(failed)?,
        };
        let inode = path.metadata().map_err(Error::file("look at", path))?.ino();
        let file = SocketFile { path: path.to_owned(), inode };
        listener.set_nonblocking(true).map_err(failed)?;
        UnixListener::from_std(listener)
            .map(|listener| Self::Unix { listener, _file: Some(file) })
            .map_err(failed)
    }

    /// Takes over a listening socket of systemd's.
    pub(crate) fn inherited(socket: OwnedFd) -> Result<Self, Error> {
        let failed = |source: io::Error| Error::Listen { place: "an inherited socket".to_owned(), source };
        let domain = sockopt::socket_domain(&socket).map_err(|errno| failed(errno.into()))?;
        if domain == AddressFamily::UNIX {
            let listener = std::os::unix::net::UnixListener::from(socket);
            listener.set_nonblocking(true).map_err(failed)?;
            UnixListener::from_std(listener)
                .map(|listener| Self::Unix { listener, _file: None })
                .map_err(failed)
        } else {
            let listener = std::net::TcpListener::from(socket);
            listener.set_nonblocking(true).map_err(failed)?;
            TcpListener::from_std(listener).map(Self::Tcp).map_err(failed)
        }
    }

    /// The TCP address, if it is one.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix { .. } => None,
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                // A client that has gone already is found out when it is served.
                let _ = stream.set_nodelay(true);
                let _ = sockopt::set_socket_keepalive(&stream, true);
                // The address that the client reached decides, not the one that it comes from.
                let local = stream.local_addr()?.ip().to_canonical().is_loopback();
                let peer = if local { Peer::Loopback(from) } else { Peer::Remote(from) };
                Ok(Accepted::Tcp(stream, peer))
            }
            Self::Unix { listener, .. } => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

/// The socket has its mode before it has its name: Linux gives the file the mode of the unbound socket.
fn bind_private(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}
