//! What every device must pass, whatever it does: `virtio_conformance!(Subject)` in its tests.

use std::time::Duration;

use monocore_hypervisor::GuestRam;
use vm_memory::{Bytes, GuestAddress};

use crate::test_driver::{Part, RAM_BYTES, TestDriver};
use crate::{DeviceState, VirtioDevice, features};

/// A device under test.
pub trait Subject {
    /// The device.
    type Device: VirtioDevice;
    /// Queues whose chains the device looks at as soon as it is kicked.
    const REQUEST_QUEUES: &'static [usize];
    /// A new device; called often.
    fn device() -> Self::Device;
    /// Adds one valid request to `driver`, without a kick, and returns its queue.
    fn add_request(driver: &mut TestDriver<Self::Device>) -> usize;
}

/// Makes a test of each rule of this module for a [`Subject`](crate::conformance::Subject).
#[macro_export]
macro_rules! virtio_conformance {
    ($subject:ty) => {
        $crate::virtio_conformance! {
            $subject: offers_what_the_rings_can, reads_its_configuration_within_bounds, stops_and_starts,
            refuses_other_queues, goes_on_where_it_stopped, survives_malformed_chains,
            asks_for_a_reset_when_a_ring_runs_away, survives_garbage_in_rings, notifies_only_who_asks,
            takes_its_own_state_back_only,
        }
    };
    ($subject:ty: $($rule:ident),* $(,)?) => {
        mod conformance {
            use super::*;
            $(#[test] fn $rule() { $crate::conformance::$rule::<$subject>(); })*
        }
    };
}

/// Ring features are offered and queue sizes are legal.
///
/// # Panics
/// When the rule is broken, as all that follow.
pub fn offers_what_the_rings_can<S: Subject>() {
    let device = S::device();
    assert_eq!(device.features() & features::RING_FEATURES, features::RING_FEATURES);
    assert!(!device.queue_max_sizes().is_empty());
    for size in device.queue_max_sizes() {
        assert!(size.is_power_of_two() && *size <= 1024, "queue size {size}");
    }
}

/// The configuration space answers any offset and width, and with zeroes beyond its end.
pub fn reads_its_configuration_within_bounds<S: Subject>() {
    let device = S::device();
    for offset in (0..600).chain([0xeff, 0xf00, u64::from(u32::MAX), u64::MAX - 8, u64::MAX]) {
        for width in [1, 2, 4, 8] {
            let mut data = vec![0; width];
            device.read_config(offset, &mut data);
            assert!(offset < 512 || data.iter().all(|byte| *byte == 0), "at {offset:#x}");
        }
    }
}

/// A stop gives every queue back as it was; an idle device gives nothing.
pub fn stops_and_starts<S: Subject>() {
    let mut driver = TestDriver::new(S::device());
    assert!(driver.device.stop().is_empty());
    for _ in 0..3 {
        driver.start().unwrap_or_else(|error| panic!("{error}"));
        let states = driver.device.stop();
        let fresh: Vec<_> = driver.queues.iter().map(|queue| queue.fresh_state()).collect();
        assert_eq!(states, fresh);
        assert!(driver.device.stop().is_empty());
        driver.device.reset();
    }
    assert!(!driver.interrupt.needs_reset());
}

/// A driver that sets up fewer queues than there are is refused, and a proper start works after it.
pub fn refuses_other_queues<S: Subject>() {
    let mut driver = TestDriver::new(S::device());
    let states: Vec<_> = driver.queues.iter().map(|queue| queue.fresh_state()).collect();
    assert!(driver.start_with(&states[1..]).is_err());
    assert!(driver.device.stop().is_empty());
    assert!(driver.start().is_ok());
    assert_eq!(driver.device.stop().len(), states.len());
}

/// Requests before and after a stop are served once each, and what came while stopped is not lost.
pub fn goes_on_where_it_stopped<S: Subject>() {
    let mut driver = TestDriver::started(S::device());
    let queue = S::add_request(&mut driver);
    driver.queues[queue].kick();
    driver.wait_used(queue);
    let states = driver.device.stop();
    assert_eq!((states[queue].next_avail, states[queue].next_used), (1, 1));
    S::add_request(&mut driver);
    assert!(driver.start_with(&states).is_ok());
    driver.wait_used(queue);
    let states = driver.device.stop();
    assert_eq!((states[queue].next_avail, states[queue].next_used), (2, 2));
}

/// Chains no driver makes end in an answer or a wish for a reset, never in a panic.
pub fn survives_malformed_chains<S: Subject>() {
    let queues = S::device().queue_max_sizes().len();
    for queue in 0..queues {
        for (name, spoil) in MALFORMED {
            let mut driver = TestDriver::started(S::device());
            spoil(&mut driver.queues[queue], &driver.ram);
            driver.queues[queue].kick_anyway();
            if S::REQUEST_QUEUES.contains(&queue) {
                let told = || driver.interrupt.needs_reset() || driver.queues[queue].used_index() != 0;
                let end = std::time::Instant::now() + Duration::from_secs(20);
                while !told() && std::time::Instant::now() < end {
                    std::thread::sleep(Duration::from_millis(1));
                }
                assert!(told(), "queue {queue}, {name}: neither answered nor refused");
            }
            assert_eq!(driver.device.stop().len(), queues, "queue {queue}, {name}: the worker is lost");
            driver.device.reset();
            assert!(driver.start().is_ok(), "queue {queue}, {name}: no start after a reset");
            driver.device.stop();
        }
    }
}

type Spoil = fn(&mut crate::test_driver::DriverQueue, &GuestRam);

const BUFFER: u64 = 8 << 20;
const MALFORMED: &[(&str, Spoil)] = &[
    ("a loop", |queue, _| {
        queue.set_descriptor(0, BUFFER, 16, 1, 1);
        queue.set_descriptor(1, BUFFER, 16, 1, 0);
        queue.publish(0);
    }),
    ("a loop of writable buffers", |queue, _| {
        queue.set_descriptor(0, BUFFER, 16, 3, 0);
        queue.publish(0);
    }),
    ("a head outside the table", |queue, _| queue.publish(queue.size())),
    ("a next outside the table", |queue, _| {
        queue.set_descriptor(0, BUFFER, 16, 1, 0xffff);
        queue.publish(0);
    }),
    ("a readable buffer outside RAM", |queue, _| {
        queue.add(&[Part::readable(RAM_BYTES as u64 - 4, 64)]);
    }),
    ("a writable buffer outside RAM", |queue, _| {
        queue.add(&[Part::readable(BUFFER, 64), Part::writable(u64::MAX - 8, 64)]);
    }),
    ("a buffer of 4 GiB", |queue, _| queue_huge(queue, 0)),
    ("a writable buffer of 4 GiB", |queue, _| queue_huge(queue, 2)),
    ("a buffer without length", |queue, _| {
        queue.add(&[Part::readable(BUFFER, 0)]);
    }),
    ("buffers without length", |queue, _| {
        queue.add(&[Part::readable(BUFFER, 0), Part::writable(BUFFER, 0)]);
    }),
    ("only a writable buffer", |queue, _| {
        queue.add(&[Part::writable(BUFFER, 4096)]);
    }),
    ("only a readable buffer", |queue, _| {
        queue.add(&[Part::readable(BUFFER, 4096)]);
    }),
    ("a tiny buffer", |queue, _| {
        queue.add(&[Part::readable(BUFFER, 1), Part::writable(BUFFER, 1)]);
    }),
    ("readable after writable", |queue, _| {
        queue.add(&[Part::writable(BUFFER, 64), Part::readable(BUFFER, 64)]);
    }),
    ("an indirect table of odd length", |queue, _| {
        queue.set_descriptor(0, BUFFER, 17, 4, 0);
        queue.publish(0);
    }),
    ("an indirect table of no length", |queue, _| {
        queue.set_descriptor(0, BUFFER, 0, 4, 0);
        queue.publish(0);
    }),
    ("an indirect table outside RAM", |queue, _| {
        queue.set_descriptor(0, u64::MAX - 15, 16, 4, 0);
        queue.publish(0);
    }),
    ("an indirect table in an indirect table", |queue, ram| {
        queue.set_descriptor(0, BUFFER, 16, 4, 0);
        // The table's only entry points at itself, indirectly.
        let entry = [BUFFER, 16 | 4 << 32];
        let _ = ram.write_obj(entry, GuestAddress(BUFFER));
        queue.publish(0);
    }),
];

fn queue_huge(queue: &mut crate::test_driver::DriverQueue, flags: u16) {
    queue.set_descriptor(0, 0, u32::MAX, flags | 1, 1);
    queue.set_descriptor(1, 0, u32::MAX, 2, 0);
    queue.publish(0);
}

/// An available index further ahead than the ring is long is refused.
pub fn asks_for_a_reset_when_a_ring_runs_away<S: Subject>() {
    for &queue in S::REQUEST_QUEUES {
        let mut driver = TestDriver::started(S::device());
        let beyond = driver.queues[queue].size() + 1;
        driver.queues[queue].set_avail_index(beyond);
        driver.queues[queue].kick_anyway();
        assert!(driver.interrupt.wait(|told| told.needs_reset), "queue {queue}");
        assert_eq!(driver.device.stop().len(), driver.queues.len());
    }
}

/// Rings full of random bytes do no harm.
pub fn survives_garbage_in_rings<S: Subject>() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..64 {
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed.to_le_bytes()
        })
        .take(512)
        .flatten()
        .collect();
        feed(S::device(), &bytes);
    }
}

