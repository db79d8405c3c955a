//! Frames and packets of a guest whose sockets are carried, in arbitrary order: requests, messages whole and in pieces,
//! credit lies, memory to be filled, resets; the guest gives buffers or withholds them. Nobody but the guest's own service at a published port is
//! within its reach: whatever it says, a listener on this host's loopback hears of nobody.

#![no_main]

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use monocore_hypervisor::Event;
use monocore_proxy::Tsi;
use monocore_proxy::tsi::{self, Frame, Op};
use monocore_spec::{
    Action, Direction, LinkSpec, NetLimits, NetRule, NetTarget, PolicySpec, PortRange, Protocol, ProxySpec,
    PublishedPort, Reach,
};
use monocore_virtio::VirtioDevice;
use monocore_virtio::test_driver::{Part, TestDriver};
use monocore_vsock::{Accepted, Backend, FRAME_BYTES, Header, Limits, Op as Packet, Vsock};

/// Packets of one input.
const MOST_PACKETS: usize = 64;
/// The port of the guest that is published.
const PUBLISHED: u16 = 80;

/// Who must never be reached, by connection or by datagram.
struct Canary {
    stream: TcpListener,
    datagram: UdpSocket,
    port: u16,
}

fn canary() -> &'static Canary {
    static CANARY: OnceLock<Canary> = OnceLock::new();
    CANARY.get_or_init(|| {
        let bound =
            std::iter::repeat_with(|| TcpListener::bind("127.0.0.1:0")).take(100).find_map(|stream| {
                let stream = stream.ok()?;
                let datagram = UdpSocket::bind(stream.local_addr().ok()?).ok()?;
                Some((stream, datagram))
            });
        let (stream, datagram) = bound.expect("a free port");
        stream.set_nonblocking(true).expect("a listener that does not wait");
        datagram.set_nonblocking(true).expect("a socket that does not wait");
        let port = stream.local_addr().expect("an address").port();
        Canary { stream, datagram, port }
    })
}

/// Ports of the host that lead nowhere.
struct Nobody(Event);

impl Backend for Nobody {
    fn dial(&mut self, _port: u32) -> io::Result<OwnedFd> {
        Err(ErrorKind::ConnectionRefused.into())
    }

    fn incoming(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn accept(&mut self) -> Accepted {
        Accepted::Nothing
    }
}

/// The next `N` bytes of the input; zeroes where it ends.
fn take<const N: usize>(input: &mut &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    let count = N.min(input.len());
    let (head, tail) = input.split_at(count);
    bytes[..count].copy_from_slice(head);
    *input = tail;
    bytes
}

/// A front end that may reach this host at port 9 only, where nobody is, and lets clients in.
fn front() -> Tsi {
    let rule = NetRule {
        action: Action::Allow,
        direction: Direction::Out,
        target: NetTarget::Host,
        ports: Some(PortRange { first: 9, last: 9 }),
        protocol: None,
    };
    let port = |protocol| PublishedPort {
        address: Ipv4Addr::LOCALHOST.into(),
        host_port: 0,
        guest_port: PUBLISHED,
        protocol,
    };
    let spec = ProxySpec {
        policy: PolicySpec { reach: Reach::None, rules: vec![rule] },
        publish: vec![port(Protocol::Tcp), port(Protocol::Udp)],
        limits: NetLimits { connections: 4, ..NetLimits::default() },
        ..ProxySpec::default()
    };
    Tsi::new(&spec, &[], None).expect("a front end")
}

/// Addresses that lead to this host if anything does, and some that lead elsewhere.
fn address(choice: u8) -> IpAddr {
    let link = LinkSpec::default();
    match choice % 10 {
        0 => link.gateway_v4.into(),
        1 => link.gateway_v6.into(),
        2 => Ipv4Addr::LOCALHOST.into(),
        3 => Ipv6Addr::LOCALHOST.into(),
        4 => Ipv4Addr::UNSPECIFIED.into(),
        5 => Ipv6Addr::UNSPECIFIED.into(),
        6 => link.guest_v4.into(),
        7 => Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0x7f00, 1).into(),
        8 => Ipv4Addr::BROADCAST.into(),
        _ => Ipv4Addr::new(169, 254, 169, 254).into(),
    }
}

