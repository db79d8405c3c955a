//! Firecracker's convention for Unix sockets.
//!
//! Who wants to reach the guest connects to the socket at `path` and says `CONNECT <port>\n`; once the guest has
//! accepted, it reads `OK <host port>\n`. The guest's connections to port P of the host arrive at `path_P`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use monocore_virtio::{Interest, Ready, ReadySet};
use rustix::fs::{AtFlags, CWD, unlinkat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, socket_with,
};

use super::{Accepted, Backend, Request};

/// Long enough for `CONNECT 4294967295\n`.
const LINE_BYTES: usize = 32;
/// How long a client may take to say its line.
const PATIENCE: Duration = Duration::from_secs(2);
/// Clients that have not said their line yet; more are turned away.
const MAX_WAITING: usize = 64;
const LISTENER: u64 = u64::MAX;
/// Looks at the ready descriptors in one call of `accept`; the poller reports what is left.
const LOOKS: usize = 8;
/// How long the listener is left alone when the process has no descriptor for a client. Nothing reports that one is free.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Unix sockets as ports.
pub struct UnixSockets {
    path: PathBuf,
    listener: UnixListener,
    ready: ReadySet,
    /// Descriptors the last look found ready.
    found: Vec<Ready>,
    waiting: Vec<Client>,
    next_token: u64,
    /// When the listener is watched again after a client could not be accepted.
    accept_again: Option<Instant>,
}

struct Client {
    token: u64,
    stream: UnixStream,
    /// What it said so far, without the line's end.
    line: Vec<u8>,
    deadline: Instant,
}

impl UnixSockets {
    /// Listens at `path`; the guest's connections go to `path_<port>`.
    ///
    /// # Errors
    /// The operating system's, most likely that `path` exists or its directory does not.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        let ready = ReadySet::new()?;
        ready.add(&listener, LISTENER, Interest::Read)?;
        Ok(Self {
            path: path.to_owned(),
            listener,
            ready,
            found: Vec::new(),
            waiting: Vec::new(),
            next_token: 0,
            accept_again: None,
        })
    }

    /// The descriptors it needs, in whatever process.
    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.listener.as_fd(), self.ready.as_fd()]
    }

    /// Closes the listener of this process and leaves the path: another process has the same listener.
    pub(super) fn leave(mut self) {
        // Dropping removes nothing then.
        self.path = PathBuf::new();
    }

    /// Accepts the clients that wait.
    fn welcome(&mut self) {
        for _ in 0..MAX_WAITING {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return self.rest(&error),
            };
            let token = self.next_token;
            if self.waiting.len() >= MAX_WAITING || self.ready.add(&stream, token, Interest::Read).is_err() {
                tracing::warn!("a client of the vsock socket is turned away: too many wait");
                continue;
            }
            self.next_token += 1;
            let deadline = Instant::now() + PATIENCE;
            self.waiting.push(Client { token, stream, line: Vec::new(), deadline });
        }
    }

    /// Leaves the listener alone for a moment: its client stays ready and would be reported without end.
    fn rest(&mut self, error: &io::Error) {
        tracing::warn!(%error, "a client of the vsock socket cannot be accepted now");
        if self.ready.remove(&self.listener).is_ok() {
            self.accept_again = Some(Instant::now() + ACCEPT_AGAIN);
        }
    }

    /// Watches the listener again when it has rested.
    fn listen_again(&mut self, now: Instant) {
        if self.accept_again.is_none_or(|at| at > now) {
            return;
        }
        let watched = self.ready.add(&self.listener, LISTENER, Interest::Read);
        self.accept_again = watched.is_err().then(|| now + ACCEPT_AGAIN);
    }

    /// Takes `token`'s client if it has said its line, or has said what is none.
    fn hear(&mut self, token: u64) -> Option<Request> {
        let index = self.waiting.iter().position(|client| client.token == token)?;
        let whole = match self.waiting[index].hear() {
            Ok(false) => return None,
            Ok(true) => true,
            Err(_) => false,
        };
        let client = self.waiting.swap_remove(index);
        // Handing it on must not leave it in the set; a closed one leaves by itself.
        let _ = self.ready.remove(&client.stream);
        let port = if whole { parse_line(&client.line)? } else { return None };
        Some(Request { port, stream: client.stream.into(), greet: true })
    }
}

impl Backend for UnixSockets {
    fn dial(&mut self, port: u32) -> io::Result<OwnedFd> {
        let mut path = self.path.clone().into_os_string();
        path.push(format!("_{port}"));
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(&*path)?)?;
        Ok(socket)
    }

    fn incoming(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    fn accept(&mut self) -> Accepted {
        let now = Instant::now();
        self.listen_again(now);
        for _ in 0..LOOKS {
            while let Some(ready) = self.found.pop() {
                if ready.token == LISTENER {
                    self.welcome();
                } else if let Some(request) = self.hear(ready.token) {
                    return Accepted::Request(request);
                }
            }
            let mut found = std::mem::take(&mut self.found);
            let looked = self.ready.wait(Some(Duration::ZERO), &mut found);
            self.found = found;
            if looked.is_err() || self.found.is_empty() {
                break;
            }
        }
        self.waiting.retain(|client| client.deadline > now);
        Accepted::Nothing
    }

    fn deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|client| client.deadline).chain(self.accept_again).min()
    }
}

