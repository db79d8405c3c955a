//! Bytes that go straight into memory of the guest's programs.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::guest::Socket;
use super::*;
use monocore_virtio::test_driver::Part;
use rustix::net::sockopt;

const TX: usize = 1;
/// In the flags of a credit update: a READ is about to come.
const HOLD: u32 = 1;

/// Memory of a program.
#[derive(Clone, Copy)]
struct Room {
    header: u64,
    addr: u64,
    len: usize,
}

/// A stream of the guest's, and the host's end of it.
struct Pair {
    guest: Guest,
    socket: Socket,
    host: TcpStream,
    /// Bytes that came in packets.
    came: u32,
    _listener: TcpListener,
}

impl Pair {
    fn new() -> Self {
        let mut guest = with_host();
        let (listener, port) = server();
        let socket = guest.connect(gateway(true, port)).unwrap();
        let (host, _) = listener.accept().unwrap();
        Self { guest, socket, host, came: 0, _listener: listener }
    }

    fn room(&mut self, len: usize) -> Room {
        let (header, addr) = (self.guest.driver.alloc(44), self.guest.driver.alloc(len));
        Room { header, addr, len }
    }

    /// Sends a READ for `room`.
    fn read(&mut self, room: Room) -> u16 {
        let header = self.guest.header(self.socket, Packet::Read, self.came);
        self.guest.driver.overwrite(room.header, &header.to_bytes());
        let mut parts = vec![Part::readable(room.header, 44)];
        // As a program's pages lie: in pieces.
        let (first, rest) = (room.len.min(100), room.len.saturating_sub(100));
        parts.extend([(0, first), (first, rest)].map(|(at, len)| Part::writable(room.addr + at as u64, len)));
        parts.retain(|part| part.len_bytes > 0);
        let head = self.guest.driver.queues[TX].add(&parts);
        self.guest.driver.queues[TX].kick();
        head
    }

    /// The answer to a READ: how many bytes there are, as its chain says, or a packet if it had to wait. Its chain is back.
    fn answer(&mut self) -> u32 {
        let (_, at_once) = self.guest.driver.wait_used(TX);
        if at_once > 0 {
            return at_once;
        }
        let answer = self.guest.event(self.socket);
        assert_eq!(answer.0, Some(Packet::Read));
        answer.1
    }

    /// Bytes that come in packets, `count` of them.
    fn packets(&mut self, count: usize) -> Vec<u8> {
        let bytes = self.guest.read(self.socket, count);
        self.came += u32::try_from(bytes.len()).unwrap();
        bytes
    }
}

#[test]
fn a_read_is_filled_when_bytes_come() {
    let mut pair = Pair::new();
    let room = pair.room(1000);
    pair.read(room);
    assert!(pair.guest.try_next(pair.socket, SOON).is_none(), "it waits");
    pair.host.write_all(&[7; 300]).unwrap();
    assert_eq!(pair.answer(), 300);
    assert_eq!(pair.guest.driver.get(room.addr, 301), [&[7; 300][..], &[0]].concat());
    // Nobody reads directly any more: after a moment, bytes come by themselves.
    pair.host.write_all(b"later").unwrap();
    assert_eq!(pair.packets(5), b"later");
    assert_eq!(pair.guest.faults(), 0);
}

#[test]
fn megabytes_are_read_in_order_whichever_way_they_come() {
    let mut pair = Pair::new();
    let bytes: Vec<u8> = (0..6_000_000u32).map(|n| (n % 251) as u8).collect();
    let (sent, mut host) = (bytes.clone(), pair.host.try_clone().unwrap());
    let room = pair.room(100_000);
    // It waits before there is anything; later ones may come too late for what is held.
    pair.read(room);
    let writer = std::thread::spawn(move || host.write_all(&sent));
    let (mut seen, mut straight) = (Vec::new(), 0);
    while seen.len() < bytes.len() {
        if straight > 0 {
            pair.read(room);
        }
        let (_, at_once) = pair.guest.driver.wait_used(TX);
        let mut count = at_once;
        if count == 0 {
            // What was under way before comes before the answer.
            loop {
                let (header, part) = pair.guest.next(pair.socket);
                pair.came += u32::try_from(part.len()).unwrap();
                seen.extend(part);
                if header.op == Some(Packet::Read) {
                    count = header.flags;
                    break;
                }
            }
        }
        seen.extend(pair.guest.driver.get(room.addr, count as usize));
        straight += count;
    }
    assert!(seen == bytes, "changed on the way");
    assert!(straight > 0, "nothing went straight");
    writer.join().unwrap().unwrap();
    assert_eq!(pair.guest.faults(), 0);
}

#[test]
fn what_is_under_way_comes_first() {
    let mut pair = Pair::new();
    let room = pair.room(64);
    pair.host.write_all(b"first").unwrap();
    assert_eq!(pair.guest.read(pair.socket, 5), b"first");
    // As if they had not been there when it was sent.
    pair.read(room);
    assert_eq!(pair.answer(), 0);
    pair.came = 5;
    pair.read(room);
    pair.host.write_all(b"second").unwrap();
    assert_eq!(pair.answer(), 6);
    assert_eq!(pair.guest.driver.get(room.addr, 6), b"second");
}

