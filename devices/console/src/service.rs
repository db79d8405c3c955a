//! The worker's loop.

use monocore_virtio::{
    Buffers, Chain, Interest, Interrupt, Poller, QueueState, Ready, Ring, Service, ServiceError,
};
use std::sync::atomic::Ordering;

use crate::device::{Metrics, Parts, Shared};
use crate::output::Written;

const KICK_RX: u64 = 0;
const KICK_TX: u64 = 1;
const INPUT: u64 = 2;
const OUTPUT: u64 = 3;
const RESIZED: u64 = 4;
/// Chains served before others come.
const TURN_CHAINS: usize = 64;

/// A console at work.
pub(crate) struct ConsoleService<'m, 's> {
    rx: Ring<'m>,
    tx: Ring<'m>,
    /// What is being written.
    text: Chain<'m>,
    /// `text` holds a chain that is not given back yet.
    pending: bool,
    room: Chain<'m>,
    step: Buffers<'m>,
    parts: &'s mut Parts,
    shared: &'s Shared,
    interrupt: &'s dyn Interrupt,
    metrics: &'s Metrics,
}

impl<'m, 's> ConsoleService<'m, 's> {
    pub(crate) fn new(
        rx: Ring<'m>,
        tx: Ring<'m>,
        parts: &'s mut Parts,
        shared: &'s Shared,
        interrupt: &'s dyn Interrupt,
        metrics: &'s Metrics,
    ) -> Self {
        parts.input.leave_poller();
        parts.output.leave_poller();
        let (text, room, step) = (Chain::new(), Chain::new(), Buffers::new());
        Self { rx, tx, text, pending: false, room, step, parts, shared, interrupt, metrics }
    }

    /// The queues' states; a chain that is not wholly written is available again.
    pub(crate) fn finish(mut self) -> Vec<QueueState> {
        if self.pending {
            self.tx.undo_pops(1);
        }
        vec![self.rx.state(), self.tx.state()]
    }

    fn serve_output(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        for _ in 0..TURN_CHAINS {
            if !self.pending && !self.tx.pop(&mut self.text)? {
                if self.tx.rearm()? {
                    continue;
                }
                return Ok(self.tx.notify()?);
            }
            self.pending = true;
            let text = &self.text.readable;
            let written = self.parts.output.write(text, &mut self.step, poller, OUTPUT);
            let lost = match written.map_err(ServiceError::host("watching the console's output"))? {
                Written::All => 0,
                Written::Lost(count) => count,
                Written::Blocked => return Ok(self.tx.notify()?),
            };
            let count = (self.text.readable.len_bytes() - lost) as u64;
            self.metrics.output_bytes.fetch_add(count, Ordering::Relaxed);
            self.metrics.lost_bytes.fetch_add(lost as u64, Ordering::Relaxed);
            self.pending = false;
            self.tx.push(self.text.head(), 0)?;
        }
        self.tx.notify()?;
        self.tx.again()
    }

    fn serve_input(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        let mut wait = true;
        for _ in 0..TURN_CHAINS {
            if !self.rx.pop(&mut self.room)? {
                if self.rx.rearm()? {
                    continue;
                }
                wait = false;
                break;
            }
            let count = if self.room.writable.is_empty() {
                Some(0)
            } else {
                self.parts.input.read(&self.room.writable)
            };
            let Some(count) = count else {
                self.rx.undo_pops(1);
                break;
            };
            self.metrics.input_bytes.fetch_add(count as u64, Ordering::Relaxed);
            self.rx.push(self.room.head(), u32::try_from(count).unwrap_or(0))?;
        }
        self.rx.notify()?;
        let waited = self.parts.input.wait(wait, poller, INPUT);
        waited.map_err(ServiceError::host("watching the console's input"))
    }

    fn resized(&self) -> Result<(), ServiceError> {
        if self.shared.resized.clear().map_err(ServiceError::host("clearing an event"))? {
            self.interrupt.notify_config();
        }
        Ok(())
    }
}

impl Service for ConsoleService<'_, '_> {
    fn begin(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        let watching = ServiceError::host;
        poller.add_kick(self.rx.kick(), KICK_RX).map_err(watching("watching a queue"))?;
        poller.add_kick(self.tx.kick(), KICK_TX).map_err(watching("watching a queue"))?;
        poller
            .add(&self.shared.resized, RESIZED, Interest::Read)
            .map_err(watching("watching the console's size"))?;
        self.serve_output(poller)?;
        self.serve_input(poller)
    }

    fn turn(&mut self, poller: &Poller, ready: &[Ready]) -> Result<(), ServiceError> {
        for ready in ready {
            match ready.token {
                KICK_RX | INPUT => self.serve_input(poller)?,
                KICK_TX | OUTPUT => self.serve_output(poller)?,
                _ => self.resized()?,
            }
        }
        Ok(())
    }
}
