//! Another kind of backend, behind one port: it hears what the guest wants in frames and answers with sockets of the Internet,
//! or with errors by number.
//!
//! A guest's REQUEST to the front's port carries one frame of 48 bytes as its payload, which no credit is charged for. As a
//! stream, it asks for a socket of the host's, whose bytes then flow as any connection's do. As VIRTIO_VSOCK_TYPE_SEQPACKET it
//! opens a channel, on which either side sends messages: a frame, and up to 65535 bytes behind it. An RST's flags are an
//! error as Linux numbers it. A guest's SHUTDOWN both ways is the end of a socket and is not confirmed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use monocore_virtio::{Buffers, Poller, Ready, ServiceError};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use crate::device::Metrics;
use crate::fate::Fate;
use crate::inbound::Inbound;
use crate::session::{Id, Session};

/// Length of a frame.
pub const FRAME_BYTES: usize = 48;
/// The most that lies behind a message's frame.
pub const MAX_PAYLOAD_BYTES: usize = 65_535;
/// The first token that is a front's; those below are the device's own.
pub const FIRST_FRONT_TOKEN: u64 = 1 << 56;

/// One channel; its number is used again once [`Front::closed`] was called for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(pub(crate) Id);

/// The host's end of a stream.
#[derive(Debug)]
pub struct Dialed {
    /// A stream socket that does not wait.
    pub socket: OwnedFd,
    /// Its connection is under way; the device waits for it and tells the guest. With a [fate](Self::fate), the socket's first
    /// byte says that the other machine has accepted.
    pub connecting: bool,
    /// What the guest sends is shown to [`Front::inspect`] before the socket has any of it.
    pub inspected: bool,
    /// How the connection ends, where the other end of the socket is another machine's.
    pub fate: Option<Fate>,
}

/// What is to be done with the first bytes of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inspection {
    /// They are kept, within the stream's credit, until there are more.
    Hold,
    /// They go on, and so does all that follows.
    Pass,
    /// The stream is reset on both sides; the guest is told why.
    Refuse(Errno),
}

/// A message of the guest.
#[derive(Debug)]
pub struct Message<'a, 'm> {
    /// What it begins with.
    pub frame: [u8; FRAME_BYTES],
    /// What lies behind.
    pub payload: Payload<'a, 'm>,
}

/// What lies behind a message's frame, wherever it is.
#[derive(Debug)]
pub enum Payload<'a, 'm> {
    /// In the guest's buffers, as it sent them; the bytes may change while they are read.
    Guest(&'a Buffers<'m>),
    /// Put together from several packets.
    Kept(&'a [u8]),
}

impl Payload<'_, '_> {
    /// Sends the payload to `socket` as one datagram, without waiting.
    ///
    /// # Errors
    /// The operating system's.
    pub fn send(&self, socket: impl AsFd) -> io::Result<()> {
        match self {
            Self::Guest(buffers) => buffers.send(socket).map(drop),
            Self::Kept(bytes) => {
                send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
                Ok(())
            }
        }
    }

    /// How many bytes it has.
    pub fn len_bytes(&self) -> usize {
        match self {
            Self::Guest(buffers) => buffers.len_bytes(),
            Self::Kept(bytes) => bytes.len(),
        }
    }

    /// The payload's bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        match self {
            Self::Guest(buffers) => {
                let mut bytes = vec![0; buffers.len_bytes()];
                buffers.copy_to(0, &mut bytes);
                bytes
            }
            Self::Kept(bytes) => bytes.to_vec(),
        }
    }
}

/// Takes what the guest asks for at one port. Called on the device's worker thread; nothing may wait.
pub trait Front: Send {
    /// The device begins to run. Descriptors are added to `poller`, with tokens from [`FIRST_FRONT_TOKEN`] on.
    ///
    /// # Errors
    /// [`ServiceError`]; the device then asks for a reset and rests.
    fn begin(&mut self, poller: &Poller) -> Result<(), ServiceError>;

    /// The guest asks for a stream.
    ///
    /// # Errors
    /// What the guest is told.
    fn connect(&mut self, frame: &[u8; FRAME_BYTES], poller: &Poller) -> Result<Dialed, Errno>;

