//! Connections whose first frame has not arrived yet.

use monocore_protocol::{Decoder, MAX_OPENING_BYTES, Opening};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

/// A connection that has yet to say what it is for. Not a byte of what follows the opening is read.
#[derive(Debug)]
pub(super) struct Unopened {
    socket: OwnedFd,
    decoder: Decoder,
}

/// What became of an [`Unopened`].
#[derive(Debug)]
pub(super) enum Opened {
    /// It said what it is for.
    As(Opening, OwnedFd),
    /// It has still to say it.
    Waiting(Unopened),
    /// It ended or said nonsense.
    Dropped,
}

impl Unopened {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, decoder: Decoder::new(MAX_OPENING_BYTES) }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads what has arrived.
    pub(super) fn advance(mut self) -> Opened {
        loop {
            match self.decoder.take::<Opening>() {
                Ok(Some(opening)) => return Opened::As(opening, self.socket),
                Ok(None) => {}
                Err(_) => return Opened::Dropped,
            }
            let mut buffer = [0; MAX_OPENING_BYTES + 4];
            let wanted = self.decoder.missing_bytes().min(buffer.len());
            match recv(&self.socket, &mut buffer[..wanted], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Opened::Dropped,
                Ok((count, _)) => self.decoder.push(&buffer[..count]),
                Err(Errno::AGAIN) => return Opened::Waiting(self),
                Err(Errno::INTR) => {}
                Err(_) => return Opened::Dropped,
            }
        }
    }
}
