mod direct;
mod guest;
mod hostile;
mod limits;
mod peers;
mod sni;

use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use monocore_vsock::Op as Packet;
use rustix::net::sockopt;

use super::*;
use crate::testing::{assert_untouched, server};
use guest::{
    CHANNEL, Guest, SHUT_BOTH, SHUT_SEND, STREAM, allow_host, bind, connect, frame, gateway, published, spec,
    unbound, with_host,
};

const SOON: Duration = Duration::from_millis(150);
const EACCES: u32 = 13;
const EPROTO: u32 = 71;
const ENOBUFS: u32 = 105;
const ECONNABORTED: u32 = 103;
const ECONNRESET: u32 = 104;
const ECONNREFUSED: u32 = 111;
const EHOSTUNREACH: u32 = 113;

fn echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut bytes = vec![0; 65_536];
        while let Ok((count, from)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(&bytes[..count], from);
        }
    });
    address
}

/// A port of this host's loopback that nobody listens at.
fn nobody() -> u16 {
    server().1
}

#[test]
fn a_stream_carries_bytes_both_ways_and_ends_in_halves() {
    let mut guest = with_host();
    let (listener, port) = server();
    let socket = guest.connect(gateway(true, port)).unwrap();
    let (mut host, _) = listener.accept().unwrap();
    guest.say(socket, b"hello");
    let mut seen = [0; 5];
    host.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"hello");
    host.write_all(b"world").unwrap();
    assert_eq!(guest.read(socket, 5), b"world");
    guest.send(socket, Packet::Shutdown, SHUT_SEND, &[]);
    assert_eq!(host.read(&mut seen).unwrap(), 0);
    host.write_all(b"more").unwrap();
    assert_eq!(guest.read(socket, 4), b"more");
    drop(host);
    // Both are done: the guest hears it and may take its time.
    assert_eq!(guest.event(socket).0, Some(Packet::Shutdown));
    guest.send(socket, Packet::Shutdown, SHUT_BOTH, &[]);
    assert!(guest.try_next(socket, SOON).is_none(), "the end of a socket is not confirmed");
}

#[test]
fn megabytes_pass_unchanged() {
    let mut guest = with_host();
    let (listener, port) = server();
    let socket = guest.connect(gateway(true, port)).unwrap();
    let (mut host, _) = listener.accept().unwrap();
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || host.write_all(&sent).map(|()| host));
    assert!(guest.read(socket, bytes.len()) == bytes);
    let mut host = writer.join().unwrap().unwrap();
    for chunk in bytes[..30_000].chunks(10_000) {
        guest.say(socket, chunk);
    }
    let mut seen = vec![0; 30_000];
    host.read_exact(&mut seen).unwrap();
    assert!(seen == bytes[..30_000]);
}

#[test]
fn refusals_say_why() {
    let mut guest = with_host();
    assert_eq!(guest.connect(gateway(true, nobody())), Err(ECONNREFUSED));
    assert_eq!(guest.connect("10.1.2.3:80".parse().unwrap()), Err(EACCES));
    assert_eq!(guest.connect("127.0.0.1:80".parse().unwrap()), Err(EACCES));
    assert_eq!(guest.connect("10.77.0.2:80".parse().unwrap()), Err(EHOSTUNREACH));
    assert_eq!(
        guest.ask(STREAM, &frame(Op::Accept, 7, unbound(gateway(true, 1), 0), gateway(true, 0)).to_bytes()),
        Err(ECONNABORTED)
    );
    assert_eq!(guest.faults(), 0);
}

#[test]
fn what_is_no_frame_is_refused() {
    let mut guest = with_host();
    let (listener, port) = server();
    let good = connect(gateway(true, port)).to_bytes();
    let mut reserved = good;
    reserved[13] = 1;
    let long = [&good[..], &[0]].concat();
    for bytes in
        [&good[..47], &[], &long, &reserved, &[0; 48], &[0xff; 48], &bind(Op::Listen, 1, 80).to_bytes()]
    {
        assert_eq!(guest.ask(STREAM, bytes), Err(EPROTO), "{bytes:?}");
    }
    for bytes in [&good[..], &bind(Op::Listen, 1, 0).to_bytes(), &bind(Op::Incoming, 1, 80).to_bytes()] {
        assert_eq!(guest.ask(CHANNEL, bytes), Err(EPROTO), "{bytes:?}");
    }
    assert_untouched(&listener);
    assert_eq!(guest.faults(), 0);
}

