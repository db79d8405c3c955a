//! Members of the guest's group: the test is their machine and the supervisor.

use std::os::fd::{AsFd, OwnedFd};

use monocore_spec::{PeerReply, PeerRequest};
use monocore_vsock::Fate;
use rustix::net::{RecvFlags, SendFlags, SocketType, recv, send};

use super::guest::Socket;
use super::*;
use crate::peers::testing::{Far, MEMBER, OWN, groups, pair, readable};

fn guest_in_group() -> (Guest, Far) {
    let mut tsi = Tsi::new(&spec(vec![], vec![]), &[], None).unwrap();
    let (line, theirs) = Far::line();
    tsi.join(&groups(), theirs);
    (Guest::new(tsi), line)
}

fn member(port: u16) -> SocketAddr {
    SocketAddr::from((MEMBER, port))
}

fn read(socket: &OwnedFd) -> Vec<u8> {
    readable(socket);
    let mut bytes = [0; 100];
    let count = recv(socket, &mut bytes[..], RecvFlags::DONTWAIT).unwrap().0;
    bytes[..count].to_vec()
}

/// The guest connects to a member, which accepts.
fn connected(guest: &mut Guest, line: &Far) -> (Socket, OwnedFd, OwnedFd, Far) {
    let socket = guest.socket(STREAM);
    guest.send(socket, Packet::Request, 0, &connect(member(80)).to_bytes());
    assert_eq!(line.request(), PeerRequest::Link { own: OWN.into(), peer: MEMBER.into() });
    let link = line.link();
    let (call, mut descriptors) = link.receive();
    assert_eq!((call[0], &call[4..]), (6, &[80, 0][..]));
    assert_ne!(call[2..4], [0, 0], "a port, though the guest named none");
    let (fate, stream) = (descriptors.pop().unwrap(), descriptors.pop().unwrap());
    assert!(guest.try_next(socket, SOON).is_none(), "nobody has accepted yet");
    send(&stream, b"+hello", SendFlags::empty()).unwrap();
    assert_eq!(guest.event(socket).0, Some(Packet::Response));
    assert_eq!(guest.read(socket, 5), b"hello");
    (socket, stream, fate, link)
}

#[test]
fn the_guest_connects_to_a_member_and_both_end() {
    let (mut guest, line) = guest_in_group();
    let (socket, stream, fate, _link) = connected(&mut guest, &line);
    guest.say(socket, b"bye");
    guest.send(socket, Packet::Shutdown, SHUT_SEND, &[]);
    assert_eq!((read(&stream), read(&stream)), (b"bye".to_vec(), vec![]));
    send(&stream, b"more", SendFlags::empty()).unwrap();
    assert_eq!(guest.read(socket, 4), b"more");
    Fate::new(fate).finish();
    drop(stream);
    assert_eq!(guest.event(socket).0, Some(Packet::Shutdown), "an end and no reset");
    // The guest closes without a reset.
    let (mut guest, line) = guest_in_group();
    let (socket, stream, fate, _link) = connected(&mut guest, &line);
    guest.send(socket, Packet::Shutdown, SHUT_BOTH, &[]);
    assert!(read(&stream).is_empty() && !Fate::new(fate).is_reset());
}

#[test]
fn resets_cross_also_where_a_half_has_ended() {
    for half_ended in [false, true] {
        let (mut guest, line) = guest_in_group();
        let (socket, stream, fate, _link) = connected(&mut guest, &line);
        if half_ended {
            guest.send(socket, Packet::Shutdown, SHUT_SEND, &[]);
            assert!(read(&stream).is_empty());
        }
        drop((fate, stream));
        assert_eq!(guest.event(socket), (Some(Packet::Reset), ECONNRESET), "half ended: {half_ended}");
    }
    let (mut guest, line) = guest_in_group();
    let (socket, stream, fate, _link) = connected(&mut guest, &line);
    guest.send(socket, Packet::Reset, 0, &[]);
    assert!(read(&stream).is_empty() && Fate::new(fate).is_reset());
}

#[test]
fn a_member_that_refuses_or_is_not_there_is_a_refusal() {
    let (mut guest, line) = guest_in_group();
    let first = guest.socket(STREAM);
    guest.send(first, Packet::Request, 0, &connect(member(80)).to_bytes());
    line.request();
    line.reply(&PeerReply::Absent { peer: MEMBER.into() }, None);
    assert_eq!(guest.event(first), (Some(Packet::Reset), ECONNREFUSED));
    let second = guest.socket(STREAM);
    guest.send(second, Packet::Request, 0, &connect(member(81)).to_bytes());
    line.request();
    let link = line.link();
    drop(link.receive());
    assert_eq!(guest.event(second), (Some(Packet::Reset), ECONNREFUSED));
}

