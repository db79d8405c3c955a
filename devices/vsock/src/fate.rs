//! How a connection between two machines ended.
//!
//! A pair of Unix sockets cannot carry a reset: whoever reads sees an end either way. So each connection has a second pair.
//! One byte on it says that the end is an end; a close without the byte is a reset. A machine that is killed sends no byte.

use std::os::fd::OwnedFd;

use rustix::net::{RecvFlags, SendFlags, recv, send};

const FINISHED: &[u8] = b".";

/// One end of the second pair. Dropping it resets the connection for the other machine.
#[derive(Debug)]
pub struct Fate(OwnedFd);

impl Fate {
    /// Takes one end of a pair of stream sockets.
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// The connection is over, and not by a reset.
    pub fn finish(self) {
        // The other machine may be gone.
        let _ = send(&self.0, FINISHED, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }

    /// Whether the other machine reset the connection. To be asked when the connection's socket has ended.
    pub fn is_reset(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        matches!(recv(&self.0, &mut [0; 1][..], flags), Ok((0, _)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (Fate, Fate) {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        (Fate::new(a), Fate::new(b))
    }

    #[test]
    fn only_a_close_without_a_word_is_a_reset() {
        let (ours, theirs) = pair();
        assert!(!ours.is_reset(), "half an end");
        theirs.finish();
        assert!(!ours.is_reset() && !ours.is_reset(), "an end, however often one looks");
        let (ours, theirs) = pair();
        drop(theirs);
        assert!(ours.is_reset());
        ours.finish();
    }
}
