//! The guest's own sockets, carried by its socket device: no network stack twice.
//!
//! Our guest kernel keeps its sockets and their loopback, and hands over what would leave the guest. A TCP socket is a stream
//! of the device's, whose other end is a socket of this host; a UDP socket and one that listens are channels, on which
//! datagrams and the news of connections are messages behind a [`Frame`]. The engine decides as it does for [`Nat`](crate::Nat),
//! which has the same names, ports and addresses.
//!
//! It runs on the socket device's worker thread and keeps no payload; the device does, of a stream that a name let be, until
//! its beginning was judged. The guest is hostile: what is no frame is refused, or ends its channel; every stream, every
//! datagram's flow and every connection that waits counts as one of those the engine allows.
//!
//! System calls of the worker: `socket`, `connect`, `accept4`, `sendmsg`, `sendto`, `recvmsg`, `recvfrom`, `shutdown`,
//! `getsockopt`, `setsockopt`, `socketpair`, `getrandom`, `epoll_ctl`, `close`, `write` and `ftruncate` for receipts.

mod datagrams;
mod frame;
mod listeners;
mod peers;

use std::collections::HashMap;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Instant;

use monocore_spec::{BoundPort, GroupAddress, Protocol, ProxySpec};
use monocore_virtio::{Poller, Ready, ServiceError};
use monocore_vsock::{Channel, Channels, Dialed, FRAME_BYTES, Front, Inspection, Message};
use rustix::io::Errno;

use crate::dns::{self, Forwarder};
use crate::engine::{Beginning, Engine};
use crate::flows::Flows;
use crate::inbound::Inbound;
use crate::parts::{self, Parts, ProxyError};
use crate::peers::Peers;
use crate::policy::{Decision, Reason};
use crate::ports::PortsHandle;
use crate::sockets::{Begun, dial};
use crate::token::{
    TOKEN_DNS_STREAM, TOKEN_DNS_UPSTREAM, TOKEN_FLOW, TOKEN_HOST, TOKEN_LISTENER, TOKEN_PEER_LINE,
    TOKEN_PEER_LINK, split,
};
pub use frame::{Frame, Op};
use listeners::Waiting;

/// The port of the host at which the guest's kernel asks.
pub const PORT: u32 = 1025;

/// What a channel is for.
#[derive(Debug)]
struct Socket {
    protocol: Protocol,
    /// Where it is bound in the guest; unspecified with port 0 where it is not.
    local: SocketAddr,
    /// Tells it apart from others whose channel had the same number.
    serial: u64,
    /// How many connections may wait to be accepted, and how many do.
    backlog: usize,
    waiting: usize,
}

/// Who asks for a name, by datagram.
#[derive(Clone, Copy, Debug)]
struct DnsClient {
    channel: Channel,
    serial: u64,
    server: SocketAddr,
}

/// The front end.
#[derive(Debug)]
pub struct Tsi {
    engine: Engine,
    dns: Forwarder<DnsClient>,
    inbound: Inbound,
    flows: Flows<Channel>,
    sockets: HashMap<Channel, Socket>,
    /// Those that are bound, by protocol and port.
    bound: HashMap<(Protocol, u16), Vec<Channel>>,
    waiting: Waiting,
    next_serial: u64,
}

impl Tsi {
    /// The front end that `spec` describes, which asks `resolvers` for names and writes receipts to `receipts`. Published
    /// ports are bound here.
    ///
    /// # Errors
    /// [`ProxyError`].
    pub fn new(spec: &ProxySpec, resolvers: &[IpAddr], receipts: Option<File>) -> Result<Self, ProxyError> {
        let Parts { engine, dns, inbound } = Parts::new(spec, resolvers, receipts)?;
        Ok(Self {
            engine,
            dns,
            inbound,
            flows: Flows::default(),
            sockets: HashMap::new(),
            bound: HashMap::new(),
            waiting: Waiting::default(),
            next_serial: 0,
        })
    }

    /// Publishes `port` through `socket`, which is it. Before the device starts.
    ///
    /// # Errors
    /// [`ProxyError::Bound`].
    pub fn publish(&mut self, port: BoundPort, socket: OwnedFd) -> Result<(), ProxyError> {
        self.inbound.add(parts::bound(port, socket)?);
        Ok(())
    }

    /// Makes the guest a member of `groups`; `line` leads to the supervisor. Before the device starts.
    pub fn join(&mut self, groups: &[GroupAddress], line: OwnedFd) {
        self.engine.peers = Peers::new(groups.to_vec(), line);
    }