#[test]
fn resets_pass_both_ways() {
    let mut guest = with_host();
    let (listener, port) = server();
    let socket = guest.connect(gateway(true, port)).unwrap();
    let (host, _) = listener.accept().unwrap();
    sockopt::set_socket_linger(&host, Some(Duration::ZERO)).unwrap();
    drop(host);
    assert_eq!(guest.event(socket), (Some(Packet::Reset), ECONNRESET));

    let socket = guest.connect(gateway(true, port)).unwrap();
    let (mut host, _) = listener.accept().unwrap();
    guest.send(socket, Packet::Reset, 0, &[]);
    let error = host.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    // After the end of what it sends, the host breaks off.
    let socket = guest.connect(gateway(true, port)).unwrap();
    let (host, _) = listener.accept().unwrap();
    host.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(guest.event(socket), (Some(Packet::Shutdown), SHUT_SEND));
    sockopt::set_socket_linger(&host, Some(Duration::ZERO)).unwrap();
    drop(host);
    assert_eq!(guest.event(socket).0, Some(Packet::Reset));
}

#[test]
fn what_was_said_before_a_reset_arrives() {
    let mut guest = with_host();
    let (listener, port) = server();
    (guest.grant, guest.takes) = (1, false);
    let socket = guest.connect(gateway(true, port)).unwrap();
    let (mut host, _) = listener.accept().unwrap();
    // The guest has no room for it, so that it lies in the socket when the other end breaks off.
    host.write_all(b"too large").unwrap();
    assert_eq!(guest.read(socket, 1), b"t");
    guest.say(socket, b"never read");
    while unread_bytes(&host) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(host);
    guest.grant = 100;
    guest.say(socket, b"more");
    assert_eq!(guest.read(socket, 8), b"oo large");
    assert_eq!(guest.event(socket).0, Some(Packet::Reset));
}

/// Bytes that wait in a socket.
fn unread_bytes(socket: &TcpStream) -> u64 {
    rustix::io::ioctl_fionread(socket).unwrap()
}

#[test]
fn a_stream_that_breaks_the_rules_is_reset_on_both_sides() {
    let mut guest = with_host();
    let (listener, port) = server();
    let socket = guest.connect(gateway(true, port)).unwrap();
    let (mut host, _) = listener.accept().unwrap();
    guest.send(socket, Packet::Request, 0, &connect(gateway(true, port)).to_bytes());
    assert_eq!(guest.event(socket).0, Some(Packet::Reset));
    assert!(host.read(&mut [0; 1]).is_err());
}

#[test]
fn datagrams_go_and_come_back_whatever_their_length() {
    let mut guest = with_host();
    let there = gateway(true, echo().port());
    let socket = guest.open(bind(Op::Datagram, 0, 0));
    for length in [0, 1, 1472, 4000, 4096, 9000, 65_488] {
        let payload: Vec<u8> = (0..length).map(|n: u32| (n % 251) as u8).collect();
        guest.send_to(socket, there, &payload);
        let (frame, back) = guest.message(socket);
        assert_eq!((frame.op, frame.remote), (Op::Datagram, there));
        assert!(back == payload, "{length}");
    }
}

#[test]
fn a_message_may_come_in_pieces_and_must_end() {
    let mut guest = with_host();
    let there = gateway(true, echo().port());
    let socket = guest.open(bind(Op::Datagram, 0, 0));
    let whole = [&frame(Op::Datagram, 0, unbound(there, 0), there).to_bytes()[..], &[7; 65_507]].concat();
    for (at, piece) in whole.chunks(20_000).enumerate() {
        let last = u32::from(at == 3);
        guest.send(socket, Packet::ReadWrite, last, piece);
    }
    assert_eq!(guest.message(socket).1, [7; 65_507]);
    // One more than the longest.
    for _ in 0..4 {
        guest.send(socket, Packet::ReadWrite, 0, &[7; 20_000]);
    }
    assert_eq!(guest.event(socket), (Some(Packet::Reset), EPROTO));
    for bytes in [&[0; 47][..], &[0; 48], &bind(Op::Listen, 0, 9).to_bytes()] {
        let socket = guest.open(bind(Op::Datagram, 0, 0));
        guest.send(socket, Packet::ReadWrite, 1, bytes);
        assert_eq!(guest.event(socket), (Some(Packet::Reset), EPROTO));
    }
    assert_eq!(guest.faults(), 0);
}

