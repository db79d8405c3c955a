//! The transport's interrupt: one edge-triggered line, and a status register that says what it meant.
//!
//! Our own guest kernel serves the rings on every interrupt and reads the status register only when none had
//! work, so every notification raises the line, whatever the register already says; and a configuration
//! change stays pending, to be announced again, until the driver acknowledges it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use monocore_hypervisor::IrqLine;

use crate::Interrupt;

/// Bits of InterruptStatus and InterruptACK (VIRTIO 1.3 §4.2.2).
const USED_BUFFER: u32 = 1;
const CONFIG_CHANGE: u32 = 2;

pub(super) struct MmioInterrupt {
    line: Arc<dyn IrqLine>,
    status: AtomicU32,
    generation: AtomicU32,
    needs_reset: AtomicBool,
    /// DRIVER_OK is set; before that the driver must not be interrupted (§2.1.2).
    live: AtomicBool,
}

impl MmioInterrupt {
    pub(super) fn new(line: Arc<dyn IrqLine>) -> Self {
        Self {
            line,
            status: AtomicU32::new(0),
            generation: AtomicU32::new(0),
            needs_reset: AtomicBool::new(false),
            live: AtomicBool::new(false),
        }
    }

    pub(super) fn set_live(&self, live: bool) {
        self.live.store(live, Ordering::SeqCst);
    }

    /// After a reset of the device; nobody raises anything any more.
    pub(super) fn clear(&self) {
        self.set_live(false);
        self.status.store(0, Ordering::SeqCst);
        self.needs_reset.store(false, Ordering::SeqCst);
    }

    pub(super) fn status(&self) -> u32 {
        self.status.load(Ordering::SeqCst)
    }

    pub(super) fn acknowledge(&self, bits: u32) {
        self.status.fetch_and(!bits, Ordering::SeqCst);
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation.load(Ordering::SeqCst)
    }

    pub(super) fn is_broken(&self) -> bool {
        self.needs_reset.load(Ordering::SeqCst)
    }

    /// Takes a saved state back; what was pending is raised once more, as its edge may be lost.
    pub(super) fn restore(&self, status: u32, generation: u32, needs_reset: bool) {
        self.status.store(status & (USED_BUFFER | CONFIG_CHANGE), Ordering::SeqCst);
        self.generation.store(generation, Ordering::SeqCst);
        self.needs_reset.store(needs_reset, Ordering::SeqCst);
    }

    /// Raises the line if anything is pending.
    pub(super) fn raise_pending(&self) {
        if self.status() != 0 {
            self.raise();
        }
    }

    fn raise(&self) {
        if !self.live.load(Ordering::SeqCst) {
            return;
        }
        if let Err(error) = self.line.raise() {
            tracing::error!(%error, "an interrupt line cannot be raised; the guest will miss work");
        }
    }
}

impl Interrupt for MmioInterrupt {
    fn notify_queue(&self, _index: u16) {
        self.status.fetch_or(USED_BUFFER, Ordering::SeqCst);
        self.raise();
    }

    fn notify_config(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        if self.live.load(Ordering::SeqCst) {
            self.status.fetch_or(CONFIG_CHANGE, Ordering::SeqCst);
            self.raise();
        }
    }

    fn needs_reset(&self) {
        self.needs_reset.store(true, Ordering::SeqCst);
        self.notify_config();
    }

    fn config_pending(&self) -> bool {
        self.status() & CONFIG_CHANGE != 0
    }

    fn announce_config(&self) {
        self.raise();
    }
}
