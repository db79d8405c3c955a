//! An 8250 with `vm-superio`'s registers: a foreign kernel's console, and ours' after a panic. It sends only.

use std::convert::Infallible;
use std::io::Write;
use std::sync::Arc;

use monocore_hypervisor::IrqLine;
use vm_superio::Trigger;
use vm_superio::serial::NoEvents;

use crate::PortDevice;

struct Line(Option<Arc<dyn IrqLine>>);

impl Trigger for Line {
    type E = Infallible;

    /// A lost interrupt costs a guest its console's speed, not the machine.
    fn trigger(&self) -> Result<(), Infallible> {
        if let Some(Err(error)) = self.0.as_ref().map(|line| line.raise()) {
            tracing::debug!(%error, "the serial port's interrupt is lost");
        }
        Ok(())
    }
}

/// A serial port, 115,200 baud and no waiting.
pub struct Serial(vm_superio::Serial<Line, NoEvents, Box<dyn Write + Send>>);

impl Serial {
    /// Number of ports it takes.
    pub const PORTS: u16 = 8;

    /// A port whose output goes to `output`; without a `line` drivers must poll.
    pub fn new(output: Box<dyn Write + Send>, line: Option<Arc<dyn IrqLine>>) -> Self {
        Self(vm_superio::Serial::new(Line(line), output))
    }
}

impl PortDevice for Serial {
    fn read(&mut self, offset: u16, data: &mut [u8]) {
        data.fill(0);
        if let (Ok(offset), [value]) = (u8::try_from(offset), data) {
            *value = self.0.read(offset);
        }
    }

    fn write(&mut self, offset: u16, data: &[u8]) {
        if let (Ok(offset), &[value]) = (u8::try_from(offset), data)
            && let Err(error) = self.0.write(offset, value)
        {
            tracing::debug!(?error, "serial output is lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(data);
            Ok(data.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn text_comes_out_and_odd_accesses_do_nothing() {
        let out = Shared::default();
        let mut serial = Serial::new(Box::new(out.clone()), None);
        serial.write(0, b"h");
        serial.write(0, b"i");
        serial.write(0, b"no");
        serial.write(0x1000, b"!");
        assert_eq!(*out.0.lock().unwrap(), b"hi");
        let mut word = [0xff; 4];
        serial.read(5, &mut word);
        assert_eq!(word, [0; 4]);
        let mut status = [0];
        serial.read(5, &mut status);
        assert_eq!(status[0] & 0x60, 0x60, "always ready to send");
    }
}
