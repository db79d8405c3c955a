//! The worker's loop: the guest's frames, the endpoint's descriptors, the end of each turn.

use std::time::Instant;

use monocore_virtio::{Bucket, Chain, GuestFault, Poller, Ready, Ring, Service, ServiceError};

use crate::device::Metrics;
use crate::endpoint::{Endpoint, FIRST_TOKEN, Sent};
use crate::features::Offloads;
use crate::header::HEADER_BYTES;
use crate::receiver::Receiver;

const KICK_RX: u64 = 0;
const KICK_TX: u64 = 1;
/// Frames taken from the guest before others come.
const TURN_FRAMES: usize = 128;

/// A device at work.
pub(crate) struct NetService<'m, 's> {
    pub(crate) receiver: Receiver<'m>,
    pub(crate) tx: Ring<'m>,
    pub(crate) frame: Chain<'m>,
    /// `frame` is one that the endpoint had no room for.
    pub(crate) held: bool,
    /// How much may come from the guest.
    pub(crate) rate: Option<&'s mut Bucket>,
    /// When the guest's frames are looked at again, which lie in its ring until then because of it.
    pub(crate) resume: Option<Instant>,
    pub(crate) offloads: Offloads,
    pub(crate) endpoint: &'s mut dyn Endpoint,
    pub(crate) metrics: &'s Metrics,
}

impl NetService<'_, '_> {
    fn serve_tx(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        for _ in 0..TURN_FRAMES {
            if let Some(bucket) = &self.rate {
                self.resume = bucket.wait(Instant::now());
                if self.resume.is_some() {
                    return Ok(());
                }
            }
            if !self.held && !self.tx.pop(&mut self.frame)? {
                if self.tx.rearm()? {
                    continue;
                }
                return Ok(());
            }
            let bytes = self.frame.readable.len_bytes();
            if bytes < HEADER_BYTES {
                return Err(GuestFault::Request("a frame without a header").into());
            }
            self.held =
                self.endpoint.send(&mut self.frame.readable, &mut self.receiver, poller)? == Sent::Full;
            if self.held {
                return Ok(());
            }
            if let Some(bucket) = &mut self.rate {
                bucket.spend(bytes - HEADER_BYTES, Instant::now());
            }
            self.tx.push(self.frame.head(), 0)?;
            Metrics::add(&self.metrics.frames_from_guest, 1);
            Metrics::add(&self.metrics.bytes_from_guest, (bytes - HEADER_BYTES) as u64);
        }
        self.tx.again()
    }

    fn finish_turn(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        // Whoever waits tries again, and is told anew if it is too early.
        self.receiver.resume = None;
        self.endpoint.turn(&mut self.receiver, poller)?;
        if self.held || self.resume.is_some() {
            self.serve_tx(poller)?;
        }
        self.tx.notify()?;
        Ok(self.receiver.ring().notify()?)
    }

    /// Gives back a frame that the endpoint has not taken: it is the next one after a start.
    pub(crate) fn put_back(&mut self) {
        if std::mem::take(&mut self.held) {
            self.tx.undo_pops(1);
        }
    }
}

impl Service for NetService<'_, '_> {
    fn begin(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        let watching = || ServiceError::host("watching a queue");
        poller.add_kick(self.receiver.ring().kick(), KICK_RX).map_err(watching())?;
        poller.add_kick(self.tx.kick(), KICK_TX).map_err(watching())?;
        self.endpoint.begin(self.offloads, poller)?;
        // The guest need not say when it has buffers until somebody lacks them.
        self.serve_tx(poller)?;
        self.finish_turn(poller)
    }

    fn turn(&mut self, poller: &Poller, ready: &[Ready]) -> Result<(), ServiceError> {
        for ready in ready {
            match ready.token {
                KICK_TX => self.serve_tx(poller)?,
                token if token >= FIRST_TOKEN => self.endpoint.ready(*ready, &mut self.receiver, poller)?,
                // New buffers of the guest: the end of the turn uses them.
                _ => {}
            }
        }
        self.finish_turn(poller)
    }

    fn deadline(&self) -> Option<Instant> {
        [self.endpoint.deadline(), self.resume, self.receiver.resume].into_iter().flatten().min()
    }
}
