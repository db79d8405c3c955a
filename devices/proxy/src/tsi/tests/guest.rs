//! A guest made by hand: frames, streams and messages through a socket device with the front end behind it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use monocore_hypervisor::Event;
use monocore_spec::{
    Action, Direction, LinkSpec, NetLimits, NetRule, NetTarget, PolicySpec, Protocol, ProxySpec,
    PublishedPort, Reach,
};
use monocore_virtio::test_driver::{Part, TestDriver};
use monocore_virtio::{Rates, VirtioDevice};
use monocore_vsock::{Accepted, Backend, Header, Limits, Op as Packet, Vsock};

use crate::Tsi;
use crate::tsi::{Frame, Op, PORT};

const RX: usize = 0;
const TX: usize = 1;
const HEADER_BYTES: usize = 44;
const BUFFER_BYTES: usize = 4096;
const BUFFERS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(10);
pub(super) const STREAM: u16 = 1;
pub(super) const CHANNEL: u16 = 2;
pub(super) const SHUT_SEND: u32 = 2;
pub(super) const SHUT_BOTH: u32 = 3;
const END_OF_MESSAGE: u32 = 1;

/// Ports of the host that lead nowhere.
struct Nobody(Event);

impl Backend for Nobody {
    fn dial(&mut self, _port: u32) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    fn incoming(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0)
    }

    fn accept(&mut self) -> Accepted {
        Accepted::Nothing
    }
}

/// One socket of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Socket {
    pub(super) kind: u16,
    pub(super) port: u32,
}

#[derive(Default)]
struct State {
    seen: VecDeque<(Header, Vec<u8>)>,
    received: u32,
    told: u32,
}

pub(super) struct Guest {
    pub(super) driver: TestDriver<Vsock>,
    buffers: HashMap<u16, u64>,
    tx: u64,
    sockets: HashMap<u32, State>,
    next_port: u32,
    /// Room granted to the host for each socket, in bytes.
    pub(super) grant: u32,
    /// What was read is taken out of that room at once.
    pub(super) takes: bool,
}

pub(super) fn allow_host() -> NetRule {
    NetRule {
        action: Action::Allow,
        direction: Direction::Out,
        target: NetTarget::Host,
        ports: None,
        protocol: None,
    }
}

pub(super) fn published(protocol: Protocol, guest_port: u16) -> PublishedPort {
    PublishedPort { address: [127, 0, 0, 1].into(), host_port: 0, guest_port, protocol }
}

/// What a guest with these may do, and no more than 64 connections.
pub(super) fn spec(rules: Vec<NetRule>, publish: Vec<PublishedPort>) -> ProxySpec {
    let policy = PolicySpec { reach: Reach::Public, rules };
    let limits = NetLimits { connections: 64, ..NetLimits::default() };
    ProxySpec { policy, publish, limits, ..ProxySpec::default() }
}

/// A guest that may reach this host.
pub(super) fn with_host() -> Guest {
    Guest::new(Tsi::new(&spec(vec![allow_host()], vec![]), &[], None).unwrap())
}

/// A port of this host as the guest knows it.
pub(super) fn gateway(v4: bool, port: u16) -> SocketAddr {
    let link = LinkSpec::default();
    let address = if v4 { link.gateway_v4.into() } else { link.gateway_v6.into() };
    SocketAddr::new(address, port)
}

pub(super) fn frame(op: Op, id: u32, local: SocketAddr, remote: SocketAddr) -> Frame {
    Frame { op, errno: 0, id, local, remote }
}

/// Asks for a stream to `remote`.
pub(super) fn connect(remote: SocketAddr) -> Frame {
    frame(Op::Connect, 0, unbound(remote, 0), remote)
}

/// Opens a channel for what comes to `port`.
pub(super) fn bind(op: Op, id: u32, port: u16) -> Frame {
    let local = SocketAddr::from(([0; 4], port));
    frame(op, id, local, unbound(local, 0))
}

