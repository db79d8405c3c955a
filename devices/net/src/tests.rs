use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use monocore_virtio::conformance::Subject;
use monocore_virtio::test_driver::{Part, TestDriver, alone, cpu_in_a_second};
use monocore_virtio::{Rate, Rates, VirtioDevice, virtio_conformance};

use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const RX: usize = 0;
const TX: usize = 1;

fn card(socket: UnixStream) -> Net {
    Net::new(NetConfig { mac: MAC }, Box::new(Stream::new(OwnedFd::from(socket))))
}

struct Card;

impl Subject for Card {
    type Device = Net;
    const REQUEST_QUEUES: &'static [usize] = &[TX];

    /// Its other end is gone, so frames are dropped: they come back all the same.
    fn device() -> Net {
        card(UnixStream::pair().unwrap().0)
    }

    fn add_request(driver: &mut TestDriver<Net>) -> usize {
        let addr = driver.put(&[0; HEADER_BYTES + 60]);
        driver.queues[TX].add(&[Part::readable(addr, HEADER_BYTES + 60)]);
        TX
    }
}

virtio_conformance!(Card);

fn send(driver: &mut TestDriver<Net>, frame: &[u8]) {
    driver.request(TX, &[&[0; HEADER_BYTES], frame], &[]);
}

fn read_frame(socket: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    socket.read_exact(&mut length).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    socket.read_exact(&mut frame).unwrap();
    frame
}

#[test]
fn the_driver_reads_address_and_no_mtu() {
    let card = Card::device();
    let mut space = [0xff; 12];
    card.read_config(0, &mut space);
    assert_eq!(space, [2, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0]);
    assert_eq!(card.features() & features::F_MTU, 0);
    assert_ne!(card.features() & features::F_MAC, 0);
}

#[test]
fn frames_go_out_behind_their_length() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let mut driver = TestDriver::started(card(near));
    for frame in [&[1; 60][..], &[2; 1514], &[3; 65_549]] {
        send(&mut driver, frame);
        assert_eq!(read_frame(&mut far), frame);
    }
    // One that no link has is dropped.
    send(&mut driver, &vec![4; 70_000]);
    send(&mut driver, &[5; 60]);
    assert_eq!(read_frame(&mut far), [5; 60]);
}

#[test]
fn a_slow_reader_gets_every_frame_whole() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let mut driver = TestDriver::started(card(near));
    let addr = driver.put(&[7; HEADER_BYTES + 9000]);
    for _ in 0..200 {
        driver.queues[TX].add(&[Part::readable(addr, HEADER_BYTES + 9000)]);
    }
    driver.queues[TX].kick();
    for _ in 0..200 {
        assert_eq!(read_frame(&mut far), [7; 9000]);
    }
    for _ in 0..200 {
        driver.wait_used(TX);
    }
}

fn wire(frame: &[u8]) -> Vec<u8> {
    [&u32::try_from(frame.len()).unwrap().to_be_bytes()[..], frame].concat()
}

#[test]
fn frames_come_in_as_many_buffers_as_they_need() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let mut driver = TestDriver::started(card(near));
    let addrs: Vec<_> = (0..40).map(|_| driver.alloc(1536)).collect();
    let heads: Vec<_> =
        addrs.iter().map(|&addr| driver.queues[RX].add(&[Part::writable(addr, 1536)])).collect();
    driver.queues[RX].kick();
    let long: Vec<u8> = (0..40_000u32).map(|n| n.to_le_bytes()[0]).collect();
    // In pieces that end in the middle of everything.
    let stream = [wire(&[1; 60]), wire(&[]), wire(&long), wire(&[2; 1524])].concat();
    for piece in stream.chunks(997) {
        far.write_all(piece).unwrap();
    }
    let mut next = 0;
    for frame in [&[1; 60][..], &long, &[2; 1524]] {
        let buffers = (HEADER_BYTES + frame.len()).div_ceil(1536);
        let mut seen = Vec::new();
        for index in next..next + buffers {
            let (head, written) = driver.wait_used(RX);
            assert_eq!(head, heads[index]);
            seen.extend(driver.get(addrs[index], written as usize));
        }
        next += buffers;
        let header = Header::default().to_bytes(u16::try_from(buffers).unwrap());
        assert_eq!((&seen[..HEADER_BYTES], &seen[HEADER_BYTES..]), (&header[..], frame));
    }
}

/// A driver that looks at its ring all the time never sees a part of a frame.
#[test]
fn the_buffers_of_a_frame_come_together() {
    const BUFFERS: u16 = 40;
    const FRAMES: u16 = 500;
    let (near, mut far) = UnixStream::pair().unwrap();
    let mut driver = TestDriver::started(card(near));
    let addr = driver.alloc(1536);
    let frame = wire(&vec![7; usize::from(BUFFERS) * 1536 - HEADER_BYTES]);
    for _ in 0..FRAMES {
        for _ in 0..BUFFERS {
            driver.queues[RX].add(&[Part::writable(addr, 1536)]);
        }
        driver.queues[RX].kick();
        let before = driver.queues[RX].used_index();
        std::thread::scope(|scope| {
            let queue = &driver.queues[RX];
            let looking = scope.spawn(move || {
                loop {
                    match queue.used_index().wrapping_sub(before) {
                        0 => std::hint::spin_loop(),
                        count => return count,
                    }
                }
            });
            far.write_all(&frame).unwrap();
            assert_eq!(looking.join().unwrap(), BUFFERS);
        });
        for _ in 0..BUFFERS {
            driver.wait_used(RX);
        }
    }
}

