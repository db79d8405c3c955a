//! Who answers which port and which address.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use monocore_hypervisor::{CpuIo, Gpa, layout};
use monocore_legacy::PortDevice;
use monocore_virtio::MmioTransport;

use crate::outcome::Outcome;

/// Accesses that left the guest for this process, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BusCounts {
    /// Elements read from I/O ports.
    pub port_reads: u64,
    /// Elements written to I/O ports.
    pub port_writes: u64,
    /// Reads of device registers.
    pub mmio_reads: u64,
    /// Writes of device registers.
    pub mmio_writes: u64,
    /// Accesses nobody answered.
    pub unanswered: u64,
}

#[derive(Debug, Default)]
struct Counters {
    port_reads: AtomicU64,
    port_writes: AtomicU64,
    mmio_reads: AtomicU64,
    mmio_writes: AtomicU64,
    unanswered: AtomicU64,
}

struct PortRange {
    first: u16,
    count: u16,
    device: Mutex<Box<dyn PortDevice>>,
}

/// The machine's devices, found by address; one lock per device and none beyond.
pub(crate) struct Bus {
    /// Sorted by port.
    ports: Vec<PortRange>,
    /// By window.
    virtio: Vec<Mutex<MmioTransport>>,
    outcome: Arc<Outcome>,
    counters: Counters,
}

/// A device behind a poisoned lock has panicked once; it is asked again rather than taking the machine down.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Bus {
    /// A bus that asks `outcome` whether the machine has ended.
    pub(crate) fn new(outcome: Arc<Outcome>) -> Self {
        Self { ports: Vec::new(), virtio: Vec::new(), outcome, counters: Counters::default() }
    }

    /// Puts a device at ports `first` to `first + count - 1`, which are nobody else's.
    pub(crate) fn add_ports(&mut self, first: u16, count: u16, device: Box<dyn PortDevice>) {
        let at = self.ports.partition_point(|range| range.first < first);
        self.ports.insert(at, PortRange { first, count, device: Mutex::new(device) });
    }

    /// Puts a device behind the next virtio-mmio window.
    pub(crate) fn add_virtio(&mut self, transport: MmioTransport) {
        self.virtio.push(Mutex::new(transport));
    }

    pub(crate) fn virtio(&self) -> impl Iterator<Item = MutexGuard<'_, MmioTransport>> {
        self.virtio.iter().map(lock)
    }

    /// The device behind window `index`; no other is touched.
    pub(crate) fn virtio_at(&self, index: usize) -> Option<MutexGuard<'_, MmioTransport>> {
        self.virtio.get(index).map(lock)
    }

    pub(crate) fn counts(&self) -> BusCounts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BusCounts {
            port_reads: load(&self.counters.port_reads),
            port_writes: load(&self.counters.port_writes),
            mmio_reads: load(&self.counters.mmio_reads),
            mmio_writes: load(&self.counters.mmio_writes),
            unanswered: load(&self.counters.unanswered),
        }
    }

    fn port(&self, port: u16) -> Option<(MutexGuard<'_, Box<dyn PortDevice>>, u16)> {
        let next = self.ports.partition_point(|range| range.first <= port);
        let range = self.ports.get(next.checked_sub(1)?)?;
        let offset = port.checked_sub(range.first)?;
        (offset < range.count).then(|| (lock(&range.device), offset))
    }

    /// The device whose queues are kicked at `port`.
    fn rung_at(&self, port: u16) -> Option<&Mutex<MmioTransport>> {
        self.virtio.get(layout::virtio_window_of(port)?)
    }

    fn window(&self, gpa: Gpa) -> Option<(MutexGuard<'_, MmioTransport>, u64)> {
        let offset = gpa.0.checked_sub(layout::VIRTIO_MMIO_START.0)?;
        let index = usize::try_from(offset / layout::VIRTIO_MMIO_LEN).ok()?;
        Some((lock(self.virtio.get(index)?), offset % layout::VIRTIO_MMIO_LEN))
    }
}

impl CpuIo for Bus {
    fn mmio_read(&self, gpa: Gpa, data: &mut [u8]) {
        count(&self.counters.mmio_reads);
        match self.window(gpa) {
            Some((device, offset)) => device.read(offset, data),
            None => {
                count(&self.counters.unanswered);
                data.fill(0xff);
            }
        }
    }

