//! A tap interface of this host: frames go to and come from the kernel, header and all, without being looked at.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use monocore_virtio::{Buffers, Interest, Poller, Ready, ServiceError};

use super::{Endpoint, FIRST_TOKEN, MAX_FRAME_BYTES, Sent};
use crate::features::Offloads;
use crate::header::HEADER_BYTES;
use crate::receiver::Receiver;
use crate::sys::tap;

/// Frames given to the guest before others come.
const TURN_FRAMES: usize = 64;
/// The shortest frame every guest buffer has room for.
const FULL_FRAME_BYTES: usize = 1514;

const TUN_F_CSUM: u32 = 0x01;
const TUN_F_TSO4: u32 = 0x02;
const TUN_F_TSO6: u32 = 0x04;
const TUN_F_USO4: u32 = 0x20;
const TUN_F_USO6: u32 = 0x40;

/// Why a tap interface cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The driver or the interface cannot be had.
    #[error("tap interface {name}: {source}")]
    Open {
        /// The interface's name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A descriptor that is no tap interface with virtio headers.
    #[error("the descriptor is no tap interface made with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR")]
    Descriptor(#[source] io::Error),
}

/// The other end of a tap interface.
#[derive(Debug)]
pub struct Tap {
    file: File,
    /// What the poller watches the interface for; with [`Interest::None`] it is not in the poller.
    interest: Interest,
    /// The guest had no buffers for a frame that waits.
    starved: bool,
    /// The interface had no room for a frame that waits.
    full: bool,
}

impl Tap {
    /// The other end of the interface `name`, which is there and belongs to this user, or else is made.
    ///
    /// # Errors
    /// [`TapError::Open`].
    pub fn open(name: &str) -> Result<Self, TapError> {
        let fail = |source| TapError::Open { name: name.to_owned(), source };
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .map_err(fail)?;
        tap::attach(file.as_fd(), name).map_err(fail)?;
        Self::prepare(file).map_err(fail)
    }

    /// The same, opened by somebody else.
    ///
    /// # Errors
    /// [`TapError::Descriptor`].
    pub fn from_fd(fd: OwnedFd) -> Result<Self, TapError> {
        let file = File::from(fd);
        match tap::is_tap_with_header(file.as_fd()) {
            Ok(true) => {}
            Ok(false) => return Err(TapError::Descriptor(io::ErrorKind::InvalidInput.into())),
            Err(error) => return Err(TapError::Descriptor(error)),
        }
        Self::prepare(file).map_err(TapError::Descriptor)
    }

    fn prepare(file: File) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&file, true)?;
        tap::set_header_bytes(file.as_fd(), HEADER_BYTES)?;
        Ok(Self { file, interest: Interest::Read, starved: false, full: false })
    }

    fn watch(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        let interest = match (self.starved, self.full) {
            (false, false) => Interest::Read,
            (false, true) => Interest::ReadWrite,
            (true, true) => Interest::Write,
            (true, false) => Interest::None,
        };
        // A descriptor without interest leaves the poller: an interface that was removed would be reported without end.
        let changed = match (self.interest, interest) {
            (old, new) if old == new => Ok(()),
            (_, Interest::None) => poller.remove(&self.file),
            (Interest::None, new) => poller.add(&self.file, FIRST_TOKEN, new),
            (_, new) => poller.modify(&self.file, FIRST_TOKEN, new),
        };
        changed.map_err(ServiceError::host("watching a tap interface"))?;
        self.interest = interest;
        Ok(())
    }

    /// Gives the guest what has arrived, as far as it has buffers and is fair.
    fn receive(&mut self, receiver: &mut Receiver<'_>) -> Result<(), ServiceError> {
        for _ in 0..TURN_FRAMES {
            self.starved = !receiver.take(FULL_FRAME_BYTES, MAX_FRAME_BYTES)?;
            if self.starved {
                return Ok(());
            }
            match receiver.room().read_from(&self.file) {
                Ok(count) if count > HEADER_BYTES => receiver.give_as_is(count - HEADER_BYTES)?,
                Ok(_) => receiver.put_back(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(source) => return Err(ServiceError::Host { what: "reading a tap interface", source }),
            }
        }
        receiver.put_back();
        Ok(())
    }
}

impl Endpoint for Tap {
    fn offloads(&self) -> Offloads {
        let udp = tap::set_offloads(self.file.as_fd(), TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6).is_ok();
        Offloads {
            checksum_from_guest: true,
            checksum_to_guest: true,
            tcp_from_guest: true,
            tcp_to_guest: (true, true),
            udp_from_guest: udp,
            udp_to_guest: udp,
        }
    }

    fn begin(&mut self, offloads: Offloads, poller: &Poller) -> Result<(), ServiceError> {
        let bit = |wanted: bool, bits: u32| if wanted { bits } else { 0 };
        let flags = bit(offloads.checksum_to_guest, TUN_F_CSUM)
            | bit(offloads.tcp_to_guest.0, TUN_F_TSO4)
            | bit(offloads.tcp_to_guest.1, TUN_F_TSO6)
            | bit(offloads.udp_to_guest, TUN_F_USO4 | TUN_F_USO6);
        tap::set_offloads(self.file.as_fd(), flags)
            .map_err(ServiceError::host("setting a tap interface's offloads"))?;
        (self.starved, self.full, self.interest) = (false, false, Interest::Read);
        poller
            .add(&self.file, FIRST_TOKEN, Interest::Read)
            .map_err(ServiceError::host("watching a tap interface"))
    }

    fn send(
        &mut self,
        frame: &mut Buffers<'_>,
        _receiver: &mut Receiver<'_>,
        poller: &Poller,
    ) -> Result<Sent, ServiceError> {
        match frame.write_to(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.full = true;
                self.watch(poller)?;
                Ok(Sent::Full)
            }
            // A frame the kernel makes no sense of, or an interface that is down: a card drops it.
            _ => Ok(Sent::Done),
        }
    }

    fn ready(
        &mut self,
        ready: Ready,
        receiver: &mut Receiver<'_>,
        poller: &Poller,
    ) -> Result<(), ServiceError> {
        if ready.writable {
            self.full = false;
        }
        if ready.readable && !self.starved {
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
