//! The register file as a Linux driver uses it, and as none may.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use monocore_hypervisor::Event;
use vm_memory::GuestAddress;

use super::register::*;
use super::*;
use crate::{DeviceState, DeviceType};

/// What happened to the device behind the registers.
#[derive(Default)]
struct Seen {
    started: Vec<(u64, Vec<u16>)>,
    interrupt: Option<Arc<dyn Interrupt>>,
    stops: usize,
    resets: usize,
    written: Vec<u8>,
}

struct Probe {
    seen: Arc<Mutex<Seen>>,
    states: Vec<QueueState>,
}

impl VirtioDevice for Probe {
    fn device_type(&self) -> DeviceType {
        DeviceType::Rng
    }
    fn features(&self) -> u64 {
        features::RING_FEATURES | 1
    }
    fn queue_max_sizes(&self) -> &[u16] {
        &[64, 16]
    }
    fn read_config(&self, offset_bytes: u64, data: &mut [u8]) {
        for (at, byte) in (offset_bytes..4).zip(data) {
            *byte = u8::try_from(at).unwrap() + 1;
        }
    }
    fn write_config(&mut self, _offset_bytes: u64, data: &[u8]) {
        self.seen.lock().unwrap().written.extend(data);
    }
    fn start(&mut self, activation: Activation) -> Result<(), DeviceError> {
        let mut seen = self.seen.lock().unwrap();
        seen.started.push((activation.features, activation.queues.iter().map(|q| q.index).collect()));
        self.states = activation.queues.iter().map(|q| QueueState::of(&q.queue)).collect();
        seen.interrupt = Some(activation.interrupt);
        Ok(())
    }
    fn stop(&mut self) -> Vec<QueueState> {
        self.seen.lock().unwrap().stops += 1;
        let mut states = std::mem::take(&mut self.states);
        states.iter_mut().for_each(|state| state.next_avail = 7);
        states
    }
    fn reset(&mut self) {
        self.seen.lock().unwrap().resets += 1;
    }
    fn save(&self) -> Result<DeviceState, DeviceError> {
        Ok(DeviceState(vec![9]))
    }
    fn restore(&mut self, state: &DeviceState) -> Result<(), DeviceError> {
        if state.0 == [9] { Ok(()) } else { Err(DeviceError::State("not of a probe".into())) }
    }
}

#[derive(Default)]
struct Line(AtomicUsize);

impl IrqLine for Line {
    fn raise(&self) -> std::io::Result<()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

struct Bench {
    mmio: MmioTransport,
    seen: Arc<Mutex<Seen>>,
    line: Arc<Line>,
    kicks: [Event; 2],
}

impl Bench {
    fn new() -> Self {
        Self::with_port(None)
    }

    fn with_port(kick_port: Option<u16>) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let line = Arc::new(Line::default());
        let kicks = [Event::new().unwrap(), Event::new().unwrap()];
        let mmio = MmioTransport::new(
            Box::new(Probe { seen: Arc::clone(&seen), states: Vec::new() }),
            GuestRam::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap(),
            Arc::clone(&line) as Arc<dyn IrqLine>,
            kicks.iter().map(|kick| Doorbell(kick.try_clone().unwrap())).collect(),
            kick_port,
            Arc::new(|| Ok(())),
        )
        .unwrap();
        Self { mmio, seen, line, kicks }
    }