/// Serves rings made of `bytes`: the first six give heads and an index for each queue, what follows is their
/// descriptor tables and the buffers those name. The entry point of fuzz targets.
///
/// # Panics
/// When the device loses its worker or does not start.
pub fn feed<D: VirtioDevice>(device: D, bytes: &[u8]) {
    let mut driver = TestDriver::new(device);
    for (number, queue) in driver.queues.iter_mut().enumerate() {
        let at = |index: usize| bytes.get(index + number * 7).copied().unwrap_or(0);
        for slot in 0..4u16 {
            queue.publish(u16::from(at(usize::from(slot))) % (queue.size() + 1));
        }
        if at(4) == 0xff {
            queue.set_avail_index(u16::from_le_bytes([at(5), at(6)]));
        }
        let table = bytes.get(24 + number * 64..).unwrap_or_default();
        for (index, entry) in (0..queue.size()).zip(table.chunks_exact(16)) {
            let word = |from: usize| u32::from_le_bytes([0, 1, 2, 3].map(|n| entry[from + n]));
            // Mostly in RAM and short, so that chains reach the device.
            let addr = u64::from(word(0)) % (RAM_BYTES as u64 + 4096);
            let len_bytes = if entry[7] == 0xff { word(8) } else { u32::from(entry[4]) << (entry[5] % 8) };
            let flags = u16::from(entry[12] & 7);
            queue.set_descriptor(index, addr, len_bytes, flags, u16::from(entry[14]) % (queue.size() + 1));
        }
    }
    for (at, chunk) in (0u64..).zip(bytes.chunks(64)) {
        let _ = driver.ram.write_slice(chunk, GuestAddress(at * 4096));
    }
    let queues = driver.queues.len();
    assert!(driver.start().is_ok());
    assert_eq!(driver.device.stop().len(), queues, "the worker is lost");
}

