//! Towards the guest: its receive buffers, taken for a frame, filled by an endpoint, and given.

use std::time::Instant;

use monocore_virtio::{Bucket, Buffers, Chain, GuestFault, Ring, ServiceError};

use crate::device::Metrics;
use crate::header::{HEADER_BYTES, Header};

/// Most buffers of one frame: 64 KiB in the smallest a driver with MRG_RXBUF gives.
const MAX_BUFFERS: usize = 64;

/// The guest's receive queue.
pub struct Receiver<'m> {
    ring: Ring<'m>,
    /// A frame may lie in several buffers (VIRTIO_NET_F_MRG_RXBUF).
    mergeable: bool,
    /// Chains of the frame in the making; beyond `taken` they are of frames before.
    chains: Vec<Chain<'m>>,
    taken: usize,
    /// Room that was asked for, bytes.
    wanted: usize,
    /// Their room, side by side, the header's first.
    room: Buffers<'m>,
    /// The part of it behind the headers.
    tail: Buffers<'m>,
    /// How much may go to the guest.
    pub(crate) rate: Option<&'m mut Bucket>,
    /// When somebody may go on who was told that there is no room because of it.
    pub(crate) resume: Option<Instant>,
    metrics: &'m Metrics,
}

impl<'m> Receiver<'m> {
    pub(crate) fn new(ring: Ring<'m>, mergeable: bool, metrics: &'m Metrics) -> Self {
        Self {
            ring,
            mergeable,
            chains: Vec::new(),
            taken: 0,
            wanted: 0,
            room: Buffers::new(),
            tail: Buffers::new(),
            rate: None,
            resume: None,
            metrics,
        }
    }