#[test]
fn members_connect_to_the_guest_as_far_as_its_backlog_has_room() {
    let (mut guest, line) = guest_in_group();
    let link = line.link();
    // Nobody listens.
    let (early, fate) = link.call(80);
    assert!(read(&early).is_empty() && Fate::new(fate).is_reset());
    let listener = guest.open(bind(Op::Listen, 2, 80));
    let callers: Vec<_> = (0..4).map(|_| link.call(80)).collect();
    let (first, _) = guest.message(listener);
    assert_eq!(
        (first.op, first.local, first.remote),
        (Op::Incoming, SocketAddr::from((OWN, 80)), member(12345))
    );
    let (second, _) = guest.message(listener);
    assert!(guest.try_message(listener, SOON).is_none(), "the backlog has room for two");
    assert_eq!((read(&callers[0].0), read(&callers[1].0)), (b"+".to_vec(), b"+".to_vec()));
    let waits = recv(&callers[2].0, &mut [0; 1][..], RecvFlags::DONTWAIT);
    assert_eq!(waits.unwrap_err(), rustix::io::Errno::AGAIN, "nobody has accepted it");
    let accept = |id| frame(Op::Accept, id, first.local, unbound(first.local, 0)).to_bytes();
    let taken = guest.ask(STREAM, &accept(first.id)).unwrap();
    send(&callers[0].0, b"request", SendFlags::empty()).unwrap();
    assert_eq!(guest.read(taken, 7), b"request");
    guest.say(taken, b"answer");
    assert_eq!(read(&callers[0].0), b"answer");
    let (third, _) = guest.message(listener);
    assert_ne!(third.id, second.id);
    assert_eq!(read(&callers[2].0), b"+");
    // Who waits when the listener goes is reset.
    guest.send(listener, Packet::Shutdown, SHUT_BOTH, &[]);
    for (stream, fate) in callers.into_iter().skip(1) {
        while !read(&stream).is_empty() {}
        assert!(Fate::new(fate).is_reset());
    }
}

#[test]
fn datagrams_go_to_a_member_and_come_from_one() {
    let (mut guest, line) = guest_in_group();
    let socket = guest.open(bind(Op::Datagram, 0, 5000));
    guest.send_to(socket, member(53), b"ask");
    line.request();
    let link = line.link();
    let (call, descriptors) = link.receive();
    assert_eq!(call, [17, 0, 0x88, 0x13, 53, 0]);
    assert_eq!(read(&descriptors[0]), b"ask");
    for answer in [&b"tell"[..], b""] {
        send(&descriptors[0], answer, SendFlags::empty()).unwrap();
        let (from, payload) = guest.message(socket);
        assert_eq!((from.op, from.remote, payload.as_slice()), (Op::Datagram, member(53), answer));
    }
    drop(descriptors);
    assert!(guest.try_message(socket, SOON).is_none());
    // Nobody is at this port.
    guest.send_to(socket, member(54), b"ask");
    drop(link.receive());
    let (error, _) = guest.message(socket);
    assert_eq!((error.op, u32::from(error.errno), error.remote), (Op::Error, ECONNREFUSED, member(54)));
    // A member begins.
    let (near, far) = pair(SocketType::SEQPACKET);
    link.send(&[17, 0, 9, 0, 0x88, 0x13], &[far.as_fd()]);
    drop(far);
    send(&near, b"unasked", SendFlags::empty()).unwrap();
    let (from, payload) = guest.message(socket);
    assert_eq!((from.remote, payload.as_slice()), (member(9), &b"unasked"[..]));
    guest.send_to(socket, member(9), b"answer");
    assert_eq!(read(&near), b"answer");
    // And where nobody listens, it is told.
    let (near, far) = pair(SocketType::SEQPACKET);
    link.send(&[17, 0, 9, 0, 1, 0], &[far.as_fd()]);
    drop(far);
    assert!(read(&near).is_empty());
}

#[test]
fn names_of_the_group_are_the_supervisors_to_answer() {
    let (mut guest, line) = guest_in_group();
    let socket = guest.open(bind(Op::Datagram, 0, 5000));
    let query = crate::dns::message::tests::query(7, "db", 1, None);
    guest.send_to(socket, gateway(true, 53), &query);
    let PeerRequest::Resolve { id, name } = line.request() else { panic!("a question") };
    assert_eq!(name, "db");
    line.reply(&PeerReply::Resolved { id, addresses: Some(vec![MEMBER.into()]) }, None);
    let answer = crate::message::Answer::parse(&guest.message(socket).1).unwrap();
    assert_eq!(answer.addresses.first().map(|(address, _)| *address), Some(member(0).ip()));
}
