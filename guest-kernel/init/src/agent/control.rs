//! The control connection.

use monocore_protocol::{Decoder, Event, Request, encode_into};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::poller::{Poller, Readiness, Token};
use crate::error::{Doing, Error};
use crate::log;

/// While more than this waits to be sent, no further request is taken.
const MAX_UNSENT_BYTES: usize = 1 << 20;
const READ_BYTES: usize = 4096;

/// The connection, what has arrived on it and what has yet to leave.
#[derive(Debug)]
pub(crate) struct Control {
    socket: OwnedFd,
    decoder: Decoder,
    unsent: Vec<u8>,
    waits_to_write: bool,
}

/// Whether the host is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Open,
    Closed,
}

impl Control {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, decoder: Decoder::default(), unsent: Vec::new(), waits_to_write: false }
    }

    /// Takes in what has arrived, at most one buffer.
    pub(crate) fn receive(&mut self) -> Result<Link, Error> {
        if self.is_full() {
            return Ok(Link::Open);
        }
        let mut buffer = [0; READ_BYTES];
        match recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) | Err(Errno::CONNRESET) => Ok(Link::Closed),
            Ok((count, _)) => {
                self.decoder.push(&buffer[..count]);
                Ok(Link::Open)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Link::Open),
            Err(error) => Err(error).doing("read from", "the host"),
        }
    }

    /// The next request, if all of it is there.
    pub(crate) fn next_request(&mut self) -> Result<Option<Request>, Error> {
        if self.is_full() { Ok(None) } else { Ok(self.decoder.take()?) }
    }

    /// Queues an event.
    pub(crate) fn say(&mut self, event: &Event) {
        if let Err(error) = encode_into(event, &mut self.unsent) {
            log::complain(&format!("an event is lost: {error}"));
        }
    }

    /// Sends what is queued, as far as the connection takes it.
    pub(crate) fn flush(&mut self, poller: &Poller) -> Result<(), Error> {
        let mut sent = 0;
        while sent < self.unsent.len() {
            match send(&self.socket, &self.unsent[sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // Reading tells that the host is gone.
                Err(Errno::PIPE | Errno::CONNRESET) => sent = self.unsent.len(),
                Err(error) => return Err(error).doing("write to", "the host"),
            }
        }
        self.unsent.drain(..sent);
        let waits = !self.unsent.is_empty();
        if waits != self.waits_to_write {
            let readiness = match (waits, self.is_full()) {
                (true, true) => Readiness::Write,
                (true, false) => Readiness::Both,
                (false, _) => Readiness::Read,
            };
            poller.change(&self.socket, Token::Control, readiness)?;
            self.waits_to_write = waits;
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.unsent.len() > MAX_UNSENT_BYTES
    }
}
