//! The worker's loop.

use monocore_virtio::{Chain, Poller, Ready, Ring, Service, ServiceError};

use crate::request::{Scratch, Target};

const KICK: u64 = 0;
/// Requests served before a stop is looked for again.
const TURN_REQUESTS: usize = 256;

/// A disk at work.
pub(crate) struct BlockService<'m, 'd> {
    pub(crate) ring: Ring<'m>,
    pub(crate) chain: Chain<'m>,
    pub(crate) scratch: Scratch<'m>,
    pub(crate) target: Target<'d>,
}

impl BlockService<'_, '_> {
    fn serve_ring(&mut self) -> Result<(), ServiceError> {
        for _ in 0..TURN_REQUESTS {
            if self.ring.pop(&mut self.chain)? {
                let written = self.target.serve(&mut self.chain, &mut self.scratch)?;
                self.ring.push(self.chain.head(), written)?;
            } else {
                // The answers first: the driver need not wait while more is looked for.
                self.ring.notify()?;
                if !self.ring.rearm()? {
                    return Ok(());
                }
            }
        }
        self.ring.notify()?;
        self.ring.again()
    }
}

impl Service for BlockService<'_, '_> {
    fn begin(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        poller.add_kick(self.ring.kick(), KICK).map_err(ServiceError::host("watching a queue"))?;
        self.serve_ring()
    }

    fn turn(&mut self, _poller: &Poller, _ready: &[Ready]) -> Result<(), ServiceError> {
        self.serve_ring()
    }
}
