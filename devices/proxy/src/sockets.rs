//! TCP sockets of this host.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

/// A socket whose connection was begun.
#[derive(Debug)]
pub(crate) enum Begun {
    Connected(OwnedFd),
    UnderWay(OwnedFd),
    /// A member's machine was asked; the socket's first byte is its answer.
    Peer(OwnedFd),
}

/// Begins to connect to `target`.
///
/// # Errors
/// The operating system's, where it says at once that there is no way.
pub(crate) fn dial(target: SocketAddr) -> Result<Begun, Errno> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    do_not_delay(&socket);
    let mut begun = connect(&socket, &target);
    if target.ip().is_loopback() && begun.is_err_and(is_under_way) {
        // The other end has answered by now, yes or no; to ask once more costs less than to wait.
        begun = connect(&socket, &target);
    }
    match begun {
        Ok(()) => Ok(Begun::Connected(socket)),
        Err(error) if is_under_way(error) => Ok(Begun::UnderWay(socket)),
        Err(error) => Err(error),
    }
}

/// Small writes are the guest's to hold back.
pub(crate) fn do_not_delay(socket: &OwnedFd) {
    // A socket that is none of TCP's does not delay either.
    let _ = sockopt::set_tcp_nodelay(socket, true);
}

/// Whether an attempt to connect is under way.
pub(crate) fn is_under_way(error: Errno) -> bool {
    matches!(error, Errno::INPROGRESS | Errno::ALREADY | Errno::INTR | Errno::AGAIN)
}

/// Whoever is at the socket's other end sees a reset when it is closed.
pub(crate) fn reset_on_close(socket: &OwnedFd) {
    // Without it the end is merely a quiet one.
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn loopback_answers_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(matches!(dial(address), Ok(Begun::Connected(_))));
        drop(listener);
        assert_eq!(dial(address).unwrap_err(), Errno::CONNREFUSED);
    }
}