    fn mmio_write(&self, gpa: Gpa, data: &[u8]) {
        count(&self.counters.mmio_writes);
        match self.window(gpa) {
            Some((mut device, offset)) => device.write(offset, data),
            None => count(&self.counters.unanswered),
        }
    }

    fn port_read(&self, port: u16, data: &mut [u8]) {
        count(&self.counters.port_reads);
        match self.port(port) {
            Some((mut device, offset)) => device.read(offset, data),
            None => {
                count(&self.counters.unanswered);
                data.fill(0xff);
            }
        }
    }

    fn port_write(&self, port: u16, data: &[u8]) {
        count(&self.counters.port_writes);
        // Kicks the kernel has no doorbell for come first: they are many, all else on ports is rare.
        if let (Ok(queue), Some(window)) = (<[u8; 4]>::try_from(data), self.rung_at(port)) {
            return lock(window).ring(u32::from_le_bytes(queue));
        }
        match self.port(port) {
            Some((mut device, offset)) => device.write(offset, data),
            None => count(&self.counters.unanswered),
        }
    }

    fn should_stop(&self) -> bool {
        self.outcome.has_ended()
    }
}

#[cfg(test)]
mod tests {
    use monocore_hypervisor::{Doorbell, Event, GuestRam, IrqLine};

    use super::*;

    struct Echo(u8);

    struct NoLine;

    impl IrqLine for NoLine {
        fn raise(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl PortDevice for Echo {
        fn read(&mut self, offset: u16, data: &mut [u8]) {
            data.fill(self.0.wrapping_add(u8::try_from(offset).unwrap()));
        }
        fn write(&mut self, offset: u16, data: &[u8]) {
            self.0 = data[0].wrapping_sub(u8::try_from(offset).unwrap());
        }
    }

    #[test]
    fn ports_find_their_device_and_the_rest_reads_all_ones() {
        let mut bus = Bus::new(Arc::new(Outcome::new().unwrap()));
        bus.add_ports(0x600, 9, Box::new(Echo(0x60)));
        bus.add_ports(0x61, 1, Box::new(Echo(0x10)));
        bus.add_ports(0x70, 2, Box::new(Echo(0x20)));
        let read = |port| {
            let mut data = [0];
            bus.port_read(port, &mut data);
            data[0]
        };
        assert_eq!([read(0x61), read(0x70), read(0x71), read(0x608)], [0x10, 0x20, 0x21, 0x68]);
        assert_eq!([read(0x60), read(0x62), read(0x72), read(0x609), read(0xffff), read(0)], [0xff; 6]);
        bus.port_write(0x71, &[0x43]);
        assert_eq!(read(0x70), 0x42);
        assert_eq!(bus.counts().unanswered, 6);
    }

    #[test]
    fn a_kick_by_port_reaches_its_device_whole() {
        let mut bus = Bus::new(Arc::new(Outcome::new().unwrap()));
        for _ in 0..2 {
            let device = Box::new(monocore_rng::Rng::new());
            let doorbells = vec![Doorbell(Event::new().unwrap())];
            let ram = GuestRam::from_ranges(&[(vm_memory::GuestAddress(0), 0x1000)]).unwrap();
            let transport =
                MmioTransport::new(device, ram, Arc::new(NoLine), doorbells, None, Arc::new(|| Ok(())));
            bus.add_virtio(transport.unwrap());
        }
        let port = |index| layout::virtio_port(index).unwrap();
        bus.port_write(port(1), &0u32.to_le_bytes());
        // Too narrow; no device there.
        bus.port_write(port(1), &[0; 2]);
        bus.port_write(port(2), &0u32.to_le_bytes());
        assert_eq!(bus.counts().unanswered, 2);
        // Without a driver it was a fault, so the one it reached has counted it.
        assert_eq!([0, 1].map(|index| bus.virtio_at(index).unwrap().guest_faults()), [0, 1]);
    }

    #[test]
    fn addresses_without_a_device_read_all_ones() {
        let bus = Bus::new(Arc::new(Outcome::new().unwrap()));
        for gpa in [0, layout::VIRTIO_MMIO_START.0, u64::MAX] {
            let mut data = [0; 4];
            bus.mmio_read(Gpa(gpa), &mut data);
            assert_eq!(data, [0xff; 4]);
            bus.mmio_write(Gpa(gpa), &data);
        }
    }
}
