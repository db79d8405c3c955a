//! A connection of the guest's to the name server: messages behind their lengths (RFC 1035 §4.2.2), our end of a socket pair.

use std::os::fd::OwnedFd;

use monocore_virtio::{Interest, Poller, Ready};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// What waits to be sent; a guest that reads no answers gets none of its questions answered.
const MAX_UNSENT_BYTES: usize = 256 << 10;

/// A connection.
#[derive(Debug)]
pub(super) struct Stream {
    socket: OwnedFd,
    received: Vec<u8>,
    unsent: Vec<u8>,
    interest: Interest,
    /// The guest asks no more.
    ended: bool,
    broken: bool,
}

impl Stream {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            received: Vec::new(),
            unsent: Vec::new(),
            interest: Interest::Read,
            ended: false,
            broken: false,
        }
    }

    pub(super) fn begin(&mut self, poller: &Poller, token: u64) -> bool {
        poller.add(&self.socket, token, self.interest).is_ok()
    }

    /// Reads and sends; gives the questions that are complete.
    pub(super) fn ready(&mut self, ready: Ready) -> Vec<Vec<u8>> {
        if ready.hang_up {
            // The guest has closed its end and reads no answer; the hang-up would be reported without end.
            self.broken = true;
            return Vec::new();
        }
        self.flush();
        let mut bytes = [0; 4096];
        if ready.readable && !self.ended && self.unsent.len() < MAX_UNSENT_BYTES {
            match recv(&self.socket, &mut bytes[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => self.ended = true,
                Ok((count, _)) => self.received.extend(&bytes[..count]),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => self.broken = true,
            }
        }
        let mut queries = Vec::new();
        while let Some(&[high, low]) = self.received.get(..2) {
            let end = 2 + usize::from(u16::from_be_bytes([high, low]));
            if self.received.len() < end {
                break;
            }
            let query: Vec<u8> = self.received.drain(..end).skip(2).collect();
            queries.push(query);
        }
        queries
    }

    /// Sends an answer.
    pub(super) fn answer(&mut self, message: &[u8]) {
        // A DNS message has at most as many bytes as its length can say.
        let Ok(length) = u16::try_from(message.len()) else { return };
        self.unsent.extend(length.to_be_bytes());
        self.unsent.extend(message);
        self.flush();
    }

    /// Watches for what the connection waits for; says whether it goes on, `waits` being whether answers are still to come.
    pub(super) fn watch(&mut self, poller: &Poller, token: u64, waits: bool) -> bool {
        if self.broken || self.ended && self.unsent.is_empty() && !waits {
            return false;
        }
        let interest = match (self.ended || self.unsent.len() >= MAX_UNSENT_BYTES, self.unsent.is_empty()) {
            (false, true) => Interest::Read,
            (false, false) => Interest::ReadWrite,
            (true, false) => Interest::Write,
            (true, true) => Interest::None,
        };
        if interest != self.interest {
            self.interest = interest;
            return poller.modify(&self.socket, token, interest).is_ok();
        }
        true
    }

    fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match send(&self.socket, &self.unsent, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.broken = true;
                    return;
                }
            }
        }
    }
}