pub(super) fn unbound(like: SocketAddr, port: u16) -> SocketAddr {
    if like.is_ipv4() { SocketAddr::from(([0; 4], port)) } else { SocketAddr::from(([0; 16], port)) }
}

impl Guest {
    pub(super) fn new(tsi: Tsi) -> Self {
        Self::with_rates(tsi, Rates::default())
    }

    /// One that may move only so much.
    pub(super) fn with_rates(tsi: Tsi, rates: Rates) -> Self {
        let limits = Limits { connections: 100, ..Limits::default() };
        let device = Vsock::new(3, Box::new(Nobody(Event::new().unwrap())), limits);
        let mut driver = TestDriver::new(device.with_front(PORT, Box::new(tsi)).with_rates(rates));
        driver.start().unwrap();
        let tx = driver.alloc(HEADER_BYTES + 70_000);
        let mut guest = Self {
            driver,
            buffers: HashMap::new(),
            tx,
            sockets: HashMap::new(),
            next_port: 1000,
            grant: 256 << 10,
            takes: true,
        };
        guest.post(BUFFERS);
        guest
    }

    /// Gives the device `count` receive buffers.
    pub(super) fn post(&mut self, count: usize) {
        for _ in 0..count {
            let addr = self.driver.alloc(BUFFER_BYTES);
            self.give(addr);
        }
        self.driver.queues[RX].kick();
    }

    fn give(&mut self, addr: u64) {
        let head = self.driver.queues[RX].add(&[Part::writable(addr, BUFFER_BYTES)]);
        self.buffers.insert(head, addr);
    }

    /// A socket that nothing was said of.
    pub(super) fn socket(&mut self, kind: u16) -> Socket {
        self.next_port += 1;
        self.sockets.insert(self.next_port, State::default());
        Socket { kind, port: self.next_port }
    }

    /// Sends a packet with `bytes` behind it, and waits until the device has taken it.
    pub(super) fn send(&mut self, socket: Socket, op: Packet, flags: u32, bytes: &[u8]) {
        let header = Header { len: bytes.len().try_into().unwrap(), ..self.header(socket, op, flags) };
        self.transmit(&[&header.to_bytes()[..], bytes].concat());
        self.driver.wait_used(TX);
    }

    /// A packet's header, with nothing behind it.
    pub(super) fn header(&mut self, socket: Socket, op: Packet, flags: u32) -> Header {
        let state = self.sockets.get_mut(&socket.port).unwrap();
        state.told = state.received;
        Header {
            src_cid: 3,
            dst_cid: 2,
            src_port: socket.port,
            dst_port: PORT,
            len: 0,
            kind: socket.kind,
            op: Some(op),
            flags,
            buf_alloc: self.grant,
            fwd_cnt: if self.takes { state.received } else { 0 },
        }
    }

    /// Gives the device a packet of any bytes.
    pub(super) fn transmit(&mut self, packet: &[u8]) {
        self.driver.overwrite(self.tx, packet);
        self.driver.queues[TX].add(&[Part::readable(self.tx, packet.len())]);
        self.driver.queues[TX].kick();
    }

    pub(super) fn say(&mut self, socket: Socket, bytes: &[u8]) {
        self.send(socket, Packet::ReadWrite, 0, bytes);
    }

    /// Asks for what `frame` says; gives the socket, or the error.
    pub(super) fn ask(&mut self, kind: u16, frame: &[u8]) -> Result<Socket, u32> {
        let socket = self.socket(kind);
        self.send(socket, Packet::Request, 0, frame);
        let (answer, _) = self.next(socket);
        match answer.op {
            Some(Packet::Response) => Ok(socket),
            Some(Packet::Reset) => Err(answer.flags),
            op => panic!("{op:?}"),
        }
    }

    pub(super) fn connect(&mut self, remote: SocketAddr) -> Result<Socket, u32> {
        self.ask(STREAM, &connect(remote).to_bytes())
    }

    pub(super) fn open(&mut self, frame: Frame) -> Socket {
        self.ask(CHANNEL, &frame.to_bytes()).unwrap()
    }

