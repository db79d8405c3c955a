//! Sockets that may carry only so much, all of them together: nothing of a stream is lost by it.

use std::time::Instant;

use monocore_virtio::{Rate, Rates, VirtioDevice};

use super::*;
use crate::testing::read;

/// A megabyte a second, and 50,000 bytes at once.
const SLOW: Option<Rate> = Some(Rate { bytes_per_second: 1_000_000, burst_bytes: 50_000 });
/// Next to nothing, once the burst is gone.
const STUCK: Option<Rate> = Some(Rate { bytes_per_second: 1, burst_bytes: 1000 });
const BYTES: usize = 300_000;
/// What is left of [`BYTES`] after the burst and one of the longest reads, or packets, at a megabyte a second.
const AT_LEAST: Duration = Duration::from_millis(180);

fn guest(from_guest: Option<Rate>, to_guest: Option<Rate>) -> Guest {
    let publish = vec![published(Protocol::Udp, 80)];
    let tsi = Tsi::new(&spec(vec![allow_host()], publish), &[], None).unwrap();
    Guest::with_rates(tsi, Rates { from_guest, to_guest })
}

fn pattern() -> Vec<u8> {
    (0..BYTES).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

fn stream(guest: &mut Guest) -> (guest::Socket, TcpStream) {
    let (listener, port) = server();
    (guest.connect(gateway(true, port)).unwrap(), listener.accept().unwrap().0)
}

#[test]
fn what_streams_bring_waits_in_their_sockets() {
    let mut guest = guest(None, SLOW);
    let mut all = [stream(&mut guest), stream(&mut guest)];
    let start = Instant::now();
    for (_, host) in &mut all {
        let mut host = host.try_clone().unwrap();
        std::thread::spawn(move || host.write_all(&pattern()[..BYTES / 2]));
    }
    for (socket, host) in all {
        assert!(guest.read(socket, BYTES / 2) == pattern()[..BYTES / 2]);
        drop(host);
        assert_eq!(guest.event(socket).0, Some(Packet::Shutdown));
    }
    assert!(start.elapsed() >= AT_LEAST, "{:?}", start.elapsed());
}

#[test]
fn what_streams_send_waits_in_the_guest_and_in_its_window() {
    let mut guest = guest(SLOW, None);
    let mut all = [stream(&mut guest), stream(&mut guest)];
    let start = Instant::now();
    for at in (0..BYTES / 2).step_by(10_000) {
        for (socket, _) in &all {
            guest.say(*socket, &pattern()[at..at + 10_000]);
        }
    }
    // One of them ends before what it said has gone.
    guest.send(all[0].0, Packet::Shutdown, SHUT_BOTH, &[]);
    guest.send(all[1].0, Packet::Shutdown, SHUT_SEND, &[]);
    for (_, host) in &mut all {
        let mut seen = Vec::new();
        host.read_to_end(&mut seen).unwrap();
        assert!(seen == pattern()[..BYTES / 2]);
    }
    assert!(start.elapsed() >= AT_LEAST, "{:?}", start.elapsed());
}

#[test]
fn datagrams_for_the_guest_wait_and_its_own_are_lost() {
    let slow = Some(Rate { bytes_per_second: 1_000_000, burst_bytes: 10_000 });
    let mut waiting = guest(None, slow);
    let host = UdpSocket::bind("127.0.0.1:0").unwrap();
    let there = gateway(true, host.local_addr().unwrap().port());
    let socket = waiting.open(bind(Op::Datagram, 0, 0));
    waiting.send_to(socket, there, b"x");
    let (_, from) = host.recv_from(&mut [0; 8]).unwrap();
    let start = Instant::now();
    for number in 0..10 {
        host.send_to(&[number; 10_000], from).unwrap();
    }
    for number in 0..10 {
        assert_eq!(waiting.message(socket).1, [number; 10_000]);
    }
    assert!(start.elapsed() >= Duration::from_millis(80), "{:?}", start.elapsed());

    let mut losing = guest(STUCK, None);
    let socket = losing.open(bind(Op::Datagram, 0, 0));
    for _ in 0..20 {
        losing.send_to(socket, there, &[7; 10_000]);
    }
    host.set_read_timeout(Some(SOON)).unwrap();
    let arrived = std::iter::from_fn(|| host.recv_from(&mut [0; 10_000]).ok()).count();
    // Two bursts and 64 KiB.
    assert_eq!(arrived, 7);
    assert_eq!(losing.faults(), 0);
}

#[test]
fn nothing_is_left_of_those_who_waited() {
    let mut guest = guest(STUCK, STUCK);
    let (_, mut spender) = stream(&mut guest);
    let (talker, _keeper) = stream(&mut guest);
    spender.write_all(&[1; 70_000]).unwrap();
    guest.say(talker, &[2; 60_000]);
    std::thread::sleep(SOON);
    // Whatever comes now waits for hours; a connection can be made and ended all the same.
    for _ in 0..200 {
        let (socket, mut host) = stream(&mut guest);
        host.write_all(b"waits").unwrap();
        guest.say(socket, b"waits, too");
        guest.send(socket, Packet::Reset, 0, &[]);
        assert!(host.read(&mut [0; 1]).is_err());
    }
    // Nor does a stop or a reset fill a bucket.
    guest.pause();
    let (socket, mut host) = stream(&mut guest);
    host.write_all(b"waits").unwrap();
    assert!(guest.try_next(socket, SOON).is_none());
    guest.driver.device.stop();
    guest.driver.device.reset();
    assert_eq!(guest.faults(), 0);
}

#[test]
fn a_hello_that_is_judged_goes_on_when_it_may() {
    use crate::hello::tests::hello_for;
    let deny = monocore_spec::NetRule {
        action: monocore_spec::Action::Deny,
        target: monocore_spec::NetTarget::Domain("denied.example".into()),
        ..allow_host()
    };
    let tsi = Tsi::new(&spec(vec![deny, allow_host()], vec![]), &[], None).unwrap();
    let slow = Some(Rate { bytes_per_second: 10_000, burst_bytes: 1 });
    let mut guest = Guest::with_rates(tsi, Rates { from_guest: slow, to_guest: None });
    let (socket, mut host) = stream(&mut guest);
    let hello = hello_for("allowed.example");
    guest.say(socket, &hello[..100]);
    guest.say(socket, &hello[100..]);
    guest.say(socket, &[9; 1000]);
    assert_eq!(read(&mut host, hello.len() + 1000)[..hello.len()], hello);
}
