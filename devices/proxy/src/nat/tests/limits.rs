//! A card that may move only so much: nothing is lost by it, and what keeps connections going does not wait.

use monocore_virtio::{Rate, Rates};

use super::*;

/// A megabyte a second, and 50,000 bytes at once.
const SLOW: Option<Rate> = Some(Rate { bytes_per_second: 1_000_000, burst_bytes: 50_000 });
const BYTES: usize = 300_000;
/// What is left of [`BYTES`] after the burst and a frame of the longest, at a megabyte a second.
const AT_LEAST: Duration = Duration::from_millis(184);

fn guest(rates: Rates) -> Guest {
    let nat = Nat::new(&spec(vec![rule(Action::Allow, NetTarget::Host)], vec![]), &[], None).unwrap();
    Guest::with_rates(nat, rates)
}

fn pattern() -> Vec<u8> {
    (0..BYTES).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

#[test]
fn what_a_connection_brings_waits_in_its_socket() {
    let mut guest = guest(Rates { from_guest: None, to_guest: SLOW });
    let (listener, port) = server();
    let mut peer = Peer::new(gateway(true, port));
    peer.connect(&mut guest);
    let (mut host, _) = listener.accept().unwrap();
    let start = Instant::now();
    let writer = std::thread::spawn(move || host.write_all(&pattern()).map(|()| host));
    assert!(peer.receive(&mut guest, BYTES) == pattern());
    assert!(start.elapsed() >= AT_LEAST, "{:?}", start.elapsed());
    drop(writer.join().unwrap().unwrap());
    assert_eq!(guest.segment().0.flags & 1, 1);
}

#[test]
fn what_a_connection_sends_waits_in_the_guests_ring() {
    let mut guest = guest(Rates { from_guest: SLOW, to_guest: None });
    let (listener, port) = server();
    let mut peer = Peer::new(gateway(true, port));
    peer.connect(&mut guest);
    let (mut host, _) = listener.accept().unwrap();
    let start = Instant::now();
    for chunk in pattern().chunks(30_000) {
        peer.say(&mut guest, ACK, chunk);
    }
    let mut seen = vec![0; BYTES];
    host.read_exact(&mut seen).unwrap();
    assert!(seen == pattern());
    assert!(start.elapsed() >= AT_LEAST, "{:?}", start.elapsed());
}

#[test]
fn datagrams_wait_in_their_socket() {
    let slow = Some(Rate { bytes_per_second: 1_000_000, burst_bytes: 10_000 });
    let mut guest = guest(Rates { from_guest: None, to_guest: slow });
    let host = UdpSocket::bind("127.0.0.1:0").unwrap();
    let remote = gateway(true, host.local_addr().unwrap().port());
    guest.send(&datagram(guest_address(remote.ip(), 9), remote, b"x"));
    let (_, from) = host.recv_from(&mut [0; 8]).unwrap();
    let start = Instant::now();
    for number in 0..10 {
        host.send_to(&[number; 10_000], from).unwrap();
    }
    for number in 0..10 {
        let frame = guest.next(Duration::from_secs(5)).unwrap();
        assert_eq!(frame[12 + 42..], [number; 10_000]);
    }
    // But for the burst and a datagram.
    assert!(start.elapsed() >= Duration::from_millis(80), "{:?}", start.elapsed());
}

#[test]
fn what_keeps_connections_going_does_not_wait() {
    let slow = Some(Rate { bytes_per_second: 1, burst_bytes: 1000 });
    let mut guest = guest(Rates { from_guest: None, to_guest: slow });
    let (listener, port) = server();
    let mut peer = Peer::new(gateway(true, port));
    peer.connect(&mut guest);
    let (mut host, _) = listener.accept().unwrap();
    host.write_all(&[7; 4_000]).unwrap();
    assert_eq!(peer.receive(&mut guest, 4_000).len(), 4_000);
    host.write_all(b"later").unwrap();
    // Nothing more for hours, but what the guest says arrives and is acknowledged.
    peer.say(&mut guest, ACK, b"heard");
    let (answer, payload) = guest.segment();
    assert_eq!((answer.acknowledged, &payload[..]), (peer.next, &b""[..]));
    host.read_exact(&mut [0; 5]).unwrap();
    let mut other = Peer::new(gateway(true, port));
    other.local.set_port(40_001);
    other.connect(&mut guest);
    assert_eq!(guest.next(SOON), None);
}
