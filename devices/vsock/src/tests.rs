//! A guest's side of connections, against real sockets of the host.

mod guest;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use monocore_virtio::conformance::Subject;
use monocore_virtio::test_driver::{Part, TestDriver};
use monocore_virtio::{VirtioDevice, virtio_conformance};

use crate::{Dialer, Handlers, Header, Limits, Op, Vsock};
use guest::{GUEST_CID, Guest, PORT, packet};

fn echo(port: u32) -> (Handlers, Dialer) {
    let (handlers, dialer) = Handlers::new().unwrap();
    let handlers = handlers.listen(port, |stream| {
        std::thread::spawn(move || {
            let mut far = stream.try_clone().unwrap();
            let _ = std::io::copy(&mut &stream, &mut far);
            let _ = far.shutdown(Shutdown::Write);
        });
    });
    (handlers, dialer)
}

/// A device whose connections to port 7 arrive in the test.
fn arriving() -> (Guest, mpsc::Receiver<UnixStream>, Dialer) {
    arriving_within(Limits::default())
}

fn arriving_within(limits: Limits) -> (Guest, mpsc::Receiver<UnixStream>, Dialer) {
    let (sender, receiver) = mpsc::channel();
    let (handlers, dialer) = Handlers::new().unwrap();
    let handlers = handlers.listen(7, move |stream| sender.send(stream).unwrap());
    (Guest::new(Vsock::new(GUEST_CID, Box::new(handlers), limits)), receiver, dialer)
}

struct Sockets;

impl Subject for Sockets {
    type Device = Vsock;
    const REQUEST_QUEUES: &'static [usize] = &[1];
    fn device() -> Vsock {
        Vsock::new(GUEST_CID, Box::new(echo(7).0), Limits::default())
    }
    fn add_request(driver: &mut TestDriver<Vsock>) -> usize {
        let addr = driver.put(&packet(Op::Reset, PORT, 9, 0, 0).to_bytes());
        driver.queues[1].add(&[Part::readable(addr, 44)]);
        1
    }
}

virtio_conformance!(Sockets);

#[test]
fn a_guest_connects_talks_half_closes_and_hears_the_end() {
    let mut guest = Guest::new(Vsock::new(GUEST_CID, Box::new(echo(7).0), Limits::default()));
    guest.post(8);
    guest.connect(7);
    guest.send_bytes(7, b"hello");
    assert_eq!(guest.receive_bytes(5), b"hello");
    guest.send(Op::Shutdown, 7, 2, &[]);
    let end = guest.receive().0;
    // Its far end closes after the echo, so both directions end, at once or one after the other.
    assert_eq!(end.op, Some(Op::Shutdown));
    assert_ne!(end.flags & 2, 0);
    guest.send(Op::Shutdown, 7, 3, &[]);
    while guest.receive().0.op != Some(Op::Reset) {}
    let metrics = guest.driver.device.metrics();
    assert_eq!(metrics.opened.load(Ordering::Relaxed), 1);
    assert_eq!(metrics.bytes_from_guest.load(Ordering::Relaxed), 5);
    assert_eq!(metrics.bytes_to_guest.load(Ordering::Relaxed), 5);
}

#[test]
fn what_nobody_serves_is_refused_in_its_own_name() {
    let mut guest = Guest::new(Vsock::new(GUEST_CID, Box::new(echo(7).0), Limits::default()));
    guest.post(8);
    let request = packet(Op::Request, PORT, 8, 0, 65536);
    for (header, src_cid, kind) in [
        (request, 2, 1),
        (Header { dst_cid: 5, ..request }, 5, 1),
        (Header { kind: 2, ..request }, 2, 2),
        (Header { op: Some(Op::ReadWrite), ..request }, 2, 1),
        (Header { op: None, ..request }, 2, 1),
    ] {
        guest.send_packet(header, &[]);
        let answer = guest.receive().0;
        assert_eq!((answer.op, answer.src_cid, answer.kind), (Some(Op::Reset), src_cid, kind));
        assert_eq!((answer.src_port, answer.dst_port, answer.dst_cid), (8, PORT, GUEST_CID.into()));
    }
    // A packet in another guest's name is not even answered, nor is a reset.
    guest.send_packet(Header { src_cid: 9, ..request }, &[]);
    guest.send(Op::Reset, 8, 0, &[]);
    guest.connect(7);
}

#[test]
fn only_a_front_takes_frames_and_channels() {
    let (handlers, _dialer) = echo(7);
    let plain = Vsock::new(GUEST_CID, Box::new(handlers), Limits::default());
    assert_eq!(plain.features() & 2, 0);
    let mut guest = Guest::new(plain);
    guest.post(8);
    guest.send(Op::Request, 7, 0, &[0; 48]);
    assert_eq!(guest.receive().0.op, Some(Op::Reset));
    guest.connect(7);
    guest.send_bytes(7, b"hello");
    assert_eq!(guest.receive_bytes(5), b"hello");
}

