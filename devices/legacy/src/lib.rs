//! What an x86 machine answers besides virtio: an 8250, the CMOS clock, the keyboard controller's and the system
//! control port's shadow, and the exit device by which a guest says how it ends.
//!
//! Each is a [`PortDevice`] that the machine puts on its port bus; accesses come from vCPU threads, one at a time. The
//! guest is not trusted: every offset and value is answered.

mod cmos;
mod exit;
mod keyboard;
mod serial;
mod system_control;

pub use cmos::Cmos;
pub use exit::{ExitDevice, PANIC_TEXT_MAX_BYTES};
pub use keyboard::KeyboardController;
pub use serial::Serial;
pub use system_control::SystemControl;

/// A device behind x86 I/O ports.
pub trait PortDevice: Send {
    /// Fills `data` (one element of 1, 2 or 4 bytes) with what the guest reads at `offset` from the device's first port.
    fn read(&mut self, offset: u16, data: &mut [u8]);
    /// Takes what the guest writes at `offset` from the device's first port.
    fn write(&mut self, offset: u16, data: &[u8]);
}

/// How a guest wants its machine to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestEnd {
    /// Power off.
    PowerOff,
    /// Start again.
    Reboot,
    /// Its kernel panicked; the end of its log.
    Panic(Vec<u8>),
}

/// Who hears what the guest asks of its machine; called on vCPU threads.
pub trait GuestRequests: Send + Sync {
    /// The machine shall end.
    fn end(&self, end: GuestEnd);
    /// The guest has come to a point of its boot that someone measures.
    fn mark(&self, value: u8);
}
