//! A guest that tries whatever a guest can put into its queue: 20,000 tries, the same in every run, and listeners that must
//! not notice.

use super::guest::Socket;
use super::*;
use crate::testing::{Canaries, Chance, Outside, descriptors, guarded, is_inside, resident_bytes};
use monocore_spec::{NetRule, NetTarget, PortRange, PublishedPort};
use monocore_virtio::VirtioDevice;
use monocore_vsock::Header;

const HOST_CID: u64 = 2;
const GUEST_CID: u64 = 3;
/// Operations and kinds that there are, and some that there are not.
const OPS: [u16; 14] = [0, 1, 2, 3, 4, 5, 5, 5, 6, 7, 8, 64, 65, 0xffff];
const KINDS: [u16; 6] = [1, 1, 2, 2, 0, 3];
/// What counts, flags and lengths are tried with.
const NUMBERS: [u32; 12] =
    [0, 1, 2, 3, 47, 48, 4096, 65_536, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];
/// Ports of the guest's that packets come from. The first half of them are used for good sockets, too.
const PORTS: u32 = 40;
const CANARY_TRIES: usize = 4000;
const PACKET_TRIES: usize = 6000;
/// More than any other test has open beside this one.
const OTHERS: usize = 250;

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
    fn new(seed: u64, publish: Vec<PublishedPort>) -> (Self, Vec<SocketAddr>) {
        let outside = Outside::new();
        let port = outside.address.port();
        let open = NetRule { ports: Some(PortRange { first: port, last: port }), ..allow_host() };
        let network = |address: &str| {
            NetTarget::Network(monocore_spec::Cidr { address: address.parse().unwrap(), prefix: 0 })
        };
        let words = [NetTarget::Any, network("0.0.0.0"), network("::")];
        let rules = words.map(|target| NetRule { target, ..allow_host() });
        let rules = [vec![open], rules.to_vec()].concat();
        let descriptors = descriptors();
        let mut tsi = Tsi::new(&spec(rules, publish), &[], None).unwrap();
        tsi.engine.detour = Some(outside.address);
        let published = tsi.published().iter().map(|(address, _)| *address).collect();
        let (guest, canaries) = (Guest::new(tsi), Canaries::new());
        (Self { guest, chance: Chance(seed), canaries, outside, descriptors }, published)
    }

    /// The service that is allowed.
    fn allowed(&self) -> SocketAddr {
        gateway(true, self.outside.address.port())
    }

    /// Gives the device a packet of any bytes and returns what the guest is told.
    fn packet(&mut self, packet: &[u8]) -> Vec<(Header, Vec<u8>)> {
        self.guest.transmit(packet);
        self.guest.driver.wait_used(1);
        self.guest.drain()
    }

    /// Ends every socket at the ports that are tried.
    fn hang_up(&mut self) {
        for (port, kind) in (0..PORTS).flat_map(|port| [(port, STREAM), (port, CHANNEL)]) {
            self.packet(&header(port, kind, Packet::Reset, 0).to_bytes());
        }
    }

    /// No canary noticed anything, nothing was kept, and whoever keeps to the rules is served as ever.
    fn assert_unharmed(mut self) {
        self.hang_up();
        assert_eq!(self.canaries.count(), 0);
        assert_eq!(self.guest.faults(), 0);
        let there = self.allowed();
        let stream = self.guest.connect(there).unwrap();
        self.guest.say(stream, b"still there");
        assert_eq!(self.guest.read(stream, 11), b"still there");
        let channel = self.guest.open(bind(Op::Datagram, 0, 0));
        self.guest.send_to(channel, there, b"and here");
        assert_eq!(self.guest.message(channel).1, b"and here");
        let held = descriptors();
        assert!(held < self.descriptors + OTHERS, "{held} descriptors, {} before", self.descriptors);
        assert_eq!(self.guest.driver.device.stop().len(), 3);
        assert_eq!(self.canaries.count(), 0);
    }
}

/// A packet of the guest's at `port` that makes sense.
fn header(port: u32, kind: u16, op: Packet, len: usize) -> Header {
    Header {
        src_cid: GUEST_CID,
        dst_cid: HOST_CID,
        src_port: port,
        dst_port: PORT,
        len: u32::try_from(len).unwrap(),
        kind,
        op: Some(op),
        flags: 0,
        buf_alloc: 256 << 10,
        fwd_cnt: 0,
    }
}

