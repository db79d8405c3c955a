//! Members of the guest's group: the test is their machine and the supervisor.

use std::os::fd::{AsFd, OwnedFd};

use monocore_spec::{PeerReply, PeerRequest};
use monocore_vsock::Fate;
use rustix::net::{RecvFlags, SendFlags, Shutdown as Half, SocketType, recv, send, shutdown};

use super::guest::ends as ends_of_link;
use super::*;
use crate::peers::testing::{Far, MEMBER, OWN, groups, pair, readable};

fn guest_in_group(rules: Vec<monocore_spec::NetRule>) -> (Guest, Far) {
    let mut nat = Nat::new(&spec(rules, vec![]), &[], None).unwrap();
    let (line, theirs) = Far::line();
    nat.join(&groups(), theirs);
    (Guest::new(nat), line)
}

fn peer(port: u16) -> Peer {
    let mut peer = Peer::new(SocketAddr::from((MEMBER, port)));
    peer.local = SocketAddr::from((OWN, 40_000));
    peer
}

fn read(socket: &OwnedFd) -> Vec<u8> {
    readable(socket);
    let mut bytes = [0; 100];
    let count = recv(socket, &mut bytes[..], RecvFlags::DONTWAIT).unwrap().0;
    bytes[..count].to_vec()
}

/// The guest connects to a member, which accepts.
fn connected(guest: &mut Guest, line: &Far) -> (Peer, OwnedFd, OwnedFd, Far) {
    let mut peer = peer(80);
    peer.say(guest, SYN, b"");
    assert_eq!(line.request(), PeerRequest::Link { own: OWN.into(), peer: MEMBER.into() });
    let link = line.link();
    let (call, mut descriptors) = link.receive();
    assert_eq!(call, [6, 0, 0x40, 0x9c, 80, 0]);
    let (fate, socket) = (descriptors.pop().unwrap(), descriptors.pop().unwrap());
    assert_eq!(guest.next(SOON), None, "nobody has accepted yet");
    send(&socket, b"+hello", SendFlags::empty()).unwrap();
    let (answer, _) = guest.segment();
    assert_eq!((answer.flags, answer.acknowledged), (SYN | ACK, peer.next));
    peer.expected = answer.sequence.wrapping_add(1);
    peer.say(guest, ACK, b"");
    assert_eq!(peer.receive(guest, 5), b"hello");
    (peer, socket, fate, link)
}

#[test]
fn the_guest_connects_to_a_member_and_both_end() {
    let (mut guest, line) = guest_in_group(vec![]);
    let (mut peer, socket, fate, _link) = connected(&mut guest, &line);
    peer.say(&mut guest, FIN_ACK, b"bye");
    assert_eq!(read(&socket), b"bye");
    assert_eq!(read(&socket), b"", "an end");
    send(&socket, b"more", SendFlags::empty()).unwrap();
    assert_eq!(peer.receive(&mut guest, 4), b"more");
    Fate::new(fate).finish();
    drop(socket);
    let (end, _) = guest.segment();
    assert_eq!(end.flags & 5, 1, "an end and no reset");
}

#[test]
fn resets_cross_also_where_a_half_has_ended() {
    for half_ended in [false, true] {
        let (mut guest, line) = guest_in_group(vec![]);
        let (mut peer, socket, fate, _link) = connected(&mut guest, &line);
        if half_ended {
            peer.say(&mut guest, FIN_ACK, b"");
            assert_eq!(read(&socket), b"");
        }
        drop((fate, socket));
        while guest.segment().0.flags & RST == 0 {}
        // The guest's own.
        let (mut guest, line) = guest_in_group(vec![]);
        let (mut peer, socket, fate, _link) = connected(&mut guest, &line);
        if half_ended {
            shutdown(&socket, Half::Write).unwrap();
            assert_eq!(guest.segment().0.flags & 1, 1);
        }
        peer.say(&mut guest, RST | ACK, b"");
        readable(&socket);
        assert!(read(&socket).is_empty());
        assert!(Fate::new(fate).is_reset());
    }
}

#[test]
fn a_member_that_refuses_or_is_not_there_is_a_refusal() {
    let (mut guest, line) = guest_in_group(vec![]);
    let mut first = peer(80);
    first.say(&mut guest, SYN, b"");
    line.request();
    line.reply(&PeerReply::Absent { peer: MEMBER.into() }, None);
    assert_eq!(guest.segment().0.flags, RST | ACK);
    let mut second = peer(81);
    second.say(&mut guest, SYN, b"");
    line.request();
    let link = line.link();
    drop(link.receive());
    assert_eq!(guest.segment().0.flags, RST | ACK);
}

#[test]
fn a_member_connects_to_the_guest() {
    let (mut guest, line) = guest_in_group(vec![]);
    let link = line.link();
    let (socket, fate) = link.call(80);
    let (syn, _) = guest.segment();
    assert_eq!((syn.flags, syn.target_port, syn.source_port), (SYN, 80, 12345));
    let mut peer = peer(12345);
    peer.local.set_port(80);
    peer.expected = syn.sequence.wrapping_add(1);
    peer.say(&mut guest, SYN | ACK, b"");
    assert_eq!(read(&socket), b"+");
    send(&socket, b"request", SendFlags::empty()).unwrap();
    assert_eq!(peer.receive(&mut guest, 7), b"request");
    peer.say(&mut guest, FIN_ACK, b"answer");
    assert_eq!((read(&socket), read(&socket)), (b"answer".to_vec(), vec![]));
    assert!(!Fate::new(fate).is_reset());
    // A guest that refuses.
    let (refused, fate) = link.call(81);
    let syn = loop {
        let (segment, _) = guest.segment();
        if segment.flags == SYN {
            break segment;
        }
    };
    let mut other = self::peer(12345);
    other.local.set_port(81);
    other.expected = syn.sequence.wrapping_add(1);
    other.say(&mut guest, RST | ACK, b"");
    assert!(read(&refused).is_empty() && Fate::new(fate).is_reset());
}