/// A frame that mostly is one.
fn frame(input: &mut &[u8]) -> [u8; FRAME_BYTES] {
    let [shape, op, to, port, id] = take(input);
    if shape & 7 == 7 {
        return take(input);
    }
    let op =
        [Op::Connect, Op::Accept, Op::Listen, Op::Datagram, Op::Incoming, Op::Error][usize::from(op % 6)];
    let remote = SocketAddr::new(address(to), [canary().port, 9, 53, PUBLISHED][usize::from(port & 3)]);
    let local =
        if remote.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let local = SocketAddr::new(local, if port & 4 == 0 { 0 } else { PUBLISHED });
    let mut bytes = Frame { op, errno: 0, id: u32::from(id & 15), local, remote }.to_bytes();
    if shape & 0x70 == 0x70 {
        let [at, value] = take(input);
        bytes[usize::from(at) % FRAME_BYTES] = value;
    }
    bytes
}

/// A packet that mostly belongs to one of four sockets.
fn packet(input: &mut &[u8]) -> Vec<u8> {
    let [kind, op, port, flags, credit, len] = take(input);
    let op = match op % 12 {
        0..=3 => Packet::Request,
        4..=6 => Packet::ReadWrite,
        7 => Packet::Shutdown,
        8 => Packet::Reset,
        9 => Packet::Read,
        10 => Packet::Cancel,
        _ => [Packet::Response, Packet::CreditUpdate, Packet::CreditRequest][usize::from(flags >> 4) % 3],
    };
    let mut payload = match op {
        Packet::Request | Packet::ReadWrite if kind & 0x40 == 0 => frame(input).to_vec(),
        _ => Vec::new(),
    };
    if op == Packet::ReadWrite || kind & 0x30 == 0x30 {
        payload.resize(payload.len() + (usize::from(len) << (flags >> 4 & 7)), 7);
    }
    let header = Header {
        src_cid: 3,
        dst_cid: 2,
        src_port: u32::from(port & 3),
        dst_port: if port & 0xf0 == 0xf0 { 1 } else { tsi::PORT },
        len: u32::try_from(payload.len()).unwrap_or(0),
        kind: if kind & 0x0f == 0x0f { 3 } else { 1 + u16::from(kind & 1) },
        op: Some(op),
        flags: u32::from(flags & 7),
        buf_alloc: u32::from(credit) << (credit % 24),
        fwd_cnt: u32::from(kind >> 6) << 6,
    };
    [&header.to_bytes()[..], &payload].concat()
}

fuzz_target!(|input: &[u8]| {
    let mut input = input;
    let front = front();
    let published = front.published();
    let backend = Box::new(Nobody(Event::new().expect("a free descriptor")));
    let limits = Limits { connections: 8, window_budget_bytes: 1 << 20 };
    let mut driver = TestDriver::new(Vsock::new(3, backend, limits).with_front(tsi::PORT, Box::new(front)));
    let mut states: Vec<_> = driver.queues.iter().map(|queue| queue.fresh_state()).collect();
    let (mut packets, mut clients) = (0, Vec::new());
    while !input.is_empty() && packets < MOST_PACKETS {
        let [round] = take(&mut input);
        for _ in 0..round & 7 {
            if driver.queues[0].free() > 0 {
                let addr = driver.alloc(1024);
                driver.queues[0].add(&[Part::writable(addr, 1024)]);
            }
        }
        for _ in 0..=round >> 6 {
            let bytes = packet(&mut input);
            let addr = driver.put(&bytes);
            let mut parts = vec![Part::readable(addr, bytes.len())];
            if round & 8 != 0 {
                // Memory for what a stream brings.
                parts.push(Part::writable(driver.alloc(64), 64));
            }
            if driver.queues[1].free() >= parts.len() {
                driver.queues[1].add(&parts);
            }
            packets += 1;
        }
        if round & 0x10 != 0 {
            clients.extend(TcpStream::connect(published[0].0));
        }
        if round & 0x20 != 0 {
            let client = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            client.send_to(b"to the guest", published[1].0).expect("a published port is open");
        }
        driver.start_with(&states).expect("the device starts");
        if round & 0x38 != 0 {
            // A start serves what the guest has sent; sockets have their turn after it.
            std::thread::sleep(Duration::from_micros(300));
        }
        states = driver.device.stop();
        assert_eq!(states.len(), 3, "the worker is lost");
        for queue in &mut driver.queues {
            while queue.take_used().is_some() {}
        }
    }
    assert!(!driver.interrupt.needs_reset(), "frames alone break no rule");
    assert!(canary().stream.accept().is_err(), "the canary was connected to");
    assert!(canary().datagram.recv_from(&mut [0; 1]).is_err(), "the canary was sent something");
});
