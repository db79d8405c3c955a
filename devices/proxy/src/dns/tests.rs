use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use monocore_hypervisor::Event;
use monocore_spec::{Action, Direction, LinkSpec, NetRule, NetTarget, PolicySpec, Protocol, Reach};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::message::tests::{answer, encode, query};
use super::*;
use crate::policy::Policy;
use crate::receipt::Receipts;

const A: u16 = 1;
const GUEST: ([u8; 4], u16) = ([10, 77, 0, 2], 5000);
const GATEWAY: ([u8; 4], u16) = ([10, 77, 0, 1], PORT);

/// What a server of ours says to a question.
fn records(name: &str) -> Vec<(&'static str, u16, u32, Vec<u8>)> {
    match name {
        "good.example" => vec![("good.example", A, 60, vec![93, 184, 216, 34])],
        "alias.example" => {
            vec![
                ("alias.example", 5, 60, encode("good.example")),
                ("good.example", A, 0, vec![93, 184, 216, 34]),
            ]
        }
        "inside.example" => {
            vec![
                ("inside.example", A, 0, vec![93, 184, 216, 34]),
                ("inside.example", A, 0, vec![10, 0, 0, 1]),
            ]
        }
        "metadata.example" => vec![("metadata.example", A, 0, vec![169, 254, 169, 254])],
        "ipv4only.arpa" => {
            let octets =
                |last| std::net::Ipv6Addr::new(0x2a00, 0x64, 0, 0, 0, 0, 0xc000, last).octets().to_vec();
            vec![("ipv4only.arpa", 28, 60, octets(0xaa)), ("ipv4only.arpa", 28, 60, octets(0xab))]
        }
        "gateway.example" => vec![("gateway.example", A, 0, vec![10, 77, 0, 1])],
        "big.example" => (0..60).map(|n| ("big.example", A, 60, vec![93, 184, 216, n])).collect(),
        _ => vec![],
    }
}

/// A name server on loopback, by datagram and connection.
fn server() -> SocketAddr {
    // A port that is free for datagrams may be taken for connections.
    let (udp, address, tcp) = std::iter::repeat_with(|| UdpSocket::bind("127.0.0.1:0").unwrap())
        .take(100)
        .find_map(|udp| {
            let address = udp.local_addr().unwrap();
            TcpListener::bind(address).ok().map(|tcp| (udp, address, tcp))
        })
        .unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok((count, from)) = udp.recv_from(&mut bytes) {
            let name = Question::parse(&bytes[..count]).unwrap().name;
            let good = answer(&bytes[..count], &records(&name));
            // Somebody guesses, and is wrong.
            let mut guess = good.clone();
            guess[0] ^= 1;
            udp.send_to(&guess, from).unwrap();
            udp.send_to(&good, from).unwrap();
        }
    });
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut bytes).unwrap();
            let name = Question::parse(&bytes).unwrap().name;
            let answer = answer(&bytes, &records(&name));
            // In two pieces.
            stream.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(5));
            stream.write_all(&answer).unwrap();
        }
    });
    address
}

struct World {
    dns: Forwarder<(SocketAddr, SocketAddr)>,
    engine: Engine,
    poller: Poller,
}

impl World {
    fn new(reach: Reach, rules: Vec<NetRule>, servers: Vec<SocketAddr>) -> Self {
        let policy = Policy::new(&PolicySpec { reach, rules }, crate::HostAddresses::default());
        Self {
            dns: Forwarder::with_servers(servers),
            engine: Engine::new(policy, Receipts::new(None), &LinkSpec::default(), 10),
            poller: Poller::new(&Event::new().unwrap()).unwrap(),
        }
    }

    fn ask(&mut self, query: Vec<u8>) {
        self.dns.datagram(
            &mut self.engine,
            &self.poller,
            (GUEST.into(), GATEWAY.into()),
            query,
            Instant::now(),
        );
    }