#[test]
fn datagrams_go_to_a_member_and_back() {
    let (mut guest, line) = guest_in_group(vec![]);
    let (from, to) = (SocketAddr::from((OWN, 5000)), SocketAddr::from((MEMBER, 53)));
    guest.send(&datagram(from, to, b"ask"));
    line.request();
    let link = line.link();
    let (call, descriptors) = link.receive();
    assert_eq!(call, [17, 0, 0x88, 0x13, 53, 0]);
    assert_eq!(read(&descriptors[0]), b"ask");
    send(&descriptors[0], b"tell", SendFlags::empty()).unwrap();
    let frame = guest.next(Duration::from_secs(5)).unwrap();
    assert_eq!(&frame[12 + 42..], b"tell");
    // An empty datagram is none of the end.
    send(&descriptors[0], b"", SendFlags::empty()).unwrap();
    assert_eq!(guest.next(Duration::from_secs(5)).unwrap().len(), 12 + 42);
    drop(descriptors);
    assert_eq!(guest.next(SOON), None);
    // The next one begins anew; nobody there is told.
    guest.send(&datagram(from, to, b"again"));
    let (_, descriptors) = link.receive();
    drop(descriptors);
    assert_eq!(guest.icmp(), (3, 3));
}

#[test]
fn a_datagram_that_the_guest_does_not_take_ends_its_flow() {
    let (mut guest, line) = guest_in_group(vec![]);
    let link = line.link();
    let (near, far) = pair(SocketType::SEQPACKET);
    link.send(&[17, 0, 0x88, 0x13, 53, 0], &[far.as_fd()]);
    drop(far);
    send(&near, b"ask", SendFlags::empty()).unwrap();
    let frame = guest.next(Duration::from_secs(5)).unwrap();
    // The guest's kernel quotes the packet. Another one's changes nothing.
    for (port, ends) in [(54, false), (53, true)] {
        let mut quoted = frame[12 + 14..].to_vec();
        quoted[23] = port;
        let message = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &quoted].concat();
        let mut packet = Vec::new();
        emit::icmp(&mut packet, ends_of_link(), IpAddr::from(OWN), IpAddr::from(MEMBER), &message, 64);
        guest.send(&packet);
        let seen = recv(&near, &mut [0; 1][..], RecvFlags::DONTWAIT);
        assert_eq!(seen.is_ok(), ends, "{port}: {seen:?}");
    }
}

#[test]
fn an_echo_request_is_answered_for_a_member_that_is_there() {
    let (mut guest, line) = guest_in_group(vec![]);
    let echo = |guest: &mut Guest| {
        let mut frame = Vec::new();
        emit::icmp(
            &mut frame,
            ends(),
            IpAddr::from(OWN),
            IpAddr::from(MEMBER),
            &[8, 0, 0, 0, 0, 1, 0, 2, 7],
            64,
        );
        guest.send(&frame);
    };
    echo(&mut guest);
    line.request();
    line.reply(&PeerReply::Absent { peer: MEMBER.into() }, None);
    assert_eq!(guest.icmp(), (3, 1));
    echo(&mut guest);
    line.request();
    let _link = line.link();
    assert_eq!(guest.icmp(), (0, 0));
    echo(&mut guest);
    assert_eq!(guest.icmp(), (0, 0));
}

#[test]
fn a_rule_holds_for_members_too() {
    let all = rule(Action::Deny, NetTarget::Network(Cidr { address: MEMBER.into(), prefix: 32 }));
    let (mut guest, line) = guest_in_group(vec![all]);
    peer(80).say(&mut guest, SYN, b"");
    assert_eq!(guest.icmp(), (3, 13));
    // Not in.
    let link = line.link();
    let _call = link.call(80);
    assert_eq!(guest.segment().0.flags, SYN);
}

#[test]
fn names_of_the_group_are_the_supervisors_to_answer() {
    let (mut guest, line) = guest_in_group(vec![]);
    let query = crate::dns::message::tests::query(7, "db", 1, None);
    guest.send(&datagram(guest_address(OWN.into(), 5000), gateway(true, 53), &query));
    let PeerRequest::Resolve { id, name } = line.request() else { panic!("a question") };
    assert_eq!(name, "db");
    line.reply(&PeerReply::Resolved { id, addresses: Some(vec![MEMBER.into()]) }, None);
    let frame = guest.next(Duration::from_secs(5)).unwrap();
    let answer = crate::message::Answer::parse(&frame[12 + 42..]).unwrap();
    assert_eq!(answer.addresses.first().map(|(address, _)| *address), Some(IpAddr::from(MEMBER)));
    // One of nobody's goes on to the name servers, of which there are none.
    let query = crate::dns::message::tests::query(8, "example.com", 1, None);
    guest.send(&datagram(guest_address(OWN.into(), 5000), gateway(true, 53), &query));
    let PeerRequest::Resolve { id, .. } = line.request() else { panic!("a question") };
    line.reply(&PeerReply::Resolved { id, addresses: None }, None);
    let frame = guest.next(Duration::from_secs(5)).unwrap();
    assert_eq!(frame[12 + 42 + 3] & 0xf, 2, "no server");
}
