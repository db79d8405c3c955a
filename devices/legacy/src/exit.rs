//! The exit device: how our guest kernel says that it powers off, reboots or has panicked.
//!
//! ```text
//! base + 0   write 8 bits: 1 power off, 2 reboot, 3 panic, whose text came before
//! base + 4   write 8 bits, any number: text of a panic
//! base + 8   write 8 bits: boot mark
//! ```
//! Without ACPI Linux ends in a halt that looks like idling; hence this device.

use std::sync::Arc;

use crate::{GuestEnd, GuestRequests, PortDevice};

/// The most of a panic's text that is kept: its last bytes.
pub const PANIC_TEXT_MAX_BYTES: usize = 64 << 10;

const COMMAND: u16 = 0;
const TEXT: u16 = 4;
const MARK: u16 = 8;

/// The exit device.
pub struct ExitDevice {
    requests: Arc<dyn GuestRequests>,
    text: Vec<u8>,
}

impl ExitDevice {
    /// Number of ports it takes.
    pub const PORTS: u16 = 9;

    /// An exit device that reports to `requests`.
    pub fn new(requests: Arc<dyn GuestRequests>) -> Self {
        Self { requests, text: Vec::new() }
    }

    fn push_text(&mut self, byte: u8) {
        // Halved at twice the bound, so that a flood costs amortized constant time and bounded memory.
        if self.text.len() >= 2 * PANIC_TEXT_MAX_BYTES {
            self.text.drain(..PANIC_TEXT_MAX_BYTES);
        }
        self.text.push(byte);
    }

    fn take_text(&mut self) -> Vec<u8> {
        let excess = self.text.len().saturating_sub(PANIC_TEXT_MAX_BYTES);
        self.text.drain(..excess);
        std::mem::take(&mut self.text)
    }
}

impl PortDevice for ExitDevice {
    fn read(&mut self, _offset: u16, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&mut self, offset: u16, data: &[u8]) {
        let &[value] = data else { return };
        match (offset, value) {
            (COMMAND, 1) => self.requests.end(GuestEnd::PowerOff),
            (COMMAND, 2) => self.requests.end(GuestEnd::Reboot),
            (COMMAND, 3) => {
                let text = self.take_text();
                self.requests.end(GuestEnd::Panic(text));
            }
            (TEXT, byte) => self.push_text(byte),
            (MARK, value) => self.requests.mark(value),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Log(Mutex<(Vec<GuestEnd>, Vec<u8>)>);

    impl GuestRequests for Log {
        fn end(&self, end: GuestEnd) {
            self.0.lock().unwrap().0.push(end);
        }
        fn mark(&self, value: u8) {
            self.0.lock().unwrap().1.push(value);
        }
    }

    #[test]
    fn commands_are_reported() {
        let log = Arc::new(Log::default());
        let mut device = ExitDevice::new(log.clone());
        device.write(0, &[1]);
        device.write(8, &[7]);
        for byte in b"Oops" {
            device.write(4, &[*byte]);
        }
        device.write(0, &[3]);
        device.write(0, &[2]);
        let (ends, marks) = &*log.0.lock().unwrap();
        assert_eq!(ends, &[GuestEnd::PowerOff, GuestEnd::Panic(b"Oops".to_vec()), GuestEnd::Reboot]);
        assert_eq!(marks, &[7]);
    }

    #[test]
    fn what_is_no_command_is_ignored() {
        let log = Arc::new(Log::default());
        let mut device = ExitDevice::new(log.clone());
        device.write(0, &[0]);
        device.write(0, &[1, 0]);
        device.write(1, &[1]);
        device.write(0xffff, &[1, 2, 3, 4]);
        assert_eq!(*log.0.lock().unwrap(), (vec![], vec![]));
    }

    #[test]
    fn a_flood_of_text_keeps_its_end() {
        let log = Arc::new(Log::default());
        let mut device = ExitDevice::new(log.clone());
        for i in 0..5 * PANIC_TEXT_MAX_BYTES + 11 {
            device.write(4, &[u8::try_from(i % 251).unwrap()]);
        }
        device.write(4, b"!");
        device.write(0, &[3]);
        let (ends, _) = &*log.0.lock().unwrap();
        let [GuestEnd::Panic(text)] = &ends[..] else { panic!("{ends:?}") };
        assert_eq!(text.len(), PANIC_TEXT_MAX_BYTES);
        assert_eq!(text.last(), Some(&b'!'));
    }
}