    pub(crate) fn ring(&mut self) -> &mut Ring<'m> {
        &mut self.ring
    }

    /// Takes buffers for a frame of up to `most` bytes, and says whether there is room for at least `least`. Where there is
    /// not, the guest is asked to kick when it has more, and nothing is taken; nor is it while a limit of what goes to the guest
    /// is used up. In either case the endpoint tries again at the end of a turn.
    ///
    /// # Errors
    /// [`GuestFault`] where ring or buffers break the rules.
    pub fn take(&mut self, least: usize, most: usize) -> Result<bool, ServiceError> {
        self.put_back();
        if let Some(bucket) = &self.rate {
            self.resume = bucket.wait(Instant::now());
            if self.resume.is_some() {
                return Ok(false);
            }
        }
        let wanted = HEADER_BYTES + most;
        self.wanted = wanted;
        let limit = self.limit();
        while self.taken < limit && self.room.len_bytes() < wanted {
            if self.chains.len() == self.taken {
                self.chains.push(Chain::new());
            }
            let chain = &mut self.chains[self.taken];
            if !self.ring.pop(chain)? {
                if self.room.len_bytes() >= HEADER_BYTES + least || !self.ring.rearm()? {
                    break;
                }
                continue;
            }
            let space = chain.writable.len_bytes();
            if space == 0 || (self.taken == 0 && space <= HEADER_BYTES) {
                return Err(GuestFault::Request("a receive buffer without room for a frame").into());
            }
            self.room.append_range(&chain.writable, 0, space);
            self.taken += 1;
        }
        if self.room.len_bytes() < HEADER_BYTES + least {
            if self.taken == limit {
                return Err(GuestFault::Request("receive buffers without room for a frame").into());
            }
            self.put_back();
            return Ok(false);
        }
        self.room.truncate(wanted);
        Ok(true)
    }

    /// Whether less than was asked for was taken because the guest had no more.
    pub fn is_short(&self) -> bool {
        let most = usize::from(self.ring.size()).min(self.limit());
        self.room.len_bytes() < self.wanted && self.taken < most
    }

    /// Gives the buffers back and asks the guest to kick when it has more than those, and says whether it has by now.
    ///
    /// # Errors
    /// [`GuestFault`] where the ring cannot be written.
    pub fn await_more(&mut self) -> Result<bool, ServiceError> {
        let came = self.ring.rearm()?;
        self.put_back();
        Ok(came)
    }

    fn limit(&self) -> usize {
        if self.mergeable { MAX_BUFFERS } else { 1 }
    }

    /// The room of what was taken: the header's [`HEADER_BYTES`], then the frame's.
    pub fn room(&self) -> &Buffers<'m> {
        &self.room
    }

    /// The room for what lies behind the first `headers_bytes` of the frame.
    pub fn payload_room(&mut self, headers_bytes: usize) -> &Buffers<'m> {
        self.tail.clear();
        self.tail.append_range(&self.room, HEADER_BYTES + headers_bytes, usize::MAX);
        &self.tail
    }

    /// Gives the guest a frame of `frame_bytes` that lies in [`room`](Self::room), with `header` in front of it.
    ///
    /// # Errors
    /// [`GuestFault`] where the ring cannot be written.
    pub fn give(&mut self, header: Header, frame_bytes: usize) -> Result<(), ServiceError> {
        let buffers = self.buffers_of(frame_bytes);
        self.room.copy_from(0, &header.to_bytes(buffers));
        self.hand_over(frame_bytes)
    }

    /// Gives the guest a frame of `frame_bytes` whose header is in [`room`](Self::room) already, but for the number of
    /// buffers.
    ///
    /// # Errors
    /// [`GuestFault`] where the ring cannot be written.
    pub fn give_as_is(&mut self, frame_bytes: usize) -> Result<(), ServiceError> {
        let buffers = self.buffers_of(frame_bytes);
        self.room.copy_from(HEADER_BYTES - 2, &buffers.to_le_bytes());
        self.hand_over(frame_bytes)
    }

    /// How many of the buffers taken a frame of `frame_bytes` lies in.
    fn buffers_of(&self, frame_bytes: usize) -> u16 {
        let (mut left, mut used) = (HEADER_BYTES + frame_bytes, 0);
        for chain in &self.chains[..self.taken] {
            if left == 0 {
                break;
            }
            left = left.saturating_sub(chain.writable.len_bytes());
            used += 1;
        }
        used
    }

    fn hand_over(&mut self, frame_bytes: usize) -> Result<(), ServiceError> {
        let total = (HEADER_BYTES + frame_bytes).min(self.room.len_bytes());
        let used = usize::from(self.buffers_of(frame_bytes));
        let mut left = total;
        self.ring.push_together(self.chains[..used].iter().map(|chain| {
            let part = left.min(chain.writable.len_bytes());
            left -= part;
            (chain.head(), u32::try_from(part).unwrap_or(u32::MAX))
        }))?;
        let unused = self.taken - used;
        self.ring.undo_pops(u16::try_from(unused).unwrap_or(0));
        self.taken = 0;
        self.room.clear();
        if let Some(bucket) = &mut self.rate {
            bucket.spend(frame_bytes, Instant::now());
        }
        Metrics::add(&self.metrics.frames_to_guest, 1);
        Metrics::add(&self.metrics.bytes_to_guest, frame_bytes as u64);
        Ok(())
    }

    /// Gives the buffers back to the ring unused.
    pub fn put_back(&mut self) {
        self.ring.undo_pops(u16::try_from(self.taken).unwrap_or(0));
        self.taken = 0;
        self.room.clear();
    }

    /// Gives the guest `frame`, if it has room for it; else the frame is dropped, as a full card does. It is one of those that
    /// keep a connection going, and waits for no limit, but counts.
    ///
    /// # Errors
    /// [`GuestFault`] where ring or buffers break the rules.
    pub fn frame(&mut self, header: Header, frame: &[u8]) -> Result<bool, ServiceError> {
        let rate = self.rate.take();
        let taken = self.take(frame.len(), frame.len());
        self.rate = rate;
        if !taken? {
            Metrics::add(&self.metrics.dropped, 1);
            return Ok(false);
        }
        self.room.copy_from(HEADER_BYTES, frame);
        self.give(header, frame.len())?;
        Ok(true)
    }
}