fn request(port: u32, kind: u16, frame: &[u8]) -> Vec<u8> {
    [&header(port, kind, Packet::Request, frame.len()).to_bytes()[..], frame].concat()
}

#[test]
fn no_spelling_of_a_guarded_address_is_reached() {
    let (mut ground, _) = Ground::new(1, vec![]);
    let (port, targets) = (ground.canaries.port, guarded());
    let channel = ground.guest.open(bind(Op::Datagram, 0, 0));
    for number in 0..CANARY_TRIES {
        let address = targets[number % targets.len()];
        let remote = SocketAddr::new(address, port);
        let mut ask = connect(remote);
        (ask.id, ask.local) = (ground.chance.word(), SocketAddr::new(ground.chance.one_of(&targets), port));
        if ask.local.is_ipv4() != remote.is_ipv4() {
            ask.local = unbound(remote, port);
        }
        match ground.chance.below(3) {
            0 => assert_eq!(ground.guest.ask(STREAM, &ask.to_bytes()), Err(EACCES), "{remote}"),
            1 => {
                ground.guest.send_to(channel, remote, b"x");
                let (told, _) = ground.guest.message(channel);
                assert_eq!((told.op, u32::from(told.errno), told.remote), (Op::Error, EACCES, remote));
            }
            // IPv4 in IPv6 is no address of a frame's, and a frame of the other family none of this one.
            _ => {
                let mut bytes = ask.to_bytes();
                bytes[1] = 10 - bytes[1];
                bytes[16..32].fill(0);
                let refused = ground.guest.ask(STREAM, &bytes).unwrap_err();
                assert!([EPROTO, EACCES].contains(&refused), "{remote}: {refused}");
            }
        }
    }
    assert_eq!((ground.outside.connections(), ground.outside.datagrams()), (0, 0));
    ground.assert_unharmed();
}

#[test]
fn no_crooked_frame_reaches_what_is_guarded() {
    let (mut ground, _) = Ground::new(2, vec![]);
    let (targets, resident) = (guarded(), resident_bytes());
    let ops = [Op::Connect, Op::Accept, Op::Listen, Op::Datagram, Op::Incoming, Op::Error];
    let mut streams_outside = 0;
    for _ in 0..CANARY_TRIES {
        let remote = SocketAddr::new(ground.chance.one_of(&targets), ground.canaries.port);
        let local = unbound(remote, ground.chance.short());
        let mut bytes =
            frame(ground.chance.one_of(&ops), ground.chance.word(), local, remote).to_bytes().to_vec();
        ground.chance.spoil(&mut bytes);
        let kind = ground.chance.one_of(&[STREAM, CHANNEL]);
        let asked = bytes.as_slice().try_into().ok().and_then(Frame::parse);
        let is_open = ground.guest.ask(kind, &bytes).map(|socket| {
            let asked = asked.expect("nothing but a frame opens anything");
            if kind == STREAM {
                // The name server, and what is allowed.
                let is_served = [53, ground.outside.address.port()].contains(&asked.remote.port());
                assert!(asked.op == Op::Connect && (is_served || !is_inside(asked.remote.ip())), "{asked:?}");
                streams_outside += 1;
            } else {
                assert!([Op::Listen, Op::Datagram].contains(&asked.op), "{asked:?}");
            }
            ground.guest.send(socket, Packet::Reset, 0, &[]);
        });
        if asked.is_none() {
            assert_eq!(is_open, Err(EPROTO), "{bytes:02x?}");
        }
    }
    let outside = ground.outside.connections();
    assert!((1..=streams_outside).contains(&outside), "{outside} of {streams_outside}");
    let grown = resident_bytes().saturating_sub(resident);
    assert!(grown < 256 << 20, "{grown} bytes more");
    ground.assert_unharmed();
}

