//! The other end of a card: what the device asks of whatever lies behind it.

pub(crate) mod stream;
pub(crate) mod tap;

use std::time::Instant;

use monocore_virtio::{Buffers, Poller, Ready, ServiceError};

use crate::features::Offloads;
use crate::receiver::Receiver;

/// The first token that is an endpoint's; those below are the device's own.
pub const FIRST_TOKEN: u64 = 16;

/// The longest frame: an IP packet of 64 KiB behind an Ethernet header with a VLAN's tag.
const MAX_FRAME_BYTES: usize = 65535 + 18;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was taken, or dropped: the guest has its buffers back.
    Done,
    /// There is no room; the device keeps it and offers it again after the endpoint's next [`turn`](Endpoint::turn).
    Full,
}

/// Takes the guest's frames and gives it others. Called on the device's worker thread; nothing may wait.
pub trait Endpoint: Send {
    /// What it can do, and what it needs the driver to do.
    fn offloads(&self) -> Offloads;

    /// The longest IP packet, bytes, told to the driver; nothing where that is left to it.
    fn mtu(&self) -> Option<u16> {
        None
    }

    /// The driver is ready and agreed to `offloads`. Descriptors are added to `poller`, with tokens from [`FIRST_TOKEN`] on.
    ///
    /// # Errors
    /// [`ServiceError`]; the device then asks for a reset and rests.
    fn begin(&mut self, offloads: Offloads, poller: &Poller) -> Result<(), ServiceError>;

    /// A frame of the guest, its header ([`HEADER_BYTES`](crate::HEADER_BYTES)) first; the list is the endpoint's to cut
    /// down, unless it answers [`Sent::Full`]. The bytes may change while they are read.
    ///
    /// # Errors
    /// [`ServiceError`]; the device then asks for a reset and rests.
    fn send(
        &mut self,
        frame: &mut Buffers<'_>,
        receiver: &mut Receiver<'_>,
        poller: &Poller,
    ) -> Result<Sent, ServiceError>;

    /// One of its descriptors is ready.
    ///
    /// # Errors
    /// [`ServiceError`]; the device then asks for a reset and rests.
    fn ready(
        &mut self,
        ready: Ready,
        receiver: &mut Receiver<'_>,
        poller: &Poller,
    ) -> Result<(), ServiceError>;

    /// The end of a turn: the guest may have new buffers, time has passed.
    ///
    /// # Errors
    /// [`ServiceError`]; the device then asks for a reset and rests.
    fn turn(&mut self, receiver: &mut Receiver<'_>, poller: &Poller) -> Result<(), ServiceError>;

    /// When [`turn`](Self::turn) shall run at the latest.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The driver reset the device: what belonged to its guest is dropped.
    fn reset(&mut self) {}
}