#[test]
fn a_frame_waits_for_buffers() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let mut driver = TestDriver::started(card(near));
    far.write_all(&wire(&[9; 3000])).unwrap();
    let first = driver.alloc(1536);
    driver.queues[RX].add(&[Part::writable(first, 1536)]);
    driver.queues[RX].kick();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(driver.queues[RX].used_index(), 0);
    let second = driver.alloc(1536);
    driver.queues[RX].add(&[Part::writable(second, 1536)]);
    driver.queues[RX].kick();
    assert_eq!(driver.wait_used(RX).1 + driver.wait_used(RX).1, 3012);
}

/// A megabyte a second, and 20,000 bytes at once.
const SLOW: Rate = Rate { bytes_per_second: 1_000_000, burst_bytes: 20_000 };
/// What 30 frames of 10,000 bytes take at least: the last one begins when there is room for one byte.
const AT_LEAST: Duration = Duration::from_millis(270);

#[test]
fn frames_of_the_guest_wait_for_their_rate() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let rates = Rates { from_guest: Some(SLOW), to_guest: None };
    let mut driver = TestDriver::started(card(near).with_rates(rates));
    let addr = driver.put(&[7; HEADER_BYTES + 10_000]);
    let start = Instant::now();
    for _ in 0..30 {
        driver.queues[TX].add(&[Part::readable(addr, HEADER_BYTES + 10_000)]);
    }
    driver.queues[TX].kick();
    for _ in 0..10 {
        assert_eq!(read_frame(&mut far), [7; 10_000]);
    }
    // A stop is no way to a new burst, and loses nothing.
    let states = driver.device.stop();
    driver.start_with(&states).unwrap();
    for _ in 0..20 {
        assert_eq!(read_frame(&mut far), [7; 10_000]);
    }
    assert!(start.elapsed() >= AT_LEAST, "{:?}", start.elapsed());
    for _ in 0..30 {
        driver.wait_used(TX);
    }
}

#[test]
fn frames_to_the_guest_wait_for_their_rate() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let rates = Rates { from_guest: None, to_guest: Some(SLOW) };
    let mut driver = TestDriver::started(card(near).with_rates(rates));
    for _ in 0..30 {
        let addr = driver.alloc(HEADER_BYTES + 10_000);
        driver.queues[RX].add(&[Part::writable(addr, HEADER_BYTES + 10_000)]);
    }
    driver.queues[RX].kick();
    let start = Instant::now();
    let writer =
        std::thread::spawn(move || (0..30).for_each(|_| far.write_all(&wire(&[7; 10_000])).unwrap()));
    for _ in 0..30 {
        assert_eq!(driver.wait_used(RX).1, 10_012);
    }
    assert!(start.elapsed() >= AT_LEAST, "{:?}", start.elapsed());
    writer.join().unwrap();
}

#[test]
fn a_length_no_frame_has_ends_the_link_and_not_the_device() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let mut driver = TestDriver::started(card(near));
    let addr = driver.alloc(2048);
    driver.queues[RX].add(&[Part::writable(addr, 2048)]);
    driver.queues[RX].kick();
    far.write_all(&[0xff; 64]).unwrap();
    send(&mut driver, &[1; 60]);
    send(&mut driver, &[1; 60]);
    assert!(!driver.interrupt.needs_reset());
    assert_eq!(driver.device.stop().len(), 2);
}

#[test]
fn a_buffer_without_room_is_the_drivers_fault() {
    let (near, mut far) = UnixStream::pair().unwrap();
    let mut driver = TestDriver::started(card(near));
    let addr = driver.alloc(64);
    driver.queues[RX].add(&[Part::writable(addr, 12)]);
    driver.queues[RX].kick();
    far.write_all(&wire(&[1; 60])).unwrap();
    assert!(driver.interrupt.wait(|told| told.needs_reset));
}

#[test]
fn a_hang_up_while_the_guest_has_no_buffers_costs_nothing() {
    let name = "a_hang_up_while_the_guest_has_no_buffers_costs_nothing";
    alone(module_path!(), name, || {
        let (near, mut far) = UnixStream::pair().unwrap();
        let _driver = TestDriver::started(card(near));
        far.write_all(&[&60u32.to_be_bytes()[..], &[1; 60]].concat()).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        drop(far);
        let cpu = cpu_in_a_second();
        println!("{cpu:?} of CPU time in a second");
        assert!(cpu < Duration::from_millis(200), "{cpu:?} of CPU time in a second");
    });
}
