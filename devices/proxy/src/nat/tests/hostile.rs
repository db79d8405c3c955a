//! A guest that sends whatever fits into a frame: 12,000 tries, the same in every run, and listeners that must not notice.

use monocore_net::Header;
use monocore_spec::{NetRule, PortRange};

use super::*;
use crate::nat::wire::checksum::Sum;
use crate::testing::{Canaries, Chance, Outside, guarded, is_inside, resident_bytes};

const TRIES: usize = 4000;
/// More than any other test has open beside this one.
const OTHERS: usize = 250;
/// What lies before the IP header's fields, and they.
const IP: usize = 14;
const V4_CHECKSUM: usize = IP + 10;
const SHORT: Duration = Duration::from_millis(200);

/// A hostile guest, whom it may reach and whom not.
struct Ground {
    guest: Guest,
    chance: Chance,
    canaries: Canaries,
    /// A port of the host's that is allowed; it stands for what is public, too.
    outside: Outside,
    descriptors: usize,
}

impl Ground {
    /// Everything is allowed in words, and one port of this host in earnest.
    fn new(seed: u64) -> Self {
        let outside = Outside::new();
        let port = outside.address.port();
        let open = NetRule {
            ports: Some(PortRange { first: port, last: port }),
            ..rule(Action::Allow, NetTarget::Host)
        };
        let network =
            |address: &str| NetTarget::Network(Cidr { address: address.parse().unwrap(), prefix: 0 });
        let words = [NetTarget::Any, network("0.0.0.0"), network("::")];
        let words = words.map(|target| rule(Action::Allow, target));
        // An echo request to what is public would be a real one.
        let quiet = NetRule { protocol: Some(Protocol::Icmp), ..rule(Action::Deny, NetTarget::Any) };
        let rules = [vec![open, quiet], words.to_vec()].concat();
        let descriptors = descriptors();
        let mut nat = Nat::new(&spec(rules, vec![]), &[], None).unwrap();
        nat.engine.detour = Some(outside.address);
        Self { guest: Guest::new(nat), chance: Chance(seed), canaries: Canaries::new(), outside, descriptors }
    }

    /// The service that is allowed.
    fn allowed(&self) -> SocketAddr {
        gateway(true, self.outside.address.port())
    }

    /// Sends a frame and drops what comes back.
    fn send(&mut self, frame: &[u8]) {
        self.guest.send(frame);
        while self.guest.next(Duration::ZERO).is_some() {}
    }