    /// `bytes` are all that the guest has sent on a stream that is [inspected](Dialed::inspected) and was asked for with
    /// `frame`; `ended` says that there will be no more of them. Called with each packet until the answer is not
    /// [`Inspection::Hold`].
    fn inspect(&mut self, frame: &[u8; FRAME_BYTES], bytes: &[u8], ended: bool) -> Inspection;

    /// A stream of [`connect`](Self::connect)'s has ended.
    fn disconnected(&mut self);

    /// The guest opens `channel`.
    ///
    /// # Errors
    /// What the guest is told; there is no such channel then.
    fn open(&mut self, channel: Channel, frame: &[u8; FRAME_BYTES], poller: &Poller) -> Result<(), Errno>;

    /// A message of the guest on an open channel.
    ///
    /// # Errors
    /// [`ServiceError`]; the device then asks for a reset and rests.
    fn message(
        &mut self,
        channel: Channel,
        message: &Message<'_, '_>,
        channels: &mut Channels<'_, '_>,
        poller: &Poller,
    ) -> Result<(), ServiceError>;

    /// `channel` has ended, whoever ended it.
    fn closed(&mut self, channel: Channel, poller: &Poller);

    /// One of its descriptors is ready.
    ///
    /// # Errors
    /// [`ServiceError`]; the device then asks for a reset and rests.
    fn ready(
        &mut self,
        ready: Ready,
        channels: &mut Channels<'_, '_>,
        poller: &Poller,
    ) -> Result<(), ServiceError>;

    /// The end of a turn: the guest may have new buffers or have granted more, time has passed.
    ///
    /// # Errors
    /// [`ServiceError`]; the device then asks for a reset and rests.
    fn turn(&mut self, channels: &mut Channels<'_, '_>, poller: &Poller) -> Result<(), ServiceError>;

    /// When [`turn`](Self::turn) shall run at the latest.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The driver reset the device: streams and channels are gone, and nobody hears of them again.
    fn reset(&mut self);
}

/// What became of a message to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The guest has it, or nobody will ever read it.
    Done,
    /// The guest has no buffers, or granted too little; there may be room at the end of a turn.
    NoRoom,
}

/// What a look at a socket for a message gave.
#[derive(Debug)]
pub enum Received {
    /// The guest has a message more, of so many bytes behind the frame.
    Message(usize),
    /// A datagram was longer than what the guest has room for, and is lost.
    Lost,
    /// There is no room for any; there may be at the end of a turn.
    NoRoom,
    /// The socket had none, for the reason given.
    Nothing(io::Error),
}

/// The channels of a running device.
pub struct Channels<'a, 'm> {
    pub(crate) session: &'a mut Session,
    pub(crate) inbound: &'a mut Inbound<'m>,
    pub(crate) metrics: &'a Metrics,
}

impl Channels<'_, '_> {
    /// Gives the guest a message.
    ///
    /// # Errors
    /// [`ServiceError`] where the guest's queue is broken.
    pub fn send(
        &mut self,
        channel: Channel,
        frame: &[u8; FRAME_BYTES],
        payload: &[u8],
    ) -> Result<Sent, ServiceError> {
        self.inbound.message(self.session, channel.0, frame, payload, self.metrics)
    }

    /// Receives a datagram from `socket` straight into the guest's buffers, behind `frame`.
    ///
    /// # Errors
    /// [`ServiceError`] where the guest's queue is broken.
    pub fn receive(
        &mut self,
        channel: Channel,
        frame: &[u8; FRAME_BYTES],
        socket: impl AsFd,
    ) -> Result<Received, ServiceError> {
        self.inbound.message_from(self.session, channel.0, frame, socket, self.metrics)
    }

    /// Whether so much went to the guest that a message which cannot wait should be lost instead of [sent](Self::send).
    pub fn is_full(&self) -> bool {
        self.session.throttle.is_full()
    }

    /// Ends a channel; [`Front::closed`] is called for it as for any other.
    pub fn reset(&mut self, channel: Channel, errno: Errno) {
        self.session.reset(channel.0, Some(errno), self.metrics);
    }
}
