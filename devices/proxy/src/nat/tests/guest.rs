//! A guest made by hand: frames in and out of a card with a stack behind it.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use monocore_net::{HEADER_BYTES, Header, Net, NetConfig, Segmentation};
use monocore_spec::{
    Action, Direction, LinkSpec, NatSpec, NetRule, NetTarget, PolicySpec, ProxySpec, PublishedPort, Reach,
};
use monocore_virtio::test_driver::{Part, TestDriver};
use monocore_virtio::{Rates, VirtioDevice};

use crate::Nat;
use crate::nat::wire::Head;
use crate::nat::wire::emit::{self, Ends, Fields};
use crate::nat::wire::ip::Ip;
use crate::nat::wire::tcp::Segment;

pub(super) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
pub(super) const OURS: [u8; 6] = [0x02, 0x6d, 0x6f, 0x6e, 0x6f, 0x01];
const RX: usize = 0;
const TX: usize = 1;
const BUFFER_BYTES: usize = 4096;
const BUFFERS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Guest {
    pub(super) driver: TestDriver<Net>,
    buffers: Vec<(u16, u64)>,
    tx: u64,
    seen: VecDeque<Vec<u8>>,
}

pub(super) fn rule(action: Action, target: NetTarget) -> NetRule {
    NetRule { action, direction: Direction::Out, target, ports: None, protocol: None }
}

pub(super) fn spec(rules: Vec<NetRule>, publish: Vec<PublishedPort>) -> NatSpec {
    let policy = PolicySpec { reach: Reach::Public, rules };
    NatSpec { mac: MAC, proxy: ProxySpec { policy, publish, ..ProxySpec::default() } }
}

/// A guest that may reach this host.
pub(super) fn with_host() -> Guest {
    let spec = spec(vec![rule(Action::Allow, NetTarget::Host)], vec![]);
    Guest::new(Nat::new(&spec, &[], None).unwrap())
}

impl Guest {
    pub(super) fn new(nat: Nat) -> Self {
        Self::with_features(nat, u64::MAX)
    }

    /// One that takes only `features`.
    pub(super) fn with_features(nat: Nat, features: u64) -> Self {
        Self::with_buffers(nat, features, BUFFERS)
    }

    /// One that takes only `features` and gives only so many buffers.
    pub(super) fn with_buffers(nat: Nat, features: u64, buffers: usize) -> Self {
        Self::with_card(Net::new(NetConfig { mac: MAC }, Box::new(nat)), features, buffers)
    }

    /// One whose card may move only so much.
    pub(super) fn with_rates(nat: Nat, rates: Rates) -> Self {
        let card = Net::new(NetConfig { mac: MAC }, Box::new(nat)).with_rates(rates);
        Self::with_card(card, u64::MAX, BUFFERS)
    }

    fn with_card(card: Net, features: u64, buffers: usize) -> Self {
        let features = card.features() & features;
        let mut driver = TestDriver::with_features(card, features);
        driver.start().unwrap();
        let tx = driver.alloc(80_000);
        let mut guest = Self { driver, buffers: Vec::new(), tx, seen: VecDeque::new() };
        guest.give_more(buffers);
        guest
    }

    /// Gives so many buffers more.
    pub(super) fn give_more(&mut self, buffers: usize) {
        for _ in 0..buffers {
            let addr = self.driver.alloc(BUFFER_BYTES);
            self.give(addr);
        }
        self.driver.queues[RX].kick();
    }

    fn give(&mut self, addr: u64) {
        let head = self.driver.queues[RX].add(&[Part::writable(addr, BUFFER_BYTES)]);
        self.buffers.push((head, addr));
    }

    /// Sends a frame and waits until the card has taken it.
    pub(super) fn send(&mut self, frame: &[u8]) {
        let header = Header { checksum: Some((34, 16)), ..Header::default() }.to_bytes(0);
        self.transmit(&[&header[..], frame].concat());
        self.driver.wait_used(TX);
    }

    /// Sends several datagrams in one frame, to be cut at each `each` bytes of their payload.
    pub(super) fn send_segments(&mut self, frame: &[u8], each: u16) {
        let header =
            Header { checksum: Some((34, 6)), segments: Some((Segmentation::Udp, each)), headers_bytes: 42 };
        self.transmit(&[&header.to_bytes(0)[..], frame].concat());
        self.driver.wait_used(TX);
    }

    /// Gives the card any bytes, header and all.
    pub(super) fn transmit(&mut self, bytes: &[u8]) {
        self.driver.overwrite(self.tx, bytes);
        self.driver.queues[TX].add(&[Part::readable(self.tx, bytes.len())]);
        self.driver.queues[TX].kick();
    }