    /// No canary noticed anything, nothing was kept, and whoever keeps to the rules is served as ever.
    fn assert_unharmed(mut self) {
        assert_eq!(self.canaries.count(), 0);
        let allowed = self.allowed();
        self.send(&datagram(guest_address(allowed.ip(), 7), allowed, b"and here"));
        let mut peer = Peer::new(allowed);
        peer.local.set_port(50_000);
        peer.say(&mut self.guest, SYN, b"");
        let answer = loop {
            let (answer, _) = self.guest.segment();
            if (answer.flags, answer.acknowledged) == (SYN | ACK, peer.next) {
                break answer;
            }
        };
        peer.expected = answer.sequence.wrapping_add(1);
        peer.say(&mut self.guest, ACK, b"still there");
        assert_eq!(peer.receive(&mut self.guest, 11), b"still there");
        let end = Instant::now() + Duration::from_secs(10);
        while self.outside.datagrams() == 0 {
            assert!(Instant::now() < end, "no datagram");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.guest.driver.device.stop();
        self.guest.driver.device.reset();
        let held = descriptors();
        assert!(held < self.descriptors + OTHERS, "{held} descriptors, {} before", self.descriptors);
        assert!(!self.guest.driver.interrupt.needs_reset());
        assert_eq!(self.canaries.count(), 0);
    }
}

/// A frame of `protocol` to `remote`: a SYN, a datagram or an echo request.
fn frame_to(remote: SocketAddr, protocol: u8, port: u16) -> Vec<u8> {
    let local = guest_address(remote.ip(), port);
    let mut frame = Vec::new();
    match protocol {
        6 => {
            let fields = Fields { flags: SYN, window: 1000, max_segment: Some(1460), ..Fields::default() };
            emit::tcp(&mut frame, ends(), local, remote, fields, 0);
        }
        17 => frame = datagram(local, remote, b"x"),
        _ => {
            let kind = if remote.is_ipv4() { 8 } else { 128 };
            emit::icmp(&mut frame, ends(), local.ip(), remote.ip(), &[kind, 0, 0, 0, 1, 2, 3, 4], 64);
        }
    }
    frame
}

/// The header's checksum is right, whatever the header says.
fn mend(frame: &mut [u8]) {
    let is_v4 = frame.get(12..14) == Some(&[8, 0]);
    let header = frame.get(IP).map_or(0, |first| usize::from(first & 0xf) * 4);
    if is_v4 && frame.len() >= IP + 20 {
        frame[V4_CHECKSUM..V4_CHECKSUM + 2].fill(0);
        let sum = Sum::default().add(&frame[IP..(IP + header).min(frame.len())]).checksum();
        frame[V4_CHECKSUM..V4_CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

#[test]
fn no_spelling_of_a_guarded_address_is_reached() {
    let mut ground = Ground::new(1);
    let mut targets = guarded();
    let mapped = ["::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1"];
    targets.extend(mapped.map(|text| text.parse::<IpAddr>().unwrap()));
    let own = monocore_spec::LinkSpec::default();
    for number in 0..TRIES {
        let remote = SocketAddr::new(targets[number % targets.len()], ground.canaries.port);
        let is_gateway = [IpAddr::from(own.gateway_v4), own.gateway_v6.into()].contains(&remote.ip());
        let protocol = ground.chance.one_of(if is_gateway { &[6, 17] } else { &[6, 17, 1] });
        ground.guest.send(&frame_to(remote, protocol, ground.chance.short()));
        // Some are told; nobody is let through.
        let told = ground.guest.icmp();
        assert_eq!(told, if remote.is_ipv4() { (3, 13) } else { (1, 1) }, "{remote}, protocol {protocol}");
    }
    assert_eq!((ground.outside.connections(), ground.outside.datagrams()), (0, 0));
    ground.assert_unharmed();
}

#[test]
fn strangers_and_fragments_reach_nobody_at_all() {
    let mut ground = Ground::new(2);
    let sources = [guarded(), vec!["9.9.9.9".parse().unwrap(), "2606::1".parse().unwrap()]].concat();
    let own = monocore_spec::LinkSpec::default();
    for _ in 0..TRIES / 2 {
        let remote = gateway(ground.chance.below(2) == 0, ground.outside.address.port());
        let protocol = ground.chance.one_of(&[6, 17]);
        let mut frame = frame_to(remote, protocol, 9);
        let source = ground.chance.one_of(&sources);
        match (remote.is_ipv4(), source) {
            (true, _) if ground.chance.below(2) == 0 => {
                // Of a fragment, "more" and an offset, one of them at least.
                let place = ground.chance.one_of(&[0x2000, 1, 0x1fff, 0x3fff, 0x2001_u16]);
                frame[IP + 6..IP + 8].copy_from_slice(&place.to_be_bytes());
            }
            (true, IpAddr::V4(v4)) => frame[IP + 12..IP + 16].copy_from_slice(&v4.octets()),
            (false, IpAddr::V6(v6)) => frame[IP + 8..IP + 24].copy_from_slice(&v6.octets()),
            (true, _) => frame[IP + 12..IP + 16].copy_from_slice(&own.gateway_v4.octets()),
            // A header of fragments.
            (false, _) => frame[IP + 6] = 44,
        }
        mend(&mut frame);
        ground.send(&frame);
    }
    std::thread::sleep(SHORT);
    assert_eq!((ground.outside.connections(), ground.outside.datagrams()), (0, 0));
    ground.assert_unharmed();
}

#[test]
fn no_crooked_frame_reaches_what_is_guarded() {
    let mut ground = Ground::new(3);
    let (targets, resident) = (guarded(), resident_bytes());
    for _ in 0..TRIES {
        let remote = SocketAddr::new(ground.chance.one_of(&targets), ground.canaries.port);
        let protocol = ground.chance.one_of(&[6, 17, 1]);
        let mut frame = frame_to(remote, protocol, ground.chance.short());
        ground.chance.spoil(&mut frame);
        if ground.chance.below(4) > 0 {
            mend(&mut frame);
        }
        let mut header = Header { checksum: Some((34, 16)), ..Header::default() }.to_bytes(0).to_vec();
        if ground.chance.below(4) == 0 {
            // Where checksums lie, how long segments are.
            let length = header.len();
            ground.chance.spoil(&mut header);
            header.resize(length, 0xff);
        }
        ground.guest.transmit(&[&header[..], &frame].concat());
        ground.guest.driver.wait_used(1);
        while let Some(answer) = ground.guest.next(Duration::ZERO) {
            let Some((ip, segment, _)) = guest::parse_segment(&answer) else { continue };
            // The name server, and what is allowed.
            let is_served = [53, ground.outside.address.port()].contains(&segment.source_port);
            assert!(segment.flags & SYN == 0 || is_served || !is_inside(ip.source), "{ip:?}");
        }
    }
    let grown = resident_bytes().saturating_sub(resident);
    assert!(grown < 256 << 20, "{grown} bytes more");
    ground.assert_unharmed();
}

#[test]
fn segments_of_every_kind_in_every_state_do_no_harm() {
    let mut ground = Ground::new(4);
    let (allowed, resident) = (ground.allowed(), resident_bytes());
    let inside = SocketAddr::from(([127, 0, 0, 1], ground.canaries.port));
    let numbers = [0, 1, 999, 1000, 1001, 0x7fff_ffff, 0x8000_0000, u32::MAX];
    let mut seen = numbers.to_vec();
    for number in 0..TRIES {
        let remote = if ground.chance.below(4) == 0 { inside } else { allowed };
        let mut peer = Peer::new(remote);
        peer.local.set_port(1 + ground.chance.short() % 40);
        (peer.next, peer.expected) = (ground.chance.one_of(&numbers), ground.chance.one_of(&seen));
        peer.window = ground.chance.one_of(&[0, 1, 1000, 0xffff]);
        let flags = if number % 3 == 0 { SYN } else { ground.chance.byte() };
        let length = if flags == SYN { 0 } else { ground.chance.one_of(&[0, 1, 1000]) };
        let payload = ground.chance.bytes(length);
        ground.guest.send(&peer.frame(flags, &payload));
        while let Some(answer) = ground.guest.next(Duration::ZERO) {
            // So that some of what follows fits what is there.
            if let Some((_, segment, _)) = guest::parse_segment(&answer).filter(|_| seen.len() < 200) {
                seen.extend([segment.sequence, segment.sequence.wrapping_add(1)]);
            }
        }
    }
    assert!(ground.outside.connections() > 20, "nothing was done harm to");
    let grown = resident_bytes().saturating_sub(resident);
    assert!(grown < 256 << 20, "{grown} bytes more");
    ground.assert_unharmed();
}