    /// Drives everything until an answer is there.
    fn reply(&mut self) -> Vec<u8> {
        let end = Instant::now() + Duration::from_secs(20);
        while self.dns.replies.is_empty() {
            self.drive();
            assert!(Instant::now() < end, "no answer");
        }
        let reply = self.dns.replies.remove(0);
        assert_eq!(reply.to, (GUEST.into(), GATEWAY.into()));
        reply.bytes
    }

    fn drive(&mut self) {
        for id in self.dns.pending.ids() {
            self.dns.upstream_ready(&mut self.engine, &self.poller, id.to_bits(), Instant::now());
        }
        for id in self.dns.streams.ids() {
            let ready = Ready { token: 0, readable: true, writable: true, hang_up: false, ended: false };
            self.dns.stream_ready(&mut self.engine, &self.poller, id.to_bits(), ready, Instant::now());
        }
        self.dns.turn(&mut self.engine, &self.poller, Instant::now());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn translators_are_found_before_anything_is_reached_by_ipv6() {
    let [inside, outside] =
        ["[2a00:64::169.254.169.254]:80", "[2a00:64::1.1.1.1]:80"].map(|a| a.parse().unwrap());
    for (servers, expected) in [(vec![server()], [false, true]), (vec![], [true, true])] {
        let mut world = World::new(Reach::Public, vec![], servers);
        let own = crate::HostAddresses::fixed(&["2a00:1::7".parse().unwrap()]);
        let policy = Policy::new(&PolicySpec { reach: Reach::Public, rules: vec![] }, own);
        world.engine = Engine::new(policy, Receipts::new(None), &LinkSpec::default(), 10);
        let reaches = |world: &mut World| {
            [inside, outside]
                .map(|target| world.engine.outbound(Protocol::Tcp, target, Instant::now()).is_ok())
        };
        assert_eq!(reaches(&mut world), [false, false]);
        let end = Instant::now() + Duration::from_secs(20);
        while reaches(&mut world) != expected {
            world.drive();
            assert!(Instant::now() < end, "nothing was found");
        }
    }
}

#[test]
fn an_alias_that_is_denied_is_denied_under_every_name() {
    let denied =
        |ports| NetRule { action: Action::Deny, ports, ..allow(NetTarget::Domain("good.example".into())) };
    let allowed = || allow(NetTarget::Domain("alias.example".into()));
    let target = SocketAddr::from(([93, 184, 216, 34], 443));
    let port = Some(monocore_spec::PortRange { first: 443, last: 443 });
    for (rules, expected, reached) in [
        (vec![denied(None)], Code::Refused, None),
        (vec![denied(None), allowed()], Code::Refused, None),
        // The first rule that fits decides.
        (vec![allowed(), denied(None)], Code::NoError, Some(true)),
        (vec![denied(port)], Code::NoError, Some(false)),
        (vec![], Code::NoError, Some(true)),
    ] {
        let mut world = World::new(Reach::Public, rules.clone(), vec![server()]);
        world.ask(query(1, "alias.example", A, None));
        assert_eq!(code(&world.reply()), expected as u8, "{rules:?}");
        if let Some(reached) = reached {
            let route = world.engine.outbound(Protocol::Tcp, target, Instant::now());
            assert_eq!(route.is_ok(), reached, "{rules:?}");
        }
    }
    // An alias allows nothing: whoever answers for a name chooses it.
    let mut world = World::new(Reach::None, vec![allow(NetTarget::Domain("good.example".into()))], vec![]);
    world.engine.learn_alias("good.example", target.ip(), Duration::from_secs(60), Instant::now());
    assert!(world.engine.outbound(Protocol::Tcp, target, Instant::now()).is_err());
}

fn allow(target: NetTarget) -> NetRule {
    NetRule { action: Action::Allow, direction: Direction::Out, target, ports: None, protocol: None }
}

fn code(answer: &[u8]) -> u8 {
    answer[3] & 0xf
}

#[test]
fn answers_are_passed_on_and_remembered() {
    let names_only = vec![allow(NetTarget::Suffix("example".into()))];
    let mut world = World::new(Reach::None, names_only, vec![server()]);
    let target = SocketAddr::from(([93, 184, 216, 34], 443));
    assert!(world.engine.outbound(Protocol::Tcp, target, Instant::now()).is_err());
    for name in ["good.example", "alias.example"] {
        let query = query(0x77, name, A, None);
        world.ask(query.clone());
        let reply = world.reply();
        assert_eq!(reply, answer(&query, &records(name)));
    }
    assert!(world.engine.outbound(Protocol::Tcp, target, Instant::now()).is_ok());
    let later = Instant::now() + Duration::from_secs(91);
    assert!(world.engine.outbound(Protocol::Tcp, target, later).is_err());
}

#[test]
fn answers_that_lead_inside_are_empty_and_not_remembered() {
    let mut world = World::new(Reach::Public, vec![allow(NetTarget::Any)], vec![server()]);
    for name in ["inside.example", "metadata.example", "gateway.example"] {
        world.ask(query(1, name, A, None));
        let reply = world.reply();
        assert_eq!((code(&reply), &reply[6..8]), (0, &[0, 0][..]), "{name}");
    }
    for inside in [[10, 0, 0, 1], [169, 254, 169, 254], [10, 77, 0, 1]] {
        assert!(
            world.engine.outbound(Protocol::Tcp, SocketAddr::from((inside, 80)), Instant::now()).is_err()
        );
    }
}

#[test]
fn names_that_are_not_allowed_are_refused_and_not_asked_for() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let rules = vec![allow(NetTarget::Domain("good.example".into()))];
    let mut world = World::new(Reach::None, rules, vec![silent.local_addr().unwrap()]);
    world.ask(query(1, "bad.example", A, None));
    assert_eq!(code(&world.reply()), Code::Refused as u8);
    silent.set_nonblocking(true).unwrap();
    assert!(silent.recv(&mut [0; 1]).is_err());
}

#[test]
fn a_long_answer_comes_over_a_connection() {
    let mut world = World::new(Reach::Public, vec![], vec![server()]);
    world.ask(query(1, "big.example", A, None));
    let reply = world.reply();
    assert_eq!((reply[2] & 2, &reply[6..8]), (2, &[0, 0][..]));
    world.ask(query(1, "big.example", A, Some(4096)));
    assert_eq!(world.reply()[6..8], [0, 60]);

    let guest = world.dns.accept(&world.poller).unwrap();
    let question = query(5, "big.example", A, None);
    let framed = [&u16::try_from(question.len()).unwrap().to_be_bytes()[..], &question].concat();
    // Two questions, in pieces that end anywhere.
    for piece in [&framed[..], &framed].concat().chunks(7) {
        send(&guest, piece, SendFlags::empty()).unwrap();
    }
    let expected = answer(&question, &records("big.example"));
    let mut seen: Vec<u8> = Vec::new();
    while seen.len() < 2 * (expected.len() + 2) {
        world.drive();
        let mut bytes = [0; 8192];
        if let Ok((count, _)) = recv(&guest, &mut bytes[..], RecvFlags::DONTWAIT) {
            seen.extend(&bytes[..count]);
        }
    }
    assert_eq!(seen[2..2 + expected.len()], expected);
    drop(guest);
    world.drive();
    assert_eq!(world.dns.streams.len(), 0);
}

#[test]
fn the_next_server_is_asked_when_one_is_silent() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut world = World::new(Reach::Public, vec![], vec![silent.local_addr().unwrap(), server()]);
    world.ask(query(1, "good.example", A, None));
    assert_eq!(code(&world.reply()), 0);
    let nobody = World::new(Reach::Public, vec![], vec![]);
    let mut nobody = nobody;
    nobody.ask(query(1, "good.example", A, None));
    assert_eq!(code(&nobody.reply()), Code::ServerFailure as u8);
}