    /// The way to add and remove published ports while the device runs.
    pub fn ports(&self) -> PortsHandle {
        self.inbound.handle()
    }

    /// Where published ports are bound: this host's address and the guest's port.
    pub fn published(&self) -> Vec<(SocketAddr, u16)> {
        self.inbound.published()
    }

    /// The guest connects to `remote`.
    fn dial(&mut self, local: SocketAddr, remote: SocketAddr, poller: &Poller) -> Result<Dialed, Errno> {
        if self.is_name_server(remote) {
            return self.dns.accept(poller).map(connected).ok_or(Errno::NOBUFS);
        }
        if self.engine.guest(remote.ip()) == remote.ip() {
            // The guest's kernel finds itself; this would be somebody else who has the same address.
            return Err(Errno::HOSTUNREACH);
        }
        let route = self.engine.outbound(Protocol::Tcp, remote, Instant::now()).map_err(refusal)?;
        if let Some(own) = route.peer {
            let end = self.engine.peers.dial(poller, Protocol::Tcp, (own, local.port()), remote)?;
            return Ok(Dialed { socket: end.socket, connecting: true, inspected: false, fate: end.fate });
        }
        match dial(route.target) {
            Ok(Begun::Connected(socket)) => Ok(Dialed { inspected: route.inspected, ..connected(socket) }),
            Ok(Begun::UnderWay(socket) | Begun::Peer(socket)) => {
                Ok(Dialed { connecting: true, inspected: route.inspected, ..connected(socket) })
            }
            // Not the guest's descriptors.
            Err(Errno::MFILE | Errno::NFILE) => Err(Errno::NOBUFS),
            Err(errno) => Err(errno),
        }
    }

    fn is_name_server(&self, remote: SocketAddr) -> bool {
        remote.port() == dns::PORT && self.engine.is_gateway(remote.ip())
    }

    /// Of the guest's sockets of `protocol` that would hear what comes to `guest`, the one that says it most exactly.
    fn socket_at(&self, protocol: Protocol, guest: SocketAddr) -> Option<Channel> {
        let bound = self.bound.get(&(protocol, guest.port()))?;
        let rank = |channel: &Channel| self.sockets.get(channel).and_then(|socket| fit(socket.local, guest));
        bound.iter().filter_map(|channel| Some((rank(channel)?, *channel))).max().map(|(_, channel)| channel)
    }
}

/// A socket whose bytes may flow.
fn connected(socket: OwnedFd) -> Dialed {
    Dialed { socket, connecting: false, inspected: false, fate: None }
}

/// What the guest is told of a decision against it.
fn refusal(decision: Decision) -> Errno {
    if decision.reason == Reason::Limit { Errno::NOBUFS } else { Errno::ACCESS }
}

/// How exactly a socket bound to `local` is meant by `guest`; nothing where it is not.
fn fit(local: SocketAddr, guest: SocketAddr) -> Option<u8> {
    match local.ip() {
        address if address == guest.ip() => Some(2),
        address if address.is_unspecified() && address.is_ipv4() == guest.is_ipv4() => Some(1),
        // An IPv6 socket hears IPv4 as well, unless it says otherwise; then the guest's kernel drops it.
        address if address.is_unspecified() && address.is_ipv6() => Some(0),
        _ => None,
    }
}

impl Front for Tsi {
    fn begin(&mut self, poller: &Poller) -> Result<(), ServiceError> {
        self.flows.begin(poller)?;
        self.inbound.begin(poller)?;
        self.engine.begin(poller)?;
        self.waiting.begin();
        self.dns.reset();
        self.dns.look_for_translators(&mut self.engine, poller, Instant::now());
        Ok(())
    }

    fn connect(&mut self, frame: &[u8; FRAME_BYTES], poller: &Poller) -> Result<Dialed, Errno> {
        let frame = Frame::parse(frame).ok_or(Errno::PROTO)?;
        let dialed = match frame.op {
            Op::Connect => self.dial(frame.local, frame.remote, poller)?,
            // It counts already.
            Op::Accept => return self.accept(frame.id),
            _ => return Err(Errno::PROTO),
        };
        self.engine.opened();
        Ok(dialed)
    }