    /// The next frame, header and all, if one comes in time.
    pub(super) fn next(&mut self, patience: Duration) -> Option<Vec<u8>> {
        let end = Instant::now() + patience;
        loop {
            if let Some(frame) = self.seen.pop_front() {
                return Some(frame);
            }
            self.collect();
            if self.seen.is_empty() {
                if Instant::now() > end {
                    return None;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn collect(&mut self) {
        let mut frame: Vec<u8> = Vec::new();
        let mut left = 0;
        loop {
            let Some((head, written)) = self.driver.queues[RX].take_used() else {
                assert_eq!(left, 0, "a frame's buffers come together");
                break;
            };
            let at = self.buffers.iter().position(|(other, _)| *other == head).unwrap();
            let (_, addr) = self.buffers.swap_remove(at);
            let bytes = self.driver.get(addr, written as usize);
            if frame.is_empty() {
                left = u16::from_le_bytes([bytes[10], bytes[11]]);
            }
            frame.extend(bytes);
            self.give(addr);
            left -= 1;
            if left == 0 {
                self.seen.push_back(std::mem::take(&mut frame));
            }
        }
        self.driver.queues[RX].kick();
    }

    /// The next frame that is a TCP segment, and its payload.
    pub(super) fn segment(&mut self) -> (Segment, Vec<u8>) {
        loop {
            let frame = self.next(PATIENCE).expect("a segment");
            if let Some((_, segment, payload)) = parse_segment(&frame) {
                return (segment, payload);
            }
        }
    }

    /// The next frame that is an ICMP or ICMPv6 message: its type and code.
    pub(super) fn icmp(&mut self) -> (u8, u8) {
        loop {
            let frame = self.next(PATIENCE).expect("a message");
            let (head, kind) = head(&frame);
            let Some(ip) = Ip::parse(&head, kind) else { continue };
            if matches!(ip.protocol, 1 | 58) {
                return (head.bytes[ip.payload_at], head.bytes[ip.payload_at + 1]);
            }
        }
    }
}

fn head(frame: &[u8]) -> (Head<'_>, u16) {
    let bytes = &frame[HEADER_BYTES..];
    let head = Head { bytes, frame_bytes: bytes.len() };
    let kind = head.ethernet().unwrap().0;
    (head, kind)
}

pub(super) fn parse_segment(frame: &[u8]) -> Option<(Ip, Segment, Vec<u8>)> {
    let (head, kind) = head(frame);
    let ip = Ip::parse(&head, kind).filter(|ip| ip.protocol == 6)?;
    let segment = Segment::parse(&head, &ip)?;
    let payload = head.bytes[segment.payload_at..segment.payload_at + segment.payload_bytes].to_vec();
    Some((ip, segment, payload))
}

pub(super) fn ends() -> Ends {
    Ends { ours: MAC, guest: OURS }
}

pub(super) fn guest_address(like: IpAddr, port: u16) -> SocketAddr {
    let link = LinkSpec::default();
    SocketAddr::new(if like.is_ipv4() { link.guest_v4.into() } else { link.guest_v6.into() }, port)
}

pub(super) fn gateway(v4: bool, port: u16) -> SocketAddr {
    let link = LinkSpec::default();
    SocketAddr::new(if v4 { link.gateway_v4.into() } else { link.gateway_v6.into() }, port)
}

/// A datagram of the guest's.
pub(super) fn datagram(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    emit::udp(&mut frame, ends(), from, to, payload.len());
    frame.extend(payload);
    frame
}

/// The guest's end of a connection, every step of it a test's.
pub(super) struct Peer {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) next: u32,
    pub(super) expected: u32,
    pub(super) window: u16,
}

impl Peer {
    pub(super) fn new(remote: SocketAddr) -> Self {
        Self { local: guest_address(remote.ip(), 40_000), remote, next: 1000, expected: 0, window: 60_000 }
    }

    pub(super) fn frame(&self, flags: u8, payload: &[u8]) -> Vec<u8> {
        let syn = flags & 2 != 0;
        let fields = Fields {
            sequence: self.next,
            acknowledged: self.expected,
            flags,
            window: self.window,
            max_segment: syn.then_some(1460),
            scale: syn.then_some(0),
        };
        let mut frame = Vec::new();
        emit::tcp(&mut frame, ends(), self.local, self.remote, fields, payload.len());
        frame.extend(payload);
        frame
    }

    pub(super) fn say(&mut self, guest: &mut Guest, flags: u8, payload: &[u8]) {
        guest.send(&self.frame(flags, payload));
        let count = payload.len() + usize::from(flags & 2 != 0) + usize::from(flags & 1 != 0);
        self.next = self.next.wrapping_add(u32::try_from(count).unwrap());
    }

    /// Connects, to the last acknowledgement.
    pub(super) fn connect(&mut self, guest: &mut Guest) {
        self.say(guest, 2, b"");
        let (answer, _) = guest.segment();
        assert_eq!((answer.flags, answer.acknowledged), (0x12, self.next));
        self.expected = answer.sequence.wrapping_add(1);
        self.say(guest, 0x10, b"");
    }

    /// Takes in payload until there are `count` bytes, acknowledging each segment.
    pub(super) fn receive(&mut self, guest: &mut Guest, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < count {
            let (segment, payload) = guest.segment();
            assert_eq!(segment.flags & 4, 0, "a reset");
            if payload.is_empty() {
                continue;
            }
            if segment.sequence == self.expected {
                self.expected = self.expected.wrapping_add(u32::try_from(payload.len()).unwrap());
                all.extend(payload);
            }
            self.say(guest, 0x10, b"");
        }
        all
    }
}