/// A packet whose every field is one of those that do harm, from a port that is used or not.
fn any_packet(chance: &mut Chance, frames: &[Vec<u8>], length: usize) -> Vec<u8> {
    let mut bytes = header(chance.word() % PORTS, STREAM, Packet::Request, 0).to_bytes();
    let (kind, op) = (chance.one_of(&KINDS), chance.one_of(&OPS));
    let payload = match chance.below(4) {
        0 => vec![],
        1 => chance.bytes(length),
        _ => frames[chance.below(frames.len())].clone(),
    };
    bytes[24..28].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    bytes[28..30].copy_from_slice(&kind.to_le_bytes());
    bytes[30..32].copy_from_slice(&op.to_le_bytes());
    for at in [32, 36, 40] {
        let number = if at == 36 && chance.below(4) > 0 { 256 << 10 } else { chance.one_of(&NUMBERS) };
        bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }
    match chance.below(16) {
        // Somebody else's context, or none's.
        0 => bytes[chance.one_of(&[0, 4, 8, 12])] ^= 1 << chance.below(8),
        // The agent's port, and others.
        1 => bytes[20..24].copy_from_slice(&chance.one_of(&NUMBERS).to_le_bytes()),
        2 => bytes[24..28].fill(0),
        _ => {}
    }
    [&bytes[..], &payload].concat()
}

#[test]
fn packets_of_every_kind_in_every_state_do_no_harm() {
    let (mut ground, _) = Ground::new(3, vec![published(Protocol::Tcp, 80), published(Protocol::Udp, 80)]);
    let resident = resident_bytes();
    let (inside, allowed) = (SocketAddr::from(([127, 0, 0, 1], ground.canaries.port)), ground.allowed());
    let mapped = gateway(false, ground.canaries.port);
    let mut frames = vec![];
    for remote in [inside, gateway(true, inside.port()), mapped, allowed, gateway(true, 53)] {
        for op in [Op::Connect, Op::Accept, Op::Listen, Op::Datagram, Op::Incoming, Op::Error] {
            let whole = frame(op, 1, unbound(remote, 80), remote).to_bytes().to_vec();
            frames.push(whole[..whole.len() - 1].to_vec());
            frames.push([&whole[..], b"payload"].concat());
            frames.push(whole);
        }
    }
    for number in 0..PACKET_TRIES {
        if number % 100 == 0 {
            ground.hang_up();
        }
        if number % 5 == 0 {
            // Something to do harm to: a stream or a channel that is allowed.
            let port = ground.chance.word() % (PORTS / 2);
            let (kind, op) = ground.chance.one_of(&[
                (STREAM, Op::Connect),
                (CHANNEL, Op::Datagram),
                (CHANNEL, Op::Listen),
            ]);
            let remote = if kind == STREAM { allowed } else { unbound(allowed, 0) };
            ground.packet(&request(port, kind, &frame(op, 4, unbound(allowed, 80), remote).to_bytes()));
        }
        let length = ground.chance.one_of(&[1, 48, 100, 4096, 65_535, 65_584]);
        let packet = any_packet(&mut ground.chance, &frames, length);
        ground.packet(&packet);
    }
    assert!(ground.outside.connections() > 100, "nothing was done harm to");
    let grown = resident_bytes().saturating_sub(resident);
    assert!(grown < 256 << 20, "{grown} bytes more");
    ground.assert_unharmed();
}

#[test]
fn forged_messages_lead_nowhere_and_end_their_channel() {
    let (mut ground, published) = Ground::new(4, vec![published(Protocol::Udp, 80)]);
    let targets = guarded();
    let mut socket = ground.guest.open(bind(Op::Datagram, 0, 80));
    let (mut ended, mut to_outside) = (0, 0);
    for _ in 0..CANARY_TRIES {
        let remote = match ground.chance.below(4) {
            0 => published[0],
            _ => SocketAddr::new(ground.chance.one_of(&targets), ground.canaries.port),
        };
        let op = ground.chance.one_of(&[Op::Datagram, Op::Datagram, Op::Datagram, Op::Error, Op::Incoming]);
        let mut bytes = frame(op, 0, unbound(remote, 80), remote).to_bytes().to_vec();
        ground.chance.spoil(&mut bytes);
        let asked = bytes.first_chunk().and_then(Frame::parse).filter(|asked| asked.op == Op::Datagram);
        to_outside += usize::from(asked.is_some_and(|asked| !is_inside(asked.remote.ip())));
        ground.guest.send(socket, Packet::ReadWrite, u32::from(ground.chance.below(8) > 0), &bytes);
        if is_reset(&mut ground, socket) {
            ended += 1;
            socket = ground.guest.open(bind(Op::Datagram, 0, 80));
        }
    }
    assert!(ended > 100, "{ended} channels ended");
    // Of what is in pieces, the end is not known here.
    assert!(
        ground.outside.datagrams() <= to_outside + ended,
        "{} of {to_outside}",
        ground.outside.datagrams()
    );
    ground.assert_unharmed();
}

