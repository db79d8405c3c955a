use std::os::fd::AsFd;

use monocore_hypervisor::Event;
use monocore_spec::{PeerReply, PeerRequest};
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendFlags, SocketAddrUnix, SocketType, bind, connect, listen, recv, send, socket,
};

use super::testing::{Far, MEMBER, OWN, groups, pair};
use super::*;
use crate::token::TOKEN_PEER_LINK;

const DIAL: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 200, 0, 2), 5000);

fn member(port: u16) -> SocketAddr {
    SocketAddr::from((MEMBER, port))
}

fn peers() -> (Peers, Far, Poller) {
    let (line, theirs) = Far::line();
    let (mut peers, poller) = (Peers::new(groups(), theirs), Poller::new(&Event::new().unwrap()).unwrap());
    peers.begin(&poller).unwrap();
    (peers, line, poller)
}

fn look(peers: &mut Peers, poller: &Poller) -> Vec<PeerEvent> {
    let mut events = peers.ready(poller, TOKEN_PEER_LINE, 0);
    for id in peers.links.ids() {
        events.extend(peers.ready(poller, TOKEN_PEER_LINK, id.to_bits()));
    }
    events
}

fn has_ended(socket: &OwnedFd) -> bool {
    matches!(recv(socket, &mut [0; 1][..], RecvFlags::DONTWAIT), Ok((0, _)))
}

#[test]
fn a_call_waits_for_the_link_and_takes_it() {
    let (mut peers, line, poller) = peers();
    let first = peers.dial(&poller, Protocol::Tcp, DIAL, member(80)).unwrap();
    let _second = peers.dial(&poller, Protocol::Udp, DIAL, member(53)).unwrap();
    // One question for both.
    assert_eq!(line.request(), PeerRequest::Link { own: OWN.into(), peer: MEMBER.into() });
    let link = line.link();
    assert!(
        matches!(look(&mut peers, &poller)[..], [PeerEvent::Here(peer)] if peer == Ipv4Addr::from(MEMBER))
    );
    let (call, descriptors) = link.receive();
    assert_eq!(call, [6, 0, 0x88, 0x13, 80, 0]);
    let [theirs, fate] = &descriptors[..] else { panic!("two descriptors") };
    assert!(wire::is_unix(theirs, SocketType::STREAM) && wire::is_unix(fate, SocketType::STREAM));
    send(&first.socket, b"x", SendFlags::empty()).unwrap();
    assert_eq!(recv(theirs, &mut [0; 2][..], RecvFlags::DONTWAIT).unwrap().0, 1);
    let (call, descriptors) = link.receive();
    assert_eq!((call, descriptors.len()), (vec![17, 0, 0x88, 0x13, 53, 0], 1));
    assert!(wire::is_unix(&descriptors[0], SocketType::SEQPACKET));
    // The link is there now.
    let _third = peers.dial(&poller, Protocol::Tcp, DIAL, member(81)).unwrap();
    assert_eq!(link.receive().0[4], 81);
    assert!(peers.look_for(OWN.into(), MEMBER.into()).unwrap());
    // Without the other machine it is asked for anew.
    drop(link);
    look(&mut peers, &poller);
    assert!(!peers.look_for(OWN.into(), MEMBER.into()).unwrap());
    assert_eq!(line.request(), PeerRequest::Link { own: OWN.into(), peer: MEMBER.into() });
}

#[test]
fn a_member_that_is_not_there_ends_the_call() {
    let (mut peers, line, poller) = peers();
    let end = peers.dial(&poller, Protocol::Tcp, DIAL, member(80)).unwrap();
    assert!(!has_ended(&end.socket));
    line.request();
    line.reply(&PeerReply::Absent { peer: MEMBER.into() }, None);
    assert!(matches!(look(&mut peers, &poller)[..], [PeerEvent::Absent(_)]));
    assert!(has_ended(&end.socket) && end.fate.unwrap().is_reset());
    assert!(peers.awaited.is_empty());
    // Nor is the guest itself, by an address that its kernel does not know.
    let own = peers.dial(&poller, Protocol::Tcp, DIAL, SocketAddr::from((OWN, 80)));
    assert_eq!(own.unwrap_err(), Errno::HOSTUNREACH);
    assert_eq!(peers.group_of(IpAddr::from([10, 200, 1, 3])), None);
}

#[test]
fn many_calls_at_once_wait_for_room() {
    let (mut peers, line, poller) = peers();
    let link = line.link();
    look(&mut peers, &poller);
    let ends: Vec<_> =
        (0..700).map(|_| peers.dial(&poller, Protocol::Udp, DIAL, member(80)).unwrap()).collect();
    let id = peers.by_peer[&Ipv4Addr::from(MEMBER)];
    assert!(!peers.links.get(id).unwrap().outbox.is_empty(), "the socket has no room for all of them");
    for _ in &ends {
        assert_eq!(link.receive().1.len(), 1);
        look(&mut peers, &poller);
    }
    assert!(peers.links.get(id).unwrap().outbox.is_empty());
}