impl Drop for UnixSockets {
    fn drop(&mut self) {
        // Best effort: a path somebody else removed is as good. By `unlinkat`, which a jailed broker may call.
        let _ = unlinkat(CWD, &self.path, AtFlags::empty());
    }
}

impl Client {
    /// Takes what the client says up to the line's end and nothing that follows it, and says whether the line
    /// is whole.
    fn hear(&mut self) -> io::Result<bool> {
        let mut bytes = [0; LINE_BYTES];
        let room = LINE_BYTES - self.line.len();
        let count = match recv(&self.stream, &mut bytes[..room], RecvFlags::DONTWAIT | RecvFlags::PEEK) {
            Ok((_, count)) => count,
            Err(Errno::AGAIN) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let end = bytes[..count].iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(count, |end| end + 1);
        recv(&self.stream, &mut bytes[..taken], RecvFlags::DONTWAIT)?;
        self.line.extend(&bytes[..end.unwrap_or(count)]);
        if end.is_none() && (count == 0 || self.line.len() == LINE_BYTES) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(end.is_some())
    }
}

/// The port of `CONNECT <port>`.
fn parse_line(line: &[u8]) -> Option<u32> {
    std::str::from_utf8(line).ok()?.strip_prefix("CONNECT ")?.trim_end_matches('\r').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    use monocore_virtio::test_driver::{NoDescriptors, alone};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn bound() -> (tempfile::TempDir, PathBuf, UnixSockets) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vsock");
        let sockets = UnixSockets::bind(&path).unwrap();
        (dir, path, sockets)
    }

    #[test]
    fn a_client_names_a_port_in_pieces_and_keeps_what_it_said_after() {
        let (_dir, path, mut sockets) = bound();
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"CONN").unwrap();
        assert!(matches!(sockets.accept(), Accepted::Nothing));
        client.write_all(b"ECT 52\nhello").unwrap();
        let Accepted::Request(request) = sockets.accept() else { panic!("the line is whole") };
        assert_eq!((request.port, request.greet), (52, true));
        let mut rest = [0; 8];
        assert_eq!(rustix::io::read(&request.stream, &mut rest).unwrap(), 5);
        assert_eq!(&rest[..5], b"hello");
    }

    #[test]
    fn clients_that_say_something_else_are_closed() {
        let (_dir, path, mut sockets) = bound();
        for line in ["CONNECT x\n", "CONNECT 4294967296\n", "GET / HTTP/1.1\r\n\r\n", &"C".repeat(40)] {
            let mut client = UnixStream::connect(&path).unwrap();
            client.write_all(line.as_bytes()).unwrap();
            assert!(matches!(sockets.accept(), Accepted::Nothing), "{line}");
            // Closed with bytes unread is a reset.
            assert!(matches!(client.read(&mut [0; 1]), Ok(0) | Err(_)), "{line}");
        }
        assert!(sockets.deadline().is_none());
    }

    #[test]
    fn a_client_without_a_descriptor_waits() {
        alone(module_path!(), "a_client_without_a_descriptor_waits", || {
            let (_dir, path, mut sockets) = bound();
            let mut client = UnixStream::connect(&path).unwrap();
            client.write_all(b"CONNECT 52\n").unwrap();
            let none = NoDescriptors::but(0);
            assert!(matches!(sockets.accept(), Accepted::Nothing));
            // The device's poller watches the set: it must not be ready again at once.
            let mut set = [PollFd::new(&sockets.ready, PollFlags::IN)];
            assert_eq!(poll(&mut set, Some(&Timespec::default())).unwrap(), 0);
            drop(none);
            let again = sockets.deadline().unwrap();
            std::thread::sleep(again.saturating_duration_since(Instant::now()));
            let Accepted::Request(request) = sockets.accept() else { panic!("a descriptor is free") };
            assert_eq!(request.port, 52);
            assert!(sockets.deadline().is_none());
        });
    }

    #[test]
    fn the_guest_reaches_the_socket_of_its_port() {
        let (_dir, path, mut sockets) = bound();
        assert!(sockets.dial(7).is_err());
        let listener = UnixListener::bind(path.with_file_name("vsock_7")).unwrap();
        let near = sockets.dial(7).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        far.write_all(b"x").unwrap();
        assert_eq!(rustix::io::read(&near, &mut [0; 4]).unwrap(), 1);
        drop(sockets);
        assert!(!path.exists());
    }
}