/// With EVENT_IDX the device interrupts when the used index passes the driver's mark and not before; without
/// it, the driver's flag is what counts.
pub fn notifies_only_who_asks<S: Subject>() {
    let mut driver = TestDriver::new(S::device());
    let queue = S::add_request(&mut driver);
    S::add_request(&mut driver);
    driver.queues[queue].set_used_event(1000);
    assert!(driver.start().is_ok());
    let states = driver.device.stop();
    assert_eq!(driver.queues[queue].used_index(), 2);
    assert_eq!(driver.interrupt.queue_count(queue), 0);

    S::add_request(&mut driver);
    driver.queues[queue].set_used_event(2);
    assert!(driver.start_with(&states).is_ok());
    driver.device.stop();
    assert_eq!(driver.interrupt.queue_count(queue), 1);

    let without = S::device().features() & !features::EVENT_IDX;
    for (flags, interrupts) in [(1, 0), (0, 1)] {
        let mut driver = TestDriver::with_features(S::device(), without);
        driver.queues[queue].set_avail_flags(flags);
        let queue = S::add_request(&mut driver);
        assert!(driver.start().is_ok());
        driver.device.stop();
        assert_eq!(driver.interrupt.queue_count(queue), interrupts);
    }
}

/// A saved state is taken back, and bytes that are none are refused without harm.
pub fn takes_its_own_state_back_only<S: Subject>() {
    let saved = S::device().save().unwrap_or(DeviceState(Vec::new()));
    assert!(S::device().restore(&saved).is_ok());
    for garbage in [&[0xff; 3][..], &[0x7f; 64], &vec![0xff; 4096]] {
        assert!(S::device().restore(&DeviceState(garbage.to_vec())).is_err());
    }
}