#[test]
fn a_member_calls_in_its_own_name_and_with_nothing_but_sockets() {
    let (mut peers, line, poller) = peers();
    let link = line.link();
    look(&mut peers, &poller);
    let _ends = link.call(80);
    let events = look(&mut peers, &poller);
    let [PeerEvent::Call(call)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((call.guest, call.peer), (SocketAddr::from((OWN, 80)), SocketAddr::from((MEMBER, 12345))));
    let ((stream, _a), (packets, _b), (datagrams, _c)) =
        (pair(SocketType::STREAM), pair(SocketType::SEQPACKET), pair(SocketType::DGRAM));
    let file: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    let internet: OwnedFd = std::net::TcpListener::bind("127.0.0.1:0").unwrap().into();
    let [stream, packets, datagrams, file, internet] =
        [&stream, &packets, &datagrams, &file, &internet].map(AsFd::as_fd);
    let (tcp, udp) = (&[6, 0, 1, 0, 1, 0], &[17, 0, 1, 0, 1, 0]);
    link.send(udp, &[packets]);
    assert!(matches!(look(&mut peers, &poller)[..], [PeerEvent::Call(_)]));
    for (bytes, descriptors) in [
        (&tcp[..], &[][..]),
        (tcp, &[stream]),
        (tcp, &[packets, stream]),
        (tcp, &[stream, packets]),
        (tcp, &[file, stream]),
        (tcp, &[internet, stream]),
        (tcp, &[datagrams, stream]),
        (tcp, &[stream, file]),
        (udp, &[]),
        (udp, &[stream]),
        (udp, &[datagrams]),
        (udp, &[packets, stream]),
        // Too short, too long, no such protocol, no port.
        (&tcp[..5], &[stream, stream]),
        (&[6, 0, 1, 0, 1, 0, 0], &[stream, stream]),
        (&[6, 1, 1, 0, 1, 0], &[stream, stream]),
        (&[1, 0, 1, 0, 1, 0], &[stream, stream]),
        (&[6, 0, 0, 0, 1, 0], &[stream, stream]),
        (&[6, 0, 1, 0, 0, 0], &[stream, stream]),
    ] {
        link.send(bytes, descriptors);
        let events = look(&mut peers, &poller);
        assert!(events.is_empty(), "{bytes:?}: {events:?}");
    }
    // More than two descriptors are cut off by the kernel, and the link goes on.
    link.send(tcp, &[stream, stream, stream, stream]);
    look(&mut peers, &poller);
    link.send(udp, &[packets]);
    assert!(matches!(look(&mut peers, &poller)[..], [PeerEvent::Call(_)]));
}

#[test]
fn links_to_one_member_are_few() {
    let (mut peers, line, poller) = peers();
    let links: Vec<_> = (0..2 * MAX_LINKS_EACH).map(|_| line.link()).collect();
    look(&mut peers, &poller);
    assert_eq!(peers.links.len(), MAX_LINKS_EACH);
    // One that ends leaves the others.
    drop(links);
    look(&mut peers, &poller);
    assert!(peers.links.len() == 0 && peers.by_peer.is_empty());
    drop(line);
    look(&mut peers, &poller);
    assert_eq!(peers.dial(&poller, Protocol::Tcp, DIAL, member(80)).unwrap_err(), Errno::NOBUFS);
}

#[test]
fn a_guest_joins_and_leaves_groups_while_it_runs() {
    let (mut peers, line, poller) = peers();
    let joined = GroupAddress { address: Ipv4Addr::new(10, 201, 0, 2), prefix: 24 };
    let other = IpAddr::from([10, 201, 0, 9]);
    assert_eq!(peers.group_of(other), None);
    let link = line.link();
    look(&mut peers, &poller);
    line.reply(&PeerReply::Groups { groups: [&groups()[..], &[joined]].concat() }, None);
    assert!(matches!(look(&mut peers, &poller)[..], [PeerEvent::Regrouped]));
    assert_eq!(peers.group_of(other), Some(joined.address));
    let waiting =
        peers.dial(&poller, Protocol::Tcp, (joined.address, 5000), SocketAddr::new(other, 80)).unwrap();
    // Links of groups that stay are as they were, until their member leaves.
    assert!(peers.links.len() == 1 && peers.is_member());
    line.reply(&PeerReply::Gone { peer: Ipv4Addr::new(10, 200, 0, 77) }, None);
    look(&mut peers, &poller);
    assert_eq!(peers.links.len(), 1);
    line.reply(&PeerReply::Gone { peer: MEMBER.into() }, None);
    look(&mut peers, &poller);
    assert!(peers.links.len() == 0 && link.receive().0.is_empty());
    let link = line.link();
    look(&mut peers, &poller);
    assert_eq!(peers.links.len(), 1);
    line.reply(&PeerReply::Groups { groups: Vec::new() }, None);
    look(&mut peers, &poller);
    assert!(peers.links.len() == 0 && peers.by_peer.is_empty() && peers.awaited.is_empty());
    assert!(has_ended(&waiting.socket) && !peers.is_member());
    assert_eq!(peers.group_of(MEMBER.into()), None);
    drop(link);
    // A link for an address that the guest had is not taken.
    let _late = line.link();
    look(&mut peers, &poller);
    assert_eq!(peers.links.len(), 0);
}

/// The jail lets a thread with sockets of the Internet make pairs of packets and connect sockets, for this reason.
#[test]
fn an_end_of_a_pair_of_packets_is_connected_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let address = SocketAddrUnix::new(dir.path().join("socket")).unwrap();
    let listening = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    bind(&listening, &address).unwrap();
    listen(&listening, 1).unwrap();
    let (end, other) = pair(SocketType::SEQPACKET);
    assert_eq!(connect(&end, &address), Err(Errno::ISCONN));
    drop(other);
    assert_eq!(connect(&end, &address), Err(Errno::ISCONN));
    connect(socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap(), &address).unwrap();
}