    fn get(&self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.mmio.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    fn set(&mut self, offset: u64, value: u32) {
        self.mmio.write(offset, &value.to_le_bytes());
    }

    fn negotiate(&mut self, low: u32, high: u32) -> bool {
        self.set(STATUS, 1);
        self.set(STATUS, 3);
        self.set(DRIVER_FEATURES_SEL, 1);
        self.set(DRIVER_FEATURES, high);
        self.set(DRIVER_FEATURES_SEL, 0);
        self.set(DRIVER_FEATURES, low);
        self.set(STATUS, 0xb);
        self.get(STATUS) == 0xb
    }

    fn set_up_queue(&mut self, index: u32, base: u32) {
        self.set(QUEUE_SEL, index);
        self.set(QUEUE_SIZE, 16);
        for (offset, at) in [(QUEUE_DESC_LOW, 0), (QUEUE_DRIVER_LOW, 0x200), (QUEUE_DEVICE_LOW, 0x300)] {
            self.set(offset, base + at);
            self.set(offset + 4, 0);
        }
        self.set(QUEUE_READY, 1);
    }

    fn running() -> Self {
        let mut bench = Self::new();
        assert!(bench.negotiate(0x2000_0001, 1));
        bench.set_up_queue(0, 0x1000);
        bench.set_up_queue(1, 0x2000);
        bench.set(STATUS, 0xf);
        bench
    }
}

#[test]
fn a_driver_finds_negotiates_starts_and_resets_a_device() {
    let mut bench = Bench::new();
    assert_eq!([bench.get(MAGIC_VALUE), bench.get(VERSION), bench.get(DEVICE_ID)], [0x7472_6976, 2, 4]);
    bench.set(DEVICE_FEATURES_SEL, 1);
    assert_eq!(bench.get(DEVICE_FEATURES), 1);
    bench.set(DEVICE_FEATURES_SEL, 0);
    assert_eq!(bench.get(DEVICE_FEATURES), 0x3000_0001);
    bench.set(QUEUE_SEL, 1);
    assert_eq!((bench.get(QUEUE_SIZE_MAX), bench.get(QUEUE_READY)), (16, 0));
    bench.set(QUEUE_SEL, 2);
    assert_eq!(bench.get(QUEUE_SIZE_MAX), 0);

    let mut bench = Bench::running();
    assert_eq!(bench.get(STATUS), 0xf);
    assert_eq!(bench.seen.lock().unwrap().started, [(1 << 32 | 0x2000_0001, vec![0, 1])]);
    assert_eq!(bench.mmio.guest_faults(), 0);

    bench.set(QUEUE_NOTIFY, 1);
    assert_eq!(bench.kicks.each_ref().map(|kick| kick.clear().unwrap()), [false, true]);

    bench.set(STATUS, 0);
    assert_eq!((bench.get(STATUS), bench.get(QUEUE_READY)), (0, 0));
    let seen = bench.seen.lock().unwrap();
    assert_eq!((seen.stops, seen.resets), (1, 1));
}

#[test]
fn the_vendor_names_the_port_at_which_queues_are_kicked() {
    assert_eq!(Bench::new().get(VENDOR_ID), 0x4f4d_0000);
    let mut bench = Bench::with_port(Some(0x1004));
    assert_eq!(bench.get(VENDOR_ID), 0x4f4d_1004);
    bench.mmio.ring(1);
    assert_eq!(bench.mmio.guest_faults(), 1, "nothing runs");
    assert!(bench.negotiate(1, 1));
    bench.set_up_queue(1, 0x2000);
    bench.set(STATUS, 0xf);
    bench.mmio.ring(1);
    assert_eq!(bench.kicks.each_ref().map(|kick| kick.clear().unwrap()), [false, true]);
    bench.mmio.ring(u32::MAX);
    assert_eq!(bench.mmio.guest_faults(), 2);
}

#[test]
fn features_not_offered_or_without_version_1_are_refused() {
    assert!(!Bench::new().negotiate(2, 1));
    assert!(!Bench::new().negotiate(1, 0));
    let mut bench = Bench::new();
    assert!(bench.negotiate(0, 1));
    bench.set(DRIVER_FEATURES, 1);
    bench.set(STATUS, 0xf);
    assert_eq!(bench.seen.lock().unwrap().started[0].0, 1 << 32);
    assert_eq!(bench.mmio.guest_faults(), 1);
}

#[test]
fn the_status_only_grows_and_in_order() {
    let mut bench = Bench::new();
    for early in [4, 8, 2] {
        bench.set(STATUS, early);
        assert_eq!(bench.get(STATUS), 0, "{early}");
    }
    bench.set(STATUS, 3);
    bench.set(STATUS, 1);
    assert_eq!(bench.get(STATUS), 3);
    bench.set(STATUS, 7);
    assert_eq!(bench.get(STATUS), 3);
    assert!(bench.seen.lock().unwrap().started.is_empty());
}

#[test]
fn queues_are_frozen_while_running_and_bad_ones_need_a_reset() {
    let mut bench = Bench::running();
    bench.set(QUEUE_SEL, 0);
    bench.set(QUEUE_READY, 0);
    bench.set(QUEUE_DESC_LOW, 0x5000);
    assert_eq!(bench.get(QUEUE_READY), 1);
    assert_eq!(bench.mmio.guest_faults(), 2);

    for (offset, value) in [(QUEUE_DESC_LOW, 0xfff0), (QUEUE_DESC_HIGH, 1), (QUEUE_SIZE, 17)] {
        let mut bench = Bench::new();
        bench.negotiate(1, 1);
        bench.set_up_queue(0, 0x1000);
        bench.set(QUEUE_READY, 0);
        bench.set(offset, value);
        bench.set(QUEUE_READY, 1);
        bench.set(STATUS, 0xf);
        assert_eq!(bench.get(STATUS), 0x4f, "{offset:#x}");
        assert_eq!(bench.get(INTERRUPT_STATUS), 2);
        assert!(bench.seen.lock().unwrap().started.is_empty());
    }
}

#[test]
fn every_notification_raises_the_line_and_changes_stay_until_acknowledged() {
    let mut bench = Bench::running();
    let interrupt = bench.seen.lock().unwrap().interrupt.clone().unwrap();
    interrupt.notify_queue(0);
    interrupt.notify_queue(0);
    assert_eq!(bench.line.0.load(Ordering::SeqCst), 2);
    assert_eq!(bench.get(INTERRUPT_STATUS), 1);
    let generation = bench.get(CONFIG_GENERATION);
    interrupt.notify_config();
    assert_ne!(bench.get(CONFIG_GENERATION), generation);
    bench.set(INTERRUPT_ACK, 1);
    assert!(interrupt.config_pending());
    interrupt.announce_config();
    assert_eq!(bench.line.0.load(Ordering::SeqCst), 4);
    bench.set(INTERRUPT_ACK, 2);
    assert!(!interrupt.config_pending());
    interrupt.needs_reset();
    assert_eq!(bench.get(STATUS), 0x4f);
}

#[test]
fn registers_take_32_bits_and_the_configuration_any_width() {
    let mut bench = Bench::new();
    let mut byte = [0xff];
    bench.mmio.read(MAGIC_VALUE, &mut byte);
    assert_eq!(byte, [0]);
    bench.mmio.write(STATUS, &[1]);
    assert_eq!(bench.get(STATUS), 0);
    let mut data = [0xff; 8];
    bench.mmio.read(CONFIG + 2, &mut data);
    assert_eq!(data, [3, 4, 0, 0, 0, 0, 0, 0]);
    bench.mmio.write(CONFIG, &[5]);
    bench.set(STATUS, 3);
    bench.mmio.write(CONFIG, &[6]);
    assert_eq!(bench.seen.lock().unwrap().written, [6]);
}

#[test]
fn a_paused_transport_goes_on_here_or_elsewhere() {
    let mut bench = Bench::running();
    bench.seen.lock().unwrap().interrupt.clone().unwrap().notify_queue(1);
    bench.mmio.pause();
    let state = bench.mmio.state().unwrap();
    assert_eq!(state.queues[1].next_avail, 7);
    bench.mmio.resume().unwrap();
    assert_eq!(bench.seen.lock().unwrap().started.len(), 2);
    assert_eq!(bench.seen.lock().unwrap().resets, 0);

    let mut other = Bench::new();
    other.mmio.restore(state.clone()).unwrap();
    other.mmio.resume().unwrap();
    assert_eq!(other.get(STATUS), 0xf);
    assert_eq!(other.get(INTERRUPT_STATUS), 1);
    assert_eq!(other.line.0.load(Ordering::SeqCst), 1);
    assert_eq!(other.seen.lock().unwrap().started, [(1 << 32 | 0x2000_0001, vec![0, 1])]);

    let mut broken = state.clone();
    broken.driver_features = 2;
    assert!(Bench::new().mmio.restore(broken).is_err());
    let mut broken = state.clone();
    broken.device.0.push(9);
    assert!(Bench::new().mmio.restore(broken).is_err());
    let mut broken = state;
    broken.queues.pop();
    assert!(Bench::new().mmio.restore(broken).is_err());
}
