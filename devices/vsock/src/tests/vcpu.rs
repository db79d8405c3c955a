//! Packets taken on the thread that rings for them.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use monocore_virtio::VirtioDevice;
use monocore_virtio::test_driver::Part;

use super::arriving;
use super::guest::{Guest, PORT, packet};
use crate::{Dialer, Op};

/// Queue numbers.
const RX: u16 = 0;
const TX: u16 = 1;

/// Makes a packet available without ringing for it.
fn add(guest: &mut Guest, op: Op, bytes: &[u8]) {
    let header = packet(op, PORT, 7, bytes.len(), 1 << 18);
    let addr = guest.driver.put(&[&header.to_bytes()[..], bytes].concat());
    guest.driver.queues[1].add(&[Part::readable(addr, 44 + bytes.len())]);
}

/// A guest with an open stream whose packets were all taken.
fn settled() -> (Guest, UnixStream, Dialer) {
    let (mut guest, arrivals, dialer) = arriving();
    guest.post(8);
    guest.connect(7);
    let far = arrivals.recv().unwrap();
    guest.reclaim();
    (guest, far, dialer)
}

/// Rings on this thread until the device's is not at it; for packets that this thread may take.
fn ring(guest: &Guest) {
    let server = guest.driver.device.ring_server().unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while !server.ring(TX) {
        assert!(Instant::now() < deadline, "the device's thread never rests");
        std::thread::yield_now();
    }
}

#[test]
fn bytes_of_a_stream_are_with_the_host_when_the_ring_returns() {
    let (mut guest, mut far, _dialer) = settled();
    add(&mut guest, Op::ReadWrite, b"hello");
    ring(&guest);
    assert!(guest.driver.queues[1].take_used().is_some());
    far.set_nonblocking(true).unwrap();
    let mut bytes = [0; 5];
    far.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
    assert_eq!(guest.driver.device.metrics().bytes_from_guest.load(Ordering::Relaxed), 5);
}

#[test]
fn what_is_more_than_bytes_is_left_to_the_devices_thread() {
    let (mut guest, _far, _dialer) = settled();
    let server = guest.driver.device.ring_server().unwrap();
    assert!(server.serves(TX) && !server.serves(RX));
    assert!(!server.ring(RX));
    for op in [Op::Shutdown, Op::Request, Op::Reset] {
        add(&mut guest, op, &[]);
        let used = guest.driver.queues[1].used_index();
        for _ in 0..20 {
            assert!(!server.ring(TX), "{op:?}");
        }
        assert_eq!(guest.driver.queues[1].used_index(), used, "{op:?}");
        guest.driver.queues[1].kick_anyway();
        guest.driver.wait_used(1);
    }
}

#[test]
fn nobody_serves_a_device_that_does_not_run() {
    let (mut guest, _far, _dialer) = settled();
    add(&mut guest, Op::ReadWrite, b"hello");
    let server = guest.driver.device.ring_server().unwrap();
    let states = guest.driver.device.stop();
    assert!(!server.ring(TX));
    guest.driver.start_with(&states).unwrap();
    guest.driver.wait_used(1);
}

#[test]
fn a_breach_met_on_a_vcpus_thread_asks_for_a_reset() {
    let (mut guest, _far, _dialer) = settled();
    let short = guest.driver.put(&[0; 20]);
    guest.driver.queues[1].add(&[Part::readable(short, 20)]);
    guest.driver.queues[1].kick_anyway();
    assert!(guest.driver.interrupt.wait(|told| told.needs_reset));
    assert_eq!(guest.driver.device.metrics().guest_faults.load(Ordering::Relaxed), 1);
}