    /// Sends a datagram over a channel.
    pub(super) fn send_to(&mut self, socket: Socket, remote: SocketAddr, payload: &[u8]) {
        let frame = frame(Op::Datagram, 0, unbound(remote, 0), remote).to_bytes();
        self.send(socket, Packet::ReadWrite, END_OF_MESSAGE, &[&frame[..], payload].concat());
    }

    /// The next packet to `socket`.
    pub(super) fn next(&mut self, socket: Socket) -> (Header, Vec<u8>) {
        self.try_next(socket, PATIENCE).expect("nothing came")
    }

    pub(super) fn try_next(&mut self, socket: Socket, patience: Duration) -> Option<(Header, Vec<u8>)> {
        let end = Instant::now() + patience;
        loop {
            self.collect();
            let state = self.sockets.get_mut(&socket.port)?;
            if let Some(packet) = state.seen.pop_front() {
                if self.takes {
                    state.received = state.received.wrapping_add(packet.0.len);
                }
                if state.received.wrapping_sub(state.told) > self.grant / 2 {
                    self.send(socket, Packet::CreditUpdate, 0, &[]);
                }
                return Some(packet);
            }
            if Instant::now() > end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The next `count` bytes of a stream.
    pub(super) fn read(&mut self, socket: Socket, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < count {
            let (header, bytes) = self.next(socket);
            if header.op == Some(Packet::CreditUpdate) {
                continue;
            }
            assert_eq!((header.op, header.kind), (Some(Packet::ReadWrite), STREAM), "{header:?}");
            all.extend(bytes);
        }
        all
    }

    /// The next packet but for grants.
    pub(super) fn event(&mut self, socket: Socket) -> (Option<Packet>, u32) {
        loop {
            let (header, _) = self.next(socket);
            if header.op != Some(Packet::CreditUpdate) {
                return (header.op, header.flags);
            }
        }
    }

    /// The next message on a channel.
    pub(super) fn message(&mut self, socket: Socket) -> (Frame, Vec<u8>) {
        self.try_message(socket, PATIENCE).expect("no message")
    }

    pub(super) fn try_message(&mut self, socket: Socket, patience: Duration) -> Option<(Frame, Vec<u8>)> {
        let mut all = Vec::new();
        loop {
            let (header, bytes) = self.try_next(socket, patience)?;
            if header.op == Some(Packet::CreditUpdate) {
                continue;
            }
            assert_eq!((header.op, header.kind), (Some(Packet::ReadWrite), CHANNEL), "{header:?}");
            all.extend(bytes);
            if header.flags & END_OF_MESSAGE != 0 {
                let payload = all.split_off(48);
                let frame = Frame::parse(all.as_slice().try_into().unwrap()).expect("a frame");
                return Some((frame, payload));
            }
        }
    }

    fn collect(&mut self) {
        for (header, payload) in self.drain() {
            assert_eq!((header.src_port, header.len as usize), (PORT, payload.len()));
            let socket = self.sockets.get_mut(&header.dst_port).expect("a socket of ours");
            socket.seen.push_back((header, payload));
        }
    }

    /// All packets that are there, whosever.
    pub(super) fn drain(&mut self) -> Vec<(Header, Vec<u8>)> {
        let mut packets = Vec::new();
        while let Some((head, written)) = self.driver.queues[RX].take_used() {
            let addr = self.buffers.remove(&head).unwrap();
            let mut bytes = self.driver.get(addr, written as usize);
            let payload = bytes.split_off(HEADER_BYTES);
            packets.push((Header::parse(bytes.as_slice().try_into().unwrap()), payload));
            self.give(addr);
        }
        if !packets.is_empty() {
            self.driver.queues[RX].kick();
        }
        packets
    }

    /// What the device counts.
    pub(super) fn faults(&self) -> u64 {
        self.driver.device.metrics().guest_faults.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(super) fn pause(&mut self) {
        let states = self.driver.device.stop();
        self.driver.start_with(&states).unwrap();
    }
}