#[test]
fn what_did_not_arrive_is_told() {
    let mut guest = with_host();
    let socket = guest.open(bind(Op::Datagram, 0, 0));
    let nobody = gateway(true, UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    guest.send_to(socket, nobody, b"x");
    let (error, payload) = guest.message(socket);
    assert_eq!((error.op, u32::from(error.errno), error.remote), (Op::Error, ECONNREFUSED, nobody));
    assert!(payload.is_empty());
    let denied = "169.254.169.254:80".parse().unwrap();
    guest.send_to(socket, denied, b"x");
    let (error, _) = guest.message(socket);
    assert_eq!((error.op, u32::from(error.errno), error.remote), (Op::Error, EACCES, denied));
}

#[test]
fn datagrams_wait_for_credit() {
    let mut guest = with_host();
    let there = gateway(true, echo().port());
    (guest.grant, guest.takes) = (2 * (48 + 100), false);
    let socket = guest.open(bind(Op::Datagram, 0, 0));
    for _ in 0..3 {
        guest.send_to(socket, there, &[1; 100]);
    }
    assert_eq!((guest.message(socket).1.len(), guest.message(socket).1.len()), (100, 100));
    assert!(guest.try_message(socket, SOON).is_none(), "more than was granted");
    guest.grant += 148;
    guest.send(socket, Packet::CreditUpdate, 0, &[]);
    assert_eq!(guest.message(socket).1.len(), 100);
    // More room than there is in the guest is none at all.
    guest.grant += 50;
    guest.send_to(socket, there, &[1; 100]);
    assert!(guest.try_message(socket, SOON).is_none());
    assert_eq!(guest.faults(), 0);
}

#[test]
fn published_connections_are_announced_and_taken() {
    let tsi = Tsi::new(&spec(vec![], vec![published(Protocol::Tcp, 80)]), &[], None).unwrap();
    let (address, _) = tsi.published()[0];
    let mut guest = Guest::new(tsi);
    // Nobody listens.
    let mut early = TcpStream::connect(address).unwrap();
    assert!(early.read(&mut [0; 1]).is_err());

    let listener = guest.open(bind(Op::Listen, 2, 80));
    let mut clients: Vec<_> = (0..4).map(|_| TcpStream::connect(address).unwrap()).collect();
    let (first, _) = guest.message(listener);
    let (second, _) = guest.message(listener);
    assert_eq!((first.op, first.local), (Op::Incoming, "10.77.0.2:80".parse().unwrap()));
    assert_eq!(first.remote, gateway(true, clients[0].local_addr().unwrap().port()));
    assert_ne!(first.id, second.id);
    assert!(guest.try_message(listener, SOON).is_none(), "the backlog has room for two");
    let accept = |id| frame(Op::Accept, id, first.local, unbound(first.local, 0)).to_bytes();
    let taken = guest.ask(STREAM, &accept(first.id)).unwrap();
    assert_eq!(guest.ask(STREAM, &accept(first.id)), Err(ECONNABORTED));
    clients[0].write_all(b"request").unwrap();
    assert_eq!(guest.read(taken, 7), b"request");
    guest.say(taken, b"answer");
    clients[0].read_exact(&mut [0; 6]).unwrap();
    let (third, _) = guest.message(listener);
    assert_ne!(third.id, second.id);

    // Who waits when the listener goes is reset; so is who comes later.
    guest.send(listener, Packet::Shutdown, SHUT_BOTH, &[]);
    for client in &mut clients[1..] {
        assert!(client.read(&mut [0; 1]).is_err());
    }
    assert_eq!(guest.ask(STREAM, &accept(second.id)), Err(ECONNABORTED));
    guest.say(taken, b"still there");
    clients[0].read_exact(&mut [0; 11]).unwrap();
}

#[test]
fn a_published_datagram_port_is_answered_from() {
    let tsi = Tsi::new(&spec(vec![], vec![published(Protocol::Udp, 53)]), &[], None).unwrap();
    let (address, _) = tsi.published()[0];
    let mut guest = Guest::new(tsi);
    let socket = guest.open(bind(Op::Datagram, 0, 53));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client.send_to(b"question", address).unwrap();
    let (from, payload) = guest.message(socket);
    assert_eq!((from.op, payload.as_slice()), (Op::Datagram, &b"question"[..]));
    assert_eq!(from.remote, gateway(true, client.local_addr().unwrap().port()));
    guest.send_to(socket, from.remote, b"answer");
    let mut bytes = [0; 16];
    assert_eq!(client.recv_from(&mut bytes).unwrap(), (6, address));
}

#[test]
fn sockets_hear_what_is_meant_for_them() {
    let guest: SocketAddr = "10.77.0.2:80".parse().unwrap();
    let fits = |local: &str| fit(local.parse().unwrap(), guest);
    assert!(fits("10.77.0.2:80") > fits("0.0.0.0:80"));
    assert!(fits("0.0.0.0:80") > fits("[::]:80"));
    assert!(fits("[::]:80").is_some());
    assert_eq!((fits("127.0.0.1:80"), fits("[::1]:80")), (None, None));
    assert_eq!(fit("0.0.0.0:80".parse().unwrap(), (Ipv6Addr::LOCALHOST, 80).into()), None);
}

#[test]
fn names_are_asked_by_datagram_and_by_connection() {
    let policy = vec![];
    let mut guest = Guest::new(Tsi::new(&spec(policy, vec![]), &[], None).unwrap());
    // A question, and no server to pass it on to: 2 is SERVFAIL.
    let question = [&[9, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1][..], b"a\x07example\0", &[0, 1, 0, 1]].concat();
    let socket = guest.open(bind(Op::Datagram, 0, 0));
    guest.send_to(socket, gateway(true, 53), &question);
    let (from, answer) = guest.message(socket);
    assert_eq!((from.remote, &answer[..2], answer[3] & 15), (gateway(true, 53), &[9, 9][..], 2));
    let stream = guest.connect(gateway(false, 53)).unwrap();
    let length = u16::try_from(question.len()).unwrap().to_be_bytes();
    guest.say(stream, &[&length[..], &question].concat());
    assert_eq!(guest.read(stream, 2 + question.len())[2..4], [9, 9]);
}

#[test]
fn no_more_connections_than_allowed() {
    let mut guest = with_host();
    let (_listener, port) = server();
    let mut sockets: Vec<_> = (0..64).map(|_| guest.connect(gateway(true, port)).unwrap()).collect();
    assert_eq!(guest.connect(gateway(true, port)), Err(ENOBUFS));
    for socket in sockets.drain(..) {
        guest.send(socket, Packet::Reset, 0, &[]);
    }
    let there = gateway(true, echo().port());
    let channel = guest.open(bind(Op::Datagram, 0, 0));
    guest.send_to(channel, there, b"x");
    assert_eq!(guest.message(channel).0.op, Op::Datagram);
    let all: Vec<_> = (0..63).map(|_| guest.connect(gateway(true, port)).unwrap()).collect();
    assert_eq!(guest.connect(gateway(true, port)), Err(ENOBUFS));
    // The flow ends with its channel.
    guest.send(channel, Packet::Reset, 0, &[]);
    assert!(guest.connect(gateway(true, port)).is_ok());
    assert_eq!(all.len(), 63);
}

#[test]
fn attempts_under_way_count_and_may_be_given_up() {
    let mut guest = with_host();
    let (listener, port) = server();
    // Linux lets in one more than it is told to; whoever comes after them gets no answer.
    rustix::net::listen(&listener, 0).unwrap();
    let there = SocketAddr::from(([127, 0, 0, 1], port));
    let crowd: Vec<_> = (0..3).map(|_| TcpStream::connect_timeout(&there, SOON)).collect();
    assert!(crowd.iter().any(Result::is_err), "the queue is full");
    let request = connect(gateway(true, port)).to_bytes();
    let waiting: Vec<_> = (0..64).map(|_| guest.socket(STREAM)).collect();
    for socket in &waiting {
        guest.send(*socket, Packet::Request, 0, &request);
    }
    assert!(guest.try_next(waiting[0], SOON).is_none());
    assert_eq!(guest.connect(gateway(true, port)), Err(ENOBUFS));
    // Bytes before the answer are a breach; the others just give up.
    guest.say(waiting[0], b"impatient");
    assert_eq!(guest.event(waiting[0]).0, Some(Packet::Reset));
    for socket in &waiting[1..] {
        guest.send(*socket, Packet::Reset, 0, &[]);
    }
    let (other, port) = server();
    assert!(guest.connect(gateway(true, port)).is_ok());
    drop(other);
    assert_eq!(guest.faults(), 0);
}

#[test]
fn channels_are_no_connections_but_there_is_an_end_to_them() {
    let mut guest = with_host();
    let channels: Vec<_> = (0..100).map(|_| guest.open(bind(Op::Datagram, 0, 0))).collect();
    assert_eq!(guest.ask(CHANNEL, &bind(Op::Datagram, 0, 0).to_bytes()), Err(ENOBUFS));
    // Each of them begins a message that does not end; the device keeps only so much of all of them.
    let resets = channels.iter().filter(|channel| {
        guest.send(**channel, Packet::ReadWrite, 0, &[7; 60_000]);
        guest
            .try_next(**channel, Duration::from_millis(5))
            .is_some_and(|(header, _)| header.op == Some(Packet::Reset))
    });
    assert!((20..=40).contains(&resets.count()));
    assert_eq!(guest.faults(), 0);
}

#[test]
fn everything_goes_on_after_a_pause() {
    let tsi = Tsi::new(&spec(vec![allow_host()], vec![published(Protocol::Tcp, 80)]), &[], None).unwrap();
    let (address, _) = tsi.published()[0];
    let mut guest = Guest::new(tsi);
    let (listener, port) = server();
    let there = gateway(true, echo().port());
    let stream = guest.connect(gateway(true, port)).unwrap();
    let (mut host, _) = listener.accept().unwrap();
    let channel = guest.open(bind(Op::Datagram, 0, 0));
    guest.send_to(channel, there, b"before");
    assert_eq!(guest.message(channel).1, b"before");
    let listening = guest.open(bind(Op::Listen, 1, 80));
    guest.pause();
    host.write_all(b"after").unwrap();
    assert_eq!(guest.read(stream, 5), b"after");
    guest.send_to(channel, there, b"after");
    assert_eq!(guest.message(channel).1, b"after");
    let _client = TcpStream::connect(address).unwrap();
    assert_eq!(guest.message(listening).0.op, Op::Incoming);
}

#[test]
fn nothing_of_a_guest_outlives_its_reset() {
    use monocore_virtio::VirtioDevice;
    let tsi = Tsi::new(&spec(vec![allow_host()], vec![published(Protocol::Tcp, 80)]), &[], None).unwrap();
    let (address, _) = tsi.published()[0];
    let mut guest = Guest::new(tsi);
    let (listener, port) = server();
    let _stream = guest.connect(gateway(true, port)).unwrap();
    let (mut host, _) = listener.accept().unwrap();
    let listening = guest.open(bind(Op::Listen, 1, 80));
    let mut client = TcpStream::connect(address).unwrap();
    assert_eq!(guest.message(listening).0.op, Op::Incoming);
    guest.driver.device.stop();
    guest.driver.device.reset();
    assert!(matches!(host.read(&mut [0; 1]), Ok(0) | Err(_)));
    assert!(matches!(client.read(&mut [0; 1]), Ok(0) | Err(_)));
}

#[test]
fn thousands_of_short_connections_leave_nothing_behind() {
    let mut guest = with_host();
    let (listener, port) = server();
    let accepting = std::thread::spawn(move || {
        for _ in 0..1000 {
            let (mut host, _) = listener.accept().unwrap();
            host.write_all(b"bye").unwrap();
        }
    });
    for _ in 0..1000 {
        let socket = guest.connect(gateway(true, port)).unwrap();
        assert_eq!(guest.read(socket, 3), b"bye");
        guest.send(socket, Packet::Shutdown, SHUT_BOTH, &[]);
    }
    accepting.join().unwrap();
    let metrics = guest.driver.device.metrics();
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((count(&metrics.opened), count(&metrics.closed)), (1000, 1000));
}