    fn inspect(&mut self, frame: &[u8; FRAME_BYTES], bytes: &[u8], ended: bool) -> Inspection {
        let Some(frame) = Frame::parse(frame) else { return Inspection::Refuse(Errno::PROTO) };
        match self.engine.beginning(frame.remote, bytes, ended) {
            Beginning::Hold => Inspection::Hold,
            Beginning::Pass => Inspection::Pass,
            Beginning::Refuse => Inspection::Refuse(Errno::CONNRESET),
        }
    }

    fn disconnected(&mut self) {
        self.engine.closed();
    }

    fn open(&mut self, channel: Channel, frame: &[u8; FRAME_BYTES], _: &Poller) -> Result<(), Errno> {
        let frame = Frame::parse(frame).ok_or(Errno::PROTO)?;
        let protocol = match frame.op {
            Op::Listen if frame.local.port() != 0 => Protocol::Tcp,
            Op::Datagram => Protocol::Udp,
            _ => return Err(Errno::PROTO),
        };
        self.next_serial += 1;
        let backlog = listeners::backlog(frame.id);
        let socket = Socket { protocol, local: frame.local, serial: self.next_serial, backlog, waiting: 0 };
        self.sockets.insert(channel, socket);
        if frame.local.port() != 0 {
            self.bound.entry((protocol, frame.local.port())).or_default().push(channel);
        }
        self.resume_port(protocol, frame.local.port());
        Ok(())
    }

    fn message(
        &mut self,
        channel: Channel,
        message: &Message<'_, '_>,
        channels: &mut Channels<'_, '_>,
        poller: &Poller,
    ) -> Result<(), ServiceError> {
        let is_udp = self.sockets.get(&channel).is_some_and(|socket| socket.protocol == Protocol::Udp);
        match Frame::parse(&message.frame).filter(|frame| is_udp && frame.op == Op::Datagram) {
            Some(frame) => self.send(channel, frame.remote, &message.payload, channels, poller),
            None => {
                channels.reset(channel, Errno::PROTO);
                Ok(())
            }
        }
    }

    fn closed(&mut self, channel: Channel, _: &Poller) {
        let Some(socket) = self.sockets.remove(&channel) else { return };
        let key = (socket.protocol, socket.local.port());
        if let Some(bound) = self.bound.get_mut(&key) {
            bound.retain(|other| *other != channel);
            if bound.is_empty() {
                self.bound.remove(&key);
            }
        }
        self.flows.remove_all_of(&mut self.engine, channel);
        self.waiting.drop_all_of(&mut self.engine, channel);
        self.resume_port(socket.protocol, socket.local.port());
    }

    fn ready(
        &mut self,
        ready: Ready,
        channels: &mut Channels<'_, '_>,
        poller: &Poller,
    ) -> Result<(), ServiceError> {
        let now = Instant::now();
        match split(ready.token) {
            (TOKEN_FLOW, bits) => self.flow_ready(bits, channels, poller, now),
            (TOKEN_LISTENER, bits) => self.port_ready(bits, channels, now),
            (TOKEN_HOST, _) => {
                self.engine.host_changed();
                self.flows.remove_host(&mut self.engine);
                Ok(())
            }
            (kind @ (TOKEN_PEER_LINE | TOKEN_PEER_LINK), bits) => {
                self.peers_ready(kind, bits, channels, poller, now)
            }
            (TOKEN_DNS_STREAM, bits) => {
                self.dns.stream_ready(&mut self.engine, poller, bits, ready, now);
                Ok(())
            }
            (TOKEN_DNS_UPSTREAM, bits) => {
                self.dns.upstream_ready(&mut self.engine, poller, bits, now);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn turn(&mut self, channels: &mut Channels<'_, '_>, poller: &Poller) -> Result<(), ServiceError> {
        let now = Instant::now();
        self.announce(channels)?;
        self.turn_flows(channels, poller, now)?;
        self.inbound.turn(now)?;
        self.dns.turn(&mut self.engine, poller, now);
        self.send_answers(channels)
    }

    fn deadline(&self) -> Option<Instant> {
        [self.flows.deadline(), self.dns.deadline(), self.inbound.deadline()].into_iter().flatten().min()
    }

    /// Connections belong to the guest that is gone; published ports stay.
    fn reset(&mut self) {
        self.flows = Flows::default();
        self.sockets.clear();
        self.bound.clear();
        self.waiting = Waiting::default();
        self.inbound.reset();
        self.dns.reset();
        self.engine.reset();
    }
}

#[cfg(test)]
mod tests;
