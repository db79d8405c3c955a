//! System control port B (0x61): no NMI reason, and timer 2's output high.
//!
//! Linux waits for that bit when it calibrates the TSC against the PIT; high at once, that attempt ends as failed
//! instead of hanging on a timer this machine does not have.

use crate::PortDevice;

const TIMER_2_OUTPUT: u8 = 1 << 5;

/// Port 0x61.
#[derive(Debug, Default)]
pub struct SystemControl;

impl SystemControl {
    /// Its port.
    pub const PORT: u16 = 0x61;
}

impl PortDevice for SystemControl {
    fn read(&mut self, _offset: u16, data: &mut [u8]) {
        data.fill(0);
        if let Some(first) = data.first_mut() {
            *first = TIMER_2_OUTPUT;
        }
    }

    fn write(&mut self, _offset: u16, _data: &[u8]) {}
}
