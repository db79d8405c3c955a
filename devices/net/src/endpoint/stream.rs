//! A stream socket that carries frames, each behind its length: what QEMU's `-netdev stream` speaks and passt serves.
//!
//! Wire layout: 32-bit big-endian length, then so many bytes of Ethernet frame, without a virtio header.

use std::io;
use std::os::fd::OwnedFd;

use monocore_virtio::{Buffers, Interest, Poller, Ready, ServiceError};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::{Endpoint, FIRST_TOKEN, MAX_FRAME_BYTES, Sent};
use crate::features::Offloads;
use crate::header::{HEADER_BYTES, Header};
use crate::receiver::Receiver;

const LENGTH_BYTES: usize = 4;
/// Room for several frames, so that one call brings many.
const INBOX_BYTES: usize = 4 * (LENGTH_BYTES + MAX_FRAME_BYTES);

/// The other end of a card behind a stream socket.
#[derive(Debug)]
pub struct Stream {
    socket: OwnedFd,
    /// Bytes received and not yet given, from `start` on.
    inbox: Vec<u8>,
    start: usize,
    /// What the socket did not take of a frame.
    outbox: Vec<u8>,
    /// What the poller watches the socket for; with [`Interest::None`] it is not in the poller.
    interest: Interest,
    starved: bool,
    /// The other side is gone; frames are dropped, as by a card without a link.
    closed: bool,
}

impl Stream {
    /// A card's other end on `socket`, which is connected.
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            inbox: Vec::with_capacity(INBOX_BYTES),
            start: 0,
            outbox: Vec::new(),
            interest: Interest::None,
            starved: false,
            closed: false,
        }
    }

    fn close(&mut self, why: &str) {
        if !std::mem::replace(&mut self.closed, true) {
            tracing::warn!(device = "net", why, "the other end of the card is gone");
        }
        self.inbox.clear();
        self.outbox.clear();
        self.start = 0;
    }

    fn watch(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        let interest = match (self.starved || self.closed, self.outbox.is_empty()) {
            (false, true) => Interest::Read,
            (false, false) => Interest::ReadWrite,
            (true, false) => Interest::Write,
            (true, true) => Interest::None,
        };
        // A descriptor without interest leaves the poller: its hang-up would be reported without end.
        let changed = match (self.interest, interest) {
            (old, new) if old == new => Ok(()),
            (_, Interest::None) => poller.remove(&self.socket),
            (Interest::None, new) => poller.add(&self.socket, FIRST_TOKEN, new),
            (_, new) => poller.modify(&self.socket, FIRST_TOKEN, new),
        };
        changed.map_err(ServiceError::host("watching a network socket"))?;
        self.interest = interest;
        Ok(())
    }

    /// Sends what is left of a frame, and says whether nothing is.
    fn flush(&mut self) -> bool {
        while !self.outbox.is_empty() {
            match send(&self.socket, &self.outbox, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => drop(self.outbox.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return false,
                Err(error) => self.close(&error.to_string()),
            }
        }
        true
    }

    /// Reads once into the inbox; says whether there may be more.
    fn fill(&mut self) -> bool {
        self.inbox.drain(..self.start);
        self.start = 0;
        let held = self.inbox.len();
        self.inbox.resize(INBOX_BYTES, 0);
        let room = INBOX_BYTES - held;
        let received = recv(&self.socket, &mut self.inbox[held..], RecvFlags::DONTWAIT);
        let count = match received {
            Ok((count, _)) => count,
            Err(_) => 0,
        };
        self.inbox.truncate(held + count);
        match received {
            Ok((0, _)) if room > 0 => self.close("end of stream"),
            Err(error) if !matches!(error, Errno::AGAIN | Errno::INTR) => self.close(&error.to_string()),
            _ => {}
        }
        count == room
    }

    /// Gives the guest every complete frame of the inbox, as far as it has buffers.
    fn deliver(&mut self, receiver: &mut Receiver<'_>) -> Result<(), ServiceError> {
        self.starved = false;
        while let Some(&[a, b, c, d]) = self.inbox.get(self.start..self.start + LENGTH_BYTES) {
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            if length > MAX_FRAME_BYTES {
                self.close("a frame longer than any");
                return Ok(());
            }
            let begin = self.start + LENGTH_BYTES;
            let Some(frame) = self.inbox.get(begin..begin + length) else { break };
            if length > 0 {
                if !receiver.take(length, length)? {
                    self.starved = true;
                    return Ok(());
                }
                receiver.room().copy_from(HEADER_BYTES, frame);
                receiver.give(Header::default(), length)?;
            }
            self.start = begin + length;
        }
        Ok(())
    }

    fn receive(&mut self, receiver: &mut Receiver<'_>) -> Result<(), ServiceError> {
        loop {
            self.deliver(receiver)?;
            if self.starved || self.closed || !self.fill() {
                break;
            }
        }
        if self.starved { Ok(()) } else { self.deliver(receiver) }
    }
}

impl Endpoint for Stream {
    fn offloads(&self) -> Offloads {
        Offloads::NONE
    }

    fn begin(&mut self, _offloads: Offloads, poller: &Poller) -> Result<(), ServiceError> {
        if self.closed {
            return Ok(());
        }
        // The poller is a new one.
        self.interest = Interest::None;
        self.watch(poller)
    }

    fn send(
        &mut self,
        frame: &mut Buffers<'_>,
        _receiver: &mut Receiver<'_>,
        poller: &Poller,
    ) -> Result<Sent, ServiceError> {
        let length = frame.len_bytes().saturating_sub(HEADER_BYTES);
        if self.closed || length == 0 || length > MAX_FRAME_BYTES {
            return Ok(Sent::Done);
        }
        if !self.flush() {
            return Ok(Sent::Full);
        }
        frame.advance(HEADER_BYTES);
        // At most MAX_FRAME_BYTES.
        let prefix = u32::try_from(length).unwrap_or(0).to_be_bytes();
        match frame.send_after(&prefix, &self.socket) {
            Ok(count) if count == LENGTH_BYTES + length => return Ok(Sent::Done),
            Ok(count) => {
                // Half a frame is on its way: the rest must follow, whatever becomes of the guest's buffers.
                let mut whole = vec![0; LENGTH_BYTES + length];
                whole[..LENGTH_BYTES].copy_from_slice(&prefix);
                frame.copy_to(0, &mut whole[LENGTH_BYTES..]);
                self.outbox = whole.split_off(count);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut whole = prefix.to_vec();
                whole.resize(LENGTH_BYTES + length, 0);
                frame.copy_to(0, &mut whole[LENGTH_BYTES..]);
                self.outbox = whole;
            }
            Err(error) => self.close(&error.to_string()),
        }
        self.watch(poller)?;
        Ok(Sent::Done)
    }

    fn ready(
        &mut self,
        ready: Ready,
        receiver: &mut Receiver<'_>,
        poller: &Poller,
    ) -> Result<(), ServiceError> {
        if ready.writable {
            self.flush();
        }
        if ready.readable && !self.starved && !self.closed {
            self.receive(receiver)?;
        }
        self.watch(poller)
    }

    fn turn(&mut self, receiver: &mut Receiver<'_>, poller: &Poller) -> Result<(), ServiceError> {
        if self.starved {
            self.receive(receiver)?;
            self.watch(poller)?;
        }
        Ok(())
    }
}