/// Takes all that was said to `socket`; whether its end was among it.
fn is_reset(ground: &mut Ground, socket: Socket) -> bool {
    let mut reset = false;
    while let Some((header, _)) = ground.guest.try_next(socket, Duration::ZERO) {
        reset |= header.op == Some(Packet::Reset);
    }
    reset
}

#[test]
fn nobody_takes_a_connection_by_guessing_its_number() {
    let (mut ground, published) = Ground::new(5, vec![published(Protocol::Tcp, 80)]);
    let listener = ground.guest.open(bind(Op::Listen, 4, 80));
    let mut clients: Vec<_> = (0..2).map(|_| TcpStream::connect(published[0]).unwrap()).collect();
    let news = [ground.guest.message(listener).0, ground.guest.message(listener).0];
    let accept = |id, local| frame(Op::Accept, id, local, unbound(local, 0)).to_bytes();
    for _ in 0..2000 {
        let id = match ground.chance.below(3) {
            0 => ground.chance.word(),
            1 => ground.chance.one_of(&NUMBERS),
            _ => ground.chance.word() % 300,
        };
        if news.iter().any(|news| news.id == id) {
            continue;
        }
        let local = SocketAddr::new(news[0].local.ip(), ground.chance.short());
        assert_eq!(ground.guest.ask(STREAM, &accept(id, local)), Err(ECONNABORTED));
        assert_eq!(ground.guest.ask(CHANNEL, &accept(id, local)), Err(EPROTO));
    }
    for (news, client) in news.iter().zip(&mut clients) {
        let taken = ground.guest.ask(STREAM, &accept(news.id, news.local)).unwrap();
        assert_eq!(ground.guest.ask(STREAM, &accept(news.id, news.local)), Err(ECONNABORTED));
        client.write_all(b"for you").unwrap();
        assert_eq!(ground.guest.read(taken, 7), b"for you");
    }
    ground.assert_unharmed();
}

#[test]
fn a_packet_that_is_shorter_than_it_says_ends_the_device_and_nothing_else() {
    let mut chance = Chance(6);
    for number in 0..40 {
        let (mut ground, _) = Ground::new(7, vec![]);
        let there = SocketAddr::from(([127, 0, 0, 1], ground.canaries.port));
        let frame = connect(there).to_bytes();
        let mut packet = request(1, STREAM, &frame);
        if number % 2 == 0 {
            packet.truncate(1 + chance.below(packet.len() - 1));
        } else {
            let more = chance.one_of(&NUMBERS).max(49);
            packet[24..28].copy_from_slice(&more.to_le_bytes());
        }
        ground.guest.transmit(&packet);
        assert!(ground.guest.driver.interrupt.wait(|told| told.needs_reset), "{packet:02x?}");
        assert_eq!(ground.canaries.count(), 0);
        assert_eq!(ground.guest.driver.device.stop().len(), 3);
    }
}

#[test]
fn credit_that_is_a_lie_is_nobody_elses_loss() {
    let (mut ground, _) = Ground::new(8, vec![]);
    let (there, resident) = (ground.allowed(), resident_bytes());
    let honest = ground.guest.connect(there).unwrap();
    let liars: Vec<_> = (0..20).map(|_| ground.guest.connect(there).unwrap()).collect();
    // Each is answered with what it says, so that there is something to be had on credit.
    for number in 0..2000 {
        let liar = liars[number % liars.len()];
        let mut packet = header(liar.port, STREAM, Packet::ReadWrite, 1000);
        (packet.buf_alloc, packet.fwd_cnt) = (ground.chance.one_of(&NUMBERS), ground.chance.one_of(&NUMBERS));
        if ground.chance.below(4) == 0 {
            (packet.op, packet.len) = (Some(Packet::CreditRequest), 0);
        }
        let payload = vec![ground.chance.byte(); packet.len as usize];
        ground.guest.transmit(&[&packet.to_bytes()[..], &payload].concat());
        ground.guest.driver.wait_used(1);
        while ground.guest.try_next(liar, Duration::ZERO).is_some() {}
    }
    let grown = resident_bytes().saturating_sub(resident);
    assert!(grown < 256 << 20, "{grown} bytes more");
    ground.guest.say(honest, b"honest");
    assert_eq!(ground.guest.read(honest, 6), b"honest");
    for liar in liars.iter().chain([&honest]) {
        ground.guest.send(*liar, Packet::Reset, 0, &[]);
    }
    ground.assert_unharmed();
}