#[test]
fn a_read_is_taken_back() {
    let mut pair = Pair::new();
    let room = pair.room(64);
    let head = pair.read(room);
    let header = pair.guest.header(pair.socket, Packet::Cancel, 0);
    pair.guest.transmit(&header.to_bytes());
    let answer = pair.guest.event(pair.socket);
    assert_eq!(answer, (Some(Packet::Read), 0));
    let used = [pair.guest.driver.wait_used(TX), pair.guest.driver.wait_used(TX)];
    assert!(used.contains(&(head, 0)), "{used:?}");
    pair.host.write_all(b"bytes").unwrap();
    assert_eq!(pair.packets(5), b"bytes");
    assert_eq!(pair.guest.driver.get(room.addr, 5), [0; 5]);
    // There is none, which is as well.
    pair.guest.send(pair.socket, Packet::Cancel, 0, &[]);
    assert!(pair.guest.try_next(pair.socket, SOON).is_none());
}

#[test]
fn bytes_are_held_for_a_moment_only() {
    let mut pair = Pair::new();
    for _ in 0..20 {
        pair.guest.send(pair.socket, Packet::CreditUpdate, HOLD, &[]);
        pair.host.write_all(b"held").unwrap();
        assert_eq!(pair.packets(4), b"held");
        pair.guest.send(pair.socket, Packet::CreditUpdate, HOLD, &[]);
        pair.host.write_all(b"let go").unwrap();
        pair.guest.send(pair.socket, Packet::Cancel, 0, &[]);
        assert_eq!(pair.packets(6), b"let go");
    }
    pair.guest.send(pair.socket, Packet::CreditUpdate, HOLD, &[]);
    drop(pair.host);
    assert_eq!(pair.guest.event(pair.socket).0, Some(Packet::Shutdown));
}

#[test]
fn ends_and_errors_give_a_read_back_first() {
    let mut pair = Pair::new();
    let room = pair.room(64);
    pair.read(room);
    pair.host.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(pair.answer(), 0);
    assert_eq!(pair.guest.event(pair.socket), (Some(Packet::Shutdown), SHUT_SEND));
    pair.read(room);
    assert_eq!(pair.answer(), 0);

    let mut pair = Pair::new();
    let room = pair.room(64);
    pair.read(room);
    sockopt::set_socket_linger(&pair.host, Some(Duration::ZERO)).unwrap();
    let Pair { mut guest, socket, host, .. } = pair;
    drop(host);
    assert_eq!(guest.event(socket), (Some(Packet::Read), 0));
    assert_eq!(guest.event(socket), (Some(Packet::Reset), ECONNRESET));
    assert_eq!(guest.driver.wait_used(TX).1, 0);
}

#[test]
fn a_guest_that_closes_gets_its_memory_back() {
    for (op, flags) in [(Packet::Reset, 0), (Packet::Shutdown, SHUT_BOTH)] {
        let mut pair = Pair::new();
        let room = pair.room(64);
        let head = pair.read(room);
        let header = pair.guest.header(pair.socket, op, flags);
        pair.guest.transmit(&header.to_bytes());
        let used = [pair.guest.driver.wait_used(TX), pair.guest.driver.wait_used(TX)];
        assert!(used.contains(&(head, 0)), "{used:?}");
        assert!(matches!(pair.host.read(&mut [0; 8]), Ok(0) | Err(_)));
    }
}

#[test]
fn a_pause_gives_a_read_back() {
    let mut pair = Pair::new();
    let room = pair.room(64);
    pair.read(room);
    std::thread::sleep(SOON);
    pair.guest.pause();
    assert_eq!(pair.answer(), 0);
    pair.host.write_all(b"bytes").unwrap();
    assert_eq!(pair.packets(5), b"bytes");
}

#[test]
fn one_read_is_all_a_stream_may_have() {
    let mut pair = Pair::new();
    let room = pair.room(64);
    pair.read(room);
    pair.read(room);
    assert_eq!(pair.guest.event(pair.socket), (Some(Packet::Read), 0));
    assert_eq!(pair.guest.event(pair.socket), (Some(Packet::Reset), EPROTO));
    pair.guest.driver.wait_used(TX);
    pair.guest.driver.wait_used(TX);
    // Nor one without memory.
    let mut pair = Pair::new();
    let room = pair.room(0);
    pair.read(room);
    assert_eq!(pair.guest.event(pair.socket), (Some(Packet::Reset), EPROTO));
    assert_eq!(pair.guest.faults(), 0);
}

/// The chain is walked again when there are bytes, and by then it may be another one.
#[test]
fn a_read_that_lost_its_memory_is_no_end_of_the_stream() {
    let mut pair = Pair::new();
    let room = pair.room(64);
    let head = pair.read(room);
    assert!(pair.guest.try_next(pair.socket, SOON).is_none(), "it waits");
    pair.guest.driver.queues[TX].set_descriptor(head, room.header, 44, 0, 0);
    pair.host.write_all(b"bytes").unwrap();
    assert_eq!(pair.guest.event(pair.socket), (Some(Packet::Read), 0));
    assert_eq!(pair.guest.event(pair.socket), (Some(Packet::Reset), EPROTO));
    assert_eq!(pair.guest.driver.wait_used(TX), (head, 0));
    assert_eq!(pair.guest.faults(), 0);
}

#[test]
fn a_channel_reads_nothing_directly() {
    let mut guest = with_host();
    for op in [Packet::Read, Packet::Cancel] {
        let socket = guest.open(bind(Op::Datagram, 0, 0));
        guest.send(socket, op, 0, &[]);
        assert_eq!(guest.event(socket).0, Some(Packet::Reset));
        let stranger = guest.socket(STREAM);
        guest.send(stranger, op, 0, &[]);
        assert_eq!(guest.event(stranger).0, Some(Packet::Reset));
    }
}
