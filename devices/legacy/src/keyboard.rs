//! The shadow of an i8042 keyboard controller: it is never busy, has no data, and a reset pulse ends the machine.
//!
//! Foreign kernels reboot by it (`reboot=k`). Reading the status as all ones would keep them waiting for it to become ready.

use std::sync::Arc;

use crate::{GuestEnd, GuestRequests, PortDevice};

/// Pulse output line 0, which is wired to the processor's reset.
const COMMAND_RESET: u8 = 0xfe;

/// Port 0x64: status and command.
pub struct KeyboardController {
    requests: Arc<dyn GuestRequests>,
}

impl KeyboardController {
    /// The status and command port.
    pub const PORT: u16 = 0x64;

    /// A controller whose reset line reports to `requests`.
    pub fn new(requests: Arc<dyn GuestRequests>) -> Self {
        Self { requests }
    }
}

impl PortDevice for KeyboardController {
    fn read(&mut self, _offset: u16, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&mut self, _offset: u16, data: &[u8]) {
        if data == [COMMAND_RESET] {
            self.requests.end(GuestEnd::Reboot);
        }
    }
}