#[test]
fn the_host_dials_and_the_guest_accepts_or_refuses() {
    let (mut guest, _arrivals, dialer) = arriving();
    guest.post(8);
    let mut stream = dialer.connect(52).unwrap();
    stream.write_all(b"early").unwrap();
    let request = guest.receive().0;
    assert_eq!((request.op, request.dst_port), (Some(Op::Request), 52));
    let host_port = request.src_port;
    guest.send_packet(Header { dst_port: host_port, ..packet(Op::Response, 52, 0, 0, 65536) }, &[]);
    assert_eq!(guest.receive_bytes(5), b"early");
    let reply = Header { dst_port: host_port, ..packet(Op::ReadWrite, 52, 0, 5, 65536) };
    guest.send_packet(reply, b"reply");
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"reply");

    let mut refused = dialer.connect(53).unwrap();
    let request = guest.receive().0;
    assert_ne!(request.src_port, host_port);
    guest.send_packet(Header { dst_port: request.src_port, ..packet(Op::Reset, 53, 0, 0, 0) }, &[]);
    assert_eq!(refused.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn megabytes_go_both_ways_unchanged() {
    let mut guest = Guest::new(Vsock::new(GUEST_CID, Box::new(echo(7).0), Limits::default()));
    guest.post(64);
    guest.connect(7);
    let total = 16 << 20;
    let pattern = |at: usize| u8::try_from((at / 7 + at / 4096) % 251).unwrap();
    let (mut sent, mut received) = (0, 0);
    while received < total {
        while sent < total && guest.free_bytes() >= 32768 && guest.driver.queues[1].free() > 1 {
            let bytes: Vec<u8> = (sent..sent + 32768).map(pattern).collect();
            guest.send_bytes(7, &bytes);
            sent += bytes.len();
        }
        let (header, bytes) = guest.receive();
        if header.op == Some(Op::ReadWrite) {
            assert!(bytes.iter().zip(received..).all(|(byte, at)| *byte == pattern(at)), "at {received}");
            received += bytes.len();
            guest.taken(bytes.len());
            if guest.untold_bytes() >= guest.grant / 2 {
                guest.send(Op::CreditUpdate, 7, 0, &[]);
            }
        }
    }
    let kicks: u64 = guest.driver.queues.iter().map(|queue| queue.kicks).sum();
    println!("16 MiB each way: {kicks} kicks, {} packets back", guest.packets);
}

#[test]
fn a_host_that_does_not_read_holds_up_nobody_and_overrun_ends_the_connection() {
    let (mut guest, arrivals, _dialer) = arriving();
    guest.post(16);
    // A guest that grants much uses all that it is granted.
    guest.grant = 1 << 24;
    let window = guest.connect(7);
    let lazy = arrivals.recv().unwrap();
    // As much as was granted goes out, whatever the socket takes.
    let chunk = vec![5; 32768];
    let mut left = window as usize;
    while left > 0 {
        let count = chunk.len().min(left);
        guest.send_bytes(7, &chunk[..count]);
        left -= count;
    }
    guest.port = PORT + 1;
    guest.connect(7);
    let mut brisk = arrivals.recv().unwrap();
    guest.send_bytes(7, b"on time");
    let mut bytes = [0; 7];
    brisk.read_exact(&mut bytes).unwrap();

    // The socket holds some of it, so the guest may send that much more, and then some is too much.
    guest.port = PORT;
    let mut answer = None;
    for _ in 0..64 {
        guest.send_bytes(7, &chunk);
        if let Some((header, _)) = guest.try_receive(Duration::from_millis(20)) {
            answer = Some(header.op);
            if header.op == Some(Op::Reset) {
                break;
            }
        }
    }
    assert_eq!(answer, Some(Some(Op::Reset)));
    drop(lazy);
}

#[test]
fn the_guest_gets_no_more_than_it_granted() {
    let (mut guest, arrivals, _dialer) = arriving();
    guest.post(16);
    guest.grant = 1000;
    guest.connect(7);
    let mut host = arrivals.recv().unwrap();
    host.write_all(&[9; 2500]).unwrap();
    assert_eq!(guest.receive_bytes(1000), [9; 1000]);
    assert!(guest.try_receive(Duration::from_millis(50)).is_none());
    guest.taken(1000);
    guest.send(Op::CreditUpdate, 7, 0, &[]);
    assert_eq!(guest.receive_bytes(1000), [9; 1000]);
    guest.taken(1000);
    guest.send(Op::CreditUpdate, 7, 0, &[]);
    assert_eq!(guest.receive_bytes(500), [9; 500]);
    guest.send(Op::CreditRequest, 7, 0, &[]);
    assert_eq!(guest.receive_any().0.op, Some(Op::CreditUpdate));
}

#[test]
fn connections_without_buffers_wait_their_turn() {
    let (mut guest, arrivals, _dialer) = arriving();
    guest.post(2);
    let mut hosts = Vec::new();
    for port in 0..2 {
        guest.port = PORT + port;
        guest.connect(7);
        hosts.push(arrivals.recv().unwrap());
    }
    guest.reposts = false;
    // Both buffers are used up by the first who writes.
    for host in &mut hosts {
        host.write_all(&[1; 20_000]).unwrap();
    }
    let mut got = [0, 0];
    while got != [20_000, 20_000] {
        let (header, bytes) = guest.receive();
        assert_eq!(header.op, Some(Op::ReadWrite));
        got[(header.dst_port - PORT) as usize] += bytes.len();
        guest.post(1);
    }
}

#[test]
fn the_end_of_the_host_is_told_in_halves_or_whole() {
    let (mut guest, arrivals, _dialer) = arriving();
    guest.post(8);
    guest.connect(7);
    let mut host = arrivals.recv().unwrap();
    host.write_all(b"last").unwrap();
    host.shutdown(Shutdown::Write).unwrap();
    assert_eq!(guest.receive_bytes(4), b"last");
    let end = guest.receive().0;
    assert_eq!((end.op, end.flags), (Some(Op::Shutdown), 2));
    guest.send_bytes(7, b"still");
    let mut bytes = [0; 5];
    host.read_exact(&mut bytes).unwrap();
    drop(host);
    let end = guest.receive().0;
    assert_eq!((end.op, end.flags), (Some(Op::Shutdown), 3));
    // The port is free again even if the confirmation is late.
    guest.connect(7);
    let host = arrivals.recv().unwrap();
    guest.send(Op::Reset, 7, 0, &[]);
    assert_eq!((&host).read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn what_a_guest_sent_before_it_left_still_arrives() {
    let (mut guest, arrivals, _dialer) = arriving();
    guest.post(16);
    let window = guest.connect(7) as usize;
    let mut host = arrivals.recv().unwrap();
    for _ in 0..window / 32768 {
        guest.send_bytes(7, &[3; 32768]);
    }
    guest.send(Op::Shutdown, 7, 3, &[]);
    while guest.receive().0.op != Some(Op::Reset) {}
    let mut bytes = Vec::new();
    host.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), window / 32768 * 32768);
    assert!(bytes.iter().all(|byte| *byte == 3));
}

#[test]
fn a_guest_that_no_longer_receives_breaks_the_hosts_pipe() {
    let (mut guest, arrivals, _dialer) = arriving();
    guest.post(8);
    guest.connect(7);
    let mut host = arrivals.recv().unwrap();
    guest.send(Op::Shutdown, 7, 1, &[]);
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while host.write_all(b"x").is_ok() {
        assert!(std::time::Instant::now() < end, "the host may write for ever");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn connections_outlive_a_pause_and_end_with_a_reset() {
    let (mut guest, arrivals, _dialer) = arriving();
    guest.post(8);
    guest.connect(7);
    let mut host = arrivals.recv().unwrap();
    let states = guest.driver.device.stop();
    host.write_all(b"while paused").unwrap();
    guest.driver.start_with(&states).unwrap();
    assert_eq!(guest.receive_bytes(12), b"while paused");
    guest.driver.device.stop();
    guest.driver.device.reset();
    assert_eq!(host.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_restored_guest_hears_that_its_connections_are_gone() {
    let (handlers, _dialer) = echo(7);
    let mut device = Vsock::new(GUEST_CID, Box::new(handlers), Limits::default());
    device.restore(&device.save().unwrap()).unwrap();
    let mut guest = Guest::stopped(device);
    let addr = guest.driver.alloc(4);
    guest.driver.queues[2].add(&[Part::writable(addr, 4)]);
    guest.driver.start().unwrap();
    assert_eq!(guest.driver.wait_used(2).1, 4);
    assert_eq!(guest.driver.get(addr, 4), [0; 4]);
}

#[test]
fn more_connections_than_allowed_are_refused() {
    let (mut guest, arrivals, dialer) =
        arriving_within(Limits { connections: 2, window_budget_bytes: 1 << 20 });
    guest.post(8);
    let mut hosts = Vec::new();
    for port in 0..2 {
        guest.port = PORT + port;
        assert!(guest.connect(7) <= 128 << 10);
        hosts.push(arrivals.recv().unwrap());
    }
    guest.port = PORT + 2;
    guest.send(Op::Request, 7, 0, &[]);
    assert_eq!(guest.receive().0.op, Some(Op::Reset));
    assert_eq!(dialer.connect(1).unwrap().read(&mut [0; 1]).unwrap(), 0);
    guest.port = PORT;
    guest.send(Op::Reset, 7, 0, &[]);
    guest.port = PORT + 2;
    guest.connect(7);
}

#[test]
fn a_guest_that_takes_no_answers_is_not_listened_to() {
    let (mut guest, _arrivals, _dialer) = arriving();
    let mut answered = 0;
    for _ in 0..3000 {
        if guest.driver.queues[1].free() == 0 {
            match guest.driver.interrupt.wait_for(Duration::from_millis(200), |_| false) {
                _ if guest.reclaim() > 0 => {}
                _ => break,
            }
        }
        guest.send_later(packet(Op::Request, PORT, 99, 0, 0));
        answered += 1;
    }
    assert!(answered < 3000, "answers pile up without end");
    // With buffers everything goes on.
    guest.post(64);
    for _ in 0..answered {
        assert_eq!(guest.receive().0.op, Some(Op::Reset));
    }
}
